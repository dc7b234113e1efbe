"""The language models of a store, kept loaded, and what their heads read of a prompt."""

import threading
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atlas.artifacts import snapshot_path
from atlas.errors import BrokenArtifact, OutOfMemory
from atlas.forward import Desk, Read, Ticket, Tokens
from atlas.language_model import LanguageModel, step_path
from atlas.places import model_path
from atlas.records import RunCard
from atlas.slices import open_snapshot, stamp

HEAD_TOLERANCE = 0.01
"""Largest difference of a snapshot's row from the model's own, over the largest value: a snapshot
may be kept in half precision."""
_LOADING: dict[tuple, threading.Lock] = {}
"""Two sessions that ask for a model at once must not hold it twice; one lock per model, so that a
large one keeps nobody waiting for a small one."""
_DESK = Desk()


def ask(root: Path, card: RunCard, step: int, device: str, tokens: Tokens) -> Ticket:
    """A place in the queue of the model of a step; the answer raises as `hidden_states`.

    Prompts that wait for one model are read in one pass. Where the device runs out of memory,
    also for a single prompt, the CPU reads it and the answer says so.
    """
    changed = stamp(step_path(model_path(root, card.model), step))
    which = (root, card.model, card.model_name, step)

    def read(prompts: list[Tokens]) -> list[Read]:
        return read_together(lambda on: _model(*which, on, changed), device, prompts)

    return _DESK.ask((*which, device, changed), tokens, read)


def hidden_states(
    root: Path, card: RunCard, step: int, device: str, tokens: Tokens
) -> Tensor:
    """What the head of the model of a step reads of some tokens, (T, d) float32.

    The states of the last prompts are kept, so that another target asks no model again.

    Raises:
        NotFound: no model there. BrokenArtifact: it is damaged, or its head is not the snapshot.
        OutOfMemory: also the CPU has too little.
    """
    return ask(root, card, step, device, tokens).result().states


def read_together(
    load: Callable[[str], LanguageModel], device: str, prompts: list[Tokens]
) -> list[Read]:
    """Read some prompts in one pass; each alone, then on the CPU, where the memory is too small.

    Raises:
        OutOfMemory: one prompt alone is too much for the CPU.
    """
    try:
        return [Read(states) for states in load(device).hidden_of_many(prompts)]
    except (torch.OutOfMemoryError, MemoryError) as error:
        reason = str(error).split(". ")[0][:160]
    if device != "cpu":
        torch.cuda.empty_cache()
    if len(prompts) > 1:
        return [read for one in prompts for read in read_together(load, device, [one])]
    if device == "cpu":
        raise OutOfMemory(
            f"reading {len(prompts[0])} tokens takes more memory than there is ({reason}); use a "
            "shorter prompt"
        )
    told = f"{device} ran out of memory, so this prompt was read on the CPU"
    return [Read(read.states, told) for read in read_together(load, "cpu", prompts)]


def language_model(root: Path, card: RunCard, step: int, device: str) -> LanguageModel:
    """The model of a run at a step, on the CPU if the device is too small; as `hidden_states`."""
    changed = stamp(step_path(model_path(root, card.model), step))
    try:
        return _model(root, card.model, card.model_name, step, device, changed)
    except torch.OutOfMemoryError:
        return _model(root, card.model, card.model_name, step, "cpu", changed)


def _model(
    root: Path, model: str, name: str, step: int, device: str, changed: tuple[int, int]
) -> LanguageModel:
    is_whole = step_path(model_path(root, model), step).is_dir()
    with _LOADING.setdefault((root, model, step, device), threading.Lock()):
        return (_whole if is_whole else _bundled)(root, model, name, step, device, changed)


@lru_cache(maxsize=16)
def _bundled(
    root: Path, model: str, name: str, step: int, device: str, changed: tuple[int, int]
) -> LanguageModel:
    return open_model(root, model, name, step, device)


@lru_cache(maxsize=2)  # a released model is gigabytes
def _whole(
    root: Path, model: str, name: str, step: int, device: str, changed: tuple[int, int]
) -> LanguageModel:
    return open_model(root, model, name, step, device)


def open_model(root: Path, model: str, name: str, step: int, device: str) -> LanguageModel:
    """The model of a step, not kept for later; the head of a released one is that of its snapshot.

    Args:
        model, name: its folder in the store, and what its snapshots are filed under.

    Raises as `hidden_states`.
    """
    folder = model_path(root, model)
    found = LanguageModel.load(folder, root, step, device)
    if step_path(folder, step).is_dir() and snapshot_path(root, name, step, "W_U").exists():
        _check_head(found, root, name, step)
    return found


def _check_head(model: LanguageModel, root: Path, name: str, step: int) -> None:
    """Rows of the snapshot must be rows of the model's head: a run explains the model it names."""
    file = open_snapshot(root, name, step, "W_U")
    shape, head = file.shape("W_U"), model.head_shape
    if shape != head:
        raise BrokenArtifact(f"{file.path} is {shape}, but the head of {name} is {head}")
    some = np.linspace(0, shape[0] - 1, 16).astype(np.int64)
    kept, own = file.gather("W_U", some), model.head_rows(some.tolist())
    off = float((kept - own).abs().max()) / max(float(own.abs().max()), 1e-9)
    if not off <= HEAD_TOLERANCE:
        raise BrokenArtifact(
            f"{file.path} is not the head of {name} at step {step}: their rows differ by "
            f"{off:.0%} of the largest value; fetch both again"
        )
