"""Exact answers out of a rough matrix product: screen in bfloat16, compute in float32 what counts.

A product of all rows with all features is nearly all of the work of an atlas, and nearly all of
its entries are thrown away. So the product is taken roughly, entries that could matter are picked
with a margin for its error, and each of those is computed by itself in float32. The answer does
not depend on the screen, on tiles, on batches or on threads (performance section 3).

Shapes: B rows of a batch, D rows they are multiplied with, n the length of a row.
"""

import math
import warnings
from collections.abc import Iterable

import torch
from torch import Tensor

KEPT = 40
"""Entries of a rough row that are computed exactly before it is checked that they were enough."""
ROUNDING = {torch.bfloat16: 2.0**-9, torch.float32: 2.0**-16, torch.float64: 2.0**-40}
"""Largest relative error of rounding to the type of a screen. For bfloat16 it is half the distance
of two neighbours. The others are those of a sum: a float32 entry is 2^-24 off, and long sums of
such numbers, added in another order, differ by up to a hundred times that."""
STANDARD_ERRORS = 8.0
"""Width of a margin against a sum of independent rounding errors."""


def screen_type(device: torch.device, exact: torch.dtype = torch.float32) -> torch.dtype:
    """The number type to screen in: bfloat16 on a CPU that multiplies it, else the exact one.

    A GPU multiplies float32 fast enough, and its margins are then narrow.
    """
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    narrow = device.type == "cpu" and exact == torch.float32 and fast
    return torch.bfloat16 if narrow else exact


def entries(
    a: Tensor, b: Tensor, offsets: Tensor, columns: Tensor, start: Tensor | None = None
) -> Tensor:
    """Some entries of a b^T, one dot product each, in the order of the pattern.

    Args:
        a: (B, n). b: (D, n), contiguous.
        offsets: (B + 1,) int64; entries of row i lie at `offsets[i]:offsets[i + 1]`.
        columns: (N,) int64, rows of b.
        start: (N,) what each product is added to; zeros when None.

    Returns:
        (N,); an entry has the same bits whatever else is asked for, and by how many threads.
    """
    start = a.new_zeros(len(columns)) if start is None else start
    if not len(columns):
        return start
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")
        pattern = torch.sparse_csr_tensor(
            offsets, columns, start, (len(a), len(b)), check_invariants=False
        )
        return torch.sparse.sampled_addmm(pattern, a, b.T, beta=1.0).values()


class Entries:
    """Some entries of a product a b^T that is a sum over snapshots, added up one after the other.

    They are taken column by column of a few thousand rows at a time: then each row of b is read
    once and those of a stay in the cache, which is four times faster than row by row.
    """

    def __init__(self, row: Tensor, column: Tensor, shape: tuple[int, int], piece: int = 2048):
        """Say which: (N,) row and column, rows rising, of a product of this shape (B, D)."""
        self.row, self.piece = row, piece
        cuts = torch.arange(0, shape[0] + piece, piece, device=row.device)
        ends = torch.searchsorted(row, cuts)
        columns = torch.arange(shape[1] + 1, device=row.device)
        self.parts = []
        for start, stop in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
            sorted_columns, order = column[start:stop].sort(stable=True)
            offsets = torch.searchsorted(sorted_columns, columns)
            self.parts.append((order + start, offsets, row[order + start] - row.new_tensor(
                len(self.parts) * piece)))
        self.sums = [torch.zeros(len(order), device=row.device) for order, _, _ in self.parts]

    def add(self, a: Tensor, b: Tensor) -> None:
        """Add the products of rows a (B, n) with rows b (D, n) to the entries."""
        for place, (_, offsets, rows) in enumerate(self.parts):
            part = a[place * self.piece : (place + 1) * self.piece]
            self.sums[place] = entries(b, part, offsets, rows, self.sums[place])

    def values(self) -> Tensor:
        """The entries (N,) in the order they were named."""
        out = torch.empty(len(self.row), device=self.row.device)
        for (order, _, _), sums in zip(self.parts, self.sums, strict=True):
            out[order] = sums
        return out


def unit(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of length 1, those of no length left zero, and the mask of those that have one."""
    length = rows.norm(dim=-1, keepdim=True)
    return rows / length.clamp(min=torch.finfo(rows.dtype).tiny), length[..., 0] > 0


class Ranking:
    """Unit rows (D, n) ready to be ranked by their cosine with other unit rows."""

    def __init__(self, rows: Tensor, screen: torch.dtype | None = None) -> None:
        """Keep the rows, which must be of length 1 or zero, and a rough copy of them.

        Args:
            screen: number type of the screen; the fast one of the device when None.
        """
        self.rows = rows
        self.rough = rows.to(screen or screen_type(rows.device, rows.dtype))
        # Rounding two unit rows moves their product by no more than 2u, as sum |a b| <= 1, and
        # rounding the result by u: a bound, not an estimate. n 2^-23 is for the float32 sums.
        rounding = ROUNDING[self.rough.dtype]
        self.margin = 3.01 * rounding + rows.shape[1] * torch.finfo(torch.float32).eps / 2

    def plane(self, queries: Tensor) -> Tensor:
        """Rough cosines (B, D) of unit queries (B, n)."""
        return queries.to(self.rough.dtype) @ self.rough.T

    def best(self, queries: Tensor, plane: Tensor, n: int, sign: int = 1) -> tuple[Tensor, Tensor]:
        """The n rows of largest (sign 1) or smallest (-1) cosine: ids and cosines (B, n).

        Sorted; equal cosines by id. n is cut to D.

        Args:
            plane: `plane(queries)`, with -inf times `sign` where a row may not be listed.
        """
        total = plane.shape[1]
        n, kept = min(n, total), min(max(KEPT, 2 * n), total)
        rough, ids = plane.topk(kept, dim=1, largest=sign > 0)
        values = self._exact(queries, ids)
        values = values.masked_fill(rough.isinf(), -sign * math.inf)
        ids, values = by_value(ids, values, n, sign)
        # what was not kept is at most the last rough value plus the margin
        outside = sign * rough[:, -1].to(values.dtype) + self.margin
        unsure = (outside >= sign * values[:, -1]) & ~rough[:, -1].isinf()
        unsure &= queries.any(dim=1)  # a query of no length has no order to find
        if kept < total and bool(unsure.any()):
            for at in unsure.nonzero()[:, 0].split(64):
                found = self._search(queries[at], plane[at], values[at, -1], n, sign)
                ids[at], values[at] = found
        return ids, values

    def _exact(self, queries: Tensor, ids: Tensor) -> Tensor:
        """Cosines (B, m) of queries with the rows ids (B, m), row by row of the latter."""
        column, order = ids.flatten().sort(stable=True)
        offsets = torch.searchsorted(
            column, torch.arange(len(self.rows) + 1, device=ids.device)
        )
        exact = entries(self.rows, queries, offsets, order // ids.shape[1])
        return torch.empty_like(exact).index_copy_(0, order, exact).view_as(ids)

    def _search(
        self, queries: Tensor, plane: Tensor, last: Tensor, n: int, sign: int
    ) -> tuple[Tensor, Tensor]:
        """The same for rows whose n-th cosine is `last` or more: all that may reach it."""
        near = sign * plane.to(last.dtype) >= (sign * last - self.margin)[:, None]
        row, column = near.nonzero(as_tuple=True)
        sizes = torch.bincount(row, minlength=len(plane))
        offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        exact = entries(queries, self.rows, offsets, column)
        most = int(sizes.max())
        place = torch.arange(len(row), device=row.device) - offsets[row]
        ids = torch.full((len(plane), most), plane.shape[1], device=row.device)
        values = torch.full((len(plane), most), -sign * math.inf, dtype=exact.dtype,
                            device=row.device)
        ids[row, place], values[row, place] = column, exact
        return by_value(ids, values, n, sign)


def by_value(ids: Tensor, values: Tensor, n: int, sign: int) -> tuple[Tensor, Tensor]:
    """The first n by value, falling for sign 1 and rising for -1; equal values by id."""
    ids, order = ids.sort(dim=1)
    values, order = values.gather(1, order).sort(dim=1, descending=sign > 0, stable=True)
    return ids.gather(1, order)[:, :n].clone(), values[:, :n].clone()


# --- entries above a bar -----------------------------------------------------------------------


class RoughEncoder:
    """A rough copy (D, n) of an encoder, or of a part of its features, and the error it makes."""

    def __init__(self, start: int, rough: Tensor) -> None:
        """Keep the rows of the features from number `start` on."""
        self.start, self.rough = start, rough
        self.size = four_norm(rough)
        """(D,), see `slack`."""


def four_norm(rows: Tensor) -> Tensor:
    """Fourth root of the sum of the fourth powers of each row, (B, n) to (B,)."""
    parts = [part.float().square_().square_().sum(dim=-1) for part in rows.split(512)]
    return torch.cat(parts).sqrt_().sqrt_()


def slack(sizes: tuple[Tensor, Tensor], screen: torch.dtype, widen: float) -> tuple[Tensor, Tensor]:
    """Two factors, (B,) and (D,): a rough product of two rows is off by no more than theirs.

    The error is a sum of a_i b_i (e_i + f_i) with e and f evenly spread within the rounding u, so
    its standard error is at most u sqrt(2/3 sum a_i^2 b_i^2), and that root is at most the
    product of the 4-norms `sizes` of both rows (Cauchy and Schwarz). Eight standard errors are
    allowed for, times `widen`: the errors of snapshots that hardly differ are equal, and equal
    ones add up to sqrt(K) times more. This is a sound guess, not a bound; so callers check the
    errors they see (`strain`) and widen the margin where more than half of it is used.
    """
    per_unit = STANDARD_ERRORS * ROUNDING[screen] * math.sqrt(2 / 3) * widen
    return sizes[0] * per_unit, sizes[1]


def above(
    plane: Tensor, bar: Tensor, room: tuple[Tensor, Tensor], screen: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Row and column (N,) of the entries of a rough plane that may exceed `bar`, in this order.

    Args:
        bar: (D,) or (B, D). room: what `slack` gives.
    """
    found = []
    # rounding the result is relative to it, and near the bar it is as large as the bar
    lowest = bar - 2 * ROUNDING[screen] * bar.abs()
    for start in range(0, len(plane), 256):
        part = slice(start, start + 256)
        least = torch.outer(room[0][part], room[1]).neg_()
        least += lowest[part] if bar.ndim == 2 else lowest
        row, column = (plane[part] > least).nonzero(as_tuple=True)
        found.append((row + start, column))
    rows, columns = zip(*found, strict=True)
    return torch.cat(rows), torch.cat(columns)


def strain(
    rough: Tensor, exact: Tensor, rows: Tensor, columns: Tensor, room: tuple[Tensor, Tensor],
    screen: torch.dtype,
) -> float:
    """Largest share of its margin that the error of an entry took up; 1 is all of it.

    Args:
        rough, exact: (N,) values of the entries.
        rows, columns: (N,) where they lie.
    """
    if not len(rough):
        return 0.0
    allowed = room[0][rows] * room[1][columns] + 2 * ROUNDING[screen] * exact.abs()
    error = (rough.to(exact.dtype) - exact).abs()
    return float((error / allowed.clamp(min=torch.finfo(exact.dtype).tiny)).max())


def side_by_side(x: Iterable[Tensor], n_rows: int, length: int, screen: torch.dtype) -> Tensor:
    """Rows of all snapshots, (B, d) each, laid end to end in the type of the screen, (B, K d)."""
    out, start = torch.empty(0), 0
    for rows in x:
        if not start:
            out = torch.empty(n_rows, length, dtype=screen, device=rows.device)
        out[:, start : start + rows.shape[1]] = rows
        start += rows.shape[1]
    return out


def rough_plane(side: Tensor, parts: Iterable[RoughEncoder], n_features: int) -> tuple[
    Tensor, Tensor
]:
    """Rough products (B, D) of rows (B, n) with an encoder, and the encoder's sizes (D,)."""
    plane = torch.empty(len(side), n_features, dtype=side.dtype, device=side.device)
    sizes = torch.empty(n_features, device=side.device)
    for part in parts:
        columns = slice(part.start, part.start + len(part.rough))
        plane[:, columns] = side @ part.rough.T
        sizes[columns] = part.size
    return plane, sizes
