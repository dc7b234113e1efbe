"""The sparse code of a dictionary: every (token, feature, p) that fires at some snapshot.

p is shared by all snapshots, so the code plus the (K, D) norms and the thresholds give every
activation, rate and contribution without the encoder (crosscoder-method §3.2, §7.1).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from atlas.crosscoder import Crosscoder, fires, pre_activations
from atlas.prism import Prism, encode

Array = Tensor | np.ndarray
"""What the small functions take; one kind per call."""


class CSR(NamedTuple):
    """Entries grouped by row: those of row i lie at `offsets[i]:offsets[i + 1]`."""

    offsets: np.ndarray
    """(rows + 1,) int64."""
    columns: np.ndarray
    """(N,) int32."""
    values: np.ndarray
    """(N,) float32."""


@dataclass(frozen=True, eq=False)
class SparseCode:
    """The entries that fire at one snapshot or more, sorted by (token, feature)."""

    token: np.ndarray
    """(N,) int32."""
    feature: np.ndarray
    """(N,) int32."""
    p: np.ndarray
    """(N,) float32, the joint pre-activation; of a prism the row norm times the code."""
    n_tokens: int
    """V, tokens without an entry included."""
    n_features: int
    """D, dead features included."""

    def by_token(self) -> CSR:
        """Features and p of each token, by feature id."""
        return CSR(_offsets(self.token, self.n_tokens), self.feature, self.p)

    def by_feature(self) -> CSR:
        """Tokens and p of each feature, by p falling; equal p by token id."""
        return self._by_feature

    @cached_property
    def _by_feature(self) -> CSR:
        # one stable sort of one whole number: a sort by three keys takes five times as long
        bits = np.ascontiguousarray(self.p, dtype=np.float32).view(np.int32)
        rising = np.where(bits < 0, np.int32(-(2**31)) - bits, bits)
        key = self.feature.astype(np.int64)  # in place from here: a code may have 2^26 entries
        key <<= 32
        key += 2**31 - 1
        key -= rising
        del rising
        order = torch.from_numpy(key).sort(stable=True).indices.numpy()
        offsets = _offsets(self.feature, self.n_features)
        return CSR(offsets, self.token[order], self.p[order])


def _offsets(rows: np.ndarray, n: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=n))]).astype(np.int64)


def _array(values: Array) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _assembled(
    parts: list[tuple[Tensor, Tensor, Tensor]], n_tokens: int, n_features: int
) -> SparseCode:
    token, feature, p = (_array(torch.cat(column)) for column in zip(*parts, strict=True))
    return SparseCode(
        token.astype(np.int32), feature.astype(np.int32), p.astype(np.float32), n_tokens, n_features
    )


def crosscoder_code(c: Crosscoder, x: Tensor, batch: int = 1024) -> tuple[SparseCode, np.ndarray]:
    """The code of rows x (K, V, d) and the rates (K, D), in one pass over the rows.

    An entry is kept iff it fires at the snapshot where the feature's direction is longest, for
    rounding is monotone: if it does not fire there it fires nowhere. A rate is the share of all
    V rows, padding included (crosscoder-method §7.1).
    """
    longest = c.norms.amax(dim=0)
    counts = torch.zeros(c.n_snapshots, c.n_features, dtype=torch.int64, device=x.device)
    parts = []
    for start in range(0, x.shape[1], batch):
        p = pre_activations(c, x[:, start : start + batch])
        token, feature = torch.nonzero(p * longest > c.threshold, as_tuple=True)
        kept = p[token, feature]
        bar = c.threshold[feature]
        for k in range(c.n_snapshots):
            on = feature[kept * c.norms[k][feature] > bar]
            counts[k] += torch.bincount(on, minlength=c.n_features)
        parts.append((token + start, feature, kept))
    code = _assembled(parts, x.shape[1], c.n_features)
    return code, _array(counts) / x.shape[1]


def crosscoder_code_slow(c: Crosscoder, x: Tensor) -> tuple[SparseCode, np.ndarray]:
    """The same code and rates from the full (K, V, D) mask: the twin to check against."""
    p = pre_activations(c, x)
    on = fires(p, c.norms, c.threshold)
    token, feature = torch.nonzero(on.any(dim=0), as_tuple=True)
    code = _assembled([(token, feature, p[token, feature])], x.shape[1], c.n_features)
    return code, _array(on.double().mean(dim=1))


def prism_code(prism: Prism, x: Tensor, batch: int = 1024) -> tuple[SparseCode, np.ndarray]:
    """The code of all unit rows x (V, d) of a prism, in raw units, and its rates (1, D).

    p is row norm times code, the raw-space coefficient of prism-method §1.
    """
    parts = []
    for start in range(0, x.shape[0], batch):
        indices, values = encode(prism, x[start : start + batch])
        feature, order = indices.sort(dim=1)
        raw = values.gather(1, order) * prism.row_norms[start : start + len(values), None]
        row, column = torch.nonzero(raw > 0, as_tuple=True)
        parts.append((row + start, feature[row, column], raw[row, column]))
    n_features = prism.encoder.shape[0]
    code = _assembled(parts, x.shape[0], n_features)
    rates = np.bincount(code.feature, minlength=n_features)[None] / x.shape[0]
    return code, rates


def activations_at(p: Array, norm_k: Array, threshold: Array) -> Array:
    """Activations at a snapshot: p where p times the norm there exceeds theta, else 0.

    Arrays or tensors that broadcast. For a prism, which has no gate, p is the activation.
    """
    return p * (p * norm_k > threshold)


def rates_of_code(code: SparseCode, norms: Array, threshold: Array) -> np.ndarray:
    """Rates (K, D) from the code alone, at any norms (K, D) no longer than those it was kept by."""
    norms, threshold = _array(norms), _array(threshold)
    bar = threshold[code.feature]
    counts = [
        np.bincount(code.feature[code.p * norm[code.feature] > bar], minlength=code.n_features)
        for norm in norms
    ]
    return np.stack(counts) / code.n_tokens


def contributions_by_snapshot(
    code: SparseCode,
    norms: Array | None = None,
    threshold: Array | None = None,
) -> np.ndarray:
    """Mean length (K, D) that a feature adds to a row at each snapshot: sum_v a_v n / V.

    In units of standardised rows; without norms and threshold (a prism, whose directions have
    length 1 and no gate) it is the mean of p over all rows, shape (1, D).
    """
    size = code.n_features
    if norms is None or threshold is None:
        return np.bincount(code.feature, code.p, minlength=size)[None] / code.n_tokens
    norms, bar = _array(norms), _array(threshold)[code.feature]
    sums = [
        np.bincount(code.feature, activations_at(code.p, norm[code.feature], bar), minlength=size)
        for norm in norms
    ]
    return np.stack(sums) * norms / code.n_tokens


def contributions(
    code: SparseCode,
    norms: Array | None = None,
    threshold: Array | None = None,
) -> np.ndarray:
    """Contribution (D,) of each feature, Browse's order: its mean over the snapshots.

    The mean, not the largest: at step 0 the rows are noise, many features fire there to follow
    it, and the largest puts those first.
    """
    return contributions_by_snapshot(code, norms, threshold).mean(axis=0)


def firing(code: SparseCode, norms: Array, threshold: Array) -> tuple[np.ndarray, np.ndarray]:
    """Rows on which a feature fires at each snapshot, and the sum of p over them, (K, D) each.

    p times a norm is monotone in p, so of a feature's entries in the order of p falling those that
    fire at a snapshot are the first ones: a binary search per snapshot and feature finds how many.
    Equal to `rates_of_code` times V, and to the sums of `contributions_by_snapshot`.
    """
    norms, threshold = _array(norms), _array(threshold)
    groups = code.by_feature()
    low = np.broadcast_to(groups.offsets[:-1], norms.shape).copy()
    high = np.broadcast_to(groups.offsets[1:], norms.shape).copy()
    last = max(len(groups.values) - 1, 0)
    values = groups.values if len(groups.values) else np.zeros(1, np.float32)
    while (low < high).any():
        middle = (low + high) // 2
        on = (values[np.minimum(middle, last)] * norms > threshold) & (low < high)
        low, high = np.where(on, middle + 1, low), np.where(on, high, np.minimum(middle, high))
    before = np.zeros(len(groups.values) + 1)
    np.cumsum(groups.values, dtype=np.float64, out=before[1:])
    first = groups.offsets[:-1]
    return low - first, before[low] - before[first]
