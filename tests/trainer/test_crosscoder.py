"""The crosscoder trainer against a plain float64 twin, its schedules and planted features."""

import dataclasses
import math

import pytest
import torch

from atlas.crosscoder import quality, standardize
from atlas.errors import Diverged
from trainer.crosscoder import initial_weights, train_crosscoder
from trainer.crosscoder_recipe import (
    CrosscoderRecipe,
    RowOrder,
    rate_multiplier,
    sparsity_multiplier,
)
from trainer.crosscoder_twin import TrainableCrosscoder, crosscoder_losses

RECIPE = CrosscoderRecipe(model="m", matrix="W_U", d_sae=7, initial_threshold=0.3)


def slow_losses(model, x, recipe, weight):
    """Section 3.4 read line by line: loops over snapshots, nothing fused."""
    k, rows, _ = x.shape
    p = sum(x[s] @ model.W_E[s] + model.b_E[s] for s in range(k))
    theta = model.log_threshold.exp()
    reconstruction, score = 0.0, 0.0
    for s in range(k):
        norm = model.W_D[s].square().sum(1).sqrt()
        z = p * norm
        a = torch.where(z > theta, p, torch.zeros_like(p))
        x_hat = a @ model.W_D[s] + model.b_D[s]
        reconstruction = reconstruction + ((x_hat - x[s]) ** 2).sum() / (k * rows)
        score = score + torch.tanh(recipe.tanh_stretch * a * norm).sum(0) / (k * rows)
    sparsity = (score + score**2 / recipe.frequency_scale).sum()
    return reconstruction + weight * sparsity


def random_problem(seed):
    generator = torch.Generator().manual_seed(seed)
    model = TrainableCrosscoder(3, 4, 7, 0.3, generator).double()
    with torch.no_grad():
        for parameter in (model.W_E, model.W_D, model.b_E, model.b_D):
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(3, 11, 4, generator=generator, dtype=torch.float64)
    return model, x


@pytest.mark.parametrize("seed", range(5))
def test_losses_and_gradients_agree_with_the_twin(seed):
    model, x = random_problem(seed)
    weights = [model.W_E, model.W_D, model.b_E, model.b_D]
    fast = crosscoder_losses(model, x, RECIPE, 0.3).total
    slow = slow_losses(model, x, RECIPE, 0.3)
    assert torch.allclose(fast, slow, rtol=1e-12)
    for ours, plain in zip(
        torch.autograd.grad(fast, weights), torch.autograd.grad(slow, weights), strict=True
    ):
        assert torch.allclose(ours, plain, rtol=1e-9, atol=1e-10)


def test_threshold_gradient_is_the_straight_through_window():
    """d out / d log theta = -theta^2 / w inside the window, times the upstream gradient."""
    model, x = random_problem(9)
    recipe = dataclasses.replace(RECIPE, threshold_window=0.5)
    losses = crosscoder_losses(model, x, recipe, 0.0)
    (gradient,) = torch.autograd.grad(losses.total, [model.log_threshold])
    p = sum(x[s] @ model.W_E[s] + model.b_E[s] for s in range(3))
    theta = model.log_threshold.exp().detach()
    expected = torch.zeros(7, dtype=torch.float64)
    for s in range(3):
        norm = model.W_D[s].norm(dim=1)
        z = p * norm
        a = torch.where(z > theta, p, 0.0)
        upstream = (2 * (a @ model.W_D[s] + model.b_D[s] - x[s]) @ model.W_D[s].T) / (3 * 11)
        window = ((z - theta).abs() < 0.25) & (z > 0)
        expected += (-(theta / 0.5) * window * upstream / norm).sum(0) * theta
    assert torch.allclose(gradient, expected.detach(), rtol=1e-9)


def test_initialisation_ties_the_encoder_and_repeats_the_head():
    twin = TrainableCrosscoder(3, 4, 7, 0.1, torch.Generator().manual_seed(0), 0.5)
    recipe = dataclasses.replace(RECIPE, transpose_factor=0.5, initial_threshold=0.1)
    ours = initial_weights(recipe, 3, 4, torch.Generator().manual_seed(0))
    encoder = ours.encoder.view(7, 3, 4).permute(1, 2, 0)
    for s in range(3):
        assert torch.equal(encoder[s], 0.5 * ours.W_D[s].T)
        assert torch.equal(ours.W_D[s], ours.W_D[0])
    assert float(ours.W_D.abs().max()) <= 1 / math.sqrt(7)
    assert torch.equal(encoder, twin.W_E.detach())
    assert torch.equal(ours.W_D, twin.W_D.detach())
    assert torch.equal(ours.log_threshold, twin.log_threshold.detach())


@pytest.mark.parametrize(
    ("step", "expected"),
    [(0, 0.1), (4, 0.5), (9, 1), (79, 1), (80, 1), (81, 0.95), (90, 0.5), (99, 0.05)],
)
def test_learning_rate_schedule(step, expected):
    """crosscoder-method section 14.6."""
    assert rate_multiplier(step, 100, 0.1, 0.2) == pytest.approx(expected)


def test_sparsity_warmup_starts_at_zero():
    assert [sparsity_multiplier(t, 100, 0.1) for t in (0, 5, 10, 50)] == [0, 0.5, 1, 1]
    assert sparsity_multiplier(0, 100, 0.0) == 1


def test_each_epoch_visits_every_row_once():
    order = RowOrder(10, 4, torch.Generator().manual_seed(0))
    batches = [order.at(step) for step in range(6)]
    assert [len(b) for b in batches] == [4, 4, 2, 4, 4, 2]
    first, second = torch.cat(batches[:3]), torch.cat(batches[3:])
    assert sorted(first.tolist()) == list(range(10)) == sorted(second.tolist())
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize("stopped", range(1, 9))
def test_the_order_goes_on_after_any_step(stopped):
    order = RowOrder(10, 4, torch.Generator().manual_seed(0))
    whole = [order.at(step).tolist() for step in range(9)]
    first = RowOrder(10, 4, torch.Generator().manual_seed(0))
    for step in range(stopped):
        first.at(step)
    other = RowOrder(10, 4, torch.Generator().manual_seed(7))
    other.restore(first.state())
    assert [other.at(step).tolist() for step in range(stopped, 9)] == whole[stopped:]


def planted(n_rows=600, d=16, k=3, features=12):
    """Rows made of a few unit directions whose strength changes over the snapshots."""
    generator = torch.Generator().manual_seed(3)
    directions = torch.nn.functional.normalize(
        torch.randn(k, features, d, generator=generator) * 0.2
        + torch.randn(1, features, d, generator=generator), dim=2)
    codes = torch.rand(n_rows, features, generator=generator)
    codes = codes * (torch.rand(n_rows, features, generator=generator) < 0.15)
    rows = torch.einsum("vf,kfd->kvd", codes, directions)
    return standardize(rows)[1], directions


def test_planted_directions_are_recovered_and_a_seed_repeats():
    x, directions = planted()
    recipe = CrosscoderRecipe(
        model="m", matrix="W_U", d_sae=24, epochs=80, batch=100, learning_rate=5e-3,
        sparsity=0.05, rate_decay=0.3,
    )
    trained = train_crosscoder(x, recipe)
    again = train_crosscoder(x, recipe)
    assert torch.equal(trained.W_D, again.W_D)
    found = torch.nn.functional.normalize(trained.W_D, dim=2)
    best = torch.einsum("kfd,kgd->fg", directions, found).div(3).max(1).values
    assert float(best.mean()) > 0.9
    assert quality(trained, x).explained_variance > 0.9


def test_divergence_is_named():
    x, _ = planted(100)
    recipe = CrosscoderRecipe(model="m", matrix="W_U", d_sae=8, epochs=50, learning_rate=1e30)
    with pytest.raises(Diverged, match="learning_rate"):
        train_crosscoder(x, recipe)
