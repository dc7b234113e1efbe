"""When does a population of features reorganise: pair metrics, windows, score, null, bootstrap.

Shapes: K snapshots first, D features, P = K - 1 pairs of neighbours, W windows. From
crosscoder-method §9.1 to §9.4. Time is u = log10(step + 1), a window half a unit of it wide.

The score compares the windows of one run with each other, so some window is always the highest;
the null asks whether it would be as high if the six metrics did not peak together. The p of the
record belongs to its window alone. That window was chosen among W, so beside it stands `p_any`:
how often any window of a shifted run stands out as far.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from atlas.lifecycle import ACTIVE_NORM

COMPONENTS = (
    "lifecycle_turnover", "activation_turnover", "weighted_rotation", "direction_velocity",
    "rank_instability", "peak_density",
)
"""The six metrics of the score, in the order in which the null shifts them."""
WIDTH = 0.5
"""Width of a window in log10(step + 1)."""
MIN_SNAPSHOTS = 9
"""Fewest snapshots of a run that gets a window. The record names no limit (its runs have 16 or
32); with fewer pairs than eight the shifts soon repeat each other."""
SHIFTS = 200
"""Circular shifts of the null; the smallest p is 1 in 201."""
RESAMPLES = 400
"""Resamples of the bootstrap."""
BOOTSTRAP_SHIFTS = 50
"""Circular shifts of the null of each resample."""
SEED = 20260503
"""What the character codes of a run's key are added to."""
LEAST = 1e-8
"""Smallest weight, spread and scaled value."""
TOP_SHARE, TOP_LEAST = 0.10, 256
"""Features by norm that `rank_instability` compares: a tenth, at least so many."""
RUN_KEYS = {
    "pythia-160m/W_U/cross-snapshot-32/d24576/seed0": "pythia160m_d24576",
    "pythia-1b/W_U/cross-snapshot-32/d24576/seed0": "pythia1b_d24576",
    "pythia-6.9b/W_U/cross-snapshot-32/d32768/sparse/seed0": "pythia69b_d32768",
    "olmo-2-7b/W_U/cross-snapshot-32/d32768/seed0": "olmo2_7b_d32768",
}
"""Keys under which the record seeds its draws for four runs; any other run's key is its id."""


def seed_of(run: str) -> int:
    """Seed of a run's null and bootstrap (§9.4)."""
    return SEED + sum(map(ord, RUN_KEYS.get(run, run)))


# --- pair metrics --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PairMetrics:
    """Change of the population between neighbouring snapshots; every array (P,) (§9.1)."""

    lifecycle_turnover: np.ndarray
    """Mean |change of norm over its maximum|, weighed by the longer norm of the pair."""
    activation_turnover: np.ndarray
    """Mean |change of rate over its maximum|, weighed by the longer norm."""
    weighted_rotation: np.ndarray
    """Mean angle in radians, weighed by the geometric mean of the two norms."""
    direction_velocity: np.ndarray
    """Mean |change of the cosine to the last direction|, weighed the same."""
    rank_instability: np.ndarray
    """1 - Jaccard overlap of the features of largest norm; 0 where these are all of them."""
    peak_density: np.ndarray
    """Peak norm of the features whose norm peaks at the later snapshot, over all peak norm."""
    unweighted_rotation: np.ndarray
    """Mean angle in radians over all active features; not part of the score."""
    mass_change: np.ndarray
    """Change of the summed norm, in units of its largest value; not part of the score."""

    @property
    def components(self) -> np.ndarray:
        """(6, P): the metrics of the score, in the order of `COMPONENTS`."""
        return np.stack([getattr(self, name) for name in COMPONENTS])


def pair_metrics(
    norms: ArrayLike, rates: ArrayLike, rotation: ArrayLike, to_terminal: ArrayLike
) -> PairMetrics:
    """Pair metrics of a population, active features only (§9.1).

    Args:
        norms, rates: (K, D).
        rotation: (K - 1, D), 1 - cosine between neighbours.
        to_terminal: (K, D), 1 - cosine to the last direction. Where a direction has no length
            both are nan and weigh nothing.
    """
    parts = _parts(norms, rates, rotation, to_terminal)
    ones = np.ones((parts.n_active, 1))
    found = {name: values[:, 0] for name, values in _weighed(parts, ones).items()}
    return PairMetrics(
        **found,
        unweighted_rotation=parts.angles.mean(axis=1) if parts.n_active
        else np.zeros(len(parts.angles)),
        mass_change=_mass_change(parts.norms),
    )


@dataclass(frozen=True, eq=False)
class _Parts:
    """What the metrics sum up, of the n active features: (P, n) unless said otherwise."""

    norms: np.ndarray
    """(K, n)."""
    longer: np.ndarray
    between: np.ndarray
    turnover: np.ndarray
    activity: np.ndarray
    angles: np.ndarray
    velocity: np.ndarray
    peak: np.ndarray
    """(n,) index of the largest norm, the first of equals."""

    @property
    def n_active(self) -> int:
        return self.norms.shape[1]


def _parts(
    norms: ArrayLike, rates: ArrayLike, rotation: ArrayLike, to_terminal: ArrayLike
) -> _Parts:
    norms = np.asarray(norms, dtype=np.float64)
    active = norms.max(axis=0) > ACTIVE_NORM
    count = len(norms)

    def chosen(values: ArrayLike, rows: int, name: str) -> np.ndarray:
        array = np.asarray(values, dtype=np.float64)
        if array.shape != (rows, len(active)):
            raise ValueError(f"{name} has shape {array.shape}, expected {(rows, len(active))}")
        return array[:, active]

    norms, rates = norms[:, active], chosen(rates, count, "rates")
    turn = np.nan_to_num(chosen(rotation, count - 1, "rotation"), nan=1.0)
    cosine = np.nan_to_num(1 - chosen(to_terminal, count, "to_terminal"), nan=0.0)
    most = rates.max(axis=0)
    activity = np.divide(rates, most, out=np.zeros_like(rates), where=most > 0)
    return _Parts(
        norms=norms,
        longer=np.maximum(norms[:-1], norms[1:]),
        between=np.sqrt(norms[:-1] * norms[1:]),
        turnover=np.abs(np.diff(norms / norms.max(axis=0), axis=0)),
        activity=np.abs(np.diff(activity, axis=0)),
        angles=np.arccos(np.clip(1 - turn, -1, 1)),
        velocity=np.abs(np.diff(cosine, axis=0)),
        peak=norms.argmax(axis=0),
    )


def _weighed(parts: _Parts, times: np.ndarray) -> dict[str, np.ndarray]:
    """The six metrics (P, B) of B populations in which each feature stands `times` (n, B)."""
    longer = np.maximum(parts.longer @ times, LEAST)
    between = np.maximum(parts.between @ times, LEAST)
    longest = parts.norms.max(axis=0, initial=0.0)
    peaks = np.stack([(longest * (parts.peak == k)) @ times for k in range(len(parts.norms))])
    return {
        "lifecycle_turnover": (parts.longer * parts.turnover) @ times / longer,
        "activation_turnover": (parts.longer * parts.activity) @ times / longer,
        "weighted_rotation": (parts.between * parts.angles) @ times / between,
        "direction_velocity": (parts.between * parts.velocity) @ times / between,
        "rank_instability": _rank_instability(parts.norms, times),
        "peak_density": peaks[1:] / np.maximum(longest @ times, LEAST),
    }


def _rank_instability(norms: np.ndarray, times: np.ndarray) -> np.ndarray:
    """1 - Jaccard of the M longest at neighbouring snapshots, (P, B); of equals the first ones.

    A feature that stands several times in a resample counts as that many features of equal norm.
    """
    total = norms.shape[1]
    most = int(np.clip(round(TOP_SHARE * total), TOP_LEAST, total)) if total > TOP_LEAST else total
    found = np.zeros((len(norms) - 1, times.shape[1]))
    if most == total:
        return found
    before: np.ndarray | None = None
    for k, row in enumerate(norms):
        order = np.argsort(-row, kind="stable")
        ranked = times[order]
        inside = np.clip(most - (np.cumsum(ranked, axis=0) - ranked), 0, ranked)
        among = np.empty_like(inside)
        among[order] = inside
        if before is not None:
            common = np.minimum(before, among).sum(axis=0)
            found[k - 1] = 1 - common / (2 * most - common)
        before = among
    return found


def _mass_change(norms: np.ndarray) -> np.ndarray:
    mass = norms.sum(axis=1)
    return np.diff(mass / max(mass.max(initial=0.0), LEAST))


# --- windows -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Windows:
    """Candidate windows of a schedule; W of them (§9.2)."""

    start: np.ndarray
    """(W,) int64: index of the snapshot at which each begins."""
    weight: np.ndarray
    """(W, P): how much of each pair's metric falls into a window: overlap / width of the pair."""
    from_step: np.ndarray
    """(W,) first step."""
    to_step: np.ndarray
    """(W,) last step, 10^(u + 0.5) - 1; as a rule between two snapshots."""
    center: np.ndarray
    """(W,) middle in log time."""


def windows(steps: Sequence[int], width: float = WIDTH) -> Windows:
    """Windows of `width` in log10(step + 1), half a decade unless said otherwise, that begin at a
    snapshot and end within the schedule (§9.2)."""
    u = log_time(steps)
    start = np.flatnonzero(u[:-1] <= u[-1] - width + 1e-12)
    return Windows(
        start=start,
        weight=overlap(u, u[start], u[start] + width),
        from_step=np.asarray(steps)[start],
        to_step=10 ** (u[start] + width) - 1,
        center=10 ** (u[start] + width / 2) - 1,
    )


def log_time(steps: ArrayLike) -> np.ndarray:
    """u = log10(step + 1) of steps, the time in which windows are measured (§9.2)."""
    return np.log10(np.asarray(steps, dtype=np.float64) + 1)


def overlap(u: np.ndarray, low: ArrayLike, high: ArrayLike) -> np.ndarray:
    """How much of each pair's metric falls into windows low…high (W,), (W, P) in [0, 1]; a metric
    lies evenly over its pair (§9.2). Everything in log time; u (K,)."""
    low, high = np.atleast_1d(low)[:, None], np.atleast_1d(high)[:, None]
    inside = np.minimum(u[1:], high) - np.maximum(u[:-1], low)
    return np.maximum(inside, 0.0) / np.diff(u)


def structural_score(values: np.ndarray) -> np.ndarray:
    """Scores (..., W) of components (..., 6, W): each scaled to 0…1 over the windows, then their
    geometric mean (§9.3).

    A component that is the same in every window is 0 in all of them.
    """
    low, high = values.min(axis=-1, keepdims=True), values.max(axis=-1, keepdims=True)
    spread = high - low
    scaled = np.divide(values - low, spread, out=np.zeros_like(values), where=spread > 0)
    return np.exp(np.log(np.clip(scaled, LEAST, None)).mean(axis=-2))


@dataclass(frozen=True, eq=False)
class Reorganisation:
    """The scored windows of a run beside their null; arrays (W,) (§9.4)."""

    windows: Windows
    score: np.ndarray
    z: np.ndarray
    """(score - mean of the null) / its population standard deviation, window by window."""
    p: np.ndarray
    """(shifts whose score at this window is as high + 1) / (shifts + 1)."""
    p_any: np.ndarray
    """(shifts in which any window has as high a z + 1) / (shifts + 1)."""
    null: np.ndarray
    """(shifts, W) scores of the shifted metrics."""
    best: int
    """Window of the largest z: the one that is reported."""


def score_windows(
    components: np.ndarray, steps: Sequence[int], seed: int, shifts: int = SHIFTS
) -> Reorganisation:
    """Score the windows of pair metrics (6, P) and choose one by z (§9.4).

    The null rolls each metric on its own by 1 to P - 1 pairs. The draws come in the order of
    the shifts, within one in that of `COMPONENTS`.

    Raises:
        ValueError: fewer than two pairs, or no window fits the schedule.
    """
    found = windows(steps)
    pairs = components.shape[1]
    if pairs < 2 or not len(found.start):
        raise ValueError(f"{pairs} pairs and {len(found.start)} windows; no shift can be drawn")
    score = structural_score(components @ found.weight.T)
    null = structural_score(shifted(components, seed, shifts) @ found.weight.T)
    mean, spread = null.mean(axis=0), np.maximum(null.std(axis=0), LEAST)
    z = (score - mean) / spread
    highest = ((null - mean) / spread).max(axis=1)
    return Reorganisation(
        windows=found,
        score=score,
        z=z,
        p=((null >= score).sum(axis=0) + 1) / (shifts + 1),
        p_any=((highest[:, None] >= z).sum(axis=0) + 1) / (shifts + 1),
        null=null,
        best=int(z.argmax()),
    )


def shifted(components: np.ndarray, seed: int, shifts: int = SHIFTS) -> np.ndarray:
    """The null's metrics (shifts, 6, P): each rolled on its own by 1 to P - 1 pairs (§9.4)."""
    count, pairs = components.shape
    roll = np.random.default_rng(seed).integers(1, pairs, size=(shifts, count))
    source = (np.arange(pairs) - roll[:, :, None]) % pairs
    return components[np.arange(count)[:, None], source]


@dataclass(frozen=True)
class Interval:
    """Where the chosen window lies when the features are drawn again (§9.4), in steps."""

    center_low: float
    """5 % quantile of its centre."""
    center_middle: float
    """Median of its centre."""
    center_high: float
    """95 % quantile of its centre."""
    from_low: float
    """5 % quantile of its first step."""
    to_high: float
    """95 % quantile of its last step."""


def bootstrap(
    norms: ArrayLike, rates: ArrayLike, rotation: ArrayLike, to_terminal: ArrayLike,
    steps: Sequence[int], seed: int, resamples: int = RESAMPLES, shifts: int = BOOTSTRAP_SHIFTS,
) -> Interval:
    """The window chosen anew from resampled active features (§9.4); arrays as `pair_metrics`.

    Every metric is a sum over features, so a resample is a number of times for each: all of them
    are a few matrix products. Resample b draws its shifts from seed + b.

    Raises:
        ValueError: as `score_windows`.
    """
    parts = _parts(norms, rates, rotation, to_terminal)
    generator = np.random.default_rng(seed)
    places = []
    for first in range(0, resamples, 50):  # so many at a time stay in memory
        numbers = range(first, min(first + 50, resamples))
        drawn = [generator.integers(0, parts.n_active, size=parts.n_active) for _ in numbers]
        times = np.stack([np.bincount(d, minlength=parts.n_active) for d in drawn], axis=1)
        metrics = _weighed(parts, times.astype(np.float64))
        components = np.stack([metrics[name] for name in COMPONENTS])
        for column, number in enumerate(numbers):
            found = score_windows(components[:, :, column], steps, seed + number, shifts)
            w = found.windows
            places.append((w.from_step[found.best], w.center[found.best], w.to_step[found.best]))
    start, center, end = np.array(places).T
    low, middle, high = (float(q) for q in np.percentile(center, (5, 50, 95)))
    return Interval(low, middle, high, float(np.percentile(start, 5)),
                    float(np.percentile(end, 95)))


def enough(norms: ArrayLike, steps: Sequence[int]) -> bool:
    """Whether a run has a window: snapshots enough, a schedule longer than it, features alive."""
    norms = np.asarray(norms)
    if len(steps) < MIN_SNAPSHOTS or not np.isfinite(norms).all():
        return False
    u = math.log10(steps[-1] + 1) - math.log10(steps[0] + 1)
    return u > WIDTH and bool((norms.max(axis=0) > ACTIVE_NORM).any())
