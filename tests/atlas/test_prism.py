"""Prism mathematics against the known answers of prism-method §13."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import prism as pr

ROWS = torch.tensor([[3.0, 1], [1, 1], [2, 3], [2, -1]], dtype=torch.float64)


def hand_prism(gain: float) -> tuple[pr.Prism, torch.Tensor]:
    """The case of §13.1: four rows, four axis features, the encoder `gain` times the decoder."""
    x, mean, norms = pr.normalise_rows(ROWS)
    decoder = torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1]], dtype=torch.float64)
    return pr.Prism(gain * decoder, torch.zeros(4).double(), decoder, 1, mean, norms), x


def made_up_prism(
    seed: int, rows: int = 13, width: int = 6, features: int = 20, k: int = 4
) -> tuple[pr.Prism, torch.Tensor]:
    """An untrained prism and unit rows, in float64."""
    random = torch.Generator().manual_seed(seed)
    W = torch.randn(rows, width, generator=random, dtype=torch.float64) + 0.5
    x, mean, norms = pr.normalise_rows(W)
    decoder = torch.randn(features, width, generator=random, dtype=torch.float64)
    encoder = torch.randn(features, width, generator=random, dtype=torch.float64)
    bias = 0.1 * torch.randn(features, generator=random, dtype=torch.float64)
    decoder = decoder / decoder.norm(dim=1, keepdim=True)
    return pr.Prism(encoder, bias, decoder, k, mean, norms), x


def test_rows_of_the_hand_case():
    x, mean, norms = pr.normalise_rows(ROWS)
    assert mean.tolist() == [2, 1]
    assert norms.tolist() == [1, 1, 2, 2]
    assert x.tolist() == [[1, 0], [-1, 0], [0, 1], [0, -1]]


def test_a_given_mean_is_used_and_a_row_at_the_mean_is_zero():
    x, mean, norms = pr.normalise_rows(ROWS, mean=ROWS[0])
    assert torch.equal(mean, ROWS[0])
    assert x[0].tolist() == [0, 0]
    assert float(norms[0]) == pytest.approx(pr.NORM_FLOOR)


@pytest.mark.parametrize(("gain", "ev"), [(1.0, 1.0), (0.9, 0.99)])
def test_hand_case(gain: float, ev: float):
    prism, x = hand_prism(gain)
    indices, values = pr.encode(prism, x)
    assert indices[:, 0].tolist() == [0, 1, 2, 3]
    assert (values[:, 0] * prism.row_norms).tolist() == pytest.approx(
        [gain, gain, 2 * gain, 2 * gain]
    )
    assert pr.row_ev(x, pr.decode(prism, indices, values)) == pytest.approx(ev)
    found = pr.quality(prism, x)
    assert found.explained_variance == pytest.approx(ev)
    assert (found.l0, found.dead_rate) == (1, 0)
    assert found.cosine == pytest.approx(1)
    assert found.reconstruction_mse == pytest.approx((1 - ev) / 2, abs=1e-12)


def test_hand_case_logits_and_kl():
    prism, x = hand_prism(0.9)
    h = torch.tensor([[2.0, 0.5]], dtype=torch.float64)
    rebuilt = pr.rebuild_rows(prism, *pr.encode(prism, x), prism.row_norms)
    assert (h @ ROWS.T)[0].tolist() == pytest.approx([6.5, 2.5, 5.5, 3.5])
    assert (h @ rebuilt.T)[0].tolist() == pytest.approx([6.3, 2.7, 5.4, 3.6])
    fidelity = pr.readout_fidelity(h, ROWS, rebuilt)
    assert fidelity.kl_bits == pytest.approx(0.0046548, abs=1e-7)
    assert fidelity.top1_match == 1


def test_selection_comes_after_the_rectifier():
    prism, x = made_up_prism(0, k=50)
    indices, values = pr.encode(prism, x)
    assert indices.shape == (13, 20)
    dense = torch.zeros(13, 20, dtype=x.dtype).scatter_(1, indices, values)
    assert torch.allclose(dense, (x @ prism.encoder.T + prism.bias).relu())
    assert (values >= 0).all()
    assert (values.diff(dim=1) <= 0).all()


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_permuting_features_changes_nothing_but_their_order(seed: int):
    prism, x = made_up_prism(seed)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
    turned = pr.Prism(
        prism.encoder[order],
        prism.bias[order],
        prism.decoder[order],
        prism.k,
        prism.row_mean,
        prism.row_norms,
    )
    indices, values = pr.encode(prism, x)
    other, same = pr.encode(turned, x)
    on = values > 0
    assert torch.allclose(values, same)
    assert torch.equal(order[other][on], indices[on])
    assert torch.allclose(pr.decode(prism, indices, values), pr.decode(turned, other, same))


def test_quality_counts_every_row_whatever_the_batch():
    prism, x = made_up_prism(1, rows=30)
    indices, values = pr.encode(prism, x)
    x_hat = pr.decode(prism, indices, values)
    for batch in (4, 30):
        found = pr.quality(prism, x, batch=batch)
        assert found.explained_variance == pytest.approx(pr.row_ev(x, x_hat))
        assert found.l0 == pytest.approx(float((values > 0).sum(1).double().mean()))
        used = set(indices[values > 0].tolist())
        assert found.dead_rate == pytest.approx(1 - len(used) / 20)
        assert found.rare_rate == found.dead_rate


def test_wrong_shapes_are_refused():
    prism, _ = hand_prism(1.0)
    with pytest.raises(ValueError, match="decoder"):
        pr.Prism(prism.encoder, prism.bias, prism.decoder[:3], 1, prism.row_mean, prism.row_norms)
    with pytest.raises(ValueError, match="k is 0"):
        pr.Prism(prism.encoder, prism.bias, prism.decoder, 0, prism.row_mean, prism.row_norms)
