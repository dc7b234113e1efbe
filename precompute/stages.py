"""From a run folder to the run's file in the store, in stages that survive being killed.

measure (moments of the rows, lengths and turns of directions), encode (one pass over the rows: the
sparse code, fidelity), promote (tokens along each direction), neighbours (features along each
direction), summarise (rates, lives, similarities, map, population), dense (the matrix without a
dictionary), tokens (index, kinds and labels), examples (places of a text, if there is a model to
read one), fidelity (rows, text and query bank against baselines and nulls), gallery (prompts taken
apart), write (the DuckDB file). The first four are lists of parts (`precompute.parts`) that
several processes may share; whoever finds all of them there does the rest. A call that finds
everything there does nothing.
"""

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlas.artifacts import RunFolder
from atlas.errors import BrokenArtifact, InvalidValue, StoreBusy
from atlas.places import run_path
from atlas.schema import RUN_TABLES, SCHEMA
from atlas.tensor_files import sha256
from precompute import directions, passes, summaries, tables
from precompute.by_feature import lay_out
from precompute.dense import dense
from precompute.derive import Arrays, code_of
from precompute.examples import example_rows, examples
from precompute.held_out import held_out, held_out_files
from precompute.kept import (
    CODE,
    Report,
    canonical,
    current_file,
    input_hashes,
    needed_files,
    point_to,
    run_folder,
    silent,
)
from precompute.parts import Parts, every, process_name, share_of
from precompute.reader import Reading, example_files
from precompute.safety import join_crew, space_watch, sweep, writer_lock
from precompute.sources import Dictionary, Snapshots, Source, open_dictionary
from precompute.statistics import change_columns, feature_labels, window_statistics
from precompute.trial import Trial, gallery_files, named, trial_files
from precompute.trust_tables import trust_rows
from precompute.trying import Trying
from precompute.turnover import mean_similarity, pair_arrays, read_control
from precompute.words import Words, allowed_tensor, kinds_of_features, read_words
from precompute.writer import duckdb_version, write_file

SHARED = ("measure", "encode", "promote", "neighbours")
"""Stages whose parts several processes share, in order."""
STAGES = (*SHARED, "summarise", "dense", "tokens", "examples", "fidelity", "gallery", "write")
"""Names of the stages in order."""
FILE_STEM = "atlas"
"""How the name of a run's file starts."""


@dataclass(frozen=True)
class Precomputed:
    """What a call of `precompute_run` left behind."""

    run: str
    file: Path | None
    """The run's file in the store; None if other processes have parts of it still to do."""
    digest: str | None
    """Digest of everything derived from the run; None without a file."""
    done: tuple[str, ...]
    """Stages that had to be done; empty when the run was up to date."""
    seconds: float


def precompute_run(
    store: Path, run: str, force: bool = False, report: Report | None = None,
    device: str = "cpu", rank: int = 0, world_size: int = 1,
) -> Precomputed:
    """Derive everything the pages show of a run and write its file beside the run folder.

    A second call finds the same inputs and does nothing; `force` does all stages again. The
    store shows the run once `precompute.publish.publish` has listed it.

    Args:
        store: the store directory, with `snapshots/` and `models/` in it.
        run: run id; the folder is `runs/<run>`.
        report: called with a line per step.
        device: what torch calls the device of the products: `cpu`, `cuda`, `cuda:N`.
        rank, world_size: which of how many processes this is; they share the store folder, on
            one machine or several. Each does every world_size-th part, and the one that finds all
            parts there writes the file, equal to what one process would write.

    Raises:
        NotFound, BrokenArtifact, InvalidValue: an input is missing, damaged or impossible, or
        the other processes work with another kind of device or other inputs.
        StoreBusy: another process writes this run. NoSpace: the disk is full. OutOfMemory: the
        device is too small, also for the smallest block.
    """
    report = report or silent
    began = time.monotonic()
    _check_crew(force, rank, world_size)
    folder = run_folder(store, run)
    with (
        writer_lock(folder.path, f"run {run}", crew=world_size),
        space_watch(folder.path),
    ):
        _sweep(folder.path, world_size)
        if force:
            clean_stages(store, run)
        inputs = input_hashes(store, folder, process_name(rank))
        ready = None if force else current_file(folder.path, inputs)
        if ready is not None:
            if world_size > 1 or not lay_out(folder, report):
                report(f"{run}: up to date, nothing to do")
            return Precomputed(run, *ready, (), time.monotonic() - began)
        if world_size > 1:
            join_crew(folder.path, f"run {run}", {
                "device": torch.device(device).type, "code": CODE, "world_size": world_size,
                "inputs": inputs,
            })
        build = _Build(store, folder, inputs, torch.device(device), report)
        build.share(rank, world_size)
        path, digest = build.finish(world_size) or (None, None)
        done = tuple(name for name in STAGES if name in build.done)
        return Precomputed(run, path, digest, done, time.monotonic() - began)


def _check_crew(force: bool, rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise InvalidValue(f"rank {rank} of {world_size} processes: ranks go from 0")
    if force and world_size > 1:
        raise InvalidValue(
            "--force throws away parts that other processes may be doing; leave it out, or leave "
            "--rank and --world-size out"
        )


def _sweep(folder: Path, crew: int) -> None:
    sweep(folder, crew)
    for stage in STAGES[:-1]:
        sweep(folder / "stages" / stage / "parts", crew)


def clean_stages(store: Path, run: str) -> None:
    """Remove what the stages of a run left; its file and its inputs' hashes stay in the store."""
    folder = run_path(store, run) / "stages"
    if folder.is_dir():
        shutil.rmtree(folder)


class _Build:
    """One call: the inputs, the stages' parts, and what this process did of them."""

    def __init__(
        self, store: Path, folder: RunFolder, inputs: dict[str, str], device: torch.device,
        report: Report,
    ) -> None:
        self.store, self.folder, self.inputs = store, folder, inputs
        self.device, self.report = device, report
        self.done: set[str] = set()
        self.words: Words = read_words(store, folder.config["model"])
        self.snapshots = Snapshots(store, folder)
        self.source: Source = open_dictionary(folder, self.snapshots)
        if self.words.size > self.snapshots.n_rows:
            raise BrokenArtifact(
                f"the tokenizer of {folder.config['model_name']} has {self.words.size} tokens, its "
                f"{folder.config['matrix']} {self.snapshots.n_rows} rows"
            )
        self.min_count = int(folder.config["training"].get("min_count") or 0)
        self.reading = Reading(store, folder, device)
        self.trial = Trial(store, folder, device, self.words.size)
        self.control = read_control(folder)
        self.held_out = {step: sha256(file) for step, file in held_out_files(store, folder).items()}
        self.parts = self._parts(store)

    def _parts(self, store: Path) -> dict[str, Parts]:
        """The parts of every stage but the last, and what they are made from."""
        def hashes(files: list[Path]) -> dict[str, str]:
            names = (named(store, file) for file in files)
            # what another kind of device gives differs in the last bits
            return {"device": self.device.type} | {
                name: self.inputs[name] for name in names if name in self.inputs
            }

        needed = needed_files(store, self.folder)
        weights = hashes([
            f for f in needed if f.parent == store / "snapshots"
            or f.name in ("config.json", "dictionary.safetensors")
        ])
        told = hashes([f for f in needed if f.name not in ("metrics.json", "provenance.json")])
        read = hashes([
            *(f for f in needed if f.name in ("config.json", "dictionary.safetensors",
                                              "tokenizer.json")),
            *example_files(store, self.folder),
        ]) | {"reason": self.reading.reason or ""}
        reason = {"reason": self.trial.reason or ""}
        count, path = len(self.folder.steps), self.folder.path
        blocks = -(-self.snapshots.n_rows // self._block_rows)
        return {
            "measure": Parts(path, "measure", count, weights, "snapshot"),
            "encode": Parts(path, "encode", blocks, weights, "block"),
            "promote": Parts(path, "promote", count, told, "snapshot"),
            "neighbours": Parts(path, "neighbours", count, weights, "snapshot"),
            "summarise": Parts(path, "summarise", 1, weights),
            "dense": Parts(path, "dense", 1, weights | {
                f"held out {step}": digest for step, digest in self.held_out.items()
            }),
            "tokens": Parts(path, "tokens", 1, told),
            "examples": Parts(path, "examples", 1, read),
            "fidelity": Parts(path, "fidelity", 1, told | hashes(
                trial_files(store, self.folder)) | reason),
            "gallery": Parts(path, "gallery", 1, weights | hashes(
                gallery_files(store, self.folder)) | reason),
        }

    @cached_property
    def _block_rows(self) -> int:
        return passes.block_rows(self.source, self.snapshots)

    # the parts that processes share

    def share(self, rank: int, world_size: int) -> None:
        """Do this process's share of the parts."""
        mine = every if world_size == 1 else share_of(rank, world_size)
        self._do("measure", self._measure, mine)
        if world_size > 1:  # all moments are needed now, and done sooner than waited for
            self._do("measure", self._measure, every)
        self._do("encode", self._encode, mine)
        self._do("promote", self._promote, mine)
        self._do("neighbours", self._near, mine)

    def _do(
        self, stage: str, work: Callable[[int], Arrays], mine: Callable[[int], bool]
    ) -> None:
        if self.parts[stage].do(work, self.report, mine):
            self.done.add(stage)

    @cached_property
    def _measured(self) -> list[Arrays]:
        return self.parts["measure"].read_all()

    @cached_property
    def _encoding(self) -> passes.Encoding:
        names = [n for n in ("mean", "scale", "norms") if n in self._measured[0]]
        moments = {name: np.stack([part[name] for part in self._measured]) for name in names}
        return passes.Encoding(self.source, self.snapshots, moments, self.device)

    def _measure(self, part: int) -> Arrays:
        return passes.measure(self.source, self.snapshots, part)

    def _encode(self, part: int) -> Arrays:
        start = part * self._block_rows
        stop = min(start + self._block_rows, self.snapshots.n_rows)
        arrays = self._encoding.block(start, stop)
        for name in ("p", "residual"):
            if not np.isfinite(arrays[name]).all():
                raise BrokenArtifact(
                    f"{self.folder.weights} gives values of {name} that are not finite"
                )
        return arrays

    def _promote(self, part: int) -> Arrays:
        allowed = allowed_tensor(self.words, self.snapshots.n_rows, self.min_count)
        return passes.promote(
            self.source, self.snapshots, part, self._measured[part]["mean"], allowed, self.device
        )

    def _near(self, part: int) -> Arrays:
        return directions.nearest(self.source, part, self.device)

    # what one process does, once all parts are there

    def finish(self, world_size: int) -> tuple[Path, str] | None:
        """Put the parts together and write the file; None if it is for another process to do."""
        self.__dict__.pop("_encoding", None)
        if world_size == 1:
            return self._write()
        missing = {name: self.parts[name].missing() for name in SHARED}
        if any(missing.values()):
            left = ", ".join(f"{len(p)} parts of {name}" for name, p in missing.items() if p)
            self.report(
                f"{self.folder.run}: left to other processes: {left}{self._strange(missing)}"
            )
            return None
        try:
            with writer_lock(self.folder.path / "stages", f"the file of {self.folder.run}"):
                ready = current_file(self.folder.path, self.inputs)
                return ready or self._write()
        except StoreBusy as error:
            self.report(str(error))
            return None

    def _strange(self, missing: dict[str, list[int]]) -> str:
        """What to say of parts that are there and do not fit those of this process."""
        strange = sum(self.parts[name].differs(p) for name, parts in missing.items() for p in parts)
        if not strange:
            return ""
        return (
            f"; {strange} of them are there, made on another device than {self.device.type} or "
            f"from other inputs: start all processes with the same --device"
        )

    def _write(self) -> tuple[Path, str]:
        began = time.monotonic()
        encoded = self._encoded()
        self._do("summarise", lambda _: self._summarise(encoded), every)
        lives = self.parts["summarise"].read(0)
        encoded["rates"] = lives.pop("rates")
        self._do("dense", lambda _: self._dense(), every)
        lives |= self.parts["dense"].read(0) | self.control
        self._do("tokens", lambda _: self._tokens(encoded), every)
        tokens = self.parts["tokens"].read(0)
        self._do("examples", lambda _: self._examples(), every)
        found = self.parts["examples"].read(0)
        tried, shown = self._trials(encoded)
        lives |= directions.nearest_at(self.parts["neighbours"].read_all())
        meta = self._meta(encoded, lives, tokens) | {
            "examples": str(found["told"]), "fidelity": str(tried["told"]),
            "gallery": str(shown["told"]),
        }
        rows = tables.run_rows(meta, self.folder.steps, encoded, lives, tokens)
        rows |= example_rows(found, lives["alive"]) | trust_rows(tried, shown)
        volatile = {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                    "seconds": f"{time.monotonic() - began:.1f}"}
        path, digest = write_file(self.folder.path, FILE_STEM, RUN_TABLES, rows, volatile)
        lay_out(self.folder, self.report)
        point_to(self.folder.path, path, digest)
        self.done.add("write")
        self.report(f"write: {path.name}, {path.stat().st_size / 1e6:.2f} MB")
        return path, digest

    def _encoded(self) -> Arrays:
        gate = self.source.threshold.numpy() if isinstance(self.source, Dictionary) else None
        return summaries.encoded_arrays(
            self._measured, self.parts["encode"].read_all(), gate, self.source.n_features
        )

    def _summarise(self, encoded: Arrays) -> Arrays:
        near = self.parts["neighbours"].read(len(self.folder.steps) - 1)
        run, steps, norms = self.folder.run, self.folder.steps, encoded["norms"]
        lives = summaries.life_arrays(encoded, near, self.source.d_model, steps)
        lives |= change_columns(norms, steps) | window_statistics(run, steps, norms, lives)
        courses = (norms, lives["rates"], lives["rotation"], lives["to_terminal"])
        similarity = directions.similarities(self.source, self.device)
        alike = mean_similarity(similarity, lives["alive"], len(steps)) if len(steps) > 1 else None
        return lives | pair_arrays(*courses) | {"similarity": similarity} | (
            {} if alike is None else {"feature_similarity": alike}
        )

    def _dense(self) -> Arrays:
        steps = self.folder.steps
        mean, scale = (np.stack([part[name] for part in self._measured])
                       for name in ("mean", "scale"))
        return dense(self.snapshots, steps, mean, scale, self.device) | held_out(
            self.store, self.folder, self.source, self.snapshots, mean, scale, self.held_out
        )

    def _tokens(self, encoded: Arrays) -> Arrays:
        arrays = summaries.promoted_arrays(self.parts["promote"].read_all())
        allowed = allowed_tensor(self.words, self.snapshots.n_rows, self.min_count)
        arrays["fitted"] = allowed.numpy()
        self.report("tokens: kinds")
        code = code_of(encoded)
        return (arrays | kinds_of_features(code, self.words, self.min_count)
                | feature_labels(code, self.words, self.min_count))

    def _examples(self) -> Arrays:
        last = self.source.directions(len(self.folder.steps) - 1)
        return examples(self.reading, last, self.report)

    def _trials(self, encoded: Arrays) -> tuple[Arrays, Arrays]:
        trying = Trying(self.trial, self.folder, self.source, self.snapshots, self._measured,
                        encoded, self.report)
        self._do("fidelity", lambda _: trying.fidelity(self.words), every)
        self._do("gallery", lambda _: trying.gallery(), every)
        return self.parts["fidelity"].read(0), self.parts["gallery"].read(0)

    def _meta(
        self, encoded: Arrays, lives: Arrays, tokens: Arrays
    ) -> dict[str, str]:
        rates, alive, folder = encoded["rates"], lives["alive"], self.folder
        measured: dict[str, Any] = {
            "explained_variance": float(1 - encoded["residual"].sum() / encoded["total"].sum()),
            "l0": float(rates.sum() / len(rates)),
            "dead_rate": float(1 - alive.mean()),
        }
        return {
            "run": folder.run,
            "schema": str(SCHEMA),
            "code": str(CODE),
            "duckdb": duckdb_version(),
            "inputs": canonical(self.inputs),
            "config": canonical(folder.config),
            "metrics": canonical(folder.metrics),
            "provenance": canonical(folder.provenance),
            "n_rows": str(int(encoded["size"][0])),
            "n_alive": str(int(alive.sum())),
            "measured": canonical(measured),
            "legible_share": repr(float(tokens["legible_share"])),
            "legible_null": repr(float(tokens["legible_null"])),
        }
