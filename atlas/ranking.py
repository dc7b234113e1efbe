"""The likeliest next tokens of a reading in their exact order."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.artifacts import snapshot_path
from atlas.reading import Reading
from atlas.slices import open_snapshot
from atlas.token_forms import is_token

MARGIN = 8
"""Tokens before and behind the ranks asked for that are multiplied again in float64: the first
order is by float32 products, in which near neighbours may stand the wrong way round."""


@dataclass(frozen=True)
class Ranked:
    """Tokens from one rank to another, likeliest first."""

    tokens: tuple[int, ...]
    """Fewer than asked for where the vocabulary ends."""
    count: int
    """Tokens that have a rank."""
    note: str | None = None
    """That rows without a token were left out, None if none was."""


def exact_logits(reading: Reading, tokens: Sequence[int]) -> np.ndarray:
    """h . row of the last readout for some tokens, (n,) float64, before a cap."""
    root, card = reading.root, reading.card
    if snapshot_path(root, card.model_name, reading.step, "W_U").exists():
        file = open_snapshot(root, card.model_name, reading.step, "W_U")
        rows = file.gather("W_U", np.asarray(tokens, dtype=np.int64)).numpy()
    else:
        rows = reading.model.head_rows(list(tokens)).numpy()
    return rows.astype(np.float64) @ reading.h.astype(np.float64)


def ranked(reading: Reading, first: int, last: int) -> Ranked:
    """Tokens of the ranks `first` to `last`, from 1; equal ones in the order of their ids.

    Rows of the matrix that belong to no token have no rank.
    """
    tokenizer = reading.tokenizer
    rows = len(reading.logits)
    count = min(tokenizer.get_vocab_size(), rows)
    listed = [c.token for c in reading.top[:last]]
    if last <= len(listed) and all(is_token(tokenizer, token) for token in listed):
        return Ranked(tuple(listed[first - 1 :]), count)
    order = np.argsort(-reading.logits, kind="stable")
    wanted = last + MARGIN
    kept: list[int] = []
    skipped = 0
    for token in order.tolist():
        if is_token(tokenizer, token):
            kept.append(token)
            if len(kept) >= wanted:
                break
        elif len(kept) < last:
            skipped += 1
    start = max(0, first - 1 - MARGIN)
    near = kept[start:]
    logits = exact_logits(reading, near)
    exact = sorted(range(len(near)), key=lambda i: (-logits[i], near[i]))
    found = tuple(near[i] for i in exact)[first - 1 - start : last - start]
    note = None if not skipped else (
        f"{skipped} row{'s' if skipped > 1 else ''} of the matrix that belong to no token stand "
        "among the likeliest and have no rank here"
    )
    return Ranked(found, count, note)
