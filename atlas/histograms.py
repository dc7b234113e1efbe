"""Small histograms that filter: plain HTML in which every bar is a link.

All features are drawn in grey, those that pass in the accent over them. Heights go by the square
root of the counts, so that a handful of twenty thousand still shows. No script, no plotting
library: the landing page stays light, and a bar is reached with the keyboard like any link.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from atlas.markup import link, wrap

CLASSES = """
.atl-hists{display:grid;grid-template-columns:repeat(auto-fit,minmax(124px,1fr));gap:10px 20px;
 align-items:start}
.atl-hist{min-width:0}
.atl-hist.wide{grid-column:span 2}
.atl-hist .t{display:flex;justify-content:space-between;gap:8px;font-size:11.5px;line-height:1.5;
 white-space:nowrap;color:var(--atl-muted)}
.atl-hist .t span{overflow:hidden;text-overflow:ellipsis}
.atl-hist .t a{color:var(--atl-accent);flex:0 0 auto}
.atl-hist .b{display:flex;height:46px;border-bottom:1px solid var(--atl-muted)}
.atl-hist .b>*{flex:1 1 0;position:relative;min-width:0}
.atl-hist .b>*::before,.atl-hist .b>*::after{content:"";position:absolute;bottom:0;left:.5px;
 right:.5px}
.atl-hist .b>*::before{height:var(--a);background:color-mix(in srgb,var(--atl-ink) 17%,transparent)}
.atl-hists:not(.all) .b>*::after{height:var(--p);background:var(--atl-accent);opacity:.88}
.atl-hist .b a:hover{background:color-mix(in srgb,var(--atl-accent) 10%,transparent)}
.atl-hist .b .out::after{opacity:.4}
.atl-hists.all .b>*::before,.atl-hists.all .c a i::before{
 background:color-mix(in srgb,var(--atl-ink) 42%,transparent)}
.atl-hist .d{display:flex;height:13px}
.atl-hist .d i{flex:1 1 0;margin:0 .5px;height:var(--a);opacity:.5;background:var(--atl-muted)}
.atl-hist .x{display:flex;justify-content:space-between;gap:4px;font-size:10.5px;line-height:1.6;
 color:var(--atl-muted);white-space:nowrap}
.atl-hist .c{display:grid;grid-template-columns:minmax(60px,max-content) 1fr;column-gap:7px;
 font-size:10.5px;line-height:12.5px}
.atl-hist .c a{display:grid;grid-template-columns:subgrid;grid-column:1/-1}
.atl-hist .c a>*{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.atl-hist .c a i{position:relative;align-self:center;height:9px}
.atl-hist .c a i::before,.atl-hist .c a i::after{content:"";position:absolute;left:0;top:0;
 bottom:0}
.atl-hist .c a i::before{width:var(--a);
 background:color-mix(in srgb,var(--atl-ink) 17%,transparent)}
.atl-hists:not(.all) .c a i::after{width:var(--p);background:var(--atl-accent)}
.atl-hist .c a.on{color:var(--atl-accent)}
.atl-hist .c a.out{opacity:.55}
.atl-hist a:focus-visible,.atl-chips a:focus-visible{outline:2px solid var(--atl-accent)}
.atl-chips{display:flex;flex-wrap:wrap;gap:5px 6px;align-items:center;font-size:12.5px;
 line-height:1.5}
.atl-chips .chip{border:1px solid var(--atl-rule);background:var(--atl-raised);padding:0 8px;
 border-radius:2px;white-space:nowrap;max-width:46em;overflow:hidden;text-overflow:ellipsis}
.atl-chips .chip:hover{border-color:var(--atl-accent);text-decoration:none}
.atl-chips .chip b{font-weight:400;color:var(--atl-muted);padding-left:7px}
.atl-chips .chip:hover b{color:var(--atl-accent)}
.atl-chips .word{font-family:var(--atl-serif);font-style:italic;color:var(--atl-muted)}
.atl-chips .group{display:inline-flex;flex-wrap:wrap;gap:5px 6px;padding:2px 6px;
 border:1px dashed var(--atl-rule)}
.atl-curve{display:inline-block;position:relative;vertical-align:-3px;height:15px;width:44px;
 margin:0 1px 0 5px}
.atl-curve i{position:absolute;inset:0;background:var(--atl-accent)}
.atl-shapes{display:grid;grid-template-columns:repeat(auto-fill,minmax(118px,1fr));gap:4px 12px}
.atl-shapes a{display:flex;align-items:center;white-space:nowrap}
.atl-shapes .atl-curve{margin:0 8px 0 0}
.atl-scale{display:flex;align-items:center;gap:7px;font-size:11.5px;color:var(--atl-muted);
 flex-wrap:wrap}
.atl-scale .bar{height:9px;width:150px;border-radius:1px}
.atl-scale .dot{display:inline-block;width:9px;height:9px;border-radius:50%;margin-right:5px}
.atl-scale .cat{white-space:nowrap}
.st-key-filters button{background:transparent}
[data-testid="stMultiSelectTagsContainer"] [data-tag]{background:var(--atl-paper);
 color:var(--atl-ink);border:1px solid var(--atl-rule)}
"""


@dataclass(frozen=True)
class Bin:
    """One bar."""

    name: str
    """The range or the category in words."""
    total: int
    """Features in it."""
    passing: int
    """Those of them that pass all conditions."""
    href: str = ""
    """Where a click leads; '' for a bar that filters nothing."""
    chosen: bool = False
    """Inside the range, or among the categories, that the conditions keep."""


@dataclass(frozen=True)
class Chart:
    """The histogram of one measure."""

    words: str
    meaning: str
    """Shown when the pointer rests on the name."""
    bins: tuple[Bin, ...]
    ticks: tuple[str, ...] = ()
    """Values under the axis, evenly apart from its first to its last."""
    kept: str = ""
    """The range that the conditions keep, in words; '' when they keep all."""
    free: str = ""
    """Where a click on `kept` leads: the same list without that range."""
    missing: int = 0
    """Features that have no value of it."""
    categories: bool = False
    """Names with bars beside them, instead of bars over an axis."""
    below: tuple[int, ...] = ()
    """Counts drawn downwards under the axis, one per bin; () for none."""
    wide: bool = False
    """Takes the width of two."""


def height(count: int, most: int) -> float:
    """Height of a bar in percent of the largest: by the square root, and never invisible.

    0 only for a count of 0; a count of `most` is 100.
    """
    if count <= 0 or most <= 0:
        return 0.0
    return max(3.0, 100 * math.sqrt(count / most))


def histograms(charts: Sequence[Chart]) -> str:
    """All charts side by side, as many to a line as fit; quiet where every feature passes."""
    everything = all(b.passing == b.total for c in charts for b in c.bins)
    kind = " all" if everything else ""
    return wrap(f'<div class="atl-hists{kind}">{"".join(_chart(c) for c in charts)}</div>')


def _chart(chart: Chart) -> str:
    kept = link(f"{chart.kept} ×", chart.free, f"take away: {chart.words} {chart.kept}")
    missing = f' title="{chart.missing:,} have no value"' if chart.missing else ""
    note = kept if chart.kept else (f"<span{missing}>{_short_count(chart.missing)} without</span>"
                                    if chart.missing else "")
    head = (
        f'<div class="t"><span title="{escape(chart.meaning)}">{escape(chart.words)}</span>'
        f"{note}</div>"
    )
    body = _names(chart) if chart.categories else _bars(chart)
    wide = " wide" if chart.wide else ""
    return f'<div class="atl-hist{wide}">{head}{body}</div>'


def _bars(chart: Chart) -> str:
    most = max((b.total for b in chart.bins), default=0)
    drawn = "".join(_bar(b, most, bool(chart.kept)) for b in chart.bins)
    down = ""
    if chart.below:
        deepest = max(chart.below)
        down = "".join(f'<i style="--a:{height(n, deepest):.0f}%"></i>' for n in chart.below)
        down = f'<div class="d">{down}</div>'
    ticks = "".join(f"<span>{escape(t)}</span>" for t in chart.ticks)
    return f'<div class="b">{drawn}</div>{down}<div class="x">{ticks}</div>'


def _bar(found: Bin, most: int, narrowed: bool) -> str:
    if not found.total and not found.chosen:
        return "<i></i>"
    style = _style(found, most)
    out = ' class="out"' if narrowed and not found.chosen else ""
    title = escape(_says(found))
    if not found.href:
        return f'<i{out} style="{style}" title="{title}"></i>'
    return f'<a{out} style="{style}" href="{escape(found.href)}" title="{title}"></a>'


def _names(chart: Chart) -> str:
    most = max((b.total for b in chart.bins), default=0)
    rows = []
    for b in chart.bins:
        state = ("on" if b.chosen else "out") if chart.kept else ""
        style = _style(b, most)
        rows.append(
            f'<a class="{state}" href="{escape(b.href)}" title="{escape(_says(b))}">'
            f'<span>{escape(b.name)}</span><i style="{style}"></i></a>'
        )
    return f'<div class="c">{"".join(rows)}</div>'


def _style(found: Bin, most: int) -> str:
    return f"--a:{height(found.total, most):.0f}%;--p:{height(found.passing, most):.0f}%"


def _says(found: Bin) -> str:
    passing = "" if found.passing == found.total else f"{found.passing:,} of "
    return f"{found.name}: {passing}{found.total:,}"


def _short_count(count: int) -> str:
    return f"{count / 1000:.0f}k" if count >= 10_000 else f"{count:,}"


# --- chips and curves -------------------------------------------------------------------------


@dataclass(frozen=True)
class Chip:
    """One condition in words; a click takes it away."""

    words: str
    href: str
    curve: tuple[float, ...] = ()
    """A course in [0, 1] drawn after the words; () for none."""


def chips(groups: Sequence[Sequence[Chip]], shared: Sequence[Chip] = (), clear: str = "") -> str:
    """Conditions as removable chips: `shared` hold always, of `groups` at least one holds whole.

    `clear` is where "clear all" leads; '' leaves it out.
    """
    parts = [_chip(c) for c in shared]
    several = len(groups) > 1
    for i, group in enumerate(groups):
        body = "".join(_chip(c) for c in group)
        if several:
            body = f'<span class="group">{body}</span>'
        if i:
            body = f'<span class="word">or</span>{body}'
        parts.append(body)
    if clear:
        parts.append(link("clear all", clear, "every feature, in the usual order"))
    return wrap(f'<div class="atl-chips">{"".join(parts)}</div>')


def _chip(chip: Chip) -> str:
    drawn = curve(chip.curve) if chip.curve else ""
    return (
        f'<a class="chip" target="_self" href="{escape(chip.href)}" '
        f'title="take away: {escape(chip.words)}">{escape(chip.words)}{drawn}<b>×</b></a>'
    )


def curve(values: Sequence[float]) -> str:
    """A course in [0, 1] as a line in the text, without a script."""
    last = max(1, len(values) - 1)
    points = [(100 * i / last, 88 * (1 - min(1.0, max(0.0, v)))) for i, v in enumerate(values)]
    there = ",".join(f"{x:.0f}% {y:.0f}%" for x, y in points)
    back = ",".join(f"{x:.0f}% calc({y:.0f}% + 1.6px)" for x, y in reversed(points))
    return f'<span class="atl-curve"><i style="clip-path:polygon({there},{back})"></i></span>'


def shapes(found: Sequence[Chip]) -> str:
    """Curves to choose from, each a link with its name."""
    cells = "".join(
        f'<a href="{escape(c.href)}" target="_self">{curve(c.curve)}{escape(c.words)}</a>'
        for c in found
    )
    return wrap(f'<div class="atl-shapes">{cells}</div>')
