"""What the page shows of the inside of a model: lens, layers, components, every position.

Joins a reading, one pass of the model that read it, and the ledgers of a run. The step of the
model and the step of the readout may differ: an old readout can be read by the last model.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from atlas import lens
from atlas.attribution import (
    Attribution,
    Component,
    attribute,
    beyond_chance,
    layer_name,
    token_spread,
)
from atlas.decomposition import Ledger, Score, token_logit
from atlas.errors import InvalidValue, OutOfMemory
from atlas.heat import chosen_snapshots
from atlas.hidden_states import language_model
from atlas.inside import Passage, head_parts, look_inside, why_no_heads
from atlas.lens import Blocks, Gather, Grid, Layers
from atlas.live import Parts
from atlas.reading import Reading
from atlas.slices import open_decoder, open_snapshot, rows_of
from atlas.store import Store

if TYPE_CHECKING:
    from torch.nn import Module

WINDOW, LAYERS = 16, 18
"""Positions that are looked into at once, and layers of the lens at most."""
STRIP = 128
"""Tokens of the strip at most."""
SHOWN = 12
"""Features of the map of components."""
DRAWN_FEATURES, DRAWN_TOKENS, SEED = 256, 512, 0
"""What chance is drawn from, and the seed of the draw."""


def window_of(length: int, position: int, size: int = WINDOW) -> tuple[int, ...]:
    """The positions of a page of `size` that ends with the prompt and holds a position.

    Pages are counted from the end, so that the last one is full.
    """
    from_end = (length - 1 - position) // size
    stop = length - from_end * size
    return tuple(range(max(0, stop - size), stop))


def passage_of(reading: Reading, step: int, positions: tuple[int, ...]) -> Passage:
    """One pass of the model of a kept step; raises as `look_inside` and `language_model`.

    Where the device runs out of memory the CPU is asked; OutOfMemory if that has too little.
    """
    import torch

    def looked(device: str) -> Passage:
        module = language_model(reading.root, reading.card, step, device).module
        return look_inside(module, reading.tokens, positions)

    try:
        return looked(reading.device)
    except (torch.OutOfMemoryError, MemoryError):
        pass
    try:
        return looked("cpu")
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(
            f"looking into {len(reading.tokens)} tokens takes more memory than there is; use a "
            "shorter prompt"
        ) from error


def _readout(reading: Reading, step: int) -> tuple[Blocks, Gather]:
    """The rows of a snapshot, in blocks and by token."""
    root, card = reading.root, reading.card
    file = open_snapshot(root, card.model_name, step, "W_U")
    return lambda: file.blocks("W_U"), lambda tokens: rows_of(root, card, step, tokens)


def _reader(store: Store, reading: Reading, step: int) -> Callable[[Score, np.ndarray], Ledger]:
    """Takes scores apart at one snapshot; what a score needs of the store is read once."""
    known: dict[Score, Parts] = {}

    def read(score: Score, h: np.ndarray) -> Ledger:
        if score not in known:
            known[score] = Parts.of(store, reading.root, reading.card, score)
        return known[score].ledger(step, h)

    return read


def grid_of(store: Store, reading: Reading, passage: Passage, step: int) -> Grid:
    """The likeliest tokens of a passage by layer and position, with the readout of a step.

    Of a deep model `LAYERS` layers, the first and the last among them.
    """
    blocks, gather = _readout(reading, step)
    read = _reader(store, reading, step)
    shown = chosen_snapshots(passage.blocks + 1, [], LAYERS)
    return lens.grid(passage, shown, blocks, gather, reading.softcap, read)


def layers_of(
    store: Store, reading: Reading, passage: Passage, score: Score, step: int, position: int
) -> Layers:
    """One score after every block, with the readout and the directions of a step."""
    blocks, gather = _readout(reading, step)
    read = _reader(store, reading, step)
    def spread(states: np.ndarray) -> np.ndarray:
        return token_chance(reading, score, states, step)

    return lens.layers(passage, position, score, blocks, gather, reading.softcap, read, spread)


# --- by component ------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Components:
    """One score by component, beside what chance gives."""

    found: Attribution
    spread: np.ndarray
    """(C, 2) between which totals 95 % of tokens, or pairs of them, drawn at random lie."""
    beyond: np.ndarray
    """(C, m) whether a part of one of the listed features is more than chance gives."""
    split: int | None
    """The block whose attention is split by head, None if none is."""
    why_whole: str | None
    """Why it is not, though it was asked for; None if it is or was not asked for."""
    sum_error: float
    """Largest difference of the components' sum from the final residual stream."""
    norm_error: float
    """Largest difference of the shares' sum from what the head reads."""
    precision: str


def components_of(
    store: Store, reading: Reading, passage: Passage, score: Score, hidden_step: int, step: int,
    position: int, split: int | None = None,
) -> Components:
    """Which component wrote the score, through which feature (prism-method §8.3).

    Args:
        hidden_step: step of the model that the passage is of.
        step: snapshot of readout and directions.
        split: block whose attention is taken apart by head.
    """
    named, values = passage.components(position)
    why_whole = None
    if split is not None:
        module = language_model(reading.root, reading.card, hidden_step, reading.device).module
        named, values, why_whole = _split(module, passage, named, values, split, position)
    i = passage.at(position)
    state = passage.residual[-1][i]
    shares = passage.norm.shares(values, state)
    if passage.norm.bias is not None:
        named = (*named, Component("norm bias"))
        shares = np.vstack([shares, passage.norm.bias])
    parts = Parts.of(store, reading.root, reading.card, score)
    exact = parts.ledger(step, passage.normed[i].astype(np.float64)).exact
    found = attribute(named, [parts.ledger(step, share) for share in shares], exact, SHOWN)
    return Components(
        found=found,
        spread=token_chance(reading, score, shares, step),
        beyond=_feature_chance(reading, shares, found.features, step),
        split=split if why_whole is None else None,
        why_whole=why_whole,
        sum_error=passage.sum_error,
        norm_error=float(np.abs(shares.sum(axis=0) - passage.normed[i]).max()),
        precision=passage.precision,
    )


def _split(
    module: "Module", passage: Passage, named: tuple[Component, ...], values: np.ndarray,
    block: int, position: int,
) -> tuple[tuple[Component, ...], np.ndarray, str | None]:
    """Put the heads of a block in the place of its attention; why not, if they cannot be."""
    if not 0 <= block < passage.blocks:
        raise InvalidValue(f"there is no block {block}; there are 0 to {passage.blocks - 1}")
    reason = why_no_heads(module, block)
    place = next((i for i, c in enumerate(named)
                  if c.block == block and c.kind.endswith("attention")), None)
    if reason is not None or place is None:
        return named, values, reason or f"block {block} has no attention of its own"
    heads, apart = head_parts(module, passage, block, position)
    return (
        (*named[:place], *heads, *named[place + 1 :]),
        np.vstack([values[:place], apart, values[place + 1 :]]),
        None,
    )


def token_chance(reading: Reading, score: Score, states: np.ndarray, step: int) -> np.ndarray:
    """Between which scores 95 % of randomly drawn tokens lie for states (n, d), (n, 2).

    A score whose weights add up to 0 is set beside pairs of tokens, one against another.
    """
    count = len(reading.logits)
    rng = np.random.default_rng(SEED)
    drawn = rng.choice(count, size=min(DRAWN_TOKENS, count), replace=False)
    rows = rows_of(reading.root, reading.card, step, drawn).astype(np.float64)
    if score.kind in ("centred", "vocabulary"):
        rows = rows - rows.mean(axis=0)
    return token_spread(states, rows, paired(score))


def paired(score: Score) -> bool:
    """Whether a score reads tokens against tokens: its weights add up to 0."""
    return abs(sum(score.weights)) < 1e-9


def _feature_chance(
    reading: Reading, shares: np.ndarray, features: np.ndarray, step: int
) -> np.ndarray:
    card, rng = reading.card, np.random.default_rng(SEED)
    decoder, k = open_decoder(reading.root, card), card.steps.index(step)
    others = np.setdiff1d(np.arange(card.d_sae), features)
    drawn = np.sort(rng.choice(others, size=min(DRAWN_FEATURES, len(others)), replace=False))
    return beyond_chance(
        shares, decoder.directions(k, features), decoder.directions(k, drawn)
    )


# --- every position ------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Strip:
    """How well the model saw each token of a prompt coming."""

    first: int
    """Position of the first of the tokens."""
    tokens: tuple[int, ...]
    logits: np.ndarray
    """(n,) of each token after those before it; nan for the first of the prompt."""
    probabilities: np.ndarray
    """(n,)."""
    ranks: np.ndarray
    """(n,), nan for the first of the prompt."""
    rows: int
    """Tokens that there are."""
    ledgers: tuple[Ledger | None, ...]
    """(n,) of that logit less that of the mean row: whether features explain it."""


def strip_of(store: Store, reading: Reading, hidden_step: int, step: int) -> Strip:
    """The tokens of the prompt around the position that is read, as the model predicts them."""
    span = window_of(len(reading.tokens), reading.position, STRIP)
    tokens = reading.tokens[span[0] : span[-1] + 1]
    told = tokens if span[0] else tokens[1:]
    logits, probabilities, ranks = (np.full(len(tokens), np.nan) for _ in range(3))
    ledgers: list[Ledger | None] = [None] * len(tokens)
    if told:
        skip = len(tokens) - len(told)
        before = slice(span[0] + skip - 1, span[-1])
        states = reading.states(hidden_step)[before]
        blocks, gather = _readout(reading, step)
        cells = lens.read_cells(states, told, blocks, gather, reading.softcap)
        logits[skip:], ranks[skip:] = cells.asked_logits, cells.ranks
        probabilities[skip:] = cells.asked_probabilities
        read = _reader(store, reading, step)
        centred = [replace(token_logit(token), kind="centred") for token in told]
        ledgers[skip:] = [read(score, h) for score, h in zip(centred, states, strict=True)]
    return Strip(
        span[0], tokens, logits, probabilities, ranks, len(reading.logits), tuple(ledgers)
    )


# --- as frames ------------------------------------------------------------


def components_frame(found: Components) -> pd.DataFrame:
    """One line per component: total, its parts, what chance gives, the strongest features."""
    a = found.found
    table = pd.DataFrame({
        "component": [c.kind for c in a.components],
        "block": pd.array([c.block for c in a.components], dtype="Int64"),
        "total": a.totals,
        "offset": a.offsets,
        "features": a.feature_sums,
        "residual": a.residuals,
        "chance_low": found.spread[:, 0],
        "chance_high": found.spread[:, 1],
    })
    columns = {f"feature {f}": a.matrix[:, i] for i, f in enumerate(a.features.tolist())}
    return table.assign(**columns)


def layers_frame(found: Layers) -> pd.DataFrame:
    """One line per layer: the score's parts and gate, the target's rank and probability."""
    return pd.DataFrame({
        "after": [layer_name(i) for i in range(len(found.ledgers))],
        "exact": [x.exact for x in found.ledgers],
        "base": [x.base for x in found.ledgers],
        "features": [x.feature_sum for x in found.ledgers],
        "residual": [x.residual for x in found.ledgers],
        "rho": [x.rho for x in found.ledgers],
        "gate": [x.gate for x in found.ledgers],
        "target_rank": found.ranks,
        "target_probability": found.probabilities,
        "chance_low": found.spread[:, 0],
        "chance_high": found.spread[:, 1],
        "cosine_with_final": found.nearness,
    })


def grid_frame(found: Grid) -> pd.DataFrame:
    """One line per cell of the lens: its token, probability, logit and gate."""
    return pd.DataFrame({
        "after": [layer_name(i) for i in found.layers for _ in found.positions],
        "position": list(found.positions) * len(found.layers),
        "token": found.tokens.ravel(),
        "probability": found.probabilities.ravel(),
        "logit": found.logits.ravel(),
        "rho": [x.rho for row in found.ledgers for x in row],
        "gate": found.gates.ravel(),
        "cosine_with_final": found.nearness.ravel(),
    })


def strip_frame(found: Strip) -> pd.DataFrame:
    """One line per token of the prompt: how likely the model held it, and the gate."""
    return pd.DataFrame({
        "position": range(found.first, found.first + len(found.tokens)),
        "token": found.tokens,
        "probability": found.probabilities,
        "logit": found.logits,
        "rank": found.ranks,
        "rho": [np.nan if x is None else x.rho for x in found.ledgers],
        "gate": [None if x is None else x.gate for x in found.ledgers],
    })
