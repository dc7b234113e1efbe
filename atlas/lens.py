"""The logit lens: what the readout would say after every block, and how well features explain it.

A state after some blocks goes through the final norm, the last one only once, and is read by
every row (prism-method §8.1, §14 trap 8). The rows come in blocks: no matrix of states times the
vocabulary is ever held. A cap of the model's logits is kept out of logits and scores and put into
probabilities (§8.4).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.decomposition import Ledger, Score
from atlas.inside import Passage
from atlas.reading import capped

Blocks = Callable[[], Iterable[tuple[int, Tensor]]]
"""Gives the rows of a readout in order: (number of the first, (n, d) float32)."""
Gather = Callable[[Sequence[int]], np.ndarray]
"""Gives rows of some tokens, (n, d) float32."""


@dataclass(frozen=True, eq=False)
class Cells:
    """What the readout says of n states, and of one token asked for with each."""

    tops: np.ndarray
    """(n,) likeliest tokens."""
    logits: np.ndarray
    """(n,) h . row of them, before a cap."""
    probabilities: np.ndarray
    """(n,) of the model's own, capped logits."""
    asked_logits: np.ndarray
    """(n,) h . row of the tokens asked for."""
    asked_probabilities: np.ndarray
    """(n,) their probability."""
    ranks: np.ndarray
    """(n,) 1 + how many tokens have a larger logit."""


def read_cells(
    states: np.ndarray, asked: Sequence[int], blocks: Blocks, gather: Gather, cap: float | None
) -> Cells:
    """Read states (n, d) with every row, in one pass over the rows.

    Args:
        states: what the head would read.
        asked: n tokens, one with each state.
        blocks, gather: the readout.
        cap: of the model's logits, None without one.
    """
    h = torch.from_numpy(np.asarray(states, dtype=np.float32))
    token = torch.tensor(list(asked), dtype=torch.int64)
    distinct, place = token.unique(return_inverse=True)
    rows = torch.from_numpy(gather(distinct.tolist())).double()
    wanted = torch.einsum("nd,nd->n", h.double(), rows[place])
    best = torch.full((len(h),), -torch.inf)
    top = torch.zeros(len(h), dtype=torch.int64)
    above = torch.zeros(len(h), dtype=torch.int64)
    total = torch.full((len(h),), -torch.inf, dtype=torch.float64)
    for first, block in blocks():
        logits = h @ block.T
        high, where = logits.max(dim=1)
        top = torch.where(high > best, where + first, top)
        best = torch.maximum(best, high)
        larger = logits.double() > wanted[:, None]
        inside = (token >= first) & (token < first + len(block))
        states_here = inside.nonzero()[:, 0]
        larger[states_here, token[states_here] - first] = False  # a token is not above itself
        above += larger.sum(dim=1)
        total = torch.logaddexp(total, capped(logits.double(), cap).logsumexp(dim=1))
    return Cells(
        tops=top.numpy(),
        logits=best.double().numpy(),
        probabilities=(capped(best.double(), cap) - total).exp().numpy(),
        asked_logits=wanted.numpy(),
        asked_probabilities=(capped(wanted, cap) - total).exp().numpy(),
        ranks=(above + 1).numpy(),
    )


@dataclass(frozen=True, eq=False)
class Grid:
    """The likeliest token after every block at some positions."""

    positions: tuple[int, ...]
    """P of them."""
    layers: tuple[int, ...]
    """N of them, rising: 0 is the embedding, l what block l - 1 leaves; the last is the end."""
    tokens: np.ndarray
    """(N, P) likeliest tokens."""
    probabilities: np.ndarray
    """(N, P)."""
    logits: np.ndarray
    """(N, P), before a cap."""
    ledgers: tuple[tuple[Ledger, ...], ...]
    """(N, P) of that token's logit less that of the mean row: the gate of each cell."""
    nearness: np.ndarray
    """(N, P) cosine of what is read there with the model's final state."""

    @property
    def gates(self) -> np.ndarray:
        """(N, P) bool."""
        return np.array([[ledger.gate for ledger in row] for row in self.ledgers])


@dataclass(frozen=True, eq=False)
class Layers:
    """One score at one position after every block."""

    ledgers: tuple[Ledger, ...]
    """(L + 1,)."""
    target: int
    ranks: np.ndarray
    """(L + 1,) of the score's target."""
    probabilities: np.ndarray
    """(L + 1,) of the score's target."""
    nearness: np.ndarray
    """(L + 1,) cosine with the model's final state."""
    spread: np.ndarray
    """(L + 1, 2) between which scores 95 % of tokens, or pairs of them, drawn at random lie."""


Read = Callable[[Score, np.ndarray], Ledger]
"""Takes a score apart that is read by a state (d,), with one snapshot's readout."""


def grid(
    passage: Passage, shown: Sequence[int], blocks: Blocks, gather: Gather, cap: float | None,
    read: Read,
) -> Grid:
    """The lens at every position of a passage and at some layers, the last one among them."""
    states = np.stack([passage.lens(layer) for layer in shown])
    shape = states.shape[:2]
    flat = states.reshape(-1, states.shape[-1])
    found = read_cells(flat, [0] * len(flat), blocks, gather, cap)
    ledgers = [
        read(Score("centred", (int(token),), (1.0,)), state)
        for token, state in zip(found.tops, flat, strict=True)
    ]
    return Grid(
        positions=passage.positions,
        layers=tuple(shown),
        tokens=found.tops.reshape(shape),
        probabilities=found.probabilities.reshape(shape),
        logits=found.logits.reshape(shape),
        ledgers=tuple(tuple(ledgers[i : i + shape[1]]) for i in range(0, len(flat), shape[1])),
        nearness=_nearness(states),
    )


def layers(
    passage: Passage, position: int, score: Score, blocks: Blocks, gather: Gather,
    cap: float | None, read: Read, spread: Callable[[np.ndarray], np.ndarray],
) -> Layers:
    """One score after every block at one position; `spread` gives what chance gives of states."""
    i = passage.at(position)
    states = np.stack([passage.lens(layer)[i] for layer in range(passage.blocks + 1)])
    found = read_cells(states, [score.target] * len(states), blocks, gather, cap)
    return Layers(
        ledgers=tuple(read(score, state) for state in states),
        target=score.target,
        ranks=found.ranks,
        probabilities=found.asked_probabilities,
        nearness=_nearness(states),
        spread=spread(states),
    )


def _nearness(states: np.ndarray) -> np.ndarray:
    """Cosine of states (N, ..., d) with the last of them, (N, ...)."""
    lengths = np.linalg.norm(states, axis=-1)
    product = (states * states[-1]).sum(axis=-1)
    return product / np.maximum(lengths * lengths[-1], 1e-12)
