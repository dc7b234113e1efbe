"""Files of matches: one immutable file for a pair of runs and a way of matching them.

    matches/<digest>.safetensors    what was found both ways, as arrays over the features
    matches/<digest>.json           which runs, of which dictionaries, in which way; written last

The digest is that of the two runs, of what they are made from, of the way and of `CODE`: a file
whose name is not the one that is asked for was made from other dictionaries, and is left out.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atlas.errors import AtlasError, BrokenArtifact
from atlas.matching import NULL_QUANTILES, Matches
from atlas.splits import Split
from atlas.tensor_files import TensorFile, read_json, save_tensors, sha256, write_json
from precompute.kept import canonical

FOLDER = "matches"
"""Folder of a store."""
CODE = 3
"""Version of the matching; a change makes every pair be matched again."""
WAYS = ("trajectory", "terminal", "tokens", "life")
"""By directions at all snapshots or the last, by firing tokens, by the course of the norm."""
MISSING = -2.0
"""Of a number that is not there: no file of ours holds a nan, and no score goes below -1."""

_BEST = ("partner", "score", "margin", "reciprocal", "percentile", "null")
_MORE = ("assigned", "assigned_score", "assigned_percentile", "life", "life_percentile")
_SPLITS = ("split", "split_end", "split_joint", "split_percentile")
_PARTS = ("part", "part_score")


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that one way says of the features of one run in another; every array (D,)."""

    best: Matches
    """The best partner of each."""
    assigned: np.ndarray
    """int32 partner in the one-to-one assignment of largest summed score; -1 without one."""
    assigned_score: np.ndarray
    """float32 score of that pair; nan without one."""
    assigned_percentile: np.ndarray
    """float32 percentile of that score under the null of best partners; nan without one."""
    life: np.ndarray
    """float32 similarity of the lives of the feature and its best partner, 0 to 1; nan where
    either run has none."""
    life_percentile: np.ndarray
    """float32 share of the other run's features that live less alike."""
    splits: tuple[Split, ...]
    """Features that are several in the other run."""


def fingerprint(inputs: Mapping[str, str]) -> str:
    """Digest of what a run's directions and dead features come from, of its inputs' hashes."""
    kept = {name: digest for name, digest in inputs.items()
            if name.startswith("snapshots/") or name.endswith("/dictionary.safetensors")}
    return hashlib.sha256(canonical(kept).encode()).hexdigest()


def record_path(store: Path, prints: Mapping[str, str], way: str) -> Path:
    """Where the record of a pair lies, {run: fingerprint} of both; its tensors lie beside it."""
    digest = hashlib.sha256(canonical([CODE, way, sorted(prints.items())]).encode()).hexdigest()
    return store / FOLDER / f"{digest[:32]}.json"


def write_pair(
    record: Path, prints: Mapping[str, str], way: str, found: tuple[Evidence, Evidence]
) -> None:
    """Write the tensors, then the record; then older files of the same pair and way go."""
    arrays: dict[str, Tensor] = {}
    for side, evidence in zip("ab", found, strict=True):
        for name, values in _arrays(evidence).items():
            if values.dtype == np.float32:
                values = np.nan_to_num(values, nan=MISSING)
            arrays[f"{side}.{name}"] = torch.from_numpy(np.ascontiguousarray(values))
    tensors = record.with_suffix(".safetensors")
    save_tensors(tensors, arrays)
    write_json(record, {
        "code": CODE, "way": way, "runs": dict(sorted(prints.items())), "tensors": sha256(tensors),
    })
    for path in record.parent.glob("*.json"):
        if path != record and said_by(path) in ((*sorted(prints), way), (*sorted(prints), "")):
            path.unlink(missing_ok=True)
            path.with_suffix(".safetensors").unlink(missing_ok=True)


def _arrays(evidence: Evidence) -> dict[str, np.ndarray]:
    splits = evidence.splits
    return {
        **{name: getattr(evidence.best, name) for name in _BEST},
        **{name: getattr(evidence, name) for name in _MORE},
        "split": np.array([s.feature for s in splits], np.int32),
        "split_end": np.cumsum([len(s.parts) for s in splits], dtype=np.int32),
        "split_joint": np.array([s.joint for s in splits], np.float32),
        "split_percentile": np.array([s.percentile for s in splits], np.float32),
        "part": np.array([part for s in splits for part in s.parts], np.int32),
        "part_score": np.array([score for s in splits for score in s.scores], np.float32),
    }


def said_by(record: Path) -> tuple[str, ...]:
    """The two runs and the way that a record speaks of; nothing if it cannot be read, and no way
    of one that was written before there were several."""
    try:
        said = read_json(record)
        runs, way = said["runs"], said.get("way", "")
    except (AtlasError, KeyError, TypeError, AttributeError):
        return ()
    return (*sorted(runs), str(way)) if isinstance(runs, dict) and len(runs) == 2 else ()


def ready_pair(record: Path) -> tuple[Evidence, Evidence] | None:
    """The evidence of a record that is there and undamaged."""
    try:
        return read_pair(record)
    except AtlasError:
        return None


def read_pair(
    record: Path, widths: Sequence[int] | None = None
) -> tuple[Evidence, Evidence]:
    """The evidence of a record, the run first by name first.

    Args:
        widths: features of the two runs, if they are known.

    Raises:
        NotFound, BrokenArtifact: it is not there, damaged, or says what cannot be.
    """
    said, path = read_json(record), record.with_suffix(".safetensors")
    if not path.is_file() or not isinstance(said, dict) or sha256(path) != said.get("tensors"):
        raise BrokenArtifact(f"{path} is not what {record.name} says")
    file = TensorFile(path)
    file.require([f"{side}.{name}" for side in "ab"
                  for name in (*_BEST, *_MORE, *_SPLITS, *_PARTS)])
    sizes = list(widths or (file.shape("a.partner")[0], file.shape("b.partner")[0]))
    shapes = {}
    for side, size in zip("ab", sizes, strict=True):
        shapes |= {f"{side}.{name}": (size,) for name in (*_BEST, *_MORE)}
        shapes[f"{side}.null"] = (len(NULL_QUANTILES),)
        shapes |= {f"{side}.{name}": file.shape(f"{side}.split") for name in _SPLITS}
        shapes |= {f"{side}.{name}": file.shape(f"{side}.part") for name in _PARTS}
    file.expect(shapes, record.name)
    return (_way(file, "a", *sizes), _way(file, "b", *reversed(sizes)))


def _way(file: TensorFile, side: str, own: int, others: int) -> Evidence:
    names = (*_BEST, *_MORE, *_SPLITS, *_PARTS)
    values = {name: file.read(f"{side}.{name}").numpy() for name in names}
    here, there, score = (0, own - 1), (-1, others - 1), (-1, 1)
    limits = {"partner": there, "score": score, "margin": (0, 2), "reciprocal": (0, 1),
              "percentile": (0, 1), "null": score, "assigned": there, "assigned_score": score,
              "assigned_percentile": (0, 1), "life": (0, 1), "life_percentile": (0, 1),
              "split": here, "split_end": (2, len(values["part"])), "split_joint": (0, 1),
              "split_percentile": (0, 1), "part": (0, others - 1), "part_score": score}
    for name, (least, most) in limits.items():
        held = values[name]
        held = held[held != MISSING] if held.dtype == np.float32 else held
        if len(held) and not least <= held.min() <= held.max() <= most:
            raise BrokenArtifact(f"{file.path}: {side}.{name} goes beyond {least} to {most}")
    ends = np.concatenate([[0], values["split_end"]])
    if ends[-1] != len(values["part"]) or (np.diff(ends) < 2).any():
        raise BrokenArtifact(f"{file.path}: {side}.split_end does not divide the parts")
    floats = {name: np.where(held == MISSING, np.nan, held).astype(np.float32)
              for name, held in values.items() if held.dtype == np.float32}
    gone = values["partner"] < 0
    parts = [(values["part"][a:b].tolist(), floats["part_score"][a:b].tolist())
             for a, b in zip(ends[:-1], ends[1:], strict=True)]
    return Evidence(
        Matches(
            partner=values["partner"].astype(np.int32),
            score=np.where(gone, np.nan, floats["score"]).astype(np.float32),
            margin=floats["margin"],
            reciprocal=values["reciprocal"].astype(bool) & ~gone,
            percentile=np.where(gone, np.nan, floats["percentile"]).astype(np.float32),
            null=floats["null"],
        ),
        values["assigned"].astype(np.int32),
        **{name: floats[name] for name in _MORE[1:]},
        splits=tuple(
            Split(int(feature), tuple(ids), tuple(scores), float(joint), float(percentile))
            for feature, (ids, scores), joint, percentile in zip(
                values["split"], parts, floats["split_joint"], floats["split_percentile"],
                strict=True)),
    )


def fresh_records(
    store: Path, prints: Mapping[str, str]
) -> tuple[dict[tuple[str, str, str], Path], list[str]]:
    """Records that fit the dictionaries {run: fingerprint}, by pair and way, and a line for each
    stale one.

    Pairs with a run that is not among them are passed over.
    """
    fresh: dict[tuple[str, str, str], Path] = {}
    stale: set[tuple[str, ...]] = set()
    for path in sorted((store / FOLDER).glob("*.json")):
        said = said_by(path)
        if len(said) != 3 or not set(said[:2]) <= set(prints):
            continue
        one, other, way = said
        if way in WAYS and path == record_path(
            store, {run: prints[run] for run in (one, other)}, way
        ):
            fresh[one, other, way] = path
        else:
            stale.add(said)
    known = {*fresh, *((one, other, "") for one, other, _ in fresh)}
    lines = [
        f"the matches of {one} and {other} are not of what is built now; run "
        f"`readout-atlas match {one} {other}`"
        for one, other in sorted({said[:2] for said in stale - known})
    ]
    return fresh, lines
