"""Pretrain the demo's GPT-NeoX language models and keep the trajectory of their readouts.

A killed run continues from its last resume file: the data order is a function of (seed, epoch,
step), so nothing but weights, optimiser moments and the step has to be remembered.
"""

import dataclasses
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from atlas.errors import Diverged, InvalidValue
from atlas.tensor_files import save_tensors, write_json


@dataclass(frozen=True)
class LanguageModelRecipe:
    """Everything that decides a pretraining run; two runs of one recipe differ by rounding."""

    hidden_size: int
    layers: int
    heads: int
    steps: int
    snapshots: tuple[int, ...]
    """Training steps at which W_U and W_E are kept; starts at 0, ends at `steps`."""
    full_models: tuple[int, ...]
    """Subset of `snapshots` at which every weight is kept."""
    vocabulary: int = 4096
    context: int = 128
    """Tokens per sequence."""
    batch: int = 32
    """Sequences per step."""
    learning_rate: float = 2e-3
    warmup: int = 20
    """Steps of linear warm-up. Short, so that the first log-spaced snapshots really differ."""
    final_share: float = 0.1
    """Learning rate at the end, as a share of the peak (cosine)."""
    weight_decay: float = 0.1
    readout_init: float = 0.002
    """Standard deviation of W_U at step 0. NOT Pythia's: demo.md section 5.6."""
    seed: int = 0


def learning_rate(recipe: LanguageModelRecipe, step: int) -> float:
    """Linear warm-up, then cosine to `final_share` of the peak."""
    warm = min(1.0, (step + 1) / recipe.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, step / recipe.steps)))
    return recipe.learning_rate * warm * (recipe.final_share + (1 - recipe.final_share) * cosine)


def batch_rows(recipe: LanguageModelRecipe, n_rows: int, step: int) -> np.ndarray:
    """Row numbers of the sequences of a step: each epoch is its own seeded permutation."""
    first = step * recipe.batch
    rows = []
    for position in range(first, first + recipe.batch):
        epoch, offset = divmod(position, n_rows)
        rows.append(_epoch_order(recipe.seed, epoch, n_rows)[offset])
    return np.array(rows)


_orders: dict[tuple[int, int, int], np.ndarray] = {}


def _epoch_order(seed: int, epoch: int, n_rows: int) -> np.ndarray:
    key = (seed, epoch, n_rows)
    if key not in _orders:
        _orders[key] = np.random.default_rng([seed, epoch]).permutation(n_rows)
    return _orders[key]


def build_model(recipe: LanguageModelRecipe) -> GPTNeoXForCausalLM:
    """A GPT-NeoX with untied embeddings; W_U is drawn with its own standard deviation."""
    config = GPTNeoXConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden_size,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        intermediate_size=4 * recipe.hidden_size,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        use_cache=False,
        bos_token_id=0,
        eos_token_id=0,
    )
    torch.manual_seed(recipe.seed)
    model = GPTNeoXForCausalLM(config)
    with torch.no_grad():
        model.get_output_embeddings().weight.normal_(0, recipe.readout_init)
    return model


def optimizer_for(model: GPTNeoXForCausalLM, recipe: LanguageModelRecipe) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.95), fused=True)


def sequences(stream: np.ndarray, context: int) -> np.ndarray:
    """(n, context + 1) windows that share only their border token."""
    n = (len(stream) - 1) // context
    return np.stack([stream[i * context : i * context + context + 1] for i in range(n)])


def held_out_rows(stream: np.ndarray, context: int, limit: int = 256) -> torch.Tensor:
    """At most about `limit` evenly spaced validation sequences, (n, context + 1)."""
    rows = torch.from_numpy(sequences(stream.astype(np.int64), context))
    return rows[:: max(1, len(rows) // limit)]


@torch.no_grad()
def validation_loss(model: GPTNeoXForCausalLM, rows: torch.Tensor) -> float:
    """Mean cross-entropy in nats per token over `rows` (n, context + 1), in float32."""
    model.eval()
    total = 0.0
    for chunk in rows.split(64):
        logits = model(input_ids=chunk[:, :-1]).logits.float()
        losses = F.cross_entropy(logits.flatten(0, 1), chunk[:, 1:].flatten(), reduction="sum")
        total += losses.item()
    model.train()
    return total / rows[:, 1:].numel()


def pretrain(
    recipe: LanguageModelRecipe,
    train_stream: np.ndarray,
    validation_stream: np.ndarray,
    out: Path,
    report: Callable[[str], None] = print,
    device: str = "cpu",
    resume_every: int = 200,
) -> None:
    """Train and write `out/step{N}.safetensors` (all weights, fp32) and `out/history.json`.

    A second call continues; after the last step it does nothing.
    """
    out.mkdir(parents=True, exist_ok=True)
    resume_file = out / "resume.pt"
    model = build_model(recipe).to(device)
    optimizer = optimizer_for(model, recipe)
    start, history, spent = 0, [], 0.0
    if resume_file.exists():
        state = torch.load(resume_file, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        start, history, spent = state["step"], state["history"], state["seconds"]
        if state["recipe"] != json.dumps(dataclasses.asdict(recipe)):
            raise InvalidValue(f"{resume_file} belongs to another recipe; remove it to start anew")
    rows = sequences(train_stream.astype(np.int64), recipe.context)
    held_out = held_out_rows(validation_stream, recipe.context).to(device)
    began = time.monotonic() - spent
    recent: list[float] = []
    for step in range(start, recipe.steps + 1):
        if step in recipe.snapshots and not (history and history[-1]["step"] == step):
            tensors = {n: p.detach().cpu().clone() for n, p in model.state_dict().items()}
            save_tensors(out / f"step{step}.safetensors", tensors)
            entry = {
                "step": step,
                "validation_loss": validation_loss(model, held_out),
                "train_loss": float(np.mean(recent[-50:])) if recent else None,
                "seconds": round(time.monotonic() - began, 1),
                "tokens": step * recipe.batch * recipe.context,
            }
            history.append(entry)
            report(json.dumps(entry))
        if step and step % resume_every == 0 or step == recipe.steps:
            state = {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step,
                "history": history,
                "seconds": time.monotonic() - began,
                "recipe": json.dumps(dataclasses.asdict(recipe)),
            }
            torch.save(state, resume_file.with_suffix(".tmp"))
            os.replace(resume_file.with_suffix(".tmp"), resume_file)
        if step == recipe.steps:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        batch = torch.from_numpy(rows[batch_rows(recipe, len(rows), step)]).to(device)
        with torch.autocast(device, dtype=torch.bfloat16):
            logits = model(input_ids=batch[:, :-1]).logits
            loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            raise Diverged(
                f"language model diverged at step {step} (loss {loss.item()}); lower it with "
                f"--set learning_rate={recipe.learning_rate / 2:g}"
            )
        optimizer.step()
        recent.append(loss.item())
    write_json(out / "history.json", history)
