"""Figures of the inside of a model: a score through the layers, a score by component."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.attribution import Component, layer_name
from atlas.axes import bare_template, plain, spread, tidy
from atlas.theme import MONO, SANS, Palette, axis

if TYPE_CHECKING:
    from atlas.inside_views import Components
    from atlas.lens import Layers

NEAR = 0.5
"""Cosine with the final state below which a layer counts as out of the dictionary's reach."""
SPACIOUS = 30
"""Components up to which each has words under it; beyond, a letter."""
BARS, LINE = 196, 21
"""Pixels of the bars, and of a line of the map."""
SHORT = {
    "embedding": ("emb", "e"), "attention": ("attn", "a"), "linear attention": ("lin", "l"),
    "MLP": ("MLP", "m"), "per-layer input": ("ple", "p"), "attention bias": ("bias", "b"),
    "norm bias": ("norm b", "n"), "rest": ("rest", "r"), "block": ("all", "·"),
}
"""Kind of a component -> words and letter for a narrow column."""


# --- through the layers ------------------------------------------------------------------


def layers_figure(found: "Layers", layer: int, target: str, p: Palette) -> dict:
    """A score and its parts after every block, its gate, and beneath the rank of its target.

    Args:
        layer: the layer that is looked at.
        target: how the score's target is drawn.
    """
    x = list(range(len(found.ledgers)))
    ledgers, names = found.ledgers, [layer_name(i) for i in x]
    parts = (
        ("residual", [ledger.residual for ledger in ledgers], p.muted, 1.4, "3px,3px"),
        ("base", [ledger.base for ledger in ledgers], p.counter, 1.6, "solid"),
        ("features", [ledger.feature_sum for ledger in ledgers], p.accent, 2.0, "solid"),
        ("exact", [ledger.exact for ledger in ledgers], p.ink, 2.4, "solid"),
    )
    low, high = found.spread[:, 0].tolist(), found.spread[:, 1].tolist()
    data: list[dict] = [{
        "type": "scatter", "x": [*x, *x[::-1]], "y": tidy([*high, *low[::-1]]), "fill": "toself",
        "fillcolor": p.narrow_band, "line": {"width": 0}, "mode": "lines", "hoverinfo": "skip",
    }]
    for name, values, colour, width, dash in parts:
        exact = name == "exact"
        data.append({
            "type": "scatter", "mode": "lines+markers", "name": name, "x": x, "y": tidy(values),
            "line": {"color": colour, "width": width, "dash": dash}, "cliponaxis": False,
            "marker": {
                "size": 9 if exact else 3.5, "line": {"color": colour, "width": 1.6},
                "color": [p.ink if ledger.gate else p.paper for ledger in ledgers]
                if exact else colour,
            },
            "customdata": x,
            "text": [
                f"after {n}" + (f", ρ {ledger.rho:.2f}, gate {'passes' if ledger.gate else 'fails'}"
                                if exact else "")
                for n, ledger in zip(names, ledgers, strict=True)
            ],
            "hovertemplate": f"{name} %{{y:.3f}}<br>%{{text}}<extra></extra>",
        })
    ranks = found.ranks.tolist()
    data.append({
        "type": "scatter", "mode": "lines+markers", "name": "rank", "x": x, "y": ranks,
        "yaxis": "y2", "line": {"color": p.ink, "width": 1.6}, "cliponaxis": False,
        "marker": {"size": 5, "color": p.ink}, "customdata": x,
        "text": [f"{100 * q:.1f} % after {n}"
                 for q, n in zip(found.probabilities.tolist(), names, strict=True)],
        "hovertemplate": f"{plain(target)}: rank %{{y:,}}<br>%{{text}}<extra></extra>",
    })
    seen = [v for trace in data[:5] for v in trace["y"] if v is not None]
    top, bottom = max([0.0, *seen]), min([0.0, *seen])
    air = 0.07 * ((top - bottom) or 1.0)
    limits = [bottom - air, top + air]
    most = max(ranks)
    height, foot = 372, 30
    return {
        "data": data,
        "layout": {
            "template": bare_template(p),
            "height": height,
            "margin": {"l": 48, "r": 78, "t": 8, "b": foot},
            "hovermode": "closest",
            "clickmode": "event",
            "xaxis": {
                **axis(p), "range": [-0.3, x[-1] + 0.3], "anchor": "y2", "showgrid": False,
                "tickmode": "array", **_layer_ticks(len(x)),
            },
            "yaxis": {**axis(p), "domain": [0.34, 1], "range": limits, "zeroline": True,
                      "zerolinecolor": p.muted, "zerolinewidth": 1},
            "yaxis2": {
                **axis(p), "domain": [0, 0.24], "type": "log", "tickmode": "array",
                "range": [_log(most) + 0.12, -0.12], "tickvals": _tens(most),
                "ticktext": [f"{t:,}" for t in _tens(most)],
            },
            "shapes": [
                *_far(found.nearness.tolist(), p),
                {"type": "line", "x0": layer, "x1": layer, "xref": "x", "y0": 0, "y1": 1,
                 "yref": "paper", "line": {"color": p.muted, "width": 1}},
            ],
            "annotations": [
                *_ends(data[1:5], limits, (height - 8 - foot) * 0.66),
                _said("rank of " + target, _log(ranks[-1]), "y2", p.ink),
            ],
        },
    }


def _layer_ticks(count: int) -> dict:
    every = max(1, -(-(count - 1) // 16))
    kept = [0, *range(count - 1, 0, -every)] if count > 1 else [0]
    kept = sorted(i for i in kept if i == 0 or i >= every)
    return {"tickvals": kept, "ticktext": ["embedding" if i == 0 else f"{i - 1}" for i in kept]}


def _log(value: float) -> float:
    from math import log10

    return log10(max(1.0, value))


def _tens(most: int) -> list[int]:
    found = [1]
    while found[-1] * 10 <= most:
        found.append(found[-1] * 10)
    return found


def _far(nearness: Sequence[float], p: Palette) -> list[dict]:
    """Grey ground behind the layers that point elsewhere than the final state."""
    return [
        {"type": "rect", "xref": "x", "x0": i - 0.5, "x1": i + 0.5, "yref": "paper", "y0": 0,
         "y1": 1, "fillcolor": p.wide_band, "line": {"width": 0}, "layer": "below"}
        for i, cosine in enumerate(nearness) if cosine < NEAR
    ]


def _ends(traces: Sequence[dict], limits: list[float], pixels: float) -> list[dict]:
    last = [trace["y"][-1] or 0.0 for trace in traces]
    gap = 15.5 / pixels * (limits[1] - limits[0])
    return [
        _said(trace["name"], at, "y", trace["line"]["color"])
        for trace, at in zip(traces, spread(last, gap, *limits), strict=True)
    ]


def _said(text: str, y: float, ref: str, colour: str) -> dict:
    return {
        "x": 1, "xref": "paper", "xanchor": "left", "xshift": 6, "y": y, "yref": ref,
        "yanchor": "middle", "text": plain(text), "showarrow": False, "align": "left",
        "font": {"family": SANS, "size": 11.5, "color": colour},
    }


# --- by component ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Group:
    """Columns of one block, under one number."""

    block: int
    first: int
    last: int


def components_figure(
    found: "Components", labels: Sequence[str] | None, block: int | None, p: Palette,
) -> dict:
    """Totals of all components as bars, and under each its parts by feature.

    Args:
        labels: of the first features of the score, one per line of the map; None without a map,
            where features may not be read.
        block: the block that is looked at.
    """
    a = found.found
    count, lines = len(a.components), len(labels or ())
    x, totals = list(range(count)), a.totals.tolist()
    names = [component.name for component in a.components]
    blocks = [-1 if c.block is None else c.block for c in a.components]
    roomy = count <= SPACIOUS
    data: list[dict] = [_chance(found, x, p), {
        "type": "bar", "x": x, "y": tidy(totals), "width": 0.72, "name": "total",
        "marker": {"color": [p.accent if v >= 0 else p.counter for v in totals], "opacity": 0.85},
        "customdata": blocks, "text": [plain(name) for name in names], "textposition": "none",
        "hovertemplate": "%{text}<br>%{y:+.3f} logits<extra></extra>", "cliponaxis": False,
    }]
    foot, head = 46, 16
    height = BARS + head + foot + LINE * lines + (10 if lines else 0)
    inner = height - head - foot
    low, high = found.spread[:, 0].tolist(), found.spread[:, 1].tolist()
    seen = [0.0, *totals, *low, *high]
    air = 0.1 * ((max(seen) - min(seen)) or 1.0)
    split = LINE * lines / inner
    layout: dict = {
        "template": bare_template(p),
        "height": height,
        "margin": {"l": 290 if lines else 52, "r": 16, "t": head, "b": foot},
        "hovermode": "closest",
        "clickmode": "event",
        "barmode": "overlay",
        "xaxis": {
            **axis(p), "range": [-0.6, count - 0.4], "showgrid": False, "ticklen": 0,
            "tickmode": "array", "tickvals": x, "anchor": "y2" if lines else "y",
            "tickangle": 0 if roomy else None,
            "ticktext": [_short(c, roomy) for c in a.components],
            "tickfont": {"size": 10.5, "color": p.muted, "family": SANS},
        },
        "yaxis": {
            **axis(p), "domain": [split + 10 / inner if lines else 0, 1],
            "range": [min(seen) - air, max(seen) + air],
            "zeroline": True, "zerolinecolor": p.muted, "zerolinewidth": 1,
        },
        "shapes": [
            *_rules(_groups(a.components), block, p),
        ],
        "annotations": [
            *_block_names(_groups(a.components), block, roomy, p),
            *(_values(totals, p) if count <= 20 else ()),
        ],
    }
    if lines:
        data.append(_map(found, lines, blocks, p))
        data += _dots(found, lines, p)
        layout["yaxis2"] = {
            **axis(p), "domain": [0, split], "range": [-0.5, lines - 0.5], "showgrid": False,
            "ticklen": 0, "tickmode": "array", "tickvals": list(range(lines)),
            "ticktext": [plain(label) for label in reversed(labels or ())],
            "tickfont": {"size": 11.5, "color": p.ink, "family": MONO},
        }
    return {"data": data, "layout": layout}


def _short(component: Component, roomy: bool) -> str:
    if component.kind.startswith("head "):
        return f"h{component.kind[5:]}" if roomy else component.kind[5:]
    return SHORT.get(component.kind, (component.kind, "·"))[0 if roomy else 1]


def _map(found: "Components", lines: int, blocks: list[int], p: Palette) -> dict:
    """Parts by feature (lines, strongest on top) and component (columns)."""
    parts = found.found.matrix[:, :lines].T[::-1]
    most = max(1e-9, float(abs(parts).max(initial=0.0)))
    features = found.found.features[:lines].tolist()[::-1]
    names = [plain(f"{_short(c, True)} {'' if c.block is None else c.block}".strip())
             for c in found.found.components]  # short: it stands in every cell
    return {
        "type": "heatmap", "yaxis": "y2", "x": list(range(len(names))),
        "y": list(range(lines)), "z": [tidy(row) for row in parts.tolist()],
        "zmin": -most, "zmax": most,
        "colorscale": [[0, p.counter], [0.5, p.paper], [1, p.accent]], "showscale": False,
        "xgap": 1, "ygap": 1, "customdata": [blocks] * lines,
        "text": [[f"#{f} · {name}" for name in names] for f in features],
        "hovertemplate": "%{text}<br>%{z:+.3f} logits<extra></extra>",
    }


def _dots(found: "Components", lines: int, p: Palette) -> list[dict]:
    """A dot in every cell that is more than chance gives."""
    beyond = found.beyond[:, :lines].T[::-1]
    ys, xs = beyond.nonzero()
    return [{
        "type": "scatter", "mode": "markers", "yaxis": "y2", "x": xs.tolist(), "y": ys.tolist(),
        "marker": {"size": 3.2, "color": p.ink}, "hoverinfo": "skip",
    }]


def _chance(found: "Components", x: list[int], p: Palette) -> dict:
    """What random tokens give, behind the bars."""
    low, high = found.spread[:, 0], found.spread[:, 1]
    return {
        "type": "bar", "x": x, "base": tidy(low.tolist()), "y": tidy((high - low).tolist()),
        "width": 0.92, "marker": {"color": p.narrow_band}, "hoverinfo": "skip",
    }


def _values(totals: Sequence[float], p: Palette) -> list[dict]:
    """Each total at the end of its bar."""
    return [
        {"x": i, "y": value, "yref": "y", "text": f"{value:+.2f}".replace("-", "−"),
         "showarrow": False, "yshift": 8 if value >= 0 else -8,
         "font": {"family": MONO, "size": 10.5, "color": p.ink}}
        for i, value in enumerate(totals)
    ]


def _groups(components: Sequence[Component]) -> list[_Group]:
    found: list[_Group] = []
    for i, component in enumerate(components):
        if component.block is None:
            continue
        if found and found[-1].block == component.block:
            found[-1] = _Group(component.block, found[-1].first, i)
        else:
            found.append(_Group(component.block, i, i))
    return found


def _rules(groups: Sequence[_Group], block: int | None, p: Palette) -> list[dict]:
    """A line under the columns of each block, in the accent under the one looked at."""
    return [
        {"type": "line", "xref": "x", "x0": g.first - 0.42, "x1": g.last + 0.42, "yref": "paper",
         "y0": 0, "y1": 0, "yanchor": "bottom", "line": {
             "color": p.accent if g.block == block else p.rule,
             "width": 2 if g.block == block else 1}}
        for g in groups
    ]


def _block_names(
    groups: Sequence[_Group], block: int | None, roomy: bool, p: Palette
) -> list[dict]:
    every = 1 if roomy else max(1, len(groups) // 16)
    return [
        {"x": (g.first + g.last) / 2, "xref": "x", "y": 0, "yref": "paper", "yanchor": "top",
         "yshift": -20, "showarrow": False,
         "text": f"block {g.block}" if roomy else str(g.block),
         "font": {"family": SANS, "size": 11,
                  "color": p.accent if g.block == block else p.muted}}
        for g in groups if g.block % every == 0 or g.block == block
    ]
