"""What a run was made from and what is finished of it: hashes of inputs, the run's file."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atlas.artifacts import RunFolder, read_run, snapshot_path
from atlas.errors import BrokenArtifact, InvalidValue, NotFound
from atlas.places import model_path, run_path
from atlas.schema import MAX_SNAPSHOTS, SCHEMA
from atlas.store import POINTER
from atlas.tensor_files import sha256, write_json
from atlas.turnover import CONTROL, CONTROL_FACTS
from precompute.reader import example_files
from precompute.trial import gallery_files, named, trial_files
from precompute.writer import read_meta

CODE = 5
"""Version of what the stages compute; a change makes every run be computed again."""

COUNTS = "token_counts.safetensors"
"""File of a model's folder that not every model has, and that a run needs where it has."""

Report = Callable[[str], None]


def silent(line: str) -> None:
    """The report of a caller that wants none."""


def run_folder(store: Path, run: str) -> RunFolder:
    """The run folder of an id, checked: what it holds, what it says it is, what fits the store."""
    if not _is_run_id(run):
        raise InvalidValue(f"{run!r} is no run id; `readout-atlas runs` lists the runs")
    path = run_path(store, run)
    if not path.is_dir():
        raise NotFound(f"{path} is not there; `readout-atlas runs` lists the runs of the store")
    folder = read_run(path)
    if folder.run != run:
        raise BrokenArtifact(f"{path / 'config.json'} says it is run {folder.run!r}, not {run!r}")
    if len(folder.steps) > MAX_SNAPSHOTS:
        raise InvalidValue(f"run {run} has {len(folder.steps)} snapshots; at most {MAX_SNAPSHOTS}")
    if folder.kind != "crosscoder" and len(folder.steps) != 1:
        raise BrokenArtifact(f"{path / 'config.json'}: a {folder.kind} has one step")
    return folder


def _is_run_id(run: str) -> bool:
    parts = run.split("/")
    return bool(run) and len(run) < 256 and all(
        part and not part.startswith(".") and part.isascii()
        and all(c.isalnum() or c in "._-+" for c in part)
        for part in parts
    )


def input_files(store: Path, folder: RunFolder) -> list[Path]:
    """Every file a run is derived from; NotFound names the first that is missing."""
    files = needed_files(store, folder)
    more = [*example_files(store, folder), *trial_files(store, folder),
            *gallery_files(store, folder), *control_files(folder)]
    return list(dict.fromkeys([*files, *more]))


def control_files(folder: RunFolder) -> list[Path]:
    """The shuffled-row control's two files; none unless both are there."""
    files = [folder.path / name for name in (CONTROL, CONTROL_FACTS)]
    return files if all(f.is_file() for f in files) else []


def needed_files(store: Path, folder: RunFolder) -> list[Path]:
    """Those of them that no run can do without; the others are for its examples, its trials and its
    control."""
    model = model_path(store, folder.config["model"])
    files = [
        *(folder.path / name for name in ("config.json", "metrics.json", "provenance.json")),
        folder.weights,
        model / "tokenizer.json",
        *(snapshot_path(store, folder.config["model_name"], step, folder.config["matrix"])
          for step in folder.steps),
    ]
    counts = model / COUNTS
    files += [counts] if counts.is_file() else []
    missing = [f for f in files if not f.is_file()]
    if missing:
        raise NotFound(
            f"{missing[0]} is not there ({len(missing)} of {len(files)} inputs missing); fetch or "
            f"train it with `readout-atlas build {folder.run}`"
        )
    return files


def input_hashes(
    store: Path, folder: RunFolder, process: str = "", remember: bool = True
) -> dict[str, str]:
    """sha256 of every file the run is derived from, by path relative to the store, or to the
    project for data that come with it.

    Hashes of files that did not change in size and time since the last call are remembered in
    the stages folder: the inputs of a released run are ten gigabytes.

    Args:
        process: sets apart the memory of one process among several.
        remember: write down what had to be hashed.
    """
    memory = folder.path / "stages" / f"hashes{process}.json"
    known = read_manifest(memory)
    hashes, seen = {}, {}
    for file in input_files(store, folder):
        name, stat = named(store, file), file.stat()
        stamp = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
        entry = known.get(name)
        digest = entry[1] if entry and entry[0] == stamp else sha256(file)
        hashes[name], seen[name] = digest, [stamp, digest]
    if remember and seen != known:
        write_json(memory, seen)
    return hashes


def read_manifest(path: Path) -> dict[str, Any]:
    """What a JSON file of ours says; an empty table if it is not there or not whole."""
    try:
        value = json.loads(path.read_text(encoding="utf8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def canonical(value: Any) -> str:
    """JSON text that is equal for equal values."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


# --- the run's file ----------------------------------------------------------------------------


def point_to(folder: Path, path: Path, digest: str) -> None:
    """Make `path` the file of a run, last of all."""
    write_json(folder / POINTER, {
        "file": path.name, "digest": digest, "sha256": sha256(path),
        "bytes": path.stat().st_size, "schema": SCHEMA,
    })


def pointed(folder: Path) -> dict[str, Any] | None:
    """The pointer of a run folder if it is whole, read by this schema and names a file there."""
    pointer = read_manifest(folder / POINTER)
    names = {"file", "digest", "sha256", "bytes", "schema"}
    if not names <= set(pointer) or pointer["schema"] != SCHEMA:
        return None
    path = folder / Path(pointer["file"]).name
    if not path.is_file() or path.stat().st_size != pointer["bytes"]:
        return None
    return pointer


def current_file(folder: Path, inputs: dict[str, str]) -> tuple[Path, str] | None:
    """A run's file and its digest, if it is undamaged and was made from these inputs."""
    pointer = pointed(folder)
    if pointer is None:
        return None
    path = folder / pointer["file"]
    if sha256(path) != pointer["sha256"]:
        return None
    meta = read_meta(path)
    same = meta.get("code") == str(CODE) and _made_from(json.loads(meta["inputs"]), inputs)
    return (path, pointer["digest"]) if same else None


def _made_from(made: dict[str, str], inputs: dict[str, str]) -> bool:
    """Whether the inputs a file was made from are these.

    What only its examples, trials or control were read from may be gone: a share brings what was
    made of them. And where one language model was asked, those of further steps, which may come
    with another run, leave the file as it is: they would add to its trials, no more.
    """
    gone = made.keys() - inputs.keys()
    came = set(inputs) - set(made)
    if any(map(_is_body, made)):
        came = {name for name in came if not _is_body(name)}
    same = all(inputs[name] == made[name] for name in inputs.keys() & made.keys())
    return same and not came and not any(name.endswith(f"/{COUNTS}") for name in gone)


def _is_body(name: str) -> bool:
    """Whether a file is a language model's own at some step, or of one that lies there whole."""
    return re.match(r"models/[^/]+/(step\d+\.safetensors$|whole/step\d+/)", name) is not None
