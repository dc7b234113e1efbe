"""Which kinds return: against a plain count, Wilson's rule by its definition, planted strata."""

from pathlib import Path

import numpy as np
import pytest

from atlas import seed_figures, seed_strata, seeds
from atlas.matches import matches_of
from atlas.population import DEFAULT
from atlas.population_store import lives_of
from atlas.seed_strata import STRATA, Strata, Stratum, strata_of, wilson
from atlas.stability import stability_of
from atlas.store import Store
from atlas.theme import LIGHT
from tests.tiny import EMBEDDING, PRISM, SEED0, STEPS, WIDTH


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


def test_wilson_ends_are_where_the_share_is_just_not_refused() -> None:
    for found, total in ((0, 7), (3, 10), (10, 10), (72, 137)):
        low, high = wilson(found, total)
        assert 0 <= low <= found / total <= high <= 1
        for end in (low, high):
            if 0 < end < 1:
                z = (found / total - end) / np.sqrt(end * (1 - end) / total)
                assert abs(z) == pytest.approx(seed_strata.Z)
    assert wilson(0, 0) == (0.0, 1.0)


def test_profiles_count_what_the_features_say(store: Store) -> None:
    way = seeds.ways_of(store, SEED0)[0]
    plain: dict[str, list[int]] = {}
    scores: dict[str, list[float]] = {}
    for feature in range(WIDTH):
        info = store.feature(SEED0, feature).info
        told = next((s for s in stability_of(store, SEED0, feature) if s.way == way), None)
        if told is None or not told.compared:
            continue
        plain.setdefault(info.profile, []).append(told.returned)
        scores.setdefault(info.profile, []).extend(
            m.score for m in matches_of(store, SEED0, feature, (way,)))
    strata = strata_of(store, SEED0, way)
    found = {one.name: one for one in strata.rows}
    assert set(found) == set(plain)
    assert strata.others.are_seeds
    assert 0 < strata.chance < 0.05
    for profile, counts in plain.items():
        one = found[profile]
        assert (one.count, one.once) == (len(counts), sum(c > 0 for c in counts))
        assert (one.low, one.high) == wilson(one.once, one.count)
        np.testing.assert_allclose(one.scores, np.quantile(scores[profile], (0.25, 0.5, 0.75)),
                                   atol=1e-6)
    whole = seed_strata.whole_of(store, SEED0, way)
    assert whole.count == sum(map(len, plain.values()))
    assert whole.once == sum(c > 0 for counts in plain.values() for c in counts)


def test_every_division_holds_every_live_feature_once(store: Store) -> None:
    whole = seed_strata.whole_of(store, SEED0, "trajectory")
    for by in STRATA:
        found = strata_of(store, SEED0, "trajectory", by)
        assert found.by == by
        assert sum(one.count for one in found.rows) + found.outside == whole.count
        assert sum(one.once for one in found.rows) == whole.once
        assert 0 < found.p <= 1
        assert list(seed_strata.strata_frame(found)["features"]) == [r.count for r in found.rows]


def test_births_are_divided_by_half_decades_with_step_0_alone(store: Store) -> None:
    assert seed_strata.half_decades((0, 1, 2, 3, 4, 9, 10, 31, 32, 1000)).tolist() == [
        0, 1, 1, 1, 2, 2, 3, 3, 4, 5]
    lives = lives_of(store, SEED0)
    births = lives.births[DEFAULT]
    rows = {one.name: one.count for one in strata_of(store, SEED0, "trajectory", "birth").rows}
    at_first = sum(births[f] == 0 and bool(matches_of(store, SEED0, f)) for f in range(WIDTH))
    assert rows.get("step 0", 0) == at_first
    names = [f"step {step}" for step in STEPS]
    assert set(rows) <= {*names, "never"}


def test_rates_rise_from_stratum_to_stratum_and_share_the_features(store: Store) -> None:
    found = strata_of(store, SEED0, "trajectory", "rate")
    lows = [float(one.name.split(" ")[0]) for one in found.rows]
    assert lows == sorted(lows)
    assert len(found.rows) > 3


def test_what_cannot_be_divided_says_why(store: Store) -> None:
    for by in ("profile", "birth"):
        found = strata_of(store, PRISM, "tokens", by)
        assert not found.rows
        assert "snapshot" in found.reason
    assert strata_of(store, PRISM, "tokens", "rate").rows
    assert not strata_of(store, PRISM, "tokens", "rate").others.are_seeds
    assert strata_of(store, EMBEDDING, "trajectory").rows == ()


def test_kinds_that_return_unlike_each_other_are_found_and_alike_ones_are_not() -> None:
    def row(once: int) -> Stratum:
        return Stratum("", 100, once, 0, *wilson(once, 100), (0, 0, 0), (0, 0, 0))

    assert seed_strata._p_of([row(20), row(60)]) < 0.01
    assert seed_strata._p_of([row(40), row(41)]) > 0.5
    assert np.isnan(seed_strata._p_of([row(40)]))


def test_the_figure_holds_shares_intervals_and_chance(store: Store) -> None:
    found: Strata = strata_of(store, SEED0, "trajectory")
    figure = seed_figures.strata_figure(found, "trajectory", LIGHT)
    spans, shares = figure["data"][0], figure["data"][1]
    assert shares["x"] == [round(one.share, 4) for one in found.rows]
    assert spans["x"][:2] == [round(found.rows[0].low, 4), round(found.rows[0].high, 4)]
    lines = [s["x0"] for s in figure["layout"]["shapes"] if s["type"] == "line"]
    assert lines == [round(found.chance, 4), round(found.null[1], 4), 0.5]
