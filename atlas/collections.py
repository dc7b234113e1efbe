"""Collections: lists of features and tokens with tags and notes, as small files for people.

One collection is one JSON file that can be sent, imported, put under version control and compared
line by line: entries stand in a fixed order, a few lines each, the note on a line of its own. Files
may come from anyone, so reading is strict: what is not understood is refused by name, never
dropped. `atlas.shelf` keeps them in a folder.
"""

import datetime
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from atlas.errors import BrokenArtifact, InvalidValue, VersionMismatch

FORMAT = "readout-atlas collection"
VERSION = 1
MAX_BYTES = 256_000
MAX_ENTRIES = 2_000
MAX_NAME, MAX_TEXT, MAX_TAG, MAX_TAGS, MAX_RUN = 120, 4_000, 40, 20, 300
"""Characters of a name, of a note or other text, of a tag; tags of an entry; characters of a run.
"""
HASH = 12
"""Characters of a run's content hash that are kept."""
LARGEST = 2**31 - 1
KINDS = ("feature", "token")
OPTIONAL = ("step",)


@dataclass(frozen=True)
class Entry:
    """One feature or token of one run, with what someone wrote about it."""

    run: str
    """Id of the run."""
    kind: str
    """"feature" or "token"."""
    number: int
    """Index of the feature, or id of the token."""
    hash: str = ""
    """First characters of the run's content hash when it was kept; '' if not known."""
    tags: tuple[str, ...] = ()
    """In alphabetical order, none twice."""
    note: str = ""
    step: int | None = None
    """Training step to open it at."""
    added: str = ""
    """Date, YYYY-MM-DD; '' if not known."""

    @property
    def key(self) -> tuple[str, str, int]:
        """What makes it the same entry in another collection."""
        return self.run, self.kind, self.number


@dataclass(frozen=True)
class Collection:
    """A named list of entries, in the order of their keys."""

    name: str
    about: str = ""
    """What it gathers."""
    caveat: str = ""
    """What it does not show."""
    entries: tuple[Entry, ...] = field(default=())

    def entry(self, run: str, kind: str, number: int) -> Entry | None:
        """The entry about one thing, None when there is none."""
        return next((e for e in self.entries if e.key == (run, kind, number)), None)

    @property
    def tags(self) -> tuple[str, ...]:
        """All tags in use."""
        return tuple(sorted({tag for entry in self.entries for tag in entry.tags}))


@dataclass(frozen=True)
class Difference:
    """What changes from one collection to another."""

    added: tuple[Entry, ...]
    removed: tuple[Entry, ...]
    changed: tuple[tuple[Entry, Entry, tuple[str, ...]], ...]
    """Before, after, and the names of what differs."""


# --- making and changing ------------------------------------------------------------------------


def today() -> str:
    """The date an entry is added, UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def with_entry(found: Collection, entry: Entry) -> Collection:
    """The collection with an entry; one about the same thing gives way, its date stays."""
    before = found.entry(*entry.key)
    if before is not None and before.added:
        entry = replace(entry, added=before.added)
    kept = [e for e in found.entries if e.key != entry.key]
    return _ordered(found, [*kept, entry])


def without(found: Collection, keys: Iterable[tuple[str, str, int]]) -> Collection:
    """The collection without some entries."""
    gone = set(keys)
    return replace(found, entries=tuple(e for e in found.entries if e.key not in gone))


def merged(found: Collection, entries: Iterable[Entry]) -> Collection:
    """The collection with further entries; of one that is there already nothing is lost.

    Its tags are joined, and a note that is not there yet is put below the one that is.
    """
    for entry in entries:
        before = found.entry(*entry.key)
        if before is not None:
            note = before.note
            if entry.note and entry.note not in note:
                note = f"{note}\n{entry.note}" if note else entry.note
            entry = replace(
                entry, tags=tidy_tags([*before.tags, *entry.tags]), note=note,
                step=before.step if entry.step is None else entry.step,
            )
        found = with_entry(found, entry)
    return found


def tidy_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags without surrounding or repeated spaces, in order, none twice, no empty ones."""
    return tuple(sorted({" ".join(tag.split()) for tag in tags} - {""}))


def difference(before: Collection, after: Collection) -> Difference:
    """Entries that were added, removed and changed; the date of an entry is no change."""
    old, new = ({e.key: e for e in found.entries} for found in (before, after))
    changed = []
    for key in old.keys() & new.keys():
        names = tuple(
            name for name in ("hash", "step", "tags", "note")
            if getattr(old[key], name) != getattr(new[key], name)
        )
        if names:
            changed.append((old[key], new[key], names))
    return Difference(
        tuple(new[key] for key in sorted(new.keys() - old.keys())),
        tuple(old[key] for key in sorted(old.keys() - new.keys())),
        tuple(sorted(changed, key=lambda c: c[0].key)),
    )


def _ordered(found: Collection, entries: Iterable[Entry]) -> Collection:
    return replace(found, entries=tuple(sorted(entries, key=lambda e: e.key)))


# --- as text ------------------------------------------------------------------------------------


def to_text(found: Collection) -> str:
    """The file of a collection. InvalidValue when it could not be read again."""
    head = {
        "format": FORMAT, "version": VERSION, "name": found.name, "about": found.about,
        "caveat": found.caveat,
    }
    lines = [f"  {_json(key)}: {_json(value)}," for key, value in head.items()]
    entries = [_entry_text(entry) for entry in _ordered(found, found.entries).entries]
    body = "[\n" + ",\n".join(entries) + "\n  ]" if entries else "[]"
    text = "{\n" + "\n".join(lines) + f'\n  "entries": {body}\n}}\n'
    try:
        read_text(text, "this collection")
    except BrokenArtifact as error:
        raise InvalidValue(str(error)) from error
    return text


def _entry_text(entry: Entry) -> str:
    """Three lines between braces: what it is, what is said of it, the note."""
    what = {"run": entry.run, entry.kind: entry.number, "hash": entry.hash}
    said: dict[str, Any] = {"tags": list(entry.tags), "added": entry.added}
    if entry.step is not None:
        said["step"] = entry.step
    inner = ",\n".join(
        "      " + ", ".join(f"{_json(key)}: {_json(value)}" for key, value in line.items())
        for line in (what, said, {"note": entry.note})
    )
    return "    {\n" + inner + "\n    }"


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def read_text(text: str | bytes, source: str) -> Collection:
    """The collection of a file's text; `source` names it in errors.

    Raises:
        BrokenArtifact: it is none, or a field is not what it should be; the line names the field.
        VersionMismatch: it was written by a later version.
    """
    if len(text.encode("utf8", "surrogatepass") if isinstance(text, str) else text) > MAX_BYTES:
        raise BrokenArtifact(f"{source} is larger than {MAX_BYTES:,} bytes, which no collection is")
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8-sig")
        held = json.loads(text, object_pairs_hook=_once, parse_constant=_refused)
    except (ValueError, RecursionError) as error:
        raise BrokenArtifact(f"{source} is no JSON ({str(error)[:100]})") from error
    if not isinstance(held, dict) or held.get("format") != FORMAT:
        raise BrokenArtifact(f"{source} is no collection: its field format is not “{FORMAT}”")
    if held.get("version") != VERSION:
        raise VersionMismatch(
            f"{source} has version {held.get('version')!r:.20}, this code reads {VERSION}"
        )
    read = _Reader(source)
    read.known(held, ("format", "version", "name", "about", "caveat", "entries"), "")
    name = read.text(held, "name", MAX_NAME, "", one_line=True)
    if not name.strip():
        raise read.fault("name", "is empty")
    entries = held.get("entries", [])
    if not isinstance(entries, list) or len(entries) > MAX_ENTRIES:
        raise read.fault("entries", f"is no list of at most {MAX_ENTRIES:,}")
    found = [read.entry(entry, f"entries[{i}]") for i, entry in enumerate(entries)]
    seen: set[tuple[str, str, int]] = set()
    for i, entry in enumerate(found):
        if entry.key in seen:
            raise read.fault(f"entries[{i}]", f"is the second about {entry.kind} {entry.number}")
        seen.add(entry.key)
    collection = Collection(
        name.strip(), read.text(held, "about", MAX_TEXT, ""),
        read.text(held, "caveat", MAX_TEXT, ""),
    )
    return _ordered(collection, found)


class _Reader:
    """Fields of a file, each checked; faults name the file and the field."""

    def __init__(self, source: str) -> None:
        self.source = source

    def fault(self, where: str, what: str) -> BrokenArtifact:
        return BrokenArtifact(f"{self.source}: {where} {what}")

    def known(self, held: dict[str, Any], names: Iterable[str], where: str) -> None:
        odd = sorted(held.keys() - set(names))
        if odd:
            raise self.fault(where or "the file", f"has a field {odd[0]!r:.60} that is not known")

    def text(
        self, held: dict[str, Any], name: str, most: int, where: str, one_line: bool = False
    ) -> str:
        value = held.get(name, "")
        place = f"{where}.{name}" if where else name
        if not isinstance(value, str) or len(value) > most:
            raise self.fault(place, f"is no text of at most {most:,} characters")
        odd = next(_unfit(value, one_line), None)
        if odd is not None:
            raise self.fault(place, f"holds the character U+{ord(odd):04X}")
        return value

    def number(self, held: dict[str, Any], name: str, where: str) -> int:
        value = held.get(name)
        if type(value) is not int or not 0 <= value <= LARGEST:
            raise self.fault(f"{where}.{name}", f"is {value!r:.40}, no whole number from 0")
        return value

    def entry(self, held: Any, where: str) -> Entry:
        if not isinstance(held, dict):
            raise self.fault(where, "is no table")
        self.known(held, ("run", *KINDS, "hash", "tags", "note", *OPTIONAL, "added"), where)
        kinds = [kind for kind in KINDS if kind in held]
        if len(kinds) != 1:
            raise self.fault(where, "names neither a feature nor a token, or both")
        run = self.text(held, "run", MAX_RUN, where, one_line=True)
        if not run.strip():
            raise self.fault(f"{where}.run", "is empty")
        tags = held.get("tags", [])
        if not isinstance(tags, list) or len(tags) > MAX_TAGS:
            raise self.fault(f"{where}.tags", f"is no list of at most {MAX_TAGS}")
        for i, tag in enumerate(tags):
            self.text({"": tag}, "", MAX_TAG, f"{where}.tags[{i}]", one_line=True)
        digest = self.text(held, "hash", 64, where, one_line=True)
        if not re.fullmatch(r"[0-9a-f]*", digest):
            raise self.fault(f"{where}.hash", f"is {digest!r:.40}, no hash")
        added = self.text(held, "added", 10, where, one_line=True)
        if added and not _is_date(added):
            raise self.fault(f"{where}.added", f"is {added!r:.40}, no date YYYY-MM-DD")
        return Entry(
            run=run, kind=kinds[0], number=self.number(held, kinds[0], where), hash=digest[:HASH],
            tags=tidy_tags(tags), note=self.text(held, "note", MAX_TEXT, where),
            step=self.number(held, "step", where) if "step" in held else None, added=added,
        )


def _unfit(text: str, one_line: bool) -> Iterator[str]:
    """Characters that no field may hold: controls (but line ends in notes), lone surrogates."""
    for char in text:
        kind = unicodedata.category(char)
        if kind == "Cs" or (kind == "Cc" and (one_line or char not in "\n\t")):
            yield char


def _is_date(text: str) -> bool:
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a field is given twice")
    return table


def _refused(name: str) -> None:
    raise ValueError(f"{name} is no number")
