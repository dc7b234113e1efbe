"""A prism's loss spelled out for autograd: the twin of `trainer.prism_codes` and its lists.

prism-method sections 2 and 3.4, a line or two per formula, everything in full matrices (B, D).
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.prism_codes import Averages, Weights
from trainer.prism_recipe import PrismRecipe, nested_ks


def plain_top_k(u: Tensor, k: int) -> Tensor:
    """The k largest entries of each row, 0 elsewhere."""
    values, indices = u.topk(k, dim=1)
    return torch.zeros_like(u).scatter(1, indices, values)


def plain_batch_top_k(u: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The B k largest entries of all rows, 0 elsewhere, and the smallest of them."""
    values, indices = u.flatten().topk(len(u) * k)
    return torch.zeros_like(u).flatten().scatter(0, indices, values).view_as(u), values.min()


def plain_code(
    weights: Weights, x: Tensor, recipe: PrismRecipe, averages: Averages, k: int
) -> Tensor:
    """The code (B, D) of unit rows x (B, d) in training."""
    s = x @ weights["encoder"].T
    if recipe.architecture == "gated":
        magnitude = (weights["log_r"].exp() * s + weights["bias"]).relu()
        return (s + weights["gate_bias"] > 0).to(x.dtype) * magnitude
    u = (s + weights["bias"]).relu()
    if recipe.architecture == "l1_relu":
        return u
    if recipe.architecture == "jumprelu":
        return u * plain_gate(weights, u, recipe, averages)
    if recipe.architecture == "batch_topk":
        return plain_batch_top_k(u, k)[0]
    return plain_top_k(u, k)


def plain_gate(weights: Weights, u: Tensor, recipe: PrismRecipe, averages: Averages) -> Tensor:
    """1 above the threshold; its value is the step's, its slope that of a ramp through it."""
    size = u.detach()[u > 0].square().mean().sqrt()
    if averages["act_scale_init"]:
        size = 0.99 * averages["act_scale_ema"] + 0.01 * size
    width = recipe.threshold_window * size
    above = u - weights["log_threshold"].exp()
    ramp = (above / width + 0.5).clamp(0, 1)
    return (above > 0).to(u.dtype) + ramp - ramp.detach()


def plain_row_loss(
    weights: Weights, x: Tensor, recipe: PrismRecipe, coefficient: float, averages: Averages
) -> Tensor:
    """Loss () of a batch."""
    decoder = weights["decoder"]
    if recipe.architecture == "matryoshka_topk":
        ks = nested_ks(recipe)
        shares = recipe.k_weights or (1.0,) * len(ks)
        codes = [plain_code(weights, x, recipe, averages, k) for k in ks]
        errors = [w * F.mse_loss(c @ decoder, x) for w, c in zip(shares, codes, strict=True)]
        return sum(errors, x.new_zeros(())) / sum(shares) + (
            recipe.code_l2 * codes[-1].square().mean())
    code = plain_code(weights, x, recipe, averages, recipe.k)
    loss = F.mse_loss(code @ decoder, x) + recipe.code_l2 * code.square().mean()
    if recipe.architecture == "jumprelu":
        u = (x @ weights["encoder"].T + weights["bias"]).relu()
        loss = loss + coefficient * plain_gate(weights, u, recipe, averages).sum(1).mean()
    if recipe.architecture == "l1_relu":
        loss = loss + coefficient * (code * decoder.detach().norm(dim=1)).sum(1).mean()
    if recipe.architecture == "gated":
        opened = (x @ weights["encoder"].T + weights["gate_bias"]).relu()
        loss = loss + coefficient * opened.sum(1).mean() + recipe.gate_reconstruction * (
            F.mse_loss(opened @ decoder.detach(), x))
    return loss


def plain_logit_loss(
    weights: Weights, hidden: Tensor, W: Tensor, tokens: Tensor, recipe: PrismRecipe,
    averages: Averages,
) -> Tensor:
    """Mean squared relative error of the logits of tokens (m,) under hidden states (m, d)."""
    mean = W.mean(dim=0)
    norms = (W - mean).norm(dim=1).clamp_min(1e-8)
    x = ((W - mean) / norms[:, None])[tokens]
    rebuilt = plain_code(weights, x, recipe, averages, recipe.k) @ weights["decoder"]
    residual = W[tokens] - (mean + norms[tokens, None] * rebuilt)
    exact = (hidden * W[tokens]).sum(1).abs().clamp_min(1e-5)
    return ((hidden * residual).sum(1) / exact).square().mean()
