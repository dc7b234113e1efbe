"""Seeds & scales, the view of seeds: figures with their null, links, and what is not there."""

import re
import shutil
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from atlas import seed_strata, seeds
from atlas.matches import pairs_of
from atlas.places import STORE_VARIABLE
from atlas.store import Store
from precompute.publish import publish
from tests.pages.test_pages import Open, asked, calm, open_page, text_of
from tests.tiny import EMBEDDING, PRISM, RUNS, SEED0, SEED1, SMALL, WIDTH

__all__ = ["open_page"]


def links_of(app: AppTest) -> list[tuple[str, dict[str, str]]]:
    """Path and parameters of every link of the fragments."""
    body = " ".join(e.proto.body for e in app.get("html"))
    found = [urlsplit(h.replace("&amp;", "&")) for h in re.findall(r'href="([^"]+)"', body)]
    return [(url.path, {k: v[0] for k, v in parse_qs(url.query).items()}) for url in found]


def test_it_says_what_returns_beside_chance(open_page: Open, tiny_store: Path) -> None:
    app = calm(open_page("comparison", run=SEED0))
    shown = text_of(app)
    for words in ("How well features are found again.", "Who returns, by profile.",
                  "What every seed has.", "What splits and merges.", "chance gives",
                  "The seeds as populations.", "Births, seed by seed.",
                  "When each seed reorganises.", "Profiles, seed by seed."):
        assert words in shown
    assert len(app.get("plotly_chart")) == 5
    store = Store.open(tiny_store)
    way = seeds.ways_of(store, SEED0)[0]
    count, _ = seeds.shared_by_all(store, SEED0, way, 1)
    assert f"{count:,} groups" in shown


def test_the_first_sentence_is_computed(open_page: Open, tiny_store: Path) -> None:
    store = Store.open(tiny_store)
    for way in seeds.ways_of(store, SEED0):
        (pair,) = [p for p in pairs_of(store, SEED0) if (p.way, p.other) == (way, SEED1)]
        shown = text_of(calm(open_page("comparison", run=SEED0, way=way)))
        assert (f"{pair.n_returned:,} of {pair.n_features:,} live features "
                f"({pair.n_returned / pair.n_features:.0%}) return in seed 1") in shown


def test_the_way_and_the_strata_stand_in_the_address(open_page: Open, tiny_store: Path) -> None:
    ways = seeds.ways_of(Store.open(tiny_store), SEED0)
    app = calm(open_page("comparison", run=SEED0, way=ways[-1], strata="birth"))
    assert asked(app, "way") == ways[-1]
    assert asked(app, "strata") == "birth"
    assert "Who returns, by birth, read by half the largest norm." in text_of(app)
    app = calm(open_page("comparison", run=SEED0, way="magic", strata="colour", births="rain"))
    shown = text_of(app)
    assert "is no way to match this run" in shown
    assert "Features are not divided by “colour”; there are profile, birth, rate." in shown
    assert "Births cannot be read by “rain”" in shown


def test_choosing_a_division_writes_the_address(open_page: Open) -> None:
    app = calm(open_page("comparison", run=SEED0))
    app.button_group(key="seeds_strata").set_value("rate").run()
    assert asked(calm(app), "strata") == "rate"
    app.button_group(key="seeds_strata").set_value("profile").run()
    assert "strata" not in calm(app).query_params


def test_strata_are_told_with_their_numbers(open_page: Open, tiny_store: Path) -> None:
    store = Store.open(tiny_store)
    found = seed_strata.strata_of(store, SEED0, seeds.ways_of(store, SEED0)[0], "rate")
    app = calm(open_page("comparison", run=SEED0, strata="rate", charts="tables"))
    body = " ".join(e.proto.body for e in app.get("html"))
    for one in found.rows:
        assert one.name in body
    assert f"p = {found.p:.3f}" in text_of(app)


def test_groups_lone_features_and_parts_are_links(open_page: Open, tiny_store: Path) -> None:
    links = links_of(calm(open_page("comparison", run=SEED0)))
    assert {q["run"] for path, q in links if path == "feature"} == {SEED0}
    beside = [q for path, q in links if path == "comparison" and q.get("view") == "pair"]
    assert beside
    store = Store.open(tiny_store)
    way = seeds.ways_of(store, SEED0)[0]
    _, groups = seeds.shared_by_all(store, SEED0, way, 10**6)
    wanted = {(dict(g.members)[SEED0], dict(g.members)[SEED1]) for g in groups}
    given = {(int(q["feature"]), int(q["there"])) for q in beside}
    assert wanted <= given
    for q in beside:
        assert (q["run"], q["other"]) == (SEED0, SEED1)
        assert 0 <= int(q["feature"]) < WIDTH > int(q["there"]) >= 0


def test_merges_link_the_feature_of_this_run_to_the_one_there(
    open_page: Open, tiny_store: Path
) -> None:
    store = Store.open(tiny_store)
    for run in RUNS:
        for way in seeds.ways_of(store, run):
            _, (count, merges) = seeds.splits(store, run, way, 5)
            if not count:
                continue
            given = {(int(q["feature"]), q["other"], int(q["there"]))
                     for path, q in links_of(calm(open_page("comparison", run=run, way=way)))
                     if q.get("view") == "pair"}
            for merge in merges:
                assert {(part, merge.run, merge.feature) for part in merge.parts[:3]} <= given
            return
    pytest.fail("the tiny store has no merge")


def test_figures_as_tables(open_page: Open) -> None:
    app = calm(open_page("comparison", run=SEED0, charts="tables"))
    assert not app.get("plotly_chart")
    assert "<caption>" in " ".join(e.proto.body for e in app.get("html"))


@pytest.mark.parametrize("run", [EMBEDDING, SMALL, PRISM])
@pytest.mark.parametrize("by", seed_strata.STRATA)
def test_a_run_without_seeds_is_looked_for_in_the_others(
    open_page: Open, run: str, by: str
) -> None:
    shown = text_of(calm(open_page("comparison", run=run, strata=by)))
    assert "How well features are found again." in shown
    assert "No other seed of this run was matched in this way" in shown
    assert "no group holds a feature of every seed" in shown
    assert "Only in this seed." not in shown
    assert "Only in this run." in shown
    if run == PRISM and by != "rate":
        assert "Not available, because" in shown
        assert "snapshot" in shown


def test_the_seeds_of_a_run_without_time_or_without_others_are_not_compared(
    open_page: Open
) -> None:
    assert "Births, profiles and windows are not available, because it has one snapshot" in (
        text_of(calm(open_page("comparison", run=PRISM))))
    shown = text_of(calm(open_page("comparison", run=SMALL)))
    assert "the store holds no other seed of this run" in shown
    assert "readout-atlas build RUN" in shown


def test_runs_that_do_not_match_in_a_way_are_named_with_the_reason(open_page: Open) -> None:
    shown = text_of(calm(open_page("comparison", run=SEED0, way="trajectory")))
    assert f"{SMALL}: directions of another language model do not compare" in shown
    assert f"{PRISM}: other snapshots" in shown


def without_matches(tmp_path: Path, tiny_store: Path, keep: str = "") -> Path:
    """A copy of the store whose match files are gone but for those of two runs."""
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    for path in (store / "matches").glob("*.json"):
        text = path.read_text(encoding="utf8")
        if not keep or not (f'"{SEED0}"' in text and f'"{keep}"' in text):
            path.unlink()
            path.with_suffix(".safetensors").unlink(missing_ok=True)
    publish(store)
    return store


def test_a_run_that_was_matched_with_none_names_the_commands(
    open_page: Open, tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = without_matches(tmp_path, tiny_store)
    monkeypatch.setenv(STORE_VARIABLE, str(store))
    shown = text_of(calm(open_page("comparison", run=SEED0)))
    assert f"readout-atlas match {SEED0} OTHER" in shown
    for other in (SEED1, SMALL, EMBEDDING, PRISM):
        assert f"readout-atlas match {SEED0} {other}" in shown
    assert "Births, seed by seed." in shown


def test_a_seed_that_was_not_matched_is_named_with_its_command(
    open_page: Open, tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = without_matches(tmp_path, tiny_store, keep=SMALL)
    monkeypatch.setenv(STORE_VARIABLE, str(store))
    shown = text_of(calm(open_page("comparison", run=SEED0, way="tokens")))
    assert "No other seed of this run was matched in this way" in shown
    assert f"readout-atlas match {SEED0} {SEED1}" in shown
    assert f"readout-atlas match {SEED0} {SMALL}" not in shown
