"""The four ways to match two built runs: what each needs, when it means nothing, what it gives.

    trajectory   directions at all snapshots, put end to end      same matrix and snapshots
    terminal     directions at the last snapshot                  same matrix and last snapshot
    tokens       which tokens a feature fires on, how strongly    same vocabulary
    life         norm over its maximum on tau                     same vocabulary, a training each
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from atlas import life_match, matching, token_overlap
from atlas.artifacts import RunFolder
from atlas.assignment import Assignment, Costs, assign
from atlas.errors import NotFound
from atlas.joint_direction import JointDirection
from atlas.matching import Courses, Found
from atlas.schema import RUN_TABLES, table
from atlas.splits import Split, find_splits
from precompute.kept import Report, current_file, input_hashes, run_folder
from precompute.match_files import Evidence, fingerprint
from precompute.sources import Dictionary, PrismDictionary
from precompute.words import read_words
from precompute.writer import read_batches, read_rows

ALIVE = "SELECT feature FROM source.feature WHERE alive"
FEWEST = 3
"""Snapshots without which a run has no life to compare."""


# --- when a way means something ------------------------------------------------------------------


def misfit(
    way: str, one: Mapping[str, Any], other: Mapping[str, Any],
    raw: Callable[[str], tuple[bytes, ...]],
) -> str | None:
    """Why two runs cannot be matched in a way, from their configs; None if they can.

    Args:
        raw: from a model's short name to the bytes of its tokens.
    """
    if one["run"] == other["run"]:
        return f"{one['run']} is named twice; its features match themselves"
    if way in ("trajectory", "terminal"):
        return _other_directions(way, one, other)
    if one["model"] != other["model"] and raw(one["model"]) != raw(other["model"]):
        return (f"{one['run']} and {other['run']} are over different vocabularies "
                f"({one['model']} and {other['model']}), so their tokens do not compare")
    if way == "life":
        for config in (one, other):
            if len(config["steps"]) < FEWEST:
                return (f"{config['run']} has {len(config['steps'])} of the {FEWEST} snapshots "
                        "that a life takes at least")
    return None


def _other_directions(
    way: str, one: Mapping[str, Any], other: Mapping[str, Any]
) -> str | None:
    fields = [("model_name", "language models"), ("revision", "revisions"),
              ("matrix", "matrices")]
    for field, words in [*fields, ("steps", "snapshots")]:
        left, right = one.get(field), other.get(field)
        if field == "steps" and way == "terminal":
            left, right, words = left[-1], right[-1], "last snapshots"
        if left != right:
            return (f"{one['run']} and {other['run']} are over different {words} "
                    f"({_short(left)} and {_short(right)}), so their directions do not compare")
    widths = [config["config"]["d_model"] for config in (one, other)]
    if widths[0] != widths[1]:
        return f"{one['run']} has directions of width {widths[0]}, {other['run']} of {widths[1]}"
    ways = [config.get("input_preprocess") for config in (one, other)]
    if way == "trajectory" and len(one["steps"]) > 1 and None not in ways and ways[0] != ways[1]:
        return (f"{one['run']} and {other['run']} standardise their rows differently "
                f"({ways[0]} and {ways[1]}), so their snapshots do not weigh the same")
    return None


def _short(value: Any) -> str:
    return f"{len(value)}: {value[0]} to {value[-1]}" if isinstance(value, list) else str(value)


# --- a built run ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Side:
    """A built run, to be matched."""

    store: Path
    folder: RunFolder
    file: Path
    fingerprint: str
    kept: np.ndarray
    """(D,) bool: features that fire."""

    @classmethod
    def read(cls, store: Path, run: str) -> "Side":
        """Raises NotFound if the run is not built from what is there."""
        folder = run_folder(store, run)
        inputs = input_hashes(store, folder)
        ready = current_file(folder.path, inputs)
        if ready is None:
            raise NotFound(
                f"run {run} is not built from what is there now; run `readout-atlas build {run}`"
            )
        (rows,) = read_rows(ready[0], ALIVE)
        kept = np.zeros(folder.config["config"]["d_sae"], dtype=bool)
        kept[[row["feature"] for row in rows]] = True
        return cls(store, folder, ready[0], fingerprint(inputs), kept)

    def courses(self, terminal: bool = False) -> Courses:
        """Its directions, at all snapshots or at the last one."""
        folder = self.folder
        source = PrismDictionary(folder) if folder.kind == "prism" else Dictionary(folder)
        first = source.n_snapshots - 1 if terminal else 0
        return Courses(lambda k: source.directions(first + k), source.n_snapshots - first,
                       torch.from_numpy(self.kept))

    def firing(self) -> token_overlap.Firing:
        """Its code, by tokens that the tokenizer has."""
        raw = read_words(self.store, self.folder.config["model"]).raw
        parts = [(_column(batch, "token"), *_lists(batch, "features", "p"))
                 for batch in read_batches(self.file, table(RUN_TABLES, "code_by_token"))]
        token = np.concatenate([np.repeat(t, sizes) for t, sizes, *_ in parts]
                               or [np.zeros(0, np.int32)])
        feature, p = (np.concatenate([part[place] for part in parts] or [np.zeros(0, kind)])
                      for place, kind in ((2, np.int32), (3, np.float32)))
        named = np.fromiter((bool(text) for text in raw), bool, len(raw))
        on = token < len(raw)
        on[on] = named[token[on]]
        return token_overlap.firing(token[on], feature[on], p[on], len(raw), self.kept)

    def lives(self) -> np.ndarray | None:
        """(D, POINTS) lives; None of a run with too few snapshots."""
        if len(self.folder.steps) < FEWEST:
            return None
        norms = np.full((len(self.kept), len(self.folder.steps)), 0.0)
        for batch in read_batches(self.file, table(RUN_TABLES, "life")):
            column = batch.column("norm")
            norms[_column(batch, "feature")] = column.flatten().to_numpy().reshape(
                len(column), -1)
        return life_match.lives(norms, np.array(self.folder.steps))


def _column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    return batch.column(name).to_numpy()


def _lists(batch: pa.RecordBatch, *names: str) -> list[np.ndarray]:
    """Sizes of the lists of the first column, then the values of every column."""
    sizes = batch.column(names[0]).value_lengths().to_numpy()
    return [sizes, *(batch.column(name).flatten().to_numpy() for name in names)]


# --- comparing -----------------------------------------------------------------------------------


def compare(
    way: str, one: Side, other: Side, device: str = "cpu", report: Report | None = None
) -> tuple[Evidence, Evidence]:
    """Match two runs that fit in a way; the evidence of the first and of the second."""
    costs = Costs(one.kept, other.kept)
    options = {"report": report, "keep": costs.keep}
    if way == "tokens":
        sides = one.firing(), other.firing()
        found = token_overlap.find(*sides, **options)
        splits = _splits_by_tokens(found, *sides)
    elif way == "life":
        found = life_match.find(one.lives(), other.lives(), (one.kept, other.kept), **options)
        splits = (), ()
    else:
        sides = [side.courses(way == "terminal") for side in (one, other)]
        found = matching.find(*sides, device=device, **options)
        splits = _splits_by_direction(found, *sides)
    if report:
        report("match: one to one")
    pairs = assign(costs)
    score = pair_scores(costs, pairs)
    del costs
    ways = [_evidence(found, side, partner, values, splits[side])
            for side, (partner, values) in enumerate(
                zip((pairs.first, pairs.second), score, strict=True))]
    return _with_lives(ways[0], one, other), _with_lives(ways[1], other, one)


def pair_scores(costs: Costs, pairs: Assignment) -> tuple[np.ndarray, np.ndarray]:
    """Scores (D,) and (D',) float32 of the assigned pairs; nan without one."""
    first, second = (np.full(size, np.nan, np.float32) for size in costs.sizes)
    on = pairs.first[costs.first] >= 0
    rows = np.flatnonzero(on)
    if len(rows):
        first[costs.first[rows]] = 1 - costs.values[rows, pairs.columns[rows]]
    there = np.flatnonzero(pairs.second >= 0)
    second[there] = first[pairs.second[there]]
    return first, second


def _evidence(
    found: Found, side: int, partner: np.ndarray, score: np.ndarray, splits: tuple[Split, ...]
) -> Evidence:
    best = found.ways[side]
    nothing = np.full(len(partner), np.nan, np.float32)
    judged = found.judges[side](np.where(np.isnan(score), -np.inf, score))
    return Evidence(best, partner, score, np.where(np.isnan(score), np.nan, judged),
                    nothing, nothing, splits)


def _with_lives(evidence: Evidence, own: Side, other: Side) -> Evidence:
    mine, theirs = own.lives(), other.lives()
    if mine is None or theirs is None:
        return evidence
    life, percentile = life_match.of_partners(
        mine, theirs, evidence.best.partner, other.kept)
    return replace(evidence, life=life, life_percentile=percentile)


def _splits_by_tokens(
    found: Found, first: token_overlap.Firing, second: token_overlap.Firing
) -> tuple[tuple[Split, ...], tuple[Split, ...]]:
    def of(side: int, own: token_overlap.Firing, other: token_overlap.Firing) -> tuple[Split, ...]:
        places = [None, *(found.places if side == 0 else map(_turned_back, found.places))]

        def joint(feature: int, parts: list[int], turn: int) -> np.ndarray:
            return token_overlap.joint(own, other, feature, parts, places[turn])

        return tuple(find_splits(found.ways[1 - side], found.chance[1 - side], joint,
                                 found.scatter[side]))

    return of(0, first, second), of(1, second, first)


def _turned_back(place: np.ndarray) -> np.ndarray:
    return np.argsort(place, kind="stable")


def _splits_by_direction(
    found: Found, first: Courses, second: Courses
) -> tuple[tuple[Split, ...], tuple[Split, ...]]:
    def of(side: int, other: Courses) -> tuple[Split, ...]:
        back, chance = found.ways[1 - side], found.chance[1 - side]
        joint = JointDirection(other, back, chance)
        return tuple(find_splits(back, chance, joint, found.scatter[side], squared=True))

    return of(0, second), of(1, first)
