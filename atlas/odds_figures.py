"""Probability, rank and the gate's verdict through training, as panels over one step axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from atlas.axes import (
    bare_template,
    edges,
    plain,
    position,
    positions,
    short_step,
    spread,
    step_axis,
    tidy,
    upright,
)
from atlas.decompose_markup import LEFT, RIGHT
from atlas.theme import MONO, SANS, SERIF, Palette, axis

PANELS = {"": (0.59, 0.985), "2": (0.275, 0.525), "3": (0.0, 0.205)}
"""Vertical domains of probability, rank and rho, by the number of their axis."""
HEIGHT = 352
LEAST = 1e-12
"""Probability below which a line goes no lower."""


@dataclass(frozen=True)
class Side:
    """The target, or what it is compared with, at every step."""

    name: str
    """Drawn tokens."""
    probability: Sequence[float]
    rank: Sequence[int]


@dataclass(frozen=True)
class Course:
    """What the panels draw."""

    steps: Sequence[int]
    sides: Sequence[Side]
    """The target first."""
    rho: Sequence[float]
    gate: Sequence[bool]
    vocabulary: int
    """Rows of the matrix."""


def percent(value: float) -> str:
    """A probability in at most five characters or so."""
    if value >= 0.0995:
        return f"{value:.0%}"
    return f"{100 * value:.1g}%" if value >= 1e-5 else f"{value:.0e}"


def course_figure(found: Course, step: int, p: Palette) -> dict:
    """Probability and rank of both sides, and the gate's rho, at every step.

    The left and right edges are those of the map beneath. A click on a point tells its step.
    """
    borders = edges(found.steps)
    guess = -math.log10(found.vocabulary)
    logs = [[math.log10(max(v, LEAST)) for v in side.probability] for side in found.sides]
    ranks = [[math.log10(v) for v in side.rank] for side in found.sides]
    low = min([guess, *(v for row in logs for v in row)]) - 0.55
    limits = {"": [low, 0.06], "2": [-guess + 0.2, -0.18], "3": [0, 1.08]}
    ticks = {
        "": [(t, percent(10.0**t)) for t in range(0, math.ceil(low) - 1, -_every(low))
             if t >= low],
        "2": [(t, short_step(10**t)) for t in range(0, math.ceil(-guess), _every(guess))],
        "3": [(0, "0"), (0.5, "0.5"), (1, "1")],
    }
    names = {"": "probability", "2": "rank", "3": "ρ of the gate"}
    data = [*_lines(found, logs, "", [list(map(percent, s.probability)) for s in found.sides], p),
            *_lines(found, ranks, "2", [[f"rank {v:,}" for v in s.rank] for s in found.sides], p),
            *_gate(found, borders, p)]
    annotations = [
        *_ends(found, logs, "", limits[""], p), *_ends(found, ranks, "2", limits["2"], p),
        _guess(borders[0], guess, found.vocabulary, p),
        *(_panel(names[n], PANELS[n], p) for n in PANELS),
    ]
    panels = {
        f"yaxis{n}": {
            **axis(p), "domain": list(PANELS[n]), "range": limits[n], "tickmode": "array",
            "tickvals": [value for value, _ in ticks[n]], "ticktext": [t for _, t in ticks[n]],
        }
        for n in PANELS
    }
    return {
        "data": data,
        "layout": {
            "template": bare_template(p), "height": HEIGHT, "clickmode": "event",
            "barmode": "overlay", "bargap": 0,
            "margin": {"l": LEFT, "r": RIGHT, "t": 4, "b": 10}, "hovermode": "closest",
            "xaxis": {**step_axis(found.steps, p, title=False), "anchor": "y3",
                      "range": [borders[0], borders[-1]], "showticklabels": False, "ticklen": 0},
            **panels,
            "shapes": [
                *(upright(position(step), p.muted, "solid", n) for n in PANELS),
                _level("y", guess, p.muted), _level("y3", 0.5, p.ink),
            ],
            "annotations": annotations,
        },
    }


def _every(low: float, most: int = 4) -> int:
    return max(1, math.ceil(-low / most))


def _level(panel: str, at: float, colour: str) -> dict:
    return {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": panel, "y0": at, "y1": at,
            "line": {"color": colour, "width": 1, "dash": "1px,3px"}}


def _lines(
    found: Course, rows: list[list[float]], panel: str, said: list[list[str]], p: Palette
) -> list[dict]:
    x = positions(found.steps)
    return [
        {
            "type": "scatter", "mode": "lines+markers", "x": x, "y": tidy(row),
            "name": f"{'rank' if panel else 'probability'} of {plain(side.name)}",
            "yaxis": f"y{panel}", "line": {"color": colour, "width": width},
            "marker": {"size": 4.5, "color": colour}, "cliponaxis": False,
            "customdata": list(found.steps), "text": texts,
            "hovertemplate": f"{plain(side.name)} %{{text}}<br>step %{{customdata:,}}"
            "<extra></extra>",
        }
        for side, row, texts, colour, width in zip(
            found.sides, rows, said, (p.accent, p.counter), (2.2, 1.8), strict=False
        )
    ]


def _gate(found: Course, borders: Sequence[float], p: Palette) -> list[dict]:
    """rho as bars as wide as a column of the map; the accent says that the gate fails.

    Over each stands an unseen one as tall as the panel, which the pointer finds.
    """
    middles = [(a + b) / 2 for a, b in zip(borders, borders[1:], strict=False)]
    widths = [b - a for a, b in zip(borders, borders[1:], strict=False)]
    bars = {"type": "bar", "x": [round(v, 4) for v in middles], "yaxis": "y3"}
    return [
        bars | {
            "y": [round(min(v, 1.0), 4) for v in found.rho], "hoverinfo": "skip",
            "width": [round(0.94 * w, 4) for w in widths],
            "marker": {"color": [p.counter if ok else p.accent for ok in found.gate],
                       "opacity": 0.8, "line": {"width": 0}},
        },
        bars | {
            "y": [1.08] * len(middles), "name": "rho", "width": [round(w, 4) for w in widths],
            "marker": {"color": "rgba(0,0,0,0)", "line": {"width": 0}},
            "customdata": list(found.steps),
            "text": [f"ρ {v:.2f}, the gate {'passes' if ok else 'fails'}"
                     for v, ok in zip(found.rho, found.gate, strict=True)],
            "textposition": "none",
            "hovertemplate": "%{text}<br>step %{customdata:,}<extra></extra>",
        },
    ]


def _ends(
    found: Course, rows: list[list[float]], panel: str, limits: list[float], p: Palette
) -> list[dict]:
    """Each side's name behind its last point."""
    share = PANELS[panel][1] - PANELS[panel][0]
    low, high = sorted(limits)
    gap = 15 / (share * (HEIGHT - 10)) * (high - low)
    places = spread([row[-1] for row in rows], gap, low, high) if rows else []
    return [
        {
            "x": 1, "xref": "paper", "xanchor": "left", "xshift": 8, "y": at, "yref": f"y{panel}",
            "yanchor": "middle", "text": plain(side.name), "showarrow": False,
            "font": {"family": MONO, "size": 11.5, "color": colour},
        }
        for side, at, colour in zip(found.sides, places, (p.accent, p.counter), strict=False)
    ]


def _guess(x: float, y: float, rows: int, p: Palette) -> dict:
    return {
        "x": x, "y": y, "xref": "x", "yref": "y", "xanchor": "left", "yanchor": "top",
        "xshift": 3, "text": f"a guess: 1 in {rows:,}", "showarrow": False,
        "font": {"family": SANS, "size": 10.5, "color": p.muted},
    }


def _panel(words: str, domain: tuple[float, float], p: Palette) -> dict:
    """The panel's name in the margin on the left."""
    return {
        "x": 0, "xref": "paper", "xanchor": "left", "xshift": -LEFT, "align": "left",
        "y": sum(domain) / 2, "yref": "paper", "yanchor": "middle", "text": f"<i>{words}</i>",
        "showarrow": False, "font": {"family": SERIF, "size": 14.5, "color": p.muted},
    }


def course_table(found: Course) -> pd.DataFrame:
    """The same, one line per step."""
    sides = {
        f"{what} of {side.name}": list(values) for side in found.sides
        for what, values in (("probability", side.probability), ("rank", side.rank))
    }
    return pd.DataFrame({
        "step": list(found.steps), **sides, "rho": list(found.rho),
        "gate": ["passes" if ok else "fails" for ok in found.gate],
    })
