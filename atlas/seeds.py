"""Which features of a run come back in other runs: the whole population, with what chance gives.

A feature returns where each is the other's best and its score is beyond the null's 99th percentile
(`atlas.matches.BEYOND`); were the dictionaries unrelated, one in a hundred would at most.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas.columns import label_columns
from atlas.matches import WAYS, PairInfo, match_columns, pairs_of
from atlas.measures import PROFILES
from atlas.stability import BY_CHANCE, SeedGroup, groups_of, stability_columns
from atlas.store import Store

QUANTILES = np.linspace(0, 1, 101)
"""Shares of the features at which a distribution is drawn, as the null's quantiles are kept."""
_PROFILES = "SELECT profile FROM {run}.feature ORDER BY feature"


@dataclass(frozen=True, eq=False)
class Distribution:
    """How well the features of a run are found in another one."""

    pair: PairInfo
    scores: np.ndarray
    """(101,) quantiles of the best score of the features that have a partner."""
    null: np.ndarray
    """(101,) the same in the null; empty without one."""


@dataclass(frozen=True)
class Returned:
    """How many features of a kind return in one other seed or more."""

    profile: str
    count: int
    """Features that fire and have that profile."""
    once: int
    """Of them, features that return in one other seed or more."""
    everywhere: int
    """Features that return in every other seed."""
    chance: float
    """Share that would return in one or more by chance, at most."""

    @property
    def share(self) -> float:
        """Of them that return in one seed or more; 0 of none."""
        return self.once / self.count if self.count else 0.0


def ways_of(store: Store, run: str) -> tuple[str, ...]:
    """The ways in which a run was matched with any other, in the order of `WAYS`."""
    known = {pair.way for pair in pairs_of(store, run)}
    return tuple(way for way in WAYS if way in known)


def distributions(store: Store, run: str, way: str) -> tuple[Distribution, ...]:
    """One per other run that this one was matched with in a way, by name.

    Raises:
        NotFound, BrokenArtifact: the run is not there or cannot be read.
    """
    found = []
    for pair in sorted(pairs_of(store, run), key=lambda p: p.other):
        if pair.way != way:
            continue
        columns = match_columns(store, run, pair.other, way)
        if columns is None:
            continue
        scores = columns.score[np.isfinite(columns.score)]
        if len(scores):
            found.append(Distribution(
                pair, np.quantile(scores, QUANTILES), np.asarray(pair.null_scores)))
    return tuple(found)


def returned_by_profile(store: Store, run: str, way: str) -> tuple[Returned, ...]:
    """How the profiles return in other seeds, in the order of `PROFILES`; empty without seeds."""
    found = stability_columns(store, run, way)
    if found is None:
        return ()
    names = np.array(store.ask(run, _PROFILES)["profile"].to_pylist(), dtype=object)
    live = found.compared > 0
    out = []
    for profile in PROFILES:
        own = live & (names == profile)
        if own.any():
            most = int(found.compared[own].max())
            out.append(Returned(
                profile, int(own.sum()), int((found.returned[own] > 0).sum()),
                int((found.returned[own] == found.compared[own]).sum()),
                1 - (1 - BY_CHANCE) ** most,
            ))
    return tuple(out)


def only_here(store: Store, run: str, way: str, most: int) -> tuple[int, tuple[int, ...]]:
    """Number of features that return in no other seed, and the strongest of them."""
    found = stability_columns(store, run, way)
    if found is None:
        return 0, ()
    table = store.ask(run, "SELECT contribution FROM {run}.feature ORDER BY feature")
    strength = table["contribution"].to_numpy()
    alone = np.flatnonzero((found.compared > 0) & (found.returned == 0))
    best = alone[np.argsort(-np.nan_to_num(strength[alone]), kind="stable")]
    return len(alone), tuple(best[:most].tolist())


def shared_by_all(store: Store, run: str, way: str, most: int) -> tuple[int, list[SeedGroup]]:
    """Number of groups that every seed has, and the surest of them."""
    groups = [g for g in groups_of(store, run, way) if g.size == g.seeds and g.seeds > 1]
    surest = sorted(groups, key=lambda g: (-g.pairs, -g.score, g.number))
    return len(groups), surest[:most]


def labels_of(store: Store, run: str, features: list[int]) -> list[str]:
    """The strongest firing tokens of some features, as they are drawn."""
    texts = store.token_texts(store.run(run).model)
    return label_columns(store, run).drawn(np.asarray(features, dtype=np.int64), texts)


def pairs_frame(store: Store, run: str) -> pd.DataFrame:
    """other, way, features, mutual, returned, share, assigned, splits: a line per run and way."""
    return pd.DataFrame(
        [[p.other, p.way, p.n_features, p.n_reciprocal, p.n_returned,
          p.n_returned / p.n_features if p.n_features else float("nan"), p.n_assigned, p.n_split]
         for p in pairs_of(store, run)],
        columns=["other", "way", "features", "mutual", "returned", "share", "assigned", "splits"],
    )
