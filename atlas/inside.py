"""One forward pass looked into: the residual stream, and what every block writes into it.

Forward hooks on the module, so the numbers are those of the pass itself and not of a copy of its
code. What is not known of a block is never left out: a class of blocks that is not in `WRITERS`
is one component, and what attention and MLP do not account for is a component named `rest`.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from atlas.attribution import Component, Norm
from atlas.errors import BrokenArtifact, InvalidValue

UNACCOUNTED = {torch.float32: 1e-4, torch.bfloat16: 2e-2}
"""Largest part of a block that may be rounding, over the largest value of the stream after it."""
NORM_ERROR = {torch.float32: 1e-3, torch.bfloat16: 3e-2}
"""Largest difference of our norm from the model's own, over its largest value."""


@dataclass(frozen=True)
class Writer:
    """One way in which a block adds to the residual stream."""

    kind: str
    path: str
    """The submodule whose output is added."""
    projection: str | None = None
    """A linear map into which heads enter side by side; None where there is none."""

    @property
    def normed(self) -> bool:
        """Whether a norm stands between the projection and the stream."""
        return self.projection is not None and not self.projection.startswith(f"{self.path}.")


_PRE = (
    Writer("attention", "self_attn", "self_attn.o_proj"),
    Writer("linear attention", "linear_attn", "linear_attn.out_proj"),
    Writer("MLP", "mlp"),
)
_POST = (
    Writer("attention", "post_attention_layernorm", "self_attn.o_proj"),
    Writer("MLP", "post_feedforward_layernorm"),
    Writer("per-layer input", "post_per_layer_input_norm"),
)
WRITERS = {
    "GPTNeoXLayer": (
        Writer("attention", "attention", "attention.dense"), Writer("MLP", "mlp"),
    ),
    "LlamaDecoderLayer": _PRE,
    "MistralDecoderLayer": _PRE,
    "Ministral3DecoderLayer": _PRE,
    "Qwen2DecoderLayer": _PRE,
    "Qwen3_5DecoderLayer": _PRE,
    "Olmo2DecoderLayer": _POST,
    "Gemma4TextDecoderLayer": _POST,
}
"""Class of a block -> what writes; submodules that a block does not have are passed over."""


@dataclass(frozen=True, eq=False)
class Part:
    """What one writer of a block adds, as it stands in the final residual stream."""

    kind: str
    values: np.ndarray
    """(P, d) float32, times the factors of this and the later blocks where a family has them."""


@dataclass(frozen=True, eq=False)
class Passage:
    """One forward pass at some positions of a prompt."""

    positions: tuple[int, ...]
    """P of them, rising."""
    residual: np.ndarray
    """(L + 1, P, d) float32: what enters each block, and what leaves the last."""
    embedding: np.ndarray
    """(P, d) float32: what enters the first block, as it stands in the final residual stream."""
    parts: tuple[tuple[Part, ...], ...]
    """By block."""
    normed: np.ndarray
    """(P, d) float32: the output of the final norm, which the head reads."""
    norm: Norm
    """The final norm."""
    factors: np.ndarray
    """(L,) what the output of each block is multiplied by on its way to the end."""
    mixed: tuple[np.ndarray | None, ...]
    """By block (P, heads * width) float32: what enters the projection of its attention."""
    precision: str
    """What the body ran in, `float32` or `bfloat16`."""
    sum_error: float
    """Largest difference of the sum of all components from the final residual stream."""
    norm_error: float
    """Largest difference of the normed sum from what the head reads."""

    @property
    def blocks(self) -> int:
        """L."""
        return len(self.parts)

    def at(self, position: int) -> int:
        """Place of a position of the prompt among `positions`; InvalidValue if it is not there."""
        if position not in self.positions:
            raise InvalidValue(f"position {position} was not looked into, only {self.positions}")
        return self.positions.index(position)

    def components(self, position: int) -> tuple[tuple[Component, ...], np.ndarray]:
        """Everything that adds up to the final residual stream at a position: names, (C, d)."""
        i = self.at(position)
        named = [Component("embedding")]
        values = [self.embedding[i]]
        for block, parts in enumerate(self.parts):
            named += [Component(part.kind, block) for part in parts]
            values += [part.values[i] for part in parts]
        return tuple(named), np.stack(values).astype(np.float64)

    def lens(self, layer: int) -> np.ndarray:
        """(P, d) float64 that the head would read after `layer` blocks.

        After the last one it is the model's own normed state: the norm is applied once.
        """
        if layer == self.blocks:
            return self.normed.astype(np.float64)
        return self.norm.apply(self.residual[layer])


def look_inside(module: nn.Module, ids: Sequence[int], positions: Sequence[int]) -> Passage:
    """Run a model over some tokens and keep what is inside at some positions.

    Args:
        module: a model with its head, of a class of the transformers library.
        ids: T tokens.
        positions: numbers from 0 to T - 1.

    Raises:
        InvalidValue: a position is outside, or its layers and final norm are not found.
        BrokenArtifact: a value is not finite, or the final norm is none that is known.
    """
    positions = tuple(sorted({int(p) for p in positions}))
    if not ids or not positions or not 0 <= positions[0] <= positions[-1] < len(ids):
        raise InvalidValue(f"positions {positions[:8]} are outside of {len(ids)} tokens")
    stack, final = _stack(module)
    blocks = list(stack.layers)
    with torch.inference_mode():
        norm = norm_of(final, blocks[0])
        seen = _Seen(positions)
        with _watched(seen, blocks, final):
            device = next(module.parameters()).device
            module.base_model(input_ids=torch.tensor([list(ids)], device=device))
    return _passage(seen, blocks, norm, next(stack.parameters()).dtype)


def _stack(module: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The text stack of a model, and its final norm."""
    base = module.base_model
    for each in (base, getattr(base, "language_model", None)):
        if isinstance(getattr(each, "layers", None), nn.ModuleList):
            for name in ("norm", "final_layer_norm", "final_layernorm", "ln_f"):
                if isinstance(found := getattr(each, name, None), nn.Module):
                    return each, found
    raise InvalidValue(
        f"the layers and the final norm of a {type(module).__name__} are not where they are "
        "looked for, so there is no view into it"
    )


def norm_of(module: nn.Module, beside: nn.Module | None = None) -> Norm:
    """A norm's parameters; the gain of an RMSNorm is asked of the module and not of its weight.

    A vector of ones has mean square 1, so its norm is the gain, be it w or 1 + w.
    """
    if isinstance(module, nn.LayerNorm):
        bias = None if module.bias is None else _float64(module.bias)
        return Norm(_float64(module.weight), module.eps, True, bias)
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    weight = getattr(module, "weight", None)
    like = weight if weight is not None else next(beside.parameters()) if beside else None
    if eps is None or like is None:
        raise BrokenArtifact(f"{type(module).__name__} is no norm that is known")
    ones = torch.ones(1, 1, like.shape[-1], device=like.device)
    return Norm(_float64(module(ones)[0, 0]) * np.sqrt(1 + eps), float(eps), False)


# --- watching ------------------------------------------------------------------------------------


class _Seen:
    """What the hooks of one pass keep, at the positions that are asked for."""

    def __init__(self, positions: tuple[int, ...]) -> None:
        self.positions = list(positions)
        self.values: dict[tuple[int, str], np.ndarray] = {}

    def keep(self, block: int, name: str, value: object) -> None:
        found = value[0] if isinstance(value, tuple) else value
        assert isinstance(found, Tensor)
        self.values[block, name] = found[0, self.positions].float().cpu().numpy()


@contextmanager
def _watched(seen: _Seen, blocks: list[nn.Module], final: nn.Module) -> Iterator[None]:
    """Hooks on every block and the final norm, for the passes of this thread alone.

    Others may run the same model meanwhile; their passes go by unseen.
    """
    mine = threading.get_ident()

    def entering(block: int, name: str) -> Callable:
        def hook(_: nn.Module, args: tuple, kwargs: dict) -> None:
            if threading.get_ident() == mine:
                seen.keep(block, name, args[0] if args else kwargs["hidden_states"])
        return hook

    def leaving(block: int, name: str) -> Callable:
        def hook(_: nn.Module, __: tuple, given: object) -> None:
            if threading.get_ident() == mine:
                seen.keep(block, name, given)
        return hook

    handles = []
    try:
        for number, block in enumerate(blocks):
            handles.append(block.register_forward_pre_hook(
                entering(number, "stream"), with_kwargs=True))
            for writer in writers_of(block):
                written = block.get_submodule(writer.path)
                handles.append(written.register_forward_hook(leaving(number, writer.kind)))
                if writer.projection:
                    handles.append(block.get_submodule(writer.projection).register_forward_pre_hook(
                        entering(number, "mixed"), with_kwargs=True))
        handles.append(final.register_forward_pre_hook(
            entering(len(blocks), "stream"), with_kwargs=True))
        handles.append(final.register_forward_hook(leaving(len(blocks), "normed")))
        yield
    finally:
        for handle in handles:
            handle.remove()


def writers_of(block: nn.Module) -> tuple[Writer, ...]:
    """What writes in a block; none where its class is not known."""
    known = WRITERS.get(type(block).__name__, ())
    here = {name for name, _ in block.named_modules()}
    return tuple(writer for writer in known if writer.path in here)


def factor_of(block: nn.Module) -> float:
    """What a block multiplies its whole output by: 1 for most, `layer_scalar` of Gemma 4."""
    scalar = getattr(block, "layer_scalar", None)
    return 1.0 if scalar is None else float(scalar)


def _passage(
    seen: _Seen, blocks: list[nn.Module], norm: Norm, dtype: torch.dtype
) -> Passage:
    count = len(blocks)
    stream = [seen.values[i, "stream"] for i in range(count + 1)]
    normed = seen.values[count, "normed"]
    for layer, values in enumerate((*stream, normed)):
        if not np.isfinite(values).all():
            where = f"before block {layer}" if layer < count else "after the last block"
            raise BrokenArtifact(f"the pass gives a value that is not finite {where}")
    own = np.array([factor_of(block) for block in blocks])
    factors = np.cumprod(own[::-1])[::-1]
    parts = []
    for number, block in enumerate(blocks):
        named = [(w.kind, seen.values[number, w.kind]) for w in writers_of(block)]
        rest = stream[number + 1] - own[number] * (stream[number] + sum(v for _, v in named))
        rounding = UNACCOUNTED.get(dtype, 2e-2) * np.abs(stream[number + 1]).max()
        if not named or np.abs(rest).max() > rounding:
            named.append(("rest" if named else "block", rest / own[number]))
        parts.append(tuple(
            Part(kind, (factors[number] * v).astype(np.float32)) for kind, v in named
        ))
    embedding = (factors[0] * stream[0]).astype(np.float32)
    total = embedding.astype(np.float64)
    total = total + sum(part.values.astype(np.float64) for each in parts for part in each)
    again = norm.apply(stream[-1])
    off = float(np.abs(again - normed).max()) / max(float(np.abs(normed).max()), 1e-9)
    if off > NORM_ERROR.get(dtype, 3e-2):
        raise BrokenArtifact(
            f"the final norm is none that is known: ours differs by {off:.1e} of the largest value"
        )
    return Passage(
        positions=tuple(seen.positions),
        residual=np.stack(stream),
        embedding=embedding,
        parts=tuple(parts),
        normed=normed,
        norm=norm,
        factors=factors,
        mixed=tuple(seen.values.get((i, "mixed")) for i in range(count)),
        precision=str(dtype).removeprefix("torch."),
        sum_error=float(np.abs(total - stream[-1]).max()),
        norm_error=float(np.abs(norm.apply(total) - normed).max()),
    )


# --- heads ---------------------------------------------------------------------------------------


def why_no_heads(module: nn.Module, block: int) -> str | None:
    """Why the attention of a block cannot be split by head; None if it can."""
    layer = _stack(module)[0].layers[block]
    writer = next((w for w in writers_of(layer) if w.projection), None)
    if writer is None or writer.projection is None:
        return f"a {type(layer).__name__} has no output projection that is known to be linear"
    projection = layer.get_submodule(writer.projection)
    if not isinstance(projection, nn.Linear):
        return f"its output projection is a {type(projection).__name__}, not a linear map"
    count = _heads(module, layer, writer)
    if projection.in_features % count:
        return f"{projection.in_features} inputs of its projection are not {count} heads"
    return None


def head_parts(
    module: nn.Module, passage: Passage, block: int, position: int
) -> tuple[tuple[Component, ...], np.ndarray]:
    """The attention of a block by head, and the bias of its projection; names, (H, d) float64.

    They add up to the block's attention. Where a norm follows, its scale is held at that of the
    whole attention, as with the final norm.

    Raises:
        InvalidValue: it cannot be split.
    """
    reason = why_no_heads(module, block)
    mixed = passage.mixed[block]
    if reason is not None or mixed is None:
        raise InvalidValue(f"heads of block {block} are not available, because {reason}")
    layer = _stack(module)[0].layers[block]
    writer = next(w for w in writers_of(layer) if w.projection)
    projection = layer.get_submodule(str(writer.projection))
    count = _heads(module, layer, writer)
    weight = _float64(projection.weight)
    inputs = mixed[passage.at(position)].astype(np.float64).reshape(count, -1)
    values = np.einsum("hi,dhi->hd", inputs, weight.reshape(len(weight), count, -1))
    named = [Component(f"head {head}", block) for head in range(count)]
    if projection.bias is not None:
        values = np.vstack([values, _float64(projection.bias)])
        named.append(Component("attention bias", block))
    if writer.normed:
        with torch.inference_mode():
            after = norm_of(layer.get_submodule(writer.path))
        values = after.shares(values, values.sum(axis=0))
    return tuple(named), values * passage.factors[block]


def _heads(module: nn.Module, layer: nn.Module, writer: Writer) -> int:
    attention = layer.get_submodule(str(writer.projection).rsplit(".", 1)[0])
    own = getattr(attention, "num_v_heads", None)
    return int(own or _stack(module)[0].config.num_attention_heads)


def _float64(values: Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()
