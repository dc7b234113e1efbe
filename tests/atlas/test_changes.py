"""Change-points: a slow twin, calibration under the null, planted steps, what cannot be had."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.changes import DRAWS, LEAST, LEVEL, RATIO, SIDE, Change, changes, strongest

STEPS = [2**k for k in range(32)]


def slow(course: np.ndarray) -> tuple[int, int, int, float, list[float]]:
    """Best split, its interval, its effect and the explained share of every split."""
    count = len(course)
    total = sum((course - course.mean()) ** 2)
    lefts = {}
    for s in range(SIDE, count - SIDE + 1):
        parts = course[:s], course[s:]
        lefts[s] = sum(sum((part - part.mean()) ** 2) for part in parts)
    best = min(lefts, key=lambda s: (round(lefts[s], 12), s))
    variance = lefts[best] / (count - 2)
    inside = [s for s in lefts if lefts[s] - lefts[best] <= RATIO * variance + 1e-9 * total]
    effect = (course[best:].mean() - course[:best].mean()) / math.sqrt(variance)
    return best, inside[0], inside[-1], effect, [1 - left / total for left in lefts.values()]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(LEAST, 33))
def test_the_strongest_change_equals_its_slow_twin(seed: int, count: int) -> None:
    g = np.random.default_rng(seed)
    courses = g.normal(size=(count, 5))
    courses[count // 2 :, :2] += 3
    found = strongest(courses, draws=1)
    for j, course in enumerate(courses.T):
        best, low, high, effect, _ = slow(course)
        assert (found.at[j], found.low[j], found.high[j]) == (best, low, high)
        assert found.effect[j] == pytest.approx(effect)
        assert found.before[j] == pytest.approx(course[:best].mean())
        assert found.after[j] == pytest.approx(course[best:].mean())


def test_p_is_the_share_of_shuffles_that_reach_it() -> None:
    g = np.random.default_rng(3)
    course = g.normal(size=12) + np.repeat([0, 1.5], 6)
    found = strongest(course[:, None], np.random.default_rng(8), draws=150)
    orders = np.random.default_rng(8).permuted(np.tile(np.arange(12), (150, 1)), axis=1)
    most = max(slow(course)[4])
    reached = sum(max(slow(course[order.argsort()])[4]) >= most - 1e-9 for order in orders)
    assert found.p[0] == (1 + reached) / 151
    assert 1 / 151 < found.p[0] < 0.5


def test_p_is_uniform_where_the_order_means_nothing() -> None:
    """600 courses, two thirds of them far from normal: no tenth holds much more than a tenth."""
    g = np.random.default_rng(0)
    courses = np.concatenate([g.normal(size=(32, 200)), g.exponential(size=(32, 200)),
                              g.integers(0, 40, (32, 200))], axis=1)
    p = strongest(courses, g).p
    counts = np.histogram(p, 10, (0, 1))[0]
    assert ((counts - 60) ** 2 / 60).sum() < 27.9  # chi square of 9, 1 in 1,000
    assert 0.02 < (p <= LEVEL).mean() < 0.08


@pytest.mark.parametrize("place", [4, 16, 28])
@pytest.mark.parametrize("height", [1.5, 3.0])
def test_the_interval_of_a_planted_step_covers_it(place: int, height: float) -> None:
    g = np.random.default_rng(place)
    courses = g.normal(size=(32, 400))
    courses[place:] += height
    found = strongest(courses, draws=99)
    covered = (found.low <= place) & (place <= found.high)
    assert covered.mean() > 0.87
    assert (np.abs(found.at - place) <= 1).mean() > (0.5 if height < 2 else 0.9)
    assert (found.p <= LEVEL).mean() > (0.4 if height < 2 else 0.95)
    assert np.median(found.effect) == pytest.approx(height, abs=0.4)


def test_a_steady_growth_has_a_wide_interval_and_a_jump_a_narrow_one() -> None:
    noise = 0.02 * np.random.default_rng(1).normal(size=(32, 2))
    growth, jump = np.linspace(0, 1, 32), np.repeat([0.0, 1.0], 16)
    found = strongest(np.stack([growth, jump], axis=1) + noise)
    assert (found.p <= 0.002).all()  # the order matters in both
    assert (found.high - found.low).tolist() == [pytest.approx(7, abs=3), 0]


def test_what_has_no_change() -> None:
    courses = np.random.default_rng(0).random((9, 5)).astype(np.float32)
    courses[:, 1] = 0.7
    courses[:, 2] = 0.7 + 1e-8 * courses[:, 0]  # the rounding of float32
    courses[3, 3] = np.nan
    found = strongest(courses)
    assert (found.at >= 0).tolist() == [True, False, False, False, True]
    for name in ("p", "before", "after", "effect"):
        assert np.isnan(getattr(found, name)).tolist() == [False, True, True, True, False]
    assert (strongest(courses[: LEAST - 1]).at == -1).all()
    assert strongest(np.zeros((9, 0))).at.shape == (0,)
    with pytest.raises(ValueError, match="0 draws"):
        strongest(courses, draws=0)


def test_no_course_of_fewer_than_eight_snapshots_reaches_the_level() -> None:
    for count in (6, 7, 8):
        step = np.repeat([0.0, 1.0], (count // 2, count - count // 2))[:, None]
        assert (strongest(step).p[0] <= LEVEL) == (count == 8)
        assert math.isinf(strongest(step).effect[0])


def test_all_changes_of_a_course() -> None:
    course = np.repeat([1.0, 4.0, 2.0], (10, 10, 12))
    course += 0.1 * np.random.default_rng(2).normal(size=32)
    found = changes(course, STEPS)
    assert [(c.step, c.low_step, c.high_step) for c in found] == [(s, s, s) for s in (2**10, 2**20)]
    assert [c.before for c in found] == pytest.approx([1, 4], abs=0.1)
    assert [c.after for c in found] == pytest.approx([4, 2], abs=0.1)
    assert [c.p <= 0.01 for c in found] == [True, True]
    assert 20 < found[0].effect < 60
    assert -40 < found[1].effect < -10
    assert found == changes(course, STEPS)
    assert isinstance(found[0], Change)


def test_seldom_one_change_too_many() -> None:
    g = np.random.default_rng(5)
    plain = [len(changes(g.normal(size=32), STEPS, g, 199)) for _ in range(150)]
    assert np.mean([n > 0 for n in plain]) < 0.1
    stepped = [len(changes(g.normal(size=32) + np.repeat([0, 4], 16), STEPS, g, 199))
               for _ in range(150)]
    assert min(stepped) == 1
    assert np.mean([n > 1 for n in stepped]) < 0.12


def test_courses_without_changes() -> None:
    assert changes(np.ones(12), STEPS[:12]) == ()
    assert changes(np.full(12, np.nan), STEPS[:12]) == ()
    assert changes([1.0], [0]) == ()
    with pytest.raises(ValueError, match="2 steps"):
        changes(np.ones(3), [0, 1])
    exact = changes(np.repeat([0.0, 1.0], 8), STEPS[:16])
    assert [(c.step, math.isinf(c.effect)) for c in exact] == [(2**8, True)]
    assert exact[0].p <= 5 / (DRAWS + 1)


def test_a_course_alone_has_the_p_it_has_among_others() -> None:
    courses = np.random.default_rng(5).normal(size=(20, 30)).cumsum(axis=0)
    together = strongest(courses).p
    alone = [strongest(courses[:, [i]]).p.item() for i in range(courses.shape[1])]
    np.testing.assert_allclose(alone, together, atol=2e-3)  # a tie may round to either side
    assert len(set(alone)) > 3
