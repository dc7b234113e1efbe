"""Seeds whose ledgers may stand beside each other, their groups, and badges of many features.

Seeds are runs that differ in nothing but their seed and whose ids differ in their last part, which
is how `readout-atlas match` joins their features into groups.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from atlas.comparing import MOST
from atlas.decomposition import verdict
from atlas.gallery import Entry, listed
from atlas.matches import WAYS, pairs_of
from atlas.records import RunCard
from atlas.stability import Stability
from atlas.store import Store

_GROUPS = """
    WITH asked AS (
        SELECT unnest($runs::VARCHAR[]) AS run, unnest($features::INTEGER[]) AS feature),
    family AS (SELECT family FROM catalog.seed_group WHERE run = $name LIMIT 1),
    kept AS (
        SELECT number, run, feature FROM catalog.seed_group
        WHERE way = $way AND family IN (SELECT family FROM family))
    SELECT number, run, feature FROM kept
    WHERE number IN (SELECT number FROM kept JOIN asked USING (run, feature))
    ORDER BY number, run"""
_STABILITY = """
    SELECT feature, way, compared, returned, score, number, size FROM catalog.stability
    WHERE run = $name AND feature IN (SELECT unnest($wanted::INTEGER[]))"""

_SUMS = "SELECT number, steps, exact, base, feature_sum FROM {run}.gallery"


@dataclass(frozen=True)
class Seeds:
    """The seeds of a run."""

    cards: tuple[RunCard, ...]
    """The run itself first, the others by name; `MOST` at most."""
    ways: tuple[str, ...]
    """Ways in which the run was matched with one of them, in the order of `WAYS`."""
    left_out: tuple[str, ...]
    """Why runs beside it are not among them, in clauses."""


def seeds_of(store: Store, run: str) -> Seeds:
    """The run and the seeds it was matched with.

    Raises:
        NotFound, BrokenArtifact: the run is not there or cannot be read.
    """
    own = store.run(run)
    pairs = pairs_of(store, run)
    matched = {pair.other for pair in pairs}
    kept, left_out = [], []
    for card in store.runs():
        if card.run == run or _family(card.run) != _family(run):
            continue
        why = _unlike(own, card) or ("" if card.run in matched else (
            f"it was not matched with this run; `readout-atlas match {run} {card.run}` does"))
        if why:
            left_out.append(f"{card.run} is left out, because {why}")
        else:
            kept.append(card)
    if len(kept) >= MOST:
        left_out.append(f"{len(kept) + 1} seeds are more than can be told apart: the first {MOST} "
                        "are drawn")
        kept = kept[: MOST - 1]
    names = {card.run for card in kept}
    known = {pair.way for pair in pairs if pair.other in names}
    return Seeds((own, *kept), tuple(way for way in WAYS if way in known), tuple(left_out))


def _family(run: str) -> str:
    return run.rsplit("/", 1)[0]


def _unlike(own: RunCard, card: RunCard) -> str:
    """Why a run is no other seed of this one, or cannot be read; ''."""
    if card.problem is not None:
        return card.problem
    if card.model != own.model:
        return f"it is of {card.model}, which reads a prompt otherwise"
    if card.matrix != own.matrix:
        return f"it is a dictionary of {card.matrix}, not of {own.matrix}"
    if card.kind != own.kind:
        return f"it is of another kind, {card.kind}"
    if card.d_sae != own.d_sae:
        return f"it has {card.d_sae:,} features, this run has {own.d_sae:,}: it is no other seed"
    if card.steps != own.steps:
        return "it has other snapshots: it is no other seed"
    return ""


def groups_of_features(
    store: Store, runs: Sequence[str], features: Sequence[Iterable[int]], way: str
) -> dict[int, dict[int, int]]:
    """The groups that any of some features are in: {number: {place of the run: its feature}}.

    Args:
        runs: seeds of one run; the first is asked for the family. features: of each of them.
        way: one of `atlas.matches.WAYS`.
    """
    asked = [(run, int(f)) for run, ids in zip(runs, features, strict=True) for f in ids]
    if not asked:
        return {}
    table = store.ask(runs[0], _GROUPS, name=runs[0], way=way, runs=[run for run, _ in asked],
                      features=[feature for _, feature in asked])
    place = {run: i for i, run in enumerate(runs)}
    found: dict[int, dict[int, int]] = {}
    for number, run, feature in zip(*(table[name].to_pylist() for name in
                                      ("number", "run", "feature")), strict=True):
        if run in place:
            found.setdefault(number, {})[place[run]] = feature
    return found


def stability_of_features(
    store: Store, run: str, features: Iterable[int]
) -> dict[int, tuple[Stability, ...]]:
    """What other seeds say of some features, as `stability_of`, in one question.

    Features that no other seed was compared with are not in it.
    """
    wanted = sorted({int(feature) for feature in features})
    if not wanted:
        return {}
    told: dict[int, dict[str, Stability]] = {}
    for row in store.ask(run, _STABILITY, name=run, wanted=wanted).to_pylist():
        feature = row.pop("feature")
        score = math.nan if row["score"] is None else row["score"]
        told.setdefault(feature, {})[row["way"]] = Stability(**row | {"score": score})
    return {feature: tuple(ways[way] for way in WAYS if way in ways)
            for feature, ways in told.items()}


# --- what the builds kept -------------------------------------------------------------------------


@dataclass(frozen=True)
class KeptPrompt:
    """A prompt that was taken apart when the seeds were built."""

    entry: Entry
    seeds: int
    """Seeds that have it."""
    passes: int
    """Of them, seeds whose gate passes at the step."""


def kept_prompts(store: Store, runs: Sequence[str], step: int) -> tuple[KeptPrompt, ...]:
    """What the first run's gallery asks of the last model's state, and under how many seeds its
    gate passes at a step; those of most seeds first.
    """
    found: dict[tuple, list[bool]] = {}
    for run in runs:
        gates = {row["number"]: row for row in store.ask(run, _SUMS).to_pylist()}
        for entry in listed(store, run):
            found.setdefault(_question(entry), []).append(_passes(entry, gates, step))
    kept = [KeptPrompt(entry, len(found[_question(entry)]), sum(found[_question(entry)]))
            for entry in listed(store, runs[0]) if entry.hidden == "final"]
    return tuple(sorted(kept, key=lambda one: (-one.passes, one.entry.number)))


def _question(entry: Entry) -> tuple:
    return entry.prompt, entry.position, entry.hidden, entry.ask


def _passes(entry: Entry, gates: dict[int, dict], step: int) -> bool:
    row = gates[entry.number]
    if step not in row["steps"]:
        return False
    at = row["steps"].index(step)
    return verdict(row["exact"][at], row["base"][at] + row["feature_sum"][at],
                   entry.score.signed).gate
