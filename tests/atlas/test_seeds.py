"""What returns in other runs: counts of the population against a plain count."""

from pathlib import Path

import numpy as np
import pytest

from atlas import seed_figures, seeds, seeds_recipe
from atlas.matches import BEYOND, matches_of
from atlas.stability import stability_of
from atlas.store import Store
from atlas.theme import DARK, LIGHT
from tests.tiny import EMBEDDING, SEED0, SEED1, WIDTH


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


def test_profiles_count_what_the_features_say(store: "Store") -> None:
    way = seeds.ways_of(store, SEED0)[0]
    plain: dict[str, list[int]] = {}
    alone = 0
    for feature in range(WIDTH):
        info = store.feature(SEED0, feature).info
        told = next((s for s in stability_of(store, SEED0, feature) if s.way == way), None)
        if told is None or not told.compared:
            continue
        plain.setdefault(info.profile, []).append(told.returned)
        alone += told.returned == 0
    found = {one.profile: one for one in seeds.returned_by_profile(store, SEED0, way)}
    assert set(found) == set(plain)
    for profile, counts in plain.items():
        one = found[profile]
        assert (one.count, one.once) == (len(counts), sum(c > 0 for c in counts))
        assert 0 <= one.everywhere <= one.once
        assert 0 < one.chance < 0.05
    count, strongest = seeds.only_here(store, SEED0, way, 3)
    assert count == alone
    assert len(strongest) == min(3, alone)


def test_groups_that_all_seeds_share_hold_one_of_each(store: "Store") -> None:
    for way in seeds.ways_of(store, SEED0):
        count, groups = seeds.shared_by_all(store, SEED0, way, 5)
        assert len(groups) <= min(count, 5)
        for group in groups:
            assert len({run for run, _ in group.members}) == group.size == group.seeds
            assert group.seeds > 1


def test_a_run_without_other_seeds_has_none(store: "Store") -> None:
    assert seeds.returned_by_profile(store, EMBEDDING, "trajectory") == ()
    assert seeds.only_here(store, EMBEDDING, "trajectory", 5) == (0, ())
    assert seeds.shared_by_all(store, EMBEDDING, "trajectory", 5) == (0, [])


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_figures_hold_the_numbers(store: "Store", palette) -> None:
    way = seeds.ways_of(store, SEED0)[0]
    found = seeds.distributions(store, SEED0, way)
    figure = seed_figures.distributions_figure(found, ["a"] * len(found), way, palette)
    lines = [t for t in figure["data"] if t.get("mode") == "lines"]
    assert len(lines) == sum(1 + bool(len(one.null)) for one in found)
    assert lines[-1]["y"] == [round(float(v), 3) for v in found[-1].scores[::-1]]
    bars = seed_figures.profiles_figure(seeds.returned_by_profile(store, SEED0, way), palette)
    assert len(bars["data"][0]["y"]) == len(seeds.returned_by_profile(store, SEED0, way))


def test_the_lines_of_python_run(store: "Store", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("READOUT_ATLAS_STORE", str(store.folder))
    names: dict = {}
    exec(seeds_recipe.python_of(SEED0, "trajectory"), names)
    assert set(names["pairs"]["other"]) >= {SEED1}
    assert names["count"] == seeds.shared_by_all(store, SEED0, "trajectory", 24)[0]
