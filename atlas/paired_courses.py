"""Two features through training: their norms on one axis, since when their directions are alike.

A cosine of directions means something in one space only: rows of one matrix of one language model.
Two random directions in d dimensions stay within ±`atlas.chance.pair_cosine(d)` in 19 of 20 cases.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from atlas.chance import pair_cosine
from atlas.errors import NotFound
from atlas.feature_export import directions
from atlas.lifecycle import tau
from atlas.markup import number
from atlas.rankings import RANKS
from atlas.records import FeatureCard, RunCard

POINTS = 65
"""Even places of tau at which lives are compared, as `atlas.life_match` has it."""

Life = tuple[np.ndarray, Sequence[int]]
"""Norms (K,) of a feature and the steps of its run."""


@dataclass(frozen=True, eq=False)
class Cosines:
    """The cosine of two directions at the snapshots that both runs have."""

    steps: tuple[int, ...] = ()
    """Rising; empty where there is none."""
    values: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(n,) float64, -1 to 1; nan where a direction has no length."""
    whole: float = math.nan
    """Cosine of both courses put end to end; nan where the snapshots differ."""
    last: float = math.nan
    """Cosine at the last snapshot; nan where the last snapshots differ."""
    chance: float = math.nan
    """What two random directions stay within, plus or minus, in 19 of 20 cases."""
    why: str = ""
    """Why there is none; '' where there is one."""


def other_space(one: RunCard, other: RunCard) -> str:
    """Why the directions of two runs do not compare; '' where they do."""
    if (one.model_name, one.revision) != (other.model_name, other.revision):
        return (f"they are of different language models ({_of(one)} and {_of(other)}), whose "
                "directions do not compare")
    if one.matrix != other.matrix:
        return (f"they are of different matrices ({one.matrix} and {other.matrix}), whose "
                "directions do not compare")
    if one.d_model != other.d_model:
        return f"their directions have different widths ({one.d_model} and {other.d_model})"
    return ""


def _of(card: RunCard) -> str:
    return card.model if card.revision is None else f"{card.model} at {card.revision}"


def cosines(folder: Path, left: tuple[RunCard, int], right: tuple[RunCard, int]) -> Cosines:
    """The cosines of two features' directions, read from the weights of their runs.

    Args:
        folder: of the store. left, right: a run and a feature of it.

    Raises:
        BrokenArtifact: the weights are damaged.
    """
    one, other = left[0], right[0]
    if reason := other_space(one, other):
        return Cosines(why=reason)
    common = sorted(set(one.steps) & set(other.steps))
    if not common:
        return Cosines(why="the two runs have no snapshot in common")
    try:
        courses = [directions(folder, *side).astype(np.float64) for side in (left, right)]
    except NotFound:
        return Cosines(why="the weights of one of the runs are not in this store; "
                           "`readout-atlas doctor` tells what to do")
    there = [[side[0].steps.index(step) for step in common] for side in (left, right)]
    values = cosine_of(*(rows[at] for rows, at in zip(courses, there, strict=True)))
    whole = math.nan
    if one.steps == other.steps:
        whole = float(cosine_of(*(rows.reshape(1, -1) for rows in courses))[0])
    last = float(values[-1]) if one.steps[-1] == other.steps[-1] else math.nan
    return Cosines(tuple(common), values, whole, last, pair_cosine(one.d_model))


def told(found: Cosines) -> str:
    """Since when two directions are alike, in a sentence; '' for fewer than two snapshots."""
    known = np.isfinite(found.values)
    if known.sum() < 2:
        return ""
    above = known & (np.nan_to_num(found.values) > found.chance)
    if not above.any():
        return "Their cosine never rises above what random directions have."
    best = int(np.nanargmax(found.values))
    below = np.flatnonzero(~above)
    since = int(below[-1]) + 1 if len(below) else 0
    where = "at every snapshot" if not len(below) else (
        f"at {int(above.sum())} of {int(known.sum())} snapshots")
    last = (f"; from step {found.steps[since]:,} on it stays there" if 0 < since < len(above) else
            "" if since == 0 else "; at the end it does not")
    return (f"Their cosine is above that of random directions {where}, most at step "
            f"{found.steps[best]:,} ({number(float(found.values[best]), 2)}){last}.")


def cosine_of(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosines (n,) of the rows of two (n, d) arrays; nan where one has no length."""
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return np.divide((first * second).sum(axis=1), lengths,
                     out=np.full(len(first), np.nan), where=lengths > 0)


def scaled(norm: np.ndarray) -> np.ndarray:
    """A norm over its largest value, (K,) float64; nan without length, as of a prism."""
    norm = np.asarray(norm, dtype=np.float64)
    most = norm.max(initial=0) if np.isfinite(norm).all() else math.nan
    return norm / most if most > 0 else np.full_like(norm, np.nan)


def likeness(one: Life, other: Life) -> float:
    """1 - root mean squared difference of two lives on tau, 0 to 1; nan without a life.

    A life is the norm over its largest, straight between snapshots (`atlas.life_match`).
    """
    grid, lives = np.linspace(0, 1, POINTS), []
    for norm, steps in (one, other):
        if len(steps) < 2:
            return math.nan
        lives.append(np.interp(grid, tau(steps), scaled(norm)))
    return float(1 - np.sqrt(np.mean((lives[0] - lives[1]) ** 2)))


def tokens_shared(left: FeatureCard, right: FeatureCard) -> dict[int, int | None]:
    """{step that both runs have: promoted tokens that both have among their `RANKS` first}.

    None where one of the directions has no length. For runs over one vocabulary.
    """
    found: dict[int, int | None] = {}
    for step in sorted(set(left.steps) & set(right.steps)):
        lists = [set(card.promoted[card.steps.index(step)].tokens[:RANKS].tolist())
                 for card in (left, right)]
        found[step] = len(lists[0] & lists[1]) if all(lists) else None
    return found


def courses_frame(
    left: FeatureCard, right: FeatureCard, found: Cosines, shared: dict[int, int | None]
) -> pd.DataFrame:
    """A line per step of either run: step, left and right norm and share of the largest norm,
    cosine, promoted tokens shared; missing where a run has no such snapshot.
    """
    parts = {
        "left norm": dict(zip(left.steps, left.norm.tolist(), strict=True)),
        "right norm": dict(zip(right.steps, right.norm.tolist(), strict=True)),
        "left of its largest": dict(zip(left.steps, scaled(left.norm).tolist(), strict=True)),
        "right of its largest": dict(zip(right.steps, scaled(right.norm).tolist(), strict=True)),
        "cosine": dict(zip(found.steps, found.values.tolist(), strict=True)),
        "promoted tokens shared": shared,
    }
    steps = sorted({step for values in parts.values() for step in values})
    return pd.DataFrame({"step": steps, **{
        name: pd.Series([values.get(step) for step in steps], dtype="float64")
        for name, values in parts.items()}})
