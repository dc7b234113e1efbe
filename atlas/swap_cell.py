"""One cell of the grid of readout swaps: what it lists, and what of its score changed."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.asking import Ask, score_of
from atlas.decomposition import Ledger
from atlas.errors import InvalidValue
from atlas.language_model import draw_token
from atlas.live import Parts
from atlas.reading import Reading
from atlas.slices import open_snapshot
from atlas.store import Store
from atlas.swap import capped

TOP = 10
"""Tokens of a list."""


@dataclass(frozen=True)
class Listed:
    """A likely next token under one readout."""

    token: int
    text: str
    """As it is drawn."""
    probability: float
    other: float
    """Its probability under the other readout."""
    other_rank: int
    """Its rank there, from 1."""


@dataclass(frozen=True, eq=False)
class Swapped:
    """What a hidden state says through its own readout and through another."""

    hidden_step: int
    step: int
    """Step of the other readout."""
    native: tuple[Listed, ...]
    swapped: tuple[Listed, ...]
    kl: float
    """KL(p swapped ‖ p native), nats."""
    before: Ledger
    """The score with the hidden state's own readout."""
    after: Ledger
    """With the other one."""
    features: np.ndarray
    """(n,) features that carry either, by the size of their change."""
    changes: np.ndarray
    """(n,) contribution after less that before; with those of base and residual they add up to
    the change of the score."""


def swap_cell(store: Store, reading: Reading, ask: Ask, hidden_step: int, step: int) -> Swapped:
    """One cell; the readouts are taken as they are, without alignment.

    Args:
        hidden_step: a step at which a whole model is kept.
        step: a snapshot of the run; `hidden_step` must be one, too.

    Raises:
        InvalidValue: a step is not there. Otherwise as `atlas.live.explain`.
    """
    card = reading.card
    if hidden_step not in reading.kept or hidden_step not in card.steps:
        raise InvalidValue(f"no whole model is kept at step {hidden_step} of {card.run}")
    if step not in card.steps:
        raise InvalidValue(f"{card.run} has no snapshot at step {step}")
    h = reading.state(hidden_step)
    own, other = (logits_at(reading, h, s) for s in (hidden_step, step))
    parts = Parts.of(store, reading.root, card, score_of(reading, ask).score)
    before, after = parts.ledger(hidden_step, h), parts.ledger(step, h)
    features, changes = _changes(before, after)
    p, q = own.double().log_softmax(dim=0), other.double().log_softmax(dim=0)
    return Swapped(
        hidden_step, step, listed(reading, p, q), listed(reading, q, p),
        max(0.0, float((q.exp() * (q - p)).sum())), before, after, features, changes,
    )


def listed(reading: Reading, p: Tensor, other: Tensor, top: int = TOP) -> tuple[Listed, ...]:
    """The likeliest tokens of log probabilities (V,), and what others make of them."""
    best = p.topk(min(top, len(p))).indices
    ranks = 1 + (other[None] > other[best][:, None]).sum(dim=1)
    return tuple(
        Listed(t, draw_token(reading.tokenizer, t), float(p[t].exp()), float(other[t].exp()), rank)
        for t, rank in zip(best.tolist(), ranks.tolist(), strict=True)
    )


def logits_at(reading: Reading, h: np.ndarray, step: int) -> Tensor:
    """(V,) float32: what the readout of a step gives with h (d,), a cap of the model included."""
    file = open_snapshot(reading.root, reading.card.model_name, step, reading.card.matrix)
    return capped(file.product(reading.card.matrix, torch.from_numpy(h)), reading.softcap)


def _changes(before: Ledger, after: Ledger) -> tuple[np.ndarray, np.ndarray]:
    """Features of either ledger and what became of their contributions."""
    features = np.union1d(before.features, after.features)
    change = np.zeros(len(features))
    for ledger, sign in ((before, -1.0), (after, 1.0)):
        change[np.searchsorted(features, ledger.features)] += sign * ledger.contributions
    order = np.argsort(-np.abs(change), kind="stable")
    return features[order], change[order]
