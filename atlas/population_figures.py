"""The population through training as figures whose parts are links into Browse."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from atlas import axes
from atlas.axes import position, short_step, step_ticks
from atlas.linked import Drawing, Part, Picture, Words
from atlas.markup import share, step_name
from atlas.population import CONVENTIONS
from atlas.population_store import STANDING, Ordered, Profiles
from atlas.theme import Palette

STEP_TITLE = "training step (log, 0 kept)"
BESIDE = {"norms": "floor"}
"""The births drawn in grey beside the chosen ones; those by the norm for all others."""
ROUND = (1, 5, 20, 100, 400, 1000, 4000, 10_000, 20_000)
"""Counts that a height is named by."""

Link = Callable[[str, int], str]
"""Where a bar leads: of which kind, at which snapshot; '' for nowhere."""


def mixed(colour: str, ground: str, strength: float) -> str:
    """A colour laid over a ground."""
    pairs = ((int(colour[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(strength * a + (1 - strength) * b):02x}" for a, b in pairs)


class Across:
    """Where training steps lie on the width of a plot."""

    def __init__(self, steps: Sequence[int], pad: float = 0.02) -> None:
        self.low, high = position(min(steps)), position(max(steps))
        self.wide = (high - self.low) or 1.0
        self.pad = pad * self.wide
        self.steps = steps

    def of(self, place: float) -> float:
        """A place on the log axis as a share of the width."""
        return (place - self.low + self.pad) / (self.wide + 2 * self.pad)

    @property
    def all(self) -> list[float]:
        """The place of every step."""
        return [self.of(position(step)) for step in self.steps]

    @property
    def ticks(self) -> tuple[tuple[float, str], ...]:
        """Ticks with their names."""
        return tuple((self.of(v), name) for v, name in zip(*step_ticks(self.steps), strict=True))


def step_marks(steps: Sequence[int], step: int) -> dict[str, float]:
    """Where the line of a step stands in each figure, as a share of its width."""
    edges = axes.edges(steps)
    at = position(step)
    return {
        "births": Across(steps).of(at),
        "lives": (at - edges[0]) / (edges[-1] - edges[0]),
        "standing": Across(steps, pad=0.0).of(at),
    }


# --- births, peaks, deaths ----------------------------------------------------------------------


def births_drawing(
    table: pd.DataFrame, chosen: str, link: Link, step: int, p: Palette
) -> Drawing:
    """Births upwards, the chosen rule beside the other one, peaks as dashes, deaths downwards.

    Heights go by the square root of the counts, up and down alike.

    Args:
        table: of `population_table`.
        chosen: the convention.
        link: of the kinds `births_…`, `peaks` and `deaths`.
    """
    steps = table["step"].tolist()
    beside = BESIDE.get(chosen, "norms")
    across = Across(steps)
    half = min((b - a for a, b in pairwise(across.all)), default=0.04)
    half = min(0.46 * half, 0.008)
    ups = {name: table[name].to_numpy() for name in
           (f"births_{chosen}", f"births_{beside}", "peaks") if name in table}
    high = math.sqrt(max(1, *(int(v.max()) for v in ups.values())))
    deep = math.sqrt(max(1, int(table["deaths"].max())))
    zero = max(0.12, deep / (high + deep))
    unit = min(0.95 * (1 - zero) / high, 0.95 * zero / deep)

    def box(kind: str, words: str, k: int, left: float, right: float, colour: int,
            down: bool = False, dash: bool = False) -> Part | None:
        count = int(table[kind].iloc[k])
        if not count:
            return None
        far = max(unit * math.sqrt(count), 0.008)
        low, high = (zero - far, zero) if down else (zero, zero + far)
        if dash:
            low, high = high - 0.005, high + 0.005
        said = f"{words} step {step_name(steps[k])}: {count:,}"
        return Part((left, right), (low, high), colour, said, link(kind, k))

    parts = []
    for k, x in enumerate(across.all):
        parts += [
            box(f"births_{chosen}", f"{CONVENTIONS[chosen].short},", k, x - half, x, 0),
            box(f"births_{beside}", f"{CONVENTIONS[beside].short},", k, x, x + half, 1),
            box("deaths", "deaths,", k, x - half, x + half, 2, down=True),
            box("peaks", "peaks,", k, x - half, x + half, 3, dash=True),
        ]
    top = unit * high + zero
    words = (
        Words(0.96, top - 0.03, CONVENTIONS[chosen].words, 0, "right"),
        Words(0.96, top - 0.11, CONVENTIONS[beside].words, -1, "right"),
        Words(0.96, top - 0.19, "dashes: peaks of the rate", 3, "right"),
        Words(0.96, top - 0.27, "below: deaths, last at half the norm", 2, "right"),
    )
    return Drawing(
        tuple(part for part in parts if part is not None),
        (p.accent, mixed(p.ink, p.paper, 0.34), p.counter, p.ink), 250,
        x_ticks=across.ticks, y_ticks=_heights(zero, unit, high, deep), x_title=STEP_TITLE,
        words=words, rules=(zero,), upright=step_marks(steps, step)["births"], mark="births",
    )


def _heights(zero: float, unit: float, high: float, deep: float) -> tuple[tuple[float, str], ...]:
    """Named counts above and below the line, none crowding another."""
    found = [(zero, "0")]
    for sign, most in ((1, high), (-1, deep)):
        last = zero
        for count in ROUND:
            at = zero + sign * unit * math.sqrt(count)
            if math.sqrt(count) <= 1.05 * most and abs(at - last) > 0.085:
                found.append((at, f"{count:,}"))
                last = at
    return tuple(found)


# --- all lives ----------------------------------------------------------------------------------


def lives_drawing(
    steps: Sequence[int], found: Ordered, order: str, links: Sequence[str], step: int, p: Palette
) -> Drawing:
    """All lives as one picture: a row is a link to the features that it holds.

    Args:
        links: one per row, '' for a row that leads nowhere.
    """
    edges = axes.edges(steps)
    wide = edges[-1] - edges[0]
    places = [(e - edges[0]) / wide for e in edges]
    rows = len(found.cells)
    lines = tuple((row_words(steps, found, order, r), links[r]) for r in range(rows))
    ticks = tuple(
        ((v - edges[0]) / wide, name) for v, name in zip(*step_ticks(steps), strict=True)
    )
    return Drawing(
        (), (), 3 * rows if rows >= 120 else 400, left=62, lines=lines, x_ticks=ticks,
        y_ticks=_row_names(steps, found, order), x_title=STEP_TITLE,
        upright=step_marks(steps, step)["lives"], mark="lives",
        picture=Picture(found.cells, places), ramp=(p.paper, p.counter, p.ink),
    )


def row_words(steps: Sequence[int], found: Ordered, order: str, r: int) -> str:
    """What a row of the picture holds."""
    a, b = int(found.bounds[r]), int(found.bounds[r + 1])
    said = f"{b - a:,} feature{'' if b - a == 1 else 's'}"
    if order == "change":
        low, high = found.change[b - 1], found.change[a]
        return f"{said}, norm changes by {low:+.2f} to {high:+.2f}"
    return (f"{said}, born {_range(steps, found.birth[a:b])}, "
            f"peak {_range(steps, found.peak[a:b])}")


def _range(steps: Sequence[int], index: np.ndarray) -> str:
    known = index[index < len(steps)]
    if not len(known):
        return "never"
    low, high = steps[int(known.min())], steps[int(known.max())]
    said = short_step(low) if low == high else f"{short_step(low)} to {short_step(high)}"
    return said if len(known) == len(index) else f"{said} or never"


def _row_names(
    steps: Sequence[int], found: Ordered, order: str, apart: float = 0.04
) -> tuple[tuple[float, str], ...]:
    """The step at which the features beside it are born or peak, where there is room for it."""
    total = len(found.features)
    if not total:
        return ()
    if order == "change":
        at = [0, total // 2, total - 1]
        zero = int((found.change > 0).sum())
        names = {place: f"{found.change[place]:+.2f}" for place in at}
        if all(abs(zero - place) > 0.05 * total for place in at):
            names[zero] = "0"
        return tuple((1 - place / total, name) for place, name in sorted(names.items()))
    index = found.birth if order == "birth" else found.peak
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    kept: list[tuple[float, str]] = []
    sizes = np.diff(np.append(starts, total))
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        at = 1 - (start + size / 2) / total
        k = int(index[start])
        if not kept or kept[-1][0] - at > apart:
            kept.append((at, short_step(steps[k]) if k < len(steps) else "never"))
    return tuple(kept)


# --- profiles -----------------------------------------------------------------------------------


def profile_colours(p: Palette) -> tuple[str, ...]:
    """The colour of every profile, in the order of `STANDING`."""
    return tuple(p.strands[i] for i in (1, 3, 2, 4, 5))


def profiles_drawing(found: Profiles, links: dict[str, str], p: Palette) -> Drawing:
    """Shares of the profiles with their intervals, and what shuffled snapshots give as a tick."""
    high = np.nan_to_num(found.found.high)
    most = max(float(high.max()), float(found.null.max()), 0.05) * 1.28
    parts, words, names = [], [], []
    count = len(STANDING)
    for i, name in enumerate(STANDING):
        middle = 1 - (i + 0.5) / count
        value, low, top = (float(v[i]) for v in
                           (found.found.share, found.found.low, found.found.high))
        null = float(found.null[i])
        names.append((middle, name))
        if not math.isfinite(value):
            continue
        said = (f"{name}: {share(value)} of the features, 90 % interval {share(low)} to "
                f"{share(top)}; with snapshots shuffled {share(null)}")
        parts += [
            Part((0, max(value, 0.002 * most) / most), (middle - 0.028, middle + 0.028), i, said,
                 links[name]),
            Part((low / most, top / most), (middle - 0.006, middle + 0.006), 5, said),
            Part((null / most - 0.002, null / most + 0.002), (middle - 0.06, middle + 0.06), 6,
                 said),
        ]
        words.append(Words(
            max(top, null if abs(null - top) < 0.2 * most else 0) / most + 0.015, middle,
            f"{share(value)}  ({int(found.found.counts[i]):,})", i, href=links[name],
        ))
    return Drawing(
        tuple(parts), (*profile_colours(p), p.ink, p.muted), 138, left=92,
        y_ticks=tuple(names), words=tuple(words),
    )


def standing_drawing(
    steps: Sequence[int], standing: np.ndarray, links: dict[str, str], step: int, p: Palette
) -> Drawing:
    """Features at half their norm or more, stacked by profile: (P, K) counts."""
    across = Across(steps, pad=0.0)
    x = across.all
    total = standing.sum(axis=0)
    most = max(1, int(total.max())) * 1.04
    below = np.zeros(len(steps))
    parts, ends = [], []
    for i, name in enumerate(STANDING):
        above = below + standing[i]
        corners = tuple((a, b / most) for a, b in zip(x, above, strict=True)) + tuple(
            (a, b / most) for a, b in zip(reversed(x), below[::-1], strict=True))
        if standing[i].any():
            said = (f"{name}: {int(standing[i].max()):,} at most, at step "
                    f"{step_name(steps[int(standing[i].argmax())])}")
            parts.append(Part((0, 1), (0, 1), i, said, links[name], corners))
            ends.append((i, name, float(below[-1] + above[-1]) / 2 / most))
        below = above
    placed = axes.spread([at for _, _, at in ends], 0.075, 0.04, 0.97)
    words = tuple(
        Words(1.012, at, name, i, href=links[name])
        for (i, name, _), at in zip(ends, placed, strict=True)
    )
    unit = 10 ** math.floor(math.log10(most))
    unit = next(u for u in (unit / 5, unit / 2, unit, 2 * unit, 5 * unit) if most / u <= 5)
    unit = max(1.0, unit)
    ticks = tuple((n * unit / most, f"{n * unit:,.0f}") for n in range(int(most / unit) + 1))
    return Drawing(
        tuple(parts), profile_colours(p), 230, left=44, right=96, x_ticks=across.ticks,
        y_ticks=ticks, x_title=STEP_TITLE, words=words, rules=(0.0,),
        upright=step_marks(steps, step)["standing"], mark="standing",
    )
