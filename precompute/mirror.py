"""`--from DIR`: a folder laid out like the hub, read as the hub is.

    DIR/<owner>/<repository>/[<revision>/]<path>
    DIR/snapshots/<owner>_<name>_step<N>_<wu|we>.{safetensors,pt}

A repository without a folder for its `main` revision is that revision itself. Snapshots may also
lie one folder deeper, by model, as older releases have them (crosscoder-method section 5.6).
Nothing in it is written or removed.
"""

from pathlib import Path

from atlas.artifacts import MATRICES
from atlas.errors import BrokenArtifact, InvalidValue
from precompute.fetching import (
    Fetched,
    Listed,
    NotInMirror,
    check_names,
    check_size,
    disagreement,
    hashes,
)

SUFFIXES = (".safetensors", ".pt")
"""Of loose snapshots, the preferred one first."""
JUNK = ("._", ".DS_Store", ".git")
"""How names start that a machine left behind."""
MAIN = "main"


class Mirror:
    """A `Source` in a folder of this machine."""

    is_local = True
    offline = False

    def __init__(self, root: Path) -> None:
        self.root = root.expanduser().absolute()
        self.name = f"the mirror {self.root}"
        if not self.root.is_dir():
            raise InvalidValue(
                f"{self.root} is no folder; --from takes one laid out as <owner>/<repository>/"
                "[<revision>/]<path>"
            )

    def commit_of(
        self, repository: str, revision: str = MAIN, repo_type: str = "model"
    ) -> str | None:
        """None: a folder knows no commits. NotInMirror as `list_files`."""
        self._folder(repository, revision, repo_type)

    def list_files(
        self, repository: str, revision: str = MAIN, repo_type: str = "model"
    ) -> dict[str, Listed]:
        """Every file of a revision by path, with its size."""
        folder = self._folder(repository, revision, repo_type)
        found = {}
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = path.relative_to(folder)
            if not any(part.startswith(JUNK) for part in name.parts):
                found[name.as_posix()] = Listed(name.as_posix(), path.stat().st_size)
        return found

    def branches(self, repository: str, repo_type: str = "model") -> list[str]:
        """Names of the folders in a repository, which may be revisions."""
        base = self._repository(repository, repo_type)
        if base is None:
            raise NotInMirror(f"{self.root / repository} is not there; put the repository into it")
        return sorted(p.name for p in base.iterdir()
                      if p.is_dir() and not p.name.startswith(JUNK))

    def download(
        self, repository: str, path: str, revision: str = MAIN, repo_type: str = "model",
        expected: str | None = None,
    ) -> Fetched:
        """A file where it lies, hashed; errors as `Hub.download`, NotInMirror when it is not."""
        check_names(repository, revision, path)
        file = self._folder(repository, revision, repo_type) / path
        if not file.is_file():
            raise NotInMirror(f"{file} is not there; put {repository}/{path} into the mirror")
        listed = Listed(path, file.stat().st_size)
        check_size(repository, listed)
        found = hashes(file)
        wrong = disagreement(listed, found, listed.bytes, expected)
        if wrong is not None:
            raise BrokenArtifact(f"{file} {wrong}; put the true file into the mirror")
        return Fetched(file, found[0], listed.bytes, None)

    def is_here(
        self, repository: str, path: str, revision: str = MAIN, repo_type: str = "model"
    ) -> bool:
        """Whether the mirror has a file."""
        check_names(repository, revision, path)
        try:
            return (self._folder(repository, revision, repo_type) / path).is_file()
        except NotInMirror:
            return False

    def loose_snapshot(self, model_name: str, step: int, matrix: str) -> Path | None:
        """The file of a snapshot below `snapshots/`: beside the others, or in a model's folder."""
        stem = f"{model_name.replace('/', '_')}_step{step}_{MATRICES[matrix]}"
        below = self.root / "snapshots"
        short = model_name.split("/")[-1]
        folders = [below, below / short, below / short.lower()]
        files = (folder / f"{stem}{suffix}" for folder in folders for suffix in SUFFIXES)
        return next((file for file in files if file.is_file()), None)

    def release(self, fetched: Fetched) -> None:
        """A mirror keeps what it has."""

    def _repository(self, repository: str, repo_type: str) -> Path | None:
        check_names(repository)
        kinds = ("", f"{repo_type}s") if repo_type != "model" else ("",)
        places = (self.root / kind / repository for kind in kinds)
        return next((place for place in places if place.is_dir()), None)

    def _folder(self, repository: str, revision: str, repo_type: str) -> Path:
        check_names(repository, revision)
        base = self._repository(repository, repo_type)
        if base is not None and (base / revision).is_dir():
            return base / revision
        if base is None or revision != MAIN:
            wanted = (base or self.root / repository) / ("" if base is None else revision)
            raise NotInMirror(
                f"{wanted} is not there; put {repository} at {revision} into the mirror "
                f"{self.root}, or leave --from out"
            )
        return base
