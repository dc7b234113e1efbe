"""A store, or chosen runs of it, as a folder that others open without computing anything.

    README.md manifest.json NOTICES.md licences/       the card, every file with size and hash
    catalog/{run,token,run_snapshot,match}.parquet     over all runs
    matches/<pair>.{json,safetensors}                  what the matches were listed from
    runs/<run>/{config,metrics,provenance}.json        as in the store
    runs/<run>/tables/<table>.parquet                  everything derived from the run
    models/<label>/{config,tokenizer}.json             what the vocabulary is read from

With weights also what the live decomposition reads, dictionaries, snapshots and models, and the
shuffled-row controls of runs that have one, in the places they have in a store. Such a folder is
opened again by `precompute.receive`.
"""

import csv
import functools
import json
import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from atlas.artifacts import snapshot_path
from atlas.errors import BrokenArtifact, InvalidValue
from atlas.places import model_path
from atlas.records import RunCard
from atlas.schema import CATALOG_TABLES, RUN_TABLES, Table, table
from atlas.store import POINTER, Store
from atlas.tensor_files import read_json, sha256, write_json
from atlas.turnover import CONTROL, CONTROL_FACTS
from precompute import manifest as manifests
from precompute import parquet
from precompute.dataset_card import Origin, write_card
from precompute.fetching import place
from precompute.kept import Report, canonical, silent
from precompute.manifest import CATALOG, MANIFEST, RUN_FILES, TABLES, Manifest
from precompute.match_files import fingerprint, fresh_records
from precompute.match_tables import OVER_SEEDS, match_tables
from precompute.safety import (
    discard,
    megabytes,
    require_space,
    settle,
    space_watch,
    staged_name,
)
from precompute.writer import digest_of_rows, read_batches, read_meta

FORMATS = ("parquet", "csv", "json")
MODEL_FILES = ("config.json", "tokenizer.json", "token_counts.safetensors")
"""Files of a language model that travel without its weights."""
LARGE = 4_000_000
"""Bytes from which a file is linked instead of copied where that is possible."""
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""First characters that make a spreadsheet take a cell for a formula."""

_RUN_NAMES = tuple(t.name for t in RUN_TABLES)
_CATALOG_NAMES = tuple(t.name for t in CATALOG_TABLES if t.name not in _RUN_NAMES)
TABLE_NAMES = (*_RUN_NAMES, *_CATALOG_NAMES)


def share(
    store: Path,
    folder: Path,
    runs: Sequence[str] = (),
    weights: bool = False,
    origin: Origin | None = None,
    report: Report | None = None,
) -> Manifest:
    """Write a share of `runs` (all of them when none are named) as `folder`, whole or not at all.

    An earlier share in `folder` is replaced. The same store gives the same bytes.

    Raises:
        NotFound, BrokenArtifact: a run, or a file of it, is not there or damaged.
        InvalidValue: `folder` holds something else, or a run changed after it was built.
        NoSpace: the disk is full; whatever was in `folder` stands.
    """
    report = report or silent
    _check_target(folder)
    opened = Store.open(store)
    cards = chosen(opened, runs)
    carried = [*_carried(store, cards, weights), *_matches(store, cards)]
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = staged_name(folder)
    discard(staged)
    require_space(staged, sum(c.bytes for c in cards) + sum(
        size for p in carried if (size := p.stat().st_size) < LARGE or not _one_disk(p, folder)
    ))
    try:
        with space_watch(folder):
            staged.mkdir()
            metas = {}
            for number, card in enumerate(cards, start=1):
                report(f"export: run {number} of {len(cards)}: {card.run}")
                metas[card.run] = _write_run(store, staged, card)
            catalog = _write_catalog(store, staged, cards, metas)
            for number, path in enumerate(carried, start=1):
                if path.stat().st_size >= LARGE or number == len(carried):
                    report(f"export: file {number} of {len(carried)}: {path.name}")
                _carry(path, staged / path.relative_to(store))
            write_card(staged / "README.md", cards, metas, weights, origin or Origin())
            made = _manifest(staged, cards, catalog, weights)
            manifests.write_manifest(staged, made)
            settle(staged, folder)
    finally:
        discard(staged)
    report(f"export: {len(cards)} runs, {len(made.files)} files, {megabytes(made.bytes)}")
    return made


def export_tables(
    store: Path,
    folder: Path,
    runs: Sequence[str] = (),
    names: Sequence[str] = (),
    form: str = "csv",
    report: Report | None = None,
) -> list[Path]:
    """Write tables of `runs` as plain files into `folder`; returns their paths.

    Tables of runs as `<run>/<table>.<form>`, those over all runs beside them, and `columns.json`
    with the meaning of every column. JSON has one row a line and every digit; a list in a CSV cell
    is JSON. What is not available is null, in CSV an empty cell; bytes are hexadecimal.

    Raises: as `share`; InvalidValue also for a table or form that is not there.
    """
    report = report or silent
    names = names or TABLE_NAMES
    if form not in FORMATS:
        raise InvalidValue(f"{form!r} is no format; use one of {', '.join(FORMATS)}")
    for name in names:
        if name not in TABLE_NAMES:
            raise InvalidValue(f"there is no table {name!r}; tables are {', '.join(TABLE_NAMES)}")
    _check_target(folder, "columns.json")
    cards = chosen(Store.open(store), runs)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = staged_name(folder)
    discard(staged)
    try:
        with space_watch(folder):
            staged.mkdir()
            written = list(_plain_files(store, staged, cards, names, form, report))
            write_json(staged / "columns.json", {
                t.name: {c.name: c.comment for c in t.columns}
                for t in (*RUN_TABLES, *CATALOG_TABLES) if t.name in names
            })
            settle(staged, folder)
    finally:
        discard(staged)
    report(f"export: {len(written)} tables of {len(cards)} runs as {form}")
    return [folder / path.relative_to(staged) for path in written]


def _plain_files(
    store: Path, staged: Path, cards: list[RunCard], names: Sequence[str], form: str,
    report: Report,
) -> Iterator[Path]:
    metas = {card.run: read_meta(store / card.file) for card in cards}
    for name in (n for n in names if n in _CATALOG_NAMES):
        found = table(CATALOG_TABLES, name)
        path = staged / f"{name}.{form}"
        _write(path, found, _catalog_rows(store, found, cards, metas).to_batches(), form, {})
        yield path
    for number, card in enumerate(cards, start=1):
        report(f"export: run {number} of {len(cards)}: {card.run}")
        for name in (n for n in names if n in _RUN_NAMES):
            path = staged / card.run / f"{name}.{form}"
            path.parent.mkdir(parents=True, exist_ok=True)
            found = table(RUN_TABLES, name)
            _write(path, found, read_batches(store / card.file, found, 4096), form,
                   manifests.about(card.run, card.hash))
            yield path


def chosen(store: Store, runs: Sequence[str]) -> list[RunCard]:
    """The named runs of a store, all when none are named, each of them readable."""
    cards = [store.run(run) for run in dict.fromkeys(runs)] if runs else store.runs()
    if not cards:
        raise InvalidValue(f"{store.folder} holds no run; `readout-atlas build RUN` adds one")
    for card in cards:
        if card.problem is not None:
            raise BrokenArtifact(card.problem)
    return sorted(cards, key=lambda card: card.run)


def _check_target(folder: Path, mark: str = MANIFEST) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        if (folder / POINTER).exists() or not (folder / mark).is_file():
            raise InvalidValue(
                f"{folder} holds something that is not an export; name an empty folder with --to"
            )
    elif folder.exists() and not folder.is_dir():
        raise InvalidValue(f"{folder} is a file; name a folder with --to")


# --- a share -----------------------------------------------------------------------------------


def _write_run(store: Path, staged: Path, card: RunCard) -> dict[str, str]:
    """The tables and records of one run; returns what its file says of itself."""
    meta = read_meta(store / card.file)
    source, target = store / card.folder, staged / "runs" / card.run
    (target / TABLES).mkdir(parents=True)
    for name, entry in zip(RUN_FILES, ("config", "metrics", "provenance"), strict=True):
        if canonical(read_json(source / name)) != meta[entry]:
            raise InvalidValue(
                f"{source / name} changed after the run was built; run `readout-atlas build "
                f"{card.run}`"
            )
        shutil.copyfile(source / name, target / name)
    for found in RUN_TABLES:
        parquet.write_table(
            target / TABLES / f"{found.name}.parquet", found,
            read_batches(store / card.file, found), manifests.about(card.run, card.hash),
        )
    return meta


def _write_catalog(
    store: Path, staged: Path, cards: list[RunCard], metas: dict[str, dict[str, str]]
) -> dict[str, str]:
    """The tables over all runs, and the digests of those that can be made again."""
    (staged / CATALOG).mkdir()
    digests = {}
    for name in _CATALOG_NAMES:
        found = table(CATALOG_TABLES, name)
        rows = _catalog_rows(store, found, cards, metas)
        parquet.write_table(staged / CATALOG / f"{name}.parquet", found, rows.to_batches(), {})
        if name in manifests.REMADE:
            digests[name] = digest_of_rows(found, rows)
    return digests


def _catalog_rows(
    store: Path, found: Table, cards: list[RunCard], metas: dict[str, dict[str, str]]
) -> pa.Table:
    """Rows of a table of the catalog that belong to the chosen runs."""
    schema = parquet.arrow_schema(found)
    if found.name in OVER_SEEDS:  # of the chosen runs, not of all that the store has
        made = match_tables(store, {c.run: metas[c.run] for c in cards}, [])[found.name]
        return made.select(schema.names).cast(schema)
    path = store / read_json(store / POINTER)["catalog"]
    rows = pa.Table.from_batches(
        [b.cast(schema) for b in read_batches(path, found)], schema
    )
    if found.name != "token":
        names = pa.array([c.run for c in cards])
        both = (name for name in ("run", "other") if name in rows.column_names)
        return functools.reduce(lambda kept, n: kept.filter(pc.is_in(kept[n], names)), both, rows)
    parts = []
    for model in sorted({card.model for card in cards}):
        size = max(int(metas[c.run]["n_rows"]) for c in cards if c.model == model)
        parts.append(rows.filter(
            pc.and_(pc.equal(rows["model"], model), pc.less(rows["token"], size))
        ))
    return pa.concat_tables(parts)


def _carried(store: Path, cards: list[RunCard], weights: bool) -> list[Path]:
    """Files that travel as they are, by path."""
    paths = {store / manifests.NOTICES[0], *(store / manifests.NOTICES[1]).glob("*")}
    for label in sorted({card.model for card in cards}):
        model = model_path(store, label)
        paths |= {model / name for name in MODEL_FILES}
        if weights:
            paths |= set(model.rglob("*"))
    for card in cards:
        read = [model_path(store, card.model) / "tokenizer.json"]
        if weights:
            paths |= {store / card.folder / name for name in (CONTROL, CONTROL_FACTS)}
            read += [store / card.folder / "dictionary.safetensors", *(
                snapshot_path(store, card.model_name, s, card.matrix) for s in card.steps
            )]
        missing = [path for path in read if not path.is_file()]
        if missing:
            raise BrokenArtifact(
                f"{missing[0]} is not there; run `readout-atlas build {card.run}`"
                f"{' or leave --weights out' if weights else ''}"
            )
        paths |= set(read)
    return sorted(
        p for p in paths
        if p.is_file() and p.name.endswith((".safetensors", *manifests.TEXT))
        and manifests.plain(p.relative_to(store).as_posix())
    )


def _matches(store: Path, cards: list[RunCard]) -> list[Path]:
    """Files of the matches among these runs that the catalog lists."""
    rows = _catalog_rows(store, table(CATALOG_TABLES, "match"), cards, {})
    listed = rows.group_by(["run", "other", "way"]).aggregate([]).to_pylist()
    prints = {c.run: fingerprint(json.loads(read_meta(store / c.file)["inputs"])) for c in cards}
    fresh, paths = fresh_records(store, prints)[0], []
    for one, other, way in sorted((row["run"], row["other"], row["way"]) for row in listed):
        if one < other and (one, other, way) not in fresh:
            raise BrokenArtifact(
                f"the matches of {one} and {other} are listed and their file is not there; run "
                f"`readout-atlas match {one} {other}`"
            )
        if one < other:
            paths.append(fresh[one, other, way])
    return [path.with_suffix(end) for path in paths for end in (".safetensors", ".json")]


def _one_disk(path: Path, folder: Path) -> bool:
    there = next(p for p in (folder, *folder.parents) if p.exists())
    return path.stat().st_dev == there.stat().st_dev


def _carry(path: Path, copy: Path) -> None:
    """Link a large file where that is possible; small ones are copied, people edit them."""
    if path.stat().st_size >= LARGE:
        place(path, copy)
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, copy)


def _manifest(
    staged: Path, cards: list[RunCard], catalog: dict[str, str], weights: bool
) -> Manifest:
    files = {
        path.relative_to(staged).as_posix():
            manifests.SharedFile(path.stat().st_size, sha256(path))
        for path in sorted(staged.rglob("*")) if path.is_file()
    }
    runs = {c.run: manifests.SharedRun(c.model, c.hash) for c in cards}
    return Manifest(runs, catalog, weights, files)


# --- plain files -------------------------------------------------------------------------------


def _write(
    path: Path, found: Table, batches: Iterable[pa.RecordBatch], form: str, about: Any
) -> None:
    if form == "parquet":
        parquet.write_table(path, found, batches, about)
    elif form == "csv":
        _write_csv(path, found, batches)
    else:
        _write_json(path, batches)


def _write_csv(path: Path, found: Table, batches: Iterable[pa.RecordBatch]) -> None:
    names = [c.name for c in found.columns]
    with open(path, "w", newline="", encoding="utf8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for batch in batches:
            for row in batch.to_pylist():
                writer.writerow([cell(row[name]) for name in names])


def _write_json(path: Path, batches: Iterable[pa.RecordBatch]) -> None:
    with open(path, "w", encoding="utf8") as file:
        file.write("[")
        between = "\n"
        for batch in batches:
            for row in batch.to_pylist():
                file.write(between + json.dumps(plain(row), allow_nan=False, ensure_ascii=False))
                between = ",\n"
        file.write("\n]\n")


def cell(value: Any) -> Any:
    """A value in a CSV cell; text that a spreadsheet would run as a formula gets an apostrophe."""
    value = plain(value)
    if isinstance(value, list):
        return json.dumps(value, allow_nan=False)
    if isinstance(value, str) and value.startswith(FORMULA):
        return "'" + value
    return value


def plain(value: Any) -> Any:
    """A value as JSON has it: bytes hexadecimal, what is not a number null."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {name: plain(v) for name, v in value.items()}
    return value
