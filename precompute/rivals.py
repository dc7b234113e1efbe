"""What a dictionary is set against at the last snapshot, each as components of every row.

The mathematics is in `atlas.baselines`; here it reads the rows of a run (prism-method §10).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from atlas import baselines
from atlas.baselines import Coded
from precompute.readouts import Readouts, weighted_sums

LARGEST = 1_500_000_000
"""Bytes of unit rows that are held; a ridge of a larger matrix is left out."""
FITTED = 65_536
"""Rows of a larger matrix that its principal axes are fitted to, evenly spread."""
NORM_FLOOR = 1e-8
"""Smallest length that a row is divided by (prism-method §1)."""


class Rows:
    """The centred rows of the last snapshot: what all methods rebuild."""

    def __init__(self, readouts: Readouts) -> None:
        self.readouts, self.k = readouts, readouts.count - 1
        self.shared = readouts.shared(self.k)
        self.n_rows, self.width = readouts.snapshots.n_rows, readouts.snapshots.width
        self.lengths = np.empty(self.n_rows, dtype=np.float32)
        """(V,) of the rows less what all share, at least 1e-8."""
        self.about_mean = np.empty(self.n_rows, dtype=np.float32)
        """(V,) of the rows less their mean: what rowEV divides by."""
        mean = torch.from_numpy(readouts.mean(self.k))
        for part, rows in readouts.blocks(self.k):
            self.lengths[part] = (rows - torch.from_numpy(self.shared)).norm(dim=1)
            self.about_mean[part] = (rows - mean).norm(dim=1)
        np.maximum(self.lengths, NORM_FLOOR, out=self.lengths)

    def unit(self, tokens: np.ndarray) -> np.ndarray:
        """Unit rows (n, d) float32 of some tokens."""
        if "all_unit" in self.__dict__:
            return self.all_unit[tokens]
        rows = self.readouts.rows(self.k, tokens) - self.shared
        return rows / self.lengths[tokens, None]

    @cached_property
    def all_unit(self) -> np.ndarray:
        """(V, d)."""
        found = np.empty((self.n_rows, self.width), dtype=np.float32)
        for part, rows in self.readouts.blocks(self.k):
            found[part] = (rows.numpy() - self.shared) / self.lengths[part, None]
        return found


@dataclass(frozen=True, eq=False)
class Rival:
    """A method: components of tokens and the directions of components."""

    name: str
    directions: np.ndarray
    """(m, d) float32."""
    coded: Callable[[np.ndarray, Sequence[int]], list[Coded]]
    """Components of some tokens (n,), given the tokens that a score reads."""
    fits: bool = field(default=False)
    """Whether it is fitted to every row anew, which takes its time."""

    def rebuilt(self, tokens: np.ndarray) -> Tensor:
        """Rows (n, d) without what all share."""
        codes = self.coded(tokens, ())
        ids = np.concatenate([c[0] for c in codes]).astype(np.int64)
        a = np.concatenate([c[1] for c in codes]).astype(np.float32)
        offsets = np.cumsum([0, *(len(c[0]) for c in codes[:-1])])
        return weighted_sums(ids, a, offsets, torch.from_numpy(self.directions))


def rivals(rows: Rows, k: float, seed: int = 0) -> list[Rival]:
    """The dictionary itself first, then baselines and nulls; `k` is its features of a row."""
    readouts, last = rows.readouts, rows.k
    directions = readouts.directions(last)
    own = Rival("dictionary", directions, lambda tokens, _: readouts.codes(last, tokens))
    found = [own]
    if rows.n_rows * rows.width * 4 <= LARGEST:
        found.append(_ridge(rows))
    axes = _axes(rows)
    found += [_pca(rows, axes[:rank]) for rank in baselines.ranks_beside(k, rows.width)]
    return [*found, _shuffled(rows, own, seed), _random(own, seed)]


def _axes(rows: Rows) -> np.ndarray:
    gram = np.zeros((rows.width, rows.width))
    count = min(rows.n_rows, FITTED)
    chosen = np.linspace(0, rows.n_rows - 1, count).round().astype(np.int64)
    for start in range(0, count, 4096):
        part = rows.unit(chosen[start : start + 4096])
        gram += part.T @ part
    return baselines.components(gram)


def _pca(rows: Rows, axes: np.ndarray) -> Rival:
    ids = np.arange(len(axes))

    def coded(tokens: np.ndarray, _: Sequence[int]) -> list[Coded]:
        found = rows.unit(tokens) @ axes.T * rows.lengths[tokens, None]
        return [(ids, a) for a in found]

    return Rival(f"pca-{len(axes)}", axes, coded)


def _ridge(rows: Rows) -> Rival:
    x = rows.all_unit

    def coded(tokens: np.ndarray, scored: Sequence[int]) -> list[Coded]:
        near = []
        for start in range(0, len(tokens), 256):
            part = tokens[start : start + 256]
            for token, similar in zip(part, x[part] @ x.T, strict=True):
                near.append(baselines.nearest(similar, {int(token), *scored}))
        found = baselines.ridges(x, tokens, np.stack(near))
        return [(ids, a * rows.lengths[token])
                for token, ids, a in zip(tokens, near, found, strict=True)]

    return Rival("ridge", x, coded, fits=True)


def _shuffled(rows: Rows, own: Rival, seed: int) -> Rival:
    lender = baselines.permutation(rows.n_rows, seed)

    def coded(tokens: np.ndarray, _: Sequence[int]) -> list[Coded]:
        given = lender[tokens]
        return baselines.shuffled(own.coded(given, ()), rows.lengths[tokens], rows.lengths[given])

    return Rival("shuffled", own.directions, coded)


def _random(own: Rival, seed: int) -> Rival:
    norms = np.linalg.norm(own.directions, axis=1)
    among = np.flatnonzero(norms > NORM_FLOOR)

    def coded(tokens: np.ndarray, _: Sequence[int]) -> list[Coded]:
        return [baselines.scattered(code, norms, among, int(token), seed)
                for token, code in zip(tokens, own.coded(tokens, ()), strict=True)]

    return Rival("random", own.directions, coded)
