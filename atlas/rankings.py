"""The tokens that a direction promotes, snapshot by snapshot: who stays how long, what is kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from atlas.records import PromotedNull

RANKS = 12
"""Tokens of a list that are followed."""


@dataclass(frozen=True)
class Ranking:
    """The tokens that a direction promotes at one snapshot, best first."""

    tokens: Sequence[int]
    texts: Sequence[str]
    cosines: Sequence[float]


@dataclass(frozen=True)
class Null:
    """What random directions promote in the same rows, as the figure and the lists draw it."""

    beyond: list[float]
    """Per snapshot and rank, flattened with `RANKS` a snapshot: the cosine that 19 of 20 random
    directions stay below; nan where it was not computed."""
    best: list[tuple[float, float, float]]
    """Per snapshot the cosine of the best token: 5, 50 and 95 % of random directions stay below.
    """
    kept: list[float | None]
    """Per snapshot the share of its tokens that a random direction kept since the one before."""


def null_of(found: PromotedNull | None) -> Null | None:
    """The store's null in lists; None where it was not computed."""
    if found is None or not found.quantiles.shape[1]:
        return None
    beyond = np.full((len(found.steps), RANKS), np.nan)
    ranks = found.quantiles[:, :RANKS, 2]
    beyond[:, : ranks.shape[1]] = ranks
    return Null(
        beyond.ravel().tolist(),
        [tuple(row) for row in found.quantiles[:, 0].tolist()],
        [None if math.isnan(v) else v for v in found.overlap.tolist()],
    )


@dataclass
class Stay:
    """One token's unbroken stay in the list."""

    token: int
    text: str
    first: int
    """Number of the snapshot at which it enters."""
    ranks: list[int] = field(default_factory=list)
    """Its rank, from 0, at that snapshot and the following ones."""
    cosines: list[float] = field(default_factory=list)

    @property
    def last(self) -> int:
        """Number of the last snapshot at which it is in the list."""
        return self.first + len(self.ranks) - 1


def stays(rankings: Sequence[Ranking], most: int = RANKS) -> list[Stay]:
    """All unbroken stays among the `most` best tokens, in the order of entering, then of rank.

    A token that leaves and comes back has two stays.
    """
    found: list[Stay] = []
    open_stays: dict[int, Stay] = {}
    for k, ranking in enumerate(rankings):
        present: dict[int, Stay] = {}
        listed = zip(ranking.tokens, ranking.texts, ranking.cosines, strict=True)
        for rank, (token, text, cosine) in enumerate(listed):
            if rank >= most:
                break
            stay = open_stays.get(int(token))
            if stay is None:
                stay = Stay(int(token), text, k)
                found.append(stay)
            stay.ranks.append(rank)
            stay.cosines.append(float(cosine))
            present[int(token)] = stay
        open_stays = present
    return found


def kept(rankings: Sequence[Ranking], most: int = RANKS) -> list[float | None]:
    """Share of the best tokens of each snapshot that were among the best at the one before.

    None at the first snapshot, and wherever one of the two lists is empty.
    """
    lists = [set(map(int, ranking.tokens[:most])) for ranking in rankings]
    found: list[float | None] = [None] * len(lists)
    for k in range(1, len(lists)):
        if lists[k] and lists[k - 1]:
            found[k] = len(lists[k] & lists[k - 1]) / len(lists[k])
    return found
