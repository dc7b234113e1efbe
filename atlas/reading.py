"""What the last model of a run reads of a prompt: its tokens, one hidden state, what comes next.

Everything asked of a prompt starts from a `Reading`: scores, ledgers, readout swaps, edits.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atlas.artifacts import snapshot_path
from atlas.errors import InvalidValue, NotFound
from atlas.explanations import Candidate as Candidate
from atlas.forward import Ticket
from atlas.hidden_states import ask, hidden_states, language_model
from atlas.language_model import (
    LanguageModel,
    Tokenizer,
    draw_token,
    draw_tokens,
    full_steps,
    load_tokenizer,
)
from atlas.places import model_path
from atlas.records import RunCard
from atlas.slices import open_snapshot
from atlas.store import Store

MAX_CHARACTERS = 20_000
"""Longest prompt that is tokenised at all."""
TOP = 10
"""Next tokens that are listed."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A prompt as the last kept model of a run reads it, at one position."""

    root: Path
    """The store's folder."""
    card: RunCard
    prompt: str
    tokens: tuple[int, ...]
    """Tokens that the model read; at most its context, the last ones of the prompt."""
    texts: tuple[str, ...]
    """How each of them is drawn."""
    position: int
    """Number of the token after which the next one is predicted, from 0 in `tokens`."""
    context: str
    """The text up to and with that token, as it is drawn."""
    step: int
    """Step of the model that read it."""
    kept: tuple[int, ...]
    """Steps at which a whole model is kept, rising."""
    device: str
    h: np.ndarray
    """(d,) float32: what the head reads there, the output of the final norm."""
    logits: np.ndarray
    """(V,) float32: h . row of the last readout, before a cap."""
    top: tuple[Candidate, ...]
    """Likeliest next tokens with the last readout."""
    note: str | None
    """What was done to the prompt, None if nothing was."""
    softcap: float | None
    """Cap of the model's own logits."""

    @property
    def model(self) -> LanguageModel:
        """The model that read it, kept loaded."""
        return language_model(self.root, self.card, self.step, self.device)

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the model."""
        return load_tokenizer(model_path(self.root, self.card.model))

    def states(self, step: int) -> np.ndarray:
        """What the head of the model of a kept step reads at every position, (T, d) float32."""
        return hidden_states(self.root, self.card, step, self.device, self.tokens).numpy()

    def state(self, step: int) -> np.ndarray:
        """The same at the position, (d,)."""
        return self.states(step)[self.position]


def read_prompt(
    store: Store, run_id: str, prompt: str, position: int = -1, device: str = "cpu",
    tell: Callable[[Ticket], object] | None = None,
) -> Reading:
    """Read a prompt with the last model of a run.

    Args:
        store: the store that holds the run, its snapshots and its language model.
        run_id: a dictionary over W_U.
        prompt: any text of 1 to `MAX_CHARACTERS` characters that is not all white space.
        position: position of the prompt to predict after; negative from the end.
        device: where the language model runs.
        tell: is given the prompt's place in the queue of the model before it is waited for.

    Raises:
        NotFound: no such run, or no language model.
        InvalidValue: prompt, position or kind of run cannot be used.
        BrokenArtifact: a file is damaged.
    """
    store = store.pin()
    card = store.run(run_id)
    _check_readout(store, card)
    _check_prompt(prompt)
    root = Path(store.folder)
    models = model_path(root, card.model)
    kept = full_steps(models)
    if not kept:
        mend = "demo" if card.run.startswith("demo/") else f"{card.run} --model"
        raise NotFound(
            f"{models} holds no language model, so no prompt can be read; `readout-atlas build "
            f"{mend}` brings it"
        )
    last = card.steps[-1] if card.steps[-1] in kept else kept[-1]
    model = language_model(root, card, last, device)
    ids, note = model.read(prompt)
    position = _position(position, len(ids))
    ticket = ask(root, card, last, device, tuple(ids))
    if tell is not None:
        tell(ticket)
    read = ticket.result()
    h = read.states[position]
    tokenizer = load_tokenizer(models)
    logits, rows_of = _logits(root, card, model, h)
    return Reading(
        root=root,
        card=card,
        prompt=prompt,
        tokens=tuple(ids),
        texts=tuple(draw_token(tokenizer, i) for i in ids),
        position=position,
        context=draw_tokens(tokenizer, ids[: position + 1]),
        step=last,
        kept=tuple(kept),
        device=device,
        h=h.numpy(),
        logits=logits.numpy(),
        top=_candidates(tokenizer, model.softcap, logits, h, rows_of),
        note="; ".join(filter(None, (note, read.note))) or None,
        softcap=model.softcap,
    )


def capped(logits: Tensor, cap: float | None) -> Tensor:
    """The model's own logits, of any shape: cap * tanh(logits / cap) where it has a cap."""
    return logits if cap is None else cap * torch.tanh(logits / cap)


def _check_readout(store: Store, card: RunCard) -> None:
    if card.matrix == "W_U":
        return
    runs = [r.run for r in store.runs() if r.model == card.model and r.matrix == "W_U"]
    use = f"use {runs[0]}" if runs else f"the store holds no W_U run of {card.model}"
    raise InvalidValue(f"{card.run} is a dictionary of {card.matrix}, which gives no logits; {use}")


def _check_prompt(prompt: str) -> None:
    if not prompt.strip():
        raise InvalidValue("the prompt is empty or only white space; write some text")
    if len(prompt) > MAX_CHARACTERS:
        raise InvalidValue(
            f"the prompt has {len(prompt):,} characters, at most {MAX_CHARACTERS:,} are read; "
            "shorten it to the part before the predicted token"
        )


def _position(position: int, length: int) -> int:
    if not -length <= position < length:
        raise InvalidValue(
            f"position {position} is outside the prompt; it is read as {length} tokens, "
            f"0 to {length - 1}"
        )
    return position % length


def _logits(root: Path, card: RunCard, model: LanguageModel, h: Tensor):
    """h . row of every row of the last readout, (V,) float32, and what gives single rows of it."""
    if snapshot_path(root, card.model_name, model.step, "W_U").exists():
        file = open_snapshot(root, card.model_name, model.step, "W_U")
        return file.product("W_U", h), lambda tokens: file.gather("W_U", np.asarray(tokens))
    return model.logits_of(h), model.head_rows


def _candidates(
    tokenizer: Tokenizer, softcap: float | None, logits: Tensor, h: Tensor, rows_of
) -> tuple[Candidate, ...]:
    """The likeliest next tokens; the rows of those listed are multiplied again in float64."""
    listed: Sequence[int] = logits.topk(min(TOP, len(logits))).indices.tolist()
    exact = rows_of(listed).double() @ h.double()
    chance = capped(logits.double(), softcap).softmax(dim=0)
    best = exact.argsort(descending=True, stable=True).tolist()
    return tuple(
        Candidate(
            listed[i], draw_token(tokenizer, listed[i]), float(chance[listed[i]]),
            float(exact[i]), float(capped(exact[i], softcap)),
        )
        for i in best
    )
