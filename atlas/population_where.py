"""Which features of the population a bar or a row holds, as conditions of Browse.

Features that never fire are in no figure of the population, so every link also asks for those
that do.
"""

from collections.abc import Sequence

from atlas.conditions import Condition, OneOf, Range, Where, write_where
from atlas.population import CONVENTIONS
from atlas.population_store import Ordered

LIVE = {"alive": "yes"}
COLUMNS = {"peaks": "peak_step", "deaths": "death_step"}
"""The measure of Browse behind a kind of bars that are no births."""
PEAK = "peak_step"


def measure_of(kind: str) -> str:
    """The measure of Browse that bars of a kind count by."""
    return COLUMNS.get(kind) or CONVENTIONS[kind.removeprefix("births_")].measure


def bar(kind: str, step: int) -> dict[str, str]:
    """Parameters of Browse that list the features of a bar."""
    return {**LIVE, "where": write_where(((Range(measure_of(kind), step, step),),))}


def row(
    steps: Sequence[int], found: Ordered, order: str, convention: str, change: tuple[int, int],
    r: int, page_size: int,
) -> dict[str, str]:
    """Parameters of Browse for a row of the picture of all lives.

    Sorted by birth or peak, the row's stretch of the order, whole groups of equal features at its
    ends; sorted by a change, the page of the same list on which the row begins.
    """
    a, b = int(found.bounds[r]), int(found.bounds[r + 1]) - 1
    if order == "change":
        return {
            **LIVE, "sort": "norm_change", "order": "down", "change": f"{change[0]}-{change[1]}",
            "page": str(a // page_size + 1),
        }
    columns, keys = (CONVENTIONS[convention].measure, PEAK), (found.birth, found.peak)
    if order == "peak":
        columns, keys = columns[::-1], keys[::-1]
    ends = [(int(keys[0][i]), int(keys[1][i])) for i in (a, b)]
    return {**LIVE, "where": write_where(stretch(steps, columns, *ends)), "sort": columns[1],
            "order": "up"}


def stretch(
    steps: Sequence[int], columns: tuple[str, str], start: tuple[int, int], end: tuple[int, int]
) -> Where:
    """Features between two places of an order by one snapshot and then by another, ends included.

    Args:
        columns: the two measures. start: the snapshots of both at the first place, the number of
            snapshots for "never", which comes last. end: those at the last place.
    """
    first, then = columns
    if start[0] == end[0]:
        return ((_is(first, steps, start[0]), *_between(then, steps, start[1], end[1])),)
    groups: list[tuple[Condition, ...]] = [
        (_is(first, steps, start[0]), *_between(then, steps, start[1], len(steps)))
    ]
    if end[0] - start[0] > 1:
        groups.append((Range(first, steps[start[0] + 1], steps[end[0] - 1]),))
    groups.append((_is(first, steps, end[0]), *_between(then, steps, 0, end[1])))
    return tuple(groups)


def _is(column: str, steps: Sequence[int], k: int) -> Condition:
    return Range(column, steps[k], steps[k]) if k < len(steps) else OneOf(column, (None,))


def _between(column: str, steps: Sequence[int], low: int, high: int) -> tuple[Condition, ...]:
    """The measure is from one snapshot to another; to "never" means that it may be missing."""
    count = len(steps)
    if low == count:
        return (OneOf(column, (None,)),)
    if high == count:
        return () if low == 0 else (Range(column, None, steps[low], negated=True, below=True),)
    return (Range(column, steps[low], steps[high]),)
