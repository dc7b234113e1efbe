"""The snapshots a dictionary is trained on: checked before anything is trained, then laid out.

They stay memory-mapped. If they fit, their standardised rows are held on the device; else rows are
read batch by batch.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from atlas.artifacts import load_snapshot
from atlas.crosscoder import Standardization
from atlas.errors import BrokenArtifact, InvalidValue, NotFound
from atlas.head_rows import is_tied
from atlas.places import MATRICES, model_path, snapshot_path
from atlas.tensor_files import TensorFile, read_json
from trainer.rows import ResidentRows, Rows, StreamedRows

FREE_SHARE = 0.4
"""Share of the free memory that rows may take; the rest is for weights, moments and gradients."""


@dataclass(frozen=True)
class Snapshots:
    """Which snapshots of which matrix."""

    store: Path
    label: str
    """The language model's folder in the store."""
    model_name: str
    matrix: str
    steps: tuple[int, ...]

    @property
    def paths(self) -> list[Path]:
        """Their files, in the order of the steps."""
        return [snapshot_path(self.store, self.model_name, s, self.matrix) for s in self.steps]

    def load(self, step: int) -> Tensor:
        """(V, d) float32, mapped where the file is float32; refused where it is not finite."""
        path = snapshot_path(self.store, self.model_name, step, self.matrix)
        return TensorFile(path).read(self.matrix)


def check(snapshots: Snapshots) -> tuple[int, int]:
    """(V, d), after making sure that the snapshots can be trained on.

    Raises:
        NotFound: files are not there. BrokenArtifact: a file holds another matrix, another shape,
        or values that are not finite. InvalidValue: a file of one matrix holds the other one.
    """
    missing = [path.name for path in snapshots.paths if not path.is_file()]
    if missing:
        raise NotFound(
            f"{len(missing)} of {len(snapshots.paths)} snapshots of {snapshots.model_name} "
            f"{snapshots.matrix} are not in {snapshots.store}, the first {missing[0]}; "
            "`readout-atlas train` without --offline fetches released ones"
        )
    shapes = {}
    for path in snapshots.paths:
        file = TensorFile(path)
        file.require([snapshots.matrix])
        shapes[path.name] = file.shape(snapshots.matrix)
    first = next(iter(shapes.values()))
    for name, shape in shapes.items():
        if shape != first or len(shape) != 2:
            raise BrokenArtifact(
                f"snapshots differ in shape: {next(iter(shapes))} is {first}, {name} is {shape}; "
                "one of them is of another model"
            )
    _refuse_mixed(snapshots)
    return first


def _refuse_mixed(snapshots: Snapshots) -> None:
    """A matrix saved under the other's name would train without a word (crosscoder-method 15.22).

    It is seen where both are there for a step and the model does not tie them.
    """
    (other,) = set(MATRICES) - {snapshots.matrix}
    config = model_path(snapshots.store, snapshots.label) / "config.json"
    if config.is_file() and is_tied(read_json(config)):
        return
    for step, path in zip(snapshots.steps, snapshots.paths, strict=True):
        beside = snapshot_path(snapshots.store, snapshots.model_name, step, other)
        if not beside.is_file():
            continue
        theirs = load_snapshot(snapshots.store, snapshots.model_name, step, other)
        ours = snapshots.load(step)
        if ours.shape == theirs.shape and torch.equal(ours, theirs):
            raise InvalidValue(
                f"{path.name} and {beside.name} hold the same matrix, though {snapshots.label} "
                f"does not tie W_E to W_U; fetch {path.name} again"
            )


def rows_of(
    snapshots: Snapshots, own: slice, device: torch.device, fitted: Tensor | None = None,
    resident: bool | None = None,
) -> Rows:
    """Standardised rows of the snapshots that a process has.

    Statistics are over all rows of a snapshot, also where only some are trained on (section 2).

    Args:
        own: indices of the snapshots. fitted: (V,) bool, rows to train on; all unless told.
        resident: hold them on the device; decided by free memory unless told.
    """
    raw = [snapshots.load(step) for step in snapshots.steps[own]]
    statistics = _statistics(raw)
    ids = None if fitted is None else fitted.nonzero()[:, 0]
    size = 4 * len(raw) * raw[0].shape[1] * (len(raw[0]) if ids is None else len(ids))
    if resident is None:
        resident = size < FREE_SHARE * free_bytes(device)
    streamed = StreamedRows(raw, statistics, device, ids)
    if not resident:
        return streamed
    return ResidentRows.filled(streamed)


def _statistics(raw: list[Tensor]) -> Standardization:
    """The map of each snapshot by itself, one at a time."""
    means = [rows.mean(dim=0) for rows in raw]
    scales = [
        (rows - mean).square().mean().clamp(min=1e-8).sqrt()
        for rows, mean in zip(raw, means, strict=True)
    ]
    return Standardization(torch.stack(means), torch.stack(scales))


def free_bytes(device: torch.device) -> int:
    """Memory that is free on a device now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


