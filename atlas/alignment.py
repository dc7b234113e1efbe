"""How a readout is moved before it is swapped in: the ladder of crosscoder-method §10.3.

A variant changes the rows W_s of one readout towards those of another, W_t:

    none        W_s
    mean        W_s - mean_s + mean_t
    scale       (W_s - mean_s) |W_t - mean_t| / |W_s - mean_s| + mean_t    (Frobenius norms)
    row_norm    every row stretched to the length it has in W_t, nothing centred
    procrustes  (W_s - mean_s) R + mean_t, R = U V' of svd((W_s - mean_s)' (W_t - mean_t))

No changed row is ever made: h . row' is factor (h' . row) + offset with another hidden state h',
and for row_norm a factor for each row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

Align = Literal["none", "mean", "scale", "row_norm", "procrustes"]
ALIGNMENTS: tuple[Align, ...] = get_args(Align)
SVD = 25
"""Operations of the svd of a (d, d) matrix, in d³, about."""


@dataclass(frozen=True, eq=False)
class Readout:
    """What is known of the rows of one snapshot beside the rows."""

    mean: Tensor
    """(d,) of all rows."""
    scale: float
    """Root mean square of the centred values: a multiple of their Frobenius norm."""


@dataclass(frozen=True, eq=False)
class Aligned:
    """How R sets of hidden states read the rows of one snapshot."""

    hidden: Tensor
    """(R, N, d) float32: what the rows are multiplied with."""
    factor: Tensor
    """(R, 1, 1) of the products."""
    offset: Tensor
    """(R, N, 1) added to the products."""
    by_norm: bool = False
    """Every product also times the row's own length over there by that here."""

    def logits(self, rows: Tensor, norms: Tensor | None = None) -> Tensor:
        """(R, N, B) for rows (B, d); with `by_norm`, norms (R, B) of the same rows over there."""
        count, wide, d = self.hidden.shape
        found = (self.hidden.reshape(-1, d) @ rows.T).reshape(count, wide, -1)
        if self.by_norm:
            if norms is None:
                raise ValueError("row_norm needs the lengths of the rows over there")
            found = found * (norms / rows.norm(dim=1).clamp_min(1e-12))[:, None]
        return found * self.factor + self.offset


def aligned(
    align: Align,
    hidden: Tensor,
    here: Readout | None = None,
    there: Sequence[Readout] = (),
    rotations: Sequence[Tensor] = (),
) -> Aligned:
    """One readout as each set of hidden states reads it.

    Args:
        align: the variant.
        hidden: (R, N, d) float32, one set for each model that read the prompt.
        here: of the snapshot whose rows are read; none and row_norm need it not.
        there: of each model's own snapshot.
        rotations: (d, d) for each of them, procrustes only; see `rotation`.
    """
    count, wide = hidden.shape[:2]
    one, none = torch.ones(count, 1, 1), torch.zeros(count, wide, 1)
    if align in ("none", "row_norm") or here is None:
        return Aligned(hidden, one, none, align == "row_norm")
    own = torch.stack([readout.mean for readout in there])
    onto = torch.einsum("rnd,rd->rn", hidden.double(), own.double())
    turned, factor = hidden, one
    if align == "scale":
        factor = torch.tensor([readout.scale / here.scale for readout in there])[:, None, None]
    if align == "procrustes":
        turned = torch.einsum("rnd,red->rne", hidden, torch.stack(list(rotations)))
    away = turned.double() @ here.mean.double()
    offset = (onto - factor[..., 0].double() * away).float()[..., None]
    return Aligned(turned, factor, offset)


def rotation(
    blocks: Iterator[tuple[Tensor, Tensor]], here: Readout, there: Readout
) -> Tensor:
    """The rotation R of procrustes, (d, d) float32: rows here are turned onto those there.

    Args:
        blocks: the same rows of both snapshots, (B, d) each, a block at a time.
        here, there: the two.
    """
    d = len(here.mean)
    cross = torch.zeros(d, d, dtype=torch.float64)
    for rows, others in blocks:
        cross += ((rows - here.mean).T @ (others - there.mean)).double()
    u, _, v = torch.linalg.svd(cross)
    return (u @ v).float()


def operations(n_rows: int, d: int, pairs: int) -> float:
    """Floating-point operations of `pairs` rotations."""
    return float(pairs) * (2.0 * n_rows * d * d + SVD * float(d) ** 3)
