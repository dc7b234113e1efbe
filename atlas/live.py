"""The live decomposition: a prompt in, one ledger per snapshot out, no page and no encoder.

The sparse code of the scored tokens comes from the store, the directions of its features from the
run folder, the rows from the snapshots; only the hidden state is computed. The exact score is
h . row in float64 from the stored row, never the model's own logit, so base + features + residual
closes on it (prism-method §6.2, §14 trap 7); the rounding of the stored code lands in the residual.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from atlas.artifacts import THRESHOLD, load_snapshot, read_run, snapshot_path
from atlas.cards import CodeRow
from atlas.codes import activations_at
from atlas.crosscoder import standardize
from atlas.decomposition import (
    Ledger,
    Score,
    active_features,
    decompose_crosscoder,
    decompose_prism,
)
from atlas.errors import InvalidValue, NotFound
from atlas.language_model import (
    LanguageModel,
    Tokenizer,
    draw_token,
    draw_tokens,
    encode,
    full_steps,
    load_tokenizer,
    plain_token,
    resolve_token,
)
from atlas.places import model_path
from atlas.records import RunCard
from atlas.store import Store
from atlas.tensor_files import load_tensors

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
    logit: float


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
    """What was done to the prompt, None if nothing was."""


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
        raise NotFound(
            f"{models} holds no language model, so no prompt can be read; "
            "`readout-atlas doctor` tells what is missing"
        )
    steps = _steps(card, step, hidden, kept)
    ids, note = _read_prompt(root, card.model, prompt, device)
    position = _position(position, len(ids))
    final = _hidden(root, card.model, kept[-1], device, ids)[position]
    tokenizer = load_tokenizer(models)
    readout = load_snapshot(root, card.model_name, kept[-1], "W_U")
    top = _candidates(tokenizer, final, readout)
    score = _score(tokenizer, len(readout), top, target, versus)
    code = store.code_of_tokens(card.run, score.tokens)
    rows = []
    for at in steps:
        own = hidden == "own" and at != kept[-1]
        h = _hidden(root, card.model, at, device, ids)[position] if own else final
        rows.append(Row(at, at if own else kept[-1], _ledger(root, card, code, at, score, h)))
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
        note=note,
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


def _read_prompt(root: Path, model: str, prompt: str, device: str) -> tuple[list[int], str | None]:
    last = _language_model(root, model, full_steps(model_path(root, model))[-1], device)
    ids = encode(last.tokenizer, prompt)
    if not ids:
        raise InvalidValue("the prompt holds no token; write some text")
    if len(ids) <= last.context:
        return ids, None
    return ids[-last.context :], (
        f"the prompt is {len(ids):,} tokens long; the model reads the last {last.context}"
    )


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


def _candidates(tokenizer: Tokenizer, h: Tensor, readout: Tensor) -> tuple[Candidate, ...]:
    logits = readout.double() @ h.double()
    probabilities = logits.softmax(dim=0)
    return tuple(
        Candidate(t, draw_token(tokenizer, t), float(probabilities[t]), float(logits[t]))
        for t in logits.topk(min(TOP, len(logits))).indices.tolist()
    )


# --- hidden states -------------------------------------------------------------------------------


def _hidden(root: Path, model: str, step: int, device: str, ids: Sequence[int]) -> Tensor:
    """Hidden states of some tokens by the model of a step, (T, d)."""
    return _language_model(root, model, step, device).hidden_of(list(ids))


def _language_model(root: Path, model: str, step: int, device: str) -> LanguageModel:
    folder = model_path(root, model)
    modified = _modified(folder / f"step{step}.safetensors")
    return _load_language_model(folder, root, step, device, modified)


@lru_cache(maxsize=16)
def _load_language_model(
    folder: Path, root: Path, step: int, device: str, modified: int
) -> LanguageModel:
    return LanguageModel.load(folder, root, step, device)


def _modified(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError as error:
        raise NotFound(f"{path} is not there; `readout-atlas doctor` tells what to do") from error


# --- one ledger ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Decoder:
    """What a decomposition needs of a dictionary: everything but the encoder."""

    directions: Tensor
    """(K, D, d); K is 1 for a prism."""
    norms: Tensor
    """(K, D)."""
    threshold: Tensor
    """(D,); 0 for a prism, whose every entry of the code is active."""
    offset: Tensor
    """(K, d): b_D of a crosscoder, the row mean of a prism."""


def _decoder(folder: Path, is_prism: bool) -> _Decoder:
    return _load_decoder(folder, is_prism, _modified(folder / "dictionary.safetensors"))


@lru_cache(maxsize=4)
def _load_decoder(folder: Path, is_prism: bool, modified: int) -> _Decoder:
    weights = read_run(folder).weights
    if is_prism:
        tensors = load_tensors(weights, ["decoder", "row_mean"])
        directions, offset = tensors["decoder"][None], tensors["row_mean"][None]
        threshold = torch.zeros(directions.shape[1])
    else:
        tensors = load_tensors(weights, ["W_D", "b_D", THRESHOLD])
        directions, offset = tensors["W_D"], tensors["b_D"]
        threshold = tensors[THRESHOLD].exp()
    return _Decoder(directions, directions.norm(dim=-1), threshold, offset)


@dataclass(frozen=True)
class _Readout:
    """What a decomposition needs of a W_U snapshot; the whole matrix is not kept."""

    rows: np.ndarray
    """(n, d), raw rows of the scored tokens."""
    mean: np.ndarray
    """(d,), over all rows (crosscoder-method §2)."""
    scale: float


def _readout(root: Path, name: str, step: int, tokens: tuple[int, ...]) -> _Readout:
    path = snapshot_path(root, name, step, "W_U")
    return _load_readout(root, name, step, tokens, _modified(path))


@lru_cache(maxsize=4096)
def _load_readout(
    root: Path, name: str, step: int, tokens: tuple[int, ...], modified: int
) -> _Readout:
    raw = load_snapshot(root, name, step, "W_U")
    statistics, _ = standardize(raw[None])
    rows = raw[list(tokens)].numpy()
    return _Readout(rows, statistics.mean[0].numpy(), float(statistics.scale[0]))


def _ledger(
    root: Path, card: RunCard, code: Mapping[int, CodeRow], step: int, score: Score, h: Tensor
) -> Ledger:
    """The score with one snapshot's readout and directions."""
    k = card.steps.index(step)
    is_prism = card.kind == "prism"
    decoder = _decoder(root / card.folder, is_prism)
    readout = _readout(root, card.model_name, step, score.tokens)
    activations = [
        _active(*code[token], decoder.norms[k].numpy(), decoder.threshold.numpy(), is_prism)
        for token in score.tokens
    ]
    directions = decoder.directions[k][torch.from_numpy(active_features(activations))].numpy()
    state, offset = h.numpy(), decoder.offset[k].numpy()
    known = (state, readout.rows, score.weights, activations, directions)
    if is_prism:
        return decompose_prism(*known, offset)
    return decompose_crosscoder(*known, readout.mean, readout.scale, offset)


def _active(
    features: np.ndarray, p: np.ndarray, norms: np.ndarray, threshold: np.ndarray, is_prism: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The features of one token that fire at a snapshot and their activations there."""
    features, p = np.asarray(features, dtype=np.int64), np.asarray(p, dtype=np.float32)
    a = p if is_prism else activations_at(p, norms[features], threshold[features])
    return features[a > 0], a[a > 0]
