"""What the hub's client is handed and what it leaves behind: its notes, its bar, its leftovers."""

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
