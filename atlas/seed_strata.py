"""Which kinds of features come back in other runs: by profile, by birth, by firing rate.

A stratum's share is set beside what chance gives, and its scores beside the null's. The store
keeps the null's scores for all features of a pair of runs together; that a stratum has better
chances than another is answered by the percentile, which is taken among features of like chances
and, were the dictionaries unrelated, evenly spread in every stratum.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas.axes import short_step
from atlas.errors import InvalidValue
from atlas.matches import pairs_of
from atlas.measures import PROFILES
from atlas.population import DEFAULT
from atlas.population_store import lives_of
from atlas.seed_population import dealt
from atlas.seeds import Others, columns_of
from atlas.stability import BY_CHANCE
from atlas.store import Store

STRATA = {"profile": "profile", "birth": "birth", "rate": "firing rate"}
"""What features are divided by, and what a page calls it."""
Z = 1.959964
"""Quantile of the normal distribution that holds 95 % within ± itself."""
PARTS = 10
"""Strata of the firing rate, of equally many features each."""
QUARTILES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Stratum:
    """Features of one kind, and how they come back."""

    name: str
    count: int
    """Features of the kind that have a partner anywhere: those that fire."""
    once: int
    """Of them, features that return in one of the other runs or more."""
    everywhere: int
    """Of them, features that return in all of them."""
    low: float
    """Lower end of the 95 % interval of the share that returns, by Wilson's rule."""
    high: float
    """Upper end."""
    scores: tuple[float, float, float]
    """Quartiles of their best scores, over all features and other runs."""
    percentiles: tuple[float, float, float]
    """Quartiles of the percentiles of those scores under the null; 0.25, 0.5, 0.75 by chance."""

    @property
    def share(self) -> float:
        """Of them that return in one run or more."""
        return self.once / self.count


@dataclass(frozen=True)
class Strata:
    """All kinds of one division."""

    by: str
    """One of `STRATA`."""
    others: Others
    rows: tuple[Stratum, ...]
    """Those with any feature; empty where there are none, or `reason` says why."""
    outside: int
    """Features that fire and are of none of them."""
    chance: float
    """Share that would return in one other run or more by chance, at most."""
    null: tuple[float, ...]
    """Quartiles of the best score in the null, over all features and other runs; () without one."""
    p: float = float("nan")
    """Share of deals of the returns among the kinds, the true one among them, in which the kinds'
    shares differ as much; nan below two kinds."""
    reason: str = ""
    """Why features cannot be divided so; '' if they can."""


def wilson(found: int, total: int) -> tuple[float, float]:
    """95 % interval of a share found / total by Wilson's rule, in [0, 1]; all of it of none."""
    if not total:
        return 0.0, 1.0
    share = found / total
    middle = share + Z**2 / (2 * total)
    half = Z * np.sqrt(share * (1 - share) / total + Z**2 / (4 * total**2))
    whole = 1 + Z**2 / total
    low, high = (middle - half) / whole, (middle + half) / whole
    return (float(low) if found else 0.0), (float(high) if found < total else 1.0)


def strata_of(
    store: Store, run: str, way: str, by: str = "profile", convention: str = DEFAULT
) -> Strata:
    """How features of every kind come back in the other seeds; without any, in all other runs.

    Args:
        by: one of `STRATA`.
        convention: which births (`atlas.population.CONVENTIONS`).

    Raises:
        NotFound, BrokenArtifact: the run is not there or cannot be read.
    """
    others, columns = columns_of(store, run, way)
    chance = 1 - (1 - BY_CHANCE) ** len(columns)
    nulls = [pair.null_scores for pair in pairs_of(store, run)
             if pair.way == way and pair.other in others.runs and pair.null_scores]
    null = tuple(np.quantile(np.concatenate(nulls), QUARTILES).tolist()) if nulls else ()
    if not columns:
        return Strata(by, others, (), 0, chance, null)
    scores = np.stack([c.score for c in columns])
    percentiles = np.stack([c.percentile for c in columns])
    returned = np.stack([c.returned for c in columns]).sum(axis=0)
    live = np.isfinite(scores).any(axis=0)
    try:
        names, places = _DIVIDE[by](store, run, live, convention)
    except InvalidValue as why:
        return Strata(by, others, (), int(live.sum()), chance, null, reason=str(why))
    rows = []
    for place, name in enumerate(names):
        own = live & (places == place)
        count, once = int(own.sum()), int((returned[own] > 0).sum())
        if count:
            rows.append(Stratum(
                name, count, once, int((returned[own] == len(columns)).sum()),
                *wilson(once, count), _quartiles(scores[:, own]), _quartiles(percentiles[:, own])))
    return Strata(by, others, tuple(rows), int((live & (places < 0)).sum()), chance, null,
                  _p_of(rows))


def _p_of(rows: Sequence[Stratum]) -> float:
    """Whether kinds return unlike each other: by the summed squares of their shares, weighed by
    their features."""
    if len(rows) < 2:
        return float("nan")
    counts = np.array([[one.once, one.count - one.once] for one in rows])
    sizes = counts.sum(axis=1)
    own = (counts[:, 0] ** 2 / sizes).sum()
    null = (dealt(counts)[:, :, 0] ** 2 / sizes).sum(axis=1)
    return float(((null >= own * (1 - 1e-12)).sum() + 1) / (len(null) + 1))


def _quartiles(values: np.ndarray) -> tuple[float, float, float]:
    known = values[np.isfinite(values)]
    low, middle, high = np.quantile(known, QUARTILES).tolist()
    return low, middle, high


Division = tuple[Sequence[str], np.ndarray]
"""Names of strata, and the place (D,) of every feature among them, -1 for none."""


def _by_profile(store: Store, run: str, live: np.ndarray, convention: str) -> Division:
    table = store.ask(run, "SELECT profile FROM {run}.feature ORDER BY feature")
    place = {name: i for i, name in enumerate(PROFILES)}
    places = np.array([place.get(name, -1) for name in table["profile"].to_pylist()], np.int64)
    if not (live & (places >= 0)).any():
        raise InvalidValue("no feature of the run has a profile: that needs several snapshots")
    return PROFILES, places


def _by_birth(store: Store, run: str, live: np.ndarray, convention: str) -> Division:
    """Half-decades of the step, the first snapshot and "never" by themselves."""
    lives = lives_of(store, run)
    born = lives.births.get(convention, lives.births[DEFAULT])
    halves = half_decades(lives.steps)
    names = []
    for half in range(int(halves.max()) + 1):
        within = [s for s, h in zip(lives.steps, halves, strict=True) if h == half]
        ends = dict.fromkeys((within[0], within[-1]))
        names.append(f"step{'s' * (len(ends) > 1)} {' to '.join(short_step(s) for s in ends)}")
    return (*names, "never"), np.append(halves, len(names))[born]


def half_decades(steps: Sequence[int]) -> np.ndarray:
    """(K,) which half-decade each step is of, numbered from 0 on without gaps; step 0 is one."""
    raw = [-1 if step < 1 else int(np.floor(2 * np.log10(step) + 1e-9)) for step in steps]
    return np.unique(raw, return_inverse=True)[1]


def _by_rate(store: Store, run: str, live: np.ndarray, convention: str) -> Division:
    """Tenths of the features that fire, by the largest rate at any snapshot."""
    table = store.ask(run, "SELECT rate_max FROM {run}.feature ORDER BY feature")
    rates = table["rate_max"].to_numpy().astype(np.float64)
    known = live & np.isfinite(rates)
    if not known.any():
        raise InvalidValue("this store has no firing rates of the run")
    edges = np.unique(np.quantile(rates[known], np.linspace(0, 1, PARTS + 1)))
    places = np.clip(np.searchsorted(edges, rates, side="right") - 1, 0, max(0, len(edges) - 2))
    names = [f"{_percent(a)} to {_percent(b)}"
             for a, b in zip(edges, edges[1:], strict=False)] or [_percent(edges[0])]
    return names, np.where(known, places, -1)


def _percent(rate: float) -> str:
    return f"{float(f'{100 * rate:.2g}'):g} %"


_DIVIDE = {"profile": _by_profile, "birth": _by_birth, "rate": _by_rate}


def strata_frame(found: Strata) -> pd.DataFrame:
    """One row per stratum, with interval and null."""
    null = found.null or (float("nan"),) * 3
    return pd.DataFrame([
        {found.by: one.name, "features": one.count, "in one or more": one.once,
         "in all": one.everywhere, "share": one.share, "2.5 %": one.low, "97.5 %": one.high,
         "by chance at most": found.chance,
         "score, lower quartile": one.scores[0], "score, median": one.scores[1],
         "score, upper quartile": one.scores[2], "null, lower quartile": null[0],
         "null, median": null[1], "null, upper quartile": null[2],
         "percentile, median": one.percentiles[1]}
        for one in found.rows])


@dataclass(frozen=True)
class Whole:
    """All features of a run that fire, in the other runs together."""

    count: int
    once: int
    """Features that return in one of them or more."""
    everywhere: int
    """Features that return in all of them."""
    chance: float
    """Share that would return in one or more by chance, at most."""
    score: float
    """Median best score over features and other runs."""
    null: float
    """The same in the null; nan without one."""


def whole_of(store: Store, run: str, way: str) -> Whole | None:
    """What returns of a run as a whole; None where it was matched with none in that way."""
    others, columns = columns_of(store, run, way)
    if not columns:
        return None
    scores = np.stack([c.score for c in columns])
    returned = np.stack([c.returned for c in columns]).sum(axis=0)
    live = np.isfinite(scores).any(axis=0)
    nulls = [pair.null_scores for pair in pairs_of(store, run)
             if pair.way == way and pair.other in others.runs and pair.null_scores]
    return Whole(
        int(live.sum()), int((returned > 0).sum()), int((returned == len(columns)).sum()),
        1 - (1 - BY_CHANCE) ** len(columns),
        float(np.nanmedian(scores)) if live.any() else float("nan"),
        float(np.median(np.concatenate(nulls))) if nulls else float("nan"),
    )
