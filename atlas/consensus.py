"""Features that several seeds share: groups with one feature of each, from pairs that found each
other.

A group holds at most one feature of a run. Pairs join in the order of their score, largest first;
one that would put two features of a run into a group is passed over, so the surer pairs decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pair:
    """Two features of two runs, each the other's best and beyond the null on both sides."""

    one: tuple[int, int]
    """Place of the run, index of the feature."""
    other: tuple[int, int]
    score: float


@dataclass(frozen=True)
class Group:
    """A feature that more than one run has."""

    members: tuple[tuple[int, int], ...]
    """(place of the run, feature), by run."""
    score: float
    """Mean score of the pairs within it."""
    pairs: int
    """How many pairs there are; n (n - 1) / 2 when every two found each other."""


def groups(pairs: Sequence[Pair]) -> list[Group]:
    """The groups, the largest first, of equal ones the better first, then by their members."""
    home: dict[tuple[int, int], dict[int, int]] = {}
    ordered = sorted(pairs, key=lambda pair: (-pair.score, pair.one, pair.other))
    for pair in ordered:
        one, other = (home.setdefault(end, {end[0]: end[1]}) for end in (pair.one, pair.other))
        if one is other or one.keys() & other.keys():
            continue
        one.update(other)
        for member in other.items():
            home[member] = one
    within: dict[int, list[float]] = {}
    for pair in ordered:
        group = home[pair.one]
        if group is home[pair.other]:
            within.setdefault(id(group), []).append(pair.score)
    distinct = {id(group): group for group in home.values()}
    found = [Group(tuple(sorted(group.items())), float(np.mean(within[key])), len(within[key]))
             for key, group in distinct.items() if len(group) > 1]
    return sorted(found, key=lambda g: (-len(g.members), -g.score, g.members))
