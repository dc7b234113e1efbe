"""Which features a reader could name: their firing tokens are of one kind, beyond chance.

A feature is legible when, of its 10, 20 or 50 strongest firing tokens, at least half belong to
one kind, at least twice as many as the vocabulary would give, and the hypergeometric tail, times
the number of kinds and depths tried, is below alpha. Kinds that hold more than a tenth of the
vocabulary ("lower-case words") name nothing and are not tried. The same test on the same code
with the tokens' identities permuted is the null, and is reported beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from atlas.codes import CSR, SparseCode
from atlas.enrichment import MIN_FIRING, MIN_LABEL, Best, Enrichment, strongest_tokens

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


def _tested(
    kinds: Mapping[str, np.ndarray], allowed: np.ndarray
) -> tuple[tuple[str, ...], np.ndarray]:
    """Names and masks of the kinds that hold enough allowed tokens, and not too many."""
    most = MAX_KIND_SHARE * allowed.sum()
    names = tuple(n for n, mask in kinds.items() if MIN_LABEL <= (mask & allowed).sum() <= most)
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
    test = Enrichment(masks, allowed, min_share, min_enrichment)
    found = test.best(ids[None], DEPTHS)
    return Kind(
        names[found.label[0]],
        float(found.share[0]),
        int(found.drawn[0]),
        float(found.enrichment[0]),
        float(found.p_value[0]),
    )


def _passes(found: Best, alpha: float) -> np.ndarray:
    """bool (D,): the best kind is strong, beyond chance and shared by enough tokens."""
    return found.strong & (found.p_value < alpha) & (found.drawn >= MIN_FIRING)


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
    groups: CSR | None = None,
) -> Legibility:
    """Share of the live features whose strongest firing tokens are of one kind, and its null.

    `allowed` (V,) bool limits the tokens looked at and the population they are drawn from;
    `groups` is `code.by_feature()` where the caller has it already.
    `strata` (V,), such as deciles of token frequency, makes the null stricter: identities are
    exchanged within a stratum only. The generator is a fresh one of seed 0 unless given.
    """
    generator = generator or np.random.default_rng(0)
    allowed = np.ones(code.n_tokens, dtype=bool) if allowed is None else np.asarray(allowed, bool)
    size = code.n_features
    names, masks = _tested(kinds, allowed)
    top = strongest_tokens(code, n_top, allowed, groups)
    n_firing = (top >= 0).sum(axis=1).astype(np.int32)
    live = np.bincount(code.feature, minlength=size) > 0
    n_live = int(live.sum())
    testable = np.flatnonzero(n_firing > 0) if names else np.zeros(0, dtype=np.int64)
    kind, depth = np.full(size, -1, dtype=np.int32), np.zeros(size, dtype=np.int32)
    share, enrichment, p_value = (np.full(size, np.nan) for _ in range(3))
    legible = np.zeros(size, dtype=bool)
    null_shares: list[float] = []
    if len(testable):
        test = Enrichment(masks, allowed, min_share, min_enrichment)
        found = test.best(top[testable], DEPTHS)
        kind[testable], share[testable], depth[testable] = found.label, found.share, found.drawn
        enrichment[testable], p_value[testable] = found.enrichment, found.p_value
        legible[testable] = _passes(found, alpha)
        for _ in range(null_draws):
            drawn = test.best(_permuted(top[testable], allowed, strata, generator), DEPTHS)
            null_shares.append(float(_passes(drawn, alpha).sum() / n_live))
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
