"""Which runs of the store a run was not matched with, and why: for want of the command, or never.

What can be matched is what `readout-atlas match` takes: directions need the same model, matrix and
snapshots, firing tokens the same vocabulary, lives also a training on either side.
"""

from dataclasses import dataclass

from atlas.comparing import vocabulary_of
from atlas.matches import pairs_of
from atlas.records import RunCard
from atlas.store import Store

FEWEST = 3
"""Snapshots without which a run has no life to compare."""


@dataclass(frozen=True)
class Unmatched:
    """A run that this one was not matched with in a way."""

    run: str
    reason: str
    """Why it cannot be; '' where it could be, and was not yet."""


def not_matched(store: Store, run: str, way: str) -> tuple[Unmatched, ...]:
    """All other runs of the store that a run was not matched with in a way, in their order.

    Raises:
        NotFound, BrokenArtifact: the run is not there or cannot be read.
    """
    card = store.run(run)
    matched = {pair.other for pair in pairs_of(store, run) if pair.way == way}
    return tuple(
        Unmatched(other.run, misfit(store, card, other, way))
        for other in store.runs() if other.run not in matched and other.run != run
    )


def misfit(store: Store, card: RunCard, other: RunCard, way: str) -> str:
    """Why two runs cannot be matched in a way; '' if they can.

    The reason speaks of the other one, so that runs of one reason may be named together.
    """
    if card.run == other.run:
        return "it is the run itself, whose features match themselves"
    if other.problem is not None:
        return f"it cannot be read: {other.problem}"
    if way in ("trajectory", "terminal"):
        return _other_directions(card, other, way)
    if card.model != other.model and vocabulary_of(store, card) != vocabulary_of(store, other):
        return "another vocabulary, so that tokens do not compare"
    if way == "life":
        for one, whose in ((card, "this run"), (other, "it")):
            if len(one.steps) < FEWEST:
                return f"{whose} has fewer than the {FEWEST} snapshots that a life takes"
    return ""


def _other_directions(card: RunCard, other: RunCard, way: str) -> str:
    if (card.model_name, card.revision) != (other.model_name, other.revision):
        return "directions of another language model do not compare"
    if card.matrix != other.matrix:
        return f"directions of {other.matrix} do not compare with those of {card.matrix}"
    if way == "trajectory" and card.steps != other.steps:
        return "other snapshots, so that whole trajectories do not compare"
    if way == "terminal" and card.steps[-1] != other.steps[-1]:
        return "another last snapshot"
    if card.d_model != other.d_model:
        return "directions of another width"
    ways = [one.config.get("input_preprocess") for one in (card, other)]
    if way == "trajectory" and len(card.steps) > 1 and None not in ways and ways[0] != ways[1]:
        return "rows that are standardised differently, so that snapshots do not weigh the same"
    return ""
