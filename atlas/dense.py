"""Dense controls: what a matrix shows without a dictionary, and how well plainer codes rebuild it.

Shapes: K snapshots first, V rows, d model width, D features. From crosscoder-method §12.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

PCA_RANKS = (16, 32, 64, 128, 256, 512, 1024)
"""Ranks at which a static PCA is told (§12)."""
RANK, OVERSAMPLE, SKETCH_SEED = 256, 64, 0
"""Of the concatenated PCA: its rank, and columns and seed of its random start (§12)."""
LEAST_SQUARE = 1e-12
"""Smallest squared length of a row's way from first to last (§12)."""


# --- the spectrum of one snapshot ----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Spectrum:
    """How the squared length of centred rows is spread over their principal axes; nan of none."""

    participation: float
    """(sum l)^2 / sum l^2, 1 to d."""
    first_share: float
    """Share of the first axis."""
    effective_rank: float
    """exp of the entropy of the shares, 1 to d."""
    explained: np.ndarray
    """Share of the first `PCA_RANKS` axes; 1 from d on."""


def spectrum(eigenvalues: ArrayLike) -> Spectrum:
    """Summaries of the eigenvalues (d,) of a covariance, in any order and unit."""
    values = np.sort(np.clip(np.asarray(eigenvalues, dtype=np.float64), 0, None))[::-1]
    total = values.sum()
    if not total > 0:
        nothing = float("nan")
        return Spectrum(nothing, nothing, nothing, np.full(len(PCA_RANKS), np.nan))
    share = values / total
    some = share[share > 0]
    summed = np.minimum(np.cumsum(share), 1.0)
    summed[-1] = 1.0
    ranks = np.minimum(PCA_RANKS, len(values))
    return Spectrum(
        participation=float(1 / np.square(share).sum()),
        first_share=float(share[0]),
        effective_rank=float(np.exp(-(some * np.log(some)).sum())),
        explained=summed[ranks - 1],
    )


def noise_spectrum(rows: int, width: int) -> Spectrum:
    """The spectrum of as many rows of isotropic noise: the null of `spectrum`.

    Eigenvalues at the quantiles of the Marchenko–Pastur law, so without the draws' own scatter.
    """
    ratio = width / rows
    low, high = (1 - np.sqrt(ratio)) ** 2, (1 + np.sqrt(ratio)) ** 2
    angle = np.linspace(0, np.pi, 20_001)  # finest where the density has its edges
    at = (low + high) / 2 - (high - low) / 2 * np.cos(angle)
    density = np.sqrt(np.clip((high - at) * (at - low), 0, None)) / np.maximum(at, 1e-300)
    step = (density[1:] + density[:-1]) / 2 * np.diff(at)
    summed = np.concatenate([[0.0], np.cumsum(step)])
    count = min(rows, width)  # the other eigenvalues are 0
    places = (np.arange(count) + 0.5) / count * summed[-1]
    values = np.zeros(width)
    values[:count] = np.interp(places, summed, at)
    return spectrum(values)


def mean_share(mean: ArrayLike, square: float, rows: int) -> float:
    """|mean row|^2 / mean |row|^2, from the mean (d,) and the summed square of the centred rows."""
    own = float(np.square(np.asarray(mean, dtype=np.float64)).sum())
    whole = own + square / rows
    return own / whole if whole > 0 else float("nan")


def cosine(a: ArrayLike, b: ArrayLike) -> float:
    """Cosine of two vectors; nan where either has no length."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    length = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.clip(a @ b / length, -1, 1)) if length > 0 else float("nan")


# --- PCA of all snapshots side by side -----------------------------------------------------------


def sketch_size(count: int, rows: int, width: int) -> tuple[int, int]:
    """Rank of the concatenated PCA of K snapshots and columns of its random start."""
    most = min(rows, count * width)
    return min(RANK, most), min(RANK + OVERSAMPLE, most)


def sketch(count: int, width: int, columns: int) -> np.ndarray:
    """The random start (K, d, columns) float32, the same on every machine."""
    draws = np.random.default_rng(SKETCH_SEED).standard_normal((count * width, columns))
    return draws.astype(np.float32).reshape(count, width, columns)


def captured(projected: ArrayLike, rank: int) -> np.ndarray:
    """Squared length (K,) that the best `rank` axes within a basis hold of every snapshot.

    Args:
        projected: (K, d, m), every centred snapshot (V, d) transposed times the orthonormal basis
            (V, m) of its rows.
    """
    projected = np.asarray(projected, dtype=np.float64)
    values, axes = np.linalg.eigh(np.einsum("kdm,kdn->mn", projected, projected))
    best = axes[:, np.argsort(-values)[:rank]]
    return np.square(projected @ best).sum(axis=(1, 2))


# --- the line between the ends -------------------------------------------------------------------


def endpoint_line(rows: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Every row put on the line between its first and its last (§12).

    Args:
        rows: (K, V, d) raw.

    Returns:
        Place alpha (K, V), 0 at the first and 1 at the last, and the rebuilt rows (K, V, d).
    """
    rows = np.asarray(rows, dtype=np.float64)
    way, gone = rows[-1] - rows[0], rows - rows[0]
    alpha = (gone * way).sum(axis=-1) / np.maximum(np.square(way).sum(axis=-1), LEAST_SQUARE)
    return alpha, rows[0] + alpha[..., None] * way


# --- snapshots the dictionary was not trained on -------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a step lies between the snapshots of a run (§12)."""

    before: int
    """Number of the snapshot before."""
    after: int
    """Number of the one after."""
    alpha: float
    """Log time from one to the other, 0 to 1."""

    @property
    def nearest(self) -> int:
        """Number of the nearer one."""
        return self.before if self.alpha < 0.5 else self.after


def held_out_place(step: int, steps: Sequence[int]) -> Place:
    """Where a step lies between the rising steps of a run.

    Raises:
        ValueError: the run was trained on it, or it lies outside.
    """
    if step in steps:
        raise ValueError(f"step {step} is one of the run's own snapshots, so it is not held out")
    if not steps[0] < step < steps[-1]:
        raise ValueError(f"step {step} lies outside the run's steps {steps[0]} to {steps[-1]}")
    after = int(np.searchsorted(steps, step))
    low, here, high = np.log1p([steps[after - 1], step, steps[after]])
    return Place(after - 1, after, float((here - low) / (high - low)))


@dataclass(frozen=True, eq=False)
class Head:
    """What a crosscoder holds of one snapshot (§3.1)."""

    encoder: np.ndarray
    """(d, D)."""
    bias: np.ndarray
    """(D,)."""
    decoder: np.ndarray
    """(D, d)."""
    offset: np.ndarray
    """(d,), b_D."""


def between(one: Head, other: Head, alpha: float) -> Head:
    """The head at alpha from one to the other, every weight by itself."""
    weight = np.float32(alpha) if one.encoder.dtype == np.float32 else alpha

    def mixed(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (1 - weight) * a + weight * b

    return Head(mixed(one.encoder, other.encoder), mixed(one.bias, other.bias),
                mixed(one.decoder, other.decoder), mixed(one.offset, other.offset))


def rebuild(
    joint: np.ndarray, x: np.ndarray, head: Head, threshold: np.ndarray
) -> tuple[np.ndarray, float]:
    """Rows rebuilt through a head that adds to the joint pre-activation (§12, §15.28).

    Args:
        joint: (B, D), summed over all snapshots the dictionary was trained on.
        x: (B, d) standardised rows of the held-out snapshot.
        threshold: (D,).

    Returns:
        Standardised rows (B, d), and the mean number of features that fire on one.
    """
    p = x @ head.encoder
    p += joint
    p += head.bias
    fires = p * np.sqrt(np.square(head.decoder).sum(axis=1)) > threshold
    p *= fires
    return p @ head.decoder + head.offset, float(fires.sum() / len(x))


def explained(rows: ArrayLike, rebuilt: ArrayLike, mean: ArrayLike) -> float:
    """1 - squared error / squared length about the mean row (d,) (§6.3); nan of no length."""
    rows = np.asarray(rows, dtype=np.float64)
    whole = np.square(rows - mean).sum()
    return float(1 - np.square(rows - rebuilt).sum() / whole) if whole > 0 else float("nan")


def explained_raw(rows: ArrayLike, rebuilt: ArrayLike) -> float:
    """1 - variance of the error / variance of the rows, about one scalar mean each (§12)."""
    rows = np.asarray(rows, dtype=np.float64)
    whole = rows.var()
    return float(1 - (rows - rebuilt).var() / whole) if whole > 0 else float("nan")
