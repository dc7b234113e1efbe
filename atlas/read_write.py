"""Reading and writing: does W_E or W_U take a token family up first? Peaks of two dictionaries.

Shapes: F families, K snapshots that both runs share, D features. Time is u = log10(step + 1).
From crosscoder-method §11 (W_E vs W_U). A feature peaks at one of K snapshots, so all that is
asked of a family are its counts of peaks by snapshot, (K,): medians, resamples and shuffles are
drawn from the counts, whatever the number of features.

The null of a lead keeps both dictionaries and all their peaks, and deals the family's name out
among the live features of each anew. It asks whether the family leads more, or less, than the
dictionary it is part of; that whole dictionaries differ is asked apart, by dealing all features
out among the two matrices. Features of one dictionary are not independent of each other (they
share tokens and rows), so an interval over features is narrower than one over seeds would be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

FAMILY_SHARE = 0.35
"""Share of its strongest tokens from which a feature is of a family (§11)."""
FEWEST = 24
"""Features of a family at least: where fewer reach the share, those of the highest (§11)."""
LEAST = 5
"""Features of a family, in each run, below which nothing is said of it."""
CONTROL_SHARE = 0.10
"""Share of a family below which a feature may be a control of it: min(0.1, threshold / 2)."""
LENGTH_CAP = 3.0
"""Largest scaled token length in the matching of controls (§11)."""
DRAWS, RESAMPLES = 1999, 1000
"""Shuffles of the null (the smallest p is 1 in 2,000) and resamples of the interval."""
INTERVAL = (5.0, 95.0)
"""Percentiles of the interval, and of the band of the null."""
SEED = 20260503
PEAKS = ("rate", "norm")
"""What a peak is of: the share of rows a feature fires on, or the length of its direction."""


def log_time(steps: Sequence[int]) -> np.ndarray:
    """u of steps, (K,)."""
    return np.log10(np.asarray(steps, dtype=np.float64) + 1)


def step_of(u: ArrayLike) -> np.ndarray:
    """The step at u; between two snapshots no whole number."""
    return 10.0 ** np.asarray(u, dtype=np.float64) - 1


def peaks(values: ArrayLike, of: str) -> np.ndarray:
    """Snapshot (D,) at which values (D, K) are largest; -1 if unknown anywhere or never above 0.

    Of equals the later of a rate, the first of a norm (§8.1, §8.2, §15 trap 13).
    """
    values = np.asarray(values, dtype=np.float64)
    known = np.isfinite(values).all(axis=1)
    clean = np.where(known[:, None], values, 0.0)
    at = clean.argmax(axis=1) if of == "norm" else (
        clean.shape[1] - 1 - clean[:, ::-1].argmax(axis=1)
    )
    return np.where(known & (clean.max(axis=1) > 0), at, -1)


def swing(values: ArrayLike) -> float:
    """Median over features of (largest - smallest) / largest of values (D, K); nan of none.

    0 where courses are flat: a peak of a flat course says little. Features with a value missing or
    never above 0 are left out.
    """
    values = np.asarray(values, dtype=np.float64)
    kept = values[np.isfinite(values).all(axis=1) & (values.max(axis=1, initial=0.0) > 0)]
    return float(np.median(1 - kept.min(axis=1) / kept.max(axis=1))) if len(kept) else float("nan")


def members(shares: ArrayLike, allowed: ArrayLike) -> np.ndarray:
    """Which features are of which family, bool (D, F), from the families' shares (D, F) (§11).

    All that reach `FAMILY_SHARE`; where fewer than `FEWEST` do, the highest, of equals the first.
    Never one without a token of the family, nor one that is not allowed (D,).
    """
    shares = np.where(np.asarray(allowed)[:, None], np.asarray(shares, dtype=np.float64), 0.0)
    found = shares >= FAMILY_SHARE
    for f in np.flatnonzero(found.sum(axis=0) < FEWEST):
        best = np.argsort(-shares[:, f], kind="stable")[:FEWEST]
        found[best, f] = shares[best, f] > 0
    return found


def matched_controls(places: ArrayLike, member: ArrayLike, eligible: ArrayLike) -> np.ndarray:
    """The eligible feature nearest each member, in the order of the members; it may serve twice.

    Args:
        places: (D, 2) median token id and median token length of a feature, scaled (§11).
        member, eligible: (D,) bool.

    Returns:
        (n members,) feature ids; empty where fewer than `FEWEST` are eligible.
    """
    from scipy.spatial import cKDTree

    places, pool = np.asarray(places, dtype=np.float64), np.flatnonzero(eligible)
    if len(pool) < FEWEST:
        return np.zeros(0, dtype=np.int64)
    near = cKDTree(places[pool]).query(places[np.asarray(member, dtype=bool)])[1]
    return pool[near]


def counts_of(peak: ArrayLike, member: ArrayLike, count: int) -> np.ndarray:
    """Peaks by snapshot (F, K) of families' features, from peaks (D,) and members (D, F)."""
    peak, member = np.asarray(peak), np.asarray(member, dtype=bool)
    known = peak >= 0
    return np.stack([
        np.bincount(peak[known & column], minlength=count) for column in member.T
    ]) if member.shape[1] else np.zeros((0, count), dtype=np.int64)


def medians(counts: ArrayLike, u: ArrayLike) -> np.ndarray:
    """Median of u over counts (..., K); of an even number the mean of the middle two; nan of none.
    """
    counts, u = np.asarray(counts), np.asarray(u, dtype=np.float64)
    up_to = np.cumsum(counts, axis=-1)
    n = up_to[..., -1:]
    low = np.minimum((up_to <= (n - 1) // 2).sum(axis=-1), len(u) - 1)
    high = np.minimum((up_to <= n // 2).sum(axis=-1), len(u) - 1)
    return np.where(n[..., 0] > 0, (u[low] + u[high]) / 2, np.nan)


def holm(p: ArrayLike) -> np.ndarray:
    """p-values corrected for their number by Holm's step-down rule; nan stays and is not counted.
    """
    p = np.asarray(p, dtype=np.float64)
    found = np.full(p.shape, np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(p[known], kind="stable")]
    scaled = p[order] * np.arange(len(order), 0, -1)
    found[order] = np.minimum(np.maximum.accumulate(scaled), 1.0) if len(order) else scaled
    return found


@dataclass(frozen=True, eq=False)
class Lead:
    """When families peak in two dictionaries; every array (F,), in log10(step + 1)."""

    write: np.ndarray
    """Median peak in the dictionary of W_U."""
    read: np.ndarray
    """Median peak in the dictionary of W_E."""
    low: np.ndarray
    """5 % quantile of `difference` over resampled features."""
    high: np.ndarray
    """95 % quantile of it."""
    null_low: np.ndarray
    """5 % quantile of the difference under the null."""
    null_high: np.ndarray
    """95 % quantile of it."""
    p: np.ndarray
    """Share of the draws of the null as far from its median, the true one counted among them."""
    n_write: np.ndarray
    """Features of the family that peak, in W_U."""
    n_read: np.ndarray
    """The same in W_E."""

    @property
    def difference(self) -> np.ndarray:
        """Write minus read: above 0 W_E peaks first, reading leads."""
        return self.write - self.read


def leads(
    write: ArrayLike, read: ArrayLike, write_all: ArrayLike, read_all: ArrayLike, u: ArrayLike,
    seed: int = SEED, draws: int = DRAWS,
) -> Lead:
    """Leads of families, from peaks by snapshot of each in both dictionaries, (F, K).

    Args:
        write, read: peaks of the family's features.
        write_all, read_all: (K,) peaks of all live features, the family's among them.
        u: (K,) log time.
        seed: of resamples and null.
        draws: shuffles of the null.

    A family of fewer than `LEAST` features in either run has nan throughout.
    """
    write, read = (np.asarray(c, dtype=np.int64) for c in (write, read))
    generator = np.random.default_rng(seed)
    n_write, n_read = write.sum(axis=1), read.sum(axis=1)
    families = len(write)
    low, high, null_low, null_high, p = (np.full(families, np.nan) for _ in range(5))
    kept = np.minimum(n_write, n_read) >= LEAST
    for f in np.flatnonzero(kept):
        low[f], high[f] = _interval(write[f], read[f], u, generator)
        null = _dealt(write_all, int(n_write[f]), u, generator, draws) - _dealt(
            read_all, int(n_read[f]), u, generator, draws
        )
        own = medians(write[f], u) - medians(read[f], u)
        p[f] = two_sided(float(own), null)
        null_low[f], null_high[f] = np.percentile(null, INTERVAL)
    at_write, at_read = (np.where(kept, medians(c, u), np.nan) for c in (write, read))
    return Lead(at_write, at_read, low, high, null_low, null_high, p, n_write, n_read)


def lead_of_all(
    write_all: ArrayLike, read_all: ArrayLike, u: ArrayLike, seed: int = SEED, draws: int = DRAWS
) -> Lead:
    """The same of whole dictionaries, F = 1; the null deals all features out among the two."""
    write, read = (np.asarray(c, dtype=np.int64) for c in (write_all, read_all))
    generator = np.random.default_rng(seed)
    n_write, n_read = int(write.sum()), int(read.sum())
    one = {name: np.full(1, np.nan) for name in ("low", "high", "null_low", "null_high", "p")}
    at_write, at_read = np.array([medians(write, u)]), np.array([medians(read, u)])
    if min(n_write, n_read) >= LEAST:
        one["low"][0], one["high"][0] = _interval(write, read, u, generator)
        pool = write + read
        taken = generator.multivariate_hypergeometric(pool, n_write, draws, method="marginals")
        null = medians(taken, u) - medians(pool - taken, u)
        one["p"][0] = two_sided(float(at_write[0] - at_read[0]), null)
        one["null_low"][0], one["null_high"][0] = np.percentile(null, INTERVAL)
    return Lead(at_write, at_read, **one, n_write=np.array([n_write]), n_read=np.array([n_read]))


def two_sided(own: float, null: np.ndarray) -> float:
    """Share of null values, the true one among them, as far from their median as the true one."""
    everything = np.append(null, own)
    away = np.abs(everything - np.median(everything))
    return float((away >= away[-1] - 1e-12).mean())


def _interval(
    write: np.ndarray, read: np.ndarray, u: ArrayLike, generator: np.random.Generator
) -> np.ndarray:
    """Percentiles of the difference of medians when the features of each are drawn again."""
    drawn = [
        medians(generator.multinomial(int(c.sum()), c / c.sum(), RESAMPLES), u)
        for c in (write, read)
    ]
    return np.percentile(drawn[0] - drawn[1], INTERVAL)


def _dealt(
    everyone: ArrayLike, n: int, u: ArrayLike, generator: np.random.Generator, draws: int
) -> np.ndarray:
    """Medians (draws,) of n of all features, without replacement: the family's name dealt out."""
    pool = np.asarray(everyone, dtype=np.int64)
    return medians(generator.multivariate_hypergeometric(pool, n, draws, method="marginals"), u)


# --- the matrices themselves ---------------------------------------------------------------------


@dataclass(frozen=True)
class Alignment:
    """How well one matrix turns into another by the best orthogonal map (§11)."""

    cosine: float
    """Sum of the singular values of read^T write over the product of both lengths, 0 to 1."""
    residual: float
    """Squared distance left over the squared length of `write`, without a scale."""
    scaled_residual: float
    """The same with the best scale; 1 - cosine^2."""


def procrustes(read: np.ndarray, write: np.ndarray) -> Alignment:
    """min over orthogonal R of |read R - write|, both (V, d).

    nan throughout where either has no length.
    """
    x, y = (np.asarray(m, dtype=np.float64) for m in (read, write))
    xx, yy = float((x * x).sum()), float((y * y).sum())
    if xx == 0 or yy == 0:
        return Alignment(*[float("nan")] * 3)
    common = float(np.linalg.svd(x.T @ y, compute_uv=False).sum())
    cosine = common / np.sqrt(xx * yy)
    return Alignment(cosine, (xx + yy - 2 * common) / yy, 1 - cosine**2)
