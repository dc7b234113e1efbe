"""What the store knows of a run's population, worked out when it is asked for.

Two small questions and some counting: at 24,576 features and 32 snapshots some tens of
milliseconds a figure, so nothing of it is kept in the store.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from atlas import lifecycle, population
from atlas.columns import name_columns, norm_columns, number_columns
from atlas.errors import InvalidValue
from atlas.measures import PROFILES
from atlas.population import BARS, CONVENTIONS, Composition, Correction, RankCurves, Spectrum
from atlas.recent import Recent
from atlas.records import RunCard
from atlas.store import Store
from atlas.survival import Survival, spans, survival

ROWS = 144
"""Rows of the picture of all lives, at most."""
ORDERS = ("birth", "peak", "change")
"""What the picture can be sorted by."""
GROUPS = ("early", "middle", "late")
"""Births by log time: to 0.35, between, from 0.65 on (§8.2)."""
STANDING = tuple(name for name in PROFILES if name != "inactive")
"""Profiles of features that take part."""

_LIVES = Recent(3)


@dataclass(frozen=True, eq=False)
class Lives:
    """When every feature of a run is born, peaks and dies; K stands for never."""

    steps: tuple[int, ...]
    alive: np.ndarray
    """(D,) bool: it fires."""
    births: dict[str, np.ndarray]
    """By convention, (D,) int16 snapshot; a convention that needs rates is missing where the
    store has none."""
    peak: np.ndarray
    """(D,) int16 snapshot of the largest rate, the later on ties (§8.1)."""
    death: np.ndarray
    """(D,) int16 last snapshot at half the norm; K: it still is at the end, or never was."""
    profile: np.ndarray
    """(D,) int16 place in `STANDING`; -1 for none and for the inactive."""

    @property
    def count(self) -> int:
        """Number of snapshots, which also says "never"."""
        return len(self.steps)


def lives_of(store: Store, run: str) -> Lives:
    """The lives of a run's features; asked once.

    Raises InvalidValue for a run of one snapshot, which has no time.
    """
    return _LIVES.get((store.digest, run), lambda: _lives(store, run))


def _lives(store: Store, run: str) -> Lives:
    card = store.run(run)
    needs_time(card)
    names = ("birth_step", "birth_floor_step", "first_active_step", "peak_step", "death_step")
    columns = number_columns(store, run, 0, names, (card.steps[0], card.steps[-1]))
    place = {name: _snapshots(columns[name], card.steps) for name in names}
    births = {
        name: place[rule.column] for name, rule in CONVENTIONS.items() if rule.column is not None
    }
    rates = course_columns(store, run, "rate")
    if rates is None:
        births.pop("rates")
    else:
        births |= {
            name: population.first_above(rates, bar).astype(np.int16) for name, bar in BARS.items()
        }
    table = store.ask(run, "SELECT feature, alive FROM {run}.feature")
    alive = np.zeros(card.d_sae, bool)
    alive[table["feature"].to_numpy()] = table["alive"].to_numpy()
    named = name_columns(store, run)["profile"]
    ranks = [STANDING.index(v) if v in STANDING else -1 for v in named.values]
    profile = np.array([*ranks, -1], np.int16)[named.places]
    return Lives(
        card.steps, alive, births, place["peak_step"], place["death_step"], profile,
    )


def needs_time(card: RunCard) -> None:
    """Raise InvalidValue where a run has no time."""
    if len(card.steps) < 2:
        raise InvalidValue("the run has one snapshot, and so no time in which to change")


def _snapshots(steps: np.ndarray, known: tuple[int, ...]) -> np.ndarray:
    """Numbers of the snapshots of some steps (D,), K for nan and for a step there is not."""
    found = np.searchsorted(known, steps)
    right = np.append(np.asarray(known, float), np.nan)[np.minimum(found, len(known))] == steps
    return np.where(right, found, len(known)).astype(np.int16)


def course_columns(store: Store, run: str, column: str) -> np.ndarray | None:
    """`rate` (D, K) or `rotation` (D, K - 1) of all features; nan where a feature has none, None
    where no feature has."""
    card = store.run(run)
    width = len(card.steps) - (column == "rotation")
    if width < 1:
        return None
    table = store.ask(run, f"SELECT feature, {column} FROM {{run}}.life WHERE len({column}) = "
                           f"{width}")
    if not table.num_rows:
        return None
    full = np.full((card.d_sae, width), np.nan, np.float32)
    full[table["feature"].to_numpy()] = _flat(table[column]).reshape(-1, width)
    return full


def _flat(column: pa.ChunkedArray) -> np.ndarray:
    return column.combine_chunks().flatten().to_numpy(zero_copy_only=False)


def live_norms(store: Store, run: str) -> tuple[np.ndarray, np.ndarray]:
    """Features that fire and have a norm at every snapshot, rising, and their norms (n, K)."""
    norms = norm_columns(store, run)
    features = np.flatnonzero(lives_of(store, run).alive & np.isfinite(norms).all(axis=1))
    return features, norms[features]


# --- births, peaks, deaths --------------------------------------------------------------------


def population_table(store: Store, run: str) -> pd.DataFrame:
    """Births by every convention, peaks, deaths and living features, one row per snapshot.

    Over features that fire; a convention that needs rates has no column where there are none.
    """
    lives = lives_of(store, run)
    count = lives.count
    found: dict[str, object] = {"step": list(lives.steps)}
    for name, birth in lives.births.items():
        found[f"births_{name}"] = population.counts(birth[lives.alive], count)
    found["peaks"] = population.counts(lives.peak[lives.alive], count)
    found["deaths"] = population.counts(lives.death[lives.alive], count)
    found["standing"] = population.at_half(live_norms(store, run)[1]).sum(axis=0)
    return pd.DataFrame(found)


def corrected(store: Store, run: str) -> Correction:
    """What becomes of the births of features that fire when the noise floor is taken off."""
    lives = lives_of(store, run)
    return population.correction(
        lives.births["norms"][lives.alive], lives.births["floor"][lives.alive], lives.count
    )


# --- all lives --------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Ordered:
    """All lives as one picture, and what the rows hold."""

    cells: np.ndarray
    """(R, K) float32 in [0, 1], the first row first."""
    bounds: np.ndarray
    """(R + 1,) places in the order where rows begin."""
    features: np.ndarray
    """(n,) features in the order."""
    birth: np.ndarray
    """(n,) int16 snapshot of the birth, in the order; K: never."""
    peak: np.ndarray
    """(n,) int16 snapshot of the largest rate, in the order; K: never."""
    change: np.ndarray
    """(n,) change of the norm between the two steps, in the order; nan unless sorted by it."""


def ordered_lives(
    store: Store, run: str, order: str, convention: str, change: tuple[int, int], rows: int = ROWS
) -> Ordered:
    """Lives of all features that fire, sorted.

    Args:
        order: one of `ORDERS`: by birth, then peak; by peak, then birth; or by the change of the
            norm between two steps, the largest rise first, as Browse sorts by it.
        convention: which births; one that the run has not is replaced by the default.
        change: the two steps.
    """
    lives = lives_of(store, run)
    features, norms = live_norms(store, run)
    birth = lives.births.get(convention, lives.births[population.DEFAULT])[features]
    peak = lives.peak[features]
    moved = np.full(len(features), np.nan, np.float32)
    if order == "change":
        moved = number_columns(store, run, 0, ("norm_change",), change)["norm_change"][features]
        places = np.lexsort((np.arange(len(features)), -moved))
    else:
        first, then = (birth, peak) if order == "birth" else (peak, birth)
        places = population.life_order(first, then)
    found = population.picture(norms, places, rows)
    return Ordered(
        found.cells, found.bounds, features[places], birth[places], peak[places], moved[places]
    )


# --- profiles and survival --------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Profiles:
    """How features divide among the profiles of `STANDING`, and stand through training."""

    found: Composition
    null: np.ndarray
    """(P,) shares of the same features with their snapshots shuffled."""
    standing: np.ndarray
    """(P, K) features at half their norm or more."""
    shuffled: int
    """Features behind the null."""


def profile_table(store: Store, run: str) -> Profiles:
    """The profiles of features that fire, with intervals and with what shuffled snapshots give."""
    lives = lives_of(store, run)
    kinds = len(STANDING)
    kept = lives.profile[lives.alive]
    found = population.composition(kept[kept >= 0], kinds)
    features, norms = live_norms(store, run)
    places = lives.profile[features]
    drawn = population.shuffled(norms[places >= 0])
    names = lifecycle.profiles(drawn.T, lives.steps) if len(drawn) else []
    null = np.array([names.count(name) for name in STANDING]) / max(1, len(names))
    standing = population.standing(population.at_half(norms), places, kinds)
    return Profiles(found, null, standing, len(drawn))


def survival_curves(
    store: Store, run: str, convention: str
) -> dict[str, Survival]:
    """Share of born features still at half their norm, by how early they are born.

    Keys are those of `GROUPS` that have any feature, and `shuffled`: features with their snapshots
    shuffled, born and dying by the norm. A death is the first snapshot without the feature.
    """
    lives = lives_of(store, run)
    decades = np.log10(np.asarray(lives.steps, float) + 1)
    birth = lives.births.get(convention, lives.births[population.DEFAULT])
    kept = lives.alive & (birth < lives.count)
    birth, death = birth[kept], lives.death[kept]
    duration, ended = spans(birth, death, decades)
    time = lifecycle.tau(lives.steps)[birth]
    group = np.where(time <= lifecycle.EARLY, 0, np.where(time < lifecycle.LATE, 1, 2))
    found = {
        name: survival(duration[group == i], ended[group == i])
        for i, name in enumerate(GROUPS) if (group == i).any()
    }
    born, died = lifecycle.births_and_deaths(population.shuffled(live_norms(store, run)[1]).T)
    real = born < lives.count
    if real.any():
        found["shuffled"] = survival(*spans(born[real], died[real], decades))
    return found


# --- turns and rates --------------------------------------------------------------------------


def rotation_spectrum(store: Store, run: str) -> Spectrum | None:
    """How far features that fire turn, pair by pair; None where the store has no turns."""
    rotation = course_columns(store, run, "rotation")
    return None if rotation is None else population.spectrum(
        rotation[lives_of(store, run).alive])


def rate_ranks(store: Store, run: str) -> RankCurves | None:
    """Rates by rank at every snapshot, of all features; None where the store has no rates."""
    rates = course_columns(store, run, "rate")
    return None if rates is None else population.rank_curves(rates)
