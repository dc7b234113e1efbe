"""The door to tensor files: snapshots, run folders, rounded model weights.

Nothing else in the project opens a safetensors file. Every reader checks names, shapes and
finiteness before it hands a tensor on; every writer stages beside the target and renames.

Rounded tensors: a bundle keeps matrices as int8 with one float32 scale per row (`name` and
`name.scale`). Dictionaries are trained on the rounded snapshots, so figures recomputed from the
bundle agree with the recorded ones to the last bit that matters.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from atlas.crosscoder import Crosscoder
from atlas.errors import AtlasError, BrokenArtifact, InvalidValue, NoSpace, NotFound
from atlas.prism import Prism

SCALE = ".scale"
THRESHOLD = "activation_function.log_jumprelu_threshold"
MATRICES = {"W_U": "wu", "W_E": "we"}
KINDS = ("crosscoder", "sae", "prism")


def sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_tensors(path: Path, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Tensors of a file as float32 (integers without a scale stay integers).

    Args:
        path: a safetensors file.
        names: which tensors; all when None. Scales are joined in, not listed.

    Raises:
        NotFound: the file is not there.
        BrokenArtifact: truncated, a named tensor is missing, or a value is not finite.
    """
    if not path.is_file():
        raise NotFound(f"{path} is not there")
    try:
        with safe_open(path, framework="pt") as file:
            present = set(file.keys())
            wanted = sorted(n for n in present if not n.endswith(SCALE)) if names is None else names
            missing = [n for n in wanted if n not in present]
            if missing:
                raise BrokenArtifact(f"{path} holds no tensor {', '.join(missing)}")
            tensors = {n: _float(file, n, n + SCALE in present) for n in wanted}
    except (SafetensorError, OSError) as error:
        raise BrokenArtifact(f"{path} is damaged ({error}); fetch or build it again") from error
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise BrokenArtifact(f"{path}: tensor {name} holds values that are not finite")
    return tensors


def _float(file: Any, name: str, scaled: bool) -> Tensor:
    tensor = file.get_tensor(name)
    if scaled:
        return tensor.float() * file.get_tensor(name + SCALE).unsqueeze(-1)
    return tensor.float() if tensor.is_floating_point() else tensor


def round_rows(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Round a matrix to int8 with one scale per row.

    Args:
        matrix: (..., d) floats.

    Returns:
        (int8 values of the same shape, float32 scale of shape (...)); value * scale is within
        half a scale of the input, about 0.5 % of a Gaussian row's length.
    """
    scale = (matrix.float().abs().amax(dim=-1) / 127).clamp_min(1e-12)
    return (matrix / scale.unsqueeze(-1)).round().to(torch.int8), scale


def save_rounded(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write matrices as int8 with row scales, vectors as float32."""
    out: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.ndim >= 2:
            out[name], out[name + SCALE] = round_rows(tensor)
        else:
            out[name] = tensor.float()
    save_tensors(path, out)


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a file whole or not at all: staged beside the target, synced, renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(path.name + ".tmp")
    try:
        save_file({n: t.contiguous() for n, t in tensors.items()}, staged)
        staged.chmod(0o644)  # safetensors leaves 0600, which a server's other users cannot read
        _sync(staged)
        os.replace(staged, path)
    except (OSError, SafetensorError) as error:
        staged.unlink(missing_ok=True)
        raise _write_error(path, error) from error


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(path.name + ".tmp")
    try:
        staged.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
        _sync(staged)
        os.replace(staged, path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise _write_error(path, error) from error


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _write_error(path: Path, error: Exception) -> AtlasError:
    full = getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
    if full or "No space left" in str(error):
        return NoSpace(f"no space left while writing {path}; free some and run the command again")
    return InvalidValue(f"{path} cannot be written ({error}); choose another folder with --store")


def read_json(path: Path) -> Any:
    """Contents of a JSON file; NotFound or BrokenArtifact with its name."""
    try:
        return json.loads(path.read_text(encoding="utf8"))
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BrokenArtifact(f"{path} is not JSON ({error})") from error


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
