"""The prism trainer: schedules, row-seeded start, and a fit that beats its start."""

import pytest
import torch

from atlas.prism import normalise_rows, quality
from trainer.prism import (
    PrismRecipe,
    learning_rate,
    penalty_weight,
    seeded_rows,
    top_k_code,
    train_prism,
)


def test_learning_rate_warms_up_then_falls_to_a_tenth():
    recipe = PrismRecipe(model="m", d_sae=8, k=2, steps=1000)
    assert learning_rate(recipe, 0) == pytest.approx(1e-3 / 50)
    assert learning_rate(recipe, 49) == pytest.approx(1e-3)
    assert learning_rate(recipe, 999) == pytest.approx(1e-4, rel=1e-2)


def test_penalty_waits_for_seven_tenths_of_the_run():
    recipe = PrismRecipe(model="m", d_sae=8, k=2, steps=1000)
    assert penalty_weight(recipe, 700) == 0
    assert penalty_weight(recipe, 850) == pytest.approx(5e-4)
    assert penalty_weight(recipe, 1000) == pytest.approx(1e-3)


def test_seeded_rows_are_unit_and_enough():
    x = torch.nn.functional.normalize(torch.randn(5, 3), dim=1)
    few = seeded_rows(x, 4, torch.Generator().manual_seed(0))
    many = seeded_rows(x, 9, torch.Generator().manual_seed(0))
    assert few.shape == (4, 3)
    assert many.shape == (9, 3)
    assert torch.allclose(many.norm(dim=1), torch.ones(9))


def test_top_k_keeps_the_largest_positive_entries():
    x = torch.tensor([[1.0, 2.0, -3.0, 0.5]])
    code = top_k_code(x, torch.eye(4), torch.zeros(4), 2)
    assert code.tolist() == [[1.0, 2.0, 0.0, 0.0]]


def test_training_improves_on_the_seeded_start_and_keeps_k():
    generator = torch.Generator().manual_seed(0)
    basis = torch.nn.functional.normalize(torch.randn(20, 12, generator=generator), dim=1)
    code = torch.rand(300, 20, generator=generator)
    W = (code * (torch.rand(300, 20, generator=generator) < 0.2)) @ basis + 3
    hidden = torch.randn(64, 12, generator=generator)
    dials = {"model": "m", "d_sae": 32, "k": 4, "batch": 128, "learning_rate": 5e-3}
    x = normalise_rows(W)[0]
    start = quality(train_prism(W, hidden, PrismRecipe(steps=1, **dials)), x)
    end = quality(train_prism(W, hidden, PrismRecipe(steps=400, **dials)), x)
    assert end.explained_variance > start.explained_variance + 0.05
    assert end.l0 <= 4
