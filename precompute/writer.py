"""The one writer of DuckDB files: tables in, an immutable file with a content digest out.

A file is filled under a staging name in a single pass, checkpointed, validated and renamed to a
name that holds its digest; it is never opened for writing again (reliability section 5, R1, R2,
R4, R6). A crash leaves a staging file that the next build removes, never a log to replay.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from atlas.errors import BrokenArtifact, InvalidValue
from atlas.schema import STORAGE, Table, statements
from precompute.safety import discard, is_full, no_space, require_space, settle, staged_name

SMALL_BLOCK = 65_536
"""Block size in bytes of files with little in them. Smaller ones compress worse, larger ones are
half empty: a run of the demo took 7.4, 4.9, 4.1 and 4.7 MB at 16, 32, 64 and 128 KiB."""
LARGE_BLOCK = 262_144
"""Block size of the others: fewer, longer reads."""
SMALL_FILE = 100_000_000
"""Bytes of rows up to which a file counts as small."""
VOLATILE = ("created", "seconds", "digest")
"""Entries of a meta table that say when and how fast, not what: left out of the digest."""

META = "SELECT key, value FROM source.meta"

_SETTINGS = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "threads": 2,
}


def write_file(
    folder: Path,
    stem: str,
    tables: tuple[Table, ...],
    rows: Mapping[str, pa.Table],
    volatile: Mapping[str, str],
) -> tuple[Path, str]:
    """Write `folder/<stem>-<digest16>.duckdb` and return it with its digest.

    Args:
        tables: what to create; `rows` has the rows of each, in the order of its key.
        volatile: entries added to the meta table after the digest was taken.

    Raises:
        NoSpace: the disk is full; the staging file is gone, everything else is as it was.
        BrokenArtifact: a value breaks a constraint or a key is not unique; names the table.
    """
    staged = staged_name(folder / f"{stem}.duckdb")
    size = sum(table.nbytes for table in rows.values())
    require_space(staged, size // 2)
    discard(staged)
    try:
        digest = _fill(staged, tables, rows, volatile, size)
        path = folder / f"{stem}-{digest[:16]}.duckdb"
        if staged.with_name(staged.name + ".wal").exists():
            raise BrokenArtifact(f"{staged} kept a write-ahead log; run the build again")
        if not _holds(path, tables, digest):
            settle(staged, path)
    except (duckdb.Error, OSError) as error:
        if is_full(error):
            raise no_space(staged) from error
        if not isinstance(error, duckdb.IOException | OSError):
            raise
        raise InvalidValue(
            f"{staged} cannot be written ({_line(error)}); name another folder with --store"
        ) from error
    finally:
        discard(staged)
    return path, digest


def _holds(path: Path, tables: tuple[Table, ...], digest: str) -> bool:
    """Whether an undamaged file with this content is there: it keeps its bytes and its hash."""
    try:
        return path.is_file() and verify_digest(path, tables) == digest
    except BrokenArtifact:
        return False


def _fill(
    staged: Path,
    tables: tuple[Table, ...],
    rows: Mapping[str, pa.Table],
    volatile: Mapping[str, str],
    size: int,
) -> str:
    block = SMALL_BLOCK if size < SMALL_FILE else LARGE_BLOCK
    with duckdb.connect(":memory:", config=_SETTINGS) as connection:
        _ask(connection, f"ATTACH $path AS out (BLOCK_SIZE {block}, STORAGE_VERSION '{STORAGE}')",
             {"path": str(staged)})
        for statement in statements("out", tables):
            _ask(connection, statement)
        for table in tables:
            _insert(connection, table, rows[table.name])
        digest = content_digest(connection, "out", tables)
        for key, value in {**volatile, "digest": digest}.items():
            _ask(connection, "INSERT INTO out.meta VALUES ($key, $value)",
                 {"key": key, "value": value})
        _ask(connection, "CHECKPOINT out")
        _ask(connection, "DETACH out")
    return digest


def _ask(
    connection: "duckdb.DuckDBPyConnection", sql: str, values: dict[str, Any] | None = None
) -> list[tuple[Any, ...]]:
    """Run a statement to its end: a connection refuses the next one before that."""
    return connection.execute(sql, values or {}).fetchall()


def _insert(connection: "duckdb.DuckDBPyConnection", table: Table, rows: pa.Table) -> None:
    names = ", ".join(c.name for c in table.columns)
    connection.register("incoming", rows)
    try:
        _ask(connection, f"INSERT INTO out.{table.name} ({names}) SELECT {names} FROM incoming")
    except (duckdb.ConstraintException, duckdb.ConversionException) as error:
        raise BrokenArtifact(f"table {table.name} refused a row: {_line(error)}") from error
    finally:
        connection.unregister("incoming")
    key = ", ".join(table.key)
    twice = _ask(connection, f"SELECT count(*) - count(DISTINCT ({key})) FROM out.{table.name}")
    if twice != [(0,)]:
        raise BrokenArtifact(f"table {table.name} has rows that share their key ({key})")


def content_digest(
    connection: "duckdb.DuckDBPyConnection", database: str, tables: tuple[Table, ...]
) -> str:
    """Hex digest of what the tables say, the same whatever the file's bytes or row order."""
    parts: list[Any] = []
    for table in tables:
        keep = f"WHERE key NOT IN {VOLATILE}" if table.name == "meta" else ""
        sums = _ask(connection, f"SELECT count(*), bit_xor(md5_number(entry::VARCHAR)) FROM "
                                f"(SELECT * FROM {database}.{table.name} {keep}) AS entry")
        columns = [[c.name, c.type] for c in table.columns]
        parts.append([table.name, columns, [str(value) for value in sums[0]]])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_meta(path: Path) -> dict[str, str]:
    """The meta table of a file; BrokenArtifact if it cannot be read."""
    (rows,) = read_rows(path, META)
    return {row["key"]: row["value"] for row in rows}


def read_rows(path: Path, *questions: str) -> list[list[dict[str, Any]]]:
    """The answers to fixed SQL texts about a file attached as `source`."""
    try:
        with duckdb.connect(":memory:", config=_SETTINGS) as connection:
            _ask(connection, "ATTACH $path AS source (READ_ONLY)", {"path": str(path)})
            return [connection.sql(q).to_arrow_table().to_pylist() for q in questions]
    except duckdb.Error as error:
        raise BrokenArtifact(f"{path} is not an atlas file: {_line(error)}") from error


def read_batches(path: Path, table: Table, size: int = 65_536) -> Iterator[pa.RecordBatch]:
    """All rows of one table of a file, in the order of its key, about `size` at a time."""
    names = ", ".join(c.name for c in table.columns)
    try:
        with duckdb.connect(":memory:", config=_SETTINGS) as connection:
            _ask(connection, "ATTACH $path AS source (READ_ONLY)", {"path": str(path)})
            yield from connection.sql(f"SELECT {names} FROM source.{table.name}").to_arrow_reader(
                size
            )
    except duckdb.Error as error:
        raise BrokenArtifact(f"{path} is not an atlas file: {_line(error)}") from error


def digest_of_rows(table: Table, rows: pa.Table) -> str:
    """The content digest of one table with these rows; BrokenArtifact if it refuses one."""
    with duckdb.connect(":memory:", config=_SETTINGS) as connection:
        _ask(connection, "ATTACH ':memory:' AS out")
        for statement in statements("out", (table,)):
            _ask(connection, statement)
        _insert(connection, table, rows)
        return content_digest(connection, "out", (table,))


def verify_digest(path: Path, tables: tuple[Table, ...]) -> str:
    """The digest recomputed from a file's rows; BrokenArtifact if it is not the recorded one."""
    recorded = read_meta(path).get("digest")
    try:
        with duckdb.connect(":memory:", config=_SETTINGS) as connection:
            _ask(connection, "ATTACH $path AS source (READ_ONLY)", {"path": str(path)})
            digest = content_digest(connection, "source", tables)
    except duckdb.Error as error:
        raise BrokenArtifact(f"{path} is damaged: {_line(error)}") from error
    if digest != recorded:
        raise BrokenArtifact(f"{path}: its rows have digest {digest[:16]}, not {recorded}")
    return digest


def duckdb_version() -> str:
    """Version of the library that writes."""
    return duckdb.__version__


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


