"""The step worked out by hand against autograd over the formulas, in every way it can be taken."""

import pytest
import torch

from trainer.adam import Adam
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.crosscoder_twin import TrainableCrosscoder, crosscoder_losses
from trainer.joint_step import JointStep, Penalty, Weights

K, B, D_MODEL, D_SAE = 3, 40, 8, 24
THRESHOLDS = [0.02, 0.3, 1.0, 1.7]
"""Initial ones: at the first four in ten pairs fire, at the last one in a few hundred."""


def problem(threshold: float, window: float = 4.0, seed: int = 0, dtype=torch.float64):
    """A trained-like state: norms spread over snapshots, biases and encoder of their own."""
    generator = torch.Generator().manual_seed(seed)

    def noise(like: torch.Tensor) -> torch.Tensor:
        return torch.randn(like.shape, generator=generator).to(dtype)

    twin = TrainableCrosscoder(K, D_MODEL, D_SAE, threshold, generator).to(dtype)
    with torch.no_grad():
        twin.W_D.mul_(3 * torch.rand(K, D_SAE, 1, generator=generator).to(dtype))
        twin.W_E.add_(0.1 * noise(twin.W_E))
        twin.b_E.copy_(0.1 * noise(twin.b_E))
        twin.b_D.copy_(noise(twin.b_D))
        twin.log_threshold.add_(0.1 * noise(twin.log_threshold))
    recipe = CrosscoderRecipe(model="m", matrix="W_U", d_sae=D_SAE, threshold_window=window)
    return twin, torch.randn(K, B, D_MODEL, generator=generator).to(dtype), recipe


def as_weights(twin: TrainableCrosscoder, grad: bool = False) -> Weights:
    def part(name: str) -> torch.Tensor:
        value = getattr(twin, name)
        return (value.grad if grad else value.detach()).clone()

    encoder = part("W_E").permute(2, 0, 1).reshape(D_SAE, -1).contiguous()
    return Weights(encoder, *map(part, ("b_E", "W_D", "b_D", "log_threshold")))


def flat(x: torch.Tensor) -> torch.Tensor:
    return x.permute(1, 0, 2).reshape(x.shape[1], -1).contiguous()


def gradients(step: JointStep) -> dict[str, torch.Tensor]:
    found = {name: torch.full_like(t, float("nan")) for name, t in step.w.tensors().items()}

    def take(name: str, part: slice, value: torch.Tensor) -> None:
        assert found[name][part].isnan().all(), "handed over twice"
        found[name][part] = value

    step.gradients(take)
    return found


def penalty(recipe: CrosscoderRecipe, weight: float = 0.3) -> Penalty:
    return Penalty(weight, recipe.frequency_scale, recipe.tanh_stretch, recipe.threshold_window)


@pytest.mark.parametrize("window", [4.0, 0.5])
@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize(("lists", "micro"), [(True, None), (False, None), (False, 7)])
def test_loss_and_every_gradient_are_those_of_the_twin(lists, micro, threshold, window):
    twin, x, recipe = problem(threshold, window)
    plain = crosscoder_losses(twin, x, recipe, 0.3)
    plain.total.backward()
    step = JointStep(as_weights(twin), flat(x), penalty(recipe), lists=lists, micro=micro)
    losses = step.losses()
    for name in ("total", "reconstruction", "sparsity", "l0"):
        assert torch.allclose(getattr(losses, name), getattr(plain, name).detach().to(x.dtype),
                              rtol=1e-6 if name == "l0" else 1e-12)
    expected = as_weights(twin, grad=True).tensors()
    for name, value in gradients(step).items():
        error = float((value - expected[name]).norm())
        assert error <= 1e-12 * float(expected[name].norm()) + 1e-14, name


def test_the_states_differ_in_how_much_fires():
    """So that the cases above cover many, few and hardly any pairs."""
    shares = []
    for threshold in THRESHOLDS:
        twin, x, recipe = problem(threshold)
        shares.append(float(crosscoder_losses(twin, x, recipe, 0.3).l0) / D_SAE)
    assert shares[0] > 0.3
    assert 0 < shares[-1] < 0.05
    assert shares == sorted(shares, reverse=True)


@pytest.mark.parametrize("lists", [True, False])
def test_single_precision_stays_within_its_rounding(lists):
    twin, x, recipe = problem(0.5, dtype=torch.float32)
    crosscoder_losses(twin, x, recipe, 0.3).total.backward()
    step = JointStep(as_weights(twin), flat(x), penalty(recipe), lists=lists)
    step.losses()
    expected = as_weights(twin, grad=True).tensors()
    for name, value in gradients(step).items():
        assert float((value - expected[name]).norm() / expected[name].norm()) < 1e-6, name


def test_half_precision_decides_firing_exactly_and_bends_only_the_threshold():
    twin, x, recipe = problem(0.5, dtype=torch.float32)
    plain = crosscoder_losses(twin, x, recipe, 0.3)
    plain.total.backward()
    step = JointStep(as_weights(twin), flat(x), penalty(recipe), lists=True, half=True)
    losses = step.losses()
    assert float(losses.l0) == pytest.approx(float(plain.l0), abs=1e-6)
    assert float(losses.total) == pytest.approx(float(plain.total.detach()), rel=1e-6)
    expected = as_weights(twin, grad=True).tensors()
    for name, value in gradients(step).items():
        bound = 3e-2 if name == "log_threshold" else 1e-6
        assert float((value - expected[name]).norm() / expected[name].norm()) < bound, name


def test_full_matrices_in_half_precision_stay_within_its_rounding():
    """What an accelerator runs, its products as a CPU makes them."""
    twin, x, recipe = problem(0.3, dtype=torch.float32)
    crosscoder_losses(twin, x, recipe, 0.3).total.backward()
    step = JointStep(as_weights(twin), flat(x), penalty(recipe), lists=False)
    step.half = True
    step.losses()
    expected = as_weights(twin, grad=True).tensors()
    for name, value in gradients(step).items():
        error = float((value - expected[name]).norm() / expected[name].norm())
        assert 0 < error < 2e-2, name


def test_half_precision_is_left_alone_where_lists_do_not_pay():
    twin, x, recipe = problem(0.02, dtype=torch.float32)
    step = JointStep(as_weights(twin), flat(x), penalty(recipe), half=True)
    exact = JointStep(as_weights(twin), flat(x), penalty(recipe))
    assert step.at is None
    assert torch.equal(step.p, exact.p)


@pytest.mark.parametrize("dense_above", [0.0, 1.0])
def test_ten_steps_of_adam_end_where_torchs_own_do(dense_above, monkeypatch):
    monkeypatch.setattr("trainer.joint_step.DENSE_ABOVE", dense_above)
    twin, x, recipe = problem(0.3)
    weights = as_weights(twin)
    ours = Adam(weights.tensors(), ("log_threshold",), 0.1)
    others = [p for name, p in twin.named_parameters() if name != "log_threshold"]
    torchs = torch.optim.Adam(
        [{"params": others, "lr": 1e-2}, {"params": [twin.log_threshold], "lr": 1e-3}])
    for number in range(10):
        rows = torch.randperm(B, generator=torch.Generator().manual_seed(number))[:24]
        losses = crosscoder_losses(twin, x[:, rows], recipe, 0.3)
        torchs.zero_grad()
        losses.total.backward()
        torchs.step()
        step = JointStep(weights, flat(x[:, rows]), penalty(recipe))
        assert float(step.losses().total) == pytest.approx(float(losses.total.detach()), rel=1e-10)
        with ours.step(1e-2):
            step.gradients(ours.take)
    expected = as_weights(twin).tensors()
    for name, value in weights.tensors().items():
        assert torch.allclose(value, expected[name], rtol=1e-8, atol=1e-11), name


def test_the_sparse_variant_moves_only_what_has_a_gradient():
    value = torch.tensor([1.0, 1.0])
    adam = Adam({"w": value}, sparse=True)
    with adam.step(0.1):
        adam.take("w", slice(None), torch.tensor([0.5, 0.0]))
    assert value[1] == 1
    assert float(value[0]) == pytest.approx(0.9)
    with adam.step(0.1):
        adam.take("w", slice(None), torch.tensor([0.0, 0.0]))
    assert adam.moved["w"] == 1
    assert float(value[0]) == pytest.approx(0.9)
    assert float(adam.first["w"][0]) == pytest.approx(0.05 * 0.9), "moments decay all the same"


def test_a_tensor_that_is_not_contiguous_is_refused():
    """The fused kernel would pair its entries with those of another."""
    with pytest.raises(ValueError, match="w must be contiguous"):
        Adam({"w": torch.ones(3, 2).T})


def test_memory_that_runs_out_before_anything_moved_leaves_the_step_to_be_taken_again():
    adam = Adam({"w": torch.ones(2)})
    with pytest.raises(MemoryError), adam.step(0.1):
        raise MemoryError
    assert adam.done == 0
