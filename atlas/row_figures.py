"""How a token's row is built through training, as one Plotly figure of panels over one step axis.

On top the shares of the row (what six features supply, all others, and the remainder, stacked to
the whole) or, where the shares are not known, the lengths the features add; below, the row's
own length and how far it has still to turn.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas.axes import plain, position, positions, spread, step_axis, tidy, upright
from atlas.figures import Band, ribbon
from atlas.row_parts import Bands
from atlas.theme import MONO, SANS, SERIF, Palette, axis, template

TITLE, GAP, FOOT, RIGHT = 24, 12, 42, 224
"""Pixels for the title of a panel, below a panel, for the step axis and for the names."""
TALL, LOW = 250, 74
"""Pixels of the upper panel and of the others."""
OTHERS, REMAINDER = "all other features", "not explained"


@dataclass(frozen=True)
class Strand:
    """One labelled line through the snapshots."""

    label: str
    values: Sequence[float | None]
    name: str = ""
    """Longer text for the tooltip; `label` when empty."""


@dataclass(frozen=True)
class Panel:
    """One measure of the row through training."""

    title: str
    values: Sequence[float | None]
    band: Band | None = None
    """The same measure of all rows."""
    share: bool = False
    """In per cent, on an axis from 0 to 1."""


def row_figure(
    steps: Sequence[int],
    parts: Bands | None,
    names: Sequence[str],
    strands: Sequence[Strand],
    panels: Sequence[Panel],
    step: int,
    p: Palette,
) -> dict:
    """The figure of a row; either `parts` with a name for each of its features, or `strands`."""
    heights = [TALL, *[LOW] * len(panels)]
    total = sum(heights) + len(heights) * TITLE + (len(heights) - 1) * GAP + FOOT
    x = positions(steps)
    inner = total - FOOT
    layout: dict = {
        "template": template(p),
        "height": total,
        "margin": {"l": 48, "r": RIGHT, "t": 0, "b": FOOT},
        "hovermode": "closest",
        "xaxis": {**step_axis(steps, p), "anchor": f"y{_suffix(len(panels))}"},
        "annotations": [],
        "shapes": [],
    }
    top = float(inner)
    for index, height in enumerate(heights):
        upper = top - TITLE
        layout[f"yaxis{_suffix(index)}"] = {
            **axis(p), "domain": [(upper - height) / inner, upper / inner]
        }
        colour = p.muted if index else p.ink  # over the bands a muted line would be lost
        layout["shapes"].append(upright(position(step), colour, "solid", _suffix(index)))
        top = upper - height - GAP
    if parts is not None:
        data, ends, limits = _stack(steps, x, parts, names, p)
        title = "what supplies the row, as shares of its squared length"
        layout["yaxis"] |= {"tickformat": ".0%", "range": limits, "nticks": 6}
    else:
        data, ends, limits = _lines(steps, x, strands, p)
        title = "length that the strongest features add to the row"
        layout["yaxis"] |= {"range": limits, "nticks": 6, "rangemode": "tozero"}
    layout["annotations"] += _end_names(ends, limits, p)
    layout["annotations"].append(_title(0, title, None, p))
    at = list(steps).index(step)
    for index, panel in enumerate(panels, 1):
        data += _course(steps, x, panel, index, at, p)
        layout[f"yaxis{_suffix(index)}"] |= {"range": _range(panel), "nticks": 3} | (
            {"tickformat": ".0%"} if panel.share else {}
        )
        layout["annotations"].append(_title(index, panel.title, _reading(panel, at, step), p))
    return {"data": data, "layout": layout}


def row_table(
    steps: Sequence[int],
    parts: Bands | None,
    names: Sequence[str],
    strands: Sequence[Strand],
    panels: Sequence[Panel],
) -> pd.DataFrame:
    """The numbers of the figure, one row per snapshot."""
    found: dict[str, object] = {"step": list(steps)}
    if parts is not None:
        for name, values in zip(names, parts.values, strict=True):
            found[name] = values.tolist()
        found[OTHERS] = parts.others.tolist()
        found[REMAINDER] = (1 - parts.explained).tolist()
    else:
        found |= {strand.name or strand.label: list(strand.values) for strand in strands}
    return pd.DataFrame(found | {panel.title: list(panel.values) for panel in panels})


def _suffix(index: int) -> str:
    return "" if index == 0 else str(index + 1)


def _stack(
    steps: Sequence[int], x: list[float], parts: Bands, names: Sequence[str], p: Palette
) -> tuple[list[dict], list[tuple[str, float, str]], list[float]]:
    """Bands on one another up to the explained share, hatched from there to the whole."""
    gone = np.isnan(parts.explained)  # a row of no length has no shares
    explained = np.nan_to_num(parts.explained, nan=0.0)
    data: list[dict] = []
    ends: list[tuple[str, float, str]] = []
    below = np.zeros(len(steps))
    for name, values, colour in zip(names, np.nan_to_num(parts.values), p.strands, strict=False):
        data.append(_band(steps, x, below + values, values, name, colour, 0.62))
        ends.append((name, float(below[-1] + values[-1] / 2), colour))
        below = below + values
    others = np.nan_to_num(parts.others)
    upper = np.maximum(below, explained)
    data.append(_band(steps, x, upper, others, OTHERS, p.muted, 0.2))
    ends.append((OTHERS, float((below[-1] + upper[-1]) / 2), p.muted))
    rest = _band(steps, x, np.maximum(upper, 1), 1 - explained, REMAINDER, p.muted, 0.0)
    rest["fillpattern"] = {
        "shape": "/", "size": 6, "solidity": 0.12, "fgcolor": p.muted, "bgcolor": "rgba(0,0,0,0)",
        "fillmode": "replace",
    }
    rest["line"] = {"width": 0}
    data.append(rest)
    ends.append((REMAINDER, float((upper[-1] + max(upper[-1], 1)) / 2), p.muted))
    data.append({
        "type": "scatter", "mode": "lines", "x": x, "y": tidy(explained),
        "line": {"color": p.ink, "width": 1.6}, "cliponaxis": False, "customdata": list(steps),
        "name": "explained",
        "hovertemplate": "explained %{y:.1%}<br>step %{customdata:,}<extra></extra>",
    })
    for trace in data:
        trace["y"] = [None if g else v for v, g in zip(trace["y"], gone, strict=True)]
    low, high = float(explained.min()), float(upper.max())
    return data, ends, [max(-0.3, min(0.0, low)), min(max(1.0, high), 1.5)]


def _band(
    steps: Sequence[int], x: list[float], top: np.ndarray, values: np.ndarray, name: str,
    colour: str, strength: float,
) -> dict:
    """One band up to `top`, down to the line drawn before it; `values` is what it says."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": tidy(top),
        "fill": "tonexty",
        "fillcolor": _faded(colour, strength),
        "line": {"width": 0.6, "color": colour},
        "name": plain(name),
        "customdata": [[s, v] for s, v in zip(steps, tidy(values), strict=True)],
        "hovertemplate": (
            f"{plain(name)} %{{customdata[1]:.1%}}<br>step %{{customdata[0]:,}}<extra></extra>"
        ),
    }


def _faded(colour: str, strength: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {strength})"


def _lines(
    steps: Sequence[int], x: list[float], strands: Sequence[Strand], p: Palette
) -> tuple[list[dict], list[tuple[str, float, str]], list[float]]:
    """One line per feature."""
    data, ends = [], []
    for strand, colour in zip(strands, p.strands, strict=False):
        values = tidy(strand.values)
        data.append({
            "type": "scatter", "mode": "lines+markers", "x": x, "y": values,
            "line": {"color": colour, "width": 1.8}, "marker": {"size": 3.5, "color": colour},
            "cliponaxis": False, "customdata": list(steps),
            "name": plain(strand.name or strand.label),
            "hovertemplate": f"{plain(strand.name or strand.label)}<br>step %{{customdata:,}}"
                             "<br>%{y:.3f}<extra></extra>",
        })
        ends.append((strand.label, values[-1] or 0.0, colour))
    top = max((v for t in data for v in t["y"] if v is not None), default=1.0) or 1.0
    return data, ends, [0.0, 1.06 * top]


def _course(
    steps: Sequence[int], x: list[float], panel: Panel, index: int, at: int, p: Palette
) -> list[dict]:
    """The row's own measure over that of all rows."""
    y = f"y{_suffix(index)}"
    data = []
    if panel.band is not None:
        columns = [tidy([row[q] for row in panel.band.rows]) for q in range(5)]
        data += [
            ribbon(x, columns[0], columns[4], p.wide_band, y),
            ribbon(x, columns[1], columns[3], p.narrow_band, y),
            {"type": "scatter", "mode": "lines", "x": x, "y": columns[2], "hoverinfo": "skip",
             "line": {"color": p.muted, "width": 1, "dash": "1px,3px"}, "yaxis": y},
        ]
    form = ".1%" if panel.share else ".3f"
    data.append({
        "type": "scatter", "mode": "lines+markers", "x": x, "y": tidy(panel.values), "yaxis": y,
        "line": {"color": p.ink, "width": 1.8}, "cliponaxis": False, "customdata": list(steps),
        "marker": {"size": [8 if i == at else 3.5 for i in range(len(x))], "color": p.ink},
        "name": panel.title,
        "hovertemplate": f"%{{y:{form}}}<br>step %{{customdata:,}}<extra></extra>",
    })
    return data


def _range(panel: Panel) -> list[float]:
    if panel.share:
        return [min([0.0, *(v for v in panel.values if v is not None and v == v)]), 1.0]
    seen = [v for v in panel.values if v is not None and math.isfinite(v)]
    if panel.band is not None:
        seen += [row[4] for row in panel.band.rows if row[4] is not None]
    top = max(seen, default=1.0) or 1.0
    return [-0.06 * top, 1.12 * top]


def _reading(panel: Panel, at: int, step: int) -> str:
    value = panel.values[at]
    if value is None or not math.isfinite(value):
        return f"none at step {step:,}"
    return f"{value:.1%} at step {step:,}" if panel.share else f"{value:.2f} at step {step:,}"


def _title(index: int, text: str, reading: str | None, p: Palette) -> dict:
    more = f" · <span style='color:{p.ink}'>{reading}</span>" if reading else ""
    return {
        "x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": f"y{_suffix(index)} domain",
        "yanchor": "bottom", "yshift": 3, "text": f"<i>{text}{more}</i>", "showarrow": False,
        "font": {"family": SERIF, "size": 13.5, "color": p.muted},
    }


def _end_names(
    ends: Sequence[tuple[str, float, str]], limits: list[float], p: Palette
) -> list[dict]:
    """A name beside the right end of each band or line, in its colour, pushed apart."""
    gap = 16 / TALL * (limits[1] - limits[0])
    half = 0.4 * gap
    places = spread([at for _, at, _ in ends], gap, limits[0] + half, limits[1] - half)
    return [
        {
            "x": 1, "xref": "paper", "xanchor": "left", "xshift": 6, "y": at, "yref": "y",
            "yanchor": "middle", "text": plain(name), "showarrow": False,
            "font": {"family": SANS if name in (OTHERS, REMAINDER) else MONO, "size": 11.5,
                     "color": colour},
        }
        for (name, _, colour), at in zip(ends, places, strict=True)
    ]
