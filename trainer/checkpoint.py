"""Checkpoints of a training: one file per process and step, and a record that names the step.

The record is written after every process has written its file, and the files of other steps are
removed after that: whenever a run is killed, one whole checkpoint is there or none has been made.
"""

from pathlib import Path
from typing import Any

from torch import Tensor

from atlas.errors import BrokenArtifact, InvalidValue
from atlas.tensor_files import load_tensors, read_json, save_tensors, write_json
from trainer.heads import Heads

RECORD = "checkpoint.json"


class Checkpoint:
    """The last checkpoint of a training.

    Args:
        folder: where it lies.
        facts: recipe and inputs; a checkpoint with others is not taken up.
        heads: this process.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], heads: Heads):
        self.folder, self.heads = folder, heads
        self.facts = facts | {"world": heads.world}

    def _file(self, step: int) -> Path:
        place = f"{self.heads.rank}-of-{self.heads.world}"
        return self.folder / f"checkpoint-{step}-{place}.safetensors"

    def write(self, step: int, state: dict[str, Tensor], more: dict[str, Any]) -> None:
        """Keep the state after a step; `more` are numbers, the same on every process.

        Raises:
            NoSpace: the disk is full; the checkpoint before is still there.
        """
        save_tensors(self._file(step), {n: t.detach().cpu() for n, t in state.items()})
        self.heads.wait()
        if self.heads.rank == 0:
            write_json(self.folder / RECORD, {
                "step": step, "facts": self.facts, "state": more})
        self.heads.wait()
        self._keep_only(step)

    def _keep_only(self, step: int) -> None:
        place = f"{self.heads.rank}-of-{self.heads.world}.safetensors"
        for old in self.folder.glob(f"checkpoint-*-{place}*"):
            if old != self._file(step):
                old.unlink(missing_ok=True)

    def read(self) -> tuple[int, dict[str, Tensor], dict[str, Any]] | None:
        """Step, state and numbers of the last checkpoint; None without one.

        Raises:
            InvalidValue: it is of another recipe, other inputs or another number of processes.
            BrokenArtifact: it names a file that is not there or not whole.
        """
        record = self.folder / RECORD
        if not record.is_file():
            return None
        found = read_json(record)
        if found["facts"] != self.facts:
            differing = ", ".join(_differing(found["facts"], self.facts))
            raise InvalidValue(
                f"{self.folder} holds a checkpoint of another training (they differ in "
                f"{differing}); remove that folder to begin anew, or train as before"
            )
        path = self._file(found["step"])
        if not path.is_file():
            raise BrokenArtifact(
                f"{record} names {path.name}, which is not there; remove {self.folder} to begin "
                "anew"
            )
        return found["step"], load_tensors(path), found["state"]

    def clear(self) -> None:
        """Remove it, once the training is done."""
        self.heads.wait()
        if self.heads.rank == 0:
            (self.folder / RECORD).unlink(missing_ok=True)
        self.heads.wait()
        self._keep_only(-1)


def _differing(one: Any, other: Any, name: str = "") -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        return [found for key in sorted({*one, *other})
                for found in _differing(one.get(key), other.get(key),
                                        f"{name}.{key}" if name else key)]
    return [] if one == other else [name]
