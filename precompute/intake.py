"""A released dictionary becomes a run folder: recognised, scanned, linked or converted.

The folder is finished when its provenance is there, which is written last. A .safetensors file is
linked into the store unchanged; a pickled one is converted. Figures are not recomputed here:
`readout-atlas verify` does that, and it alone can see a wrong mean or a wrong model.
"""

import json
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.artifacts import GATE, LARGEST_LOG, THRESHOLD, snapshot_path
from atlas.errors import BrokenArtifact, NotFound
from atlas.places import run_path
from atlas.prism import ARCHITECTURES, NORM_FLOOR
from atlas.tensor_files import TensorFile, read_json, save_tensors, sha256, write_json
from precompute.checkpoints import CROSSCODER, PRISM, Opened, finite
from precompute.companions import keep_statistics
from precompute.fetching import place
from precompute.recognise import Recognised, agree, recognise, recognise_opened
from precompute.tables_of_rates import statistics_of

__all__ = ["Recognised", "recognise", "take_in"]

Report = Callable[[str], None]
NORMS_AGREE = 1e-2
"""Largest relative difference between recorded row norms and those of the snapshot."""


def take_in(
    store: Path, run: str, weights: Path, sidecar: Path | None, origin: dict[str, Any],
    report: Report,
) -> Path:
    """Make the run folder of a released dictionary.

    Args:
        store: a prism without `row_mean`, or fitted to some rows only, reads the W_U snapshot
            there.
        run: release path, with or without its suffix.
        weights: the .safetensors or .pt file, wherever it lies; it is left as it is.
        sidecar: its .config.json, or None.
        origin: `{repository, revision, files: {name: sha256}}`, kept in config and provenance.
        report: called with a line per step.

    Returns:
        The run folder.

    Raises:
        NotFound: a file, or the snapshot that a prism needs, is not there.
        BrokenArtifact: a file is damaged, or two of them disagree; names both sides.
        InvalidValue: the path or a setting is not read here. NoSpace: the disk is full.
    """
    found, opened = recognise_opened(run, weights, sidecar)
    folder = run_path(store, found.run)
    report(f"{found.run}: a {found.act_fn} {found.kind}, {found.n_snapshots} x {found.d_sae:,}")
    _check_snapshots(store, found)
    notes, inputs = list(found.notes), {}
    target = folder / "dictionary.safetensors"
    metrics = found.quality | {"recorded_from": found.recorded_from}
    source = _hash_of(weights, origin)
    if _is_taken_in(folder, _config(found, origin), metrics, source):
        report(f"{found.run}: taken in already")
        return folder
    as_it_is, statistics = False, None
    if found.kind == "prism":
        tensors, more, inputs = _prism_tensors(store, found, opened)
        notes += more
    else:
        _scan(opened)
        as_it_is = opened.wrapper == "safetensors" and len(opened.shapes["W_D"]) == 3
        tensors = {} if as_it_is else _crosscoder_tensors(opened)
        embedded = opened.fields.get("preprocess_stats")
        if embedded is not None:
            statistics = statistics_of(embedded, found.n_snapshots, found.d_model, str(weights))
    # everything is checked; what was taken in before is given up only now
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "provenance.json").unlink(missing_ok=True)
    if as_it_is:
        place(weights, target)
    else:
        save_tensors(target, tensors)
    if statistics is not None:
        keep_statistics(folder, *statistics)
    write_json(folder / "config.json", _config(found, origin))
    write_json(folder / "metrics.json", metrics)
    write_json(folder / "provenance.json", {
        "inputs": inputs, "weights": source if _same(weights, target) else sha256(target),
        "source": source, "origin": origin, "wrapper": found.wrapper,
        "notes": notes, "seed": found.seed, "python": platform.python_version(),
        "versions": {p: version(p) for p in ("torch", "safetensors", "numpy")},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    })
    for note in notes:
        report(f"{found.run}: {note}")
    return folder


def _hash_of(weights: Path, origin: dict[str, Any]) -> str:
    """Hash of the fetched file: what the fetch has checked, else computed here."""
    files = origin.get("files")
    named = files.items() if isinstance(files, dict) else ()
    known = next((sha for path, sha in named if Path(path).name == weights.name), None)
    return known if isinstance(known, str) and len(known) == 64 else sha256(weights)


def _same(weights: Path, target: Path) -> bool:
    return target.is_file() and target.samefile(weights.resolve())


def _is_taken_in(
    folder: Path, config: dict[str, Any], metrics: dict[str, Any], source: str
) -> bool:
    """Whether a finished folder was made from this very file and says the same of it."""
    wanted = {"config.json": config, "metrics.json": metrics}
    if not all((folder / name).is_file() for name in (*wanted, "provenance.json")):
        return False
    if not (folder / "dictionary.safetensors").is_file():
        return False
    if any(read_json(folder / name) != json.loads(json.dumps(v)) for name, v in wanted.items()):
        return False
    return read_json(folder / "provenance.json").get("source") == source


def _config(found: Recognised, origin: dict[str, Any]) -> dict[str, Any]:
    config = {
        "run": found.run, "model": found.model, "model_name": found.model_name,
        "matrix": found.matrix, "kind": found.kind, "steps": list(found.steps), "seed": found.seed,
        "config": {"act_fn": found.act_fn, "d_sae": found.d_sae, "d_model": found.d_model,
                   "k": found.k},
        "training": found.training, "family": found.family, "origin": origin,
        "input_preprocess": "center_normalise" if found.kind == "prism" else "center_scale",
    }
    return config | ({"revision": found.revision} if found.revision else {})


def _check_snapshots(store: Path, found: Recognised) -> None:
    """Snapshots that are in the store already must have the dictionary's width and rows."""
    for step in found.steps:
        path = snapshot_path(store, found.model_name, step, found.matrix)
        if path.is_file():
            shape = TensorFile(path).shape(found.matrix)
            agree("d_model", (f"the weights of {found.run}", found.d_model), (str(path), shape[-1]))
            agree("rows", (f"what is recorded of {found.run}", found.rows), (str(path), shape[0]))


# --- crosscoders -------------------------------------------------------------------------------


def _scan(opened: Opened) -> None:
    """Every value is finite and every logarithm in bounds, before anything is linked."""
    for name, shape in opened.shapes.items():
        if len(shape) == 3:  # by snapshot: half precision is copied when it is read
            for k in range(shape[0]):
                try:
                    opened.read(name, k)
                except BrokenArtifact as error:
                    raise BrokenArtifact(f"{error} of snapshot {k}") from error
            continue
        values = opened.read(name)
        if name in (THRESHOLD, GATE[1]):
            _check_logarithm(opened.path, name, values)


def _check_logarithm(path: Path, name: str, values: Tensor) -> None:
    off = (values.abs() > LARGEST_LOG).nonzero()
    if len(off):
        at = int(off[0, 0])
        raise BrokenArtifact(
            f"{path}: {name} is {float(values[at]):.4g} at feature {at}, expected a logarithm "
            f"between -{LARGEST_LOG:g} and {LARGEST_LOG:g}"
        )


def _crosscoder_tensors(opened: Opened) -> dict[str, Tensor]:
    """Tensors with K first; a plain SAE may have left the axis out."""
    flat = len(opened.shapes["W_D"]) == 2
    return {
        name: opened.read(name).unsqueeze(0) if flat and name in CROSSCODER else opened.read(name)
        for name in opened.shapes
    }


# --- prisms ------------------------------------------------------------------------------------


def _prism_tensors(
    store: Path, found: Recognised, opened: Opened
) -> tuple[dict[str, Tensor], list[str], dict[str, str]]:
    """Tensors of the run folder, notes, and the hashes of what was read for the mean."""
    own = ARCHITECTURES[found.act_fn]
    tensors = {name: opened.read(name) for name in (*PRISM, *own)}
    for name in own:
        if name.startswith("log_"):
            _check_logarithm(opened.path, name, tensors[name])
    threshold = tensors.get("activation_threshold")
    if threshold is not None and float(threshold) < 0:
        raise BrokenArtifact(f"{opened.path}: activation_threshold is {float(threshold):.4g}, "
                             f"expected 0 or more")
    notes, inputs = [], {}
    mean, norms, ids = (opened.rows.get(n) for n in ("row_mean", "row_norms", "row_token_ids"))
    _check_rows(opened.path, found, mean, norms, ids)
    path = snapshot_path(store, found.model_name, found.steps[0], found.matrix)
    rows = TensorFile(path).shape(found.matrix)[0] if path.is_file() else None
    everywhere = ids is None or (
        len(ids) == rows and torch.equal(ids.long(), torch.arange(len(ids)))
    )
    needed = mean is None or norms is None or not everywhere
    if needed and not path.is_file():
        raise NotFound(
            f"{path} is not there; {opened.path} has no {_lacking(mean, norms)}, which is computed "
            f"from it: fetch the snapshot first with `readout-atlas build {found.run}`"
        )
    if path.is_file():
        total, measured_mean = _row_mean(path, found)
        if mean is None:
            mean = measured_mean
            notes.append("row_mean computed from the W_U snapshot, over all its rows: the "
                         "checkpoint has none")
            inputs[path.relative_to(store).as_posix()] = sha256(path)
        measured = _row_norms(path, found, mean, total)
        if norms is not None:
            _compare_norms(opened.path, path, norms, measured, ids)
        if needed:
            norms = measured
            inputs[path.relative_to(store).as_posix()] = sha256(path)
        if not everywhere:
            notes.append(f"fitted to {len(ids)} of {total} rows; all of them are encoded here")
    assert mean is not None
    assert norms is not None
    return tensors | {"row_mean": mean.float(), "row_norms": norms.float()}, notes, inputs


def _lacking(mean: Tensor | None, norms: Tensor | None) -> str:
    return "row_mean" if mean is None else "row_norms" if norms is None else "norms of all rows"


def _check_rows(
    path: Path, found: Recognised, mean: Tensor | None, norms: Tensor | None, ids: Tensor | None
) -> None:
    if mean is not None and tuple(mean.shape) != (found.d_model,):
        raise BrokenArtifact(
            f"{path}: row_mean is {tuple(mean.shape)}, but the decoder asks for ({found.d_model},)"
        )
    for name, tensor in (("row_mean", mean), ("row_norms", norms)):
        if tensor is not None:
            finite(path, name, tensor)
    if norms is not None and (norms.ndim != 1 or not len(norms) or float(norms.min()) < 0):
        raise BrokenArtifact(f"{path}: row_norms {tuple(norms.shape)} are no lengths of rows")
    if ids is None:
        return
    whole = not ids.is_floating_point() and ids.ndim == 1 and len(ids)
    if norms is None or not whole or len(ids) != len(norms) or len(ids.unique()) != len(ids):
        raise BrokenArtifact(
            f"{path}: row_token_ids {tuple(ids.shape)} do not name the rows of row_norms "
            f"{None if norms is None else tuple(norms.shape)}, each once"
        )
    if int(ids.min()) < 0:
        raise BrokenArtifact(f"{path}: row_token_ids holds {int(ids.min())}")


def _row_mean(path: Path, found: Recognised) -> tuple[int, Tensor]:
    """Number of rows of a snapshot and their mean (d,), read in blocks."""
    file = TensorFile(path)
    rows = file.shape(found.matrix)[0]
    total = torch.zeros(found.d_model, dtype=torch.float64)
    for _, block in file.blocks(found.matrix):
        total += block.double().sum(dim=0)
    return rows, (total / rows).float()


def _row_norms(path: Path, found: Recognised, mean: Tensor, rows: int) -> Tensor:
    norms = torch.empty(rows)
    for first, block in TensorFile(path).blocks(found.matrix):
        norms[first : first + len(block)] = (block - mean).norm(dim=1).clamp(min=NORM_FLOOR)
    return norms


def _compare_norms(
    path: Path, snapshot: Path, recorded: Tensor, measured: Tensor, ids: Tensor | None
) -> None:
    """Recorded norms must be those of the snapshot's rows: a wrong model or mean shows here."""
    places = torch.arange(len(recorded)) if ids is None else ids.long()
    if len(measured) <= int(places.max()) or (ids is None and len(measured) != len(recorded)):
        raise BrokenArtifact(
            f"{path} has norms of {len(recorded)} rows up to row {int(places.max())}, but "
            f"{snapshot} has {len(measured)} rows"
        )
    off = (measured[places] - recorded).abs() / recorded.clamp(min=NORM_FLOOR)
    worst = int(np.argmax(off.numpy()))
    if float(off[worst]) > NORMS_AGREE:
        row = int(places[worst])
        raise BrokenArtifact(
            f"row {row}: {path} records a norm of {float(recorded[worst]):.5g}, but {snapshot} "
            f"with its mean gives {float(measured[row]):.5g}; the model or revision is another"
        )
