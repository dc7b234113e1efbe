"""Lives of features against the known answers of crosscoder-method §14."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import geometry, lifecycle
from tests.atlas.test_geometry import at_angles

PYTHIA = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *range(1000, 9001, 1000)]
PYTHIA += [14000, 21000, 27000, 34000, 47000, 61000, 75000, 89000, 102000, 116000, 130000, 143000]
OLMO = [150, 600, 700, 850, 900, *range(1000, 9001, 1000), 14000, 21000, 27000, 34000, 47000]
OLMO += [110000, 173000, 236000, 299000, 362000, 425000, 488000, 614000, 677000, 740000]
OLMO += [803000, 866000, 928000]


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        (
            PYTHIA,
            {
                32: 0.294552,
                64: 0.351657,
                512: 0.525691,
                1000: 0.582005,
                2000: 0.640355,
                3000: 0.674498,
            },
        ),
        (OLMO, {1000: 0.216825, 3000: 0.342686, 4000: 0.375654, 34000: 0.620950, 47000: 0.658066}),
    ],
)
def test_tau_known_answer_16(steps: list[int], wanted: dict[int, float]):
    assert len(steps) == 32
    found = lifecycle.tau(steps)
    assert (found[0], found[-1]) == (0, 1)
    assert {s: found[steps.index(s)] for s in wanted} == pytest.approx(wanted, abs=1e-6)


def test_tau_of_one_snapshot_is_zero():
    assert lifecycle.tau([4096]).tolist() == [0]


def test_lifecycle_known_answer_12():
    rates = np.array(
        [
            (0, 0, 0.01, 0.05, 0.1, 0.1, 0.09, 0.1),
            (0.2, 0.2, 0.1, 0.05, 0.01, 0, 0, 0),
            (0, 0.02, 0, 0.02, 0, 0, 0, 0),
            (5e-5,) * 8,
            (0,) * 8,
        ]
    ).T
    found = lifecycle.lifecycle(rates)
    assert found.first_active.tolist() == [3, 0, 8, 8, 8]
    assert found.peak.tolist() == [7, 1, 3, 7, 8]
    assert found.lifetime.tolist() == [0.625, 0.5, 0.25, 0, 0]
    assert found.stabilized.tolist() == [4, 5, 4, 8, 8]
    assert found.never_active.tolist() == [False, False, False, True, True]
    assert np.isnan(found.drift).all()


def test_a_rate_at_a_tenth_of_the_peak_is_not_active():
    found = lifecycle.lifecycle(np.array([[1.0, 1.0, 0.1, 0.1]]).T)
    assert found.lifetime.tolist() == [0.5]


def test_stabilized_known_answer_11():
    W_D = at_angles(60, 40, 20, 0)[:, None]
    to_terminal, rotation = geometry.direction_to_terminal(W_D), geometry.rotation(W_D)
    ones = np.ones((4, 1))
    assert lifecycle.lifecycle(ones, to_terminal, m=1, delta=0.1).stabilized.tolist() == [2]
    fallback = lifecycle.lifecycle(ones, rotation=rotation, m=1, delta=0.1)
    assert fallback.stabilized.tolist() == [0]
    both = lifecycle.lifecycle(ones, to_terminal, rotation, m=1, delta=0.1)
    assert both.stabilized.tolist() == [2]
    for wrong in (to_terminal[:-1], to_terminal[:, [0, 0]]):
        with pytest.raises(ValueError, match="to_terminal has shape"):
            lifecycle.lifecycle(ones, wrong)
    with pytest.raises(ValueError, match="rotation has shape"):
        lifecycle.lifecycle(ones, rotation=to_terminal)


def test_a_feature_that_never_settles_is_never_stabilized():
    rates = np.array([[1.0, 1, 1, 1, 1, 1, 1, 0.2]]).T
    assert lifecycle.lifecycle(rates).stabilized.tolist() == [8]


def test_drift_is_the_norm_weighted_rotation_from_the_first_active_snapshot():
    rates = np.array([[0, 1, 1, 1.0], [0, 0, 0, 1], [1, 1, 1, 1]]).T
    rotation = np.array([[0.9, 0.1, 0.3], [0.9, 0.1, 0.3], [np.nan, 0.5, 0.5]]).T
    norms = np.array([[0, 1, 4, 1.0], [1, 1, 1, 1], [0, 4, 1, 1]]).T
    drift = lifecycle.lifecycle(rates, rotation=rotation, norms=norms).drift
    assert drift.tolist() == pytest.approx([(2 * 0.1 + 2 * 0.3) / 4, 0.0, 0.5])
    tensors = lifecycle.lifecycle(*map(torch.tensor, (rates, rates, rotation, norms)))
    assert tensors.drift.tolist() == drift.tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12))
def test_lifecycle_equals_its_sentences(seed: int, count: int):
    random = np.random.default_rng(seed)
    rates = random.choice([0.0, 5e-5, 0.004, 0.05, 0.1], size=(count, 30))
    found = lifecycle.lifecycle(rates)
    for j, r in enumerate(rates.T):
        if r.max() < 1e-4:
            assert found.never_active[j]
            assert found.first_active[j] == found.stabilized[j] == count
            continue
        on = [x > max(1e-4, 0.1 * r.max()) for x in r]
        starts = [k for k in range(count - 1) if on[k] and on[k + 1]]
        assert found.first_active[j] == (starts[0] if starts else count)
        assert found.peak[j] == max(k for k in range(count) if r[k] == r.max())
        assert found.lifetime[j] == pytest.approx(sum(on) / count)
        settled = np.median(r[-max(1, count // 4) :])
        far = [k for k in range(count) if abs(r[k] - settled) >= 0.2 * abs(settled) + 1e-12]
        assert found.stabilized[j] == (far[-1] + 1 if far else 0)


def profile_case() -> np.ndarray:
    """The five norms (32, 5) of known answer 17."""
    t = np.linspace(0, 1, 32)
    return np.stack(
        [
            np.full(32, 0.8),
            0.5 * np.clip(1.2 - 2 * t, 0.02, 1),
            0.3 * np.clip(2 * t - 0.8, 0.02, 1),
            0.2 + 0.1 * np.sin(np.arange(32)),
            np.full(32, 0.005),
        ],
        axis=1,
    )


def test_profiles_known_answer_17():
    norms = profile_case()
    wanted = ["persistent", "early-decaying", "late-emerging", "persistent", "inactive"]
    assert lifecycle.profiles(norms, PYTHIA) == wanted
    s = lifecycle.norm_summary(lifecycle.trajectory(norms), PYTHIA)
    assert [s.early[1], s.late[1]] == pytest.approx([0.9475, 0.0769], abs=1e-4)
    assert [s.late[2], s.early[2]] == pytest.approx([0.5976, 0.02], abs=1e-4)
    assert [s.early[3], s.mid_mean[3], s.late[3]] == pytest.approx(
        [0.6638, 0.6676, 0.6688], abs=1e-4
    )
    peaks = lifecycle.peak_steps(norms, PYTHIA)
    assert peaks[2] == 102000
    assert peaks[4] == -1
    assert np.median(peaks[peaks >= 0]) == 2000


def test_restricting_the_schedule_renormalises_known_answer_17():
    at = PYTHIA.index(256)
    norms, steps = profile_case()[at:], PYTHIA[at:]
    assert lifecycle.profiles(norms, steps) == lifecycle.profiles(profile_case(), PYTHIA)
    peaks = lifecycle.peak_steps(norms, steps)
    assert np.median(peaks[peaks >= 0]) == 2128


def test_transitional_known_answer_17():
    q = np.full((32, 1), 0.05)
    for step, value in ((256, 0.6), (512, 1.0), (1000, 0.7)):
        q[PYTHIA.index(step)] = value
    assert lifecycle.profiles(q, PYTHIA) == ["transitional"]
    s = lifecycle.norm_summary(q, PYTHIA)
    assert s.support_span[0] == pytest.approx(0.114541, abs=1e-6)
    assert s.mid_mean[0] == pytest.approx(0.408333, abs=1e-6)
    assert (s.birth[0], s.death[0], s.peak[0]) == (9, 11, 10)


@pytest.mark.parametrize(
    ("early", "late", "profile"),
    [
        (0.25, 0.25, "transitional"),
        (0.25, 0.40, "mixed"),
        (0.80, 0.25, "early-decaying"),
        (0.25, 0.80, "mixed"),
    ],
)
def test_rules_around_a_peak_in_the_middle(early: float, late: float, profile: str):
    """A peak at step 512 alone; ending high does not make it late, for its peak is not."""
    time = lifecycle.tau(PYTHIA)
    q = np.select([time <= 0.35, time >= 0.65], [early, late], 0.1)
    q[PYTHIA.index(512)] = 1.0
    if profile == "early-decaying":
        q[PYTHIA.index(512)], q[3] = 0.7, 1.0
    assert lifecycle.profiles(q[:, None], PYTHIA) == [profile]


def test_a_gap_of_less_than_35_hundredths_is_not_transitional():
    time = lifecycle.tau(PYTHIA)
    q = np.select([time <= 0.35, time >= 0.65], [0.7, 0.2], 0.1)
    q[PYTHIA.index(512)] = 1.0
    assert lifecycle.profiles(q[:, None], PYTHIA) == ["mixed"]
    q[time <= 0.35] = 0.45
    assert lifecycle.profiles(q[:, None], PYTHIA) == ["transitional"]


def test_windows_of_the_schedules():
    for steps, counts in ((PYTHIA, (7, 6, 19)), (OLMO, (8, 10, 14))):
        time = lifecycle.tau(steps)
        early, late = (time <= lifecycle.EARLY).sum(), (time >= lifecycle.LATE).sum()
        assert (early, 32 - early - late, late) == counts


def test_profiles_round_through_float16_first():
    """0.45 is the bound of a persistent middle, and float16 has no 0.45: it rounds below."""
    q = np.full((32, 2), 0.45)
    q[:, 1] = 0.4502
    q[0] = 1.0
    assert lifecycle.profiles(q, PYTHIA) == ["mixed", "persistent"]
    assert lifecycle.trajectory([[3.0], [1.0]])[1, 0] == float(np.float16(1 / 3))


def test_a_schedule_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="31 snapshots and 32 steps"):
        lifecycle.profiles(profile_case()[1:], PYTHIA)


def test_one_snapshot_has_a_profile():
    assert lifecycle.profiles([[0.7, 0.001]], [4096]) == ["persistent", "inactive"]
    assert [part.tolist() for part in lifecycle.births_and_deaths([[0.7, 0.001]])] == [[0, 1]] * 2


def test_births_and_deaths_are_at_half_of_the_longest_norm():
    norms = np.array([[0.1, 0.6, 1.2, 0.7, 0.5], [2, 2, 2, 2, 2], [0, 0, 0.009, 0, 0]]).T
    birth, death = lifecycle.births_and_deaths(norms)
    assert birth.tolist() == [1, 0, 5]
    assert death.tolist() == [3, 4, 5]


def test_floor_correction_moves_a_birth_out_of_the_noise():
    norms = np.array([[1.0, 1, 1, 1.5, 1.8, 1.9]] * 3).T
    births = lifecycle.floor_corrected_births(norms, [0.0, 1.0, np.inf])
    assert births.tolist() == [0, 3, 6]
    assert lifecycle.births_and_deaths(norms)[0].tolist() == [0, 0, 0]


def test_cusum_known_answer_13():
    assert lifecycle.cusum_max([0, 0, 1, 1]) == 1.0
    assert lifecycle.cusum_max([[0, 5.0], [0, 5], [1, 5], [1, 5]]).tolist() == [1, 0]


def test_rate_rotation_known_answer_20():
    rates = [[0.1, 0.2], [0.3, 0.2], [0.3, 0.5]]
    W_D = torch.stack([at_angles(0, 0), at_angles(40, 5), at_angles(45, 65)])
    rotation = geometry.rotation(W_D)
    assert lifecycle.rate_rotation_r(rates, rotation) == pytest.approx(0.9796075, abs=1e-6)
    assert np.isnan(lifecycle.rate_rotation_r(np.ones((3, 2)), rotation))
    padded = torch.cat([rotation, torch.full((2, 1), torch.nan)], dim=1)
    wide = np.column_stack([rates, [0, 1, 0]])
    assert lifecycle.rate_rotation_r(wide, padded) == pytest.approx(0.9796075, abs=1e-6)
