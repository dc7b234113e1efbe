"""A score as base + feature contributions + residual, with the gate's verdict.

score = sum_t weight_t (h . row_t). The parts always add up, for any weights, trained or not;
only rho and the sign say whether the features explain it (crosscoder-method §3.2, §10.6;
prism-method §6, §7). All arithmetic is in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

RHO_LIMIT = 0.5
"""The gate passes strictly below it."""
FLOOR_LOGIT = 0.5
"""Added to |exact| under the residual, so that a tiny score does not blow rho up."""
BLOCK = 4096
"""Directions that are read by h at once."""

Kind = Literal["token", "centred", "vocabulary", "contrast", "family", "topk", "rank"]
"""What is scored (prism-method §6.2): the logit of a token; the same less the logit of the mean
row, with the features of the token alone (`centred`) or less those of the mean row too
(`vocabulary`); one token against another; a family of tokens against another; the winner against
the tokens after it (`topk`); the winner against the token of some rank (`rank`)."""


@dataclass(frozen=True)
class Score:
    """A linear readout target: sum_t weight_t (h . row_t), for some kinds less h . mean row."""

    kind: Kind
    tokens: tuple[int, ...]
    """Token ids that it reads, each once, the target first."""
    weights: tuple[float, ...]
    """The weight of each of them."""

    def __post_init__(self) -> None:
        if len(self.tokens) != len(self.weights) or not self.tokens:
            raise ValueError(f"{len(self.weights)} weights for {len(self.tokens)} tokens")
        if len(set(self.tokens)) < len(self.tokens):
            raise ValueError(f"a {self.kind} score reads a token twice: {self.tokens}")
        if self.kind in ("token", "centred", "vocabulary") and self.weights != (1.0,):
            raise ValueError(f"a {self.kind} score reads one token with weight 1")
        if self.kind in ("contrast", "rank") and self.weights != (1.0, -1.0):
            raise ValueError(f"a {self.kind} score takes one token's logit off another's")
        if self.kind in ("family", "topk") and not (
            max(self.weights) > 0 > min(self.weights) and abs(sum(self.weights)) < 1e-9
        ):
            raise ValueError(f"a {self.kind} score has two sides of equal weight: {self.weights}")

    @property
    def target(self) -> int:
        """The token whose logit is read, or the first that is."""
        return self.tokens[0]

    @property
    def versus(self) -> int | None:
        """The token whose logit is taken off where it is exactly one."""
        return self.tokens[1] if self.kind in ("contrast", "rank") else None

    @property
    def sides(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Tokens whose logits are added, and tokens whose logits are taken off."""
        pairs = list(zip(self.tokens, self.weights, strict=True))
        return tuple(t for t, w in pairs if w > 0), tuple(t for t, w in pairs if w < 0)

    @property
    def signed(self) -> bool:
        """Whether its sign says something: all kinds but a single token's logit."""
        return self.kind != "token"


def token_logit(token: int) -> Score:
    """The logit of one token."""
    return Score("token", (token,), (1.0,))


def contrast(target: int, versus: int) -> Score:
    """One token's logit less another's."""
    return Score("contrast", (target, versus), (1.0, -1.0))


@dataclass(frozen=True)
class Verdict:
    """What the gate says of a decomposition (prism-method §7.1)."""

    rho: float
    """|residual| / (|exact| + 0.5)."""
    sign_agrees: bool | None
    """Whether exact and reconstructed score have one sign; None for a single token's logit."""
    gate: bool
    """rho < 0.5, and for a contrast the signs agree."""


def verdict(exact: float, reconstructed: float, signed: bool) -> Verdict:
    """The paper's gate; `signed` for contrasts."""
    rho = abs(exact - reconstructed) / (abs(exact) + FLOOR_LOGIT)
    agrees = (exact > 0) == (reconstructed > 0) if signed else None
    return Verdict(rho, agrees, rho < RHO_LIMIT and agrees is not False)


@dataclass(frozen=True, eq=False)
class Ledger:
    """One score taken apart; exact = base + feature_sum + residual."""

    exact: float
    """h . sum_t weight_t row_t: the score of the true matrix."""
    base: float
    """What every row shares (mean, and decoder bias); 0 where the weights add up to 0."""
    feature_sum: float
    """Sum over all active features, shown or not."""
    residual: float
    """What the dictionary left out of the rows, read by h."""
    features: np.ndarray
    """(n,) ids of the active features, by |contribution| falling."""
    contributions: np.ndarray
    """(n,) signed contributions; a positive one raises the score."""
    rho: float
    """|residual| / (|exact| + 0.5)."""
    rho_centred: float
    """|residual| / (|exact - base| + 0.5): not made small by a base that dominates."""
    sign_agrees: bool | None
    """None for a single token's logit."""
    gate: bool
    """False: the features do not explain this score and are not to be read."""

    @property
    def reconstructed(self) -> float:
        """base + feature_sum."""
        return self.base + self.feature_sum

    @property
    def identity_error(self) -> float:
        """|exact - base - feature_sum - residual|, rounding only."""
        return abs(self.exact - self.base - self.feature_sum - self.residual)


Activations = Sequence[tuple[ArrayLike, ArrayLike]]


def active_features(activations: Activations) -> np.ndarray:
    """The sorted ids of all features active on one of the tokens: the order of `directions`."""
    ids = [np.asarray(features, dtype=np.int64) for features, _ in activations]
    sorted_ids = np.sort(np.concatenate(ids)) if ids else np.zeros(0, dtype=np.int64)
    return sorted_ids[np.diff(sorted_ids, prepend=-1) > 0]


def _float64(values: ArrayLike) -> np.ndarray:
    return np.asarray(values, dtype=np.float64)


def _ledger(
    h: ArrayLike,
    rows: ArrayLike,
    weights: ArrayLike,
    activations: Activations,
    directions: ArrayLike,
    shared: np.ndarray,
    mean: np.ndarray,
    minus_mean: float,
) -> Ledger:
    """Take apart h . sum_t weight_t row_t with row = shared + sum_j a_j direction_j + left-over.

    `minus_mean` times h . mean is taken off. The residual is read from the left-over row, not got
    by subtraction, so that the identity is a statement that can fail.
    """
    h, rows, weights = map(_float64, (h, rows, weights))
    directions, features = np.asarray(directions), active_features(activations)
    if directions.shape != (len(features), len(h)):
        raise ValueError(
            f"directions have shape {directions.shape}, {len(features)} features are active "
            f"and a row is {len(h)} wide"
        )
    coefficient = np.zeros(len(features))
    for weight, (ids, a) in zip(weights, activations, strict=True):
        np.add.at(coefficient, np.searchsorted(features, ids), weight * _float64(a))
    read, rebuilt = _through(directions, h, coefficient)
    contributions = coefficient * read
    taken_off = minus_mean * mean
    exact = float(h @ (weights @ rows - taken_off))
    base = float(h @ (weights.sum() * shared - taken_off))
    left_over = weights @ (rows - shared) - rebuilt
    feature_sum = float(contributions.sum())
    signed = bool((weights < 0).any() or minus_mean)
    said = verdict(exact, base + feature_sum, signed)
    residual = float(h @ left_over)
    moving = np.flatnonzero(coefficient)
    order = moving[np.argsort(-np.abs(contributions[moving]), kind="stable")]
    return Ledger(
        exact=exact,
        base=base,
        feature_sum=feature_sum,
        residual=residual,
        features=features[order],
        contributions=contributions[order],
        rho=said.rho,
        rho_centred=abs(residual) / (abs(exact - base) + FLOOR_LOGIT),
        sign_agrees=said.sign_agrees,
        gate=said.gate,
    )


def _through(
    directions: np.ndarray, h: np.ndarray, coefficient: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What h reads of every direction, (n,), and the directions' sum by coefficient, (d,).

    In blocks: a score against the average row has every feature of the dictionary.
    """
    read, rebuilt = np.empty(len(directions)), np.zeros(len(h))
    for first in range(0, len(directions), BLOCK):
        part = slice(first, first + BLOCK)
        block = _float64(directions[part])
        read[part] = block @ h
        rebuilt += coefficient[part] @ block
    return read, rebuilt


def decompose_crosscoder(
    h: ArrayLike,
    rows: ArrayLike,
    weights: ArrayLike,
    activations: Activations,
    directions: ArrayLike,
    mean: ArrayLike,
    scale: float,
    b_D: ArrayLike,
    minus_mean: float = 0.0,
) -> Ledger:
    """Take a score apart with a crosscoder at one snapshot.

    h (d,); rows (n, d) raw rows of the n tokens; weights (n,); activations: (ids, a) of each
    token at that snapshot; directions (m, d): decoder rows of `active_features(activations)`
    there; mean (d,), scale and b_D (d,) of that snapshot.
    raw row = mean + scale (b_D + sum_j a_j direction_j) + left-over (crosscoder-method §3.2).
    `minus_mean` times h . mean is taken off the score.
    """
    mean = _float64(mean)
    shared = mean + float(scale) * _float64(b_D)
    raw = [(ids, float(scale) * _float64(a)) for ids, a in activations]
    return _ledger(h, rows, weights, raw, directions, shared, mean, minus_mean)


def decompose_prism(
    h: ArrayLike,
    rows: ArrayLike,
    weights: ArrayLike,
    activations: Activations,
    directions: ArrayLike,
    mean: ArrayLike,
    minus_mean: float = 0.0,
) -> Ledger:
    """Take a score apart with a prism (prism-method §6.2).

    As `decompose_crosscoder`, with raw coefficients (row norm times code) as activations and
    the row mean of the dictionary. A family contrast weighs its members by 1/n each.
    """
    mean = _float64(mean)
    return _ledger(h, rows, weights, activations, directions, mean, mean, minus_mean)
