"""Snapshots and run folders on disk: names, parts, shapes that agree.

The tensor files themselves are opened in `atlas.tensor_files` only.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.crosscoder import ACTIVATIONS, Crosscoder, Gate
from atlas.errors import BrokenArtifact, NotFound
from atlas.places import MATRICES as MATRICES
from atlas.places import snapshot_path as snapshot_path
from atlas.prism import ARCHITECTURES, COUNTED, Prism
from atlas.tensor_files import SCALE, TensorFile, load_tensors, read_json, round_rows, save_tensors

THRESHOLD = "activation_function.log_jumprelu_threshold"
GATE = tuple(f"activation_function.{name}" for name in ("b_gate", "r_mag", "b_mag"))
"""Tensors of the gated kind, in the order of `atlas.crosscoder.Gate`."""
LARGEST_LOG = 60.0
"""A logarithm of a threshold or gain beyond this is no such thing: e^60 is 1e26."""
KINDS = ("crosscoder", "sae", "prism")


# --- snapshots ---------------------------------------------------------------------------------


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


def crosscoder_shapes(
    act_fn: str, snapshots: int, d_model: int, d_sae: int
) -> dict[str, tuple[int, ...]]:
    """Tensors of a crosscoder and their shapes (crosscoder-method section 3.1)."""
    own = {"jumprelu": (THRESHOLD,), "batchtopk": (), "gated": GATE}[act_fn]
    return {
        "W_E": (snapshots, d_model, d_sae), "b_E": (snapshots, d_sae),
        "W_D": (snapshots, d_sae, d_model), "b_D": (snapshots, d_model),
    } | dict.fromkeys(own, (d_sae,))


def prism_shapes(architecture: str, d_model: int, d_sae: int) -> dict[str, tuple[int, ...]]:
    """Tensors of a prism and their shapes, `row_norms` left out (prism-method section 2)."""
    scalar = "activation_threshold"
    return {
        "encoder.weight": (d_sae, d_model), "encoder.bias": (d_sae,), "decoder": (d_sae, d_model),
        "row_mean": (d_model,),
    } | {name: () if name == scalar else (d_sae,) for name in ARCHITECTURES[architecture]}


def read_crosscoder(folder: RunFolder) -> Crosscoder:
    """The crosscoder (or K=1 SAE) of a run folder, of any kind, shapes checked against its config.

    Float32 weights are views of the mapped file: they cost no memory of their own and must not be
    written to. A single snapshot may leave out the leading axis.
    """
    file, settings = TensorFile(folder.weights), folder.config["config"]
    act_fn = known_kind(folder, settings.get("act_fn", "jumprelu"), ACTIVATIONS)
    snapshots = len(folder.steps)
    expected = crosscoder_shapes(act_fn, snapshots, settings["d_model"], settings["d_sae"])
    file.require(expected)
    flat = snapshots == 1 and len(file.shape("W_D")) == 2
    promoted = {n: s[1:] if flat and n[:2] in ("W_", "b_") else s for n, s in expected.items()}
    file.expect(promoted, str(folder.path / "config.json"))
    W_E, b_E, W_D, b_D = (
        file.read(n).unsqueeze(0) if flat else file.read(n) for n in ("W_E", "b_E", "W_D", "b_D")
    )
    if act_fn == "jumprelu":
        return Crosscoder(W_E, b_E, W_D, b_D, read_logarithm(file, THRESHOLD).exp())
    zeros = torch.zeros(settings["d_sae"])
    if act_fn == "gated":
        gate = Gate(file.read(GATE[0]), read_logarithm(file, GATE[1]), file.read(GATE[2]))
        return Crosscoder(W_E, b_E, W_D, b_D, zeros, act_fn, None, gate)
    return Crosscoder(W_E, b_E, W_D, b_D, zeros, act_fn, read_budget(folder, settings))


def read_prism(folder: RunFolder) -> Prism:
    """The prism of a run folder, of any architecture, shapes checked against its config."""
    file, settings = TensorFile(folder.weights), folder.config["config"]
    architecture = known_kind(folder, settings.get("act_fn", "topk"), ARCHITECTURES)
    file.expect(
        prism_shapes(architecture, settings["d_model"], settings["d_sae"]),
        str(folder.path / "config.json"),
    )
    file.require(["row_norms"])
    extra = {
        name: read_logarithm(file, name) if name.startswith("log_") else file.read(name)
        for name in ARCHITECTURES[architecture]
    }
    counted = architecture in COUNTED
    return Prism(
        file.read("encoder.weight"), file.read("encoder.bias"), file.read("decoder"),
        read_budget(folder, settings) if counted else settings["d_sae"],
        file.read("row_mean"), file.read("row_norms"), architecture, **extra,
    )


def known_kind(folder: RunFolder, named: Any, known: Iterable[str]) -> str:
    if named not in known:
        raise BrokenArtifact(
            f"{folder.path / 'config.json'}: act_fn is {str(named)[:60]!r}, a {folder.kind} has "
            f"one of {', '.join(known)}"
        )
    return named


def read_budget(folder: RunFolder, settings: dict[str, Any]) -> int:
    k = settings.get("k")
    if type(k) is not int or not 1 <= k <= settings["d_sae"]:
        raise BrokenArtifact(
            f"{folder.path / 'config.json'}: k is {k!r}, expected a whole number from 1 to "
            f"{settings['d_sae']}; it is part of the dictionary and is not guessed"
        )
    return k


def read_logarithm(file: TensorFile, name: str) -> Tensor:
    """A tensor that will be an exponent, refused where its exponential is out of all bounds."""
    values = file.read(name)
    off = (values.abs() > LARGEST_LOG).nonzero()
    if len(off):
        at = int(off[0])
        raise BrokenArtifact(
            f"{file.path}: {name} is {float(values[at]):.4g} at feature {at}; a logarithm between "
            f"-{LARGEST_LOG:g} and {LARGEST_LOG:g} was expected"
        )
    return values


def write_crosscoder(path: Path, crosscoder: Crosscoder, rounded: bool = False) -> None:
    """Write `dictionary.safetensors` of a crosscoder with the released key names.

    Rounded, encoder and decoder are int8 with row scales, a quarter of the size; record figures
    of the rounded weights. Everything else stays float32.
    """
    tensors = {"b_E": crosscoder.b_E, "b_D": crosscoder.b_D}
    if crosscoder.act_fn == "jumprelu":
        tensors[THRESHOLD] = crosscoder.threshold.log()
    if crosscoder.gate is not None:
        gate = crosscoder.gate
        tensors |= dict(zip(GATE, (gate.bias, gate.log_gain, gate.offset), strict=True))
    _write_dictionary(path, {"W_E": crosscoder.W_E, "W_D": crosscoder.W_D}, tensors, rounded)


def write_prism(path: Path, prism: Prism, rounded: bool = False) -> None:
    """Write `dictionary.safetensors` of a prism, its matrices rounded if asked."""
    vectors = {"encoder.bias": prism.bias, "row_mean": prism.row_mean,
               "row_norms": prism.row_norms}
    vectors |= {name: getattr(prism, name) for name in ARCHITECTURES[prism.architecture]}
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
