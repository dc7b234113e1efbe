"""From a run folder to the run's file in the store, in four stages that survive being killed.

encode (one pass over the rows: the sparse code, rates at every snapshot, fidelity), summarise
(lives, profiles, neighbours, population), tokens (promoted tokens, index, kinds), write (the
DuckDB file). A stage stages its output, renames it into place and records the hashes of what it
read; one that is there and whole is not done again.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atlas.artifacts import RunFolder, load_snapshot, read_crosscoder, read_prism, snapshot_path
from atlas.errors import BrokenArtifact
from atlas.places import run_path
from atlas.schema import RUN_TABLES, SCHEMA
from precompute import derive, tables
from precompute.kept import (
    CODE,
    Report,
    canonical,
    current_file,
    input_hashes,
    point_to,
    run_folder,
    silent,
    staged,
)
from precompute.safety import space_watch, sweep, writer_lock
from precompute.words import Words, allowed_tensor, kinds_of_features, read_words
from precompute.writer import duckdb_version, write_file

STAGES = ("encode", "summarise", "tokens", "write")
"""Names of the stages in order."""
FILE_STEM = "atlas"
"""How the name of a run's file starts."""


@dataclass(frozen=True)
class Precomputed:
    """What a call of `precompute_run` left behind."""

    run: str
    file: Path
    """The run's file in the store."""
    digest: str
    """Digest of everything derived from the run."""
    done: tuple[str, ...]
    """Stages that had to be done; empty when the run was up to date."""
    seconds: float


def precompute_run(
    store: Path, run: str, force: bool = False, report: Report | None = None
) -> Precomputed:
    """Derive everything the pages show of a run and write its file beside the run folder.

    A second call finds the same inputs and does nothing; `force` does all stages again. The
    store shows the run once `precompute.publish.publish` has listed it.

    Args:
        store: the store directory, with `snapshots/` and `models/` in it.
        run: run id; the folder is `runs/<run>`.
        report: called with a line per step.

    Raises:
        NotFound, BrokenArtifact, InvalidValue: an input is missing, damaged or impossible.
        StoreBusy: another process writes this run. NoSpace: the disk is full.
    """
    report = report or silent
    began = time.monotonic()
    folder = run_folder(store, run)
    with writer_lock(folder.path, f"run {run}"), space_watch(folder.path):
        sweep(folder.path)
        sweep(folder.path / "stages")
        if force:
            clean_stages(store, run)
        inputs = input_hashes(store, folder)
        ready = None if force else current_file(folder.path, inputs)
        if ready is not None:
            report(f"{run}: up to date, nothing to do")
            return Precomputed(run, *ready, (), time.monotonic() - began)
        return _build(store, folder, inputs, report, began)


def _build(
    store: Path, folder: RunFolder, inputs: dict[str, str], report: Report, began: float
) -> Precomputed:
    done: list[str] = []
    words = read_words(store, folder.config["model"])

    def stage(
        name: str, reads: dict[str, str], work: Callable[[], derive.Arrays]
    ) -> derive.Arrays:
        arrays, fresh = staged(folder.path, name, reads, work, report)
        done.extend([name] if fresh else [])
        return arrays

    weights = {name: value for name, value in inputs.items()
               if name.startswith("snapshots/")
               or name.endswith(("/config.json", "/dictionary.safetensors"))}
    encoded = stage("encode", weights, lambda: _encode(store, folder, words, report))
    lives = stage("summarise", weights, lambda: _summarise(folder, encoded))
    told = {name: value for name, value in inputs.items()
            if not name.endswith(("/metrics.json", "/provenance.json"))}
    tokens = stage("tokens", told, lambda: _tokens(store, folder, words, encoded, report))
    meta = _meta(folder, inputs, encoded, lives, tokens)
    rows = tables.run_rows(meta, folder.steps, encoded, lives, tokens)
    volatile = {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "seconds": f"{time.monotonic() - began:.1f}"}
    path, digest = write_file(folder.path, FILE_STEM, RUN_TABLES, rows, volatile)
    point_to(folder.path, path, digest)
    report(f"write: {path.name}, {path.stat().st_size / 1e6:.2f} MB")
    return Precomputed(folder.run, path, digest, (*done, "write"), time.monotonic() - began)


def clean_stages(store: Path, run: str) -> None:
    """Remove what the stages of a run left; its file and its inputs' hashes stay in the store."""
    folder = run_path(store, run) / "stages"
    if folder.is_dir():
        shutil.rmtree(folder)


# --- the work of the stages --------------------------------------------------------------------


def _encode(store: Path, folder: RunFolder, words: Words, report: Report) -> derive.Arrays:
    name, matrix = folder.config["model_name"], folder.config["matrix"]
    if folder.kind == "prism":
        prism = read_prism(folder)
        rows = load_snapshot(store, name, folder.steps[0], matrix)
        if len(prism.row_norms) != len(rows):
            raise BrokenArtifact(
                f"{folder.weights} was fitted to {len(prism.row_norms)} rows, the snapshot has "
                f"{len(rows)}"
            )
        _check_width(folder, prism.d_model, rows)
        arrays = derive.prism_arrays(prism, rows)
    else:
        crosscoder = read_crosscoder(folder)
        rows = _snapshots(store, folder)
        _check_width(folder, crosscoder.d_model, rows)
        arrays = derive.crosscoder_arrays(crosscoder, rows)
    if words.size > rows.shape[-2]:
        raise BrokenArtifact(
            f"the tokenizer of {name} has {words.size} tokens, its {matrix} {rows.shape[-2]} rows"
        )
    n, k = len(arrays["token"]), len(folder.steps)
    report(f"encode: {n:,} entries over {rows.shape[-2]:,} rows and {k} snapshots")
    return _finite(folder, arrays)


def _snapshots(store: Path, folder: RunFolder) -> Tensor:
    name, matrix = folder.config["model_name"], folder.config["matrix"]
    rows: list[Tensor] = []
    for step in folder.steps:
        rows.append(load_snapshot(store, name, step, matrix))
        if rows[-1].shape != rows[0].shape:
            raise BrokenArtifact(
                f"{snapshot_path(store, name, step, matrix)} is {tuple(rows[-1].shape)}, that of "
                f"step {folder.steps[0]} is {tuple(rows[0].shape)}"
            )
    return torch.stack(rows)


def _check_width(folder: RunFolder, width: int, rows: Tensor) -> None:
    if rows.shape[-1] != width:
        raise BrokenArtifact(
            f"{folder.weights} reads rows of width {width}, the snapshots of "
            f"{folder.config['model_name']} have {rows.shape[-1]}"
        )


def _finite(folder: RunFolder, arrays: derive.Arrays) -> derive.Arrays:
    for name in ("p", "rates", "residual"):
        if not np.isfinite(arrays[name]).all():
            raise BrokenArtifact(f"{folder.weights} gives values of {name} that are not finite")
    return arrays


def _directions(folder: RunFolder) -> Tensor:
    """Directions (K, D, d); those of a prism have length 1 and one snapshot."""
    if folder.kind == "prism":
        return read_prism(folder).decoder[None]
    return read_crosscoder(folder).W_D


def _summarise(folder: RunFolder, encoded: derive.Arrays) -> derive.Arrays:
    return derive.life_arrays(encoded, _directions(folder), folder.steps)


def _tokens(
    store: Path, folder: RunFolder, words: Words, encoded: derive.Arrays, report: Report
) -> derive.Arrays:
    directions = _directions(folder)
    n_rows = int(encoded["size"][0])
    min_count = int(folder.config["training"].get("min_count") or 0)
    allowed = allowed_tensor(words, n_rows, min_count)

    def matrices() -> Iterator[tuple[Tensor, Tensor]]:
        for k, step in enumerate(folder.steps):
            rows = load_snapshot(store, folder.config["model_name"], step, folder.config["matrix"])
            yield rows, directions[k]

    def tell(k: int) -> None:
        report(f"tokens: snapshot {k + 1} of {len(folder.steps)}")

    arrays = derive.promoted_arrays(matrices(), allowed, tell)
    known = ~np.isnan(arrays["promoted_cosines"][:, :, 0])
    index = derive.token_index(arrays["promoted"], known)
    arrays |= {f"index_{name}": values for name, values in index.items()}
    arrays["fitted"] = allowed.numpy()
    report("tokens: kinds")
    return arrays | kinds_of_features(derive.code_of(encoded), words, min_count)


def _meta(
    folder: RunFolder, inputs: dict[str, str], encoded: derive.Arrays, lives: derive.Arrays,
    tokens: derive.Arrays,
) -> dict[str, str]:
    rates, alive = encoded["rates"], lives["alive"]
    return {
        "run": folder.run,
        "schema": str(SCHEMA),
        "code": str(CODE),
        "duckdb": duckdb_version(),
        "inputs": canonical(inputs),
        "config": canonical(folder.config),
        "metrics": canonical(folder.metrics),
        "provenance": canonical(folder.provenance),
        "n_rows": str(int(encoded["size"][0])),
        "n_alive": str(int(alive.sum())),
        "measured": canonical({
            "explained_variance": float(1 - encoded["residual"].sum() / encoded["total"].sum()),
            "l0": float(rates.sum() / len(rates)),
            "dead_rate": float(1 - alive.mean()),
        }),
        "legible_share": repr(float(tokens["legible_share"])),
        "legible_null": repr(float(tokens["legible_null"])),
    }


