"""The step at which a feature begins to carry a score, and what chance makes of the same rule.

The rule is ours: a feature carries from the first snapshot on from which its contribution keeps
the sign it ends with and never again falls below half of the size it ends with. A feature that
adds nothing at the last snapshot has no such step.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SHARE = 0.5
"""Of the final size, which a contribution may not fall below again."""
DRAWS = 200
"""Random states that the null is made of."""


@dataclass(frozen=True)
class Chance:
    """When the same feature would begin to carry for random states."""

    low: int
    """5 % quantile: place among the snapshots."""
    middle: int
    """Median."""
    high: int
    """95 % quantile."""


def begins(values: np.ndarray) -> np.ndarray:
    """Place of the first snapshot from which each row keeps sign and half of its final size.

    Args:
        values: (n, K) contributions, 0 where a feature does not fire.

    Returns:
        (n,) int64; -1 where the last value is 0.
    """
    final = values[:, -1:]
    keeps = (np.sign(values) == np.sign(final)) & (np.abs(values) >= SHARE * np.abs(final))
    last_lapse = values.shape[1] - 1 - np.argmax(~keeps[:, ::-1], axis=1)
    start = np.where(keeps.all(axis=1), 0, last_lapse + 1)
    return np.where(final[:, 0] == 0, -1, start).astype(np.int64)


def begins_of(values: Sequence[Sequence[float]] | np.ndarray) -> list[int | None]:
    """The same as a list, None where the last value is 0."""
    found = begins(np.asarray(values, dtype=np.float64)).tolist()
    return [None if place < 0 else place for place in found]


def chance_begins(
    coefficients: np.ndarray, directions: np.ndarray, draws: int = DRAWS, seed: int = 0
) -> list[Chance | None]:
    """When the features would begin to carry if the state pointed anywhere.

    The coefficients and directions are the run's own, the states are drawn from a round Gaussian:
    what is left of a begin is the life of the feature, not what this prompt makes of it. The rule
    knows no scale, so the length of the states does not matter.

    Args:
        coefficients: (n, K) what the score's row holds of each feature.
        directions: (n, K, d).
        seed: of the states; the same for all features.

    Returns:
        One per feature; None where its last coefficient is 0.
    """
    states = np.random.default_rng(seed).standard_normal((draws, directions.shape[2]))
    found: list[Chance | None] = []
    for coefficient, direction in zip(coefficients, directions, strict=True):
        if coefficient[-1] == 0:
            found.append(None)
            continue
        start = begins(coefficient * (states @ direction.T))
        low, middle, high = np.quantile(start, [0.05, 0.5, 0.95], method="nearest")
        found.append(Chance(int(low), int(middle), int(high)))
    return found
