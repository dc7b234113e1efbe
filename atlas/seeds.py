"""Which features of a run come back in other runs: the whole population, with what chance gives.

A feature returns where each is the other's best and its score is beyond the null's 99th percentile
(`atlas.matches.BEYOND`); were the dictionaries unrelated, one in a hundred would at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas.columns import label_columns
from atlas.matches import (
    WAYS,
    MatchColumns,
    PairInfo,
    SplitInfo,
    match_columns,
    pairs_of,
    splits_between,
)
from atlas.records import RunCard
from atlas.stability import SeedGroup, groups_of
from atlas.store import Store

QUANTILES = np.linspace(0, 1, 101)
"""Shares of the features at which a distribution is drawn, as the null's quantiles are kept."""


@dataclass(frozen=True, eq=False)
class Distribution:
    """How well the features of a run are found in another one."""

    pair: PairInfo
    scores: np.ndarray
    """(101,) quantiles of the best score of the features that have a partner."""
    null: np.ndarray
    """(101,) the same in the null; empty without one."""


@dataclass(frozen=True)
class Others:
    """The runs that a run is looked for in."""

    runs: tuple[str, ...]
    """Their ids: of the other seeds by seed, of other runs by name."""
    are_seeds: bool
    """They differ from it in the seed only; False where no other seed was matched, and they are
    all the runs that were."""


@dataclass(frozen=True)
class Alone:
    """A feature that returns in no other run, and what comes closest to it there."""

    feature: int
    other: str
    """The run that has it."""
    partner: int
    """The feature there that scores highest."""
    score: float
    percentile: float
    """Share of features of like chances whose best score stays below in the null."""


def ways_of(store: Store, run: str) -> tuple[str, ...]:
    """The ways in which a run was matched with any other, in the order of `WAYS`."""
    known = {pair.way for pair in pairs_of(store, run)}
    return tuple(way for way in WAYS if way in known)


def seeds_of(cards: Sequence[RunCard], card: RunCard) -> tuple[RunCard, ...]:
    """The runs that can be read and differ from one in the seed only, itself among them, by seed.
    """
    def nature(one: RunCard) -> tuple:
        return (one.model, one.matrix, one.kind, one.d_sae, one.steps, one.run.rsplit("/", 1)[0])

    found = [c for c in cards if nature(c) == nature(card) and c.problem is None
             and (c.run == card.run or c.seed != card.seed)]
    return tuple(sorted(found, key=lambda c: (c.seed, c.run)))


def others_of(store: Store, run: str, way: str) -> Others:
    """The other seeds that a run was matched with in a way; without any, all runs that it was."""
    matched = {pair.other for pair in pairs_of(store, run) if pair.way == way}
    seeds = [c.run for c in seeds_of(store.runs(), store.run(run))
             if c.run in matched and c.run != run]
    return Others(tuple(seeds or sorted(matched)), bool(seeds))


def columns_of(store: Store, run: str, way: str) -> tuple[Others, tuple[MatchColumns, ...]]:
    """Those runs, and all features of the run in each of them."""
    others = others_of(store, run, way)
    found = [(other, match_columns(store, run, other, way)) for other in others.runs]
    known = [(other, columns) for other, columns in found if columns is not None]
    return (Others(tuple(other for other, _ in known), others.are_seeds),
            tuple(columns for _, columns in known))


def distributions(store: Store, run: str, way: str) -> tuple[Distribution, ...]:
    """One per run that this one was matched with in a way: other seeds first, then by name.

    Raises:
        NotFound, BrokenArtifact: the run is not there or cannot be read.
    """
    first = others_of(store, run, way).runs
    pairs = [pair for pair in pairs_of(store, run) if pair.way == way]
    found = []
    for pair in sorted(pairs, key=lambda p: (p.other not in first,
                                             first.index(p.other) if p.other in first else 0,
                                             p.other)):
        columns = match_columns(store, run, pair.other, way)
        if columns is None:
            continue
        scores = columns.score[np.isfinite(columns.score)]
        if len(scores):
            found.append(Distribution(
                pair, np.quantile(scores, QUANTILES), np.asarray(pair.null_scores)))
    return tuple(found)


def only_here(store: Store, run: str, way: str, most: int) -> tuple[int, tuple[Alone, ...]]:
    """Number of features that return in none of the others, and the strongest of them."""
    others, columns = columns_of(store, run, way)
    if not columns:
        return 0, ()
    live = np.stack([c.partner >= 0 for c in columns]).any(axis=0)
    returned = np.stack([c.returned for c in columns]).any(axis=0)
    table = store.ask(run, "SELECT contribution FROM {run}.feature ORDER BY feature")
    strength = np.nan_to_num(table["contribution"].to_numpy())
    alone = np.flatnonzero(live & ~returned)
    best = alone[np.argsort(-strength[alone], kind="stable")][:most]
    return len(alone), tuple(_nearest(int(feature), others.runs, columns) for feature in best)


def _nearest(feature: int, others: Sequence[str], columns: Sequence[MatchColumns]) -> Alone:
    """The surest partner of a feature over the others."""
    def sure(place: int) -> tuple:
        found = columns[place]
        return (float(np.nan_to_num(found.percentile[feature], nan=-1)),
                float(np.nan_to_num(found.score[feature], nan=-1)))

    place = max(range(len(columns)), key=sure)
    found = columns[place]
    return Alone(feature, others[place], int(found.partner[feature]),
                 float(found.score[feature]), float(found.percentile[feature]))


def shared_by_all(store: Store, run: str, way: str, most: int) -> tuple[int, list[SeedGroup]]:
    """Number of groups that every seed has, and the surest of them."""
    groups = [g for g in groups_of(store, run, way) if g.size == g.seeds and g.seeds > 1]
    surest = sorted(groups, key=lambda g: (-g.pairs, -g.score, g.number))
    return len(groups), surest[:most]


def splits(
    store: Store, run: str, way: str, most: int
) -> tuple[tuple[int, tuple[SplitInfo, ...]], tuple[int, tuple[SplitInfo, ...]]]:
    """Features of a run that are several in another, and several that are one there.

    Returns:
        For the splits, then for the merges: how many there are in the runs of `others_of`, and
        those of them that the parts together improve most over the best part alone.
    """
    others = others_of(store, run, way).runs
    apart = [one for other in others for one in splits_between(store, run, other, way)]
    joined = [one for other in others for one in splits_between(store, other, run, way)]
    return _surest(apart, most), _surest(joined, most)


def _surest(found: list[SplitInfo], most: int) -> tuple[int, tuple[SplitInfo, ...]]:
    best = sorted(found, key=lambda s: (-(s.joint - max(s.scores, default=0.0)), s.run, s.feature))
    return len(found), tuple(best[:most])


def labels_of(store: Store, run: str, features: list[int]) -> list[str]:
    """The strongest firing tokens of some features, as they are drawn."""
    texts = store.token_texts(store.run(run).model)
    return label_columns(store, run).drawn(np.asarray(features, dtype=np.int64), texts)


def distributions_frame(found: Sequence[Distribution]) -> pd.DataFrame:
    """A row per run and twentieth of its features, best first: score, and the null's there."""
    rows = []
    for one in found:
        for place in range(0, len(QUANTILES), 5):
            null = one.null[-1 - place] if len(one.null) else float("nan")
            rows.append([one.pair.other, QUANTILES[place], one.scores[-1 - place], null,
                         one.pair.n_features, one.pair.n_returned])
    return pd.DataFrame(
        rows, columns=["run", "share", "score or more", "by chance", "features", "return"])


def pairs_frame(store: Store, run: str) -> pd.DataFrame:
    """other, way, features, mutual, returned, share, assigned, splits: a line per run and way."""
    return pd.DataFrame(
        [[p.other, p.way, p.n_features, p.n_reciprocal, p.n_returned,
          p.n_returned / p.n_features if p.n_features else float("nan"), p.n_assigned, p.n_split]
         for p in pairs_of(store, run)],
        columns=["other", "way", "features", "mutual", "returned", "share", "assigned", "splits"],
    )
