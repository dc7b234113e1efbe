"""Where a store's features take up a concept: typed words or a labelled set of tokens, run by run.

The tokens of a concept are those of its words, or of a family, script or supersense
(crosscoder-method §13). Over several vocabularies only tokens count whose bytes are one token in
each of them, so that all runs are asked for the same strings.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas import population, population_store
from atlas.columns import label_columns
from atlas.crystallise import (
    DEPTHS,
    DRAWS,
    Holding,
    Postings,
    Timing,
    frequency_bands,
    holding,
    null_counts,
    postings,
    timing,
)
from atlas.errors import InvalidValue
from atlas.population import DEFAULT
from atlas.recent import Recent
from atlas.records import RunCard
from atlas.reorganisation import log_time
from atlas.scales import SCHEMES, token_masks
from atlas.store import Store
from atlas.supersenses import SUPERSENSES, supersense_masks
from atlas.token_search import matching_tokens
from atlas.wishes import WORD

KINDS = (*SCHEMES, "supersense")
"""Sets of tokens that have names."""
MOST_WORDS = 64
FEWEST_TOKENS = 2
"""Tokens of a set below which nothing is asked: one token is a row, and has its own page."""
SHOWN = 12
"""Features of a run that are named."""

COLUMNS = [
    "run", "feature", "tokens held", "of", "corrected p", "birth", "peak", "strongest tokens",
    "features in all", "random sets, 5 %", "random sets, median", "random sets, 95 %", "p",
    "p of the median birth", "p of the median peak",
]
"""Of the table."""

_TOKENS = "SELECT raw, coalesce(n_train, -1) AS n FROM catalog.token WHERE model = $model " \
          "ORDER BY token"
_TOP = "SELECT feature, tokens[:{n}] AS tokens FROM {run}.code_by_feature"
_SPELT = Recent(8)
_LISTS = Recent(4)


@dataclass(frozen=True)
class Concept:
    """What is asked for."""

    kind: str
    """`words`, or one of `KINDS`."""
    names: tuple[str, ...]
    """The words as typed, or the one name."""

    @property
    def text(self) -> str:
        """In words."""
        if self.kind == "words":
            return ", ".join(f"“{word}”" for word in self.names)
        return f"{self.kind} {self.names[0]}"


def read_concept(words: str | None, named: str | None) -> Concept | None:
    """The concept of an address: typed words, between commas, go before a named set.

    Raises InvalidValue for too many words, or a kind of set that there is not.
    """
    typed = tuple(dict.fromkeys(w.strip() for w in re.split(r"[,|]", words or "") if w.strip()))
    if len(typed) > MOST_WORDS:
        raise InvalidValue(f"{len(typed)} words are more than the {MOST_WORDS} that are asked for")
    if typed:
        return Concept("words", typed)
    if not named:
        return None
    kind, _, name = named.partition(":")
    if kind not in KINDS or not name:
        raise InvalidValue(f"{named[:40]!r} names no set of tokens; it is one of "
                           f"{', '.join(f'{k}:NAME' for k in KINDS)}")
    return Concept(kind, (name,))


@dataclass(frozen=True, eq=False)
class _Spelling:
    raw: list[bytes | None]
    seen: np.ndarray
    """(V,) occurrences in the training text; -1 where not counted."""


def _spelling(store: Store, card: RunCard) -> _Spelling:
    def make() -> _Spelling:
        table = store.ask(card.run, _TOKENS, model=card.model)
        return _Spelling(table["raw"].to_pylist(), table["n"].to_numpy())

    return _SPELT.get((store.digest, card.model), make)


def allowed_tokens(store: Store, card: RunCard) -> np.ndarray:
    """(V,) bool: tokens the dictionary was fitted to, which alone may be among the firing ones."""
    found = _spelling(store, card)
    known = np.array([bool(raw) for raw in found.raw])
    least = int((card.config.get("training") or {}).get("min_count") or 0)
    return known & ((found.seen < 0).any() | (found.seen >= least))


def tokens_of(store: Store, card: RunCard, concept: Concept) -> np.ndarray:
    """Ids (n,) int64 of the concept's tokens in a run's vocabulary, rising.

    Raises InvalidValue where there is no set of that name.
    """
    if concept.kind == "words":
        parts = [matching_tokens(store, card.run, word, WORD) for word in concept.names]
        return np.unique(np.concatenate(parts)).astype(np.int64)
    masks = masks_of(store, card, concept.kind)
    if concept.names[0] not in masks:
        raise InvalidValue(f"no token of {card.model} is of {concept.text}; there are "
                           f"{', '.join(masks)}")
    return np.flatnonzero(masks[concept.names[0]])


def ids(tokens: Sequence[int]) -> np.ndarray:
    """Token ids as an array (n,)."""
    return np.array(tokens, dtype=np.int64)


def set_names(store: Store, card: RunCard, kind: str) -> list[str]:
    """The sets of one of `KINDS` that may be asked for; not every supersense has a token."""
    return list(SUPERSENSES if kind == "supersense" else masks_of(store, card, kind))


def masks_of(store: Store, card: RunCard, kind: str) -> dict[str, np.ndarray]:
    """{name: (V,) bool} of the sets of one of `KINDS`."""
    if kind != "supersense":
        return token_masks(store, card, kind)
    key = (store.digest, card.model, "supersense")
    return _SPELT.get(key, lambda: supersense_masks(
        [raw or b"" for raw in _spelling(store, card).raw]))


def common_tokens(
    store: Store, cards: Sequence[RunCard], concept: Concept
) -> tuple[dict[str, np.ndarray], int]:
    """{run: ids} of the tokens whose bytes are one token in every vocabulary, and how many are not.

    The ids left out are counted in the vocabulary that has most of the set's tokens.
    """
    whole = {card.run: tokens_of(store, card, concept) for card in cards}
    if len({card.model for card in cards}) == 1:
        return whole, 0
    bytes_of = {
        card.run: [_spelling(store, card).raw[t] for t in whole[card.run]] for card in cards
    }
    common = set.intersection(*(set(found) for found in bytes_of.values()))
    kept = {
        run: np.array([t for t, raw in zip(whole[run], found, strict=True) if raw in common],
                      np.int64)
        for run, found in bytes_of.items()
    }
    return kept, max(map(len, whole.values())) - max(map(len, kept.values()))


def postings_of(store: Store, card: RunCard) -> Postings:
    """The strongest firing tokens of a run's live features, by token."""
    return _LISTS.get((store.digest, card.run), lambda: _postings(store, card))


def _postings(store: Store, card: RunCard) -> Postings:
    table = store.ask(card.run, _TOP.replace("{n}", str(DEPTHS[1])))
    lists = table["tokens"].combine_chunks()
    sizes = np.nan_to_num(lists.value_lengths().to_numpy(zero_copy_only=False)).astype(np.int64)
    row = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    top = np.full((card.d_sae, DEPTHS[1]), -1, np.int64)
    top[table["feature"].to_numpy()[row], place] = lists.flatten().to_numpy(zero_copy_only=False)
    alive = np.zeros(card.d_sae, bool)
    live = store.ask(card.run, "SELECT feature FROM {run}.feature WHERE alive")
    alive[live["feature"].to_numpy()] = True
    return postings(top, alive, allowed_tokens(store, card))


@dataclass(frozen=True, eq=False)
class Crystal:
    """What a concept is to one run."""

    run: str
    steps: tuple[int, ...]
    tokens: np.ndarray
    """(t,) ids that may be listed."""
    found: Holding
    null: np.ndarray
    """(draws,) features that hold a random set as large and as frequent."""
    births: np.ndarray
    """(K,) births of the holding features; of a run without time empty, as are the next two."""
    peaks: np.ndarray
    """(K,) peaks of their rates."""
    everyone: np.ndarray
    """(K,) births of all live features."""
    peaks_of_all: np.ndarray
    """(K,) peaks of all live features."""
    timing: Timing | None
    """Of the births; None for a run without time."""
    peak_timing: Timing | None
    """The same of the peaks."""
    birth_step: tuple[int | None, ...]
    """Of the first `SHOWN` features; None: never born."""
    peak_step: tuple[int | None, ...]
    labels: tuple[str, ...]

    @property
    def p(self) -> float:
        """Share of the random sets that as many features hold, the true one counted among them."""
        return float(((self.null >= len(self.found.features)).sum() + 1) / (len(self.null) + 1))


def crystal(
    store: Store, card: RunCard, tokens: np.ndarray, convention: str = DEFAULT, draws: int = DRAWS
) -> Crystal:
    """Which live features of a run hold a set of tokens beyond chance, and when they are born.

    Args:
        tokens: ids in the run's vocabulary.
        convention: which births.
    """
    lists = postings_of(store, card)
    kept = tokens[lists.allowed[tokens]]
    bands = frequency_bands(_spelling(store, card).seen, lists.allowed)
    found = holding(lists, kept)
    null = null_counts(lists, kept, bands, draws)
    shown = found.features[:SHOWN]
    labels = tuple(label_columns(store, card.run).drawn(shown, store.token_texts(card.model)))
    nothing = np.zeros(0, np.int64)
    if len(card.steps) < 2:
        none = (None,) * len(shown)
        return Crystal(card.run, card.steps, kept, found, null, nothing, nothing, nothing, nothing,
                       None, None, none, none, labels)
    lives = population_store.lives_of(store, card.run)
    birth = lives.births.get(convention, lives.births[DEFAULT])
    count = lives.count
    births = population.counts(birth[found.features], count)
    everyone = population.counts(birth[lives.alive], count)
    peaks = population.counts(lives.peak[found.features], count)
    all_peaks = population.counts(lives.peak[lives.alive], count)
    u = log_time(card.steps)
    return Crystal(
        card.run, card.steps, kept, found, null, births, peaks, everyone, all_peaks,
        timing(births, everyone, u), timing(peaks, all_peaks, u),
        _named(birth[shown], card), _named(lives.peak[shown], card), labels,
    )


def _named(index: np.ndarray, card: RunCard) -> tuple[int | None, ...]:
    return tuple(card.steps[k] if k < len(card.steps) else None for k in index.tolist())


def crystals_table(found: Sequence[Crystal]) -> pd.DataFrame:
    """One row per run and holding feature; the nulls of the run in each."""
    rows = []
    for one in found:
        low, middle, high = np.percentile(one.null, (5, 50, 95))
        for i, feature in enumerate(one.found.features[:SHOWN].tolist()):
            rows.append({
                "run": one.run, "feature": feature, "tokens held": int(one.found.held[i]),
                "of": int(one.found.drawn[i]), "corrected p": one.found.p[i],
                "birth": one.birth_step[i], "peak": one.peak_step[i],
                "strongest tokens": one.labels[i],
                "features in all": len(one.found.features), "random sets, 5 %": low,
                "random sets, median": middle, "random sets, 95 %": high, "p": one.p,
                "p of the median birth": one.timing.p if one.timing else None,
                "p of the median peak": one.peak_timing.p if one.peak_timing else None,
            })
    return pd.DataFrame(rows, columns=COLUMNS)
