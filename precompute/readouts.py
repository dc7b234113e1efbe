"""The readout of the true matrix and of a dictionary at every snapshot, as a build has them.

Both kinds of dictionary: raw row = shared + sum_j a_j direction_j + left-over, with shared the mean
(and offset) of a snapshot and a_j in raw units (crosscoder-method §3.2, prism-method §1). No matrix
of rows is ever rebuilt whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from atlas.baselines import Coded
from atlas.codes import CSR, activations_at
from atlas.tensor_files import TensorFile
from precompute.sources import PrismDictionary, Snapshots, Source

BLOCK = 4096
"""Rows that are looked at at once."""


@dataclass(frozen=True, eq=False)
class Readouts:
    """Rows, code and directions of a run, K snapshots, V rows, D features, d wide."""

    source: Source
    snapshots: Snapshots
    code: CSR
    """By token, as the store keeps it."""
    norms: np.ndarray
    """(K, D); nan of a prism."""
    threshold: np.ndarray
    """(D,)."""
    means: np.ndarray
    """(K, d), taken off the rows."""
    scales: np.ndarray
    """(K,)."""

    @property
    def is_prism(self) -> bool:
        """Whether the code is in raw units and has no gate."""
        return isinstance(self.source, PrismDictionary)

    @property
    def count(self) -> int:
        """K."""
        return self.source.n_snapshots

    def mean(self, k: int) -> np.ndarray:
        """(d,) what is taken off the rows of a snapshot."""
        return self.source.prism.row_mean.numpy() if self.is_prism else self.means[k]

    def shared(self, k: int) -> np.ndarray:
        """(d,) float32: what all rebuilt rows of a snapshot have in common."""
        if self.is_prism:
            return self.mean(k)
        return self.means[k] + np.float32(self.scales[k]) * self.source.b_D[k].numpy()

    def rows(self, k: int, tokens: Sequence[int] | np.ndarray) -> np.ndarray:
        """Raw rows (n, d) float32 of some tokens."""
        file = TensorFile(self.snapshots.paths[k])
        return file.gather(self.snapshots.matrix, np.asarray(tokens, np.int64)).numpy()

    def directions(self, k: int) -> np.ndarray:
        """(D, d)."""
        return self.source.directions(k).numpy()

    def codes(self, k: int, tokens: Sequence[int] | np.ndarray) -> list[Coded]:
        """Features of each token that fire at a snapshot, with raw coefficients."""
        groups, found = self.code, []
        for token in tokens:
            part = slice(groups.offsets[token], groups.offsets[token + 1])
            ids, p = groups.columns[part].astype(np.int64), groups.values[part]
            a = self._active(ids, p, k)
            found.append((ids[a > 0], a[a > 0]))
        return found

    def _active(self, ids: np.ndarray, p: np.ndarray, k: int) -> np.ndarray:
        """Raw coefficients (n,) of entries of the code, 0 where they do not fire."""
        if self.is_prism:
            return p
        a = activations_at(p, self.norms[k][ids], self.threshold[ids])
        return a * np.float32(self.scales[k])

    def blocks(self, k: int) -> Iterator[tuple[slice, Tensor]]:
        """Raw rows (B, d) of a snapshot, in order, and their places."""
        for start in range(0, self.snapshots.n_rows, BLOCK):
            stop = min(start + BLOCK, self.snapshots.n_rows)
            yield slice(start, stop), self.snapshots.rows(k, start, stop)

    def logits(self, k: int, states: Tensor) -> Tensor:
        """h . row of the true matrix, (n, V) float32, for hidden states (n, d)."""
        found = torch.empty(len(states), self.snapshots.n_rows)
        for part, rows in self.blocks(k):
            found[:, part] = (states @ rows.to(states.device).T).cpu()
        return found

    def rebuilt_logits(self, k: int, states: Tensor) -> Tensor:
        """The same of the rows that the dictionary rebuilds: a sparse sum over h . direction."""
        projections = self.source.directions(k).to(states.device) @ states.T
        base = states @ torch.from_numpy(self.shared(k)).to(states.device)
        groups = self.code
        found = torch.empty(len(states), self.snapshots.n_rows)
        for start in range(0, self.snapshots.n_rows, BLOCK):
            stop = min(start + BLOCK, self.snapshots.n_rows)
            offsets = groups.offsets[start : stop + 1]
            part = slice(offsets[0], offsets[-1])
            ids = groups.columns[part].astype(np.int64)
            a = self._active(ids, groups.values[part], k).astype(np.float32, copy=False)
            sums = weighted_sums(ids, a, offsets[:-1] - offsets[0], projections)
            found[:, start:stop] = (sums + base).T.cpu()
        return found


def weighted_sums(
    ids: np.ndarray, a: np.ndarray, offsets: np.ndarray, values: Tensor
) -> Tensor:
    """sum_j a_j values_j (B, n) over the entries of each of B tokens; values (m, n)."""
    if not len(ids):
        return values.new_zeros(len(offsets), values.shape[1])
    to = values.device
    return embedding_bag(
        torch.from_numpy(ids).to(to), values, torch.from_numpy(offsets.astype(np.int64)).to(to),
        per_sample_weights=torch.from_numpy(a).to(to), mode="sum",
    )
