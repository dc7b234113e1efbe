"""The store of full shape, and the same file many times over: what 10 and 73 runs cost.

The copies are hard links under other names with a catalog of as many rows. So the files are as
many and as large as those of real runs; the page cache of the machine holds their bytes once.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa

from atlas.schema import CATALOG_TABLES
from atlas.schema_matches import MATCH_TABLES
from atlas.store import POINTER, Store
from atlas.tensor_files import sha256
from precompute.writer import read_rows, write_file


def many_runs(store: Path, count: int, out: Path) -> Path:
    """A store of `count` runs that all are the first crosscoder of `store`, by hard links."""
    done = out / "many.json"
    pointer = json.loads((store / POINTER).read_text())
    made = {"digest": pointer["digest"], "count": count}
    if done.is_file() and json.loads(done.read_text()) == made:
        return out
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    first = next(c for c in Store.open(store).runs() if c.kind == "crosscoder")
    names = [f"{first.run}-{number}" if number else first.run for number in range(count)]
    for name in names:
        folder = out / "runs" / name
        folder.mkdir(parents=True)
        os.link(store / first.file, folder / Path(first.file).name)
    for kept in ("models", "snapshots"):
        if (store / kept).is_dir():
            (out / kept).symlink_to((store / kept).resolve())
    tables = {}
    for table in CATALOG_TABLES:
        (rows,) = read_rows(store / pointer["catalog"], f"SELECT * FROM source.{table.name}")
        if table.name == "run":
            rows = [_renamed(row, name, number) for row in rows if row["run"] == first.run
                    for number, name in enumerate(names)]
        elif table.name == "run_snapshot":
            rows = [row | {"run": name} for name in names for row in rows
                    if row["run"] == first.run]
        elif table in MATCH_TABLES:
            rows = []
        names_of = [column.name for column in table.columns]
        tables[table.name] = pa.table({name: [row[name] for row in rows] for name in names_of})
    catalog, digest = write_file(out, "catalog", CATALOG_TABLES, tables, {})
    (out / POINTER).write_text(json.dumps(pointer | {
        "catalog": catalog.name, "digest": digest, "sha256": sha256(catalog), "previous": None,
    }))
    done.write_text(json.dumps(made))
    assert len(Store.open(out).runs()) == count
    return out


def _renamed(row: dict[str, Any], name: str, number: int) -> dict[str, Any]:
    folder = f"runs/{name}"
    return row | {"run": name, "seed": number, "folder": folder,
                  "file": f"{folder}/{Path(row['file']).name}"}
