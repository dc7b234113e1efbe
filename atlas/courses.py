"""Lines through training with their names beside them: what builds a row, what makes a score."""

from collections.abc import Sequence
from dataclasses import dataclass

from atlas.axes import edges, plain, position, positions, spread, step_axis, tidy, upright
from atlas.theme import MONO, SANS, Palette, axis, template


@dataclass(frozen=True)
class ScoreCourse:
    """A score and its parts at every snapshot that was asked for."""

    steps: Sequence[int]
    exact: Sequence[float]
    base: Sequence[float]
    features: Sequence[float]
    """Sum over all active features."""
    residual: Sequence[float]


@dataclass(frozen=True)
class MapRow:
    """One feature's contribution at every snapshot; None where it does not fire."""

    label: str
    name: str
    values: Sequence[float | None]


def _limits(curves: Sequence[Sequence[float | None]]) -> list[float]:
    """Vertical range around zero and all curves, with air above and below."""
    seen = [v for curve in curves for v in curve if v is not None]
    low, high = min([0.0, *seen]), max([0.0, *seen])
    span = (high - low) or 1.0
    return [low - 0.06 * span, high + 0.08 * span]


def _names(
    ends: Sequence[tuple[str, str]],
    data: Sequence[dict],
    limits: list[float],
    height: int,
    p: Palette,
    family: str = SANS,
) -> list[dict]:
    """A name beside the last point of each line, in its colour."""
    last = [next((v for v in reversed(t["y"]) if v is not None), 0.0) for t in data]
    gap = 15.5 / (height - 48) * (limits[1] - limits[0])
    return [
        {
            "x": 1,
            "xref": "paper",
            "xanchor": "left",
            "xshift": 6,
            "y": at,
            "yref": "y",
            "yanchor": "middle",
            "text": plain(name),
            "showarrow": False,
            "font": {"family": family, "size": 11.5, "color": colour},
        }
        for (name, colour), at in zip(ends, spread(last, gap, *limits), strict=True)
    ]


def _with_lines(
    data: list[dict],
    names: list[dict],
    steps: Sequence[int],
    step: int,
    limits: list[float],
    height: int,
    right: int,
    p: Palette,
) -> dict:
    """Lines with their names over the step axis, zero drawn, the chosen step upright."""
    return {
        "data": data,
        "layout": {
            "template": template(p),
            "height": height,
            "margin": {"l": 48, "r": right, "t": 8, "b": 42},
            "hovermode": "closest",
            "xaxis": step_axis(steps, p),
            "yaxis": {
                **axis(p),
                "range": limits,
                "zeroline": True,
                "zerolinecolor": p.muted,
                "zerolinewidth": 1,
            },
            "shapes": [upright(position(step), p.muted, "solid")],
            "annotations": names,
        },
    }


def score_course(found: ScoreCourse, step: int, p: Palette, height: int = 330) -> dict:
    """A score and its three parts through training, each line named at its right end."""
    parts = (
        ("exact", found.exact, p.ink, 2.4, "solid"),
        ("features", found.features, p.accent, 2.0, "solid"),
        ("base", found.base, p.counter, 1.6, "solid"),
        ("residual", found.residual, p.muted, 1.4, "3px,3px"),
    )
    x = positions(found.steps)
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": x,
            "y": tidy(values),
            "line": {"color": colour, "width": width, "dash": dash},
            "marker": {"size": 3.5, "color": colour},
            "cliponaxis": False,
            "customdata": list(found.steps),
            "hovertemplate": f"{name} %{{y:.3f}}<br>step %{{customdata:,}}<extra></extra>",
        }
        for name, values, colour, width, dash in parts
    ]
    limits = _limits([trace["y"] for trace in data])
    names = _names([(name, colour) for name, _, colour, *_ in parts], data, limits, height, p)
    return _with_lines(data, names, found.steps, step, limits, height, 70, p)


def feature_map(steps: Sequence[int], rows: Sequence[MapRow], step: int, p: Palette) -> dict:
    """One line of cells per feature over the step axis, empty where it does not fire.

    Accent where the feature raises the score and the counter colour where it lowers it, on a
    scale that is the same both ways.
    """
    line, foot = 21, 42
    borders = edges(steps)
    values = [tidy(row.values) for row in reversed(rows)]
    most = max([1e-9, *(abs(v) for row in values for v in row if v is not None)])
    cells = {
        "type": "heatmap",
        "x": borders,
        "y": [i - 0.5 for i in range(len(rows) + 1)],
        "z": values,
        "zmin": -most,
        "zmax": most,
        "colorscale": [[0, p.counter], [0.5, p.paper], [1, p.accent]],
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
        "hoverongaps": False,
        "customdata": [list(steps)] * len(rows),
        "text": [[plain(row.name)] * len(steps) for row in reversed(rows)],
        "hovertemplate": "%{text}<br>%{z:+.3f} at step %{customdata:,}<extra></extra>",
    }
    return {
        "data": [cells],
        "layout": {
            "template": template(p),
            "height": line * len(rows) + foot + 4,
            "margin": {"l": 290, "r": 16, "t": 4, "b": foot},
            "hovermode": "closest",
            "xaxis": {**step_axis(steps, p), "range": [borders[0], borders[-1]],
                      "showgrid": False},
            "yaxis": {
                **axis(p),
                "range": [-0.5, len(rows) - 0.5],
                "showgrid": False,
                "ticklen": 0,
                "tickmode": "array",
                "tickvals": list(range(len(rows))),
                "ticktext": [plain(row.label) for row in reversed(rows)],
                "tickfont": {"size": 11.5, "color": p.ink, "family": MONO},
            },
            "shapes": [upright(position(step), p.muted, "solid")],
        },
    }
