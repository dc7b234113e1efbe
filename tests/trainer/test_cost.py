"""What a training costs, against the figures that the references print."""

import dataclasses
import math

import pytest
import torch

from atlas.inventory import ROWS, released
from trainer import recipes
from trainer.cost import H200, Cost, Speed, crosscoder_cost, crosscoder_parameters, prism_cost
from trainer.crosscoder import CrosscoderTraining
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.prism_recipe import PrismRecipe
from trainer.rows import ResidentRows
from trainer.shared_code import SharedCodeTraining

HEADLINE = "pythia-160m/W_U/cross-snapshot-32/d24576/seed0"
LARGE = "pythia-6.9b/W_U/cross-snapshot-32/d32768/seed0"
OLMO = "olmo-2-7b/W_U/cross-snapshot-32/d32768/seed0"
PAPER = Speed("performance.md 4, unoverlapped", {"float32": 50e12, "tf32": 400e12,
                                                 "bfloat16": 790e12}, 4.3e12, weight_bytes=26.0)
"""One H200 with Adam fused into the products and nothing lost."""


def cost_of(run: str) -> Cost:
    recipe = recipes.resolve(run)
    rows, d_model = ROWS[recipe.model_name]
    return crosscoder_cost(recipe.dials, len(recipe.schedule), rows, d_model)


@pytest.mark.parametrize(("run", "parameters"), [  # crosscoder-method 3.1
    ("pythia-160m/W_U/cross-snapshot-32/d8192/seed0", 402_948_096),
    (HEADLINE, 1_208_795_136),
    ("pythia-1b/W_U/cross-snapshot-32/d24576/seed0", 3_222_102_016),
    (LARGE, 8_591_147_008),
    (OLMO, 8_591_147_008),
])
def test_weights_are_those_of_record(run, parameters):
    assert cost_of(run).parameters == parameters


def test_all_weights_of_the_release_are_its_bytes():
    """Sizes of the released float32 files, by a formula of another module."""
    production = [e for e in released() if e.kind != "prism" and "architecture" not in e.run]
    assert len(production) == 67
    counted = sum(cost_of(e.run).weight_bytes for e in production)
    assert counted == sum(e.dictionary_bytes for e in production)
    assert sum(e.dictionary_bytes for e in released() if e.kind != "prism") == pytest.approx(
        200e9, rel=0.06)  # crosscoder-method 3.1
    saes = [e for e in production if "per-snapshot" in e.run]
    assert sum(cost_of(e.run).parameters for e in saes) == 403_202_048  # section 4


@pytest.mark.parametrize(("run", "steps"), [(HEADLINE, 15_000), (LARGE, 15_000), (OLMO, 12_250)])
def test_steps_are_those_of_record(run, steps):
    assert cost_of(run).steps == steps


def test_a_step_is_five_products():
    """U = 1.237e12 and 6.19e12 operations (performance.md 4); the last batch is short."""
    cost = cost_of(HEADLINE)
    assert cost.step_flops / 5 == pytest.approx(1.237e12, rel=1e-3)
    assert cost.step_flops == pytest.approx(6.19e12, rel=2e-3)
    whole = 15_000 * cost.step_flops
    assert cost.total_flops == pytest.approx(whole * 50_304 / (50 * 1024))
    assert cost.total_flops < whole


@pytest.mark.parametrize(("run", "precision", "minutes"), [
    (HEADLINE, "float32", 33), (HEADLINE, "tf32", 6.0), (HEADLINE, "bfloat16", 4.2),
    (LARGE, "tf32", 41), (LARGE, "bfloat16", 28), (OLMO, "tf32", 57), (OLMO, "bfloat16", 34),
])
def test_paper_minutes_follow_the_roofline(run, precision, minutes):
    """performance.md 4's unoverlapped sums, less its 1.5 ms of pointwise work a step."""
    cost = cost_of(run)
    found = cost.seconds(PAPER, precision) / 60 + cost.steps * 1.5e-3 / 60
    assert found == pytest.approx(minutes, rel=0.05)


def test_stock_pytorch_takes_what_was_reckoned_for_it():
    """25 to 36 ms a step from bf16 to TF32 (performance.md 4)."""
    cost = cost_of(HEADLINE)
    low, high = (1e3 * cost.seconds(H200, p) / cost.steps for p in ("bfloat16", "tf32"))
    assert low == pytest.approx(25, rel=0.05)
    assert 30 < high < 36


def test_memory_of_the_large_shapes_on_one_card():
    """performance.md 4: 103 GB of weights and moments; 119 GB with rows in bfloat16; OLMo fits if
    its rows are streamed."""
    large, olmo = cost_of(LARGE), cost_of(OLMO)
    assert large.weight_bytes + large.moment_bytes == pytest.approx(103e9, rel=0.01)
    assert large.row_bytes == pytest.approx(26.4e9, rel=0.01)
    assert large.gradient_bytes == pytest.approx(1.1e9, rel=0.05)
    assert large.memory(row_size=2) == pytest.approx(119e9, rel=0.01)
    assert olmo.row_bytes == pytest.approx(52.6e9, rel=0.01)
    assert olmo.memory(row_size=0) == pytest.approx(107e9, rel=0.02)
    assert olmo.memory() > 141e9 > olmo.memory(row_size=0)


def test_processes_share_everything_but_the_planes():
    cost = cost_of(OLMO)
    assert cost.worlds == (1, 2, 4, 8)
    alone = cost.gradient_bytes + cost.plane_bytes
    for world in cost.worlds:
        own = cost.memory(world) - alone
        assert own * world == pytest.approx(cost.memory() - alone, rel=1e-4)
    assert cost.memory(lists=True) - cost.memory() == 4 * 32 * 4096 * 32768
    minutes = [cost.seconds(H200, "tf32", world) for world in cost.worlds]
    assert minutes == sorted(minutes, reverse=True)
    assert minutes[0] / minutes[2] < 4, "sums between cards take time"


@pytest.mark.parametrize(("snapshots", "worlds"), [(24, (1, 2, 4, 8)), (12, (1, 2, 4)), (1, (1,)),
                                                   (7, (1,))])
def test_only_numbers_of_processes_that_divide_the_snapshots(snapshots, worlds):
    recipe = CrosscoderRecipe("m", "W_U", 64)
    assert crosscoder_cost(recipe, snapshots, 1000, 8).worlds == worlds


@pytest.mark.parametrize("activation", ["jumprelu", "batchtopk", "gated"])
def test_weights_and_steps_are_what_is_trained(activation):
    recipe = CrosscoderRecipe("m", "W_U", 24, epochs=3, batch=16, activation=activation,
                              k=2 if activation == "batchtopk" else None)
    rows = ResidentRows(torch.randn(4, 50, 6))
    cost = crosscoder_cost(recipe, 4, 50, 6)
    if activation == "jumprelu":
        training = CrosscoderTraining(rows, recipe)
        tensors = training.weights.tensors()
        assert cost.parameters == crosscoder_parameters(4, 6, 24)
    else:
        training = SharedCodeTraining(rows, recipe)
        tensors = training.w
        assert cost.worlds == (1,)
    assert cost.parameters == sum(t.numel() for t in tensors.values())
    assert cost.steps == training.total == 3 * math.ceil(50 / 16)


def test_a_gated_crosscoder_multiplies_more_and_batchtopk_does_not():
    run = "pythia-160m/W_U/architecture-comparison/d8192/"
    one, two = cost_of(run + "batchtopk/seed0"), cost_of(run + "gated/seed0")
    assert two.step_flops / one.step_flops == pytest.approx(8 / 5)
    assert two.parameters - one.parameters == 3 * 8192


def test_bfloat16_holds_the_rounded_encoder():
    recipe = CrosscoderRecipe("m", "W_U", 512)
    half = dataclasses.replace(recipe, precision="bfloat16")
    full, rough = (crosscoder_cost(r, 8, 4096, 64) for r in (recipe, half))
    assert rough.memory() - full.memory() == 2 * 8 * 64 * 512


@pytest.mark.parametrize(("run", "d_model", "flops"), [  # prism-method 3.6, 20,000 steps
    ("qwen3.5-0.8b/k256_32x", 1024, 1.7e16), ("qwen3.5-2b/k256_32x", 2048, 6.6e16),
    ("qwen3.5-9b/k256_32x", 4096, 2.6e17),
])
def test_operations_of_prisms(run, d_model, flops):
    recipe = recipes.resolve(run).dials
    plain = prism_cost(dataclasses.replace(recipe, prism_penalty=0.0), 248_320, d_model)
    assert plain.total_flops == pytest.approx(flops, rel=0.04)
    penalised = prism_cost(recipe, 248_320, d_model)
    assert penalised.total_flops / plain.total_flops == pytest.approx(1 + 0.3 * 2048 / 4096)
    constant = dataclasses.replace(recipe, penalty_schedule="constant")
    assert prism_cost(constant, 248_320, d_model).total_flops == pytest.approx(
        1.5 * plain.total_flops), "the prism batch adds up to half"
    assert plain.parameters == 2 * d_model * recipe.d_sae + recipe.d_sae


def test_a_large_prism_takes_about_what_was_reported():
    """13 GB of weights and moments for d = 4096, D = 131,072 (prism-method 3.6)."""
    cost = prism_cost(PrismRecipe("m", 131_072, 256), 248_320, 4096)
    assert cost.weight_bytes + cost.moment_bytes == pytest.approx(13e9, rel=0.02)
    assert (cost.worlds, cost.streamable) == ((1,), False)
