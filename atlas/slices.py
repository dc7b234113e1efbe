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

    def directions(self, k: int, features: np.ndarray) -> np.ndarray:
        """Directions of some features at snapshot k, (n, d) float32."""
        return self.file.gather(self.name, k * self.features + np.asarray(features)).numpy()

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
    return Decoder(file, name, features, threshold, base)
