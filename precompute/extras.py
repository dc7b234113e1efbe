"""What a release has beside a dictionary, taken along where its readers know it.

None of it is needed for a build: a file that is missing, damaged or does not fit is told in a
line and left out. What could not be had this time is asked for again by the next build.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from atlas.errors import AtlasError, BrokenArtifact, HubError, InvalidValue
from atlas.places import run_path
from atlas.tensor_files import read_json, write_json
from precompute.attribution import attribution_groups
from precompute.companions import CORPUS, companions_of, take_in_companions, take_in_corpus
from precompute.fetching import Source
from precompute.kept import Report

TAKEN = "taken.json"
"""In a run's `companions/`: path in the release -> sha256 of what was taken, null where the
release has none or what it has was refused. A path that is not in it is asked for again."""
CORPUS_RUNS = re.compile(r"pythia-[\w.-]+/W_[UE]/.+")
"""Runs of models whose tokens the evaluation corpus is made of."""


def are_taken(store: Path, run: str) -> bool:
    """Whether every companion of a run was taken or is known not to be had."""
    return not _open(store, run, _settled(store, run))


def _settled(store: Path, run: str) -> dict[str, str | None]:
    try:
        settled = read_json(run_path(store, run) / "companions" / TAKEN)
    except AtlasError:
        return {}
    return settled if isinstance(settled, dict) else {}


def _open(store: Path, run: str, settled: Mapping[str, str | None]) -> list[str]:
    """Paths of companions that are still to be asked for; one that ends in `/` is a folder."""
    wanted = companions_of(run)
    if CORPUS_RUNS.fullmatch(run) and not _corpus(store).is_file():
        wanted = [*wanted, CORPUS]
    return [path for path in wanted if path not in settled]


def _corpus(store: Path) -> Path:
    return store / "corpora" / "evaluation" / "corpus.json"


def fetch_extras(
    source: Source, store: Path, run: str, repository: str, report: Report
) -> None:
    """Fetch and convert the companions of a run that is in the store, and the text corpus."""
    settled = _settled(store, run)
    wanted = _open(store, run, settled)
    if not wanted:
        return
    try:
        files = source.list_files(repository)
    except HubError as error:
        report(f"note: the companions of {run} are left out ({error})")
        return
    for path in wanted:
        groups, unread = [[path]] if path in files else [], []
        if path.endswith("/"):
            groups, unread = attribution_groups(f for f in files if f.startswith(path))
        for name in unread:
            report(f"note: {name} is no attribution file that is read; left out")
        for group in groups:
            if not settled.keys() >= set(group):
                settled |= _taken(source, store, run, repository, group, report)
        if source.offline and not groups:
            report(f"note: {path} is not on this machine; left out for now")
        elif all(settled.keys() >= set(group) for group in groups) and not (
            source.offline and path.endswith("/")  # the rest of a folder is not listed offline
        ):
            settled.setdefault(path, None)
    write_json(run_path(store, run) / "companions" / TAKEN, settled)


def _taken(
    source: Source, store: Path, run: str, repository: str, group: list[str], report: Report
) -> dict[str, str | None]:
    """Fetch and convert files that belong together; empty where they are to be asked for again."""
    told = ", ".join(group)
    try:
        fetched = {path: source.download(repository, path) for path in group}
    except (BrokenArtifact, HubError) as error:
        report(f"note: {told} left out for now ({error})")
        return {}
    try:
        if group == [CORPUS]:
            take_in_corpus(store, fetched[CORPUS].path)
        else:
            take_in_companions(store, run, {p: f.path for p, f in fetched.items()}, report)
    except (BrokenArtifact, InvalidValue) as error:
        report(f"note: {told} left out ({error})")
        return dict.fromkeys(group)
    return {path: f.sha256 for path, f in fetched.items()}
