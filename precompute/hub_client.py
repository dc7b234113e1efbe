"""What the hub's client is handed and what it leaves behind: its notes, its bar, its cache.

A file of a snapshot is a link to a body of its repository, named by its sha256 or git sha1. With
Xet that body is a link again, to one that the whole cache shares, named by its Xet hash: as many
digits as a sha256, and another number.
"""

import fcntl
import logging
import os
import re
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from atlas.errors import BrokenArtifact
from precompute.fetching import Listed
from precompute.kept import Report

TELL_EVERY = 1.0
"""Seconds between two lines of progress."""
QUARANTINE = "quarantine"
"""Folder of the cache for bodies that are not what they should be."""


class Listener(logging.Handler):
    """Turns the client's own notes on waiting into lines of progress."""

    def __init__(self, report: Report) -> None:
        super().__init__(logging.WARNING)
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        """Report a wait or a resumption; other notes are dropped."""
        text = record.getMessage()
        wait = re.search(r"(?:Waiting|Retrying in) ([\d.]+)s", text)
        if wait and "Rate limited" in text:
            self._report(f"the hub limits requests; waiting {float(wait[1]):.0f} s as it asks")
        elif wait:
            self._report(f"the hub did not answer as it should; waiting {float(wait[1]):.0f} s")
        elif "Trying to resume" in text:
            self._report("the connection broke off; going on where it stopped")


def progress_bar(report: Report, listed: Listed) -> type:
    """What the client takes for a progress bar: lines of megabytes, and a stop at the size."""

    class Bar(tqdm):
        """Draws nothing; plain downloads and Xet ones both count into it."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **(kwargs | {"disable": True}))
            self.n, self._said = int(kwargs.get("initial") or 0), time.monotonic()

        def update(self, n: float | None = 1) -> None:
            self.n += int(n or 0)
            if self.n > listed.bytes:
                raise BrokenArtifact(
                    f"{listed.path} goes on past the {listed.bytes:,} bytes it is listed with"
                )
            if time.monotonic() - self._said >= TELL_EVERY and listed.bytes >= 1_000_000:
                self._said = time.monotonic()
                done, whole = self.n // 1_000_000, listed.bytes // 1_000_000
                report(f"fetching {listed.path}: {done} of {whole} MB")

        def update_transfer(self, n: float | None = 1) -> None:
            """Bytes on the wire, which are others than those of the file."""

        def set_transfer_postfix_str(self, *args: Any, **kwargs: Any) -> None:
            """The speed on the wire."""

    return Bar


def sweep_unfinished(folder: Path) -> None:
    """Remove what killed downloads left in a repository's cache; the client never goes on there.

    The lock of a download that still runs is held; its file is left alone.
    """
    locks = folder.parent / ".locks" / folder.name
    for path in (folder / "blobs").glob("*.incomplete"):
        lock = locks / f"{path.name.split('.')[0]}.lock"
        if not lock.is_file():
            path.unlink(missing_ok=True)
            continue
        handle = os.open(lock, os.O_RDWR)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
        except BlockingIOError:
            pass
        finally:
            os.close(handle)


def blob_of(pointer: Path) -> Path:
    """The body that a file of a snapshot stands for in its repository; itself without links."""
    if not pointer.is_symlink():
        return pointer
    return Path(os.path.normpath(pointer.parent / os.readlink(pointer)))


def identity(path: Path) -> tuple[int, int]:
    """What tells a body from all others, whatever name it is reached by."""
    found = path.stat()
    return found.st_dev, found.st_ino


def bodies_here(folder: Path) -> set[tuple[int, int]]:
    """Identities of the bodies of a repository, and of those that its whole cache shares."""
    found = (*(folder / "blobs").glob("*"), *(folder.parent / "blobs").glob("??/*"))
    return {identity(path) for path in found if path.is_file()}


def put_aside(pointer: Path, cache: Path) -> str:
    """Take a wrong body out of its repository's cache; says what was done and what to do.

    One that other repositories share stays: only the link to it goes.
    """
    blob = blob_of(pointer)
    if blob.is_symlink():
        shared = blob.resolve()
        blob.unlink()
        pointer.unlink()
        return f"remove {shared}, which the whole cache shares, and run this again"
    aside = cache / QUARANTINE / f"{blob.name[:16]}-{pointer.name}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    os.replace(blob, aside)
    pointer.unlink(missing_ok=True)
    return f"it was put aside as {aside}, run this again to fetch it anew"


def take_back(pointer: Path, cache: Path) -> None:
    """Remove a file of a snapshot, and its body where no other file of the cache needs it."""
    blob, body = blob_of(pointer), pointer.resolve()
    pointer.unlink(missing_ok=True)
    if blob == pointer:
        return
    snapshots = blob.parent.parent / "snapshots"
    if any(p.is_symlink() and blob_of(p) == blob for p in snapshots.rglob("*")):
        return
    is_shared = blob.is_symlink()
    blob.unlink(missing_ok=True)
    if is_shared and not any(cache.glob(f"*--*/blobs/{blob.name}")):
        body.unlink(missing_ok=True)
