"""The six encoders of a prism as they are trained (prism-method section 2).

How a trained one reads is `atlas.prism.dense_code`'s. Codes are pure functions of weights, rows and
running averages; what the averages become is returned with the code. Gradients are autograd's, but
for the straight-through window of jumprelu and for lists (`trainer.prism_lists`).

Shapes: B rows, d width, D features.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.prism_lists import Decoded, Pairs, Rectified
from trainer.prism_recipe import PrismRecipe, nested_ks, seeded_rows

LISTED = ("topk", "matryoshka_topk", "batch_topk")
"""Architectures whose codes are known to be sparse, so that lists can pay."""
DENSE_ABOVE = 0.2
"""Share of features kept from which products of full matrices cost less than lists do, on a CPU
(`tests.benchmarks.prism_step`: lists take 0.65 of the time at an eighth, 1.1 at a quarter)."""
THRESHOLD_MEMORY = 0.995
"""batch_topk: share of the old threshold in its running average."""
SCALE_MEMORY = 0.99
"""jumprelu: share of the old size of pre-activations in its running average."""

Weights = dict[str, Tensor]
"""`encoder` (D, d), `bias` (D,), `decoder` (D, d), and the architecture's own of `OWN`."""
OWN = {"jumprelu": ("log_threshold",), "gated": ("gate_bias", "log_r")}
"""Architecture -> parameters (D,) of its own; they start at 0, but for jumprelu."""
Averages = dict[str, Tensor]
"""Running averages by the names of the released files (section 2)."""


@dataclass(frozen=True, eq=False)
class Code:
    """What B rows became."""

    values: Tensor
    """(B, D), or (n,) of the listed pairs."""
    pairs: Pairs | None
    shape: tuple[int, int]
    """B, D."""

    def decode(self, decoder: Tensor) -> Tensor:
        """Rows (B, d)."""
        if self.pairs is None:
            return self.values @ decoder
        return Decoded.apply(self.values, decoder, self.pairs)

    def mean_square(self) -> Tensor:
        """Mean over rows and features."""
        return self.values.square().sum() / (self.shape[0] * self.shape[1])

    def fired(self) -> Tensor:
        """(D,) rows on which each feature is above 0."""
        on = self.values.detach() > 0
        if self.pairs is None:
            return on.sum(0).to(self.values.dtype)
        return self.values.new_zeros(self.shape[1]).index_add_(
            0, self.pairs.column, on.to(self.values.dtype))


@dataclass(frozen=True, eq=False)
class Encoded:
    """A code and what its architecture adds to it."""

    code: Code
    averages: Averages
    """As they stand after these rows."""
    nested: tuple[Code, ...] = ()
    """matryoshka_topk: the features that each k adds to those of the k before."""
    sparsity: Tensor | None = None
    """The auxiliary term of section 2, mean over rows; None where there is none."""
    gates: Tensor | None = None
    """gated: (B, d) what the open gates alone rebuild, the decoder held fixed."""


def initial_weights(
    recipe: PrismRecipe, x: Tensor, generator: torch.Generator
) -> Weights:
    """Weights at step 0, of unit rows x (V, d)."""
    features, d = recipe.d_sae, x.shape[1]
    if recipe.init == "rows":
        decoder = seeded_rows(x, features, generator)
        encoder = recipe.seeded_scale * decoder
    else:
        encoder = recipe.encoder_scale * torch.randn(features, d, generator=generator,
                                                     dtype=x.dtype)
        decoder = torch.randn(features, d, generator=generator, dtype=x.dtype) * d ** -0.5
        decoder /= decoder.norm(dim=1, keepdim=True).clamp_min(1e-8)
    start = recipe.initial_log_threshold if recipe.architecture == "jumprelu" else 0.0
    own = {name: x.new_full((features,), start) for name in OWN.get(recipe.architecture, ())}
    return {"decoder": decoder, "encoder": encoder, "bias": x.new_zeros(features), **own}


def initial_averages(architecture: str, like: Tensor) -> Averages:
    """Running averages before the first row, on the device of a tensor."""
    never = torch.zeros((), dtype=torch.int64, device=like.device)
    if architecture == "batch_topk":
        return {"activation_threshold": like.new_zeros(()), "threshold_initialized": never}
    if architecture == "jumprelu":
        return {"act_scale_ema": like.new_ones(()), "act_scale_init": never}
    return {}


def pays(recipe: PrismRecipe, device: torch.device) -> bool:
    """Whether lists are faster than full matrices."""
    return (recipe.architecture in LISTED and device.type == "cpu"
            and max(nested_ks(recipe)) <= DENSE_ABOVE * recipe.d_sae)


def encode(
    weights: Weights, x: Tensor, recipe: PrismRecipe, averages: Averages,
    lists: bool = False, nested: bool = False, found: Tensor | None = None,
) -> Encoded:
    """The code of rows as it is trained.

    Args:
        weights: of the prism.
        x: (B, d) unit rows.
        recipe: architecture, k, window.
        averages: before these rows.
        lists: whether to list what is kept (topk family).
        nested: matryoshka_topk: code at the largest of its k's, and in parts; else at k.
        found: what `of_batch` found, where x is only a part of the batch.
    """
    architecture = recipe.architecture
    if architecture == "gated":
        return _gated(weights, x, averages)
    if lists and architecture in LISTED:
        with torch.no_grad():
            pre = preactivation(weights, x, architecture)
    else:
        pre = preactivation(weights, x, architecture)
    if architecture in ("topk", "matryoshka_topk"):
        ks = nested_ks(recipe) if nested and architecture == "matryoshka_topk" else (recipe.k,)
        return _top_k(weights, x, pre, ks, averages, lists)
    if found is None:
        found = of_batch(recipe, averages, [pre.detach()], len(x))
    if architecture == "batch_topk":
        assert found is not None
        return _batch_top_k(weights, x, pre, found, _moved(
            averages, "activation_threshold", "threshold_initialized", found, THRESHOLD_MEMORY
        ), lists)
    if architecture == "jumprelu":
        assert found is not None
        return _jump(weights, pre, recipe.threshold_window, _moved(
            averages, "act_scale_ema", "act_scale_init", found, SCALE_MEMORY))
    code = pre.relu()
    norms = weights["decoder"].detach().norm(dim=1)
    return Encoded(Code(code, None, _shape(pre)), averages, sparsity=(code @ norms).mean())


def preactivation(weights: Weights, x: Tensor, architecture: str) -> Tensor:
    """(B, D); the bias of a gated prism belongs to the magnitude and is not in it."""
    if architecture == "gated":
        return x @ weights["encoder"].T
    return torch.addmm(weights["bias"], x, weights["encoder"].T)


def of_batch(
    recipe: PrismRecipe, averages: Averages, parts: Iterable[Tensor], rows: int
) -> Tensor | None:
    """What a code needs to know of a whole batch of rows, from its pre-activations in parts.

    batch_topk: the smallest value among the B k largest ones, 0 if fewer are positive. jumprelu:
    the root mean square of the positive ones, 1 if none is. None for the others.
    """
    if recipe.architecture == "batch_topk":
        return _smallest_kept(parts, rows * recipe.k, 0.9 * averages["activation_threshold"])
    if recipe.architecture != "jumprelu":
        return None
    sums = [(u.square().sum(), (u > 0).sum()) for u in (part.relu() for part in parts)]
    squares, count = (torch.stack(column).sum() for column in zip(*sums, strict=True))
    return torch.where(count > 0, (squares / count.clamp_min(1)).sqrt(), torch.ones_like(squares))


def _smallest_kept(parts: Iterable[Tensor], keep: int, likely: Tensor) -> Tensor:
    """() the smallest of the `keep` largest values; `likely` lies below it most of the time."""
    largest = likely.new_zeros(0)
    for part in parts:
        values = part.reshape(-1)
        if part.device.type == "cpu":
            high = values[values > likely]
            values = high if len(high) >= keep else values
        largest = torch.cat([largest, values])
        largest = largest.topk(min(keep, len(largest))).values
    return largest.min().relu()


def _moved(averages: Averages, name: str, begun: str, value: Tensor, memory: float) -> Averages:
    """Averages with one more value in one of them, the first taken as it is."""
    old = averages[name]
    new = torch.where(averages[begun] > 0, memory * old + (1 - memory) * value, value)
    return averages | {name: new, begun: torch.ones_like(averages[begun])}


def _shape(pre: Tensor) -> tuple[int, int]:
    return pre.shape[0], pre.shape[1]


def _top_k(weights: Weights, x: Tensor, pre: Tensor, ks: tuple[int, ...], averages: Averages,
           lists: bool) -> Encoded:
    shape = _shape(pre)
    kept = (pre if lists else pre.relu()).topk(ks[-1], dim=1)

    def code(values: Tensor, part: slice) -> Code:
        columns = kept.indices[:, part]
        if lists:
            return Code(values[:, part].reshape(-1), Pairs.per_row(columns, shape[1]), shape)
        return Code(torch.zeros_like(pre).scatter(1, columns, values[:, part]), None, shape)

    values = kept.values
    if lists:
        pairs = Pairs.per_row(kept.indices, shape[1])
        flat = Rectified.apply(values.reshape(-1), weights["encoder"], weights["bias"], x, pairs)
        values = flat.view(values.shape)
    whole = code(values, slice(None))
    if not ks[1:]:
        return Encoded(whole, averages)
    bounds = zip((0, *ks), ks, strict=False)
    return Encoded(whole, averages, tuple(code(values, slice(a, b)) for a, b in bounds))


def _batch_top_k(weights: Weights, x: Tensor, pre: Tensor, smallest: Tensor, averages: Averages,
                 lists: bool) -> Encoded:
    """Keeps the B k largest values; more only where several equal the smallest of them."""
    on = (pre >= smallest) & (pre > 0)
    if not lists:
        return Encoded(Code(pre * on, None, _shape(pre)), averages)
    pairs = Pairs.where(on)
    values = Rectified.apply(pre[on], weights["encoder"], weights["bias"], x, pairs)
    return Encoded(Code(values, pairs, _shape(pre)), averages)


def _jump(weights: Weights, pre: Tensor, window: float, averages: Averages) -> Encoded:
    u = pre.relu()
    width = (window * averages["act_scale_ema"]).clamp_min(1e-8)
    gate = _Step.apply(u - weights["log_threshold"].exp(), width)
    return Encoded(Code(u * gate, None, _shape(pre)), averages, sparsity=gate.sum(1).mean())


def _gated(weights: Weights, x: Tensor, averages: Averages) -> Encoded:
    s = preactivation(weights, x, "gated")
    gate = s + weights["gate_bias"]
    magnitude = (weights["log_r"].exp() * s + weights["bias"]).relu()
    opened = gate.relu()
    return Encoded(
        Code((gate > 0) * magnitude, None, _shape(s)), averages,
        sparsity=opened.sum(1).mean(), gates=opened @ weights["decoder"].detach(),
    )


class _Step(torch.autograd.Function):
    """1 above 0, else 0; backward a window of height 1 / width, to threshold and value alike.

    Entries that the rectifier put at 0 lie in the window too and pull on their threshold.
    """

    @staticmethod
    def forward(ctx: Any, above: Tensor, width: Tensor) -> Tensor:
        ctx.save_for_backward(above, width)
        return (above > 0).to(above.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        above, width = ctx.saved_tensors
        return grad * (above.abs() <= width / 2) / width, None
