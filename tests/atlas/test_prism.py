"""Prism mathematics against the known answers of prism-method §13."""

import math

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


def of_architecture(architecture: str, seed: int = 0) -> tuple[pr.Prism, torch.Tensor]:
    """An untrained prism of an architecture and unit rows."""
    topk, x = made_up_prism(seed)
    random = torch.Generator().manual_seed(seed + 1)
    extra = {
        name: torch.tensor(0.7).double() if name == "activation_threshold"
        else 0.3 * torch.randn(20, generator=random, dtype=torch.float64)
        for name in pr.ARCHITECTURES[architecture]
    }
    parts = (topk.encoder, topk.bias, topk.decoder, topk.k, topk.row_mean, topk.row_norms)
    return pr.Prism(*parts, architecture, **extra), x


def by_hand(prism: pr.Prism, x: torch.Tensor) -> torch.Tensor:
    """The codes of §2, value by value as the table there reads."""
    out = torch.zeros(len(x), prism.n_features, dtype=x.dtype)
    for row in range(len(x)):
        raw = [float(x[row] @ e) for e in prism.encoder]
        pre = [s + float(b) for s, b in zip(raw, prism.bias, strict=True)]
        u = [max(value, 0.0) for value in pre]
        kept = sorted(range(len(u)), key=lambda j: -u[j])[: prism.k]
        for j, value in enumerate(u):
            match prism.architecture:
                case "topk" | "matryoshka_topk":
                    out[row, j] = value if j in kept else 0.0
                case "batch_topk":
                    out[row, j] = value if value > float(prism.activation_threshold) else 0.0
                case "jumprelu":
                    bar = float(prism.log_threshold[j].exp())
                    out[row, j] = value if value > bar else 0.0
                case "gated":
                    size = float(prism.log_r[j].exp()) * raw[j] + float(prism.bias[j])
                    is_open = raw[j] + float(prism.gate_bias[j]) > 0
                    out[row, j] = max(size, 0.0) if is_open else 0.0
                case "l1_relu":
                    out[row, j] = value
    return out


@pytest.mark.parametrize("architecture", pr.ARCHITECTURES)
def test_every_architecture_encodes_as_its_formula_reads(architecture: str):
    prism, x = of_architecture(architecture)
    expected = by_hand(prism, x)
    assert torch.allclose(pr.dense_code(prism, x), expected)
    indices, values = pr.encode(prism, x)
    assert torch.allclose(torch.zeros_like(expected).scatter_(1, indices, values), expected)
    assert (values.diff(dim=1) <= 0).all()
    if architecture in pr.COUNTED:
        assert values.shape[1] == prism.k
    else:
        assert values.shape[1] == int((expected > 0).sum(dim=1).max()) > prism.k
    assert 0 < int((expected > 0).sum()) < expected.numel()


@pytest.mark.parametrize("architecture", pr.ARCHITECTURES)
def test_codes_do_not_depend_on_the_batch(architecture: str):
    """batch_topk reads by its threshold: left in training mode it would (§14, trap 11)."""
    prism, x = of_architecture(architecture, 4)
    whole = pr.dense_code(prism, x)
    assert torch.allclose(torch.cat([pr.dense_code(prism, row[None]) for row in x]), whole)


@pytest.mark.parametrize("architecture", pr.ARCHITECTURES)
def test_the_identity_holds_for_an_untrained_prism(architecture: str):
    """§13.3: base, contributions and residual add up whatever the weights are."""
    prism, x = of_architecture(architecture, 2)
    W = prism.row_mean + prism.row_norms[:, None] * x
    indices, values = pr.encode(prism, x)
    rebuilt = pr.rebuild_rows(prism, indices, values, prism.row_norms)
    h = torch.randn(6, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    contributions = (pr.dense_code(prism, x) * prism.row_norms[:, None]) * (prism.decoder @ h)
    base, residual = prism.row_mean @ h, (W - rebuilt) @ h
    assert torch.allclose(W @ h, base + contributions.sum(dim=1) + residual, atol=1e-10)


def test_decoding_adds_up_the_chosen_directions():
    prism, x = made_up_prism(3)
    indices, values = pr.encode(prism, x)
    slow = torch.einsum("bk,bkd->bd", values, prism.decoder[indices])
    assert torch.allclose(pr.decode(prism, indices, values), slow, atol=1e-12)
    assert pr.decode(prism, indices[:, :0], values[:, :0]).tolist() == [[0.0] * 6] * 13
    assert pr.encode(prism, x[:0])[0].shape == (0, 4)


def test_figures_of_the_first_rows_come_on_the_way_to_those_of_all():
    prism, x = of_architecture("jumprelu")
    tally = pr.Tally(prism)
    tally.add(x[:4])
    assert tally.quality() == pr.quality(prism, x[:4])
    tally.add(x[4:])
    assert tally.quality().explained_variance == pytest.approx(
        pr.quality(prism, x).explained_variance)
    assert tally.n_rows == len(x)


def test_a_softcap_bends_both_sides_and_keeps_the_winner():
    h = torch.eye(2, dtype=torch.float64)
    W, W_hat = torch.tensor([[30.0, 60], [0, 0]]).T.double(), torch.tensor([[60.0, 30], [0, 0]]).T
    bent = pr.readout_fidelity(h, W, W_hat.double(), softcap=30.0)
    flat = pr.readout_fidelity(h, W, W_hat.double())
    assert bent.top1_match == flat.top1_match == 0.5
    low, high = 22.847825, 28.920827  # 30 tanh(1), 30 tanh(2)
    p = torch.tensor([low, high]).double().softmax(0)
    q = torch.tensor([high, low]).double().softmax(0)
    expected = float((p * (p / q).log()).sum()) / math.log(2) / 2
    assert bent.kl_bits == pytest.approx(expected, rel=1e-6)
    assert bent.kl_bits < flat.kl_bits


def test_fidelity_is_a_mean_over_states_however_many():
    random = torch.Generator().manual_seed(1)
    native, rebuilt = (torch.randn(70, 9, generator=random).double() for _ in range(2))
    found = pr.logit_fidelity(native, rebuilt)
    each = [pr.logit_fidelity(native[i : i + 1], rebuilt[i : i + 1]) for i in range(70)]
    assert found.kl_bits == pytest.approx(sum(e.kl_bits for e in each) / 70)
    assert found.top1_match == pytest.approx(sum(e.top1_match for e in each) / 70)


def test_an_architecture_needs_its_tensors():
    prism, _ = made_up_prism(0)
    parts = (prism.encoder, prism.bias, prism.decoder, 4, prism.row_mean, prism.row_norms)
    with pytest.raises(ValueError, match="'relu', known are topk"):
        pr.Prism(*parts, "relu")
    with pytest.raises(ValueError, match="a gated prism needs gate_bias"):
        pr.Prism(*parts, "gated")
    with pytest.raises(ValueError, match=r"log_threshold has shape \(3,\)"):
        pr.Prism(*parts, "jumprelu", log_threshold=torch.zeros(3))
