"""What the store tells of a dictionary's trials: tables, sentences, figures."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from atlas import trust, trust_figures
from atlas.schema_trust import TRUST_TABLES
from atlas.store import Store
from atlas.theme import DARK, LIGHT
from atlas.trust_recipe import python_of
from tests.precompute.test_fidelity import tried as tried
from tests.tiny import PRISM, SEED0, STEPS


@pytest.fixture(scope="module")
def store(tried: Path) -> Store:
    return Store.open(tried)


def test_every_column_of_the_tables_says_what_it_is(store: Store) -> None:
    comments = store.column_comments()
    for table in TRUST_TABLES:
        assert set(comments[table.name]) == {c.name for c in table.columns}
        assert all(comments[table.name].values())


def test_the_verdict_says_when_a_plain_way_is_as_good(store: Store) -> None:
    found = trust.trust(store, SEED0)
    frame = found.contrasts.copy()
    pca = next(name for name in found.methods if name.startswith("pca-"))
    others = frame["method"].str.startswith("pca-") & (frame["method"] != pca)
    own, rival = frame["method"] == trust.OWN, frame["method"] == pca
    for low, said in ((0.9, "more often"), (0.5, "about as often"), (None, "")):
        frame.loc[own, ["passing", "passing_low", "passing_high"]] = 0.7, 0.6, 0.8
        frame.loc[others, "passing"] = 0.1
        frame.loc[rival, ["passing", "passing_low"]] = (0.1, 0.0) if low is None else (0.95, low)
        told = trust.verdict(dataclasses.replace(found, contrasts=frame), "step 64")
        assert (said in told) if said else ("PCA" not in told)


def test_the_verdict_names_its_null_and_its_interval(store: Store) -> None:
    found = trust.trust(store, SEED0)
    said = trust.verdict(found, "step 64")
    assert said.startswith("At step 64 ")
    assert "with shuffled codes" in said
    assert "certifies none of this" in said
    own = found.whole()
    assert f"{own['passing']:.0%} ({own['passing_low']:.0%}–{own['passing_high']:.0%})" in said


def test_a_run_of_an_older_build_has_a_reason() -> None:
    empty = trust.Trust(
        pd.DataFrame(columns=["method", "split", "k", "ev"]),
        pd.DataFrame(columns=["method", "hidden", "k"]),
        pd.DataFrame(columns=["method", "hidden", "k", "bank", "margin"]),
        "nothing", None, "nothing", None, "nothing", None, math.nan, 8, 4,
    )
    assert trust.verdict(empty, "step 64") == ""
    assert empty.whole() is None
    assert math.isnan(trust.row_ev(empty))


def test_cases_settle_from_the_first_snapshot_after_which_they_always_pass(store: Store) -> None:
    rows = store.ask(
        SEED0, "SELECT exact, rebuilt, exact_at, rebuilt_at FROM {run}.bank_case").to_pylist()
    first = []
    for row in rows:
        passes = [(e > 0) == (r > 0) and abs(e - r) < 0.5 * abs(e)
                  for e, r in zip(row["exact_at"], row["rebuilt_at"], strict=True)]
        if (row["exact"] > 0) == (row["rebuilt"] > 0) and (
            abs(row["exact"] - row["rebuilt"]) < 0.5 * abs(row["exact"])
        ):
            start = len(passes)
            while start and passes[start - 1]:
                start -= 1
            first.append(start)
    n, middle = trust.settled(store, SEED0)
    assert n == len(first)
    assert middle == np.median(first)


def test_kinds_are_counted_in_their_order(store: Store) -> None:
    table = trust.kinds(store, SEED0)
    cases = trust.cases(store, SEED0)
    assert table["contrast"].tolist() == [k for k in trust.CASES if k in set(cases["contrast"])]
    for row in table.itertuples():
        own = cases[cases["contrast"] == row.contrast]
        assert row.n == len(own)
        assert row.passing == pytest.approx(own["gate"].mean())
        assert row.rho == pytest.approx(own["rho"].median())


@pytest.mark.parametrize("run", [SEED0, PRISM])
@pytest.mark.parametrize("p", [LIGHT, DARK])
def test_figures_are_plain_and_hold_the_numbers(store: Store, run: str, p) -> None:
    found = trust.trust(store, run)
    methods = trust_figures.methods_figure(found, p)
    json.dumps(methods, allow_nan=False)
    dots = [t for t in methods["data"] if t["mode"] == "markers"]
    table = trust.method_table(found)
    assert dots[1]["x"] == pytest.approx(table["sign"].tolist())
    assert dots[0]["text"] == table["method"].tolist()
    assert dots[0]["marker"]["color"][0] == p.accent
    margins = trust_figures.margins_figure(found, trust.margin_table(found), p)
    json.dumps(margins, allow_nan=False)
    assert len({t["xaxis"] for t in margins["data"]}) == 3
    bands = {s: trust.band_table(found, s) for s in ("norm", "count")}
    json.dumps(trust_figures.bands_figure(found, bands, p), allow_nan=False)
    steps = STEPS if run == SEED0 else STEPS[-1:]
    course = trust_figures.course_figure(trust.course_table(found), steps, STEPS[-1], p)
    json.dumps(course, allow_nan=False)
    lines = [t for t in course["data"] if t["mode"] == "lines+markers"]
    assert bool(lines) == (run == SEED0)
    assert any("own" in t["name"] for t in lines) == (run == SEED0)


def test_the_lines_of_python_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READOUT_ATLAS_STORE", str(store.folder))
    for run in (SEED0, PRISM):
        scope: dict[str, object] = {}
        exec(python_of(run), scope)
        assert scope["found"].whole() is not None
