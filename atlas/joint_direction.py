"""How near a feature comes to the span of several features of another dictionary.

Of courses, all directions of a feature put end to end: the squared cosine between the feature and
the nearest mixture of its parts is c' G^-1 c, with c its cosines to the parts and G theirs to each
other. Turning one of the dictionaries leaves both G as they are, so the null needs new c only.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from atlas.matching import Choice, Courses, Matches
from atlas.splits import BEYOND, groups

AT_ONCE = 8192
"""Pairs of directions that are held at a time."""
RIDGE = 1e-6
"""Added to G's diagonal: two copies of one part leave it without an inverse."""


class JointDirection:
    """The joint scores of the parts that one dictionary offers, squared (`atlas.splits.Joint`)."""

    def __init__(self, parts: Courses, back: Matches, chance: Sequence[Choice]) -> None:
        """Read the cosines of all parts that share a best partner, in one pass over the dictionary.

        Args:
            parts: the dictionary that the parts are of. back: its features' partners.
            chance: the same in the dictionaries of the null.
        """
        self._score = [back.score, *(choice.score for choice in chance)]
        pairs: set[tuple[int, int]] = set()
        every = np.ones(len(back.partner), dtype=bool)
        beyond = back.percentile >= BEYOND
        for choice, counts in [(back, beyond), *((choice, every) for choice in chance)]:
            for _, members in groups(choice, counts):
                pairs |= _pairs(members.tolist())
        ordered = sorted(pairs)
        cosines = _cosines(parts, np.array(ordered).reshape(-1, 2))
        self._cosine = dict(zip(ordered, cosines.tolist(), strict=True))

    def __call__(self, feature: int, parts: Sequence[int], turn: int) -> np.ndarray:
        """(n,) squared cosine of the feature to the span of its first 1, 2 … n parts."""
        c = self._score[turn][list(parts)].astype(np.float64)
        gram = np.eye(len(parts)) * (1 + RIDGE)
        for i, one in enumerate(parts):
            for j in range(i):
                gram[i, j] = gram[j, i] = self._cosine[min(one, parts[j]), max(one, parts[j])]
        found = [c[:n] @ np.linalg.solve(gram[:n, :n], c[:n]) for n in range(1, len(parts) + 1)]
        return np.clip(found, 0, 1)


def _pairs(members: Iterable[int]) -> set[tuple[int, int]]:
    ordered = sorted(members)
    return {(a, b) for n, b in enumerate(ordered) for a in ordered[:n]}


def _cosines(courses: Courses, pairs: np.ndarray) -> np.ndarray:
    """(N,) float64 cosines of the courses of pairs (N, 2) of features."""
    product, square = np.zeros(len(pairs)), torch.zeros(len(courses.kept), dtype=torch.float64)
    for k in range(courses.count):
        rows = courses.directions(k)
        square += rows.square().sum(dim=1).double()
        for start in range(0, len(pairs), AT_ONCE):
            part = pairs[start : start + AT_ONCE]
            product[start : start + AT_ONCE] += _product(rows, part)
    length = square.sqrt().numpy()
    return product / np.maximum(length[pairs[:, 0]] * length[pairs[:, 1]], 1e-30)


def _product(rows: Tensor, pairs: np.ndarray) -> np.ndarray:
    one, other = (torch.from_numpy(np.ascontiguousarray(pairs[:, side])) for side in (0, 1))
    return (rows[one] * rows[other]).sum(dim=1).double().numpy()
