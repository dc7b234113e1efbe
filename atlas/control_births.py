"""Births of a run beside those of its shuffled-row control, as a figure of links."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd

from atlas.linked import Drawing, Part, Words
from atlas.markup import step_name
from atlas.population_figures import ROUND, STEP_TITLE, Across, mixed
from atlas.theme import Palette

KINDS = (
    ("births", "the paper’s rule"), ("births_floor", "noise floor taken off"),
    ("control", "control, the paper’s rule"), ("control_floor", "control, noise floor taken off"),
)
"""Columns of `births_table`, and what each counts."""


def births_table(population: pd.DataFrame, births: np.ndarray, floor: np.ndarray) -> pd.DataFrame:
    """Births at every step of a run (`Store.births`) and of its control, (K,) each."""
    return population[["step", "births", "births_floor"]].astype(int).assign(
        control=births.astype(int), control_floor=floor.astype(int)
    )


def births_drawing(
    table: pd.DataFrame, link: Callable[[str, int], str], step: int, p: Palette
) -> Drawing:
    """Four bars a snapshot; heights by the square root of the counts.

    Args:
        table: of `births_table`.
        link: where a bar of a kind at a snapshot leads; '' for nowhere.
    """
    steps = table["step"].tolist()
    across = Across(steps)
    near = min((b - a for a, b in pairwise(across.all)), default=0.05)
    wide = min(0.23 * near, 0.0055)
    high = math.sqrt(max(1, *(int(table[kind].max()) for kind, _ in KINDS)))
    unit = 0.93 / high
    parts = []
    for kind, words in KINDS:
        place = [name for name, _ in KINDS].index(kind)
        for k, x in enumerate(across.all):
            count = int(table[kind].iloc[k])
            if count:
                left = x + (place - 2) * wide
                said = f"step {step_name(steps[k])}, {words}: {count:,}"
                parts.append(Part((left, left + wide), (0.0, unit * math.sqrt(count)), place, said,
                                  link(kind, k)))
    return Drawing(
        tuple(parts), colours(p), 230, x_ticks=across.ticks, y_ticks=_heights(unit, high),
        x_title=STEP_TITLE, rules=(0.0,),
        words=(Words(0.97, 0.93, "the run: pale by the paper’s rule, full above the noise floor", 1,
                     "right"),
               Words(0.97, 0.83, "the control, alike", 3, "right")),
        upright=across.of(math.log10(step + 1)),
    )


def colours(p: Palette) -> tuple[str, ...]:
    """One for each of `KINDS`: the run in the accent, the control in the other colour."""
    return (mixed(p.accent, p.paper, 0.55), p.accent, mixed(p.counter, p.paper, 0.55), p.counter)


def _heights(unit: float, high: float) -> tuple[tuple[float, str], ...]:
    """Named counts, none crowding another."""
    found: list[tuple[float, str]] = [(0.0, "0")]
    for count in ROUND:
        at = unit * math.sqrt(count)
        if math.sqrt(count) <= 1.05 * high and at - found[-1][0] > 0.09:
            found.append((at, f"{count:,}"))
    return tuple(found)
