"""The door to tensor files: every safetensors and JSON file of the project is opened here.

Files may come from anyone. A header is read and bounded before the library sees it, a file is
mapped and sliced, never loaded whole, and a value that is not finite never leaves this module
(reliability section 4.3: the library checks neither values nor the size of a header).

Rounded tensors: a bundle keeps matrices as int8 with one float32 scale per row (`name` and
`name.scale`). Dictionaries are trained on the rounded snapshots, so figures recomputed from the
bundle agree with the recorded ones to the last bit that matters.
"""

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from atlas.errors import AtlasError, BrokenArtifact, InvalidValue, NoSpace, NotFound

SCALE = ".scale"
MAX_HEADER = 5_000_000
"""Bytes of a header; a million empty tensors in 56 MB cost the library 16 s and a gigabyte."""
MAX_TENSORS = 20_000
NAME = re.compile(r"[A-Za-z0-9_.\-]{1,200}")
"""What a tensor may be called."""
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}
"""Number formats that are read; a file with another one is refused."""


def sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file, bounded and checked before anything else reads it.

    Returns:
        tensor name -> {"dtype", "shape", "data_offsets"}; metadata are left out.

    Raises:
        NotFound: the file is not there. BrokenArtifact: it is no such file, or it claims what it
        cannot hold; the line names the file, what was expected and what was found.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(size - 8, MAX_HEADER):
                raise BrokenArtifact(
                    f"{path} is no safetensors file: its header claims {length:,} bytes, the file "
                    f"has {size:,} and at most {MAX_HEADER:,} are read; fetch it again"
                )
            header = json.loads(file.read(length), object_pairs_hook=_once)
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there") from error
    except OSError as error:
        raise BrokenArtifact(f"{path} cannot be read ({error})") from error
    except (ValueError, RecursionError) as error:
        raise BrokenArtifact(f"{path} has a damaged header ({str(error)[:120]})") from error
    if not isinstance(header, dict):
        raise BrokenArtifact(f"{path} has a header that is no table")
    header.pop("__metadata__", None)
    if len(header) > MAX_TENSORS:
        raise BrokenArtifact(
            f"{path} holds {len(header):,} tensors, at most {MAX_TENSORS:,} are read"
        )
    for name, entry in header.items():
        if not NAME.fullmatch(name):
            raise BrokenArtifact(f"{path} holds a tensor called {name[:60]!r}")
        _check_entry(path, name, entry, size - 8 - length)
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name is given twice")
    return table


def _check_entry(path: Path, name: str, entry: Any, available: int) -> None:
    try:
        shape, (start, stop) = entry["shape"], entry["data_offsets"]
        known = entry["dtype"] in DTYPES
        whole = all(type(n) is int and n >= 0 for n in (*shape, start, stop))
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenArtifact(f"{path}: tensor {name} is not described ({error!r})") from error
    if not known:
        raise BrokenArtifact(f"{path}: tensor {name} has numbers of type {entry['dtype']!r:.40}")
    if not whole or stop > available:
        raise BrokenArtifact(
            f"{path}: tensor {name} {shape} would end at byte {stop:,} of {available:,}; the file "
            f"is cut short, fetch it again"
        )


class TensorFile:
    """A safetensors file, mapped: shapes at once, values as float32 when they are asked for.

    Integers without a scale stay integers. Everything read is checked to be finite.
    """

    def __init__(self, path: Path) -> None:
        """Open and check; NotFound or BrokenArtifact as `read_header`."""
        self.path = path
        self._header = read_header(path)
        try:
            self._file = safe_open(path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise BrokenArtifact(f"{path} is damaged ({error}); fetch or build it again") from error

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Tensors by name, scales left out: they are joined in."""
        return tuple(sorted(n for n in self._header if not n.endswith(SCALE)))

    def __contains__(self, name: str) -> bool:
        return name in self._header

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, from the header."""
        self.require([name])
        return tuple(self._header[name]["shape"])

    def require(self, names: Iterable[str]) -> None:
        """BrokenArtifact unless all these tensors are there."""
        missing = [n for n in names if n not in self._header]
        if missing:
            raise BrokenArtifact(
                f"{self.path} holds no tensor {', '.join(missing)}; it holds "
                f"{', '.join(self.names[:12])}"
            )

    def expect(self, shapes: Mapping[str, tuple[int, ...]], said_by: str) -> None:
        """BrokenArtifact unless these tensors are there in these shapes; names both sides."""
        for name, shape in shapes.items():
            if self.shape(name) != tuple(shape):
                raise BrokenArtifact(
                    f"{self.path}: {name} is {self.shape(name)}, but {said_by} says {tuple(shape)}"
                )

    def read(self, name: str, *index: slice | int) -> Tensor:
        """A tensor or a leading part of it (`read("W_D", k)`, `read("W_E", k, slice(a, b))`).

        A float32 tensor without a scale comes as a view of the mapped file: it costs no memory
        of its own and must not be written to.
        """
        self.require([name])
        try:
            part = self._part(name, index)
            if name + SCALE in self._header:
                rows = len(self._header[name + SCALE]["shape"])
                return self._finite(
                    name, part.float() * self._part(name + SCALE, index[:rows]).unsqueeze(-1)
                )
        except (SafetensorError, OSError) as error:
            raise BrokenArtifact(f"{self.path} is damaged at {name} ({error})") from error
        return self._finite(name, part.float() if part.is_floating_point() else part)

    def _part(self, name: str, index: tuple[slice | int, ...]) -> Tensor:
        whole = self._file.get_tensor(name)
        return whole[index] if index else whole

    def _finite(self, name: str, part: Tensor) -> Tensor:
        if part.is_floating_point() and not bool(torch.isfinite(part.sum(dtype=torch.float64))):
            bad = (~torch.isfinite(part)).nonzero()
            where = tuple(bad[0].tolist()) if len(bad) else ()
            raise BrokenArtifact(
                f"{self.path}: tensor {name} holds {len(bad)} values that are not finite, the "
                f"first at {where}"
            )
        return part

    def gather(self, name: str, rows: np.ndarray) -> Tensor:
        """Some rows of a matrix (or of one slice of a stack), read one by one without mapping.

        Args:
            name: a tensor of two axes or more; its last axis is a row.
            rows: (n,) flat row numbers: of a (K, D, d) stack, k * D + j.

        Returns:
            (n, d) float32.
        """
        entry, rows = self._header[name], np.asarray(rows, dtype=np.int64)
        kind, width = DTYPES[entry["dtype"]], entry["shape"][-1]
        step = kind.itemsize * width
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < np.prod(entry["shape"][:-1]):
            raise InvalidValue(f"{self.path}: {name} has no row {int(rows.max())}")
        out = torch.empty((len(rows), width), dtype=kind)
        into = memoryview(out.view(torch.uint8).reshape(-1).numpy()) if len(rows) else b""
        start = self._data_start + entry["data_offsets"][0]
        with open(self.path, "rb", buffering=0) as file:
            handle = file.fileno()
            for place, row in enumerate(rows.tolist()):
                os.preadv(handle, [into[place * step : (place + 1) * step]], start + row * step)
        if name + SCALE in self._header:
            scale = self._part(name + SCALE, ()).reshape(-1)[torch.from_numpy(rows)]
            return self._finite(name, out.float() * scale.unsqueeze(-1))
        return self._finite(name, out.float())

    @cached_property
    def _data_start(self) -> int:
        with open(self.path, "rb") as file:
            return 8 + int.from_bytes(file.read(8), "little")


def load_tensors(path: Path, names: Iterable[str] | None = None) -> dict[str, Tensor]:
    """Tensors of a small file as float32 (integers without a scale stay integers), all at once.

    Args:
        path: a safetensors file.
        names: which tensors; all when None. Scales are joined in, not listed.

    Raises:
        NotFound: the file is not there.
        BrokenArtifact: truncated, a named tensor is missing, or a value is not finite.
    """
    file = TensorFile(path)
    wanted = list(file.names if names is None else names)
    file.require(wanted)
    return {name: file.read(name).clone() for name in wanted}


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
