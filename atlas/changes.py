"""Where does a course change its level: change-points of one feature, with p and an interval.

Shapes: K snapshots first, D features. A change "at snapshot s" lies between s - 1 and s, and a
level is the mean of at least two snapshots, so that one odd snapshot is none.

What it can say. The best split in two levels is the one of least squares, which is where the
weighted cumulative sum about the mean is largest. Its p comes from shuffling the snapshots: it
asks whether their order matters at all. A norm that grows steadily has an order too, so its p is
as small as that of a jump. What tells the two apart is the interval: a jump leaves few places for
the split, a steady growth leaves many, and then "the step of the change" means the middle of the
growth and no more. Read the interval first.

The interval holds every split whose likelihood ratio against the best stays below Hansen's 90 %
value 5.94 = -2 log(1 - sqrt(0.9)) (Hansen 2000, Econometrica 68:575, table 1; the same for breaks
in Eo and Morley 2015, Quantitative Economics 6:463). It needs no draws, where a bootstrap of the
residuals needs hundreds a feature, and it is too wide rather than too narrow where the jump is
large. It takes the scatter about both levels as equal and independent; neighbouring snapshots
resemble one another, so take it for the places that fit about as well as the best.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

LEAST = 6
"""Fewest snapshots of a course whose change is looked for; below eight no p reaches 0.05."""
SIDE = 2
"""Fewest snapshots of a level."""
LEVEL = 0.05
"""Largest p of a change that is told."""
RATIO = 5.94
"""Likelihood ratio up to which a split is in the 90 % interval."""
DRAWS = 999
"""Shuffles: the smallest p is 1 in 1,000."""
BLOCK = 4096
"""Features at a time."""
AT_ONCE = 16
"""Shuffles at a time."""
FLAT = 1e-6
"""Spread of a course, over its largest value, up to which it counts as constant: the rounding of
float32 is no change."""
TIE = 1e-5
"""Relative difference up to which a shuffle counts as equal to the true order."""


@dataclass(frozen=True, eq=False)
class Strongest:
    """The strongest change of level of every course; every array (D,).

    Of a course that is constant, not wholly known or shorter than six snapshots the indices are
    -1 and the floats nan.
    """

    at: np.ndarray
    """int32: index of the first snapshot of the new level, whatever its p."""
    low: np.ndarray
    """int32: first index of the 90 % interval."""
    high: np.ndarray
    """int32: last index of the 90 % interval."""
    p: np.ndarray
    """(1 + shuffles that change level at least as much) / (shuffles + 1), two-sided."""
    before: np.ndarray
    """Mean of the snapshots before the change."""
    after: np.ndarray
    """Mean of the others."""
    effect: np.ndarray
    """(after - before) / scatter about the two levels; infinite where there is no scatter."""


@dataclass(frozen=True)
class Change:
    """One change of level of a course."""

    step: int
    """Step of the first snapshot of the new level."""
    low_step: int
    """Earliest step of the 90 % interval of that place."""
    high_step: int
    """Latest step of it."""
    before: float
    """Mean level back to the change before, or the start."""
    after: float
    """Mean level up to the next change, or the end."""
    p: float
    """Corrected for the number of segments that were searched for it."""
    effect: float
    """(after - before) / scatter about these two levels; infinite where there is none."""


def strongest(
    courses: ArrayLike, generator: np.random.Generator | None = None, draws: int = DRAWS
) -> Strongest:
    """The strongest change of level of each course (K, D), with its interval and p.

    All features share the shuffles. Each p is exact for its feature all the same; those of
    features that resemble each other resemble each other too. The generator is a fresh one of
    seed 0 unless given.

    Raises:
        ValueError: `courses` is no matrix, or no draw was asked for.
    """
    courses = np.asarray(courses, dtype=np.float64)
    if courses.ndim != 2 or draws < 1:
        raise ValueError(f"courses have shape {courses.shape} and {draws} draws")
    count, features = courses.shape
    found = _empty(features)
    if count < LEAST:
        return found
    known = np.isfinite(courses).all(axis=0)
    values = np.where(known, courses, 0.0)
    usable = np.flatnonzero(known & (np.ptp(values, axis=0) > FLAT * np.abs(values).max(axis=0)))
    orders = _orders(count, draws, generator or np.random.default_rng(0))
    for start in range(0, len(usable), BLOCK):
        own = usable[start : start + BLOCK]
        _fill(found, own, courses[:, own], orders)
    return found


def changes(
    course: ArrayLike,
    steps: Sequence[int],
    generator: np.random.Generator | None = None,
    draws: int = DRAWS,
) -> tuple[Change, ...]:
    """All changes of level of one course (K,), by step; empty when there is none.

    Binary segmentation: the strongest change splits the course, then each part is searched in
    turn. Of the parts the one with the smallest p is split next if that p times the number of
    parts that can be split is at most 0.05; otherwise the search ends. So the chance of one change
    too many is about one in twenty, whatever the number that is really there. A part of fewer than
    eight snapshots never reaches such a p. In the end each change is placed anew between its
    neighbours, which blurred it before they were known (Bai 1997, Econometric Theory 13:315). Of a
    steady growth all this makes a staircase with wide intervals; its steps are no events.

    Raises:
        ValueError: as many steps as snapshots were expected.
    """
    course = np.asarray(course, dtype=np.float64)
    if course.shape != (len(steps),):
        raise ValueError(f"the course has shape {course.shape}, there are {len(steps)} steps")
    generator = generator or np.random.default_rng(0)
    parts = [_search(course, 0, len(course), generator, draws)]
    found: list[tuple[_Part, float]] = []
    while True:
        best = min(parts, key=lambda part: (part.p, -part.strength))
        p = min(1.0, best.p * max(1, sum(part.at >= 0 for part in parts)))
        if not p <= LEVEL:
            break
        found.append((best, p))
        parts.remove(best)
        parts += [_search(course, best.start, best.at, generator, draws),
                  _search(course, best.at, best.stop, generator, draws)]
    found.sort(key=lambda entry: entry[0].at)
    cuts = [0, *(part.at for part, _ in found), len(course)]
    places = []
    for i, (part, _) in enumerate(found, start=1):
        own = _search(course, cuts[i - 1], cuts[i + 1], generator, 1)
        places.append(own if own.at >= 0 else part)
        cuts[i] = places[-1].at
    levels = [course[a:b] for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
    return tuple(
        Change(*(int(steps[k]) for k in (place.at, place.low, place.high)), float(before.mean()),
               float(after.mean()), p, _effect(before, after))
        for place, (_, p), before, after in zip(places, found, levels[:-1], levels[1:], strict=True)
    )


def _effect(before: np.ndarray, after: np.ndarray) -> float:
    """Difference of two levels over the scatter about them; infinite where there is none."""
    squares = sum(float(np.square(part - part.mean()).sum()) for part in (before, after))
    difference = float(after.mean() - before.mean())
    scatter = math.sqrt(squares / (len(before) + len(after) - 2))
    return difference / scatter if scatter > 1e-9 * abs(difference) \
        else math.copysign(math.inf, difference)


@dataclass(frozen=True)
class _Part:
    """A segment of a course and its strongest change; p 1 where none can be looked for."""

    start: int
    stop: int
    at: int = -1
    low: int = -1
    high: int = -1
    p: float = 1.0
    strength: float = 0.0
    """|difference of the levels| over the scatter: of equal p the stronger one goes first."""


def _search(
    course: np.ndarray, start: int, stop: int, generator: np.random.Generator, draws: int
) -> _Part:
    found = strongest(course[start:stop, None], generator, draws)
    at, low, high = (int(index[0]) for index in (found.at, found.low, found.high))
    if at < 0:
        return _Part(start, stop)
    return _Part(start, stop, start + at, start + low, start + high, float(found.p[0]),
                 abs(float(found.effect[0])))


def _empty(features: int) -> Strongest:
    index = [np.full(features, -1, np.int32) for _ in range(3)]
    number = [np.full(features, np.nan) for _ in range(4)]
    return Strongest(*index, *number)


def _sums(count: int) -> np.ndarray:
    """(S, K): times a centred course of length 1, the root of what each split explains of it.

    A split before s explains C_s^2 K / (s (K - s)) of the sum of squares, C_s being the sum of
    the first s values.
    """
    places = np.arange(SIDE, count - SIDE + 1)
    weight = np.sqrt(count / (places * (count - places)))
    return weight[:, None] * (np.arange(count) < places[:, None])


def _orders(count: int, draws: int, generator: np.random.Generator) -> np.ndarray:
    """(draws, K) shuffles of the snapshots."""
    return generator.permuted(np.tile(np.arange(count), (draws, 1)), axis=1)


def _fill(
    found: Strongest, own: np.ndarray, courses: np.ndarray, orders: np.ndarray
) -> None:
    """Write what is found of some features: `own` (B,) their numbers, `courses` (K, B)."""
    count = len(courses)
    centred = courses - courses.mean(axis=0)
    total = np.square(centred).sum(axis=0)
    unit = centred / np.sqrt(total)
    sums = _sums(count)
    explained = np.square(sums @ unit)  # (S, B)
    best = explained.argmax(axis=0)
    most = explained[best, np.arange(len(own))]
    left = np.maximum(1 - most, 1e-12)
    inside = (count - 2) * (most - explained) <= RATIO * left
    at = best + SIDE
    sides = np.cumsum(courses, axis=0)
    before = sides[at - 1, np.arange(len(own))] / at
    after = (sides[-1] - sides[at - 1, np.arange(len(own))]) / (count - at)
    scatter = np.sqrt(np.maximum(1 - most, 0) * total / (count - 2))
    with np.errstate(divide="ignore"):
        effect = (after - before) / np.where(1 - most > 1e-12, scatter, 0.0)
    found.at[own], found.before[own], found.after[own] = at, before, after
    found.low[own] = inside.argmax(axis=0) + SIDE
    found.high[own] = len(sums) - 1 - inside[::-1].argmax(axis=0) + SIDE
    found.effect[own] = effect
    found.p[own] = _share(unit, sums, np.sqrt(most), orders)


def _share(
    unit: np.ndarray, sums: np.ndarray, reached: np.ndarray, orders: np.ndarray
) -> np.ndarray:
    """p (B,): how often shuffles of unit courses (K, B) reach what the true order reached."""
    narrow = unit.astype(np.float32)
    bar = (reached * (1 - TIE)).astype(np.float32)
    count = np.zeros(unit.shape[1], dtype=np.int64)
    if len(count) == 1:  # a single course is shuffled sooner than the sums are
        course = np.empty(orders.shape, dtype=np.float32)
        np.put_along_axis(course, orders, narrow.T, axis=1)  # as moving the columns does below
        weight = sums[:, 0]  # of a split is the same for all values before it
        values = np.abs(np.cumsum(course, axis=1)[:, SIDE - 1 : len(unit) - SIDE] * weight)
        return (1 + (values.max(axis=1) >= bar).sum(keepdims=True)) / (len(orders) + 1)
    for start in range(0, len(orders), AT_ONCE):
        # a shuffle of the course is a shuffle of the columns of the sums
        shuffled = sums[:, orders[start : start + AT_ONCE]].astype(np.float32)  # (S, n, K)
        values = shuffled.reshape(-1, len(unit)) @ narrow
        np.abs(values, out=values)
        count += (values.reshape(len(sums), -1, len(bar)).max(axis=0) >= bar).sum(axis=0)
    return (1 + count) / (len(orders) + 1)
