"""Language models from the hub: which files hold one, its one shard with a matrix, all of it.

A model at a pretraining step is a branch of its repository: `step<N>` for Pythia, for OLMo-2 the
branch whose name starts with `stage1-step<N>`, found by listing them (crosscoder-method section
1.2). A step without a branch is never replaced by a neighbour. Weights are read from their shards
by name; no model is built.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from atlas.errors import BrokenArtifact, HubError
from atlas.head_rows import matrix_source
from atlas.places import model_path
from atlas.tensor_files import TensorFile, read_json, save_tensors, write_json
from precompute.fetching import (
    Fetched,
    Listed,
    NotCached,
    NotInMirror,
    NotThere,
    Source,
    check_names,
    find,
    place,
)
from precompute.hub_failures import missing_text
from precompute.kept import Report
from precompute.pickles import load_pickle
from precompute.safety import megabytes, require_space, settle, staged_name, sweep

WHOLE_LIMIT = 8_000_000_000
"""Bytes up to which a whole model is fetched without being asked for."""
CONFIG, TOKENIZER = "config.json", "tokenizer.json"
BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
"""Small files that are taken along where they are."""
SOURCE = "source.json"
"""In `models/<label>/`: where the model came from, and whether it is whole."""
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED, PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"


@dataclass(frozen=True)
class Checkpoint:
    """A language model at one revision of its repository."""

    repository: str
    revision: str
    config: dict[str, Any]
    shards: tuple[Listed, ...]
    """Files with the weights, each tensor once."""
    where: Mapping[str, str] | None
    """Tensor name -> shard, as the index says; None where there is one file."""

    @property
    def bytes(self) -> int:
        """Of all shards."""
        return sum(shard.bytes for shard in self.shards)

    @property
    def is_pickled(self) -> bool:
        """Whether there are only `.bin` files."""
        return self.shards[0].path.endswith(".bin")


def revision_of(source: Source, repository: str, step: int, revision: str | None = None) -> str:
    """The branch that holds a model at a step.

    Args:
        step: pretraining step.
        revision: given for a finished model; then it is the answer.

    Raises:
        NotThere: no branch is that step; the line says which come nearest. NotCached: offline.
    """
    if revision is not None:
        return revision
    branches = source.branches(repository)
    if f"step{step}" in branches:
        return f"step{step}"
    form = re.compile(rf"stage1-step{step}(-tokens.*)?")
    found = [name for name in branches if form.fullmatch(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise NotThere(f"{repository} has {len(found)} branches of step {step}: {', '.join(found)}")
    if source.offline:
        name = f"{repository} at step {step}"
        raise NotCached(missing_text([name], source.name), (name,))
    steps = sorted({int(m[1]) for m in (re.fullmatch(r"(?:stage1-)?step(\d+)(?:-tokens.*)?", b)
                                       for b in branches) if m})
    near = sorted(sorted(steps, key=lambda other: abs(other - step))[:3])
    said = f"the nearest are {', '.join(map(str, near))}" if near else "it has none of any step"
    kind = NotInMirror if source.is_local else NotThere
    raise kind(f"{source.name} has no branch of {repository} for step {step} ({said}); a missing "
               "step is never replaced by another")


def open_checkpoint(source: Source, repository: str, revision: str) -> Checkpoint:
    """What holds a model's weights, from its listing, `config.json` and index.

    Raises:
        BrokenArtifact: no weights, or an index that names a file which is not there. NotCached:
        offline, and they were not fetched before.
    """
    files = source.list_files(repository, revision)
    config = read_json(source.download(repository, CONFIG, revision).path)
    if not isinstance(config, dict):
        raise BrokenArtifact(f"{repository} at {revision}: {CONFIG} is no table")
    for single, index in ((SINGLE, INDEX), (PICKLED, PICKLED_INDEX)):
        if index in files:
            where = _weight_map(source, repository, revision, index, files)
            shards = tuple(files.get(n) or Listed(n, 0) for n in sorted(set(where.values())))
            return Checkpoint(repository, revision, config, shards, where)
        if single in files:
            return Checkpoint(repository, revision, config, (files[single],), None)
    if source.offline:
        name = f"{repository}/{SINGLE} at {revision}"
        raise NotCached(missing_text([name], source.name), (name,))
    raise BrokenArtifact(
        f"{repository} at {revision} holds no weights: expected {SINGLE}, {INDEX} or {PICKLED}, "
        f"found {', '.join(sorted(files)[:8]) or 'nothing'}"
    )


def _weight_map(
    source: Source, repository: str, revision: str, index: str, files: Mapping[str, Listed]
) -> dict[str, str]:
    table = read_json(source.download(repository, index, revision).path)
    where = table.get("weight_map") if isinstance(table, dict) else None
    if not isinstance(where, dict) or not where:
        raise BrokenArtifact(f"{repository} at {revision}: {index} has no weight_map")
    for name in where.values():
        check_names(repository, revision, str(name))
        if name not in files and not source.offline:
            raise BrokenArtifact(
                f"{repository} at {revision}: {index} names {str(name)[:80]!r}, which is not there"
            )
    return {str(tensor): str(shard) for tensor, shard in where.items()}


def fetch_matrix(
    source: Source, checkpoint: Checkpoint, matrix: str
) -> tuple[Fetched, str, Tensor]:
    """The one shard with W_U or W_E, the tensor's name in it, and the tensor as it is stored.

    The tensor may be a view of the file and must not be written to.
    """
    name = None
    shard = checkpoint.shards[0]
    if checkpoint.where is not None:
        name = matrix_source(checkpoint.config, checkpoint.where, matrix)
        shard = next(s for s in checkpoint.shards if s.path == checkpoint.where[name])
    fetched = source.download(checkpoint.repository, shard.path, checkpoint.revision)
    if checkpoint.is_pickled:
        held = _pickled_tensors(fetched.path)
        name = name or matrix_source(checkpoint.config, held, matrix)
        if name not in held:
            raise BrokenArtifact(f"{fetched.path} holds no tensor {name}, though the index says so")
        return fetched, name, held[name]
    file = TensorFile(fetched.path)
    name = name or matrix_source(checkpoint.config, file.names, matrix)
    return fetched, name, file.stored(name)


def _pickled_tensors(path: Path) -> dict[str, Tensor]:
    value = load_pickle(path)
    if not isinstance(value, dict):
        raise BrokenArtifact(f"{path} is no table of tensors")
    return {str(n): t for n, t in value.items() if isinstance(t, Tensor)}


# --- into the store ------------------------------------------------------------------------------


def has_words(store: Path, label: str) -> bool:
    """Whether a model's configuration and tokenizer are in a store."""
    return all((model_path(store, label) / name).is_file() for name in (CONFIG, TOKENIZER))


def is_complete(store: Path, label: str, step: int, with_model: bool | None) -> bool:
    """Whether nothing of a model is left to fetch; asks nobody."""
    folder = model_path(store, label)
    if not has_words(store, label):
        return False
    if with_model is False or (folder / f"step{step}.safetensors").is_file():
        return True
    if _is_whole(folder, step):
        return True
    return with_model is None and str(step) in _record(folder).get("left_out", {})


def _is_whole(folder: Path, step: int) -> bool:
    return (folder / "whole" / f"step{step}" / CONFIG).is_file()


def _record(folder: Path) -> dict[str, Any]:
    path = folder / SOURCE
    return read_json(path) if path.is_file() else {}


def fetch_words(
    source: Source, store: Path, label: str, repository: str, revision: str
) -> None:
    """Configuration and tokenizer of a model into `models/<label>/`; what is there stays.

    They are the same at every step, so the main branch serves where `revision` has none.

    Raises:
        NotThere, NotCached, BrokenArtifact: as `Source.download`.
    """
    folder = model_path(store, label)
    if has_words(store, label):
        return
    revision = next((r for r in (revision, "main")
                     if {CONFIG, TOKENIZER} <= set(find(source, repository, r))), revision)
    files, hashes = source.list_files(repository, revision), {}
    for name in (CONFIG, TOKENIZER, *BESIDE):
        if (folder / name).is_file() or (name in BESIDE and name not in files):
            continue
        if name not in files and not source.offline and not source.is_local:
            raise NotThere(
                f"{repository} has no {name} at {revision}; put one of this model at "
                f"{folder / name} and run this again"
            )
        try:
            fetched = source.download(repository, name, revision)
        except (BrokenArtifact, HubError):
            if name in BESIDE:
                continue  # no reader here needs it
            raise
        place(fetched.path, folder / name)
        hashes[name] = fetched.sha256
    _write_record(folder, {"repository": repository, "revision": revision, "files": hashes,
                           "commit": source.commit_of(repository, revision)})


def wanted_whole(
    source: Source, store: Path, label: str, repository: str, step: int, revision: str,
    report: Report, with_model: bool | None,
) -> Checkpoint | None:
    """The checkpoint that is to be fetched whole; None where it is there or is left out.

    Args:
        with_model: fetch it; when None, if it is there and not larger than `WHOLE_LIMIT`.
    """
    folder = model_path(store, label)
    if with_model is False or _is_whole(folder, step):
        return None
    if with_model is None and not _has_weights(find(source, repository, revision)):
        report(f"{label}: {source.name} has no weights of {repository} at {revision}, so prompts "
               "cannot be typed; `--model` fetches them where they are")
        _leave_out(folder, step, 0)
        return None
    checkpoint = open_checkpoint(source, repository, revision)
    if with_model is None and checkpoint.bytes > WHOLE_LIMIT:
        report(f"{label}: the whole model takes {megabytes(checkpoint.bytes)} and is left out, so "
               "prompts cannot be typed; `--model` fetches it")
        _leave_out(folder, step, checkpoint.bytes)
        return None
    return checkpoint


def _has_weights(files: Mapping[str, Listed]) -> bool:
    return any(name in files for name in (SINGLE, INDEX, PICKLED, PICKLED_INDEX))


def _leave_out(folder: Path, step: int, size: int) -> None:
    left = _record(folder).get("left_out", {}) | {str(step): size}
    _write_record(folder, {"left_out": left})


def _write_record(folder: Path, more: dict[str, Any]) -> None:
    write_json(folder / SOURCE, _record(folder) | more)


def fetch_whole(
    source: Source, store: Path, label: str, checkpoint: Checkpoint, step: int, report: Report
) -> None:
    """A whole model into `models/<label>/whole/step<step>/`, in the hub's own layout.

    A model that is released as pickles only is converted.
    """
    _fetch_whole(source, checkpoint, model_path(store, label) / "whole" / f"step{step}", report)


def _fetch_whole(
    source: Source, checkpoint: Checkpoint, target: Path, report: Report
) -> None:
    """All shards, staged in a folder of their own and renamed when the last one is there."""
    repository, revision = checkpoint.repository, checkpoint.revision
    target.parent.mkdir(parents=True, exist_ok=True)
    sweep(target.parent)
    require_space(target, checkpoint.bytes if checkpoint.is_pickled else 0)
    report(f"{repository} at {revision}: the whole model, {megabytes(checkpoint.bytes)}")
    staged = staged_name(target)
    staged.mkdir(exist_ok=True)
    place(source.download(repository, CONFIG, revision).path, staged / CONFIG)
    hashes = {}
    for number, shard in enumerate(checkpoint.shards, 1):
        report(f"whole model: shard {number} of {len(checkpoint.shards)}")
        fetched = source.download(repository, shard.path, revision)
        hashes[shard.path] = fetched.sha256
        if checkpoint.is_pickled:
            converted = SINGLE if len(checkpoint.shards) == 1 else _converted(shard.path)
            save_tensors(staged / converted, _apart(_pickled_tensors(fetched.path)))
            source.release(fetched)
        else:
            place(fetched.path, staged / shard.path)
    if checkpoint.where is not None:
        named = {t: _converted(s) if checkpoint.is_pickled else s
                 for t, s in checkpoint.where.items()}
        if len(checkpoint.shards) > 1 or not checkpoint.is_pickled:
            write_json(staged / INDEX, {"metadata": {}, "weight_map": named})
    write_json(staged / SOURCE, {"repository": repository, "revision": revision,
                                 "commit": source.commit_of(repository, revision),
                                 "files": hashes})
    settle(staged, target)


def _converted(shard: str) -> str:
    return shard.removesuffix(".bin").replace("pytorch_model", "model") + ".safetensors" if (
        shard.endswith(".bin")) else shard


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that share memory (a tied head) as copies: safetensors keeps none twice at once."""
    seen: set[int] = set()
    out = {}
    for name, tensor in tensors.items():
        place_in_memory = tensor.untyped_storage().data_ptr()
        out[name] = tensor.clone() if place_in_memory in seen else tensor
        seen.add(place_in_memory)
    return out
