"""A prism's dials: schedules, which rows are drawn, the row-seeded start, what is refused."""

import pytest
import torch

from atlas.errors import InvalidValue
from trainer.prism_recipe import (
    PrismRecipe,
    learning_rate,
    nested_ks,
    penalty_weight,
    row_weights,
    seeded_rows,
)

DIALS = {"model": "m", "d_sae": 8, "k": 2, "steps": 1000}


def test_learning_rate_warms_up_then_falls_to_a_tenth():
    recipe = PrismRecipe(**DIALS)
    assert learning_rate(recipe, 0) == pytest.approx(1e-3 / 50)
    assert learning_rate(recipe, 49) == pytest.approx(1e-3)
    assert learning_rate(recipe, 999) == pytest.approx(1e-4, rel=1e-2)


def test_penalty_waits_for_seven_tenths_of_the_run():
    recipe = PrismRecipe(**DIALS)
    assert penalty_weight(recipe, 700) == 0
    assert penalty_weight(recipe, 850) == pytest.approx(5e-4)
    assert penalty_weight(recipe, 1000) == pytest.approx(1e-3)


def test_the_shipped_trainer_keeps_rate_and_penalty():
    recipe = PrismRecipe(**DIALS, rate_schedule="constant", penalty_schedule="constant")
    assert {learning_rate(recipe, step) for step in (0, 500, 999)} == {1e-3}
    assert {penalty_weight(recipe, step) for step in (0, 500, 999)} == {1e-3}


def test_seeded_rows_are_unit_and_enough():
    x = torch.nn.functional.normalize(torch.randn(5, 3), dim=1)
    few = seeded_rows(x, 4, torch.Generator().manual_seed(0))
    many = seeded_rows(x, 9, torch.Generator().manual_seed(0))
    assert few.shape == (4, 3)
    assert len({tuple(row) for row in few.tolist()} & {tuple(row) for row in x.tolist()}) == 4
    assert many.shape == (9, 3)
    assert torch.allclose(many.norm(dim=1), torch.ones(9))


@pytest.mark.parametrize(("sampling", "expected"), [
    ("uniform", [1, 1, 1, 1]),
    ("frequency", [4, 5, 3, 1]),
    ("frequency_sqrt", [2, 5 ** 0.5, 3 ** 0.5, 1]),
    ("frequency_pow_0.5", [2, 5 ** 0.5, 3 ** 0.5, 1]),
    ("frequency_pow_0.75", [4 ** 0.75, 5 ** 0.75, 3 ** 0.75, 1]),
    ("hybrid", [4 / 13 + 1 / 4, 5 / 13 + 1 / 4, 3 / 13 + 1 / 4, 1 / 13 + 1 / 4]),
    ("hybrid_75freq_25uniform",
     [12 / 13 + 1 / 4, 15 / 13 + 1 / 4, 9 / 13 + 1 / 4, 3 / 13 + 1 / 4]),
    ("top1_sqrt_frequency", [2, 1, 1, 1]),
    ("top5_sqrt_frequency", [2, 5 ** 0.5, 3 ** 0.5, 1]),
])
def test_rows_are_drawn_as_the_reference_counts(sampling, expected):
    """Four states; tokens 0, 1 and 2 are 4, 5 and 3 times among their top three, 3 never."""
    targets = torch.tensor([[0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 1, 1]])
    found = row_weights(PrismRecipe(**DIALS, row_sampling=sampling), targets, 4)
    assert found.dtype == torch.float64
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(found / found.sum(), expected / expected.sum())


def test_ks_nest_by_halves_unless_told():
    dials = DIALS | {"d_sae": 100, "k": 32, "architecture": "matryoshka_topk"}
    assert nested_ks(PrismRecipe(**dials)) == (8, 16, 32)
    assert nested_ks(PrismRecipe(**(dials | {"k": 1}))) == (1,)
    assert nested_ks(PrismRecipe(**dials, k_values=(4, 64))) == (4, 64)


@pytest.mark.parametrize(("dials", "words"), [
    ({"architecture": "relu"}, "architecture is 'relu'; known are topk, matryoshka_topk, batch"),
    ({"init": "zeros"}, "init is 'zeros'; known are rows, random"),
    ({"row_sampling": "often"}, "row_sampling is 'often'; known are uniform.*hybrid_<f>freq_<u>"),
    ({"row_sampling": "hybrid_0freq_0uniform"}, "row_sampling is"),
    ({"rate_schedule": "linear"}, "rate_schedule"),
    ({"penalty_schedule": "late"}, "penalty_schedule"),
    ({"k": 0}, "k is 0; it is a whole number from 1 to 8"),
    ({"k": 9}, "k is 9; it is a whole number from 1 to 8"),
    ({"k": 2.5}, "k is 2.5; it is a whole number"),
    ({"d_sae": 0}, "d_sae is 0"),
    ({"steps": 0}, "steps is 0"),
    ({"steps": -5}, "steps is -5"),
    ({"batch": 0}, "batch is 0"),
    ({"prism_top_n": 9}, "prism_top_n is 9; it is a whole number from 1 to 8"),
    ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0"),
    ({"learning_rate": float("nan")}, "learning_rate is nan"),
    ({"prism_penalty": -1.0}, "prism_penalty is -1.0; it must not be below 0"),
    ({"prism_delay": 1.5}, "prism_delay is 1.5; it is a share"),
    ({"initial_log_threshold": 99.0}, "initial_log_threshold is 99.0"),
    ({"k_values": (1, 2)}, "k_values and k_weights belong to a matryoshka_topk"),
    ({"architecture": "matryoshka_topk", "k_values": (2, 1)}, "they must rise"),
    ({"architecture": "matryoshka_topk", "k_values": (2, 9)}, "k_values is 9; .* from 1 to 8"),
    ({"architecture": "matryoshka_topk", "k_values": (1, 2), "k_weights": (1.0,)},
     "k_weights has 1 values for 2 k's"),
    ({"architecture": "matryoshka_topk", "k_values": (1, 2), "k_weights": (0.0, 0.0)},
     "k_weights is"),
    ({"target_l0": 2.0}, "target_l0 belongs to jumprelu and l1_relu; this is topk"),
    ({"architecture": "l1_relu", "target_l0": 0.0}, "target_l0 is 0.0"),
])
def test_an_impossible_dial_is_refused_by_name(dials, words):
    with pytest.raises(InvalidValue, match=words):
        PrismRecipe(**(DIALS | dials))
