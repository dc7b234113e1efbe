"""llamascopium's crosscoder behind the steps that the benchmark takes.

Its model, encode, decode, optimiser step and autograd are the library's. The loop and the tanh-quad
term are spelled out: this version's own term cannot take the mean over the heads of a crosscoder.
"""

import math

import torch
from torch import Tensor

from atlas.crosscoder import Crosscoder
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.joint_step import Weights


class Peer:
    """One crosscoder of llamascopium under training (crosscoder-method section 3.4)."""

    def __init__(self, x: Tensor, recipe: CrosscoderRecipe):
        from llamascopium.models.crosscoder import Crosscoder as Theirs
        from llamascopium.models.crosscoder import CrosscoderConfig

        self.x, self.recipe = x, recipe
        k, _, d = x.shape
        self.names = [f"wu_step_{i}" for i in range(k)]
        self.model = Theirs(CrosscoderConfig(
            d_model=d, expansion_factor=recipe.d_sae / d, hook_points=self.names,
            act_fn="jumprelu", jumprelu_threshold_window=recipe.threshold_window,
            sparsity_include_decoder_norm=True, use_decoder_bias=True,
            norm_activation="inference", device="cpu", dtype=torch.float32,
        ))
        self.model.init_parameters(
            encoder_uniform_bound=d**-0.5, decoder_uniform_bound=recipe.d_sae**-0.5,
            init_log_jumprelu_threshold_value=math.log(recipe.initial_threshold),
        )
        slow = [p for n, p in self.model.named_parameters() if "threshold" in n]
        fast = [p for n, p in self.model.named_parameters() if "threshold" not in n]
        rate = recipe.learning_rate
        self.optimizer = torch.optim.Adam(
            [{"params": fast, "lr": rate}, {"params": slow, "lr": rate * recipe.threshold_rate}],
            foreach=False)

    def parts(self) -> dict[str, torch.nn.Parameter]:
        """By the names of the released layout."""
        m = self.model
        return {"W_E": m.W_E, "b_E": m.b_E, "W_D": m.W_D, "b_D": m.b_D,
                "log_threshold": m.activation_function.log_jumprelu_threshold}

    def load(self, weights: Weights) -> None:
        """Begin from given weights."""
        from tests.benchmarks.bench_train import released

        with torch.no_grad():
            for name, value in released(weights).items():
                self.parts()[name].copy_(value)

    def _loss(self, ids: Tensor) -> Tensor:
        recipe = self.recipe
        batch = {name: self.x[i, ids] for i, name in enumerate(self.names)} | {"tokens": ids}
        told = self.model.compute_loss(batch, sparsity_loss_type=None)
        score = torch.tanh(
            recipe.tanh_stretch * told["feature_acts"] * self.model.decoder_norm())
        frequency = score.mean(dim=(0, 1))
        sparsity = (frequency * (1 + frequency / recipe.frequency_scale)).sum()
        return told["loss"] + recipe.sparsity * sparsity

    def step(self, ids: Tensor) -> float:
        """One step; the loss before it."""
        loss = self._loss(ids)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def gradients(self, ids: Tensor) -> dict[str, Tensor]:
        """Of every tensor at a batch."""
        self.optimizer.zero_grad()
        self._loss(ids).backward()
        return {name: p.grad for name, p in self.parts().items() if p.grad is not None}

    def trained(self) -> Crosscoder:
        """The dictionary as it stands."""
        parts = {name: p.detach().clone() for name, p in self.parts().items()}
        return Crosscoder(parts["W_E"], parts["b_E"], parts["W_D"], parts["b_D"],
                          parts["log_threshold"].exp())


class AdapterPeer(Peer):
    """The same in the loop of the reference's trainer: it asks for the pre-activations too, and
    takes the reconstruction and the penalty outside the library.
    """

    def _loss(self, ids: Tensor) -> Tensor:
        recipe, model = self.recipe, self.model
        batch = {name: self.x[i, ids] for i, name in enumerate(self.names)}
        x, encoding, decoding = model.prepare_input(batch)
        acts, _ = model.encode(x, return_hidden_pre=True, **encoding)
        rebuilt = model.decode(acts, **decoding)
        reconstruction = (rebuilt.float() - x.float()).square().sum(-1).mean()
        norms = model.decoder_norm().float()
        frequency = torch.tanh(recipe.tanh_stretch * acts.float() * norms).mean(dim=(0, 1))
        sparsity = (frequency * (1 + frequency / recipe.frequency_scale)).sum()
        return reconstruction + recipe.sparsity * sparsity
