"""Crosscoder mathematics against the known answers of crosscoder-method §14 and its slow twins."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import crosscoder as cc


def made_up(
    seed: int,
    snapshots: int = 3,
    rows: int = 17,
    width: int = 5,
    features: int = 11,
    gap: float = 0.3,
) -> tuple[cc.Crosscoder, torch.Tensor]:
    """A dictionary with random weights and standardised random rows, in float64."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    dictionary = cc.Crosscoder(
        draw(snapshots, width, features) / math.sqrt(width),
        0.1 * draw(snapshots, features),
        draw(snapshots, features, width),
        0.1 * draw(snapshots, width),
        gap * draw(features).exp(),
    )
    return dictionary, cc.standardize(3 * draw(snapshots, rows, width) + 1)[1]


def hand_case() -> tuple[cc.Crosscoder, torch.Tensor]:
    """Known answer 2."""
    c = cc.Crosscoder(
        W_E=torch.tensor([[[1.0, 0], [0, 1]], [[0.5, 0], [0, -1]]]),
        b_E=torch.tensor([[0.1, 0], [0, 0.2]]),
        W_D=torch.tensor([[[3.0, 4], [0, 1]], [[0.3, 0.4], [0, 2]]]),
        b_D=torch.tensor([[0, 0.5], [-0.5, 0]]),
        threshold=torch.tensor([2.0, 1.3]),
    )
    return c, torch.tensor([[[1.0, 2]], [[2.0, 1]]])


def test_standardize_known_answer_1():
    rows = torch.tensor([[[1.0, 2], [3, 4], [5, 6]]], dtype=torch.float64)
    statistics, x = cc.standardize(rows)
    assert statistics.mean.tolist() == [[3, 4]]
    assert float(statistics.scale[0]) == pytest.approx(1.632993, abs=1e-6)
    assert x[0, :, 0].tolist() == pytest.approx([-1.2247449, 0, 1.2247449], abs=1e-6)
    assert float(x.square().sum(-1).mean()) == pytest.approx(2)
    assert torch.allclose(statistics.restore(x), rows, atol=1e-12)
    assert torch.equal(statistics.apply(rows), x)


def test_standardize_treats_each_snapshot_by_itself_and_survives_equal_rows():
    rows = torch.randn(2, 6, 4, dtype=torch.float64)
    _, both = cc.standardize(rows)
    _, alone = cc.standardize(rows[1:])
    assert torch.equal(both[1:], alone)
    assert torch.equal(cc.standardize(torch.ones(1, 5, 3))[1], torch.zeros(1, 5, 3))


def test_forward_known_answer_2():
    c, x = hand_case()
    p = cc.pre_activations(c, x)
    assert torch.allclose(p, torch.tensor([[2.1, 1.2]]))
    assert torch.allclose(c.norms, torch.tensor([[5.0, 1.0], [0.5, 2.0]]))
    assert torch.allclose(
        p[None] * c.norms[:, None], torch.tensor([[[10.5, 1.2]], [[1.05, 2.4]]]), atol=1e-6
    )
    assert cc.fires(p, c.norms, c.threshold).tolist() == [[[True, False]], [[False, True]]]
    a = cc.activations(p, c.norms, c.threshold)
    assert torch.allclose(cc.decode(c, a)[:, 0], torch.tensor([[6.3, 8.9], [-0.5, 2.4]]))
    assert cc.quality(c, x).l0 == 1


def test_gate_is_strict_and_without_norms_is_the_rate_convention_of_known_answer_3():
    p, theta = torch.tensor([[0.5, -0.2, 2.0]]), torch.tensor([1.0, 0.1, 1.0])
    one = torch.ones(1, 3)
    assert cc.fires(p, one, theta)[0, 0].tolist() == [False, False, True]
    assert cc.activations(p, one, theta)[0, 0].tolist() == [0, 0, 2]
    assert not cc.fires(theta[None], one, theta).any()


def test_a_zero_direction_is_off_and_not_nan():
    p, theta = torch.tensor([[5.0]]), torch.tensor([0.1])
    assert cc.activations(p, torch.zeros(1, 1), theta).tolist() == [[[0.0]]]


@pytest.mark.parametrize(
    ("z", "by_threshold", "by_z"), [(1.0, -0.2, 1.0), (0.5, -0.2, 0.0), (-0.5, 0.0, 0.0)]
)
def test_jumprelu_slopes_known_answer_4(z: float, by_threshold: float, by_z: float):
    log_theta = torch.tensor([math.log(0.8)], dtype=torch.float64, requires_grad=True)
    theta = log_theta.exp()
    theta.retain_grad()
    inputs = torch.tensor([[z]], dtype=torch.float64, requires_grad=True)
    out = cc.JumpReLU.apply(inputs, theta, 4.0)
    out.sum().backward()
    assert float(out.detach()) == (z if z > 0.8 else 0.0)
    assert float(theta.grad) == pytest.approx(by_threshold)
    assert float(log_theta.grad) == pytest.approx(0.8 * by_threshold)
    assert float(inputs.grad) == by_z


def test_jumprelu_slope_is_summed_over_rows_and_snapshots_and_ends_with_the_window():
    z = torch.tensor([[[1.0], [0.5]], [[-0.5], [3.0]]])
    theta = torch.tensor([0.8], requires_grad=True)
    cc.JumpReLU.apply(z, theta, 4.0).backward(torch.tensor([[[1.0], [2.0]], [[4.0], [8.0]]]))
    assert float(theta.grad) == pytest.approx(-0.2 * (1 + 2))


def test_tanh_quad_known_answer_5():
    terms = cc.tanh_quad(torch.tensor([0.1, 0.01, 0.0], dtype=torch.float64), 0.01)
    assert terms.tolist() == pytest.approx([1.1, 0.02, 0])
    assert float(terms.sum()) == pytest.approx(1.12)


def test_batch_topk_known_answer_7():
    p = torch.tensor([[3.0, 2.5, -2.0], [2.0, 0.5, 0.1]])
    assert cc.batch_topk(p, 1).tolist() == [[3.0, 2.5, 0.0], [0.0, 0.0, 0.0]]
    assert torch.equal(cc.batch_topk(p, 9), p.relu())


def test_gated_known_answer_8():
    a = cc.gated(
        torch.tensor([[1.0, -0.5]]),
        torch.tensor([-0.2, 1.0]),
        torch.tensor([math.log(2), 0.0]),
        torch.tensor([0.1, 0.2]),
    )
    assert a.tolist() == [[pytest.approx(2.1), 0.0]]


def test_ev_averaging_known_answer_9():
    mse, variance = torch.tensor([0.2, 0.8]), torch.tensor([1.0, 1.0])
    assert cc.batch_averaged_ev(mse, variance) == pytest.approx(0.5)
    assert cc.pooled_ev(mse, variance, torch.tensor([3, 1])) == pytest.approx(0.65)


@pytest.mark.parametrize(
    ("width", "features", "count"),
    [(768, 8192, 402_948_096), (768, 24576, 1_208_795_136), (2048, 24576, 3_222_102_016)],
)
def test_parameter_count_known_answer_31(width: int, features: int, count: int):
    with torch.device("meta"):
        c = cc.Crosscoder(
            torch.empty(32, width, features),
            torch.empty(32, features),
            torch.empty(32, features, width),
            torch.empty(32, width),
            torch.empty(features),
        )
    assert c.n_parameters == count


def test_contributions_of_subsets_add_up_known_answer_10():
    c, x = made_up(2)
    a = cc.activations(cc.pre_activations(c, x), c.norms, c.threshold)
    nothing = cc.decode(c, torch.zeros_like(a))
    assert torch.equal(nothing, c.b_D[:, None].expand_as(x))
    some = torch.arange(c.n_features) < 4
    parts = [cc.decode(c, a * subset) - nothing for subset in (some, ~some)]
    assert torch.allclose(parts[0] + parts[1] + nothing, cc.decode(c, a), atol=1e-12)


def test_wrong_shapes_are_refused():
    c, _ = hand_case()
    with pytest.raises(ValueError, match="threshold"):
        cc.Crosscoder(c.W_E, c.b_E, c.W_D, c.b_D, torch.ones(3))
    with pytest.raises(ValueError, match="W_D"):
        cc.Crosscoder(c.W_E, c.b_E, c.W_D.new_zeros(2, 3, 2), c.b_D, c.threshold)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 9))
def test_one_product_equals_the_sum_over_heads(seed: int, snapshots: int, features: int):
    c, x = made_up(seed, snapshots=snapshots, features=features)
    assert torch.allclose(cc.pre_activations(c, x), cc.pre_activations_by_head(c, x), atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_one_snapshot_is_a_plain_sparse_autoencoder(seed: int):
    c, x = made_up(seed, snapshots=1)
    z = (x[0] @ c.W_E[0] + c.b_E[0]) * c.W_D[0].norm(dim=1)
    a = torch.where(z > c.threshold, z, 0) / c.W_D[0].norm(dim=1)
    p = cc.pre_activations(c, x)
    found = cc.decode(c, cc.activations(p, c.norms, c.threshold))
    assert torch.allclose(found[0], a @ c.W_D[0] + c.b_D[0], atol=1e-10)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_permuting_features_changes_nothing_but_their_order(seed: int):
    c, x = made_up(seed)
    order = torch.randperm(c.n_features, generator=torch.Generator().manual_seed(seed))
    turned = cc.Crosscoder(
        c.W_E[:, :, order], c.b_E[:, order], c.W_D[:, order], c.b_D, c.threshold[order]
    )
    a = cc.activations(cc.pre_activations(c, x), c.norms, c.threshold)
    b = cc.activations(cc.pre_activations(turned, x), turned.norms, turned.threshold)
    assert torch.allclose(a[:, :, order], b, atol=1e-10)
    assert torch.allclose(cc.decode(c, a), cc.decode(turned, b), atol=1e-10)
    first, second = cc.quality(c, x), cc.quality(turned, x)
    assert first.explained_variance == pytest.approx(second.explained_variance)
    assert (first.l0, first.dead_rate) == (second.l0, second.dead_rate)


def test_canonical_quality_is_what_its_formula_says_whatever_the_batch():
    c, x = made_up(4, rows=50)
    a = cc.activations(cc.pre_activations(c, x), c.norms, c.threshold)
    error = x - cc.decode(c, a)
    for batch in (7, 50, 1024):
        q = cc.quality(c, x, batch=batch)
        assert q.explained_variance == pytest.approx(
            float(1 - error.square().sum() / x.square().sum())
        )
        assert q.reconstruction_mse == pytest.approx(float(error.square().mean()))
        assert q.l0 == pytest.approx(float((a > 0).double().sum(-1).mean()))
        assert q.dead_rate == float(((a > 0).sum((0, 1)) == 0).double().mean())
        by_snapshot = 1 - error.square().sum((1, 2)) / x.square().sum((1, 2))
        assert torch.allclose(q.explained_variance_by_snapshot, by_snapshot)
        assert torch.allclose(q.l0_by_snapshot, (a > 0).double().sum(-1).mean(-1))
    assert q.explained_variance == pytest.approx(float(q.explained_variance_by_snapshot.mean()))


def test_training_quality_overweighs_the_short_last_batch():
    c, x = made_up(4, rows=50)
    error = x - cc.decode(c, cc.activations(cc.pre_activations(c, x), c.norms, c.threshold))
    parts = [slice(0, 48), slice(48, 50)]
    mse = sum(float(error[:, part].square().mean()) for part in parts)
    variance = sum(float(x[:, part].var()) for part in parts)
    q = cc.training_quality(c, x, batch=48)
    assert q.explained_variance == pytest.approx(1 - mse / variance)
    assert q.reconstruction_mse == pytest.approx(mse / 2)
    assert q.explained_variance != pytest.approx(cc.quality(c, x).explained_variance, abs=1e-4)
    whole = cc.training_quality(c, x, batch=50)
    assert whole.l0 == pytest.approx(cc.quality(c, x).l0)


def test_dead_features_are_counted_over_all_snapshots():
    c, x = made_up(1)
    threshold = c.threshold.clone()
    threshold[:4] = 1e9
    dead = cc.Crosscoder(c.W_E, c.b_E, c.W_D, c.b_D, threshold)
    assert cc.quality(dead, x).dead_rate >= 4 / c.n_features
    assert cc.training_quality(dead, x).dead_rate == cc.quality(dead, x).dead_rate


def of_kind(c: cc.Crosscoder, act_fn: str) -> cc.Crosscoder:
    """The same weights with another activation."""
    if act_fn == "jumprelu":
        return c
    zeros = torch.zeros_like(c.threshold)
    if act_fn == "batchtopk":
        return cc.Crosscoder(c.W_E, c.b_E, c.W_D, c.b_D, zeros, act_fn, 3)
    random = torch.Generator().manual_seed(3)
    gate = cc.Gate(*(0.3 * torch.randn(c.n_features, generator=random).double() for _ in range(3)))
    return cc.Crosscoder(c.W_E, c.b_E, c.W_D, c.b_D, zeros, act_fn, None, gate)


@pytest.mark.parametrize("act_fn", cc.ACTIVATIONS)
def test_row_codes_keep_what_fires_somewhere(act_fn: str):
    c, x = made_up(6, rows=40)
    c = of_kind(c, act_fn)
    p = cc.pre_activations(c, x)
    code, a = cc.row_codes(c, p), cc.row_activations(c, p)
    assert torch.equal(code, a.amax(dim=0))
    assert torch.equal(code > 0, (a > 0).any(dim=0))
    if act_fn == "batchtopk":
        assert int((code > 0).sum()) == 3 * 40
        assert not torch.equal(code[:20], cc.row_codes(c, p[:20]))  # the batch shares a budget
    else:
        assert torch.equal(code[:20], cc.row_codes(c, p[:20]))


def test_the_kinds_of_the_comparison_have_no_norm_gate():
    """Known answers 7 and 8 through a whole forward pass, at two snapshots of other norms."""
    p = torch.tensor([[3.0, 2.5, -2.0], [2.0, 0.5, 0.1]])
    W_D = torch.stack([torch.eye(3), 0.001 * torch.eye(3)])
    parts = (torch.zeros(2, 3, 3), torch.zeros(2, 3), W_D, torch.zeros(2, 3), torch.zeros(3))
    c = cc.Crosscoder(*parts, "batchtopk", 1)
    assert cc.row_codes(c, p).tolist() == [[3.0, 2.5, 0.0], [0.0, 0.0, 0.0]]
    rebuilt = cc.decode(c, cc.row_activations(c, p).contiguous())
    assert torch.allclose(rebuilt[1], 0.001 * rebuilt[0])
    gate = cc.Gate(torch.tensor([-0.2, 1.0, 0.0]), torch.tensor([math.log(2), 0.0, 0.0]),
                   torch.tensor([0.1, 0.2, 0.0]))
    g = cc.Crosscoder(*parts, "gated", None, gate)
    a = cc.row_activations(g, torch.tensor([[1.0, -0.5, -1.0]]))
    assert torch.allclose(a, torch.tensor([2.1, 0.0, 0.0]).expand(2, 1, 3))


@pytest.mark.parametrize("act_fn", cc.ACTIVATIONS)
@pytest.mark.parametrize("sparse", [0.0, 1.0])
def test_measure_is_what_the_whole_tables_say(
    act_fn: str, sparse: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cc, "SPARSE", sparse)
    c, x = made_up(8, rows=50)
    c = of_kind(c, act_fn)
    parts = x.split(16, dim=1)
    codes = [cc.row_activations(c, cc.pre_activations_by_head(c, part)) for part in parts]
    a = torch.cat(codes, dim=1)
    error = (cc.decode(c, a) - x).split(16, dim=1)
    found = cc.measure(c, parts)
    whole = torch.cat(error, dim=1)
    assert torch.allclose(found.rates, (a > 0).double().mean(dim=1))
    assert found.canonical.explained_variance == pytest.approx(
        float(1 - whole.square().sum() / x.square().sum()))
    assert found.canonical.l0 == pytest.approx(float((a > 0).double().sum(-1).mean()))
    mse = sum(float(e.square().mean()) for e in error)
    variance = sum(float(part.var()) for part in parts)
    assert found.training.explained_variance == pytest.approx(1 - mse / variance)
    assert found.training.l0 == pytest.approx(
        sum(float((part > 0).double().sum(-1).mean()) for part in codes) / len(parts))
    assert torch.allclose(found.canonical.l0_by_snapshot, found.rates.sum(dim=1))


def test_how_rows_are_cut_changes_nothing_canonical():
    c, x = made_up(9, snapshots=2, rows=30)
    assert cc.measure(c, [x[:, :13], x[:, 13:]]).canonical.l0 == cc.quality(c, x).l0
    with pytest.raises(ValueError, match="no rows"):
        cc.measure(c, [])


@pytest.mark.parametrize(("act_fn", "count"), [("jumprelu", 1), ("batchtopk", 0), ("gated", 3)])
def test_parameters_of_each_kind(act_fn: str, count: int):
    c, _ = made_up(0)
    base = 2 * 3 * 5 * 11 + 3 * 11 + 3 * 5
    assert of_kind(c, act_fn).n_parameters == base + count * 11


def test_impossible_kinds_are_refused():
    c, _ = hand_case()
    parts = (c.W_E, c.b_E, c.W_D, c.b_D, c.threshold)
    with pytest.raises(ValueError, match="'relu', known are"):
        cc.Crosscoder(*parts, "relu")
    with pytest.raises(ValueError, match="k is None"):
        cc.Crosscoder(*parts, "batchtopk")
    with pytest.raises(ValueError, match="gated dictionary with gate None"):
        cc.Crosscoder(*parts, "gated")


def test_largest_released_shape_has_the_recorded_number_of_parameters():
    """Known answer 31, Pythia-6.9B, without allocating 34 GB."""
    with torch.device("meta"):
        c = cc.Crosscoder(torch.empty(32, 4096, 32768), torch.empty(32, 32768),
                          torch.empty(32, 32768, 4096), torch.empty(32, 4096), torch.empty(32768))
    assert c.n_parameters == 8_591_147_008
