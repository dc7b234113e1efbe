"""Who reads a run's evaluation text: is a whole language model there, how far does it read.

Nothing is loaded here; what is told is known from names and from the headers of files.
"""

import math
from pathlib import Path

import torch

from atlas.artifacts import RunFolder, snapshot_path
from atlas.errors import AtlasError
from atlas.language_model import full_steps, step_path
from atlas.language_model_files import shard_names
from atlas.places import model_path
from atlas.tensor_files import read_header
from precompute.evaluation import RELEASED_MODELS, text_files

MOST = 200_000
"""Tokens that are read at most."""
MOST_TRAINED = 24_576
"""The same for a model that was trained in the store: a bundle keeps the text with every run."""
STATE_BYTES = 1_000_000_000
"""Bytes of the hidden states, which are held all at once."""
CPU_OPERATIONS = 2e13
"""Operations that reading may take a CPU: some minutes."""
ASSUMED = 65_536
"""Tokens that a model reads of which nothing is known yet."""
FEWEST = 4_096
"""Tokens below which a sample says too little."""


class Reading:
    """What the examples of a run are made from, or the reason why there are none."""

    def __init__(self, store: Path, folder: RunFolder, device: torch.device) -> None:
        """Look at what is there; reads no more than the headers of files."""
        self.store, self.device = store, device
        self.model, self.name = folder.config["model"], folder.config["model_name"]
        self.step, self.width = folder.steps[-1], int(folder.config["config"]["d_model"])
        finished = folder.config.get("revision") is not None
        self.told = self.model if finished else f"{self.model} of step {self.step:,}"
        self.most = 0
        """Tokens of the text that are read."""
        self.parameters = 0
        """Numbers in the model's files."""
        self.reason = self._reason(folder)

    def _reason(self, folder: RunFolder) -> str | None:
        if folder.config["matrix"] != "W_U":
            return "the directions are those of an embedding, which reads no hidden states"
        if not example_files(self.store, folder):
            if not text_files(self.store, self.model):
                return (f"the store has no evaluation text for {self.model}; put one at "
                        f"models/{self.model}/evaluation.txt and build the run again")
            return (f"the store keeps no whole {self.told} that could read a text; where it was "
                    f"released, `readout-atlas build {folder.run} --model` fetches it")
        try:
            self.parameters = numbers(step_path(model_path(self.store, self.model), self.step))
        except AtlasError:
            return f"{self.told} cannot be read"
        self.most = most_tokens(self.parameters, self.width, self.device, self._is_trained)
        if self.most < FEWEST:
            return (f"{self.model} is too large to read a text on a CPU; with an accelerator, "
                    f"`readout-atlas build {folder.run} --force` does")
        return None

    @property
    def _is_trained(self) -> bool:
        return (model_path(self.store, self.model) / "history.json").is_file()


def example_files(store: Path, folder: RunFolder) -> list[Path]:
    """Every file that the examples of a run are read from; empty where one is missing.

    The language model of the last step, and the text. The tokenizer is an input of the run anyway.
    """
    if folder.config["matrix"] != "W_U":
        return []
    text = text_files(store, folder.config["model"])
    parts = model_files(store, folder, folder.steps[-1])
    return [*parts, *text] if parts and text and all(p.is_file() for p in text) else []


def model_files(store: Path, folder: RunFolder, step: int) -> list[Path]:
    """Every file that the language model of a run at a step is loaded from; empty where it is not
    kept or lacks one.
    """
    label, name = folder.config["model"], folder.config["model_name"]
    model = model_path(store, label)
    if step not in full_steps(model):
        return []
    weights = step_path(model, step)
    if weights.is_dir():
        try:
            parts = [weights / "config.json", *(weights / s for s in shard_names(weights))]
        except AtlasError:
            return []
    else:
        parts = [weights, model / "config.json", model / "history.json",
                 *(snapshot_path(store, name, step, matrix) for matrix in ("W_U", "W_E"))]
    return parts if all(p.is_file() for p in parts) else []


def assumed_text(model: str, matrix: str) -> tuple[int, float]:
    """Tokens that a released model will read and operations for each, as many as a CPU may take."""
    if matrix != "W_U" or RELEASED_MODELS.fullmatch(model) is None:
        return 0, 0.0
    return ASSUMED, CPU_OPERATIONS / ASSUMED


def numbers(weights: Path) -> int:
    """Numbers in a model's files, by their headers."""
    files = [weights / s for s in shard_names(weights)] if weights.is_dir() else [weights]
    return sum(math.prod(e["shape"]) for f in files for e in read_header(f).values())


def most_tokens(parameters: int, width: int, device: torch.device, is_trained: bool) -> int:
    """Tokens of a text that a model of so many parameters reads."""
    most = MOST_TRAINED if is_trained else min(MOST, STATE_BYTES // (4 * width))
    if device.type == "cpu":
        most = min(most, int(CPU_OPERATIONS / (2 * parameters)))
    return most
