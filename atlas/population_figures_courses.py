"""Survival, quantile bands, turns and rates of the population as Plotly figures."""

import math
from collections.abc import Sequence

import numpy as np

from atlas.axes import bare_template, position, positions, step_axis, tidy, upright
from atlas.figures import Band, log_rates, rate_axis, ribbon
from atlas.linked import shades
from atlas.population import RankCurves, Spectrum
from atlas.survival import Survival
from atlas.theme import SANS, SERIF, Palette, axis

HEIGHT = 300


def _title(text: str, p: Palette, y: str = "y") -> dict:
    return {
        "x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": f"{y} domain",
        "yanchor": "bottom", "yshift": 3, "text": f"<i>{text}</i>", "showarrow": False,
        "font": {"family": SERIF, "size": 13.5, "color": p.muted},
    }


def _named(text: str, p: Palette) -> dict:
    """A title of an axis."""
    return {"text": text, "font": {"family": SANS, "size": 11.5, "color": p.muted}, "standoff": 8}


def _faded(colour: str, strength: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {strength})"


# --- survival -----------------------------------------------------------------------------------


def survival_figure(
    curves: dict[str, Survival], names: dict[str, str], p: Palette
) -> dict:
    """Falling steps with their bands, each named at its end; `shuffled` is drawn dotted in grey."""
    inks = {"early": p.strands[2], "middle": p.strands[1], "late": p.strands[4],
            "shuffled": p.muted}
    data: list[dict] = []
    notes: list[dict] = []
    longest = max((float(c.at[-1]) for c in curves.values()), default=1.0) or 1.0
    ends: list[tuple[float, str, str]] = []
    for key, curve in curves.items():
        ink = inks[key]
        x, share = curve.at.round(3).tolist(), curve.share.round(4).tolist()
        if key != "shuffled":
            data.append({
                **ribbon(*_stairs(curve), _faded(ink, 0.14), "y"),
            })
        data.append({
            "type": "scatter", "mode": "lines", "x": x, "y": share, "name": names[key],
            "line": {"color": ink, "width": 1.4 if key == "shuffled" else 2, "shape": "hv",
                     "dash": "2px,3px" if key == "shuffled" else "solid"},
            "customdata": curve.watched.tolist(),
            "hovertemplate": f"{names[key]}<br>%{{y:.1%}} after %{{x:.2f}} decades<br>"
                             "%{customdata:,} watched<extra></extra>",
        })
        ends.append((float(curve.share[-1]), names[key], ink))
    ends.sort(key=lambda end: end[0])
    gap, last = 0.065, -1.0
    for at, name, ink in ends:
        last = max(at, last + gap)
        notes.append({
            "x": 1.01, "xref": "paper", "xanchor": "left", "y": last, "yref": "y",
            "yanchor": "middle", "text": name, "showarrow": False,
            "font": {"family": SANS, "size": 11.5, "color": ink},
        })
    return {
        "data": data,
        "layout": {
            "template": bare_template(p), "height": HEIGHT, "hovermode": "closest",
            "margin": {"l": 46, "r": 138, "t": 8, "b": 42},
            "xaxis": {**axis(p), "range": [-0.02 * longest, 1.01 * longest],
                      "title": _named("decades of training since birth", p)},
            "yaxis": {**axis(p), "range": [0, 1.04], "tickformat": ".0%", "nticks": 6},
            "annotations": notes,
        },
    }


def _stairs(curve: Survival) -> tuple[list[float], list, list]:
    """The band's edges as steps."""
    x = np.repeat(curve.at, 2)[1:]
    return (
        x.round(3).tolist(), np.repeat(curve.low, 2)[:-1].round(4).tolist(),
        np.repeat(curve.high, 2)[:-1].round(4).tolist(),
    )


# --- quantile bands -----------------------------------------------------------------------------


def bands_figure(
    steps: Sequence[int], bands: dict[str, Band], n_rows: int, step: int, p: Palette
) -> dict:
    """Norm and rate of live features through training: 5 to 95 %, quartiles, median."""
    x = positions(steps)
    smallest = 1.0 / max(1, n_rows)
    panels = [key for key in ("norm", "rate") if key in bands]
    domains = {"norm": [0.58, 1.0], "rate": [0.0, 0.44]} if len(panels) == 2 else {
        panels[0]: [0.0, 1.0]}
    titles = {"norm": "decoder norm", "rate": "rate, share of rows it fires on"}
    data: list[dict] = []
    layout: dict = {
        "template": bare_template(p), "height": HEIGHT + 30, "hovermode": "x",
        "margin": {"l": 52, "r": 12, "t": 22, "b": 42}, "annotations": [], "shapes": [],
    }
    for index, key in enumerate(panels):
        suffix = "" if index == 0 else str(index + 1)
        columns = [tidy([row[q] for row in bands[key].rows]) for q in range(5)]
        drawn = [log_rates(c, smallest) for c in columns] if key == "rate" else columns
        data.append(ribbon(x, drawn[0], drawn[4], _faded(p.ink, 0.1), f"y{suffix}"))
        data.append(ribbon(x, drawn[1], drawn[3], _faded(p.ink, 0.16), f"y{suffix}"))
        form = ".2%" if key == "rate" else ".3f"
        data.append({
            "type": "scatter", "mode": "lines+markers", "name": f"median {key}", "x": x,
            "y": drawn[2], "yaxis": f"y{suffix}", "line": {"color": p.ink, "width": 1.8},
            "marker": {"size": 4, "color": p.ink}, "customdata": list(steps),
            "text": [_of_band(values, step_, form) for values, step_ in
                     zip(zip(*columns, strict=True), steps, strict=True)],
            "hovertemplate": "%{text}<extra></extra>",
        })
        seen = [v for v in columns[4] if v is not None]
        layout[f"yaxis{suffix}"] = {
            **axis(p), "domain": domains[key],
            **(_rate_axis(drawn, smallest) if key == "rate" else
               {"nticks": 4, "range": [0, 1.08 * max(seen, default=1.0)]}),
        }
        layout["annotations"].append(_title(titles[key], p, f"y{suffix}"))
        layout["shapes"].append(upright(position(step), p.muted, "solid", suffix))
    last = "" if len(panels) == 1 else "2"
    layout["xaxis"] = {**step_axis(steps, p), "anchor": f"y{last}"}
    return {"data": data, "layout": layout}


def _rate_axis(drawn: Sequence[Sequence[float | None]], smallest: float) -> dict:
    """The axis of rates, cut to what is drawn."""
    seen = [v for column in drawn for v in column if v is not None]
    whole = rate_axis(smallest)
    if not seen:
        return whole
    low, high = whole["range"]
    return {**whole, "range": [max(low, min(seen) - 0.3), min(high, max(seen) + 0.3)]}


def _of_band(values: Sequence[float | None], step: int, form: str) -> str:
    if any(v is None for v in values):
        return ""
    return (f"median {values[2]:{form}} at {step:,}<br>quartiles {values[1]:{form}} to "
            f"{values[3]:{form}}<br>5 to 95 % {values[0]:{form}} to {values[4]:{form}}")


# --- turns --------------------------------------------------------------------------------------


def rotation_figure(
    steps: Sequence[int], found: Spectrum, chance: float, step: int, p: Palette
) -> dict:
    """How many features turn how far between neighbouring snapshots; darker is more, by decades.

    Args:
        chance: 1 - cos of random directions lies within this of 1 in 19 of 20 cases.
    """
    places = np.log10(found.edges)
    shown = [[round(math.log10(n), 2) if n else None for n in column]
             for column in found.counts.T.tolist()]
    most = max((v for row in shown for v in row if v is not None), default=0.0) or 1.0
    decades = range(math.floor(most) + 1)
    x = positions(steps)
    layout = {
        "template": bare_template(p), "height": HEIGHT + 30,
        "margin": {"l": 58, "r": 64, "t": 8, "b": 42}, "hovermode": "closest",
        "xaxis": {**step_axis(steps, p), "range": [x[0], x[-1]], "showgrid": False},
        "yaxis": {
            **axis(p), "range": [places[0], places[-1]], "tickmode": "array", "showgrid": False,
            "tickvals": [-4, -3, -2, -1, 0], "ticktext": ["0.0001", "0.001", "0.01", "0.1", "1"],
        },
        "shapes": [
            *({"type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": "y", "y0": at, "y1": at,
               "line": {"color": p.accent, "width": 1.2, "dash": dash}, "layer": "above"}
              for at, dash in ((math.log10(max(1 - chance, 1e-3)), "2px,3px"), (0.0, "solid"),
                               (math.log10(1 + chance), "2px,3px"))),
            upright(position(step), p.muted, "solid"),
        ],
        "annotations": [],
    }
    cells = {
        "type": "heatmap", "x": x, "y": [round(float(v), 3) for v in places], "z": shown,
        "zmin": 0, "zmax": most, "hoverongaps": False,
        "colorscale": [[0, p.raised], [0.5, p.counter], [1, p.ink]],
        "hovertemplate": "10^%{z} features turn by 10^%{y:.2f}<extra></extra>",
        "colorbar": {
            "thickness": 7, "outlinewidth": 0, "len": 0.94, "x": 1, "xpad": 10, "ypad": 0,
            "tickmode": "array", "tickvals": list(decades), "ticks": "",
            "ticktext": [f"{10**d:,}" for d in decades],
            "tickfont": {"family": SANS, "size": 10.5, "color": p.muted},
        },
    }
    return {"data": [cells], "layout": layout}


# --- rates by rank ------------------------------------------------------------------------------


def ranks_figure(steps: Sequence[int], found: RankCurves, step: int, p: Palette) -> dict:
    """Sorted rates at every snapshot, log-log: early ones blue, late ones ink, the chosen one red;
    dotted what every feature would have at that step if all fired alike."""
    ramp = shades((p.counter, p.muted, p.ink)).tolist()
    chosen = list(steps).index(step)
    ranks = found.ranks.tolist()
    order = [k for k in range(len(steps)) if k != chosen] + [chosen]
    data = []
    for k in order:
        r, g, b = ramp[round(k / max(1, len(steps) - 1) * (len(ramp) - 1))]
        here = k == chosen
        data.append({
            "type": "scatter", "mode": "lines", "x": ranks,
            "y": [float(f"{v:.3g}") if v > 0 else None for v in found.rates[k].tolist()],
            "name": f"step {steps[k]:,}",
            "line": {"color": p.accent if here else f"rgb({r},{g},{b})",
                     "width": 2.4 if here else 1},
            "opacity": 1 if here else 0.5,
            "hovertemplate": f"step {steps[k]:,}<br>rank %{{x:,}}: %{{y:.2%}}<extra></extra>",
        })
    mean = float(found.mean[chosen])
    notes = [{
        "x": 0.99, "xref": "paper", "xanchor": "right", "y": 0.98, "yref": "paper",
        "yanchor": "top", "text": f"step {step:,}", "showarrow": False,
        "font": {"family": SANS, "size": 12, "color": p.accent},
    }]
    shapes = []
    if mean > 0:
        shapes.append({
            "type": "line", "xref": "paper", "x0": 0, "x1": 1, "yref": "y", "y0": mean,
            "y1": mean, "line": {"color": p.accent, "width": 1, "dash": "2px,3px"},
        })
    return {
        "data": data,
        "layout": {
            "template": bare_template(p), "height": HEIGHT, "hovermode": "closest",
            "margin": {"l": 58, "r": 14, "t": 8, "b": 42},
            "xaxis": {**axis(p), "type": "log", "dtick": 1, "tickformat": ",d",
                      "title": _named("rank of the feature (log)", p)},
            "yaxis": {**axis(p), "type": "log", "dtick": 1, "tickformat": "~%",
                      "title": _named("rate (log)", p)},
            "annotations": notes, "shapes": shapes,
        },
    }
