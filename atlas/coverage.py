"""How many features explain how much of a score (prism-method §6.2, compactness)."""

from dataclasses import dataclass

import numpy as np

MOST = 0.8
"""Share of the summed sizes that `n80` counts features for."""
DIFFUSE = 0.5
"""Below this share of the ten largest the mass is called diffuse; a convention of ours."""


@dataclass(frozen=True)
class Coverage:
    """How the contributions of one ledger are spread."""

    size: float
    """sum |c| over all features, in logits."""
    n80: int
    """Fewest features that hold 80 % of it; 0 where nothing contributes."""
    top5: float
    """Share of it in the 5 largest; nan where nothing contributes."""
    top10: float
    """The same of the 10 largest."""
    signed5: float
    """Sum of the 5 largest over the reconstructed score; nan where that is 0."""
    signed10: float
    """The same of the 10 largest."""
    highest: int | None
    """The feature that raises the score most, None where none does."""
    lowest: int | None
    """The feature that lowers it most."""

    @property
    def diffuse(self) -> bool:
        """Whether too many features share the score for single ones to be read."""
        return self.top10 < DIFFUSE


@dataclass(frozen=True, eq=False)
class Curve:
    """Cumulative sums over the features by |contribution| falling; the first value is at none."""

    share: np.ndarray
    """(n + 1,) share of sum |c|, from 0 to 1."""
    total: np.ndarray
    """(n + 1,) signed sum, in logits, from 0 to the feature sum."""


def coverage(features: np.ndarray, contributions: np.ndarray, reconstructed: float) -> Coverage:
    """How many features explain how much.

    Args:
        features, contributions: of a ledger, (n,) by |contribution| falling.
        reconstructed: base plus the sum of all contributions.
    """
    share = curve(contributions).share
    size = float(np.abs(contributions).sum())

    def signed(count: int) -> float:
        part = float(contributions[:count].sum())
        return part / reconstructed if reconstructed else float("nan")

    def held(count: int) -> float:
        return float(share[min(count, len(contributions))]) if size else float("nan")

    reached = np.flatnonzero(share >= MOST - 1e-12)
    raising, lowering = np.flatnonzero(contributions > 0), np.flatnonzero(contributions < 0)
    return Coverage(
        size=size,
        n80=int(reached[0]) if size else 0,
        top5=held(5),
        top10=held(10),
        signed5=signed(5),
        signed10=signed(10),
        highest=int(features[raising[0]]) if len(raising) else None,
        lowest=int(features[lowering[0]]) if len(lowering) else None,
    )


def curve(contributions: np.ndarray) -> Curve:
    """The cumulative sums of contributions (n,) that are sorted by size."""
    sizes = np.concatenate([[0.0], np.cumsum(np.abs(contributions))])
    share = sizes / sizes[-1] if sizes[-1] else sizes
    return Curve(share, np.concatenate([[0.0], np.cumsum(contributions)]))
