"""The file that says which generation of a store is read; it moves last."""

import json
from pathlib import Path
from typing import Any

from atlas.errors import BrokenArtifact, NotFound, VersionMismatch
from atlas.schema import CATALOG

POINTER = "CURRENT.json"
"""Names the catalog of the generation to read."""


def read_pointer(folder: Path) -> dict[str, Any]:
    """The pointer of a store, checked: the name of its catalog and the digest in that name.

    Raises:
        NotFound: no store there. BrokenArtifact: the pointer is damaged or foreign.
        VersionMismatch: written with other tables.
    """
    path = folder / POINTER
    try:
        pointer = json.loads(path.read_text(encoding="utf8"))
        catalog, schema = pointer["catalog"], pointer["schema"]
        digest = pointer["digest"]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"no store in {folder}: {POINTER} is not there; run `readout-atlas build RUN` or "
            f"`readout-atlas demo`"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BrokenArtifact(
            f"{path} is not the pointer of a store; run `readout-atlas build RUN`"
        ) from error
    if schema != CATALOG:
        raise VersionMismatch(
            f"{path} has schema {schema}, this code reads {CATALOG}; run `readout-atlas build RUN`"
        )
    if catalog != f"catalog-{digest[:16]}.duckdb":
        raise BrokenArtifact(f"{path} names {catalog!r}; run `readout-atlas build RUN`")
    return pointer
