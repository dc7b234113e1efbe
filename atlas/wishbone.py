"""The wishbone: features by the shape of their rates through training, in three arms.

Shapes: K snapshots first, D features, n of them taking part. From crosscoder-method §9.5. Signs of
principal components are arbitrary: here each component's largest loading is positive, so that the
same rates give the same picture. Which arm is called left is a matter of that sign.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from atlas.lifecycle import ACTIVE_NORM

ARMS = ("left", "upper-right", "lower-right")
FIRES, LIVES = 1e-3, 0.30
"""Rate from which a feature has begun, and share of its largest rate from which it is alive."""
EARLY, LATE = 1000, 3000
"""Steps before the first and from the second on are early and late."""
SHUFFLES = 20
"""Populations whose rates are shuffled in time, feature by feature."""
ROUNDS = 100
"""Rounds of 2-means at most."""
SHUFFLED = 4000
"""Features that are shuffled at most, drawn at random: the shares of more of them are the same."""
LEAST_FEATURES = 8
"""Fewest features whose shapes are worth an axis."""


@dataclass(frozen=True, eq=False)
class Wishbone:
    """Features in the plane of their first two principal components."""

    features: np.ndarray
    """(n,) int32 index of each."""
    scores: np.ndarray
    """(n, 2) float64 PC1 and PC2 of rate over largest rate."""
    loadings: np.ndarray
    """(2, K) what the components weigh each snapshot with."""
    explained: np.ndarray
    """(2,) share of the variance that PC1 and PC2 have."""
    null: np.ndarray
    """(shuffles, 2) the same where each feature's rates are shuffled in time."""
    arm: np.ndarray
    """(n,) int8: place in `ARMS`."""
    cluster: np.ndarray
    """(n,) int8: 2-means, 0 the one of lower median PC1."""
    first: np.ndarray
    """(n,) index of the first snapshot with a rate above 0.001; K: none."""
    lifetime: np.ndarray
    """(n,) number of snapshots above 0.30 of the largest rate."""
    early_late: np.ndarray
    """(n,) mean rate before step 1000 minus mean rate from step 3000 on; nan without either."""
    drift: np.ndarray
    """(n,) sum of the angles between neighbouring directions, radians."""
    left_out: int
    """Features with a norm but without a rate at all, which have no shape."""

    @property
    def agreement(self) -> float:
        """Share of features for which 2-means and the median of PC1 agree on left and right."""
        return float(((self.arm > 0) == (self.cluster > 0)).mean())


def wishbone(
    norms: ArrayLike, rates: ArrayLike, rotation: ArrayLike, steps: Sequence[int], seed: int = 0,
    shuffles: int = SHUFFLES,
) -> Wishbone | str:
    """The wishbone of a run, or why it has none.

    Args:
        norms, rates: (K, D); features with a value missing are left out.
        rotation: (K - 1, D), 1 - cosine between neighbours; nan counts as no turn.
        seed: of the shuffles.
    """
    norms, rates = np.asarray(norms, np.float64), np.asarray(rates, np.float64)
    if len(steps) < 3:
        return f"the run has {len(steps)} snapshots and a shape needs 3"
    if not np.isfinite(rates).any():
        return "the run has no rates"
    known = np.isfinite(norms).all(axis=0) & np.isfinite(rates).all(axis=0)
    active = known & (np.where(known, norms, 0).max(axis=0) > ACTIVE_NORM)
    firing = active & (np.where(known, rates, 0).max(axis=0) > 0)
    features = np.flatnonzero(firing)
    if len(features) < LEAST_FEATURES:
        return f"only {len(features)} features fire and {LEAST_FEATURES} are needed"
    courses = rates[:, features]
    shares = courses / courses.max(axis=0)
    scores, loadings, explained = _components(shares)
    if not np.isfinite(explained).all():
        return "all rates go through training alike: there is no variance to divide"
    generator = np.random.default_rng(seed)
    some = np.sort(generator.permutation(len(features))[:SHUFFLED])
    rows = np.ascontiguousarray(shares[:, some].T)
    null = np.array([_components(generator.permuted(rows, axis=1).T)[2] for _ in range(shuffles)])
    at = np.asarray(steps)
    begun = courses > FIRES
    turn = np.nan_to_num(np.asarray(rotation, np.float64)[:, features])
    return Wishbone(
        features=features.astype(np.int32), scores=scores, loadings=loadings, explained=explained,
        null=null.reshape(shuffles, 2), arm=arms(scores), cluster=two_means(scores),
        first=np.where(begun.any(axis=0), begun.argmax(axis=0), len(steps)),
        lifetime=(shares > LIVES).sum(axis=0),
        early_late=_mean(courses[at < EARLY]) - _mean(courses[at >= LATE]),
        drift=np.arccos(np.clip(1 - turn, -1, 1)).sum(axis=0),
        left_out=int(active.sum() - firing.sum()),
    )


def _mean(rates: np.ndarray) -> np.ndarray:
    return rates.mean(axis=0) if len(rates) else np.full(rates.shape[1], np.nan)


def _components(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores (n, 2), loadings (2, K) and explained shares (2,) of courses (K, n), nan where they
    do not differ. From the K x K scatter: n is thousands, K some tens."""
    centred = shares - shares.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    total = values.sum()
    loadings = vectors[:, ::-1][:, :2].T
    strongest = np.abs(loadings).argmax(axis=1)
    loadings = loadings * np.sign(loadings[np.arange(2), strongest])[:, None]
    flat = total <= 1e-12 * shares.size
    explained = np.full(2, np.nan) if flat else np.maximum(values[::-1][:2], 0) / total
    return centred.T @ loadings.T, loadings, explained


def arms(scores: np.ndarray) -> np.ndarray:
    """Arm of each feature (n, 2) -> (n,) int8: PC1 below its median is left, the others by the
    median of their PC2 (§9.5)."""
    right = scores[:, 0] >= np.median(scores[:, 0])
    upper = scores[:, 1] >= np.median(scores[right, 1])
    return np.where(right, np.where(upper, 1, 2), 0).astype(np.int8)


def two_means(scores: np.ndarray) -> np.ndarray:
    """2-means of standardised scores (n, 2) from the points of extreme PC1, (n,) int8; 0 is the
    cluster of lower median PC1 (§9.5)."""
    spread = scores.std(axis=0)
    points = (scores - scores.mean(axis=0)) / np.where(spread > 0, spread, 1)
    centres = points[[points[:, 0].argmin(), points[:, 0].argmax()]]
    found = np.zeros(len(points), np.int8)
    for _ in range(ROUNDS):
        apart = ((points[:, None] - centres) ** 2).sum(axis=2)
        nearest = (apart[:, 1] < apart[:, 0]).astype(np.int8)
        centres = np.stack([points[nearest == c].mean(axis=0) if (nearest == c).any()
                            else centres[c] for c in (0, 1)])
        if (nearest == found).all():
            break
        found = nearest
    middle = [np.median(scores[found == c, 0]) if (found == c).any() else np.inf for c in (0, 1)]
    return found if middle[0] <= middle[1] else (1 - found).astype(np.int8)
