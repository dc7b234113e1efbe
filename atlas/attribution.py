"""Which part of a model wrote a score: the final norm with its scale held, shares, their ledgers.

A hidden state h is the final norm of a sum of components: the embedding and what every block
adds. With the norm's scale held at that of the whole sum the norm is linear, so each component
has a share h_c of h, and every share has a ledger of its own: h_c . q = offset + sum of feature
parts + residual (prism-method §8.3). The accounting of one forward pass, not causal necessity.
All arithmetic is in float64; nothing but arrays comes in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from atlas.decomposition import Ledger

CHANCE = 0.95
"""Share of what chance gives that stays inside a null."""


@dataclass(frozen=True, eq=False)
class Norm:
    """A norm of the last axis: gain * (x - mean) / scale + bias, the mean of a LayerNorm alone."""

    gain: np.ndarray
    """(d,) float64: the weight, or 1 + weight of a zero-centred norm (prism-method §14 trap 22)."""
    eps: float
    centred: bool
    """Whether the mean is taken off: a LayerNorm."""
    bias: np.ndarray | None = None
    """(d,) float64, None without one."""

    def scale(self, states: ArrayLike) -> np.ndarray:
        """sqrt(mean square + eps) of states (..., d), centred where the norm does; (..., 1)."""
        x = self._centre(states)
        return np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + self.eps)

    def apply(self, states: ArrayLike) -> np.ndarray:
        """The norm of states (..., d)."""
        normed = self._centre(states) / self.scale(states) * self.gain
        return normed if self.bias is None else normed + self.bias

    def shares(self, components: ArrayLike, state: ArrayLike) -> np.ndarray:
        """What each component (C, d) of a state (d,) becomes with the scale of the state held.

        Their sum and the bias are the norm of the state, if the components add up to it.
        """
        return self._centre(components) / self.scale(state) * self.gain

    def _centre(self, states: ArrayLike) -> np.ndarray:
        x = np.asarray(states, dtype=np.float64)
        return x - x.mean(axis=-1, keepdims=True) if self.centred else x


@dataclass(frozen=True)
class Component:
    """Something that writes to the residual stream."""

    kind: str
    """`embedding`, `attention`, `MLP`, …, a head's `head 3`, `norm bias`, or `rest`."""
    block: int | None = None
    """Number of the block from 0; None for the embedding and the bias of the final norm."""

    @property
    def name(self) -> str:
        """Its kind, with the number of its block."""
        return self.kind if self.block is None else f"block {self.block} {self.kind}"


def layer_name(layer: int) -> str:
    """What a state of the residual stream is called: the embedding, or the block it leaves."""
    return "embedding" if layer == 0 else f"block {layer - 1}"


@dataclass(frozen=True, eq=False)
class Attribution:
    """One score by component and feature."""

    components: tuple[Component, ...]
    totals: np.ndarray
    """(C,) h_c . q, logits."""
    offsets: np.ndarray
    """(C,) what every row shares; 0 for a score whose weights add up to 0."""
    features: np.ndarray
    """(n,) ids of the active features, by |contribution to the score| falling."""
    matrix: np.ndarray
    """(C, n) the parts M[c, i] = β_i (h_c . d_i); its columns add up to the contributions."""
    others: np.ndarray
    """(C,) sum of the parts of all features that are not listed."""
    residuals: np.ndarray
    """(C,) what the dictionary left out of the rows, read by h_c."""
    exact: float
    """The score of the whole hidden state."""

    @property
    def feature_sums(self) -> np.ndarray:
        """(C,) sum of the parts of all features, listed or not."""
        return self.matrix.sum(axis=1) + self.others

    @property
    def additivity_error(self) -> float:
        """exact - sum of the totals: rounding, and what the components leave out."""
        return float(self.exact - self.totals.sum())

    @property
    def sparse_residual(self) -> float:
        """Sum of the residuals: the gap of the dictionary, not of the components."""
        return float(self.residuals.sum())

    @property
    def identity_error(self) -> float:
        """Largest |total - offset - sum of parts - residual| of a component, rounding only."""
        parts = self.offsets + self.feature_sums + self.residuals
        return float(np.abs(self.totals - parts).max())


def attribute(
    components: Sequence[Component], ledgers: Sequence[Ledger], exact: float,
    most: int | None = None,
) -> Attribution:
    """Put the ledgers of the shares together.

    Args:
        components: C of them.
        ledgers: of each share h_c in place of h; all of one score at one snapshot.
        exact: the score of the whole hidden state.
        most: features to list, the strongest; all when None.
    """
    if len(components) != len(ledgers) or not ledgers:
        raise ValueError(f"{len(ledgers)} ledgers for {len(components)} components")
    features = np.sort(ledgers[0].features)
    matrix = np.empty((len(ledgers), len(features)))
    for row, ledger in zip(matrix, ledgers, strict=True):
        order = np.argsort(ledger.features)
        if not np.array_equal(ledger.features[order], features):
            raise ValueError("the ledgers are of different scores or snapshots")
        row[:] = ledger.contributions[order]
    order = np.argsort(-np.abs(matrix.sum(axis=0)), kind="stable")
    listed, rest = (order, order[:0]) if most is None else (order[:most], order[most:])
    return Attribution(
        components=tuple(components),
        totals=np.array([ledger.exact for ledger in ledgers]),
        offsets=np.array([ledger.base for ledger in ledgers]),
        features=features[listed],
        matrix=matrix[:, listed],
        others=matrix[:, rest].sum(axis=1),
        residuals=np.array([ledger.residual for ledger in ledgers]),
        exact=float(exact),
    )


# --- what chance gives ------------------------------------------------------------


def beyond_chance(shares: ArrayLike, directions: ArrayLike, random: ArrayLike) -> np.ndarray:
    """Which shares lie along which directions more than along features drawn at random.

    Args:
        shares: (C, d).
        directions: (n, d) of the features looked at; one without length is never beyond.
        random: (m, d) directions of other features.

    Returns:
        (C, n) bool: |cosine| above that of `CHANCE` of the random ones, so at the same strength
        of the feature its part would be larger too.
    """
    shares = np.asarray(shares, dtype=np.float64)
    own, other = _unit(directions), _unit(random)
    other = other[np.any(other != 0, axis=1)]
    if not len(other):
        return np.zeros((len(shares), len(own)), dtype=bool)
    limit = np.quantile(np.abs(shares @ other.T), CHANCE, axis=1)
    return np.abs(shares @ own.T) > limit[:, None]


def _unit(directions: ArrayLike) -> np.ndarray:
    found = np.asarray(directions, dtype=np.float64)
    lengths = np.linalg.norm(found, axis=-1, keepdims=True)
    return np.divide(found, lengths, out=np.zeros_like(found), where=lengths > 0)


def token_spread(shares: ArrayLike, rows: ArrayLike, pairs: bool) -> np.ndarray:
    """Between which totals `CHANCE` of randomly drawn tokens lie, by component.

    Args:
        shares: (C, d).
        rows: (m, d) of tokens drawn at random.
        pairs: take the difference of the first and the second half of the rows, as a contrast
            does, instead of single rows.

    Returns:
        (C, 2) low and high.
    """
    rows = np.asarray(rows, dtype=np.float64)
    half = len(rows) // 2
    drawn = rows[:half] - rows[half : 2 * half] if pairs else rows
    tail = (1 - CHANCE) / 2
    values = np.asarray(shares, dtype=np.float64) @ drawn.T
    return np.quantile(values, [tail, 1 - tail], axis=1).T
