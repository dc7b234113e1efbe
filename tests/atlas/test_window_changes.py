"""Which features change most inside a window, and what features of similar rate do."""

from pathlib import Path

import numpy as np
import pytest

from atlas import window_lives
from atlas.detail import similarity
from atlas.reorganisation import pair_metrics
from atlas.store import Store
from atlas.window_changes import (
    DRAWS,
    LISTED,
    SORTS,
    degrees,
    drawn_means,
    movers,
    similar,
    strength,
)
from atlas.window_lives import Lives, lives_of, pairs_from, pairs_of
from tests.tiny import DEAD, PRISM, SEED0, STEPS, WIDTH


def slow_similar(values, which, count):
    found = []
    for entry in which:
        others = sorted((i for i in range(len(values)) if i != entry),
                        key=lambda i: (abs(values[i] - values[entry]), values[i], i))
        found.append(others[:count])
    return found


@pytest.mark.parametrize("ties", [False, True])
def test_the_nearest_in_rate_equal_their_slow_twin(ties: bool) -> None:
    g = np.random.default_rng(0)
    values = g.integers(0, 12, 60).astype(float) if ties else g.normal(size=60)
    for count in (1, 7, 59, 200):
        which = [0, 5, 59, int(values.argmax()), int(values.argmin())]
        found = similar(values, which, count)
        assert found.shape == (5, min(count, 59))
        for row, entry, other in zip(found, which, slow_similar(values, which, count),
                                     strict=True):
            assert entry not in row.tolist()
            apart = np.abs(values - values[entry])
            assert sorted(apart[row]) == sorted(apart[other])
            if not ties:
                assert row.tolist() == other


def test_drawn_lists_take_one_match_for_each() -> None:
    strengths = np.arange(10.0)
    matched = np.array([[0, 1], [8, 9]])
    found = drawn_means(strengths, matched, 400, 1)
    assert set(found.tolist()) == {4.0, 4.5, 5.0}
    assert found.mean() == pytest.approx(4.5, abs=0.06)
    np.testing.assert_array_equal(found, drawn_means(strengths, matched, 400, 1))


def test_what_a_list_is_sorted_by() -> None:
    before, after, most = np.array([1.0, 0.2]), np.array([0.4, 1.0]), np.array([2.0, 1.0])
    cosine = np.array([0.5, -1.0])
    values = {sort: strength(sort, before, after, most, cosine).tolist() for sort in SORTS}
    assert values["change"] == pytest.approx([0.3, 0.8])
    assert values["rise"] == pytest.approx([-0.3, 0.8])
    assert values["fall"] == pytest.approx([0.3, -0.8])
    assert values["turn"] == pytest.approx([60, 180])


# --- of a store ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


@pytest.mark.parametrize("sort", SORTS)
def test_the_list_holds_the_features_that_change_most(store: Store, sort: str) -> None:
    found = movers(store, SEED0, 2, 10, sort, 1)
    assert (found.before, found.after) == (1, 16)
    lives = lives_of(store, SEED0)
    expected = {}
    for feature in range(WIDTH):
        norms, square = lives.norms[:, feature].astype(float), similarity(store, SEED0, feature)
        if feature == DEAD or not norms.max() > 0.01:
            continue
        turn = float(degrees(np.array([square[1, 3]]))[0]) if square is not None else np.nan
        change = (norms[3] - norms[1]) / norms.max()
        expected[feature] = {"change": abs(change), "rise": change, "fall": -change,
                             "turn": turn}[sort]
    best = sorted(expected.values(), reverse=True)[:LISTED]
    got = [expected[m.feature] for m in found.listed]
    assert got == pytest.approx(best, rel=1e-5)
    assert found.mean == pytest.approx(np.mean(best), rel=1e-5)
    assert len(found.drawn) == DRAWS
    assert found.p == pytest.approx(((found.drawn >= found.mean).sum() + 1) / (DRAWS + 1))
    assert all(0 <= m.below <= 1 for m in found.listed)
    assert found.n == len(expected)


def test_other_windows_share_no_pair_with_it(store: Store) -> None:
    found = movers(store, SEED0, 0, 1, "change", 1)
    assert (found.before, found.after) == (0, 1)
    assert len(found.elsewhere) == 3
    assert len(movers(store, SEED0, 0, 64, "change", 1).elsewhere) == 0


def test_a_run_without_the_table_of_turns_says_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from atlas import window_changes

    real = window_changes._cosines
    monkeypatch.setattr(window_changes, "_cosines",
                        lambda *a: np.full_like(real(*a), np.nan))
    found = movers(store, SEED0, 1, 16, "turn", 1)
    assert not found.listed
    assert "not derived" in found.reason
    listed = movers(store, SEED0, 1, 16, "change", 1).listed
    assert all(np.isnan(m.turn) for m in listed)


# --- courses and pairs ---------------------------------------------------------------------------


def test_courses_are_those_of_the_features(store: Store) -> None:
    lives = lives_of(store, SEED0)
    for feature in (0, 7, DEAD):
        card = store.feature(SEED0, feature)
        for name, column in (("norm", lives.norms), ("rate", lives.rates),
                             ("rotation", lives.rotation), ("to_terminal", lives.to_terminal)):
            np.testing.assert_array_equal(column[:, feature], getattr(card, name), err_msg=name)
    assert lives.incomplete == 0
    assert pairs_of(store, PRISM) is None
    found = pairs_of(store, SEED0)
    assert found.components.shape == (6, len(STEPS) - 1)
    assert np.isfinite(found.components).all()


def test_the_store_s_pairs_equal_those_of_its_courses(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = pairs_of(store, SEED0)
    monkeypatch.setattr(window_lives.turnover, "pairs_of", lambda *asked: None)
    np.testing.assert_allclose(pairs_of(store, SEED0).components, kept.components, atol=2e-3)


def lives(features: int = 30, count: int = 6) -> Lives:
    g = np.random.default_rng(0)
    return Lives(*(g.random((n, features)).astype(np.float32)
                   for n in (count, count, count - 1, count)))


def test_a_feature_with_a_gap_is_left_out_and_the_rest_stands() -> None:
    one = lives()
    one.norms[2, 4] = one.rates[3, 9] = np.nan
    kept = [j for j in range(30) if j not in (4, 9)]
    expected = pair_metrics(one.norms[:, kept], one.rates[:, kept], one.rotation[:, kept],
                            one.to_terminal[:, kept])
    np.testing.assert_allclose(pairs_from(one).components, expected.components)
    assert one.incomplete == 2


def test_a_run_without_rates_has_five_metrics() -> None:
    one = lives()
    one.rates[:] = np.nan
    found = pairs_from(one)
    assert np.isnan(found.activation_turnover).all()
    assert np.isfinite(found.components[[0, 2, 3, 4, 5]]).all()


def test_a_run_without_a_direction_has_no_pairs() -> None:
    one = lives()
    one.norms[:] = 0
    assert window_lives.pairs_from(one) is None
    one.norms[:] = np.nan
    assert window_lives.pairs_from(one) is None
