"""When does a population change: the signed robust CUSUM statistic and its permutation null.

Shapes: K snapshots first, D features. One scalar per run, one-sided: how far the most displaced
feature drifts above its own early level, in units of its own early scatter (crosscoder-method
§7.4). Several training seeds share their snapshots: average their rates and test once.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

MIN_SNAPSHOTS = 9
"""Fewest snapshots whose first third, at least three of them, can serve as a baseline."""
MAX_BASELINE = 10
"""Most snapshots of the baseline."""
NORMAL = 1.4826
"""Standard deviation of a normal variable over its median absolute deviation."""
LEAST_SCALE = 1e-8
"""Smallest scale that a deviation is divided by."""
DRAWS = 1000
"""Permutations that are drawn unless told otherwise; the smallest p is 1 in 1,001. The record
drew 100,000 for its paper."""


@dataclass(frozen=True, eq=False)
class PermutationTest:
    """The statistic of a run beside what shuffled snapshots give."""

    observed: float
    """The statistic at the true order of the snapshots."""
    p_value: float
    """(1 + draws that reach it) / (draws + 1), one-sided."""
    z: float
    """(observed - mean of the null) / its population standard deviation; nan without spread."""
    null: np.ndarray
    """(draws,) the statistic at each shuffle."""

    @property
    def draws(self) -> int:
        """Shuffles that were drawn."""
        return len(self.null)


def baseline_length(count: int) -> int:
    """Leading snapshots that set the level and scatter of a feature: a third, at most ten (§7.4).

    Raises:
        ValueError: fewer than nine snapshots; a third of them is no baseline.
    """
    if count < MIN_SNAPSHOTS:
        raise ValueError(f"{count} snapshots; the change statistic needs {MIN_SNAPSHOTS} or more")
    return min(MAX_BASELINE, max(count // 3, 2))


def _lower_median(values: np.ndarray) -> np.ndarray:
    """The lower of the two middle values of each row, as torch takes it, not their mean."""
    middle = (values.shape[1] - 1) // 2
    return np.partition(values, middle, axis=1)[:, middle]


def _statistic(values: np.ndarray) -> float:
    """The statistic of values (D, K), one row per feature; the rows are overwritten."""
    early = values[:, : baseline_length(values.shape[1])]
    level = early.mean(axis=1)
    scatter = _lower_median(np.abs(early - _lower_median(early)[:, None])) * NORMAL
    known = scatter[scatter > 0]
    floor = max(LEAST_SCALE, float(np.quantile(known, 0.25)) if len(known) else 0.0)
    values -= level[:, None]
    np.cumsum(values, axis=1, out=values)
    return float((values.max(axis=1) / np.maximum(scatter, floor)).max())


def robust_cusum(values: ArrayLike) -> float:
    """The statistic S of values (K, D): the largest signed standardised cumulative sum (§7.4).

    Level and scatter (median absolute deviation about the lower median) come from the first
    third of the snapshots. The scatter is never taken below the 25 % quantile of those that are
    not zero.

    Raises:
        ValueError: fewer than nine snapshots, or no feature.
    """
    return _statistic(_features_first(values))


def robust_cusum_slow(values: ArrayLike) -> float:
    """The same, one feature after the other: the twin to check against."""
    values = np.asarray(values, dtype=np.float64)
    first = baseline_length(len(values))

    def median(numbers: list[float]) -> float:
        return sorted(numbers)[(len(numbers) - 1) // 2]

    scatters = []
    for row in values.T:
        early = row[:first].tolist()
        centre = median(early)
        scatters.append(NORMAL * median([abs(v - centre) for v in early]))
    known = [s for s in scatters if s > 0]
    floor = max(LEAST_SCALE, float(np.quantile(known, 0.25)) if known else 0.0)
    best = -np.inf
    for row, scatter in zip(values.T, scatters, strict=True):
        level, total = sum(row[:first]) / first, 0.0
        for value in row:
            total += (value - level) / max(scatter, floor)
            best = max(best, total)
    return best


def _features_first(values: ArrayLike) -> np.ndarray:
    """A copy (D, K) that may be overwritten."""
    values = np.array(np.asarray(values, dtype=np.float64).T, order="C")
    if values.ndim != 2 or not len(values):
        raise ValueError(f"values have shape {values.shape[::-1]}, expected (K, D) with D > 0")
    return values


def permutation_test(
    values: ArrayLike,
    draws: int = DRAWS,
    generator: np.random.Generator | None = None,
    workers: int = 1,
) -> PermutationTest:
    """How often shuffled snapshots reach the statistic of values (K, D) (§7.4).

    Every feature's K values are shuffled independently of the others': one order for all would
    be too kind. A worker holds one shuffle at a time, so the memory is that of the values, twice
    over and once more for each worker. The generator is a fresh one of seed 0 unless given; how
    many workers there are changes nothing but the time.

    Raises:
        ValueError: fewer than nine snapshots, no feature, or no draw.
    """
    if draws < 1:
        raise ValueError(f"{draws} draws; the null needs at least one")
    rows = _features_first(values)
    observed = _statistic(rows.copy())
    # A feature that never changes is the same in any order: its sum is 0 and its scatter is left
    # out of the floor. All of them together stand as one.
    changing = np.ptp(rows, axis=1) > 0
    kept = rows if changing.all() else np.vstack([rows[changing], rows[~changing][:1]])
    streams = (generator or np.random.default_rng(0)).spawn(draws)

    def draw(share: list[np.random.Generator]) -> list[float]:
        shuffled = np.empty_like(kept)
        return [_statistic(stream.permuted(kept, axis=1, out=shuffled)) for stream in share]

    with ThreadPoolExecutor(workers) as pool:
        shares = [streams[worker::workers] for worker in range(workers)]
        null = np.empty(draws)
        for worker, found in enumerate(pool.map(draw, shares)):
            null[worker::workers] = found
    spread = null.std()
    return PermutationTest(
        observed=observed,
        p_value=float((1 + (null >= observed).sum()) / (draws + 1)),
        z=float((observed - null.mean()) / spread) if spread > 0 else float("nan"),
        null=null,
    )
