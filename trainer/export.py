"""From pretraining checkpoints to what a store keeps of a language model.

A store holds W_U and W_E at every snapshot and the other weights at a few, rounded to 8 bits per
row (`atlas.artifacts`). The validation loss of what is kept is measured on what is kept.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import GPTNeoXForCausalLM

from atlas.artifacts import load_snapshot, snapshot_path
from atlas.places import model_path
from atlas.tensor_files import load_tensors, read_json, save_rounded, save_tensors, write_json
from trainer.language_model import (
    LanguageModelRecipe,
    build_model,
    held_out_rows,
    sequences,
    validation_loss,
)

EMBED_IN = "gpt_neox.embed_in.weight"
READOUT = "lm_head.weight"


def model_name(label: str) -> str:
    """Model id of a demo model, the owner in front."""
    return f"readout-atlas/{label}"


def export_model(
    checkpoints: Path,
    store: Path,
    label: str,
    recipe: LanguageModelRecipe,
    validation_stream: np.ndarray,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Write snapshots, kept weights, configuration and the measured history of one model."""
    out = model_path(store, label)
    for step in recipe.snapshots:
        weights = load_tensors(checkpoints / f"step{step}.safetensors")
        name = model_name(label)
        save_rounded(snapshot_path(store, name, step, "W_U"), {"W_U": weights.pop(READOUT)})
        save_rounded(snapshot_path(store, name, step, "W_E"), {"W_E": weights.pop(EMBED_IN)})
        if step in recipe.full_models:
            save_rounded(out / f"step{step}.safetensors", weights)
    build_model(recipe).config.save_pretrained(out)
    held_out = held_out_rows(validation_stream, recipe.context)
    history = read_json(checkpoints / "history.json")
    for entry in history:
        if entry["step"] in recipe.full_models:
            kept = kept_model(store, label, recipe, entry["step"])
            entry["validation_loss_kept"] = validation_loss(kept, held_out)
            report(f"{label} step {entry['step']}: {entry['validation_loss']:.3f} nats trained, "
                   f"{entry['validation_loss_kept']:.3f} as kept")
    write_json(out / "history.json", {"recipe": dataclasses.asdict(recipe), "history": history})


def kept_model(
    store: Path, label: str, recipe: LanguageModelRecipe, step: int
) -> GPTNeoXForCausalLM:
    """The language model of a step exactly as the store keeps it, in evaluation mode."""
    weights = load_tensors(model_path(store, label) / f"step{step}.safetensors")
    weights[READOUT] = load_snapshot(store, model_name(label), step, "W_U")
    weights[EMBED_IN] = load_snapshot(store, model_name(label), step, "W_E")
    model = build_model(recipe)
    model.load_state_dict(weights, strict=True)
    return model.eval()


def save_token_counts(path: Path, counts: dict[str, np.ndarray]) -> None:
    """How often each token occurs in the training text of each source, int32 (V,) per source."""
    save_tensors(path, {k: torch.from_numpy(v.astype(np.int32)) for k, v in counts.items()})


@torch.no_grad()
def hidden_states(
    model: GPTNeoXForCausalLM, stream: np.ndarray, context: int, n: int, seed: int
) -> Tensor:
    """`n` hidden states that enter the head, (n, d), at random positions of random sequences."""
    rows = torch.from_numpy(sequences(stream.astype(np.int64), context))
    generator = torch.Generator().manual_seed(seed)
    enough = -(-n // min(16, context))  # about 16 positions of each sequence
    picked = rows[torch.randperm(len(rows), generator=generator)[:enough]]
    states = torch.cat([
        model.gpt_neox(input_ids=chunk[:, :-1]).last_hidden_state for chunk in picked.split(32)
    ]).flatten(0, 1)
    return states[torch.randperm(len(states), generator=generator)[:n]].float()
