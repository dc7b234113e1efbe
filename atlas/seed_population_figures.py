"""Figures of seeds beside each other as populations, as Plotly dicts."""

import math
from collections.abc import Sequence

import numpy as np

from atlas import label_places, multiples
from atlas.axes import bare_template, plain, position, positions, step_axis
from atlas.figures import ribbon
from atlas.markup import number, probability
from atlas.multiples import colour, dash
from atlas.population_store import STANDING
from atlas.scales_figures import Side
from atlas.seed_population import BirthsApart
from atlas.theme import SANS, Palette, axis

TALL, ROW = 268, 46
"""Pixels of the figure of births, and of a seed's line among the windows."""


def births_figure(
    sides: Sequence[Side], found: BirthsApart | None, p: Palette
) -> dict:
    """Share of live features born by a snapshot, a line a seed, over what one population gives."""
    steps = sides[0].card.steps
    x = positions(steps)
    lines = [(i, side) for i, side in enumerate(sides) if side.births is not None]
    data: list[dict] = []
    seen = [float(v) for _, side in lines for v in side.births.by_then]
    if found is not None:
        low, high = (row.round(4).tolist() for row in found.band)
        data.append(ribbon(x, low, high, p.narrow_band, "y"))
        seen += low
    for i, side in lines:
        ink = colour(i, p)
        data.append({
            "type": "scatter", "mode": "lines+markers", "name": side.name, "x": x,
            "y": side.births.by_then.round(4).tolist(),
            "line": {"color": ink, "width": 1.7, "dash": dash(i)},
            "marker": {"color": ink, "size": 3.5}, "customdata": list(steps),
            "hovertemplate": f"{plain(side.name)}<br>%{{y:.1%}} born by step %{{customdata:,}}"
                             "<extra></extra>",
        })
    low = max(0.0, math.floor(10 * min(seen, default=0.0)) / 10 - 0.05)
    top = 1.02
    ends = [(float(side.births.by_then[-1]), side.name, colour(i, p)) for i, side in lines]
    return {
        "data": data,
        "layout": {
            "template": bare_template(p), "height": TALL, "hovermode": "closest",
            "margin": {"l": 46, "r": 66, "t": 8, "b": 42}, "xaxis": step_axis(steps, p),
            "yaxis": {**axis(p), "range": [low, top], "tickformat": ".0%", "nticks": 6},
            "annotations": label_places.behind(ends, low, top, "", gap=0.062),
        },
    }


def windows_figure(sides: Sequence[Side], p: Palette) -> dict:
    """A line a seed: the window, its middle, and where resampled features put that middle."""
    steps = sides[0].card.steps
    data, notes, shapes = [], [], []
    for row, side in enumerate(sides):
        ink, window = colour(row, p), side.card.window
        head = {"x": 0, "xref": "paper", "xanchor": "right", "xshift": -10, "y": row, "yref": "y",
                "text": plain(side.name), "showarrow": False,
                "font": {"family": SANS, "size": 12, "color": ink}}
        notes.append(head)
        if window is None:
            why = plain(side.why_windows or "none was computed")
            notes.append({**head, "x": 0.5, "xanchor": "center", "xshift": 0,
                          "text": f"not available, because {why}",
                          "font": {"family": SANS, "size": 11.5, "color": p.muted}})
            continue
        shapes.append({
            "type": "rect", "x0": round(position(window.from_step), 4),
            "x1": round(position(window.to_step), 4), "y0": row - 0.26, "y1": row + 0.26,
            "fillcolor": multiples.faded(ink, 0.22), "line": {"width": 0}, "layer": "below"})
        if math.isfinite(window.center_low + window.center_high):
            data.append({
                "type": "scatter", "mode": "lines", "hoverinfo": "skip", "y": [row, row],
                "x": [round(position(v), 4) for v in (window.center_low, window.center_high)],
                "line": {"color": ink, "width": 1.7}})
        data.append({
            "type": "scatter", "mode": "markers", "x": [round(position(window.center), 4)],
            "y": [row], "name": side.name, "marker": {"color": ink, "size": 9},
            "hovertemplate": f"{plain(side.name)}<br>steps {window.from_step:,} to "
                             f"{window.to_step:,.0f}, middle {window.center:,.0f}<br>90 % interval "
                             f"{_step(window.center_low)} to {_step(window.center_high)}"
                             "<extra></extra>"})
        notes.append({
            "x": 1, "xref": "paper", "xanchor": "left", "xshift": 8, "y": row, "yref": "y",
            "showarrow": False, "align": "left",
            "text": f"z {number(window.z, 1)}, {probability(window.p_any)}",
            "font": {"family": SANS, "size": 11.5, "color": p.muted}})
    return {
        "data": data or [{"type": "scatter", "x": [None], "y": [None], "hoverinfo": "skip"}],
        "layout": {
            "template": bare_template(p), "height": ROW * len(sides) + 60, "hovermode": "closest",
            "margin": {"l": 66, "r": 108, "t": 8, "b": 42}, "xaxis": step_axis(steps, p),
            "yaxis": {**axis(p), "range": [len(sides) - 0.45, -0.55], "showticklabels": False,
                      "ticks": "", "showgrid": False},
            "shapes": shapes, "annotations": notes,
        },
    }


def profiles_figure(sides: Sequence[Side], p: Palette) -> dict:
    """A panel a profile, a line a seed: share with its interval, the shuffled null as a tick."""
    known = [(row, side) for row, side in enumerate(sides) if side.profiles is not None]
    wide, gap = 1 / len(STANDING), 0.03
    data, notes = [], []
    layout: dict = {
        "template": bare_template(p), "height": 26 * len(sides) + 74, "hovermode": "closest",
        "margin": {"l": 66, "r": 16, "t": 28, "b": 34}, "annotations": notes,
        "yaxis": {**axis(p), "range": [len(sides) - 0.45, -0.55], "showticklabels": False,
                  "ticks": "", "showgrid": False},
    }
    for n, name in enumerate(STANDING):
        x = multiples.suffix(n)
        top = max([0.02, *(max(float(side.profiles.null[n]),
                               float(np.nan_to_num(side.profiles.found.high[n])))
                           for _, side in known)])
        layout[f"xaxis{x}"] = {
            **axis(p), "range": [0, round(1.08 * top, 4)], "nticks": 4, "anchor": "y",
            "tickformat": ".0%" if top > 0.04 else ".1%",
            "domain": [round(n * wide, 4), round((n + 1) * wide - gap, 4)]}
        notes.append(multiples.title(f"<i>{name}</i>", f"x{x} domain", "y domain", p))
        data += _profile(known, n, f"x{x}", p)
    for row, side in enumerate(sides):
        notes.append({
            "x": 0, "xref": "paper", "xanchor": "right", "xshift": -10, "y": row, "yref": "y",
            "text": plain(side.name), "showarrow": False,
            "font": {"family": SANS, "size": 12, "color": colour(row, p)}})
    return {"data": data, "layout": layout}


def _profile(
    sides: Sequence[tuple[int, Side]], n: int, x: str, p: Palette
) -> list[dict]:
    """Intervals, nulls and shares of one profile, of all seeds."""
    kept = [(row, side.name, side.profiles) for row, side in sides
            if math.isfinite(side.profiles.found.share[n])]
    rows = [row for row, *_ in kept]
    shares, lows, highs = ([round(float(getattr(one.found, name)[n]), 4) for *_, one in kept]
                           for name in ("share", "low", "high"))
    nulls = [round(float(one.null[n]), 4) for *_, one in kept]
    said = [
        f"{plain(name)}: {own:.1%}, {one.found.counts[n]:,} features<br>90 % interval {low:.1%} "
        f"to {high:.1%}<br>snapshots shuffled {null:.1%}"
        for (_, name, one), own, low, high, null in zip(
            kept, shares, lows, highs, nulls, strict=True)]
    at = {"type": "scatter", "xaxis": x, "yaxis": "y"}
    return [
        {**at, "mode": "lines", "hoverinfo": "skip", "line": {"color": p.ink, "width": 1.6},
         "x": [v for low, high in zip(lows, highs, strict=True) for v in (low, high, None)],
         "y": [v for row in rows for v in (row, row, None)]},
        {**at, "mode": "markers", "x": nulls, "y": rows, "hoverinfo": "skip",
         "marker": {"symbol": "line-ns-open", "size": 13, "color": p.muted,
                    "line": {"width": 1.6, "color": p.muted}}},
        {**at, "mode": "markers", "x": shares, "y": rows, "name": STANDING[n], "text": said,
         "marker": {"color": [colour(row, p) for row in rows], "size": 7.5, "opacity": 1},
         "cliponaxis": False, "hovertemplate": "%{text}<extra></extra>"},
    ]


def _step(step: float) -> str:
    return f"{step:,.0f}" if np.isfinite(step) else "not available"
