"""Crosscoders whose snapshots share one code: BatchTopK and Gated (crosscoder-method section 3.5).

There is no decoder norm in the gate, so a row has one activation per feature and every snapshot
reads it: rows and directions of all snapshots lie end to end, and a dictionary is a plain sparse
autoencoder of width K d. Gradients are autograd's.
"""

import math

import torch
from torch import Tensor

from atlas.crosscoder import Crosscoder, Gate, batch_topk
from atlas.errors import InvalidValue
from trainer.adam import Adam
from trainer.crosscoder_recipe import (
    CrosscoderRecipe,
    RowOrder,
    rate_multiplier,
    sparsity_multiplier,
)
from trainer.heads import Heads
from trainer.loop import StepFigures
from trainer.rows import Rows


class SharedCodeTraining:
    """A BatchTopK or Gated crosscoder under training, for `trainer.loop.Loop`.

    Args:
        rows: of all snapshots, standardised.
        recipe: dials; `activation` is batchtopk or gated.

    Raises:
        InvalidValue: several processes; these kinds are trained by one.
    """

    def __init__(self, rows: Rows, recipe: CrosscoderRecipe, heads: Heads | None = None):
        self.rows, self.recipe, self.heads = rows, recipe, heads or Heads()
        if self.heads.world > 1:
            raise InvalidValue(f"a {recipe.activation} crosscoder is trained by one process; start "
                               "it without torchrun")
        generator = torch.Generator().manual_seed(recipe.seed)
        width, (k, d) = recipe.d_sae, (rows.snapshots, rows.d_model)
        # every head is drawn for itself here (section 3.4), unlike in the production form
        decoder = (2 * torch.rand(width, k * d, generator=generator) - 1) / math.sqrt(width)
        tensors = {"encoder": recipe.transpose_factor * decoder, "b_E": torch.zeros(width),
                   "decoder": decoder, "b_D": torch.zeros(k * d)}
        if recipe.activation == "gated":
            tensors |= {name: torch.zeros(width) for name in ("b_gate", "r_mag", "b_mag")}
        self.w = {name: t.clone().to(rows.device) for name, t in tensors.items()}
        self.optimizer = Adam(self.w, sparse=recipe.optimizer == "sparse_adam")
        self.order = RowOrder(len(rows), recipe.batch, generator)
        self.total = recipe.epochs * self.order.steps
        self.epoch_steps = self.order.steps
        self.features, self.batch = width, recipe.batch
        self.micro: int | None = None
        """Not used: these kinds need the whole batch at once."""

    def step(self, done: int) -> StepFigures:
        """One step; `done` were taken before."""
        recipe = self.recipe
        x = self.rows.take(self.order.at(done))
        leaves = {name: t.detach().requires_grad_() for name, t in self.w.items()}
        weight = recipe.sparsity * sparsity_multiplier(done, self.total, recipe.sparsity_warmup)
        with torch.enable_grad():
            code, extra = self._code(leaves, x, weight)
            reconstruction = self._error(leaves, code, x)
            loss = reconstruction + extra

        def move() -> None:
            factor = rate_multiplier(done, self.total, recipe.rate_warmup, recipe.rate_decay)
            grads = torch.autograd.grad(loss, list(leaves.values()))
            with self.optimizer.step(recipe.learning_rate * factor):
                for name, grad in zip(leaves, grads, strict=True):
                    self.optimizer.take(name, slice(None), grad)

        k, fired = self.rows.snapshots, (code.detach() > 0)
        squared = x.square().sum()
        return StepFigures(
            {"loss": loss.detach(), "reconstruction": reconstruction.detach(),
             "sparsity": extra.detach(), "l0": fired.sum() / len(x),
             "unexplained": reconstruction.detach() * len(x) * k / squared},
            k * fired.sum(0).to(x.dtype), len(x), move,
        )

    def _error(self, w: dict[str, Tensor], code: Tensor, x: Tensor) -> Tensor:
        """Mean over rows and snapshots of the squared distance."""
        rebuilt = torch.addmm(w["b_D"], code, w["decoder"])
        return (rebuilt - x).square().sum() / (len(x) * self.rows.snapshots)

    def _code(self, w: dict[str, Tensor], x: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        """Code (B, D), and what the kind adds to the loss."""
        p = torch.addmm(w["b_E"], x, w["encoder"].T)
        if self.recipe.activation == "batchtopk":
            assert self.recipe.k is not None
            return batch_topk(p, self.recipe.k), p.new_zeros(())
        opening = torch.relu(p + w["b_gate"])
        magnitude = torch.relu(w["r_mag"].exp() * p + w["b_mag"])
        norms = self._directions(w["decoder"]).norm(dim=2).sum(1)
        extra = weight * (opening * norms).sum(1).mean() + self._error(w, opening, x)
        return (opening.detach() > 0) * magnitude, extra

    def _directions(self, decoder: Tensor) -> Tensor:
        """(D, K, d)."""
        return decoder.view(len(decoder), self.rows.snapshots, self.rows.d_model)

    def state(self) -> dict[str, Tensor]:
        """What resuming needs, by name."""
        return {
            **self.w,
            **{f"adam.{n}": t for n, t in self.optimizer.state().items()},
            **{f"order.{n}": t for n, t in self.order.state().items()},
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up what `state` gave."""
        for name, value in self.w.items():
            value.copy_(state[name])
        for prefix, part in (("adam.", self.optimizer), ("order.", self.order)):
            part.restore({n.removeprefix(prefix): t for n, t in state.items()
                          if n.startswith(prefix)})

    def trained(self) -> Crosscoder:
        """The dictionary as it stands."""
        w = {name: t.detach().cpu().clone() for name, t in self.w.items()}
        k, width = self.rows.snapshots, self.features
        b_E = (w["b_E"] / k).expand(k, width).contiguous()
        encoder, decoder = (self._directions(w[name]) for name in ("encoder", "decoder"))
        gate = Gate(w["b_gate"], w["r_mag"], w["b_mag"]) if "b_gate" in w else None
        return Crosscoder(
            encoder.permute(1, 2, 0).contiguous(), b_E, decoder.permute(1, 0, 2).contiguous(),
            w["b_D"].view(k, -1), torch.zeros(width), self.recipe.activation, self.recipe.k, gate,
        )
