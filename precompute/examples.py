"""Examples from an evaluation text: where the last hidden state points most along a direction.

The state that enters the unembedding, after the final norm (crosscoder-method sections 5.9 and
10.1), times a feature's direction at the last snapshot, in standard deviations from its mean over
the whole sample. Every state that is scored has a token before it and one after it: the first of
a window was read without a text, and the token after a state is what the readout then says.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from atlas.errors import AtlasError, BrokenArtifact
from atlas.hidden_states import open_model
from atlas.language_model import LanguageModel
from atlas.screening import unit
from precompute.derive import Arrays
from precompute.evaluation import read_text, windows
from precompute.kept import Report, canonical
from precompute.passes import random_directions
from precompute.reader import Reading

EXAMPLES = 6
"""Examples of a feature; their excerpts share no place."""
BEFORE, SCORED = 12, 19
"""Tokens of an excerpt before its strongest, and all that have a score; one more follows."""
WINDOW = 512
"""Tokens that are read at once, if the model can (section 5.9)."""
BLOCK_NUMBERS = 2**25
"""Scores that are held at once."""
CANDIDATES = 256
"""Places that are looked at first: those with the largest scores."""
ALIKE = 5
"""Tokens, the next one last, by which two places count as the same."""


# --- the stage -----------------------------------------------------------------------------------


def examples(reading: Reading, directions: Tensor, report: Report) -> Arrays:
    """Examples of directions (D, d).

    Returns:
        told: JSON of the meta entry `examples`; and without a reason in it tokens and bounds of
        the windows; place and start (D, 6) int32, -1 for none; z (D, 6, 19) float32, nan where
        the excerpt is shorter.
    """
    if reading.reason is not None:
        return {"told": _told(reason=reading.reason)}
    text = read_text(reading.store, reading.model)
    try:
        model = open_model(
            reading.store, reading.model, reading.name, reading.step, str(reading.device)
        )
    except AtlasError as error:
        report(f"note: no examples ({error})")
        return {"told": _told(reason=f"{reading.told} cannot be read")}
    length = min(WINDOW, model.context - len(model.opening))
    parts = windows(text, length, reading.most)
    if not parts:
        return {"told": _told(reason=f"the evaluation text of {reading.model} is too short")}
    states = read_states(model, parts, report)
    del model
    sample = Sample(parts, states, reading.device)
    found = sample.places(directions)
    random = torch.from_numpy(random_directions(directions.shape[1]))
    chance = float(np.median(sample.places(random)["z_max"]))
    return {
        "told": _told(source=text.source, n_tokens=sample.size, chance=round(chance, 2)),
        "tokens": np.concatenate(parts).astype(np.int32),
        "bounds": np.cumsum([0, *(len(part) for part in parts)]),
        **{name: found[name] for name in ("place", "start", "z")},
    }


def _told(**told: Any) -> np.ndarray:
    return np.array(canonical({"source": None, "n_tokens": 0, "chance": None, "reason": None}
                              | told))


def read_states(model: LanguageModel, parts: list[np.ndarray], report: Report) -> list[Tensor]:
    """What the head reads at every token of each window but the last, (n - 1, d) float32."""
    rows, opening = model.head_shape[0], list(model.opening)
    outside = [int(p.max()) for p in parts if p.max() >= rows or p.min() < 0]
    if outside:
        raise BrokenArtifact(
            f"the evaluation text holds token {outside[0]}, but the model has {rows} rows"
        )
    states = []
    for number, part in enumerate(parts, start=1):
        states.append(model.hidden_of([*opening, *part[:-1].tolist()])[len(opening) :])
        if not bool(torch.isfinite(states[-1]).all()):
            raise BrokenArtifact(f"step {model.step} of the model gives states that are not finite")
        if number % 64 == 0:
            report(f"examples: window {number} of {len(parts)}")
    return states


class Sample:
    """The places of a text with their hidden states, ready to be scored.

    A place is a token with one before it and one after it in its window; places are numbered in
    the order of the text, N in all.
    """

    def __init__(
        self, parts: list[np.ndarray], states: list[Tensor], device: torch.device
    ) -> None:
        """Take windows (n,) and what the head read at each of their tokens but the last."""
        counts = np.array([len(part) - 2 for part in parts])
        self.size = int(counts.sum())
        """N."""
        self.window = np.repeat(np.arange(len(parts)), counts)
        """(N,) window of each place."""
        self.token = np.arange(self.size) - np.cumsum([0, *counts[:-1]])[self.window] + 1
        """(N,) its token in the window."""
        latest = np.maximum(counts - SCORED, 0) + 1
        self.start = np.clip(self.token - BEFORE, 1, latest[self.window])
        self.stop = np.minimum(self.start + SCORED, counts[self.window] + 1)
        """(N,) tokens between which the excerpt about a place has scores."""
        self.key = _keys(parts)
        rows = torch.cat([state[1:] for state in states]).to(device)
        self.states = rows.sub_(rows.mean(dim=0, dtype=torch.float64).float())

    def places(self, directions: Tensor) -> Arrays:
        """The strongest places along directions (D, d): place, start, z as `examples`, and z_max.

        z_max (D,) float32 is the largest score of all. A direction without length has no places.
        """
        block = max(1, BLOCK_NUMBERS // self.size)
        found = [self._block(part) for part in directions.split(block)]
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    def _block(self, directions: Tensor) -> Arrays:
        wanted, known = unit(directions.to(self.states.device))
        scores = wanted @ self.states.T
        spread = scores.square().mean(dim=1, keepdim=True).sqrt()
        known = (known & (spread[:, 0] > 0)).cpu().numpy()
        scores = scores.div_(spread)
        best = scores.topk(min(CANDIDATES, self.size)).values.cpu().numpy()
        scores = scores.cpu().numpy()
        size = len(directions)
        place, start = (np.full((size, EXAMPLES), -1, dtype=np.int32) for _ in range(2))
        z = np.full((size, EXAMPLES, SCORED), np.nan, dtype=np.float32)
        for feature in np.flatnonzero(known):
            chosen = self._chosen(scores[feature], best[feature, -1])
            place[feature, : len(chosen)] = self.window[chosen]
            start[feature, : len(chosen)] = self.start[chosen]
            for rank, at in enumerate(chosen):
                begin, end = self._span(at)
                values = scores[feature, begin:end].round(1) + np.float32(0)  # no -0
                z[feature, rank, : end - begin] = values
        return {"place": place, "start": start, "z": z,
                "z_max": np.where(known, best[:, 0], np.nan).astype(np.float32)}

    def _chosen(self, scores: np.ndarray, bar: float) -> list[int]:
        """The places (at most 6) of the examples of one direction, strongest first.

        `bar` is the score of the last candidate; where those give too few, more are looked at.
        """
        count = CANDIDATES
        while True:
            among = np.flatnonzero(scores >= bar)
            taken = self._apart(scores, among[np.argsort(-scores[among], kind="stable")])
            if len(taken) == EXAMPLES or len(among) == self.size:
                return taken
            count *= 16
            bar = -np.inf if count >= self.size else np.partition(scores, -count)[-count]

    def _apart(self, scores: np.ndarray, places: np.ndarray) -> list[int]:
        """The first places whose excerpts have nothing in common.

        A place is passed over if its excerpt holds a stronger one, or a scored token of the excerpt
        of one taken, or if it has the same few tokens, such as those of a formula that recurs.
        """
        taken: list[int] = []
        for at in places:
            begin, end = self._span(at)
            if scores[begin:end].max() > scores[at] or any(
                self.key[at] == self.key[other] or (begin < stop and start < end)
                for other in taken for start, stop in (self._span(other),)
            ):
                continue
            taken.append(int(at))
            if len(taken) == EXAMPLES:
                break
        return taken

    def _span(self, at: int) -> tuple[int, int]:
        """Places between which the excerpt about a place has scores."""
        begin = at + self.start[at] - self.token[at]
        return begin, begin + self.stop[at] - self.start[at]


def _keys(parts: list[np.ndarray]) -> np.ndarray:
    """A number (N,) for each place, of its token, the next and the three before."""
    spans = []
    for part in parts:
        padded = np.concatenate([np.full(ALIKE - 3, -1), part])
        spans.append(np.lib.stride_tricks.sliding_window_view(padded, ALIKE))
    return np.unique(np.concatenate(spans), axis=0, return_inverse=True)[1].ravel()


# --- tables --------------------------------------------------------------------------------------


def example_rows(found: Arrays, alive: np.ndarray) -> dict[str, pa.Table]:
    """Rows of the tables `sample` and `example`; features that are not alive (D,) have none."""
    if "place" not in found:
        return {}
    tokens, bounds = pa.array(found["tokens"]), found["bounds"]
    place, z = found["place"], found["z"]
    feature, rank = np.nonzero((place >= 0) & alive[:, None])
    scored = ~np.isnan(z[feature, rank])
    ends = np.concatenate([[0], np.cumsum(scored.sum(axis=1))])
    return {
        "sample": pa.table({
            "place": np.arange(len(bounds) - 1, dtype=np.int32),
            "tokens": pa.ListArray.from_arrays(pa.array(bounds.astype(np.int32)), tokens),
        }),
        "example": pa.table({
            "feature": feature.astype(np.int32),
            "rank": rank.astype(np.int32),
            "place": place[feature, rank],
            "start": found["start"][feature, rank],
            "z": pa.ListArray.from_arrays(
                pa.array(ends.astype(np.int32)), pa.array(z[feature, rank][scored])
            ),
        }),
    }
