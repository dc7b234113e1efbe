"""Several runs side by side: which ones, by what names, and what may not be compared of them.

A run's place on an axis of training is its own: `step` is log10(step + 1), `tau` is the same from
0 at its first snapshot to 1 at its last (crosscoder-method §1.3).
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from atlas.axes import position
from atlas.markup import step_name
from atlas.recent import Recent
from atlas.records import RunCard
from atlas.store import Store

MOST = 8
"""Runs that are compared at most: more lines than that are not told apart."""
AXES = ("step", "tau")
MATCHED = "matched-window"
"""What the release calls a run that was trained on a later part of the schedule."""

_RAW = "SELECT raw FROM catalog.token WHERE model = $model ORDER BY token"
_VOCABULARIES = Recent(16)


@dataclass(frozen=True)
class Chosen:
    """The runs of a comparison."""

    cards: tuple[RunCard, ...]
    """At least one, all of them readable, none twice."""
    problems: tuple[str, ...]
    """What the address asked for and does not get."""
    asked: bool
    """Whether they are other than the default."""


def family(model: str) -> str:
    """The family of a language model: its short name up to the first hyphen."""
    return model.split("-", 1)[0]


def is_matched(card: RunCard) -> bool:
    """Whether the run was trained on a later part of its model's schedule, to match another."""
    return MATCHED in card.run


def default_runs(cards: Sequence[RunCard], card: RunCard) -> tuple[RunCard, ...]:
    """One run per language model of the family, by width: the run itself and those likest to it.

    Likest is, in this order: of several snapshots, not of a matched window, of the same matrix, as
    many features, the same seed.
    """
    def rank(other: RunCard) -> tuple:
        return (
            other.kind == "prism", len(other.steps) < 2, is_matched(other),
            other.matrix != card.matrix, abs(math.log(other.d_sae / card.d_sae)),
            other.seed != card.seed, other.run,
        )

    likest: dict[str, RunCard] = {card.model: card}
    for other in sorted(cards, key=rank):
        if family(other.model) == family(card.model) and other.problem is None:
            likest.setdefault(other.model, other)
    return tuple(sorted(likest.values(), key=lambda c: (c.d_model, c.run))[:MOST])


def read_runs(text: str | None, cards: Sequence[RunCard], card: RunCard) -> Chosen:
    """The runs that an address asks for, ids between commas; what is not valid is left out."""
    known = {c.run: c for c in cards}
    problems: list[str] = []
    found: list[RunCard] = []
    for name in dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()):
        if name not in known:
            problems.append(f"There is no run “{_clip(name)}” in this store; it is left out.")
        elif known[name].problem is not None:
            problems.append(f"{name} is left out: {known[name].problem}.")
        else:
            found.append(known[name])
    if text and len([p for p in text.split(",") if p.strip()]) > len(
            {p.strip() for p in text.split(",") if p.strip()}):
        problems.append("A run beside itself shows nothing; each is drawn once.")
    if len(found) > MOST:
        problems.append(f"{len(found)} runs are more than can be told apart; the first {MOST} are "
                        "drawn.")
        found = found[:MOST]
    if found:
        return Chosen(tuple(found), tuple(problems), True)
    return Chosen(default_runs(cards, card), tuple(problems), False)


def _clip(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


# --- names ----------------------------------------------------------------------------------------


KINDS = {"crosscoder": "", "sae": "SAE", "prism": "prism"}
"""What a name says of a run's kind."""


def names(cards: Sequence[RunCard]) -> dict[str, str]:
    """{run: a short name}: the model, what is unusual, and what tells it from others of that name.
    """
    found = {
        c.run: " ".join(filter(None, (
            c.model, "W_E" if c.matrix == "W_E" else "", KINDS.get(c.kind, c.kind),
            "matched window" if is_matched(c) else "",
        ))) for c in cards
    }
    parts = (lambda c: f"{c.d_sae:,}", lambda c: f"{len(c.steps)} snapshots",
             lambda c: f"seed {c.seed}")
    for part in parts:
        for name in set(found.values()):
            alike = [c for c in cards if found[c.run] == name]
            if len({part(c) for c in alike}) > 1:
                found |= {c.run: f"{name} · {part(c)}" for c in alike}
    return {run: name if list(found.values()).count(name) == 1 else run
            for run, name in found.items()}


# --- what may be compared -------------------------------------------------------------------------


def vocabulary_of(store: Store, card: RunCard) -> str:
    """A hash of the tokens of a run's language model, by their bytes and in order."""
    def make() -> str:
        raw = store.ask(card.run, _RAW, model=card.model)["raw"].to_pylist()
        digest = hashlib.sha256()
        for token in raw:
            digest.update(b"-" if token is None else b"%d:" % len(token) + token)
        return digest.hexdigest()

    return _VOCABULARIES.get((store.digest, card.model), make)


def other_vocabularies(store: Store, cards: Sequence[RunCard]) -> str:
    """Why tokens cannot be compared; '' where all runs are over one vocabulary."""
    groups: dict[str, list[str]] = {}
    for card in cards:
        models = groups.setdefault(vocabulary_of(store, card), [])
        if card.model not in models:
            models.append(card.model)
    if len(groups) < 2:
        return ""
    said = "; ".join(", ".join(models) for models in groups.values())
    return (f"the runs are over {len(groups)} vocabularies ({said}): a set of tokens in one is not "
            "a set of tokens in another, and neither is its share of the rows")


def one_schedule(cards: Sequence[RunCard]) -> bool:
    """Whether all runs have the same snapshots."""
    return len({c.steps for c in cards}) < 2


def cautions(cards: Sequence[RunCard], axis: str) -> tuple[str, ...]:
    """What these runs may not be compared in, in sentences; none for one run."""
    found: list[str] = []
    if len(cards) < 2:
        return ()
    timed = [c for c in cards if len(c.steps) > 1]
    if not one_schedule(timed):
        short = names(cards)
        ends = "; ".join(
            f"{short[c.run]} {step_name(c.steps[0])} to {step_name(c.steps[-1])} in "
            f"{len(c.steps)}" for c in timed
        )
        found.append(f"The runs have different snapshots ({ends}): a bar holds what happened since "
                     "the snapshot before it, so bars of two schedules are not set against each "
                     "other, and no p is given.")
        if axis == "tau":
            found.append("τ runs from 0 to 1 over each run's own snapshots: equal τ is an equal "
                         "part of its schedule, not an equal step.")
    families = {family(c.model) for c in cards}
    if len(families) > 1:
        found.append(f"The models are of {len(families)} families ({', '.join(sorted(families))}), "
                     "whose steps hold different amounts of text.")
    matched = [c.run for c in cards if is_matched(c)]
    if matched:
        found.append(f"{', '.join(matched)} is a matched-window run: its births and profiles are "
                     "relative to the later part of training that it saw.")
    if len({c.matrix for c in cards}) > 1:
        found.append("Dictionaries of W_U and of W_E explain other rows: their EV and L0 are set "
                     "beside each other, not against.")
    return tuple(found)


# --- the axis -------------------------------------------------------------------------------------


def places(steps: Sequence[float], card: RunCard, axis: str) -> list[float]:
    """Where steps lie on the axis, of the schedule of a run; beyond its ends too.

    To three decimals, which is less than a pixel.
    """
    if axis == "tau":
        low, high = position(card.steps[0]), position(card.steps[-1])
        return [round((position(s) - low) / ((high - low) or 1.0), 3) for s in steps]
    return [round(position(s), 3) for s in steps]

