"""Which features a reader could name: their firing tokens are of one kind, beyond chance.

A feature is legible when, of its 10, 20 or 50 strongest firing tokens, at least half belong to
one kind, at least twice as many as the vocabulary would give, and the hypergeometric tail, times
the number of kinds and depths tried, is below alpha. Kinds that hold more than a tenth of the
vocabulary ("lower-case words") name nothing and are not tried. The same test on the same code
with the tokens' identities permuted is the null, and is reported beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from atlas.codes import SparseCode

MIN_FIRING = 5
"""A feature with fewer firing tokens than this is live but cannot be legible."""
MIN_KIND = 5
"""A kind with fewer allowed tokens than this is not tested."""
MAX_KIND_SHARE = 0.10
"""A kind that holds more of the allowed vocabulary than this is too broad to name a feature."""
DEPTHS = (10, 20)
"""How many of the strongest firing tokens are tried, beside `n_top`."""


@dataclass(frozen=True)
class Kind:
    """The kind that the firing tokens of one feature have most significantly in common."""

    name: str | None
    """None where no kind could be tested."""
    share: float
    """Share that belongs to it of the `depth` strongest firing tokens."""
    depth: int
    """How many of the strongest firing tokens these figures are of."""
    enrichment: float
    """That share over the kind's share of the allowed vocabulary."""
    p_value: float
    """Hypergeometric tail times the number of kinds and depths tried, at most 1."""


@dataclass(frozen=True, eq=False)
class Legibility:
    """The figure of a dictionary, and what it rests on; arrays are (D,)."""

    share_of_live: float
    """Legible features over live ones; nan without live ones."""
    null_share: float
    """Mean of the same figure over the draws of the null."""
    null_shares: tuple[float, ...]
    """One figure per draw."""
    n_live: int
    """Features that fire on at least one token."""
    names: tuple[str, ...]
    """The kinds tested."""
    kind: np.ndarray
    """int32, index into `names`; -1: not tested."""
    share: np.ndarray
    """Share of that kind among the `depth` strongest firing tokens; nan: not tested."""
    depth: np.ndarray
    """int32, how many of the strongest firing tokens the verdict is of; 0: not tested."""
    enrichment: np.ndarray
    """That share over the kind's share of the allowed vocabulary; nan: not tested."""
    p_value: np.ndarray
    """Corrected for the kinds and depths tried; nan: not tested."""
    legible: np.ndarray
    """bool."""
    n_firing: np.ndarray
    """int32, allowed firing tokens looked at, at most `n_top`."""


def tail_table(population: int, sizes: np.ndarray, drawn: int) -> np.ndarray:
    """P(X >= x) for x = 0 … drawn, (kinds, drawn + 1): drawn of population, sizes of the kinds.

    Hypergeometric, summed from the small end so that tiny tails keep their digits.
    """
    x = np.arange(drawn + 1)
    sizes = np.asarray(sizes, dtype=np.int64)[:, None]
    possible = (x <= sizes) & (drawn - x <= population - sizes)

    def log_choose(n: ArrayLike, k: ArrayLike) -> np.ndarray:
        n, k = np.maximum(n, 0), np.maximum(k, 0)
        return gammaln(n + 1) - gammaln(k + 1) - gammaln(np.maximum(n - k, 0) + 1)

    log_mass = log_choose(sizes, x) + log_choose(population - sizes, drawn - x)
    mass = np.where(possible, np.exp(log_mass - log_choose(population, drawn)), 0.0)
    return np.minimum(np.cumsum(mass[:, ::-1], axis=1)[:, ::-1], 1.0)


@dataclass(frozen=True, eq=False)
class _Best:
    """The best kind of each feature; every array (D,)."""

    kind: np.ndarray
    share: np.ndarray
    depth: np.ndarray
    enrichment: np.ndarray
    p_value: np.ndarray
    legible: np.ndarray


class _Test:
    """The kinds of one vocabulary, ready to be tested against many features."""

    def __init__(
        self,
        kinds: np.ndarray,
        allowed: np.ndarray,
        alpha: float,
        min_share: float,
        min_enrichment: float,
    ) -> None:
        nobody = np.zeros((1, len(kinds)), dtype=np.float32)
        self.membership = np.vstack([kinds.T.astype(np.float32), nobody])
        self.population = int(allowed.sum())
        self.sizes = (kinds & allowed).sum(axis=1)
        self.alpha, self.min_share, self.min_enrichment = alpha, min_share, min_enrichment
        self._tails: dict[int, np.ndarray] = {}

    def _tail(self, drawn: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Tail (D, kinds) of the counts (D, kinds) among drawn (D,) tokens."""
        tails = np.ones(counts.shape)
        for n in np.unique(drawn):
            if n not in self._tails:
                self._tails[n] = tail_table(self.population, self.sizes, int(n))
            rows = np.flatnonzero(drawn == n)
            tails[rows] = self._tails[n][np.arange(len(self.sizes)), counts[rows]]
        return tails

    def _best(self, top: np.ndarray, depths: Sequence[int]) -> _Best:
        members = self.membership[top]
        rows = np.arange(len(top))
        firing = (top >= 0).sum(axis=1)
        tried = len(self.sizes) * (1 + sum((firing > depth).astype(int) for depth in depths[:-1]))
        found, lowest = None, np.full(len(top), np.inf)
        for depth in depths:
            drawn = (top[:, :depth] >= 0).sum(axis=1)
            counts = members[:, :depth].sum(axis=1).astype(np.int64)
            tails = self._tail(drawn, counts)
            share = counts / drawn[:, None]
            enrichment = share * self.population / self.sizes
            strong = (share >= self.min_share) & (enrichment >= self.min_enrichment)
            order = np.where(strong, tails, 2 + tails)
            at = order.argmin(axis=1)
            p_value = np.minimum(tails[rows, at] * tried, 1.0)
            legible = strong[rows, at] & (p_value < self.alpha) & (drawn >= MIN_FIRING)
            here = (at, share[rows, at], drawn, enrichment[rows, at], p_value, legible)
            better = order[rows, at] < lowest
            lowest = np.where(better, order[rows, at], lowest)
            before = here if found is None else found
            found = [np.where(better, new, old) for new, old in zip(here, before, strict=True)]
        return _Best(*found)

    def best(self, top: np.ndarray, chunk: int = 512) -> _Best:
        """The best kind of features with tokens top (D, n), strongest first and -1 at the end.

        Every feature has one token at least. Among the kinds and depths that reach both effect
        sizes the one of the smallest tail; where none does, the one of the smallest tail.
        """
        width = top.shape[1]
        depths = sorted({min(depth, width) for depth in (*DEPTHS, width)})
        parts = [self._best(top[at : at + chunk], depths) for at in range(0, len(top), chunk)]
        return _Best(
            *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(_Best))
        )


def _tested(
    kinds: Mapping[str, np.ndarray], allowed: np.ndarray
) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and masks of the kinds that hold enough allowed tokens, and not too many."""
    most = MAX_KIND_SHARE * allowed.sum()
    names = tuple(n for n, mask in kinds.items() if MIN_KIND <= (mask & allowed).sum() <= most)
    masks = np.array([kinds[name] for name in names], dtype=bool)
    return names, masks.reshape(len(names), len(allowed))


def best_kind(
    firing: Sequence[int] | np.ndarray,
    kinds: Mapping[str, np.ndarray],
    allowed: np.ndarray | None = None,
    *,
    min_share: float = 0.5,
    min_enrichment: float = 2.0,
) -> Kind:
    """The kind of token ids, strongest first, against the kinds (name to bool (V,)).

    `allowed` (V,) bool is the vocabulary the tokens are drawn from; ids outside it are left out.
    """
    if allowed is None:
        allowed = np.ones(len(next(iter(kinds.values()))), dtype=bool)
    names, masks = _tested(kinds, allowed)
    ids = np.asarray(firing, dtype=np.int64)
    ids = ids[allowed[ids]]
    if not names or not len(ids):
        return Kind(None, float("nan"), 0, float("nan"), float("nan"))
    found = _Test(masks, allowed, 0.01, min_share, min_enrichment).best(ids[None])
    return Kind(
        names[found.kind[0]],
        float(found.share[0]),
        int(found.depth[0]),
        float(found.enrichment[0]),
        float(found.p_value[0]),
    )


def strongest_tokens(code: SparseCode, n_top: int, allowed: np.ndarray) -> np.ndarray:
    """Ids (D, n_top) of the allowed tokens of largest p of each feature, -1 where they run out."""
    groups = code.by_feature()
    feature = np.repeat(np.arange(code.n_features), np.diff(groups.offsets))
    kept = allowed[groups.columns]
    feature, token = feature[kept], groups.columns[kept]
    starts = np.searchsorted(feature, np.arange(code.n_features))
    place = np.arange(len(feature)) - starts[feature]
    top = np.full((code.n_features, n_top), -1, dtype=np.int64)
    near = place < n_top
    top[feature[near], place[near]] = token[near]
    return top


def _permuted(
    top: np.ndarray, allowed: np.ndarray, strata: np.ndarray | None, generator: np.random.Generator
) -> np.ndarray:
    """The same lists with the allowed tokens' identities exchanged, within strata if given."""
    names = np.arange(len(allowed))
    groups = np.zeros(len(allowed)) if strata is None else strata
    for group in np.unique(groups[allowed]):
        members = np.flatnonzero(allowed & (groups == group))
        names[members] = generator.permutation(members)
    return np.where(top >= 0, names[top], -1)


def legibility(
    code: SparseCode,
    kinds: Mapping[str, np.ndarray],
    n_top: int = 50,
    alpha: float = 0.01,
    min_share: float = 0.5,
    min_enrichment: float = 2.0,
    null_draws: int = 5,
    generator: np.random.Generator | None = None,
    *,
    allowed: np.ndarray | None = None,
    strata: np.ndarray | None = None,
) -> Legibility:
    """Share of the live features whose strongest firing tokens are of one kind, and its null.

    `allowed` (V,) bool limits the tokens looked at and the population they are drawn from.
    `strata` (V,), such as deciles of token frequency, makes the null stricter: identities are
    exchanged within a stratum only. The generator is a fresh one of seed 0 unless given.
    """
    generator = generator or np.random.default_rng(0)
    allowed = np.ones(code.n_tokens, dtype=bool) if allowed is None else np.asarray(allowed, bool)
    size = code.n_features
    names, masks = _tested(kinds, allowed)
    top = strongest_tokens(code, n_top, allowed)
    n_firing = (top >= 0).sum(axis=1).astype(np.int32)
    live = np.bincount(code.feature, minlength=size) > 0
    n_live = int(live.sum())
    testable = np.flatnonzero(n_firing > 0) if names else np.zeros(0, dtype=np.int64)
    kind, depth = np.full(size, -1, dtype=np.int32), np.zeros(size, dtype=np.int32)
    share, enrichment, p_value = (np.full(size, np.nan) for _ in range(3))
    legible = np.zeros(size, dtype=bool)
    null_shares: list[float] = []
    if len(testable):
        test = _Test(masks, allowed, alpha, min_share, min_enrichment)
        found = test.best(top[testable])
        kind[testable], share[testable], depth[testable] = found.kind, found.share, found.depth
        enrichment[testable], p_value[testable] = found.enrichment, found.p_value
        legible[testable] = found.legible
        for _ in range(null_draws):
            drawn = test.best(_permuted(top[testable], allowed, strata, generator))
            null_shares.append(float(drawn.legible.sum() / n_live))
    return Legibility(
        share_of_live=float(legible.sum() / n_live) if n_live else float("nan"),
        null_share=float(np.mean(null_shares)) if null_shares else float("nan"),
        null_shares=tuple(null_shares),
        n_live=n_live,
        names=names,
        kind=kind,
        share=share,
        depth=depth,
        enrichment=enrichment,
        p_value=p_value,
        legible=legible,
        n_firing=n_firing,
    )
