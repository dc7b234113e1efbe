"""The identity exact = base + features + residual, and the gate."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import crosscoder as cc
from atlas import decomposition as dc
from atlas import prism as pr
from tests.atlas.test_crosscoder import made_up
from tests.atlas.test_prism import ROWS, hand_prism, made_up_prism

H = np.array([2.0, 0.5])


def crosscoder_ledger(
    c: cc.Crosscoder,
    raw: torch.Tensor,
    k: int,
    h: torch.Tensor,
    tokens: list[int],
    weights: list[float],
) -> dc.Ledger:
    """Decompose at snapshot k from the dictionary and the raw rows (K, V, d)."""
    statistics, x = cc.standardize(raw)
    a = cc.activations(cc.pre_activations(c, x), c.norms, c.threshold)[k]
    active = [(a[t].nonzero()[:, 0].numpy(), a[t][a[t] > 0].numpy()) for t in tokens]
    return dc.decompose_crosscoder(
        h.numpy(),
        raw[k, tokens].numpy(),
        weights,
        active,
        c.W_D[k, dc.active_features(active)].numpy(),
        statistics.mean[k].numpy(),
        float(statistics.scale[k]),
        c.b_D[k].numpy(),
    )


def prism_ledger(
    prism: pr.Prism, rows: torch.Tensor, h: np.ndarray, tokens: list[int], weights: list[float]
) -> dc.Ledger:
    """Decompose with a prism from raw rows (V, d)."""
    x, _, norms = pr.normalise_rows(rows, prism.row_mean)
    indices, values = pr.encode(prism, x)
    active = [
        (indices[t][values[t] > 0].numpy(), (norms[t] * values[t][values[t] > 0]).numpy())
        for t in tokens
    ]
    return dc.decompose_prism(
        h,
        rows[tokens].numpy(),
        weights,
        active,
        prism.decoder[dc.active_features(active)].numpy(),
        prism.row_mean.numpy(),
    )


def closes(ledger: dc.Ledger, scale: float = 1.0) -> None:
    assert ledger.identity_error <= 1e-9 * max(1.0, abs(ledger.exact), scale)
    assert ledger.feature_sum == pytest.approx(float(ledger.contributions.sum()), abs=1e-9)
    assert (np.diff(np.abs(ledger.contributions)) <= 0).all()
    assert len(set(ledger.features.tolist())) == len(ledger.features)


weight_lists = st.lists(st.floats(-3, 3), min_size=1, max_size=4)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), weight_lists, st.integers(0, 2), st.floats(0.01, 1000))
def test_crosscoder_identity_for_any_weights(seed: int, weights: list[float], k: int, size: float):
    c, _ = made_up(seed)
    random = torch.Generator().manual_seed(seed + 1)
    raw = size * torch.randn(3, 17, 5, generator=random, dtype=torch.float64) + 2
    h = torch.randn(5, generator=random, dtype=torch.float64)
    tokens = torch.randperm(17, generator=random)[: len(weights)].tolist()
    ledger = crosscoder_ledger(c, raw, k, h, tokens, weights)
    closes(ledger, scale=100 * size)
    exact = sum(w * float(h @ raw[k, t]) for w, t in zip(weights, tokens, strict=True))
    assert ledger.exact == pytest.approx(exact, abs=1e-9 * max(1, 100 * size))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), weight_lists)
def test_prism_identity_for_any_weights_untrained(seed: int, weights: list[float]):
    prism, _ = made_up_prism(seed)
    random = torch.Generator().manual_seed(seed + 1)
    rows = torch.randn(13, 6, generator=random, dtype=torch.float64)
    h = torch.randn(6, generator=random, dtype=torch.float64).numpy()
    tokens = torch.randperm(13, generator=random)[: len(weights)].tolist()
    closes(prism_ledger(prism, rows, h, tokens, weights))


def test_the_residual_is_measured_and_a_wrong_part_shows():
    """Activations that are not what the directions were listed for break the sum of parts."""
    prism, _ = hand_prism(0.9)
    right = prism_ledger(prism, ROWS, H, [0], [1.0])
    wrong = dc.decompose_prism(
        H, ROWS[[0]].numpy(), [1.0], [([0], [0.9])], [[0.0, 1.0]], [2.0, 1.0]
    )
    assert right.residual == pytest.approx(0.2)
    assert wrong.residual == pytest.approx(2 - 0.45)
    assert wrong.residual != pytest.approx(right.residual)


def test_crosscoder_reconstruction_is_the_decoder_s():
    """base + feature sum is what the restored reconstruction reads (§3.2, known answer 10)."""
    c, _ = made_up(5)
    raw = 4 * torch.randn(3, 17, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    statistics, x = cc.standardize(raw)
    a = cc.activations(cc.pre_activations(c, x), c.norms, c.threshold)
    rebuilt = statistics.restore(cc.decode(c, a))
    h = torch.randn(5, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for k in range(3):
        one = crosscoder_ledger(c, raw, k, h, [4], [1.0])
        two = crosscoder_ledger(c, raw, k, h, [4, 9], [1.0, -1.0])
        assert one.reconstructed == pytest.approx(float(h @ rebuilt[k, 4]))
        assert two.reconstructed == pytest.approx(float(h @ (rebuilt[k, 4] - rebuilt[k, 9])))
        assert two.base == 0
        assert one.sign_agrees is None
        assert two.sign_agrees is not None


def test_margin_through_features_alone_known_answer_23():
    """a rows (1,0) and (0,2), unit directions, scale 2, h (1,3): contributions 2 and -12."""
    ledger = dc.decompose_crosscoder(
        [1, 3],
        np.zeros((2, 2)),
        [1, -1],
        [([0], [1.0]), ([1], [2.0])],
        np.eye(2),
        [5, 7],
        2.0,
        [1, 1],
    )
    assert ledger.features.tolist() == [1, 0]
    assert ledger.contributions.tolist() == [-12, 2]
    assert (ledger.base, ledger.feature_sum, ledger.exact, ledger.residual) == (0, -10, 0, 10)


@pytest.mark.parametrize(
    ("gain", "sums", "residuals"),
    [(1.0, [2, -2, 1, -1], [0] * 4), (0.9, [1.8, -1.8, 0.9, -0.9], [0.2, -0.2, 0.1, -0.1])],
)
def test_hand_case_single_tokens(gain: float, sums: list[float], residuals: list[float]):
    prism, _ = hand_prism(gain)
    for token, (feature_sum, residual) in enumerate(zip(sums, residuals, strict=True)):
        ledger = prism_ledger(prism, ROWS, H, [token], [1.0])
        assert ledger.base == pytest.approx(4.5)
        assert ledger.feature_sum == pytest.approx(feature_sum)
        assert ledger.residual == pytest.approx(residual)
        assert ledger.features.tolist() == [token]


def test_hand_case_rho_raw_and_centred():
    ledger = prism_ledger(hand_prism(0.9)[0], ROWS, H, [0], [1.0])
    assert ledger.exact == pytest.approx(6.5)
    assert ledger.rho == pytest.approx(0.2 / 7)
    assert ledger.rho_centred == pytest.approx(0.08)
    assert ledger.gate
    assert ledger.sign_agrees is None


def test_hand_case_margin():
    ledger = prism_ledger(hand_prism(0.9)[0], ROWS, H, [0, 1], [1.0, -1.0])
    assert ledger.exact == pytest.approx(4)
    assert ledger.base == 0
    assert dict(zip(ledger.features.tolist(), ledger.contributions, strict=True)) == {
        0: pytest.approx(1.8),
        1: pytest.approx(1.8),
    }
    assert ledger.residual == pytest.approx(0.4)
    assert ledger.rho == pytest.approx(0.4 / 4.5)
    assert ledger.gate
    assert ledger.sign_agrees


def test_hand_case_family():
    ledger = prism_ledger(hand_prism(0.9)[0], ROWS, H, [0, 2, 1, 3], [0.5, 0.5, -0.5, -0.5])
    assert ledger.exact == pytest.approx(3)
    found = dict(zip(ledger.features.tolist(), ledger.contributions.tolist(), strict=True))
    assert found == pytest.approx({0: 0.9, 1: 0.9, 2: 0.45, 3: 0.45})
    assert ledger.residual == pytest.approx(0.3)


def test_hand_case_winner_against_its_rivals():
    share = np.exp([5.5, 3.5]) / np.exp([5.5, 3.5]).sum()
    assert share.tolist() == pytest.approx([0.880797, 0.119203], abs=1e-6)
    ledger = prism_ledger(hand_prism(0.9)[0], ROWS, H, [0, 2, 3], [1.0, -share[0], -share[1]])
    assert ledger.exact == pytest.approx(1.238406, abs=1e-6)
    found = dict(zip(ledger.features.tolist(), ledger.contributions.tolist(), strict=True))
    assert found == pytest.approx({0: 1.8, 2: -0.792717, 3: 0.107283}, abs=1e-6)
    assert ledger.feature_sum == pytest.approx(1.114565, abs=1e-6)
    assert ledger.residual == pytest.approx(0.123841, abs=1e-6)


def test_a_feature_that_cancels_is_not_listed():
    active = [([3, 8], [1.0, 2.0]), ([8], [2.0])]
    directions = np.array([[1.0, 0], [0, 1.0]])
    ledger = dc.decompose_prism([1, 1], np.ones((2, 2)), [1, -1], active, directions, [0, 0])
    assert ledger.features.tolist() == [3]


def test_no_active_feature_leaves_everything_to_base_and_residual():
    ledger = dc.decompose_prism([1, 1], [[2, 2]], [1], [([], [])], np.zeros((0, 2)), [1, 0])
    assert (ledger.base, ledger.feature_sum, ledger.residual) == (1, 0, 3)
    assert ledger.features.size == 0
    assert not ledger.gate


def test_directions_of_another_length_are_refused():
    with pytest.raises(ValueError, match="2 features are active"):
        dc.decompose_prism([1, 1], [[2, 2]], [1], [([1, 5], [1, 1])], np.zeros((3, 2)), [0, 0])


@pytest.mark.parametrize(
    ("exact", "rebuilt", "rho", "sign", "gate"),
    [
        (1.5, 0.5, 0.5, True, False),
        (0.3, -0.1, 0.5, False, False),
        (0.3, 0.1, 0.25, True, True),
        (-2, -1.2, 0.32, True, True),
        (10, 5.1, 0.4666667, True, True),
        (10, 4.7, 0.5047619, True, False),
        (0.1, -0.01, 0.1833333, False, False),
    ],
)
def test_gate_cases(exact: float, rebuilt: float, rho: float, sign: bool, gate: bool):
    found = dc.verdict(exact, rebuilt, signed=True)
    assert found.rho == pytest.approx(rho)
    assert (found.sign_agrees, found.gate) == (sign, gate)
    unsigned = dc.verdict(exact, rebuilt, signed=False)
    assert unsigned.sign_agrees is None
    assert unsigned.gate == (found.rho < 0.5)


def test_scores_know_their_tokens_and_refuse_nonsense():
    one, two = dc.token_logit(4), dc.contrast(4, 9)
    assert (one.tokens, one.weights, one.versus, one.signed) == ((4,), (1.0,), None, False)
    assert (two.tokens, two.weights, two.versus, two.signed) == ((4, 9), (1.0, -1.0), 9, True)
    for bad in (
        ("contrast", (4,), (1.0,)), ("token", (4, 9), (1.0, -1.0)), ("contrast", (4, 4), (1, -1)),
        ("family", (), ()), ("centred", (4,), (2.0,)), ("rank", (4, 9), (1.0, 1.0)),
    ):
        with pytest.raises(ValueError):
            dc.Score(*bad)


def test_two_sides_weigh_the_same():
    for kind in ("family", "topk"):
        found = dc.Score(kind, (1, 2, 3), (1.0, -0.25, -0.75))
        assert found.sides == ((1,), (2, 3))
        assert found.signed
        assert found.versus is None
        for weights in ((1.0, -0.5, -0.6), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)):
            with pytest.raises(ValueError, match="two sides of equal weight"):
                dc.Score(kind, (1, 2, 3), weights)
    with pytest.raises(ValueError, match="off another's"):
        dc.Score("rank", (1, 2), (1.0, -0.5))
    assert dc.Score("rank", (1, 2), (1.0, -1.0)).versus == 2


def hand_ledger(tokens: list[int], weights: list[float], minus_mean: float = 0.0) -> dc.Ledger:
    """The hand case of prism-method §13.1 at g = 0.9."""
    codes = [([t], [0.9 * (1, 1, 2, 2)[t]]) for t in tokens]
    features = dc.active_features(codes)
    decoder = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    rows = ROWS[tokens].numpy()
    return dc.decompose_prism(H, rows, weights, codes, decoder[features], [2, 1], minus_mean)


def test_hand_case_against_the_mean_row():
    ledger = hand_ledger([0], [1.0], minus_mean=1.0)
    assert (ledger.exact, ledger.base) == pytest.approx((2, 0))
    assert ledger.contributions.tolist() == pytest.approx([1.8])
    assert ledger.residual == pytest.approx(0.2)
    assert ledger.rho == pytest.approx(0.08)
    assert ledger.rho_centred == pytest.approx(0.08)
    assert ledger.sign_agrees is True


def test_hand_case_against_the_average_row():
    """z of token 0 less the mean code (0.225, 0.225, 0.45, 0.45): the same score, split anew."""
    codes = [([0], [0.9]), ([0, 1, 2, 3], [0.225, 0.225, 0.45, 0.45])]
    decoder = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    ledger = dc.decompose_prism(H, [[3, 1], [2, 1]], [1, -1], codes, decoder, [2, 1])
    found = dict(zip(ledger.features.tolist(), ledger.contributions.tolist(), strict=True))
    assert found == pytest.approx({0: 1.35, 1: 0.45, 2: -0.225, 3: 0.225})
    assert (ledger.exact, ledger.base) == pytest.approx((2, 0))
    assert ledger.feature_sum == pytest.approx(1.8)
    assert ledger.residual == pytest.approx(0.2)


def test_hand_case_against_rank_three():
    ledger = hand_ledger([0, 3], [1.0, -1.0])
    assert ledger.exact == pytest.approx(3)
    found = dict(zip(ledger.features.tolist(), ledger.contributions.tolist(), strict=True))
    assert found == pytest.approx({0: 1.8, 3: 0.9})
    assert ledger.residual == pytest.approx(0.3)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10_000), st.integers(1, 5), st.sampled_from([0.0, 1.0]), st.booleans(),
    st.floats(0.01, 1000), st.integers(2, 48),
)
def test_the_identity_to_the_last_bits(
    seed: int, count: int, minus_mean: float, is_prism: bool, size: float, width: int
):
    """|exact - base - features - residual| <= eps sqrt(d) sum |terms|, for any dictionary."""
    random = np.random.default_rng(seed)
    h, rows = random.standard_normal(width), size * random.standard_normal((count, width))
    weights, mean = random.standard_normal(count), size * random.standard_normal(width)
    codes = [
        (np.sort(random.choice(40, 12, replace=False)), random.random(12)) for _ in range(count)
    ]
    features = dc.active_features(codes)
    directions = random.standard_normal((len(features), width))
    scale, b_D = (1.0, np.zeros(width)) if is_prism else (size, random.standard_normal(width))
    known = (h, rows, weights, codes, directions, mean)
    ledger = (
        dc.decompose_prism(*known, minus_mean) if is_prism
        else dc.decompose_crosscoder(*known, scale, b_D, minus_mean)
    )
    coefficient = np.zeros(40)
    for weight, (ids, a) in zip(weights, codes, strict=True):
        coefficient[ids] += np.abs(weight * scale * a)
    shared = np.abs(mean) + scale * np.abs(b_D)
    terms = np.abs(h) @ (
        np.abs(weights) @ (np.abs(rows) + shared) + minus_mean * np.abs(mean)
        + coefficient[features] @ np.abs(directions)
    )
    assert ledger.identity_error <= np.finfo(np.float64).eps * width**0.5 * terms


def test_directions_are_read_in_blocks(monkeypatch: pytest.MonkeyPatch):
    random = np.random.default_rng(3)
    codes = [(np.arange(50), random.random(50)), (np.arange(20, 90), random.random(70))]
    known = (random.standard_normal(6), random.standard_normal((2, 6)), [1, -1], codes,
             random.standard_normal((90, 6)).astype(np.float32), random.standard_normal(6))
    whole = dc.decompose_prism(*known)
    monkeypatch.setattr(dc, "BLOCK", 7)
    parts = dc.decompose_prism(*known)
    assert parts.contributions == pytest.approx(whole.contributions, abs=1e-14)
    assert parts.residual == pytest.approx(whole.residual, abs=1e-13)
    closes(parts)
