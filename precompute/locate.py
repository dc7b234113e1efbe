"""From what a person types for a run to its id, its folder and the store around it."""

from dataclasses import dataclass
from pathlib import Path

from atlas.errors import BrokenArtifact, InvalidValue, NotFound
from atlas.places import run_path
from atlas.tensor_files import read_json


@dataclass(frozen=True)
class Located:
    """A run on this machine, whether it was published or not."""

    run: str
    store: Path

    @property
    def folder(self) -> Path:
        """The run folder; it need not be there."""
        return run_path(self.store, self.run)


def is_run_folder(name: str) -> bool:
    """Whether a typed name is the path of a run folder rather than a run id."""
    return (Path(name) / "config.json").is_file() or name.startswith((".", "/", "~"))


def from_folder(name: str) -> Located:
    """The run of a folder that lies inside a store, as training leaves it.

    Raises:
        NotFound: there is no such folder.
        InvalidValue: the folder is not `<store>/runs/<run id>`, so its snapshots are unknown.
    """
    folder = Path(name).expanduser().resolve()
    if not (folder / "config.json").is_file():
        raise NotFound(f"{folder} is not a run folder: it has no config.json")
    config = read_json(folder / "config.json")
    run = config.get("run") if isinstance(config, dict) else None
    if not isinstance(run, str) or not run:
        raise BrokenArtifact(f"{folder / 'config.json'} has no field run")
    depth = len(Path(run).parts)
    ancestors = list(folder.parents)
    inside = len(ancestors) > depth and ancestors[depth - 1].name == "runs"
    if not inside or run_path(ancestors[depth], run) != folder:
        raise InvalidValue(
            f"{folder} holds run {run} but does not lie at <store>/runs/{run}; "
            "move it into a store that holds its snapshots"
        )
    return Located(run, ancestors[depth])
