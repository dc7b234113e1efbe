"""The header of a safetensors file, bounded and checked before anything else reads it.

The library checks neither the size of a header nor what its tensors are called, and a million
empty ones cost it 16 s and a gigabyte (reliability section 4.3).
"""

import json
import math
import re
from pathlib import Path
from typing import Any

from atlas.errors import BrokenArtifact, NotFound

MAX_HEADER = 5_000_000
"""Bytes of a header; a million empty tensors in 56 MB cost the library 16 s and a gigabyte."""
MAX_TENSORS = 20_000
MAX_AXES = 8
NAME = re.compile(r"[A-Za-z0-9_.\-]{1,200}")
"""What a tensor may be called."""
SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
}
"""Bytes of a number in the formats that are read; a file with another one is refused."""


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
    _check_cover(path, header, size - 8 - length)
    return header


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name is given twice")
    return table


def _check_entry(path: Path, name: str, entry: Any, available: int) -> None:
    try:
        shape, (start, stop) = entry["shape"], entry["data_offsets"]
        known = entry["dtype"] in SIZES
        whole = len(shape) <= MAX_AXES and all(
            type(n) is int and 0 <= n < 2**48 for n in (*shape, start, stop)
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenArtifact(f"{path}: tensor {name} is not described ({error!r})") from error
    if not known:
        raise BrokenArtifact(f"{path}: tensor {name} has numbers of type {entry['dtype']!r:.40}")
    if not whole:
        raise BrokenArtifact(
            f"{path}: tensor {name} has shape {shape!r:.60} at {[start, stop]!r:.60}, expected "
            f"at most {MAX_AXES} whole numbers from 0"
        )
    if stop > available:
        raise BrokenArtifact(
            f"{path}: tensor {name} {shape} would end at byte {stop:,} of {available:,}; the file "
            f"is cut short, fetch it again"
        )
    size = SIZES[entry["dtype"]] * math.prod(shape)
    if stop - start != size:
        raise BrokenArtifact(
            f"{path}: tensor {name} {shape} of {entry['dtype']} takes {size:,} bytes, but the "
            f"header gives it {stop - start:,}"
        )


def _check_cover(path: Path, header: dict[str, Any], available: int) -> None:
    """Tensors lie end to end and fill the file: none over another, nothing between or behind."""
    end = 0
    for (start, stop), name in sorted((e["data_offsets"], n) for n, e in header.items()):
        if start != end:
            fault = "overlaps the one before it" if start < end else "leaves a hole before it"
            raise BrokenArtifact(f"{path}: tensor {name} at byte {start:,} {fault} ({end:,})")
        end = stop
    if end != available:
        raise BrokenArtifact(
            f"{path}: its tensors end at byte {end:,}, but it holds {available:,}; fetch it again"
        )
