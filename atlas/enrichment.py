"""Which label a few tokens share beyond chance: the hypergeometric test behind kinds and labels.

Shapes: D features, V tokens, L labels. A label is a mask over the vocabulary; a feature is the
list of its strongest firing tokens. `atlas.legibility` asks whether a reader could name a
feature by a kind, `atlas.labels` which script, family and supersense it is of.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

if TYPE_CHECKING:  # pages ask for chances only, and torch takes seconds to load
    from atlas.codes import CSR, SparseCode

MIN_FIRING = 5
"""A feature with fewer firing tokens than this is live but cannot be named."""
MIN_LABEL = 5
"""A label with fewer allowed tokens than this is not tested (crosscoder-method §13.5)."""


def tail_table(population: int, sizes: np.ndarray, drawn: int) -> np.ndarray:
    """P(X >= x) for x = 0 … drawn, (labels, drawn + 1): drawn of population, sizes of the labels.

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
class Best:
    """The best label of each feature; every array (D,)."""

    label: np.ndarray
    """Index of the label."""
    share: np.ndarray
    """Share of it among the `drawn` strongest firing tokens."""
    drawn: np.ndarray
    """How many of the strongest firing tokens these figures are of."""
    enrichment: np.ndarray
    """That share over the label's share of the allowed vocabulary."""
    p_value: np.ndarray
    """Hypergeometric tail times the number of labels and depths tried, at most 1."""
    strong: np.ndarray
    """bool: share and enrichment both reach the least that was asked for."""


class Enrichment:
    """The labels of one vocabulary, ready to be tested against many features."""

    def __init__(
        self, masks: np.ndarray, allowed: np.ndarray, min_share: float, min_enrichment: float
    ) -> None:
        """Take the labels as masks (L, V) bool over the vocabulary, `allowed` (V,) of which count.

        A label that reaches `min_share` and `min_enrichment` goes before any that does not.
        """
        nobody = np.zeros((1, len(masks)), dtype=np.float32)
        self.membership = np.vstack([masks.T.astype(np.float32), nobody])
        self.population = int(allowed.sum())
        self.sizes = (masks & allowed).sum(axis=1)
        self.min_share, self.min_enrichment = min_share, min_enrichment
        self._tails: dict[int, np.ndarray] = {}

    def _tail(self, drawn: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """Tail (D, labels) of the counts (D, labels) among drawn (D,) tokens."""
        tails = np.ones(counts.shape)
        for n in np.unique(drawn):
            if n not in self._tails:
                self._tails[n] = tail_table(self.population, self.sizes, int(n))
            rows = np.flatnonzero(drawn == n)
            tails[rows] = self._tails[n][np.arange(len(self.sizes)), counts[rows]]
        return tails

    def _best(self, top: np.ndarray, depths: Sequence[int]) -> Best:
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
            # A label that no token has comes after one that any has, however likely that is.
            order = np.where(strong, tails, 2 + tails) + (counts == 0)
            at = order.argmin(axis=1)
            p_value = np.minimum(tails[rows, at] * tried, 1.0)
            here = (at, share[rows, at], drawn, enrichment[rows, at], p_value, strong[rows, at])
            better = order[rows, at] < lowest
            lowest = np.where(better, order[rows, at], lowest)
            before = here if found is None else found
            found = [np.where(better, new, old) for new, old in zip(here, before, strict=True)]
        return Best(*found)

    def best(self, top: np.ndarray, depths: Sequence[int] = (), chunk: int = 512) -> Best:
        """The best label of features with tokens top (D, n), strongest first and -1 at the end.

        Every feature has one token at least. The n strongest are tried, and the first of each of
        `depths`. Among the labels and depths that are strong the one of the smallest tail; where
        none is, the one of the smallest tail.
        """
        width = top.shape[1]
        depths = sorted({min(depth, width) for depth in (*depths, width)})
        parts = [self._best(top[at : at + chunk], depths) for at in range(0, len(top), chunk)]
        return Best(
            *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Best))
        )


def strongest_tokens(
    code: "SparseCode", n_top: int, allowed: np.ndarray, groups: "CSR | None" = None
) -> np.ndarray:
    """Ids (D, n_top) of the allowed tokens of largest p of each feature, -1 where they run out.

    `groups` is `code.by_feature()`, sorted here where it is not given.
    """
    groups = groups or code.by_feature()
    top = np.full((code.n_features, n_top), -1, dtype=np.int64)
    for j, (start, end) in enumerate(pairwise(groups.offsets.tolist())):
        tokens = groups.columns[start:end]
        kept = tokens[allowed[tokens]][:n_top]
        top[j, : len(kept)] = kept
    return top
