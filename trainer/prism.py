"""Train a TopK readout prism over one finished W_U (prism-method sections 2 and 3).

The released trainer lacks what its own description names; the description is followed here:
row-seeded initialisation, warm-up then cosine, and the prism penalty ramped in over the last
30 % of the steps (section 3.2). Marked unknown there and chosen here: a warm-up of 5 %, an
encoder tied to the decoder at the start.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from atlas.errors import Diverged
from atlas.prism import Prism, normalise_rows


@dataclass(frozen=True)
class PrismRecipe:
    """The dials of one prism; defaults are the converged-finalist values (section 3.1)."""

    model: str
    """Label of the language model whose last W_U is factorised."""
    d_sae: int
    k: int
    """Features kept per row; part of the trained object."""
    seed: int = 0
    steps: int = 20_000
    batch: int = 4096
    """Rows per step."""
    learning_rate: float = 1e-3
    rate_warmup: float = 0.05
    final_share: float = 0.1
    """Learning rate at the end, as a share of the peak (cosine)."""
    weight_decay: float = 1e-4
    code_l2: float = 1e-6
    prism_penalty: float = 1e-3
    """Weight of the relative error of selected logits, reached at the last step."""
    prism_delay: float = 0.7
    """Share of the steps before the penalty begins to rise."""
    frequent_share: float = 0.5
    """Share of each batch drawn by how often a row is a hidden state's top target."""
    hidden_states: int = 2048
    """Hidden states of the language model that the penalty and the sampling use."""


def top_k_code(x: Tensor, encoder: Tensor, bias: Tensor, k: int) -> Tensor:
    """Dense (B, D) code: ReLU, then the k largest entries of each row."""
    u = torch.relu(x @ encoder.T + bias)
    values, indices = u.topk(min(k, u.shape[1]), dim=1)
    return torch.zeros_like(u).scatter(1, indices, values)


def learning_rate(recipe: PrismRecipe, step: int) -> float:
    """Linear warm-up, then cosine to `final_share` of the peak (section 3.2)."""
    warm = max(1, int(recipe.rate_warmup * recipe.steps))
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    u = (step - warm) / max(1, recipe.steps - warm)
    low = recipe.final_share
    return recipe.learning_rate * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * u)))


def penalty_weight(recipe: PrismRecipe, step: int) -> float:
    """0 for the first `prism_delay` of the steps, then linear to `prism_penalty`."""
    start = recipe.prism_delay * recipe.steps
    return recipe.prism_penalty * max(0.0, (step - start) / max(1.0, recipe.steps - start))


def seeded_rows(x: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """`width` rows of x as unit directions, without replacement while there are enough."""
    order = torch.randperm(x.shape[0], generator=generator)
    if width <= x.shape[0]:
        return x[order[:width]].clone()
    extra = torch.randint(x.shape[0], (width - x.shape[0],), generator=generator)
    noise = 0.02 * torch.randn(len(extra), x.shape[1], generator=generator)
    return F.normalize(torch.cat([x[order], x[extra] + noise]), dim=1)


def train_prism(
    W: Tensor,
    hidden: Tensor,
    recipe: PrismRecipe,
    report: Callable[[str], None] = lambda line: None,
) -> Prism:
    """Fit a prism to the rows of W.

    Args:
        W: (V, d) raw rows of the unembedding matrix.
        hidden: (n, d) hidden states that enter the head.
        recipe: dials.
        report: receives a line about ten times in the run.

    Raises:
        Diverged: the loss is no longer finite.
    """
    x, mean, norms = normalise_rows(W)
    generator = torch.Generator().manual_seed(recipe.seed)
    decoder = seeded_rows(x, recipe.d_sae, generator).requires_grad_()
    encoder = decoder.detach().clone().requires_grad_()
    bias = torch.zeros(recipe.d_sae).requires_grad_()
    parameters = [decoder, encoder, bias]
    optimizer = torch.optim.AdamW(
        parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    targets = (hidden @ W.T).topk(8, dim=1).indices
    counts = torch.bincount(targets.flatten(), minlength=len(W)).clamp_min(1).double()
    uniform = torch.full_like(counts, 1 / len(W))
    sampling = recipe.frequent_share * counts / counts.sum() + (1 - recipe.frequent_share) * uniform
    for step in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        rows = torch.multinomial(sampling, recipe.batch, replacement=True, generator=generator)
        code = top_k_code(x[rows], encoder, bias, recipe.k)
        reconstruction = F.mse_loss(code @ decoder, x[rows])
        loss = reconstruction + recipe.code_l2 * code.square().mean()
        weight = penalty_weight(recipe, step)
        if weight > 0:
            picked = torch.randint(len(hidden), (recipe.batch,), generator=generator)
            h, token = hidden[picked], targets[picked, 0]
            decoded = top_k_code(x[token], encoder, bias, recipe.k) @ decoder
            row = mean + norms[token].unsqueeze(1) * decoded
            exact = (h * W[token]).sum(1)
            error = (exact - (h * row).sum(1)) / exact.abs().clamp_min(1e-5)
            loss = loss + weight * error.square().mean()
        if not torch.isfinite(loss):
            raise Diverged(
                f"prism over {recipe.model} diverged at step {step} of {recipe.steps}; lower it "
                f"with --set learning_rate={recipe.learning_rate / 2:g}"
            )
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        with torch.no_grad():
            decoder /= decoder.norm(dim=1, keepdim=True).clamp_min(1e-8)
        if step % max(1, recipe.steps // 10) == 0 or step == recipe.steps - 1:
            ev = 1 - reconstruction.item() * x.shape[1]
            report(f"step {step + 1}/{recipe.steps}: EV of the batch {ev:.3f}")
    return Prism(encoder.detach(), bias.detach(), decoder.detach(), recipe.k, mean, norms)
