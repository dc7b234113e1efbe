"""What the dictionary alone would answer: the logits of the whole vocabulary from the sparse code.

l_v = h . shared + scale * sum_j a_vj (h . direction_j), all rows v at once (prism-method §1,
crosscoder-method §3.2): one product of h with the directions of a snapshot, then a sparse sum over
the code, so that no matrix of rows is rebuilt.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from atlas.live import Parts
from atlas.records import RunCard
from atlas.slices import open_snapshot, standards_of
from atlas.store import Store

AT_ONCE = 2048
"""Tokens whose code is asked of the store at once."""
CODE = """
    SELECT token, features, p FROM {run}.code_by_token
    WHERE token >= $first AND token < $end ORDER BY token"""
NORMS = "SELECT norm FROM {run}.life ORDER BY feature"
Report = Callable[[float], object]


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


def rebuilt_logits(
    store: Store, parts: Parts, step: int, h: np.ndarray, report: Report | None = None
) -> np.ndarray:
    """(V,) float32: the logits of h (d,) by the dictionary at a snapshot of the run.

    The code is read in blocks of tokens and none of it is kept: a few million entries.

    Args:
        parts: those of any score of the run; only its decoder and standards are read.
        report: called with the share of the tokens that are done.
    """
    card, k = parts.card, parts.card.steps.index(step)
    along, limit = _along(parts, k, h), _limits(store, parts, k)
    shared = np.asarray(parts.decoder.offset[k], dtype=np.float64)
    mean, scale = (0.0, 1.0) if card.kind == "prism" else _standards(parts, card, k)
    rows = open_snapshot(parts.root, card.model_name, step, card.matrix).shape(card.matrix)[0]
    found = np.full(rows, h @ (mean + scale * shared))
    for first in range(0, rows, AT_ONCE):
        table = store.ask(card.run, CODE, first=first, end=first + AT_ONCE)
        ids = table.column("features").combine_chunks()
        features = ids.flatten().to_numpy()
        p = table.column("p").combine_chunks().flatten().to_numpy()
        parts_of_rows = np.where(p > limit[features], p, 0) * along[features]
        counts = ids.value_lengths().to_numpy(zero_copy_only=False)
        found[table.column("token").to_numpy()] += scale * _sums(parts_of_rows, counts)
        if report is not None:
            report(min(1.0, (first + AT_ONCE) / rows))
    return found.astype(np.float32)


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


def _limits(store: Store, parts: Parts, k: int) -> np.ndarray:
    """(D,): what a kept activation must exceed to count at a snapshot, 0 where all count."""
    threshold = parts.decoder.threshold
    if parts.card.kind == "prism":
        return np.zeros(parts.decoder.features, dtype=np.float32)
    norms = store.ask(parts.card.run, NORMS).column("norm").combine_chunks().flatten().to_numpy()
    norm = norms.reshape(-1, len(parts.card.steps))[:, k]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(norm > 0, threshold / norm, np.inf).astype(np.float32)


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


def _sums(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sums over neighbouring values, `counts` (n,) of them each; 0 for none."""
    found = np.zeros(len(counts))
    some = np.flatnonzero(counts)
    if len(some):
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        found[some] = np.add.reduceat(values.astype(np.float64), starts[some])
    return found
