"""One feature that is several in another dictionary: splits, and merges seen from the other side.

Candidates are the other dictionary's features whose best partner it is, each beyond its own null.
Together they are a split if they reach the feature better than chance in two ways: their joint
score, and the share that the others close of what the best one leaves open, (joint - best) /
(1 - best). Two copies of a feature pass the first test and fail the second: the second copy adds
nothing. The null of both is made of the same choices in a dictionary turned or exchanged at random,
of features with like chances and with as many parts; there the parts are those that come closest by
chance, beyond nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from atlas.matching import Choice, Matches

MOST = 8
"""Parts of a split at most, the best ones."""
BEYOND = 0.99
"""Percentile from which a part, a joint score and what is added count as more than chance."""
LIKE = 512
"""Joint scores of the null, of features of the most like scatter, that one is compared with."""
WANTED = 4096
"""Joint scores of the null that are looked at, at most, in each dictionary of it."""

Joint = Callable[[int, Sequence[int], int], np.ndarray]
"""(feature, parts, dictionary of the null from 1, or 0 for the true one) -> the joint scores
(n,), squared or not, of its first 1, 2 … n parts, 0 to 1."""


@dataclass(frozen=True)
class Split:
    """A feature and the features of the other dictionary that are it together."""

    feature: int
    parts: tuple[int, ...]
    """Two or more, best first."""
    scores: tuple[float, ...]
    """Score of each part by itself."""
    joint: float
    """Score of all of them together."""
    percentile: float
    """Share of as many parts in the null that reach less; the smaller of the two tests."""


def groups(choice: Choice | Matches, chosen: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Features that two or more of the other dictionary have as their best, with those.

    Args:
        choice: of the other dictionary. chosen: which of its features count, (D',) bool.
    """
    parts = np.flatnonzero(chosen & (choice.partner >= 0))
    order = parts[np.lexsort((-choice.score[parts], choice.partner[parts]))]
    starts = np.flatnonzero(np.diff(choice.partner[order], prepend=-1))
    for members in np.split(order, starts[1:]):
        if len(members) > 1:
            yield int(choice.partner[members[0]]), members[:MOST]


def find_splits(
    back: Matches, chance: Sequence[Choice], joint: Joint, scatter: np.ndarray,
    squared: bool = False,
) -> list[Split]:
    """Features that are split in the other dictionary, by index.

    Args:
        back: best partners of the other dictionary's features in this one.
        chance: the same in the dictionaries of the null.
        joint: the joint score; parts that add nothing to it are left out.
        scatter: (D,) how widely the scores of each feature scatter in the null.
        squared: it is that of squares, and the score its root.
    """
    real = [(feature, _adding(joint, feature, parts, 0))
            for feature, parts in groups(back, back.percentile >= BEYOND)]
    real = [(feature, parts) for feature, parts in real if len(parts) > 1]
    if not real:
        return []
    bars = _null(chance, joint, scatter)
    found = []
    for feature, parts in real:
        reached = joint(feature, parts, 0)
        null = bars.get(len(parts))
        if null is None:
            continue
        near = np.argsort(np.abs(null[:, 2] - scatter[feature]), kind="stable")[:LIKE]
        null = null[near]
        share = min(float((null[:, 0] < reached[-1]).mean()),
                    float((null[:, 1] < _added(reached)).mean()))
        if share >= BEYOND:
            found.append(Split(feature, tuple(parts), tuple(float(back.score[p]) for p in parts),
                               float(np.sqrt(reached[-1]) if squared else reached[-1]), share))
    return found


def _adding(joint: Joint, feature: int, parts: np.ndarray, turn: int) -> list[int]:
    """The parts that raise the joint score of those before them."""
    kept, reached = [], 0.0
    for part in parts.tolist():
        now = joint(feature, [*kept, part], turn)[-1]
        if now > reached + 1e-6:
            kept, reached = [*kept, part], now
    return kept


def _added(reached: np.ndarray) -> float:
    """Share that the others close of what the best one leaves open."""
    return float((reached[-1] - reached[0]) / max(1 - reached[0], 1e-9))


def _null(
    chance: Sequence[Choice], joint: Joint, scatter: np.ndarray
) -> dict[int, np.ndarray]:
    """{parts: (n, 3) joint score, share added and scatter in the null}, by rising number of parts.

    Groups with more parts stand in for smaller ones with their best; where the null has no group as
    large, the largest that it has stands in.
    """
    found: dict[int, list[tuple[float, ...]]] = {n: [] for n in range(2, MOST + 1)}
    for turn, choice in enumerate(chance, start=1):
        every = np.ones(len(choice.partner), dtype=bool)
        for number, (feature, parts) in enumerate(groups(choice, every)):
            if number >= WANTED:
                break
            reached = joint(feature, _adding(joint, feature, parts, turn), turn)
            for n in range(2, len(reached) + 1):
                found[n].append((reached[n - 1], _added(reached[:n]), scatter[feature]))
    bars: dict[int, np.ndarray] = {}
    for n, values in found.items():
        if len(values) >= 100 or (values and n - 1 not in bars):
            bars[n] = np.array(values)
        elif n - 1 in bars:
            bars[n] = bars[n - 1]
    return bars
