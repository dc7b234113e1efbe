"""One-to-one assignment of two dictionaries: the pairs whose summed score is largest, exactly.

Shapes: D and D' features, n of each take part at most. The door to `lap`, whose lapjv solves
a dense 24,576 x 24,576 problem in seconds where scores are planted and in a minute where they are
not; a sparse solver is slower and not exact. The costs are held in float64, 4.8 GB at that size,
and nothing else of that size is.
"""

from dataclasses import dataclass

import lap
import numpy as np
from torch import Tensor

NOBODY = 4.0
"""Cost of staying without a partner: more than any score can save, so all of the smaller side
have one."""
ROWS = 256
"""Rows of the costs that are looked at together."""


class Costs:
    """The dense costs, filled block by block: 1 - score."""

    def __init__(self, first: np.ndarray, second: np.ndarray) -> None:
        """Room for the features (D,) and (D',) bool that take part."""
        self.first, self.second = np.flatnonzero(first), np.flatnonzero(second)
        self.sizes = len(first), len(second)
        size = max(len(self.first), len(self.second))
        empty = not (len(self.first) and len(self.second))
        self.values = np.full((0, 0) if empty else (size, size), NOBODY)
        self._row = np.full(len(first), -1)
        self._row[self.first] = np.arange(len(self.first))

    def keep(self, start: int, scores: Tensor) -> None:
        """Put down the scores (B, D') of features from `start` on; those left out are skipped."""
        rows = self._row[start : start + len(scores)]
        here = np.flatnonzero(rows >= 0)
        if not len(here) or not self.values.size:
            return
        columns = slice(None) if len(self.second) == self.sizes[1] else self.second
        for part in np.array_split(here, max(1, len(here) // ROWS)):
            self.values[rows[part], : len(self.second)] = (
                1.0 - scores[part].cpu().numpy()[:, columns])


@dataclass(frozen=True, eq=False)
class Assignment:
    """Each feature's only partner."""

    first: np.ndarray
    """(D,) int32 partner in the second; -1 where there is none."""
    second: np.ndarray
    """(D',) int32 partner in the first."""
    score: float
    """Summed score of all pairs: no other one-to-one assignment has a larger one."""
    columns: np.ndarray
    """Of every row of the costs its column, rows and columns of nobody included."""


def assign(costs: Costs) -> Assignment:
    """The assignment of largest summed score, every feature of the smaller side in a pair."""
    first = np.full(costs.sizes[0], -1, np.int32)
    second = np.full(costs.sizes[1], -1, np.int32)
    if not costs.values.size:
        return Assignment(first, second, 0.0, np.zeros(0, np.int64))
    columns = lap.lapjv(costs.values, return_cost=False)[0].astype(np.int64)
    rows = np.flatnonzero(columns[: len(costs.first)] < len(costs.second))
    chosen = columns[rows]
    first[costs.first[rows]] = costs.second[chosen]
    second[costs.second[chosen]] = costs.first[rows]
    return Assignment(first, second, float((1 - costs.values[rows, chosen]).sum()), columns)


def shortfall(costs: Costs, columns: np.ndarray, passes: int = 100) -> float:
    """By how much the summed score of any other assignment can exceed this one at most.

    Shortest paths in the residual graph give prices of the columns; whatever the prices v, no
    assignment costs less than sum_i min_j (c_ij - v_j) + sum_j v_j. 0 but for rounding proves the
    optimum, and needs no trust in the solver.

    Args:
        passes: over the costs at most; the bound holds after any number, and falls with it.
    """
    if not len(columns):
        return 0.0
    own = costs.values[np.arange(len(columns)), columns]
    price = np.zeros(len(columns))
    for _ in range(passes):
        before = price.copy()
        for start in range(0, len(columns), ROWS):
            rows = slice(start, start + ROWS)
            reach = costs.values[rows] - (own[rows] - price[columns[rows]])[:, None]
            np.minimum(price, reach.min(axis=0), out=price)
        if np.abs(price - before).max() <= 1e-12:
            break
    least = sum(float((costs.values[start : start + ROWS] - price).min(axis=1).sum())
                for start in range(0, len(columns), ROWS))
    return max(0.0, float(own.sum()) - least - float(price.sum()))
