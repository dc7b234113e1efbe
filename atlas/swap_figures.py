"""The grid of readout swaps as a figure, and two lists of next tokens side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

from atlas.axes import bare_template, short_step
from atlas.markup import NOT_AVAILABLE, number, wrap
from atlas.swap import METRICS as METRICS
from atlas.swap_grid import Grid
from atlas.theme import MONO, SANS, Palette, axis, ink

NAT = math.log(2)
"""A bit in nats."""
LINE, FOOT = 31, 58
"""Pixels of a row, and under the last one."""
STRONG = 0.55
"""Share of a colour in the strongest cell."""
NAMED = 26
"""Columns up to which each has its step under it, and its number in it."""
DIGITS = {"nll": 2, "delta": 2, "rank": 0, "p": 3, "entropy": 2, "top1": 2, "kl": 2, "r2": 2}
SHORT = {
    "nll": "NLL", "delta": "NLL above native", "rank": "rank", "p": "p", "entropy": "entropy",
    "top1": "top-1", "kl": "KL", "r2": "R²",
}
"""A measure in a word or two."""
SCALES = {
    "nll": "paper is chance, log V; vermilion is better, blue worse",
    "delta": "paper is as good as native; vermilion is better, blue worse",
    "rank": "paper is the middle of the vocabulary; vermilion is rank 1",
    "p": "paper is 1 / V; vermilion is certain",
    "entropy": "paper is an even spread over the vocabulary; vermilion is certain",
    "top1": "vermilion is the native token",
    "kl": "paper is native; blue is further away",
    "r2": "vermilion is native, paper explains nothing, blue is further than a constant",
}
"""What the colours of a measure say."""


def shade(grid: Grid, metric: str) -> np.ndarray:
    """(R, S) in [-1, 1]: towards the target or the native readout, or away from it."""
    found, even = grid.values[metric], math.log(grid.n_rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        if metric in ("nll", "entropy"):
            shown = (even - found) / even
        elif metric == "p":
            shown = (even + np.log(found)) / even
        elif metric == "rank":
            shown = 1 - np.log(found) / math.log((grid.n_rows + 1) / 2)
        elif metric == "delta":
            shown = -found / max(1e-9, float(np.nanmax(np.abs(found))))
        elif metric == "kl":
            shown = -np.sqrt(found / max(1e-9, float(np.nanmax(found))))
        else:
            shown = found
    return np.clip(shown, -1, 1)


def reading_of(grid: Grid, metric: str, row: int, column: int, chance: bool = False) -> str:
    """One cell's value in words, KL in both units."""
    value = float((grid.chance if chance else grid.values)[metric][row, column])
    if metric == "kl" and math.isfinite(value):
        return f"{number(value, 2)} nats = {number(value / math.log(2), 2)} bits"
    return number(value, DIGITS[metric])


def grid_figure(grid: Grid, metric: str, state: int, step: int, p: Palette) -> dict:
    """One row of cells for every hidden state, first step at the lower left.

    The cells of a model's own readout are framed in ink, the chosen cell in the accent. A cell
    carries its number, row * S + column, for clicks.
    """
    rows, columns = grid.hidden_steps, grid.readout_steps
    names, x = [f"{s:,}" for s in rows], [f"{s:,}" for s in columns]
    values, count = grid.values[metric], len(columns)
    text = [
        ["" if math.isnan(v) else _in_cell(v, metric) for v in row] if count <= NAMED else []
        for row in values
    ]
    cells = {
        "type": "heatmap",
        "x": x,
        "y": names,
        "z": [[None if math.isnan(v) else round(float(v), 3) for v in row]
              for row in shade(grid, metric)],
        "zmin": -1,
        "zmax": 1,
        "colorscale": [[0, _mixed(p.counter, p.paper)], [0.5, p.paper],
                       [1, _mixed(p.accent, p.paper)]],
        "showscale": False,
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
        "customdata": [[r * count + c for c in range(count)] for r in range(len(rows))],
        "hovertext": [[_hover(grid, metric, r, c) for c in range(count)] for r in range(len(rows))],
        "hovertemplate": f"state %{{y}} · readout %{{x}}<br>{SHORT[metric]} %{{hovertext}}"
                         "<extra></extra>",
    }
    if count <= NAMED:
        font = {"family": MONO, "size": 10, "color": p.ink}
        cells |= {"text": text, "texttemplate": "%{text}", "textfont": font}
    apart = 1 if count <= NAMED else 2
    return {
        "data": [cells],
        "layout": {
            "template": bare_template(p),
            "height": LINE * len(rows) + FOOT + 6,
            "margin": {"l": 92, "r": 6, "t": 6, "b": FOOT},
            "hovermode": "closest",
            "clickmode": "event",
            "xaxis": {
                **axis(p), "type": "category", "tickmode": "array", "tickvals": x[::apart],
                "ticktext": [short_step(s) for s in columns][::apart], "showgrid": False,
                "range": [-0.5, count - 0.5], "tickangle": 0 if count <= NAMED else -45,
                "tickfont": {"family": SANS, "size": 10, "color": p.muted},
                "title": _title("readout of step", p),
            },
            "yaxis": {
                **axis(p), "type": "category", "showgrid": False,
                "range": [-0.5, len(rows) - 0.5], "ticklen": 0,
                "tickfont": {"family": SANS, "size": 11, "color": p.ink},
                "title": {**_title("hidden state of step", p), "standoff": 14},
            },
            "shapes": [*_own(grid, p), *_chosen(grid, state, step, p)],
        },
    }


def _mixed(colour: str, ground: str) -> str:
    """A colour so far towards the ground that ink can be read on it."""
    pairs = ((int(colour[i : i + 2], 16), int(ground[i : i + 2], 16)) for i in (1, 3, 5))
    return "#" + "".join(f"{round(STRONG * a + (1 - STRONG) * b):02x}" for a, b in pairs)


def _title(text: str, p: Palette) -> dict:
    return {"text": text, "font": {"size": 11.5, "color": p.muted}, "standoff": 8}


def _in_cell(value: float, metric: str) -> str:
    """Short enough for a cell: no zero before the point, thousands as k."""
    if metric == "rank":
        if value >= 10_000:
            return f"{value / 1000:.0f}k"
        return f"{value:.0f}" if value < 1000 else f"{value / 1000:.1f}k"
    shown = f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else (
        f"{value:.2f}")
    shown = shown.replace("-", "−")
    if not shown.strip("−0."):
        return "0"
    return shown.replace("0.", ".", 1) if shown.lstrip("−").startswith("0.") else shown


def _hover(grid: Grid, metric: str, row: int, column: int) -> str:
    """What a cell says beside its two steps and the name of the measure."""
    native = grid.native(row)
    chance = reading_of(grid, metric, row, column, chance=True).split(" = ")[0]
    if native == column:
        beside = "its own readout<br>"
    elif native is None or metric == "kl":  # to itself it is 0
        beside = ""
    else:
        beside = f"native {reading_of(grid, metric, row, native)}<br>"
    return f"{reading_of(grid, metric, row, column)}<br>{beside}dealt anew {chance}"


def _frame(row: float, column: float, colour: str, width: float) -> dict:
    return {
        "type": "rect", "xref": "x", "yref": "y", "x0": column - 0.5, "x1": column + 0.5,
        "y0": row - 0.5, "y1": row + 0.5, "line": {"color": colour, "width": width},
        "fillcolor": "rgba(0,0,0,0)", "layer": "above",
    }


def _own(grid: Grid, p: Palette) -> list[dict]:
    found = ((r, grid.native(r)) for r in range(len(grid.hidden_steps)))
    return [_frame(r, c, p.ink, 1.4) for r, c in found if c is not None]


def _chosen(grid: Grid, state: int, step: int, p: Palette) -> list[dict]:
    if state not in grid.hidden_steps or step not in grid.readout_steps:
        return []
    return [_frame(
        grid.hidden_steps.index(state), grid.readout_steps.index(step), p.accent, 2.6
    )]


def control_range(grid: Grid, metric: str) -> tuple[str, str]:
    """Smallest and largest value of a measure with the rows dealt out anew, in words."""
    known = grid.chance[metric][np.isfinite(grid.chance[metric])]
    if not len(known):
        return NOT_AVAILABLE, NOT_AVAILABLE
    digits = 5 if metric in ("p", "top1") else DIGITS[metric]
    return number(float(known.min()), digits), number(float(known.max()), digits)


def even(grid: Grid) -> float:
    """NLL of an even spread over the vocabulary, log V."""
    return math.log(grid.n_rows)


def clicked(carried: object, grid: Grid) -> tuple[int, int] | None:
    """Hidden step and readout step of the cell with a number; None for none."""
    count = len(grid.readout_steps)
    if not isinstance(carried, int) or not 0 <= carried < count * len(grid.hidden_steps):
        return None
    return grid.hidden_steps[carried // count], grid.readout_steps[carried % count]


def grid_table(grid: Grid, metric: str | None = None) -> pd.DataFrame:
    """One row per hidden state with the readouts as columns; all measures one under another."""
    if metric is not None:
        found = pd.DataFrame(grid.values[metric], columns=[f"{s:,}" for s in grid.readout_steps])
        found.insert(0, "hidden state of step", [f"{s:,}" for s in grid.hidden_steps])
        return found
    count = len(grid.readout_steps)
    columns = {
        "hidden_step": np.repeat(grid.hidden_steps, count),
        "readout_step": np.tile(grid.readout_steps, len(grid.hidden_steps)),
    }
    for name in METRICS:
        columns[name] = grid.values[name].ravel()
        columns[f"{name}_dealt_anew"] = grid.chance[name].ravel()
    return pd.DataFrame(columns)


# --- lists of next tokens -------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One token of a list."""

    text: str
    """As it is drawn."""
    probability: float
    note: str = ""
    """Its rank in the other list, or what became of it."""
    hot: bool = False
    """It is a token of the score."""
    rises: bool | None = None
    """Whether it stands higher than in the other list; None where it stands as before."""


def lists(left: tuple[str, Sequence[Line]], right: tuple[str, Sequence[Line]]) -> str:
    """Two lists of next tokens with their probabilities as bars, one scale for both."""
    most = max((line.probability for _, lines in (left, right) for line in lines), default=0.0)
    cells = "".join(_list(title, lines, most or 1.0) for title, lines in (left, right))
    return wrap(
        '<div style="display:grid;grid-template-columns:1fr 1fr;gap:6px 34px" '
        f'aria-label="{escape(left[0])}; {escape(right[0])}">{cells}</div>'
    )


def _list(title: str, lines: Sequence[Line], most: float) -> str:
    rows = []
    for place, line in enumerate(lines, 1):
        colour = ink("accent" if line.hot else "ink", 1 if line.hot else 0.3)
        bar = (
            f'<div style="height:9px;width:{100 * line.probability / most:.1f}%;min-width:1px;'
            f'background:{colour}"></div>'
        )
        tone = {None: "muted", True: "accent", False: "counter"}[line.rises]
        rows.append(
            f'<tr><td class="num dim" style="width:22px">{place}</td>'
            f'<td style="width:88px;max-width:88px;overflow:hidden;text-overflow:ellipsis">'
            f'<span class="tok"{" style=color:" + ink("accent") if line.hot else ""}>'
            f"{escape(line.text)}</span></td>"
            f'<td class="num" style="width:50px;text-align:right">'
            f"{_percent(line.probability)}</td><td>{bar}</td>"
            f'<td class="num" style="width:72px;text-align:right;font-size:11px;'
            f'color:{ink(tone)}">{escape(line.note)}</td></tr>'
        )
    return (
        f'<table class="atl-table" style="table-layout:fixed"><caption style="text-align:left;'
        f'font-family:var(--atl-serif);font-style:italic;font-size:14px;color:{ink("muted")}">'
        f"{escape(title)}</caption>{''.join(rows)}</table>"
    )


def _percent(value: float) -> str:
    if not math.isfinite(value):
        return NOT_AVAILABLE
    return "< 0.01%" if 0 < value < 1e-4 else f"{value:.2%}" if value < 0.1 else f"{value:.1%}"


def change_of_rank(here: int, there: int, goes: bool) -> tuple[str, bool | None]:
    """Where a token of a list goes to, or came from, in few characters, and whether it rises.

    Args:
        here: its rank in the list that is drawn.
        there: its rank in the other.
        goes: the list is the first of the two; otherwise the second.
    """
    if here == there:
        return "", None
    rises = (there < here) if goes else (here < there)
    return f"{'▲' if rises else '▼'} {'to' if goes else 'from'} {there:,}", rises
