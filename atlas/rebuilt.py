"""What the dictionary alone would answer: the logits of the whole vocabulary from the sparse code.

l_v = h . shared + scale * sum_j a_vj (h . direction_j), all rows v at once (prism-method §1,
crosscoder-method §3.2): one product of h with the directions of a snapshot, then a sparse sum over
the code, so that no matrix of rows is rebuilt.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.decomposition import token_logit
from atlas.live import Parts
from atlas.reading import Reading, capped
from atlas.records import RunCard
from atlas.slices import open_snapshot, standards_of
from atlas.store import Store
from atlas.swap_cell import Listed, listed, logits_at

AT_ONCE = 2048
"""Tokens whose code is asked of the store at once."""
CODE = """
    SELECT token, features, p FROM {run}.code_by_token
    WHERE token >= $first AND token < $end ORDER BY token"""
NORMS = "SELECT norm FROM {run}.life ORDER BY feature"
Report = Callable[[float], object]


@dataclass(frozen=True)
class OwnAnswer:
    """What comes next by the dictionary alone, beside what the true readout says."""

    true: tuple[Listed, ...]
    """Likeliest tokens of the true readout of the step."""
    alone: tuple[Listed, ...]
    """Likeliest tokens of base and features, the residual of every row left out."""
    place: int
    """Rank of the true winner in the dictionary's answer, from 1."""
    kl_bits: float
    """KL(true || alone) in bits, over the whole vocabulary, a cap on both sides (prism §5)."""


def own_answer(
    store: Store, reading: Reading, step: int, hidden_step: int, report: Report | None = None
) -> OwnAnswer:
    """The dictionary's own answer with the readout of a snapshot.

    Args:
        hidden_step: step of the model whose hidden state is read.
        report: as `rebuilt_logits`.
    """
    h = reading.h if hidden_step == reading.step else reading.state(hidden_step)
    parts = Parts.of(store, reading.root, reading.card, token_logit(reading.top[0].token))
    alone = torch.from_numpy(rebuilt_logits(store, parts, step, h, report))
    own = capped(alone.double(), reading.softcap).log_softmax(dim=0)
    true = logits_at(reading, h, step).double().log_softmax(dim=0)
    place, kl = compare(own, true)
    return OwnAnswer(listed(reading, true, own), listed(reading, own, true), place, kl)


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


def compare(own: Tensor, true: Tensor) -> tuple[int, float]:
    """Rank of the true winner in the other answer, from 1, and KL(true || own) in bits.

    own, true: log probabilities (V,).
    """
    place = 1 + int((own > own[true.argmax()]).sum())
    return place, max(0.0, float((true.exp() * (true - own)).sum()) / math.log(2))


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
