"""The live decomposition: a prompt in, one ledger per snapshot out, no page and no encoder.

The sparse code of the scored tokens comes from the store, the directions of its features from the
run folder, the rows from the snapshots; only the hidden state is computed. The exact score is
h . row in float64 from the stored row, never the model's own logit, so base + features + residual
closes on it (prism-method §6.2, §14 trap 7); the rounding of the stored code lands in the residual.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlas.asking import Ask, Asked, score_of
from atlas.average_row import AverageRow, average_row
from atlas.carrying import Chance, chance_begins
from atlas.codes import activations_at
from atlas.decomposition import (
    Ledger,
    Score,
    active_features,
    decompose_crosscoder,
    decompose_prism,
)
from atlas.errors import InvalidValue
from atlas.explanations import Explanation as Explanation
from atlas.explanations import Hidden as Hidden
from atlas.explanations import Row as Row
from atlas.language_model import draw_token, plain_token
from atlas.reading import MAX_CHARACTERS as MAX_CHARACTERS
from atlas.reading import TOP as TOP
from atlas.reading import Reading, read_prompt
from atlas.records import RunCard
from atlas.slices import Decoder, open_decoder, rows_of, standards_of
from atlas.store import Store


def decompose_prompt(
    store: Store,
    run_id: str,
    prompt: str,
    target: str | int | None = None,
    versus: str | int | None = None,
    step: str | int = "last",
    position: int = -1,
    hidden: Hidden = "final",
    device: str = "cpu",
    ask: Ask | None = None,
) -> Explanation:
    """Take a score apart at some snapshots.

    Args:
        store, run_id, prompt, position, device: as `atlas.reading.read_prompt`.
        target, versus: short for `Ask(target=..., versus=...)`.
        step: `last`, `all`, or a step of the run.
        hidden: `final` reads the last model's hidden state at every snapshot, `own` each
            snapshot's own model's, where the whole model is kept.
        ask: what is asked, if it is more than a target and a rival.

    Raises:
        NotFound: no such run, or no language model.
        InvalidValue: prompt, target, step, position or kind of run cannot be used.
        BrokenArtifact: a file is damaged.
    """
    store = store.pin()
    reading = read_prompt(store, run_id, prompt, position, device)
    return explain(store, reading, ask or Ask(target=target, versus=versus), step, hidden)


def explain(
    store: Store, reading: Reading, ask: Ask, step: str | int = "last", hidden: Hidden = "final"
) -> Explanation:
    """The same of a prompt that has been read; raises InvalidValue or BrokenArtifact."""
    card = reading.card
    steps = steps_of(reading, step, hidden)
    asked = score_of(reading, ask)
    parts = Parts.of(store, reading.root, card, asked.score, whole=2 * len(steps) > len(card.steps))
    rows = []
    for at in steps:
        own = hidden == "own" and at != reading.step
        h = reading.state(at) if own else reading.h
        rows.append(Row(at, at if own else reading.step, parts.ledger(at, h)))
    return _explanation(reading, asked, tuple(rows))


def strongest(found: Explanation, places: Sequence[int], count: int) -> list[int]:
    """The features with the largest |contribution| at any of some rows, largest first."""
    peak: dict[int, float] = {}
    for k in places:
        ledger = found.rows[k].ledger
        listed = zip(ledger.features[:count].tolist(), ledger.contributions[:count], strict=True)
        for feature, value in listed:
            peak[feature] = max(peak.get(feature, 0.0), abs(float(value)))
    return sorted(peak, key=lambda feature: -peak[feature])[:count]


def contributions_of(found: Explanation, features: Sequence[int]) -> np.ndarray:
    """Contributions of some features at every snapshot answered for, (n, K); 0 where none is."""
    out = np.zeros((len(features), len(found.rows)))
    place = {int(feature): i for i, feature in enumerate(features)}
    for k, row in enumerate(found.rows):
        ids, values = row.ledger.features, row.ledger.contributions
        for at in np.flatnonzero(np.isin(ids, list(place))):
            out[place[int(ids[at])], k] = values[at]
    return out


def chance_of_begins(
    store: Store, reading: Reading, found: Explanation, features: Sequence[int]
) -> list[Chance | None]:
    """When features would begin to carry a score if the state pointed anywhere."""
    steps = [row.step for row in found.rows]
    parts = Parts.of(store.pin(), reading.root, reading.card, found.score)
    ids = np.asarray(features, dtype=np.int64)
    held = np.stack([parts.coefficients(step, ids) for step in steps], axis=1)
    places = [reading.card.steps.index(step) for step in steps]
    courses = parts.decoder.courses(ids)
    directions = courses[:, places] if courses is not None else np.stack(
        [parts.decoder.directions(k, ids) for k in places], axis=1)
    return chance_begins(held, directions)


def _explanation(reading: Reading, asked: Asked, rows: tuple[Row, ...]) -> Explanation:
    score, tokenizer = asked.score, reading.tokenizer
    notes = (reading.note, asked.note, _cap_note(reading.softcap), reading.card.cut)
    return Explanation(
        run=reading.card.run,
        prompt=reading.prompt,
        tokens=reading.tokens,
        texts=reading.texts,
        position=reading.position,
        context=reading.context,
        top=reading.top,
        score=score,
        target=plain_token(tokenizer, score.target),
        versus=None if score.versus is None else plain_token(tokenizer, score.versus),
        drawn=tuple(draw_token(tokenizer, t) for t in score.tokens),
        rows=rows,
        note="; ".join(filter(None, notes)) or None,
        softcap=reading.softcap,
        entropy=asked.entropy,
        rank=asked.rank,
    )


def steps_of(reading: Reading, step: str | int, hidden: str) -> list[int]:
    """The snapshots to answer for; raises InvalidValue."""
    if hidden not in ("final", "own"):
        raise InvalidValue(f"hidden is {hidden!r}; use 'final' or 'own'")
    return _steps(reading.card, step, hidden, reading.kept)


def _steps(card: RunCard, step: str | int, hidden: str, kept: Sequence[int]) -> list[int]:
    usable = [s for s in card.steps if hidden == "final" or s in kept]
    listed = ", ".join(map(str, usable))
    if not usable:
        raise InvalidValue(f"no whole model is kept at a step of {card.run}; use hidden 'final'")
    if step == "all":
        return usable
    if step == "last":
        return usable[-1:]
    try:
        number = int(step)
    except ValueError as error:
        raise InvalidValue(f"step {str(step)[:40]!r} is not 'last', 'all' or a number") from error
    if number in usable:
        return [number]
    if number in card.steps:
        raise InvalidValue(f"no whole model is kept at step {number}, only at {listed}")
    raise InvalidValue(f"{card.run} has no snapshot at step {number}; it has {listed}")


def _cap_note(cap: float | None) -> str | None:
    if cap is None:
        return None
    return (
        f"this model caps its logits at {cap:g}: scores and their parts are h . row before the "
        "cap, probabilities are after it"
    )


# --- one ledger ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Parts:
    """What the ledgers of one score share."""

    root: Path
    card: RunCard
    score: Score
    decoder: Decoder
    code: tuple[tuple[np.ndarray, np.ndarray], ...]
    """(features, p) of each token of the score, as they fire at one snapshot or more."""
    features: np.ndarray
    """(n,) sorted ids of all those features."""
    norms: np.ndarray
    """(n, K) their norms as the store keeps them; empty for a prism, which has no gate."""
    standards: tuple[np.ndarray, np.ndarray] | None
    """Means (K, d) and scales (K,) of the snapshots, None where the store does not keep them."""
    average: AverageRow | None
    """The average row of the vocabulary, where the score takes it off."""
    courses: np.ndarray | None = None
    """(n, K, d) directions of `features`, where they are read at once for all snapshots."""

    @classmethod
    def of(
        cls, store: Store, root: Path, card: RunCard, score: Score, whole: bool = False
    ) -> "Parts":
        """Read what does not depend on the snapshot; `whole` if most snapshots will be asked for.
        """
        found = store.code_of_tokens(card.run, score.tokens)
        code = tuple(
            (np.asarray(ids, dtype=np.int64), np.asarray(p, dtype=np.float32))
            for ids, p in (found[token] for token in score.tokens)
        )
        features, is_prism = active_features(code), card.kind == "prism"
        norms = np.zeros((0, 1)) if is_prism else store.norms_of_features(card.run, features)
        standards = None if is_prism else store.standardization(card.run)
        average = average_row(store, card) if score.kind == "vocabulary" else None
        decoder = open_decoder(root, card)
        courses = decoder.courses(features) if whole and average is None else None
        return cls(root, card, score, decoder, code, features, norms, standards, average, courses)

    def ledger(self, step: int, h: np.ndarray) -> Ledger:
        """The score with one snapshot's readout and directions, read by h (d,)."""
        k = self.card.steps.index(step)
        rows, weights = rows_of(self.root, self.card, step, self.score.tokens), self.score.weights
        active = [self._active(ids, p, k) for ids, p in self.code]
        mean, scale, offset = *self._standards(k), self.decoder.offset[k]
        if self.average is not None:
            rows, weights = np.vstack([rows, mean]), (*weights, -1.0)
            active.append(self.average.at(k))
        directions = self._directions(k, active_features(active))
        known = (h, rows, weights, active, directions, mean)
        less = 1.0 if self.score.kind == "centred" else 0.0
        if self.card.kind == "prism":
            return decompose_prism(*known, less)
        return decompose_crosscoder(*known, scale, offset, less)

    def _directions(self, k: int, features: np.ndarray) -> np.ndarray:
        """Directions (n, d) of features that fire somewhere on the score's tokens."""
        if self.courses is None:
            return self.decoder.directions(k, features)
        return self.courses[np.searchsorted(self.features, features), k]

    def coefficients(self, step: int, features: np.ndarray) -> np.ndarray:
        """What the score's row holds of some features at a snapshot, (n,) float64, raw units.

        A contribution is the coefficient times what h reads of the direction.
        """
        k = self.card.steps.index(step)
        parts = [self._active(ids, p, k) for ids, p in self.code]
        weights = self.score.weights
        if self.average is not None:
            parts.append(self.average.at(k))
            weights = (*weights, -1.0)
        out = np.zeros(len(features))
        for weight, (ids, a) in zip(weights, parts, strict=True):
            held = dict(zip(ids.tolist(), a.tolist(), strict=True))
            out += weight * np.array([held.get(int(f), 0.0) for f in features])
        return out * self._standards(k)[1]

    def _standards(self, k: int) -> tuple[np.ndarray, float]:
        """Mean row (d,) and scale of a snapshot; a prism's rows are raw, with scale 1."""
        if self.card.kind == "prism":
            return self.decoder.offset[k], 1.0
        if self.standards is None:
            return standards_of(self.root, self.card, self.card.steps[k])
        return self.standards[0][k], float(self.standards[1][k])

    def _active(self, ids: np.ndarray, p: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The features of one token that fire at a snapshot and their activations there."""
        if self.card.kind == "prism":
            return ids[p > 0], p[p > 0]
        norms = self.norms[np.searchsorted(self.features, ids), k]
        a = activations_at(p, norms, self.decoder.threshold[ids])
        return ids[a > 0], a[a > 0]
