"""The window of a planted population is found, and p is uniform where nothing is planted."""

import numpy as np
import pytest

from atlas.reorganisation import bootstrap, pair_metrics, score_windows
from atlas.window_choice import choose
from tests.benchmarks import window_null
from tests.benchmarks.window_null import STEPS, independent, ps, walking, written

TURNING = 512
"""Step after which the planted population is another."""


def planted(seed: int, strength: float = 1.0) -> window_null.Population:
    """A walking population in which half of the features turn and change their norm after
    `TURNING`, and no others do."""
    norms, _, rotation, to_terminal = walking(seed)
    g = np.random.default_rng(seed + 1)
    after = np.array(STEPS) > TURNING
    moved = np.arange(norms.shape[1]) % 2 == 0
    factor = np.where(g.random(norms.shape[1]) < 0.5, 6.0, 1 / 6.0) ** strength
    norms = norms * np.where(after[:, None] & moved, factor, 1.0)
    rates = np.clip(0.02 * norms, 0, 1)
    pair = STEPS.index(TURNING)
    rotation[pair, moved] += 0.6 * strength * (1 - rotation[pair, moved])
    to_terminal = to_terminal + 0.6 * strength * (~after)[:, None] * moved
    return norms, rates, rotation, np.clip(to_terminal, 0, 2)


@pytest.mark.parametrize("seed", range(6))
def test_a_planted_window_is_recovered(seed: int) -> None:
    found = score_windows(pair_metrics(*planted(seed)).components, STEPS, seed)
    w, best = found.windows, found.best
    assert w.from_step[best] <= TURNING < w.to_step[best]
    assert found.p[best] <= 0.01
    assert found.p_any[best] <= 0.05


def test_its_interval_holds_it_and_a_window_elsewhere_has_no_score() -> None:
    parts = planted(3)
    around = bootstrap(*parts, STEPS, 3, resamples=40)
    assert around.from_low <= TURNING < around.to_high
    assert around.to_high < 9000
    components = pair_metrics(*parts).components
    here, late = (choose(components, STEPS, *w, 3) for w in ((400, 1100), (14000, 38000)))
    assert here.z > 2 > late.z
    assert late.p > 0.05


def test_without_a_plant_none_is_claimed() -> None:
    corrected = [ps(window_null.of_walk(seed), seed)["own window, chosen"] for seed in range(20)]
    assert np.mean(np.array(corrected) <= 0.05) <= 0.15


def test_p_is_uniform_where_the_metrics_are_independent() -> None:
    """The slow proof at 60 seeds; the window chosen for standing out is not uniform by itself."""
    found = [ps(independent(seed), seed) for seed in range(60)]
    for name in ("fixed window", "own window, chosen"):
        values = np.array([one[name] for one in found])
        assert window_null.distance(values) <= window_null.allowed(60), name
        assert (values <= 0.05).mean() <= 0.15, name
    assert np.mean([one["own window, by itself"] <= 0.05 for one in found]) > 0.3


def test_the_distance_is_that_of_kolmogorov() -> None:
    grid = (np.arange(100) + 0.5) / 100
    assert window_null.distance(grid) == pytest.approx(0.005)
    assert window_null.distance(grid**4) > 0.3
    assert window_null.distance(np.ones(10)) == pytest.approx(1)


def test_the_table_of_the_slow_proof() -> None:
    rows = window_null.table(3)
    assert len(rows) == 6
    text = written(rows, 3, 1.0)
    assert text.count("\n| metrics |") == text.count("\n| population |") == 3
