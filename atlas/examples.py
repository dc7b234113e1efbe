"""Examples of a feature: places of an evaluation text where the model's state reads its direction.

The last hidden state at a token times the direction is what the readout says next, so the token
that follows is the one to look at. Two nulls stand beside a list: how strong the strongest place of
a random direction is in the same text, and how often a token of that text is one of the feature's.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas.errors import NotFound
from atlas.recent import Recent
from atlas.records import RunCard
from atlas.store import Store

BAR = 1.0
"""Score of the strongest place below which there is nothing to show (peers section 1.1)."""

_TOLD = "SELECT value FROM {run}.meta WHERE key = 'examples'"
_ASKED = """
SELECT f.alive, f.rate_final, c.tokens AS own
FROM {run}.feature f, {run}.code_by_feature c
WHERE f.feature = $feature AND c.feature = $feature
"""
_FOUND = """
SELECT e.rank, e.place, e.start, e.z,
  s.tokens[e.start + 1 : e.start + len(e.z) + 1] AS tokens
FROM {run}.example e, {run}.sample s WHERE s.place = e.place AND e.feature = $feature
"""
_SAID = """
SELECT token, count(*) AS n FROM (SELECT unnest(tokens[3 :]) AS token FROM {run}.sample)
GROUP BY token
"""

_OF_RUNS = Recent(16)
"""What all features of a run share: what was told of its text, how often the text says a token."""


@dataclass(frozen=True, eq=False)
class Example:
    """An excerpt around one place."""

    place: int
    """Number of the text it is from; no two examples of a feature share one."""
    start: int
    """First token of the excerpt in that text."""
    ids: tuple[int, ...]
    """Its tokens, n."""
    tokens: tuple[str, ...]
    """How they are drawn."""
    z: np.ndarray
    """(n,) float32: score of the hidden state at each token, in standard deviations from the mean
    over the whole text; nan of the last, which is there only as what comes next."""
    peak: int
    """Index of the strongest token, the place itself."""
    fires: bool
    """Whether the token after it is one of the feature's (at most 200) firing tokens."""

    @property
    def next_index(self) -> int:
        """Index of the token after the peak: what the text, and perhaps the readout, says there."""
        return self.peak + 1


@dataclass(frozen=True, eq=False)
class Examples:
    """The examples of a feature, or the reason why there are none."""

    found: tuple[Example, ...]
    """Strongest first."""
    reason: str | None
    """Why there is nothing to show, a clause without a full stop; None where there is."""
    source: str | None
    """Where the text is from; None if none was read."""
    n_tokens: int
    """Places that were scored."""
    chance: float
    """Score of the strongest place of the median random direction; nan if no text was read."""
    n_next: int
    """Of the examples, how many are followed by a firing token of the feature."""
    share: float
    """Share of all tokens of the text that are such: what `n_next` would be by chance, over the
    number of examples; nan if nothing is shown."""


def examples(store: Store, run: str, feature: int) -> Examples:
    """The examples of a feature of a run.

    Raises:
        NotFound: no such run or feature. BrokenArtifact: the run cannot be read.
    """
    card = store.run(run)
    if not 0 <= feature < card.d_sae:
        raise NotFound(f"run {run} has no feature {feature}; it has 0 to {card.d_sae - 1}")
    told = _OF_RUNS.get((store.folder, store.digest, run, "told"), lambda: _told(store, run))
    if told["reason"] is not None:
        return _nothing(told, told["reason"])
    (row,) = store.ask(run, _ASKED, feature=feature).to_pylist()
    own = np.array(row["own"] or (), dtype=np.int64)
    reason = _silent(card, row)
    if reason is not None:
        return _nothing(told, reason)
    texts = store.token_texts(card.model)
    rows = store.ask(run, _FOUND, feature=feature).to_pylist()
    found = tuple(_example(r, texts, set(own.tolist()))
                  for r in sorted(rows, key=lambda r: r["rank"]))
    peak, chance = max((float(e.z[e.peak]) for e in found), default=0.0), told["chance"]
    n_next = sum(e.fires for e in found)
    if not found or peak < BAR:
        return _nothing(told, "no place of the text stands out along its direction")
    if peak < chance and not n_next:
        return _nothing(told, (
            f"its strongest place (z {peak:.1f}) is no stronger than that of a random direction "
            f"({chance:.1f}), and no token that follows such places is one it fires on"
        ))
    said = _said(store, run, len(texts))
    share = float(said[own].sum() / said.sum()) if said.any() else float("nan")
    return Examples(found, None, told["source"], told["n_tokens"], chance, n_next, share)


def _said(store: Store, run: str, size: int) -> np.ndarray:
    """How often each token (V,) comes after a place of the text; counted once for a run."""
    def counted() -> np.ndarray:
        rows = store.ask(run, _SAID)
        counts = np.zeros(size, dtype=np.int64)
        counts[rows["token"].to_numpy()] = rows["n"].to_numpy()
        return counts

    return _OF_RUNS.get((store.folder, store.digest, run, "said"), counted)


def _told(store: Store, run: str) -> dict[str, Any]:
    """The meta entry `examples`."""
    text = store.ask(run, _TOLD)["value"].to_pylist()
    known = json.loads(text[0]) if text else {}
    chance = known.get("chance")
    empty = "examples were not derived when the run was built; build it again"
    return {
        "reason": known.get("reason") if known else empty,
        "source": known.get("source"),
        "n_tokens": int(known.get("n_tokens") or 0),
        "chance": float("nan") if chance is None else float(chance),
    }


def _silent(card: RunCard, life: Mapping[str, Any]) -> str | None:
    """Why the last direction of a feature says nothing; None if it does."""
    if not life["alive"]:
        return "the feature is dead: its direction was never fitted to anything"
    if life["rate_final"] == 0 and len(card.steps) > 1:
        return (f"the feature fires on no token at the last snapshot, step {card.steps[-1]:,}, so "
                "its direction there is noise")
    return None


def _example(row: Mapping[str, Any], texts: list[str], own: set[int]) -> Example:
    z = np.append(np.array(row["z"], dtype=np.float32), np.float32(np.nan))
    peak = int(np.argmax(row["z"]))
    return Example(
        place=row["place"],
        start=row["start"],
        ids=tuple(row["tokens"]),
        tokens=tuple(texts[i] for i in row["tokens"]),
        z=z,
        peak=peak,
        fires=row["tokens"][peak + 1] in own,
    )


def _nothing(told: Mapping[str, Any], reason: str) -> Examples:
    return Examples((), reason, told["source"], told["n_tokens"], told["chance"], 0, float("nan"))
