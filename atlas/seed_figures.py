"""Figures of what returns in other seeds, as Plotly dicts."""

from collections.abc import Sequence

from atlas.markup import share
from atlas.matches import SCORES
from atlas.multiples import Cell, colour, in_grid, named
from atlas.seeds import QUANTILES, Distribution, Returned
from atlas.theme import SANS, Palette, axis, template

PER_ROW = 2
"""Panels beside each other."""


def distributions_figure(
    found: Sequence[Distribution], names: Sequence[str], way: str, p: Palette
) -> dict:
    """A panel per other run: best scores from the best feature down, over those of the null."""
    columns = min(PER_ROW, len(found))
    cells = [_cell(one, name, place, way, p)
             for place, (one, name) in enumerate(zip(found, names, strict=True))]
    while len(cells) % columns:
        cells.append(Cell("", words=" "))
    across = {
        **axis(p), "range": [0, 1], "tickmode": "array", "tickvals": [0, 0.25, 0.5, 0.75, 1],
        "ticktext": ["0%", "25%", "50%", "75%", "100%"],
        "title": {"text": "share of features, best first", "standoff": 8,
                  "font": {"size": 11.5, "color": p.muted}},
    }
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    return in_grid(rows, [across] * columns, p, tall=150)


def _cell(found: Distribution, name: str, place: int, way: str, p: Palette) -> Cell:
    pair, ink = found.pair, colour(place, p)
    x = [round(float(q), 2) for q in QUANTILES]

    def line(values: Sequence[float], what: str, **style: object) -> dict:
        return {
            "type": "scatter", "mode": "lines", "x": x,
            "y": [round(float(v), 3) for v in reversed(values)], "showlegend": False,
            "hovertemplate": f"%{{x:.0%}} have %{{y:.2f}} or more, {what}<extra></extra>", **style,
        }

    traces = [line(found.scores, "here", line={"color": ink, "width": 2})]
    if len(found.null):
        traces.insert(0, line(found.null, "by chance", line={"color": p.muted, "width": 1.2},
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


def profiles_figure(found: Sequence[Returned], p: Palette) -> dict:
    """Share of each profile that returns in another seed, with chance as an upright tick."""
    y = [one.profile for one in reversed(found)]
    values = [round(one.share, 4) for one in reversed(found)]
    said = [f"{one.once:,} of {one.count:,} in one seed or more, {one.everywhere:,} in all; by "
            f"chance {share(one.chance, 0)} at most" for one in reversed(found)]
    return {
        "data": [
            {"type": "bar", "orientation": "h", "y": y, "x": values, "hovertext": said,
             "hovertemplate": "%{y}: %{hovertext}<extra></extra>", "marker": {"color": p.accent},
             "text": [f"{v:.0%}" for v in values], "textposition": "outside",
             "textfont": {"family": SANS, "size": 11.5, "color": p.ink}, "showlegend": False,
             "width": 0.6, "cliponaxis": False},
            {"type": "scatter", "mode": "markers", "y": y,
             "x": [round(one.chance, 4) for one in reversed(found)], "hoverinfo": "skip",
             "marker": {"symbol": "line-ns", "size": 16,
                        "line": {"color": p.ink, "width": 1.6}}, "showlegend": False},
        ],
        "layout": {
            "template": template(p), "height": 60 + 34 * len(y),
            "margin": {"l": 110, "r": 30, "t": 6, "b": 40},
            "xaxis": {**axis(p), "range": [0, 1.05], "tickformat": ".0%"},
            "yaxis": {**axis(p), "showgrid": False},
        },
    }
