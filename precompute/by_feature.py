"""The directions of a large dictionary a second time, laid out by feature.

A dictionary keeps the directions of one snapshot together. A score needs some hundred features at
all snapshots: 20,000 short reads, a second or more where the system has to fetch them from a disk.
Laid out by feature that is a read per feature. The file is derived, may be removed at any time, and
takes as much space as the decoder.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from atlas.artifacts import RunFolder
from atlas.errors import AtlasError
from atlas.slices import BY_FEATURE, BY_FEATURE_FILE, holds_by_feature
from atlas.tensor_files import TensorFile, save_blocks
from precompute.kept import Report

LEAST_BYTES = 64 * 2**20
"""A smaller decoder stays in memory whichever way it is read."""
BLOCK = 512
"""Features that are laid out at a time."""


def bytes_by_feature(snapshots: int, features: int, width: int) -> int:
    """Bytes of the file of a dictionary; 0 for one that has none."""
    size = 4 * snapshots * features * width
    return size if snapshots > 1 and size >= LEAST_BYTES else 0


def lay_out(folder: RunFolder, report: Report) -> bool:
    """Write the file if the run should have it and has not; whether it was written.

    Raises:
        NoSpace: the disk is full.
    """
    if folder.kind != "crosscoder":
        return False
    file, path = TensorFile(folder.weights), folder.path / BY_FEATURE_FILE
    count, features, width = file.shape("W_D")
    wanted = bytes_by_feature(count, features, width)
    if not wanted or _is_there(path, file, (count, features, width)):
        return False
    report(f"directions by feature: {path.name}")
    save_blocks(path, BY_FEATURE, (features, count * width), _blocks(file, count, features))
    return True


def _is_there(path: Path, file: TensorFile, shape: tuple[int, int, int]) -> bool:
    try:
        return path.is_file() and holds_by_feature(TensorFile(path), file, "W_D", shape)
    except AtlasError:
        return False


def _blocks(file: TensorFile, count: int, features: int) -> Iterator[Tensor]:
    """Courses (B, K d) of neighbouring features."""
    for first in range(0, features, BLOCK):
        some = slice(first, min(first + BLOCK, features))
        yield torch.stack([file.read("W_D", k, some) for k in range(count)], dim=1).flatten(1)
