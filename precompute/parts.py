"""A stage is a list of parts: done once, by whoever comes first, and never half there.

A part lies in `stages/<stage>/parts/<number>/` with a manifest that names the hashes of what it
was made from and of what it holds. It is staged beside its place and renamed, so a kill at any
moment loses the part that was under way and no other, and two processes that do the same part
leave one of the two equal results (reliability section 5, R2 and R4).
"""

import hashlib
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atlas.errors import BrokenArtifact
from atlas.tensor_files import sha256
from precompute.derive import Arrays
from precompute.kept import CODE, Report, canonical, read_manifest
from precompute.safety import discard, staged_name, sync, sync_files

MANIFEST = "manifest.json"
"""Name of what says that a part is whole, and of what it was made."""
ATTEMPTS = 5
"""How often a part is put into place before giving up on whoever damages it."""


@dataclass(frozen=True)
class Parts:
    """The parts of one stage of a run, on disk."""

    folder: Path
    """The run folder."""
    stage: str
    count: int
    """How many parts there are, whoever does them."""
    reads: dict[str, str]
    """Hashes of what the stage reads, and what else decides its result; another value makes all
    parts stale."""
    noun: str = "part"
    """What a part is called in a line of progress."""

    @property
    def key(self) -> str:
        """Identity of the parts' content."""
        text = canonical([self.stage, CODE, self.count, self.reads])
        return hashlib.sha256(text.encode()).hexdigest()

    def path(self, part: int) -> Path:
        """Where a part lies."""
        return self.folder / "stages" / self.stage / "parts" / f"{part:05d}"

    def whole(self, part: int) -> bool:
        """Whether a part is there, fresh and undamaged."""
        path = self.path(part)
        manifest = read_manifest(path / MANIFEST)
        if manifest.get("key") != self.key:
            return False
        files = manifest["files"]
        return all(_hash(path / f"{name}.npy") == files[name] for name in files)

    def missing(self) -> list[int]:
        """Numbers of the parts that have to be done."""
        return [part for part in range(self.count) if not self.whole(part)]

    def differs(self, part: int) -> bool:
        """Whether a part is there and was made from something else."""
        return read_manifest(self.path(part) / MANIFEST).get("key", self.key) != self.key

    def read(self, part: int) -> Arrays:
        """The arrays of a part that is whole.

        Raises:
            BrokenArtifact: it is not there, or was made from something else.
        """
        try:
            return self._read(part)
        except (BrokenArtifact, OSError):
            time.sleep(0.1)  # another process may be putting an equal one in its place
        try:
            return self._read(part)
        except OSError as error:
            raise self._unread(part, f"lost a file ({error.strerror})") from error

    def _read(self, part: int) -> Arrays:
        path = self.path(part)
        manifest = read_manifest(path / MANIFEST)
        if manifest.get("key") != self.key:
            raise self._unread(
                part, "was made from something else" if manifest else "is not there"
            )
        return {name: np.load(path / f"{name}.npy", allow_pickle=False)
                for name in manifest["files"]}

    def _unread(self, part: int, why: str) -> BrokenArtifact:
        return BrokenArtifact(
            f"{self.path(part)}: this part of {self.stage} {why}; if no other build of the run is "
            f"at it, run this again and it is made anew"
        )

    def read_all(self) -> list[Arrays]:
        """The arrays of all parts, in order."""
        return [self.read(part) for part in range(self.count)]

    def do(
        self, work: Callable[[int], Arrays], report: Report, mine: Callable[[int], bool]
    ) -> bool:
        """Do the missing parts that are `mine`; returns whether there were any.

        Args:
            work: gives the arrays of a part.
            report: called with a line as each part is done.
        """
        missing = [part for part in self.missing() if mine(part)]
        if not missing:
            report(f"{self.stage}: kept from an earlier call")
            return False
        report(f"{self.stage}: started")
        began = time.monotonic()
        for part in missing:
            if mine(part) and (part == missing[0] or not self.whole(part)):
                self._save(part, work(part), began)
            if self.count > 1:
                report(f"{self.stage}: {self.noun} {part + 1} of {self.count}")
        report(f"{self.stage}: done in {time.monotonic() - began:.1f} s")
        return True

    def _save(self, part: int, arrays: Arrays, began: float) -> None:
        path = self.path(part)
        staged = staged_name(path.with_name(f"{path.name}-{os.uname().nodename}"))
        try:
            staged.mkdir(parents=True, exist_ok=True)
            files = {}
            for name, values in arrays.items():
                np.save(staged / f"{name}.npy", values, allow_pickle=False)
                files[name] = sha256(staged / f"{name}.npy")
            manifest: dict[str, Any] = {
                "stage": self.stage, "part": part, "parts": self.count, "key": self.key,
                "code": CODE, "inputs": self.reads, "files": files,
                "seconds": round(time.monotonic() - began, 2),
            }
            (staged / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf8")
            self._settle(part, staged)
        finally:
            discard(staged)

    def _settle(self, part: int, staged: Path) -> None:
        """Rename a part into place; one that another process put there meanwhile stays.

        A stale one is moved aside before it is removed: the place is never half empty.
        """
        path = self.path(part)
        sync_files(staged)
        for attempt in range(ATTEMPTS):
            try:
                os.rename(staged, path)
            except OSError:
                if self.whole(part):
                    return
                if attempt == ATTEMPTS - 1 or not path.exists():
                    raise
                self._put_aside(path)
            else:
                sync(path.parent)
                return

    def _put_aside(self, path: Path) -> None:
        aside = staged_name(path.with_name(f"{path.name}-{os.uname().nodename}-stale"))
        with suppress(FileNotFoundError):  # another process was first
            os.rename(path, aside)
            discard(aside)


def _hash(path: Path) -> str | None:
    try:
        return sha256(path)
    except OSError:
        return None


def done_and_all(folder: Path, stage: str) -> tuple[int, int]:
    """Parts of a stage that are there and how many there are to be, unchecked; (0, 1) if none."""
    manifests = sorted((folder / "stages" / stage / "parts").glob(f"[0-9]*/{MANIFEST}"))
    if not manifests:
        return 0, 1
    return len(manifests), int(read_manifest(manifests[-1]).get("parts", 1))


def every(part: int) -> bool:
    """The share of a process that works alone."""
    del part
    return True


def share_of(rank: int, world_size: int) -> Callable[[int], bool]:
    """The share of one process among several: every world_size-th part."""
    return lambda part: part % world_size == rank


def process_name(rank: int) -> str:
    """Name of a file that one process of several keeps for itself."""
    return "" if rank == 0 else f"-{rank}-{os.uname().nodename}"
