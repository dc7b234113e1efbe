"""Figures of what returns in other seeds, as Plotly dicts."""

from collections.abc import Sequence

from atlas.axes import bare_template, plain
from atlas.markup import share
from atlas.matches import SCORES
from atlas.multiples import Cell, colour, in_grid, named, suffix
from atlas.seed_strata import Strata, Stratum
from atlas.seeds import QUANTILES, Distribution
from atlas.theme import MONO, SANS, SERIF, Palette, axis

PER_ROW = 3
"""Panels beside each other, at most."""


def distributions_figure(
    found: Sequence[Distribution], names: Sequence[str], way: str, p: Palette
) -> dict:
    """A panel per other run: best scores from the best feature down, over those of the null."""
    columns = 2 if len(found) == 4 else min(PER_ROW, len(found))
    cells = [_cell(one, name, place, way, p)
             for place, (one, name) in enumerate(zip(found, names, strict=True))]
    short = -len(cells) % columns
    cells += [Cell("", words=" ")] * short
    across = {
        **axis(p), "range": [0, 1], "showgrid": not short, "tickmode": "array",
        "tickvals": [0, 0.25, 0.5, 0.75, 1],
        "ticktext": ["0%", "25%", "50%", "75%", "100%"],
        "title": {"text": "share of features, best first", "standoff": 8,
                  "font": {"size": 11.5, "color": p.muted}},
    }
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    return in_grid(rows, [across] * columns, p, tall=150)


def _cell(found: Distribution, name: str, place: int, way: str, p: Palette) -> Cell:
    pair, ink = found.pair, colour(place, p)
    step = 1 / (len(QUANTILES) - 1)

    def line(values: Sequence[float], what: str, **style: object) -> dict:
        return {
            "type": "scatter", "mode": "lines", "x0": 0, "dx": step,
            "y": [round(float(v), 3) for v in reversed(values)], "showlegend": False,
            "hovertemplate": f"%{{x:.0%}} have %{{y:.2f}} or more{what}<extra></extra>", **style,
        }

    traces = [line(found.scores, "", line={"color": ink, "width": 2})]
    if len(found.null):
        traces.insert(0, line(found.null, " by chance", line={"color": p.muted, "width": 1.2},
                              fill="tozeroy", fillcolor=p.grid))
    at = pair.n_returned / pair.n_features if pair.n_features else 0.0
    rest = f"{pair.n_returned:,} of {pair.n_features:,} return, {share(at, 0)}"
    return Cell(
        named(name, ink, rest), traces,
        {**axis(p), "range": [0, 1.02] if way != "life" else [0.4, 1.02],
         "tickfont": {"family": SANS, "size": 11}, "title": {
             "text": SCORES[way], "font": {"size": 11.5, "color": p.muted}, "standoff": 4}},
        [{"type": "line", "x0": at, "x1": at, "y0": 0, "y1": 1,
          "line": {"color": ink, "width": 1, "dash": "dot"}}],
    )


# --- strata ---------------------------------------------------------------------------------------


ROW, HEAD, LEFT = 30, 46, 172
"""Pixels of a stratum's line, over the panels, and of the strata's names."""
PANELS = ((0.0, 0.39), (0.45, 0.74), (0.80, 1.0))
"""Where the panels lie: who returns, how well, and how far beyond chance."""


def strata_figure(found: Strata, way: str, p: Palette) -> dict:
    """A line a stratum: share that returns, best scores and their percentiles, each with chance."""
    rows = found.rows
    most = max([*(one.high for one in rows), 0.25])
    data = [*_shares(found, most, p), *_quartiles(found, "scores", "x2", SCORES[way], p),
            *_quartiles(found, "percentiles", "x3", "percentile", p)]
    lowest = 0.0 if way != "life" else 0.4
    across = [
        {"range": [0, round(1.14 * most, 4)], "tickformat": ".0%", "nticks": 6},
        {"range": [lowest, 1.02], "nticks": 6},
        {"range": [0, 1.03], "tickmode": "array", "tickvals": [0, 0.5, 1],
         "ticktext": ["0%", "50%", "100%"]},
    ]
    whose = "other seeds" if found.others.are_seeds else "other runs"
    titles = (
        f"return in one of {len(found.others.runs)} {whose} or more" if len(found.others.runs) > 1
        else f"return in the {whose[:-1]}",
        f"best {SCORES[way]}", "percentile in the null",
    )
    layout: dict = {
        "template": bare_template(p), "height": HEAD + ROW * len(rows) + 28, "hovermode": "closest",
        "margin": {"l": LEFT, "r": 16, "t": HEAD, "b": 28}, "shapes": [], "annotations": [],
        "yaxis": {**axis(p), "range": [len(rows) - 0.4, -0.6], "showticklabels": False,
                  "ticks": "", "showgrid": False},
    }
    for i, (own, domain, words) in enumerate(zip(across, PANELS, titles, strict=True)):
        x = suffix(i)
        layout[f"xaxis{x}"] = {**axis(p), **own, "domain": list(domain), "anchor": "y"}
        layout["annotations"].append({
            "x": 0, "xref": f"x{x} domain", "xanchor": "left", "y": 1, "yref": "paper",
            "yanchor": "bottom", "yshift": 20, "text": f"<i>{words}</i>", "showarrow": False,
            "font": {"family": SERIF, "size": 13.5, "color": p.muted}})
    layout["shapes"], marks = _chances(found, p)
    layout["annotations"] += [*marks, *_names(rows, p)]
    return {"data": data, "layout": layout}


def _shares(found: Strata, most: float, p: Palette) -> list[dict]:
    rows = found.rows
    said = [
        f"{plain(one.name)}: {one.once:,} of {one.count:,} return in one or more, "
        f"{one.everywhere:,} in all<br>95 % interval {share(one.low, 0)} to {share(one.high, 0)}; "
        f"by chance {share(found.chance, 0)} at most" for one in rows]
    return [
        _spans([(one.low, one.high) for one in rows], "x", p),
        {"type": "scatter", "mode": "markers", "x": [round(one.share, 4) for one in rows],
         "y": list(range(len(rows))), "hovertext": said, "name": "share that returns",
         "hovertemplate": "%{hovertext}<extra></extra>", "cliponaxis": False,
         "marker": {"color": p.accent, "size": 9, "opacity": 1}, "xaxis": "x", "yaxis": "y"},
        {"type": "scatter", "mode": "text", "x": [round(one.high + 0.02 * most, 4) for one in rows],
         "y": list(range(len(rows))), "text": [f"{one.share:.0%}" for one in rows],
         "textposition": "middle right", "hoverinfo": "skip", "cliponaxis": False,
         "textfont": {"family": SANS, "size": 11.5, "color": p.ink}, "xaxis": "x", "yaxis": "y"},
    ]


def _quartiles(found: Strata, name: str, x: str, words: str, p: Palette) -> list[dict]:
    values = [getattr(one, name) for one in found.rows]
    said = [f"{plain(one.name)}: median {words} {v[1]:.2f}<br>half of them {v[0]:.2f} to {v[2]:.2f}"
            for one, v in zip(found.rows, values, strict=True)]
    return [
        _spans([(v[0], v[2]) for v in values], x, p),
        {"type": "scatter", "mode": "markers", "x": [round(v[1], 3) for v in values],
         "y": list(range(len(values))), "hovertext": said, "name": words,
         "hovertemplate": "%{hovertext}<extra></extra>", "cliponaxis": False,
         "marker": {"color": p.accent, "size": 8, "symbol": "diamond", "opacity": 1},
         "xaxis": x, "yaxis": "y"},
    ]


def _spans(ends: Sequence[tuple[float, float]], x: str, p: Palette) -> dict:
    return {
        "type": "scatter", "mode": "lines", "hoverinfo": "skip",
        "x": [None if v is None else round(v, 4) for low, high in ends for v in (low, high, None)],
        "y": [v for row in range(len(ends)) for v in (row, row, None)],
        "line": {"color": p.ink, "width": 1.6}, "xaxis": x, "yaxis": "y"}


def _chances(found: Strata, p: Palette) -> tuple[list[dict], list[dict]]:
    """What chance gives, in every panel: lines and bands, and a word over each."""
    spans = [("x", found.chance, None, f"chance, {share(found.chance, 0)} at most")]
    if found.null:
        spans.append(("x2", found.null[1], (found.null[0], found.null[2]), "by chance"))
    spans.append(("x3", 0.5, (0.25, 0.75), "by chance"))
    shapes, words = [], []
    for x, at, band, said in spans:
        across = {"xref": x, "yref": "paper", "y0": 0, "y1": 1, "layer": "below"}
        if band:
            shapes.append({**across, "type": "rect", "x0": round(band[0], 4),
                           "x1": round(band[1], 4), "fillcolor": p.narrow_band,
                           "line": {"width": 0}})
        shapes.append({**across, "type": "line", "x0": round(at, 4), "x1": round(at, 4),
                       "line": {"color": p.muted, "width": 1.3, "dash": "2px,3px"}})
        words.append({
            "x": round(at, 4), "xref": x, "y": 1, "yref": "paper", "yanchor": "bottom",
            "xanchor": "center" if band else "left", "yshift": 2, "text": said,
            "showarrow": False, "font": {"family": SANS, "size": 11, "color": p.muted}})
    return shapes, words


def _names(rows: Sequence[Stratum], p: Palette) -> list[dict]:
    """Every stratum's name and size, left of the first panel."""
    usual = {"x": 0, "xref": "paper", "xanchor": "right", "yref": "y", "showarrow": False}
    found = [{**usual, "y": 1, "yref": "paper", "yanchor": "bottom", "yshift": 2, "xshift": -10,
              "text": "features", "font": {"family": SANS, "size": 11, "color": p.muted}}]
    for row, one in enumerate(rows):
        found += [
            {**usual, "xshift": -62, "y": row, "text": plain(one.name),
             "font": {"family": SANS, "size": 12, "color": p.ink}},
            {**usual, "xshift": -10, "y": row, "text": f"{one.count:,}",
             "font": {"family": MONO, "size": 11.5, "color": p.muted}}]
    return found
