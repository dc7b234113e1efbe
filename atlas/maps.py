"""The map of a run's features: points over a shade of where all features lie.

Plain SVG points of a capped number, no WebGL: it opens in any browser. Coordinates are whole
thousandths and colours 256 levels, so that a map costs tens of kilobytes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

from atlas.axes import plain
from atlas.markup import wrap
from atlas.spread import MapPoints
from atlas.theme import MONO, Palette, template

UNITS = 1000
"""Whole steps of a coordinate between 0 and 1."""
CORNERS = 12
"""Corners that a lasso keeps at most: they stand in every link of the page."""
HOVER = 14
"""Characters of a label that the pointer shows."""
MOST_NAMES = 5
"""Categories with a colour of their own; the rest are "other", in the grey that the sixth of the
strands' colours is too."""


@dataclass(frozen=True)
class Scale:
    """How the values of a measure become colours."""

    words: str
    """Name of the measure."""
    names: tuple[str, ...] = ()
    """Categories with a colour each, commonest first; () for a measure of numbers."""
    low: float = 0.0
    high: float = 1.0
    """Ends of the colours; values beyond them have the colour of the end."""
    log: bool = False
    """Equal ratios are equal steps of colour."""
    signed: bool = False
    """Two colours that meet at zero."""


def scale_of(words: str, values: np.ndarray, rising: bool = False) -> Scale:
    """The scale that fits the values: categories, a diverging one about 0, or one of its extent.

    Of numbers the lowest and highest hundredth are cut off. `rising` says that the measure has a
    heavy tail, so that positive values go by ratio.
    """
    if values.dtype == object:
        found, counts = np.unique([str(v) for v in values if v is not None], return_counts=True)
        order = np.argsort(-counts, kind="stable")[:MOST_NAMES]
        return Scale(words, tuple(str(found[i]) for i in order))
    real = values[np.isfinite(values)].astype(float)
    if not len(real):
        return Scale(words)
    low, high = (float(v) for v in np.quantile(real, (0.01, 0.99)))
    if low < 0 < high and real.min() < -1e-9:
        top = max(-low, high)
        return Scale(words, low=-top, high=top, signed=True)
    if rising and (real > 0).any():
        low = float(np.quantile(real[real > 0], 0.01))
        if high > 8 * low > 0:
            return Scale(words, low=low, high=high, log=True)
    return Scale(words, low=low, high=high if high > low else low + (abs(low) or 1.0))


def levels(scale: Scale, values: np.ndarray) -> np.ndarray:
    """(n,) uint8 levels 1 to 255 of the values on the scale, 0 where there is no value.

    Of categories: 1 for the first, 2 for the second …, 0 for the rest.
    """
    if scale.names:
        place = {name: i + 1 for i, name in enumerate(scale.names)}
        return np.array([place.get(v, 0) for v in values], np.uint8)
    if values.dtype == object:
        return np.zeros(len(values), np.uint8)
    real = values.astype(float)
    low, high = scale.low, scale.high
    with np.errstate(divide="ignore", invalid="ignore"):
        if scale.log:
            real = np.log(np.maximum(real, low))
            low, high = math.log(low), math.log(high)
        share = np.clip((real - low) / (high - low), 0, 1)
    return np.where(np.isfinite(share), 1 + np.round(254 * np.nan_to_num(share)), 0).astype(
        np.uint8
    )


def ramp(scale: Scale, p: Palette) -> list[str]:
    """Colours from the low to the high end, told apart by lightness alone too."""
    if scale.signed:
        middle = "#b9b2a2" if not p.is_dark else "#6d7278"
        return [p.counter, middle, p.accent]
    if p.is_dark:
        return ["#5d5a7d", "#c0617a", "#f0a06d", "#fdeec2"]
    return ["#d8b464", "#c06a35", "#8f2a35", "#33142f"]


def _colours(scale: Scale, p: Palette) -> tuple[list[list], float]:
    """A Plotly colour scale over the levels, and the highest level."""
    none = p.muted
    if scale.names:
        inks = [none, *p.strands[: len(scale.names)]]
        n = len(inks)
        return [[edge, c] for i, c in enumerate(inks) for edge in (i / n, (i + 1) / n)], n - 0.5
    inks = ramp(scale, p)
    first = 1 / 255
    rest = [[first + (1 - first) * i / (len(inks) - 1), c] for i, c in enumerate(inks)]
    return [[0, none], [first * 0.99, none], *rest], 255


def map_figure(
    points: MapPoints, scale: Scale, lasso: Sequence[tuple[float, float]], p: Palette,
    height: int = 560,
) -> dict:
    """The figure: a shade of all features, points that do not pass in grey, those that do above.

    `customdata` of the upper points is the feature's index, and only they have a text; a click
    or a lasso is read by index or by place, never by position in the list.
    """
    colours, top = _colours(scale, p)
    passes = points.passes.astype(bool)
    inked = levels(scale, points.values)
    many = int(passes.sum())
    ids = points.features[passes]
    labels = [label for label, on in zip(points.labels, passes, strict=True) if on]
    texts = [plain(_short(label)) for label in labels]
    kind = np.uint16 if len(ids) == 0 or ids.max() < 2**16 else np.int32
    traces = [
        _shade(points.density, p),
        {
            "type": "scatter", "mode": "markers", "hoverinfo": "skip",
            **_places(points, ~passes),
            "marker": {"size": 3, "color": p.muted, "opacity": 0.28},
            "selected": {"marker": {"opacity": 0.28}},
            "unselected": {"marker": {"opacity": 0.28}},
        },
        {
            "type": "scatter", "mode": "markers", **_places(points, passes),
            "customdata": ids.astype(kind),
            "text": texts, "hovertemplate": "%{customdata}  %{text}<extra></extra>",
            "marker": {
                "size": 4.5 if many > 1200 else 5.5 if many > 200 else 7,
                "color": inked[passes], "cmin": -0.5 if scale.names else 0, "cmax": top,
                "colorscale": colours, "opacity": 0.85, "line": {"width": 0},
            },
            "selected": {"marker": {"opacity": 0.95}},
            "unselected": {"marker": {"opacity": 0.25}},
        },
    ]
    return {"data": traces, "layout": _layout(lasso, p, height)}


def _short(label: str) -> str:
    """The first tokens of a label: thousands of them travel with every map."""
    return label if len(label) <= HOVER else label[: HOVER - 1] + "…"


def map_table(points: MapPoints, words: str) -> pd.DataFrame:
    """The points that pass as a table: what a reader without figures has of the map."""
    passes = points.passes.astype(bool)
    labels = [label for label, on in zip(points.labels, passes, strict=True) if on]
    return pd.DataFrame({
        "feature": points.features[passes],
        "strongest firing tokens": labels,
        words: points.values[passes],
        "across": np.round(points.x[passes], 2),
        "upwards": np.round(points.y[passes], 2),
    })


def _places(points: MapPoints, which: np.ndarray) -> dict:
    return {
        axis: np.round(UNITS * values[which]).astype(np.uint16)
        for axis, values in (("x", points.x), ("y", points.y))
    }


def _shade(density: np.ndarray, p: Palette) -> dict:
    """Where all features lie, as a faint shade that goes by the square root of their number."""
    rows, columns = density.shape
    most = max(1.0, float(density.max(initial=0)))
    shade = np.round(255 * np.sqrt(density / most)).astype(np.uint8)
    red, green, blue = (int(p.ink[i : i + 2], 16) for i in (1, 3, 5))
    return {
        "type": "heatmap", "z": shade, "x0": UNITS / columns / 2, "dx": UNITS / columns,
        "y0": UNITS / rows / 2, "dy": UNITS / rows, "zmin": 0, "zmax": 255, "zsmooth": "best",
        "showscale": False, "hoverinfo": "skip",
        "colorscale": [[0, f"rgba({red},{green},{blue},0)"],
                       [1, f"rgba({red},{green},{blue},0.22)"]],
    }


def _layout(lasso: Sequence[tuple[float, float]], p: Palette, height: int) -> dict:
    axis = {
        "visible": False, "range": [-0.02 * UNITS, 1.02 * UNITS], "fixedrange": False,
        "constrain": "domain",
    }
    shapes = []
    if lasso:
        path = " L ".join(f"{UNITS * x:.0f} {UNITS * y:.0f}" for x, y in lasso)
        shapes.append({
            "type": "path", "path": f"M {path} Z", "layer": "above",
            "line": {"color": p.accent, "width": 1.2, "dash": "dot"},
            "fillcolor": "rgba(0,0,0,0)",
        })
    return {
        "template": template(p),
        "height": height,
        "margin": {"l": 0, "r": 0, "t": 0, "b": 0},
        "xaxis": axis,
        "yaxis": axis,
        "shapes": shapes,
        "dragmode": "lasso",
        "clickmode": "event+select",
        "hovermode": "closest",
        "newselection": {"line": {"color": p.accent, "width": 1.2, "dash": "dot"}},
        "hoverlabel": {
            "font": {"family": MONO, "size": 11.5, "color": p.ink},
            "bgcolor": p.raised, "bordercolor": p.rule, "align": "left",
        },
        "modebar": {
            "bgcolor": "rgba(0,0,0,0)", "color": p.muted, "activecolor": p.accent,
            "orientation": "v",
        },
        # a new lasso is a new figure: what was drawn by hand in the old one is let go
        "selectionrevision": str(list(lasso)),
    }


BUTTONS = [["lasso2d", "select2d", "zoom2d", "pan2d", "resetScale2d"]]
"""What the map's bar of tools holds."""


def polygon(selection: dict) -> list[tuple[float, float]]:
    """The corners, in [0, 1], of the lasso or box in what a chart says was selected.

    [] where it holds neither. A lasso keeps the corners that shape it most, 12 at most; points
    outside the map move to its edge.
    """
    for drawn in selection.get("lasso") or ():
        corners = [_inside(x, y) for x, y in zip(drawn["x"], drawn["y"], strict=True)]
        corners = list(dict.fromkeys(corners))
        if len(corners) >= 3:
            return simplified(corners, CORNERS)
    for drawn in selection.get("box") or ():
        (a, b), (c, d) = sorted(drawn["x"][:2]), sorted(drawn["y"][:2])
        return [_inside(x, y) for x, y in ((a, c), (b, c), (b, d), (a, d))]
    return []


def simplified(corners: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most `most` corners of a polygon: the ones left out enclose the smallest triangles.

    Corners on a straight line go first (Visvalingam's rule).
    """
    kept = list(corners)
    while len(kept) > 3:
        areas = [_triangle(kept[i - 1], kept[i], kept[(i + 1) % len(kept)])
                 for i in range(len(kept))]
        least = min(range(len(kept)), key=areas.__getitem__)
        if len(kept) <= most and areas[least] > 1e-4:
            break
        del kept[least]
    return kept


def _triangle(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]
) -> float:
    return abs((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])) / 2


def _inside(x: float, y: float) -> tuple[float, float]:
    return (round(min(1.0, max(0.0, x / UNITS)), 2), round(min(1.0, max(0.0, y / UNITS)), 2))


def picked(selection: dict) -> int | None:
    """The feature of a single point that was clicked, by the index it carries; else None."""
    points = selection.get("points") or ()
    if len(points) != 1 or selection.get("lasso") or selection.get("box"):
        return None
    carried = points[0].get("customdata")
    if isinstance(carried, list | tuple):
        carried = carried[0] if carried else None
    return int(carried) if isinstance(carried, int | float) and carried >= 0 else None


def scale_html(scale: Scale, say: Callable[[float], str], p: Palette) -> str:
    """The scale in a line: colours with the values at their ends, or categories with a dot each.

    `say` puts a value into words. Colours are those of the palette `p`, as the points have them.
    """
    if scale.names:
        dots = "".join(
            f'<span class="cat"><i class="dot" style="background:{ink}"></i>{escape(name)}</span>'
            for name, ink in zip(scale.names, p.strands, strict=False)
        )
        return wrap(f'<div class="atl-scale">{dots}<span class="cat"><i class="dot" '
                    f'style="background:{p.muted}"></i>other or none</span></div>')
    bar = f"linear-gradient(90deg,{','.join(ramp(scale, p))})"
    middle = math.sqrt(scale.low * scale.high) if scale.log else (scale.low + scale.high) / 2
    return wrap(
        f'<div class="atl-scale"><span class="num">{escape(say(scale.low))}</span>'
        f'<i class="bar" style="background:{bar}"></i>'
        f'<span class="num">{escape(say(scale.high))}</span>'
        f'<span>middle {escape(say(middle))}{", by ratio" if scale.log else ""}</span></div>'
    )
