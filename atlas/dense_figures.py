"""Figures of the dense controls: panels over the steps, and what each plain code explains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas import life_marks
from atlas.axes import bare_template, plain, position, positions, spread, step_axis, tidy, upright
from atlas.figures import panel_title, ribbon
from atlas.life_marks import OCHRE, Span
from atlas.markup import number, probability, share, step_name
from atlas.reorganisation import Reorganisation, log_time
from atlas.theme import SANS, Palette, axis

TITLE, GAP, FOOT = 24, 14, 42
"""Pixels for the title of a panel, below a panel, for the step axis."""
TALL = 96
"""Pixels of a panel."""
NAMES = 172
"""Pixels right of the curves for their names."""
LEAST_WIDTH = 1.2
"""Pixels of a line that is no course of its own: a null, without points."""
LEAST_SHARE = -0.3
"""Explained shares below this are drawn at the foot."""


# --- panels --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Panel:
    """One measure at every snapshot, with what noise would give."""

    title: str
    values: np.ndarray
    """(K,), nan where there is none."""
    other: np.ndarray | None = None
    """(K,) a second measure of the same kind, drawn thinner."""
    null: float | None = None
    """What noise rows would give, a dotted line."""
    band: np.ndarray | None = None
    """(K, 5) quantiles around the values."""
    other_name: str = ""
    logarithmic: bool = False
    percent: bool = False
    low: float | None = 0.0
    """Where the axis begins; None for where the values do."""


def panels_figure(
    steps: Sequence[int], panels: Sequence[Panel], step: int, window: Span | None, p: Palette,
    height: int = TALL,
) -> dict:
    """Panels over one step axis, the run's window behind them."""
    layout = _stacked(len(panels), height, p)
    layout["xaxis"] = {**step_axis(steps, p), "anchor": f"y{_suffix(len(panels) - 1)}"}
    data: list[dict] = []
    for index, panel in enumerate(panels):
        data += _course(steps, panel, index, p)
        layout[f"yaxis{_suffix(index)}"] |= _vertical(panel)
        value = panel.values[list(steps).index(step)]
        layout["annotations"].append(panel_title(
            index, f"{panel.title} · <span style='color:{p.ink}'>"
                   f"{_said(panel, float(value))} at step {step:,}</span>", p))
        layout["shapes"].append(upright(position(step), p.muted, "solid", _suffix(index)))
    if window is not None:
        shapes, _ = life_marks.window(window, len(panels), p)
        layout["shapes"] = [*shapes, *layout["shapes"]]
    return {"data": data, "layout": layout}


def panels_table(steps: Sequence[int], panels: Sequence[Panel]) -> pd.DataFrame:
    """The numbers of the panels, one row per snapshot; the null of each in a column beside it."""
    found: dict[str, object] = {"step": list(steps)}
    for panel in panels:
        found[panel.title] = panel.values
        if panel.other is not None:
            found[panel.other_name] = panel.other
        if panel.null is not None:
            found[f"{panel.title}, noise"] = [panel.null] * len(steps)
    return pd.DataFrame(found)


def _stacked(count: int, height: int, p: Palette, right: int = 16) -> dict:
    """The layout of so many panels from top to foot."""
    inner = count * (TITLE + height) + (count - 1) * GAP
    layout: dict = {
        "template": bare_template(p), "height": inner + FOOT, "hovermode": "closest",
        "margin": {"l": 48, "r": right, "t": 0, "b": FOOT}, "annotations": [], "shapes": [],
    }
    top = float(inner)
    for index in range(count):
        upper = top - TITLE
        layout[f"yaxis{_suffix(index)}"] = {
            **axis(p), "domain": [round((upper - height) / inner, 5), round(upper / inner, 5)]
        }
        top = upper - height - GAP
    return layout


def _suffix(index: int) -> str:
    return "" if index == 0 else str(index + 1)


def _said(panel: Panel, value: float) -> str:
    return share(value) if panel.percent else number(value, 1 if panel.logarithmic else 2)


def _course(steps: Sequence[int], panel: Panel, index: int, p: Palette) -> list[dict]:
    x, y = positions(steps), f"y{_suffix(index)}"
    data: list[dict] = []
    if panel.band is not None:
        columns = [tidy(panel.band[:, q]) for q in range(5)]
        data += [ribbon(x, columns[0], columns[4], p.wide_band, y),
                 ribbon(x, columns[1], columns[3], p.narrow_band, y)]
    if panel.null is not None and math.isfinite(panel.null):
        data.append({
            "type": "scatter", "mode": "lines", "x": [x[0], x[-1]], "y": tidy([panel.null] * 2),
            "line": {"color": p.muted, "width": 1.2, "dash": "1px,3px"}, "yaxis": y,
            "name": "noise", "text": [f"noise rows: {_said(panel, panel.null)}"] * 2,
            "hovertemplate": "%{text}<extra></extra>",
        })
    for values, name, colour, width in (
        (panel.other, panel.other_name, p.counter, 1.2), (panel.values, "", p.ink, 1.8)
    ):
        if values is None:
            continue
        lead = f"{plain(name)} " if name else ""
        data.append({
            "type": "scatter", "mode": "lines+markers", "x": x, "y": tidy(values), "yaxis": y,
            "line": {"color": colour, "width": width}, "marker": {"size": 3.5, "color": colour},
            "cliponaxis": False, "name": plain(name or panel.title),
            "text": [f"{lead}{_said(panel, float(v))} at step {step_name(s)}"
                     for v, s in zip(values, steps, strict=True)],
            "hovertemplate": "%{text}<extra></extra>",
        })
    return data


def _vertical(panel: Panel) -> dict:
    """The vertical axis of a panel: from `low`, with room over the largest value and the null."""
    seen = [float(v) for part in (panel.values, panel.other, panel.band) if part is not None
            for v in np.ravel(part) if np.isfinite(v)]
    seen += [panel.null] if panel.null is not None and math.isfinite(panel.null) else []
    if not seen:
        return {"range": [0, 1], "nticks": 2}
    low, high = min(seen), max(seen)
    if panel.logarithmic:
        bottom, top = math.log10(max(low, 1e-12)), math.log10(max(high, 1e-12))
        pad = 0.08 * max(top - bottom, 0.1)
        ends = bottom - pad, top + pad
        decades = range(math.floor(ends[0]), math.ceil(ends[1]) + 1)
        ticks = [m * 10.0**e for e in decades for m in (1, 3) if
                 ends[0] <= math.log10(m * 10.0**e) <= ends[1]]
        return {"type": "log", "range": [round(v, 4) for v in ends], "tickmode": "array",
                "tickvals": ticks, "ticktext": [f"{t:g}" for t in ticks]}
    start = low if panel.low is None else min(panel.low, low)
    pad = 0.1 * ((high - start) or 1.0)
    found: dict = {"range": [start - 0.4 * pad, high + pad], "nticks": 4}
    return found | ({"tickformat": ".0%"} if panel.percent else {})


# --- windows -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Score:
    """The scored windows of one of the things that are compared."""

    title: str
    found: Reorganisation


def scores_figure(
    steps: Sequence[int], scores: Sequence[Score], step: int, p: Palette, beside: int
) -> dict:
    """One panel per thing: its windows' scores over the band of its null, its own window shaded.

    Args:
        beside: number of panels of the figure next to it, which it is as tall as, about.
    """
    inner = beside * (TITLE + TALL + GAP) - GAP
    height = min((inner + GAP) // len(scores) - TITLE - GAP, round(1.6 * TALL))
    layout = _stacked(len(scores), height, p)
    layout["xaxis"] = {**step_axis(steps, p), "anchor": f"y{_suffix(len(scores) - 1)}"}
    data: list[dict] = []
    for index, one in enumerate(scores):
        found, w, y = one.found, one.found.windows, f"y{_suffix(index)}"
        x = [round(float(u), 4) for u in log_time(w.center)]
        low, middle, high = (np.quantile(found.null, q, axis=0) for q in (0.05, 0.5, 0.95))
        said = [
            f"steps {int(a):,} to {b:,.0f}: {number(float(s))}<br>shifts {number(float(lo))} to "
            f"{number(float(hi))} · z {number(float(z), 1)} · {probability(float(chance))}"
            for a, b, s, lo, hi, z, chance in zip(
                w.from_step, w.to_step, found.score, low, high, found.z, found.p, strict=True)
        ]
        data += [
            ribbon(x, tidy(low), tidy(high), p.narrow_band, y),
            {"type": "scatter", "mode": "lines", "x": x, "y": tidy(middle), "hoverinfo": "skip",
             "line": {"color": p.muted, "width": 1, "dash": "1px,3px"}, "yaxis": y},
            {"type": "scatter", "mode": "lines+markers", "x": x, "y": tidy(found.score),
             "line": {"color": p.ink, "width": 1.8}, "yaxis": y, "cliponaxis": False,
             "marker": {
                 "size": [10 if i == found.best else 4 for i in range(len(x))],
                 "symbol": ["diamond" if i == found.best else "circle" for i in range(len(x))],
                 "color": [p.strands[OCHRE] if i == found.best else p.ink for i in range(len(x))]},
             "name": plain(one.title), "text": said, "hovertemplate": "%{text}<extra></extra>"},
        ]
        top = max(0.1, float(found.score.max()), float(high.max()))
        layout[f"yaxis{_suffix(index)}"] |= {"range": [-0.04 * top, 1.14 * top], "nticks": 4}
        layout["annotations"].append(panel_title(
            index, f"{one.title} · <span style='color:{p.ink}'>{window_words(found)}</span>", p))
        layout["shapes"] += _shaded(found, index, p)
        layout["shapes"].append(upright(position(step), p.muted, "solid", _suffix(index)))
    return {"data": data, "layout": layout}


def _shaded(found: Reorganisation, index: int, p: Palette) -> list[dict]:
    """The chosen window as a pale band in one panel."""
    w, best = found.windows, found.best
    shapes, _ = life_marks.window(Span(float(w.from_step[best]), float(w.to_step[best])), 1, p)
    return [{**shapes[0], "yref": f"y{_suffix(index)} domain"}]


def window_words(found: Reorganisation) -> str:
    """A scored window in a line: its steps, z and the p that counts that it was chosen."""
    w, best = found.windows, found.best
    return (
        f"steps {int(w.from_step[best]):,} to {w.to_step[best]:,.0f}, "
        f"z {number(float(found.z[best]), 1)}, {probability(float(found.p_any[best]))}"
    )


def scores_table(scores: Sequence[Score]) -> pd.DataFrame:
    """The scored windows of all, one row per window."""
    frames = []
    for one in scores:
        found, w = one.found, one.found.windows
        low, high = np.quantile(found.null, (0.05, 0.95), axis=0)
        frames.append(pd.DataFrame({
            "of": one.title, "from step": w.from_step, "to step": np.round(w.to_step, 1),
            "score": found.score, "shifts, 5 %": low, "shifts, 95 %": high, "z": found.z,
            "p": found.p, "p, counting the choice": found.p_any,
            "chosen": np.arange(len(w.start)) == found.best,
        }))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


# --- explained shares ----------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Curve:
    """What one code explains, at some steps."""

    name: str
    steps: Sequence[float]
    values: np.ndarray
    """As many shares, at most 1, nan where there is none."""
    colour: str
    """Name of an ink of the palette, or the number of a strand."""
    dash: str = "solid"
    points: bool = False
    """Points without a line: they are codes of their own."""
    width: float = 1.6
    words: Sequence[str] = ()
    """What each point says more."""


def _ink(name: str, p: Palette) -> str:
    return p.strands[int(name)] if name.isdigit() else getattr(p, name)


def explained_figure(
    steps: Sequence[int], curves: Sequence[Curve], step: int, p: Palette, height: int = 330
) -> dict:
    """What each code explains at every snapshot, named at the right end."""
    layout: dict = {
        "template": bare_template(p), "height": height + FOOT + 8, "hovermode": "closest",
        "margin": {"l": 48, "r": NAMES, "t": 8, "b": FOOT}, "annotations": [],
        "xaxis": step_axis(steps, p),
        "shapes": [upright(position(step), p.muted, "solid")],
    }
    data, ends = [], []
    for curve in curves:
        colour = _ink(curve.colour, p)
        shown = np.maximum(curve.values, LEAST_SHARE)
        more = curve.words or [""] * len(shown)
        data.append({
            "type": "scatter", "x": [round(position(s), 4) for s in curve.steps], "y": tidy(shown),
            "mode": "markers" if curve.points else "lines+markers" if curve.width > LEAST_WIDTH
            else "lines", "name": plain(curve.name),
            "line": {"color": colour, "width": curve.width, "dash": curve.dash},
            "marker": {"size": 8 if curve.points else 3.5, "color": colour,
                       "symbol": "diamond-open" if curve.points else "circle"},
            "cliponaxis": False, "hovertemplate": "%{text}<extra></extra>",
            "text": [f"{plain(curve.name)}: {share(float(v))} at step {step_name(int(s))}{m}"
                     for v, s, m in zip(curve.values, curve.steps, more, strict=True)],
        })
        known = shown[np.isfinite(shown)]
        if len(known):
            ends.append((curve.name, float(known[-1]), colour))
    low = min([0.0, *(at for c in curves for at in np.maximum(c.values, LEAST_SHARE)
                      if np.isfinite(at))])
    limits = [low - 0.03, 1.04]
    layout["yaxis"] = {**axis(p), "range": limits, "tickformat": ".0%", "nticks": 7}
    gap = 15 / height * (limits[1] - limits[0])
    places = spread([at for _, at, _ in ends], gap, limits[0] + gap / 2, limits[1] - gap / 2)
    layout["annotations"] = [
        {"x": 1, "xref": "paper", "xanchor": "left", "xshift": 8, "y": at, "yref": "y",
         "yanchor": "middle", "text": plain(name), "showarrow": False,
         "font": {"family": SANS, "size": 11.5, "color": colour}}
        for (name, _, colour), at in zip(ends, places, strict=True)
    ]
    return {"data": data, "layout": layout}


def explained_table(curves: Sequence[Curve]) -> pd.DataFrame:
    """The explained shares, one row per code and step."""
    return pd.concat([
        pd.DataFrame({"code": c.name, "step": list(c.steps), "explained": c.values}) for c in curves
    ], ignore_index=True) if curves else pd.DataFrame()
