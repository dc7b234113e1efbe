"""The catalog over all runs of a store, and the pointer that makes it the one that is read.

Everything under its old name stays until the pointer has moved, so whoever reads goes on; files
that neither the new nor the previous catalog names are removed (reliability section 5, R1).
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from atlas.errors import AtlasError, StoreBusy
from atlas.schema import CATALOG, CATALOG_TABLES, SCHEMA
from atlas.store import POINTER
from atlas.tensor_files import sha256, write_json
from precompute.kept import Report, pointed, silent
from precompute.match_tables import match_tables
from precompute.safety import space_watch, sweep, writer_lock
from precompute.stages import FILE_STEM
from precompute.words import read_words
from precompute.writer import META, duckdb_version, read_rows, write_file

CATALOG_STEM = "catalog"
"""How the name of a catalog starts."""
WAIT = 1.0
"""Seconds to wait for another writer of the catalog: it holds the lock about that long."""


@dataclass(frozen=True)
class Published:
    """What a call of `publish` left behind."""

    catalog: Path
    digest: str
    """Content digest of the catalog, and so of the store."""
    runs: tuple[str, ...]
    """Runs it lists."""
    skipped: tuple[str, ...]
    """One line for each run file or pair of matched runs that could not be listed, with the mending
    command."""
    changed: bool
    """False when the store already said the same."""


def publish(store: Path, report: Report | None = None, wait: float = WAIT) -> Published:
    """List every built run of a store in a new catalog and move the pointer to it, last.

    Raises:
        StoreBusy: another process publishes. NoSpace: the disk is full; the old catalog stands.
    """
    report = report or silent
    with writer_lock(store, f"store {store}", wait), space_watch(store / POINTER):
        sweep(store)
        skipped: list[str] = []
        built = [b for b in (_built(store, f, skipped) for f in _folders(store)) if b]
        before = _read_pointer(store)
        rows = _catalog_rows(store, built, skipped)
        created = {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        catalog, digest = write_file(store, CATALOG_STEM, CATALOG_TABLES, rows, created)
        pointer = {
            "catalog": catalog.name,
            "digest": digest,
            "sha256": sha256(catalog),
            "schema": CATALOG,
            "duckdb": duckdb_version(),
        }
        same = before.get("digest") == digest and before.get("schema") == CATALOG
        previous = before.get("previous") if same else before.get("catalog")
        write_json(store / POINTER, pointer | {"previous": previous})
        for line in skipped:
            report(f"skipped: {line}")
        _remove_old(store, catalog.name, previous)
        report(f"publish: {len(built)} runs in {catalog.name}")
        runs = tuple(b.meta["run"] for b in built)
        return Published(catalog, digest, runs, tuple(skipped), not same)


@dataclass(frozen=True)
class _Built:
    """A run's file and what it says of itself."""

    path: Path
    pointer: dict[str, Any]
    meta: dict[str, str]
    snapshots: list[dict[str, Any]]


def _folders(store: Path) -> list[Path]:
    return sorted({p.parent for p in (store / "runs").rglob(f"{FILE_STEM}-*.duckdb")})


def _built(store: Path, folder: Path, skipped: list[str]) -> _Built | None:
    run = folder.relative_to(store / "runs").as_posix()
    mend = f"run `readout-atlas build {run} --force`"
    pointer = pointed(folder)
    if pointer is None:
        skipped.append(f"{folder} has no whole file of schema {SCHEMA}; {mend}")
        return None
    path = folder / pointer["file"]
    try:
        entries, snapshots = read_rows(path, META, "SELECT * FROM source.snapshot ORDER BY k")
    except AtlasError as error:
        skipped.append(f"{error}; {mend}")
        return None
    meta = {entry["key"]: entry["value"] for entry in entries}
    if meta.get("run") != run or meta.get("digest") != pointer["digest"]:
        skipped.append(f"{path} is not the file of run {run}; {mend}")
        return None
    return _Built(path, pointer, meta, snapshots)


def _catalog_rows(
    store: Path, built: list[_Built], skipped: list[str]
) -> dict[str, pa.Table]:
    runs = [_run_row(store, b) for b in built]
    schemas = {t.name: t for t in CATALOG_TABLES}
    sizes: dict[str, int] = {}
    for b, row in zip(built, runs, strict=True):
        sizes[row["model"]] = max(sizes.get(row["model"], 0), int(b.meta["n_rows"]))
    tokens = [read_words(store, model).table(model, n) for model, n in sorted(sizes.items())]
    return {
        "meta": pa.table({"key": ["schema", "duckdb"], "value": [str(CATALOG), duckdb_version()]}),
        "run": _table(runs, [c.name for c in schemas["run"].columns]),
        "token": pa.concat_tables(tokens) if tokens
        else _table([], [c.name for c in schemas["token"].columns]),
        "run_snapshot": _table(
            [{"run": b.meta["run"], **row} for b in built for row in b.snapshots],
            [c.name for c in schemas["run_snapshot"].columns],
        ),
        **match_tables(store, {b.meta["run"]: b.meta for b in built}, skipped),
    }


def _table(rows: list[dict[str, Any]], names: list[str]) -> pa.Table:
    return pa.table({name: [row[name] for row in rows] for name in names})


def _run_row(store: Path, built: _Built) -> dict[str, Any]:
    meta = built.meta
    config, measured = json.loads(meta["config"]), json.loads(meta["measured"])
    return {
        **{name: config[name] for name in ("run", "model", "model_name", "matrix", "kind", "seed")},
        "steps": config["steps"],
        "d_sae": config["config"]["d_sae"],
        "d_model": config["config"]["d_model"],
        **{name: measured[name] for name in ("explained_variance", "l0", "dead_rate")},
        **{name: _number(meta[name]) for name in ("legible_share", "legible_null")},
        "n_alive": int(meta["n_alive"]),
        "hash": built.pointer["digest"],
        "file": built.path.relative_to(store).as_posix(),
        "bytes": built.pointer["bytes"],
        "sha256": built.pointer["sha256"],
        "folder": built.path.parent.relative_to(store).as_posix(),
        "config": meta["config"],
        "metrics": meta["metrics"],
        "provenance": meta["provenance"],
        "statistics": meta.get("statistics"),
        "created": meta["created"],
    }


def _number(text: str) -> float | None:
    value = float(text)
    return None if value != value else value


def _read_pointer(store: Path) -> dict[str, Any]:
    try:
        pointer = json.loads((store / POINTER).read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return pointer if isinstance(pointer, dict) else {}


def _remove_old(store: Path, *catalogs: str | None) -> None:
    """Remove catalogs and run files that the given catalogs do not name."""
    keep = {name for name in catalogs if name}
    named: set[str] = set()
    for name in keep:
        try:
            (rows,) = read_rows(store / name, "SELECT file FROM source.run")
        except AtlasError:
            continue
        named |= {row["file"] for row in rows}
    for path in store.glob(f"{CATALOG_STEM}-*.duckdb"):
        if path.name not in keep:
            path.unlink(missing_ok=True)
    for folder in _folders(store):
        old = [p for p in folder.glob(f"{FILE_STEM}-*.duckdb")
               if p.relative_to(store).as_posix() not in named]
        if old:
            _remove_unpointed(folder, old)


def _remove_unpointed(folder: Path, old: list[Path]) -> None:
    """Remove run files the run does not point to; a run that is being written is left alone."""
    try:
        with writer_lock(folder, f"run folder {folder}"):
            pointer = pointed(folder)
            for path in old:
                if pointer is None or path.name != pointer["file"]:
                    path.unlink(missing_ok=True)
    except StoreBusy:
        return
