"""The step at which a feature begins to carry a score."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.carrying import begins, begins_of, chance_begins

courses = st.lists(
    st.lists(st.sampled_from([-2.0, -1.0, -0.6, -0.4, 0.0, 0.4, 0.5, 1.0, 3.0]), min_size=6,
             max_size=6),
    min_size=1, max_size=8,
)


def begin_slow(values: list[float]) -> int:
    """The rule as it is told, one step after another from the end."""
    final = values[-1]
    if final == 0:
        return -1
    place = len(values) - 1
    while place > 0:
        before = values[place - 1]
        if before * final <= 0 or abs(before) < 0.5 * abs(final):
            break
        place -= 1
    return place


@given(courses)
def test_against_the_slow_twin(values: list[list[float]]) -> None:
    assert begins(np.array(values)).tolist() == [begin_slow(row) for row in values]


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ([1, 1, 1, 1], 0), ([0, 0, 0, 1], 3), ([0, 2, 0.4, 1], 3), ([0, 0.5, 2, 1], 1),
        ([-3, 0.5, 0.5, 1], 1), ([-1, -1, -3, -2], 0), ([5, 5, 5, 0], None),
    ],
)
def test_by_hand(values: list[float], place: int | None) -> None:
    assert begins_of([values]) == [place]


def test_a_direction_that_never_turns_begins_by_its_coefficient_alone() -> None:
    direction = np.tile(np.array([1.0, 2.0, -1.0]), (1, 4, 1))
    found = chance_begins(np.array([[0.0, 0.2, 0.6, 1.0]]), direction)[0]
    assert found is not None
    assert (found.low, found.middle, found.high) == (2, 2, 2)


def test_a_direction_that_turns_begins_later_for_random_states() -> None:
    """At the end it stands at a right angle to where it was: half of all states change sign."""
    turned = np.array([[[1.0, 0], [1, 0], [1, 0], [0, 1]]])
    found = chance_begins(np.ones((1, 4)), turned)[0]
    assert found is not None
    assert (found.low, found.middle, found.high) == (0, 3, 3)


def test_nothing_at_the_end_has_no_begin_and_no_null() -> None:
    assert chance_begins(np.array([[1.0, 0.0]]), np.ones((1, 2, 3))) == [None]


@settings(max_examples=10)
@given(st.integers(0, 100))
def test_the_null_is_the_same_for_the_same_seed(seed: int) -> None:
    directions = np.random.default_rng(1).standard_normal((2, 5, 4))
    one, other = (chance_begins(np.ones((2, 5)), directions, 50, seed) for _ in range(2))
    assert one == other
