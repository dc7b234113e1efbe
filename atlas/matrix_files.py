"""Rows of the matrices in tensor files as NumPy arrays, for pages that load no torch.

Beside `atlas.tensor_files`, which hands the same files to torch. Files may come from anyone: the
header is checked first, rows are read and never mapped (a mapped file that is cut short ends the
process), and a value that is not finite never leaves this module.
"""

import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from atlas.errors import BrokenArtifact, InvalidValue, NotFound
from atlas.tensor_header import SIZES, read_header

SCALE = ".scale"
"""Suffix of the float32 scales (one a row) of a matrix that is kept as int8."""
BLOCK = 4_000_000
"""Bytes of float32 rows that are held at once: what a cache nearer than memory holds."""
STORED = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I8": "i1"}
"""Formats of matrices and what their bytes are read as."""


class MatrixFile:
    """A tensor file whose matrices are read by the row, as float32."""

    def __init__(self, path: Path) -> None:
        """Read and check the header; NotFound or BrokenArtifact as `read_header`."""
        self.path = path
        self._header = read_header(path)
        with open(path, "rb") as file:
            self._start = 8 + int.from_bytes(file.read(8), "little")
        self._scales: dict[str, np.ndarray] = {}

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a tensor, from the header; BrokenArtifact when it is not there."""
        if name not in self._header:
            raise BrokenArtifact(
                f"{self.path} holds no tensor {name}; it holds {', '.join(sorted(self._header))}"
            )
        return tuple(self._header[name]["shape"])

    def rows(self, name: str, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Some rows, (n, d) float32; of a (K, D, d) stack row k * D + j is row j at k."""
        wanted = np.asarray(rows, dtype=np.int64)
        count, width, size = self._layout(name)
        outside = wanted[(wanted < 0) | (wanted >= count)]
        if len(outside):
            raise InvalidValue(
                f"{self.path}: {name} has no row {int(outside[0])}, there are {count}"
            )
        step = width * size
        found = bytearray(len(wanted) * step)
        into, start = memoryview(found), self._offset(name)
        with open(self.path, "rb", buffering=0) as file:
            for place, row in enumerate(wanted.tolist()):
                part = into[place * step : (place + 1) * step]
                self._fill(file.fileno(), part, start + row * step)
        return self._as_float(name, np.frombuffer(found, self._stored(name)), width, wanted)

    def blocks(
        self, name: str, size: int | None = None, check: bool = True
    ) -> Iterator[tuple[int, np.ndarray]]:
        """All rows in order, `size` at a time (`BLOCK` bytes): number of the first, (n, d) float32.

        A block is overwritten by the next one and must not be written to. Without `check` a value
        that is not finite passes: for a caller whose result would show it.
        """
        count, width, stored = self._layout(name)
        size = size or max(1, BLOCK // max(4 * width, 1))
        buffer = bytearray(min(size, count) * width * stored)
        with open(self.path, "rb", buffering=0) as file:
            for first in range(0, count, size):
                held = min(size, count - first)
                part = memoryview(buffer)[: held * width * stored]
                self._fill(file.fileno(), part, self._offset(name) + first * width * stored)
                places = slice(first, first + held)
                yield first, self._as_float(
                    name, np.frombuffer(part, self._stored(name)), width, places, check
                )

    def _layout(self, name: str) -> tuple[int, int, int]:
        """Rows of a tensor, numbers in a row, bytes of a number."""
        shape = self.shape(name) or (1,)
        return math.prod(shape[:-1]), shape[-1], SIZES[self._header[name]["dtype"]]

    def _stored(self, name: str) -> str:
        kind = self._header[name]["dtype"]
        if kind not in STORED:
            raise BrokenArtifact(f"{self.path}: {name} holds {kind}, no rows of a matrix")
        return STORED[kind]

    def _offset(self, name: str) -> int:
        return self._start + self._header[name]["data_offsets"][0]

    def _fill(self, handle: int, into: memoryview, start: int) -> None:
        done = 0
        while done < len(into):
            got = os.preadv(handle, [into[done:]], start + done)
            if got == 0:
                raise BrokenArtifact(f"{self.path} ends at byte {start + done:,}; it is cut short")
            done += got

    def _as_float(
        self, name: str, stored: np.ndarray, width: int, rows: np.ndarray | slice,
        check: bool = True,
    ) -> np.ndarray:
        """Stored numbers as (n, d) float32, scaled where they are rounded, all finite."""
        if self._header[name]["dtype"] == "BF16":  # the upper half of a float32
            found = (stored.astype(np.uint32) << 16).view(np.float32)
        else:
            with np.errstate(over="ignore"):
                found = stored.astype(np.float32, copy=False)
        found = found.reshape(-1, width)
        if name + SCALE in self._header:
            found = found * self._scales_of(name)[rows][:, None]
        if check and not np.isfinite(found.sum()) and not np.isfinite(found).all():
            raise BrokenArtifact(f"{self.path}: tensor {name} holds values that are not finite")
        return found

    def _scales_of(self, name: str) -> np.ndarray:
        """(rows,) float32, the scales of a rounded matrix; read once."""
        if name not in self._scales:
            shape, scale = self.shape(name)[:-1], name + SCALE
            if self.shape(scale) != shape:
                raise BrokenArtifact(f"{self.path}: {scale} is {self.shape(scale)}, rows {shape}")
            held = bytearray(math.prod(shape) * SIZES[self._header[scale]["dtype"]])
            with open(self.path, "rb", buffering=0) as file:
                self._fill(file.fileno(), memoryview(held), self._offset(scale))
            self._scales[name] = np.frombuffer(held, self._stored(scale)).astype(np.float32)
        return self._scales[name]


def open_matrix(path: Path, name: str) -> MatrixFile:
    """A file whose `name` is a matrix (V, d); NotFound, or BrokenArtifact when it is not."""
    file = MatrixFile(path)
    if len(file.shape(name)) != 2:
        raise BrokenArtifact(f"{path}: {name} is {file.shape(name)}, no matrix")
    return file


def require(paths: Sequence[Path], what: str) -> None:
    """NotFound unless all files are there; the line says what cannot be had without them."""
    missing = next((path for path in paths if not path.is_file()), None)
    if missing is not None:
        raise NotFound(
            f"{what} is read from {missing}, which is not there; a store that was shared without "
            f"weights holds no matrices"
        )
