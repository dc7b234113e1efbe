"""What keeps a training safe: kills, signals, full disks, other recipes, and what stops it."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch

from atlas import tensor_files
from atlas.errors import BrokenArtifact, Diverged, InvalidValue, NoSpace, OutOfMemory, Stopped
from atlas.places import ROOT
from atlas.training_log import METRICS, read_metrics
from trainer.checkpoint import RECORD
from trainer.crosscoder import CrosscoderTraining
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.loop import Loop, Pace, Report
from trainer.rows import ResidentRows

DIALS = {"model": "m", "matrix": "W_U", "d_sae": 24, "epochs": 6, "batch": 50,
         "learning_rate": 5e-3, "sparsity": 0.05, "rate_decay": 0.3}
EVERY = Pace(log_steps=3, save_seconds=1e9, save_steps=4)


def rows(seed: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 170, 6, generator=generator)
    return x - x.mean(1, keepdim=True)


def training(**dials: object) -> CrosscoderTraining:
    return CrosscoderTraining(ResidentRows(rows()), CrosscoderRecipe(**{**DIALS, **dials}))


def loop(folder, one=None, pace=EVERY, facts=None, lines=None) -> Loop:
    say = lines.append if lines is not None else (lambda _: None)
    return Loop(one or training(), "a crosscoder", Report(say), folder, facts, pace)


def curve(folder) -> list[dict]:
    """Figures without what the clock says."""
    return [{k: v for k, v in line.items() if k not in ("rows_per_second", "seconds")}
            for line in read_metrics(folder / METRICS)]


class Killed(BaseException):
    """Stands for kill -9: nothing of the loop runs after it."""


def killed_after(one, last: int):
    """A training that dies when step `last` begins, as by kill -9."""
    usual = one.step

    def step(done: int):
        if done == last:
            raise Killed
        return usual(done)

    one.step = step
    return one


@pytest.mark.parametrize("last", [1, 4, 5, 8, 11, 23])
def test_a_killed_run_goes_on_bit_by_bit(tmp_path, last):
    whole = training()
    loop(tmp_path / "whole", whole).run()
    first = training()
    killed_after(first, last)
    with pytest.raises(Killed):
        loop(tmp_path / "cut", first).run()
    second = training()
    loop(tmp_path / "cut", second).run()
    for name, value in whole.state().items():
        assert torch.equal(value, second.state()[name]), name
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")
    assert curve(tmp_path / "whole")[-1]["step"] == whole.total


def test_figures_tell_how_a_training_goes(tmp_path):
    lines = []
    loop(tmp_path, lines=lines).run()
    found = read_metrics(tmp_path / METRICS)
    assert [line["step"] for line in found] == list(range(3, 25, 3))
    assert found[-1]["explained_variance"] > found[0]["explained_variance"]
    assert 0 <= found[-1]["dead"] <= 1
    assert lines[-1].startswith("step 24/24: loss ")
    assert all(word in lines[-1] for word in ("EV 0.", "L0 ", "dead ", "rows/s", "0:00 left"))


@pytest.mark.parametrize("log_steps", [3, 4])
def test_dead_features_are_those_that_did_not_fire_in_the_last_whole_epoch(tmp_path, log_steps):
    one, fired = training(), []
    usual = one.step

    def step(done: int):
        figures = usual(done)
        fired.append(figures.fired > 0)
        return figures

    one.step = step
    loop(tmp_path, one, Pace(log_steps=log_steps)).run()
    for line in read_metrics(tmp_path / METRICS):
        last = line["step"] // one.epoch_steps * one.epoch_steps
        epoch = fired[last - one.epoch_steps : last] if last else fired[: line["step"]]
        assert line["dead"] == pytest.approx(float((~torch.stack(epoch).any(0)).double().mean()))


def test_a_line_cut_short_is_left_out(tmp_path):
    path = tmp_path / METRICS
    path.write_text('{"step": 3}\n{"step": 6, "lo')
    assert read_metrics(path) == [{"step": 3}]


def test_a_signal_saves_and_stops(tmp_path):
    one = training()
    usual = one.step

    def step(done: int):
        if done == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        return usual(done)

    one.step = step
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Stopped, match="after step 10 of 24; the same command goes on") as stopped:
        loop(tmp_path, one).run()
    assert stopped.value.status == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert json.loads((tmp_path / RECORD).read_text())["step"] == 10


def test_a_checkpoint_of_another_recipe_is_refused_and_names_the_dial(tmp_path):
    with pytest.raises(Killed):
        _killed_at(tmp_path, 9, {"recipe": {"sparsity": 0.1, "seed": 0}})
    with pytest.raises(InvalidValue, match="differ in recipe.sparsity"):
        loop(tmp_path, facts={"recipe": {"sparsity": 0.2, "seed": 0}}).run()


def _killed_at(folder, step: int, facts=None) -> None:
    one = training()
    killed_after(one, step)
    loop(folder, one, facts=facts).run()


def test_a_checkpoint_that_lost_its_file_says_so(tmp_path):
    with pytest.raises(Killed):
        _killed_at(tmp_path, 9)
    next(tmp_path.glob("checkpoint-*")).unlink()
    with pytest.raises(BrokenArtifact, match="is not there"):
        loop(tmp_path).run()


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    usual = tensor_files.save_file

    def save(tensors, path):
        if "checkpoint-8-" in str(path):
            raise OSError(28, "No space left on device")
        usual(tensors, path)

    monkeypatch.setattr(tensor_files, "save_file", save)
    with pytest.raises(NoSpace):
        loop(tmp_path).run()
    monkeypatch.setattr(tensor_files, "save_file", usual)
    lines = []
    loop(tmp_path, lines=lines).run()
    assert lines[0] == "going on after step 4 of 24"


def test_no_checkpoint_is_left_but_the_last(tmp_path):
    loop(tmp_path).run()
    assert [path.name for path in tmp_path.glob("checkpoint-*.safetensors")] == [
        "checkpoint-20-0-of-1.safetensors"]


def test_a_loss_that_is_not_finite_names_step_batch_and_what_to_try(tmp_path):
    with pytest.raises(Diverged, match=r"at step \d+ of 24 \(batch \d of 4.*learning_rate"):
        loop(tmp_path, training(learning_rate=1e30)).run()


def test_a_collapse_is_named(tmp_path):
    with pytest.raises(Diverged, match="nothing has fired for 20 steps.*sparsity"):
        loop(tmp_path, training(initial_threshold=1e6)).run()


def test_memory_that_runs_out_halves_the_rows_and_gives_the_same_numbers(tmp_path, monkeypatch):
    monkeypatch.setattr("trainer.joint_step.DENSE_ABOVE", 0.0)
    plain, lines = training(), []
    loop(tmp_path / "plain", plain).run()
    tight = training()
    usual = tight.step

    def step(done: int):
        if tight.micro is None or tight.micro > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return usual(done)

    tight.step = step
    loop(tmp_path / "tight", tight, lines=lines).run()
    assert lines[:2] == [
        "memory ran out; going on with 25 rows at a time instead of 50",
        "memory ran out; going on with 12 rows at a time instead of 25",
    ]
    for name, value in plain.weights.tensors().items():
        assert torch.allclose(value, tight.weights.tensors()[name], atol=1e-4), name


def test_memory_that_never_suffices_is_named(tmp_path):
    one = training()

    def step(done: int):
        raise torch.OutOfMemoryError("CUDA out of memory")

    one.step = step
    with pytest.raises(OutOfMemory, match="one row at a time"):
        loop(tmp_path, one).run()


def test_another_error_is_not_taken_for_memory(tmp_path):
    one = training()

    def step(done: int):
        raise RuntimeError("shapes do not fit")

    one.step = step
    with pytest.raises(RuntimeError, match="shapes"):
        loop(tmp_path, one).run()


def test_killed_for_real(tmp_path):
    """kill -9 of a process at three moments, then to the end: the curve of one that was not."""
    killed(tmp_path / "cut", 3, random.Random(0))
    loop(tmp_path / "whole", training(epochs=EPOCHS), OFTEN).run()
    assert curve(tmp_path / "cut") == curve(tmp_path / "whole")


EPOCHS = 150
OFTEN = Pace(log_steps=5, save_seconds=1e9, save_steps=7)


def killed(folder, times: int, rng: random.Random) -> list[int]:
    """Train in processes of their own, killed at random moments; the last is let through.

    Returns:
        Steps of the last checkpoint at each kill.
    """
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from tests.trainer.test_loop import EPOCHS, OFTEN, loop, training\n"
        "loop(Path(sys.argv[1]), training(epochs=EPOCHS), OFTEN).run()\n"
    )
    command = [sys.executable, "-c", script, str(folder)]
    total, found = 4 * EPOCHS, []
    for number in range(times):
        with subprocess.Popen(command, cwd=ROOT) as process:
            wait = _step_of(folder) + rng.randrange(max(1, (total - 40) // times - 7))
            while process.poll() is None and _step_of(folder) <= wait:
                time.sleep(0.001)
            time.sleep(rng.random() * 0.01)
            assert process.poll() is None, f"done before kill {number + 1}"
            process.kill()
        found.append(_step_of(folder))
    subprocess.run(command, check=True, cwd=ROOT)
    return found


def _step_of(folder) -> int:
    record = folder / RECORD
    return json.loads(record.read_text())["step"] if record.is_file() else 0
