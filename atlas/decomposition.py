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


@dataclass(frozen=True)
class Score:
    """A linear readout target."""

    kind: Literal["token", "contrast"]
    target: int
    """Token id whose logit is read."""
    versus: int | None = None
    """Token id whose logit is taken off; a contrast only."""

    def __post_init__(self) -> None:
        if (self.kind == "contrast") != (self.versus is not None):
            raise ValueError(f"a {self.kind} score with versus={self.versus}")
        if self.versus == self.target:
            raise ValueError(f"a contrast of token {self.target} with itself")

    @property
    def tokens(self) -> tuple[int, ...]:
        """The token ids it reads."""
        return (self.target,) if self.versus is None else (self.target, self.versus)

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of each of them."""
        return (1.0,) if self.versus is None else (1.0, -1.0)


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
    """What every row shares (mean, and decoder bias); 0 for a contrast."""
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
) -> Ledger:
    """Take apart h . sum_t weight_t row_t with row = shared + sum_j a_j direction_j + left-over.

    The residual is read from the left-over row, not got by subtraction, so that the identity
    is a statement that can fail.
    """
    h, rows, weights, directions = map(_float64, (h, rows, weights, directions))
    features = active_features(activations)
    if directions.shape != (len(features), len(h)):
        raise ValueError(
            f"directions have shape {directions.shape}, {len(features)} features are active "
            f"and a row is {len(h)} wide"
        )
    coefficient = np.zeros(len(features))
    for weight, (ids, a) in zip(weights, activations, strict=True):
        np.add.at(coefficient, np.searchsorted(features, ids), weight * _float64(a))
    contributions = coefficient * (directions @ h)
    exact = float(h @ (weights @ rows))
    base = float(weights.sum() * (h @ shared))
    left_over = weights @ (rows - shared) - coefficient @ directions
    feature_sum = float(contributions.sum())
    said = verdict(exact, base + feature_sum, signed=bool((weights < 0).any()))
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


def decompose_crosscoder(
    h: ArrayLike,
    rows: ArrayLike,
    weights: ArrayLike,
    activations: Activations,
    directions: ArrayLike,
    mean: ArrayLike,
    scale: float,
    b_D: ArrayLike,
) -> Ledger:
    """Take a score apart with a crosscoder at one snapshot.

    h (d,); rows (n, d) raw rows of the n tokens; weights (n,); activations: (ids, a) of each
    token at that snapshot; directions (m, d): decoder rows of `active_features(activations)`
    there; mean (d,), scale and b_D (d,) of that snapshot.
    raw row = mean + scale (b_D + sum_j a_j direction_j) + left-over (crosscoder-method §3.2).
    """
    shared = _float64(mean) + float(scale) * _float64(b_D)
    raw = [(ids, float(scale) * _float64(a)) for ids, a in activations]
    return _ledger(h, rows, weights, raw, directions, shared)


def decompose_prism(
    h: ArrayLike,
    rows: ArrayLike,
    weights: ArrayLike,
    activations: Activations,
    directions: ArrayLike,
    mean: ArrayLike,
) -> Ledger:
    """Take a score apart with a prism (prism-method §6.2).

    As `decompose_crosscoder`, with raw coefficients (row norm times code) as activations and
    the row mean of the dictionary. A family contrast weighs its members by 1/n each.
    """
    return _ledger(h, rows, weights, activations, directions, _float64(mean))
