"""Weights files of a release, whatever wraps them: safetensors, pickled checkpoints, raw tensors.

Foreign names end here: what leaves this module has the tensor names of the release
(crosscoder-method section 3.1, prism-method section 2) and plain fields.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.artifacts import GATE, THRESHOLD
from atlas.errors import BrokenArtifact, InvalidValue
from atlas.prism import ARCHITECTURES
from atlas.tensor_files import TensorFile, read_header
from precompute.pickles import load_pickle
from precompute.sidecars import read_bounded_json, table_of

CROSSCODER = ("W_E", "b_E", "W_D", "b_D")
PRISM = ("encoder.weight", "encoder.bias", "decoder")
PRISM_OWN = tuple(sorted({name for names in ARCHITECTURES.values() for name in names}))
TRAINING_ONLY = ("threshold_initialized", "act_scale_ema", "act_scale_init")
"""Buffers that only a training reads (prism-method section 2)."""
ROWS = ("row_mean", "row_norms", "row_token_ids")
"""What a prism may hold beside its tensors."""
FLOATS = ("F32", "F16", "BF16", "F64")


@dataclass(frozen=True)
class Opened:
    """A weights file under the release's names."""

    path: Path
    wrapper: str
    """`safetensors`; of a pickled crosscoder `flat`, `nested`, `stripped` or `bare` (section 5.5);
    of a prism `trainer`, `archive` or `raw` (prism-method section 4.1)."""
    shapes: dict[str, tuple[int, ...]]
    read: Callable[..., Tensor]
    """A tensor by name, or that of one snapshot by name and number, float32; of a safetensors
    file in float32 a view of the mapping."""
    fields: dict[str, Any] = field(default_factory=dict)
    """What the file says beside its tensors."""
    rows: dict[str, Tensor] = field(default_factory=dict)
    """Of a prism: `row_mean`, `row_norms` and `row_token_ids`, those that it has."""
    notes: tuple[str, ...] = ()
    """What was left unread."""


def open_weights(path: Path, sidecar: Path | None, is_prism: bool) -> Opened:
    """Open a weights file and the configuration beside it.

    Raises:
        NotFound, BrokenArtifact: a file is missing, damaged, hostile or not of a known form.
        InvalidValue: it has neither suffix that is read.
    """
    if path.suffix == ".safetensors":
        fields = {} if sidecar is None else table_of(read_bounded_json(sidecar), str(sidecar))
        return _safetensors(path, fields, is_prism)
    if path.suffix not in (".pt", ".pth", ".bin"):
        raise InvalidValue(f"{path} is neither a .safetensors nor a .pt file")
    value = load_pickle(path)
    if not isinstance(value, dict):
        raise BrokenArtifact(f"{path} holds a {type(value).__name__}, expected a table of tensors")
    opened = _prism(path, value) if is_prism else _crosscoder(path, value)
    if sidecar is None:
        return opened
    beside = table_of(read_bounded_json(sidecar), str(sidecar))
    for name in ("model_name", "steps", "seed"):
        if name in opened.fields and name in beside and opened.fields[name] != beside[name]:
            raise BrokenArtifact(
                f"{name}: {path} says {str(opened.fields[name])[:80]}, but {sidecar} says "
                f"{str(beside[name])[:80]}"
            )
    return replace(opened, fields=opened.fields | beside)


def _safetensors(path: Path, fields: dict[str, Any], is_prism: bool) -> Opened:
    file, header = TensorFile(path), read_header(path)
    wanted = PRISM if is_prism else CROSSCODER
    file.require(wanted)
    rows = ROWS if is_prism else ()
    allowed = {*wanted, *(PRISM_OWN if is_prism else (THRESHOLD, *GATE)), *rows, *TRAINING_ONLY}
    for name in file.names:
        rounded = header[name]["dtype"] == "I8" and f"{name}.scale" in header
        if header[name]["dtype"] not in FLOATS and not rounded and name in {*wanted, THRESHOLD}:
            raise BrokenArtifact(
                f"{path}: {name} has numbers of type {header[name]['dtype']}, expected one of "
                f"{', '.join(FLOATS)}"
            )
    shapes = {n: file.shape(n) for n in file.names if n in allowed and n not in rows}
    kept = {name: file.read(name) for name in rows if name in file}
    notes = _unread(file.names, allowed)
    return Opened(path, "safetensors", shapes, file.read, fields, kept, notes)


def _unread(names: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    """A note about tensors that no reader here knows, if there are any."""
    extra = sorted(set(names) - set(known) - set(TRAINING_ONLY))
    return (f"{len(extra)} tensors are not read, {extra[0]:.60} first",) if extra else ()


def _crosscoder(path: Path, value: dict[str, Any]) -> Opened:
    """The four wrappers of section 5.5."""
    if "state_dict" not in value:
        state, fields, wrapper = value, {}, "bare"
    else:
        state = table_of(value["state_dict"], str(path), "state_dict")
        fields = {k: v for k, v in value.items() if k != "state_dict"}
        config = fields.get("config")
        inner = config if isinstance(config, dict) else {}
        within = {"steps", "model_name"} <= inner.keys()
        if within and not {"steps", "model_name"} & fields.keys():
            wrapper = "nested"
            fields = fields | {k: v for k, v in inner.items() if k != "config"}
            fields["config"] = inner.get("config", {})
        else:
            wrapper = "flat" if "steps" in fields else "stripped"
        if "model" in fields and "model_name" not in fields:
            fields["model_name"] = fields.pop("model")
    return _of_tensors(path, wrapper, state, (*CROSSCODER, THRESHOLD, *GATE), CROSSCODER, fields)


def _of_tensors(
    path: Path, wrapper: str, state: dict[str, Any], known: tuple[str, ...],
    required: tuple[str, ...], fields: dict[str, Any], rows: dict[str, Tensor] | None = None,
) -> Opened:
    missing = [name for name in required if not isinstance(state.get(name), Tensor)]
    if missing:
        held = ", ".join(str(k)[:40] for k in list(state)[:8])
        raise BrokenArtifact(f"{path} holds no tensor {', '.join(missing)}; it holds {held}")
    tensors = {n: state[n] for n in known if isinstance(state.get(n), Tensor)}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise BrokenArtifact(f"{path}: {name} has numbers of type {tensor.dtype}")

    def read(name: str, *snapshot: int) -> Tensor:
        return finite(path, name, tensors[name][snapshot].float())

    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    held_besides = (str(n) for n, tensor in state.items() if isinstance(tensor, Tensor))
    return Opened(path, wrapper, shapes, read, fields, rows or {},
                  _unread(held_besides, (*known, *ROWS)))


def finite(path: Path, name: str, tensor: Tensor) -> Tensor:
    """The tensor, or BrokenArtifact with the place of its first value that is not finite."""
    flat = tensor.reshape(-1)
    for start in range(0, len(flat), 2**24):  # a mask of the whole would be a gigabyte
        bad = (~torch.isfinite(flat[start : start + 2**24])).nonzero()
        if len(bad):
            place, at = int(bad[0]) + start, []
            for length in reversed(tensor.shape):
                place, offset = divmod(place, length)
                at.append(offset)
            raise BrokenArtifact(
                f"{path}: tensor {name} holds a value that is not finite, the first at "
                f"{tuple(reversed(at))}"
            )
    return tensor


def _prism(path: Path, value: dict[str, Any]) -> Opened:
    """Both schemas of a prism checkpoint and the raw layout (prism-method section 4.1)."""
    if "W_dec" in value:
        return _raw_prism(path, value)
    state = value.get("model_state_dict", value.get("state_dict", value))
    state = table_of(state, str(path), "model_state_dict")
    config = table_of(value.get("config"), str(path), "config")
    factorizer = value.get("factorizer", config.get("factorizer"))
    if factorizer is None:
        raise BrokenArtifact(
            f"{path} has neither factorizer nor config.factorizer, so its architecture and k are "
            f"unknown; neither is guessed"
        )
    fields = {
        "factorizer": table_of(factorizer, str(path), "factorizer"), "config": config,
        "evaluation": table_of(value.get("evaluation"), str(path), "evaluation"),
        "metrics": table_of(value.get("metrics"), str(path), "metrics"),
    }
    rows = {n: value[n] for n in ROWS if isinstance(value.get(n), Tensor)}
    trainer = bool(rows) or "evaluation" in value or "metrics" in value
    wrapper = "trainer" if trainer else "archive"
    return _of_tensors(path, wrapper, state, (*PRISM, *PRISM_OWN), PRISM, fields, rows)


def _raw_prism(path: Path, value: dict[str, Any]) -> Opened:
    decoder, encoder = value.get("W_dec"), value.get("W_enc")
    if not isinstance(decoder, Tensor) or not isinstance(encoder, Tensor) or encoder.ndim != 2:
        raise BrokenArtifact(f"{path}: W_dec and W_enc are not two matrices")
    if tuple(encoder.shape) != tuple(reversed(decoder.shape)):
        raise BrokenArtifact(
            f"{path}: W_enc is {tuple(encoder.shape)}, but W_dec is {tuple(decoder.shape)}; "
            f"expected one the other turned"
        )
    bias = value.get("b_enc")
    state = {
        "decoder": decoder, "encoder.weight": encoder.T,
        "encoder.bias": torch.zeros(len(decoder)) if bias is None else bias,
    }
    k = value.get("k")
    k = int(k) if isinstance(k, Tensor) and k.numel() == 1 else k
    fields = {"factorizer": {"architecture": "topk", "k": k, "d_features": len(decoder)},
              "config": {}, "evaluation": {}, "metrics": {}}
    return _of_tensors(path, "raw", state, PRISM, PRISM, fields)
