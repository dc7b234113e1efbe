"""What keeps a build from hurting a store: one writer at a time, a full disk told as such, and
files that appear whole or not at all (reliability section 5, R1, R2 and R5).
"""

import errno
import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from atlas.errors import InvalidValue, NoSpace, StoreBusy

LOCK = ".lock"
"""Name of the lock file of a store or a run folder."""
STAGED = ".stage-"
"""How the name of everything unfinished starts."""
CREW_SECONDS = 20.0
"""How long a process waits for the first of its crew to say who they are."""
LEFTOVER_SECONDS = 3600
"""Age from which something unfinished belongs to nobody."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_WORDS = ("No space left", "File too large", "Disk quota", " requested and ")
"""Words of DuckDB, of the system and of numpy (which writes "9 requested and 4 written")."""


@contextmanager
def writer_lock(folder: Path, what: str, wait: float = 0.0, crew: int = 1) -> Iterator[None]:
    """Hold the one right to write into `folder`, or a share in it.

    The system frees the lock when its holder dies, so a lock file left behind by a dead process
    of this machine is taken over. One left by another machine is honoured.

    Args:
        what: what is being written, for the message.
        wait: seconds to try for.
        crew: processes that do this work together, on one machine or several: they may hold the
            right at the same time, nobody else may meanwhile.

    Raises:
        StoreBusy: someone else holds it; names the process, its machine and since when.
    """
    path = folder / LOCK
    with space_watch(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + wait
        while not _try_lock(file):
            holder = _holder(file)
            joins = crew > 1 and holder.get("crew", crew) == crew
            if joins and holder and _try_lock(file, fcntl.LOCK_SH):
                break
            # the first of a crew holds the right alone until it has said that it is of a crew
            if time.monotonic() >= deadline + (CREW_SECONDS if joins else 0):
                raise StoreBusy(_busy(what, holder, path))
            time.sleep(0.05)
        holder = _holder(file)
        here = holder.get("host", socket.gethostname()) == socket.gethostname()
        if not here and (crew == 1 or holder.get("crew") != crew):
            raise StoreBusy(
                f"{_busy(what, holder, path)}; if that machine is gone, remove {path}"
            )
        mine = {"pid": os.getpid(), "host": socket.gethostname(), "crew": crew,
                "start": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        with space_watch(path):
            _write_text(file, json.dumps(mine))
        while crew > 1 and not _try_lock(file, fcntl.LOCK_SH):
            time.sleep(0.05)  # a stranger looked in, found the crew and leaves
        try:
            yield
        finally:
            if _try_lock(file):  # the last of a crew
                os.ftruncate(file, 0)
    finally:
        os.close(file)


def _try_lock(file: int, how: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: int) -> dict[str, Any]:
    try:
        holder = json.loads(os.pread(file, 4096, 0))
    except ValueError:
        return {}
    return holder if isinstance(holder, dict) else {}


def _write_text(file: int, text: str) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, text.encode(), 0)
    os.fsync(file)


def _busy(what: str, holder: dict[str, Any], path: Path) -> str:
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
    since = f" since {holder['start']}" if "start" in holder else ""
    return f"{what} is being written by {who}{since} ({path}); wait for it and run this again"


@contextmanager
def space_watch(path: Path) -> Iterator[None]:
    """Turn a full disk while writing `path` into NoSpace, a refused write into InvalidValue."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL or is_full(error):
            raise no_space(path) from error
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            raise InvalidValue(
                f"{path} cannot be written ({error.strerror}); name another folder with --store"
            ) from error
        raise


def is_full(error: Exception) -> bool:
    """Whether an error's text speaks of a full disk."""
    return any(words in str(error) for words in _FULL_WORDS)


def no_space(path: Path) -> NoSpace:
    """The error for a disk that filled up while `path` was written."""
    folder = next(p for p in (path, *path.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    return NoSpace(
        f"no space left while writing {path} ({megabytes(free)} free); free some and run this "
        f"again, what was finished is kept"
    )


def require_space(path: Path, need: int) -> None:
    """Refuse before the first byte when `need` bytes cannot fit beside `path`."""
    free = shutil.disk_usage(path.parent).free
    if free < need:
        raise NoSpace(
            f"{path} needs about {megabytes(need)}, its volume has {megabytes(free)} free; free "
            f"some and run this again"
        )


def megabytes(n: int) -> str:
    """A size for people."""
    return f"{n / 1e6:,.1f} MB"


def staged_name(path: Path) -> Path:
    """Where the unfinished form of `path` lies: beside it, named after this process."""
    return path.with_name(f"{STAGED}{os.getpid()}-{path.name}")


def settle(staged: Path, path: Path) -> None:
    """Rename a finished file or folder into place so that it survives a power cut."""
    for part in sorted(staged.rglob("*")) if staged.is_dir() else [staged]:
        if part.is_file():
            _sync(part)
    if path.is_dir() and staged.is_dir():
        shutil.rmtree(path)
    os.replace(staged, path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def discard(path: Path) -> None:
    """Remove a file or folder if it is there, with the write-ahead log of a database."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
        path.with_name(path.name + ".wal").unlink(missing_ok=True)


def sweep(folder: Path, crew: int = 1) -> None:
    """Remove unfinished things in `folder` that a killed process left behind.

    The caller holds the folder's lock, so only names of living other processes are spared, and
    those only while they are young. Processes of a crew may live on other machines: all that is
    young is spared then.
    """
    for path in folder.glob(f"{STAGED}*"):
        pid = path.name.removeprefix(STAGED).split("-")[0]
        try:
            young = time.time() - path.stat().st_mtime < LEFTOVER_SECONDS
        except FileNotFoundError:
            continue
        known = pid.isdecimal() and int(pid) != os.getpid() and _lives(int(pid))
        if not (young and (crew > 1 or known)):
            discard(path)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
