"""What a shared store says of itself: its runs, their digests, every file with size and hash.

The list decides what is read: a path has to be one that a share holds, written plainly, so that
nothing outside the folder can be named (reliability section 5, R7 and R14).
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.errors import BrokenArtifact, NotFound, VersionMismatch
from atlas.schema import CATALOG_TABLES, RUN_TABLES, SCHEMA
from atlas.store import POINTER
from atlas.tensor_files import write_json
from atlas.turnover import CONTROL, CONTROL_FACTS
from precompute.kept import canonical

MANIFEST = "manifest.json"
FORMAT = "readout-atlas store"
VERSION = 1
"""Version of the layout of a share."""
SHARED = "shared.json"
"""File in the folder of a run that came from a share: of which, and whether with its weights."""
TABLES = "tables"
"""Folder of a run's Parquet files."""
CATALOG = "catalog"
"""Folder of the Parquet files over all runs."""
RUN_FILES = ("config.json", "metrics.json", "provenance.json")
NOTICES = ("NOTICES.md", "licences")
"""Files of a store that speak of the licences of what it was made from; they travel with it."""
MAX_MANIFEST = 16_000_000
MAX_JSON = 80_000_000
"""Bytes of a JSON or text file; the largest tokenizers have 35 MB."""
MAX_FILES = 20_000

TEXT = (".json", ".md", ".txt", ".jinja", ".model")
"""Endings of files that are small; none of them is ever run."""

REMADE = tuple(t.name for t in CATALOG_TABLES if t.name not in ("meta", "run"))
"""Tables of the catalog that are made again from what a share holds. That of the runs holds hashes
of database files, which are written anew each time."""
MATCHES = "matches"
"""Folder of a store with what was matched between its runs."""

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")
_SHA = re.compile(r"[0-9a-f]{64}")
_RUN_TABLES = {f"{t.name}.parquet" for t in RUN_TABLES}
_MATCH = re.compile(r"[0-9a-f]{32}\.(json|safetensors)")
_CATALOG_TABLES = {f"{t.name}.parquet" for t in CATALOG_TABLES if t.name != "meta"}


@dataclass(frozen=True)
class SharedFile:
    """One file of a share."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class SharedRun:
    """One run of a share."""

    model: str
    """Short name of its language model."""
    digest: str
    """Content digest of its file in the store."""


@dataclass(frozen=True)
class Manifest:
    """A share, before any of its files is read."""

    runs: dict[str, SharedRun]
    catalog: dict[str, str]
    """Content digests of the catalog's tables that can be made again (`REMADE`)."""
    weights: bool
    """Whether dictionaries, snapshots and models are there for live decompositions."""
    files: dict[str, SharedFile]

    @property
    def store(self) -> str:
        """Digest of all that the share says."""
        said = [sorted((run, r.digest) for run, r in self.runs.items()), self.catalog]
        return hashlib.sha256(canonical(said).encode()).hexdigest()

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())

    @property
    def models(self) -> list[str]:
        """Short names of its language models."""
        return sorted({run.model for run in self.runs.values()})


def schema_digest() -> str:
    """Digest of the tables this code reads and writes: names, columns and types."""
    said = [
        [t.name, t.key, [(c.name, c.type) for c in t.columns]]
        for t in (*RUN_TABLES, *CATALOG_TABLES)
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def write_manifest(folder: Path, manifest: Manifest) -> Path:
    """Write `manifest.json`; it names no time and no machine, so the same store gives the same."""
    check(folder / MANIFEST, manifest)
    write_json(folder / MANIFEST, {
        "format": FORMAT,
        "version": VERSION,
        "schema": {"version": SCHEMA, "digest": schema_digest()},
        "store": manifest.store,
        "weights": manifest.weights,
        "runs": {run: vars(r) for run, r in sorted(manifest.runs.items())},
        "catalog": manifest.catalog,
        "files": {path: vars(f) for path, f in sorted(manifest.files.items())},
    })
    return folder / MANIFEST


def read_manifest(path: Path) -> Manifest:
    """Read a manifest of someone else's.

    Raises:
        NotFound: it is not there. VersionMismatch: other tables than this code's.
        BrokenArtifact: it is damaged, names a file that no share holds or lacks one it needs.
    """
    found = read_bounded(path, MAX_MANIFEST)
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise BrokenArtifact(f"{path} is not the manifest of a shared store")
    schema = found.get("schema")
    if found.get("version") != VERSION or not isinstance(schema, dict):
        raise VersionMismatch(
            f"{path} has layout {found.get('version')!r:.20}, this code reads {VERSION}"
        )
    if (schema.get("version"), schema.get("digest")) != (SCHEMA, schema_digest()):
        raise VersionMismatch(
            f"{path} holds tables of schema {schema.get('version')!r:.20} "
            f"({str(schema.get('digest'))[:12]}), this code reads {SCHEMA} "
            f"({schema_digest()[:12]}); ask for a newer share or build the runs"
        )
    try:
        manifest = Manifest(
            runs={str(run): SharedRun(str(r["model"]), _hash(r["digest"]))
                  for run, r in found["runs"].items()},
            catalog={name: _hash(found["catalog"][name]) for name in REMADE},
            weights=found["weights"] is True,
            files={str(name): SharedFile(_size(f["bytes"]), _hash(f["sha256"]))
                   for name, f in found["files"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BrokenArtifact(f"{path} is damaged ({error!r:.120}); fetch it again") from error
    check(path, manifest)
    if found.get("store") != manifest.store:
        raise BrokenArtifact(f"{path}: its store digest is not that of its runs; fetch it again")
    return manifest


def _hash(value: Any) -> str:
    if not isinstance(value, str) or not _SHA.fullmatch(value):
        raise ValueError(f"{value!r:.40} is no sha256")
    return value


def _size(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.40} is no size")
    return value


def plain(name: str) -> bool:
    """Whether a relative path is written plainly: no way up, nothing hidden, no odd character."""
    return len(name) < 512 and all(_PART.fullmatch(part) for part in name.split("/"))


def check(path: Path, manifest: Manifest) -> None:
    """BrokenArtifact unless every name is plain and known and nothing needed is missing."""
    for run, shared in manifest.runs.items():
        if not plain(run) or len(run) > 255 or not plain(shared.model) or "/" in shared.model:
            raise BrokenArtifact(f"{path} names a run {run[:80]!r} of {shared.model[:40]!r}")
    if not manifest.runs or len(manifest.files) > MAX_FILES:
        raise BrokenArtifact(
            f"{path} lists {len(manifest.runs)} runs in {len(manifest.files):,} files; at least "
            f"1 run and at most {MAX_FILES:,} files are read"
        )
    for name, file in manifest.files.items():
        if not plain(name) or not _known(name, manifest):
            raise BrokenArtifact(f"{path} lists {name[:120]!r}, which no shared store holds")
        if name.endswith(TEXT) and file.bytes > MAX_JSON:
            raise BrokenArtifact(
                f"{path}: {name} would have {file.bytes:,} bytes, at most {MAX_JSON:,} are read"
            )
    for name in needed(manifest):
        if name not in manifest.files:
            raise BrokenArtifact(f"{path} does not list {name}, without which it cannot be opened")


def needed(manifest: Manifest) -> list[str]:
    """Files without which a share cannot be opened."""
    names = [f"{CATALOG}/{name}" for name in sorted(_CATALOG_TABLES)]
    for run in manifest.runs:
        names += [f"runs/{run}/{name}" for name in RUN_FILES]
        names += [f"runs/{run}/{TABLES}/{name}" for name in sorted(_RUN_TABLES)]
    return names + [f"models/{label}/tokenizer.json" for label in manifest.models]


def _known(name: str, manifest: Manifest) -> bool:
    top, _, rest = name.partition("/")
    kept = name.endswith((*TEXT, ".safetensors"))
    if top in ("README.md", NOTICES[0]):
        return rest == ""
    if top == NOTICES[1]:
        return name.endswith(TEXT)
    if top == CATALOG:
        return rest in _CATALOG_TABLES
    if top == "models":
        return kept and rest.split("/")[0] in manifest.models and "/" in rest
    if top == MATCHES:
        return _MATCH.fullmatch(rest) is not None
    if top == "snapshots":
        return name.endswith(".safetensors") and "/" not in rest
    return top == "runs" and any(
        rest == f"{run}/{end}"
        for run in manifest.runs if rest.startswith(f"{run}/")
        for end in (*RUN_FILES, "dictionary.safetensors", CONTROL, CONTROL_FACTS,
                    *(f"{TABLES}/{t}" for t in _RUN_TABLES))
    )


def read_bounded(path: Path, most: int = MAX_JSON) -> Any:
    """Contents of a JSON file of someone else's; NotFound or BrokenArtifact with its name."""
    try:
        size = path.stat().st_size
        if size > most:
            raise BrokenArtifact(f"{path} has {size:,} bytes, at most {most:,} are read")
        return json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there") from error
    except OSError as error:
        raise BrokenArtifact(f"{path} cannot be read ({error})") from error
    except (ValueError, RecursionError) as error:
        raise BrokenArtifact(f"{path} is not JSON ({str(error)[:120]})") from error


def is_share(folder: Path) -> bool:
    """Whether a folder is a share, and not a store."""
    return (folder / MANIFEST).is_file() and not (folder / POINTER).is_file()


def is_bare(folder: Path) -> bool:
    """Whether a run came from a share without its weights, and has none since."""
    return (folder / SHARED).is_file() and not (folder / "dictionary.safetensors").is_file()


def about(run: str, digest: str) -> Mapping[str, str]:
    """What a Parquet file of a run says of where it comes from."""
    return {"run": run, "digest": digest, "schema": str(SCHEMA)}
