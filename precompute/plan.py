"""What `build` would do for a run, told beforehand: fetched, computed, bytes, memory, minutes.

The time model is a count of floating-point operations over an assumed speed; it is stated with
every plan and is right to a factor of about two.
"""

import os
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from atlas.artifacts import RunFolder, snapshot_path
from atlas.errors import NotFound
from atlas.places import DEMO, model_path
from atlas.tensor_files import load_tensors, sha256
from precompute.inventory import HUB, Released
from precompute.kept import current_file, input_files, run_folder
from precompute.locate import Located
from precompute.stages import STAGES
from trainer.crosscoder import CrosscoderRecipe
from trainer.language_model import LanguageModelRecipe
from trainer.recipes import Recipe

CPU_SPEED = 40e9
"""Operations a second of one CPU core, assumed: float32 products of this size reach 50 to 80."""
OVERHEAD = 3.0
"""Seconds of a stage that no product explains: files, sorting, kinds of tokens."""
UNION = 1.4
"""Entries of the code per row, over the mean number that fires at one snapshot, assumed."""
ENTRY_BYTES = 12
"""Token, feature and p of an entry of the code in memory."""


@dataclass(frozen=True)
class Item:
    """A file that is needed."""

    name: str
    bytes: int | None
    """None where it is not known before fetching."""
    here: bool


@dataclass(frozen=True)
class Stage:
    """A piece of work."""

    name: str
    done: bool
    flops: float

    @property
    def seconds(self) -> float:
        """Assumed time on this machine's CPU; 0 when it is done."""
        return 0.0 if self.done else OVERHEAD + self.flops / (CPU_SPEED * cores())


@dataclass(frozen=True)
class Plan:
    """What building one run takes."""

    run: str
    store: Path
    items: tuple[Item, ...]
    stages: tuple[Stage, ...]
    disk_bytes: int
    """What the stages and the run's file will take, roughly."""
    memory_bytes: int
    """Peak memory, roughly."""
    note: str | None = None

    @property
    def fetch_bytes(self) -> int:
        """Bytes of the items that are not here, as far as known."""
        return sum(item.bytes or 0 for item in self.items if not item.here)

    @property
    def minutes(self) -> float:
        """Assumed time of the stages that are not done."""
        return sum(stage.seconds for stage in self.stages) / 60


@dataclass(frozen=True)
class Shape:
    """The numbers that decide the cost of a dictionary."""

    snapshots: int
    rows: int
    d_model: int
    d_sae: int
    l0: float

    @property
    def entries(self) -> float:
        """Entries of the code, assumed."""
        return self.rows * self.l0 * (UNION if self.snapshots > 1 else 1)

    @property
    def product(self) -> float:
        """Operations of one product of all rows with all features at all snapshots."""
        return 2.0 * self.rows * self.snapshots * self.d_model * self.d_sae

    def stage_flops(self, name: str) -> float:
        """Operations of a stage of `precompute.stages`."""
        if name == "encode":
            return self.product + 2.0 * self.entries * self.snapshots * self.d_model
        if name == "summarise":
            return 2.0 * self.d_sae**2 * self.d_model
        return self.product if name == "tokens" else 0.0

    @property
    def disk_bytes(self) -> int:
        """Stage arrays and run file: the code twice over, promoted tokens, lives."""
        promoted = 16 * 20 * self.snapshots * self.d_sae
        return int(3 * ENTRY_BYTES * self.entries + 2 * promoted + 32 * self.snapshots * self.d_sae)

    @property
    def memory_bytes(self) -> int:
        """Rows raw and standardised, the dictionary, the code and one batch."""
        rows = 8 * self.snapshots * self.rows * self.d_model
        weights = 8 * self.snapshots * self.d_model * self.d_sae
        return int(rows + weights + 3 * ENTRY_BYTES * self.entries + 3 * 4 * 1024 * self.d_sae)


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def assumptions() -> str:
    """The time model in one line."""
    return (
        f"time: operations / ({cores()} cores x {CPU_SPEED / 1e9:.0f} GFLOP/s) "
        f"+ {OVERHEAD:.0f} s a stage, assumed; right to a factor of about two"
    )


# --- a run that is here --------------------------------------------------------------------------


def plan_run(located: Located) -> Plan:
    """The plan of a run whose folder is in a store."""
    folder = run_folder(located.store, located.run)
    shape = _shape_of(located.store, folder)
    up_to_date = _is_current(located.store, folder)
    stages = tuple(
        Stage(name, up_to_date or _is_kept(folder.path, name), shape.stage_flops(name))
        for name in STAGES
    )
    if not up_to_date:
        stages = (*stages[:-1], replace(stages[-1], done=False))
    return Plan(
        run=located.run,
        store=located.store,
        items=tuple(
            Item(p.name, p.stat().st_size, True) for p in input_files(located.store, folder)
        ),
        stages=stages,
        disk_bytes=0 if up_to_date else shape.disk_bytes,
        memory_bytes=0 if up_to_date else shape.memory_bytes,
        note="up to date; build would only publish it again" if up_to_date else None,
    )


def _shape_of(store: Path, folder: RunFolder) -> Shape:
    settings = folder.config["config"]
    n = len(folder.steps)
    l0 = folder.metrics.get("l0") or settings.get("k") or settings["d_sae"] / 20
    rows = _n_rows(store, folder.config["model_name"], folder.steps[-1], folder.config["matrix"])
    return Shape(n, rows, settings["d_model"], settings["d_sae"], float(l0))


def _n_rows(store: Path, model_name: str, step: int, matrix: str) -> int:
    path = snapshot_path(store, model_name, step, matrix)
    return next(iter(load_tensors(path, [matrix]).values())).shape[0]


def _is_current(store: Path, folder: RunFolder) -> bool:
    hashes = {f.relative_to(store).as_posix(): sha256(f) for f in input_files(store, folder)}
    return current_file(folder.path, hashes) is not None


def _is_kept(folder: Path, stage: str) -> bool:
    return (folder / "stages" / stage / "manifest.json").is_file()


# --- a run that would be trained -----------------------------------------------------------------


def plan_training(recipe: Recipe, store: Path) -> Plan:
    """The plan of a run that is not here but has a recipe."""
    dials = recipe.dials
    if isinstance(dials, LanguageModelRecipe):
        return Plan(recipe.name, store, (), (Stage("pretrain", False, _pretrain_flops(dials)),),
                    disk_bytes=0, memory_bytes=int(1e9))
    model = _snapshots_of(store if model_path(store, dials.model).is_dir() else DEMO, dials.model)
    crosscoder = isinstance(dials, CrosscoderRecipe)
    n = len(model.steps) if crosscoder else 1
    l0 = 40.0 if crosscoder else float(dials.k)
    shape = Shape(n, model.rows, model.d_model, dials.d_sae, l0)
    passes = dials.epochs if crosscoder else dials.steps * dials.batch / model.rows
    work = 6 * shape.product * passes if crosscoder else 3 * shape.product * passes
    stages = (Stage("train", False, work),
              *(Stage(name, False, shape.stage_flops(name)) for name in STAGES))
    return Plan(recipe.name, store, (), stages, shape.disk_bytes, 3 * shape.memory_bytes,
                "not here: build trains it first")


@dataclass(frozen=True)
class _Snapshots:
    steps: list[int]
    rows: int
    d_model: int


def _snapshots_of(store: Path, label: str) -> _Snapshots:
    name = f"readout-atlas/{label}"
    paths = sorted((store / "snapshots").glob(f"{name.replace('/', '_')}_step*_wu.safetensors"))
    if not paths or not model_path(store, label).is_dir():
        raise NotFound(
            f"{store} holds no language model {label}; train it with "
            f"`readout-atlas train models/{label} --store {shlex.quote(str(store))}`"
        )
    rows, d_model = next(iter(load_tensors(paths[0]).values())).shape
    return _Snapshots([int(p.name.split("_step")[1].split("_")[0]) for p in paths], rows, d_model)


def _pretrain_flops(dials: LanguageModelRecipe) -> float:
    """6 operations per weight and token, of body and head."""
    weights = 12 * dials.layers * dials.hidden_size**2 + dials.vocabulary * dials.hidden_size
    return 6.0 * weights * dials.steps * dials.batch * dials.context


# --- a released dictionary -----------------------------------------------------------------------


def plan_released(entry: Released, store: Path) -> Plan:
    """The plan of a released dictionary that is not here; sizes by formula."""
    n = entry.n_snapshots
    items = (
        Item(f"dictionary from {HUB['prism' if entry.kind == 'prism' else 'trajectory']}",
             entry.dictionary_bytes, False),
        Item(f"{n} snapshots of {entry.matrix} of {entry.model_name}", entry.snapshot_bytes, False),
    )
    rows = entry.rows or 150_000
    shape = Shape(n, rows, entry.d_model, entry.d_sae, entry.l0 or float(entry.k or 256))
    stages = tuple(Stage(name, False, shape.stage_flops(name)) for name in STAGES)
    guess = "" if entry.rows else " The vocabulary is not in the inventory; 150,000 rows assumed."
    return Plan(
        entry.run, store, items, stages, shape.disk_bytes, shape.memory_bytes,
        f"Fetching is not part of this version: {how_to_supply(entry, store)}.{guess}",
    )


def how_to_supply(entry: Released, store: Path) -> str:
    """What a person can do today for a released dictionary."""
    return (
        f"put its run folder at {store / 'runs' / entry.run} and its snapshots and tokenizer into "
        f"{store}, then `readout-atlas build {entry.run} --store {shlex.quote(str(store))}`"
    )


def total(plans: Iterable[Plan]) -> tuple[int, int, float]:
    """(disk bytes, peak memory, minutes) of plans done one after the other."""
    plans = list(plans)
    return (
        sum(p.disk_bytes for p in plans),
        max((p.memory_bytes for p in plans), default=0),
        sum(p.minutes for p in plans),
    )
