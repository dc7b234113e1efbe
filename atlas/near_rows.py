"""Which rows lie nearest a token's row, snapshot by snapshot, read from the matrices themselves.

Rows are centred first: all rows of an unembedding share a large offset, and without it every
pair would look alike. Read in blocks, so the memory is that of one block whatever the vocabulary.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.heat import chosen_snapshots
from atlas.matrix_files import MatrixFile, open_matrix, require
from atlas.places import snapshot_path
from atlas.records import RunCard

MOST_SNAPSHOTS = 8
"""Snapshots that a page reads at most."""
NEAREST = 8
"""Rows listed at a snapshot."""
SAMPLED = 32
"""Rows drawn at random whose own nearest rows are the measure of what is usual."""
CHEAP = 20_000_000
"""Numbers that are read without being asked for."""


@dataclass(frozen=True)
class NearRows:
    """The rows nearest one row at one snapshot, and what is usual there."""

    tokens: np.ndarray
    """(n,) int64, nearest first, the row itself left out; empty when the row has no length."""
    cosines: np.ndarray
    """(n,) float32, of the centred rows."""
    usual: tuple[float, float, float]
    """5, 50 and 95 % quantiles of the nearest cosine of rows drawn at random."""


def snapshots_to_read(count: int, k: int) -> list[int]:
    """The first, the last and the chosen snapshot, the rest in the widest gaps."""
    return chosen_snapshots(count, (k,), MOST_SNAPSHOTS)


def numbers_to_read(card: RunCard, n_rows: int, k: int) -> int:
    """Numbers that all snapshots a page shows hold together."""
    return n_rows * card.d_model * len(snapshots_to_read(len(card.steps), k))


def nearest_rows(
    store: Path, card: RunCard, k: int, token: int, mean: np.ndarray | None = None,
    nearest: int = NEAREST, block: int | None = None,
) -> NearRows:
    """The rows with the largest cosine to a token's row at snapshot k, all rows centred.

    Args:
        store: folder of the store.
        card: the run, of whose matrix the snapshot is.
        k: number of the snapshot.
        token: row to look around.
        mean: (d,) mean of all rows; read from the file when None.
        nearest: rows to return.
        block: rows read at once.

    Raises:
        NotFound: the store keeps no matrices. BrokenArtifact: the file is damaged.
    """
    path = snapshot_path(store, card.model_name, card.steps[k], card.matrix)
    require([path], "nearness")
    file = open_matrix(path, card.matrix)
    if mean is None:
        mean = _mean(file, card.matrix, block)
    n_rows = file.shape(card.matrix)[0]
    draw = np.random.default_rng(0).permutation(n_rows)
    sample = draw[draw != token][:SAMPLED]
    looked_at = np.concatenate([[token], sample])
    targets = file.rows(card.matrix, looked_at) - mean
    lengths = np.linalg.norm(targets, axis=1)
    targets /= np.where(lengths > 0, lengths, 1)[:, None]
    against = np.ascontiguousarray(np.vstack([targets, mean]).T)
    offsets, squared_mean = targets @ mean, float(mean @ mean)
    best_tokens, best = np.zeros(0, np.int64), np.zeros(0, np.float32)
    usual = np.full(len(sample), -1.0, np.float32)
    for first, rows in file.blocks(card.matrix, block, check=False):
        products = rows @ against
        # |x - m|^2 without a copy of the block
        squares = np.einsum("ij,ij->i", rows, rows) - 2 * products[:, -1] + squared_mean
        if not np.isfinite(squares).all():
            for _ in file.blocks(card.matrix):  # names the fault
                pass
        scale = np.where(squares > 1e-12, 1 / np.sqrt(np.maximum(squares, 1e-12)), 0)
        cosines = (products[:, :-1] - offsets) * scale[:, None]
        here = (looked_at >= first) & (looked_at < first + len(rows))
        cosines[looked_at[here] - first, np.nonzero(here)[0]] = -2  # no row is its own neighbour
        usual = np.maximum(usual, cosines[:, 1:].max(axis=0))
        some = np.argsort(-cosines[:, 0], kind="stable")[:nearest]
        best_tokens = np.concatenate([best_tokens, some + first])
        best = np.concatenate([best, cosines[some, 0]])
    order = np.lexsort((best_tokens, -best))[:nearest]
    order = order[best[order] > -2] if lengths[0] > 0 else order[:0]
    measured = usual[lengths[1:] > 0]
    low, middle, high = np.quantile(measured, (0.05, 0.5, 0.95)) if len(measured) else [np.nan] * 3
    return NearRows(
        best_tokens[order],
        np.clip(best[order], -1, 1).astype(np.float32),
        (float(low), float(middle), float(high)),
    )


def _mean(file: MatrixFile, name: str, block: int | None) -> np.ndarray:
    """(d,) float32 mean of all rows."""
    total, count = 0.0, 0
    for _, rows in file.blocks(name, block):
        total = total + rows.sum(axis=0, dtype=np.float64)
        count += len(rows)
    return np.asarray(total / max(count, 1), dtype=np.float32)
