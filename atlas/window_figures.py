"""Figures of the reorganisation window: scores with their null, and the six metrics beneath."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas.axes import bare_template, position, step_axis, tidy
from atlas.figures import ribbon
from atlas.life_marks import OCHRE
from atlas.markup import NOT_AVAILABLE, number, probability, step_name
from atlas.reorganisation import COMPONENTS, log_time
from atlas.theme import SANS, SERIF, Palette, axis
from atlas.window_choice import Choice

WORDS = {
    "lifecycle_turnover": "change of the norms",
    "activation_turnover": "change of the rates",
    "weighted_rotation": "turn, radians",
    "direction_velocity": "way to the last direction",
    "rank_instability": "exchange among the longest",
    "peak_density": "norms at their peak",
}
"""What a page calls the six metrics."""
MEANINGS = {
    "lifecycle_turnover": "mean |change of the norm over its maximum|, weighed by the longer norm",
    "activation_turnover": "mean |change of the rate over its maximum|, weighed by the longer norm",
    "weighted_rotation": "mean angle between neighbouring directions, weighed by the norms",
    "direction_velocity": "mean |change of the cosine to the last direction|, weighed the same",
    "rank_instability": "share by which the features of largest norm are exchanged, 1 − Jaccard",
    "peak_density": "peak norm of the features that peak there, over all peak norm",
}
"""What each of them is (§9.1)."""
LEFT, RIGHT = 176, 118
"""Pixels beside the panels: names on the left, values inside the window on the right."""
HEIGHT = 590
SCORE = (0.47, 0.955)
"""Vertical domain of the score."""
FIRST, PANEL, GAP = 0.42, 0.058, 0.0145
"""Top, height and distance of the panels of the metrics."""


@dataclass(frozen=True)
class Own:
    """The run's own window, as the store has it."""

    low: float
    high: float
    center: float
    center_low: float
    center_high: float
    """5 and 95 % quantiles of its middle over resampled features; nan where not computed."""


def score_figure(
    found: Choice, components: np.ndarray, steps: Sequence[int], own: Own | None, step: int,
    p: Palette,
) -> dict:
    """Scores of all windows of the chosen width at their middles, the null's band, the window.

    Beneath, each metric at every pair of snapshots (6, P), with its value inside the window and
    the share of its shifts that have as much. Dragging over the figure chooses a window.
    """
    data: list[dict] = []
    layout: dict = {
        "template": bare_template(p),
        "height": HEIGHT,
        "margin": {"l": LEFT, "r": RIGHT, "t": 4, "b": 40},
        "hovermode": "closest",
        "dragmode": "select",
        "selectdirection": "h",
        "clickmode": "event",
        "newselection": {"line": {"color": p.accent, "width": 1, "dash": "dot"}},
        "selectionrevision": f"{found.low} {found.high}",
        "xaxis": {**step_axis(steps, p), "anchor": "y7", "fixedrange": False},
        "shapes": [],
        "annotations": [],
    }
    _draw_scores(data, layout, found, p)
    for index, name in enumerate(COMPONENTS):
        _draw_metric(data, layout, index, name, components[index], steps, found, p)
    chosen_is_own = own is not None and _same(own, found)
    if own is not None:
        _shade(layout, own.low, own.high, p.strands[OCHRE],
               (0.16 if p.is_dark else 0.13) if chosen_is_own else 0.06)
        _whisker(data, own, p)
        layout["yaxis8"] = {"domain": list(SCORE), "range": [0, 1], "overlaying": "y",
                            "visible": False, "fixedrange": True}
    if not chosen_is_own:
        _shade(layout, found.low, found.high, p.accent, 0.12)
        layout["annotations"].append(_name(found.low, found.high, "chosen window", p.accent))
    if own is not None and (chosen_is_own or own.high < found.low or own.low > found.high):
        layout["annotations"].append(
            _name(own.low, own.high, "the run’s window", p.strands[OCHRE]))
    layout["shapes"].append({
        "type": "line", "xref": "x", "yref": "paper", "x0": position(step), "x1": position(step),
        "y0": 0, "y1": SCORE[1], "line": {"color": p.muted, "width": 1}, "layer": "below",
    })
    return {"data": data, "layout": layout}


def _same(own: Own, found: Choice) -> bool:
    return abs(own.low - found.low) < 0.01 and abs(own.high - found.high) < 0.01


def _draw_scores(data: list[dict], layout: dict, found: Choice, p: Palette) -> None:
    vertical = {**axis(p), "domain": list(SCORE), "nticks": 5, "rangemode": "tozero"}
    layout["yaxis"] = vertical
    layout["annotations"].append(_left("score of the windows", SCORE, p.ink, 14))
    if found.reason:
        vertical |= {"range": [0, 1], "showticklabels": False}
        layout["annotations"].append({
            "x": 0.5, "xref": "paper", "y": 0.5, "yref": "y domain", "showarrow": False,
            "text": f"<i>{NOT_AVAILABLE}</i>",
            "font": {"family": SERIF, "size": 15, "color": p.muted},
        })
        return
    x = [round(float(u), 4) for u in log_time(found.windows.center)]
    low, middle, high = (tidy(q) for q in np.quantile(found.null, (0.05, 0.5, 0.95), axis=0))
    said = [_reading(found, i, low[i], high[i]) for i in range(len(x))]
    data += [
        ribbon(x, low, high, p.narrow_band, "y"),
        {
            "type": "scatter", "mode": "lines", "x": x, "y": middle, "hoverinfo": "skip",
            "line": {"color": p.muted, "width": 1, "dash": "1px,3px"}, "yaxis": "y",
        },
        {
            "type": "scatter", "mode": "lines+markers", "name": "score", "x": x,
            "y": tidy(found.scores), "line": {"color": p.ink, "width": 1.8},
            "marker": {"size": 5, "color": p.ink}, "text": said, "cliponaxis": False,
            "customdata": [int(s) for s in found.windows.from_step],
            "hovertemplate": "%{text}<extra></extra>", "yaxis": "y",
            "selected": {"marker": {"opacity": 1}}, "unselected": {"marker": {"opacity": 1}},
        },
        {
            "type": "scatter", "mode": "markers", "name": "chosen window",
            "x": [round(position(found.center), 4)], "y": tidy([found.score]),
            "marker": {"size": 11, "color": p.accent, "symbol": "diamond"},
            "text": [f"chosen window: score {number(found.score)}, z {number(found.z, 1)}"],
            "hovertemplate": "%{text}<extra></extra>", "cliponaxis": False, "yaxis": "y",
            "selected": {"marker": {"opacity": 1}}, "unselected": {"marker": {"opacity": 1}},
        },
    ]
    top = max([0.1, found.score, *(float(v) for v in found.scores), *(v or 0 for v in high)])
    vertical["range"] = [0, round(1.18 * top, 4)]


def _reading(found: Choice, index: int, low: float | None, high: float | None) -> str:
    """What the pointer reads off a window."""
    z, p = found.p_of(index)
    w = found.windows
    return (
        f"steps {int(w.from_step[index]):,} to {w.to_step[index]:,.0f}<br>"
        f"score {number(float(found.scores[index]))} · shifts {number(low)} to {number(high)}<br>"
        f"z {number(z, 1)} · {probability(p)}"
    )


def _draw_metric(
    data: list[dict], layout: dict, index: int, name: str, values: np.ndarray,
    steps: Sequence[int], found: Choice, p: Palette,
) -> None:
    """One metric as a staircase over the pairs, its name left, its value in the window right."""
    top = FIRST - index * (PANEL + GAP)
    suffix = index + 2
    domain = (top - PANEL, top)
    edges = [round(float(u), 4) for u in log_time(steps)]
    shown = tidy(values)
    pairs = [f"{step_name(a)} to {step_name(b)}" for a, b in zip(steps, steps[1:], strict=False)]
    known = [v for v in shown if v is not None]
    data.append({
        "type": "scatter", "mode": "lines", "name": WORDS[name], "x": edges,
        "y": [*shown, shown[-1]], "line": {"color": p.counter, "width": 1.2, "shape": "hv"},
        "fill": "tozeroy", "fillcolor": p.narrow_band, "yaxis": f"y{suffix}",
        "text": [*pairs, pairs[-1]], "hovertemplate": "%{text}: %{y:.3f}<extra></extra>",
    })
    layout[f"yaxis{suffix}"] = {
        **axis(p), "domain": [round(d, 4) for d in domain], "nticks": 2, "showgrid": False,
        "range": [0, 1.08 * max(known, default=1.0) or 1.0], "showticklabels": False, "ticks": "",
    }
    layout["annotations"].append(_left(WORDS[name], domain, p.muted, 13))
    value, share = found.values[index], found.value_p[index]
    said = NOT_AVAILABLE if not np.isfinite(value) else (
        f"<span style='color:{p.ink}'>{number(float(value))}</span> · p {number(float(share), 2)}"
    )
    layout["annotations"].append({
        "x": 1, "xref": "paper", "xanchor": "left", "xshift": 8, "showarrow": False,
        "y": sum(domain) / 2, "yref": "paper", "yanchor": "middle", "text": said,
        "font": {"family": SANS, "size": 11.5, "color": p.muted},
    })


def _left(text: str, domain: tuple[float, float], colour: str, size: float) -> dict:
    """A name left of a panel."""
    return {
        "x": 0, "xref": "paper", "xanchor": "right", "xshift": -30 if size == 14 else -8,
        "y": sum(domain) / 2, "yref": "paper", "yanchor": "middle", "text": f"<i>{text}</i>",
        "showarrow": False, "font": {"family": SERIF, "size": size, "color": colour},
    }


def _shade(layout: dict, low: float, high: float, colour: str, strength: float) -> None:
    """A pale band through all panels."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    layout["shapes"].append({
        "type": "rect", "xref": "x", "yref": "paper", "x0": round(position(low), 4),
        "x1": round(position(high), 4), "y0": 0, "y1": SCORE[1], "layer": "below",
        "line": {"width": 0}, "fillcolor": f"rgba({red}, {green}, {blue}, {strength})",
    })


def _name(low: float, high: float, text: str, colour: str) -> dict:
    return {
        "x": (position(low) + position(high)) / 2, "xref": "x", "y": SCORE[1],
        "yref": "paper", "yanchor": "bottom", "text": text, "showarrow": False,
        "font": {"family": SANS, "size": 11.5, "color": colour},
    }


def _whisker(data: list[dict], own: Own, p: Palette) -> None:
    """Where the middle of the run's window lies in nine of ten resamples, near the top."""
    if not (np.isfinite(own.center_low) and np.isfinite(own.center_high)):
        return
    ends = [position(own.center_low), position(own.center_high)]
    said = (
        f"middle of the run’s window, step {own.center:,.0f}: {own.center_low:,.0f} to "
        f"{own.center_high:,.0f} in 90 % of the draws of other features"
    )
    data.append({
        "type": "scatter", "mode": "lines+markers", "name": "middle over resampled features",
        "x": [round(v, 4) for v in (ends[0], position(own.center), ends[1])],
        "y": [0.95] * 3, "yaxis": "y8", "text": [said] * 3,
        "line": {"color": p.strands[OCHRE], "width": 1.6},
        "marker": {"symbol": ["line-ns-open", "circle", "line-ns-open"], "size": [11, 7, 11],
                   "color": p.strands[OCHRE], "line": {"width": 1.6, "color": p.strands[OCHRE]}},
        "hovertemplate": "%{text}<extra></extra>", "cliponaxis": False,
        "selected": {"marker": {"opacity": 1}}, "unselected": {"marker": {"opacity": 1}},
    })


def score_table(found: Choice) -> pd.DataFrame:
    """The scored windows as a table."""
    w = found.windows
    if found.reason:
        return pd.DataFrame({"metric": [WORDS[name] for name in COMPONENTS],
                             "inside the window": found.values, "p": found.value_p})
    low, middle, high = np.quantile(found.null, (0.05, 0.5, 0.95), axis=0)
    zp = [found.p_of(i) for i in range(len(found.scores))]
    return pd.DataFrame({
        "from step": w.from_step, "to step": np.round(w.to_step, 1), "score": found.scores,
        "shifts, 5 %": low, "shifts, median": middle, "shifts, 95 %": high,
        "z": [z for z, _ in zp], "p": [p for _, p in zp],
    })


def metric_table(found: Choice, components: np.ndarray, steps: Sequence[int]) -> pd.DataFrame:
    """The six metrics at every pair of snapshots (6, P), and inside the window, as a table."""
    pairs = [f"{step_name(a)} to {step_name(b)}" for a, b in zip(steps, steps[1:], strict=False)]
    frame = pd.DataFrame({
        "metric": [WORDS[name] for name in COMPONENTS], "in the window": found.values,
        "p": found.value_p,
    })
    return pd.concat([frame, pd.DataFrame(components, columns=pairs)], axis=1)


def dragged(selection: dict, steps: Sequence[int]) -> tuple[float, float] | None:
    """The steps that a box over the figure spans, whole numbers; None for no box, or none wide
    enough to be one."""
    for drawn in selection.get("box") or ():
        ends = sorted(float(x) for x in drawn.get("x", ())[:2])
        if len(ends) != 2 or not np.isfinite(ends).all():
            continue
        low, high = (min(max(round(10 ** min(u, 12.0) - 1), steps[0]), steps[-1]) for u in ends)
        if high > low and ends[1] - ends[0] > 0.03:
            return float(low), float(high)
    return None


def clicked(start: object, found: Choice) -> tuple[float, float] | None:
    """The window that begins at the step a clicked point carries; None for none."""
    starts = found.windows.from_step.tolist()
    if found.reason or start not in starts:
        return None
    return float(start), round(float(found.windows.to_step[starts.index(start)]), 3)
