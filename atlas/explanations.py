"""What is asked of a prompt and what is answered: records alone, nothing that loads a model.

`atlas.asking`, `atlas.reading` and `atlas.live` make them; `atlas.gallery` keeps them in the store.
"""

from dataclasses import dataclass
from typing import Literal

from atlas.decomposition import Kind, Ledger, Score

Hidden = Literal["final", "own"]
"""Whose hidden state is read: the last model's, or that of each snapshot's own model."""
RANK, RIVALS = 5, 10
"""What is asked for where nothing else is (prism-method §6.2)."""


@dataclass(frozen=True)
class Ask:
    """What is asked, as an address or a command line says it."""

    kind: Kind | None = None
    """None: the contrast of target and versus, of the two likeliest tokens without them, and the
    logit of the target where it stands alone."""
    target: str | int | None = None
    """Text of one token (space-first) or a token id; of a family a list, see `family_words`."""
    versus: str | int | None = None
    """The token or family to compare with."""
    rank: int = RANK
    """Rank of the token that the winner is compared with, from 2."""
    rivals: int = RIVALS
    """Tokens after the winner that it is compared with."""


@dataclass(frozen=True)
class Candidate:
    """A possible next token, by the last model."""

    token: int
    text: str
    """As it is drawn."""
    probability: float
    """Of the model's own, capped logits."""
    logit: float
    """h . row, before a cap."""
    model_logit: float
    """What the model itself gives: cap * tanh(logit / cap), the logit without a cap."""


@dataclass(frozen=True)
class Row:
    """The score at one snapshot."""

    step: int
    """Snapshot whose readout and directions are used."""
    hidden_step: int
    """Step of the model whose hidden state is read."""
    ledger: Ledger


@dataclass(frozen=True)
class Explanation:
    """Why one token wins, or would win against another, after a prompt."""

    run: str
    prompt: str
    tokens: tuple[int, ...]
    """Tokens that the model read; at most its context, the last ones of the prompt."""
    texts: tuple[str, ...]
    """How each of them is drawn."""
    position: int
    """Number of the token after which the next one is predicted, from 0 in `tokens`."""
    context: str
    """The text up to and with that token, as it is drawn."""
    top: tuple[Candidate, ...]
    """Likeliest next tokens of the last model with the last readout."""
    score: Score
    target: str
    """The target token as plain text, as drawn if its bytes are no text."""
    versus: str | None
    """The other token of a contrast of two, None otherwise."""
    drawn: tuple[str, ...]
    """How the tokens of the score are drawn, in its order."""
    rows: tuple[Row, ...]
    """One per snapshot asked for, in the order of training."""
    note: str | None
    """What was done to the prompt, the logits, the score or the kept code, None if nothing was."""
    softcap: float | None = None
    """Cap of the model's own logits; the ledgers take apart what comes before it."""
    entropy: float | None = None
    """Of the weights of a winner's rivals, in nats."""
    rank: int | None = None
    """Rank of the token that the winner is compared with, where one was asked for."""

    @property
    def target_text(self) -> str:
        """The target token as it is drawn."""
        return self.drawn[0]

    @property
    def versus_text(self) -> str | None:
        """The other token of a contrast of two as it is drawn."""
        return None if self.score.versus is None else self.drawn[1]
