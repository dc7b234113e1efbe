"""Matching by lives: other schedules, itself permuted, unrelated runs, partners' likeness."""

import numpy as np
import pytest

from atlas.life_match import POINTS, find, lives, of_partners

STEPS = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512])


def norms(seed: int, features: int = 400, steps: np.ndarray = STEPS) -> np.ndarray:
    """Norms (D, K) that rise at some time and fall again at some."""
    rng = np.random.default_rng(seed)
    at = np.log1p(steps) / np.log1p(steps[-1])
    rise, fall = rng.random((2, features, 1)) * [[[1.0]], [[1.5]]]
    sharp = rng.uniform(4, 30, (features, 1))
    values = 1 / (1 + np.exp(-sharp * (at - rise))) * (1 - 0.9 / (1 + np.exp(-9 * (at - fall))))
    return values * rng.uniform(0.1, 5, (features, 1))


def every(count: int) -> np.ndarray:
    return np.ones(count, dtype=bool)


def test_a_life_is_read_on_tau_and_scaled_by_its_largest_norm() -> None:
    found = lives(np.array([[0.0, 2.0, 4.0], [0, 0, 0]]), np.array([0, 9, 99]))
    assert found.shape == (2, POINTS)
    np.testing.assert_allclose(found[0], np.linspace(0, 1, POINTS), atol=1e-12)
    assert np.isnan(found[1]).all()


def test_partners_equal_their_slow_twin() -> None:
    first, second = lives(norms(0, 60), STEPS), lives(norms(1, 45), STEPS)
    kept = every(60), every(45)
    kept[0][7] = kept[1][3] = False
    scores = 1 - np.sqrt(((first[:, None] - second) ** 2).mean(axis=-1))
    scores[7], scores[:, 3] = -np.inf, -np.inf
    for way, values, out in zip(find(first, second, kept).ways, (scores, scores.T), (7, 3),
                                strict=True):
        live = np.arange(len(values)) != out
        assert way.partner[live].tolist() == values[live].argmax(axis=1).tolist()
        np.testing.assert_allclose(way.score[live], values[live].max(axis=1), atol=1e-5)
        assert (way.partner[out], np.isnan(way.percentile[out])) == (-1, True)


def test_a_permuted_run_is_found_whole_on_another_schedule_too() -> None:
    first = lives(norms(2), STEPS)
    order = np.random.default_rng(0).permutation(len(first))
    there, back = find(first, first[order], (every(400), every(400))).ways
    assert (order[there.partner] == np.arange(400)).all()
    for way in (there, back):
        assert way.reciprocal.all()
        assert (way.percentile == 1).all()
    finer = np.unique(np.round(np.expm1(np.linspace(0, np.log1p(512), 24))).astype(int))
    there, _ = find(first, lives(norms(2, steps=finer)[order], finer),
                    (every(400), every(400))).ways
    assert (order[there.partner] == np.arange(400)).mean() > 0.5


@pytest.mark.parametrize("sizes", [(400, 400), (400, 150), (150, 400)])
def test_an_unrelated_run_looks_like_the_null(sizes: tuple[int, int]) -> None:
    values = np.concatenate([
        way.percentile for n in range(4) for way in find(
            *(lives(norms(seed + n, size), STEPS) for seed, size in zip((10, 20), sizes,
                                                                        strict=True)),
            (every(sizes[0]), every(sizes[1]))).ways])
    counts = np.histogram(values, 5, (0, 1))[0] / values.size
    assert counts.max() < 0.27
    assert counts.min() > 0.13
    assert np.mean(values >= 0.99) < 0.03


def test_the_likeness_of_partners_against_a_slow_twin() -> None:
    first, second = lives(norms(3, 50), STEPS), lives(norms(4, 40), STEPS)
    partner = np.random.default_rng(0).integers(0, 40, 50)
    partner[5] = -1
    kept = every(40)
    kept[9] = False
    partner[6] = 9
    life, share = of_partners(first, second, partner, kept)
    scores = 1 - np.sqrt(((first[:, None] - second) ** 2).mean(axis=-1))
    for feature in range(50):
        if feature in (5, 6) or partner[feature] == 9:
            assert np.isnan(life[feature])
            continue
        own = scores[feature, partner[feature]]
        assert life[feature] == pytest.approx(own, abs=1e-5)
        others = scores[feature][kept]
        assert share[feature] == pytest.approx((others < own - 1e-6).mean(), abs=0.03)
    assert 0.3 < np.nanmean(share) < 0.7  # partners at random
