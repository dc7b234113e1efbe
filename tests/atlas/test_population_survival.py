"""Kaplan and Meier's curve: a textbook's numbers, its own sentence, and how often it is right."""

import math

import numpy as np
import pytest

from atlas.survival import spans, survival

FREIREICH = ([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35],
             [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0])
"""Weeks in remission under 6-mercaptopurine, and whether they ended (Freireich 1963)."""


def slow(duration: list[float], ended: list[bool]) -> dict[float, tuple[float, float]]:
    """{time: (share, standard error)} by the product over all times, one feature after another."""
    share, terms, found = 1.0, 0.0, {}
    for time in sorted({d for d, e in zip(duration, ended, strict=True) if e}):
        watched = sum(d >= time for d in duration)
        gone = sum(e and d == time for d, e in zip(duration, ended, strict=True))
        share *= 1 - gone / watched
        terms += gone / (watched * (watched - gone)) if watched > gone else 0.0
        found[time] = share, share * math.sqrt(terms)
    return found


def test_a_textbook_curve() -> None:
    found = survival(np.array(FREIREICH[0]), np.array(FREIREICH[1], bool))
    assert found.at.tolist() == [0, 6, 7, 10, 13, 16, 22, 23, 35]
    assert found.share[1:-1].round(3).tolist() == [.857, .807, .753, .690, .627, .538, .448]
    errors = (found.share - found.low)[1:-1] / 1.96
    assert errors.round(3).tolist() == [.076, .087, .096, .107, .114, .128, .135]
    assert found.watched[1:-1].tolist() == [21, 17, 15, 12, 11, 7, 6]
    assert (found.total, found.ended) == (21, 9)


@pytest.mark.parametrize("seed", range(8))
def test_it_equals_its_sentence(seed: int) -> None:
    rng = np.random.default_rng(seed)
    duration = rng.integers(0, 8, 40).astype(float)
    ended = rng.random(40) < 0.6
    found, wanted = survival(duration, ended), slow(duration.tolist(), ended.tolist())
    at = dict(zip(found.at.tolist(), range(len(found.at)), strict=True))
    for time, (share, error) in wanted.items():
        assert found.share[at[time]] == pytest.approx(share)
        assert found.low[at[time]] == pytest.approx(max(0.0, share - 1.96 * error))
        assert found.high[at[time]] == pytest.approx(min(1.0, share + 1.96 * error))
    assert found.at[0] == 0
    assert found.at[-1] == duration.max()


def test_the_band_holds_the_truth_about_as_often_as_it_says() -> None:
    rng, inside = np.random.default_rng(5), 0
    for _ in range(200):
        life, look = rng.exponential(1.0, 150), rng.uniform(0.2, 2.5, 150)
        found = survival(np.minimum(life, look), life <= look)
        place = np.searchsorted(found.at, 0.8, side="right") - 1
        inside += found.low[place] <= math.exp(-0.8) <= found.high[place]
    assert 177 <= inside <= 199  # 190 expected; Greenwood's plain band is a little short


def test_edges() -> None:
    assert survival(np.zeros(0), np.zeros(0, bool)).total == 0
    whole = survival(np.array([1.0, 2.0]), np.array([False, False]))
    assert whole.share.tolist() == [1, 1]
    assert whole.at.tolist() == [0, 2]
    none = survival(np.array([1.0, 1.0]), np.array([True, True]))
    assert none.share.tolist() == [1, 0]
    assert none.high.tolist() == [1, 0]
    at_once = survival(np.array([0.0, 3.0]), np.array([True, False]))
    assert at_once.at.tolist() == [0, 3]
    assert at_once.share.tolist() == [0.5, 0.5]


def test_a_span_ends_at_the_first_snapshot_without_the_feature() -> None:
    decades = np.array([0.0, 0.3, 1.0, 2.0])
    birth, death = np.array([0, 1, 2, 3, 2]), np.array([0, 2, 3, 4, 0])
    duration, ended = spans(birth, death, decades)
    assert duration.tolist() == pytest.approx([0.3, 1.7, 1.0, 0.0, 0.0])
    assert ended.tolist() == [True, True, False, False, True]
