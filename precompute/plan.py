"""What `build` would do for a run, told beforehand: fetched, computed, bytes, memory, minutes.

The time model is a count of operations over the speeds of one core as they were measured once; it
is stated with every plan and is right to a factor of about two.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from atlas.artifacts import RunFolder, snapshot_path
from atlas.dense import OVERSAMPLE, RANK
from atlas.schema import PROMOTED
from atlas.screening import screen_type
from atlas.tensor_files import TensorFile
from precompute.by_feature import bytes_by_feature
from precompute.derive import MAX_ENTRIES
from precompute.kept import current_file, input_files, input_hashes, run_folder
from precompute.locate import Located
from precompute.parts import done_and_all
from precompute.passes import KEEP_BYTES, block_rows_of
from precompute.reader import Reading
from precompute.stages import STAGES
from precompute.trial import TEXT
from precompute.trust import PRODUCTS, SAMPLE, STATES

CPU_SPEED = 70e9
"""Operations a second of one core in a float32 product of this size (measured: 70 to 85)."""
ROUGH_SPEED = 280e9
"""The same in bfloat16, on a core that has it (measured: 270 to 330)."""
ENTRY_SECONDS = 2.5e-7
"""Seconds of one core per entry of the code, snapshot and 768 numbers, to be computed exactly and
to be decoded (measured)."""
RANK_SECONDS = 6e-9
"""Seconds of one core to rank one cosine among those of a direction, at both ends (measured)."""
PLACE_SECONDS = 8e-9
"""Seconds of one core to pick the strongest places of a text, per place and feature (measured)."""
SUM_SECONDS = 6e-10
"""Seconds of one core per entry of the code and hidden state in a sparse sum (measured)."""
LAY_SECONDS = 3e-9
"""Seconds per byte of directions to be laid out by feature (measured)."""
OVERHEAD = 3.0
"""Seconds of a stage that grow with nothing: files, start."""
UNION = 1.6
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
    where: str = ""
    """`store`, `cache` or `mirror` where it is here; told of released runs only."""


@dataclass(frozen=True)
class Stage:
    """A piece of work."""

    name: str
    done: bool
    flops: float
    """Operations of its matrix products."""
    core_seconds: float = 0.0
    """What it takes one core beside the products."""
    rough: bool = False
    """Whether the products may be rough (`atlas.screening`)."""
    parts_done: int = 0
    """Of a stage that is a list of parts, how many are there."""
    parts: int = 1
    told: float | None = None
    """Seconds, where they are not a matter of the speeds here."""

    @property
    def seconds(self) -> float:
        """Assumed time on this machine's CPU for what is not done; 0 when all is."""
        if self.done:
            return 0.0
        if self.told is not None:
            return self.told
        speed = ROUGH_SPEED if self.rough and multiplies_roughly() else CPU_SPEED
        work = (self.flops / speed + self.core_seconds) / cores()
        return OVERHEAD + work * (1 - min(self.parts_done / max(self.parts, 1), 1))


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
    text: int = 0
    """Tokens of the evaluation text that are read, 0 where there is no text or no model."""
    reading: float = 0.0
    """Operations that reading one of them takes."""

    @property
    def entries(self) -> float:
        """Entries of the code that are kept, assumed."""
        return min(self.rows * self.l0 * (UNION if self.snapshots > 1 else 1), MAX_ENTRIES)

    @property
    def product(self) -> float:
        """Operations of one product of all rows with all features at all snapshots."""
        return 2.0 * self.rows * self.snapshots * self.d_model * self.d_sae

    @property
    def blocks(self) -> int:
        """Blocks of rows of the encode pass, of a crosscoder."""
        return -(-self.rows // block_rows_of(self.snapshots, self.d_model, self.d_sae))

    def stage_flops(self, name: str) -> float:
        """Operations of the matrix products of a stage of `precompute.stages`."""
        if name == "neighbours":
            return 2.0 * self.snapshots * self.d_sae**2 * self.d_model
        return self.product if name in ("encode", "promote") else 0.0

    def core_seconds(self, name: str) -> float:
        """Seconds of one core of a stage beside its products."""
        numbers = self.snapshots * self.d_model * 1e-9
        if name == "measure":
            return numbers * (8 * self.rows + 12 * self.d_sae)
        if name == "encode":
            reads = 6 * numbers * self.d_sae * self.blocks
            return reads + self.entries * self.snapshots * self.d_model / 768 * ENTRY_SECONDS
        if name == "promote":
            return RANK_SECONDS * self.snapshots * self.rows * self.d_sae
        if name == "neighbours":
            return RANK_SECONDS / 2 * self.snapshots * self.d_sae**2
        if name == "dense":  # in float32, as the next
            products = 2.0 * numbers * 1e9 * self.rows * (self.d_model + 4 * (RANK + OVERSAMPLE))
            return products / CPU_SPEED if self.snapshots > 1 else 0.0
        if name == "examples":  # in float32, whatever the CPU can do
            product = self.reading + 2.0 * self.d_model * self.d_sae
            return self.text * (product / CPU_SPEED + PLACE_SECONDS * self.d_sae)
        if name == "fidelity":
            return self._fidelity_seconds
        # the others use one core, whatever there is
        laid_out = LAY_SECONDS * bytes_by_feature(self.snapshots, self.d_sae, self.d_model)
        alone = {"summarise": 5e-7 * self.entries + 2.2e-3 * self.d_sae,
                 "tokens": 1e-6 * self.entries, "write": 1e-6 * self.entries + laid_out}
        return alone.get(name, 0.0) * cores()

    def stage(self, name: str, done: bool = False, parts: tuple[int, int] = (0, 1)) -> Stage:
        """A stage of this shape of which so many parts are there."""
        return Stage(name, done, self.stage_flops(name), self.core_seconds(name), True, *parts)

    @property
    def _fidelity_seconds(self) -> float:
        """Of one core: rows against baselines; with a model also text, by every snapshot."""
        rows = 2.0 * SAMPLE * self.rows * self.d_model + SAMPLE * 128**2 * (2 * self.d_model + 80)
        seconds = 1.2 * rows / CPU_SPEED + 4e-8 * self.rows * self.d_model
        if not self.text:
            return seconds
        states = min(PRODUCTS / max(self.entries, 1), STATES)
        sums = states * self.entries * (self.snapshots + 6) * SUM_SECONDS
        return seconds + sums + self.reading * 2 * TEXT / CPU_SPEED

    @property
    def disk_bytes(self) -> int:
        """Stage arrays and run file: the code three times over, promoted tokens, lives; and the
        directions laid out by feature."""
        promoted = 16 * PROMOTED * self.snapshots * self.d_sae
        stages = 3 * ENTRY_BYTES * self.entries + 2 * promoted + 64 * self.snapshots * self.d_sae
        return int(stages) + bytes_by_feature(self.snapshots, self.d_sae, self.d_model)

    @property
    def memory_bytes(self) -> int:
        """The largest of the passes and of putting them together; inputs are read in slices."""
        width = self.snapshots * self.d_model
        block = block_rows_of(self.snapshots, self.d_model, self.d_sae)
        encoder = min(2 * width * self.d_sae, KEEP_BYTES)
        encode = encoder + block * (2 * width + 2 * self.d_sae) + 5e9 / 768 * self.d_model / 8
        together = 7 * ENTRY_BYTES * self.entries + 40 * PROMOTED * self.snapshots * self.d_sae
        return int(4e8 + max(encode, together))


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def multiplies_roughly() -> bool:
    """Whether this CPU has bfloat16 products."""
    return screen_type(torch.device("cpu")) == torch.bfloat16


def assumptions() -> str:
    """The time model in one line."""
    speed = ROUGH_SPEED if multiplies_roughly() else CPU_SPEED
    kind = "bfloat16" if multiplies_roughly() else "float32"
    return (
        f"time: {cores()} cores x {speed / 1e9:.0f} GFLOP/s in {kind} products, and what was "
        f"measured beside them; right to a factor of about two on a quiet CPU"
    )


# --- a run that is here --------------------------------------------------------------------------


def plan_run(located: Located) -> Plan:
    """The plan of a run whose folder is in a store."""
    folder = run_folder(located.store, located.run)
    shape = _shape_of(located.store, folder)
    up_to_date = _is_current(located.store, folder)
    stages = tuple(_stage(shape, folder.path, name, up_to_date) for name in STAGES)
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
    reading = Reading(store, folder, torch.device("cpu"))
    return Shape(n, rows, settings["d_model"], settings["d_sae"], float(l0),
                 reading.most if reading.reason is None else 0, 2.0 * reading.parameters)


def _n_rows(store: Path, model_name: str, step: int, matrix: str) -> int:
    path = snapshot_path(store, model_name, step, matrix)
    return TensorFile(path).shape(matrix)[0]


def _is_current(store: Path, folder: RunFolder) -> bool:
    return current_file(folder.path, input_hashes(store, folder, remember=False)) is not None


def _stage(shape: Shape, folder: Path, name: str, up_to_date: bool) -> Stage:
    done, count = done_and_all(folder, name)
    return shape.stage(name, up_to_date or done >= count, (done, count))


def total(plans: Iterable[Plan]) -> tuple[int, int, float]:
    """(disk bytes, peak memory, minutes) of plans done one after the other."""
    plans = list(plans)
    return (
        sum(p.disk_bytes for p in plans),
        max((p.memory_bytes for p in plans), default=0),
        sum(p.minutes for p in plans),
    )
