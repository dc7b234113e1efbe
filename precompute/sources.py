"""What a build reads, a slice at a time: snapshots by rows, dictionaries by snapshots.

Nothing is held: a slice is a view of a mapped file, and its pages go when the slice goes. So the
dictionary of 34 GB is read by the same code as that of 5.
"""

from pathlib import Path

import torch
from torch import Tensor

from atlas.artifacts import (
    GATE,
    THRESHOLD,
    RunFolder,
    crosscoder_shapes,
    known_kind,
    read_budget,
    read_logarithm,
    read_prism,
    snapshot_path,
)
from atlas.crosscoder import ACTIVATIONS, Gate
from atlas.errors import BrokenArtifact
from atlas.tensor_files import TensorFile

BATCH = 1024
"""Rows of a training batch where a run does not say: a batchtopk budget is shared within one."""


class Snapshots:
    """The snapshots of a run."""

    def __init__(self, store: Path, folder: RunFolder) -> None:
        """Check that all are there, of one shape; NotFound or BrokenArtifact names the file."""
        name, self.matrix = folder.config["model_name"], folder.config["matrix"]
        self.paths = [snapshot_path(store, name, step, self.matrix) for step in folder.steps]
        shapes = [self._shape(path) for path in self.paths]
        for path, shape in zip(self.paths, shapes, strict=True):
            if shape != shapes[0]:
                raise BrokenArtifact(
                    f"{path} is {shape}, that of step {folder.steps[0]} is {shapes[0]}"
                )
        self.n_rows, self.width = shapes[0]

    def _shape(self, path: Path) -> tuple[int, ...]:
        file = TensorFile(path)
        if set(file.names) != {self.matrix} or len(file.shape(self.matrix)) != 2:
            raise BrokenArtifact(
                f"{path} is not a snapshot of {self.matrix}: it holds {sorted(file.names)}"
            )
        return file.shape(self.matrix)

    def rows(self, k: int, start: int = 0, stop: int | None = None) -> Tensor:
        """Raw rows (stop - start, d) float32 of snapshot k; must not be written to."""
        return TensorFile(self.paths[k]).read(self.matrix, slice(start, stop))


class Dictionary:
    """A crosscoder or SAE (crosscoder-method section 3.1), read one snapshot at a time."""

    def __init__(self, folder: RunFolder) -> None:
        """Check tensors and shapes against the configuration and read what is small."""
        settings = folder.config["config"]
        self.path, self.n_snapshots = folder.weights, len(folder.steps)
        self.act_fn = known_kind(folder, settings.get("act_fn", "jumprelu"), ACTIVATIONS)
        self.n_features, self.d_model = settings["d_sae"], settings["d_model"]
        file = TensorFile(self.path)
        shapes = crosscoder_shapes(self.act_fn, self.n_snapshots, self.d_model, self.n_features)
        file.require(shapes)
        self._flat = self.n_snapshots == 1 and len(file.shape("W_D")) == 2
        file.expect(
            {name: shape[1:] if self._flat and name[1] == "_" else shape
             for name, shape in shapes.items()},
            str(folder.path / "config.json"),
        )
        self.bias = file.read("b_E").reshape(self.n_snapshots, -1).sum(dim=0)
        self.b_D = file.read("b_D").reshape(self.n_snapshots, -1).clone()
        self.threshold = torch.zeros(self.n_features)
        self.gate: Gate | None = None
        self.budget = 0
        """Features that a row keeps on average, of batchtopk."""
        self.batch = BATCH
        """Rows that share such a budget."""
        if self.act_fn == "jumprelu":
            self.threshold = read_logarithm(file, THRESHOLD).exp()
        elif self.act_fn == "gated":
            self.gate = Gate(file.read(GATE[0]).clone(), read_logarithm(file, GATE[1]).clone(),
                             file.read(GATE[2]).clone())
        else:
            self.budget = read_budget(folder, settings)
            training = folder.config["training"]
            self.batch = int(training.get("batch") or training.get("batch_size") or BATCH)

    def encoder(self, k: int, check: bool = False) -> Tensor:
        """Encoder (d, D) of snapshot k; must not be written to."""
        return self._slice("W_E", k, check)

    def directions(self, k: int, check: bool = False) -> Tensor:
        """Directions (D, d) of snapshot k; must not be written to."""
        return self._slice("W_D", k, check)

    def _slice(self, name: str, k: int, check: bool) -> Tensor:
        index = () if self._flat else (k,)
        return TensorFile(self.path).read(name, *index, check=check)


class PrismDictionary:
    """A prism; small enough to be mapped whole."""

    def __init__(self, folder: RunFolder) -> None:
        """Check and map it."""
        self.prism = read_prism(folder)
        self.n_snapshots, self.batch = 1, BATCH
        self.n_features, self.d_model = self.prism.n_features, self.prism.d_model

    def directions(self, k: int, check: bool = False) -> Tensor:
        """Directions (D, d), of length 1."""
        del k, check
        return self.prism.decoder


Source = Dictionary | PrismDictionary


def open_dictionary(folder: RunFolder, snapshots: Snapshots) -> Source:
    """The dictionary of a run folder, checked against the rows it is to read."""
    source = PrismDictionary(folder) if folder.kind == "prism" else Dictionary(folder)
    if isinstance(source, PrismDictionary) and len(source.prism.row_norms) != snapshots.n_rows:
        raise BrokenArtifact(
            f"{folder.weights} was fitted to {len(source.prism.row_norms)} rows, the snapshot has "
            f"{snapshots.n_rows}"
        )
    if source.d_model != snapshots.width:
        raise BrokenArtifact(
            f"{folder.weights} reads rows of width {source.d_model}, the snapshots of "
            f"{folder.config['model_name']} have {snapshots.width}"
        )
    return source
