"""Files of matches: one immutable file a pair of runs, and the rows of the catalog made from them.

    matches/<digest>.safetensors    partners both ways, as arrays over the features
    matches/<digest>.json           which runs, of which dictionaries; written last

The digest is that of the two runs, of what their directions are made from and of `CODE`: a file
whose name is not the one that is asked for was made from other dictionaries, and is left out.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from atlas.errors import AtlasError, BrokenArtifact
from atlas.matching import NULL_QUANTILES, Matches
from atlas.schema import COSINE_DECIMALS
from atlas.tensor_files import TensorFile, read_json, save_tensors, sha256, write_json
from precompute.kept import canonical

FOLDER = "matches"
"""Folder of a store."""
CODE = 2
"""Version of the matching; a change makes every pair be matched again."""
PERCENTILE_DECIMALS = 5
"""Decimals kept of a percentile: fewer would round one that a few of the null reach up to 1."""

_FIELDS = ("partner", "cosine", "margin", "reciprocal", "percentile", "null")
MISSING = -1.0
"""Of a margin that is not there: no file of ours holds a nan."""


def fingerprint(inputs: Mapping[str, str]) -> str:
    """Digest of what a run's directions and dead features come from, of its inputs' hashes."""
    kept = {name: digest for name, digest in inputs.items()
            if name.startswith("snapshots/") or name.endswith("/dictionary.safetensors")}
    return hashlib.sha256(canonical(kept).encode()).hexdigest()


def record_path(store: Path, prints: Mapping[str, str]) -> Path:
    """Where the record of a pair lies, {run: fingerprint} of both; its tensors lie beside it."""
    digest = hashlib.sha256(canonical([CODE, sorted(prints.items())]).encode()).hexdigest()
    return store / FOLDER / f"{digest[:32]}.json"


def write_pair(record: Path, prints: Mapping[str, str], found: tuple[Matches, Matches]) -> None:
    """Write the tensors, then the record; then older files of the same pair go."""
    arrays = {}
    for side, way in zip("ab", found, strict=True):
        for name in _FIELDS:
            values = getattr(way, name)
            if values.dtype == np.float32:
                values = np.nan_to_num(values, nan=MISSING)
            arrays[f"{side}.{name}"] = torch.from_numpy(np.ascontiguousarray(values))
    tensors = record.with_suffix(".safetensors")
    save_tensors(tensors, arrays)
    write_json(record, {
        "code": CODE, "runs": dict(sorted(prints.items())), "tensors": sha256(tensors),
    })
    for path in record.parent.glob("*.json"):
        if path != record and _runs_of(path) == sorted(prints):
            path.unlink(missing_ok=True)
            path.with_suffix(".safetensors").unlink(missing_ok=True)


def _runs_of(record: Path) -> list[str]:
    """Runs that a record speaks of; none if it cannot be read."""
    try:
        runs = read_json(record)["runs"]
    except (AtlasError, KeyError, TypeError):
        return []
    return sorted(runs) if isinstance(runs, dict) else []


def ready_pair(record: Path) -> tuple[Matches, Matches] | None:
    """The matches of a record that is there and undamaged."""
    try:
        return read_pair(record)
    except AtlasError:
        return None


def read_pair(record: Path, widths: Sequence[int] | None = None) -> tuple[Matches, Matches]:
    """The matches of a record, the run first by name first.

    Args:
        widths: features of the two runs, if they are known.

    Raises:
        NotFound, BrokenArtifact: it is not there, damaged, or says what cannot be.
    """
    said, path = read_json(record), record.with_suffix(".safetensors")
    if not path.is_file() or not isinstance(said, dict) or sha256(path) != said.get("tensors"):
        raise BrokenArtifact(f"{path} is not what {record.name} says")
    file = TensorFile(path)
    file.require([f"{side}.{name}" for side in "ab" for name in _FIELDS])
    sizes = list(widths or (file.shape("a.partner")[0], file.shape("b.partner")[0]))
    file.expect({f"{side}.{name}": (len(NULL_QUANTILES) if name == "null" else size,)
                 for side, size in zip("ab", sizes, strict=True) for name in _FIELDS}, record.name)
    return (_way(file, "a", sizes[1]), _way(file, "b", sizes[0]))


def _way(file: TensorFile, side: str, others: int) -> Matches:
    values = {name: file.read(f"{side}.{name}").numpy() for name in _FIELDS}
    limits = {"partner": (-1, others - 1), "cosine": (-1, 1), "margin": (-1, 2),
              "reciprocal": (0, 1), "percentile": (-1, 1), "null": (-1, 1)}
    for name, (least, most) in limits.items():
        if len(values[name]) and not least <= values[name].min() <= values[name].max() <= most:
            raise BrokenArtifact(f"{file.path}: {side}.{name} goes beyond {least} to {most}")
    gone = values["partner"] < 0
    return Matches(
        partner=values["partner"].astype(np.int32),
        cosine=np.where(gone, np.nan, values["cosine"]).astype(np.float32),
        margin=np.where(values["margin"] < 0, np.nan, values["margin"]).astype(np.float32),
        reciprocal=values["reciprocal"].astype(bool) & ~gone,
        percentile=np.where(gone, np.nan, values["percentile"]).astype(np.float32),
        null=values["null"],
    )


# --- the catalog ---------------------------------------------------------------------------------


def fresh_records(
    store: Path, prints: Mapping[str, str]
) -> tuple[dict[tuple[str, str], Path], list[str]]:
    """Records that fit the dictionaries {run: fingerprint} by pair, and a line for each stale pair.

    Pairs with a run that is not among them are passed over.
    """
    fresh: dict[tuple[str, str], Path] = {}
    stale = set()
    for path in sorted((store / FOLDER).glob("*.json")):
        runs = _runs_of(path)
        if len(runs) != 2 or not set(runs) <= set(prints):
            continue
        pair = (runs[0], runs[1])
        if path == record_path(store, {run: prints[run] for run in pair}):
            fresh[pair] = path
        else:
            stale.add(pair)
    lines = [
        f"the matches of {one} and {other} are not of what is built now; run "
        f"`readout-atlas match {one} {other}`"
        for one, other in sorted(stale - set(fresh))
    ]
    return fresh, lines


def match_rows(
    store: Path, metas: Mapping[str, Mapping[str, str]], skipped: list[str]
) -> pa.Table:
    """Rows of the catalog's `match` table in the order of its key.

    Args:
        metas: by run, what its file says of itself.
        skipped: gets a line for each pair that is stale or damaged.
    """
    prints = {run: fingerprint(json.loads(meta["inputs"])) for run, meta in metas.items()}
    widths = {run: json.loads(meta["config"])["config"]["d_sae"] for run, meta in metas.items()}
    fresh, lines = fresh_records(store, prints)
    skipped += lines
    found: dict[str, list[tuple[str, Matches]]] = {}
    for (one, other), path in fresh.items():
        try:
            ways = read_pair(path, (widths[one], widths[other]))
        except AtlasError as error:
            skipped.append(f"{error}; run `readout-atlas match {one} {other} --force`")
            continue
        found.setdefault(one, []).append((other, ways[0]))
        found.setdefault(other, []).append((one, ways[1]))
    parts = [_rows_of(run, sorted(others, key=lambda entry: entry[0]))
             for run, others in sorted(found.items())]
    return pa.concat_tables([*parts, _rows_of("", [])])


def _rows_of(run: str, others: list[tuple[str, Matches]]) -> pa.Table:
    """Rows of one run, by feature and other run."""
    ways = [way for _, way in others]
    features = [np.flatnonzero(way.partner >= 0) for way in ways]
    of = np.repeat(np.arange(len(ways)), [len(f) for f in features])
    feature = np.concatenate([np.zeros(0, np.int64), *features])
    order = np.lexsort((of, feature))

    def column(name: str, kind: type, decimals: int | None = None) -> np.ndarray:
        chosen = [getattr(way, name)[f] for way, f in zip(ways, features, strict=True)]
        values = np.concatenate([np.zeros(0, kind), *chosen])[order]
        return values if decimals is None else values.round(decimals)

    margin = column("margin", np.float32, COSINE_DECIMALS + 1)
    return pa.table({
        "run": pa.repeat(pa.scalar(run), len(order)),
        "feature": feature[order].astype(np.int32),
        "other": pa.array([name for name, _ in others], pa.string()).take(pa.array(of[order])),
        "partner": column("partner", np.int32),
        "cosine": column("cosine", np.float32, COSINE_DECIMALS),
        "margin": pa.array(margin, mask=np.isnan(margin)),
        "reciprocal": column("reciprocal", bool),
        "percentile": column("percentile", np.float32, PERCENTILE_DECIMALS),
    })
