"""The change statistic and its permutation null: known answers, its twin, calibration."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.changepoint import baseline_length, permutation_test, robust_cusum, robust_cusum_slow

KNOWN = np.array([
    [0.10, 0.12, 0.11, 0.10, 0.12, 0.30, 0.40, 0.40, 0.40],
    [0.2] * 8 + [0.3],
]).T


def test_known_answer_14():
    assert robust_cusum(KNOWN) == pytest.approx(71.49602, abs=1e-5)
    assert robust_cusum_slow(KNOWN) == pytest.approx(71.49602, abs=1e-5)
    with pytest.raises(ValueError, match="8 snapshots"):
        robust_cusum(KNOWN[:8])


def test_the_baseline_is_a_third_and_at_most_ten():
    assert [baseline_length(k) for k in (9, 11, 12, 16, 29, 30, 32, 64)] == [
        3, 3, 4, 5, 9, 10, 10, 10]


def test_the_sum_is_signed():
    """A fall of the same size says nothing; the largest absolute sum would not tell them apart."""
    rise = np.array([[0.10, 0.11, 0.12, 0.11, 0.11, 0.11, 0.11, 0.11, 0.51]]).T
    assert robust_cusum(rise) > 20
    assert robust_cusum(0.22 - rise) < 5


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(9, 34), st.integers(1, 6))
def test_the_statistic_equals_its_slow_twin(seed: int, count: int, features: int):
    g = np.random.default_rng(seed)
    values = g.random((count, features)).round(int(g.integers(1, 6)))
    values[:, g.random(features) < 0.3] = 0.25
    assert robust_cusum(values) == pytest.approx(robust_cusum_slow(values), rel=1e-9, abs=1e-6)


def test_the_smallest_p_is_one_over_the_draws_and_one():
    """Known answer 15, of this null: 199 draws cannot say less than 1 / 200."""
    step = np.repeat([0.0, 1.0], [10, 22])[:, None] * np.ones(30)
    noise = 0.05 * np.random.default_rng(0).standard_normal(step.shape)
    found = permutation_test(step + noise, draws=199)
    assert found.p_value == pytest.approx(1 / 200)
    assert found.draws == 199
    assert found.z > 3
    assert found.z == pytest.approx((found.observed - found.null.mean()) / found.null.std())


def test_a_seed_gives_the_same_null_and_another_seed_another():
    values = np.random.default_rng(1).random((12, 5))
    first = permutation_test(values, 20, np.random.default_rng(7))
    again = permutation_test(values, 20, np.random.default_rng(7))
    other = permutation_test(values, 20, np.random.default_rng(8))
    np.testing.assert_array_equal(first.null, again.null)
    assert not np.array_equal(first.null, other.null)
    three = permutation_test(values, 20, np.random.default_rng(7), workers=3)
    np.testing.assert_array_equal(first.null, three.null)
    assert permutation_test(values, 20).p_value == permutation_test(values, 20).p_value


def test_the_null_is_the_statistic_of_shuffled_columns():
    """Every draw is S of a table that holds the same values in each column."""
    values = np.array([[0.0] * 8 + [1.0]]).T
    found = permutation_test(values, 300)
    possible = {
        round(robust_cusum(np.roll(values, shift, axis=0)), 6) for shift in range(len(values))
    }
    assert {round(s, 6) for s in found.null} == possible


def test_features_are_shuffled_independently():
    """One order for all would give many copies of a feature the null of a single one."""
    row = np.random.default_rng(3).random(16)
    alone = permutation_test(row[:, None], 100).null
    many = permutation_test(np.repeat(row[:, None], 200, axis=1), 100).null
    assert np.quantile(many, 0.05) > np.quantile(alone, 0.9)


def test_p_is_uniform_when_nothing_changes():
    g = np.random.default_rng(5)
    p = np.array([permutation_test(g.random((9, 6)), 39, g).p_value for _ in range(200)])
    assert p.mean() == pytest.approx(0.5, abs=0.07)
    for level in (0.1, 0.25, 0.5, 0.75):
        assert (p <= level).mean() == pytest.approx(level, abs=0.11)


def test_features_that_never_change_change_nothing():
    values = np.random.default_rng(2).random((20, 4))
    one, five = (
        permutation_test(np.hstack([values, np.full((20, n), 0.3)]), 50) for n in (1, 5)
    )
    assert one.observed == five.observed == robust_cusum(values)
    np.testing.assert_array_equal(one.null, five.null)
    flat = permutation_test(np.full((9, 3), 0.2), 10)
    assert (flat.p_value, np.isnan(flat.z)) == (1.0, True)


def test_what_cannot_be_tested_is_refused():
    for values, draws in ((np.ones((8, 2)), 10), (np.ones((9, 0)), 10), (np.ones((9, 2)), 0)):
        with pytest.raises(ValueError, match="expected|snapshots|draws"):
            permutation_test(values, draws)
