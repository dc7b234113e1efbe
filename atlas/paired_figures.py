"""The lives of two features on one axis of training, and since when they are alike: a Plotly dict.

The left feature is drawn in the accent, the right one in the other side's colour, everywhere.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from atlas.axes import plain, tidy
from atlas.comparing import places
from atlas.markup import number
from atlas.multiples import Cell, in_grid, position_of_step, time_axis
from atlas.paired_courses import Cosines, scaled
from atlas.rankings import RANKS
from atlas.records import FeatureCard, RunCard
from atlas.theme import MONO, Palette, axis

TALL = 128
"""Pixels of a panel."""
SEEN = 0.02
"""Part of the axis beyond its ends that the band of chance covers."""


@dataclass(frozen=True)
class Course:
    """One of the two, as a figure needs it."""

    name: str
    """Its number and its run, short."""
    run: RunCard
    card: FeatureCard

    @property
    def born(self) -> int | None:
        """Step of its birth by the norm."""
        return self.card.info.birth_floor_step

    @property
    def has_life(self) -> bool:
        """Whether there is a course to draw."""
        return len(self.card.steps) > 1 and not all(math.isnan(v) for v in scaled(self.card.norm))


def inks(p: Palette) -> tuple[str, str]:
    """Colours of the left and of the right feature."""
    return p.accent, p.counter


def lives_figure(
    left: Course, right: Course, found: Cosines, shared: dict[int, int | None], kind: str,
    step: int, p: Palette,
) -> dict:
    """Norms and norms over their largest; below them, or beside them where there is one of the two
    alone, the cosine of the directions and the promoted tokens that both have. Empty where neither
    has a life.

    Args:
        found: of `atlas.paired.cosines`. shared: of `atlas.paired_courses.tokens_shared`; empty
            where tokens do not compare. kind: "step" or "tau".
        step: the chosen one.
    """
    drawn = [(side, ink) for side, ink in zip((left, right), inks(p), strict=True) if side.has_life]
    if not drawn:
        return {}
    steps = sorted({s for side, _ in drawn for s in side.card.steps})
    names = " and ".join(f'<span style="color:{ink}"><b>{plain(side.name)}</b></span>'
                         for side, ink in drawn)
    lives = [_norms(f"norm of {names}", drawn, kind, False, p),
             _norms("norm over its largest", drawn, kind, True, p)]
    alike = _since_when(left, right, found, shared, kind, p)
    rows = [lives, alike] if len(alike) == len(lives) else [[*lives, *alike]]
    across = [time_axis(steps, kind, p)] * len(rows[0])
    figure = in_grid(rows, across, p, position_of_step(step, kind), tall=TALL, left=40)
    figure["layout"]["annotations"] += _births(drawn, kind)
    return figure


def _norms(
    title: str, drawn: Sequence[tuple[Course, str]], kind: str, over: bool, p: Palette
) -> Cell:
    traces, shapes = [], []
    for side, ink in drawn:
        values = scaled(side.card.norm) if over else side.card.norm
        traces.append({
            "type": "scatter", "mode": "lines+markers",
            "x": places(side.card.steps, side.run, kind), "y": tidy(values.tolist()),
            "line": {"color": ink, "width": 1.8}, "marker": {"color": ink, "size": 4.5},
            "customdata": list(side.card.steps), "cliponaxis": False,
            "hovertemplate": f"{plain(side.name)} at step %{{customdata:,}}: %{{y:.2f}}"
                             "<extra></extra>",
        })
        if side.born is not None:
            (at,) = places([side.born], side.run, kind)
            shapes.append({"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1,
                           "line": {"color": ink, "width": 1.2, "dash": "3px,3px"}})
    most = 1.0 if over else max(
        (v for trace in traces for v in trace["y"] if v is not None), default=1.0) or 1.0
    return Cell(title, traces, {**axis(p), "range": [-0.04 * most, 1.26 * most], "nticks": 5},
                shapes)


def _births(drawn: Sequence[tuple[Course, str]], kind: str) -> list[dict]:
    """When each is born, beside its line in the first panel, a row each."""
    found = []
    for row, (side, ink) in enumerate(drawn):
        if side.born is None:
            continue
        ends = places([side.card.steps[0], side.born, side.card.steps[-1]], side.run, kind)
        right = ends[1] > ends[0] + 0.75 * (ends[2] - ends[0])
        found.append({
            "x": ends[1], "xref": "x", "xanchor": "right" if right else "left",
            "xshift": -4 if right else 4, "y": 1, "yref": "y domain", "yanchor": "top",
            "yshift": -14 * row, "text": f"born {side.born:,}",
            "font": {"family": MONO, "size": 10.5, "color": ink},
        })
    return found


def _since_when(
    left: Course, right: Course, found: Cosines, shared: dict[int, int | None], kind: str,
    p: Palette,
) -> list[Cell]:
    """Cosine and shared tokens at the snapshots of both; empty with fewer than two of them."""
    if max(len(found.steps), len(shared)) < 2:
        return []
    if kind == "tau" and left.run.steps != right.run.steps:
        return [Cell("since when they are alike", words="not drawn on τ: the schedules differ")]
    cells = [_cosines(left, right, found, kind, p)] if found.steps else []
    if shared:
        cells.append(_shared(left, right, shared, kind, p))
    return cells


def _shared(
    left: Course, right: Course, shared: dict[int, int | None], kind: str, p: Palette
) -> Cell:
    kept = {step: count for step, count in shared.items() if count is not None}
    return Cell(
        f"promoted tokens that both have, of {RANKS}",
        [{"type": "scatter", "mode": "lines+markers", "x": places(list(kept), left.run, kind),
          "y": list(kept.values()), "customdata": list(kept),
          "line": {"color": p.ink, "width": 1.4},
          "marker": _marks([_silent(left, right, step) for step in kept], p),
          "hovertemplate": f"step %{{customdata:,}}: %{{y}} of {RANKS}<extra></extra>",
          "cliponaxis": False}],
        {**axis(p), "range": [-0.05 * RANKS, 1.08 * RANKS], "tickmode": "array",
         "tickvals": [0, RANKS // 2, RANKS]},
    )


def _cosines(left: Course, right: Course, found: Cosines, kind: str, p: Palette) -> Cell:
    x = places(list(found.steps), left.run, kind)
    wide = SEEN * (x[-1] - x[0])
    low, high, c = x[0] - wide, x[-1] + wide, round(found.chance, 3)
    values = tidy(found.values.tolist())
    floor = min([-0.25, -1.3 * c, *(v for v in values if v is not None)])
    return Cell(
        f"cosine of the two directions; grey, ±{number(c, 2)}, two random ones",
        [
            {"type": "scatter", "mode": "lines", "x": [low, high, high, low], "y": [-c, -c, c, c],
             "fill": "toself", "fillcolor": p.narrow_band, "line": {"width": 0},
             "hoverinfo": "skip"},
            {"type": "scatter", "mode": "lines+markers", "x": x,
             "y": [None if v is None else round(v, 3) for v in values],
             "customdata": list(found.steps), "line": {"color": p.ink, "width": 1.8},
             "marker": _marks([_silent(left, right, step) for step in found.steps], p),
             "hovertemplate": "step %{customdata:,}: cosine %{y:.2f}<extra></extra>",
             "cliponaxis": False},
        ],
        {**axis(p), "range": [1.06 * floor, 1.06], "tickmode": "array",
         "tickvals": [v for v in (-1, -0.5, 0, 0.5, 1) if v >= 1.06 * floor]},
    )


def _silent(left: Course, right: Course, step: int) -> bool:
    """Whether one of them fires on nothing at a step, so that its direction is noise there."""
    return any(not side.card.rate[side.card.steps.index(step)] > 0 for side in (left, right))


def _marks(silent: Sequence[bool], p: Palette) -> dict:
    """Dots, hollow where one of the two fires on nothing."""
    return {"symbol": ["circle-open" if one else "circle" for one in silent], "size": 5.5,
            "color": p.ink}
