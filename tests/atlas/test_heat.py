"""Which snapshots a table of lists shows, and how dark its cells are."""

import numpy as np
import pytest

from atlas.heat import chosen_snapshots, ink


@pytest.mark.parametrize("count", [1, 2, 8, 9, 24, 32])
def test_the_snapshots_that_are_shown(count: int) -> None:
    for k in range(count):
        chosen = chosen_snapshots(count, (k,), 8)
        assert {0, k, count - 1} <= set(chosen)
        assert len(chosen) == min(count, 8)
        assert chosen == sorted(set(chosen))
        assert max(np.diff(chosen), default=0) <= max(1, 2 * count // 7)


def test_marked_snapshots_are_shown_whatever_the_room() -> None:
    assert chosen_snapshots(10, (3, 3, 4, 9), 3) == [0, 3, 4, 9]


def test_ink_begins_at_chance_and_is_full_at_one() -> None:
    assert [ink(c, 0.2) for c in (-1, 0.2, 0.6, 1, 1.1)] == pytest.approx([0, 0, 0.5, 1, 1])
    assert ink(1, 1) == 0
