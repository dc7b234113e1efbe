"""The plan of a released dictionary: what would be fetched, from where, what is here of it.

Sizes are those of the listings where the source answers, else by the formulas of crosscoder-method
section 3.1 and prism-method section 4.1; the note says which. Nothing larger than a sidecar or a
configuration is fetched.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from atlas.errors import AtlasError, HubError, InvalidValue, NotFound
from atlas.inventory import HUB, ROWS, Released, find_released
from atlas.places import model_path, run_path
from precompute.acquire import Found, find_dictionary
from precompute.fetching import Source, find
from precompute.models import (
    CONFIG,
    TOKENIZER,
    WHOLE_LIMIT,
    is_complete,
    open_checkpoint,
    revision_of,
)
from precompute.plan import Item, Plan, Shape
from precompute.reader import assumed_text
from precompute.release import FINISHED, Named, read_path
from precompute.safety import megabytes
from precompute.sidecars import read_bounded_json, steps_of
from precompute.snapshots import EXTRACTED, Wanted, in_data_set
from precompute.stages import STAGES

ASSUMED_ROWS = 150_000
"""Vocabulary rows of a model of which nothing is known yet."""


@dataclass(frozen=True)
class _Known:
    """What can be told of a dictionary without fetching it."""

    named: Named
    entry: Released | None
    found: Found | None
    steps: tuple[int, ...] | None
    d_model: int
    model_name: str | None

    @property
    def snapshots(self) -> int:
        return len(self.steps) if self.steps else self.named.snapshots or 1

    @property
    def wanted(self) -> Wanted | None:
        if self.steps is None or self.model_name is None:
            return None
        finished = FINISHED if self.named.kind == "prism" else None
        return Wanted(self.model_name, self.named.model, self.named.matrix, self.steps,
                      self.d_model, finished)

    @property
    def rows(self) -> int | None:
        return (self.entry.rows if self.entry else None) or ROWS.get(self.model_name or "",
                                                                     (None,))[0]


def plan_released(
    run: str, store: Path, source: Source | None, with_model: bool | None = None
) -> Plan:
    """What building a released dictionary would fetch and compute.

    Args:
        run: path of the shape of the inventory's.
        store: the store it would be built in.
        source: the hub or a mirror; None plans by formula.

    Raises:
        NotFound: neither the inventory nor the source has it, or too little is known of it.
    """
    named, notes = read_path(run), []
    known = _look(named, source, notes)
    items = [*_dictionary_items(known, store, source),
             *_told(lambda: _snapshot_items(known, store, source), notes, _by_formula(known)),
             *_told(lambda: _model_items(known, store, source, with_model), notes, [])]
    rows = known.rows or ASSUMED_ROWS
    if known.rows is None:
        notes.append(f"the vocabulary is not known beforehand; {ASSUMED_ROWS:,} rows assumed")
    entry = known.entry
    l0 = (entry.l0 if entry else None) or float(named.k or (named.d_sae or 0) / 20)
    width = named.d_sae or (named.factor or 8) * known.d_model
    text = assumed_text(named.model, named.matrix) if with_model is not False else (0, 0.0)
    shape = Shape(known.snapshots, rows, known.d_model, width, l0, *text)
    stages = tuple(shape.stage(name) for name in STAGES)
    return Plan(named.run, store, tuple(items), stages, shape.disk_bytes, shape.memory_bytes,
                "; ".join(dict.fromkeys(notes)) or None)


def _look(named: Named, source: Source | None, notes: list[str]) -> _Known:
    entry, found, steps = find_released(named.run), None, named.schedule
    if named.kind == "prism":
        steps = (0,)
    elif named.kind == "sae":
        steps = (named.step,) if named.step is not None else steps[-1:] if steps else None
    model_name = entry.model_name if entry else named.model_name
    if source is not None:
        try:
            found = find_dictionary(source, named)
        except (HubError, NotFound) as error:
            if entry is None:
                raise
            notes.append(f"sizes by formula: {error}")
    if found is not None and found.sidecar is not None:
        path = source.download(found.repository, found.sidecar.path).path
        sidecar = read_bounded_json(path)
        if isinstance(sidecar, dict):
            steps = steps_of(sidecar.get("steps"), str(path)) or steps
            said = sidecar.get("model_name")
            model_name = model_name or (said if isinstance(said, str) else None)
    if entry is None and found is None:
        raise NotFound(
            f"no run {named.run!r} in the inventory, and no one was asked for it; leave --offline "
            "out or name a mirror with --from DIR"
        )
    d_model = entry.d_model if entry else _width(named, found, len(steps) if steps else None)
    return _Known(named, entry, found, steps, d_model, model_name)


def _width(named: Named, found: Found, snapshots: int | None) -> int:
    """d of a float32 dictionary of which size, K and D are known: the formulas solved for it."""
    numbers, D = found.weights.bytes // 4, named.d_sae
    if named.kind == "prism":
        return max(1, round((numbers / (2 * (named.factor or 8))) ** 0.5))
    if D is None:
        raise InvalidValue(f"{named.run} does not say how wide it is")
    K = snapshots or named.snapshots or 1
    return max(1, round((numbers - K * D - D) / (2 * K * D + K)))


def _told(
    items: Callable[[], list[Item]], notes: list[str], otherwise: list[Item]
) -> list[Item]:
    """Items of a source; where it fails, the others, and a note with its reason."""
    try:
        return items()
    except (HubError, AtlasError) as error:
        notes.append(str(error))
        return otherwise


def _where(source: Source | None, repository: str, path: str, revision: str = "main",
           repo_type: str = "model") -> str:
    if source is None or not source.is_here(repository, path, revision, repo_type):
        return ""
    return "mirror" if source.is_local else "cache"


def _dictionary_items(known: _Known, store: Path, source: Source | None) -> list[Item]:
    named = known.named
    repository = known.found.repository if known.found else (
        HUB["prism" if named.kind == "prism" else "trajectory"])
    if (run_path(store, named.run) / "provenance.json").is_file():
        return [Item(f"dictionary {named.run}", None, True, "store")]
    if known.found is None:
        size = known.entry.dictionary_bytes if known.entry else None
        return [Item(f"dictionary from {repository}", size, False)]
    return [
        Item(f"{repository}/{file.path}", file.bytes, bool(place), place)
        for file in known.found.files for place in (_where(source, repository, file.path),)
    ]


def _by_formula(known: _Known) -> list[Item]:
    size = 4 * known.snapshots * known.rows * known.d_model if known.rows else None
    model = known.model_name or "its model"
    return [Item(f"{known.snapshots} snapshots of {known.named.matrix} of {model}", size, False)]


def _snapshot_items(known: _Known, store: Path, source: Source | None) -> list[Item]:
    wanted = known.wanted
    if wanted is None:
        return _by_formula(known)
    missing = wanted.missing(store)
    here = [step for step in wanted.steps if step not in missing]
    what = f"snapshots of {wanted.matrix} of {wanted.model_name}"
    items = []
    if here:
        size = sum(wanted.path(store, step).stat().st_size for step in here)
        items.append(Item(f"{len(here)} {what}", size, True, "store"))
    if missing and (source is None or known.found is None):
        size = len(missing) * wanted.bytes or None
        return [*items, Item(f"{len(missing)} {what}", size, False)]
    if not missing:
        return items
    loose = {step: source.loose_snapshot(wanted.model_name, step, wanted.matrix)
             for step in missing}
    sizes = [path.stat().st_size for path in loose.values() if path is not None]
    if sizes:
        items.append(Item(f"{len(sizes)} {what}", sum(sizes), True, "mirror"))
    listed = find(source, EXTRACTED, repo_type="dataset")
    left = [step for step in missing if loose[step] is None]
    named = [name for step in left if (name := in_data_set(listed, wanted, step))]
    if named:
        places = {_where(source, EXTRACTED, name, repo_type="dataset") for name in named}
        place = places.pop() if len(places) == 1 else ""
        items.append(Item(f"{len(named)} {what} from {EXTRACTED}",
                          sum(listed[n].bytes for n in named), bool(place), place))
    left = [step for step in left if in_data_set(listed, wanted, step) is None]
    return items + (_checkpoint_items(wanted, left, what, source) if left else [])


def _checkpoint_items(
    wanted: Wanted, steps: Sequence[int], what: str, source: Source
) -> list[Item]:
    """Snapshots out of checkpoints; each weighs about as much as the last one's shard."""
    revisions = [revision_of(source, wanted.model_name, step, wanted.revision) for step in steps]
    checkpoint = open_checkpoint(source, wanted.model_name, revisions[-1])
    size = max(shard.bytes for shard in checkpoint.shards)
    place = "mirror" if source.is_local else ""
    return [Item(f"{len(steps)} {what}, one shard of each checkpoint", size * len(steps),
                 bool(place), place)]


def _model_items(
    known: _Known, store: Path, source: Source | None, with_model: bool | None
) -> list[Item]:
    wanted, folder = known.wanted, model_path(store, known.named.model)
    if wanted is None or source is None or known.found is None:
        return []
    step = wanted.steps[-1]
    if is_complete(store, known.named.model, step, with_model):
        return [Item(f"model {known.named.model}", None, True, "store")]
    revision = revision_of(source, wanted.model_name, step, wanted.revision)
    files = source.list_files(wanted.model_name, revision)
    names = [n for n in (CONFIG, TOKENIZER) if n in files and not (folder / n).is_file()]
    items = []
    for name in names:
        place = _where(source, wanted.model_name, name, revision)
        items.append(Item(f"{wanted.model_name}/{name} at {revision}", files[name].bytes,
                          bool(place), place))
    if with_model is False:
        return items
    checkpoint = open_checkpoint(source, wanted.model_name, revision)
    what = f"whole model {wanted.model_name} at {revision}"
    if with_model is None and checkpoint.bytes > WHOLE_LIMIT:
        left = f"{what}: {megabytes(checkpoint.bytes)}, left out without --model"
        return [*items, Item(left, 0, True)]
    places = {_where(source, wanted.model_name, s.path, revision) for s in checkpoint.shards}
    place = places.pop() if len(places) == 1 else ""
    return [*items, Item(what, checkpoint.bytes, bool(place), place)]
