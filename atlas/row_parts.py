"""A token's row as a sum: what each feature supplies of it at every snapshot, and the remainder.

The share of a row x that a dictionary explains is 1 - |x - x_hat|^2 / |x|^2 (crosscoder-method
section 6.2, for one row). With x_hat = b + sum of c_i it is split among the contributions without
remainder: c_i . (2 x - x_hat) / |x|^2. That is also the fair share of each in the sense of
Shapley: the mean of what c_i adds over all orders in which the parts could be added, since parts
interact in pairs only. A part may be negative: without it the row would be explained better.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.matrix_files import MatrixFile, require
from atlas.places import snapshot_path
from atlas.records import RunCard, TokenCard

CHEAP = 12_000_000
"""Numbers of directions that are read without being asked for."""


@dataclass(frozen=True)
class RowParts:
    """What builds one row, as shares of its squared length."""

    features: np.ndarray
    """(n,) int64, in the order of the token's card."""
    parts: np.ndarray
    """(K, n) float64: share that each feature supplies."""
    offset: np.ndarray
    """(K,) float64: share of what the dictionary adds to every row."""

    @property
    def explained(self) -> np.ndarray:
        """(K,) all shares together; nan where the row has no length."""
        return self.parts.sum(axis=1) + self.offset

    @property
    def remainder(self) -> np.ndarray:
        """(K,) the share that is not explained."""
        return 1 - self.explained


@dataclass(frozen=True)
class Bands:
    """The parts as a figure stacks them."""

    features: np.ndarray
    """(m,) the features that supply most on average over the snapshots, largest first."""
    values: np.ndarray
    """(m, K) what each supplies, negative ones as 0."""
    others: np.ndarray
    """(K,) everything else that is explained, the offset among it; may be negative."""
    explained: np.ndarray
    """(K,)."""


def numbers_to_read(card: TokenCard, d_model: int) -> int:
    """Numbers of all directions that a split of the row reads."""
    return len(card.features) * len(card.steps) * d_model


def split(x: np.ndarray, contributions: np.ndarray, offset: np.ndarray) -> tuple[np.ndarray, float]:
    """Shares (n,) of contributions (n, d), and that of the offset (d,), in a row x (d,).

    Their sum is 1 - |x - x_hat|^2 / |x|^2; nan when the row has no length.
    """
    length = float(x @ x)
    towards = 2 * x - (contributions.sum(axis=0) + offset)
    if not length > 0:
        return np.full(len(contributions), np.nan), np.nan
    return contributions @ towards / length, float(offset @ towards) / length


def row_parts(
    store: Path,
    run: RunCard,
    card: TokenCard,
    standards: tuple[np.ndarray, np.ndarray] | None,
) -> RowParts:
    """The split of a token's row at every snapshot, from the matrices and the sparse code.

    Args:
        store: folder of the store.
        run: the run.
        card: the token in it; its activations are those of the code as the store keeps it.
        standards: means (K, d) and scales (K,) of a crosscoder's rows; None for a prism.

    Raises:
        NotFound: the store keeps no matrices, or no standards of a crosscoder.
        BrokenArtifact: a file is damaged.
    """
    weights = store / run.folder / "dictionary.safetensors"
    snapshots = [snapshot_path(store, run.model_name, s, run.matrix) for s in run.steps]
    require([weights, *snapshots], "what the features supply of a row")
    dictionary = MatrixFile(weights)
    features = card.features["feature"].to_numpy(np.int64)
    activation = _stack(card.features["activation"], len(run.steps))
    directions, base = ("decoder", "row_mean") if run.kind == "prism" else ("W_D", "b_D")
    bases = dictionary.rows(base, range(len(run.steps))).astype(np.float64)
    width = dictionary.shape(directions)[-2]
    parts, offset = [], []
    for k, path in enumerate(snapshots):
        row = MatrixFile(path).rows(run.matrix, [card.token])[0].astype(np.float64)
        used = np.nonzero(activation[:, k])[0]
        found = dictionary.rows(directions, k * width + features[used]).astype(np.float64)
        contributions = activation[used, k, None] * found
        if run.kind == "prism":
            # rows without their mean, cut to length 1; the code is kept times that length
            x = row - bases[k]
            length = max(float(np.linalg.norm(x)), 1e-8)
            contributions /= float(dictionary.rows("row_norms", [0])[0, card.token])
            shares, rest = split(x / length, contributions, np.zeros_like(x))
        else:
            mean, scale = _standard(run, standards, k, path)
            shares, rest = split((row - mean) / scale, contributions, bases[k])
        parts.append(np.zeros(len(features)) if np.isfinite(rest) else np.full(len(features), rest))
        parts[-1][used] = shares
        offset.append(rest)
    return RowParts(features, np.array(parts).reshape(len(run.steps), -1), np.array(offset))


def bands(found: RowParts, most: int = 6) -> Bands:
    """The features that supply most of the row through training, the others together."""
    supplied = np.maximum(np.nan_to_num(found.parts, nan=0.0), 0)
    mean = supplied.mean(axis=0)
    chosen = np.argsort(-mean, kind="stable")[:most]
    chosen = chosen[mean[chosen] > 0]
    values = supplied[:, chosen].T
    return Bands(
        found.features[chosen], values, found.explained - values.sum(axis=0), found.explained
    )


def _stack(lists: Iterable[Iterable[float]], snapshots: int) -> np.ndarray:
    """A column of lists as (n, K) float64."""
    rows = [np.asarray(row, dtype=np.float64) for row in lists]
    return np.stack(rows) if rows else np.zeros((0, snapshots))


def _standard(
    run: RunCard, standards: tuple[np.ndarray, np.ndarray] | None, k: int, path: Path
) -> tuple[np.ndarray, float]:
    """Mean and scale of the rows at a snapshot, measured where the store does not keep them."""
    if standards is not None:
        return standards[0][k].astype(np.float64), float(standards[1][k])
    total, squares, count = 0.0, 0.0, 0
    for _, rows in MatrixFile(path).blocks(run.matrix):
        wide = rows.astype(np.float64)
        total, squares = total + wide.sum(axis=0), squares + float((wide * wide).sum())
        count += len(rows)
    mean = np.asarray(total / max(count, 1))
    spread = (squares / max(count, 1) - float(mean @ mean)) / len(mean)
    return mean, max(spread, 1e-8) ** 0.5
