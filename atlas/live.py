"""The live decomposition: a prompt in, one ledger per snapshot out, no page and no encoder.

The sparse code of the scored tokens comes from the store, the directions of its features from the
run folder, the rows from the snapshots; only the hidden state is computed. The exact score is
h . row in float64 from the stored row, never the model's own logit, so base + features + residual
closes on it (prism-method §6.2, §14 trap 7); the rounding of the stored code lands in the residual.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from atlas.artifacts import snapshot_path
from atlas.codes import activations_at
from atlas.decomposition import (
    Ledger,
    Score,
    active_features,
    decompose_crosscoder,
    decompose_prism,
)
from atlas.errors import InvalidValue, NotFound
from atlas.hidden_states import hidden_states, language_model
from atlas.language_model import (
    LanguageModel,
    Tokenizer,
    draw_token,
    draw_tokens,
    full_steps,
    load_tokenizer,
    plain_token,
    resolve_token,
)
from atlas.places import model_path
from atlas.records import RunCard
from atlas.slices import Decoder, open_decoder, open_snapshot, rows_of, standards_of
from atlas.store import Store

MAX_CHARACTERS = 20_000
"""Longest prompt that is tokenised at all."""
TOP = 10
"""Next tokens that an explanation lists."""

Hidden = Literal["final", "own"]
"""Whose hidden state is read: the last model's, or that of each snapshot's own model."""


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
    """The other token of a contrast, None for a single token's logit."""
    target_text: str
    """The target token as it is drawn."""
    versus_text: str | None
    rows: tuple[Row, ...]
    """One per snapshot asked for, in the order of training."""
    note: str | None
    """What was done to the prompt, the logits or the kept code, None if nothing was."""
    softcap: float | None = None
    """Cap of the model's own logits; the ledgers take apart what comes before it."""


def decompose_prompt(
    store: Store,
    run_id: str,
    prompt: str,
    target: str | int | None = None,
    versus: str | int | None = None,
    step: str | int = "last",
    position: int = -1,
    hidden: Hidden = "final",
    device: str = "cpu",
) -> Explanation:
    """Take the score of a token, or of one token against another, apart at some snapshots.

    Args:
        store: the store that holds the run, its snapshots and its language model.
        run_id: a dictionary over W_U.
        prompt: any text of 1 to `MAX_CHARACTERS` characters that is not all white space.
        target: text of one token (space-first) or a token id; the likeliest one when None.
        versus: the token to compare with; without target and versus the two likeliest are
            compared, with a target alone its own logit is taken apart.
        step: `last`, `all`, or a step of the run.
        position: position of the prompt to predict after; negative from the end.
        hidden: `final` reads the last model's hidden state at every snapshot, `own` each
            snapshot's own model's, where the whole model is kept.
        device: where the language model runs.

    Raises:
        NotFound: no such run, or no language model.
        InvalidValue: prompt, target, step, position or kind of run cannot be used.
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
    steps = _steps(card, step, hidden, kept)
    last = card.steps[-1] if card.steps[-1] in kept else kept[-1]
    model = language_model(root, card, last, device)
    ids, note = model.read(prompt)
    position = _position(position, len(ids))
    final = hidden_states(root, card, last, device, tuple(ids))[position]
    tokenizer = load_tokenizer(models)
    top, n_rows = _candidates(root, card, model, final)
    score = _score(tokenizer, n_rows, top, target, versus)
    parts = _Parts.of(store, root, card, score)
    rows = []
    for at in steps:
        own = hidden == "own" and at != last
        h = hidden_states(root, card, at, device, tuple(ids))[position] if own else final
        rows.append(Row(at, at if own else last, parts.ledger(at, h.numpy())))
    return Explanation(
        run=card.run,
        prompt=prompt,
        tokens=tuple(ids),
        texts=tuple(draw_token(tokenizer, i) for i in ids),
        position=position,
        context=draw_tokens(tokenizer, ids[: position + 1]),
        top=top,
        score=score,
        target=plain_token(tokenizer, score.target),
        versus=None if score.versus is None else plain_token(tokenizer, score.versus),
        target_text=draw_token(tokenizer, score.target),
        versus_text=None if score.versus is None else draw_token(tokenizer, score.versus),
        rows=tuple(rows),
        note="; ".join(filter(None, (note, _cap_note(model.softcap), card.cut))) or None,
        softcap=model.softcap,
    )


# --- what is asked for ---------------------------------------------------------------------------


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


def _steps(card: RunCard, step: str | int, hidden: str, kept: Sequence[int]) -> list[int]:
    """The snapshots to answer for."""
    if hidden not in ("final", "own"):
        raise InvalidValue(f"hidden is {hidden!r}; use 'final' or 'own'")
    usable = [s for s in card.steps if hidden == "final" or s in kept]
    listed = ", ".join(map(str, usable))
    if not usable:
        raise InvalidValue(f"no whole model is kept at a step of {card.run}; use hidden 'final'")
    if step == "all":
        return usable
    if step == "last":
        return usable[-1:]
    try:
        number = int(step)
    except ValueError as error:
        raise InvalidValue(f"step {str(step)[:40]!r} is not 'last', 'all' or a number") from error
    if number in usable:
        return [number]
    if number in card.steps:
        raise InvalidValue(f"no whole model is kept at step {number}, only at {listed}")
    raise InvalidValue(f"{card.run} has no snapshot at step {number}; it has {listed}")


def _position(position: int, length: int) -> int:
    if not -length <= position < length:
        raise InvalidValue(
            f"position {position} is outside the prompt; it is read as {length} tokens, "
            f"0 to {length - 1}"
        )
    return position % length


def _score(
    tokenizer: Tokenizer,
    n_rows: int,
    top: Sequence[Candidate],
    target: str | int | None,
    versus: str | int | None,
) -> Score:
    if target is None and versus is None:
        return Score("contrast", top[0].token, top[1].token)
    wanted = top[0].token if target is None else _token(tokenizer, n_rows, target)
    if versus is None:
        return Score("token", wanted)
    other = _token(tokenizer, n_rows, versus)
    if other == wanted:
        raise InvalidValue(
            f"target and versus are the same token, {draw_token(tokenizer, wanted)!r}; name two"
        )
    return Score("contrast", wanted, other)


def _token(tokenizer: Tokenizer, n_rows: int, named: str | int) -> int:
    if isinstance(named, str):
        return resolve_token(tokenizer, named)
    if not 0 <= named < n_rows:
        raise InvalidValue(f"there is no token {named}; ids go from 0 to {n_rows - 1}")
    return int(named)


def _cap_note(cap: float | None) -> str | None:
    if cap is None:
        return None
    return (
        f"this model caps its logits at {cap:g}: scores and their parts are h . row before the "
        "cap, probabilities are after it"
    )


def _candidates(
    root: Path, card: RunCard, model: LanguageModel, h: Tensor
) -> tuple[tuple[Candidate, ...], int]:
    """The likeliest next tokens, and the number of rows that were asked.

    All rows of the last readout are multiplied in float32, block by block; those listed are
    multiplied again in float64.
    """
    if snapshot_path(root, card.model_name, model.step, "W_U").exists():
        file = open_snapshot(root, card.model_name, model.step, "W_U")
        logits = file.product("W_U", h)
        listed = logits.topk(min(TOP, len(logits))).indices
        rows = file.gather("W_U", listed.numpy())
    else:
        logits = model.logits_of(h)
        listed = logits.topk(min(TOP, len(logits))).indices
        rows = model.head_rows(listed.tolist())
    exact = rows.double() @ h.double()
    chance = _capped(logits.double(), model.softcap).softmax(dim=0)
    best = exact.argsort(descending=True, stable=True).tolist()
    return tuple(
        Candidate(
            int(listed[i]), draw_token(model.tokenizer, int(listed[i])), float(chance[listed[i]]),
            float(exact[i]), float(_capped(exact[i], model.softcap)),
        )
        for i in best
    ), len(logits)


def _capped(logits: Tensor, cap: float | None) -> Tensor:
    return logits if cap is None else cap * torch.tanh(logits / cap)


# --- one ledger ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Parts:
    """What the ledgers of one score share."""

    root: Path
    card: RunCard
    score: Score
    decoder: Decoder
    code: tuple[tuple[np.ndarray, np.ndarray], ...]
    """(features, p) of each token of the score, as they fire at one snapshot or more."""
    features: np.ndarray
    """(n,) sorted ids of all those features."""
    norms: np.ndarray
    """(n, K) their norms as the store keeps them; empty for a prism, which has no gate."""
    standards: tuple[np.ndarray, np.ndarray] | None
    """Means (K, d) and scales (K,) of the snapshots, None where the store does not keep them."""

    @classmethod
    def of(cls, store: Store, root: Path, card: RunCard, score: Score) -> "_Parts":
        """Read what does not depend on the snapshot."""
        found = store.code_of_tokens(card.run, score.tokens)
        code = tuple(
            (np.asarray(ids, dtype=np.int64), np.asarray(p, dtype=np.float32))
            for ids, p in (found[token] for token in score.tokens)
        )
        features, is_prism = active_features(code), card.kind == "prism"
        norms = np.zeros((0, 1)) if is_prism else store.norms_of_features(card.run, features)
        standards = None if is_prism else store.standardization(card.run)
        return cls(root, card, score, open_decoder(root, card), code, features, norms, standards)

    def ledger(self, step: int, h: np.ndarray) -> Ledger:
        """The score with one snapshot's readout and directions, read by h (d,)."""
        k = self.card.steps.index(step)
        rows = rows_of(self.root, self.card, step, self.score.tokens)
        active = [self._active(ids, p, k) for ids, p in self.code]
        directions = self.decoder.directions(k, active_features(active))
        known = (h, rows, self.score.weights, active, directions)
        offset = self.decoder.offset[k]
        if self.card.kind == "prism":
            return decompose_prism(*known, offset)
        if self.standards is None:
            mean, scale = standards_of(self.root, self.card, step)
        else:
            mean, scale = self.standards[0][k], self.standards[1][k]
        return decompose_crosscoder(*known, mean, float(scale), offset)

    def _active(self, ids: np.ndarray, p: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The features of one token that fire at a snapshot and their activations there."""
        if self.card.kind == "prism":
            return ids[p > 0], p[p > 0]
        norms = self.norms[np.searchsorted(self.features, ids), k]
        a = activations_at(p, norms, self.decoder.threshold[ids])
        return ids[a > 0], a[a > 0]
