"""What is here of the released dictionaries; `atlas.inventory` has the list itself."""

from pathlib import Path

from atlas.inventory import HUB, ROWS, Released, find_released, released
from atlas.places import run_path
from precompute.kept import pointed

__all__ = ["HUB", "ROWS", "Released", "find_released", "released", "state"]


def state(entry: Released, store: Path, published: set[str]) -> str:
    """What is here of a released dictionary: `published`, `built`, `fetched` or `not here`."""
    if entry.run in published:
        return "published"
    folder = run_path(store, entry.run)
    if pointed(folder) is not None:
        return "built"
    return "fetched" if (folder / "provenance.json").is_file() else "not here"
