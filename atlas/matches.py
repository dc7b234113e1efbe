"""Which feature of another run is the same one: asked of the store, where it was computed.

`atlas.matching`, `atlas.token_overlap` and `atlas.life_match` compute; `readout-atlas match`
writes. A list of partners says nothing without its null, so the percentile belongs to every record.
"""

import math
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from atlas import cards
from atlas.errors import AtlasError
from atlas.store import Store

WAYS = {
    "trajectory": "directions over the whole training",
    "terminal": "last directions",
    "tokens": "firing tokens",
    "life": "life",
}
"""How runs are matched, and what a page calls it."""
SCORES = {
    "trajectory": "cosine", "terminal": "cosine", "tokens": "weighted Jaccard",
    "life": "likeness of lives",
}
"""What a score is in each way."""
NULLS = {
    "trajectory": "turned at random", "terminal": "turned at random",
    "tokens": "tokens exchanged at random", "life": "of the run’s own other lives",
}
"""What was done to know what chance alone gives."""
BEYOND = 0.99
"""Percentile from which a match counts as more than chance."""

_MATCHES = """
    SELECT other, partner, score, margin, reciprocal, percentile, way, assigned, assigned_score,
           assigned_percentile, life, life_percentile
    FROM catalog.match
    WHERE run = $name AND feature = $feature AND list_contains($ways::VARCHAR[], way)
    ORDER BY other, way"""
_RUNS = """
    SELECT DISTINCT other FROM catalog.match_pair
    WHERE run = $name AND list_contains($ways::VARCHAR[], way) ORDER BY other"""
_PAIRS = """
    SELECT other, way, n_features, n_reciprocal, n_returned, n_assigned, assigned_total, n_split,
           null_scores
    FROM catalog.match_pair WHERE run = $name ORDER BY other, way"""
_COLUMNS = """
    SELECT feature, partner, score, margin, reciprocal, percentile, assigned, assigned_score,
           assigned_percentile, life, life_percentile
    FROM catalog.match WHERE run = $name AND other = $other AND way = $way ORDER BY feature"""
_SPLITS = """
    SELECT feature, other, way, parts, scores, joint, percentile FROM catalog.match_split
    WHERE run = $name AND other = $other AND way = $way ORDER BY feature"""
_SPLITS_OF = """
    SELECT run, feature, other, way, parts, scores, joint, percentile FROM catalog.match_split
    WHERE (run = $name AND feature = $feature)
       OR (other = $name AND list_contains(parts, $feature::INTEGER))
    ORDER BY run, feature, other, way"""
_LABEL = "SELECT label FROM {run}.feature WHERE feature = $feature"


@dataclass(frozen=True)
class MatchInfo:
    """The best partner of a feature in one other run, in one way of comparing."""

    other: str
    """Id of the other run, over the same vocabulary."""
    partner: int
    """The feature there that scores highest."""
    score: float
    """Cosine, weighted Jaccard or likeness of lives (`SCORES`)."""
    margin: float
    """That score minus the one of the second best; nan where there is no second."""
    reciprocal: bool
    """The feature is also the best of its partner."""
    percentile: float
    """Share of features of like chances whose best score stays below in the null: 1 when none
    reaches it."""
    label: str
    """The partner's strongest firing tokens as they are drawn; '' if none, or if the other run
    cannot be read."""
    way: str = "trajectory"
    """One of `WAYS`."""
    assigned: int | None = None
    """Its only partner in the one-to-one assignment; None if the other run has fewer features."""
    assigned_score: float = math.nan
    assigned_percentile: float = math.nan
    life: float = math.nan
    """How alike it and its best partner live, 0 to 1; nan where a run has no life."""
    life_percentile: float = math.nan
    """Share of the other run's features that live less like it than the partner does."""

    @property
    def returned(self) -> bool:
        """Whether each is the other's best, beyond the null."""
        return self.reciprocal and self.percentile >= BEYOND


@dataclass(frozen=True)
class PairInfo:
    """Two runs that were matched, from the side of one, in one way."""

    other: str
    way: str
    n_features: int
    """Features that have a partner."""
    n_reciprocal: int
    """Of them, their partner's best too."""
    n_returned: int
    """Of those, beyond the null."""
    n_assigned: int
    """Pairs of the one-to-one assignment."""
    assigned_total: float
    """Their summed score, the largest there is."""
    n_split: int
    """Features that are several in the other run."""
    null_scores: tuple[float, ...]
    """The quantiles 0, 1 … 100 % of the best score in the null; empty when nothing has a partner.
    """


@dataclass(frozen=True, eq=False)
class MatchColumns:
    """All features of a run in another, in one way; every array (D,) by index of the feature."""

    partner: np.ndarray
    """int32, -1 without one."""
    score: np.ndarray
    """float32, nan without a partner; so are the other numbers."""
    margin: np.ndarray
    percentile: np.ndarray
    reciprocal: np.ndarray
    """bool."""
    assigned: np.ndarray
    """int32, -1 without one."""
    assigned_score: np.ndarray
    assigned_percentile: np.ndarray
    life: np.ndarray
    life_percentile: np.ndarray

    @property
    def returned(self) -> np.ndarray:
        """(D,) bool: each is the other's best, beyond the null."""
        return self.reciprocal & (np.nan_to_num(self.percentile) >= BEYOND)


@dataclass(frozen=True)
class SplitInfo:
    """One feature that is several in another run; seen from there, several that merge."""

    run: str
    feature: int
    other: str
    way: str
    parts: tuple[int, ...]
    """Features of the other run, best first."""
    scores: tuple[float, ...]
    """Score of each part by itself."""
    joint: float
    """Score of all of them together."""
    percentile: float
    """Share of as many parts in the null that reach less."""


def matches_of(
    store: Store, run: str, feature: int, ways: tuple[str, ...] = ("trajectory",)
) -> tuple[MatchInfo, ...]:
    """The partners of a feature in every run that was matched with this one, by run and way.

    Empty for a feature that never fires or has no direction, and where nothing was matched.

    Raises:
        NotFound, BrokenArtifact: the run is not there or cannot be read.
    """
    rows = store.ask(run, _MATCHES, name=run, feature=feature, ways=list(ways)).to_pylist()
    texts = store.token_texts(store.run(run).model) if rows else []
    labels = {key: _label(store, *key, texts)
              for key in {(row["other"], row["partner"]) for row in rows}}
    return tuple(
        MatchInfo(**{name: _number(name, value) for name, value in row.items()},
                  label=labels[row["other"], row["partner"]])
        for row in rows
    )


def _number(name: str, value: object) -> object:
    return math.nan if value is None and name != "assigned" else value


def _label(store: Store, run: str, feature: int, texts: list[str]) -> str:
    try:
        rows = store.ask(run, _LABEL, feature=feature).to_pylist()
    except AtlasError:  # its match stands, whatever became of the run's own file
        return ""
    return cards.label_text(rows[0]["label"], texts) if rows else ""


def other_runs(store: Store, run: str, ways: tuple[str, ...] = ("trajectory",)) -> list[str]:
    """Ids of the runs that were matched with this one in any of some ways; raises as `matches_of`.
    """
    return store.ask(run, _RUNS, name=run, ways=list(ways))["other"].to_pylist()


def pairs_of(store: Store, run: str) -> tuple[PairInfo, ...]:
    """Every run and way that this run was matched in; raises as `matches_of`."""
    rows = store.ask(run, _PAIRS, name=run).to_pylist()
    return tuple(PairInfo(**row | {"null_scores": tuple(row["null_scores"] or ())})
                 for row in rows)


def match_columns(store: Store, run: str, other: str, way: str) -> MatchColumns | None:
    """All features of a run in another; None if the two were not matched in that way."""
    table = store.ask(run, _COLUMNS, name=run, other=other, way=way)
    if not len(table):
        return None
    size, place = store.run(run).d_sae, table["feature"].to_numpy()

    def column(name: str, kind: type, without: object) -> np.ndarray:
        values = table[name]
        if values.null_count:
            values = values.fill_null(pa.scalar(without, values.type))
        full = np.full(size, without, kind)
        full[place] = values.to_numpy()
        full.flags.writeable = False
        return full

    numbers = ("score", "margin", "percentile", "assigned_score", "assigned_percentile", "life",
               "life_percentile")
    return MatchColumns(
        **{name: column(name, np.int32, -1) for name in ("partner", "assigned")},
        **{name: column(name, np.float32, math.nan) for name in numbers},
        reciprocal=column("reciprocal", bool, False),
    )


def splits_between(store: Store, run: str, other: str, way: str) -> tuple[SplitInfo, ...]:
    """Features of a run that are several in another, by index.

    With the two runs exchanged it is the merges: features of this run that are parts of one there.
    """
    rows = store.ask(run, _SPLITS, name=run, other=other, way=way).to_pylist()
    return tuple(_split(row | {"run": run}) for row in rows)


def splits_of(store: Store, run: str, feature: int) -> tuple[SplitInfo, ...]:
    """Splits that a feature is in: as the one, or as a part."""
    rows = store.ask(run, _SPLITS_OF, name=run, feature=feature).to_pylist()
    return tuple(_split(row) for row in rows)


def _split(row: dict) -> SplitInfo:
    return SplitInfo(**row | {"parts": tuple(row["parts"]), "scores": tuple(row["scores"])})


def unmatched(store: Store, run: str, other: str, way: str) -> np.ndarray:
    """Features (n,) int64 of a run that another does not have: they fire, yet have not returned,
    are not several there, and are no part of one.
    """
    columns = match_columns(store, run, other, way)
    if columns is None:
        return np.zeros(0, np.int64)
    alone = (columns.partner >= 0) & ~columns.returned
    alone[[split.feature for split in splits_between(store, run, other, way)]] = False
    for split in splits_between(store, other, run, way):
        alone[list(split.parts)] = False
    return np.flatnonzero(alone)
