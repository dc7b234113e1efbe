"""Reading beside writing, drawn: two mirrored courses, and a line with two dots per token family.

Reading (W_E) is drawn upwards and in the counter colour, writing (W_U) downwards and in the
accent. The families are plain HTML, so that each dot is a link.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from atlas.axes import (
    plain,
    position,
    positions,
    short_step,
    spread,
    step_axis,
    step_ticks,
    tidy,
    upright,
)
from atlas.markup import NOT_AVAILABLE, probability, signed, wrap
from atlas.theme import SERIF, Palette, axis, template

CLASSES = """
.atl-lead{display:grid;grid-template-columns:max-content minmax(220px,5fr) minmax(150px,3fr)
 repeat(4,max-content);column-gap:14px;align-items:stretch;font-size:12.5px;max-width:1500px}
.atl-lead>div{display:grid;grid-template-columns:subgrid;grid-column:1/-1;align-items:center;
 border-bottom:1px solid var(--atl-grid);min-height:29px}
.atl-lead>.head{color:var(--atl-muted);font-size:11.5px;align-items:end;min-height:36px;
 border-bottom-color:var(--atl-rule)}
.atl-lead>.whole{border-bottom-color:var(--atl-rule);font-style:italic}
.atl-lead .num{font-size:11.5px;text-align:right}
.atl-lead .track{position:relative;height:29px;margin:0 16px}
.atl-lead .track>*{position:absolute;top:50%}
.atl-lead .track u{top:0;bottom:0;width:0;border-left:1px solid var(--atl-grid)}
.atl-lead .track u.zero{border-left-color:var(--atl-muted)}
.atl-lead .track b{height:2px;margin-top:-1px;background:var(--atl-muted);opacity:.55}
.atl-lead .track s{text-decoration:none;height:15px;margin-top:-7.5px;
 background:color-mix(in srgb,var(--atl-ink) 11%,transparent)}
.atl-lead .track em{height:1.5px;margin-top:-.75px;background:var(--atl-ink)}
.atl-lead .track a,.atl-lead .track i{width:11px;height:11px;margin:-5.5px 0 0 -5.5px;
 border-radius:50%;background:var(--atl-accent)}
.atl-lead .track i{width:7px;height:7px;margin:-3.5px 0 0 -3.5px;background:var(--atl-ink)}
.atl-lead .track a.read{background:var(--atl-counter)}
.atl-lead .track i.ring{width:7px;height:7px;margin:-4.5px 0 0 -4.5px;background:transparent;
 border:1.2px solid var(--atl-accent)}
.atl-lead .track i.ring.read{border-color:var(--atl-counter)}
.atl-lead .track a:hover,.atl-lead .track a:focus-visible{outline:2px solid var(--atl-ink);
 outline-offset:1px}
.atl-lead .head>div{padding:0 16px}
.atl-lead .head>div>div:first-child{padding-bottom:3px}
.atl-lead .axis{position:relative;height:15px}
.atl-lead .axis span{position:absolute;transform:translateX(-50%);white-space:nowrap}
.atl-lead .weak{color:var(--atl-muted)}
@media (max-width:900px){.atl-lead{min-width:860px}}
"""
PANEL, GAP, TITLE, FOOT = 132, 16, 24, 42
"""Pixels of a panel, between panels, of a title, of the step axis."""
SURE = 0.05
"""Largest corrected p of a family that is set in full ink."""


@dataclass(frozen=True)
class Mirror:
    """One measure of both dictionaries over the shared snapshots."""

    title: str
    read: Sequence[float]
    write: Sequence[float]
    read_seeds: Sequence[Sequence[float]] = ()
    """The same of other seeds, drawn thin."""
    write_seeds: Sequence[Sequence[float]] = ()
    relative: bool = True
    """Each over its own maximum; otherwise both over the larger of the two."""


def mirrored(steps: Sequence[int], panels: Sequence[Mirror], step: int, p: Palette) -> dict:
    """Panels under one another over one step axis: reading upwards, writing downwards."""
    total = len(panels) * (PANEL + TITLE) + (len(panels) - 1) * GAP + FOOT
    inner = total - FOOT
    x = positions(steps)
    layout: dict = {
        "template": template(p), "height": total, "hovermode": "closest",
        "margin": {"l": 52, "r": 16, "t": 0, "b": FOOT},
        "xaxis": {**step_axis(steps, p), "anchor": f"y{_suffix(len(panels) - 1)}"},
        "annotations": [], "shapes": [],
    }
    data: list[dict] = []
    top = float(inner)
    for index, panel in enumerate(panels):
        upper, suffix = top - TITLE, _suffix(index)
        top = upper - PANEL - GAP
        tops = _tops(panel)
        labels = ["1", "½", "0", "½", "1"] if panel.relative else [
            _percent(share * tops[0]) for share in (1, 0.5, 0, 0.5, 1)
        ]
        layout[f"yaxis{suffix}"] = {
            **axis(p), "domain": [(upper - PANEL) / inner, upper / inner], "range": [-1.1, 1.1],
            "tickmode": "array", "tickvals": [1, 0.5, 0, -0.5, -1], "ticktext": labels,
        }
        layout["shapes"] += [_zero(suffix, p), upright(position(step), p.muted, "solid", suffix)]
        layout["annotations"].append(_title(panel.title, suffix, p))
        for name, sign, colour, values, seeds, most in (
            ("W_E, reading", 1, p.counter, panel.read, panel.read_seeds, tops[0]),
            ("W_U, writing", -1, p.accent, panel.write, panel.write_seeds, tops[1]),
        ):
            data += [_thin(x, seed, sign, colour, panel, most, suffix) for seed in seeds]
            data.append(_course(steps, x, values, sign, colour, name, panel, most, suffix))
            if index == 0:
                layout["annotations"].append(_side(name, sign, colour, suffix))
    return {"data": data, "layout": layout}


def _suffix(index: int) -> str:
    return "" if index == 0 else str(index + 1)


def _most(values: Sequence[float]) -> float:
    return max((v for v in values if math.isfinite(v)), default=0.0) or 1.0


def _tops(panel: Mirror) -> tuple[float, float]:
    """What the values of either side are divided by."""
    read, write = _most(panel.read), _most(panel.write)
    return (read, write) if panel.relative else (max(read, write),) * 2


def _percent(value: float) -> str:
    return f"{value:.0%}" if value >= 0.1 or value == 0 else f"{value:.1%}"


def _course(
    steps: Sequence[int], x: list[float], values: Sequence[float], sign: int, colour: str,
    name: str, panel: Mirror, most: float, suffix: str,
) -> dict:
    def said(value: float) -> str:
        if not math.isfinite(value):
            return "not available"
        return f"{value:.4g}, {value / most:.0%} of its maximum" if panel.relative \
            else f"{value:.1%}"

    return {
        "type": "scatter", "mode": "lines+markers", "x": x, "yaxis": f"y{suffix}",
        "y": tidy([sign * v / most for v in values]), "fill": "tozeroy",
        "fillcolor": _faded(colour, 0.13), "line": {"color": colour, "width": 1.8},
        "marker": {"size": 4, "color": colour}, "cliponaxis": False,
        "name": f"{panel.title}, {name}",
        "customdata": [[s, said(v)] for s, v in zip(steps, values, strict=True)],
        "hovertemplate": f"{name}<br>%{{customdata[1]}}<br>step %{{customdata[0]:,}}"
                         "<extra></extra>",
    }


def _thin(
    x: list[float], values: Sequence[float], sign: int, colour: str, panel: Mirror, most: float,
    suffix: str,
) -> dict:
    own = _most(values) if panel.relative else most
    return {
        "type": "scatter", "mode": "lines", "x": x, "yaxis": f"y{suffix}", "hoverinfo": "skip",
        "y": tidy([sign * v / own for v in values]),
        "line": {"color": _faded(colour, 0.5), "width": 0.9},
    }


def _faded(colour: str, strength: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {strength})"


def _zero(suffix: str, p: Palette) -> dict:
    return {"type": "line", "xref": "x domain", "yref": f"y{suffix}", "x0": 0, "x1": 1, "y0": 0,
            "y1": 0, "line": {"color": p.muted, "width": 1}}


def _title(text: str, suffix: str, p: Palette) -> dict:
    return {
        "x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": f"y{suffix} domain",
        "yanchor": "bottom", "yshift": 3, "text": f"<i>{plain(text)}</i>", "showarrow": False,
        "font": {"family": SERIF, "size": 13.5, "color": p.muted},
    }


def _side(name: str, sign: int, colour: str, suffix: str) -> dict:
    return {
        "x": 0, "xref": "paper", "xanchor": "left", "xshift": 14, "y": sign * 0.45,
        "yref": f"y{suffix}", "yanchor": "middle", "text": f"<b>{name}</b>",
        "showarrow": False, "font": {"size": 11.5, "color": colour},
    }


# --- one line per family -------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """When the features of a family peak in both dictionaries; places in log10(step + 1)."""

    name: str
    write: float
    read: float
    low: float
    """Ends of the interval of write - read."""
    high: float
    null_low: float
    """Ends of the band of the null of write - read."""
    null_high: float
    p: float
    """Corrected for the number of families, unless it is of the whole dictionaries."""
    n_write: int
    n_read: int
    write_href: str = ""
    read_href: str = ""
    control: tuple[float, float] | None = None
    """Medians of the matched controls, write and read."""
    whole: bool = False
    """It is of all features and not of a family."""
    seeds: tuple[float, float] | None = None
    """Smallest and largest difference over pairs of seeds."""


def dumbbells(steps: Sequence[int], pairs: Sequence[Pair]) -> str:
    """A line per family with two dots, and its difference over what the null gives."""
    low, high = position(min(steps)), position(max(steps))
    ticks, names = step_ticks(steps)
    reach = _reach(pairs)
    grid = "".join(f'<u style="left:{_share(t, low, high)}"></u>' for t in ticks)
    marks = [-reach, 0.0, reach]
    head = (
        '<div class="head"><span>family</span>'
        f'<div><div>median peak, training step</div>{_axis(ticks, names, low, high)}</div>'
        f'<div><div>write − read, decades</div>'
        f"{_axis(marks, [signed(m, 1) for m in marks], -reach, reach)}</div>"
        '<span class="num">difference</span><span class="num">90 % interval</span>'
        '<span class="num">p</span><span class="num">features<br>W_U, W_E</span></div>'
    )
    rows = "".join(_row(pair, low, high, reach, grid) for pair in pairs)
    return wrap(f'<div class="atl-lead">{head}{rows}</div>')


def _reach(pairs: Sequence[Pair]) -> float:
    """Half the width of the axis of differences, a round number of tenths."""
    ends = [abs(v) for q in pairs for v in (q.low, q.high, q.null_low, q.null_high,
                                            q.write - q.read) if math.isfinite(v)]
    return max(math.ceil(10 * max(ends, default=0.0)) / 10, 0.1)


def _share(value: float, low: float, high: float) -> str:
    return f"{100 * (value - low) / ((high - low) or 1.0):.2f}%"


def _axis(places: Sequence[float], names: Sequence[str], low: float, high: float) -> str:
    cells = "".join(
        f'<span style="left:{_share(at, low, high)}">{escape(name)}</span>'
        for at, name in zip(places, names, strict=True)
    )
    return f'<div class="axis">{cells}</div>'


def _row(q: Pair, low: float, high: float, reach: float, grid: str) -> str:
    difference = q.write - q.read
    kind = "whole" if q.whole else "weak" if not q.p <= SURE else ""
    seeds = "" if q.seeds is None else (
        f"; over pairs of seeds {signed(q.seeds[0])} to {signed(q.seeds[1])}"
    )
    title = f"{q.name}: {signed(difference)} decades of steps{seeds}"
    return (
        f'<div class="{kind}"><span>{escape(q.name)}</span>'
        f'<div class="track">{grid}{_dots(q, low, high)}</div>'
        f'<div class="track" title="{escape(title)}">{_forest(q, difference, reach)}</div>'
        f'<span class="num">{signed(difference)}</span>'
        f'<span class="num">{_between(q.low, q.high)}</span>'
        f'<span class="num">{escape(probability(q.p).removeprefix("p = "))}</span>'
        f'<span class="num">{q.n_write:,}, {q.n_read:,}</span></div>'
    )


def _between(low: float, high: float) -> str:
    if not (math.isfinite(low) and math.isfinite(high)):
        return NOT_AVAILABLE
    return f"{signed(low)} to {signed(high)}"


def _dots(q: Pair, low: float, high: float) -> str:
    ends = sorted((q.write, q.read))
    wide = 100 * (ends[1] - ends[0]) / ((high - low) or 1.0)
    drawn = f'<b style="left:{_share(ends[0], low, high)};width:{wide:.2f}%"></b>'
    if q.control is not None:
        for at, kind in zip(q.control, ("ring", "ring read"), strict=True):
            if math.isfinite(at):
                drawn += (f'<i class="{kind}" style="left:{_share(at, low, high)}" '
                          f'title="matched controls: step {_step(at)}"></i>')
    for at, kind, matrix, n, href in (
        (q.read, "read", "W_E", q.n_read, q.read_href),
        (q.write, "write", "W_U", q.n_write, q.write_href),
    ):
        says = f"{q.name}, {matrix}: median peak at step {_step(at)}, {n:,} features"
        tag = f'href="{escape(href)}" target="_self"' if href else ""
        drawn += (f'<a class="{kind}" {tag} style="left:{_share(at, low, high)}" '
                  f'title="{escape(says)}" aria-label="{escape(says)}"></a>')
    return drawn


def _forest(q: Pair, difference: float, reach: float) -> str:
    def span(tag: str, a: float, b: float, title: str) -> str:
        if not (math.isfinite(a) and math.isfinite(b)):
            return ""
        return (f'<{tag} title="{escape(title)}" style="left:{_share(a, -reach, reach)};'
                f'width:{max(50 * (b - a) / reach, 0.4):.2f}%"></{tag}>')

    return (
        '<u class="zero" style="left:50%"></u>'
        + span("s", q.null_low, q.null_high,
               f"null, 90 %: {signed(q.null_low)} to {signed(q.null_high)}")
        + span("em", q.low, q.high, f"90 % interval: {signed(q.low)} to {signed(q.high)}")
        + f'<i style="left:{_share(difference, -reach, reach)}"></i>'
    )


def _step(u: float) -> str:
    """The step at a place in log time, in words."""
    return short_step(round(10**u - 1))


def legend(controls: bool) -> str:
    """What the marks of the dumbbells are, in a line."""
    rings = " Rings: matched controls." if controls else ""
    return wrap(
        '<div class="dim" style="font-size:11.5px">'
        '<span style="color:var(--atl-accent)">●</span> W_U, writing &nbsp; '
        '<span style="color:var(--atl-counter)">●</span> W_E, reading, each a link to Browse.'
        f"{rings} Right: the difference with its interval, over the band that shuffled family "
        "names give (90 %). In grey: chance explains it.</div>"
    )



# --- the matrices themselves ---------------------------------------------------------------------


def alignment(
    steps: Sequence[int], own: Sequence[float], null: Sequence[float], step: int, p: Palette
) -> dict:
    """Alignment cosine by step, over that of shuffled rows."""
    x = positions(steps)
    lines = (
        ("shuffled rows", null, p.muted, "2px,4px", 1.4), ("W_E and W_U", own, p.ink, "solid", 1.8)
    )
    ends = [values[-1] for _, values, _, _, _ in lines]
    top = min(1.25 * max((v for v in (*own, *null) if math.isfinite(v)), default=1.0), 1.02)
    return {
        "data": [{
            "type": "scatter", "mode": "lines+markers", "x": x, "y": tidy(values), "name": name,
            "line": {"color": colour, "width": width, "dash": dash},
            "marker": {"size": 4, "color": colour}, "cliponaxis": False,
            "customdata": list(steps),
            "hovertemplate": f"{name} %{{y:.3f}}<br>step %{{customdata:,}}<extra></extra>",
        } for name, values, colour, dash, width in lines],
        "layout": {
            "template": template(p), "height": 210, "hovermode": "closest",
            "margin": {"l": 52, "r": 116, "t": 8, "b": FOOT}, "xaxis": step_axis(steps, p),
            "yaxis": {**axis(p), "range": [0, top], "nticks": 5},
            "shapes": [upright(position(step), p.muted, "solid")],
            "annotations": [{
                "x": 1, "xref": "paper", "xanchor": "left", "xshift": 8, "y": at, "text": name,
                "yanchor": "middle", "showarrow": False, "font": {"size": 11.5, "color": colour},
            } for (name, _, colour, _, _), at in zip(
                lines, spread(ends, 0.1 * top, 0.03 * top, top), strict=True
            ) if math.isfinite(at)],
        },
    }
