"""The door to pickled files: opened weights-only, bounded before and after, or not at all.

A flag is no boundary by itself: weights-only unpickling fell twice (reliability section 0,
finding 12). So the archive is looked at before it is opened, only tensors and plain values may
come out, and what comes out is counted.
"""

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.errors import BrokenArtifact, NotFound

MAX_PROGRAM = 64_000_000
"""Bytes of the pickle itself in a zip archive; the tensors lie beside it."""
MAX_ENTRIES = 20_000
"""Files in the archive, tensors in the result."""
MAX_UNMAPPED = 4_000_000_000
"""Bytes of a file in the old format, which cannot be mapped."""
MAX_DEPTH = 8
MAX_ITEMS = 20_000_000
"""Values in the lists and tables of a file, all together."""
ARRAYS = [
    (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
    (np._core.multiarray.scalar, "numpy.core.multiarray.scalar"),
    np._core.multiarray._reconstruct, np._core.multiarray.scalar, np.ndarray, np.dtype,
    *(type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i4", "i8", "u1", "?")),
]
"""What an array of numbers is rebuilt with; none of it calls anything else."""


def load_pickle(path: Path, arrays: bool = False) -> Any:
    """Contents of a `.pt` file as tensors, numbers, text, lists and tables; nothing is run.

    Tensors are mapped where the format allows it and must not be written to.

    Args:
        path: a file written by `torch.save`.
        arrays: also read numpy arrays of numbers, as tensors.

    Raises:
        NotFound: the file is not there.
        BrokenArtifact: it is damaged, too large in one of its parts, would run code when opened, or
        holds something that is neither a tensor nor a plain value.
    """
    if not path.is_file():
        raise NotFound(f"{path} is not there")
    zipped = _check_archive(path)
    try:
        with torch.serialization.safe_globals(ARRAYS if arrays else []):
            value = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise BrokenArtifact(_refused(path, str(error))) from None
    except Exception as error:  # the unpickler raises whatever a damaged file makes it stumble on
        reason = re.sub(r"\s+", " ", str(error))[:100]
        if "weights_only" in reason:
            reason = type(error).__name__
        raise BrokenArtifact(f"{path} is damaged ({reason}); fetch it again") from None
    return _Plain(path).of(value, 0)


def _check_archive(path: Path) -> bool:
    """Whether a file is a zip archive; BrokenArtifact where one is not what torch writes."""
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            start = file.read(2)
        if start[:1] != b"\x80":
            raise BrokenArtifact(
                f"{path} is no file of torch.save: it starts with {start!r}; fetch it again"
            )
        if size > MAX_UNMAPPED:
            raise BrokenArtifact(
                f"{path} is in the old format and has {size:,} bytes, at most {MAX_UNMAPPED:,} are "
                f"read; fetch the .safetensors file instead"
            )
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise BrokenArtifact(f"{path} is a damaged archive ({str(error)[:100]})") from error
    if len(entries) > MAX_ENTRIES:
        raise BrokenArtifact(
            f"{path} holds {len(entries):,} parts, at most {MAX_ENTRIES:,} are read"
        )
    for entry in entries:
        limit = MAX_PROGRAM if entry.filename.endswith(".pkl") else size
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size > limit:
            raise BrokenArtifact(
                f"{path}: its part {entry.filename[:60]!r} would unpack to {entry.file_size:,} "
                f"bytes, at most {limit:,} and none compressed are read"
            )
    return True


def _refused(path: Path, message: str) -> str:
    """One line about a pickle that was not opened; the library's advice is left out."""
    named = re.search(r"(?:GLOBAL|class|function)\s+([A-Za-z_][\w.]{0,80})", message)
    what = f" it names {named.group(1)}, which" if named else " it"
    if "Unsupported" in message or "GLOBAL" in message or "REDUCE" in message:
        return (
            f"{path} is not opened:{what} could run code here; use a .safetensors file or one that "
            f"holds tensors and plain values only"
        )
    return f"{path} is a damaged pickle; fetch it again"


class _Plain:
    """Turns what was unpickled into plain values, and counts them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._items = self._tensors = 0

    def of(self, value: Any, depth: int) -> Any:
        """The plain form of a value."""
        if depth > MAX_DEPTH:
            raise BrokenArtifact(f"{self._path} is nested deeper than {MAX_DEPTH} tables")
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, np.generic) and value.dtype.kind in "fiub":
            return value.item()
        if isinstance(value, np.ndarray):
            if value.dtype.kind not in "fiub":
                raise BrokenArtifact(f"{self._path} holds an array of {value.dtype}")
            value = torch.from_numpy(np.ascontiguousarray(value))
        if isinstance(value, Tensor):
            return self._tensor(value)
        if isinstance(value, dict):
            self._count(len(value))
            wrong = next((k for k in value if type(k) not in (str, int)), None)
            if wrong is not None:
                raise BrokenArtifact(f"{self._path} has a table with a key of {type(wrong)}")
            return {k: self.of(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list | tuple):
            self._count(len(value))
            return [self.of(v, depth + 1) for v in value]
        if isinstance(value, torch.Size):
            return list(value)
        if isinstance(value, torch.dtype):
            return str(value)
        raise BrokenArtifact(f"{self._path} holds a {type(value).__name__}, which is not read")

    def _count(self, n: int) -> None:
        self._items += n
        if self._items > MAX_ITEMS:
            raise BrokenArtifact(f"{self._path} holds more than {MAX_ITEMS:,} values")

    def _tensor(self, tensor: Tensor) -> Tensor:
        self._tensors += 1
        if self._tensors > MAX_ENTRIES:
            raise BrokenArtifact(f"{self._path} holds more than {MAX_ENTRIES:,} tensors")
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.is_quantized:
            raise BrokenArtifact(f"{self._path} holds a tensor of an unread kind ({tensor.layout})")
        held = tensor.untyped_storage().nbytes()
        claimed = tensor.numel() * tensor.element_size()
        if claimed > held:  # strides of zero: a few bytes that unfold to terabytes
            raise BrokenArtifact(
                f"{self._path} holds a tensor {tuple(tensor.shape)} of {claimed:,} bytes in "
                f"{held:,} bytes"
            )
        return tensor.detach()
