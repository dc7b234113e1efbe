"""The rows of the tables of `atlas.schema_trust`, from what the stages left as JSON."""

import json

import pyarrow as pa

from atlas.schema_trust import TRUST_TABLES
from precompute.derive import Arrays
from precompute.parquet import arrow_schema


def trust_rows(tried: Arrays, shown: Arrays) -> dict[str, pa.Table]:
    """All tables of what the stages `fidelity` and `gallery` found, in the order of their keys."""
    arrays = {**tried, **shown}
    found = {}
    for table in TRUST_TABLES:
        rows = json.loads(arrays[table.name].tobytes()) if table.name in arrays else []
        rows.sort(key=lambda row, key=table.key: tuple(row[name] for name in key))
        found[table.name] = pa.Table.from_pylist(rows, arrow_schema(table))
    return found
