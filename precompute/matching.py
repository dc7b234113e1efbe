"""Matches between the runs of a store: which pairs fit in which way, and matching them once."""

import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import InvalidValue
from precompute.kept import Report, pointed, run_folder, silent
from precompute.match_files import (
    FOLDER,
    WAYS,
    Evidence,
    ready_pair,
    record_path,
    write_pair,
)
from precompute.match_tables import returned
from precompute.match_ways import Side, compare, misfit
from precompute.safety import space_watch, writer_lock
from precompute.words import read_words

Task = tuple[str, str, str]
"""Two runs and a way of matching them."""


@dataclass(frozen=True)
class Matched:
    """What is known of the features of one run in another, in one way."""

    run: str
    other: str
    way: str
    """trajectory, terminal, tokens or life."""
    features: int
    matched: int
    """Features that have a partner: those that fire."""
    reciprocal: int
    """Of them, features that are the partner of their partner too."""
    beyond: int
    """Of those, features whose percentile is 0.99 or more."""
    assigned: int
    """Features in the one-to-one assignment."""
    split: int
    """Features that are several in the other run."""
    score: float
    """Median score of the partner."""
    null: float
    """Median score of the best partner in the null."""
    computed: bool
    """False when the file was there already."""
    seconds: float


# --- which runs fit ------------------------------------------------------------------------------


class _Fit:
    """Asks which runs of a store fit; a vocabulary is read once."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._raw: dict[str, tuple[bytes, ...]] = {}

    def raw(self, model: str) -> tuple[bytes, ...]:
        if model not in self._raw:
            self._raw[model] = read_words(self._store, model).raw
        return self._raw[model]

    def reason(self, way: str, one: dict[str, Any], other: dict[str, Any]) -> str | None:
        return misfit(way, one, other, self.raw)


def fitting_pairs(
    store: Path, runs: Sequence[str], ways: Sequence[str] = WAYS, report: Report | None = None
) -> list[Task]:
    """What to match: among the named runs, or of one run with all built ones of the store.

    Pairs among several that fit in none of the ways are told in a line each.

    Raises:
        NotFound: a run is not there. InvalidValue: no pair fits, or there is no such way; says why
        of the first.
    """
    report = report or silent
    unknown = [way for way in ways if way not in WAYS]
    if unknown:
        raise InvalidValue(f"there is no way {unknown[0]!r}; the ways are {', '.join(WAYS)}")
    configs = {run: run_folder(store, run).config for run in dict.fromkeys(runs)}
    fit = _Fit(store)
    if len(runs) == 1:
        pairs = [(runs[0], other) for other in _built(store) if other != runs[0]]
        configs |= {other: run_folder(store, other).config for _, other in pairs}
    else:
        pairs = list(itertools.combinations(runs, 2))
    reasons = {(*pair, way): fit.reason(way, *(configs[run] for run in pair))
               for pair in pairs for way in ways}
    tasks = [task for task, reason in reasons.items() if reason is None]
    if not tasks and len(runs) == 1:
        raise InvalidValue(
            f"no other run of {store} can be matched with {runs[0]} by {' or '.join(ways)}; "
            f"`readout-atlas build RUN` adds one"
        )
    if not tasks:
        raise InvalidValue(next(iter(reasons.values())))
    fitting = {task[:2] for task in tasks}
    for pair in pairs if len(runs) > 1 else []:
        if pair not in fitting:
            report(f"left out: {reasons[*pair, ways[0]]}")
    return tasks


def all_pairs(store: Path, runs: Iterable[str]) -> list[Task]:
    """Every pair of these runs in every way that fits; empty when none does."""
    configs = [run_folder(store, run).config for run in sorted(runs)]
    fit = _Fit(store)
    return [(one["run"], other["run"], way) for one, other in itertools.combinations(configs, 2)
            for way in WAYS if fit.reason(way, one, other) is None]


def _built(store: Path) -> list[str]:
    """Run ids of a store that have a file."""
    folders = (path.parent for path in (store / "runs").rglob("config.json"))
    return sorted(f.relative_to(store / "runs").as_posix() for f in folders if pointed(f))


# --- matching ------------------------------------------------------------------------------------


def match_runs(
    store: Path, tasks: Sequence[Task], device: str = "cpu", force: bool = False,
    report: Report | None = None,
) -> list[Matched]:
    """Match pairs of built runs, or find that they are matched; both sides of every pair.

    The store shows them once `precompute.publish.publish` has listed them. Each task's file is
    written before the next begins, so a call that was killed goes on where it was.

    Raises:
        NotFound: a run is not built, or not from what is there now. BrokenArtifact: its weights
        are damaged. StoreBusy: another process matches. NoSpace: the disk is full.
    """
    report = report or silent
    sides = {run: Side.read(store, run) for run in sorted({r for task in tasks for r in task[:2]})}
    told = []
    with writer_lock(store / FOLDER, f"matches of {store}"), space_watch(store / FOLDER):
        for number, (*pair, way) in enumerate(tasks, start=1):
            one, other = sorted(pair)
            prints = {run: sides[run].fingerprint for run in (one, other)}
            record, began = record_path(store, prints, way), time.monotonic()
            found = None if force else ready_pair(record)
            computed = found is None
            if found is None:
                report(f"match: {one} and {other} by {way} ({number} of {len(tasks)})")
                found = compare(way, sides[one], sides[other], device, report)
                write_pair(record, prints, way, found)
            else:
                report(f"{one} and {other} by {way}: matched already, nothing to do")
            tell = partial(_told, way=way, computed=computed, seconds=time.monotonic() - began)
            told += [tell(one, other, found[0]), tell(other, one, found[1])]
    return told


def _told(
    run: str, other: str, found: Evidence, way: str, computed: bool, seconds: float
) -> Matched:
    best = found.best
    known = best.partner >= 0
    return Matched(
        run, other, way, len(known), int(known.sum()), int(best.reciprocal.sum()),
        int(returned(best).sum()), int((found.assigned >= 0).sum()), len(found.splits),
        float(np.median(best.score[known])) if known.any() else float("nan"),
        float(best.null[len(best.null) // 2]), computed, seconds,
    )
