"""The population of a run through training: who is born when, what the lives look like together.

Arrays in, arrays out; D features first, K snapshots; a snapshot is named by its number and K
stands for "never". Formulas: crosscoder-method §7, §8, §9.5; the noise floor: demo §5.4.
"""

from dataclasses import dataclass

import numpy as np

from atlas.lifecycle import ALIVE

RESAMPLES = 400
"""Draws of features with replacement behind an interval."""
SEED = 0
"""Of the draws and of the shuffles."""
SHUFFLED = 2000
"""Features at most whose snapshots are shuffled for a null."""
NAMED = 0.05, 0.95
"""Ends of an interval: 90 % of the draws lie within."""


@dataclass(frozen=True)
class Convention:
    """One of the rules that the literature reads a birth by."""

    words: str
    """What the axis calls it."""
    short: str
    """What a control and a tooltip call it."""
    rule: str
    """The rule in a sentence's end."""
    measure: str
    """The measure of Browse that holds it."""
    column: str | None
    """The column of the feature table that holds it; None where it is read from the rates."""


CONVENTIONS = {
    "norms": Convention(
        "births by the norm", "half the largest norm",
        "the norm is first at half its maximum (§8.2)", "birth_step", "birth_step",
    ),
    "floor": Convention(
        "births by the norm, noise floor off", "noise floor off",
        "the norm, with what noise rows would give taken off, is first at half its maximum",
        "birth_floor_step", "birth_floor_step",
    ),
    "rates": Convention(
        "births by the rate", "a tenth of the largest rate",
        "the rate is above a tenth of its maximum at two snapshots in a row (§8.1)",
        "first_active_step", "first_active_step",
    ),
    "any": Convention(
        "first rate above 0", "first rate > 0", "the rate is first above 0 (§8.3)",
        "first_rate_step", None,
    ),
    "thousandth": Convention(
        "first rate above 0.001", "first rate > 0.001",
        "the rate is first above 0.001 (§9.5)", "first_thousandth_step", None,
    ),
}
"""Every convention by its name in the address, the default first."""
DEFAULT = "norms"
WHY_DEFAULT = (
    "The norm is the default: it is the rule that the profiles and the published births are read "
    "by, and it needs no rows, so that every run has it."
)
BARS = {"any": 0.0, "thousandth": 1e-3}
"""Rates to be above, for the conventions that are a plain bar."""


def first_above(rates: np.ndarray, bar: float) -> np.ndarray:
    """(D,) first snapshot at which a rate (D, K) is above a bar; K: never, and nan is never."""
    above = np.nan_to_num(rates) > bar
    return np.where(above.any(axis=1), above.argmax(axis=1), rates.shape[1])


def counts(index: np.ndarray, count: int) -> np.ndarray:
    """(count,) how many of the numbers are 0, 1 … count - 1; "never" is left out."""
    return np.bincount(index, minlength=count + 1)[:count]


@dataclass(frozen=True)
class Correction:
    """What becomes of the paper's births when the noise floor is taken off (demo §5.4)."""

    born: int
    """Features with a birth by the paper's rule."""
    first: int
    """Those of them at the first snapshot."""
    first_kept: int
    """Those of `first` that stay at the first snapshot."""
    first_later: int
    """Those of `first` that move to a later one."""
    never: int
    """Those of `born` that never stand above the floor."""
    first_never: int
    """Those of `first` that never do."""
    kept: int
    """Those of `born` whose step stays what it was."""

    @property
    def surviving(self) -> int:
        """Births that the correction leaves, at whatever step."""
        return self.born - self.never


def correction(plain: np.ndarray, corrected: np.ndarray, count: int) -> Correction:
    """Compare births (D,) by the paper's rule with those after the correction."""
    born = plain < count
    first = plain == 0
    never = born & (corrected >= count)
    return Correction(
        int(born.sum()), int(first.sum()), int((first & (corrected == 0)).sum()),
        int((first & (corrected > 0) & (corrected < count)).sum()), int(never.sum()),
        int((first & never).sum()), int((born & (plain == corrected)).sum()),
    )


# --- all lives as one picture -----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Picture:
    """Peak-normalised lives of many features, in rows of neighbours in an order."""

    cells: np.ndarray
    """(R, K) float32 in [0, 1]: mean norm over its own maximum; the first row is the first in the
    order."""
    bounds: np.ndarray
    """(R + 1,) places in the order where a row begins; row r holds bounds[r] … bounds[r + 1] - 1.
    """


def bounds_of(features: int, rows: int) -> np.ndarray:
    """(R + 1,) places at which rows of as equal size as can be begin; R is at most `features`."""
    rows = max(1, min(rows, features))
    return np.arange(rows + 1) * features // rows


def picture(norms: np.ndarray, order: np.ndarray, rows: int) -> Picture:
    """The lives of the features of `order`, from norms (D, K), in at most `rows` rows.

    A feature whose norms are all 0 has a life of 0.
    """
    lives = norms[order]
    longest = lives.max(axis=1, keepdims=True, initial=0.0)
    scaled = np.divide(lives, longest, out=np.zeros_like(lives), where=longest > 0)
    if not len(order):
        return Picture(scaled, np.zeros(1, int))
    bounds = bounds_of(len(order), rows)
    sums = np.add.reduceat(scaled, bounds[:-1], axis=0)
    return Picture(sums / np.diff(bounds)[:, None].astype(np.float32), bounds)


def life_order(first: np.ndarray, then: np.ndarray) -> np.ndarray:
    """(D,) places by one snapshot number, then by another, then by index."""
    return np.lexsort((np.arange(len(first)), then, first))


# --- profiles ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Composition:
    """How features divide among profiles."""

    counts: np.ndarray
    """(P,) features of each profile."""
    share: np.ndarray
    """(P,) share of all of them; nan where there is none."""
    low: np.ndarray
    """(P,) 5 % quantile of the share over resampled features."""
    high: np.ndarray
    """(P,) 95 % quantile."""


def composition(
    places: np.ndarray, profiles: int, resamples: int = RESAMPLES, seed: int = SEED
) -> Composition:
    """Shares of profiles (D,) numbered 0 … P - 1, with bootstrap intervals.

    Drawing D features with replacement and counting them is one multinomial draw.
    """
    found = np.bincount(places, minlength=profiles)[:profiles]
    total = int(found.sum())
    if not total:
        nothing = np.full(profiles, np.nan)
        return Composition(found, nothing, nothing, nothing)
    share = found / total
    drawn = np.random.default_rng(seed).multinomial(total, share, size=resamples) / total
    low, high = np.quantile(drawn, NAMED, axis=0)
    return Composition(found, share, low, high)


def standing(alive: np.ndarray, places: np.ndarray, profiles: int) -> np.ndarray:
    """(P, K) features of each profile that are at half their norm or more, from alive (D, K)."""
    return np.stack([alive[places == p].sum(axis=0) for p in range(profiles)])


def at_half(norms: np.ndarray) -> np.ndarray:
    """(D, K) bool: the norm is half its maximum or more, rounded as the record is (§8.2).

    The share is rounded to float16, so it counts from the middle between 0.5 and the float16
    below it on, that middle included: ties go to the even one, which is 0.5.
    """
    longest = norms.max(axis=1, keepdims=True, initial=0.0)
    below = float(np.nextafter(np.float16(ALIVE), np.float16(0)))
    return (norms >= longest * np.float32((ALIVE + below) / 2)) & (longest > 0)


def shuffled(norms: np.ndarray, seed: int = SEED, most: int = SHUFFLED) -> np.ndarray:
    """Norms of at most `most` features, evenly spread over them, each with its snapshots shuffled.

    Every feature on its own: what is left is which norms it has, not when.
    """
    chosen = norms[:: max(1, -(-len(norms) // most))]
    return np.random.default_rng(seed).permuted(chosen, axis=1)


# --- turns and rates --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Spectrum:
    """How far directions turn between neighbouring snapshots."""

    edges: np.ndarray
    """(B + 1,) ends of the bins, rising by a constant ratio; the first bin also holds all below.
    """
    counts: np.ndarray
    """(K - 1, B) features of each pair of snapshots in each bin."""
    known: np.ndarray
    """(K - 1,) features that have a direction at both."""


LEAST_TURN, MOST_TURN = 1e-4, 2.0


def spectrum(rotation: np.ndarray, bins: int = 43) -> Spectrum:
    """Counts of rotations (D, K - 1), 1 - cos in [0, 2], in bins of equal ratio; nan left out."""
    pairs = rotation.shape[1]
    edges = np.geomspace(LEAST_TURN, MOST_TURN, bins + 1)
    unit = bins / np.log(MOST_TURN / LEAST_TURN)
    known = np.isfinite(rotation)
    turned = np.log(np.maximum(np.where(known, rotation, 1), LEAST_TURN) / LEAST_TURN)
    place = np.minimum((turned * unit).astype(np.int64), bins - 1)
    place += np.arange(pairs) * bins
    found = np.bincount(place[known], minlength=pairs * bins).reshape(pairs, bins)
    return Spectrum(edges, found, known.sum(axis=0))


@dataclass(frozen=True, eq=False)
class RankCurves:
    """Rates in order of size, at every snapshot."""

    ranks: np.ndarray
    """(P,) ranks from 1, by about a constant ratio."""
    rates: np.ndarray
    """(K, P) rate of the feature of that rank; 0 where fewer fire."""
    mean: np.ndarray
    """(K,) mean rate over all features: what each would have if all fired alike."""


def rank_curves(rates: np.ndarray, points: int = 26) -> RankCurves:
    """The sorted rates (D, K) at some ranks; nan counts as 0."""
    rates = np.nan_to_num(rates)
    ranks = np.unique(np.geomspace(1, max(1, len(rates)), points).round().astype(int))
    if not len(rates):
        return RankCurves(ranks[:0], np.zeros((rates.shape[1], 0)), np.zeros(rates.shape[1]))
    falling = -np.sort(-rates, axis=0)
    return RankCurves(ranks, falling[ranks - 1].T, rates.mean(axis=0, dtype=np.float64))
