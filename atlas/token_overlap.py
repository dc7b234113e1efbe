"""Which feature of another dictionary fires on the same tokens: weighted Jaccard of all pairs.

Shapes: V tokens, D features. A feature's strength on a token is its pre-activation over its
largest, 0 to 1, so that dictionaries of other widths, schedules and matrices compare as long as
they number the same tokens. Two features share sum_v min(a_v, b_v) / sum_v max(a_v, b_v): of equal
strengths it is the Jaccard index of the two sets (crosscoder-method §11, prism-method §11), and it
is 1 for the same feature only. Every pair is exact: sum max = sum a + sum b - sum min, and the sum
of minima runs over the tokens that both have, read off the sparse code a block of features at a
time.

The null. The tokens of one dictionary change places among tokens on which about as many features
of both fire: how many tokens a feature has, with which strengths, and how its features overlap each
other stay; which tokens they are goes. A free exchange would flatter: some tokens fire hundreds of
features in any dictionary, and those who share them share nothing else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from atlas.codes import CSR
from atlas.matching import (
    MAX_TURNS,
    NULL_VALUES,
    Best,
    Found,
    Keep,
    Report,
    found_in,
    joined,
    largest,
    merged,
)

LIKE_TOKENS = 32
"""Tokens that change places among each other in the null."""
HELD_SCORES = 2**23
"""Scores that are held at a time, in float64 a few times over: a quarter of a gigabyte."""


@dataclass(frozen=True, eq=False)
class Firing:
    """One dictionary by the tokens its features fire on."""

    by_feature: CSR
    """Tokens of each feature and its strength there, 0 to 1 with largest 1."""
    by_token: CSR
    """Features of each token and their strength there."""
    total: np.ndarray
    """(D,) float64 summed strength; 0 for a feature that is left out."""

    @property
    def n_tokens(self) -> int:
        return len(self.by_token.offsets) - 1

    @property
    def n_features(self) -> int:
        return len(self.total)


def firing(token: np.ndarray, feature: np.ndarray, p: np.ndarray, n_tokens: int,
           kept: np.ndarray) -> Firing:
    """A dictionary from the entries of its code.

    Args:
        token, feature, p: (N,) in any order; p above 0. Tokens from `n_tokens` on are passed over.
        kept: (D,) bool, features that may have a partner and be one.
    """
    on = (token < n_tokens) & kept[feature] & (p > 0)
    token, feature = token[on].astype(np.int64), feature[on].astype(np.int64)
    strength = p[on].astype(np.float32)
    most = np.zeros(len(kept), np.float32)
    np.maximum.at(most, feature, strength)
    strength = strength / most[feature]
    total = np.bincount(feature, strength, minlength=len(kept)).astype(np.float64)
    return Firing(_grouped(feature, token, strength, len(kept)),
                  _grouped(token, feature, strength, n_tokens), total)


def _grouped(rows: np.ndarray, columns: np.ndarray, values: np.ndarray, size: int) -> CSR:
    order = np.argsort(rows * (columns.max(initial=0) + 1) + columns, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=size))])
    return CSR(offsets.astype(np.int64), columns[order].astype(np.int32), values[order])


def find(
    first: Firing,
    second: Firing,
    seed: int = 0,
    turns: int | None = None,
    report: Report | None = None,
    keep: Keep | None = None,
) -> Found:
    """Partners of the features of `first` in `second`, and of those of `second` in `first`.

    Args:
        seed: of the exchanges. turns: exchanges of the null; as many as give it `NULL_VALUES`.
        report: called with a line per block.
        keep: called with the first feature of each block and its scores (B, D'), -inf where a
            feature is left out; they change after the call.

    Raises:
        ValueError: different numbers of tokens.
    """
    if first.n_tokens != second.n_tokens:
        raise ValueError(f"{first.n_tokens} tokens and {second.n_tokens}")
    least = max(1, min(int((side.total > 0).sum()) for side in (first, second)))
    turns = turns or min(MAX_TURNS, math.ceil(NULL_VALUES / least))
    generator = np.random.default_rng(seed)
    places = [None, *(exchange(first, second, generator) for _ in range(turns))]
    mine: list[list[Best]] = [[] for _ in places]
    theirs: list[Best | None] = [None for _ in places]
    for start, stop in _blocks(first, second):
        for turn, place in enumerate(places):
            scores = torch.from_numpy(jaccard(first, second, start, stop, place))
            squares = [torch.linalg.vector_norm(scores, dim=dim).square() for dim in (0, 1)]
            scores[:, torch.from_numpy(second.total == 0)] = -math.inf
            scores[torch.from_numpy(first.total[start:stop] == 0)] = -math.inf
            if keep and place is None:
                keep(start, scores)
            theirs[turn] = merged(theirs[turn], largest(scores, 0, squares[0], start))
            mine[turn].append(largest(scores, 1, squares[1]))
        if report:
            report(f"match: tokens of features up to {stop:,} of {first.n_features:,}")
    found = found_in(list(zip([joined(parts) for parts in mine], theirs, strict=True)))
    return replace(found, places=tuple(places[1:]))


def _blocks(first: Firing, second: Firing) -> list[tuple[int, int]]:
    """Features of the first that are compared at once."""
    size = max(1, HELD_SCORES // max(1, second.n_features))
    return [(start, min(start + size, first.n_features))
            for start in range(0, first.n_features, size)]


def jaccard(
    first: Firing, second: Firing, start: int, stop: int, place: np.ndarray | None = None
) -> np.ndarray:
    """Weighted Jaccard (stop - start, D') float32 of some features of the first with all others.

    A feature at a time: what it needs then stays in the processor's cache, which is twice as fast
    as many at once.

    Args:
        place: (V,) the token of the second that lies at each token; itself unless told.
    """
    shared = np.empty((stop - start, second.n_features))
    for row in range(stop - start):
        shared[row] = _shared(first, second, start + row, place)
    whole = first.total[start:stop, None] + second.total - shared
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0).astype(np.float32)


def _shared(
    first: Firing, second: Firing, feature: int, place: np.ndarray | None
) -> np.ndarray:
    """(D',) sums of the smaller strength over the tokens that a feature has in common with each."""
    low, high = first.by_feature.offsets[[feature, feature + 1]]
    tokens, strength = first.by_feature.columns[low:high], first.by_feature.values[low:high]
    there = tokens if place is None else place[tokens]
    offsets = second.by_token.offsets
    each = offsets[there + 1] - offsets[there]
    entries = np.repeat(offsets[there] - (np.cumsum(each) - each), each)
    entries += np.arange(len(entries))
    smaller = np.minimum(np.repeat(strength, each), second.by_token.values[entries])
    return np.bincount(second.by_token.columns[entries], smaller, second.n_features)


def exchange(
    first: Firing, second: Firing, generator: np.random.Generator, size: int = LIKE_TOKENS
) -> np.ndarray:
    """Places (V,) int64 exchanged among tokens on which about as many features fire, `size` at a
    time; tokens without any stay."""
    either = [np.diff(side.by_token.offsets) for side in (first, second)]
    busy = either[0] + either[1]
    ordered = np.argsort(busy, kind="stable")
    ordered = ordered[busy[ordered] > 0]
    place = np.arange(first.n_tokens)
    for group in np.array_split(ordered, max(1, round(len(ordered) / size))):
        place[group] = generator.permutation(group)
    return place


def joint(
    first: Firing, second: Firing, feature: int, parts: Sequence[int],
    place: np.ndarray | None = None,
) -> np.ndarray:
    """Weighted Jaccard (n,) of a feature with its first 1, 2 … n parts taken together.

    Features taken together are as strong on a token as the strongest of them.
    """
    low, high = first.by_feature.offsets[[feature, feature + 1]]
    whole = np.zeros(second.n_tokens, np.float32)
    whole[first.by_feature.columns[low:high] if place is None
          else place[first.by_feature.columns[low:high]]] = first.by_feature.values[low:high]
    together, found = np.zeros_like(whole), []
    for part in parts:
        low, high = second.by_feature.offsets[[part, part + 1]]
        tokens = second.by_feature.columns[low:high]
        together[tokens] = np.maximum(together[tokens], second.by_feature.values[low:high])
        found.append(np.minimum(whole, together).sum(dtype=np.float64)
                     / np.maximum(whole, together).sum(dtype=np.float64))
    return np.array(found)
