"""Decompose as HTML: what a score still allows, other questions, the map of contributions.

No plotting library and no script; the classes are part of the page's stylesheet.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from atlas.axes import edges, position, step_ticks
from atlas.markup import link, signed, wrap

CLASSES = """
.atl-limits{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:1px 14px;
 font-size:13px;line-height:1.5;padding:1px 0 0 14px;max-width:86em}
.atl-limits .said::first-letter{text-transform:uppercase}
.atl-limits .does{color:var(--atl-muted)}
.atl-limits a,.atl-offers a{color:var(--atl-accent)}
.atl-offers{display:flex;flex-wrap:wrap;gap:1px 16px;align-items:baseline;font-size:13px}
.atl-offers .tok{font-size:12px}
.atl-offers small{font-size:11.5px;color:var(--atl-muted);margin-left:5px}
.atl-carry{position:relative;margin:2px 0 34px;font-size:12px}
.atl-carry .row{position:relative;display:grid;column-gap:1px;height:20px;margin-bottom:2px}
.atl-carry .row>i{height:20px;background:color-mix(in srgb,var(--atl-accent) var(--a),transparent)}
.atl-carry .row>i.n{background:color-mix(in srgb,var(--atl-counter) var(--a),transparent)}
.atl-carry .row>i.e{background:color-mix(in srgb,var(--atl-ink) var(--a),transparent)}
.atl-carry .row>i.w{background:repeating-linear-gradient(135deg,var(--atl-rule) 0 1px,
 transparent 1px 5px)}
.atl-carry .row.whole{margin-bottom:8px}
.atl-carry .row.foot{margin-top:8px}
.atl-carry .name{position:absolute;right:calc(100% + 10px);width:calc(var(--l) - 10px);top:1px;
 display:flex;gap:9px;min-width:0;line-height:18px}
.atl-carry .name .num{color:var(--atl-muted);flex:0 0 38px}
.atl-carry .name .tok{overflow:hidden;text-overflow:ellipsis;min-width:0}
.atl-carry .says{position:absolute;left:calc(100% + 10px);top:1px;line-height:18px;
 white-space:nowrap;color:var(--atl-muted);font-size:11.5px}
.atl-carry .says b{font-weight:400;color:var(--atl-ink)}
.atl-carry .begin{position:absolute;top:-1px;bottom:-1px;width:0;
 border-left:2px solid var(--atl-ink)}
.atl-carry .begin.weak{border-left-style:dotted}
.atl-carry .null{position:absolute;bottom:-2px;height:0;border-bottom:1.5px solid var(--atl-muted);
 opacity:.7}
.atl-carry .null.mid{bottom:-3px;height:4px;border:0;border-left:1.5px solid var(--atl-muted)}
.atl-carry .at{position:absolute;top:0;bottom:-6px;width:0;border-left:1px solid var(--atl-muted)}
@media (max-width:900px){.atl-carry{min-width:360px}
 .st-key-decompose_odds{overflow-x:auto}.st-key-decompose_odds>div{min-width:742px}}
.atl-carry s{position:absolute;top:calc(100% + 8px);transform:translateX(-50%);
 text-decoration:none;color:var(--atl-muted);font-size:11px}
"""
LEFT, RIGHT = 264, 118
"""Pixels beside the map and the panels over it: names on the left, begins on the right."""


# --- limits and offers ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """One thing that limits a reading, and what may be done about it."""

    said: str
    reading: str
    href: str = ""
    """Address of a better question; '' for none."""
    offer: str = ""
    """What its link says."""


def limits(lines: Sequence[Line]) -> str:
    """What limits the reading of a score, one thing a line."""
    cells = "".join(
        f'<div class="said">{escape(line.said)}</div><div class="does">{escape(line.reading)}'
        + (f" · {link(line.offer, line.href)}" if line.href else "") + "</div>"
        for line in lines
    )
    return wrap(f'<div class="atl-limits">{cells}</div>')


@dataclass(frozen=True)
class Offer:
    """Another question, a click away."""

    text: str
    """Tokens, as they are drawn."""
    href: str
    what: str = ""
    """In words what it is."""
    plain: bool = False
    """The text is words and not tokens."""


def offers(lead: str, found: Sequence[Offer]) -> str:
    """Other questions in a line."""
    cells = "".join(
        f'<span><span class="{"" if o.plain else "tok"}">{link(o.text, o.href)}</span>'
        f"<small>{escape(o.what)}</small></span>"
        for o in found
    )
    return wrap(f'<div class="atl-offers"><span class="dim">{escape(lead)}</span>{cells}</div>')


# --- the map -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Null:
    """When chance would have a feature begin: steps of three quantiles."""

    low: int
    middle: int
    high: int


@dataclass(frozen=True)
class Carried:
    """One line of the map: a feature, or a sum over all of them."""

    name: str
    """Number of the feature; what the sum is."""
    label: str
    """Tokens."""
    values: Sequence[float | None]
    """One per step; None where it does not fire."""
    href: str = ""
    begin: int | None = None
    """Step at which it begins to carry; None where there is none."""
    says: str = ""
    """Beside the line: when it begins, or why that is not known."""
    weak: bool = False
    """The gate fails at the step of its begin."""
    null: Null | None = None
    whole: bool = False
    """It is the score itself or its residual, in ink."""


def carry_map(
    rows: Sequence[Carried], steps: Sequence[int], shown: Sequence[bool], step: int, alt: str
) -> str:
    """Contributions by step as cells, with the step at which each begins to carry marked.

    The score and its residual have a scale of their own.

    Args:
        rows: from top to foot; the first is the score.
        steps: of the columns, rising.
        shown: whether the features may be read at each step; their cells are hatched where not.
        step: the chosen one, where a line stands.
    """
    borders = edges(steps)
    wide = borders[-1] - borders[0]
    most = {
        whole: max([1e-9, *(abs(v) for row in rows if row.whole is whole for v in row.values
                            if v is not None)])
        for whole in (False, True)
    }
    columns = " ".join(f"{1000 * (b - a) / wide:.1f}fr" for a, b in zip(borders, borders[1:],
                                                                       strict=False))

    def at(x: float) -> str:
        return f"{100 * (x - borders[0]) / wide:.2f}%"

    def left_of(place: int) -> str:
        return at(borders[steps.index(place)])

    body = "".join(_row(row, steps, shown, most[row.whole], columns, left_of) for row in rows)
    feet = "".join(
        f'<s style="left:{at(x)}">{escape(text)}</s>'
        for x, text in zip(*step_ticks(steps), strict=True)
    )
    line = f'<div class="at" style="left:{at(position(step))}"></div>'
    return wrap(
        f'<div class="atl-carry" role="group" aria-label="{escape(alt)}" '
        f'style="--l:{LEFT}px;margin-left:{LEFT}px;margin-right:{RIGHT}px">{body}{line}{feet}</div>'
    )


def _row(
    row: Carried, steps: Sequence[int], shown: Sequence[bool], most: float, columns: str,
    left_of: Callable[[int], str],
) -> str:
    cells = "".join(
        _cell(value, row.whole, allowed, most, step)
        for value, allowed, step in zip(row.values, shown, steps, strict=True)
    )
    marks = ""
    if row.null is not None:
        low, high = left_of(row.null.low), left_of(row.null.high)
        marks += (f'<div class="null" style="left:{low};width:calc({high} - {low})"></div>'
                  f'<div class="null mid" style="left:{left_of(row.null.middle)}"></div>')
    if row.begin is not None:
        kind = "begin weak" if row.weak else "begin"
        marks += f'<div class="{kind}" style="left:{left_of(row.begin)}"></div>'
    name = (
        f'<span class="num">{escape(row.name)}</span><span class="tok">{escape(row.label)}</span>'
        if row.label else escape(row.name)
    )
    if row.href:
        name = f'<a class="name" href="{escape(row.href)}" title="{escape(row.label)}">{name}</a>'
    else:
        name = f'<div class="name">{name}</div>'
    kind = "row whole" if row.whole else "row"
    return (
        f'<div class="{kind}" style="grid-template-columns:{columns}">{cells}{marks}{name}'
        f'<div class="says">{escape(row.says)}</div></div>'
    )


def _cell(value: float | None, whole: bool, allowed: bool, most: float, step: int) -> str:
    if not allowed and not whole:
        return '<i class="w"></i>'
    if value is None:
        return "<i style=--a:0%></i>"
    kind = ' class="e"' if whole else "" if value >= 0 else ' class="n"'
    return (f'<i{kind} style="--a:{100 * abs(value) / most:.0f}%" '
            f'title="{signed(value)} at {step:,}"></i>')
