"""One score taken apart by several seeds: their ledgers with matched features in one line.

1. A line is a group, a feature that several seeds share (`atlas.consensus`), or a feature that has
   none. A group's feature that does not fire on the score's tokens contributes 0.
2. How far seeds agree: the share of Σ|c| that lies in groups with a feature of each, and how alike
   the contributions of those groups are.
3. Each beside its null: the share with membership dealt out among the features active in the
   prompt, the likeness with the groups of every seed exchanged (crosscoder-method §11, trap 20).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

DRAWS = 200
SEED = 0
"""Of the null, and what it begins with."""
FEWEST = 3
"""Groups from which a correlation is told."""

Contributions = tuple[np.ndarray, np.ndarray]
"""Features (n,) of one seed and their signed contributions (n,)."""
Groups = Mapping[int, Mapping[int, int]]
"""{number of a group: {place of a seed: its feature}}."""


@dataclass(frozen=True, eq=False)
class Aligned:
    """Ledgers of S seeds in R lines, by mean |contribution| falling; a missing one counts as 0."""

    features: np.ndarray
    """(R, S) int64 feature of the seed; -1 where the group has none of it."""
    values: np.ndarray
    """(R, S) contributions in logits; 0 where the feature does not fire, nan where there is none.
    """
    active: np.ndarray
    """(R, S) bool: the feature is in the seed's ledger."""
    groups: np.ndarray
    """(R,) int64 number of the group; -1 for a feature without one."""

    @property
    def seeds(self) -> int:
        """Ledgers that are beside each other."""
        return self.features.shape[1]


@dataclass(frozen=True)
class Measured:
    """A number beside what chance gives."""

    value: float
    """nan where there is nothing to measure."""
    low: float
    """5 % of the null lie below."""
    middle: float
    high: float
    """95 % of the null lie below."""
    p: float
    """Share of the null that reaches the number, the number itself counted in."""


@dataclass(frozen=True)
class Agreement:
    """How far some seeds tell the same of a score."""

    places: tuple[int, ...]
    """Of the seeds, rising."""
    groups: int
    """Groups with a feature of each that contribute in one of them or more."""
    share: Measured
    """Share of Σ|c| in those groups, mean over the seeds, 0 to 1."""
    pearson: Measured
    """Correlation of the contributions over those groups, mean over the pairs, -1 to 1."""
    rank: Measured
    """The same of their ranks (Spearman)."""


def align(ledgers: Sequence[Contributions], groups: Groups) -> Aligned:
    """Put the features of several seeds in lines.

    Args:
        ledgers: one per seed; each feature once.
        groups: one feature of a seed in one group at most; those that nobody's ledger has are
            left out.
    """
    home = {(place, feature): number for number, members in groups.items()
            for place, feature in members.items()}
    lines: dict[tuple[int, int, int], int] = {}
    cells: list[tuple[int, int, int, float]] = []
    for place, (features, contributions) in enumerate(ledgers):
        for feature, value in zip(features.tolist(), contributions.tolist(), strict=True):
            number = home.get((place, feature), -1)
            key = (-1, place, feature) if number < 0 else (number, -1, -1)
            cells.append((lines.setdefault(key, len(lines)), place, feature, value))
    shape = len(lines), len(ledgers)
    ids, values = np.full(shape, -1, np.int64), np.full(shape, np.nan)
    active = np.zeros(shape, bool)
    for (number, _, _), line in lines.items():
        for place, feature in groups.get(number, {}).items():
            ids[line, place], values[line, place] = feature, 0.0
    for line, place, feature, value in cells:
        ids[line, place], values[line, place], active[line, place] = feature, value, True
    numbers = np.array([number for number, _, _ in lines], np.int64).reshape(-1)
    order = np.argsort(-np.abs(np.nan_to_num(values)).sum(axis=1), kind="stable")
    return Aligned(ids[order], values[order], active[order], numbers[order])


def agreements(
    found: Aligned, draws: int = DRAWS, seed: int = SEED
) -> tuple[Agreement, ...]:
    """All seeds together, where they are more than two, then every pair; empty for one seed."""
    rng = np.random.default_rng(seed)
    dealt = [_dealt(found, place, draws, rng) for place in range(found.seeds)]
    sets = list(combinations(range(found.seeds), 2))
    if found.seeds > 2:
        sets.insert(0, tuple(range(found.seeds)))
    return tuple(_agreement(found, places, dealt, draws, rng) for places in sets)


def _dealt(found: Aligned, place: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Share of a seed's Σ|c| in its first m features when they are shuffled, (draws, n + 1)."""
    sizes = np.abs(found.values[found.active[:, place], place])
    total = sizes.sum() or 1.0
    out = np.zeros((draws, len(sizes) + 1))
    if len(sizes):
        rng.permuted(np.tile(sizes, (draws, 1)), axis=1).cumsum(axis=1, out=out[:, 1:])
    return out / total


def _agreement(
    found: Aligned, places: tuple[int, ...], dealt: Sequence[np.ndarray], draws: int,
    rng: np.random.Generator,
) -> Agreement:
    within = (found.groups >= 0) & (found.features[:, places] >= 0).all(axis=1)
    within &= found.active[:, places].any(axis=1)
    shares, nulls = [], []
    for place in places:
        active = found.active[:, place]
        sizes = np.abs(found.values[active, place])
        held = within[active]
        shares.append(float(sizes[held].sum() / sizes.sum()) if sizes.sum() else math.nan)
        nulls.append(dealt[place][:, int(held.sum())])
    values = found.values[within][:, places]
    plain = _likeness(values, draws, rng)
    ranked = _likeness(np.stack([ranks(column) for column in values.T], axis=1), draws, rng)
    return Agreement(places, int(within.sum()),
                     _measured(float(np.mean(shares)), np.mean(nulls, axis=0)), plain, ranked)


def _likeness(values: np.ndarray, draws: int, rng: np.random.Generator) -> Measured:
    """Mean correlation of the columns (n, s), and what it is with each column shuffled."""
    if len(values) < FEWEST or not np.ptp(values, axis=0).all():
        return _measured(math.nan, np.zeros(0))
    unit = values - values.mean(axis=0)
    unit = unit / np.linalg.norm(unit, axis=0)
    pairs = unit.shape[1] * (unit.shape[1] - 1)
    observed = float(((unit.sum(axis=1) ** 2).sum() - unit.shape[1]) / pairs)
    summed = np.zeros((draws, len(unit)))
    for column in unit.T:
        summed += rng.permuted(np.tile(column, (draws, 1)), axis=1)
    return _measured(observed, ((summed**2).sum(axis=1) - unit.shape[1]) / pairs)


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks (n,) from 1, equal values with the mean of theirs."""
    _, back, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[back]


def _measured(value: float, null: np.ndarray) -> Measured:
    if not len(null) or math.isnan(value):
        return Measured(value, *[math.nan] * 4)
    low, middle, high = np.quantile(null, (0.05, 0.5, 0.95)).tolist()
    reached = int((null >= value - 1e-12).sum())
    return Measured(value, low, middle, high, (1 + reached) / (1 + len(null)))


# --- what is drawn --------------------------------------------------------------------------------


def rest_of(
    found: Aligned, place: int, shown: int, feature_sum: float
) -> tuple[int, float]:
    """Features of a seed beyond the first `shown` lines, and what they sum to.

    The sum is what `feature_sum` leaves, so features that no ledger kept are in it.
    """
    held = found.active[:shown, place]
    named = float(found.values[:shown, place][held].sum())
    return int(found.active[shown:, place].sum()), feature_sum - named
