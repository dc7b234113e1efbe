"""Codes of which few entries are not 0, as lists of (row, feature) pairs, with their gradients.

Only the encoder's product with all features is done in full. What follows it (decoding, and the
gradients of code, decoder and encoder) costs as much as there are pairs. This pays on a CPU and
not on an accelerator (performance.md section 4). The plain way is `trainer.prism_twin`'s.

Shapes: B rows, d width, D features, n pairs.
"""

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class Pairs:
    """Which features each row keeps, row by row."""

    def __init__(self, column: Tensor, start: Tensor, features: int):
        """Args: column: (n,) features. start: (B + 1,) where each row begins. features: D."""
        self.column, self.start, self.features = column, start, features
        self._by_column: tuple[Tensor, Tensor, Tensor] | None = None

    @classmethod
    def per_row(cls, columns: Tensor, features: int) -> "Pairs":
        """Of features (B, k), as many for each row."""
        start = torch.arange(0, columns.numel() + 1, columns.shape[1], device=columns.device)
        return cls(columns.reshape(-1), start, features)

    @classmethod
    def where(cls, on: Tensor) -> "Pairs":
        """Of a mask (B, D)."""
        row, column = on.nonzero(as_tuple=True)
        return cls(column, _starts(row, on.shape[0]), on.shape[1])

    def decode(self, values: Tensor, directions: Tensor) -> Tensor:
        """(B, d): values (n,) times directions (D, d), added up by row."""
        return F.embedding_bag(self.column, directions, self.start[:-1], mode="sum",
                               per_sample_weights=values)

    def transposed(self, values: Tensor, rows: Tensor) -> Tensor:
        """(D, d): values (n,) times rows (B, d), added up by feature."""
        order, row, start = self._columns()
        return F.embedding_bag(row, rows, start[:-1], mode="sum",
                               per_sample_weights=values[order])

    def products(self, rows: Tensor, directions: Tensor) -> Tensor:
        """(n,) inner products of the row (B, d) and the direction (D, d) of each pair."""
        pattern = torch.sparse_csr_tensor(
            self.start, self.column, rows.new_zeros(len(self.column)),
            (len(self.start) - 1, self.features), check_invariants=False)
        return torch.sparse.sampled_addmm(pattern, rows, directions.T, beta=0).values()

    def _columns(self) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs in the order of their features, the rows of these, where each feature begins."""
        if self._by_column is None:
            order = self.column.argsort(stable=True)
            rows = torch.arange(len(self.start) - 1, device=order.device)
            row = rows.repeat_interleave(self.start.diff())[order]
            self._by_column = order, row, _starts(self.column, self.features)
        return self._by_column


def _starts(ids: Tensor, size: int) -> Tensor:
    """(size + 1,) where each id begins once they are sorted."""
    return F.pad(torch.bincount(ids, minlength=size).cumsum(0), (1, 0))


class Rectified(torch.autograd.Function):
    """Pre-activations of listed pairs, already computed, rectified; backward to the encoder."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, encoder: Tensor, bias: Tensor, x: Tensor,
                pairs: Pairs) -> Tensor:
        """Args: pre: (n,). encoder: (D, d). bias: (D,). x: (B, d), without a gradient."""
        values = pre.relu()
        ctx.pairs = pairs
        ctx.save_for_backward(values, x)
        return values

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        values, x = ctx.saved_tensors
        grad = grad * (values > 0)
        bias = grad.new_zeros(ctx.pairs.features).index_add_(0, ctx.pairs.column, grad)
        return None, ctx.pairs.transposed(grad, x), bias, None, None


class Decoded(torch.autograd.Function):
    """Rows (B, d) from values (n,) and directions (D, d)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, decoder: Tensor, pairs: Pairs) -> Tensor:
        ctx.pairs = pairs
        ctx.save_for_backward(values, decoder)
        return pairs.decode(values, decoder)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        values, decoder = ctx.saved_tensors
        grad = grad.contiguous()
        return ctx.pairs.products(grad, decoder), ctx.pairs.transposed(values, grad), None


with warnings.catch_warnings():  # torch says once per process that its sparse rows are in beta
    warnings.simplefilter("ignore")
    torch.zeros(1, 1).to_sparse_csr()
