"""When a set of tokens gets features of its own: which features hold it, and when they are born.

Shapes: V tokens, D features, n their strongest firing tokens. A feature holds a set when more of
its strongest tokens are in it than chance gives: the hypergeometric tail of `atlas.enrichment`, at
two depths, corrected for the depths and for the number of features tried. Two nulls stand beside
it: random sets of as many tokens, as frequent where occurrences are known, for how many features
hold one; and as many live features drawn at random, for when they are born.
"""

from dataclasses import dataclass

import numpy as np

from atlas import read_write
from atlas.enrichment import MIN_FIRING, tail_table

DEPTHS = (10, 50)
"""Strongest firing tokens that are looked at."""
SURE = 0.05
"""Largest corrected p of a feature that holds a set."""
DRAWS = 199
"""Random sets: the smallest p is 1 in 200."""
BANDS = 20
"""Groups of equal size by frequency, within which tokens are exchanged for random ones."""
SEED = 20260503


@dataclass(frozen=True, eq=False)
class Postings:
    """The strongest firing tokens of all features, by token."""

    offsets: np.ndarray
    """(V + 1,) bounds of each token's features."""
    features: np.ndarray
    """(N,) int32."""
    shallow: np.ndarray
    """(N,) bool: among the first `DEPTHS[0]`."""
    firing: np.ndarray
    """(D,) how many tokens a feature lists, at most `DEPTHS[1]`; 0 for one not tried."""
    allowed: np.ndarray
    """(V,) bool: tokens that may be listed."""

    @property
    def tried(self) -> int:
        """Features that are tried."""
        return int((self.firing >= MIN_FIRING).sum())


def postings(top: np.ndarray, alive: np.ndarray, allowed: np.ndarray) -> Postings:
    """From tokens top (D, n), strongest first and -1 at the end; dead ones (D,) are not tried."""
    top = np.where(alive[:, None], top[:, : DEPTHS[1]], -1)
    firing = (top >= 0).sum(axis=1)
    row, place = np.nonzero(top >= 0)
    token = top[row, place]
    order = np.argsort(token, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(token, minlength=len(allowed)))])
    return Postings(offsets, row[order].astype(np.int32), (place < DEPTHS[0])[order],
                    np.where(firing >= MIN_FIRING, firing, 0), allowed)


@dataclass(frozen=True, eq=False)
class Holding:
    """Features that hold a set of tokens, most surely first; arrays (n,)."""

    features: np.ndarray
    held: np.ndarray
    """Tokens of the set among the `drawn` strongest."""
    drawn: np.ndarray
    p: np.ndarray
    """Corrected for depths and for the features tried, at most 1."""


class Tails:
    """Corrected tails of one size of set, for all depths and counts."""

    def __init__(self, found: Postings, size: int) -> None:
        self.table = np.ones((DEPTHS[1] + 1, DEPTHS[1] + 1))
        population = int(found.allowed.sum())
        lengths = set(found.firing[found.firing > 0].tolist())
        lengths |= {min(n, DEPTHS[0]) for n in lengths}
        for n in lengths:
            if n <= population:
                self.table[n, : n + 1] = tail_table(population, np.array([size]), n)[0]

    def p(self, firing: np.ndarray, shallow: np.ndarray, deep: np.ndarray) -> tuple:
        """Smaller of the two tails times the depths tried, and whether it is the shallow one."""
        first = np.minimum(firing, DEPTHS[0])
        one, two = self.table[first, shallow], self.table[firing, deep]
        both = 1 + (firing > DEPTHS[0])
        return np.minimum(np.minimum(one, two) * both, 1.0), (one < two) & (both > 1)


def _counts(found: Postings, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features that list any of the tokens, and how many of them, in the first few and in all."""
    starts, ends = found.offsets[tokens], found.offsets[tokens + 1]
    size = ends - starts
    at = np.repeat(ends - np.cumsum(size), size) + np.arange(size.sum())
    features, shallow = found.features[at], found.shallow[at]
    deep = np.bincount(features, minlength=len(found.firing))
    first = np.bincount(features[shallow], minlength=len(found.firing))
    touched = np.flatnonzero(deep)
    return touched, first[touched], deep[touched]


def holding(found: Postings, tokens: np.ndarray) -> Holding:
    """The features that hold a set of tokens, ids without repeats; those not allowed are left out.
    """
    tokens = tokens[found.allowed[tokens]]
    features, first, deep = _counts(found, tokens)
    tried = found.firing[features] > 0
    features, first, deep = features[tried], first[tried], deep[tried]
    firing = found.firing[features]
    p, is_first = Tails(found, len(tokens)).p(firing, first, deep)
    p = np.minimum(p * max(1, found.tried), 1.0)
    kept = np.flatnonzero(p <= SURE)
    kept = kept[np.lexsort((features[kept], -deep[kept], p[kept]))]
    return Holding(
        features[kept], np.where(is_first, first, deep)[kept],
        np.where(is_first, np.minimum(firing, DEPTHS[0]), firing)[kept], p[kept],
    )


def random_set(
    tokens: np.ndarray, allowed: np.ndarray, bands: np.ndarray | None,
    generator: np.random.Generator,
) -> np.ndarray:
    """As many allowed tokens at random, of the same bands of frequency (V,) where these are known.
    """
    if bands is None:
        return generator.choice(np.flatnonzero(allowed), len(tokens), replace=False)
    drawn = []
    for band, count in zip(*np.unique(bands[tokens], return_counts=True), strict=True):
        pool = np.flatnonzero(allowed & (bands == band))
        drawn.append(generator.choice(pool, count, replace=False))
    return np.concatenate(drawn) if drawn else tokens[:0]


def frequency_bands(seen: np.ndarray, allowed: np.ndarray) -> np.ndarray | None:
    """(V,) number of the band that a token's occurrences put it in; None where none is counted."""
    known = seen[allowed]
    if not len(known) or (known < 0).any():
        return None
    edges = np.unique(np.quantile(known, np.linspace(0, 1, BANDS + 1)[1:-1]))
    return np.searchsorted(edges, seen, side="right")


def null_counts(
    found: Postings, tokens: np.ndarray, bands: np.ndarray | None, draws: int = DRAWS,
    seed: int = SEED,
) -> np.ndarray:
    """(draws,) how many features hold a random set of as many tokens, as frequent."""
    tokens = tokens[found.allowed[tokens]]
    generator = np.random.default_rng(seed)
    tails, counts = Tails(found, len(tokens)), np.zeros(draws, np.int64)
    for draw in range(draws):
        drawn = random_set(tokens, found.allowed, bands, generator)
        features, first, deep = _counts(found, drawn)
        tried = found.firing[features] > 0
        p, _ = tails.p(found.firing[features[tried]], first[tried], deep[tried])
        counts[draw] = (p * max(1, found.tried) <= SURE).sum()
    return counts


@dataclass(frozen=True)
class Timing:
    """When the features of a set are born, beside as many live features at random; in
    log10(step + 1)."""

    median: float
    """nan where fewer than `read_write.LEAST` are born, as is all else."""
    null_low: float
    """5 % quantile of the median of as many born features at random."""
    null_middle: float
    null_high: float
    """95 % quantile."""
    p: float
    """Share of these draws as far from their median, the true one counted among them."""


def timing(
    counts: np.ndarray, everyone: np.ndarray, u: np.ndarray, seed: int = SEED,
    draws: int = read_write.DRAWS,
) -> Timing:
    """From births by snapshot (K,) of the set's features and of all live features."""
    n = int(counts.sum())
    if n < read_write.LEAST:
        return Timing(*[float("nan")] * 5)
    generator = np.random.default_rng(seed)
    null = read_write.medians(
        generator.multivariate_hypergeometric(everyone, n, draws, method="marginals"), u)
    own = float(read_write.medians(counts, u))
    low, middle, high = np.percentile(null, (5, 50, 95))
    return Timing(own, float(low), float(middle), float(high), read_write.two_sided(own, null))
