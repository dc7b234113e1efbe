"""What a prism minimises: the error of its rows, and that of logits it is asked for (section 3.4).

Each is a mean over the rows it is given, so that parts of a batch add up by their share of it.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from trainer.prism_codes import Averages, Code, Weights, encode
from trainer.prism_recipe import PrismRecipe, nested_ks


@dataclass(frozen=True, eq=False)
class RowLosses:
    """The terms of some rows; `total` is what is minimised."""

    total: Tensor
    reconstruction: Tensor
    """Mean squared error over rows and d, matryoshka_topk: averaged over its k's by weight."""
    sparsity: Tensor
    """The architecture's own term, before its coefficient; 0 where there is none."""
    squared: Tensor
    """Sum over rows of the squared distance between a row and what is rebuilt of it."""
    code: Code
    averages: Averages
    """As they stand after these rows."""


def row_losses(
    weights: Weights, x: Tensor, recipe: PrismRecipe, coefficient: Tensor, averages: Averages,
    lists: bool = False, found: Tensor | None = None,
) -> RowLosses:
    """Loss of unit rows x (B, d); the arguments are those of `trainer.prism_codes.encode`.

    Args:
        coefficient: () of the sparsity term.
    """
    encoded = encode(weights, x, recipe, averages, lists, True, found)
    decoder, code = weights["decoder"], encoded.code
    if encoded.nested:
        reconstruction, rebuilt = x.new_zeros(()), x.new_zeros(())
        shares = recipe.k_weights or (1.0,) * len(nested_ks(recipe))
        for part, share in zip(encoded.nested, shares, strict=True):
            rebuilt = rebuilt + part.decode(decoder)
            reconstruction = reconstruction + share / sum(shares) * F.mse_loss(rebuilt, x)
    else:
        rebuilt = code.decode(decoder)
        reconstruction = F.mse_loss(rebuilt, x)
    total = reconstruction + recipe.code_l2 * code.mean_square()
    if encoded.sparsity is not None:
        total = total + coefficient * encoded.sparsity
    if encoded.gates is not None:
        total = total + recipe.gate_reconstruction * F.mse_loss(encoded.gates, x)
    sparsity = x.new_zeros(()) if encoded.sparsity is None else encoded.sparsity.detach()
    squared = (rebuilt.detach() - x).square().sum()
    return RowLosses(total, reconstruction.detach(), sparsity, squared, code, encoded.averages)


@dataclass(frozen=True, eq=False)
class Asked:
    """Hidden states and the token whose logit each is asked for."""

    hidden: Tensor
    """(m, d)."""
    x: Tensor
    """(m, d) unit rows of the tokens."""
    norms: Tensor
    """(m,) lengths of their centred rows."""
    exact: Tensor
    """(m,) logits of the matrix itself."""

    def part(self, rows: slice) -> "Asked":
        """Some of them."""
        return Asked(self.hidden[rows], self.x[rows], self.norms[rows], self.exact[rows])


def logit_loss(
    weights: Weights, asked: Asked, mean: Tensor, recipe: PrismRecipe, averages: Averages,
    lists: bool = False, found: Tensor | None = None,
) -> tuple[Tensor, Averages]:
    """Mean squared relative error of the asked logits, and the averages after these rows.

    As in the shipped trainer these rows are encoded as a batch of their own, which moves the
    averages of batch_topk and jumprelu once more.
    """
    encoded = encode(weights, asked.x, recipe, averages, lists, False, found)
    rebuilt = mean + asked.norms.unsqueeze(1) * encoded.code.decode(weights["decoder"])
    error = asked.exact - (asked.hidden * rebuilt).sum(1)
    relative = error / asked.exact.abs().clamp_min(1e-5)
    return relative.square().mean(), encoded.averages
