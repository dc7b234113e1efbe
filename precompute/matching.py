"""Matches between the runs of a store: which pairs fit, and matching them once."""

import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atlas.artifacts import RunFolder
from atlas.errors import InvalidValue, NotFound
from atlas.matching import Courses, Matches, match
from precompute.kept import (
    Report,
    current_file,
    input_hashes,
    pointed,
    run_folder,
    silent,
)
from precompute.match_files import FOLDER, fingerprint, ready_pair, record_path, write_pair
from precompute.safety import space_watch, writer_lock
from precompute.sources import Dictionary, PrismDictionary
from precompute.writer import read_rows

BEYOND = 0.99
"""Percentile from which a match counts as beyond its null."""
ALIVE = "SELECT feature FROM source.feature WHERE alive"


@dataclass(frozen=True)
class Matched:
    """What is known of the features of one run in another."""

    run: str
    other: str
    features: int
    matched: int
    """Features that have a partner: those that fire."""
    reciprocal: int
    """Of them, features that are the partner of their partner too."""
    beyond: int
    """Of those, features whose percentile is 0.99 or more."""
    cosine: float
    """Median cosine to the partner."""
    null: float
    """Median cosine to the best partner in a dictionary turned at random."""
    computed: bool
    """False when the file was there already."""
    seconds: float


# --- which runs fit ------------------------------------------------------------------------------


def misfit(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """Why two runs cannot be matched by their directions, from their configs; None if they can."""
    if one["run"] == other["run"]:
        return f"{one['run']} is named twice; its features match themselves"
    for field, words in (("model_name", "language models"), ("revision", "revisions"),
                         ("matrix", "matrices"), ("steps", "snapshots")):
        left, right = one.get(field), other.get(field)
        if left != right:
            return (f"{one['run']} and {other['run']} are over different {words} "
                    f"({_short(left)} and {_short(right)}), so their directions do not compare")
    widths = [config["config"]["d_model"] for config in (one, other)]
    if widths[0] != widths[1]:
        return f"{one['run']} has directions of width {widths[0]}, {other['run']} of {widths[1]}"
    ways = [config.get("input_preprocess") for config in (one, other)]
    if len(one["steps"]) > 1 and None not in ways and ways[0] != ways[1]:
        return (f"{one['run']} and {other['run']} standardise their rows differently "
                f"({ways[0]} and {ways[1]}), so their snapshots do not weigh the same")
    return None


def _short(value: Any) -> str:
    return f"{len(value)}: {value[0]} to {value[-1]}" if isinstance(value, list) else str(value)


def fitting_pairs(
    store: Path, runs: Sequence[str], report: Report | None = None
) -> list[tuple[str, str]]:
    """Pairs to match: among the named runs, or of one run with all built ones of the store.

    Pairs among several that do not fit are told in a line each.

    Raises:
        NotFound: a run is not there. InvalidValue: no pair fits; says why of the first.
    """
    report = report or silent
    configs = {run: run_folder(store, run).config for run in dict.fromkeys(runs)}
    if len(runs) == 1:
        mine = runs[0]
        pairs = [(mine, other) for other in _built(store) if other != mine]
        configs |= {other: run_folder(store, other).config for _, other in pairs}
        fitting = [pair for pair in pairs if misfit(*(configs[run] for run in pair)) is None]
        if not fitting:
            raise InvalidValue(
                f"no other run of {store} has the model, matrix and snapshots of {mine}; "
                f"`readout-atlas build RUN` adds one"
            )
        return fitting
    reasons = {pair: misfit(*(configs[run] for run in pair))
               for pair in itertools.combinations(runs, 2)}
    refused = [reason for reason in reasons.values() if reason]
    if len(refused) == len(reasons):
        raise InvalidValue(refused[0])
    for reason in refused:
        report(f"left out: {reason}")
    return [pair for pair, reason in reasons.items() if reason is None]


def all_pairs(store: Path, runs: Iterable[str]) -> list[tuple[str, str]]:
    """Every pair of these runs that fits; empty when none does."""
    configs = [run_folder(store, run).config for run in sorted(runs)]
    return [(one["run"], other["run"]) for one, other in itertools.combinations(configs, 2)
            if misfit(one, other) is None]


def _built(store: Path) -> list[str]:
    """Run ids of a store that have a file."""
    folders = (path.parent for path in (store / "runs").rglob("config.json"))
    return sorted(f.relative_to(store / "runs").as_posix() for f in folders if pointed(f))


# --- matching ------------------------------------------------------------------------------------


def match_runs(
    store: Path, pairs: Sequence[tuple[str, str]], device: str = "cpu", force: bool = False,
    report: Report | None = None,
) -> list[Matched]:
    """Match pairs of built runs, or find that they are matched; both ways of every pair.

    The store shows them once `precompute.publish.publish` has listed them.

    Raises:
        NotFound: a run is not built, or not from what is there now. BrokenArtifact: its weights
        are damaged. StoreBusy: another process matches. NoSpace: the disk is full.
    """
    report = report or silent
    sides = {run: _Side.read(store, run) for run in sorted({r for pair in pairs for r in pair})}
    told = []
    with writer_lock(store / FOLDER, f"matches of {store}"), space_watch(store / FOLDER):
        for one, other in (sorted(pair) for pair in pairs):
            prints = {run: sides[run].fingerprint for run in (one, other)}
            record, began = record_path(store, prints), time.monotonic()
            found = None if force else ready_pair(record)
            computed = found is None
            if found is None:
                report(f"match: {one} and {other}")
                found = match(*(sides[run].courses() for run in (one, other)), device=device,
                              report=report)
                write_pair(record, prints, found)
            else:
                report(f"{one} and {other}: matched already, nothing to do")
            seconds = time.monotonic() - began
            told += [_told(own, their, way, computed, seconds)
                     for own, their, way in ((one, other, found[0]), (other, one, found[1]))]
    return told


@dataclass(frozen=True)
class _Side:
    """A built run, to be matched."""

    folder: RunFolder
    fingerprint: str
    alive: np.ndarray
    """Features that fire."""

    @classmethod
    def read(cls, store: Path, run: str) -> "_Side":
        folder = run_folder(store, run)
        inputs = input_hashes(store, folder)
        ready = current_file(folder.path, inputs)
        if ready is None:
            raise NotFound(
                f"run {run} is not built from what is there now; run `readout-atlas build {run}`"
            )
        (rows,) = read_rows(ready[0], ALIVE)
        return cls(folder, fingerprint(inputs), np.array([row["feature"] for row in rows], int))

    def courses(self) -> Courses:
        folder = self.folder
        source = PrismDictionary(folder) if folder.kind == "prism" else Dictionary(folder)
        kept = torch.zeros(source.n_features, dtype=torch.bool)
        kept[torch.from_numpy(self.alive)] = True
        return Courses(source.directions, source.n_snapshots, kept)


def _told(
    run: str, other: str, found: Matches, computed: bool, seconds: float
) -> Matched:
    known = found.partner >= 0
    beyond = found.reciprocal & (np.nan_to_num(found.percentile) >= BEYOND)
    return Matched(
        run, other, len(known), int(known.sum()), int(found.reciprocal.sum()), int(beyond.sum()),
        float(np.median(found.cosine[known])) if known.any() else float("nan"),
        float(found.null[1]), computed, seconds,
    )
