"""What is marked on a feature's life: the run's window, its birth, its changes, other lives."""

from collections.abc import Sequence
from dataclasses import dataclass

from atlas.axes import plain, position, positions, spread, tidy
from atlas.theme import MONO, SANS, Palette


@dataclass(frozen=True)
class Level:
    """A change of level of the norm, with the interval of its place."""

    step: int
    low: int
    high: int
    p: float
    """Share of shuffled courses that change level at least as much."""


@dataclass(frozen=True)
class Other:
    """Another feature's norm through training."""

    label: str
    """Short name at its end."""
    norm: Sequence[float | None]


@dataclass(frozen=True)
class Span:
    """The run's window of strongest joint change."""

    low: float
    high: float
    """Steps at which it begins and ends."""
    name: str = "reorganisation window"


OCHRE = 2
"""Which of the strands' colours the window has; no line of a life takes it."""
MOST_OTHERS = 4
"""Other features that a life holds before its lines cannot be told apart."""
NAMES = 58
"""Pixels right of the panels for the names of other features."""


def window(found: Span, panels: int, p: Palette) -> tuple[list[dict], list[dict]]:
    """A pale band in every panel and its name at the foot of the first."""
    low, high = (round(position(step), 4) for step in (found.low, found.high))
    ochre = p.strands[OCHRE]
    red, green, blue = (int(ochre[i : i + 2], 16) for i in (1, 3, 5))
    shapes = [
        {
            "type": "rect", "xref": "x", "yref": f"y{'' if i == 0 else i + 1} domain",
            "x0": low, "x1": high, "y0": 0, "y1": 1, "line": {"width": 0}, "layer": "below",
            "fillcolor": f"rgba({red}, {green}, {blue}, {0.16 if p.is_dark else 0.13})",
        }
        for i in range(panels)
    ]
    name = {
        "x": round((low + high) / 2, 4), "xref": "x", "y": 0, "yref": "y domain",
        "yanchor": "bottom", "yshift": 1, "text": found.name, "showarrow": False,
        "font": {"family": SANS, "size": 11, "color": ochre},
    }
    return shapes, [name]


def birth(step: int, last: int, p: Palette) -> dict:
    """The word beside the line of the birth."""
    left = position(step) > 0.8 * position(last)
    return {
        "x": position(step), "xref": "x", "y": 1, "yref": "y domain", "yanchor": "top",
        "xanchor": "right" if left else "left", "xshift": -5 if left else 5,
        "text": f"born {step:,}", "showarrow": False,
        "font": {"family": MONO, "size": 11, "color": p.accent},
    }


def brackets(found: Sequence[Level], at: float, end: float, p: Palette) -> dict:
    """Every change as a diamond on a bracket that spans the interval of its place.

    One whose interval touches that of the change before lies a row lower.
    """
    x: list[float | None] = []
    y: list[float | None] = []
    text: list[str] = []
    symbols: list[str] = []
    height, reached = at, -1.0
    for change in found:
        height = at - 3 * end if position(change.low) <= reached and height == at else at
        reached = position(change.high)
        low, middle, high = (position(s) for s in (change.low, change.step, change.high))
        said = (
            f"level changes at {change.step:,} · 90 %: {change.low:,} to {change.high:,} · "
            f"p {change.p:.3f}"
        )
        points = [(low, height - end), (low, height + end), (low, height), (middle, height),
                  (high, height), (high, height + end), (high, height - end)]
        x += [round(a, 4) for a, _ in points] + [None]
        y += [b for _, b in points] + [None]
        text += [said] * len(points) + [""]
        symbols += ["line-ns"] * 3 + ["diamond"] + ["line-ns"] * 3 + ["line-ns"]
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "change of level",
        "x": x,
        "y": [None if v is None else float(f"{v:.5g}") for v in y],
        "line": {"color": p.ink, "width": 1.3},
        "marker": {"symbol": symbols, "size": 8, "color": p.ink},
        "text": text,
        "hovertemplate": "%{text}<extra></extra>",
        "cliponaxis": False,
        "yaxis": "y",
    }


def others(found: Sequence[Other], steps: Sequence[int], p: Palette) -> list[dict]:
    """Norms of other features as thin lines in colours of their own."""
    colours = [c for i, c in enumerate(p.strands) if i not in (0, OCHRE)]
    return [
        {
            "type": "scatter",
            "mode": "lines",
            "name": other.label,
            "x": positions(steps),
            "y": tidy(other.norm),
            "line": {"color": colour, "width": 1.3},
            "cliponaxis": False,
            "hovertemplate": f"{plain(other.label)}: %{{y:.2f}}<extra></extra>",
            "yaxis": "y",
        }
        for other, colour in zip(found, colours, strict=False)
    ]


def names(found: Sequence[Other], lines: Sequence[dict], layout: dict, p: Palette) -> list[dict]:
    """The name of every other feature at the end of its line, pushed apart."""
    low, high = layout["yaxis"]["range"]
    domain = layout["yaxis"]["domain"]
    panel = (domain[1] - domain[0]) * (layout["height"] - 40)
    last = [next((v for v in reversed(line["y"]) if v is not None), 0.0) for line in lines]
    return [
        {
            "x": 1, "xref": "paper", "xanchor": "left", "xshift": 5, "y": at, "yref": "y",
            "yanchor": "middle", "text": plain(other.label), "showarrow": False,
            "font": {"family": MONO, "size": 11.5, "color": line["line"]["color"]},
        }
        for other, line, at in zip(
            found, lines, spread(last, 14 * (high - low) / panel, low, high), strict=True
        )
    ]
