"""The one door to the Hugging Face hub: what is asked of it, and what its answers are held to.

A revision is resolved to one commit, once, together with the listing of its files; everything
else is fetched at that commit, so a branch that moves changes nothing mid-way. The client checks
sizes only: each body is hashed here against the listing, and a wrong one is put aside under
another name and refused. Answers that fail are asked for again by the rules below, with a line
that says so; each kind of failure has one sentence (reliability sections 2.2 and 4.2, R7 and R8).
No message holds a token or an address with one.
"""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import huggingface_hub
from huggingface_hub import HfApi, constants

from atlas.errors import AtlasError, BrokenArtifact, HubError, InvalidValue
from atlas.inventory import repositories
from precompute import hub_client as client
from precompute.fetching import (
    COMMIT,
    Fetched,
    Listed,
    NotCached,
    NotThere,
    check_names,
    check_size,
    disagreement,
    hashes,
)
from precompute.hub_failures import (
    Unreachable,
    disk_trouble,
    forbidden_text,
    is_disk_trouble,
    missing_text,
    no_hub,
    told,
    wait_before_next,
)
from precompute.kept import Report, silent
from precompute.safety import require_space

TRIES = 5
"""How often one thing is asked for."""
BUDGET = 120.0
"""Seconds that waiting for one thing may take altogether, the client's own waits aside."""
TIMEOUT = 10.0
"""Seconds without a byte after which the hub counts as silent."""
OFFLINE_VARIABLES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")

T = TypeVar("T")


def asked_offline() -> bool:
    """Whether the environment forbids the network."""
    said = (os.environ.get(name, "").upper() for name in OFFLINE_VARIABLES)
    return constants.HF_HUB_OFFLINE or any(v in {"1", "ON", "YES", "TRUE"} for v in said)


def has_token() -> bool:
    """Whether the client has a token; it is not shown, kept or passed on."""
    return huggingface_hub.get_token() is not None


def cache_folder() -> Path:
    """Where the client keeps what it fetched."""
    return Path(constants.HF_HUB_CACHE)


class Hub:
    """A `Source` over the network, or over the cache when there is none."""

    is_local = False

    def __init__(
        self, report: Report | None = None, endpoint: str | None = None,
        cache: Path | None = None, offline: bool | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """
        Args:
            report: called with a line per wait and per second of a long download.
            endpoint: address of the hub; the client's own setting when None.
            cache: the client's cache folder; likewise.
            offline: ask nobody; when None, as the environment says.
        """
        self.report = report or silent
        self.endpoint = (endpoint or constants.ENDPOINT).rstrip("/")
        self.cache = cache or cache_folder()
        self.offline = asked_offline() if offline is None else offline
        self.name = f"the hub at {self.endpoint}"
        self._sleep = sleep
        self._api = HfApi(endpoint=self.endpoint)
        self._listings: dict[tuple[str, str, str], tuple[str, dict[str, Listed]]] = {}
        self._branches: dict[tuple[str, str], list[str]] = {}
        self._fetched: set[Path] = set()
        self._lost: Unreachable | None = None

    # --- what is there -------------------------------------------------------------------------

    def commit_of(self, repository: str, revision: str = "main", repo_type: str = "model") -> str:
        """The commit a revision is at, resolved once."""
        return self._revision(repository, revision, repo_type)[0]

    def list_files(
        self, repository: str, revision: str = "main", repo_type: str = "model"
    ) -> dict[str, Listed]:
        """Every file of a revision by path; offline, those that are cached."""
        return self._revision(repository, revision, repo_type)[1]

    def _revision(
        self, repository: str, revision: str, repo_type: str
    ) -> tuple[str, dict[str, Listed]]:
        check_names(repository, revision)
        key = (repo_type, repository, revision)
        if key not in self._listings and not self.offline:
            try:
                self._listings[key] = self._ask_revision(repository, revision, repo_type)
            except Unreachable as error:
                self._go_offline(error)
        if key not in self._listings:
            self._listings[key] = self._cached_revision(repository, revision, repo_type)
        return self._listings[key]

    def _ask_revision(
        self, repository: str, revision: str, repo_type: str
    ) -> tuple[str, dict[str, Listed]]:
        def ask() -> tuple[str, list[Any]]:
            info = self._api.repo_info(repository, revision=revision, repo_type=repo_type,
                                       files_metadata=True, timeout=TIMEOUT)
            return info.sha, list(info.siblings or ())

        commit, files = self._ask(ask, repository, revision)
        if not isinstance(commit, str) or not COMMIT.fullmatch(commit):
            raise HubError(no_hub(self.endpoint, f"it calls {str(commit)[:60]!r} a commit"))
        listing = {}
        for file in files:
            name = file.rfilename
            try:
                check_names(repository, revision, name)
            except BrokenArtifact:
                continue  # a name that no one asks for; asked for, it is refused
            lfs = file.lfs
            listing[name] = Listed(name, int(lfs.size if lfs else file.size or 0),
                                   lfs.sha256 if lfs else None, None if lfs else file.blob_id)
        if revision != commit:
            self._keep_reference(repository, revision, repo_type, commit)
        return commit, listing

    def _keep_reference(
        self, repository: str, revision: str, repo_type: str, commit: str
    ) -> None:
        """Note the commit as the client does, so that the revision has a name offline too."""
        path = self._folder(repository, repo_type) / "refs" / revision
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(commit, encoding="ascii")
        except OSError as error:
            raise self._told(error, repository, revision) from error

    def _cached_revision(
        self, repository: str, revision: str, repo_type: str
    ) -> tuple[str, dict[str, Listed]]:
        folder = self._folder(repository, repo_type)
        reference = folder / "refs" / revision
        commit = reference.read_text(encoding="ascii").strip() if reference.is_file() else revision
        inside = folder / "snapshots" / commit
        if not COMMIT.fullmatch(commit) or not inside.is_dir():
            name = f"{repository} at {revision}"
            raise NotCached(missing_text([name], self.cache), (name,))
        listing = {}
        for path in (p for p in inside.rglob("*") if p.is_file()):
            blob, name = client.blob_of(path).name, path.relative_to(inside).as_posix()
            listing[name] = Listed(name, path.stat().st_size, blob if len(blob) == 64 else None,
                                   blob if COMMIT.fullmatch(blob) else None)
        return commit, listing

    def branches(self, repository: str, repo_type: str = "model") -> list[str]:
        """Names of a repository's branches; offline, of those that were resolved before."""
        check_names(repository)
        key = (repo_type, repository)
        if key not in self._branches and not self.offline:
            try:
                refs = self._ask(
                    lambda: self._api.list_repo_refs(repository, repo_type=repo_type), repository
                )
                self._branches[key] = sorted(branch.name for branch in refs.branches)
            except Unreachable as error:
                self._go_offline(error)
        if key not in self._branches:
            inside = self._folder(repository, repo_type) / "refs"
            found = (p.relative_to(inside).as_posix() for p in inside.rglob("*") if p.is_file())
            return sorted(found)
        return self._branches[key]

    def is_here(
        self, repository: str, path: str, revision: str = "main", repo_type: str = "model"
    ) -> bool:
        """Whether the cache has a file of the commit that a revision was last seen at."""
        check_names(repository, revision, path)
        folder = self._folder(repository, repo_type)
        reference = folder / "refs" / revision
        commit = reference.read_text(encoding="ascii").strip() if reference.is_file() else revision
        return (folder / "snapshots" / commit / path).is_file()

    def loose_snapshot(self, model_name: str, step: int, matrix: str) -> Path | None:
        """The hub has none."""
        return None

    # --- downloads -----------------------------------------------------------------------------

    def download(
        self, repository: str, path: str, revision: str = "main", repo_type: str = "model",
        expected: str | None = None,
    ) -> Fetched:
        """Fetch a file, or find it in the cache, and hash it against the listing.

        Args:
            repository: `owner/name`.
            path: of the file in the repository.
            revision: branch, tag or commit.
            repo_type: `model` or `dataset`.
            expected: sha256 that it must have besides.

        Raises:
            NotThere, NotCached, HubError: it cannot be had; BrokenArtifact: what came is not what
            was listed, and was put aside; NoSpace: the cache's volume is full.
        """
        check_names(repository, revision, path)
        commit, listing = self._revision(repository, revision, repo_type)
        listed = listing.get(path)
        if listed is None and not self.offline:
            raise NotThere(
                f"{repository} has no file {path} at {revision}; `readout-atlas runs --inventory` "
                "lists what was released"
            )
        if listed is None:
            name = f"{repository}/{path} at {revision}"
            raise NotCached(missing_text([name], self.cache), (name,))
        check_size(repository, listed)
        file = self._folder(repository, repo_type) / "snapshots" / commit / path
        if not file.is_file():
            held = client.bodies_here(self._folder(repository, repo_type))
            self._fetch(repository, listed, commit, repo_type)
            if not file.is_file():
                raise HubError(no_hub(self.endpoint, f"it gave {path} of another commit"))
            if client.identity(file) not in held:
                self._fetched.add(file)
        return self._verified(file, listed, repository, commit, expected)

    def _fetch(self, repository: str, listed: Listed, commit: str, repo_type: str) -> None:
        if self.offline:
            name = f"{repository}/{listed.path} at {commit}"
            raise NotCached(missing_text([name], self.cache), (name,))
        folder = self._folder(repository, repo_type)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._told(error, repository, commit) from error
        client.sweep_unfinished(folder)
        require_space(folder / "blobs", listed.bytes)
        bar = client.progress_bar(self.report, listed)
        self._ask(lambda: huggingface_hub.hf_hub_download(
            repository, listed.path, revision=commit, repo_type=repo_type, cache_dir=self.cache,
            endpoint=self.endpoint, etag_timeout=TIMEOUT, tqdm_class=bar,
        ), repository, commit, listed.path)

    def _verified(
        self, file: Path, listed: Listed, repository: str, commit: str, expected: str | None
    ) -> Fetched:
        found, size = hashes(file), file.stat().st_size
        wrong = disagreement(listed, found, size, expected)
        if wrong is not None:
            done = client.put_aside(file, self.cache)
            raise BrokenArtifact(f"{repository}/{listed.path} {wrong}; {done}")
        return Fetched(file, found[0], size, commit)

    def release(self, fetched: Fetched) -> None:
        """Take a file out of the cache that this process brought there and no other name has."""
        if fetched.path in self._fetched:
            self._fetched.discard(fetched.path)
            client.take_back(fetched.path, self.cache)

    # --- uploads -------------------------------------------------------------------------------

    def refuse_offline(self) -> None:
        """HubError where nothing can be sent: the network is forbidden, or was found to be down."""
        if self.offline:
            raise self._lost or HubError(forbidden_text("publish"))

    def make_repository(
        self, repository: str, repo_type: str = "dataset", private: bool = False
    ) -> None:
        """Make a repository if it is not there.

        Raises:
            HubError: no network, no token or not the right to write. InvalidValue: it was to be
            private and is public.
        """
        check_names(repository)
        self.refuse_offline()
        self._ask(lambda: self._api.create_repo(
            repository, repo_type=repo_type, private=private, exist_ok=True), repository)
        if private and not self._ask(lambda: self._api.repo_info(
                repository, repo_type=repo_type, timeout=TIMEOUT), repository).private:
            raise InvalidValue(
                f"{repository} is there and public, so nothing is sent with --private; make it "
                f"private in its settings at {self.endpoint}, name another, or leave --private out"
            )

    def upload_folder(
        self, repository: str, folder: Path, message: str, repo_type: str = "dataset",
        gone: Sequence[str] = (),
    ) -> str:
        """Commit a folder to the main branch of a repository, without the files in `gone`.

        Returns:
            the commit, 40 hex.

        Raises:
            HubError: no network, no token or not the right to write.
        """
        check_names(repository)
        self.refuse_offline()
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        changes = [
            *(huggingface_hub.CommitOperationAdd(p.relative_to(folder).as_posix(), p)
              for p in files),
            *(huggingface_hub.CommitOperationDelete(name) for name in gone),
        ]
        info = self._ask(lambda: self._api.create_commit(
            repository, changes, commit_message=message, repo_type=repo_type,
        ), repository)
        return str(getattr(info, "oid", ""))

    # --- asking --------------------------------------------------------------------------------

    def _ask(
        self, call: Callable[[], T], repository: str, revision: str = "main",
        path: str | None = None,
    ) -> T:
        """Ask until it is answered, the tries are used up, or the budget is spent."""
        spent = 0.0
        for attempt in range(1, TRIES + 1):
            try:
                with self._heard():
                    return call()
            except Exception as error:  # every kind has its sentence in `_told`
                wait = wait_before_next(error, attempt)
                told = self._told(error, repository, revision, path)
                if wait is None or attempt == TRIES or spent + wait > BUDGET:
                    raise told from error
                spent += wait
                self.report(f"{told}; try {attempt + 1} of at most {TRIES} in {wait:.0f} s")
                self._sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _told(
        self, error: BaseException, repository: str, revision: str = "main",
        path: str | None = None,
    ) -> AtlasError:
        if is_disk_trouble(error):
            return disk_trouble(error, self.cache)
        return told(error, self.endpoint, repository, revision, path)

    def _go_offline(self, error: Unreachable) -> None:
        self.offline, self._lost = True, error
        self.report(f"{error}; going on with what is on this machine")

    @contextmanager
    def _heard(self) -> Iterator[None]:
        """Turn the client's own notes on retries into lines of progress; nothing to stderr."""
        logger = logging.getLogger("huggingface_hub")
        handlers, propagate = logger.handlers[:], logger.propagate
        logger.handlers, logger.propagate = [client.Listener(self.report)], False
        try:
            yield
        finally:
            logger.handlers, logger.propagate = handlers, propagate

    def _folder(self, repository: str, repo_type: str) -> Path:
        return self.cache / f"{repo_type}s--{repository.replace('/', '--')}"


def is_answering(hub: Hub) -> str | None:
    """None if a hub answers about a release, else why not, in one line."""
    refused: str | None = None
    for repository in repositories("trajectory"):
        try:
            hub.commit_of(repository)
        except HubError as error:
            refused = refused or str(error)
        else:
            return "the network does not answer" if hub.offline else None
    return refused
