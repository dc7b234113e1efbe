"""What a model goes on to write when the head's input is edited at every step.

Greedy: the likeliest token is taken each time. Without the edit, with it, and with random features
in its place are written in step, so that one pass over the readout serves all three.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.edits import Edit, rescaled, shift, units
from atlas.errors import InvalidValue
from atlas.hidden_states import hidden_states, language_model
from atlas.language_model import draw_token
from atlas.reading import Reading
from atlas.slices import open_decoder, open_snapshot

MOST = 24
"""Tokens that are written at most."""

Tokens = tuple[int, ...]
State = Callable[[Tokens], np.ndarray]
"""What the head reads after some tokens, (d,)."""
Change = Callable[[np.ndarray], np.ndarray]
"""h' - h for a state (d,)."""


@dataclass(frozen=True)
class Continuation:
    """What is written so far."""

    before: Tokens
    """Without the edit."""
    after: Tokens
    """With it."""
    random: Tokens
    """With random features in its place, the shift as long at every step."""
    texts: tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
    """How the tokens of the three are drawn."""
    most: int
    """Tokens asked for."""
    random_features: tuple[int, ...]

    @property
    def done(self) -> int:
        """Tokens of the longest."""
        return max(len(self.before), len(self.after), len(self.random))


def greedy(
    state: State, logits: Callable[[Tensor], Tensor], changes: Sequence[Change], tokens: Tokens,
    most: int, ends: frozenset[int] = frozenset(),
) -> Iterator[tuple[Tokens, ...]]:
    """Continue a prompt once for every change; yields all after each step.

    Args:
        state: the model's body.
        logits: of states (n, d) float32, (n, V).
        changes: what is added to the state at every step.
        tokens: the prompt.
        most: tokens to write.
        ends: tokens after which a continuation is over.
    """
    written: list[Tokens] = [() for _ in changes]
    for _ in range(most):
        open_ = [i for i, found in enumerate(written) if not found or found[-1] not in ends]
        if not open_:
            return
        states: dict[Tokens, np.ndarray] = {}
        for i in open_:
            if written[i] not in states:
                states[written[i]] = state((*tokens, *written[i]))
        changed = [states[written[i]] + changes[i](states[written[i]]) for i in open_]
        best = logits(torch.from_numpy(np.stack(changed).astype(np.float32))).argmax(dim=1)
        for i, token in zip(open_, best.tolist(), strict=True):
            written[i] = (*written[i], token)
        yield tuple(written)


def continue_prompt(
    reading: Reading,
    edit: Edit,
    random_features: Sequence[int] = (),
    step: int | None = None,
    hidden_step: int | None = None,
    most: int = MOST,
) -> Iterator[Continuation]:
    """Write on after the position of a prompt.

    Args:
        reading: the prompt; tokens after its position are left out.
        edit: applied to the head's input at every step.
        random_features: take the edit's place in the control; none leave it unedited.
        step: snapshot of readout and directions, the last one when None. Another than the model's
            own continues with a swapped readout.
        hidden_step: step of the model, that of the reading when None.
        most: 1 to `MOST`.

    Yields:
        one `Continuation` after every token; the last one is whole.

    Raises:
        InvalidValue: `most` or a step is none, a feature has no direction. Or as `hidden_states`.
    """
    card = reading.card
    if not 1 <= most <= MOST:
        raise InvalidValue(f"{most} tokens cannot be written; 1 to {MOST} can")
    step = card.steps[-1] if step is None else step
    hidden_step = reading.step if hidden_step is None else hidden_step
    if step not in card.steps:
        raise InvalidValue(f"{card.run} has no snapshot at step {step}")
    k, decoder = card.steps.index(step), open_decoder(reading.root, card)
    unit = units(decoder.directions(k, np.asarray(edit.features)))
    other = units(decoder.directions(k, np.asarray(random_features))) if random_features else None
    model = language_model(reading.root, card, hidden_step, reading.device)

    def state(tokens: Tokens) -> np.ndarray:
        opening = len(model.opening)
        if len(tokens) > model.context:
            tokens = (*tokens[:opening], *tokens[len(tokens) - model.context + opening :])
        found = hidden_states(reading.root, card, hidden_step, reading.device, tokens)
        return found[-1].double().numpy()

    def logits(states: Tensor) -> Tensor:
        if step == hidden_step:
            return torch.stack([model.logits_of(h) for h in states])
        file = open_snapshot(reading.root, card.model_name, step, card.matrix)
        return file.products(card.matrix, states)

    def control(h: np.ndarray) -> np.ndarray:
        if other is None:
            return np.zeros_like(h)
        length = float(np.linalg.norm(shift(h, unit, edit)))
        return rescaled(shift(h, other, edit)[None], length)[0]

    written = greedy(
        state, logits, (lambda h: np.zeros_like(h), lambda h: shift(h, unit, edit), control),
        reading.tokens[: reading.position + 1], most, _ends(model.module),
    )
    for before, after, random in written:
        texts = tuple(
            tuple(draw_token(reading.tokenizer, t) for t in found)
            for found in (before, after, random)
        )
        yield Continuation(before, after, random, texts, most, tuple(random_features))


def _ends(module: torch.nn.Module) -> frozenset[int]:
    """Tokens by which a model ends a text."""
    found = getattr(module.config.get_text_config(), "eos_token_id", None)
    return frozenset(found if isinstance(found, list) else [] if found is None else [found])
