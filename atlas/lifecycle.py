"""Lives of features over training: birth, peak, death, profile.

Shapes: K snapshots first, D features. Rates and norms are arrays (K, D); a snapshot is named
by its index and K stands for "never". From crosscoder-method §7.3, §7.4, §8.1, §8.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

ACTIVE_NORM = 0.01
"""A feature takes part when its longest direction exceeds this (§8.2)."""
ALIVE = 0.5
"""Share of its own longest norm from which a feature counts as alive (§8.2)."""
EARLY, LATE = 0.35, 0.65
"""Ends of the early and start of the late part of log time (§8.2)."""


def tau(steps: Sequence[int] | np.ndarray) -> np.ndarray:
    """Log time of each step, 0 at the first and 1 at the last snapshot of this schedule (§1.3)."""
    u = np.log10(np.asarray(steps, dtype=np.float64) + 1)
    return (u - u.min()) / (u.max() - u.min()) if np.ptp(u) > 0 else np.zeros_like(u)


@dataclass(frozen=True, eq=False)
class Lifecycle:
    """Lives read from firing rates (§8.1); every array (D,)."""

    first_active: np.ndarray
    """Index of the first of m active snapshots in a row; K: never."""
    peak: np.ndarray
    """Index of the largest rate, the later of equals; K: it never fires."""
    lifetime: np.ndarray
    """Share of the snapshots with a rate above max(floor, alpha x peak)."""
    stabilized: np.ndarray
    """Index from which rate and direction stay near their last values; K: never."""
    drift: np.ndarray
    """Norm-weighted mean rotation from the first active snapshot on; nan without directions."""
    never_active: np.ndarray
    """bool: the peak rate is below the floor."""


def lifecycle(
    rates: ArrayLike,
    to_terminal: ArrayLike | None = None,
    rotation: ArrayLike | None = None,
    norms: ArrayLike | None = None,
    *,
    alpha: float = 0.10,
    floor: float = 1e-4,
    m: int = 2,
    epsilon: float = 0.20,
    delta: float = 0.05,
) -> Lifecycle:
    """The lifecycle table of rates (K, D) (§8.1).

    `to_terminal` (K, D) makes `stabilized` look at directions too; `rotation` (K - 1, D) does
    so where `to_terminal` is not given, and with `norms` (K, D) gives the drift. The reference
    rate is the median of the last quarter of the snapshots, the mean of the middle two.
    """
    rates = np.asarray(rates, dtype=np.float64)
    count, features = rates.shape
    peak_rate = rates.max(axis=0)
    never = peak_rate < floor
    peak = count - 1 - rates[::-1].argmax(axis=0)
    active = rates > np.maximum(floor, alpha * peak_rate)
    runs = np.lib.stride_tricks.sliding_window_view(active, m, axis=0).all(axis=-1)
    first = np.where(runs.any(axis=0), runs.argmax(axis=0), count)
    settled = np.median(rates[-max(1, count // 4) :], axis=0)
    close = np.abs(rates - settled) < epsilon * np.abs(settled) + 1e-12
    if to_terminal is not None:
        close &= _checked(to_terminal, (count, features), "to_terminal") < delta
    elif rotation is not None:
        close[:-1] &= _checked(rotation, (count - 1, features), "rotation") < delta
    stabilized = np.where(close.all(axis=0), 0, count - np.argmax(~close[::-1], axis=0))
    return Lifecycle(
        first_active=np.where(never, count, first),
        peak=np.where(peak_rate == 0, count, peak),
        lifetime=np.where(never, 0.0, active.mean(axis=0)),
        stabilized=np.where(never, count, stabilized),
        drift=_drift(np.where(never, count, first), rotation, norms, (count, features)),
        never_active=never,
    )


def _checked(values: ArrayLike, shape: tuple[int, int], name: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, the rates ask for {shape}")
    return array


def _drift(
    first: np.ndarray, rotation: ArrayLike | None, norms: ArrayLike | None, shape: tuple[int, int]
) -> np.ndarray:
    """sum w rho / sum w over the pairs from `first` on, w = sqrt(n_k n_k+1); 0 if there is none."""
    count, features = shape
    if rotation is None or norms is None:
        return np.full(features, np.nan)
    turn = _checked(rotation, (count - 1, features), "rotation")
    norms = _checked(norms, shape, "norms")
    weight = np.sqrt(norms[:-1] * norms[1:]) * (np.arange(count - 1)[:, None] >= first)
    total = weight.sum(axis=0)
    turned = (weight * np.nan_to_num(turn)).sum(axis=0)
    return np.divide(turned, total, out=np.zeros(features), where=total > 0)


def trajectory(norms: ArrayLike) -> np.ndarray:
    """Norms over their own maximum, (K, D), rounded through float16 as the record is (§8.2).

    All zero for a feature whose norms are.
    """
    norms = np.asarray(norms, dtype=np.float64)
    longest = norms.max(axis=0)
    share = np.divide(norms, longest, out=np.zeros_like(norms), where=longest > 0)
    return share.astype(np.float16).astype(np.float64)


@dataclass(frozen=True, eq=False)
class NormSummary:
    """What the profile rules read of trajectories q (K, D); every array (D,) (§8.2)."""

    birth: np.ndarray
    """First index with q >= 0.5; K: none."""
    death: np.ndarray
    """Last index with q >= 0.5; K: none."""
    alive_fraction: np.ndarray
    """Share of the snapshots with q >= 0.5."""
    support_span: np.ndarray
    """Log time from birth to death."""
    peak: np.ndarray
    """Index of the largest q, the first of equals."""
    early: np.ndarray
    """Mean of q over tau <= 0.35."""
    late: np.ndarray
    """Mean of q over tau >= 0.65."""
    mid_peak: np.ndarray
    """Largest q strictly between them; 0 where the schedule has no such snapshot."""
    mid_mean: np.ndarray
    """Mean of q strictly between them."""
    spread: np.ndarray
    """max - min of q."""


def norm_summary(q: ArrayLike, steps: Sequence[int]) -> NormSummary:
    """Summaries of trajectories q (K, D) at the given steps (K,)."""
    q = np.asarray(q, dtype=np.float64)
    count, features = q.shape
    time = tau(steps)
    if len(time) != count:
        raise ValueError(f"{count} snapshots and {len(time)} steps")
    birth, death = _first_and_last(q >= ALIVE)
    mid = q[(time > EARLY) & (time < LATE)]
    nothing = np.zeros(features)
    span = np.append(time, 0.0)
    return NormSummary(
        birth=birth,
        death=death,
        alive_fraction=(q >= ALIVE).mean(axis=0),
        support_span=span[death] - span[birth],
        peak=q.argmax(axis=0),
        early=q[time <= EARLY].mean(axis=0),
        late=q[time >= LATE].mean(axis=0) if (time >= LATE).any() else nothing,
        mid_peak=mid.max(axis=0) if len(mid) else nothing,
        mid_mean=mid.mean(axis=0) if len(mid) else nothing,
        spread=np.ptp(q, axis=0),
    )


def _first_and_last(alive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and last true index along axis 0; K where there is none."""
    count = alive.shape[0]
    some = alive.any(axis=0)
    first = np.where(some, alive.argmax(axis=0), count)
    last = np.where(some, count - 1 - alive[::-1].argmax(axis=0), count)
    return first, last


def profiles(norms: ArrayLike, steps: Sequence[int]) -> list[str]:
    """Profile of each feature from norms (K, D), the refined taxonomy; first rule wins (§8.2).

    One of persistent, transitional, early-decaying, late-emerging, mixed, inactive.
    """
    norms = np.asarray(norms, dtype=np.float64)
    s = norm_summary(trajectory(norms), steps)
    peak_tau = tau(steps)[s.peak]
    rules = [
        norms.max(axis=0) <= ACTIVE_NORM,
        ((s.alive_fraction >= 0.70) & (s.spread <= 0.35))
        | (np.minimum(np.minimum(s.early, s.mid_mean), s.late) >= 0.45),
        (s.mid_peak >= 0.75)
        & (s.mid_peak - np.maximum(s.early, s.late) >= 0.35)
        & (s.late <= 0.30)
        & (s.support_span <= 0.35)
        & (peak_tau > EARLY)
        & (peak_tau < LATE),
        (s.early >= 0.50) & (s.early - s.late >= 0.30) & (peak_tau <= 0.45),
        (s.late >= 0.50) & (s.late - s.early >= 0.30) & (peak_tau >= 0.55),
    ]
    names = ["inactive", "persistent", "transitional", "early-decaying", "late-emerging"]
    return np.select(rules, names, default="mixed").tolist()


def peak_steps(norms: ArrayLike, steps: Sequence[int]) -> np.ndarray:
    """Step of the longest direction of each feature, the first of equals; -1 if inactive (§8.2)."""
    norms = np.asarray(norms, dtype=np.float64)
    at = np.asarray(steps)[trajectory(norms).argmax(axis=0)]
    return np.where(norms.max(axis=0) > ACTIVE_NORM, at, -1)


def births_and_deaths(norms: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """First and last snapshot index (D,) at which a feature has half its longest norm (§8.2).

    K where the feature is inactive. A death at K - 1 means it is alive at the end.
    """
    norms = np.asarray(norms, dtype=np.float64)
    alive = (trajectory(norms) >= ALIVE) & (norms.max(axis=0) > ACTIVE_NORM)
    return _first_and_last(alive)


def floor_corrected_births(norms: ArrayLike, floor: ArrayLike) -> np.ndarray:
    """Birth index (D,) once the noise floor (D,) is taken off: sqrt(max(0, n^2 - floor^2)).

    K where nothing stands above the floor. It takes every snapshot for noise of unit variance,
    so it over-corrects late ones a little (demo §5.4).
    """
    norms = np.asarray(norms, dtype=np.float64)
    above = np.sqrt(np.maximum(norms**2 - np.asarray(floor, dtype=np.float64) ** 2, 0.0))
    return births_and_deaths(above)[0]


def cusum_max(values: ArrayLike) -> np.ndarray:
    """Largest |cumulative sum| of values (K, ...) about their own mean over K (§7.4)."""
    values = np.asarray(values, dtype=np.float64)
    return np.abs(np.cumsum(values - values.mean(axis=0), axis=0)).max(axis=0)


def rate_rotation_r(rates: ArrayLike, rotation: ArrayLike) -> float:
    """Pearson r of |change of rates (K, D)| and rotation (K - 1, D) over all pairs (§7.3).

    nan where either has no spread; pairs without an angle are left out. Both come from the
    decoder, so a large r is to be expected.
    """
    change = np.abs(np.diff(np.asarray(rates, dtype=np.float64), axis=0)).ravel()
    turn = np.asarray(rotation, dtype=np.float64).ravel()
    known = ~np.isnan(turn)
    change, turn = change[known], turn[known]
    if change.size < 2 or np.ptp(change) == 0 or np.ptp(turn) == 0:
        return float("nan")
    return float(np.corrcoef(change, turn)[0, 1])
