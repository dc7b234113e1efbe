"""Train a trajectory crosscoder (crosscoder-method section 3.4).

The batch axis is the vocabulary, the head axis is the snapshots; no text is read here. A recipe
over one snapshot trains an SAE with the same code. What happens in a step is in
`trainer.joint_step`, what keeps a long run safe in `trainer.loop`.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from atlas.crosscoder import Crosscoder
from trainer.adam import Adam
from trainer.crosscoder_recipe import (
    CrosscoderRecipe,
    RowOrder,
    rate_multiplier,
    sparsity_multiplier,
)
from trainer.heads import Heads
from trainer.joint_step import JointStep, Penalty, Weights
from trainer.loop import Loop, Report, StepFigures, silent
from trainer.rows import ResidentRows, Rows
from trainer.shared_code import SharedCodeTraining


def initial_weights(
    recipe: CrosscoderRecipe, snapshots: int, d: int, generator: torch.Generator
) -> Weights:
    """Weights of some snapshots at step 0: all heads equal, the encoder the decoder transposed.

    Without the transpose the 160M run reaches an EV of about 0.39 instead of 0.78 (section 3.4).
    """
    width = recipe.d_sae
    head = (2 * torch.rand(width, d, generator=generator) - 1) / math.sqrt(width)
    if recipe.decoder_norm is not None:
        head = recipe.decoder_norm * nn.functional.normalize(head, dim=1)
    return Weights(
        encoder=(recipe.transpose_factor * head).repeat(1, snapshots),
        b_E=torch.zeros(snapshots, width),
        W_D=head.repeat(snapshots, 1, 1),
        b_D=torch.zeros(snapshots, d),
        log_threshold=torch.full((width,), math.log(recipe.initial_threshold)),
    )


class CrosscoderTraining:
    """One JumpReLU crosscoder under training, for `trainer.loop.Loop`.

    Args:
        rows: of this process's snapshots, standardised.
        recipe: dials; the seed decides initialisation and row order.
        heads: the process's place among those that share the snapshots.
    """

    def __init__(self, rows: Rows, recipe: CrosscoderRecipe, heads: Heads | None = None):
        self.rows, self.recipe, self.heads = rows, recipe, heads or Heads()
        self.snapshots = rows.snapshots * self.heads.world
        generator = torch.Generator().manual_seed(recipe.seed)
        weights = initial_weights(recipe, rows.snapshots, rows.d_model, generator)
        self.weights = Weights(**{n: t.to(rows.device) for n, t in weights.tensors().items()})
        self.order = RowOrder(len(rows), recipe.batch, generator)
        self.optimizer = Adam(self.weights.tensors(), ("log_threshold",), recipe.threshold_rate,
                              sparse=recipe.optimizer == "sparse_adam")
        self.total = recipe.epochs * self.order.steps
        self.epoch_steps = self.order.steps
        self.features, self.batch = recipe.d_sae, recipe.batch
        self.micro: int | None = None
        """Rows of a batch that are worked on at once; all unless memory ran out."""

    def step(self, done: int) -> StepFigures:
        """One step; `done` were taken before."""
        recipe = self.recipe
        x = self.rows.take(self.order.at(done))
        step = JointStep(self.weights, x, self._penalty(done), self.snapshots, self.heads.reduce,
                         half=recipe.precision == "bfloat16", micro=self.micro)
        losses = step.losses()
        squared = x.square().sum()
        self.heads.reduce(squared)

        def move() -> None:
            factor = rate_multiplier(done, self.total, recipe.rate_warmup, recipe.rate_decay)
            with self.optimizer.step(recipe.learning_rate * factor):
                step.gradients(self.optimizer.take)

        return StepFigures(
            {"loss": losses.total, "reconstruction": losses.reconstruction,
             "sparsity": losses.sparsity, "l0": losses.l0,
             "unexplained": losses.reconstruction * step.pairs / squared},
            losses.fired, len(x), move,
        )

    def _penalty(self, done: int) -> Penalty:
        recipe = self.recipe
        share = sparsity_multiplier(done, self.total, recipe.sparsity_warmup)
        return Penalty(recipe.sparsity * share, recipe.frequency_scale, recipe.tanh_stretch,
                       recipe.threshold_window)

    def state(self) -> dict[str, Tensor]:
        """What resuming needs, by name."""
        return {
            **self.weights.tensors(),
            **{f"adam.{n}": t for n, t in self.optimizer.state().items()},
            **{f"order.{n}": t for n, t in self.order.state().items()},
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up what `state` gave."""
        def within(prefix: str) -> dict[str, Tensor]:
            return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}

        for name, value in self.weights.tensors().items():
            value.copy_(state[name])
        self.optimizer.restore(within("adam."))
        self.order.restore(within("order."))

    def trained(self) -> Crosscoder:
        """The dictionary of this process's snapshots as it stands."""
        w = self.weights
        k, width, d = w.W_D.shape
        encoder = w.encoder.view(width, k, d).permute(1, 2, 0).contiguous()
        rest = (t.clone() for t in (w.b_E, w.W_D, w.b_D))
        parts = (encoder, *rest, w.log_threshold.exp())
        return Crosscoder(*(part.cpu() for part in parts))


def training_of(
    rows: Rows, recipe: CrosscoderRecipe, heads: Heads | None = None
) -> CrosscoderTraining | SharedCodeTraining:
    """The training of a recipe's kind."""
    kind = CrosscoderTraining if recipe.activation == "jumprelu" else SharedCodeTraining
    return kind(rows, recipe, heads)


def train_crosscoder(
    x: Tensor, recipe: CrosscoderRecipe, report: Callable[[str], None] = silent
) -> Crosscoder:
    """Fit one dictionary to the rows of K snapshots in one go, without a checkpoint.

    Args:
        x: (K, n, d) standardised rows to train on.
        recipe: dials.
        report: receives a line about ten times in the run.

    Raises:
        Diverged: the loss is no longer finite, or nothing fires any more.
    """
    training = training_of(ResidentRows(x), recipe)
    Loop(training, f"crosscoder over {recipe.model} {recipe.matrix}", Report(report)).run()
    return training.trained()
