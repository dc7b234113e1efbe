"""The six encoders: against their twin, against how atlas reads them, and by hand."""

import pytest
import torch

from atlas.prism import ARCHITECTURES, Prism, dense_code
from trainer.prism_codes import (
    LISTED,
    Weights,
    encode,
    initial_averages,
    initial_weights,
    of_batch,
    pays,
    preactivation,
)
from trainer.prism_losses import Asked, logit_loss, row_losses
from trainer.prism_recipe import PrismRecipe
from trainer.prism_twin import plain_code, plain_logit_loss, plain_row_loss

V, D_MODEL, D_SAE, K, B = 60, 9, 40, 5, 23
WAYS = [(name, lists) for name in ARCHITECTURES
        for lists in ((False, True) if name in LISTED else (False,))]


def recipe_of(architecture: str, **dials: object) -> PrismRecipe:
    if architecture == "matryoshka_topk":
        dials = {"k_values": (2, 5, 8), "k_weights": (3.0, 2.0, 1.0)} | dials
    return PrismRecipe(**{"model": "m", "d_sae": D_SAE, "k": K, "architecture": architecture,
                          "code_l2": 1e-2, "initial_log_threshold": -1.5} | dials)


def problem(architecture: str, dtype=torch.float64, seed: int = 0, **dials: object):
    """Weights away from their start, rows, raw matrix and averages that have seen something."""
    generator = torch.Generator().manual_seed(seed)
    recipe = recipe_of(architecture, **dials)
    W = torch.randn(V, D_MODEL, generator=generator).to(dtype)
    centred = W - W.mean(0)
    x = centred / centred.norm(dim=1, keepdim=True)
    weights = initial_weights(recipe, x, generator)
    for value in weights.values():
        value += 0.2 * torch.randn(value.shape, generator=generator).to(dtype)
        value.requires_grad_()
    averages = {name: value if "init" not in name else torch.ones_like(value)
                for name, value in initial_averages(architecture, x).items()}
    if "act_scale_ema" in averages:
        averages["act_scale_ema"] = torch.tensor(0.7, dtype=dtype)
    return recipe, weights, x, W, averages


def grads(loss: torch.Tensor, weights: Weights) -> dict[str, torch.Tensor]:
    found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True,
                                retain_graph=True)
    return {name: torch.zeros_like(value) if grad is None else grad
            for (name, value), grad in zip(weights.items(), found, strict=True)}


def close(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor], bar: float) -> None:
    for name, value in one.items():
        assert (value - other[name]).norm() <= bar * value.norm(), name


@pytest.mark.parametrize(("architecture", "lists"), WAYS)
@pytest.mark.parametrize(("dtype", "bar"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_row_loss_and_gradients_are_the_twins(architecture, lists, dtype, bar):
    recipe, weights, x, _, averages = problem(architecture, dtype)
    coefficient = torch.tensor(0.03, dtype=dtype)
    own = row_losses(weights, x[:B], recipe, coefficient, averages, lists).total
    twin = plain_row_loss(weights, x[:B], recipe, 0.03, averages)
    assert float((own - twin).detach().abs()) <= bar * float(twin.detach())
    expected = grads(twin, weights)
    assert all(value.norm() > 0 for value in expected.values())
    close(expected, grads(own, weights), bar)


@pytest.mark.parametrize(("architecture", "lists"), WAYS)
@pytest.mark.parametrize(("dtype", "bar"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
def test_logit_loss_and_gradients_are_the_twins(architecture, lists, dtype, bar):
    recipe, weights, x, W, averages = problem(architecture, dtype)
    hidden = torch.randn(B, D_MODEL, generator=torch.Generator().manual_seed(4)).to(dtype)
    tokens = (hidden @ W.T).argmax(1)
    mean = W.mean(0)
    asked = Asked(hidden, x[tokens], (W - mean).norm(dim=1)[tokens], (hidden * W[tokens]).sum(1))
    own, _ = logit_loss(weights, asked, mean, recipe, averages, lists)
    twin = plain_logit_loss(weights, hidden, W, tokens, recipe, averages)
    assert float((own - twin).detach().abs()) <= bar * float(twin.detach())
    close({n: g for n, g in grads(twin, weights).items() if g.norm() > 0}, grads(own, weights), bar)


@pytest.mark.parametrize(("architecture", "lists"), WAYS)
def test_code_is_the_twins(architecture, lists):
    recipe, weights, x, _, averages = problem(architecture)
    code = encode(weights, x[:B], recipe, averages, lists).code
    expected = plain_code(weights, x[:B], recipe, averages, K)
    torch.testing.assert_close(code.decode(weights["decoder"]), expected @ weights["decoder"])
    assert torch.equal(code.fired(), (expected > 0).double().sum(0))
    torch.testing.assert_close(code.mean_square(), expected.square().mean())


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_atlas_reads_what_was_trained(architecture):
    """All but batch_topk read as they are trained; batch_topk by its threshold."""
    recipe, weights, x, _, averages = problem(architecture)
    encoded = encode(weights, x, recipe, averages)
    parts = weights | encoded.averages
    prism = Prism(weights["encoder"], weights["bias"], weights["decoder"], K, x.new_zeros(D_MODEL),
                  x.new_ones(V), architecture,
                  **{name: parts[name] for name in ARCHITECTURES[architecture]})
    read = dense_code(prism, x)
    if architecture == "batch_topk":
        u = (x @ weights["encoder"].T + weights["bias"]).relu()
        read, expected = read > 0, u > encoded.averages["activation_threshold"]
        assert torch.equal(read, expected)
        return
    torch.testing.assert_close(read, encoded.code.values)


def test_top_k_keeps_the_largest_positive_entries():
    weights = {"encoder": torch.eye(4), "bias": torch.zeros(4), "decoder": torch.eye(4)}
    recipe = PrismRecipe(model="m", d_sae=4, k=2)
    x = torch.tensor([[1.0, 2.0, -3.0, 0.5], [-1.0, -2.0, -3.0, 0.5]])
    for lists in (False, True):
        code = encode(weights, x, recipe, {}, lists).code
        assert code.decode(torch.eye(4)).tolist() == [[1.0, 2.0, 0, 0], [0, 0, 0, 0.5]]
        assert code.fired().tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize("lists", [False, True])
def test_batch_top_k_keeps_bk_of_the_batch_and_follows_its_threshold(lists):
    recipe, weights, x, _, _ = problem("batch_topk")
    averages = initial_averages("batch_topk", x)
    u = (x @ weights["encoder"].T + weights["bias"]).relu()
    first = encode(weights, x, recipe, averages, lists)
    cut = u.flatten().sort(descending=True).values[V * K - 1].item()
    assert int(first.code.fired().sum()) == V * K
    assert float(first.averages["activation_threshold"]) == cut  # the first is taken as it is
    assert int(first.averages["threshold_initialized"]) == 1
    second = encode(weights, x[:B], recipe, first.averages, lists)
    own = u[:B].flatten().sort(descending=True).values[B * K - 1].item()
    assert float(second.averages["activation_threshold"]) == pytest.approx(
        0.995 * cut + 0.005 * own, rel=1e-12)


def test_batch_top_k_keeps_what_is_positive_if_that_is_less():
    weights = {"encoder": torch.eye(3), "bias": torch.zeros(3), "decoder": torch.eye(3)}
    recipe = PrismRecipe(model="m", d_sae=3, k=2, architecture="batch_topk")
    averages = initial_averages("batch_topk", torch.zeros(1))
    x = torch.tensor([[3.0, -1, -1], [-1, 2, -1]])
    for lists in (False, True):
        found = encode(weights, x, recipe, averages, lists)
        assert found.code.fired().tolist() == [1, 1, 0]
        assert float(found.averages["activation_threshold"]) == 0


@pytest.mark.parametrize("likely", [0.0, 0.5, 5.0])
def test_a_guess_of_the_threshold_changes_nothing(likely):
    recipe, weights, x, _, averages = problem("batch_topk")
    averages["activation_threshold"] = torch.tensor(likely, dtype=x.dtype)
    pre = preactivation(weights, x, "batch_topk").detach()
    expected = pre.flatten().sort(descending=True).values[V * K - 1]
    assert of_batch(recipe, averages, [pre], V) == expected
    assert of_batch(recipe, averages, pre.split(7), V) == expected


def test_jumprelu_measures_the_size_of_what_is_positive():
    recipe, weights, x, _, _ = problem("jumprelu")
    averages = initial_averages("jumprelu", x)
    u = (x @ weights["encoder"].T + weights["bias"]).relu()
    size = u[u > 0].square().mean().sqrt().item()
    first = encode(weights, x, recipe, averages)
    assert float(first.averages["act_scale_ema"]) == pytest.approx(size)
    again = encode(weights, 3 * x, recipe, first.averages | {
        "act_scale_ema": torch.tensor(2.0, dtype=x.dtype)})
    tripled = (3 * x @ weights["encoder"].T + weights["bias"]).relu()
    size = tripled[tripled > 0].square().mean().sqrt().item()
    assert float(again.averages["act_scale_ema"]) == pytest.approx(0.99 * 2 + 0.01 * size)


def test_the_window_of_jumprelu_by_hand():
    """One feature, u = 1, threshold 0.9, window 0.5: height 2, the pull on log theta -2 * 0.9."""
    weights = {"encoder": torch.ones(1, 1), "bias": torch.zeros(1), "decoder": torch.ones(1, 1),
               "log_threshold": torch.tensor([0.9]).log()}
    for value in weights.values():
        value.requires_grad_()
    recipe = PrismRecipe(model="m", d_sae=1, k=1, architecture="jumprelu")
    found = encode(weights, torch.ones(1, 1), recipe,
                   initial_averages("jumprelu", torch.zeros(1)))
    assert found.sparsity.item() == 1
    pulls = torch.autograd.grad(found.sparsity, [weights["log_threshold"], weights["bias"]])
    assert [float(pull) for pull in pulls] == pytest.approx([-1.8, 2.0])


def test_gates_learn_from_their_own_reconstruction_and_not_the_decoder():
    recipe, weights, x, _, averages = problem("gated")
    found = encode(weights, x, recipe, averages)
    pull = grads(found.gates.square().sum(), weights)
    assert pull["gate_bias"].norm() > 0
    assert pull["encoder"].norm() > 0
    assert pull["decoder"].norm() == 0
    code = grads(found.code.values.sum(), weights)
    assert code["gate_bias"].norm() == 0
    assert code["log_r"].norm() > 0


def test_starts():
    generator = torch.Generator().manual_seed(0)
    x = torch.nn.functional.normalize(torch.randn(200, 50, generator=generator), dim=1)
    rows = initial_weights(recipe_of("gated"), x, generator)
    assert torch.equal(rows["encoder"], rows["decoder"])
    assert not rows["gate_bias"].any()
    assert not rows["log_r"].any()
    drawn = initial_weights(recipe_of("jumprelu", init="random", initial_log_threshold=-6.0), x,
                            generator)
    assert float(drawn["encoder"].std()) == pytest.approx(0.02, rel=0.1)
    assert torch.allclose(drawn["decoder"].norm(dim=1), torch.ones(D_SAE))
    assert (drawn["log_threshold"] == -6).all()
    assert not drawn["bias"].any()


def test_lists_are_for_few_features_on_a_cpu():
    cpu = torch.device("cpu")
    few, many = (PrismRecipe(model="m", d_sae=1000, k=k) for k in (32, 500))
    assert pays(few, cpu)
    assert not pays(many, cpu)
    assert not pays(few, torch.device("cuda"))
    assert not pays(PrismRecipe(model="m", d_sae=1000, k=32, architecture="gated"), cpu)


@pytest.mark.parametrize(("architecture", "lists"), WAYS)
def test_encoding_leaves_averages_and_weights_alone(architecture, lists):
    recipe, weights, x, _, averages = problem(architecture)
    before = {name: value.detach().clone() for name, value in (averages | weights).items()}
    encode(weights, x, recipe, averages, lists, True)
    for name, value in (averages | weights).items():
        assert torch.equal(value, before[name]), name
