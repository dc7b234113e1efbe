"""The sparse code: fast pass against the dense twin, and what can be read from it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import codes
from atlas import crosscoder as cc
from atlas.prism import encode
from tests.atlas.test_crosscoder import made_up
from tests.atlas.test_prism import made_up_prism


def same_code(first: codes.SparseCode, second: codes.SparseCode) -> None:
    np.testing.assert_array_equal(first.token, second.token)
    np.testing.assert_array_equal(first.feature, second.feature)
    np.testing.assert_allclose(first.p, second.p, rtol=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 20))
def test_one_pass_equals_the_dense_twin(seed: int, snapshots: int, batch: int):
    c, x = made_up(seed, snapshots=snapshots, gap=1.5)
    fast, rates = codes.crosscoder_code(c, x, batch=batch)
    slow, dense_rates = codes.crosscoder_code_slow(c, x)
    same_code(fast, slow)
    np.testing.assert_array_equal(rates, dense_rates)
    assert (fast.n_tokens, fast.n_features) == (x.shape[1], c.n_features)


def test_the_code_is_sorted_typed_and_holds_every_activation():
    c, x = made_up(3, gap=1.5)
    code, _ = codes.crosscoder_code(c, x, batch=4)
    assert (code.token.dtype, code.feature.dtype, code.p.dtype) == (np.int32, np.int32, np.float32)
    key = code.token.astype(np.int64) * code.n_features + code.feature
    assert (np.diff(key) > 0).all()
    a = cc.activations(cc.pre_activations(c, x), c.norms, c.threshold)
    dense = np.zeros(a.shape)
    for k in range(c.n_snapshots):
        norm = c.norms[k].numpy()[code.feature]
        on = codes.activations_at(code.p, norm, c.threshold.numpy()[code.feature])
        dense[k, code.token, code.feature] = on
    np.testing.assert_allclose(dense, a.numpy(), rtol=1e-6)


def test_an_entry_that_fires_at_one_snapshot_only_is_kept_and_others_are_not():
    c = cc.Crosscoder(
        torch.ones(2, 1, 2),
        torch.zeros(2, 2),
        torch.tensor([[[1.0], [1.0]], [[9.0], [1.0]]]),
        torch.zeros(2, 1),
        torch.tensor([5.0, 5.0]),
    )
    code, rates = codes.crosscoder_code(c, torch.tensor([[[1.0]], [[1.0]]]))
    assert code.feature.tolist() == [0]
    assert code.p.tolist() == [2.0]
    assert rates.tolist() == [[0, 0], [1, 0]]


def test_groups_by_token_and_by_feature_hold_the_same_entries():
    c, x = made_up(5, gap=1.0)
    code, rates = codes.crosscoder_code(c, x)
    rows, columns = code.by_token(), code.by_feature()
    assert rows.offsets[-1] == columns.offsets[-1] == len(code.p)
    assert len(rows.offsets) == code.n_tokens + 1
    assert len(columns.offsets) == code.n_features + 1
    entries = set(zip(code.token.tolist(), code.feature.tolist(), code.p.tolist(), strict=True))
    found = set()
    for j in range(code.n_features):
        part = slice(columns.offsets[j], columns.offsets[j + 1])
        assert (np.diff(columns.values[part]) <= 0).all()
        found |= {
            (t, j, p)
            for t, p in zip(
                columns.columns[part].tolist(), columns.values[part].tolist(), strict=True
            )
        }
    assert found == entries
    part = slice(rows.offsets[2], rows.offsets[3])
    np.testing.assert_array_equal(rows.columns[part], code.feature[code.token == 2])
    np.testing.assert_array_equal(codes.rates_of_code(code, c.norms, c.threshold), rates)


def test_an_empty_code_is_a_code():
    c, x = made_up(6, gap=1e9)
    code, rates = codes.crosscoder_code(c, x)
    assert len(code.p) == 0
    assert not rates.any()
    assert code.by_feature().offsets.tolist() == [0] * (c.n_features + 1)
    assert not codes.contributions(code, c.norms, c.threshold).any()


def test_contributions_are_mean_lengths_over_the_snapshots():
    c, x = made_up(7, gap=1.0)
    code, rates = codes.crosscoder_code(c, x)
    a = cc.activations(cc.pre_activations(c, x), c.norms, c.threshold)
    wanted = (a * c.norms[:, None]).mean(dim=1).numpy()
    found = codes.contributions_by_snapshot(code, c.norms, c.threshold)
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    on = a.numpy() > 0
    mean_on = np.divide(a.numpy().sum(1), on.sum(1), out=np.zeros(rates.shape), where=on.sum(1) > 0)
    np.testing.assert_allclose(found, rates * mean_on * c.norms.numpy(), rtol=1e-5)
    np.testing.assert_allclose(
        codes.contributions(code, c.norms, c.threshold), wanted.mean(axis=0), rtol=1e-5
    )


def test_prism_code_holds_raw_coefficients():
    prism, x = made_up_prism(2)
    code, rates = codes.prism_code(prism, x, batch=5)
    indices, values = encode(prism, x)
    dense = torch.zeros(len(x), prism.n_features, dtype=x.dtype)
    dense.scatter_(1, indices, values * prism.row_norms[:, None])
    found = np.zeros(dense.shape)
    found[code.token, code.feature] = code.p
    np.testing.assert_allclose(found, dense.numpy(), rtol=1e-6)
    assert (code.p > 0).all()
    assert (np.diff(code.token.astype(np.int64) * code.n_features + code.feature) > 0).all()
    np.testing.assert_array_equal(rates, (dense.numpy() > 0).mean(axis=0)[None])
    np.testing.assert_allclose(codes.contributions(code), dense.mean(dim=0).numpy(), rtol=1e-6)


def test_activations_at_takes_arrays_and_tensors():
    wanted = [0.0, 2.0]
    assert codes.activations_at(np.array([1.0, 2.0]), 0.5, 0.5).tolist() == wanted
    assert codes.activations_at(torch.tensor([1.0, 2.0]), 0.5, 0.5).tolist() == wanted


@pytest.mark.parametrize("batch", [1, 1000])
def test_single_precision_gives_the_twin_s_entries_too(batch: int):
    c, x = made_up(8, rows=64, features=40, gap=1.0)
    single = cc.Crosscoder(*(part.float() for part in (c.W_E, c.b_E, c.W_D, c.b_D, c.threshold)))
    fast, rates = codes.crosscoder_code(single, x.float(), batch=64)
    slow, dense_rates = codes.crosscoder_code_slow(single, x.float())
    same_code(fast, slow)
    np.testing.assert_array_equal(rates, dense_rates)
    other, _ = codes.crosscoder_code(single, x.float(), batch=batch)
    assert abs(len(other.p) - len(fast.p)) <= 2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 40))
def test_a_search_in_sorted_entries_counts_what_fires(seed: int, snapshots: int, rows: int):
    c, x = made_up(seed, snapshots=snapshots, rows=rows, gap=1.5)
    code, rates = codes.crosscoder_code(c, x)
    norms, threshold = c.norms.float().numpy(), c.threshold.float().numpy()
    counts, sums = codes.firing(code, norms, threshold)
    np.testing.assert_array_equal(counts / code.n_tokens,
                                  codes.rates_of_code(code, norms, threshold))
    np.testing.assert_array_equal(counts / code.n_tokens, rates)
    np.testing.assert_allclose(sums * norms / code.n_tokens,
                               codes.contributions_by_snapshot(code, norms, threshold), atol=1e-5)


def test_a_code_without_entries_fires_nowhere():
    nothing = np.zeros(0, np.int32)
    code = codes.SparseCode(nothing, nothing, nothing.astype(np.float32), 5, 3)
    counts, sums = codes.firing(code, np.ones((2, 3), np.float32), np.ones(3, np.float32))
    assert counts.tolist() == sums.tolist() == [[0] * 3] * 2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 60))
def test_sorting_by_one_number_is_sorting_by_three(seed: int, size: int):
    random = np.random.default_rng(seed)
    place = np.sort(random.choice(300, size, replace=False))
    token, feature = (place // 10).astype(np.int32), (place % 10).astype(np.int32)
    values = np.array([-2.5, -1e-9, 0, 1e-20, 0.1, 0.5, 0.5, 3e8], dtype=np.float32)
    p = random.choice(values, size)
    columns = codes.SparseCode(token, feature, p, 30, 10).by_feature()
    order = np.lexsort((token, -p, feature))
    np.testing.assert_array_equal(columns.columns, token[order])
    np.testing.assert_array_equal(columns.values, p[order])
