"""A window of one's own: the same numbers as the run's window, slow twins, nonsense."""

import math

import numpy as np
import pytest

from atlas.reorganisation import COMPONENTS, score_windows, shifted, windows
from atlas.window_choice import (
    FEWEST,
    choose,
    enclosing,
    read_window,
    why_no_score,
    write_window,
)
from tests.atlas.test_reorganisation import PYTHIA


def metrics(pairs: int = 31, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((6, pairs))


# --- the same as the run's own -------------------------------------------------------------------


@pytest.mark.parametrize("index", [0, 7, 11, 23])
def test_a_window_that_begins_at_a_snapshot_has_the_numbers_of_the_record(index: int) -> None:
    components = metrics()
    record = score_windows(components, PYTHIA, 7)
    w = record.windows
    found = choose(components, PYTHIA, w.from_step[index], w.to_step[index], 7)
    assert found.score == pytest.approx(record.score[index])
    assert found.z == pytest.approx(record.z[index])
    assert found.p == pytest.approx(record.p[index])
    assert found.p_any == pytest.approx(record.p_any[index])
    np.testing.assert_allclose(found.scores, record.score)
    np.testing.assert_allclose(found.null, record.null)
    assert found.center == pytest.approx(w.center[index])
    assert found.p_of(index) == pytest.approx((record.z[index], record.p[index]))


def slow_choice(components, steps, low, high, seed, shifts):
    """Integrals, scores and nulls one after the other, in words of the reference."""
    u = [math.log10(s + 1) for s in steps]
    a, b = math.log10(low + 1), math.log10(high + 1)
    places = [x for x in u[:-1] if x <= u[-1] - (b - a) + 1e-12] + [a]

    def integral(row, start):
        return sum(
            row[i] / (u[i + 1] - u[i])
            * max(0.0, min(u[i + 1], start + b - a) - max(u[i], start))
            for i in range(len(u) - 1)
        )

    def scores(rows):
        total = [0.0] * len(places)
        for row in rows:
            values = [integral(row, x) for x in places]
            least, most = min(values[:-1]), max(values[:-1])
            for i, v in enumerate(values):
                total[i] += math.log(max((v - least) / (most - least), 1e-8)) / len(rows)
        return [math.exp(t) for t in total]

    true, generator, null = scores(components), np.random.default_rng(seed), []
    for _ in range(shifts):
        null.append(scores([np.roll(row, generator.integers(1, len(row))) for row in components]))
    null = np.array(null)
    z = (np.array(true) - null.mean(axis=0)) / null.std(axis=0)
    highest = ((null - null.mean(axis=0)) / null.std(axis=0)).max(axis=1)
    return {
        "values": [integral(row, a) for row in components], "score": true[-1], "z": z[-1],
        "p": (sum(null[:, -1] >= true[-1]) + 1) / (shifts + 1),
        "p_any": (sum(highest >= z[-1]) + 1) / (shifts + 1),
    }


@pytest.mark.parametrize(("low", "high"), [(16, 52.759), (300, 2500.5), (700, 1100), (5, 90000)])
def test_any_window_equals_its_slow_twin(low: float, high: float) -> None:
    components = metrics(seed=3)
    found = choose(components, PYTHIA, low, high, 5, shifts=25)
    for name, value in slow_choice(components, PYTHIA, low, high, 5, 25).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-8, err_msg=name)


def test_integration_known_answer_18_at_any_width() -> None:
    """A metric equal to the pair's width integrates to the window's width, wherever it lies."""
    width = np.diff(np.log10(np.array(PYTHIA) + 1.0))
    for low, high in ((0, 143000), (37, 411), (512, 1621.25), (999.5, 1000.5)):
        found = choose(np.tile(width, (6, 1)), PYTHIA, low, high, 0)
        np.testing.assert_allclose(found.values, math.log10((high + 1) / (low + 1)))
    unit = np.zeros((6, 31))
    unit[:, PYTHIA.index(512)] = 1
    assert choose(unit, PYTHIA, 512, 1621.249, 0).values[0] == pytest.approx(1, abs=1e-6)
    assert choose(unit, PYTHIA, 256, 811.703, 0).values[0] == pytest.approx(0.688268, abs=1e-5)


def test_the_share_of_shifts_of_one_metric_is_counted_over_all_of_them() -> None:
    components = metrics(seed=4)
    found = choose(components, PYTHIA, 300, 2000, 0)
    for row, value, p in zip(components, found.values, found.value_p, strict=True):
        rolled = [choose(np.tile(np.roll(row, r), (6, 1)), PYTHIA, 300, 2000, 0).values[0]
                  for r in range(31)]
        assert rolled[0] == pytest.approx(value)
        assert p == pytest.approx(sum(v >= value - 1e-12 for v in rolled) / 31)


def test_the_shifts_are_those_of_the_record() -> None:
    components = metrics()
    generator = np.random.default_rng(11)
    for rolled in shifted(components, 11, 5):
        for row, true in zip(rolled, components, strict=True):
            np.testing.assert_array_equal(row, np.roll(true, generator.integers(1, 31)))


# --- what has no score ---------------------------------------------------------------------------


def test_a_window_too_wide_has_values_and_a_reason() -> None:
    found = choose(metrics(), PYTHIA, 0, 143000, 0)
    assert np.isfinite(found.values).all()
    assert "only 1 of its width fits into the schedule" in found.reason
    assert math.isnan(found.score)
    assert not len(found.scores)
    assert len(windows(PYTHIA, 5.0).start) < FEWEST


def test_a_metric_that_is_missing_leaves_the_others() -> None:
    components = metrics()
    components[1] = np.nan
    found = choose(components, PYTHIA, 300, 2000, 0)
    assert found.reason == "activation turnover is not available"
    assert np.isnan(found.values).tolist() == [i == 1 for i in range(6)]
    assert np.isnan(found.value_p[1])
    five = [0, 2, 3, 4, 5]
    named = choose(components[five], PYTHIA, 300, 2000, 0, names=[COMPONENTS[i] for i in five])
    assert not named.reason
    assert 0 < named.p <= 1


def test_constant_and_few_metrics_have_a_reason() -> None:
    assert "the same at all times" in choose(np.zeros((6, 31)), PYTHIA, 300, 2000, 0).reason
    assert "5 snapshots" in choose(metrics(4), PYTHIA[:5], 0, 4, 0).reason
    assert why_no_score(metrics(), PYTHIA, 10) == ""


def test_steps_that_are_no_window_are_refused() -> None:
    for low, high in ((10, 10), (20, 10), (-1, 10), (10, 1e9)):
        with pytest.raises(ValueError, match="is no window between 0 and 143000"):
            choose(metrics(), PYTHIA, low, high, 0)


# --- the address ---------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["0..143000", "16..52.759", "300..301", "0.5..0.75"])
def test_an_address_is_read_as_it_was_written(text: str) -> None:
    found, problem = read_window(text, PYTHIA)
    assert problem == ""
    assert write_window(*found) == text


@pytest.mark.parametrize("text", [
    "16", "52..16", "16..16", "0..143001", "-1..16", "a..b", "1e3..2e3", "1..2..3", "nan..inf",
    "16-52", "9" * 400, "16..52.12345", " 16..52", "‎16..52", "१६..५२५",
])
def test_nonsense_is_said_calmly(text: str) -> None:
    found, problem = read_window(text, PYTHIA)
    assert found is None
    assert "is no window of this run" in problem
    assert len(problem) < 260


def test_nothing_asked_is_nothing_wrong() -> None:
    assert read_window(None, PYTHIA) == read_window("", PYTHIA) == (None, "")


def test_snapshots_that_enclose_a_window() -> None:
    steps = [0, 16, 32, 64]
    assert enclosing(16, 52.759, steps) == (1, 3)
    assert enclosing(16, 32, steps) == (1, 2)
    assert enclosing(17, 18, steps) == (1, 2)
    assert enclosing(0, 64, steps) == (0, 3)
