"""Train a readout prism over one finished W_U (prism-method sections 2 and 3).

The dials are in `trainer.prism_recipe`, the six encoders in `trainer.prism_codes`, the loss in
`trainer.prism_losses`, what keeps a long run safe in `trainer.loop`.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.errors import InvalidValue
from atlas.prism import ARCHITECTURES, COUNTED, Prism, normalise_rows
from trainer.heads import Heads
from trainer.loop import Loop, Report, StepFigures, silent
from trainer.prism_codes import (
    Averages,
    initial_averages,
    initial_weights,
    of_batch,
    pays,
    preactivation,
)
from trainer.prism_losses import Asked, logit_loss, row_losses
from trainer.prism_recipe import (
    CONTROLLED,
    TARGETS,
    PrismRecipe,
    learning_rate,
    penalty_weight,
    row_weights,
)

SHORTEST = 1e-6
"""Length up to which a hidden state counts as padding (section 3.3)."""


@dataclass(frozen=True, eq=False)
class Controller:
    """The L0 controller of section 3.5: the sparsity coefficient follows the L0 that is measured.

    A step's L0 counts from the step after it on; in the shipped trainer it counts at once.
    """

    coefficient: Tensor
    """()."""
    l0: Tensor
    """() running average."""

    def after(self, recipe: PrismRecipe, done: int, l0: Tensor) -> "Controller":
        """As it stands after a step; `done` were taken before."""
        if recipe.target_l0 is None:
            return self
        average = l0 if done == 0 else 0.9 * self.l0 + 0.1 * l0
        step = done + 1
        if step <= recipe.control_warmup or step % 10:
            return Controller(self.coefficient, average)
        error = ((average - recipe.target_l0) / recipe.target_l0).clamp(-0.3, 0.3)
        most = 0.01 if recipe.architecture == "jumprelu" else 0.05
        return Controller((self.coefficient * (0.2 * error).exp()).clamp(1e-8, most), average)


class PrismTraining:
    """One prism under training, for `trainer.loop.Loop`.

    Args:
        W: (V, d) raw rows of the unembedding matrix; worked on in float32 unless it is float64.
        hidden: (n, d) hidden states that enter the head; may be empty where neither penalty nor
            sampling asks for them.
        recipe: dials.
        device: where the work is done; where W is unless told.
        heads: must be alone; a prism is trained by one process.

    Raises:
        InvalidValue: rows or hidden states that are of other shapes, not finite, or of length 0.
    """

    def __init__(self, W: Tensor, hidden: Tensor, recipe: PrismRecipe,
                 device: torch.device | None = None, heads: Heads | None = None):
        check(W, hidden, recipe)
        self.recipe, self.heads = recipe, heads or Heads()
        if self.heads.world > 1:
            raise InvalidValue("a prism is trained by one process; start it without torchrun")
        self.device = device or W.device
        W = W if W.dtype == torch.float64 else W.float()
        hidden = hidden.to(W.dtype)
        x, self.mean, self.norms = (t.to(self.device) for t in normalise_rows(W))
        self.x, self.W, self.hidden = x, W.to(self.device), hidden.to(self.device)
        self.generator = torch.Generator().manual_seed(recipe.seed)
        self.weights = {
            name: value.to(self.device).requires_grad_()
            for name, value in initial_weights(recipe, x.cpu(), self.generator).items()
        }
        self.averages = initial_averages(recipe.architecture, x)
        self.optimizer = torch.optim.AdamW(
            list(self.weights.values()), lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay, fused=True)
        targets = top_targets(self.hidden, self.W)
        self.targets = targets[:, : recipe.prism_top_n]
        self.sampling = row_weights(recipe, targets, len(W)).cpu()
        start = x.new_tensor(recipe.sparsity)
        self.controller = Controller(start, x.new_zeros(()))
        self.lists = pays(recipe, self.device)
        self.total = recipe.steps
        self.features, self.batch = recipe.d_sae, recipe.batch
        self.epoch_steps = math.ceil(len(W) / recipe.batch)
        self.micro: int | None = None
        """Rows of a batch that are worked on at once; all unless memory ran out."""
        self._drawn: tuple[int, Tensor, Tensor, Tensor] | None = None

    # --- one step --------------------------------------------------------------------------------

    def step(self, done: int) -> StepFigures:
        """One step, its gradients worked out; `done` were taken before."""
        recipe = self.recipe
        rows, states, ranks = self._draw(done)
        self.optimizer.zero_grad(set_to_none=True)
        x = self.x[rows]
        found = self._found(x, self.averages)
        like = x.new_zeros
        loss, reconstruction, sparsity, squared = (like(()) for _ in range(4))
        fired, averages = like(self.features), self.averages
        for part in self._parts(len(x)):
            losses = row_losses(self.weights, x[part], recipe, self.controller.coefficient,
                                self.averages, self.lists, found)
            share = len(x[part]) / len(x)
            (losses.total * share).backward()
            averages = losses.averages
            loss += losses.total.detach() * share
            reconstruction += losses.reconstruction * share
            sparsity += losses.sparsity * share
            squared += losses.squared
            fired += losses.code.fired()
        weight, penalty = penalty_weight(recipe, done), like(())
        if weight > 0:
            penalty, averages = self._penalty(weight, states, ranks, averages)
        l0 = fired.sum() / len(x)

        def move() -> None:
            self._move(done)
            self.averages = averages
            self.controller = self.controller.after(recipe, done, l0)

        terms = {"loss": loss + weight * penalty, "reconstruction": reconstruction,
                 "penalty": penalty, "l0": l0, "unexplained": squared / x.square().sum()}
        if recipe.architecture in (*CONTROLLED, "gated"):
            terms |= {"sparsity": sparsity, "coefficient": self.controller.coefficient}
        return StepFigures(terms, fired, len(x), move)

    def _draw(self, done: int) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (B,) of a step, its hidden states (m,) and the ranks (m,) of their tokens; the same
        ones if the step has to be taken again.
        """
        if self._drawn is None or self._drawn[0] != done:
            recipe, none = self.recipe, torch.zeros(0, dtype=torch.int64)
            rows = torch.multinomial(
                self.sampling, recipe.batch, replacement=True, generator=self.generator)
            states = ranks = none
            if penalty_weight(recipe, done) > 0:
                size = (min(recipe.batch, len(self.hidden)),)
                states = torch.randint(len(self.hidden), size, generator=self.generator)
                among = self.targets.shape[1]
                ranks = torch.zeros_like(states) if among == 1 else torch.randint(
                    among, size, generator=self.generator)
            self._drawn = done, rows, states, ranks
        rows, states, ranks = (ids.to(self.device) for ids in self._drawn[1:])
        return rows, states, ranks

    def _parts(self, rows: int) -> Iterator[slice]:
        step = min(self.micro or rows, rows)
        return (slice(first, min(first + step, rows)) for first in range(0, rows, step))

    def _found(self, x: Tensor, averages: Averages) -> Tensor | None:
        """What parts of these rows need to know of all of them; None if there is one part."""
        if not self.micro or self.micro >= len(x):
            return None
        with torch.no_grad():
            return of_batch(self.recipe, averages, (
                preactivation(self.weights, x[part], self.recipe.architecture)
                for part in self._parts(len(x))), len(x))

    def _penalty(self, weight: float, states: Tensor, ranks: Tensor,
                 averages: Averages) -> tuple[Tensor, Averages]:
        """The error of asked logits, its gradients worked out, and the averages after it."""
        token, hidden = self.targets[states, ranks], self.hidden[states]
        asked = Asked(hidden, self.x[token], self.norms[token], (hidden * self.W[token]).sum(1))
        found = self._found(asked.x, averages)
        penalty, after = asked.x.new_zeros(()), averages
        for part in self._parts(len(states)):
            few = asked.part(part)
            error, after = logit_loss(self.weights, few, self.mean, self.recipe, averages,
                                      self.lists, found)
            share = len(few.x) / len(states)
            (error * (weight * share)).backward()
            penalty += error.detach() * share
        return penalty, after

    def _move(self, done: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, done)
        torch.nn.utils.clip_grad_norm_(self.weights.values(), self.recipe.gradient_clip)
        self.optimizer.step()
        if self.recipe.architecture != "jumprelu":
            with torch.no_grad():
                decoder = self.weights["decoder"]
                decoder /= decoder.norm(dim=1, keepdim=True).clamp_min(1e-8)

    # --- what resuming needs ---------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """By name: weights, averages, controller, generator and moments."""
        moments = {
            f"adamw.{name}.{key}": value
            for name, weight in self.weights.items()
            for key, value in self.optimizer.state.get(weight, {}).items()
        }
        return {
            **{name: value.detach() for name, value in self.weights.items()},
            **{f"average.{name}": value for name, value in self.averages.items()},
            "controller.coefficient": self.controller.coefficient,
            "controller.l0": self.controller.l0,
            "generator": self.generator.get_state(), **moments,
        }

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take up what `state` gave."""
        with torch.no_grad():
            for name, value in self.weights.items():
                value.copy_(state[name])
        self.averages = {name: state[f"average.{name}"].to(value.device)
                         for name, value in self.averages.items()}
        self.controller = Controller(*(state[f"controller.{name}"].to(self.device)
                                       for name in ("coefficient", "l0")))
        self.generator.set_state(state["generator"])
        self._drawn = None
        moments: dict[int, dict[str, Tensor]] = {}
        for i, name in enumerate(self.weights):
            prefix = f"adamw.{name}."
            own = {key.removeprefix(prefix): value for key, value in state.items()
                   if key.startswith(prefix)}
            if own:
                moments[i] = own
        self.optimizer.load_state_dict(
            {"state": moments, "param_groups": self.optimizer.state_dict()["param_groups"]})

    def trained(self) -> Prism:
        """The prism as it stands; k is D where the architecture does not count (section 2)."""
        recipe = self.recipe
        known = self.weights | self.averages
        parts = {name: known[name] for name in ARCHITECTURES[recipe.architecture]}
        counted = recipe.architecture in (*COUNTED, "batch_topk")
        rest = {"row_mean": self.mean, "row_norms": self.norms}
        return Prism(
            k=recipe.k if counted else recipe.d_sae, architecture=recipe.architecture,
            **{name: value.detach().clone().cpu() for name, value in (
                {n: self.weights[n] for n in ("encoder", "bias", "decoder")} | rest | parts
            ).items()},
        )


def check(W: Tensor, hidden: Tensor, recipe: PrismRecipe) -> None:
    """Refuse what cannot be trained on; the arguments are those of `PrismTraining`."""
    what = f"prism over {recipe.model}"
    for name, rows in (("W", W), ("the hidden states", hidden)):
        if rows.ndim != 2:
            raise InvalidValue(f"{what}: {name} must be a matrix, not of shape "
                               f"{tuple(rows.shape)}")
    if W.shape[1] != hidden.shape[1]:
        raise InvalidValue(
            f"{what}: rows of W are {W.shape[1]} wide and hidden states {hidden.shape[1]}; take "
            "both from one language model")
    if len(W) < 2:
        raise InvalidValue(f"{what}: W has {len(W)} rows; a prism needs two")
    asked = recipe.prism_penalty > 0 or recipe.row_sampling != "uniform"
    if asked and not len(hidden):
        raise InvalidValue(f"{what}: there are no hidden states; give some, or train without with "
                           "--set prism_penalty=0 --set row_sampling=uniform")
    for name, rows in (("row {} of W", W), ("hidden state {}", hidden)):
        _refuse(what, name, "is not finite; make it anew", ~rows.isfinite().all(dim=1))
    _refuse(what, "hidden state {}", "has a length of 0, so it is padding; leave it out",
            hidden.norm(dim=1) <= SHORTEST)


def _refuse(what: str, name: str, why: str, bad: Tensor) -> None:
    at = bad.nonzero()
    if len(at):
        raise InvalidValue(f"{what}: {name.format(int(at[0]))} {why} ({len(at)} are like it)")


def top_targets(hidden: Tensor, W: Tensor) -> Tensor:
    """(n, 8) tokens with the largest logits of each hidden state, the largest first."""
    most = min(TARGETS, len(W))
    if not len(hidden):
        return torch.zeros(0, most, dtype=torch.int64, device=W.device)
    return torch.cat([(h @ W.T).topk(most, dim=1).indices for h in hidden.split(2048)])


def train_prism(
    W: Tensor,
    hidden: Tensor,
    recipe: PrismRecipe,
    report: Callable[[str], None] = silent,
) -> Prism:
    """Fit a prism to the rows of W in one go, without a checkpoint.

    Args:
        W: (V, d) raw rows of the unembedding matrix.
        hidden: (n, d) hidden states that enter the head.
        recipe: dials.
        report: receives a line about ten times in the run.

    Raises:
        InvalidValue: as `PrismTraining`.
        Diverged: the loss is no longer finite.
    """
    training = PrismTraining(W, hidden, recipe)
    Loop(training, f"prism over {recipe.model}", Report(report)).run()
    return training.trained()
