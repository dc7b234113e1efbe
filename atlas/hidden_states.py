"""The language models of a store, kept loaded, and what their heads read of a prompt."""

import threading
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import Tensor

from atlas.artifacts import snapshot_path
from atlas.errors import BrokenArtifact
from atlas.language_model import LanguageModel, step_path
from atlas.places import model_path
from atlas.records import RunCard
from atlas.slices import open_snapshot, stamp

HEAD_TOLERANCE = 0.01
"""Largest difference of a snapshot's row from the model's own, over the largest value: a snapshot
may be kept in half precision."""
_LOADING = threading.Lock()
"""Two sessions that ask for a model at once must not hold it twice."""


def hidden_states(
    root: Path, card: RunCard, step: int, device: str, ids: tuple[int, ...]
) -> Tensor:
    """What the head of the model of a step reads of some tokens, (T, d) float32.

    The states of the last prompts are kept, so that another target asks no model again.

    Raises:
        NotFound: no model there. BrokenArtifact: it is damaged, or its head is not the snapshot.
    """
    changed = stamp(step_path(model_path(root, card.model), step))
    return _states(root, card.model, card.model_name, step, device, ids, changed)


@lru_cache(maxsize=64)
def _states(
    root: Path, model: str, name: str, step: int, device: str, ids: tuple[int, ...],
    changed: tuple[int, int],
) -> Tensor:
    return _model(root, model, name, step, device, changed).hidden_of(list(ids))


def language_model(root: Path, card: RunCard, step: int, device: str) -> LanguageModel:
    """The model of a run at a step; raises as `hidden_states`."""
    changed = stamp(step_path(model_path(root, card.model), step))
    return _model(root, card.model, card.model_name, step, device, changed)


def _model(
    root: Path, model: str, name: str, step: int, device: str, changed: tuple[int, int]
) -> LanguageModel:
    is_whole = step_path(model_path(root, model), step).is_dir()
    with _LOADING:
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
