"""What chance alone would give."""

import numpy as np
import pytest

from atlas.chance import chance_cosine, lists_by_chance, pair_cosine


@pytest.mark.parametrize(("n", "d"), [(1, 3), (40, 8), (400, 32)])
def test_it_is_the_median_of_the_largest_cosine(n: int, d: int) -> None:
    generator = np.random.default_rng(0)
    best = []
    for _ in range(3000):
        others = generator.normal(size=(n, d))
        best.append(np.max(others[:, 0] / np.linalg.norm(others, axis=1)))
    assert chance_cosine(n, d) == pytest.approx(np.median(best), abs=0.05)


def test_it_rises_with_the_list_and_falls_with_the_width() -> None:
    assert chance_cosine(4096, 128) > chance_cosine(40, 128) > 0
    assert chance_cosine(4096, 128) > chance_cosine(4096, 768)
    assert chance_cosine(10, 1) == 1.0


@pytest.mark.parametrize(("n", "d"), [(0, 3), (3, 0)])
def test_it_needs_something(n: int, d: int) -> None:
    with pytest.raises(ValueError, match="at least one"):
        chance_cosine(n, d)


@pytest.mark.parametrize("d", [2, 8, 128])
def test_pairs_stay_below_in_nineteen_of_twenty(d: int) -> None:
    rows = np.random.default_rng(1).normal(size=(20_000, d))
    cosines = np.abs(rows[:, 0]) / np.linalg.norm(rows, axis=1)
    assert pair_cosine(d) == pytest.approx(np.quantile(cosines, 0.95), abs=0.02)
    assert pair_cosine(1) == 1.0
    with pytest.raises(ValueError, match="at least one"):
        pair_cosine(0)


def test_lists_that_hold_a_row_by_chance() -> None:
    generator = np.random.default_rng(0)
    held = [
        sum(7 in generator.choice(40, 6, replace=False) for _ in range(24)) for _ in range(400)
    ]
    assert lists_by_chance(24, 6, 40) == pytest.approx(np.mean(held), rel=0.05)
    with pytest.raises(ValueError, match="no such lists"):
        lists_by_chance(24, 41, 40)
