"""Attribution artifacts of a release: shards, reconstruction EV, specificity (section 5.10).

Their layout is inferred from the script that writes them, so every field is checked at load, and a
shard's JSON against its tensors.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.errors import BrokenArtifact
from atlas.tensor_files import save_tensors, write_json
from precompute.checkpoints import finite
from precompute.pickles import load_pickle
from precompute.sidecars import count_of, read_bounded_json, table_of, text_of
from precompute.tables_of_rates import Shape

TOP = "feature_attributions_top1024"
SHARD = re.compile(r"(.+)__h(\d+)__s(\d+)")
"""Name of a shard's files without suffix: family, step of the hidden states, of the readout."""
SINGLE = re.compile(r"reconstruction_ev\.json|specificity_matrix\.(json|pt)|manifest\.json")


@dataclass(frozen=True, eq=False)
class Shard:
    """One family of contrasts, with hidden states of one step and the readout of another."""

    family: str
    h_step: int
    """Step of the hidden states."""
    snapshot_step: int
    """Step of the readout; one of the run's."""
    n: int
    """Contrasts."""
    rank_by: str
    """`pos` or `abs`."""
    attributions: Tensor
    """(D,): they add up to the mean reconstructed margin (section 10.6)."""
    order: Tensor
    """(D,) int64, features by rank."""
    rows: Tensor | None
    """(K_max, d), directions of the first features."""
    row_features: Tensor | None
    """(K_max,) int64, whose they are."""
    told: dict[str, Any]
    """The JSON, `per_K` and its interventions among it."""


def read_shard(json_path: Path, pt_path: Path, shape: Shape, d_model: int) -> Shard:
    """A shard from both its files.

    Raises:
        NotFound, BrokenArtifact: a file is missing or damaged, or they disagree; names both.
    """
    source = str(json_path)
    told = table_of(read_bounded_json(json_path), source)
    tensors = table_of(load_pickle(pt_path, arrays=True), str(pt_path))
    family = text_of(told.get("family"), source, "family")
    h_step, step, n = (
        count_of(told.get(name), source, name, least=0) for name in ("h_step", "snapshot_step", "n")
    )
    if family is None or h_step is None or step is None or n is None:
        raise BrokenArtifact(f"{source} lacks family, h_step, snapshot_step or n")
    if step not in shape.steps:
        raise BrokenArtifact(
            f"{source}: snapshot_step is {step}, which is no step of {shape.said_by}"
        )
    stem = SHARD.fullmatch(json_path.stem)
    if stem and (stem[1], int(stem[2]), int(stem[3])) != (family, h_step, step):
        raise BrokenArtifact(f"{source} is named {stem[0]}, but says {family}, h_step {h_step}, "
                             f"snapshot_step {step}")
    attributions = _array(pt_path, tensors, "attrs", (shape.d_sae,), shape.said_by)
    order = _array(pt_path, tensors, "feature_order", (shape.d_sae,), shape.said_by).long()
    if not torch.equal(order.sort().values, torch.arange(shape.d_sae)):
        raise BrokenArtifact(f"{pt_path}: feature_order is no order of {shape.d_sae} features")
    rows = row_features = None
    if isinstance(tensors.get("decoder_rows_top_Kmax"), Tensor):
        count = len(tensors["decoder_rows_top_Kmax"])
        rows = _array(pt_path, tensors, "decoder_rows_top_Kmax", (count, d_model), shape.said_by)
        row_features = _array(
            pt_path, tensors, "decoder_rows_top_Kmax_indices", (count,), str(pt_path)
        ).long()
    _check_top(told.get(TOP), attributions, source, pt_path)
    rank_by = text_of(told.get("rank_by"), source, "rank_by") or "pos"
    return Shard(family, h_step, step, n, rank_by, attributions.float(), order, rows, row_features,
                 told)


def _array(
    path: Path, tensors: dict[str, Any], name: str, want: tuple[int, ...], said_by: str
) -> Tensor:
    found = tensors.get(name)
    if not isinstance(found, Tensor) or tuple(found.shape) != want:
        held = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise BrokenArtifact(f"{path}: {name} is {held}, but {said_by} says {want}")
    return finite(path, name, found) if found.is_floating_point() else found


def _check_top(listed: Any, attributions: Tensor, source: str, pt_path: Path) -> None:
    if listed is None:
        return
    if not isinstance(listed, list):
        raise BrokenArtifact(f"{source}: {TOP} is a {type(listed).__name__}, expected a list")
    for entry in listed:
        said = table_of(entry, source, TOP)
        feature = count_of(said.get("feature"), source, f"{TOP}.feature", least=0)
        value = said.get("attribution")
        if feature is None or feature >= len(attributions) or type(value) not in (int, float):
            raise BrokenArtifact(f"{source}: {TOP} has an entry {str(entry)[:80]}")
        held = float(attributions[feature])
        if abs(held - value) > 1e-4 * max(1.0, abs(held)):
            raise BrokenArtifact(
                f"feature {feature}: {source} says {value:.6g}, but {pt_path} says {held:.6g}"
            )


def read_reconstruction_ev(path: Path) -> dict[str, float]:
    """Figures of `reconstruction_ev.json` by their name, which usually holds the step."""
    return dict(_numbers(read_bounded_json(path), str(path), ""))


def _numbers(value: Any, source: str, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, source, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list):
        for place, inner in enumerate(value):
            yield from _numbers(inner, source, f"{name}.{place}" if name else str(place))
    elif type(value) in (int, float):
        yield name, float(value)


@dataclass(frozen=True, eq=False)
class Specificity:
    """How far ablating the features of one family hurts another (section 10.6)."""

    families: tuple[str, ...]
    matrix: Tensor
    """(F, F): rows the family whose features are ablated, columns the family evaluated."""
    n_features: int
    """K, the size of the ablated set."""


def read_specificity(path: Path) -> Specificity:
    """`specificity_matrix.json` or `.pt`."""
    source = str(path)
    as_text = path.suffix == ".json"
    told = table_of(read_bounded_json(path) if as_text else load_pickle(path, True), source)
    families, matrix = told.get("families"), told.get("matrix")
    if not isinstance(families, list) or not all(isinstance(f, str) for f in families):
        raise BrokenArtifact(f"{source}: families is no list of names")
    try:
        matrix = torch.as_tensor(matrix, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BrokenArtifact(f"{source}: matrix is no table of numbers") from error
    if tuple(matrix.shape) != (len(families), len(families)):
        raise BrokenArtifact(
            f"{source}: matrix is {tuple(matrix.shape)}, but there are {len(families)} families"
        )
    n = count_of(told.get("K"), source, "K")
    if n is None:
        raise BrokenArtifact(f"{source} has no K")
    return Specificity(tuple(families), finite(path, "matrix", matrix), n)


def attribution_groups(paths: Iterable[str]) -> tuple[list[list[str]], list[str]]:
    """Files of an attribution folder that are read together, and those that are not read.

    A shard is told by its name, wherever it lies: the layout of the folder is not published.
    """
    groups: dict[str, list[str]] = {}
    unread = []
    for path in sorted(paths):
        if _is_shard(path):
            groups.setdefault(path.rsplit(".", 1)[0], []).append(path)
        elif SINGLE.fullmatch(Path(path).name):
            groups[path] = [path]
        else:
            unread.append(path)
    return list(groups.values()), unread


def _is_shard(path: str) -> bool:
    return path.endswith((".json", ".pt")) and SHARD.fullmatch(Path(path).stem) is not None


def keep_attribution(
    files: Mapping[str, Path], out: Path, shape: Shape, d_model: int
) -> Iterator[tuple[str, Path]]:
    """Convert attribution files; yields each release path and what it was written as.

    A shard's two files are read together; one without the other is refused.
    """
    groups, unread = attribution_groups(files)
    if unread:
        raise BrokenArtifact(f"{unread[0]} is no attribution file that is read")
    for group in groups:
        path = group[0]
        name, file = Path(path).name, files[path]
        if _is_shard(path):
            base = path.rsplit(".", 1)[0]
            missing = [end for end in (".json", ".pt") if base + end not in group]
            if missing:
                raise BrokenArtifact(f"{path} has no {Path(base).name}{missing[0]} beside it")
            shard = read_shard(file, files[base + ".pt"], shape, d_model)
            tensors = {"attributions": shard.attributions, "order": shard.order}
            if shard.rows is not None and shard.row_features is not None:
                tensors |= {"rows": shard.rows.float(), "row_features": shard.row_features}
            target = out / f"{Path(path).stem}.safetensors"
            save_tensors(target, tensors)
            write_json(out / name, shard.told)
            yield path, out / name
            yield base + ".pt", target
        elif name == "reconstruction_ev.json":
            write_json(out / name, read_reconstruction_ev(file))
            yield path, out / name
        elif name == "manifest.json":
            write_json(out / name, read_bounded_json(file))
            yield path, out / name
        else:
            found = read_specificity(file)
            target = out / "specificity_matrix.json"
            write_json(target, {"K": found.n_features, "families": list(found.families),
                                "matrix": found.matrix.tolist()})
            yield path, target
