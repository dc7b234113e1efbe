"""The story: templates filled for any run, worded by p and never beyond its null."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atlas import story
from atlas.places import DEMO
from atlas.reorganisation import pair_metrics, seed_of
from atlas.store import Store
from atlas.story import OF_TIME, overlap_by_chance, profile_null, tell
from atlas.turnover import born_of
from atlas.window_changes import movers
from atlas.window_choice import Choice, choose
from atlas.window_lives import pairs_of
from tests.atlas.test_reorganisation import PYTHIA, population
from tests.tiny import EMBEDDING, PRISM, SEED0, SMALL

RUN = "demo/large/W_U/cross-snapshot-24/d512/seed0"


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


@pytest.fixture(scope="module")
def demo() -> Store:
    if not (DEMO / "CURRENT.json").is_file():
        pytest.skip("the bundle is not built")
    return Store.open(DEMO)


def scored(store: Store, run: str) -> Choice:
    card = store.run(run)
    window = card.window
    components = pairs_of(store, run).components
    return choose(components, card.steps, window.from_step, window.to_step, seed_of(run))


@pytest.mark.parametrize("run", [SEED0, SMALL, EMBEDDING, PRISM])
def test_every_run_has_five_sentences(store: Store, run: str) -> None:
    told = tell(store, run, None, None, 1)
    assert len(told) == 5
    for one in told:
        assert one.text.endswith(".")
        assert not re.search(r"\bnan\b|\bNone\b|\{|\}", one.text + one.null)
    assert told[1].text.startswith("The window")
    assert "not available, because" in told[1].text
    if run == PRISM:
        assert all("one snapshot" in one.text for one in told)


def test_the_demo_tells_its_numbers(demo: Store) -> None:
    choice = scored(demo, RUN)
    turning = movers(demo, RUN, choice.low, choice.high, "turn", 1)
    births, window, profiles, turns, matrix = tell(demo, RUN, choice, turning, 1)
    born = born_of(demo, RUN)
    assert f"Of {born.born} births {born.kept} keep their step" in births.text
    assert "A dictionary of shuffled rows" in births.null
    assert f"z = {choice.z:.1f}" in window.text
    assert "200 circular shifts" in window.null
    assert "2 other seeds" in window.text
    assert "with probability" in window.text
    assert "5 to 95 %" in profiles.null
    assert f"#{turning.listed[0].feature}" in turns.text
    assert "W_U" in matrix.text
    for one in (births, window, profiles, turns):
        assert one.page
        assert one.null.startswith("Null: ")


@pytest.mark.parametrize(("p", "words"), [(0.05, "more than its six metrics do"),
                                          (0.051, "no more than shifting each of them")])
def test_the_window_is_worded_by_its_corrected_p(demo: Store, p: float, words: str) -> None:
    choice = replace(scored(demo, RUN), p_any=p, p=0.005)
    told = story.window(demo, demo.run(RUN), choice)
    assert words in told.text
    assert told.sure == (p <= 0.05)


@pytest.mark.parametrize(("p", "words"), [(0.04, "in the mean, more than"),
                                          (0.3, "in the mean, no more than")])
def test_turns_are_worded_by_their_p(demo: Store, p: float, words: str) -> None:
    choice = replace(scored(demo, RUN), value_p=np.full(6, p))
    turning = movers(demo, RUN, choice.low, choice.high, "turn", 1)
    assert words in story.turns(demo.run(RUN), choice, turning).text


def test_the_matrix_speaks_where_its_pairs_are(
    demo: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice, card = scored(demo, RUN), demo.run(RUN)
    monkeypatch.setattr(story.turnover, "matrix_pairs_of", lambda *asked: None)
    assert "the store holds no metrics" in story.matrix(demo, card, choice, 1).text
    found = pair_metrics(*population(300, len(card.steps)))
    found = replace(found, activation_turnover=np.full(len(card.steps) - 1, np.nan))
    monkeypatch.setattr(story.turnover, "matrix_pairs_of", lambda *asked: found)
    told = story.matrix(demo, card, choice, 1)
    assert "the 5 metrics that rows have" in told.null
    assert ("more than by shifts" in told.text)
    assert ("do not change together" in told.text) != told.sure


def test_overlap_by_chance_counts_candidate_windows() -> None:
    components = np.random.default_rng(0).random((6, 31))
    found = choose(components, PYTHIA, 1000, 3164.44, 0)
    starts = [s for s in PYTHIA[:-1] if np.log10(s + 1) + 0.5 <= np.log10(143001)]
    over = [s for s in starts if s < 3164.44 and 10 ** (np.log10(s + 1) + 0.5) - 1 > 1000]
    assert overlap_by_chance(PYTHIA, found) == pytest.approx(len(over) / len(starts))


def test_profiles_of_shuffled_norms() -> None:
    g = np.random.default_rng(0)
    rising = np.linspace(0.02, 1, 32) + 0.01 * g.random((300, 32))
    observed, null = profile_null(rising, PYTHIA, 3, shuffles=20)
    assert observed.sum() == pytest.approx(1)
    assert observed[OF_TIME.index("late-emerging")] == 1
    assert null[:, OF_TIME.index("late-emerging")].max() < 0.2
    assert null.shape == (20, 5)
    flat, alike = profile_null(np.ones((50, 32)), PYTHIA, 3, shuffles=5)
    assert flat[0] == 1
    assert (alike[:, 0] == 1).all()
