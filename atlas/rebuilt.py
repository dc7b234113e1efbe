"""What the dictionary alone would answer: the logits of the whole vocabulary from the sparse code.

l_v = h . shared + scale * sum_j a_vj (h . direction_j), all rows v at once (prism-method §1,
crosscoder-method §3.2): one product of h with the directions of a snapshot, then a sparse sum over
the code, so that no matrix of rows is rebuilt.
"""

from dataclasses import dataclass

import numpy as np
import torch

from atlas.codes import CSR
from atlas.live import Parts
from atlas.records import RunCard
from atlas.slices import standards_of
from atlas.store import Store

AT_ONCE = 2048
"""Tokens whose code is asked of the store at once."""
CODE = """
    SELECT token, features, p FROM {run}.code_by_token
    WHERE token >= $first AND token < $end ORDER BY token"""
NORMS = "SELECT norm FROM {run}.life ORDER BY feature"


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """The readout of the dictionary beside the true one, at one snapshot."""

    logits: np.ndarray
    """(V,) float32: what base and features of each row give with h."""
    top: tuple[int, ...]
    """Tokens with the largest of them, largest first."""
    place: int
    """Rank of the true winner among them, from 1."""
    kl_bits: float
    """KL(softmax of the true logits || softmax of these), in bits, a cap on both sides."""


def whole_code(store: Store, run: str, n_rows: int) -> CSR:
    """The sparse code of every row, by token; 8 bytes an entry, a few million entries."""
    counts = np.zeros(n_rows + 1, dtype=np.int64)
    features, values = [], []
    for first in range(0, n_rows, AT_ONCE):
        table = store.ask(run, CODE, first=first, end=min(first + AT_ONCE, n_rows))
        tokens = table.column("token").to_numpy()
        ids = table.column("features").combine_chunks()
        counts[tokens + 1] = ids.value_lengths().to_numpy(zero_copy_only=False)
        features.append(ids.flatten().to_numpy())
        values.append(table.column("p").combine_chunks().flatten().to_numpy())
    return CSR(np.cumsum(counts), np.concatenate(features), np.concatenate(values))


def rebuilt_logits(
    store: Store, parts: Parts, code: CSR, step: int, h: np.ndarray
) -> np.ndarray:
    """(V,) float32: the logits of h (d,) by the dictionary at a snapshot of the run.

    `parts` may be those of any score of the run: only its decoder and standards are read.
    """
    card, k = parts.card, parts.card.steps.index(step)
    decoder = parts.decoder
    along = _along(parts, k, h)
    shared = np.asarray(decoder.offset[k], dtype=np.float64)
    if card.kind == "prism":
        return (h @ shared + _sums(code, code.values * along[code.columns])).astype(np.float32)
    mean, scale = _standards(parts, card, k)
    norms = store.ask(card.run, NORMS).column("norm").combine_chunks().flatten().to_numpy()
    limit = _limits(norms.reshape(-1, len(card.steps))[:, k], decoder.threshold)
    on = code.values > limit[code.columns]
    summed = _sums(code, np.where(on, code.values, 0) * along[code.columns])
    return (h @ (mean + scale * shared) + scale * summed).astype(np.float32)


def compare(rebuilt: np.ndarray, true: np.ndarray, softcap: float | None, n: int = 10) -> Rebuilt:
    """Set rebuilt logits (V,) beside the true ones (V,)."""
    own, real = (torch.from_numpy(x).double() for x in (rebuilt, true))
    winner = int(real.argmax())
    place = 1 + int((own > own[winner]).sum())
    if softcap is not None:
        own, real = (softcap * torch.tanh(x / softcap) for x in (own, real))
    p, q = real.log_softmax(dim=0), own.log_softmax(dim=0)
    kl = float((p.exp() * (p - q)).sum()) / np.log(2)
    top = own.topk(min(n, len(own))).indices.tolist()
    return Rebuilt(rebuilt, tuple(top), place, max(kl, 0.0))


def _limits(norms: np.ndarray, threshold: np.ndarray) -> np.ndarray:
    """(D,): the pre-activation above which a feature fires; infinite where it has no length."""
    with np.errstate(divide="ignore", invalid="ignore"):
        limit = threshold / norms
    return np.where(norms > 0, limit, np.inf).astype(np.float32)


def _along(parts: Parts, k: int, h: np.ndarray) -> np.ndarray:
    """(D,) float32: h along every direction of a snapshot."""
    decoder = parts.decoder
    found = np.empty(decoder.features, dtype=np.float32)
    for first in range(0, decoder.features, 4096):
        some = np.arange(first, min(first + 4096, decoder.features))
        found[some] = decoder.directions(k, some) @ h
    return found


def _standards(parts: Parts, card: RunCard, k: int) -> tuple[np.ndarray, float]:
    if parts.standards is None:
        return standards_of(parts.root, card, card.steps[k])
    return parts.standards[0][k], float(parts.standards[1][k])


def _sums(code: CSR, values: np.ndarray) -> np.ndarray:
    """Sums (V,) over the entries of each row; 0 for a row without any."""
    found = np.zeros(len(code.offsets) - 1)
    some = np.flatnonzero(np.diff(code.offsets))
    if len(some):
        found[some] = np.add.reduceat(values.astype(np.float64), code.offsets[some])
    return found
