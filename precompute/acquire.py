"""Everything a build of a released dictionary needs, from the hub or a mirror into a store.

The dictionary first, for its sidecar says which steps it reads; then the snapshots; a prism's
before its run folder is made, for its mean is taken over them; then the model. What is in the
store already is not fetched again, and a store that holds all of it is not left: no name is
resolved, no socket opened.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from atlas.artifacts import read_run
from atlas.errors import (
    AtlasError,
    BrokenArtifact,
    HubError,
    InvalidValue,
    NotFound,
    StoreBusy,
)
from atlas.inventory import HUB, Released, find_released, released, repositories
from atlas.places import run_path
from precompute.extras import are_taken, fetch_extras
from precompute.fetching import Fetched, Listed, NotCached, NotThere, Source, find
from precompute.hub_failures import missing_text
from precompute.intake import Recognised, recognise, take_in
from precompute.kept import Report, silent
from precompute.models import (
    fetch_whole,
    fetch_words,
    has_words,
    is_complete,
    revision_of,
    wanted_whole,
)
from precompute.release import FINISHED, Named, read_path
from precompute.safety import megabytes, require_space, sweep, writer_lock
from precompute.sidecars import read_index
from precompute.snapshots import Wanted, fetch_snapshots

INDEX = "index.json"
POLL = 1.0
"""Seconds between two looks at a store that another process fills."""
T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """The files of a dictionary in its release."""

    repository: str
    weights: Listed
    sidecar: Listed | None
    card: Listed | None

    @property
    def files(self) -> tuple[Listed, ...]:
        """Those that are read; the card is only kept count of."""
        return tuple(f for f in (self.weights, self.sidecar) if f is not None)


def is_acquired(store: Path, run: str, with_model: bool | None = None) -> bool:
    """Whether a store holds everything that building a released run needs; asks nobody."""
    try:
        folder = read_run(run_path(store, run))
    except AtlasError:
        return False
    wanted = _wanted(folder.config)
    return not wanted.missing(store) and are_taken(store, run) and is_complete(
        store, folder.config["model"], folder.steps[-1], with_model
    )


def _wanted(config: Mapping[str, Any]) -> Wanted:
    return Wanted(config["model_name"], config["model"], config["matrix"], config["steps"],
                  config["config"]["d_model"], config.get("revision"))


def acquire(
    entry: Released | str, store: Path, source: Source | Callable[[], Source],
    report: Report | None = None, with_model: bool | None = None, wait: float = 0.0,
) -> None:
    """Bring a released dictionary, its snapshots, tokenizer and model into a store.

    Args:
        entry: a row of the inventory, or any path of the shape of the inventory's.
        store: the store folder; made if it is not there.
        source: the hub or a mirror, or what opens it: not called when nothing is needed.
        report: called with a line per step and with the progress of downloads.
        with_model: also fetch the whole model of the last step, for prompts; when None, if it is
            at most `models.WHOLE_LIMIT` bytes.
        wait: seconds to wait for another process that fills this store.

    Raises:
        NotFound: no such dictionary. NotThere, NotCached, HubError: something cannot be had; the
        line names it, and offline everything that is missing. BrokenArtifact: a file is not what
        it claims to be. NoSpace: before the first byte where sizes are known. StoreBusy: another
        process fills the store. What was fetched before a failure is kept.
    """
    report = report or silent
    named = read_path(entry if isinstance(entry, str) else entry.run)
    if is_acquired(store, named.run, with_model):
        report(f"{named.run}: everything it needs is here")
        return
    deadline = time.monotonic() + wait
    while not is_acquired(store, named.run, with_model):
        try:
            with writer_lock(store / "snapshots", f"the snapshots of {store}"):
                sweep(store / "snapshots")
                opened = source() if callable(source) else source
                _acquire(named, store, opened, report, with_model)
                return
        except StoreBusy:
            if time.monotonic() >= deadline:
                raise
            time.sleep(POLL)


def _acquire(
    named: Named, store: Path, source: Source, report: Report, with_model: bool | None
) -> None:
    without: list[str] = []

    def attempt(step: Callable[[], T]) -> T | None:
        """A step that offline may lack files; they are told together at the end."""
        try:
            return step()
        except NotCached as error:
            without.extend(name for name in error.names if name not in without)
            return None

    shards: list[Fetched] = []
    try:
        wanted = _dictionary(named, store, source, report, attempt, shards)
        if wanted is not None:
            _model(wanted, store, source, report, with_model, attempt)
    except NotCached as error:
        without.extend(name for name in error.names if name not in without)
        wanted = _by_schedule(named)
        if wanted is not None:  # what else is missing is told too
            attempt(lambda: fetch_snapshots(source, store, wanted, report))
            _model(wanted, store, source, report, with_model, attempt)
    finally:
        for fetched in shards:  # a whole model has its own link to it by now
            source.release(fetched)
    if without:
        raise NotCached(missing_text(without, source.name), tuple(without))


def _dictionary(
    named: Named, store: Path, source: Source, report: Report,
    attempt: Callable[[Callable[[], Any]], Any], shards: list[Fetched],
) -> Wanted | None:
    """The run folder of a dictionary, fetched and taken in, and what it reads.

    The shards that the last step's matrix came from are added to `shards`: the whole model may
    be made of them too.
    """
    folder = run_path(store, named.run)

    def snapshots(wanted: Wanted) -> None:
        attempt(lambda: fetch_snapshots(source, store, wanted, report, wanted.steps[-1:], shards))

    if (folder / "provenance.json").is_file():
        kept = _wanted(read_run(folder).config)
        snapshots(kept)
        if not are_taken(store, named.run):
            origin = read_run(folder).config.get("origin") or {}
            repository = origin.get("repository") or HUB["trajectory"]
            fetch_extras(source, store, named.run, repository, report)
        return kept
    found = find_dictionary(source, named)
    _compare_index(source, found.repository, named, report)
    require_space(store / "snapshots", _first_need(named, found))
    report(f"{named.run}: {megabytes(sum(f.bytes for f in found.files))} from {source.name}")
    got = {f.path: attempt(lambda f=f: source.download(found.repository, f.path))
           for f in found.files}
    if found.card is not None:
        got[found.card.path] = _optional(source, found.repository, found.card.path, report)
    weights: Fetched | None = got[found.weights.path]
    sidecar: Fetched | None = got[found.sidecar.path] if found.sidecar else None
    if weights is None or (found.sidecar is not None and sidecar is None):
        return None
    beside = sidecar.path if sidecar else None
    recognised = recognise(named.run, weights.path, beside)
    wanted = wanted_of(recognised)
    origin = {
        "repository": found.repository, "revision": weights.commit,
        "files": {path: fetched.sha256 for path, fetched in got.items() if fetched is not None},
    }
    if recognised.kind == "prism":
        snapshots(wanted)
        if wanted.missing(store):
            return wanted
    take_in(store, named.run, weights.path, beside, origin, report)
    if weights.path.suffix != ".safetensors":
        source.release(weights)  # it was converted
    if recognised.kind != "prism":
        fetch_extras(source, store, named.run, found.repository, report)
        snapshots(wanted)
    return wanted


def _by_schedule(named: Named) -> Wanted | None:
    """What a dictionary of the inventory reads by the schedule of record, without its sidecar."""
    entry = find_released(named.run)
    steps = (0,) if named.kind == "prism" else named.schedule
    if entry is None or not steps:
        return None
    if named.kind == "sae":
        steps = (named.step,) if named.step is not None else steps[-1:]
    if len(steps) != entry.n_snapshots:
        return None
    return Wanted(entry.model_name, entry.model, entry.matrix, steps, entry.d_model,
                  FINISHED if named.kind == "prism" else None)


def wanted_of(recognised: Recognised) -> Wanted:
    """The snapshots that a recognised dictionary reads."""
    return Wanted(recognised.model_name, recognised.model, recognised.matrix, recognised.steps,
                  recognised.d_model, recognised.revision, recognised.rows)


def _model(
    wanted: Wanted, store: Path, source: Source, report: Report, with_model: bool | None,
    attempt: Callable[[Callable[[], Any]], Any],
) -> None:
    label, name, step = wanted.label, wanted.model_name, wanted.steps[-1]
    if is_complete(store, label, step, with_model):
        return

    def fetch() -> None:
        if source.offline and with_model is None and has_words(store, label):
            report(f"{label}: offline, the model itself is left out; prompts cannot be typed")
            return
        revision = _model_revision(source, wanted, step)
        fetch_words(source, store, label, name, revision)
        whole = wanted_whole(source, store, label, name, step, revision, report, with_model)
        if whole is not None:
            fetch_whole(source, store, label, whole, step, report)

    attempt(fetch)


def _model_revision(source: Source, wanted: Wanted, step: int) -> str:
    """The model's branch; where a mirror has none, its main one: for the tokenizer only."""
    try:
        return revision_of(source, wanted.model_name, step, wanted.revision)
    except NotThere:
        if not source.is_local:
            raise
        return f"step{step}"


# --- what there is -------------------------------------------------------------------------------


def find_dictionary(source: Source, named: Named) -> Found:
    """The files of a dictionary in its release.

    Raises:
        NotFound: the release has no such dictionary.
        NotThere, NotCached: there is no release.
    """
    run = named.run
    names = [f"{run}.safetensors", f"{run}.pt"]
    if named.kind == "prism":
        names = [f"{run}/checkpoint.safetensors", f"{run}/checkpoint.pt", *names]
    repository, files = _release_with(source, named, names)
    weights = next((files[name] for name in names if name in files), None)
    if source.offline:
        needed = [weights.path if weights else names[0]]
        if needed[0].endswith(".safetensors") and named.kind != "prism":
            needed.append(f"{run}.config.json")
        missing = tuple(f"{repository}/{name}" for name in needed if name not in files)
        if missing:
            raise NotCached(missing_text(list(missing), source.name), missing)
    if weights is None:
        raise NotFound(
            f"no run {run!r}: {source.name} has no {names[0]} in {repository}; `readout-atlas runs "
            f"--inventory` lists what was released"
        )
    stem = weights.path.rsplit(".", 1)[0]
    sidecar = files.get(f"{stem}.config.json")
    return Found(repository, weights, sidecar, files.get(f"{stem}.md"))


def _release_with(
    source: Source, named: Named, names: list[str]
) -> tuple[str, Mapping[str, Listed]]:
    """The repository that has one of these files, else the first that is there, and its listing."""
    there: list[tuple[str, Mapping[str, Listed]]] = []
    refused: list[HubError] = []
    for repository in repositories("prism" if named.kind == "prism" else "trajectory"):
        try:
            files = source.list_files(repository)
        except (NotThere, NotCached) as error:
            refused.append(error)
            continue
        if any(name in files for name in names):
            return repository, files
        there.append((repository, files))
    if not there:
        raise refused[0]
    return there[0]


def _optional(source: Source, repository: str, path: str, report: Report) -> Fetched | None:
    """A file that nothing depends on; None, and a note, where it cannot be had."""
    try:
        return source.download(repository, path)
    except (BrokenArtifact, HubError) as error:
        report(f"note: {path} left out ({error})")
        return None


def _first_need(named: Named, found: Found) -> int:
    """Bytes that are known to be needed before anything was read: dictionary and snapshots."""
    entry = find_released(named.run)
    return found.weights.bytes + ((entry.snapshot_bytes or 0) if entry else 0)


def _compare_index(source: Source, repository: str, named: Named, report: Report) -> None:
    """Say where the release's own list and the shipped inventory differ about this dictionary."""
    if INDEX not in find(source, repository):
        return
    try:
        listed = read_index(source.download(repository, INDEX).path)
    except (BrokenArtifact, HubError) as error:
        report(f"note: {INDEX} of {repository} is not read ({error})")
        return
    for line in differences(listed, named.run):
        report(f"note: {line}")


def differences(listed: Mapping[str, Mapping[str, Any]], run: str) -> list[str]:
    """What an index says otherwise than the shipped inventory: about a run, and which are new."""
    known = {entry.run for entry in released()}
    entry, ours = listed.get(run), find_released(run)
    lines = []
    if entry is None and ours is not None:
        lines.append(f"{run} is in the inventory but not in the release's {INDEX}")
    if entry is not None and ours is not None:
        for name, value in (("d_sae", ours.d_sae), ("seed", ours.seed), ("matrix", ours.matrix)):
            said = entry.get(name)
            if said is not None and str(said) != str(value):
                lines.append(f"{run}: {INDEX} says {name} {str(said)[:40]}, the inventory {value}")
    new = sorted(set(listed) - known)
    if new:
        lines.append(f"the release lists {len(new)} dictionaries that the inventory does not, "
                     f"{new[0]} first")
    return lines


def is_of_release(run: str) -> bool:
    """Whether a typed name has the shape of a release's paths."""
    try:
        read_path(run)
    except InvalidValue:
        return False
    return True

