"""Tables of a run's features through training, as a release keeps them: rates, norms, peaks.

An array of several seeds is never read without a seed, and none whose K, D or steps are not the
run's (crosscoder-method sections 5.7, 5.8 and known answer 30).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas.errors import BrokenArtifact, NotFound
from precompute.checkpoints import finite
from precompute.pickles import load_pickle
from precompute.sidecars import steps_of, table_of

LARGEST_RATE = 1 + 1e-6
"""A share, with what float32 adds to it."""


@dataclass(frozen=True)
class Shape:
    """What a table must fit."""

    steps: tuple[int, ...]
    """Of the run, rising."""
    d_sae: int
    """D."""
    said_by: str
    """Where these are from, for the message."""


@dataclass(frozen=True, eq=False)
class Aggregates:
    """One file of `derived/aggregates` (section 5.7)."""

    steps: tuple[int, ...]
    rates: Tensor
    """(K, D)."""
    norms: Tensor | None
    """(K, D)."""
    cusum_max: Tensor | None
    """(D,)."""
    peak_steps: Tensor | None
    """(D,) int64, in training steps, not indices."""
    mean: Tensor | None
    """(K, d), of the preprocessing."""
    scale: Tensor | None
    """(K,)."""


def read_array(path: Path) -> Tensor:
    """An array of numbers from a `.npy` file; a pickled object in it is refused."""
    if not path.is_file():
        raise NotFound(f"{path} is not there")
    try:
        values = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError, SyntaxError, OverflowError, MemoryError) as error:
        reason = re.sub(r"\s+", " ", str(error))[:80]
        if "pickle" in reason or "object" in reason.lower():
            reason = "it holds Python objects, which are not read"
        raise BrokenArtifact(f"{path} is no array of numbers ({reason})") from None
    if values.dtype.kind not in "fiu":
        raise BrokenArtifact(f"{path} holds values of type {values.dtype}, expected numbers")
    kind = np.float32 if values.dtype.kind == "f" else np.int64
    return finite(path, path.name, torch.from_numpy(np.array(values, dtype=kind)))


def of_run(values: Tensor, shape: Shape, seed: int | None, source: str, what: str) -> Tensor:
    """The (K, D) table of a run out of (K, D), or out of (S, K, D) with the number of a seed.

    Raises:
        BrokenArtifact: K or D is not the run's, or several seeds come without a number.
    """
    if values.ndim == 3:
        if seed is None or not 0 <= seed < len(values):
            raise BrokenArtifact(
                f"{source}: {what} {tuple(values.shape)} holds {len(values)} seeds, so one of 0 to "
                f"{len(values) - 1} must be named, not {seed}"
            )
        values = values[seed]
    want = (len(shape.steps), shape.d_sae)
    if tuple(values.shape) != want:
        raise BrokenArtifact(
            f"{source}: {what} is {tuple(values.shape)}, but {shape.said_by} says {want}"
        )
    return values


def _shares(values: Tensor, source: str, what: str, share: bool) -> Tensor:
    low, high = float(values.min()), float(values.max())
    if low < 0 or (share and high > LARGEST_RATE):
        bounds = "0 to 1" if share else "0 or more"
        raise BrokenArtifact(f"{source}: {what} reaches {low:.4g} to {high:.4g}, expected {bounds}")
    return values.float()


def _check_steps(found: Any, shape: Shape, source: str) -> None:
    steps = steps_of(_plain(found), source)
    if steps is not None and steps != shape.steps:
        differ = next((i for i, pair in enumerate(zip(steps, shape.steps, strict=False))
                       if pair[0] != pair[1]), min(len(steps), len(shape.steps)))
        raise BrokenArtifact(
            f"{source}: steps has {len(steps)}, from place {differ} on not those of "
            f"{shape.said_by}, which has {len(shape.steps)}"
        )


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, Tensor) else value


def _one(tables: Any, seed: int | None, source: str, field: str) -> Tensor:
    """The table of a seed out of `{stem: table}`; a single one needs no name."""
    held = table_of(tables, source, field)
    tables = {k: v for k, v in held.items() if isinstance(v, Tensor)}
    if len(tables) == 1:
        stem = next(iter(tables))
        named = re.search(r"seed(\d+)", str(stem))
        if named and seed is not None and int(named[1]) != seed:
            raise BrokenArtifact(f"{source}: {field} is of {stem}, but the run has seed {seed}")
        return tables[stem]
    fitting = [k for k in tables if re.search(rf"seed{seed}(?!\d)", str(k))]
    if seed is None or len(fitting) != 1:
        raise BrokenArtifact(
            f"{source}: {field} holds {', '.join(map(str, list(held)[:6]))}; none of them alone is "
            f"of seed {seed}"
        )
    return tables[fitting[0]]


def read_rates(path: Path, shape: Shape, seed: int | None = None, share: bool = True) -> Tensor:
    """Rates (or, without `share`, norms) of a run, (K, D) float32.

    Args:
        path: a `.npy` of (K, D) or (S, K, D), or a `.pt` of `{rates_per_seed, steps}`, or a folder
            of one (D,) array per step, of which all steps must be there.
        shape: K, D and steps of the run.
        seed: which of several seeds.
        share: whether values are shares of rows.
    """
    what = "rates" if share else "norms"
    if path.is_dir():
        steps, values = read_folder(path, shape)
        if steps != shape.steps:
            raise BrokenArtifact(
                f"{path} has {len(steps)} of the {len(shape.steps)} steps of {shape.said_by}"
            )
    elif path.suffix == ".npy":
        values = read_array(path)
    else:
        told = table_of(load_pickle(path, arrays=True), str(path))
        _check_steps(told.get("steps"), shape, str(path))
        values = told.get("rates")
        if values is None:
            values = _one(told.get("rates_per_seed"), seed, str(path), "rates_per_seed")
        if not isinstance(values, Tensor):
            raise BrokenArtifact(f"{path} has neither rates nor rates_per_seed")
        finite(path, what, values)
    return _shares(of_run(values, shape, seed, str(path), what), str(path), what, share)


def read_per_feature(
    path: Path, shape: Shape, seed: int | None = None, steps: bool = False
) -> Tensor:
    """One value per feature (D,) of a `.npy` of (D,) or (S, D); with `steps`, training steps."""
    values = read_array(path)
    if values.ndim == 2:
        if seed is None or not 0 <= seed < len(values):
            raise BrokenArtifact(f"{path} holds {len(values)} seeds, one must be named, not {seed}")
        values = values[seed]
    return _per_feature(values, shape, str(path), steps)


def _per_feature(values: Tensor, shape: Shape, source: str, steps: bool) -> Tensor:
    if tuple(values.shape) != (shape.d_sae,):
        raise BrokenArtifact(
            f"{source} is {tuple(values.shape)}, but {shape.said_by} says ({shape.d_sae},)"
        )
    if not steps:
        return values.float()
    strange = sorted(set(values.long().tolist()) - set(shape.steps))
    if strange:
        raise BrokenArtifact(
            f"{source} holds peak step {strange[0]}, which is no step of {shape.said_by}; peaks of "
            f"a release are training steps, not indices"
        )
    return values.long()


def read_folder(folder: Path, shape: Shape) -> tuple[tuple[int, ...], Tensor]:
    """One array (D,) per step, stacked in the order of the steps; a missing step is left out."""
    named = ((re.search(r"step(\d+)\D*$", p.stem), p) for p in sorted(folder.glob("*.npy"))
             if not p.name.startswith("._"))
    files = {int(match[1]): path for match, path in named if match}
    steps = tuple(step for step in shape.steps if step in files)
    if not steps:
        raise NotFound(f"{folder} holds no array of a step of {shape.said_by}")
    return steps, torch.stack([
        _per_feature(read_array(files[step]).reshape(-1), shape, str(files[step]), steps=False)
        for step in steps
    ])


def read_aggregates(
    path: Path, shape: Shape, seed: int | None = None, fallback: Sequence[int] | None = None
) -> Aggregates:
    """An aggregates file, checked against its run.

    Args:
        path: the `.pt` file.
        shape: K, D and steps of the run.
        seed: which of several seeds.
        fallback: steps to assume where the file has none; accepted only if there are K.
    """
    source = str(path)
    told = table_of(load_pickle(path, arrays=True), source)
    steps = told.get("steps", None if fallback is None else list(fallback))
    if steps is None:
        raise BrokenArtifact(f"{source} has no steps")
    _check_steps(steps, shape, source)
    rates = told.get("rates")
    if rates is None:
        rates = _one(told.get("rates_per_seed"), seed, source, "rates_per_seed")
    if not isinstance(rates, Tensor):
        raise BrokenArtifact(f"{source} has neither rates nor rates_per_seed")
    rates = _shares(of_run(finite(path, "rates", rates), shape, seed, source, "rates"), source,
                    "rates", share=True)
    norms, cusum, peaks = (told.get(n) for n in ("decoder_norms", "cusum_max", "peak_steps"))
    if norms is not None:
        norms = _shares(
            of_run(finite(path, "decoder_norms", _tensor(norms, source, "decoder_norms")), shape,
                   seed, source, "decoder_norms"), source, "decoder_norms", share=False)
    if cusum is not None:
        cusum = _per_feature(_tensor(cusum, source, "cusum_max"), shape, f"{source}: cusum_max",
                             steps=False)
    if peaks is not None:
        peaks = _per_feature(_tensor(peaks, source, "peak_steps"), shape, f"{source}: peak_steps",
                             steps=True)
    mean, scale = None, None
    if told.get("preprocess_stats") is not None:
        mean, scale = statistics_of(told["preprocess_stats"], len(shape.steps), None, source)
    return Aggregates(shape.steps, rates, norms, cusum, peaks, mean, scale)


def _tensor(value: Any, source: str, field: str) -> Tensor:
    if isinstance(value, list) and all(type(v) in (int, float) for v in value):
        value = torch.tensor(value)
    if not isinstance(value, Tensor):
        raise BrokenArtifact(f"{source}: {field} is a {type(value).__name__}, expected an array")
    return value


def statistics_of(
    value: Any, snapshots: int, d_model: int | None, source: str
) -> tuple[Tensor | None, Tensor | None]:
    """Mean (K, d) and scale (K,) of embedded preprocessing statistics, squeezed or not (section 2).

    Statistics of mode `none` are null.
    """
    told = table_of(value, source, "preprocess_stats")
    mean, scale = told.get("mean"), told.get("scale")
    if mean is None or scale is None:
        return None, None
    mean, scale = (
        _tensor(v, source, f"preprocess_stats.{n}") for n, v in (("mean", mean), ("scale", scale))
    )
    width = d_model or mean.numel() // snapshots
    if mean.numel() != snapshots * width or scale.numel() != snapshots or not width:
        raise BrokenArtifact(
            f"{source}: preprocess_stats has mean {tuple(mean.shape)} and scale "
            f"{tuple(scale.shape)}, expected ({snapshots}, {width}) and ({snapshots},)"
        )
    mean, scale = mean.reshape(snapshots, width).float(), scale.reshape(snapshots).float()
    for name, part in (("mean", mean), ("scale", scale)):
        if not bool(torch.isfinite(part).all()):
            raise BrokenArtifact(f"{source}: preprocess_stats.{name} is not finite")
    if float(scale.min()) <= 0:
        raise BrokenArtifact(f"{source}: preprocess_stats.scale is not positive")
    return mean, scale
