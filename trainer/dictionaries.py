"""From a recipe and snapshots to a finished run folder: trained, resumed, measured, recorded.

While it trains, `<run folder>/training/` holds figures (`metrics.jsonl`) and the last checkpoint.
Provenance is written last: a folder without it is not finished.
"""

import dataclasses
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.artifacts import (
    RunFolder,
    read_crosscoder,
    read_prism,
    read_run,
    write_crosscoder,
    write_prism,
)
from atlas.crosscoder import Crosscoder, measure
from atlas.errors import InvalidValue
from atlas.places import run_path
from atlas.prism import normalise_rows
from atlas.prism import quality as prism_quality
from atlas.tensor_files import load_tensors, read_json, save_tensors, sha256, write_json
from atlas.training_log import PLAN, WORK
from trainer.crosscoder import training_of
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.heads import Heads
from trainer.loop import Loop, Pace, Report, Training
from trainer.prism import PrismTraining
from trainer.prism_recipe import PrismRecipe
from trainer.rows import Rows
from trainer.snapshots import Snapshots, check, rows_of

DICTIONARY = "dictionary.safetensors"
VERSIONS = ("torch", "transformers", "safetensors", "numpy")


@dataclass(frozen=True)
class How:
    """Where and how a training runs; none of it changes what is trained."""

    device: torch.device = dataclasses.field(default_factory=lambda: torch.device("cpu"))
    heads: Heads = dataclasses.field(default_factory=Heads)
    pace: Pace = dataclasses.field(default_factory=Pace)
    rounded: bool = False
    """Write 8-bit matrices, a quarter of the size; figures are of what is written."""
    command: tuple[str, ...] = ()
    """Words of the command line that trains it, for whoever finds it stopped."""


def train_crosscoder_run(
    run: str, dials: CrosscoderRecipe, snapshots: Snapshots, report: Report,
    how: How | None = None, fitted: Tensor | None = None,
) -> Path:
    """Train a crosscoder or SAE into its run folder; returns the folder.

    A folder that is finished is left; one that is not is taken up from its checkpoint.

    Args:
        run: its id. dials: its recipe. snapshots: what it reads.
        report: where lines go.
        how: device, processes, pace.
        fitted: (V,) bool, rows to train on; all unless told.

    Raises:
        InvalidValue: the folder holds a run that was not trained by this recipe.
        NotFound, BrokenArtifact: snapshots. Others as `trainer.loop.Loop.run`.
    """
    how = how or How()
    folder = run_path(snapshots.store, run)
    if is_finished(folder, dials):
        report.say("already trained")
        return folder
    _, d_model = check(snapshots)
    rows = rows_of(snapshots, how.heads.own(len(snapshots.steps)), how.device, fitted)
    training = training_of(rows, dials, how.heads)
    loop = loop_of(run, training, dials, snapshots, report, how, {"rows": len(rows)})
    with products(dials.precision, how.device):
        seconds = loop.run()
    trained = gathered(training.trained(), folder / WORK, how.heads)
    if trained is not None:
        settings = {"act_fn": dials.activation, "d_sae": dials.d_sae, "d_model": d_model,
                    "k": dials.k}
        write_crosscoder(folder / DICTIONARY, trained, how.rounded)
        write_config(folder, run, dials, snapshots, settings, "center_scale",
                     "crosscoder" if len(snapshots.steps) > 1 else "sae")
        report.say("measuring what was written")
        written = read_crosscoder(RunFolder(folder, read_json(folder / "config.json"), {}, {}))
        every = rows_of(snapshots, slice(0, len(snapshots.steps)), torch.device("cpu"),
                        resident=False)
        found = measure(written, batches(every, dials.batch)).canonical
        finish(folder, snapshots, dials.seed, seconds, found, how.device)
    clear(loop)
    return folder


def train_prism_run(
    run: str, dials: PrismRecipe, snapshots: Snapshots, hidden: Callable[[], Tensor],
    report: Report, how: How | None = None, more: dict[str, Any] | None = None,
) -> Path:
    """Train a prism over the one snapshot there is into its run folder; returns the folder.

    Args:
        hidden: gives hidden states (n, d) that enter the head, once they are needed.
        more: further fields of `config.json`.

    Raises as `train_crosscoder_run`; also InvalidValue for hidden states that do not fit.
    """
    how = how or How()
    folder = run_path(snapshots.store, run)
    if is_finished(folder, dials):
        report.say("already trained")
        return folder
    _, d_model = check(snapshots)
    W = snapshots.load(snapshots.steps[-1])
    training = PrismTraining(W, hidden(), dials, how.device, how.heads)
    loop = loop_of(run, training, dials, snapshots, report, how, {"rows": len(W)})
    seconds = loop.run()
    trained = training.trained()
    settings = {"act_fn": dials.architecture, "d_sae": dials.d_sae, "d_model": d_model,
                "k": trained.k}
    write_prism(folder / DICTIONARY, trained, how.rounded)
    write_config(folder, run, dials, snapshots, settings, "center_normalise", "prism", more)
    written = read_prism(RunFolder(folder, read_json(folder / "config.json"), {}, {}))
    found = prism_quality(written, normalise_rows(W, written.row_mean)[0])
    finish(folder, snapshots, dials.seed, seconds, found, how.device)
    clear(loop)
    return folder


@contextmanager
def products(precision: str, device: torch.device) -> Iterator[None]:
    """Let float32 products of an accelerator round their inputs to TF32 where that is asked for."""
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def loop_of(
    run: str, training: Training, dials: Any, snapshots: Snapshots, report: Report, how: How,
    more: dict[str, Any],
) -> Loop:
    """The loop of a training in its run folder, whose plan is written for whoever watches."""
    work = run_path(snapshots.store, run) / WORK
    if how.heads.rank == 0:
        write_json(work / PLAN, {
            "run": run, "steps": training.total, "recipe": as_recorded(dials),
            "command": list(how.command), "processes": how.heads.world, "device": how.device.type,
            "began": datetime.now(UTC).isoformat(timespec="seconds"),
        })
    facts = {
        "recipe": as_recorded(dials), "inputs": {p.name: sha256(p) for p in snapshots.paths},
    } | more
    return Loop(training, run, report, work, facts, how.pace)


def clear(loop: Loop) -> None:
    """Remove the checkpoint of a training whose run folder is finished."""
    if loop.checkpoint is not None:
        loop.checkpoint.clear()


def batches(rows: Rows, batch: int) -> Iterator[Tensor]:
    """All rows in order, (K, B, d) at a time."""
    for ids in torch.arange(len(rows)).split(batch):
        x = rows.take(ids).view(len(ids), rows.snapshots, rows.d_model)
        yield x.permute(1, 0, 2)


def gathered(part: Crosscoder, work: Path, heads: Heads) -> Crosscoder | None:
    """The snapshots of all processes as one dictionary, on the first of them; None on the others.

    They pass through files beside the checkpoint: the processes share the folder.
    """
    if heads.world == 1:
        return part
    names = ("W_E", "b_E", "W_D", "b_D")

    def file(rank: int) -> Path:
        return work / f"part-{rank}-of-{heads.world}.safetensors"

    save_tensors(file(heads.rank), {name: getattr(part, name) for name in names})
    heads.wait()
    if heads.rank:
        return None
    parts = [load_tensors(file(rank)) for rank in range(heads.world)]
    whole = {name: torch.cat([p[name] for p in parts]) for name in names}
    for rank in range(heads.world):
        file(rank).unlink()
    return replace(part, **whole)


# --- what a run folder records -------------------------------------------------------------------


def as_recorded(dials: Any) -> dict[str, Any]:
    """Dials as JSON gives them back."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(dials).items()}


def is_finished(folder: Path, dials: Any) -> bool:
    """Whether a folder holds the finished run of these dials.

    Dials that a recorded run does not have came later: it was trained with what they mean unless
    set.

    Raises:
        InvalidValue: it holds another run.
    """
    if not (folder / "provenance.json").exists():
        return False
    recorded = read_run(folder).config["training"]
    if not recorded.keys() <= {f.name for f in dataclasses.fields(dials)}:
        raise InvalidValue(
            f"{folder} holds a run that was not trained here; train into another store with "
            "--store, or change a dial with --set"
        )
    defaults = {f.name: f.default for f in dataclasses.fields(dials)}
    return {**defaults, **recorded} == as_recorded(dials)


def write_config(
    folder: Path, run: str, dials: Any, snapshots: Snapshots, settings: dict[str, Any],
    preprocess: str, kind: str, more: dict[str, Any] | None = None,
) -> None:
    """Write `config.json` (crosscoder-method section 5.3)."""
    write_json(folder / "config.json", {
        "run": run, "model": snapshots.label, "model_name": snapshots.model_name,
        "matrix": snapshots.matrix, "kind": kind, "steps": list(snapshots.steps),
        "seed": dials.seed, "config": settings, "training": as_recorded(dials),
        "input_preprocess": preprocess, **(more or {}),
    })


def finish(
    folder: Path, snapshots: Snapshots, seed: int, seconds: float, measured: Any,
    device: torch.device,
) -> None:
    """Record what was measured on the weights as written, and where they came from."""
    metrics = {
        k: v.tolist() if isinstance(v, Tensor) else v
        for k, v in dataclasses.asdict(measured).items()
    }
    write_json(folder / "metrics.json", metrics | {"seconds": round(seconds, 1)})
    write_json(folder / "provenance.json", {
        "inputs": {p.relative_to(snapshots.store).as_posix(): sha256(p) for p in snapshots.paths},
        "weights": sha256(folder / DICTIONARY),
        "versions": {p: version(p) for p in VERSIONS},
        "python": platform.python_version(),
        "seed": seed, "seconds": round(seconds, 1), "threads": torch.get_num_threads(),
        "device": device.type, "created": datetime.now(UTC).isoformat(timespec="seconds"),
    })
