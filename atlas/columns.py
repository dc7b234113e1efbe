"""Whole columns of a run as arrays, one entry per feature, kept for a while: 100 kB each."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from atlas import cards
from atlas.cards import label_text
from atlas.measures import CATEGORIES, MEASURES, has_course
from atlas.recent import Recent
from atlas.records import RunCard
from atlas.store import Store

_NUMBERS = Recent(128)
_NAMES = Recent(64)
_COURSES = Recent(256)
_NORMS = Recent(2)

SEEDS = """
    LEFT JOIN (
        SELECT feature, max(returned) FILTER (way = 'trajectory') AS seeds,
               max(score) FILTER (way = 'trajectory') AS match_cosine,
               max(size) FILTER (way = 'trajectory') AS seed_group,
               max(returned) FILTER (way = 'terminal') AS seeds_terminal,
               max(returned) FILTER (way = 'tokens') AS seeds_tokens,
               max(score) FILTER (way = 'tokens') AS match_tokens
        FROM catalog.stability WHERE run = $name GROUP BY feature) AS s USING (feature)"""
"""What other seeds say of every feature; NULL where none was matched."""


def source(tables: frozenset[str]) -> str:
    """The FROM text over those of `f`, `l` and `s` that are read; each row is one feature."""
    if tables == {"l"}:
        return "{run}.life AS l"
    life = " JOIN {run}.life AS l USING (feature)" if "l" in tables else ""
    return "{run}.feature AS f" + life + (SEEDS if "s" in tables else "")


def only_used(sql: str, values: dict[str, Any]) -> dict[str, Any]:
    """Those of the values that a text names: a query refuses the others."""
    used = set(re.findall(r"\$([a-z_0-9]+)", sql))
    return {name: value for name, value in values.items() if name in used}


def values_of(
    store: Store, card: RunCard, tables: frozenset[str], k: int, change: tuple[int, int]
) -> dict[str, Any]:
    """The values that expressions over some tables name; `change` are two of the run's steps."""
    values: dict[str, Any] = {
        "k": k + 1, "a": card.steps.index(change[0]) + 1, "b": card.steps.index(change[1]) + 1,
    }
    if "s" in tables:
        values |= {"name": card.run}
    return values


def course_of(store: Store, run: str) -> bool:
    """Whether the run has contributions at every snapshot; asked once."""
    return _COURSES.get((store.digest, run), lambda: (has_course(store, run),))[0]


def number_columns(
    store: Store, run: str, k: int, names: tuple[str, ...], change: tuple[int, int]
) -> dict[str, np.ndarray]:
    """{measure: (d_sae,) float32 by index of the feature}, nan where it is not available.

    Args:
        k: the chosen snapshot, from 0. change: the two steps of the measures of a change.
    """
    def key(name: str) -> tuple:
        measure = MEASURES[name]
        return (store.digest, run, name, k if measure.at_step else -1,
                change if measure.of_change else None)

    found = {name: _NUMBERS.find(key(name)) for name in names}
    wanted = [name for name, values in found.items() if values is None]
    if wanted:
        card = store.run(run)
        tables = frozenset().union(*(MEASURES[name].tables for name in wanted))
        first = "l" if tables == {"l"} else "f"
        columns = ", ".join(f"{MEASURES[name].expression} AS {name}" for name in wanted)
        sql = f"SELECT {first}.feature AS place, {columns} FROM {source(tables)}"
        values = only_used(sql, values_of(store, card, tables, k, change))
        table = store.ask(run, sql, **values)
        place = table["place"].to_numpy()
        for name in wanted:
            full = np.full(card.d_sae, np.nan, np.float32)
            full[place] = floats(table[name])
            full.flags.writeable = False
            found[name] = full
            _NUMBERS.keep(key(name), full)
    return found


def norm_columns(store: Store, run: str) -> np.ndarray:
    """Decoder norms of all features at every snapshot, (d_sae, K) float32; nan for a prism."""
    return _NORMS.get((store.digest, run), lambda: _norm_columns(store, run))


def _norm_columns(store: Store, run: str) -> np.ndarray:
    card = store.run(run)
    table = store.ask(run, "SELECT feature, norm FROM {run}.life WHERE norm IS NOT NULL")
    full = np.full((card.d_sae, len(card.steps)), np.nan, np.float32)
    full[table["feature"].to_numpy()] = cards.norms(card, table)
    full.flags.writeable = False
    return full


def floats(column: pa.ChunkedArray) -> np.ndarray:
    """A column of numbers as float32, NULL as nan."""
    return column.to_numpy().astype(np.float32, copy=False)


@dataclass(frozen=True)
class Names:
    """A column of names: each feature's place in a list of the different ones."""

    values: tuple[str, ...]
    """The different names, in alphabetical order."""
    places: np.ndarray
    """(d_sae,) int16 by index of the feature; -1 where there is none."""


def name_columns(store: Store, run: str) -> dict[str, Names]:
    """{category: its column} of all categories of a run."""
    return _NAMES.get((store.digest, run), lambda: _name_columns(store, run))


def _name_columns(store: Store, run: str) -> dict[str, Names]:
    table = store.ask(run, f"SELECT feature, {', '.join(CATEGORIES)} FROM {{run}}.feature")
    place = table["feature"].to_numpy()
    found = {}
    for name in CATEGORIES:
        column = table[name].combine_chunks()
        values = sorted(v for v in column.unique().to_pylist() if v is not None)
        rank = {value: i for i, value in enumerate(values)}
        coded = column.dictionary_encode()
        ranks = np.array([rank.get(v, -1) for v in coded.dictionary.to_pylist()] + [-1], np.int16)
        full = np.full(store.run(run).d_sae, -1, np.int16)
        full[place] = ranks[coded.indices.fill_null(len(ranks) - 1).to_numpy()]
        full.flags.writeable = False
        found[name] = Names(tuple(values), full)
    return found


@dataclass(frozen=True)
class Labels:
    """The strongest firing tokens of every feature, end to end."""

    tokens: np.ndarray
    """(n,) int32."""
    offsets: np.ndarray
    """(d_sae + 1,) bounds of each feature's tokens."""

    def drawn(self, features: np.ndarray, texts: Sequence[str]) -> list[str]:
        """The labels of some features as text, '' where there are no tokens."""
        starts, ends = self.offsets[features], self.offsets[features + 1]
        return [
            label_text(self.tokens[a:b].tolist(), texts)
            for a, b in zip(starts.tolist(), ends.tolist(), strict=True)
        ]


def label_columns(store: Store, run: str) -> Labels:
    """The labels of all features by index."""
    return _NAMES.get((store.digest, run, "label"), lambda: _label_columns(store, run))


def _label_columns(store: Store, run: str) -> Labels:
    table = store.ask(run, "SELECT feature, label FROM {run}.feature ORDER BY feature")
    lists = table["label"].combine_chunks()
    sizes = lists.value_lengths().fill_null(0).to_numpy()
    return Labels(lists.flatten().to_numpy(), np.concatenate([[0], np.cumsum(sizes)]))
