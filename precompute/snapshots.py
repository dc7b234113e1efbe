"""Snapshots into a store: one matrix of one model at one step, as a safetensors file of its own.

It is looked for in this order: the store; a loose file of a mirror; the pre-extracted data set;
the model's checkpoint at that step, of which only the shard with the matrix is fetched and given
back afterwards (crosscoder-method sections 1.2 and 5.6). Checked for its shape and for values
that are not finite, kept in the numbers it was released in, with where it came from beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, isfinite

from atlas.artifacts import MATRICES, snapshot_path
from atlas.errors import AtlasError, BrokenArtifact, HubError
from atlas.inventory import ROWS
from atlas.tensor_files import TensorFile, save_tensors, sha256, write_json
from precompute.fetching import (
    Fetched,
    Listed,
    NotCached,
    NotInMirror,
    NotThere,
    Source,
    find,
    place,
)
from precompute.hub_failures import missing_text
from precompute.kept import Report
from precompute.models import fetch_matrix, open_checkpoint, revision_of
from precompute.pickles import load_pickle
from precompute.safety import megabytes, require_space

EXTRACTED = "matteohe/wu-crosscoder-snapshots"
"""Data set with matrices that were taken out of their checkpoints already."""


@dataclass(frozen=True)
class Wanted:
    """The snapshots of one dictionary."""

    model_name: str
    """Id on the hub."""
    label: str
    """First part of the run id."""
    matrix: str
    steps: Sequence[int]
    d_model: int
    revision: str | None = None
    """Set for a finished model: the branch that stands for its one step."""
    rows: int | None = None
    """Vocabulary rows where they are known beforehand."""

    def path(self, store: Path, step: int) -> Path:
        """Where a snapshot lies in a store."""
        return snapshot_path(store, self.model_name, step, self.matrix)

    def missing(self, store: Path) -> list[int]:
        """Steps whose snapshot is not in a store."""
        return [step for step in self.steps if not self.path(store, step).is_file()]

    @property
    def expected_rows(self) -> int | None:
        """V, from what is recorded of the model if nothing else said it."""
        return self.rows or ROWS.get(self.model_name, (None, None))[0]

    @property
    def bytes(self) -> int:
        """Of one snapshot in float32; 0 where V is not known."""
        return 4 * (self.expected_rows or 0) * self.d_model


def fetch_snapshots(
    source: Source, store: Path, wanted: Wanted, report: Report, keep: Sequence[int] = (),
    kept: list[Fetched] | None = None,
) -> None:
    """Bring every snapshot of `wanted` into a store; what is there is left as it is.

    Args:
        source: the hub or a mirror.
        store: the store folder.
        report: called with a line per snapshot.
        keep: steps whose shards are not given back but added to `kept`, for the whole model may be
            made of them too.

    Raises:
        NotThere, NotCached: one or more cannot be had; the line names all of them. BrokenArtifact:
        one is not what it should be; those before it are kept. NoSpace: before the first byte.
    """
    for step in wanted.steps:
        if wanted.path(store, step).is_file():
            check_snapshot(wanted.path(store, step), wanted)
    missing = wanted.missing(store)
    if not missing:
        return
    (store / "snapshots").mkdir(parents=True, exist_ok=True)
    require_space(store / "snapshots" / "new", len(missing) * wanted.bytes)
    loose = {step: source.loose_snapshot(wanted.model_name, step, wanted.matrix)
             for step in missing}
    extracted: Mapping[str, Listed] = {}
    if any(path is None for path in loose.values()):
        try:
            extracted = find(source, EXTRACTED, repo_type="dataset")
        except HubError as error:
            report(f"note: {EXTRACTED} is not used ({error})")
    _check_branches(source, wanted, [s for s in missing if loose[s] is None
                                     and in_data_set(extracted, wanted, s) is None])
    report(f"{len(missing)} snapshots of {wanted.matrix} of {wanted.model_name}"
           + (f", {megabytes(len(missing) * wanted.bytes)} in float32" if wanted.bytes else ""))
    without: list[str] = []
    for number, step in enumerate(missing, 1):
        report(f"{wanted.model_name} {wanted.matrix}: snapshot {number} of {len(missing)}, "
               f"step {step}")
        try:
            path = loose[step]
            if path is not None:
                _take_file(store, wanted, step, Fetched(path, sha256(path), path.stat().st_size,
                                                        None), {"file": str(path)})
                continue
            name = in_data_set(extracted, wanted, step)
            if name is not None and _from_data_set(source, store, wanted, step, name, report):
                continue
            shard = _from_checkpoint(source, store, wanted, step)
            if step in keep and kept is not None:
                kept.append(shard)
            else:
                source.release(shard)
        except NotCached as error:
            without += error.names
    if without:
        raise NotCached(missing_text(without, source.name), tuple(without))


def check_snapshot(path: Path, wanted: Wanted) -> None:
    """BrokenArtifact unless a file holds the one matrix in the expected shape."""
    file = TensorFile(path)
    if file.names != (wanted.matrix,):
        raise BrokenArtifact(f"{path} is no snapshot of {wanted.matrix}: it holds "
                             f"{', '.join(file.names[:6]) or 'nothing'}; remove it")
    _check_shape(str(path), file.shape(wanted.matrix), wanted)


def _check_shape(what: str, shape: Sequence[int], wanted: Wanted) -> None:
    rows = wanted.expected_rows
    if len(shape) != 2 or shape[1] != wanted.d_model or rows not in (None, shape[0]):
        raise BrokenArtifact(
            f"{what} is {tuple(shape)}, expected ({rows or 'any'}, {wanted.d_model}) of "
            f"{wanted.matrix} of {wanted.model_name}"
        )


def _check_branches(source: Source, wanted: Wanted, steps: Sequence[int]) -> None:
    """Every step that must come from a checkpoint has one, before the first is fetched."""
    lost: list[AtlasError] = []
    for step in steps:
        try:
            revision_of(source, wanted.model_name, step, wanted.revision)
        except NotCached:
            return  # offline: told file by file
        except NotThere as error:
            lost.append(error)
    if not lost:
        return
    if isinstance(lost[0], NotInMirror):
        name = wanted.path(Path("."), steps[0]).name
        raise NotInMirror(
            f"{source.name} has {len(lost)} of {len(wanted.steps)} snapshots of {wanted.matrix} of "
            f"{wanted.model_name} not: steps {_listed(steps)}; put files such as snapshots/{name} "
            f"or {wanted.model_name}/step{steps[0]}/ into it"
        )
    raise lost[0] if len(lost) == 1 else NotThere(
        f"{wanted.model_name} has no branch for {len(lost)} steps ({_listed(steps)}): {lost[0]}"
    )


def _listed(steps: Sequence[int]) -> str:
    return ", ".join(map(str, steps[:8])) + (", …" if len(steps) > 8 else "")


def in_data_set(files: Mapping[str, Listed], wanted: Wanted, step: int) -> str | None:
    """Path of a snapshot in the data set; None if it has none.

    Other folders are not searched: one cache of W_E is kept under names of W_U (section 5.6).
    """
    stem = (f"{wanted.model_name.replace('/', '_')}_step{step}_{MATRICES[wanted.matrix]}")
    shorts = {wanted.label, wanted.model_name.split("/")[-1]}
    folders = ["", "snapshots/", *(f"{a}{short}/" for a in ("", "snapshots/") for short in shorts)]
    names = (f"{folder}{stem}{suffix}" for suffix in (".safetensors", ".pt") for folder in folders)
    return next((name for name in names if name in files), None)


def _from_data_set(
    source: Source, store: Path, wanted: Wanted, step: int, name: str, report: Report
) -> bool:
    """Take a snapshot from the data set; False, and a note, where the checkpoint must serve."""
    fetched = None
    try:
        fetched = source.download(EXTRACTED, name, repo_type="dataset")
        _take_file(store, wanted, step, fetched, {
            "repository": EXTRACTED, "commit": fetched.commit, "file": name,
        })
    except (BrokenArtifact, HubError) as error:
        report(f"note: {name} of {EXTRACTED} is not used, the checkpoint is ({error})")
        return False
    finally:
        if fetched is not None:
            source.release(fetched)
    return True


def _take_file(
    store: Path, wanted: Wanted, step: int, fetched: Fetched, origin: dict[str, Any]
) -> None:
    """A file that holds nothing but the matrix: linked where it already has the store's form."""
    path, target = fetched.path, wanted.path(store, step)
    if path.suffix == ".safetensors":
        file = TensorFile(path)
        if len(file.names) != 1:
            raise BrokenArtifact(f"{path} holds {len(file.names)} tensors, expected one matrix")
        name = file.names[0]
        _check(str(path), file.stored(name), wanted)
        if name == wanted.matrix:
            place(path, target)
            return _note(target, wanted, fetched, origin | {"tensor": name})
        return _keep(target, file.stored(name), wanted, fetched, origin | {"tensor": name})
    value = load_pickle(path)
    if isinstance(value, dict) and len(value) == 1:
        value = next(iter(value.values()))
    if not isinstance(value, Tensor):
        raise BrokenArtifact(f"{path} holds a {type(value).__name__}, expected one matrix")
    return _keep(target, value, wanted, fetched, origin)


def _from_checkpoint(source: Source, store: Path, wanted: Wanted, step: int) -> Fetched:
    """Take the matrix out of a checkpoint; the shard it came from."""
    revision = revision_of(source, wanted.model_name, step, wanted.revision)
    checkpoint = open_checkpoint(source, wanted.model_name, revision)
    fetched, name, matrix = fetch_matrix(source, checkpoint, wanted.matrix)
    _keep(wanted.path(store, step), matrix, wanted, fetched, {
        "repository": wanted.model_name, "revision": revision, "commit": fetched.commit,
        "file": fetched.path.name, "tensor": name,
    })
    return fetched


def _keep(
    target: Path, matrix: Tensor, wanted: Wanted, fetched: Fetched, origin: dict[str, Any]
) -> None:
    _check(f"{origin.get('tensor', 'the matrix')} of {fetched.path}", matrix, wanted)
    save_tensors(target, {wanted.matrix: matrix})
    _note(target, wanted, fetched, origin)


def _check(what: str, matrix: Tensor, wanted: Wanted) -> None:
    _check_shape(what, matrix.shape, wanted)
    if not matrix.is_floating_point():
        raise BrokenArtifact(f"{what} has numbers of type {matrix.dtype}, expected floats")
    for start in range(0, len(matrix), 4096):
        block = matrix[start : start + 4096]
        bad = (~isfinite(block)).nonzero()
        if len(bad):
            row, column = bad[0].tolist()
            raise BrokenArtifact(
                f"{what} holds values that are not finite, the first at ({start + row}, {column})"
            )


def _note(target: Path, wanted: Wanted, fetched: Fetched, origin: dict[str, Any]) -> None:
    """Where a snapshot came from, beside it."""
    file = TensorFile(target)
    write_json(target.with_suffix(".json"), origin | {
        "sha256_of_file": fetched.sha256, "sha256": sha256(target),
        "shape": list(file.shape(wanted.matrix)), "matrix": wanted.matrix,
    })
