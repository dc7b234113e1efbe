"""The door to Parquet: tables of the store written for others, and files of others read back.

Written: zstd, rows in the order of the key, row groups of a few megabytes, so that a reader fetches
one feature's rows and not the file; every column carries its meaning as field metadata. Read: a
footer is bounded before the library parses it, columns must be exactly those of the schema, and a
file that unfolds into more than it may is stopped (reliability section 5, R7).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from atlas.errors import BrokenArtifact, NotFound
from atlas.schema import Table
from precompute.safety import space_watch

GROUP_BYTES = 4_000_000
"""Bytes of a row group before compression: about a megabyte to fetch for one feature."""
SAMPLE = 2048
"""Rows whose size decides how many rows make a group."""
MAX_FOOTER = 16_000_000
MAX_BYTES = 12_000_000_000
"""Bytes that the rows of one file may unfold into; the densest dictionary's code needs 4 GB."""
COMMENT = "comment"
"""Name of the field metadata that holds a column's meaning."""

_MAGIC = b"PAR1"
_TYPES = {
    "VARCHAR": pa.string(), "JSON": pa.string(), "BLOB": pa.binary(), "BOOLEAN": pa.bool_(),
    "TINYINT": pa.int8(), "SMALLINT": pa.int16(), "INTEGER": pa.int32(), "BIGINT": pa.int64(),
    "UTINYINT": pa.uint8(), "USMALLINT": pa.uint16(), "UINTEGER": pa.uint32(),
    "UBIGINT": pa.uint64(), "FLOAT": pa.float32(), "DOUBLE": pa.float64(),
}


def arrow_type(declared: str) -> pa.DataType:
    """The Arrow type of a column as the schema declares it: `FLOAT[5] NOT NULL`, `INTEGER[]`."""
    name = declared.split()[0]
    found = _TYPES[name.split("[")[0]]
    for length in re.findall(r"\[(\d*)\]", name):
        found = pa.list_(found, int(length)) if length else pa.list_(found)
    return found


def arrow_schema(table: Table, about: Mapping[str, str] | None = None) -> pa.Schema:
    """Columns of a table with their meanings; `about` is said of the whole file."""
    fields = [
        pa.field(c.name, arrow_type(c.type), "NOT NULL" not in c.type, {COMMENT: c.comment})
        for c in table.columns
    ]
    return pa.schema(fields, {COMMENT: table.comment, **(about or {})})


def write_table(
    path: Path, table: Table, batches: Iterable[pa.RecordBatch], about: Mapping[str, str]
) -> int:
    """Write the rows of a table and return their number; the same rows give the same bytes."""
    schema = arrow_schema(table, about)
    names = [c.name for c in table.columns]
    order = [pq.SortingColumn(names.index(name)) for name in table.key]
    written = 0
    with space_watch(path), pq.ParquetWriter(
        path, schema, compression="zstd", write_page_index=True, sorting_columns=order
    ) as writer:
        for group in _groups(batches, schema):
            writer.write_table(group, row_group_size=len(group))
            written += len(group)
    return written


def _groups(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows in tables of one row group each, wherever the batches began and ended."""
    rest, rows = schema.empty_table(), 0
    for batch in batches:
        part = pa.Table.from_batches([batch]).cast(schema)
        rest = pa.concat_tables([rest, part])
        if not rows and len(rest) >= SAMPLE:
            size = rest.slice(0, SAMPLE).nbytes / SAMPLE
            rows = max(SAMPLE // 8, int(GROUP_BYTES / max(size, 1)))
        while rows and len(rest) >= rows:
            yield rest.slice(0, rows).combine_chunks()
            rest = rest.slice(rows)
    if len(rest):
        yield rest.combine_chunks()


def read_table(path: Path, table: Table, most: int = MAX_BYTES) -> pa.Table:
    """The rows of a file of someone else's, checked to be those of `table` in kind.

    Raises:
        NotFound: it is not there. BrokenArtifact: it is no Parquet file, is damaged, has other
        columns or types than the schema, or unfolds into more than `most` bytes.
    """
    _check_footer(path)
    try:
        with pq.ParquetFile(path) as file:
            _check_columns(path, table, file.schema_arrow)
            _check_claims(path, file.metadata, most)
            batches, size = [], 0
            for batch in file.iter_batches(batch_size=SAMPLE):
                size += batch.nbytes
                if size > most:
                    raise BrokenArtifact(f"{path} unfolds into more than {most:,} bytes; refused")
                batches.append(batch)
            rows = pa.Table.from_batches(batches, file.schema_arrow).cast(arrow_schema(table))
            rows.validate(full=True)
            return rows
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        text = " ".join(str(error).split())[:160]
        raise BrokenArtifact(f"{path} is damaged ({text}); fetch it again") from error


def _check_footer(path: Path) -> None:
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(4)
            file.seek(max(size - 8, 0))
            tail = file.read(8)
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there") from error
    length = int.from_bytes(tail[:4], "little")
    if size < 12 or head != _MAGIC or tail[4:] != _MAGIC:
        raise BrokenArtifact(f"{path} is no Parquet file; fetch it again")
    if length > min(size - 12, MAX_FOOTER):
        raise BrokenArtifact(
            f"{path}: its footer claims {length:,} bytes, the file has {size:,} and at most "
            f"{MAX_FOOTER:,} are read"
        )


def _check_columns(path: Path, table: Table, found: pa.Schema) -> None:
    wanted = [c.name for c in table.columns]
    if found.names != wanted:
        odd = [n for n in found.names if n not in wanted]
        missing = [n for n in wanted if n not in found.names]
        said = (f"has columns that table {table.name} has not: {', '.join(odd)[:120]}" if odd
                else f"lacks {', '.join(missing)[:120]} of table {table.name}" if missing
                else f"has the columns of table {table.name} in another order")
        raise BrokenArtifact(f"{path} {said}")
    for column in table.columns:
        expected, field = arrow_type(column.type), found.field(column.name)
        if not _same(field.type, expected):
            raise BrokenArtifact(
                f"{path}: column {column.name} is {str(field.type)[:60]}, expected {expected}"
            )


def _same(found: pa.DataType, expected: pa.DataType) -> bool:
    """Whether two types are alike, whatever the elements of a list are called."""
    if pa.types.is_list(expected) or pa.types.is_fixed_size_list(expected):
        return (
            found.id == expected.id
            and getattr(found, "list_size", 0) == getattr(expected, "list_size", 0)
            and _same(found.value_type, expected.value_type)
        )
    return found == expected


def _check_claims(path: Path, found: pq.FileMetaData, most: int) -> None:
    claimed = sum(found.row_group(i).total_byte_size for i in range(found.num_row_groups))
    if claimed > most or not 0 <= found.num_rows <= most:
        raise BrokenArtifact(
            f"{path} claims {found.num_rows:,} rows and {claimed:,} bytes; at most {most:,} bytes "
            f"are read"
        )
