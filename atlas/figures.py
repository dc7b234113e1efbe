"""A feature's life as a Plotly figure: numbers in, plain dictionaries out.

Built in two moves: a skeleton that depends on the run and the theme only, and a fill that swaps
a handful of arrays.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from atlas import life_marks
from atlas.axes import position, positions, step_axis, tidy, upright
from atlas.life_marks import Level, Other, Span
from atlas.theme import SERIF, Palette, template

RATE_FLOOR_DECADES = 0.35
"""How far below the smallest possible rate the line "0" lies, in decades."""


@dataclass(frozen=True)
class Band:
    """Percentiles 5, 25, 50, 75, 95 of a measure over all features, one row per snapshot."""

    rows: Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class Life:
    """One feature's four measures, K values each; None where a measure does not exist."""

    norm: Sequence[float | None]
    rate: Sequence[float | None]
    rotation: Sequence[float | None]
    """Against the snapshot before; the first is None."""
    to_terminal: Sequence[float | None]
    """1 - cosine to the direction of the last snapshot, whose own value is 0."""
    birth_step: int | None
    contribution: Sequence[float | None] = ()
    """Mean length it adds to a row at every snapshot, read with the norm; empty if not derived."""
    changes: Sequence[Level] = ()
    """Changes of level of the norm, drawn over its panel."""
    others: Sequence[Other] = ()
    """Norms of other features, drawn thin beside this one's."""


PANELS = (
    ("norm", (0.6, 0.96), "decoder norm"),
    ("rate", (0.395, 0.535), "rate, share of rows it fires on"),
    ("rotation", (0.2, 0.33), "rotation since the snapshot before, 1 − cos"),
    ("to_terminal", (0.0, 0.13), "turn still to come until its last direction, 1 − cos"),
)
"""Key, vertical domain and title of each panel of a life figure, from the top."""


def log_rates(rates: Sequence[float | None], smallest: float) -> list[float | None]:
    """Rates as decades; zero goes to a line of its own below the smallest possible rate."""
    floor = math.log10(smallest) - RATE_FLOOR_DECADES
    return [
        None if r is None or not math.isfinite(r) else (math.log10(r) if r > 0 else floor)
        for r in rates
    ]


def rate_axis(smallest: float) -> dict:
    """Vertical axis of the rate panel: 0, then decades named in per cent."""
    floor = math.log10(smallest) - RATE_FLOOR_DECADES
    decades = [e for e in range(-6, 1) if 10.0**e >= smallest]
    names = {0: "100%", -1: "10%", -2: "1%", -3: "0.1%", -4: "0.01%", -5: "0.001%", -6: "1e-6"}
    return {
        "tickmode": "array",
        "tickvals": [floor, *decades],
        "ticktext": ["0", *(names[e] for e in decades)],
        "range": [floor - 0.25, 0.15],
    }


def panel_title(index: int, text: str, p: Palette) -> dict:
    """Title above a panel, at its left edge, in serif italics."""
    suffix = "" if index == 0 else str(index + 1)
    return {
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "y": 1,
        "yref": f"y{suffix} domain",
        "yanchor": "bottom",
        "yshift": 3,
        "text": f"<i>{text}</i>",
        "showarrow": False,
        "font": {"family": SERIF, "size": 13.5, "color": p.muted},
    }


def ribbon(x: list[float], low: list, high: list, colour: str, y: str) -> dict:
    """A filled band between two curves; places without numbers are left out."""
    kept = [i for i in range(len(x)) if low[i] is not None and high[i] is not None]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [x[i] for i in kept] + [x[i] for i in reversed(kept)],
        "y": [high[i] for i in kept] + [low[i] for i in reversed(kept)],
        "fill": "toself",
        "fillcolor": colour,
        "line": {"width": 0},
        "hoverinfo": "skip",
        "yaxis": y,
    }


def life_skeleton(
    steps: Sequence[int],
    bands: dict[str, Band],
    n_rows: int,
    p: Palette,
    height: int = 590,
    window: Span | None = None,
) -> dict:
    """All of a life figure that does not depend on the feature.

    Four panels under one another over one step axis: the population in grey (5 to 95 %, quartiles,
    median dotted) and, last in each panel, an empty line for the feature; the run's window as a
    pale band through all of them. `n_rows` is the number of rows of the matrix: 1 / n_rows is the
    smallest rate that is not 0.
    """
    x = positions(steps)
    smallest = 1.0 / n_rows
    data: list[dict] = []
    layout: dict = {
        "template": template(p),
        "height": height,
        "margin": {"l": 52, "r": 12, "t": 0, "b": 40},
        "hovermode": "x",
        "hoverdistance": 40,
        "xaxis": {**step_axis(steps, p), "anchor": "y4"},
    }
    for index, (key, domain, _) in enumerate(PANELS):
        suffix = "" if index == 0 else str(index + 1)
        y = f"y{suffix}"
        band = bands.get(key)
        if band is not None:
            rows = [list(row) for row in band.rows]
            columns = [tidy([row[q] for row in rows]) for q in range(5)]
            if key == "rate":
                columns = [log_rates(column, smallest) for column in columns]
            columns = [_coarse(column) for column in columns]
            data.append(ribbon(x, columns[0], columns[4], p.wide_band, y))
            data.append(ribbon(x, columns[1], columns[3], p.narrow_band, y))
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "x": x,
                    "y": columns[2],
                    "line": {"color": p.muted, "width": 1, "dash": "1px,3px"},
                    "hoverinfo": "skip",
                    "yaxis": y,
                }
            )
        data.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": key,
                "x": x,
                "y": [None] * len(x),
                "line": {"color": p.accent, "width": 2},
                "marker": {"size": 4.5, "color": p.accent, "opacity": 1, "line": {"width": 0}},
                "cliponaxis": False,
                "customdata": list(steps),
                "hovertemplate": "%{text}<extra></extra>",
                "text": [""] * len(x),
                "yaxis": y,
            }
        )
        # what all axes share is in the template, once
        vertical = rate_axis(smallest) if key == "rate" else {"nticks": 5 if key == "norm" else 3}
        vertical["domain"] = list(domain)
        layout[f"yaxis{suffix}"] = vertical
    if window is not None:
        layout["shapes"], layout["annotations"] = life_marks.window(window, len(PANELS), p)
    return {"data": data, "layout": layout}


def _coarse(values: Sequence[float | None]) -> list[float | None]:
    """Three significant digits: a band is read by its edge, and all of a run's bands are sent."""
    return [None if v is None else float(f"{v:.3g}") for v in values]


def _reading(key: str, value: float | None, step: int) -> str:
    """The value of one panel at the chosen step, for its title."""
    if value is None or not math.isfinite(value):
        return f"none at step {step:,}"
    shown = f"{value:.2%}" if key == "rate" else f"{value:.2f}"
    return f"{shown} at step {step:,}"


def _hover(key: str, value: float | None, step: int) -> str:
    """The same for the pointer, shorter: every snapshot has one."""
    if value is None or not math.isfinite(value):
        return ""
    return f"{value:.2%} at {step:,}" if key == "rate" else f"{value:.2f} at {step:,}"


def life(
    skeleton: dict, steps: Sequence[int], found: Life, step: int, n_rows: int, p: Palette
) -> dict:
    """A skeleton filled with one feature; the skeleton itself is left as it is.

    `step` is the chosen step: a plain upright line, and the readings in the panel titles.
    """
    data = list(skeleton["data"])
    layout = dict(skeleton["layout"])
    chosen = list(steps).index(step)
    annotations = list(layout.get("annotations", ()))
    others = found.others[:life_marks.MOST_OTHERS]
    for index, (key, _, title) in enumerate(PANELS):
        values = tidy(getattr(found, key))
        place = next(i for i, trace in enumerate(data) if trace.get("name") == key)
        drawn = tidy(log_rates(values, 1.0 / n_rows)) if key == "rate" else values
        sizes = [9 if i == chosen else 4.5 for i in range(len(steps))]
        data[place] = {
            **data[place],
            "y": drawn,
            "text": [_hover(key, v, s) for v, s in zip(values, steps, strict=True)],
            "marker": {**data[place]["marker"], "size": sizes},
        }
        if key == "norm" and found.contribution:
            data[place]["text"] = _with_contribution(data[place]["text"], found.contribution)
        reading = _reading(key, values[chosen], step)
        text = f"{title} · <span style='color:{p.ink}'>{reading}</span>"
        annotations.append(panel_title(index, text, p))
        suffix = "" if index == 0 else str(index + 1)
        if key != "rate":
            beside = [v for other in others for v in tidy(other.norm)] if key == "norm" else []
            limits = _range([*values, *beside], skeleton, suffix)
            if key == "norm" and (found.changes or found.birth_step is not None):
                limits[1] *= 1.12  # a line of its own for the change and the birth
            layout[f"yaxis{suffix}"] = {**layout[f"yaxis{suffix}"], "range": limits}
    top = layout["yaxis"]["range"][1]
    panels = ["" if i == 0 else str(i + 1) for i in range(len(PANELS))]
    shapes = [
        *layout.get("shapes", ()), *(upright(position(step), p.muted, "solid", s) for s in panels)
    ]
    if found.birth_step is not None:
        at = position(found.birth_step)
        shapes += [upright(at, p.accent, "3px,3px", s) for s in panels]
        annotations.append(life_marks.birth(found.birth_step, max(steps), p))
    if found.changes:
        data.append(life_marks.brackets(found.changes, 0.9 * top, 0.025 * top, p))
    if others:
        lines = life_marks.others(others, steps, p)
        data += lines
        layout["margin"] = {**layout["margin"], "r": life_marks.NAMES}
        annotations += life_marks.names(others, lines, layout, p)
    layout["annotations"] = annotations
    layout["shapes"] = shapes
    return {"data": data, "layout": layout}


def _with_contribution(readings: Sequence[str], found: Sequence[float | None]) -> list[str]:
    """Readings of the norm with what the feature adds to a row there."""
    return [
        reading if v is None or not math.isfinite(v) else f"{reading}, adds {v:.3f}"
        for reading, v in zip(readings, found, strict=True)
    ]


def _range(values: list, skeleton: dict, suffix: str) -> list[float]:
    """Vertical range that holds the feature and the wide band of its panel."""
    panel = [t for t in skeleton["data"] if t["yaxis"] == f"y{suffix}" and t.get("fill")]
    seen = [v for y in [*(t["y"] for t in panel), values] for v in y if v is not None]
    top = max(seen, default=1.0) or 1.0
    return [-0.06 * top, 1.14 * top]


@cache
def _taken_as_it_is() -> type:
    from plotly.basedatatypes import BaseFigure

    class TakenAsItIs(BaseFigure):
        """A figure of ours under Plotly's own name."""

        def __init__(self, figure: dict) -> None:
            self._figure = figure

        def to_dict(self) -> dict:
            return self._figure

    return TakenAsItIs


def unchecked(figure: dict) -> Any:
    """A figure that Plotly takes as it is.

    Its check of every property takes 15 ms a figure, a third of a page; our figures are checked
    by the tests instead. Plotly is imported here and nowhere else.
    """
    return _taken_as_it_is()(figure)
