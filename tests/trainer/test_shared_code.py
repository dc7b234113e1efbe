"""BatchTopK and Gated crosscoders: the forward that readers use, the losses, a resumed run."""

import dataclasses

import pytest
import torch

from atlas.crosscoder import Crosscoder, quality, standardize
from atlas.errors import InvalidValue
from tests.trainer.test_crosscoder import planted
from tests.trainer.test_loop import EVERY, Killed, killed_after
from trainer.crosscoder import train_crosscoder, training_of
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.heads import Heads
from trainer.loop import Loop
from trainer.rows import ResidentRows

BASE = {"model": "m", "matrix": "W_U", "d_sae": 24, "epochs": 80, "batch": 100,
        "learning_rate": 5e-3, "rate_decay": 0.3}
KINDS = {
    "batchtopk": CrosscoderRecipe(activation="batchtopk", k=2, **BASE),
    "gated": CrosscoderRecipe(activation="gated", sparsity=0.3, **BASE),
}


@pytest.mark.parametrize("kind", KINDS)
def test_planted_rows_are_explained_by_the_form_that_readers_compute(kind):
    x, _ = planted()
    trained = train_crosscoder(x, KINDS[kind])
    assert trained.act_fn == kind
    found = quality(trained, x)
    assert found.explained_variance > 0.8
    assert found.l0 < 6
    if kind == "batchtopk":
        assert found.l0 == pytest.approx(2, abs=0.3)


def away(c: Crosscoder, code: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """Mean over rows and snapshots of the squared distance."""
    squared = [(code @ c.W_D[k] + c.b_D[k] - rows[k]).square().sum(1) for k in range(len(rows))]
    return torch.stack(squared).mean()


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_section_3_5_read_line_by_line(kind):
    x = standardize(torch.randn(3, 40, 5, generator=torch.Generator().manual_seed(0)).double())[1]
    recipe = dataclasses.replace(KINDS[kind], d_sae=12, batch=40, sparsity_warmup=0.0)
    training = training_of(ResidentRows(x), recipe)
    generator = torch.Generator().manual_seed(1)
    for name, value in training.w.items():
        training.w[name] = torch.randn(value.shape, generator=generator, dtype=torch.float64) / 3
    figures = training.step(0)
    c = training.trained()
    rows = x[:, training.order.at(0)]
    p = sum(rows[k] @ c.W_E[k] + c.b_E[k] for k in range(3))
    if kind == "batchtopk":
        u = p.clamp(min=0)
        code = torch.where(u >= u.flatten().sort(descending=True).values[40 * 2 - 1], u, 0.0)
        extra = 0.0
    else:
        w = training.w
        opening = (p + w["b_gate"]).clamp(min=0)
        code = (opening > 0) * (w["r_mag"].exp() * p + w["b_mag"]).clamp(min=0)
        extra = recipe.sparsity * (opening * c.norms.sum(0)).sum(1).mean() + away(c, opening, rows)
    error = away(c, code, rows)
    assert float(figures.terms["reconstruction"]) == pytest.approx(float(error), rel=1e-9)
    assert float(figures.terms["loss"]) == pytest.approx(float(error + extra), rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_run_goes_on_bit_by_bit(kind, tmp_path):
    x, _ = planted(100)
    recipe = dataclasses.replace(KINDS[kind], epochs=12, batch=50)
    whole = training_of(ResidentRows(x), recipe)
    Loop(whole, "whole").run()
    first = training_of(ResidentRows(x), recipe)
    killed_after(first, 13)
    with pytest.raises(Killed):
        Loop(first, "cut", folder=tmp_path, pace=EVERY).run()
    second = training_of(ResidentRows(x), recipe)
    Loop(second, "cut", folder=tmp_path, pace=EVERY).run()
    for name, value in whole.state().items():
        assert torch.equal(value, second.state()[name]), name


def test_several_processes_are_refused():
    with pytest.raises(InvalidValue, match="one process"):
        training_of(ResidentRows(planted(100)[0]), KINDS["gated"], Heads(0, 2))
