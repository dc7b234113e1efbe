"""Probability and rank of tokens through training: every row of every snapshot read by one state.

A pass over a snapshot multiplies the whole vocabulary; what it gives is kept, so that other tokens
of the same prompt cost nothing more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from atlas.errors import InvalidValue
from atlas.reading import Reading, capped
from atlas.slices import open_snapshot


@dataclass(frozen=True)
class Chance:
    """How likely some tokens are, together, by the readout of one snapshot."""

    probability: float
    """Sum of their probabilities, after the model's cap, over all rows of the matrix."""
    rank: int
    """Rank of the likeliest of them: 1 + rows with a larger logit."""


@dataclass(eq=False)
class Odds:
    """The logits of one state of a prompt at the snapshots read so far."""

    reading: Reading
    hidden: str
    """`final`: the last model's state at every snapshot; `own`: each snapshot's own model's."""
    _read: dict[int, tuple[np.ndarray, float]] = field(default_factory=dict)
    """By step: (V,) float32 logits before a cap, log of the sum of exponents after it."""

    @property
    def rows(self) -> int:
        """Rows of the matrix."""
        return len(self.reading.logits)

    def missing(self, steps: Sequence[int]) -> list[int]:
        """Those of some steps that `read` was not called for."""
        return [step for step in steps if step not in self._read]

    def read(self, step: int) -> None:
        """Multiply the whole matrix of a snapshot by the state; raises BrokenArtifact."""
        reading = self.reading
        own = self.hidden == "own" and step != reading.step
        if own and step not in reading.kept:
            raise InvalidValue(f"no whole model is kept at step {step}")
        if step == reading.step:
            logits = torch.from_numpy(reading.logits)
        else:
            state = torch.from_numpy(reading.state(step) if own else reading.h)
            file = open_snapshot(reading.root, reading.card.model_name, step, "W_U")
            logits = file.product("W_U", state)
        total = torch.logsumexp(capped(logits.double(), reading.softcap), dim=0)
        self._read[step] = (logits.numpy(), float(total))

    def of(self, step: int, tokens: Sequence[int]) -> Chance:
        """Probability and rank of tokens at a step that was read."""
        logits, total = self._read[step]
        found = torch.from_numpy(logits[list(tokens)].astype(np.float64))
        chance = float((capped(found, self.reading.softcap) - total).exp().sum())
        best = logits[list(tokens)].max()
        return Chance(chance, 1 + int((logits > best).sum()))
