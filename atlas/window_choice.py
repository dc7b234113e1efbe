"""A window of the reader's own: the six metrics inside it, its score and what shifts would give.

Shapes: P pairs of neighbouring snapshots, W windows as wide as the chosen one that begin at a
snapshot, S shifts. From crosscoder-method §9.2 to §9.4, with another width and any beginning.

The score is on the scale of the W windows: each metric runs from 0 at their smallest value to 1 at
their largest. A window that begins between two snapshots may so lie a little above 1 or, before it
is cut off, below 0. The null is treated alike.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.conditions import clip
from atlas.markup import step_name
from atlas.reorganisation import (
    COMPONENTS,
    LEAST,
    MIN_SNAPSHOTS,
    SHIFTS,
    Windows,
    log_time,
    overlap,
    shifted,
    windows,
)

FEWEST = 3
"""Fewest windows of one width that make a scale: of two each metric has 0 in one and 1 in the
other."""
NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,3})?"


@dataclass(frozen=True, eq=False)
class Choice:
    """A window beside all windows of its width."""

    low: float
    high: float
    """Its first and last step, either of them between two snapshots if need be."""
    width: float
    """In decades of step + 1."""
    values: np.ndarray
    """(6,) each metric of `COMPONENTS` integrated over it (§9.2); nan where not available."""
    value_p: np.ndarray
    """(6,) share of the P orders that rolling gives, the true one among them, in which the metric
    is as high here."""
    windows: Windows
    """The W windows."""
    scores: np.ndarray
    """(W,) their scores; empty where there is no score."""
    null: np.ndarray
    """(S, W) the same of the shifts."""
    score: float = math.nan
    """Of the window itself."""
    z: float = math.nan
    """(score - mean of its null) / standard deviation of its null."""
    p: float = math.nan
    """(shifts whose score in this window is as high + 1) / (S + 1)."""
    p_any: float = math.nan
    """(shifts in which this or any of the W windows has as high a z + 1) / (S + 1)."""
    reason: str = ""
    """Why there is no score; '' if there is one."""

    @property
    def center(self) -> float:
        """Its middle in log time, as a step."""
        return math.sqrt((self.low + 1) * (self.high + 1)) - 1

    def p_of(self, index: int) -> tuple[float, float]:
        """z and p of one of the W windows, by itself."""
        null = self.null[:, index]
        z = (self.scores[index] - null.mean()) / max(float(null.std()), LEAST)
        return float(z), float((null >= self.scores[index]).sum() + 1) / (len(null) + 1)


def read_window(
    text: str | None, steps: Sequence[int]
) -> tuple[tuple[float, float] | None, str]:
    """The window that an address asks for, and a calm sentence if it is none.

    Two steps of the schedule's range, rising, as `512..2000`; they may lie between snapshots and
    have up to three decimals. None for nothing asked, and for what is not valid.
    """
    if not text:
        return None, ""
    found = re.fullmatch(rf"({NUMBER})\.\.({NUMBER})", text)
    low, high = (float(found[1]), float(found[2])) if found else (0.0, 0.0)
    if found and steps[0] <= low < high <= steps[-1]:
        return (low, high), ""
    return None, (
        f"“{clip(text)}” is no window of this run; write two steps from {step_name(steps[0])} to "
        f"{step_name(steps[-1])}, the smaller first, such as {steps[0]}..{steps[-1]}."
    )


def write_window(low: float, high: float) -> str:
    """A window as an address holds it."""
    return f"{_short(low)}..{_short(high)}"


def _short(step: float) -> str:
    return f"{step:.3f}".rstrip("0").rstrip(".")


def enclosing(low: float, high: float, steps: Sequence[int]) -> tuple[int, int]:
    """Indices of the last snapshot up to `low` and of the first from `high` on."""
    first = max((k for k, step in enumerate(steps) if step <= low), default=0)
    last = min((k for k, step in enumerate(steps) if step >= high), default=len(steps) - 1)
    return first, last


def why_no_score(
    components: np.ndarray, steps: Sequence[int], n_windows: int,
    names: Sequence[str] = COMPONENTS,
) -> str:
    """Why windows cannot be scored; '' if they can."""
    missing = [name for name, row in zip(names, components, strict=True)
               if not np.isfinite(row).all()]
    if len(steps) < MIN_SNAPSHOTS:
        return (f"the run has {len(steps)} snapshots and the null needs {MIN_SNAPSHOTS}: with "
                "fewer the shifts soon repeat each other")
    if missing:
        return f"{missing[0].replace('_', ' ')} is not available"
    if np.ptp(components, axis=1).max(initial=0) < 1e-12:
        return "every metric is the same at all times: there is nothing to compare"
    if n_windows < FEWEST:
        fit = "fits" if n_windows == 1 else "fit"
        return (f"only {n_windows} of its width {fit} into the schedule, and a scale needs "
                f"{FEWEST}; a narrower one has a score")
    return ""


def choose(
    components: np.ndarray, steps: Sequence[int], low: float, high: float, seed: int,
    shifts: int = SHIFTS, names: Sequence[str] = COMPONENTS,
) -> Choice:
    """Score a window of any place and width; `score_windows` gives the same for its own windows.

    Args:
        components: (6, P) pair metrics, nan where one is not available.
        low, high: steps, rising, within the schedule.
        seed: of the shifts, those of the run's own window.
        names: of the metrics; rows of a matrix, which have no rate, are scored by five.

    Raises:
        ValueError: the steps are not those of a window.
    """
    if not steps[0] <= low < high <= steps[-1]:
        raise ValueError(f"{low} to {high} is no window between {steps[0]} and {steps[-1]}")
    u = log_time(steps)
    a, b = log_time([low, high])
    own = overlap(u, a, b)
    others = windows(steps, float(b - a))
    weight = np.concatenate([others.weight, own])
    reason = why_no_score(components, steps, len(others.start), names)
    rolled = np.stack([np.roll(components, r, axis=1) for r in range(components.shape[1])], axis=1)
    values = rolled @ own[0]  # (6, P), the true order first
    value_p = np.where(
        np.isfinite(values[:, 0]),
        (values >= values[:, :1] - 1e-12 * np.abs(values[:, :1])).mean(axis=1), np.nan,
    )
    found = {"low": low, "high": high, "width": float(b - a), "values": values[:, 0],
             "value_p": value_p, "windows": others}
    if reason:
        return Choice(**found, scores=np.zeros(0), null=np.zeros((0, 0)), reason=reason)
    scores = _scores(components @ weight.T)
    null = _scores(shifted(components, seed, shifts) @ weight.T)
    mean, spread = null.mean(axis=0), np.maximum(null.std(axis=0), LEAST)
    z = float((scores[-1] - mean[-1]) / spread[-1])
    highest = ((null - mean) / spread).max(axis=1)
    return Choice(
        **found, scores=scores[:-1], null=null[:, :-1], score=float(scores[-1]), z=z,
        p=float((null[:, -1] >= scores[-1]).sum() + 1) / (shifts + 1),
        p_any=float((highest >= z).sum() + 1) / (shifts + 1),
    )


def _scores(values: np.ndarray) -> np.ndarray:
    """Scores (..., W + 1) of metrics (..., 6, W + 1) on the scale of all windows but the last."""
    among = values[..., :-1]
    low, high = among.min(axis=-1, keepdims=True), among.max(axis=-1, keepdims=True)
    spread = high - low
    scaled = np.divide(values - low, spread, out=np.zeros_like(values), where=spread > 0)
    return np.exp(np.log(np.clip(scaled, LEAST, None)).mean(axis=-2))
