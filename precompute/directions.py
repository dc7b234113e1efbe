"""What a dictionary's directions say of each other: at one snapshot, and over all of them.

`nearest` is a part of the stage `neighbours`, done by itself and in any order; `similarities` reads
the whole dictionary once, a block of features at a time.
"""

import numpy as np
import torch
from torch import Tensor

from atlas import geometry
from atlas.schema import NEIGHBOURS, NEIGHBOURS_AT
from atlas.screening import unit
from precompute.derive import Arrays
from precompute.sources import Source

BLOCK_BYTES = 2**28
"""Memory of a block of features at all snapshots, in float64."""
HUNDRED = 100
"""Parts of a cosine of 1: a similarity is a whole number of them and fits one byte."""
UNKNOWN = -128
"""Stands for the similarity with a direction that has no length."""


def nearest(
    source: Source, k: int, device: torch.device, screen: torch.dtype | None = None
) -> Arrays:
    """Features whose directions at snapshot k are most similar: ids (D, n) int32, cosines (D, n).

    n is 20 at the last snapshot and 10 at the others. Where a direction has no length, or fewer
    than n others have one, the places left over hold id -1 and cosine nan.
    """
    n = NEIGHBOURS if k == source.n_snapshots - 1 else NEIGHBOURS_AT
    ids, cosines = geometry.nearest_directions(source.directions(k).to(device), n, screen)
    return {"ids": ids.to(torch.int32).cpu().numpy(), "cosines": cosines.cpu().numpy()}


def nearest_at(parts: list[Arrays]) -> Arrays:
    """The parts of all snapshots put together, cut to as many places: (K, D, n) each."""
    return {f"{name}_at": np.stack([part[name][:, :NEIGHBOURS_AT] for part in parts])
            for name in ("ids", "cosines")}


def similarities(source: Source, device: torch.device) -> np.ndarray:
    """Cosines of every feature's directions at every two snapshots, in hundredths.

    Returns:
        (D, K (K - 1) / 2) int8 for the pairs (0, 1), (0, 2) … (1, 2) …; `UNKNOWN` where either
        direction has no length. In float64, so that no thread or block moves a rounding.
    """
    first, second = torch.triu_indices(source.n_snapshots, source.n_snapshots, 1)
    size = max(BLOCK_BYTES // (8 * source.n_snapshots * source.d_model), 1)
    found = np.empty((source.n_features, len(first)), dtype=np.int8)
    for start in range(0, source.n_features, size):
        rows, known = unit(_block(source, slice(start, start + size), device))
        cosines = (rows @ rows.transpose(1, 2))[:, first, second].mul_(HUNDRED).round_()
        cosines[~(known[:, first] & known[:, second])] = UNKNOWN
        found[start : start + size] = cosines.to(torch.int8).cpu().numpy()
    return found


def _block(source: Source, features: slice, device: torch.device) -> Tensor:
    """Directions (B, K, d) float64 of some features at all snapshots."""
    parts = [source.directions(k)[features] for k in range(source.n_snapshots)]
    return torch.stack([part.to(device).double() for part in parts], dim=1)
