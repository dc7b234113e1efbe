"""How many features explain how much of a score, as a figure."""

import math

import numpy as np
import pandas as pd

from atlas.axes import short_step, tidy
from atlas.coverage import Coverage, Curve
from atlas.theme import SANS, Palette, axis, template

POINTS = 160
"""Places at which a curve over thousands of features is drawn."""


# --- coverage ------------------------------------------------------------------------------------


def coverage_figure(
    found: Curve, spread_of: Coverage, p: Palette, show: bool, height: int = 236
) -> dict:
    """Share of the summed sizes held by the largest features, over their number.

    Dotted is what features of one size would hold: the null of a score without large ones. Sums of
    contributions are said under the pointer only if `show`: their differences are the features.
    """
    count = len(found.share) - 1
    places = _places(count)
    even = [n / count for n in places]
    share = [float(found.share[n]) for n in places]
    said = [f"<br>together {found.total[n]:+.3f}".replace("-", "−") if show else "" for n in places]
    x = [round(math.log10(n), 4) for n in places]
    data = [
        {
            "type": "scatter", "mode": "lines", "name": "were all of one size", "x": x,
            "y": tidy(even), "line": {"color": p.muted, "width": 1, "dash": "1px,3px"},
            "customdata": places, "hovertemplate": "%{customdata} features of one size: %{y:.0%}"
            "<extra></extra>",
        },
        {
            "type": "scatter", "mode": "lines", "name": "share of the mass", "x": x,
            "y": tidy(share), "line": {"color": p.accent, "width": 2.2}, "cliponaxis": False,
            "customdata": places, "text": said,
            "hovertemplate": "the %{customdata} largest: %{y:.0%} of the mass%{text}"
            "<extra></extra>",
        },
    ]
    ticks = [n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)
             if n <= count]
    if len(ticks) > 7:
        ticks = [n for n in ticks if str(n)[0] == "1"]
    marks = []
    if spread_of.n80:
        at = math.log10(spread_of.n80)
        data.append({
            "type": "scatter", "mode": "markers", "x": [at], "y": [share_at(found, spread_of.n80)],
            "marker": {"size": 8, "color": p.paper, "line": {"color": p.accent, "width": 2}},
            "hoverinfo": "skip", "cliponaxis": False,
        })
        late = at > 0.62 * math.log10(max(count, 2))
        marks.append({
            "x": at, "y": share_at(found, spread_of.n80), "xanchor": "right" if late else "left",
            "yanchor": "bottom" if late else "top",
            "xshift": -8 if late else 8, "yshift": 2 if late else -4, "showarrow": False,
            "text": f"80 % in {spread_of.n80:,} feature{'s' if spread_of.n80 != 1 else ''}",
            "font": {"family": SANS, "size": 11.5, "color": p.accent},
        })
    return {
        "data": data,
        "layout": {
            "template": template(p), "height": height,
            "margin": {"l": 48, "r": 16, "t": 10, "b": 42}, "hovermode": "closest",
            "xaxis": {
                **axis(p), "range": [-0.03, math.log10(max(count, 2)) + 0.02],
                "tickmode": "array", "tickvals": [math.log10(n) for n in ticks],
                "ticktext": [short_step(n) for n in ticks],
                "title": {"text": "features, largest first (log)",
                          "font": {"size": 11.5, "color": p.muted}, "standoff": 8},
            },
            "yaxis": {**axis(p), "range": [0, 1.04], "tickmode": "array",
                      "tickvals": [0, 0.2, 0.4, 0.6, 0.8, 1], "tickformat": ".0%"},
            "annotations": marks,
        },
    }


def share_at(found: Curve, count: int) -> float:
    """Share of the mass in the `count` largest features."""
    return round(float(found.share[count]), 4)


def _places(count: int) -> list[int]:
    if count <= POINTS:
        return list(range(1, count + 1))
    return sorted({int(n) for n in np.geomspace(1, count, POINTS).round()})


def coverage_table(found: Curve, show: bool) -> pd.DataFrame:
    """The curve at every place that is drawn; sums of contributions only if `show`."""
    places = _places(len(found.share) - 1)
    frame = pd.DataFrame({
        "features": places,
        "share of the mass": [float(found.share[n]) for n in places],
    })
    if show:
        frame["sum of their contributions"] = [float(found.total[n]) for n in places]
    return frame
