"""Seeds & scales, the view of seeds: figures with their null, links, and what is not there."""

import re
import shutil
from pathlib import Path

import pytest

from atlas import seeds
from atlas.places import STORE_VARIABLE
from atlas.store import Store
from precompute.publish import publish
from tests.pages.test_pages import Open, asked, calm, open_page, text_of
from tests.tiny import PRISM, SEED0, SEED1

__all__ = ["open_page"]


def test_it_says_what_returns_beside_chance(open_page: Open, tiny_store: Path) -> None:
    app = calm(open_page("comparison", run=SEED0))
    shown = text_of(app)
    for words in ("How well features are found again.", "Who returns, by profile.",
                  "What every seed has.", "chance gives"):
        assert words in shown
    assert app.get("plotly_chart")
    store = Store.open(tiny_store)
    count, _ = seeds.shared_by_all(store, SEED0, seeds.ways_of(store, SEED0)[0], 1)
    assert f"{count:,} groups" in shown


def test_the_way_stands_in_the_address(open_page: Open, tiny_store: Path) -> None:
    ways = seeds.ways_of(Store.open(tiny_store), SEED0)
    app = calm(open_page("comparison", run=SEED0, way=ways[-1]))
    assert asked(app, "way") == ways[-1]
    app = calm(open_page("comparison", run=SEED0, way="magic"))
    assert "is no way to match this run" in text_of(app)


def test_groups_and_lone_features_are_links(open_page: Open) -> None:
    shown = " ".join(e.proto.body for e in calm(open_page("comparison", run=SEED0)).get("html"))
    links = re.findall(r'href="feature\?run=([^&"]+)[^"]*feature=(\d+)"', shown)
    assert links
    assert {run for run, _ in links} <= {SEED0.replace("/", "%2F"), SEED1.replace("/", "%2F"),
                                         SEED0, SEED1}


def test_figures_as_tables(open_page: Open) -> None:
    app = calm(open_page("comparison", run=SEED0, charts="tables"))
    assert not app.get("plotly_chart")
    assert "<caption>" in " ".join(e.proto.body for e in app.get("html"))


def test_a_run_that_was_matched_with_none_names_the_command(
    open_page: Open, tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    shutil.rmtree(store / "matches")
    publish(store)
    monkeypatch.setenv(STORE_VARIABLE, str(store))
    shown = text_of(calm(open_page("comparison", run=SEED0)))
    assert f"readout-atlas match {SEED0} OTHER" in shown


def test_a_prism_has_no_other_seeds_and_the_rest_stands(open_page: Open) -> None:
    shown = text_of(calm(open_page("comparison", run=PRISM)))
    assert "How well features are found again." in shown
    assert "no other seed of this run was matched in this way" in shown
    assert "no group holds a feature of every seed" in shown
    assert "Only in this seed." not in shown
