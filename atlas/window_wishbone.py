"""The wishbone as a page shows it: its points thinned, its arms described, a part drawn round.

The plane is scaled to [0, 1] along each axis, so that points, colours and a lasso are those of the
map of Browse (`atlas.maps`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from atlas import maps
from atlas.axes import bare_template, positions, spread, step_axis, tidy
from atlas.columns import label_columns, number_columns
from atlas.conditions import clip
from atlas.selections import within
from atlas.spread import GRID, MapPoints, thinned
from atlas.store import Store
from atlas.theme import SANS, SERIF, Palette, axis
from atlas.wishbone import ARMS, Wishbone

POINTS = 600
"""Features that are drawn at most."""
STRONGEST = 12
"""Features that stand for an arm."""
HEIGHT = 430
CORNERS = (3, maps.CORNERS)
MARGIN = 0.03
"""Air around the points, as a share of their extent."""


@dataclass(frozen=True)
class Listed:
    """A feature with its strongest firing tokens."""

    feature: int
    label: str


@dataclass(frozen=True)
class Arm:
    """One arm: its size, what is usual in it, its strongest features."""

    name: str
    size: int
    first_step: float
    """Median over its features of the first step with a rate above 0.001; nan where at least half
    never have one."""
    lifetime: float
    """Median number of snapshots above 0.30 of the largest rate."""
    early_late: float
    """Median of mean early rate minus mean late rate; nan where the schedule lacks either."""
    drift: float
    """Median of the summed angles, in degrees."""
    course: tuple[float, ...]
    """Mean rate over its maximum at every snapshot."""
    strongest: tuple[Listed, ...]
    """By mean contribution."""


@dataclass(frozen=True, eq=False)
class Plane:
    """The wishbone ready to be drawn."""

    explained: tuple[float, float]
    null: tuple[tuple[float, float], tuple[float, float]]
    """5 and 95 % quantiles of each share where rates are shuffled in time."""
    p: tuple[float, float]
    """(shuffles whose share is as high + 1) / (shuffles + 1)."""
    shuffles: int
    agreement: float
    left_out: int
    arms: tuple[Arm, ...]
    features: np.ndarray
    """(n,) int32, largest mean contribution first."""
    x: np.ndarray
    y: np.ndarray
    """(n,) float32 in [0, 1]."""
    arm: np.ndarray
    """(n,) int8."""
    low: tuple[float, float]
    high: tuple[float, float]
    """PC1 and PC2 at 0 and at 1."""


def plane(store: Store, run: str, found: Wishbone, shares: np.ndarray) -> Plane:
    """What a page shows of a wishbone; `shares` (K, n) are rates over their maximum."""
    card = store.run(run)
    ends = (card.steps[0], card.steps[-1])
    contribution = number_columns(store, run, 0, ("contribution",), ends)["contribution"]
    order = np.argsort(-np.nan_to_num(contribution[found.features]), kind="stable")
    low, high = found.scores.min(axis=0), found.scores.max(axis=0)
    air = MARGIN * np.where(high > low, high - low, 1.0)
    low, high = low - air, high + air
    unit = ((found.scores - low) / (high - low))[order].astype(np.float32)
    return Plane(
        explained=(float(found.explained[0]), float(found.explained[1])),
        null=tuple(tuple(float(q) for q in np.quantile(found.null[:, i], (0.05, 0.95)))
                   for i in (0, 1)),
        p=tuple(float((found.null[:, i] >= found.explained[i]).sum() + 1) / (len(found.null) + 1)
                for i in (0, 1)),
        shuffles=len(found.null), agreement=found.agreement, left_out=found.left_out,
        arms=tuple(_arm(store, run, found, shares, order, i) for i in range(len(ARMS))),
        features=found.features[order], x=unit[:, 0], y=unit[:, 1], arm=found.arm[order],
        low=(float(low[0]), float(low[1])), high=(float(high[0]), float(high[1])),
    )


def _arm(
    store: Store, run: str, found: Wishbone, shares: np.ndarray, order: np.ndarray, number: int
) -> Arm:
    card = store.run(run)
    inside = found.arm == number
    best = order[inside[order]][:STRONGEST]
    first = np.append(np.array(card.steps, float), np.nan)[found.first[inside].astype(int)]
    middle = float(np.median(np.where(np.isnan(first), np.inf, first)))

    def median(values: np.ndarray) -> float:
        return float(np.median(values[inside]))

    return Arm(
        ARMS[number], int(inside.sum()), middle if np.isfinite(middle) else np.nan,
        median(found.lifetime), median(found.early_late), float(np.degrees(median(found.drift))),
        tuple(float(v) for v in shares[:, inside].mean(axis=1)),
        listed(store, run, found.features[best]),
    )


def listed(store: Store, run: str, features: np.ndarray) -> tuple[Listed, ...]:
    """Features with their labels, in their order."""
    texts = store.token_texts(store.run(run).model)
    labels = label_columns(store, run).drawn(features, texts)
    return tuple(Listed(int(f), label) for f, label in zip(features, labels, strict=True))


def plane_table(found: Plane) -> pd.DataFrame:
    """Every feature's PC1, PC2 and arm."""
    low, high = np.array(found.low), np.array(found.high)
    scores = low + (high - low) * np.stack([found.x, found.y], axis=1)
    return pd.DataFrame({
        "feature": found.features, "pc1": scores[:, 0].round(4), "pc2": scores[:, 1].round(4),
        "arm": np.array(ARMS)[found.arm],
    }).sort_values("feature", ignore_index=True)


# --- a part drawn round --------------------------------------------------------------------------


def read_brush(text: str | None) -> tuple[tuple[tuple[float, float], ...], str]:
    """Corners in [0, 1] that an address holds, and a calm sentence if they are none."""
    if not text:
        return (), ""
    parts = text.split(";") if len(text) <= 400 else []
    corners = []
    for part in parts:
        x, _, y = part.partition(",")
        try:
            corner = (float(x), float(y))
        except ValueError:
            break
        if not all(0 <= v <= 1 for v in corner):
            break
        corners.append(corner)
    if len(corners) == len(parts) and CORNERS[0] <= len(corners) <= CORNERS[1]:
        return tuple(corners), ""
    return (), (
        f"“{clip(text)}” is no part of the wishbone; write {CORNERS[0]} to {CORNERS[1]} corners "
        "from 0 to 1 such as 0.2,0.2;0.8,0.2;0.5,0.9."
    )


def write_brush(corners: Sequence[tuple[float, float]]) -> str:
    """Corners as an address holds them."""
    return ";".join(f"{x:.2f},{y:.2f}" for x, y in corners)


def inside(found: Plane, corners: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Features inside a polygon, largest mean contribution first; none for no polygon."""
    return found.features[within(corners, found.x, found.y)] if corners else found.features[:0]


# --- figures -------------------------------------------------------------------------------------


def plane_figure(
    store: Store, run: str, found: Plane, corners: tuple[tuple[float, float], ...], p: Palette
) -> tuple[dict, MapPoints]:
    """Features in the plane over a shade of all of them, arms coloured; and the points drawn."""
    passes = within(corners, found.x, found.y) if corners else np.ones(len(found.x), bool)
    chosen = thinned(found.features, found.x, found.y, passes, POINTS)
    chosen = chosen[np.argsort(found.features[chosen])]
    cells = np.minimum((found.y * GRID).astype(int), GRID - 1) * GRID + np.minimum(
        (found.x * GRID).astype(int), GRID - 1)
    points = MapPoints(
        found.features[chosen], found.x[chosen], found.y[chosen],
        np.array(ARMS, object)[found.arm[chosen]], passes[chosen],
        tuple(entry.label for entry in listed(store, run, found.features[chosen])),
        len(found.features), int(passes.sum()),
        np.bincount(cells, minlength=GRID * GRID).reshape(GRID, GRID),
    )
    figure = maps.map_figure(points, maps.Scale("arm", ARMS), corners, p, HEIGHT)
    layout = figure["layout"]
    layout["template"] = bare_template(p)
    layout["margin"] = {"l": 46, "r": 8, "t": 4, "b": 40}
    for name, i in (("xaxis", 0), ("yaxis", 1)):
        layout[name] = {
            **layout[name], **_ticks(found.low[i], found.high[i], p), "visible": True,
            "title": {"text": f"PC{i + 1}, {found.explained[i]:.0%} of the variance",
                      "font": {"size": 11.5, "color": p.muted}, "standoff": 6},
        }
    return figure, points


def _ticks(low: float, high: float, p: Palette) -> dict:
    """Ticks at round scores on an axis that runs from 0 to `maps.UNITS`."""
    size = 10 ** np.floor(np.log10(max(high - low, 1e-9)))
    unit = next(u for u in (5 * size, 2 * size, size, size / 2, size / 5)
                if (high - low) / u >= 2.5)
    values = np.arange(np.ceil(low / unit), np.floor(high / unit) + 1) * unit
    return {
        **{k: v for k, v in axis(p).items() if k != "title"}, "tickmode": "array",
        "fixedrange": False,
        "tickvals": [round(float(v), 1) for v in maps.UNITS * (values - low) / (high - low)],
        "ticktext": [f"{v:g}".replace("-", "−") for v in np.round(values, 6) + 0.0],
    }


def courses_figure(found: Plane, steps: Sequence[int], p: Palette, height: int = 210) -> dict:
    """The mean course of each arm: rate over its maximum, its name at the end of the line."""
    data = [
        {
            "type": "scatter", "mode": "lines", "name": arm.name, "x": positions(steps),
            "y": tidy(arm.course), "line": {"color": colour, "width": 2}, "cliponaxis": False,
            "customdata": list(steps),
            "hovertemplate": f"{arm.name}: %{{y:.2f}}<br>step %{{customdata:,}}<extra></extra>",
        }
        for arm, colour in zip(found.arms, p.strands, strict=False)
    ]
    ends = spread([arm.course[-1] for arm in found.arms], 0.11, 0.0, 1.0)
    names = [
        {
            "x": 1, "xref": "paper", "xanchor": "left", "xshift": 6, "y": at, "yref": "y",
            "yanchor": "middle", "text": arm.name, "showarrow": False,
            "font": {"family": SANS, "size": 11.5, "color": colour},
        }
        for arm, at, colour in zip(found.arms, ends, p.strands, strict=False)
    ]
    names.append({
        "x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": "paper", "yanchor": "bottom",
        "text": "<i>mean rate over each feature’s largest</i>", "showarrow": False,
        "font": {"family": SERIF, "size": 13.5, "color": p.muted},
    })
    return {
        "data": data,
        "layout": {
            "template": bare_template(p), "height": height, "hovermode": "closest",
            "margin": {"l": 34, "r": 78, "t": 22, "b": 40}, "xaxis": step_axis(steps, p),
            "yaxis": {**axis(p), "range": [0, 1.02], "nticks": 4}, "annotations": names,
        },
    }
