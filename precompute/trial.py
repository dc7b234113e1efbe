"""What a dictionary may be tried with: whole models, an evaluation text, a query bank.

Nothing is loaded here; what is told is known from names and from the headers of files.
"""

from pathlib import Path

import torch

from atlas.artifacts import RunFolder
from atlas.bank import OWN, bank_file
from atlas.errors import AtlasError
from atlas.language_model import full_steps, step_path
from atlas.places import BANKS, DATA, model_path
from precompute.evaluation import text_files
from precompute.gallery_list import GALLERY_FILE
from precompute.reader import CPU_OPERATIONS, model_files, numbers

OWN_PARAMETERS = 500_000_000
"""Numbers of a model up to which those of other steps are read too."""
TEXT = 8192
"""Tokens of the evaluation text that are read."""
FEWEST = 4_000
"""Tokens of text, bank and gallery that a model must be able to read."""


class Trial:
    """What is there to try a run with, and the reasons for what is not."""

    def __init__(self, store: Path, folder: RunFolder, device: torch.device, n_tokens: int) -> None:
        """Look at what is there; reads no more than the headers of files.

        Args:
            n_tokens: tokens of the tokenizer; rows beyond it are padding.
        """
        self.store, self.device, self.n_tokens = store, device, n_tokens
        self.model, self.name = folder.config["model"], folder.config["model_name"]
        self.steps, self.last = tuple(folder.steps), folder.steps[-1]
        finished = folder.config.get("revision") is not None
        self.told = self.model if finished else f"{self.model} of step {self.last:,}"
        self.most = TEXT
        """Tokens of the text that are read."""
        self.reason = self._reason(folder)
        """Why no model is read; None if one is."""
        self.own = _own_steps(store, folder) if self.reason is None else ()
        """Steps of the run at which a whole model is kept that is small enough, rising; empty if
        that is the last one alone."""
        self.bank = bank_file(store, self.model)
        self.bank_reason = self.reason or (None if self.bank else (
            f"the store has no query bank for {self.model}; put one at "
            f"models/{self.model}/{OWN} and build the run again"
        ))
        self.text_reason = self.reason or (None if text_files(store, self.model) else (
            f"the store has no evaluation text for {self.model}; put one at "
            f"models/{self.model}/evaluation.txt and build the run again"
        ))

    def _reason(self, folder: RunFolder) -> str | None:
        if folder.config["matrix"] != "W_U":
            return "an embedding reads no hidden states and gives no logits"
        if not model_files(self.store, folder, self.last):
            return (f"the store keeps no whole {self.told} that could read a prompt; where it was "
                    f"released, `readout-atlas build {folder.run} --model` fetches it")
        try:
            parameters = numbers(step_path(model_path(self.store, self.model), self.last))
        except AtlasError:
            return f"{self.told} cannot be read"
        if self.device.type == "cpu":
            self.most = min(TEXT, int(CPU_OPERATIONS / (2 * parameters)))
        if self.most < FEWEST:
            return (f"{self.model} is too large to read prompts on a CPU; with an accelerator, "
                    f"`readout-atlas build {folder.run} --force` does")
        return None


def trial_files(store: Path, folder: RunFolder) -> list[Path]:
    """Every file that a run is tried with beside its own; empty without the last step's model."""
    models = _models(store, folder)
    bank = bank_file(store, folder.config["model"])
    more = [*text_files(store, folder.config["model"]), *([bank] if bank else [])]
    return [*models, *(f for f in more if f.is_file())] if models else []


def gallery_files(store: Path, folder: RunFolder) -> list[Path]:
    """Every file that a run's gallery is made from beside its own; empty without that model."""
    models = _models(store, folder)
    return [*models, GALLERY_FILE] if models and GALLERY_FILE.is_file() else []


def _models(store: Path, folder: RunFolder) -> list[Path]:
    last = model_files(store, folder, folder.steps[-1])
    if folder.config["matrix"] != "W_U" or not last:
        return []
    others = (f for step in _own_steps(store, folder) for f in model_files(store, folder, step))
    return list(dict.fromkeys([*last, *others]))


def named(store: Path, file: Path) -> str:
    """How an input is called: relative to the store, or to the data that the project ships."""
    if file.is_relative_to(BANKS):
        return f"{DATA.name}/{file.relative_to(DATA).as_posix()}"
    return file.relative_to(store).as_posix()


def _own_steps(store: Path, folder: RunFolder) -> tuple[int, ...]:
    """Steps at which a whole model is kept whose own states are tried."""
    model, last = model_path(store, folder.config["model"]), folder.steps[-1]
    found = [s for s in full_steps(model)
             if s in folder.steps and model_files(store, folder, s)]
    try:
        small = all(numbers(step_path(model, s)) <= OWN_PARAMETERS for s in found)
    except AtlasError:
        return ()
    return tuple(found) if small and found not in ([], [last]) else ()
