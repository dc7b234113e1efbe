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
CREW = ".crew"
"""Name of the file in which the processes of a crew say what they work with."""
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
        InvalidValue: a crew of another size holds it.
    """
    path = folder / LOCK
    with space_watch(path):
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline, alone = time.monotonic() + wait, False
        while not _try_lock(file):
            holder = _holder(file)
            _check_size(what, holder, crew)
            joins = crew > 1 and holder.get("crew", crew) == crew
            if joins and holder and _try_lock(file, fcntl.LOCK_SH):
                break
            # the first of a crew holds the right alone until it has said that it is of a crew
            if time.monotonic() >= deadline + (CREW_SECONDS if joins else 0):
                raise StoreBusy(_busy(what, holder, path))
            time.sleep(0.05)
        else:
            alone = True
        holder = _holder(file)
        here = holder.get("host", socket.gethostname()) == socket.gethostname()
        if not here and (crew == 1 or holder.get("crew") != crew):
            raise StoreBusy(
                f"{_busy(what, holder, path)}; if that machine is gone, remove {path}"
            )
        if here and alone:  # what a finished or killed crew said
            (folder / CREW).unlink(missing_ok=True)
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
                (folder / CREW).unlink(missing_ok=True)
                os.ftruncate(file, 0)
    finally:
        os.close(file)


def _check_size(what: str, holder: dict[str, Any], crew: int) -> None:
    theirs = holder.get("crew", 1)
    if min(crew, theirs) > 1 and theirs != crew:
        raise InvalidValue(
            f"{what}: process {holder.get('pid', '?')} on {holder.get('host', '?')} is one of "
            f"{theirs} processes, this one is of {crew}; start all with the same --world-size"
        )


def join_crew(folder: Path, what: str, mine: dict[str, Any]) -> None:
    """Compare what this process works with to what the first of its crew said, or say it first.

    Parts of processes that differ do not fit together, and the build would never end. The caller
    holds its share of the folder's lock; whoever finds no other holder clears what was said.

    Args:
        mine: `device`, `code`, `world_size` and `inputs` (hashes by name).

    Raises:
        InvalidValue: it differs; names the first difference and what to do.
    """
    path = folder / CREW
    with space_watch(path):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            said = os.pread(file, os.fstat(file).st_size, 0)
            if not said:
                _write_text(file, json.dumps(mine))
        finally:
            os.close(file)
    try:
        theirs = dict(json.loads(said)) if said else mine
    except (ValueError, TypeError):
        raise InvalidValue(f"{path} is damaged; remove it and run this again") from None
    for name, mend in _MENDS.items():
        if theirs.get(name) != mine[name]:
            there, here = _difference(theirs.get(name), mine[name])
            raise InvalidValue(
                f"{what}: the other processes of this build have {name} {there}, this one has "
                f"{name} {here}; {mend} (if none of them lives any more, remove {path})"
            )


_MENDS = {
    "device": "start all of them with --device cpu, or all on machines with a GPU",
    "world_size": "start all with the same --world-size",
    "code": "start all with the same version of readout-atlas",
    "inputs": "let them end, then start all again on the same files",
}


def _difference(theirs: Any, mine: Any) -> tuple[str, str]:
    """Both sides in few words; of tables the first entry that differs."""
    if not isinstance(theirs, dict) or not isinstance(mine, dict):
        return str(theirs), str(mine)
    name = next(n for n in sorted({*theirs, *mine}) if theirs.get(n) != mine.get(n))
    there, here = (str(side.get(name, "missing"))[:12] for side in (theirs, mine))
    return f"{name} ({there})", f"{name} ({here})"


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
    sync_files(staged)
    if path.is_dir() and staged.is_dir():
        shutil.rmtree(path)
    os.replace(staged, path)
    sync(path.parent)


def sync_files(path: Path) -> None:
    """Have the system write a file, or all files of a folder, to the disk."""
    for part in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if part.is_file():
            sync(part)


def sync(path: Path) -> None:
    """Have the system write a file or the names in a folder to the disk."""
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
