"""Where collections are kept: a folder of small files, and the read-only gallery of the project.

Every change reads the file again under a lock, so that two windows, or two people on one folder,
lose nothing of each other's; it is written beside and renamed. A deleted file is renamed, not lost.
"""

import contextlib
import fcntl
import os
import re
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from atlas import collections
from atlas.collections import MAX_BYTES, MAX_NAME, Collection, Entry
from atlas.errors import AtlasError, InvalidValue, NoSpace, NotFound, StoreBusy
from atlas.places import COLLECTIONS_VARIABLE, GALLERY, collections_folder
from atlas.records import RunCard

SUFFIX = ".json"
TRASH = ".trash-"
FROM_GALLERY = "gallery."
"""What the identifiers of shipped collections begin with; no file name of ours holds a dot."""
MOST_FILES = 500
PATIENCE = 5.0
"""Seconds to wait for another writer."""


@dataclass(frozen=True)
class Kept:
    """One file of a shelf."""

    id: str
    """Its name in addresses: the file's name without suffix, `gallery.` before shipped ones."""
    path: Path
    collection: Collection | None
    """None when the file cannot be read."""
    problem: str = ""
    """Why it cannot."""

    @property
    def shipped(self) -> bool:
        """Part of the project, not to be changed."""
        return self.id.startswith(FROM_GALLERY)

    @property
    def name(self) -> str:
        """What it is called; the file's name when it cannot be read."""
        return self.collection.name if self.collection else self.path.name


def file_name(name: str) -> str:
    """A file name without suffix for a collection's name: letters, digits, `-` and `_` only.

    Never empty, never hidden, no path, at most 150 bytes; two names may share one.
    """
    plain = unicodedata.normalize("NFKC", name).casefold()
    kept = "".join(c if c.isalnum() or c in "-_" else "-" for c in plain)
    kept = re.sub("-+", "-", kept).strip("-_")
    while len(kept.encode("utf8")) > 150:
        kept = kept[:-1]
    return kept.rstrip("-_") or "collection"


def why_not(folder: Path | None) -> str:
    """Why no collection can be kept in a folder, '' when it can; nothing is created."""
    if folder is None:
        return f"{COLLECTIONS_VARIABLE} is `none`, so this atlas keeps no collections"
    at = folder
    while not at.exists() and at != at.parent:
        at = at.parent
    if not at.is_dir() or not os.access(at, os.W_OK | os.X_OK):
        return f"{folder} cannot be written to; {COLLECTIONS_VARIABLE} names another folder"
    return ""


def own(folder: Path | None = None) -> list[Kept]:
    """All collections of a folder by name; broken files are among them, with their fault."""
    folder = folder or collections_folder()
    return _listed(folder, "") if folder is not None else []


def gallery(folder: Path = GALLERY) -> list[Kept]:
    """The collections that come with the project."""
    return _listed(folder, FROM_GALLERY)


def _listed(folder: Path, prefix: str) -> list[Kept]:
    try:
        paths = sorted(
            p for p in folder.iterdir()
            if p.suffix == SUFFIX and not p.name.startswith(".") and p.is_file()
        )[:MOST_FILES]
    except OSError:
        return []
    found = []
    for path in paths:
        id = prefix + path.stem
        try:
            stat = path.stat()
            found.append(Kept(id, path, _read(path, stat.st_mtime_ns, stat.st_size)))
        except AtlasError as error:
            found.append(Kept(id, path, None, str(error)))
        except OSError as error:
            found.append(Kept(id, path, None, f"{path} cannot be read ({error.strerror})"))
    return sorted(found, key=lambda kept: kept.name.casefold())


@lru_cache(maxsize=256)
def _read(path: Path, changed: int, size: int) -> Collection:
    return read(path)


def read(path: Path) -> Collection:
    """The collection of a file; NotFound, BrokenArtifact, VersionMismatch."""
    try:
        with open(path, "rb") as file:
            return collections.read_text(file.read(MAX_BYTES + 1), str(path))
    except FileNotFoundError as error:
        raise NotFound(f"{path} is not there any more") from error
    except OSError as error:
        raise NotFound(f"{path} cannot be read ({error.strerror})") from error


# --- changing -----------------------------------------------------------------------------------


def create(found: Collection, folder: Path | None = None) -> Kept:
    """Keep a new collection under a file name of its own; nothing there is overwritten."""
    folder = _writable(folder)
    with _lock(folder):
        stem = base = file_name(found.name)
        number = 2
        while (folder / (stem + SUFFIX)).exists():
            stem, number = f"{base}-{number}", number + 1
        return _write(folder / (stem + SUFFIX), found)


def imported(text: str | bytes, folder: Path | None = None) -> Kept:
    """Keep a collection that someone sent; one of the same name keeps its own.

    Raises: BrokenArtifact, VersionMismatch: it is none.
    """
    found = collections.read_text(text, "what was given")
    names = {kept.name for kept in own(folder)}
    name, number = found.name, 2
    while name in names:
        more = f" ({number})"
        name, number = found.name[: MAX_NAME - len(more)] + more, number + 1
    return create(replace(found, name=name), folder)


def change(
    id: str, edit: Callable[[Collection], Collection], folder: Path | None = None
) -> Kept:
    """Apply an edit to a collection as it is on disk now.

    Raises:
        NotFound: there is none of that name. InvalidValue: the result could not be kept.
        StoreBusy: another writer does not finish. NoSpace.
    """
    folder = _writable(folder)
    path = path_of(id, folder)
    with _lock(folder):
        return _write(path, edit(read(path)))


def rename(id: str, name: str, folder: Path | None = None) -> Kept:
    """Give a collection another name; its file keeps its own, so links to it still work."""
    return change(id, lambda found: replace(found, name=" ".join(name.split())), folder)


def amend(id: str, seen: Entry, wanted: Entry, folder: Path | None = None) -> Kept:
    """Put an entry in the place of the one that was seen.

    Raises:
        NotFound: it is not there any more. InvalidValue: its tags or its note were changed in the
        meantime, which would be lost; the line says what they are now.
    """
    def edit(found: Collection) -> Collection:
        now = found.entry(*seen.key)
        if now is None:
            raise NotFound(f"{seen.kind} {seen.number} is not in “{found.name}” any more")
        for name in ("note", "tags"):
            held = getattr(now, name)
            if held not in (getattr(seen, name), getattr(wanted, name)):
                text = held if name == "note" else ", ".join(held)
                raise InvalidValue(
                    f"the {name} of {seen.kind} {seen.number} was changed in another window "
                    f"meanwhile, to “{text[:200]}”; save again to replace it"
                )
        return collections.with_entry(found, wanted)

    return change(id, edit, folder)


def delete(id: str, folder: Path | None = None) -> str:
    """Take a collection off the shelf; returns the name under which `restore` finds it."""
    folder = _writable(folder)
    path = path_of(id, folder)
    with _lock(folder):
        number = 1
        while (folder / f"{TRASH}{path.stem}-{number}{SUFFIX}").exists():
            number += 1
        away = folder / f"{TRASH}{path.stem}-{number}{SUFFIX}"
        path.rename(away)
        return away.name


def restore(name: str, folder: Path | None = None) -> Kept:
    """Bring back what `delete` took away."""
    folder = _writable(folder)
    path = folder / name
    if path.parent != folder or not name.startswith(TRASH) or not path.is_file():
        raise NotFound(f"nothing that was deleted is called {name[:80]!r}")
    with _lock(folder):
        stem = base = path.stem.removeprefix(TRASH).rpartition("-")[0]
        number = 2
        while (folder / (stem + SUFFIX)).exists():
            stem, number = f"{base}-{number}", number + 1
        path.rename(folder / (stem + SUFFIX))
        return Kept(stem, folder / (stem + SUFFIX), read(folder / (stem + SUFFIX)))


def path_of(id: str, folder: Path) -> Path:
    """The file of an own collection; NotFound when there is none, whatever the text is."""
    path = folder / (id + SUFFIX) if re.fullmatch(r"[\w-]{1,150}", id) else None
    if path is None or not path.is_file():
        raise NotFound(f"there is no collection {id[:60]!r} here")
    return path


def _writable(folder: Path | None) -> Path:
    """The folder, created if need be; InvalidValue says why nothing can be kept."""
    folder = folder or collections_folder()
    reason = why_not(folder)
    if reason or folder is None:
        raise InvalidValue(reason)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidValue(f"{folder} cannot be made ({error.strerror})") from error
    return folder


def _write(path: Path, found: Collection) -> Kept:
    text = collections.to_text(found)
    try:
        handle, beside = tempfile.mkstemp(prefix=".new-", dir=path.parent)
        try:
            with open(handle, "w", encoding="utf8", newline="\n") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(beside, 0o644)
            os.replace(beside, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(beside)
            raise
    except OSError as error:
        raise NoSpace(f"{path} cannot be written ({error.strerror})") from error
    return Kept(path.stem, path, collections.read_text(text, str(path)))


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Be the only writer of a folder; StoreBusy when another one does not finish."""
    try:
        file = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise InvalidValue(f"{folder} cannot be written to ({error.strerror})") from error
    try:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise StoreBusy(f"another window is writing to {folder}; try again") from None
                time.sleep(0.01)
        yield
    finally:
        os.close(file)


# --- the runs behind the entries ----------------------------------------------------------------


def refreshed(found: Collection, cards: list[RunCard]) -> Collection:
    """The collection with the content hashes that the runs have now; other runs keep theirs."""
    now = {card.run: card.hash[: collections.HASH] for card in cards}
    return replace(found, entries=tuple(
        replace(entry, hash=now.get(entry.run, entry.hash)) for entry in found.entries
    ))


def refresh_gallery(cards: list[RunCard], folder: Path = GALLERY) -> list[str]:
    """Write the present hashes into the shipped collections; returns the files that changed."""
    changed = []
    for kept in gallery(folder):
        if kept.collection is None:
            raise InvalidValue(kept.problem)
        text = collections.to_text(refreshed(kept.collection, cards))
        if text != kept.path.read_text("utf8"):
            kept.path.write_text(text, "utf8")
            changed.append(kept.path.name)
    return changed
