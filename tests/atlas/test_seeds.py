"""What returns in other runs: counts of the population against a plain count."""

from pathlib import Path

import numpy as np
import pytest

from atlas import seed_figures, seed_others, seed_strata, seeds, seeds_recipe
from atlas.matches import BEYOND, matches_of, splits_between
from atlas.stability import stability_of
from atlas.store import Store
from atlas.theme import DARK, LIGHT
from tests.tiny import EMBEDDING, PRISM, SEED0, SEED1, SMALL, WIDTH


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> "Store":
    return Store.open(tiny_store)


def test_distributions_are_those_of_the_features(store: "Store") -> None:
    for way in seeds.ways_of(store, SEED0):
        for found in seeds.distributions(store, SEED0, way):
            scores, returned = [], 0
            for feature in range(WIDTH):
                for match in matches_of(store, SEED0, feature, (way,)):
                    if match.other == found.pair.other:
                        scores.append(match.score)
                        returned += match.reciprocal and match.percentile >= BEYOND
            assert found.pair.n_features == len(scores)
            assert found.pair.n_returned == returned
            np.testing.assert_allclose(found.scores, np.quantile(scores, seeds.QUANTILES),
                                       atol=1e-6)
            assert (np.diff(found.scores) >= 0).all()


def test_other_seeds_come_first_and_stand_for_all_where_there_are_none(store: "Store") -> None:
    assert [c.run for c in seeds.seeds_of(store.runs(), store.run(SEED1))] == [SEED0, SEED1]
    assert [c.run for c in seeds.seeds_of(store.runs(), store.run(SMALL))] == [SMALL]
    assert seeds.others_of(store, SEED0, "tokens") == seeds.Others((SEED1,), True)
    found = seeds.distributions(store, SEED0, "tokens")
    assert [one.pair.other for one in found][0] == SEED1
    assert len(found) > 1
    others = seeds.others_of(store, EMBEDDING, "tokens")
    assert not others.are_seeds
    assert {SEED0, SEED1} <= set(others.runs)
    assert seeds.others_of(store, EMBEDDING, "trajectory") == seeds.Others((), False)


def test_only_here_is_what_has_returned_nowhere(store: "Store") -> None:
    way = seeds.ways_of(store, SEED0)[0]
    told = [next((s for s in stability_of(store, SEED0, f) if s.way == way), None)
            for f in range(WIDTH)]
    count, strongest = seeds.only_here(store, SEED0, way, 3)
    assert count == sum(s is not None and s.compared > 0 and s.returned == 0 for s in told)
    assert len(strongest) == min(3, count)
    for one in strongest:
        (match,) = [m for m in matches_of(store, SEED0, one.feature, (way,)) if m.other == SEED1]
        assert (one.other, one.partner) == (SEED1, match.partner)
        assert one.score == pytest.approx(match.score, abs=1e-6)
        assert one.percentile == pytest.approx(match.percentile, abs=1e-6)


def test_groups_that_all_seeds_share_hold_one_of_each(store: "Store") -> None:
    for way in seeds.ways_of(store, SEED0):
        count, groups = seeds.shared_by_all(store, SEED0, way, 5)
        assert len(groups) <= min(count, 5)
        for group in groups:
            assert len({run for run, _ in group.members}) == group.size == group.seeds
            assert group.seeds > 1


def test_splits_are_those_of_the_store_and_merges_their_other_side(store: "Store") -> None:
    found = 0
    for run in (SEED0, EMBEDDING, PRISM):
        for way in seeds.ways_of(store, run):
            (n, apart), (m, joined) = seeds.splits(store, run, way, 10**6)
            others = seeds.others_of(store, run, way).runs
            plain = {(s.feature, s.other) for o in others
                     for s in splits_between(store, run, o, way)}
            assert {(s.feature, s.other) for s in apart} == plain
            assert (n, m) == (len(apart), len(joined))
            assert all(s.run == run for s in apart)
            assert all(s.other == run and s.run in others for s in joined)
            gains = [s.joint - max(s.scores) for s in apart]
            assert gains == sorted(gains, reverse=True)
            found += n + m
    assert found


def test_a_run_without_other_seeds_has_none(store: "Store") -> None:
    assert seeds.only_here(store, EMBEDDING, "trajectory", 5) == (0, ())
    assert seeds.shared_by_all(store, EMBEDDING, "trajectory", 5) == (0, [])
    assert seed_strata.whole_of(store, EMBEDDING, "trajectory") is None


def test_runs_that_do_not_match_are_told_with_the_reason(store: "Store") -> None:
    found = {one.run: one.reason for one in seed_others.not_matched(store, SEED0, "trajectory")}
    assert set(found) == {EMBEDDING, SMALL, PRISM}
    assert "W_E" in found[EMBEDDING]
    assert "another language model" in found[SMALL]
    assert "other snapshots" in found[PRISM]
    assert seed_others.not_matched(store, SEED0, "tokens") == ()
    lives = {one.run: one.reason for one in seed_others.not_matched(store, SEED0, "life")}
    assert set(lives) == {PRISM}
    assert "fewer than the 3 snapshots" in lives[PRISM]
    card = store.run(SEED0)
    assert "itself" in seed_others.misfit(store, card, card, "tokens")
    assert seed_others.misfit(store, card, store.run(SEED1), "trajectory") == ""


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_figures_hold_the_numbers(store: "Store", palette) -> None:
    way = seeds.ways_of(store, SEED0)[0]
    found = seeds.distributions(store, SEED0, way)
    figure = seed_figures.distributions_figure(found, ["a"] * len(found), way, palette)
    lines = [t for t in figure["data"] if t.get("mode") == "lines"]
    assert len(lines) == sum(1 + bool(len(one.null)) for one in found)
    assert lines[-1]["y"] == [round(float(v), 3) for v in found[-1].scores[::-1]]
    frame = seeds.distributions_frame(found)
    assert set(frame["run"]) == {one.pair.other for one in found}
    assert frame["score or more"].iloc[0] == pytest.approx(found[0].scores[-1])
    assert frame["by chance"].iloc[20] == pytest.approx(found[0].null[0])


def test_the_lines_of_python_run(store: "Store", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READOUT_ATLAS_STORE", str(store.folder))
    names: dict = {}
    exec(seeds_recipe.python_of(SEED0, "trajectory", "birth", "norms"), names)
    assert set(names["pairs"]["other"]) >= {SEED1}
    assert names["count"] == seeds.shared_by_all(store, SEED0, "trajectory", 24)[0]
    assert names["strata"] == seed_strata.strata_of(store, SEED0, "trajectory", "birth")
    assert names["apart"].medians.low <= names["apart"].medians.high
    assert len(names["profiles"]) == 5
    for run in (PRISM, EMBEDDING):
        exec(seeds_recipe.python_of(run, "tokens", "rate", "norms"), {})
