"""Tables of lists through training: which snapshots have a column, and how dark a cell is."""

from collections.abc import Sequence
from itertools import pairwise


def chosen_snapshots(count: int, marked: Sequence[int], most: int) -> list[int]:
    """Snapshots to show: the first, the last and the marked ones, the rest in the widest gaps.

    Args:
        count: snapshots of the run.
        marked: numbers of snapshots that are shown whatever `most` is.
        most: snapshots to show.
    """
    found = sorted({0, count - 1, *marked})
    while len(found) < min(most, count):
        gaps = [after - before for before, after in pairwise(found)]
        at = gaps.index(max(gaps))
        found.insert(at + 1, (found[at] + found[at + 1]) // 2)
    return found


def ink(cosine: float, chance: float) -> float:
    """How dark a cell is, 0…1: from what chance would give up to a cosine of 1."""
    if chance >= 1:
        return 0.0
    return min(1.0, max(0.0, (float(cosine) - chance) / (1 - chance)))
