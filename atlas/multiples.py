"""Small multiples: panels of one kind in rows and columns, each column over one shared axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from atlas.axes import plain, position, short_step, step_axis, upright
from atlas.markup import share
from atlas.theme import SANS, SERIF, Palette, axis, template

TALL, TITLE, FOOT = 96, 34, 42
"""Pixels of a panel, of the line above it, of the axis below the last."""
ROOT_TICKS = (0.0, 0.01, 0.05, 0.2, 0.5, 1.0)
"""Shares that a square-root axis names."""
FEW_TICKS = (0.0, 0.1, 0.5)
"""Those of a narrow one."""
INKS = (0, 1, 2, 3, 4)
"""Strands that runs are drawn in; from the sixth run on they come back, dashed."""


@dataclass(frozen=True)
class Cell:
    """One panel."""

    title: str
    """Line above it; may hold Plotly's little HTML, so its names have gone through `axes.plain`."""
    traces: Sequence[dict] = ()
    """Without axes; their x lies on the column's axis."""
    y: dict = field(default_factory=dict)
    """Its vertical axis."""
    shapes: Sequence[dict] = ()
    """Without axes; they stand from foot to top of the panel."""
    words: str = ""
    """What stands in the panel's middle instead of a drawing."""


def colour(place: int, p: Palette) -> str:
    """The colour of a run, by its place among the compared."""
    return p.strands[INKS[place % len(INKS)]]


def dash(place: int) -> str:
    """How its lines are dashed."""
    return "solid" if place < len(INKS) else "5px,3px"


def faded(colour: str, strength: float) -> str:
    """A colour let through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{strength})"


def root(values: Sequence[float]) -> list[float]:
    """Shares as a square-root axis draws them, to three decimals, a third of a pixel."""
    return [round(math.sqrt(max(0.0, float(v))), 3) for v in values]


def root_axis(most: float, ticks: Sequence[float] = ROOT_TICKS) -> dict:
    """A square-root axis of shares, up to a little above the largest."""
    top = math.sqrt(max(most, 0.02)) * 1.1
    kept = [v for v in ticks if math.sqrt(v) <= top]
    return {"tickangle": 0, "tickmode": "array", "tickvals": root(kept),
            "ticktext": [f"{v:.0%}" for v in kept], "range": [0, round(top, 4)]}


def time_axis(steps: Sequence[int], kind: str, p: Palette) -> dict:
    """The shared axis of training: the log step with 0 kept, or τ."""
    if kind == "step":
        return step_axis(steps, p)
    return {
        **axis(p), "range": [-0.025, 1.025], "tickmode": "array",
        "tickvals": [0, 0.25, 0.5, 0.75, 1], "ticktext": ["0", "0.25", "0.5", "0.75", "1"],
        "title": {"text": "τ, log(1 + step) from a run’s first to its last snapshot",
                  "font": {"size": 11.5, "color": p.muted}, "standoff": 8},
    }


def in_grid(
    rows: Sequence[Sequence[Cell]], across: Sequence[dict], p: Palette, at: float | None = None,
    tall: int = TALL, left: int = 46, right: int = 14, gap: float = 0.06,
) -> dict:
    """Rows of panels.

    Args:
        across: the shared horizontal axes, one a column.
        at: where a line stands through all rows: the chosen step.
    """
    columns = len(across)
    plot = max(1, len(rows)) * (tall + TITLE)
    wide = (1 - gap * (columns - 1)) / columns
    data: list[dict] = []
    layout: dict = {
        "template": with_titles(p), "height": plot + FOOT, "hovermode": "closest",
        "margin": {"l": left, "r": right, "t": 0, "b": FOOT}, "shapes": [], "annotations": [],
        "barmode": "overlay",
    }
    for c, found in enumerate(across):
        x = suffix(c)
        begin = c * (wide + gap)
        last = suffix((max(1, len(rows)) - 1) * columns + c)
        layout[f"xaxis{x}"] = {**found, "domain": [round(begin, 4), round(begin + wide, 4)],
                               "anchor": f"y{last}"}
        if at is not None:
            layout["shapes"].append({**upright(at, p.muted, "solid", ""), "xref": f"x{x}",
                                     "yref": "paper"})
        for r, row in enumerate(rows):
            cell, y = row[c], suffix(r * columns + c)
            top = 1 - (r * (tall + TITLE) + TITLE) / plot
            layout[f"yaxis{y}"] = {
                "anchor": f"x{x}", "domain": [round(top - tall / plot, 4), round(top, 4)],
                **cell.y, **({"range": [0, 1], "visible": False} if cell.words else {}),
            }
            data += [{**trace, "xaxis": f"x{x}", "yaxis": f"y{y}"} for trace in cell.traces]
            layout["shapes"] += [
                {**shape, "xref": f"x{x}", "yref": f"y{y} domain"} for shape in cell.shapes]
            if cell.title:
                layout["annotations"].append({
                    "xref": f"x{x} domain", "yref": f"y{y} domain", "text": cell.title})
            if cell.words:
                data.append({"type": "scatter", "x": [None], "y": [None], "hoverinfo": "skip",
                             "xaxis": f"x{x}", "yaxis": f"y{y}"})
                layout["annotations"].append({
                    "xref": f"x{x} domain", "y": 0.5, "yref": f"y{y} domain",
                    "text": cell.words, "font": {"family": SANS, "size": 12, "color": p.muted},
                })
    return {"data": data, "layout": layout}


def suffix(index: int) -> str:
    """What Plotly writes behind `x` or `y` for an axis."""
    return "" if index == 0 else str(index + 1)


def title(text: str, x: str, y: str, p: Palette) -> dict:
    """The line above a panel."""
    return {
        "x": 0, "xref": x, "xanchor": "left", "y": 1, "yref": y, "yanchor": "bottom", "yshift": 2,
        "text": text, "showarrow": False, "align": "left",
        "font": {"family": SERIF, "size": 13.5, "color": p.muted},
    }


def with_titles(p: Palette) -> dict:
    """The template whose annotations are such lines unless they say otherwise: half the bytes of
    a grid's."""
    found = template(p)
    usual = {key: value for key, value in title("", "x", "y", p).items()
             if key not in ("xref", "yref", "text")}
    return {**found, "layout": {**found["layout"], "annotationdefaults": usual}}


def named(name: str, ink: str, rest: str = "") -> str:
    """A title's name in the colour of its run, and what stands behind it in italics."""
    more = f" <i>{rest}</i>" if rest else ""
    return f'<span style="color:{ink}"><b>{plain(name)}</b></span>{more}'


def step_of(decades: float) -> str:
    """The step at log10(step + 1), short; between two snapshots it is no whole number."""
    if not math.isfinite(decades):
        return "none"
    found = 10**decades - 1
    return short_step(round(found)) if found >= 10 or abs(found - round(found)) < 0.05 else (
        f"{found:.1f}")


def stems(
    x: Sequence[float], shares: Sequence[float], width: float, ink: str, steps: Sequence[int],
    counts: Sequence[int], words: str,
) -> dict:
    """Upright bars of shares on a square-root axis; an empty one is not sent.

    Args:
        words: what the pointer reads, of `%{customdata[0]}` the step and `[1]` the count.
    """
    kept = [i for i, v in enumerate(shares) if v > 0]
    return {
        "type": "bar", "x": [x[i] for i in kept], "y": root([shares[i] for i in kept]),
        "width": round(width, 4), "marker": {"color": ink, "line": {"width": 0}},
        "customdata": [[steps[i], counts[i]] for i in kept],
        "hovertemplate": f"{words}<extra></extra>",
    }


def bar_width(places: Sequence[float], low: float, high: float) -> float:
    """Width of bars at some places: most of the least distance, but to be seen."""
    found = sorted(set(places))
    least = min((b - a for a, b in zip(found, found[1:], strict=False)), default=high - low)
    return max(0.62 * least, 0.007 * (high - low))


def said(value: float) -> str:
    """A share for a title."""
    return share(value, 0) if value >= 0.1 or value == 0 else share(value, 1)


def position_of_step(step: int, kind: str) -> float | None:
    """Where the chosen step stands; nowhere on τ, which every run has of its own."""
    return round(position(step), 4) if kind == "step" else None
