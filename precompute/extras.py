"""What a release has beside a dictionary, taken along where its readers know it.

None of it is needed for a build: a file that is missing, damaged or does not fit is told in a
line and left out.
"""

from collections.abc import Mapping
from pathlib import Path

from atlas.errors import BrokenArtifact, InvalidValue
from atlas.places import run_path
from atlas.tensor_files import write_json
from precompute.companions import CORPUS, companions_of, take_in_companions, take_in_corpus
from precompute.fetching import Listed, NotCached, NotThere, Source
from precompute.kept import Report

TAKEN = "taken.json"
"""In a run's `companions/`: written when all of them were tried."""
CORPUS_MODELS = "pythia-"
"""How the labels of models start whose tokens the evaluation corpus is made of."""


def are_taken(store: Path, run: str) -> bool:
    """Whether a run has no companions or all of them were tried."""
    return not companions_of(run) or (run_path(store, run) / "companions" / TAKEN).is_file()


def fetch_extras(
    source: Source, store: Path, run: str, repository: str, report: Report
) -> None:
    """Fetch and convert the companions of a run that is in the store, and the text corpus."""
    try:
        files = source.list_files(repository)
    except (NotThere, NotCached) as error:
        report(f"note: the companions of {run} are left out ({error})")
        return
    tried: dict[str, str | None] = {}
    for group in _groups(run, files):
        try:
            fetched = {path: source.download(repository, path) for path in group}
            take_in_companions(store, run, {p: f.path for p, f in fetched.items()}, report)
            tried |= {path: f.sha256 for path, f in fetched.items()}
        except (BrokenArtifact, InvalidValue, NotCached) as error:
            report(f"note: {', '.join(group[:2])} left out ({error})")
            tried |= dict.fromkeys(group)
    if companions_of(run):
        write_json(run_path(store, run) / "companions" / TAKEN, tried)
    kept = store / "corpora" / "evaluation" / "corpus.json"
    if run.startswith(CORPUS_MODELS) and CORPUS in files and not kept.is_file():
        try:
            take_in_corpus(store, source.download(repository, CORPUS).path)
        except (BrokenArtifact, InvalidValue, NotCached) as error:
            report(f"note: {CORPUS} left out ({error})")


def _groups(run: str, files: Mapping[str, Listed]) -> list[list[str]]:
    """Companions that the release has; those of a folder belong together."""
    groups = []
    for path in companions_of(run):
        members = sorted(f for f in files if f.startswith(path)) if path.endswith("/") else [path]
        groups.append([member for member in members if member in files])
    return [group for group in groups if group]
