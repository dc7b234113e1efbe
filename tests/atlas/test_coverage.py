"""How many features explain how much."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.coverage import coverage, curve

sizes = st.lists(st.floats(-50, 50), min_size=1, max_size=40)


def by_size(values: list[float]) -> np.ndarray:
    found = np.array(values)
    return found[np.argsort(-np.abs(found), kind="stable")]


def slow(values: np.ndarray) -> tuple[int, float, float]:
    """n80, top5 and top10 by adding one feature after another."""
    total = sum(abs(v) for v in values)
    held, n80 = 0.0, 0
    for n, value in enumerate(values, 1):
        held += abs(value)
        if held >= 0.8 * total - 1e-9 * total:
            n80 = n
            break
    return n80, *(sum(abs(v) for v in values[:n]) / total for n in (5, 10))


@given(sizes)
def test_against_the_slow_twin(values: list[float]) -> None:
    found = by_size(values)
    if not np.abs(found).sum() > 1e-6:
        return
    made = coverage(np.arange(len(found)), found, 2.0)
    n80, top5, top10 = slow(found)
    assert abs(made.n80 - n80) <= 1  # the limit may be met to the last bit
    assert made.top5 == pytest.approx(top5)
    assert made.top10 == pytest.approx(top10)
    assert made.signed5 == pytest.approx(found[:5].sum() / 2)
    line = curve(found)
    assert line.share[0] == line.total[0] == 0
    assert line.share[-1] == pytest.approx(1)
    assert line.total[-1] == pytest.approx(found.sum())
    assert (np.diff(line.share) >= 0).all()


def test_by_hand() -> None:
    found = coverage(np.array([7, 3, 9]), np.array([5.0, -3.0, 2.0]), 8.0)
    assert (found.size, found.n80, found.highest, found.lowest) == (10, 2, 7, 3)
    assert found.top5 == found.top10 == 1
    assert found.signed5 == 0.5
    assert not found.diffuse


def test_many_equal_features_are_diffuse() -> None:
    found = coverage(np.arange(100), np.ones(100), 100.0)
    assert found.n80 == 80
    assert found.top10 == pytest.approx(0.1)
    assert found.diffuse
    assert found.lowest is None


def test_nothing_contributes() -> None:
    found = coverage(np.zeros(0, int), np.zeros(0), 0.0)
    assert (found.size, found.n80, found.highest) == (0, 0, None)
    assert math.isnan(found.top5)
    assert math.isnan(found.signed10)
    assert not found.diffuse
