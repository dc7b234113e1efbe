"""Snapshots and run folders on disk: names, parts, shapes that agree.

The tensor files themselves are opened in `atlas.tensor_files` only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.crosscoder import Crosscoder
from atlas.errors import BrokenArtifact, NotFound
from atlas.prism import Prism
from atlas.tensor_files import SCALE, load_tensors, read_json, round_rows, save_tensors

THRESHOLD = "activation_function.log_jumprelu_threshold"
MATRICES = {"W_U": "wu", "W_E": "we"}
KINDS = ("crosscoder", "sae", "prism")


# --- snapshots ---------------------------------------------------------------------------------


def snapshot_path(store: Path, model_name: str, step: int, matrix: str) -> Path:
    """Where a snapshot lies: `snapshots/<owner>_<name>_step<N>_<wu|we>.safetensors`."""
    slug = model_name.replace("/", "_")
    return store / "snapshots" / f"{slug}_step{step}_{MATRICES[matrix]}.safetensors"


def load_snapshot(store: Path, model_name: str, step: int, matrix: str) -> Tensor:
    """One snapshot, (V, d) float32."""
    path = snapshot_path(store, model_name, step, matrix)
    tensors = load_tensors(path)
    if set(tensors) != {matrix} or tensors[matrix].ndim != 2:
        raise BrokenArtifact(f"{path} is not a snapshot of {matrix}: it holds {sorted(tensors)}")
    return tensors[matrix]


def load_snapshots(store: Path, model_name: str, steps: Iterable[int], matrix: str) -> Tensor:
    """Snapshots in the order of `steps`, (K, V, d) float32."""
    return torch.stack([load_snapshot(store, model_name, s, matrix) for s in steps])


# --- run folders -------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunFolder:
    """One dictionary on disk with what is known about it."""

    path: Path
    config: dict[str, Any]
    """Run id, model, matrix, kind, steps, seed, dictionary and training settings."""
    metrics: dict[str, Any]
    """Canonical quality (crosscoder-method section 6.2) as recorded when it was trained."""
    provenance: dict[str, Any]
    """Input hashes, versions, seconds."""

    @property
    def run(self) -> str:
        return self.config["run"]

    @property
    def kind(self) -> str:
        return self.config["kind"]

    @property
    def steps(self) -> list[int]:
        return self.config["steps"]

    @property
    def weights(self) -> Path:
        return self.path / "dictionary.safetensors"


def read_run(path: Path) -> RunFolder:
    """Open a run folder and check that its parts are there and agree in kind."""
    if not path.is_dir():
        raise NotFound(f"{path} is not a run folder; `readout-atlas runs` lists the runs")
    for name in ("config.json", "dictionary.safetensors", "metrics.json", "provenance.json"):
        if not (path / name).is_file():
            raise BrokenArtifact(f"run folder {path} has no {name}; build or fetch it again")
    config = read_json(path / "config.json")
    missing = [
        k for k in ("run", "model", "model_name", "matrix", "kind", "steps", "seed", "config",
                    "training") if k not in config
    ]
    if missing:
        raise BrokenArtifact(f"{path / 'config.json'} has no field {', '.join(missing)}")
    if config["kind"] not in KINDS or config["matrix"] not in MATRICES:
        raise BrokenArtifact(
            f"{path / 'config.json'}: kind {config['kind']!r}, matrix {config['matrix']!r}; known "
            f"are {', '.join(KINDS)} and {', '.join(MATRICES)}"
        )
    steps = config["steps"]
    if not steps or steps != sorted(set(steps)):
        raise BrokenArtifact(f"{path / 'config.json'}: steps are not a rising list")
    return RunFolder(path, config, read_json(path / "metrics.json"),
                     read_json(path / "provenance.json"))


def read_crosscoder(folder: RunFolder) -> Crosscoder:
    """The crosscoder (or K=1 SAE) of a run folder, float32, shapes checked against its config."""
    tensors = load_tensors(folder.weights, ["W_E", "b_E", "W_D", "b_D", THRESHOLD])
    settings = folder.config["config"]
    k, width, d = len(folder.steps), settings["d_sae"], settings["d_model"]
    expected = {"W_E": (k, d, width), "b_E": (k, width), "W_D": (k, width, d), "b_D": (k, d),
                THRESHOLD: (width,)}
    _check_shapes(folder, tensors, expected)
    return Crosscoder(tensors["W_E"], tensors["b_E"], tensors["W_D"], tensors["b_D"],
                      tensors[THRESHOLD].exp())


def read_prism(folder: RunFolder) -> Prism:
    """The TopK prism of a run folder, float32, shapes checked against its config."""
    names = ["encoder.weight", "encoder.bias", "decoder", "row_mean", "row_norms"]
    tensors = load_tensors(folder.weights, names)
    settings = folder.config["config"]
    width, d = settings["d_sae"], settings["d_model"]
    rows = tensors["row_norms"].shape[0]
    expected = {"encoder.weight": (width, d), "encoder.bias": (width,), "decoder": (width, d),
                "row_mean": (d,), "row_norms": (rows,)}
    _check_shapes(folder, tensors, expected)
    return Prism(tensors["encoder.weight"], tensors["encoder.bias"], tensors["decoder"],
                 settings["k"], tensors["row_mean"], tensors["row_norms"])


def _check_shapes(
    folder: RunFolder, tensors: dict[str, Tensor], expected: dict[str, tuple[int, ...]]
) -> None:
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise BrokenArtifact(
                f"{folder.weights}: {name} is {tuple(tensors[name].shape)}, but "
                f"{folder.path / 'config.json'} says {shape}"
            )


def write_crosscoder(path: Path, crosscoder: Crosscoder, rounded: bool = False) -> None:
    """Write `dictionary.safetensors` of a crosscoder with the released key names.

    Rounded, encoder and decoder are int8 with row scales, a quarter of the size; record figures
    of the rounded weights. Biases and thresholds stay float32.
    """
    tensors = {"b_E": crosscoder.b_E, "b_D": crosscoder.b_D, THRESHOLD: crosscoder.threshold.log()}
    _write_dictionary(path, {"W_E": crosscoder.W_E, "W_D": crosscoder.W_D}, tensors, rounded)


def write_prism(path: Path, prism: Prism, rounded: bool = False) -> None:
    """Write `dictionary.safetensors` of a prism, its matrices rounded if asked."""
    vectors = {"encoder.bias": prism.bias, "row_mean": prism.row_mean,
               "row_norms": prism.row_norms}
    matrices = {"encoder.weight": prism.encoder, "decoder": prism.decoder}
    _write_dictionary(path, matrices, vectors, rounded)


def _write_dictionary(
    path: Path, matrices: dict[str, Tensor], rest: dict[str, Tensor], rounded: bool
) -> None:
    out = {name: tensor.float() for name, tensor in rest.items()}
    for name, tensor in matrices.items():
        out[name] = tensor.float()
        if rounded:
            out[name], out[name + SCALE] = round_rows(tensor)
    save_tensors(path, out)
