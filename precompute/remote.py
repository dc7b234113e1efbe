"""Shared stores elsewhere: one is fetched from the hub and opened, or sent there.

A store is fetched once for each commit and kept in the user's cache folder; after that it opens
without asking anyone. What is fetched is hashed and checked by `precompute.receive` before
anything of it is a store.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import AtlasError, BrokenArtifact, HubError, InvalidValue, NotFound
from atlas.places import received_stores
from atlas.store import POINTER, Store
from atlas.tensor_files import sha256, write_json
from precompute.dataset_card import Origin
from precompute.fetching import COMMIT, Fetched, NotThere, Source, find, hashes
from precompute.hub import Hub, has_token
from precompute.kept import Report, silent
from precompute.manifest import MANIFEST, is_share, read_bounded, read_manifest
from precompute.receive import TOLD, holds, in_folder, receive
from precompute.safety import discard, megabytes, require_space, writer_lock
from precompute.share import share

SCHEME = "hf://"
DATASET = "dataset"
OUTGOING = "outgoing"
"""Folder of what is being sent; kept when a sending fails."""
FOLDERS = ("catalog/", "runs/", "models/", "snapshots/", "licences/", "matches/")
"""Of a data set that is a share already: what is in them is replaced, the rest is its owner's."""
PATIENCE = 600.0
"""Seconds to wait for another process that fetches the same store."""
_ADDRESS = re.compile(r"hf://datasets/([\w.\-]+/[\w.\-]+?)(?:@([\w.+\-/]+))?/?", re.ASCII)


@dataclass(frozen=True)
class Address:
    """A data set on the hub."""

    repository: str
    """`OWNER/NAME`."""
    revision: str = "main"

    def __str__(self) -> str:
        return f"hf://datasets/{self.repository}"

    @property
    def slug(self) -> str:
        """A folder name for it."""
        return self.repository.replace("/", "_")


def address(text: str) -> Address:
    """The data set that `hf://datasets/OWNER/NAME[@REVISION]` names; else InvalidValue."""
    found = _ADDRESS.fullmatch(text.strip())
    if found is None:
        raise InvalidValue(
            f"{text[:120]!r} is no address of a shared store; write hf://datasets/OWNER/NAME or "
            "hf://datasets/OWNER/NAME@REVISION"
        )
    return Address(found[1], found[2] or "main")


def opened(
    text: str, report: Report | None = None, source: Source | None = None,
    kept: Path | None = None,
) -> Path:
    """The store in the cache folder made from a shared one: an address or a folder.

    Args:
        source: where an address is looked up; the hub when None.
        kept: folder to keep stores in; the user's cache folder when None.

    Raises:
        NotFound, HubError, BrokenArtifact, VersionMismatch, NoSpace: it cannot be had or is not
        what it claims to be; nothing is left behind.
    """
    report, kept = report or silent, (kept or received_stores()) / "stores"
    if text.startswith(SCHEME):
        return _fetch(address(text), source or Hub(report), kept, report)
    folder = Path(text).absolute()
    store = kept / f"{folder.name}-{sha256(folder / MANIFEST)[:16]}"
    if not _whole(store):
        manifest = read_manifest(folder / MANIFEST)
        with writer_lock(kept, f"store {store}", PATIENCE):
            receive(manifest, in_folder(folder), store, report)
    return store


def into(text: str, store: Path, report: Report | None = None, source: Source | None = None) -> int:
    """Put the runs of a shared store into a store of one's own; returns how many there are."""
    report = report or silent
    if text.startswith(SCHEME):
        wanted, asked = address(text), source or Hub(report)
        commit = _commit(wanted, asked, received_stores() / "stores", report)
        return len(_receive(wanted, asked, commit, store, report))
    folder = Path(text).absolute()
    if not is_share(folder):
        raise NotFound(f"{folder} is no shared store: it has no {MANIFEST}, or it is a store")
    manifest = read_manifest(folder / MANIFEST)
    return len(receive(manifest, in_folder(folder), store, report).runs)


def _whole(store: Path) -> bool:
    """Whether a kept store can be opened; one that cannot is made again."""
    if not (store / POINTER).is_file():
        return False
    try:
        whole = all(card.problem is None for card in Store.open(store).runs())
    except AtlasError:
        whole = False
    if not whole:
        discard(store)
    return whole


def _fetch(wanted: Address, source: Source, kept: Path, report: Report) -> Path:
    commit = _commit(wanted, source, kept, report)
    place = kept / wanted.slug
    store = place / (commit or _digest(wanted, source))[:16]
    if not _whole(store):
        with writer_lock(place, f"store {store}", PATIENCE):
            if not _whole(store):
                _receive(wanted, source, commit, store, report)
    if commit is not None and wanted.revision != commit:
        noted = _noted(place)
        if noted.get(wanted.revision) != commit:
            write_json(place / "revisions.json", noted | {wanted.revision: commit})
    return store


def _commit(wanted: Address, source: Source, kept: Path, report: Report) -> str | None:
    """The commit of a revision; the one it had last time when the hub cannot be asked."""
    if COMMIT.fullmatch(wanted.revision):
        return wanted.revision
    try:
        return source.commit_of(wanted.repository, wanted.revision, DATASET)
    except NotThere:
        raise
    except HubError as error:
        commit = _noted(kept / wanted.slug).get(wanted.revision)
        if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
            raise
        report(f"{error}; opening {commit[:12]}, which was fetched before")
        return commit


def _digest(wanted: Address, source: Source) -> str:
    """What stands for the commit where there is none, in a mirror: the manifest's hash."""
    if MANIFEST not in source.list_files(wanted.repository, wanted.revision, DATASET):
        raise _no_share(wanted)
    return source.download(wanted.repository, MANIFEST, wanted.revision, DATASET).sha256


def _no_share(wanted: Address) -> NotFound:
    return NotFound(
        f"{wanted} is no shared store: it has no {MANIFEST}; `readout-atlas publish` makes one"
    )


def _noted(place: Path) -> dict[str, str]:
    path = place / "revisions.json"
    try:
        noted = read_bounded(path) if path.is_file() else {}
    except BrokenArtifact:
        return {}
    return noted if isinstance(noted, dict) else {}


def _receive(
    wanted: Address, source: Source, commit: str | None, store: Path, report: Report
) -> tuple[str, ...]:
    revision = commit or wanted.revision
    listing = source.list_files(wanted.repository, revision, DATASET)
    if MANIFEST not in listing:
        raise _no_share(wanted)
    first = source.download(wanted.repository, MANIFEST, revision, DATASET)
    manifest = read_manifest(first.path)
    if holds(store, manifest):
        report(f"{store}: up to date, nothing to fetch")
        return tuple(manifest.runs)
    for name, file in manifest.files.items():
        if name not in listing or listing[name].bytes != file.bytes:
            found = f"has {listing[name].bytes:,}" if name in listing else "is not there"
            raise BrokenArtifact(f"{wanted}: {name}, of {file.bytes:,} bytes, {found}")
    report(f"{wanted}: {len(manifest.runs)} runs, {megabytes(manifest.bytes)} to fetch")
    store.parent.mkdir(parents=True, exist_ok=True)
    require_space(store, 3 * manifest.bytes)
    fetched: dict[str, Fetched] = {}
    for number, (name, file) in enumerate(sorted(manifest.files.items()), start=1):
        if file.bytes >= TOLD or number == len(manifest.files):
            report(f"fetch: file {number} of {len(manifest.files)}: {name}")
        fetched[name] = source.download(
            wanted.repository, name, revision, DATASET, expected=file.sha256
        )
    done = receive(manifest, lambda name: fetched[name].path, store, report)
    for one in fetched.values():
        source.release(one)
    return done.runs


# --- sending -----------------------------------------------------------------------------------


def send(
    store: Path,
    to: Address,
    runs: Sequence[str] = (),
    weights: bool = False,
    private: bool = False,
    licence: str = "",
    report: Report | None = None,
    hub: Hub | None = None,
    kept: Path | None = None,
) -> str:
    """Share runs of a store as a data set on the hub; returns its address in a browser.

    Files that are there with the same content are not sent. All others arrive in one commit, so
    nobody sees half a store; what an earlier share had and this one has not goes in the same.

    Raises:
        HubError: no network, no token or not the right to write. InvalidValue: the data set is
        there and public although `private` was asked for. Otherwise as `share`.
    """
    report = report or silent
    hub = hub or Hub(report)
    if to.revision != "main":
        raise InvalidValue(f"{to}@{to.revision}: a store is sent to the main branch; leave @ out")
    hub.refuse_offline()
    if not has_token():
        raise HubError(
            "no token for the hub: set HF_TOKEN to one that may write, or run `hf auth login`"
        )
    folder = (kept or received_stores()) / OUTGOING / to.slug
    discard(folder)
    made = share(store, folder, runs, weights, Origin(str(to), licence), report)
    hub.make_repository(to.repository, DATASET, private)
    there = find(hub, to.repository, "main", DATASET)
    gone = [name for name in sorted(there) if MANIFEST in there and name.startswith(FOLDERS)
            and name not in made.files]
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        listed = there.get(path.relative_to(folder).as_posix())
        if listed is not None and listed.bytes == path.stat().st_size:
            whole, git = hashes(path)
            if whole == listed.sha256 or git == listed.git_sha1:
                path.unlink()
    left = [p for p in folder.rglob("*") if p.is_file()]
    total = len(made.files) + 1
    report(f"publish: {total - len(left)} of {total} files are there already")
    if gone:
        report(f"publish: {len(gone)} files of an earlier share are removed, {gone[0]} first")
    if left or gone:
        report(f"publish: sending {megabytes(sum(p.stat().st_size for p in left))}")
        hub.upload_folder(
            to.repository, folder, f"Readout Atlas store {made.store[:16]}", DATASET, gone
        )
    discard(folder)
    return f"{hub.endpoint}/datasets/{to.repository}"
