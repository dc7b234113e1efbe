"""Windows of reorganisation: the record's known answers, slow twins, a planted window, nonsense."""

import dataclasses
import math

import numpy as np
import pytest

from atlas import reorganisation
from atlas.records import RunCard
from atlas.reorganisation import (
    COMPONENTS,
    bootstrap,
    enough,
    pair_metrics,
    score_windows,
    seed_of,
    structural_score,
    windows,
)

PYTHIA = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000,
          9000, 14000, 21000, 27000, 34000, 47000, 61000, 75000, 89000, 102000, 116000, 130000,
          143000]
OLMO = [150, 600, 700, 850, 900, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 14000, 21000,
        27000, 34000, 47000, 110000, 173000, 236000, 299000, 362000, 425000, 488000, 614000, 677000,
        740000, 803000, 866000, 928000]
MATCHED = [256, 512, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000, 9000, 10000, 13000, 14000,
           21000, 23000, 27000, 33000, 34000, 43000, 47000, 53000, 61000, 73000, 83000, 89000,
           93000, 102000, 113000, 123000, 130000, 143000]
Population = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def population(features: int, count: int, seed: int = 0) -> Population:
    """Norms, rates (K, D), rotation (K - 1, D) and to_terminal (K, D), some of them missing."""
    g = np.random.default_rng(seed)
    norms = g.random((count, features))
    norms[:, 0] *= 0.005  # inactive
    rates = 0.1 * g.random((count, features))
    rates[:, 1] = 0
    rotation, to_terminal = g.random((count - 1, features)), g.random((count, features))
    norms[0, 2], rotation[0, 2], to_terminal[0, 2] = 0, np.nan, np.nan
    norms[-1, 3], rotation[-1, 3], to_terminal[:, 3] = 0, np.nan, np.nan
    to_terminal[-1, 4:] = 0
    return norms, rates, rotation, to_terminal


# --- pair metrics --------------------------------------------------------------------------------


def test_pair_metrics_known_answer_19() -> None:
    norms = [[1, 0.2], [0.5, 0.4], [0.5, 0.8]]
    rotation = 1 - np.cos([[0.1, 0.3], [0, 0.2]])
    found = pair_metrics(norms, norms, rotation, np.zeros((3, 2)))
    assert found.lifecycle_turnover.tolist() == pytest.approx([0.4285714, 0.3076923], abs=1e-6)
    assert found.weighted_rotation.tolist() == pytest.approx([0.1571429, 0.1061637], abs=1e-6)
    assert found.peak_density.tolist() == pytest.approx([0, 0.4444444], abs=1e-6)
    assert found.mass_change.tolist() == pytest.approx([-0.2307692, 0.3076923], abs=1e-6)
    assert found.rank_instability.tolist() == [0, 0]
    assert found.unweighted_rotation.tolist() == pytest.approx([0.2, 0.1])


def slow_metrics(norms, rates, rotation, to_terminal) -> dict[str, list[float]]:
    """The six metrics as the reference words them, feature after feature."""
    active = [j for j in range(norms.shape[1]) if norms[:, j].max() > 0.01]
    found: dict[str, list[float]] = {name: [] for name in COMPONENTS}
    most = int(np.clip(round(0.10 * len(active)), 256, len(active)))
    peak = sum(norms[:, j].max() for j in active)

    def top(k: int) -> set[int]:
        return set(sorted(range(len(active)), key=lambda i: (-norms[k, active[i]], i))[:most])

    for k in range(len(norms) - 1):
        sums = dict.fromkeys(("w1", "w2", "q", "g", "turn", "cos"), 0.0)
        for j in active:
            w1 = max(norms[k, j], norms[k + 1, j])
            w2 = math.sqrt(norms[k, j] * norms[k + 1, j])
            sums["w1"] += w1
            sums["w2"] += w2
            sums["q"] += w1 * abs(norms[k + 1, j] - norms[k, j]) / norms[:, j].max()
            if rates[:, j].max() > 0:
                sums["g"] += w1 * abs(rates[k + 1, j] - rates[k, j]) / rates[:, j].max()
            if w2 > 0:
                sums["turn"] += w2 * math.acos(1 - rotation[k, j])
                if norms[-1, j] > 0:
                    sums["cos"] += w2 * abs(to_terminal[k + 1, j] - to_terminal[k, j])
        found["lifecycle_turnover"].append(sums["q"] / sums["w1"])
        found["activation_turnover"].append(sums["g"] / sums["w1"])
        found["weighted_rotation"].append(sums["turn"] / sums["w2"])
        found["direction_velocity"].append(sums["cos"] / sums["w2"])
        before, after = top(k), top(k + 1)
        found["rank_instability"].append(1 - len(before & after) / len(before | after))
        here = [j for j in active if norms[:, j].argmax() == k + 1]
        found["peak_density"].append(sum(norms[:, j].max() for j in here) / peak)
    return found


@pytest.mark.parametrize("features", [40, 700])
def test_pair_metrics_equal_their_slow_twin(features: int) -> None:
    parts = population(features, 6)
    found = pair_metrics(*parts)
    for name, values in slow_metrics(*parts).items():
        np.testing.assert_allclose(getattr(found, name), values, rtol=1e-10, err_msg=name)
    assert found.components.shape == (6, 5)
    assert (found.rank_instability > 0).all() == (features == 700)


def test_the_longest_features_are_a_tenth_of_them() -> None:
    """2458 of 24,576 features and 3277 of 32,768 (known answer 19)."""
    for total, most in ((24576, 2458), (32768, 3277)):
        norms = np.ones((2, total))
        norms[0, :most], norms[1, 1 : most + 1] = 2, 2  # one of them is exchanged
        found = reorganisation._rank_instability(norms, np.ones((total, 1)))
        assert found[0, 0] == pytest.approx(1 - (most - 1) / (most + 1))


def test_shapes_that_differ_are_refused() -> None:
    norms, rates, rotation, to_terminal = population(5, 4)
    with pytest.raises(ValueError, match=r"rates has shape \(3, 5\), expected \(4, 5\)"):
        pair_metrics(norms, rates[1:], rotation, to_terminal)
    with pytest.raises(ValueError, match="rotation has shape"):
        pair_metrics(norms, rates, to_terminal, to_terminal)


# --- windows -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("steps", "count", "last"), [(PYTHIA, 24, 34000), (OLMO, 22, 236000),
                                                      (MATCHED, 20, 43000)])
def test_windows_of_the_schedules(steps: list[int], count: int, last: int) -> None:
    found = windows(steps)
    assert (len(found.start), found.from_step[-1]) == (count, last)
    np.testing.assert_allclose(found.weight @ np.diff(np.log10(np.array(steps) + 1.0)), 0.5)


def test_windows_known_answer_18() -> None:
    found = windows(PYTHIA)
    metric = np.zeros(31)
    metric[PYTHIA.index(512)] = 1
    value = dict(zip(found.from_step.tolist(), found.weight @ metric, strict=True))
    assert value.pop(512) == pytest.approx(1)
    assert value.pop(256) == pytest.approx(0.688268, abs=1e-6)
    assert set(value.values()) == {0}
    at = found.from_step.tolist().index
    assert found.to_step[at(1000)] == pytest.approx(3164.44, abs=0.01)
    assert found.center[at(1000)] == pytest.approx(1779.06, abs=0.01)
    assert found.to_step[at(512)] == pytest.approx(1621.25, abs=0.01)
    assert found.center[at(512)] == pytest.approx(911.26, abs=0.01)


def test_a_schedule_shorter_than_a_window_has_none() -> None:
    assert len(windows([1000, 2000, 3000]).start) == 0
    with pytest.raises(ValueError, match="2 pairs and 0 windows"):
        score_windows(np.ones((6, 2)), [1000, 2000, 3000], 0)
    with pytest.raises(ValueError, match="1 pairs"):
        score_windows(np.ones((6, 1)), [0, 1000], 0)


def test_one_component_at_its_minimum_caps_the_score() -> None:
    values = np.tile([0.0, 0.5, 1.0], (6, 1))
    assert structural_score(values).tolist() == pytest.approx([1e-8, 0.5, 1])
    values[0] = [0, 1, 0]
    assert structural_score(values)[2] == pytest.approx(1e-8 ** (1 / 6))
    values[0] = 0.3  # the same everywhere
    assert structural_score(values)[2] == pytest.approx(1e-8 ** (1 / 6))


# --- score and null ------------------------------------------------------------------------------


def slow_scores(components: np.ndarray, steps: list[int]) -> list[float]:
    """Integrated, scaled and averaged window after window."""
    u = [math.log10(step + 1) for step in steps]
    starts = [k for k in range(len(u) - 1) if u[k] <= u[-1] - 0.5]
    rows = []
    for metric in components:
        row = []
        for k in starts:
            total = 0.0
            for i in range(len(u) - 1):
                overlap = min(u[i + 1], u[k] + 0.5) - max(u[i], u[k])
                total += metric[i] / (u[i + 1] - u[i]) * max(overlap, 0)
            row.append(total)
        low, high = min(row), max(row)
        rows.append([max((v - low) / (high - low) if high > low else 0.0, 1e-8) for v in row])
    return [math.prod(column) ** (1 / 6) for column in zip(*rows, strict=True)]


def test_score_and_null_equal_their_slow_twins() -> None:
    components, steps = np.random.default_rng(4).random((6, 15)), PYTHIA[:16]
    found = score_windows(components, steps, 77, shifts=30)
    score = np.array(slow_scores(components, steps))
    np.testing.assert_allclose(found.score, score, rtol=1e-9)
    generator = np.random.default_rng(77)
    null = []
    for _ in range(30):
        rolled = [np.roll(row, generator.integers(1, 15)) for row in components]
        null.append(slow_scores(np.stack(rolled), steps))
    null = np.array(null)
    np.testing.assert_allclose(found.null, null, rtol=1e-9)
    z = (score - null.mean(axis=0)) / null.std(axis=0)
    np.testing.assert_allclose(found.z, z)
    assert found.best == z.argmax()
    assert found.p.tolist() == [(sum(null[:, w] >= score[w]) + 1) / 31 for w in range(len(score))]
    highest = ((null - null.mean(axis=0)) / null.std(axis=0)).max(axis=1)
    assert found.p_any.tolist() == [(sum(highest >= value) + 1) / 31 for value in z]


def test_the_smallest_p_known_answer_15() -> None:
    """Six metrics that all peak at one pair, which no shift of them does."""
    components = np.full((6, 31), 0.1)
    components[:, PYTHIA.index(512)] = 5
    found = score_windows(components, PYTHIA, seed_of("a run"))
    assert found.windows.from_step[found.best] in (256, 512)
    assert found.p[found.best] == pytest.approx(0.0049751, abs=1e-6)
    assert found.p_any[found.best] < 0.05
    few = score_windows(components, PYTHIA, 0, shifts=50)
    assert few.p[few.best] == pytest.approx(0.0196078, abs=1e-6)


def test_p_any_is_uniform_where_the_metrics_do_not_peak_together() -> None:
    """The p of the record is not: its window was chosen for standing out."""
    g = np.random.default_rng(0)
    chosen, corrected = [], []
    for seed in range(150):
        found = score_windows(g.random((6, 31)), PYTHIA, seed, shifts=100)
        chosen.append(found.p[found.best])
        corrected.append(found.p_any[found.best])
    assert np.mean(corrected) == pytest.approx(0.5, abs=0.08)
    assert np.mean(np.array(corrected) <= 0.05) < 0.1
    assert np.mean(np.array(chosen) <= 0.05) > 0.4


def test_seeds_of_the_record_and_of_any_other_run() -> None:
    assert seed_of("pythia-160m/W_U/cross-snapshot-32/d24576/seed0") == 20260503 + sum(
        map(ord, "pythia160m_d24576"))
    assert seed_of("ab") == 20260503 + 97 + 98


# --- bootstrap -----------------------------------------------------------------------------------


def test_the_bootstrap_equals_its_slow_twin() -> None:
    """Resampled columns, one resample after the other, duplicates and all."""
    parts, steps = population(330, 10), PYTHIA[6:16]
    found = bootstrap(*parts, steps, 5, resamples=60, shifts=10)
    active = np.flatnonzero(parts[0].max(axis=0) > 0.01)
    generator, places = np.random.default_rng(5), []
    for b in range(60):
        drawn = active[generator.integers(0, len(active), size=len(active))]
        components = pair_metrics(*(part[:, drawn] for part in parts)).components
        one = score_windows(components, steps, 5 + b, shifts=10)
        w = one.windows
        places.append((w.from_step[one.best], w.center[one.best], w.to_step[one.best]))
    start, center, end = np.array(places).T
    expected = (*np.percentile(center, (5, 50, 95)), np.percentile(start, 5),
                np.percentile(end, 95))
    assert dataclasses.astuple(found) == pytest.approx(expected)
    assert found.center_low < found.center_high


def test_a_planted_window_is_found_with_its_interval() -> None:
    """Features that all change between steps 1000 and 2000, with noise at all times."""
    g = np.random.default_rng(2)
    late = (np.array(PYTHIA) >= 2000)[:, None]
    sign = g.choice([-1, 1], 400)
    norms = 1 + 0.5 * late * sign + 0.02 * g.normal(size=(32, 400))
    rotation = 0.002 * g.random((31, 400))
    rotation[PYTHIA.index(1000)] += 0.3
    to_terminal = 0.3 * ~late + 0.002 * g.random((32, 400))
    parts = (norms, norms / 10, rotation, to_terminal)
    found = score_windows(pair_metrics(*parts).components, PYTHIA, 1)
    assert found.windows.from_step[found.best] in (512, 1000)
    assert found.p_any[found.best] < 0.05
    around = bootstrap(*parts, PYTHIA, 1, resamples=40)
    assert 512 <= around.from_low <= 1000
    assert 1600 < around.to_high < 4000


def test_runs_too_small_for_a_window() -> None:
    norms = population(5, 12)[0]
    assert enough(norms, PYTHIA[:12])
    assert not enough(norms[:8], PYTHIA[:8])
    assert not enough(norms, list(range(1000, 1012)))
    assert not enough(norms * 1e-3, PYTHIA[:12])
    assert not enough(np.full((12, 5), np.nan), PYTHIA[:12])


# --- what a store says of it ---------------------------------------------------------------------


def card(**statistics: object) -> RunCard:
    names = [f.name for f in dataclasses.fields(RunCard) if f.name != "problem"]
    return RunCard(**dict.fromkeys(names) | {"statistics": statistics})


SAID = {"window_from": 1000.0, "window_to": 3164.4, "window_score": 0.9, "window_z": 3.1,
        "window_p": 0.005}


def test_the_window_of_a_card() -> None:
    found = card(**SAID, window_p_any=0.01, window_center=1779.1).window
    assert (found.from_step, found.to_step, found.z, found.p) == (1000, 3164.4, 3.1, 0.005)
    assert (found.p_any, found.center) == (0.01, 1779.1)
    assert math.isnan(card(**SAID).window.p_any)
    assert card().window is None


@pytest.mark.parametrize("wrong", [
    {"window_from": None}, {"window_from": "1000"}, {"window_from": 4000}, {"window_from": -1},
    {"window_to": math.inf}, {"window_to": 1e30}, {"window_p": 2}, {"window_p": math.nan},
    {"window_z": [1]}, {"window_score": math.inf}, {"window_score": {}},
])
def test_a_window_of_nonsense_is_none(wrong: dict[str, object]) -> None:
    assert card(**SAID | wrong).window is None
