"""The tables of a store: one file per run and one catalog over all runs.

Every column carries its meaning as a COMMENT; pages show it as a tooltip and on the Method page,
so a number is explained in one place. Missing values are NULL, never 0. A change here raises
`SCHEMA`, or `CATALOG` if only tables over all runs change; a store is derived data, so an older one
is rebuilt, not migrated.
"""

from collections.abc import Iterator

from atlas.schema_catalog import CATALOG_TABLES as CATALOG_TABLES
from atlas.schema_parts import BINS as BINS
from atlas.schema_parts import COSINE_DECIMALS as COSINE_DECIMALS
from atlas.schema_parts import DUPLICATE as DUPLICATE
from atlas.schema_parts import FIRING as FIRING
from atlas.schema_parts import LABEL as LABEL
from atlas.schema_parts import MAX_SNAPSHOTS as MAX_SNAPSHOTS
from atlas.schema_parts import NEIGHBOURS as NEIGHBOURS
from atlas.schema_parts import NEIGHBOURS_AT as NEIGHBOURS_AT
from atlas.schema_parts import PROMOTED as PROMOTED
from atlas.schema_parts import STORAGE as STORAGE
from atlas.schema_parts import Column as Column
from atlas.schema_parts import Table as Table
from atlas.schema_run import RUN_TABLES as RUN_TABLES

SCHEMA = 5
"""Version of the tables of a run, written into its file and its pointer."""
CATALOG = 6
"""Version of the tables over all runs, written into the catalog and the store's pointer: no run is
built again because of it."""


def statements(database: str, tables: tuple[Table, ...]) -> Iterator[str]:
    """The statements that create `tables` in an attached database, comments included."""
    for table in tables:
        name = f"{database}.{table.name}"
        columns = ", ".join(f"{c.name} {c.type}" for c in table.columns)
        yield f"CREATE TABLE {name} ({columns})"
        yield f"COMMENT ON TABLE {name} IS '{_quote(table.comment)}'"
        for column in table.columns:
            yield f"COMMENT ON COLUMN {name}.{column.name} IS '{_quote(column.comment)}'"


def _quote(text: str) -> str:
    return text.replace("'", "''")


def table(tables: tuple[Table, ...], name: str) -> Table:
    """The table called `name`."""
    return next(t for t in tables if t.name == name)
