"""Figures of the trials of a dictionary: methods side by side, by margin, through training."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from atlas.axes import bare_template, plain, position, positions, spread, step_axis, tidy, upright
from atlas.figures import ribbon
from atlas.theme import MONO, SANS, SERIF, Palette, axis
from atlas.trust import MARGINS, NULLS, OWN, RIDGE, Trust, method_table, name_of

LINE, FOOT, HEAD = 27, 34, 26
"""Pixels of a method's line, under the panels, over them."""
METHOD_PANELS = (
    ("passing", "passes the gate", "%"),
    ("sign", "keeps its sign", "%"),
    ("rho", "median ρ, lower is better", ""),
    ("n80", "components for 80 %", "n"),
)
"""Measure, title and unit of the panels of the methods."""
MARGIN_PANELS = METHOD_PANELS[1::-1] + METHOD_PANELS[2:3]
COURSE_PANELS = (
    ("passing", "passes the gate", "%"),
    ("passing_unfloored", "passes without the floor under ρ", "%"),
    ("top1", "likeliest token kept", "%"),
    ("kl_bits", "KL, bits, lower is better", ""),
)


def ink_of(method: str, p: Palette) -> str:
    """Colour of a method: the dictionary's own, a baseline's, a null's."""
    if method == OWN:
        return p.accent
    return p.muted if method in NULLS else p.counter


def _faded(colour: str, strength: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {strength})"


def said(value: float, unit: str) -> str:
    """A value as a figure writes it."""
    if not math.isfinite(value):
        return "–"
    if unit == "%":
        return f"{100 * value:.0f} %"
    return f"{value:.0f}" if unit == "n" or abs(value) >= 10 else f"{value:.2f}"


def _title(index: int, text: str, p: Palette) -> dict:
    number = "" if index == 0 else str(index + 1)
    return {
        "x": 0, "xref": f"x{number} domain", "xanchor": "left", "y": 1,
        "yref": f"y{number} domain", "yanchor": "bottom", "yshift": 5, "text": f"<i>{text}</i>",
        "showarrow": False, "font": {"family": SERIF, "size": 13.5, "color": p.muted},
    }


# --- methods side by side ------------------------------------------------------------------------


def methods_figure(found: Trust, p: Palette) -> dict:
    """A line per method: dots with 95 % intervals in four panels, each value beside its dot."""
    table = method_table(found)
    names = found.methods
    places = list(range(len(names)))[::-1]
    data: list[dict] = []
    height = LINE * len(names) + FOOT + HEAD
    layout: dict = {
        "template": _with_defaults(p), "height": height, "hovermode": "closest",
        "margin": {"l": 138, "r": 44, "t": HEAD, "b": FOOT}, "annotations": [],
    }
    for index, (name, title, unit) in enumerate(METHOD_PANELS):
        number = "" if index == 0 else str(index + 1)
        values = table[name].to_numpy(float)
        most = _most(table, name, unit)
        data += _whiskers(table, names, name, most, number, p)
        for i, method in enumerate(names):
            ink = ink_of(method, p)
            if not math.isfinite(values[i]):
                continue
            layout["annotations"].append({
                "x": 1, "xref": f"x{number} domain", "xshift": 4, "y": places[i],
                "yref": f"y{number}", "text": said(values[i], unit), "font": {"color": ink},
            })
        data.append({
            "type": "scatter", "mode": "markers", "name": title,
            "x": [min(v, most) if math.isfinite(v) else None for v in values], "y": places,
            "marker": {"size": 8, "color": [ink_of(m, p) for m in names], "opacity": 1},
            "text": [plain(name_of(m)) for m in names],
            "customdata": [said(v, unit) for v in values], "cliponaxis": False,
            "hovertemplate": f"%{{text}}<br>{title}: %{{customdata}}<extra></extra>",
            "xaxis": f"x{number}", "yaxis": f"y{number}",
        })
        left = 0.255 * index
        layout[f"xaxis{number}"] = {
            **axis(p), "domain": [left, left + 0.185], "range": [0, 1.02 * most], "nticks": 4,
            "anchor": f"y{number}", **({"tickformat": ".0%"} if unit == "%" else {}),
        }
        layout[f"yaxis{number}"] = {
            **axis(p), "range": [-0.6, len(names) - 0.4], "tickmode": "array", "tickvals": places,
            "ticktext": [plain(name_of(m)) for m in names] if index == 0 else [""] * len(names),
            "tickfont": {"family": SANS, "size": 12, "color": p.ink}, "ticklen": 0,
            "anchor": f"x{number}",
        }
        layout["annotations"].append(_title(index, title, p))
    return {"data": data, "layout": layout}


def _with_defaults(p: Palette) -> dict:
    """The template with what all numbers beside dots share, said once."""
    bare = bare_template(p)
    defaults = {"showarrow": False, "xanchor": "left", "font": {"family": MONO, "size": 11}}
    return {"layout": {**bare["layout"], "annotationdefaults": defaults}}


def _whiskers(
    table: pd.DataFrame, names: Sequence[str], measure: str, most: float, number: str, p: Palette
) -> list[dict]:
    """The intervals of a panel, one trace for each colour; a gap parts two methods."""
    if f"{measure}_low" not in table:
        return []
    lines: dict[str, tuple[list, list]] = {}
    for i, method in enumerate(names):
        low, high = (float(table[f"{measure}{end}"].iloc[i]) for end in ("_low", "_high"))
        if math.isfinite(low) and math.isfinite(high):
            x, y = lines.setdefault(ink_of(method, p), ([], []))
            x += [*tidy([min(low, most), min(high, most)]), None]
            y += [len(names) - 1 - i] * 2 + [None]
    return [{
        "type": "scatter", "mode": "lines", "x": x, "y": y, "hoverinfo": "skip",
        "line": {"color": _faded(ink, 0.45), "width": 5}, "xaxis": f"x{number}",
        "yaxis": f"y{number}",
    } for ink, (x, y) in lines.items()]


def _most(table: pd.DataFrame, name: str, unit: str) -> float:
    """End of a panel's axis; a ρ beyond 1.5 lies at its end."""
    if unit == "%":
        return 1.0
    values = table[f"{name}_high" if f"{name}_high" in table else name].to_numpy(float)
    most = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    return min(most, 1.5) if name == "rho" else max(most, 1e-9)


# --- by margin -----------------------------------------------------------------------------------


def shown(found: Trust) -> tuple[str, ...]:
    """The methods of a figure with lines: the dictionary, the PCA of most axes, shuffled codes."""
    pca = [m for m in found.methods if m.startswith("pca-")]
    return tuple(m for m in (OWN, *pca[-1:], NULLS[0]) if m in found.methods)


def margins_figure(found: Trust, table: pd.DataFrame, p: Palette) -> dict:
    """Sign, gate and ρ by bins of the exact score, the dictionary beside a baseline and a null.

    Args:
        table: of `atlas.trust.margin_table`.
    """
    data: list[dict] = []
    layout = _panels(MARGIN_PANELS, p, 250, rows=1)
    x = list(range(len(MARGINS)))
    for index, (name, title, unit) in enumerate(MARGIN_PANELS):
        number = "" if index == 0 else str(index + 1)
        ends, most = [], 1.0 if unit == "%" else 1.5
        for method in shown(found):
            rows = table[table["method"] == method].set_index("margin").reindex(MARGINS)
            values = [min(v, most) if math.isfinite(v) else v for v in rows[name].to_numpy(float)]
            ink = ink_of(method, p)
            error = {}
            if method == OWN:
                error = {"error_y": {
                    "type": "data", "symmetric": False, "thickness": 1.4, "width": 0, "color": ink,
                    "array": tidy(np.minimum(rows[f"{name}_high"], most) - values),
                    "arrayminus": tidy(values - rows[f"{name}_low"]),
                }}
            data.append({
                "type": "scatter", "mode": "lines+markers", "name": name_of(method), "x": x,
                "y": tidy(values), "line": _line(method, ink), "marker": {"size": 6, "color": ink},
                "customdata": [[m, 0 if n != n else int(n), said(v, unit)] for m, n, v in zip(
                    MARGINS, rows["n_cases"], rows[name].to_numpy(float), strict=True)],
                "hovertemplate": f"{name_of(method)}<br>{title}: %{{customdata[2]}}<br>|score| "
                                 "%{customdata[0]}, %{customdata[1]} contrasts<extra></extra>",
                "cliponaxis": False, "xaxis": f"x{number}", "yaxis": f"y{number}", **error,
            })
            ends.append((method, values))
        layout[f"xaxis{number}"] |= {
            "range": [-0.3, len(MARGINS) - 0.7], "tickmode": "array", "tickvals": x,
            "ticktext": [m.replace("<", "&lt;").replace(">=", "≥ ") for m in MARGINS],
            "title": {"text": "|exact score|, logits", "standoff": 6,
                      "font": {"size": 11.5, "color": p.muted}},
        }
        layout[f"yaxis{number}"] |= _values(unit, most)
        layout["annotations"] += _ends(ends, number, most, 190, p)
    return {"data": data, "layout": layout}


def _line(method: str, ink: str, own: bool = False) -> dict:
    null = method in NULLS
    return {"color": ink, "width": 1.3 if null else 1.6 if own else 2,
            "dash": "2px,3px" if null else "6px,3px" if own else "solid"}


def _values(unit: str, most: float) -> dict:
    return {"range": [0, 1.04 * most], "nticks": 5,
            **({"tickformat": ".0%"} if unit == "%" else {})}


def _ends(
    ends: Sequence[tuple[str, Sequence[float]]], number: str, most: float, pixels: int, p: Palette
) -> list[dict]:
    """A name beside the last point of every line of a panel."""
    kept = [(name, [v for v in values if v is not None and math.isfinite(v)])
            for name, values in ends]
    kept = [(name, values[-1]) for name, values in kept if values]
    values = [v for _, v in kept]
    at = spread(values, 15 / pixels * most, min(0.0, *values), most) if kept else []
    return [{
        "x": 1, "xref": f"x{number} domain", "xanchor": "left", "xshift": 5, "y": y,
        "yref": f"y{number}", "yanchor": "middle", "showarrow": False,
        "text": plain(_short(name)),
        "font": {"family": SANS, "size": 11, "color": ink_of(name.split("/")[0], p)},
    } for (name, _), y in zip(kept, at, strict=True)]


def _short(name: str) -> str:
    method, _, more = name.partition("/")
    words = {OWN: "dictionary", RIDGE: "ridge", "shuffled": "shuffled", "random": "random"}
    return more or words.get(method) or f"PCA {method.removeprefix('pca-')}"


def _panels(panels: Sequence[tuple[str, str, str]], p: Palette, height: int, rows: int) -> dict:
    """The layout of panels in so many rows, read across."""
    columns = -(-len(panels) // rows)
    layout: dict = {
        "template": bare_template(p), "height": height * rows, "hovermode": "closest",
        "margin": {"l": 46, "r": 78, "t": HEAD, "b": 46}, "annotations": [], "shapes": [],
    }
    wide, room = 1 / columns, 0.16 if columns > 2 else 0.105
    for index, (_, title, _) in enumerate(panels):
        number = "" if index == 0 else str(index + 1)
        row, column = divmod(index, columns)
        left = column * (wide + room / columns)
        high = 1.0 if rows == 1 else 0.4
        layout[f"xaxis{number}"] = {
            **axis(p), "domain": [left, left + wide - room], "anchor": f"y{number}"}
        layout[f"yaxis{number}"] = {
            **axis(p), "domain": [0, high] if row == rows - 1 else [1 - high, 1],
            "anchor": f"x{number}"}
        layout["annotations"].append(_title(index, title, p))
    return layout


# --- through training ----------------------------------------------------------------------------


def course_figure(table: pd.DataFrame, steps: Sequence[int], step: int, p: Palette) -> dict:
    """Gate with and without a floor, likeliest token and KL at every snapshot.

    Args:
        table: of `atlas.trust.course_table`.
    """
    data: list[dict] = []
    layout = _panels(COURSE_PANELS, p, 236, rows=2)
    lines = ((OWN, "final"), (OWN, "own"), ("shuffled", "final"))
    for index, (name, title, unit) in enumerate(COURSE_PANELS):
        number = "" if index == 0 else str(index + 1)
        kept = [_line_of(table, method, hidden)[name].dropna() for method, hidden in lines]
        drawn = [v for values in kept if len(values) > 1 for v in values]
        most = 1.0 if unit == "%" else max([1e-3, *drawn])
        ends = []
        for method, hidden in lines:
            rows = _line_of(table, method, hidden)
            rows = rows[np.isfinite(rows[name].to_numpy(float))]
            if len(rows) < 2:
                continue
            ink, at = ink_of(method, p), rows["step"].tolist()
            values = np.minimum(rows[name].to_numpy(float), most)
            if (method, hidden) == (OWN, "final") and f"{name}_low" in rows:
                data.append(ribbon(positions(at), tidy(np.minimum(rows[f"{name}_low"], most)),
                                   tidy(np.minimum(rows[f"{name}_high"], most)),
                                   _faded(ink, 0.14), f"y{number}") | {"xaxis": f"x{number}"})
            form = ".0%" if unit == "%" else ".3f"
            said_of = "own state" if hidden == "own" else name_of(method)
            data.append({
                "type": "scatter", "mode": "lines+markers", "x": positions(at), "y": tidy(values),
                "name": f"{said_of}, {title}", "line": _line(method, ink, hidden == "own"),
                "marker": {"size": 3.5, "color": ink}, "cliponaxis": False,
                "customdata": at,
                "hovertemplate": f"{said_of}<br>{title}: %{{y:{form}}}<br>step "
                                 "%{customdata:,}<extra></extra>",
                "xaxis": f"x{number}", "yaxis": f"y{number}",
            })
            ends.append((f"{method}/own states" if hidden == "own" else method, list(values)))
        layout[f"xaxis{number}"] |= {**step_axis(steps, p, index > 1),
                                     "domain": layout[f"xaxis{number}"]["domain"]}
        layout[f"yaxis{number}"] |= _values(unit, most)
        layout["annotations"] += _ends(ends, number, most, 150, p)
        layout["shapes"].append(
            upright(position(step), p.muted, "solid", number) | {"xref": f"x{number}"})
    return {"data": data, "layout": layout}


def _line_of(table: pd.DataFrame, method: str, hidden: str) -> pd.DataFrame:
    return table[(table["method"] == method) & (table["hidden"] == hidden)]


# --- bands of rows -------------------------------------------------------------------------------


def bands_figure(found: Trust, bands: dict[str, pd.DataFrame], p: Palette) -> dict:
    """rowEV in bands of rows: by length and, where it is known, by how often the token occurs.

    Args:
        bands: `atlas.trust.band_table` by `norm` and `count`, those that have rows.
    """
    words = {"norm": "rows by length, shortest tenth first", "count": "rows by the token's count"}
    panels = tuple((split, f"rowEV, {words[split]}", "") for split in bands)
    layout = _panels(panels, p, 230, rows=1)
    data: list[dict] = []
    for index, (split, table) in enumerate(bands.items()):
        number = "" if index == 0 else str(index + 1)
        ends = []
        order = sorted(set(table["band"]))
        low = min(0.0, float(table[table["method"].isin(shown(found)[:2])]["ev"].min()))
        for method in shown(found):
            rows = table[table["method"] == method].set_index("band").reindex(order)
            values = np.maximum(rows["ev"].to_numpy(float), low - 0.08)
            ink = ink_of(method, p)
            data.append({
                "type": "scatter", "mode": "lines+markers", "name": name_of(method),
                "x": list(range(len(order))), "y": tidy(values), "line": _line(method, ink),
                "marker": {"size": 5, "color": ink},
                "customdata": [[band_name(split, a, b), int(n), said(v, "")] for a, b, n, v in zip(
                    rows["low"], rows["high"], rows["n_rows"], rows["ev"], strict=True)],
                "hovertemplate": f"{name_of(method)}: %{{customdata[2]}}<br>%{{customdata[0]}}, "
                                 "%{customdata[1]:,} rows<extra></extra>",
                "xaxis": f"x{number}", "yaxis": f"y{number}",
            })
            ends.append((method, list(values)))
        one = table[table["method"] == OWN].set_index("band").reindex(order)
        layout[f"xaxis{number}"] |= {
            "range": [-0.4, len(order) - 0.6], "tickmode": "array",
            "tickvals": list(range(len(order))),
            "ticktext": [f"{v:.2g}" if split == "norm" else _count(v) for v in one["low"]],
            "title": {"text": "from length" if split == "norm" else "from occurrences in training",
                      "standoff": 6, "font": {"size": 11.5, "color": p.muted}},
        }
        layout[f"yaxis{number}"] |= {"range": [low - 0.1, 1.04], "nticks": 6}
        layout["annotations"] += _ends(ends, number, 1.0, 170, p)
    return {"data": data, "layout": layout}


def _count(value: float) -> str:
    power = 0 if value < 1 else 10 ** int(math.log10(value))
    return f"{power // 1000}k" if power >= 1000 else f"{power}"


def band_name(split: str, low: float, high: float) -> str:
    """A band in words."""
    if split == "norm":
        return f"length {low:.2f} to {high:.2f}"
    return f"{low:,.0f} to {high:,.0f} occurrences"
