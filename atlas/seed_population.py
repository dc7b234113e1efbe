"""Do seeds of one dictionary differ as populations? Births, profiles and windows, seed by seed.

Shapes: S seeds, K snapshots, P profiles. Whether seeds differ by more than which features each of
them happens to have is asked by dealing all their features out among them anew: each seed keeps
its size, and what is left is chance. Features of one dictionary share rows and are not independent
of each other, so the null is narrow rather than wide: a small p may still be of few causes.
Windows are of whole populations, not of features; they are set beside the interval that resampled
features give within each seed (crosscoder-method §9.4).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from atlas.control_words import SURE
from atlas.markup import probability, share
from atlas.multiples import step_of
from atlas.read_write import SEED, holm, medians
from atlas.records import Window

DRAWS = 999
"""Times the features are dealt out; the smallest p is 1 in 1,000."""
BAND = (5.0, 95.0)
"""Percentiles of a band of the null."""
OUTSIDE = 0.25
"""Share of estimates that lie outside the 90 % interval about another of the same thing: the
difference of two is wider than either, P(|z| > 1.645 / sqrt 2)."""


@dataclass(frozen=True)
class Apart:
    """How far seeds lie apart, beside the same of features dealt out among them."""

    low: float
    """Least value over the seeds."""
    high: float
    """Largest value."""
    usual: float
    """Median of high - low under the null."""
    most: float
    """95 % quantile of it."""
    p: float
    """Share of the deals, the true one among them, with as wide a range."""

    @property
    def range(self) -> float:
        """high - low."""
        return self.high - self.low


@dataclass(frozen=True, eq=False)
class BirthsApart:
    """Births of several seeds against each other."""

    medians: Apart
    """Median births in log10(step + 1)."""
    gap: Apart
    """The two seeds' shares born by some snapshot, where they lie furthest apart."""
    at: int
    """That snapshot."""
    band: np.ndarray
    """(2, K): 5 and 95 % of the share born by a snapshot of a seed of dealt features."""


def dealt(counts: ArrayLike, draws: int = DRAWS, seed: int = SEED) -> np.ndarray:
    """All features dealt out among the seeds anew, (draws, S, C), from counts (S, C).

    Every seed keeps its number of features, and every column its total.
    """
    counts = np.asarray(counts, dtype=np.int64)
    generator = np.random.default_rng(seed)
    left = np.repeat(counts.sum(axis=0)[None], draws, axis=0)
    found = np.zeros((draws, *counts.shape), np.int64)
    for place, size in enumerate(counts.sum(axis=1).tolist()):
        wanted = np.full(draws, size)
        rest = left.sum(axis=1)
        for column in range(counts.shape[1]):
            good = left[:, column]
            rest = rest - good
            taken = generator.hypergeometric(good, rest, wanted)
            found[:, place, column] = taken
            wanted = wanted - taken
        left = left - found[:, place]
    return found


def births_apart(
    counts: ArrayLike, never: Sequence[int], u: ArrayLike, draws: int = DRAWS, seed: int = SEED
) -> BirthsApart | None:
    """Births (S, K) of seeds, with their live features that are never born; None below two seeds.

    Args:
        u: (K,) log10(step + 1).
    """
    counts = np.column_stack([np.asarray(counts, dtype=np.int64), never])
    if len(counts) < 2 or not (counts[:, :-1].sum(axis=1) > 0).all():
        return None
    null = dealt(counts, draws, seed)
    middles = medians(counts[:, :-1], u)
    by_then, by_chance = _by_then(counts), _by_then(null)
    gaps = np.ptp(by_then, axis=0)
    at = int(gaps.argmax())
    gap = _apart(by_then[:, at], np.ptp(by_chance, axis=1).max(axis=1), float(gaps[at]))
    return BirthsApart(
        _apart(middles, np.ptp(medians(null[..., :-1], u), axis=1)), gap, at,
        np.percentile(by_chance.reshape(-1, by_chance.shape[-1]), BAND, axis=0),
    )


def _by_then(counts: np.ndarray) -> np.ndarray:
    """Share (..., K) of counts (..., K + 1) up to each column but the last."""
    return counts.cumsum(axis=-1)[..., :-1] / counts.sum(axis=-1, keepdims=True)


def _apart(values: np.ndarray, null: np.ndarray, own: float | None = None) -> Apart:
    low, high = float(values.min()), float(values.max())
    own = high - low if own is None else own
    p = (int((null >= own - 1e-12).sum()) + 1) / (len(null) + 1)
    return Apart(low, high, float(np.median(null)), float(np.percentile(null, 95)), p)


def profiles_apart(
    counts: ArrayLike, draws: int = DRAWS, seed: int = SEED
) -> tuple[Apart, ...]:
    """How far the shares of each profile lie apart, from counts (S, P); () below two seeds.

    p is corrected for the number of profiles by Holm's rule.
    """
    counts = np.asarray(counts, dtype=np.int64)
    if len(counts) < 2 or not (counts.sum(axis=1) > 0).all():
        return ()
    shares = counts / counts.sum(axis=1, keepdims=True)
    null = dealt(counts, draws, seed)
    ranges = np.ptp(null / null.sum(axis=2, keepdims=True), axis=1)
    found = [_apart(shares[:, i], ranges[:, i]) for i in range(counts.shape[1])]
    corrected = holm([one.p for one in found])
    return tuple(Apart(one.low, one.high, one.usual, one.most, float(p))
                 for one, p in zip(found, corrected, strict=True))


@dataclass(frozen=True)
class WindowsApart:
    """Windows of several seeds against each other."""

    low: float
    """Step of the earliest middle."""
    high: float
    """Step of the latest."""
    shared: tuple[float, float] | None
    """Steps that all windows hold; None where there are none."""
    within: int
    """Ordered pairs of seeds of which the one's middle lies in the other's interval."""
    pairs: int
    """Ordered pairs whose other has an interval."""
    sure: int
    """Windows that chance among all windows gives in one case in twenty or fewer."""
    seeds: int

    @property
    def decades(self) -> float:
        """From the earliest middle to the latest, in log10(step + 1)."""
        return math.log10(self.high + 1) - math.log10(self.low + 1)


def windows_apart(windows: Sequence[Window]) -> WindowsApart | None:
    """How the windows of seeds lie to each other; None below two."""
    if len(windows) < 2:
        return None
    middles = [window.center for window in windows]
    begin = max(window.from_step for window in windows)
    end = min(window.to_step for window in windows)
    ranked = [w for w in windows if math.isfinite(w.center_low + w.center_high)]
    within = sum(w.center_low - 1e-6 <= other.center <= w.center_high + 1e-6
                 for w in ranked for other in windows if other is not w)
    return WindowsApart(
        min(middles), max(middles), (begin, end) if begin < end else None, within,
        len(ranked) * (len(windows) - 1), sum(w.p_any <= SURE for w in windows), len(windows),
    )


# --- in sentences ---------------------------------------------------------------------------------


def births_said(found: BirthsApart, steps: Sequence[int], n_seeds: int) -> str:
    """Whether the births of the seeds differ by more than sampling features gives."""
    middle, gap = found.medians, found.gap
    if middle.range < 1e-9:
        first = f"The median birth is at step {step_of(middle.low)} in all {n_seeds} seeds"
    else:
        first = (f"The median birth lies between steps {step_of(middle.low)} and "
                 f"{step_of(middle.high)}, {middle.range:.2f} decades apart")
    if middle.most < 1e-9:
        chance = "as it is when their features are dealt out among them anew"
    else:
        chance = (f"where features dealt out among the seeds put it up to {middle.most:.2f} "
                  f"decades apart ({probability(middle.p)})")
    return (
        f"{first}, {chance}. The shares born by step {steps[found.at]:,} lie furthest "
        f"apart, {share(gap.low)} to {share(gap.high)}; dealt out, any two lie up to "
        f"{share(gap.most)} apart somewhere ({probability(gap.p)}): the seeds "
        f"{_differ(min(gap.p, middle.p), 2)}."
    )


def profiles_said(found: Sequence[Apart], names: Sequence[str]) -> str:
    """Whether the profiles of the seeds do."""
    widest = min(range(len(found)), key=lambda i: (found[i].p, -found[i].range))
    one = found[widest]
    return (
        f"Of the profiles, {names[widest]} differs most over the seeds, {share(one.low)} to "
        f"{share(one.high)}; features dealt out among them lie up to {share(one.most)} apart "
        f"({probability(one.p)}, corrected for {len(found)} profiles): the seeds {_differ(one.p)}."
    )


def _differ(p: float, tests: int = 1) -> str:
    if min(1.0, tests * p) <= SURE:
        return "differ by more than sampling their features gives"
    return "differ by no more than sampling their features gives"


def windows_said(found: WindowsApart) -> str:
    """Whether the windows of the seeds lie further apart than each of them is sure."""
    shared = ("no step lies in all of them" if found.shared is None else
              f"all hold steps {found.shared[0]:,.0f} to {found.shared[1]:,.0f}")
    first = (f"The middles of the windows lie between steps {found.low:,.0f} and "
             f"{found.high:,.0f}, {found.decades:.2f} decades apart; {shared}.")
    if not found.pairs:
        return f"{first} How surely each lies there is not available: none was resampled."
    outside = found.pairs - found.within
    rest = (f"{outside or 'None'} of {found.pairs} times one lies outside the 90 % interval of "
            "another seed, where sampling features alone would put about one in four: the windows "
            + ("differ by more than that." if outside > OUTSIDE * found.pairs else
               "differ by no more than that."))
    sure = (f"{found.sure} of {found.seeds} windows {'is' if found.sure == 1 else 'are'} more than "
            "shifts give anywhere")
    return f"{first} {rest} {sure[0].upper()}{sure[1:]} (p ≤ 0.05)."
