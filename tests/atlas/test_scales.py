"""Births, profiles, windows, labels of several runs against the store's own and slow counts."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atlas import comparison_recipe, multiples, scales, scales_figures
from atlas.columns import name_columns
from atlas.errors import InvalidValue
from atlas.population import CONVENTIONS
from atlas.population_store import lives_of
from atlas.scales_figures import Look, Side
from atlas.store import Store
from atlas.theme import LIGHT
from tests.tiny import EMBEDDING, PRISM, RUNS, SEED0, SEED1, SMALL, STEPS


@pytest.fixture
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


def sides(store: Store, runs: tuple[str, ...]) -> list[Side]:
    found = []
    for run in runs:
        card = store.run(run)
        why = scales.no_time(card)
        found.append(Side(
            card, run, None if why else scales.births_of(store, run),
            None if why else scales.profiles_of(store, run), scales.windows_of(store, run), why,
            scales.why_no_windows(store, card), *scales.fidelity_of(store, card)))
    return found


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("run", [SEED0, SMALL, EMBEDDING])
def test_births_are_shares_of_the_live_features(store: Store, run: str, convention: str) -> None:
    found = scales.births_of(store, run, convention)
    lives = lives_of(store, run)
    births = [b for b, alive in zip(lives.births[convention], lives.alive, strict=True) if alive]
    for k in range(len(STEPS)):
        assert found.counts[k] == births.count(k)
        assert found.share[k] == pytest.approx(births.count(k) / len(births))
    assert found.by_then[-1] == pytest.approx(found.n_born / found.n_alive)
    assert found.low <= found.median <= found.high
    if convention == "floor":
        assert found.null is None
    else:
        assert found.null is not None
        assert 0 < found.null.sum() <= 1 + 1e-9


def test_one_snapshot_has_no_births_and_no_window(store: Store) -> None:
    card = store.run(PRISM)
    assert "one snapshot" in scales.no_time(card)
    assert scales.windows_of(store, PRISM) is None
    assert scales.why_no_windows(store, card) == scales.no_time(card)
    with pytest.raises(InvalidValue):
        scales.births_of(store, PRISM)
    assert "fewer than the 9" in scales.why_no_windows(store, store.run(SEED0))


def test_a_run_is_not_born_later_than_itself(store: Store) -> None:
    one = store.run(SEED0)
    found = scales.lead(store, one, one)
    assert found.difference[0] == 0
    assert found.p[0] == 1
    assert scales.lead(store, one, replace(one, steps=(4, 16, 64))) is None
    assert scales.lead(store, store.run(PRISM), store.run(PRISM)) is None
    leads = scales.leads(store, [store.run(run) for run in (SEED0, PRISM, SEED1, SMALL)])
    assert [card.run for card, *_ in leads] == [SEED1, SMALL]
    assert all(p >= lead.p[0] for _, lead, p in leads)


@pytest.mark.parametrize("scheme", scales.SCHEMES)
def test_labels_are_counted_where_they_are_sure(store: Store, scheme: str) -> None:
    card = store.run(SEED0)
    found = scales.shares_of(store, card, scheme)
    column = name_columns(store, SEED0)[scheme]
    for i, name in enumerate(found.names):
        sure = 0
        for feature in range(card.d_sae):
            place = column.places[feature]
            info = store.feature(SEED0, feature).info
            if info.alive and place >= 0 and column.values[place] == name:
                sure += getattr(info, f"{scheme}_p") <= 0.05
        assert found.counts[i] == sure
        assert found.low[i] <= found.share[i] <= found.high[i]
    assert (found.vocabulary <= 1).all()
    if scheme == "script":
        assert 0.9 < found.vocabulary.sum() <= 1


def test_tables_say_what_figures_draw(store: Store) -> None:
    cards = [store.run(run) for run in RUNS]
    births = scales.births_table(store, cards)
    assert len(births) == 4 * len(STEPS) + 1
    assert births[births["run"] == PRISM]["births"].isna().all()
    assert set(scales.profiles_table(store, cards)["run"]) == set(RUNS) - {PRISM}
    assert scales.windows_table(store, cards)["why not"].notna().all()
    assert set(scales.shares_table(store, cards, "family")["run"]) == set(RUNS)


@pytest.mark.parametrize("axis", ["step", "tau"])
def test_figures_hold_every_run(store: Store, axis: str) -> None:
    found = sides(store, RUNS)
    look = Look(axis, STEPS[1], LIGHT)
    births = scales_figures.births_figure(found, look)
    bars = [trace for trace in births["data"] if trace["type"] == "bar"]
    assert len(bars) == 4
    for bar, side in zip(bars, [s for s in found if s.births], strict=True):
        drawn = dict(zip(bar["x"], bar["y"], strict=True))
        assert len(drawn) == (side.births.counts > 0).sum()
        assert max(drawn.values()) == pytest.approx(math.sqrt(side.births.share.max()), abs=1e-3)
    words = " ".join(note["text"] for note in births["layout"]["annotations"])
    assert "not available, because it has one snapshot" in words
    assert all(run in words for run in RUNS)
    courses = scales_figures.courses_figure(found, look)
    assert {trace["name"] for trace in courses["data"]} == set(RUNS) - {PRISM}
    profiles = scales_figures.profiles_figure(found, LIGHT)
    assert sum(len(t["x"]) for t in profiles["data"] if "text" in t) == 4 * 5


def test_a_root_axis_names_only_what_it_shows() -> None:
    axis = multiples.root_axis(0.3)
    assert axis["ticktext"] == ["0%", "1%", "5%", "20%"]
    assert axis["tickvals"] == pytest.approx(np.sqrt([0, 0.01, 0.05, 0.2]), abs=6e-4)
    assert multiples.step_of(float("nan")) == "none"
    assert multiples.step_of(math.log10(1001)) == "1k"


def test_the_lines_of_python_give_the_numbers(
    tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atlas.places import STORE_VARIABLE

    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
    names: dict = {}
    exec(comparison_recipe.python_of_scales(
        (SEED0, SMALL), "rates", "script", words="he, she, the, and, of"), names)
    assert set(names["births"]["run"]) == {SEED0, SMALL}
    assert names["births"]["born by then"].equals(scales.births_table(
        names["store"], names["cards"], "rates")["born by then"])
    assert "corrected p" in names["holding"]
    assert len(names["profiles"]) == 10
    other: dict = {}
    exec(comparison_recipe.python_of_instruments("live", "tiny"), other)
    assert set(other["plane"]["run"]) == set(RUNS) - {PRISM}
    assert other["prisms"]["run"].tolist() == [PRISM]
