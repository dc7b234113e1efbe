"""On planted data a prism's figures move as the reference says (prism-method sections 2, 3 and 5).

600 rows of width 24, each the sum of about four of 72 directions, with noise; hidden states are
rows with noise, a quarter of them held out. Bars hold for seeds 0 to 2.
"""

from dataclasses import dataclass
from functools import cache

import pytest
import torch

from atlas.prism import encode, normalise_rows, quality, readout_fidelity, rebuild_rows
from trainer.prism import train_prism
from trainer.prism_recipe import PrismRecipe

SHIPPED = {"init": "random", "rate_schedule": "constant", "penalty_schedule": "constant"}


@cache
def planted() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows, hidden states to train on, hidden states held out."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.randn(72, 24, generator=generator)
    directions /= directions.norm(dim=1, keepdim=True)
    code = 0.5 + torch.rand(600, 72, generator=generator)
    code *= torch.rand(600, 72, generator=generator) < 0.06
    W = code @ directions + 0.02 * torch.randn(600, 24, generator=generator)
    W += 0.3 * torch.randn(24, generator=generator)
    hidden = 3 * W[torch.randint(600, (512,), generator=generator)]
    hidden += torch.randn(512, 24, generator=generator)
    return W, hidden[:384], hidden[384:]


@dataclass(frozen=True)
class Figures:
    """Of a trained prism."""

    row_ev: float
    l0: float
    dead: float
    kl: float
    top1: float
    residual: float
    """Mean relative residual of each trained state's top logit."""


@cache
def trained(**dials: object) -> Figures:
    W, hidden, held_out = planted()
    recipe = PrismRecipe(**{"model": "m", "d_sae": 96, "k": 4, "steps": 800, "batch": 256,
                            "learning_rate": 3e-3} | dials)
    prism = train_prism(W, hidden, recipe)
    x, _, norms = normalise_rows(W)
    rebuilt = rebuild_rows(prism, *encode(prism, x), norms)
    told, fidelity = quality(prism, x), readout_fidelity(held_out, W, rebuilt)
    token = (hidden @ W.T).argmax(1)
    exact = (hidden * W[token]).sum(1)
    residual = ((exact - (hidden * rebuilt[token]).sum(1)) / exact).abs().mean()
    return Figures(told.explained_variance, told.l0, told.dead_rate, fidelity.kl_bits,
                   fidelity.top1_match, float(residual))


def test_more_features_a_row_explain_more_and_keep_more_decisions():
    few, usual, many = trained(k=2), trained(), trained(k=8)
    assert usual.row_ev > few.row_ev + 0.05  # 0.70, 0.80, 0.86
    assert many.row_ev > usual.row_ev + 0.03
    assert few.kl > usual.kl + 0.2 > many.kl + 0.3
    assert many.top1 > few.top1 + 0.05
    assert (few.l0, usual.l0, many.l0) == pytest.approx((2, 4, 8), abs=0.05)


def test_a_wider_dictionary_explains_more_and_keeps_more_decisions():
    narrow, usual, wide = trained(d_sae=48), trained(), trained(d_sae=192)
    assert usual.row_ev > narrow.row_ev + 0.05  # 0.72, 0.80, 0.86
    assert wide.row_ev > usual.row_ev + 0.04
    assert narrow.kl > usual.kl + 0.4 > wide.kl + 0.6
    assert wide.top1 > narrow.top1 + 0.1


def test_the_delayed_penalty_lowers_the_residual_of_logits_at_the_same_row_ev():
    """At 1e-2: the row error is averaged over 24 entries and not over thousands (section 14)."""
    without, strong = trained(prism_penalty=0.0), trained(prism_penalty=1e-2)
    assert strong.residual < 0.92 * without.residual
    assert abs(strong.row_ev - without.row_ev) < 0.005


def test_rows_are_a_better_start_than_noise():
    assert trained().row_ev > trained(init="random").row_ev + 0.04
    assert trained().dead < 0.02 < trained(init="random").dead


def test_a_smaller_encoder_at_the_start_saves_a_short_run():
    slow, quick = (trained(steps=60, seeded_scale=scale) for scale in (1.0, 0.3))
    assert quick.row_ev > slow.row_ev + 0.03


def test_matryoshka_is_slightly_below_top_k():
    assert 0.005 < trained().row_ev - trained(architecture="matryoshka_topk").row_ev < 0.06


def test_the_threshold_of_batch_top_k_lags_and_then_keeps_about_k():
    """The reference measured 1.30 k. Which side of k it is depends on how the cut still moves: a
    start whose values grow leaves the average too low (1.6 k), a finished run does not (0.98 k).
    """
    done = trained(architecture="batch_topk")
    early = trained(architecture="batch_topk", steps=200, **SHIPPED)
    assert 0.85 * 4 < done.l0 < 1.3 * 4
    assert 1.2 * 4 < early.l0 < 2 * 4
    assert abs(done.row_ev - trained().row_ev) < 0.03


@pytest.mark.parametrize(("architecture", "share"), [("l1_relu", (1.0, 1.35)),
                                                     ("jumprelu", (0.6, 1.1))])
@pytest.mark.parametrize("target", [4.0, 8.0])
def test_the_controller_holds_the_l0(architecture, share, target):
    """The reference measured 1.2 of the target for l1_relu, and too few features for jumprelu."""
    found = trained(architecture=architecture, target_l0=target, steps=1500)
    assert share[0] * target < found.l0 < share[1] * target
    if architecture == "jumprelu":
        assert found.row_ev > trained(architecture="l1_relu", target_l0=target,
                                      steps=1500).row_ev + 0.2


def test_more_pressure_on_gates_opens_fewer():
    loose, tight = (trained(architecture="gated", sparsity=s) for s in (1e-4, 1e-2))
    assert tight.l0 < 0.8 * loose.l0
    assert loose.row_ev > tight.row_ev > 0.3
