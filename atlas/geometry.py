"""Directions of features: how long, how they turn, which lie near, which tokens they promote.

Shapes: K snapshots, D features, V rows, d model width. A zero direction has no angle: its
cosines are nan, not 0, so that a dead feature does not look like a turning one.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from atlas.codes import SparseCode
from atlas.screening import Ranking, by_value, unit


def norms(W_D: Tensor) -> Tensor:
    """Length (K, D) of the directions W_D (K, D, d)."""
    return W_D.norm(dim=-1)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine along the last axis, nan where either side has no length."""
    return (a * b).sum(dim=-1) / (a.norm(dim=-1) * b.norm(dim=-1))


def rotation(W_D: Tensor) -> Tensor:
    """1 - cos between neighbouring snapshots, (K - 1, D), 0 to 2 (crosscoder-method §7.2)."""
    turns = [_cosine(now, after) for now, after in zip(W_D[:-1], W_D[1:], strict=True)]
    return 1 - torch.stack(turns).clamp(-1, 1) if turns else W_D.new_zeros(0, W_D.shape[1])


def direction_to_terminal(W_D: Tensor) -> Tensor:
    """1 - cos to the last direction, (K, D); the last row is 0 (crosscoder-method §7.2)."""
    return 1 - torch.stack([_cosine(now, W_D[-1]) for now in W_D]).clamp(-1, 1)


def _unit(directions: Tensor) -> tuple[Tensor, Tensor]:
    """Unit directions, zero ones left zero, and the mask of those that have a length."""
    length = directions.norm(dim=-1, keepdim=True)
    return directions / length.clamp(min=torch.finfo(directions.dtype).tiny), length[:, 0] > 0


def cosine_neighbours(directions: Tensor, n: int, chunk: int = 2048) -> tuple[Tensor, Tensor]:
    """The n directions nearest to each of (D, d) by cosine, itself excluded: ids, cosines (D, n).

    n is cut to D - 1. Where a direction has no length, or fewer than n others have one, the
    places left over hold id -1 and cosine nan.
    """
    unit, alive = _unit(directions)
    total = unit.shape[0]
    n = min(n, total - 1)
    ids, cosines = [], []
    for start in range(0, total, chunk):
        block = unit[start : start + chunk] @ unit.T
        own = torch.arange(start, start + len(block), device=block.device)
        block[:, ~alive] = -math.inf
        block[~alive[own]] = -math.inf
        block[torch.arange(len(block)), own] = -math.inf
        best = block.topk(n, dim=-1)
        ids.append(best.indices)
        cosines.append(best.values)
    ids, cosines = torch.cat(ids), torch.cat(cosines)
    empty = torch.isinf(cosines)
    return ids.masked_fill(empty, -1), cosines.masked_fill(empty, math.nan)


def cosine_neighbours_slow(directions: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The same ids and cosines, one feature after the other: the twin to check against."""
    total = directions.shape[0]
    n = min(n, total - 1)
    ids = torch.full((total, n), -1)
    cosines = torch.full((total, n), math.nan, dtype=directions.dtype)
    for j in range(total):
        others = [
            (float(torch.dot(directions[j], directions[i])) / float(scale), i)
            for i in range(total)
            if i != j and (scale := directions[j].norm() * directions[i].norm()) > 0
        ]
        for place, (cosine, i) in enumerate(sorted(others, reverse=True)[:n]):
            ids[j, place], cosines[j, place] = i, cosine
    return ids, cosines


def nearest_directions(
    directions: Tensor, n: int, screen: torch.dtype | None = None, chunk: int = 1024
) -> tuple[Tensor, Tensor]:
    """`cosine_neighbours` out of a rough product: equal but for neighbours of equal cosine, which
    come by id (performance section 3)."""
    rows, alive = unit(directions)
    n = min(n, len(rows) - 1)
    ids = torch.full((len(rows), n), -1, device=rows.device)
    cosines = torch.full((len(rows), n), math.nan, dtype=rows.dtype, device=rows.device)
    ranking, dead = Ranking(rows, screen), (~alive).nonzero()[:, 0]
    for own in alive.nonzero()[:, 0].split(chunk):
        plane = ranking.plane(rows[own]).index_fill_(1, dead, -math.inf)
        plane[torch.arange(len(own), device=own.device), own] = -math.inf
        found, values = ranking.best(rows[own], plane, n)
        empty = values.isinf()
        ids[own], cosines[own] = found.masked_fill(empty, -1), values.masked_fill(empty, math.nan)
    return ids, cosines


@dataclass(frozen=True, eq=False)
class Promoted:
    """The rows a direction raises most and lowers most; every array (D, n)."""

    tokens: Tensor
    """Promoted tokens, cosine (or dot product) falling."""
    cosines: Tensor
    """Cosine of the centred row with the direction."""
    dots: Tensor
    """Dot product of the centred row with the direction."""
    suppressed: Tensor
    """Suppressed tokens, cosine rising."""
    suppressed_cosines: Tensor
    """Their cosines."""
    suppressed_dots: Tensor
    """Their dot products."""


def promoted_tokens(
    rows: Tensor,
    directions: Tensor,
    n: int,
    allowed: Tensor | None = None,
    by: str = "cosine",
    chunk: int = 2048,
) -> Promoted:
    """Tokens whose centred rows (V, d) point along, and against, each direction (D, d).

    By `cosine`, which does not favour long rows, or by `dot`. The mean is over all V rows;
    `allowed` (V,) bool says which tokens may be listed. A zero direction lists tokens with
    cosine nan.
    """
    if by not in ("cosine", "dot"):
        raise ValueError(f"by is {by!r}, it may be 'cosine' or 'dot'")
    centred = rows - rows.mean(dim=0)
    ids = (
        torch.arange(len(rows), device=rows.device) if allowed is None else allowed.nonzero()[:, 0]
    )
    centred = centred[ids]
    length = centred.norm(dim=-1).clamp(min=torch.finfo(rows.dtype).tiny)
    n = min(n, len(ids))
    columns: list[list[Tensor]] = [[] for _ in range(6)]
    for start in range(0, directions.shape[0], chunk):
        block = directions[start : start + chunk]
        dots = block @ centred.T
        cosines = dots / length / block.norm(dim=-1, keepdim=True)
        measure = dots if by == "dot" else cosines.nan_to_num(0.0)
        for offset, largest in ((0, True), (3, False)):
            best = measure.topk(n, dim=-1, largest=largest).indices
            columns[offset].append(ids[best])
            columns[offset + 1].append(cosines.gather(1, best))
            columns[offset + 2].append(dots.gather(1, best))
    return Promoted(*(torch.cat(column) for column in columns))


@dataclass(eq=False)
class Extremes:
    """The rows of largest and of smallest cosine with each direction, found piece by piece.

    The columns of `promoted_tokens`, from as many pieces of the rows as one likes.
    """

    directions: Tensor
    """(D, d) of length 1 or zero."""
    n: int
    """Rows to keep at either end."""
    screen: torch.dtype | None = None
    """Number type of the rough product; the fast one of the device when None."""
    chunk: int = 1024
    """Directions at a time."""

    def __post_init__(self) -> None:
        self.found: list[list[tuple[Tensor, Tensor]]] = []

    def add(self, rows: Tensor, ids: Tensor) -> None:
        """Look through unit rows (B, d) whose numbers are ids (B,), all larger than before."""
        ranking = Ranking(rows, self.screen)
        for place, queries in enumerate(self.directions.split(self.chunk)):
            plane = ranking.plane(queries)
            if place == len(self.found):
                self.found.append([])
            ends = self.found[place]
            for end, sign in enumerate((1, -1)):
                best, values = ranking.best(queries, plane, self.n, sign)
                best = ids[best]
                if len(ends) == 2:
                    best = torch.cat([ends[end][0], best], dim=1)
                    values = torch.cat([ends[end][1], values], dim=1)
                    ends[end] = by_value(best, values, self.n, sign)
                else:
                    ends.append((best, values))

    def columns(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Promoted tokens and cosines, suppressed tokens and cosines, (D, n) each."""
        ends = [(torch.cat([part[end][0] for part in self.found]),
                 torch.cat([part[end][1] for part in self.found])) for end in (0, 1)]
        dead = self.directions.abs().amax(dim=1) == 0
        for _, values in ends:
            values[dead] = math.nan
        return *ends[0], *ends[1]


def noise_floor(code: SparseCode, d_model: int) -> np.ndarray:
    """Length (D,) a direction takes on rows of pure unit-variance noise: sqrt(d / sum a^2).

    The least-squares direction of activations a over such rows is a mean of noise. A norm at
    this height says nothing of the rows (demo §5.4). Infinite for a feature that never fires.
    """
    square = np.square(code.p, dtype=np.float64)
    return floor_of_energy(np.bincount(code.feature, square, minlength=code.n_features), d_model)


def floor_of_energy(energy: np.ndarray, d_model: int) -> np.ndarray:
    """The same from the sums of a^2, (D,)."""
    floor = np.full(len(energy), np.inf)
    np.divide(d_model, energy, out=floor, where=energy > 0)
    return np.sqrt(floor)
