"""The stage `dense`: what the matrix shows by itself, snapshot by snapshot, and plain codes of it.

Rows go by in blocks of all snapshots at once, three times: for spectra, cosines, the line between
the ends and the first half of a random start; for its second half; and for what the axes found
hold. Products are float32, what is added up over blocks float64. Nothing of size V x K d is held.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from atlas import dense as mathematics
from atlas.dense import LEAST_SQUARE
from precompute.derive import QUANTILES, Arrays
from precompute.sources import Snapshots
from precompute.turnover import pair_arrays

BLOCK_BYTES = 2**27
"""Memory of one block of rows of all snapshots; the stage holds some five of this size."""


def dense(
    snapshots: Snapshots, steps: Sequence[int], mean: np.ndarray, scale: np.ndarray,
    device: torch.device,
) -> Arrays:
    """Everything the tables `matrix`, `matrix_pair` and the rows' `similarity_mean` hold.

    Args:
        mean: (K, d) of the rows. scale: (K,).

    Returns:
        Arrays named `matrix_…`, `matrix_pair_…`, row_similarity (K, K), concatenated_pca and
        concatenated_rank (); nothing of a single snapshot, which has no course.
    """
    if len(steps) < 2:
        return {}
    blocks = _Blocks(snapshots, mean, device)
    found, start = _survey(blocks)
    square = found.pop("square")
    held = _concatenated(blocks, start)
    turns = {name: found.pop(name) for name in ("rotation", "to_terminal")}
    length = found.pop("length")
    spectra = [mathematics.spectrum(values) for values in found.pop("eigenvalues")]
    rows = len(length[0])
    share = held / np.where(square > 0, square, np.nan)
    return {
        "matrix_row_norm": np.quantile(length, QUANTILES, axis=1).T,
        "matrix_mean_share": np.array([
            mathematics.mean_share(m, s, rows) for m, s in zip(mean, square, strict=True)
        ]),
        "matrix_mean_cosine": np.array([
            np.nan, *(mathematics.cosine(a, b) for a, b in zip(mean[:-1], mean[1:], strict=True))
        ]),
        "matrix_participation": np.array([s.participation for s in spectra]),
        "matrix_pc1_share": np.array([s.first_share for s in spectra]),
        "matrix_effective_rank": np.array([s.effective_rank for s in spectra]),
        "matrix_pca": np.stack([s.explained for s in spectra]),
        "matrix_concatenated_pca": np.clip(share, 0, 1),
        "matrix_endpoint": 1 - found.pop("missed") / np.where(square > 0, square, np.nan),
        "matrix_row_cosine": np.array([np.nan, *(1 - _median(row) for row in turns["rotation"])]),
        "row_similarity": found.pop("similarity"),
        "concatenated_pca": np.array(held.sum() / square.sum() if square.sum() > 0 else np.nan),
        "concatenated_rank": np.array(blocks.rank),
        **pair_arrays(length / scale[:, None], None, **turns, prefix="matrix_pair_"),
    }


class _Blocks:
    """The centred rows of all snapshots, a block at a time."""

    def __init__(self, snapshots: Snapshots, mean: np.ndarray, device: torch.device) -> None:
        self.snapshots, self.device = snapshots, device
        self.mean = torch.from_numpy(mean)
        self.count, self.width = mean.shape
        self.n_rows = snapshots.n_rows
        self.rank, self.columns = mathematics.sketch_size(self.count, self.n_rows, self.width)
        self.size = min(max(BLOCK_BYTES // (4 * mean.size), 64), self.n_rows)

    def __iter__(self) -> Iterator[tuple[slice, Tensor]]:
        """Their places and the rows (K, B, d), which the next block overwrites."""
        kept = torch.empty(self.count, self.size, self.width)
        for start in range(0, self.n_rows, self.size):
            stop = min(start + self.size, self.n_rows)
            block = kept[:, : stop - start]
            for k in range(self.count):
                torch.sub(self.snapshots.rows(k, start, stop), self.mean[k], out=block[k])
            yield slice(start, stop), block.to(self.device)


def _survey(blocks: _Blocks) -> tuple[Arrays, Tensor]:
    """The first pass, and A^T A times the random start (K, d, m) float64."""
    count, width, device = blocks.count, blocks.width, blocks.device
    first = torch.from_numpy(mathematics.sketch(count, width, blocks.columns)).to(device)
    covariance = torch.zeros(count, width, width, dtype=torch.float64, device=device)
    start = torch.zeros(count, width, blocks.columns, dtype=torch.float64, device=device)
    similarity = torch.zeros(count, count, dtype=torch.float64, device=device)
    known = torch.zeros_like(similarity)
    missed = torch.zeros(count, dtype=torch.float64, device=device)
    length = np.empty((count, blocks.n_rows), dtype=np.float32)
    rotation = np.empty((count - 1, blocks.n_rows), dtype=np.float32)
    to_terminal = np.empty_like(length)
    moved = (blocks.mean - blocks.mean[0]).to(device)
    for place, rows in blocks:
        covariance += torch.bmm(rows.transpose(1, 2), rows)
        start += torch.bmm(rows.transpose(1, 2), _times(rows, first).expand(count, -1, -1))
        by_row = rows.transpose(0, 1)
        inner = torch.bmm(by_row, by_row.transpose(1, 2))
        lengths = inner.diagonal(dim1=1, dim2=2).clamp(min=0).sqrt()
        length[:, place] = lengths.T.cpu()
        cosines = (inner / (lengths[:, :, None] * lengths[:, None])).clamp(-1, 1)
        similarity += cosines.nan_to_num().sum(dim=0, dtype=torch.float64)
        known += (~cosines.isnan()).sum(dim=0)
        rotation[:, place] = (1 - cosines.diagonal(1, dim1=1, dim2=2)).T.cpu()
        to_terminal[:, place] = (1 - cosines[:, :, -1]).T.cpu()
        missed += _missed(rows, moved)
    trace = covariance.diagonal(dim1=1, dim2=2).sum(dim=1)
    return {
        "eigenvalues": torch.linalg.eigvalsh(covariance).cpu().numpy(),
        "square": trace.cpu().numpy(),
        "similarity": (similarity / known).cpu().numpy(),
        "missed": missed.cpu().numpy(),
        "length": length, "rotation": rotation, "to_terminal": to_terminal,
    }, start


def _times(rows: Tensor, columns: Tensor) -> Tensor:
    """The snapshots side by side, (B, K d), times (K d, m): (B, m)."""
    found = rows[0] @ columns[0]
    for k in range(1, len(rows)):
        found.addmm_(rows[k], columns[k])
    return found


def _missed(rows: Tensor, moved: Tensor) -> Tensor:
    """Squared error (K,) float64 on the line between first and last, of the raw rows.

    Args:
        rows: (K, B, d) centred. moved: (K, d) by how much each mean differs from the first.
    """
    way = rows[-1] - rows[0] + moved[-1]
    square = way.square().sum(dim=-1).clamp(min=LEAST_SQUARE)
    found = []
    for k in range(len(rows)):
        gone = rows[k] - rows[0] + moved[k]
        alpha = (gone * way).sum(dim=-1) / square
        found.append(gone.addcmul_(alpha[:, None], way, value=-1).square().sum(dtype=torch.float64))
    return torch.stack(found)


def _concatenated(blocks: _Blocks, start: Tensor) -> np.ndarray:
    """Squared length (K,) that the PCA of all snapshots side by side holds of each (§12)."""
    second = (start / start.abs().max().clamp(min=LEAST_SQUARE)).float()
    image = torch.empty(blocks.n_rows, blocks.columns, device=blocks.device)
    for place, rows in blocks:
        image[place] = _times(rows, second)
    basis = torch.linalg.qr(image.double()).Q.float()
    projected = torch.zeros_like(start)
    for place, rows in blocks:
        projected += torch.bmm(
            rows.transpose(1, 2), basis[place].expand(blocks.count, -1, -1)
        )
    return mathematics.captured(projected.cpu().numpy(), blocks.rank)


def _median(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")
