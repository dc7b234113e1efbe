"""Which feature of another run is the same one: asked of the store, where it was computed.

`atlas.matching` computes; `readout-atlas match` writes. A list of partners says nothing without
its null, so the percentile belongs to every record.
"""

import math
from dataclasses import dataclass

from atlas import cards
from atlas.errors import AtlasError
from atlas.store import Store

_MATCHES = """
    SELECT other, partner, cosine, margin, reciprocal, percentile FROM catalog.match
    WHERE run = $name AND feature = $feature ORDER BY other"""
_RUNS = "SELECT DISTINCT other FROM catalog.match WHERE run = $name ORDER BY other"
_LABEL = "SELECT label FROM {run}.feature WHERE feature = $feature"


@dataclass(frozen=True)
class MatchInfo:
    """The best partner of a feature in one other run."""

    other: str
    """Id of the other run: same language model, matrix and snapshots."""
    partner: int
    """The feature there whose directions over the whole training are most similar."""
    cosine: float
    """Cosine of the two courses of directions, all snapshots put end to end."""
    margin: float
    """That cosine minus the one of the second best; nan where there is no second."""
    reciprocal: bool
    """The feature is also the best of its partner."""
    percentile: float
    """Share of features of like chances whose best cosine stays below when one dictionary is turned
    at random (`atlas.matching`): 1 when none reaches it."""
    label: str
    """The partner's strongest firing tokens as they are drawn; '' if none, or if the other run
    cannot be read."""


def matches_of(store: Store, run: str, feature: int) -> tuple[MatchInfo, ...]:
    """The partners of a feature in every run that was matched with this one, by run.

    Empty for a feature that never fires or has no direction, and where nothing was matched.

    Raises:
        NotFound, BrokenArtifact: the run is not there or cannot be read.
    """
    rows = store.ask(run, _MATCHES, name=run, feature=feature).to_pylist()
    texts = store.token_texts(store.run(run).model) if rows else []
    found = []
    for row in rows:
        margin = math.nan if row["margin"] is None else row["margin"]
        label = _label(store, row["other"], row["partner"], texts)
        found.append(MatchInfo(**row | {"margin": margin, "label": label}))
    return tuple(found)


def _label(store: Store, run: str, feature: int, texts: list[str]) -> str:
    try:
        rows = store.ask(run, _LABEL, feature=feature).to_pylist()
    except AtlasError:  # its match stands, whatever became of the run's own file
        return ""
    return cards.label_text(rows[0]["label"], texts) if rows else ""


def other_runs(store: Store, run: str) -> list[str]:
    """Ids of the runs that were matched with this one; raises as `matches_of`."""
    return store.ask(run, _RUNS, name=run)["other"].to_pylist()
