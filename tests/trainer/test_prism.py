"""Training a prism: ten steps of the twin, kills, memory, what is refused, what is read back."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from atlas.artifacts import RunFolder, read_prism, write_prism
from atlas.errors import Diverged, InvalidValue, Stopped
from atlas.prism import ARCHITECTURES, dense_code, normalise_rows
from tests.trainer.test_loop import Killed, curve, killed_after
from trainer.checkpoint import RECORD
from trainer.heads import Heads
from trainer.loop import Loop, Pace, Report
from trainer.prism import Controller, PrismTraining, top_targets, train_prism
from trainer.prism_codes import initial_averages, initial_weights
from trainer.prism_recipe import PrismRecipe, learning_rate, penalty_weight, row_weights
from trainer.prism_twin import plain_logit_loss, plain_row_loss

DIALS = {"model": "m", "d_sae": 40, "k": 3, "batch": 50, "steps": 24, "learning_rate": 5e-3,
         "prism_delay": 0.3, "prism_top_n": 2, "sparsity": 1e-3, "initial_log_threshold": -2.0}
TARGET = {"jumprelu": {"target_l0": 6.0, "control_warmup": 5},
          "l1_relu": {"target_l0": 6.0, "control_warmup": 5}}
EVERY = Pace(log_steps=3, save_seconds=1e9, save_steps=4)


def data(dtype=torch.float32, seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    W = torch.randn(170, 12, generator=generator).to(dtype)
    return W, torch.randn(64, 12, generator=generator).to(dtype)


def recipe_of(architecture: str = "topk", **dials: object) -> PrismRecipe:
    return PrismRecipe(**{**DIALS, **TARGET.get(architecture, {}), **dials},
                       architecture=architecture)


def training(architecture: str = "topk", dtype=torch.float32, **dials: object) -> PrismTraining:
    return PrismTraining(*data(dtype), recipe_of(architecture, **dials))


def loop(folder, one: PrismTraining, lines=None, pace: Pace = EVERY) -> Loop:
    return Loop(one, "a prism", Report(lines.append if lines is not None else (lambda _: None)),
                folder, {}, pace)


def same(one: PrismTraining, other: PrismTraining) -> None:
    assert one.state().keys() == other.state().keys()
    for name, value in one.state().items():
        assert torch.equal(value, other.state()[name]), name


def without_ties(architecture: str, monkeypatch) -> dict[str, float]:
    """No row twice in a batch of batch_topk: which of two equal values it keeps is left open."""
    if architecture != "batch_topk":
        return {}
    usual = torch.multinomial

    def draw(weights, count, replacement, generator):
        return usual(weights, count, replacement=False, generator=generator)

    monkeypatch.setattr(torch, "multinomial", draw)
    return {"prism_penalty": 0.0}


# --- the same as the plain way -------------------------------------------------------------------


def plain_weights(recipe: PrismRecipe, W: torch.Tensor, hidden: torch.Tensor, steps: int):
    """Weights after some steps of the twin, with draws in the order of the record's trainer."""
    x = normalise_rows(W)[0]
    generator = torch.Generator().manual_seed(recipe.seed)
    weights = {n: t.requires_grad_() for n, t in initial_weights(recipe, x, generator).items()}
    optimizer = torch.optim.AdamW(list(weights.values()), lr=recipe.learning_rate,
                                  weight_decay=recipe.weight_decay)
    targets = top_targets(hidden, W)
    sampling = row_weights(recipe, targets, len(W))
    averages = initial_averages(recipe.architecture, x)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        rows = torch.multinomial(sampling, recipe.batch, replacement=True, generator=generator)
        loss = plain_row_loss(weights, x[rows], recipe, recipe.sparsity, averages)
        weight = penalty_weight(recipe, step)
        if weight > 0:
            picked = torch.randint(len(hidden), (min(recipe.batch, len(hidden)),),
                                   generator=generator)
            loss = loss + weight * plain_logit_loss(
                weights, hidden[picked], W, targets[picked, 0], recipe, averages)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), recipe.gradient_clip)
        optimizer.step()
        with torch.no_grad():
            weights["decoder"] /= weights["decoder"].norm(dim=1, keepdim=True).clamp_min(1e-8)
    return weights


@pytest.mark.parametrize("architecture", [a for a in ARCHITECTURES if a != "jumprelu"])
@pytest.mark.parametrize("clip", [1.0, 1e-3])
def test_steps_are_the_twins(architecture, clip, monkeypatch):
    """jumprelu is not among them: the twin's window would need the averages it does not move."""
    dials = without_ties(architecture, monkeypatch)
    recipe = PrismRecipe(**{**DIALS, "prism_top_n": 1, "gradient_clip": clip} | dials,
                         architecture=architecture)
    W, hidden = data(torch.float64)
    one = PrismTraining(W, hidden, recipe)
    for done in range(15):
        one.step(done).move()
    for name, value in plain_weights(recipe, W, hidden, 15).items():
        assert (value - one.weights[name]).norm() <= 1e-9 * value.norm(), name


# --- safe ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
@pytest.mark.parametrize("last", [1, 4, 9, 17])
def test_a_killed_run_goes_on_bit_by_bit(tmp_path, architecture, last):
    whole = training(architecture)
    loop(tmp_path / "whole", whole).run()
    first = training(architecture)
    killed_after(first, last)
    with pytest.raises(Killed):
        loop(tmp_path / "cut", first).run()
    second = training(architecture)
    loop(tmp_path / "cut", second).run()
    same(whole, second)
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    assert curve(tmp_path / "whole")[-1]["step"] == 24


def test_killed_for_real(tmp_path):
    """kill -9 of a process at two moments, then to the end: the curve of one that was not."""
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from tests.trainer.test_prism import loop, training\nfrom trainer.loop import Pace\n"
        "loop(Path(sys.argv[1]), training('batch_topk', steps=400), pace=Pace(5, 1e9, 7)).run()\n"
    )
    pace = Pace(5, 1e9, 7)
    loop(tmp_path / "whole", training("batch_topk", steps=400), pace=pace).run()
    command = [sys.executable, "-c", script, str(tmp_path / "cut")]
    kills = 0
    for _ in range(2):
        with subprocess.Popen(command) as process:
            past = _step_of(tmp_path / "cut") + 40
            while process.poll() is None and _step_of(tmp_path / "cut") < past:
                time.sleep(0.005)
            kills += process.poll() is None
            process.kill()
    assert kills == 2
    assert subprocess.run(command, check=False).returncode == 0
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")


def _step_of(folder) -> int:
    record = folder / RECORD
    return json.loads(record.read_text())["step"] if record.is_file() else 0


def test_a_signal_saves_and_stops(tmp_path):
    one = training()
    usual = one.step

    def step(done: int):
        if done == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        return usual(done)

    one.step = step
    with pytest.raises(Stopped, match="after step 10 of 24"):
        loop(tmp_path, one).run()
    assert _step_of(tmp_path) == 10


def test_a_loss_that_is_not_finite_is_named():
    with pytest.raises(Diverged, match=r"prism over m diverged at step \d+ of 24.*learning_rate"):
        train_prism(*data(), recipe_of(learning_rate=1e30, rate_warmup=0.0))


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_fewer_rows_at_a_time_give_the_same_numbers(architecture, monkeypatch):
    dials = without_ties(architecture, monkeypatch)
    whole, parts = (training(architecture, torch.float64, **dials) for _ in range(2))
    parts.micro = 7
    for done in range(24):
        one, other = whole.step(done), parts.step(done)
        assert other.terms["loss"].item() == pytest.approx(one.terms["loss"].item(), rel=1e-9)
        assert torch.equal(one.fired, other.fired)
        one.move()
        other.move()
    for name, value in whole.state().items():
        torch.testing.assert_close(value, parts.state()[name], rtol=1e-6, atol=1e-9)


def test_memory_that_runs_out_within_a_step_draws_nothing_anew(tmp_path, monkeypatch):
    plain, tight, lines = training(), training(), []
    usual, fails = tight._penalty, [True, True]

    def penalty(*asked):
        if fails:
            fails.pop()
            raise torch.OutOfMemoryError("CUDA out of memory")
        return usual(*asked)

    monkeypatch.setattr(tight, "_penalty", penalty)
    loop(tmp_path / "plain", plain).run()
    loop(tmp_path / "tight", tight, lines).run()
    assert tight.micro == 12
    assert "memory ran out; going on with 25 rows at a time instead of 50" in lines
    assert torch.equal(plain.generator.get_state(), tight.generator.get_state())
    torch.testing.assert_close(plain.weights["decoder"], tight.weights["decoder"],
                               rtol=1e-3, atol=1e-4)


# --- what is told and kept -----------------------------------------------------------------------


def test_figures_of_a_step():
    one = training("l1_relu")
    figures = one.step(0)
    assert set(figures.terms) == {
        "loss", "reconstruction", "penalty", "l0", "unexplained", "sparsity", "coefficient"}
    assert figures.rows == 50
    assert float(figures.fired.sum()) == pytest.approx(50 * figures.terms["l0"].item())
    # unit rows: the mean squared error of an entry is the unexplained share over d
    assert figures.terms["unexplained"].item() == pytest.approx(
        12 * figures.terms["reconstruction"].item(), rel=1e-5)
    assert figures.terms["penalty"].item() == 0
    assert one.step(23).terms["penalty"].item() > 0


def test_decoder_rows_stay_unit_but_for_jumprelu():
    for architecture in ARCHITECTURES:
        one = training(architecture)
        for done in range(10):
            one.step(done).move()
        unit = (one.weights["decoder"].norm(dim=1) - 1).abs().max() < 1e-5
        assert bool(unit) is (architecture != "jumprelu"), architecture


@pytest.mark.parametrize("architecture", list(ARCHITECTURES))
def test_what_is_trained_is_written_and_read_again(tmp_path, architecture):
    prism = train_prism(*data(), recipe_of(architecture))
    assert prism.k == (3 if "topk" in architecture else 40)
    write_prism(tmp_path / "dictionary.safetensors", prism)
    config = {"kind": "prism", "config": {
        "act_fn": architecture, "d_sae": 40, "d_model": 12, "k": prism.k}}
    again = read_prism(RunFolder(tmp_path, config, {}, {}))
    x = normalise_rows(data()[0])[0]
    assert (dense_code(prism, x) > 0).any()
    assert torch.equal(dense_code(again, x), dense_code(prism, x))
    assert torch.equal(again.row_mean, data()[0].mean(0))


def test_the_controller_moves_every_ten_steps_and_no_more_than_a_clip():
    recipe = recipe_of("l1_relu", target_l0=10.0, control_warmup=20, sparsity=1e-3)
    one = Controller(torch.tensor(1e-3), torch.tensor(0.0))
    for done in range(29):
        one = one.after(recipe, done, torch.tensor(40.0))
    assert one.coefficient.item() == pytest.approx(1e-3)
    one = one.after(recipe, 29, torch.tensor(40.0))  # the 30th step; far above: the clip
    assert one.coefficient.item() == pytest.approx(1e-3 * 2.718281828 ** (0.2 * 0.3))
    assert one.l0.item() == pytest.approx(40)
    one = one.after(recipe, 30, torch.tensor(30.0))
    assert one.l0.item() == pytest.approx(0.9 * 40 + 0.1 * 30)
    for done in range(31, 4000):
        one = one.after(recipe, done, torch.tensor(40.0))
    assert one.coefficient.item() == pytest.approx(0.05)
    for done in range(4000, 9000):
        one = one.after(recipe, done, torch.tensor(0.0))
    assert one.coefficient.item() == pytest.approx(1e-8)


# --- refused -------------------------------------------------------------------------------------


def _changed(rows: torch.Tensor, at: int, value: float) -> torch.Tensor:
    rows = rows.clone()
    rows[at] = value
    return rows


@pytest.mark.parametrize(("change", "words"), [
    (lambda W, h: (_changed(W, 7, float("nan")), h), "row 7 of W is not finite"),
    (lambda W, h: (_changed(W, 7, float("inf")), h), "row 7 of W is not finite"),
    (lambda W, h: (W, _changed(h, 5, float("nan"))), "hidden state 5 is not finite"),
    (lambda W, h: (W, _changed(h, 5, 0.0)), "hidden state 5 has a length of 0"),
    (lambda W, h: (W, h[:, :-1]), "rows of W are 12 wide and hidden states 11"),
    (lambda W, h: (W[None], h), "W must be a matrix, not of shape"),
    (lambda W, h: (W, h[0]), "the hidden states must be a matrix"),
    (lambda W, h: (W[:1], h), "W has 1 rows"),
    (lambda W, h: (W, h[:0]), "there are no hidden states"),
])
def test_what_cannot_be_trained_on_is_refused_before_any_step(change, words):
    with pytest.raises(InvalidValue, match=f"prism over m: {words}"):
        train_prism(*change(*data()), recipe_of())


def test_no_hidden_states_are_needed_where_nothing_asks_for_them():
    W, hidden = data()
    prism = train_prism(W, hidden[:0], recipe_of(prism_penalty=0.0, row_sampling="uniform"))
    assert prism.n_features == 40


def test_several_processes_are_refused():
    with pytest.raises(InvalidValue, match="one process"):
        PrismTraining(*data(), recipe_of(), heads=Heads(0, 2))
