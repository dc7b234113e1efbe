"""What the store says of several runs through training, each read the same way, with its null.

Shapes: K snapshots of one run, D features, L labels. Births and profiles: crosscoder-method §8;
windows: §9; quality: §6.3; labels: §13.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas import lifecycle, population, population_store, read_write, turnover, window_lives
from atlas.control_words import SURE
from atlas.population import BARS, CONVENTIONS, DEFAULT, NAMED, RESAMPLES, SEED
from atlas.population_store import STANDING, Profiles
from atlas.read_write import Lead
from atlas.read_write_store import token_families
from atlas.recent import Recent
from atlas.records import RunCard
from atlas.reorganisation import Reorganisation, log_time
from atlas.store import Store
from atlas.vocabulary import script

SCHEMES = ("family", "script")
"""What labels of features are compared by."""
_LABELS = """
    SELECT {scheme} AS name, count(*) AS features FROM {run}.feature
    WHERE alive AND {scheme} IS NOT NULL AND {scheme}_p <= $sure GROUP BY ALL"""
_TEXTS = "SELECT raw FROM catalog.token WHERE model = $model ORDER BY token"
_TOKENS = Recent(16)


@dataclass(frozen=True, eq=False)
class Births:
    """When the live features of a run are born; arrays (K,)."""

    share: np.ndarray
    """Of the live features, those born at a snapshot."""
    null: np.ndarray | None
    """The same of features whose snapshots are shuffled, each on its own; None where it cannot be
    read."""
    counts: np.ndarray
    """Features born at a snapshot."""
    n_alive: int
    median: float
    """Median birth in log10(step + 1); nan where none is born."""
    low: float
    """5 % quantile of it over resampled features."""
    high: float
    """95 % quantile."""
    shuffled: int
    """Features behind the null."""

    @property
    def by_then(self) -> np.ndarray:
        """(K,) share of the live features that are born by a snapshot."""
        return np.cumsum(self.share)

    @property
    def n_born(self) -> int:
        """Features that are born at all."""
        return int(self.counts.sum())


def no_time(card: RunCard) -> str:
    """Why births, profiles and windows of a run are not available; '' if they are."""
    return "" if len(card.steps) > 1 else (
        f"it has one snapshot, of a {card.kind}, and so no time in which anything could be born")


def births_of(store: Store, run: str, convention: str = DEFAULT) -> Births:
    """Births by a convention; one that needs rates is read by the norm where there are none.

    Raises InvalidValue for a run of one snapshot.
    """
    lives = population_store.lives_of(store, run)
    chosen = convention if convention in lives.births else DEFAULT
    birth = lives.births[chosen][lives.alive]
    counts = population.counts(birth, lives.count)
    null, shuffled = _null(store, run, chosen)
    u = log_time(lives.steps)
    n_alive, born = int(lives.alive.sum()), int(counts.sum())
    low = high = np.nan
    if born:
        generator = np.random.default_rng(SEED)
        drawn = generator.multinomial(born, counts / born, size=RESAMPLES)
        low, high = np.quantile(read_write.medians(drawn, u), NAMED)
    return Births(
        counts / max(1, n_alive), null, counts, n_alive, float(read_write.medians(counts, u)),
        float(low), float(high), shuffled,
    )


def _null(store: Store, run: str, convention: str) -> tuple[np.ndarray | None, int]:
    """Share born at every snapshot when snapshots are shuffled, and of how many features."""
    if convention == "floor":
        return None, 0
    lives = population_store.lives_of(store, run)
    if convention == "norms":
        values = population_store.live_norms(store, run)[1]
    else:
        rates = population_store.course_columns(store, run, "rate")
        values = np.zeros((0, lives.count), np.float32) if rates is None else (
            np.nan_to_num(rates[lives.alive]))
    drawn = population.shuffled(values)
    if not len(drawn):
        return None, 0
    if convention == "norms":
        birth = lifecycle.births_and_deaths(drawn.T)[0]
    elif convention in BARS:
        birth = population.first_above(drawn, BARS[convention])
    else:
        birth = lifecycle.lifecycle(drawn.T).first_active
    return population.counts(birth, lives.count) / len(drawn), len(drawn)


NO_FLOOR_NULL = ("with the noise floor off no null is drawn, because the floor is itself one: what "
                 "rows of noise would give is taken off before a birth is read")


def lead(store: Store, one: RunCard, other: RunCard, convention: str = DEFAULT) -> Lead | None:
    """How much later features of one run are born than those of another, in log10(step + 1).

    The null deals all born features out among the two runs. None where the schedules differ, or
    one of them has no time: births fall on snapshots, and a finer schedule has others.
    """
    if one.steps != other.steps or len(one.steps) < 2:
        return None
    counts = [births_of(store, card.run, convention).counts for card in (one, other)]
    return read_write.lead_of_all(*counts, log_time(one.steps))


def leads(
    store: Store, cards: Sequence[RunCard], convention: str = DEFAULT
) -> list[tuple[RunCard, Lead | None, float]]:
    """Every later run with a time against the first of them: `lead`, and its p corrected for their
    number by Holm's rule; nan where there is none."""
    timed = [card for card in cards if not no_time(card)]
    found = [lead(store, timed[0], card, convention) for card in timed[1:]]
    p = read_write.holm([np.nan if one is None else one.p[0] for one in found])
    return [(card, one, float(q)) for card, one, q in zip(timed[1:], found, p, strict=True)]


def profiles_of(store: Store, run: str) -> Profiles:
    """Profiles with intervals over resampled features, and what shuffled snapshots give."""
    return population_store.profile_table(store, run)


def windows_of(store: Store, run: str) -> Reorganisation | None:
    """The scored windows of a run with their null; None where they cannot be (`why_no_windows`)."""
    card = store.run(run)
    if why_no_windows(store, card):
        return None
    pairs = window_lives.pairs_of(store, run)
    return None if pairs is None else turnover.scored(pairs, card.steps, run)


def why_no_windows(store: Store, card: RunCard) -> str:
    """Why a run has no scored windows; '' if it may have."""
    if reason := no_time(card) or turnover.unscored(card.steps):
        return reason
    pairs = window_lives.pairs_of(store, card.run)
    if pairs is None:
        return "no feature of it has norms at every snapshot that exceed 0.01 anywhere"
    if not np.isfinite(pairs.components).all():
        return "one of the six metrics is not known throughout, as where a run has no rates"
    return ""


def fidelity_of(store: Store, card: RunCard) -> tuple[np.ndarray, np.ndarray]:
    """EV and L0 at every snapshot, (K,) each; nan where not measured."""
    frame = store.births(card.run)
    return tuple(frame[name].to_numpy(dtype=np.float64) for name in ("explained_variance", "l0"))


# --- labels ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Shares:
    """How many live features a label stands for, beside the vocabulary; arrays (L,)."""

    names: tuple[str, ...]
    counts: np.ndarray
    """Live features whose strongest firing tokens share the label with p <= 0.05."""
    share: np.ndarray
    """Of the live features."""
    low: np.ndarray
    """5 % quantile over resampled features."""
    high: np.ndarray
    """95 % quantile."""
    vocabulary: np.ndarray
    """Share of the vocabulary's tokens that have the label: what features would show if each took
    the label of one token at random."""


def token_masks(store: Store, card: RunCard, scheme: str) -> dict[str, np.ndarray]:
    """{label: (V,) bool} of a language model's tokens; a padding row has none."""
    def make() -> dict[str, np.ndarray]:
        if scheme == "family":
            from atlas.read_write_store import FAMILIES

            masks = token_families(store, card).masks[:, :-1]
            return {name: mask for name, mask in zip(FAMILIES, masks, strict=True) if mask.any()}
        raw = store.ask(card.run, _TEXTS, model=card.model)["raw"].to_pylist()
        names = np.array([script(r.decode("utf8", "replace")) if r else "" for r in raw])
        return {str(name): names == name for name in sorted(set(names)) if name}

    return _TOKENS.get((store.digest, card.model, scheme), make)


def shares_of(store: Store, card: RunCard, scheme: str) -> Shares:
    """Shares of live features by label, every label of the vocabulary in it."""
    masks = token_masks(store, card, scheme)
    sql = _LABELS.replace("{scheme}", scheme)
    rows = store.ask(card.run, sql, sure=SURE).to_pylist()
    found = {row["name"]: int(row["features"]) for row in rows}
    names = tuple(masks)
    counts = np.array([found.get(name, 0) for name in names], dtype=np.int64)
    total = max(1, card.n_alive)
    chances = np.append(counts, max(0, total - counts.sum())) / max(total, counts.sum())
    drawn = np.random.default_rng(SEED).multinomial(total, chances, size=RESAMPLES) / total
    low, high = np.quantile(drawn[:, :-1], NAMED, axis=0)
    size = max(1, len(next(iter(masks.values())))) if masks else 1
    return Shares(names, counts, counts / total, low, high,
                  np.array([mask.sum() / size for mask in masks.values()]))


# --- as tables ------------------------------------------------------------------------------------


def births_table(store: Store, cards: Sequence[RunCard], convention: str = DEFAULT) -> pd.DataFrame:
    """One row per run and snapshot: births, their null, EV and L0."""
    rows = []
    for card in cards:
        ev, l0 = fidelity_of(store, card)
        found = None if no_time(card) else births_of(store, card.run, convention)
        for k, step in enumerate(card.steps):
            rows.append({
                "run": card.run, "step": step,
                "births": None if found is None else int(found.counts[k]),
                "share of live features": None if found is None else found.share[k],
                "snapshots shuffled": None if found is None or found.null is None
                else found.null[k],
                "born by then": None if found is None else found.by_then[k],
                "EV": ev[k], "L0": l0[k],
            })
    return pd.DataFrame(rows)


def profiles_table(store: Store, cards: Sequence[RunCard]) -> pd.DataFrame:
    """One row per run and profile: share, its interval, and the shuffled null."""
    rows = []
    for card in cards:
        if no_time(card):
            continue
        found = profiles_of(store, card.run)
        for i, name in enumerate(STANDING):
            rows.append({
                "run": card.run, "profile": name, "features": int(found.found.counts[i]),
                "share": found.found.share[i], "5 %": found.found.low[i],
                "95 %": found.found.high[i], "snapshots shuffled": found.null[i],
            })
    return pd.DataFrame(rows)


def windows_table(store: Store, cards: Sequence[RunCard]) -> pd.DataFrame:
    """One row per run: the window of the largest z beside its null, or why there is none."""
    rows = []
    for card in cards:
        found = windows_of(store, card.run)
        if found is None:
            rows.append({"run": card.run, "why not": why_no_windows(store, card)})
            continue
        w, best = found.windows, found.best
        rows.append({
            "run": card.run, "from step": float(w.from_step[best]),
            "to step": float(w.to_step[best]), "score": found.score[best], "z": found.z[best],
            "p": found.p[best], "p, any window": found.p_any[best], "shifts": len(found.null),
        })
    return pd.DataFrame(rows)


def shares_table(store: Store, cards: Sequence[RunCard], scheme: str) -> pd.DataFrame:
    """One row per run and label."""
    rows = []
    for card in cards:
        found = shares_of(store, card, scheme)
        for i, name in enumerate(found.names):
            rows.append({
                "run": card.run, scheme: name, "features": int(found.counts[i]),
                "share of live features": found.share[i], "5 %": found.low[i],
                "95 %": found.high[i], "share of the vocabulary": found.vocabulary[i],
            })
    return pd.DataFrame(rows)


def conventions_of(store: Store, cards: Sequence[RunCard]) -> list[str]:
    """The conventions that every run with a time has births by."""
    timed = [card for card in cards if not no_time(card)]
    known = [population_store.lives_of(store, card.run).births for card in timed]
    return [name for name in CONVENTIONS if all(name in births for births in known)]
