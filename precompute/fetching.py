"""What the hub and a local mirror have in common: names that are allowed, sizes that are read,
hashes that must agree, and how a fetched file comes into a store.

A listing and everything it names comes from outside: a name is matched before it is joined to a
path, a size is bounded before the first byte is asked for (reliability section 5, R7 and R14).
"""

import errno
import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from atlas.errors import BrokenArtifact, HubError, InvalidValue
from precompute.safety import settle, space_watch, staged_name

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}", re.ASCII)
PATH = re.compile(r"(?!\.{1,2}(/|$))[\w.+=@\-]{1,200}(/(?!\.{1,2}(/|$))[\w.+=@\-]{1,200}){0,15}",
                  re.ASCII)
REVISION = re.compile(r"[A-Za-z0-9][\w.+\-]{0,99}(/[A-Za-z0-9][\w.+\-]{0,99}){0,3}", re.ASCII)
COMMIT = re.compile(r"[0-9a-f]{40}")
MAX_TEXT = 5_000_000
"""Bytes of a JSON file or a card; longer ones are refused before they are fetched."""
MAX_TOKENIZER = 64_000_000
"""Bytes of a tokenizer.json: the largest vocabularies take 33 MB."""
WEIGHTS = (".safetensors", ".bin", ".pt", ".npy", ".npz", ".parquet", ".duckdb")
"""Suffixes of files that may be of any size; the total is announced before they are fetched."""
BLOCK = 1 << 22


class NotThere(HubError):
    """The hub has no such repository, revision or file."""


class NotInMirror(NotThere):
    """A folder given with --from has no such repository, revision or file."""

    status = 2


class NotCached(HubError):
    """Without a network, and what is needed is not on this machine."""

    def __init__(self, message: str, names: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.names = names
        """Everything that is missing, as `repository/path at revision`."""


@dataclass(frozen=True)
class Listed:
    """A file of a repository, before it is fetched."""

    path: str
    bytes: int
    sha256: str | None = None
    """What its content must hash to; None for small files and mirrors."""
    git_sha1: str | None = None
    """The same, as git names a small file."""


@dataclass(frozen=True)
class Fetched:
    """A file on this machine whose content was hashed."""

    path: Path
    sha256: str
    bytes: int
    commit: str | None
    """Commit it belongs to, 40 hex; None for a mirror."""


class Source(Protocol):
    """Where released files come from: the hub, or a folder laid out like it."""

    name: str
    """What it is called in messages."""
    is_local: bool
    """Whether it is a folder of this machine."""
    offline: bool
    """Whether only what was fetched before can be had."""

    def commit_of(self, repository: str, revision: str = "main",
                  repo_type: str = "model") -> str | None:
        """The commit a revision is at, resolved once; None for a mirror."""

    def list_files(self, repository: str, revision: str = "main",
                   repo_type: str = "model") -> dict[str, Listed]:
        """Every file of a revision by path. NotThere: there is no such repository or revision."""

    def branches(self, repository: str, repo_type: str = "model") -> list[str]:
        """Names of the branches."""

    def download(self, repository: str, path: str, revision: str = "main",
                 repo_type: str = "model", expected: str | None = None) -> Fetched:
        """A file, whole and hashed."""

    def is_here(self, repository: str, path: str, revision: str = "main",
                repo_type: str = "model") -> bool:
        """Whether a file needs no fetching; asks nobody."""

    def loose_snapshot(self, model_name: str, step: int, matrix: str) -> Path | None:
        """A snapshot that lies about as one file, mirrors only."""

    def release(self, fetched: Fetched) -> None:
        """Give back the space of a file that this process fetched and no one needs any more."""


def find(source: Source, repository: str, revision: str = "main",
         repo_type: str = "model") -> dict[str, Listed]:
    """The files of a repository that may not be there; empty when it is not."""
    try:
        return source.list_files(repository, revision, repo_type)
    except (NotThere, NotCached):
        return {}


def check_names(repository: str, revision: str = "main", path: str | None = None) -> None:
    """Refuse a name that no hub would give: InvalidValue, or BrokenArtifact for a file's."""
    if not REPOSITORY.fullmatch(repository):
        raise InvalidValue(f"{repository[:100]!r} is no repository; one is `owner/name`")
    if not REVISION.fullmatch(revision):
        raise InvalidValue(f"{revision[:100]!r} is no revision of {repository}")
    if path is not None and not PATH.fullmatch(path):
        raise BrokenArtifact(
            f"{repository} names a file {path[:100]!r}, which may not be fetched; expected "
            "letters, digits and ._+=@- between slashes"
        )


def check_size(repository: str, listed: Listed) -> None:
    """Refuse a text file that is too large to be one, before it is fetched."""
    name = listed.path.rsplit("/", 1)[-1]
    if name.endswith(WEIGHTS):
        return
    most = MAX_TEXT if name.endswith((".json", ".md")) and name != "tokenizer.json" else (
        MAX_TOKENIZER)
    if listed.bytes > most:
        raise BrokenArtifact(
            f"{repository}/{listed.path} claims {listed.bytes:,} bytes, at most {most:,} are read"
        )


def hashes(path: Path) -> tuple[str, str]:
    """(sha256, git's sha1) of a file's content, read once."""
    whole = hashlib.sha256()
    git = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            whole.update(block)
            git.update(block)
    return whole.hexdigest(), git.hexdigest()


def disagreement(listed: Listed, found: tuple[str, str], size: int,
                 expected: str | None = None) -> str | None:
    """What of a file is not as listed, in words; None when all of it is."""
    if size != listed.bytes:
        return f"has the wrong size: want {listed.bytes:,} bytes, got {size:,}"
    for kind, want, got in (("sha256", expected, found[0]), ("sha256", listed.sha256, found[0]),
                            ("git sha1", listed.git_sha1, found[1])):
        if want is not None and want != got:
            return f"has the wrong {kind}: want {want}, got {got}"
    return None


def place(source: Path, target: Path) -> None:
    """Bring a file into a store: a hard link on one file system, else a copy; whole or not at all.

    Never a symbolic link: a store outlives the cache it was filled from.
    """
    with space_watch(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = staged_name(target)
        staged.unlink(missing_ok=True)
        try:
            try:
                os.link(source.resolve(), staged)
            except OSError as error:
                if error.errno not in {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP,
                                       errno.EACCES}:
                    raise
                shutil.copyfile(source, staged)
            settle(staged, target)
        finally:
            staged.unlink(missing_ok=True)
