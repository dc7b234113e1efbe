"""The wishbone: components, arms and clusters by the reference, with slow twins and known arms."""

import numpy as np
import pytest

from atlas.store import Store
from atlas.theme import LIGHT
from atlas.window_wishbone import (
    POINTS,
    inside,
    plane,
    plane_figure,
    plane_table,
    read_brush,
    write_brush,
)
from atlas.wishbone import ARMS, LEAST_FEATURES, Wishbone, arms, two_means, wishbone
from tests.tiny import DEAD, SEED0, STEPS, WIDTH

SCHEDULE = [0, 1, 10, 100, 500, 1000, 2000, 3000, 10000, 100000]
SHAPES = np.array([
    [1, 1, 1, 0.9, 0.7, 0.4, 0.2, 0.1, 0, 0],  # early
    [0, 0, 0, 0.1, 0.3, 0.6, 0.8, 1, 1, 1],  # late
    [0, 0, 0.1, 0.5, 1, 1, 0.8, 0.6, 0.5, 0.4],  # in the middle
])


def population(each: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Norms, rates (K, D) and rotation (K - 1, D) of three planted kinds of lives."""
    g = np.random.default_rng(seed)
    rates = np.repeat(SHAPES, each, axis=0) * g.uniform(0.01, 0.2, (3 * each, 1))
    rates = np.clip(rates * (1 + 0.05 * g.normal(size=rates.shape)), 0, 1).T
    return np.ones_like(rates), rates, np.full((9, 3 * each), 1 - np.cos(0.1))


def found_in(seed: int = 0) -> Wishbone:
    found = wishbone(*population(seed=seed), SCHEDULE)
    assert isinstance(found, Wishbone)
    return found


def test_components_equal_those_of_a_singular_value_decomposition() -> None:
    norms, rates, rotation = population()
    found = wishbone(norms, rates, rotation, SCHEDULE, shuffles=3)
    rows = (rates / rates.max(axis=0)).T
    rows = rows - rows.mean(axis=0)
    _, s, v = np.linalg.svd(rows, full_matrices=False)
    np.testing.assert_allclose(found.explained, (s**2 / (s**2).sum())[:2])
    np.testing.assert_allclose(np.abs(found.scores), np.abs(rows @ v[:2].T), atol=1e-9)
    for loading in found.loadings:
        assert loading[np.abs(loading).argmax()] > 0  # the sign that was chosen


def test_side_metrics_by_their_definitions() -> None:
    norms, rates, rotation = population()
    rates[:3, 7] = 0.0005
    found = wishbone(norms, rates, rotation, SCHEDULE, shuffles=1)
    for j in (0, 7, 50, 119):
        r = rates[:, j]
        assert found.first[j] == next(k for k in range(10) if r[k] > 1e-3)
        assert found.lifetime[j] == sum(v / r.max() > 0.30 for v in r)
        assert found.early_late[j] == pytest.approx(r[:5].mean() - r[7:].mean())
        assert found.drift[j] == pytest.approx(0.9)


def test_arms_by_their_medians() -> None:
    scores = np.array([[-2.0, 5], [-1, -5], [0, 1], [1, 3], [2, -1], [3, 0]])
    assert [ARMS[a] for a in arms(scores)] == [
        "left", "left", "left", "upper-right", "lower-right", "upper-right"]
    g = np.random.default_rng(0)
    many = g.normal(size=(400, 2))
    assert np.bincount(arms(many)).tolist() == [200, 100, 100]


def slow_two_means(scores: np.ndarray) -> list[int]:
    points = [(row - scores.mean(axis=0)) / scores.std(axis=0) for row in scores]
    centres = [min(points, key=lambda p: p[0]), max(points, key=lambda p: p[0])]
    found: list[int] = []
    for _ in range(100):
        before = found
        found = [int(np.sum((p - centres[1]) ** 2) < np.sum((p - centres[0]) ** 2))
                 for p in points]
        centres = [np.mean([p for p, c in zip(points, found, strict=True) if c == side], axis=0)
                   for side in (0, 1)]
        if found == before:
            break
    return found


def test_two_means_equals_its_slow_twin() -> None:
    for seed in range(5):
        g = np.random.default_rng(seed)
        scores = np.concatenate([g.normal(size=(60, 2)), g.normal(size=(30, 2)) + [3, 1]])
        found = two_means(scores)
        assert found.tolist() == slow_two_means(scores)
        assert np.median(scores[found == 0, 0]) <= np.median(scores[found == 1, 0])


def test_planted_lives_are_told_apart_and_shuffled_ones_are_not() -> None:
    found = found_in()
    kinds = np.repeat([0, 1, 2], 40)
    sides = [np.sign(np.median(found.scores[kinds == kind, 0])) for kind in (0, 1)]
    assert sides[0] != sides[1]
    assert found.explained[0] > 0.6 > found.null[:, 0].max()
    assert found.null.shape == (20, 2)
    np.testing.assert_array_equal(found.null, found_in().null)


def test_what_has_no_wishbone_says_why() -> None:
    norms, rates, rotation = population()
    assert "2 snapshots" in wishbone(norms[:2], rates[:2], rotation[:1], SCHEDULE[:2])
    assert wishbone(norms, np.full_like(rates, np.nan), rotation, SCHEDULE) == (
        "the run has no rates")
    assert f"only 0 features fire and {LEAST_FEATURES}" in wishbone(
        norms, 0 * rates, rotation, SCHEDULE)
    assert "only 0 features" in wishbone(0.001 * norms, rates, rotation, SCHEDULE)
    assert "no variance" in wishbone(norms, np.ones_like(rates), rotation, SCHEDULE)


def test_a_feature_with_a_gap_or_without_a_rate_is_left_out() -> None:
    norms, rates, rotation = population()
    rates[:, 3], norms[4, 5], rates[2, 9] = 0, np.nan, np.nan
    rotation[:, 11] = np.nan
    found = wishbone(norms, rates, rotation, SCHEDULE, shuffles=1)
    assert set(range(120)) - set(found.features.tolist()) == {3, 5, 9}
    assert found.left_out == 1
    assert np.isfinite(found.drift).all()


def test_a_schedule_without_late_steps_has_no_early_minus_late() -> None:
    norms, rates, rotation = population()
    found = wishbone(norms, rates, rotation, [k + 1 for k in range(10)], shuffles=1)
    assert np.isnan(found.early_late).all()


# --- as a page shows it --------------------------------------------------------------------------


def test_the_plane_of_a_store(tiny_store) -> None:
    store = Store.open(tiny_store)
    from atlas.window_lives import lives_of

    lives = lives_of(store, SEED0)
    found = wishbone(lives.norms, lives.rates, lives.rotation, STEPS)
    rates = lives.rates[:, found.features]
    shown = plane(store, SEED0, found, rates / rates.max(axis=0))
    assert sum(arm.size for arm in shown.arms) == len(found.features) <= WIDTH
    assert DEAD not in shown.features.tolist()
    assert all(0 <= v <= 1 for v in (*shown.x.tolist(), *shown.y.tolist()))
    assert all(0 < p <= 1 for p in shown.p)
    table = plane_table(shown)
    np.testing.assert_allclose(
        table.set_index("feature").loc[found.features.tolist(), ["pc1", "pc2"]].to_numpy(),
        found.scores, atol=2e-3)
    figure, points = plane_figure(store, SEED0, shown, (), LIGHT)
    assert points.n_passing == points.n_total == len(points.features) <= POINTS
    assert "PC1" in figure["layout"]["xaxis"]["title"]["text"]
    box = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    assert sorted(inside(shown, box).tolist()) == sorted(found.features.tolist())
    assert not len(inside(shown, ()))


def test_a_brush_is_read_as_it_was_written() -> None:
    corners = ((0.2, 0.2), (0.8, 0.2), (0.5, 0.9))
    assert read_brush(write_brush(corners)) == (corners, "")
    assert read_brush(None) == ((), "")


@pytest.mark.parametrize("text", ["0,0", "a", "0,0;1,1", "0,0;1,1;2,2", "nan,0;1,1;0,1", ";;;",
                                  "0,0;" * 200])
def test_a_brush_of_nonsense_is_said(text: str) -> None:
    found, problem = read_brush(text)
    assert found == ()
    assert "is no part of the wishbone" in problem
