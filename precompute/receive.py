"""A shared store opened again: every file hashed, every table checked, the databases written anew.

Nothing of a share is believed. Its DuckDB files are not sent at all: the tables come as Parquet,
pass the constraints of `atlas.schema` when they are inserted, and have to give the content digest
that the manifest names. Everything is made beside the store and moved into it at the end.
"""

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from atlas.artifacts import KINDS, MATRICES
from atlas.errors import AtlasError, BrokenArtifact, InvalidValue, NotFound
from atlas.places import run_path
from atlas.schema import CATALOG_TABLES, MAX_SNAPSHOTS, RUN_TABLES, SCHEMA, table
from atlas.store import POINTER, Store
from atlas.tensor_files import read_header, sha256, write_json
from precompute import manifest as manifests
from precompute import parquet
from precompute.fetching import place
from precompute.kept import Report, canonical, point_to, pointed, silent
from precompute.manifest import (
    CATALOG,
    MANIFEST,
    MATCHES,
    SHARED,
    TABLES,
    Manifest,
    read_bounded,
)
from precompute.publish import publish
from precompute.ranges import check_values
from precompute.safety import discard, require_space, space_watch, staged_name, writer_lock
from precompute.stages import FILE_STEM
from precompute.writer import VOLATILE, digest_of_rows, read_batches, write_file

MAX_ROWS = 4_000_000
"""Rows of a vocabulary, features of a dictionary."""

TOLD = 1_000_000
"""Bytes from which a file gets a line of progress of its own."""

Locate = Callable[[str], Path]
"""From a path of the share to the file on this machine."""


@dataclass(frozen=True)
class Received:
    """What a call of `receive` left behind."""

    store: Path
    runs: tuple[str, ...]
    """Runs of the share, all of them in the store."""
    changed: bool
    """False when the store had all of them already."""


def in_folder(folder: Path) -> Locate:
    """Where the files of a share in a folder are; a link is refused, it may lead anywhere."""
    def locate(name: str) -> Path:
        path = folder
        for part in name.split("/"):
            path = path / part
            if path.is_symlink():
                raise BrokenArtifact(f"{path} is a link; a shared store holds files only")
        return path

    return locate


def receive_folder(folder: Path, store: Path, report: Report | None = None) -> Received:
    """`receive` of a share in a folder."""
    return receive(manifests.read_manifest(folder / MANIFEST), in_folder(folder), store, report)


def receive(
    manifest: Manifest, locate: Locate, store: Path, report: Report | None = None
) -> Received:
    """Make the runs of a share readable in `store`, which may hold others already.

    Raises:
        NotFound: a file is missing. BrokenArtifact: a file, a table or a value is not what the
        manifest or the schema says. InvalidValue: the store has the run, or its language model,
        with other content. NoSpace: the disk is full. In all cases the store is as it was.
    """
    report = report or silent
    _refuse_conflicts(store, manifest)
    if holds(store, manifest):
        report(f"{store}: up to date, nothing to do")
        return Received(store, tuple(manifest.runs), False)
    store.parent.mkdir(parents=True, exist_ok=True)
    staged = staged_name(store)
    discard(staged)
    require_space(staged, 2 * manifest.bytes)
    try:
        with space_watch(store):
            staged.mkdir()
            for number, (name, file) in enumerate(sorted(manifest.files.items()), start=1):
                if file.bytes >= TOLD or number == len(manifest.files):
                    report(f"check: file {number} of {len(manifest.files)}: {name}")
                _check_file(locate(name), name, file)
                if not name.endswith(".parquet"):
                    place(locate(name), staged / name)
            for number, run in enumerate(sorted(manifest.runs), start=1):
                report(f"write: run {number} of {len(manifest.runs)}: {run}")
                _write_run(manifest, locate, staged, run)
            _write_catalog(manifest, locate, staged)
            joined = _move(staged, store, manifest)
    finally:
        discard(staged)
    published = publish(store) if joined else None
    missing = set(manifest.runs) - set(published.runs) if published else ()
    if published and missing:
        raise BrokenArtifact(f"run {min(missing)} could not be listed; {published.skipped[0]}")
    report(f"{store}: {len(manifest.runs)} runs can be read")
    return Received(store, tuple(manifest.runs), True)


# --- what is there already ---------------------------------------------------------------------


def holds(store: Path, manifest: Manifest) -> bool:
    """Whether a store has all that a share would bring."""
    if not (store / POINTER).is_file():
        return False
    try:
        cards = {card.run: card for card in Store.open(store).runs()}
    except AtlasError:
        return False
    readable = all(
        run in cards and cards[run].hash == shared.digest and cards[run].problem is None
        for run, shared in manifest.runs.items()
    )
    return readable and all((store / name).is_file() for name in _carried(manifest))


def _carried(manifest: Manifest) -> list[str]:
    """Files of the share that lie in the store as they came."""
    tops = ("runs/", "models/", "snapshots/", f"{MATCHES}/")
    names = [n for n in manifest.files if n.startswith(tops) and not n.endswith(".parquet")]
    return sorted(names, key=lambda name: (name.endswith(".json"), name))  # a record comes last


def _refuse_conflicts(store: Path, manifest: Manifest) -> None:
    for run, shared in manifest.runs.items():
        pointer = pointed(run_path(store, run))
        if pointer is not None and pointer["digest"] != shared.digest:
            raise InvalidValue(
                f"{store} has run {run} with digest {pointer['digest'][:16]}, the share has "
                f"{shared.digest[:16]}; name another folder with --store"
            )
    for name in _carried(manifest):
        path, file = store / name, manifest.files[name]
        if name.startswith(f"{MATCHES}/"):  # of the same dictionaries; what is there will do
            continue
        if path.is_file() and sha256(path) != file.sha256:
            raise InvalidValue(
                f"{path} is there with other content than the share has; name another folder "
                f"with --store"
            )


# --- files -------------------------------------------------------------------------------------


def _check_file(path: Path, name: str, file: manifests.SharedFile) -> None:
    if not path.is_file():
        raise NotFound(f"{path} is not there, though {MANIFEST} lists it; fetch the share again")
    size = path.stat().st_size
    if size != file.bytes:
        raise BrokenArtifact(f"{path} has {size:,} bytes, {MANIFEST} says {file.bytes:,}")
    found = sha256(path)
    if found != file.sha256:
        raise BrokenArtifact(
            f"{path} has sha256 {found[:16]}, {MANIFEST} says {file.sha256[:16]}; fetch it again"
        )
    if name.endswith(".safetensors"):
        read_header(path)
    elif name.endswith(".json"):
        read_bounded(path)


# --- a run -------------------------------------------------------------------------------------


def _write_run(manifest: Manifest, locate: Locate, staged: Path, run: str) -> None:
    shared = manifest.runs[run]
    folder, theirs = run_path(staged, run), locate(f"runs/{run}/config.json").parent
    records = {
        name.removesuffix(".json"): read_bounded(folder / name) for name in manifests.RUN_FILES
    }
    _check_config(theirs / "config.json", records["config"], run, shared.model)
    rows = {
        t.name: parquet.read_table(locate(f"runs/{run}/{TABLES}/{t.name}.parquet"), t)
        for t in RUN_TABLES
    }
    meta = dict(zip(*(rows["meta"][name].to_pylist() for name in ("key", "value")), strict=True))
    _check_meta(theirs, meta, records, run)
    check_values(theirs, rows, records["config"], int(meta["n_rows"]))
    volatile = {name: meta[name] for name in VOLATILE if name in meta and name != "digest"}
    fixed = pc.invert(pc.is_in(rows["meta"]["key"], pa.array(VOLATILE)))
    rows["meta"] = rows["meta"].filter(fixed)
    path, digest = write_file(folder, FILE_STEM, RUN_TABLES, rows, volatile)
    if digest != shared.digest:
        raise BrokenArtifact(
            f"run {run}: its tables have digest {digest[:16]}, {MANIFEST} says "
            f"{shared.digest[:16]}"
        )
    write_json(folder / SHARED, {"store": manifest.store, "weights": manifest.weights})
    point_to(folder, path, digest)


def _check_config(path: Path, config: Any, run: str, model: str) -> None:
    """What the store and the pages read of a config has the form they expect."""
    def fault(field: str, expected: str, found: object) -> BrokenArtifact:
        return BrokenArtifact(f"{path}: {field} is {found!r:.80}, expected {expected}")

    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise BrokenArtifact(f"{path} is not the config of a run")
    for field, expected in (("run", run), ("model", model)):
        if config.get(field) != expected:
            raise fault(field, repr(expected), config.get(field))
    name = config.get("model_name")
    if not isinstance(name, str) or not manifests.plain(name) or name.count("/") > 1:
        raise fault("model_name", "OWNER/NAME", name)
    for field, known in (("kind", KINDS), ("matrix", tuple(MATRICES))):
        if config.get(field) not in known:
            raise fault(field, " or ".join(known), config.get(field))
    revision = config.get("revision")
    if revision is not None and not (isinstance(revision, str) and manifests.plain(revision)):
        raise fault("revision", "the name of a revision", revision)
    for field in ("training", "origin"):
        if not isinstance(config.get(field, {}), dict):
            raise fault(field, "a table", config[field])
    steps = config.get("steps")
    whole = isinstance(steps, list) and all(type(s) is int and 0 <= s < 2**31 for s in steps)
    if not whole or not steps or steps != sorted(set(steps)) or len(steps) > MAX_SNAPSHOTS:
        raise fault("steps", f"a rising list of at most {MAX_SNAPSHOTS}", steps)
    numbers = {"seed": (config, 0, 2**31), "d_sae": (config["config"], 1, MAX_ROWS),
               "d_model": (config["config"], 1, 10**6)}
    for field, (holder, least, most) in numbers.items():
        value = holder.get(field)
        if type(value) is not int or not least <= value < most:
            raise fault(field, f"{least:,} to {most:,}", value)


def _check_meta(folder: Path, meta: dict[str, str], records: dict[str, Any], run: str) -> None:
    def fault(key: str) -> BrokenArtifact:
        return BrokenArtifact(
            f"run {run}: the entry {key!r} of its meta table is {str(meta.get(key))!r:.80}, which "
            f"does not fit {folder}"
        )

    expected = {"run": run, "schema": str(SCHEMA),
                **{name: canonical(value) for name, value in records.items()}}
    for key, value in expected.items():
        if meta.get(key) != value:
            raise fault(key)
    for key in ("code", "duckdb", "inputs", "created"):
        if not meta.get(key) or (key != "inputs" and len(meta[key]) > 100):
            raise fault(key)
    for key in ("n_rows", "n_alive"):
        if not str(meta.get(key)).isdecimal() or int(meta[key]) > MAX_ROWS:
            raise fault(key)
    for key in ("legible_share", "legible_null"):
        try:
            float(meta[key])
        except (KeyError, ValueError) as error:
            raise fault(key) from error
    for key in ("inputs", "metrics", "measured", "provenance"):
        if not isinstance(_json(meta.get(key)), dict):
            raise fault(key)
    if not _is_told(meta.get("examples")):
        raise fault("examples")
    for key in ("fidelity", "gallery"):
        if meta.get(key) is not None and not isinstance(_json(meta[key]), dict):
            raise fault(key)
    measured = _json(meta["measured"])
    for key in ("explained_variance", "l0", "dead_rate"):
        for name, figures in (("measured", measured), ("metrics", records["metrics"])):
            figure = figures.get(key, measured.get(key))
            if type(figure) not in (int, float) or not math.isfinite(figure):
                raise fault(name)


def _is_told(text: str | None) -> bool:
    """Whether what is told of examples, if anything, has the form that `atlas.examples` reads."""
    found = {} if text is None else _json(text)
    return isinstance(found, dict) and all(
        value is None or (isinstance(value, int | float) and math.isfinite(value)
                          if name in ("n_tokens", "chance") else isinstance(value, str))
        for name, value in found.items() if name in ("n_tokens", "chance", "reason", "source")
    )


def _json(text: str | None) -> Any:
    try:
        return json.loads(text or "")
    except (ValueError, RecursionError):
        return None


# --- the store ---------------------------------------------------------------------------------


def _write_catalog(manifest: Manifest, locate: Locate, staged: Path) -> None:
    """List the runs beside the store, and compare the lists with those of the share."""
    try:
        published = publish(staged)
    except (KeyError, ValueError, TypeError) as error:
        raise BrokenArtifact(f"the runs cannot be listed ({error!r:.120})") from error
    if published.skipped or set(published.runs) != set(manifest.runs):
        raise BrokenArtifact(f"the runs cannot be listed: {' '.join(published.skipped)[:300]}")
    for name, digest in manifest.catalog.items():
        found = table(CATALOG_TABLES, name)
        parquet.read_table(locate(f"{CATALOG}/{name}.parquet"), found)
        schema = parquet.arrow_schema(found)
        parts = [part.cast(schema) for part in read_batches(published.catalog, found)]
        rows = pa.Table.from_batches(parts, schema)
        if digest_of_rows(found, rows) != digest:
            raise BrokenArtifact(
                f"the table {name} made from the runs and tokenizers of the share is not the one "
                f"that {MANIFEST} speaks of"
            )
    for card in Store.open(staged).runs():
        if card.problem is not None:
            raise BrokenArtifact(card.problem)


def _move(staged: Path, store: Path, manifest: Manifest) -> bool:
    """Move what was made into the store; whether there was one whose catalog has to follow."""
    if not store.exists() or (store.is_dir() and not any(store.iterdir())):
        os.replace(staged, store)
        return False
    with writer_lock(store, f"store {store}"):
        for name in _carried(manifest):
            target = store / name
            there = target
            if name.startswith(f"{MATCHES}/"):  # tensors without their record are half written
                there = target.with_suffix(".json")
            if not there.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(staged / name, target)
        for run in sorted(manifest.runs):
            target = run_path(store, run)
            if pointed(target) is None:  # the pointer last: before it there is no run
                pointer = read_bounded(run_path(staged, run) / POINTER)
                for name in (pointer["file"], SHARED, POINTER):
                    os.replace(run_path(staged, run) / name, target / name)
    return True
