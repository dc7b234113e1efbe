"""What an edit of the hidden state does to a score and to the next token (prism-method §7.5, §9).

Beside every edit stand random features: as many, live at the same snapshot, with the shift brought
to the same length, drawn from a seed that is shown.
"""

from dataclasses import dataclass

import numpy as np
import torch

from atlas.asking import Ask, score_of
from atlas.decomposition import Ledger
from atlas.edits import (
    Edit,
    Slope,
    kl_bits,
    overlap,
    rescaled,
    shift,
    slope_of,
    units,
)
from atlas.errors import InvalidValue, NotFound
from atlas.language_model import draw_token
from atlas.live import Parts
from atlas.reading import Reading, capped
from atlas.slices import open_snapshot
from atlas.store import Store

TOP = 10
"""Tokens of a list."""
DRAWS = 20
"""Draws of random features."""
CHECKED = 10
"""Largest and random features of the slope check."""
AMONG = 50
"""Likeliest tokens whose sets are compared."""


@dataclass(frozen=True)
class Moved:
    """A next token before and after."""

    token: int
    text: str
    """As it is drawn."""
    before: float
    """Probability."""
    after: float
    rank_before: int
    """From 1."""
    rank_after: int


@dataclass(frozen=True)
class Part:
    """One feature of an edit."""

    feature: int
    contribution: float
    """To the score; 0 where the tokens of the score do not use it."""
    predicted: float
    """Change of the score by the ledger, as if it were the only feature."""
    realised: float
    """Change of the score if it alone is edited."""


@dataclass(frozen=True)
class Draw:
    """The same edit with random features."""

    features: tuple[int, ...]
    change: float
    """Of the score."""
    kl: float
    """Bits."""


@dataclass(frozen=True)
class Point:
    """Removing one feature from the hidden state."""

    feature: int
    predicted: float
    """c: what the ledger says goes with it."""
    realised: float
    """(h . d̂)(q . d̂): what the score loses."""


@dataclass(frozen=True, eq=False)
class Edited:
    """What an edit does at one snapshot."""

    edit: Edit
    step: int
    """Snapshot of the readout and the directions."""
    hidden_step: int
    """Step of the model whose hidden state is edited."""
    length: float
    """|h' - h|."""
    share: float
    """|h' - h| / |h|."""
    ledger: Ledger
    """Of the score before."""
    after: Ledger
    """Of the score after; directions that overlap change other contributions, too."""
    predicted: float
    """Change of the score if every feature were alone."""
    kl: float
    """KL(before ‖ after) of the next token, bits."""
    overlap: float
    """Share of the `AMONG` likeliest tokens that stay among them."""
    likely: tuple[Moved, ...]
    """The likeliest tokens afterwards, best first."""
    likely_before: tuple[Moved, ...]
    """Those before."""
    parts: tuple[Part, ...]
    """The features of the edit."""
    seed: int
    draws: tuple[Draw, ...]
    largest: tuple[Point, ...]
    """The features of largest |c|."""
    random: tuple[Point, ...]
    """Random live features."""
    slope: Slope
    """Of the largest."""
    random_slope: Slope

    @property
    def change(self) -> float:
        """Of the score, exact."""
        return self.after.exact - self.ledger.exact


def live_features(store: Store, run: str, k: int) -> np.ndarray:
    """Features that fire on some row at snapshot k, rising ids."""
    found = store.ask(
        run, "SELECT feature FROM {run}.life WHERE rate[$k] > 0 ORDER BY feature",
        k=k + 1,
    )
    return found["feature"].to_numpy().astype(np.int64)


def edit_prompt(
    store: Store,
    reading: Reading,
    ask: Ask,
    edit: Edit,
    step: int | None = None,
    hidden_step: int | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Edited:
    """Edit what the head reads after a prompt.

    Args:
        store, reading, ask: the prompt and its score.
        edit: what is done.
        step: snapshot of readout and directions, the last one when None.
        hidden_step: step of the model whose hidden state is edited, that of the reading when None.
        draws: how often random features take the place of those chosen.
        seed: of the draws and the random features of the slope check.

    Raises:
        InvalidValue: a feature does not exist or has no direction there, or a step is none.
        NotFound: fewer features are live than the edit names. BrokenArtifact: a damaged file.
    """
    card = reading.card
    step = card.steps[-1] if step is None else step
    if step not in card.steps:
        raise InvalidValue(f"{card.run} has no snapshot at step {step}")
    k = card.steps.index(step)
    hidden_step = reading.step if hidden_step is None else hidden_step
    h = (reading.h if hidden_step == reading.step else reading.state(hidden_step)).astype(float)
    parts = Parts.of(store, reading.root, card, score_of(reading, ask).score)
    unit = directions_of(parts, k, edit.features, step)
    v = shift(h, unit, edit)
    rng = np.random.default_rng(seed)
    live = np.setdiff1d(live_features(store, card.run, k), edit.features)
    drawn = _drawn(parts, k, live, edit, h, float(np.linalg.norm(v)), draws, rng)
    shifts = np.stack([v, *(s for _, s in drawn)])
    file = open_snapshot(reading.root, card.model_name, step, card.matrix)
    states = torch.from_numpy(np.concatenate([h[None], h + shifts]).astype(np.float32))
    logits = capped(file.products(card.matrix, states), reading.softcap)
    kl = kl_bits(logits[0], logits[1:])
    ledger = parts.ledger(step, h)

    def change(by: np.ndarray) -> float:
        return parts.ledger(step, by).exact  # a score is linear in what it is read by

    largest = _points(parts, k, step, ledger.features[:CHECKED], h, change)
    others = np.setdiff1d(live, ledger.features[:CHECKED])
    chosen = np.sort(rng.choice(others, min(CHECKED, len(others)), replace=False))
    random = _points(parts, k, step, chosen, h, change)
    of_edit = _parts_of_edit(parts, k, step, edit, unit, h, ledger, change)
    return Edited(
        edit=edit,
        step=step,
        hidden_step=hidden_step,
        length=float(np.linalg.norm(v)),
        share=float(np.linalg.norm(v) / np.linalg.norm(h)),
        ledger=ledger,
        after=parts.ledger(step, h + v),
        predicted=sum(p.predicted for p in of_edit),
        kl=float(kl[0]),
        overlap=overlap(logits[0], logits[1], AMONG),
        likely=moved(reading, logits[0], logits[1], logits[1]),
        likely_before=moved(reading, logits[0], logits[1], logits[0]),
        parts=of_edit,
        seed=seed,
        draws=tuple(
            Draw(features, change(s), float(bits))
            for (features, s), bits in zip(drawn, kl[1:], strict=True)
        ),
        largest=largest,
        random=random,
        slope=_slope(largest),
        random_slope=_slope(random),
    )


def directions_of(parts: Parts, k: int, features: tuple[int, ...], step: int) -> np.ndarray:
    """Unit directions of some features at snapshot k, (m, d) float64; raises InvalidValue."""
    if max(features) >= parts.decoder.features:
        raise InvalidValue(
            f"there is no feature {max(features)}; ids go from 0 to {parts.decoder.features - 1}"
        )
    found = parts.decoder.directions(k, np.asarray(features)).astype(np.float64)
    silent = np.linalg.norm(found, axis=1) <= 1e-12
    if silent.any():
        raise InvalidValue(
            f"feature {features[int(silent.argmax())]} has no direction at step {step:,}; choose "
            "another feature or step"
        )
    return units(found)


def _drawn(
    parts: Parts, k: int, live: np.ndarray, edit: Edit, h: np.ndarray, length: float, draws: int,
    rng: np.random.Generator,
) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """Random features, as many, and their shift at the same length."""
    count = len(edit.features)
    if draws and len(live) < count:
        raise NotFound(
            f"only {len(live)} other features are live at this step, and the edit names {count}, "
            "so random ones cannot be drawn beside them"
        )
    found = []
    for _ in range(draws):
        chosen = np.sort(rng.choice(live, count, replace=False))
        unit = units(parts.decoder.directions(k, chosen))
        found.append((
            tuple(chosen.tolist()), rescaled(shift(h, unit, edit)[None], length)[0]
        ))
    return found


def _points(
    parts: Parts, k: int, step: int, features: np.ndarray, h: np.ndarray, change
) -> tuple[Point, ...]:
    if not len(features):
        return ()
    directions = parts.decoder.directions(k, features).astype(np.float64)
    unit = units(directions)
    predicted = parts.coefficients(step, features) * (directions @ h)
    return tuple(
        Point(int(f), float(c), float(h @ d) * change(d))
        for f, c, d in zip(features, predicted, unit, strict=True)
    )


def _slope(points: tuple[Point, ...]) -> Slope:
    return slope_of([p.predicted for p in points], [p.realised for p in points])


def _parts_of_edit(
    parts: Parts, k: int, step: int, edit: Edit, unit: np.ndarray, h: np.ndarray, ledger: Ledger,
    change,
) -> tuple[Part, ...]:
    """What the ledger says of each feature of an edit, and what it does alone."""
    features = np.asarray(edit.features)
    lengths = np.linalg.norm(parts.decoder.directions(k, features).astype(np.float64), axis=1)
    weight = parts.coefficients(step, features) * lengths
    contributions = weight * (unit @ h)
    found = []
    for f, d, w, c in zip(edit.features, unit, weight, contributions, strict=True):
        alone = Edit(edit.kind, (f,), edit.amount)
        by = shift(h, d[None], alone)
        found.append(Part(f, float(c), float(w * (by @ d)), change(by)))
    return tuple(found)


def moved(
    reading: Reading, before: torch.Tensor, after: torch.Tensor, by: torch.Tensor, top: int = TOP
) -> tuple[Moved, ...]:
    """The likeliest tokens by some logits (V,), with their probabilities and ranks in two."""
    best = by.topk(min(top, len(by))).indices
    chances = [logits.double().softmax(dim=0)[best].tolist() for logits in (before, after)]
    ranks = [
        (1 + (logits[None] > logits[best][:, None]).sum(dim=1)).tolist()
        for logits in (before, after)
    ]
    return tuple(
        Moved(t, draw_token(reading.tokenizer, t), *values)
        for t, *values in zip(best.tolist(), *chances, *ranks, strict=True)
    )
