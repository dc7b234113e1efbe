"""What one decomposition needs of a run's files: some rows of each, read without loading any.

A decoder of 24,576 features at 32 snapshots is 2.4 GB; a score of two tokens asks for a few
hundred of its rows at each snapshot. Files are opened once and kept open as long as they do not
change; nothing but headers and vectors is kept of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch

from atlas.artifacts import THRESHOLD, read_logarithm, read_run, snapshot_path
from atlas.errors import BrokenArtifact, NotFound
from atlas.records import RunCard
from atlas.tensor_files import TensorFile


def stamp(path: Path) -> tuple[int, int]:
    """What changes when a file, or the files of a folder, are replaced: time and size.

    Raises:
        NotFound: it is not there.
    """
    try:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        found = [file.stat() for file in files]
    except OSError as error:
        raise NotFound(f"{path} is not there; `readout-atlas doctor` tells what to do") from error
    return max((s.st_mtime_ns for s in found), default=0), sum(s.st_size for s in found)


def _open(path: Path) -> TensorFile:
    return _open_once(path, stamp(path))


@lru_cache(maxsize=160)
def _open_once(path: Path, changed: tuple[int, int]) -> TensorFile:
    return TensorFile(path)


# --- rows ----------------------------------------------------------------------------------------


def open_snapshot(store: Path, model_name: str, step: int, matrix: str) -> TensorFile:
    """The file of a snapshot; BrokenArtifact unless it holds that matrix and nothing else."""
    path = snapshot_path(store, model_name, step, matrix)
    file = _open(path)
    if file.names != (matrix,) or len(file.shape(matrix)) != 2:
        raise BrokenArtifact(f"{path} is not a snapshot of {matrix}: it holds {list(file.names)}")
    return file


def rows_of(store: Path, card: RunCard, step: int, tokens: Sequence[int]) -> np.ndarray:
    """Raw rows of some tokens at a snapshot of a run, (n, d) float32."""
    file = open_snapshot(store, card.model_name, step, card.matrix)
    return file.gather(card.matrix, np.asarray(tokens, dtype=np.int64)).numpy()


def standards_of(store: Path, card: RunCard, step: int) -> tuple[np.ndarray, float]:
    """Mean (d,) float32 and scale of a snapshot's rows, read from the file in blocks.

    For stores that do not keep them; the figures are kept as long as the file stays the same.
    """
    file = open_snapshot(store, card.model_name, step, card.matrix)
    return _standards(file.path, card.matrix, stamp(file.path))


@lru_cache(maxsize=2048)
def _standards(path: Path, matrix: str, changed: tuple[int, int]) -> tuple[np.ndarray, float]:
    file = _open(path)
    count, width = file.shape(matrix)
    total, squares = torch.zeros(width, dtype=torch.float64), 0.0
    shift = None
    for _, block in file.blocks(matrix):
        shift = block.mean(dim=0) if shift is None else shift
        block = block - shift  # a common offset would eat the digits of the squares
        total += block.sum(dim=0, dtype=torch.float64)
        squares += float(block.square().sum(dtype=torch.float64))
    if shift is None:
        raise BrokenArtifact(f"{path} holds no row of {matrix}")
    mean = total / count
    variance = (squares / count - float(mean.square().sum())) / width
    return (mean + shift).float().numpy(), max(variance, 1e-8) ** 0.5


BY_FEATURE_FILE, BY_FEATURE = "directions.safetensors", "directions"
"""The file of a run folder with its directions laid out by feature, and the tensor in it: (D, K d),
the course of a feature in one piece."""
MOST_BYTES = 2**28
"""Bytes of courses that are held for one question."""
LOOKED_AT = 12
"""Features by which a file of courses is told from another dictionary's."""

# --- directions ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decoder:
    """A dictionary without its encoder, read by the row."""

    file: TensorFile
    name: str
    """The tensor of the directions: (K, D, d), or (D, d) of a single snapshot."""
    features: int
    """D."""
    threshold: np.ndarray
    """(D,) float32; zeros where every positive activation of the code counts."""
    offset: np.ndarray
    """(K, d) float32: b_D of a crosscoder, the row mean of a prism."""
    by_feature: TensorFile | None = None
    """The same directions laid out by feature (`precompute.by_feature`), if that file is there."""

    def directions(self, k: int, features: np.ndarray) -> np.ndarray:
        """Directions of some features at snapshot k, (n, d) float32."""
        return self.file.gather(self.name, k * self.features + np.asarray(features)).numpy()

    def courses(self, features: np.ndarray) -> np.ndarray | None:
        """Directions of some features at all snapshots, (n, K, d) float32, a read for each.

        None where they are not laid out by feature, or together take more than `MOST_BYTES`.
        """
        count, width = self.offset.shape
        if self.by_feature is None or 4 * len(features) * count * width > MOST_BYTES:
            return None
        rows = self.by_feature.gather(BY_FEATURE, np.asarray(features, dtype=np.int64))
        return rows.numpy().reshape(len(features), count, width)

    @cached_property
    def row_norms(self) -> np.ndarray:
        """(V,), lengths of the centred rows; prisms only."""
        return self.file.read("row_norms").numpy()


def open_decoder(store: Path, card: RunCard) -> Decoder:
    """The decoder of a run.

    Raises:
        NotFound: the file is not there. BrokenArtifact: it is damaged or of another shape.
    """
    folder = store / card.folder
    return _open_decoder(
        folder, len(card.steps), card.kind == "prism", stamp(folder / "dictionary.safetensors")
    )


@lru_cache(maxsize=16)
def _open_decoder(
    folder: Path, snapshots: int, is_prism: bool, changed: tuple[int, int]
) -> Decoder:
    run = read_run(folder)
    file, settings = TensorFile(run.weights), run.config["config"]
    features, d_model = settings["d_sae"], settings["d_model"]
    name, offset = ("decoder", "row_mean") if is_prism else ("W_D", "b_D")
    flat = snapshots == 1 and len(file.shape(name)) == 2
    leading = () if flat else (snapshots,)
    shapes = {name: (*leading, features, d_model), offset: (*leading, d_model)}
    threshold = np.zeros(features, dtype=np.float32)
    if not is_prism and settings.get("act_fn", "jumprelu") == "jumprelu":
        shapes[THRESHOLD] = (features,)
        file.require([THRESHOLD])
        threshold = read_logarithm(file, THRESHOLD).exp().numpy()
    file.expect(shapes, str(folder / "config.json"))
    base = file.read(offset).reshape(snapshots, d_model).clone().numpy()
    beside = _laid_out(folder, file, name, (snapshots, features, d_model))
    return Decoder(file, name, features, threshold, base, beside)


def _laid_out(
    folder: Path, file: TensorFile, name: str, shape: tuple[int, int, int]
) -> TensorFile | None:
    """The directions by feature, if they are there and those of this dictionary."""
    path = folder / BY_FEATURE_FILE
    if not path.is_file():
        return None
    try:
        found = TensorFile(path)
        return found if holds_by_feature(found, file, name, shape) else None
    except BrokenArtifact:
        return None


def holds_by_feature(
    found: TensorFile, file: TensorFile, name: str, shape: tuple[int, int, int]
) -> bool:
    """Whether a file has the directions (K, D, d) of a dictionary laid out by feature.

    Looked at are the shape and `LOOKED_AT` features, their courses equal to the last bit.
    """
    count, features, width = shape
    if found.names != (BY_FEATURE,) or found.shape(BY_FEATURE) != (features, count * width):
        return False
    some = np.unique(np.linspace(0, features - 1, LOOKED_AT).astype(np.int64))
    rows = (np.arange(count) * features + some[:, None]).ravel()
    true = file.gather(name, rows).reshape(len(some), -1)
    return torch.equal(found.gather(BY_FEATURE, some), true)
