"""Baselines and nulls against hand-made answers and slow twins (prism-method §7, §10, §13)."""

import numpy as np
import pytest
import torch

from atlas import baselines as b
from atlas import case_fidelity as c
from atlas import prism as pr
from atlas.decomposition import decompose_prism, verdict

# §13.1: a row per line, an encoder of gain 0.9, one active feature a row
W = np.array([[3.0, 1.0], [1.0, 1.0], [2.0, 3.0], [2.0, -1.0]])
MEAN, H = np.array([2.0, 1.0]), np.array([2.0, 0.5])
DIRECTIONS = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
RAW = np.array([0.9, 0.9, 1.8, 1.8])
CODES = [(np.array([i]), RAW[i : i + 1]) for i in range(4)]
LENGTHS = np.array([1.0, 1.0, 2.0, 2.0])


def rebuilt(codes: list[b.Coded], directions: np.ndarray = DIRECTIONS) -> np.ndarray:
    return np.stack([MEAN + a @ directions[ids] for ids, a in codes])


def test_the_hand_case_has_its_row_ev_and_its_divergence() -> None:
    missed = ((W - rebuilt(CODES)) ** 2).sum(axis=1)
    assert b.row_ev(missed, LENGTHS) == pytest.approx(0.99)
    logits = [torch.from_numpy(m @ H)[None] for m in (W, rebuilt(CODES))]
    told = pr.logit_fidelity(*logits)
    assert told.kl_bits == pytest.approx(0.0046548, abs=1e-7)
    assert told.top1_match == 1


@pytest.mark.parametrize(("tokens", "weights", "feature_sum", "rho"), [
    ((0,), (1.0,), 1.8, 0.2 / 7.0),
    ((0, 1), (1.0, -1.0), 3.6, 0.4 / 4.5),
    ((0, 2, 1, 3), (0.5, 0.5, -0.5, -0.5), 2.7, 0.3 / 3.5),
])
def test_scores_of_the_hand_case(
    tokens: tuple[int, ...], weights: tuple[float, ...], feature_sum: float, rho: float
) -> None:
    parts = b.parts_of([CODES[t] for t in tokens], weights, DIRECTIONS @ H)
    assert parts.total == pytest.approx(feature_sum)
    exact = float(np.array(weights) @ W[list(tokens)] @ H)
    base = sum(weights) * float(MEAN @ H)
    found = c.rho(np.array([exact]), np.array([base + parts.total]))
    assert found[0] == pytest.approx(rho)
    active = sorted(set(tokens))
    ledger = decompose_prism(
        H, W[list(tokens)], weights, [CODES[t] for t in tokens], DIRECTIONS[active], MEAN
    )
    assert parts.total == pytest.approx(ledger.feature_sum)
    assert found[0] == pytest.approx(ledger.rho)


@pytest.mark.parametrize(("exact", "recon", "rho", "bare", "agrees", "passes"), [
    (1.5, 0.5, 0.5, 2 / 3, True, False),
    (0.3, -0.1, 0.5, 4 / 3, False, False),
    (0.3, 0.1, 0.25, 2 / 3, True, True),
    (-2.0, -1.2, 0.32, 0.4, True, True),
    (10.0, 5.1, 0.4666667, 0.49, True, True),
    (10.0, 4.7, 0.5047619, 0.53, True, False),
])
def test_gate_cases(
    exact: float, recon: float, rho: float, bare: float, agrees: bool, passes: bool
) -> None:
    one, other = np.array([exact]), np.array([recon])
    assert c.rho(one, other)[0] == pytest.approx(rho)
    assert c.unfloored(one, other)[0] == pytest.approx(bare)
    assert c.signs_agree(one, other)[0] == agrees
    told = c.fidelity(one, other, [0])
    assert told.values["passing"] == (passes, passes, passes)
    assert verdict(exact, recon, True).gate == passes
    assert told.values["passing_unfloored"][0] == (agrees and bare < 0.5)


def test_bins_of_margins_begin_with_their_lower_end() -> None:
    exact = np.array([0.0, -0.499, 0.5, -0.999, 1.0, 1.999, -2.0, 50.0])
    assert c.margin_of(exact).tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_intervals_resample_base_cases_as_written_out() -> None:
    random = np.random.default_rng(5)
    exact = random.normal(size=60) * 2
    recon = exact + random.normal(size=60) * 0.5
    base = random.integers(0, 13, 60)
    told = c.fidelity(exact, recon, base, draws=50, seed=3)
    names, cluster = np.unique(base, return_inverse=True)
    draws = np.random.default_rng(3).integers(0, len(names), (50, len(names)))
    medians, signs = [], []
    for draw in draws:
        taken = np.concatenate([np.flatnonzero(cluster == i) for i in draw])
        medians.append(np.median(c.rho(exact, recon)[taken]))
        signs.append(np.mean((exact[taken] > 0) == (recon[taken] > 0)))
    assert told.n_base == len(names)
    assert told.values["rho"] == pytest.approx(
        (np.median(c.rho(exact, recon)), *np.quantile(medians, c.LEVEL)))
    assert told.values["sign"] == pytest.approx(
        (np.mean((exact > 0) == (recon > 0)), *np.quantile(signs, c.LEVEL)))


def test_one_base_case_has_an_interval_of_no_width_and_none_has_no_figures() -> None:
    exact = np.array([1.0, 2.0, -1.0])
    told = c.fidelity(exact, exact + 0.3, [7, 7, 7])
    for value, low, high in told.values.values():
        assert value == low == high
    nothing = c.fidelity(np.zeros(0), np.zeros(0), [])
    assert nothing.n_cases == 0
    assert np.isnan(nothing.values["rho"]).all()


def unit_rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    x = np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_a_planted_low_rank_matrix_is_rebuilt_exactly_by_its_rank() -> None:
    random = np.random.default_rng(1)
    rows = random.normal(size=(200, 3)) @ random.normal(size=(3, 20))
    x = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    axes = b.components(b.covariance(x))

    def ev(rank: int) -> float:
        missed = np.square(x - x @ axes[:rank].T @ axes[:rank]).sum(axis=1)
        return b.row_ev(missed, np.ones(len(x)))

    assert ev(3) == pytest.approx(1, abs=1e-5)
    assert ev(2) < 0.99
    singular = np.linalg.svd(x, full_matrices=False)[2][:2]
    assert np.abs(singular @ axes[:2].T) == pytest.approx(np.eye(2), abs=1e-4)


def test_ranks_lie_beside_k_a_quarter_and_half() -> None:
    assert b.ranks_beside(11.5, 128) == (12, 32, 64)
    assert b.ranks_beside(286.2, 768) == (192, 286, 384)
    assert b.ranks_beside(900, 8) == (2, 4, 8)


def test_ridges_solve_what_an_explicit_inverse_does() -> None:
    x = unit_rows(90, 16)
    wanted = np.array([3, 40, 77])
    near = np.stack([b.nearest(x[t] @ x.T, {int(t)}, 12) for t in wanted])
    for token, ids, found in zip(wanted, near, b.ridges(x, wanted, near), strict=True):
        assert token not in ids
        order = np.argsort(-(x @ x[token]), kind="stable")
        assert ids.tolist() == [i for i in order if i != token][:12]
        rows = x[ids].astype(np.float64)
        slow = np.linalg.inv(rows @ rows.T + 1e-3 * np.eye(12)) @ rows @ x[token]
        assert found == pytest.approx(slow, abs=1e-5)


def test_the_other_scored_tokens_are_no_neighbours() -> None:
    x = unit_rows(40, 6)
    similar = x[5] @ x.T
    everyone = b.nearest(similar, {5}, 39)
    assert set(b.nearest(similar, {5, int(everyone[0])}, 128)) == set(range(40)) - {
        5, int(everyone[0])}
    assert similar[5] == pytest.approx(1)  # what was asked is left as it is


def test_shuffled_codes_keep_identity_and_sparsity() -> None:
    random = np.random.default_rng(2)
    directions = random.normal(size=(30, 8))
    codes = [(np.sort(random.choice(30, 4, replace=False)), random.random(4)) for _ in range(20)]
    lengths = random.random(20) + 0.5
    rows, mean = random.normal(size=(20, 8)), random.normal(size=8)
    lender = b.permutation(20, 9)
    assert sorted(lender) == list(range(20))
    found = b.shuffled([codes[i] for i in lender], lengths, lengths[lender])
    for token, (ids, a) in enumerate(found):
        other = codes[lender[token]]
        assert ids.tolist() == other[0].tolist()
        assert a / lengths[token] == pytest.approx(other[1] / lengths[lender[token]])
    h = random.normal(size=8)
    ledger = decompose_prism(
        h, rows[[0, 7]], (1.0, -1.0), [found[0], found[7]],
        directions[np.union1d(found[0][0], found[7][0])], mean,
    )
    assert ledger.identity_error < 1e-9
    parts = b.parts_of([found[0], found[7]], (1.0, -1.0), directions @ h)
    assert parts.total == pytest.approx(ledger.feature_sum)


def test_a_random_support_is_seeded_by_its_token_and_keeps_lengths() -> None:
    norms = np.linspace(0.5, 3, 50)
    norms[7] = 0
    among = np.flatnonzero(norms > 0)
    code = (np.array([1, 4, 9]), np.array([0.2, 3.0, 1.0]))
    ids, a = b.scattered(code, norms, among, 12)
    again = b.scattered(code, norms, among, 12)
    assert ids.tolist() == again[0].tolist() == sorted(set(ids.tolist()), key=ids.tolist().index)
    assert 7 not in ids
    assert ids.tolist() != b.scattered(code, norms, among, 13)[0].tolist()
    assert a * norms[ids] == pytest.approx(np.sort(code[1] * norms[code[0]])[::-1])
    generator = np.random.default_rng((1 * 0x9E3779B9 + 12) % 2**31)
    expected = among[generator.choice(len(among), 3, replace=False)]
    assert b.random_support(3, among, 12, seed=1).tolist() == expected.tolist()


@pytest.mark.parametrize(("contributions", "count"), [
    ([], 0), ([0.0], 0), ([5.0], 1), ([4.0, -1.0], 1), ([3.0, 1.0, -1.0], 2),
    ([1.0, 1.0, 1.0, 1.0, 1.0], 4), ([-8.0, 1.0, 1.0], 1),
])
def test_n80(contributions: list[float], count: int) -> None:
    assert b.n80(np.array(contributions)) == count


def test_what_two_tokens_share_cancels() -> None:
    codes = [(np.array([0, 1]), np.array([1.0, 2.0])), (np.array([1, 2]), np.array([2.0, 1.0]))]
    parts = b.parts_of(codes, (1.0, -1.0), np.array([1.0, 10.0, 3.0]))
    assert parts.ids.tolist() == [0, 2]
    assert parts.contributions.tolist() == [1.0, -3.0]
