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
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from atlas.errors import AtlasError, BrokenArtifact, InvalidValue, NoSpace, NotFound
from atlas.tensor_header import read_header

SCALE = ".scale"
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}
"""Number formats of `atlas.tensor_header`."""
BLOCK = 4_000_000
"""Bytes that are read at once: a larger buffer is fetched from the system anew each time."""

WIDE = 2**24
"""Bytes of rows that two threads read sooner than one."""
FEW = 2**22
"""Numbers that one thread adds up sooner than several."""


def sha256(path: Path) -> str:
    """Hex digest of a file, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
        for name in self._header.keys() - set(self.names):
            rows, scales = self.shape(name.removesuffix(SCALE))[:-1], self.shape(name)
            if rows != scales or not DTYPES[self._header[name]["dtype"]].is_floating_point:
                raise BrokenArtifact(
                    f"{path}: {name} is {scales}, but {name.removesuffix(SCALE)} has rows {rows}"
                )

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Tensors by name, scales left out: they are joined in."""
        held = self._header
        return tuple(sorted(
            n for n in held if not (n.endswith(SCALE) and n.removesuffix(SCALE) in held)
        ))

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

    def read(self, name: str, *index: slice | int, check: bool = True) -> Tensor:
        """A tensor or a leading part of it (`read("W_D", k)`, `read("W_E", k, slice(a, b))`).

        A float32 tensor without a scale comes as a view of the mapped file: it costs no memory
        of its own and must not be written to. Without `check` a value that is not finite passes:
        for a part that was checked before.
        """
        self.require([name])
        try:
            part = self._part(name, index)
            if self._is_rounded(name):
                rows = len(self._header[name + SCALE]["shape"])
                scale = self._part(name + SCALE, index[:rows]).float().unsqueeze(-1)
                part = part.float() * scale
        except (SafetensorError, OSError) as error:
            raise BrokenArtifact(f"{self.path} is damaged at {name} ({error})") from error
        part = part.float() if part.is_floating_point() else part
        return self._finite(name, part) if check else part

    def stored(self, name: str) -> Tensor:
        """A tensor in the numbers it is kept in, scales left aside; a view, not to be written to.
        """
        self.require([name])
        try:
            return self._finite(name, self._part(name, ()))
        except (SafetensorError, OSError) as error:
            raise BrokenArtifact(f"{self.path} is damaged at {name} ({error})") from error

    def _part(self, name: str, index: tuple[slice | int, ...]) -> Tensor:
        whole = self._file.get_tensor(name)
        return whole[index] if index else whole

    def _finite(self, name: str, part: Tensor) -> Tensor:
        if part.is_floating_point() and not _sum_is_finite(part):
            bad = ~torch.isfinite(part).reshape(-1)
            count = int(bad.sum())
            if count:  # a sum of finite numbers may overflow
                first = np.unravel_index(int(bad.to(torch.uint8).argmax()), tuple(part.shape))
                raise BrokenArtifact(
                    f"{self.path}: tensor {name} holds {count:,} values that are not finite, the "
                    f"first at {tuple(map(int, first))}"
                )
        return part

    def gather(self, name: str, rows: np.ndarray) -> Tensor:
        """Some rows of a matrix (or of one slice of a stack), read one by one without mapping.

        Args:
            name: a tensor whose last axis is a row.
            rows: (n,) flat row numbers: of a (K, D, d) stack, k * D + j.

        Returns:
            (n, d) float32.
        """
        rows = np.asarray(rows, dtype=np.int64)
        count, width, kind = self._rows(name)
        outside = rows[(rows < 0) | (rows >= count)]
        if len(outside):
            raise InvalidValue(
                f"{self.path}: {name} has no row {int(outside[0])}, there are {count}"
            )
        out = torch.empty((len(rows), width), dtype=kind)
        step = kind.itemsize * width
        into, starts = _bytes_of(out), (self._start(name) + rows * step).tolist()
        with self._opened() as file:
            handle, read = file.fileno(), os.preadv

            def fill(first: int, last: int) -> None:
                for i in range(first, last):
                    part = into[i * step : (i + 1) * step]
                    if read(handle, (part,), starts[i]) != step:
                        self._fill(handle, part, starts[i])

            if len(into) < WIDE:
                fill(0, len(rows) if step else 0)
            else:  # the system copies for several threads at once
                half = len(rows) // 2
                with ThreadPoolExecutor(1) as other:
                    rest = other.submit(fill, half, len(rows))
                    fill(0, half)
                    rest.result()
        if self._is_rounded(name):
            scale = self._part(name + SCALE, ()).reshape(-1)[torch.from_numpy(rows)]
            return self._finite(name, out.float() * scale.float().unsqueeze(-1))
        return self._finite(name, out.float())

    def blocks(
        self, name: str, size: int | None = None, check: bool = True
    ) -> Iterator[tuple[int, Tensor]]:
        """The rows of a matrix in order, `size` at a time (`BLOCK` bytes), read without mapping.

        Yields:
            (number of the first row, (<= size, d) float32), overwritten by the next one. Without
            `check` a value that is not finite passes: for a caller whose result would show it.
        """
        count, width, kind = self._rows(name)
        step, start = kind.itemsize * width, self._start(name)
        size = size or max(1, BLOCK // max(4 * width, 1))
        # one buffer for all: blocks that are freed and asked for again fragment the heap
        buffer = torch.empty((min(size, count), width), dtype=kind)
        with self._opened() as file:
            for first in range(0, count, size):
                block = buffer[: count - first]
                self._fill(file.fileno(), _bytes_of(block), start + first * step)
                values = block.float()
                if self._is_rounded(name):
                    scale = self._part(name + SCALE, ()).reshape(-1)[first : first + len(block)]
                    values = values * scale.float().unsqueeze(-1)
                yield first, self._finite(name, values) if check else values

    def product(self, name: str, vector: Tensor) -> Tensor:
        """Every row of a matrix times one float32 vector (d,), (n,) float32, in row blocks.

        A row that holds a value that is not finite has no finite product, so the sums alone are
        checked.
        """
        out = torch.empty(self._rows(name)[0])
        for first, block in self.blocks(name, check=False):
            torch.mv(block, vector, out=out[first : first + len(block)])
        if not bool(torch.isfinite(out).all()):
            for _ in self.blocks(name):  # names the place
                pass
        return out

    def products(self, name: str, vectors: Tensor) -> Tensor:
        """Every row of a matrix times several float32 vectors (m, d), (m, n), in row blocks.

        Checked as `product`.
        """
        out = torch.empty(len(vectors), self._rows(name)[0])
        for first, block in self.blocks(name, check=False):
            out[:, first : first + len(block)] = vectors @ block.T
        if not bool(torch.isfinite(out).all()):
            for _ in self.blocks(name):  # names the place
                pass
        return out

    def _opened(self) -> BinaryIO:
        try:
            return open(self.path, "rb", buffering=0)
        except FileNotFoundError as error:
            raise NotFound(f"{self.path} is not there any more") from error
        except OSError as error:
            raise BrokenArtifact(f"{self.path} cannot be read ({error})") from error

    def _rows(self, name: str) -> tuple[int, int, torch.dtype]:
        """Flat rows of a tensor, their width and their kind of number."""
        shape = self.shape(name) or (1,)
        return math.prod(shape[:-1]), shape[-1], DTYPES[self._header[name]["dtype"]]

    def _is_rounded(self, name: str) -> bool:
        return name + SCALE in self._header

    def _start(self, name: str) -> int:
        return self._data_start + self._header[name]["data_offsets"][0]

    def _fill(self, handle: int, into: memoryview, start: int) -> None:
        """Read until a buffer is full: one call reads at most 2 GiB and may read less."""
        done = 0
        while done < len(into):
            got = os.preadv(handle, [into[done:]], start + done)
            if got == 0:
                raise BrokenArtifact(
                    f"{self.path} ends at byte {start + done:,}, before its header says; it was "
                    f"cut short while it was read"
                )
            done += got

    @cached_property
    def _data_start(self) -> int:
        with open(self.path, "rb") as file:
            return 8 + int.from_bytes(file.read(8), "little")


def _sum_is_finite(part: Tensor) -> bool:
    # waking torch's threads takes milliseconds, thirty times as long as a small sum
    if part.dtype == torch.float32 and part.numel() < FEW:
        with np.errstate(over="ignore"):
            return bool(np.isfinite(part.numpy().sum()))
    return bool(torch.isfinite(part.sum()))


def _bytes_of(tensor: Tensor) -> memoryview:
    """The memory of a fresh tensor, to be read into."""
    if tensor.numel() == 0:
        return memoryview(b"")
    return memoryview(tensor.view(torch.uint8).reshape(-1).numpy())


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


def save_blocks(
    path: Path, name: str, shape: tuple[int, ...], blocks: Iterable[Tensor]
) -> None:
    """Write a file of one float32 tensor block by block, whole or not at all.

    `blocks` are its parts along the first axis, in order; no more than one is held at a time.
    """
    size = 4 * math.prod(shape)
    entry = {"dtype": "F32", "shape": list(shape), "data_offsets": [0, size]}
    header = json.dumps({name: entry}).encode()
    header += b" " * (-len(header) % 8)
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_name(path.name + ".tmp")
    try:
        with open(staged, "wb") as file:
            file.write(len(header).to_bytes(8, "little") + header)
            written = sum(file.write(_bytes_of(block.float().contiguous())) for block in blocks)
        if written != size:
            raise ValueError(f"{name} is {shape}, but its blocks have {written // 4} numbers")
        _sync(staged)
        os.replace(staged, path)
    except OSError as error:
        staged.unlink(missing_ok=True)
        raise _write_error(path, error) from error
    except BaseException:
        staged.unlink(missing_ok=True)
        raise


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
