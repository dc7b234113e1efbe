"""What happens inside a window as HTML: the features that change most, the arms, the story."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from atlas.markup import NOT_AVAILABLE, escape, link, number, share, signed, step_name, wrap

if TYPE_CHECKING:  # every page reads the classes of this file, few of them the lists
    from atlas.window_changes import Mover, Movers
    from atlas.window_wishbone import Arm, Listed

CLASSES = """
.atl-window .atl-facts{gap:30px}
.atl-window .atl-facts>div{text-align:left}
.atl-movers{table-layout:fixed;max-width:1240px}
.atl-movers td{white-space:nowrap;overflow:hidden;text-overflow:ellipsis;padding:2px 14px 2px 0}
.atl-movers td.bar{position:relative}
.atl-movers td.bar+td{padding-left:16px}
.atl-movers td.bar i{position:absolute;top:5px;bottom:5px;min-width:1px}
.atl-movers td.bar u{position:absolute;top:0;bottom:0;width:1px;left:50%;
 background:var(--atl-rule)}
.atl-movers .weak{color:var(--atl-muted)}
.atl-arms{display:grid;grid-template-columns:repeat(auto-fit,minmax(210px,1fr));gap:8px 26px}
.atl-arms h4{font:400 16px/1.3 var(--atl-serif);margin:0 0 2px;padding:0;
 border-bottom:2px solid var(--c)}
.atl-arms dl,.atl-arms dt{padding:0;margin:0}
.atl-arms dl{display:grid;grid-template-columns:1fr max-content;gap:0 10px;margin:4px 0 6px;
 font-size:12px;color:var(--atl-muted)}
.atl-arms dd{margin:0;text-align:right;color:var(--atl-ink)}
.atl-listed{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:1px 9px;
 font-size:12px}
.atl-listed .tok{overflow:hidden;text-overflow:ellipsis}
.atl-listed.wide{grid-template-columns:repeat(auto-fill,minmax(250px,1fr));gap:1px 20px}
.atl-listed.wide div{display:flex;gap:9px;min-width:0}
.atl-story{font-size:15px;line-height:1.5;max-width:62em;margin:0;padding-left:26px;
 font-family:var(--atl-serif)}
.atl-story li{margin:0 0 9px;padding-left:4px}
.atl-story small{display:block;font:400 12.5px/1.45 var(--atl-sans);color:var(--atl-muted)}
.atl-story small a{color:var(--atl-accent)}
"""
WIDTHS = ("62px", "auto", "74px", "15%", "148px", "66px", "112px")


def movers_table(found: "Movers", href: Callable[[int], str]) -> str:
    """The list, one feature a line: its change about a zero line, its turn, its place among
    features of similar rate. `href` gives a feature's page."""
    heads = (
        ("feature", ""), ("strongest firing tokens", ""), ("change", "r"), ("", ""),
        (f"norm, {step_name(found.before)} → {step_name(found.after)}", ""), ("turn", "r"),
        ("outdoes", "r"),
    )
    head = "".join(f'<th scope="col" class="{side}">{escape(name)}</th>' for name, side in heads)
    top = max((abs(m.change) for m in found.listed if math.isfinite(m.change)), default=1.0) or 1.0
    rows = "".join(_mover(m, found.matched, top, href(m.feature)) for m in found.listed)
    columns = "".join(f'<col style="width:{width}">' for width in WIDTHS)
    return wrap(
        f'<table class="atl-table atl-movers"><colgroup>{columns}</colgroup>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )


def _mover(mover: "Mover", matched: int, top: float, href: str) -> str:
    below = NOT_AVAILABLE if not math.isfinite(mover.below) else (
        f"{mover.below * matched:.0f} of {matched}")
    weak = " weak" if math.isfinite(mover.below) and mover.below < 0.95 else ""
    turn = f"{mover.turn:.0f}°" if math.isfinite(mover.turn) else NOT_AVAILABLE
    width = 50 * abs(mover.change) / top if math.isfinite(mover.change) else 0.0
    left = 50.0 if mover.change >= 0 else 50 - width
    colour = "var(--atl-accent)" if mover.change >= 0 else "var(--atl-counter)"
    norms = f"{number(mover.before, 2)} → {number(mover.after, 2)}"
    return (
        f'<tr><td class="num">{link(f"#{mover.feature:,}", href)}</td>'
        f'<td class="tok" title="{escape(mover.label)}">{escape(mover.label)}</td>'
        f'<td class="r num">{signed(100 * mover.change, 0)} %</td>'
        f'<td class="bar"><u></u><i style="left:{left:.1f}%;width:{width:.1f}%;'
        f'background:{colour}"></i></td>'
        f'<td class="num dim">{norms}</td><td class="r num">{turn}</td>'
        f'<td class="r num{weak}" title="mean rate {share(mover.rate, 2)}">{below}</td></tr>'
    )


def arms(found: "Sequence[Arm]", colours: Sequence[str], href: Callable[[int], str],
         lists: Sequence[str]) -> str:
    """Each arm with its size, what is usual in it, and its strongest features as links.

    `lists` are links to the same features in Browse.
    """
    cells = []
    for arm, colour, browse in zip(found, colours[:len(found)], lists, strict=True):
        facts = (
            ("features", f"{arm.size:,}"),
            ("fires from step, median",
             "never" if not math.isfinite(arm.first_step) else f"{arm.first_step:,.0f}"),
            ("snapshots above 0.30 of its peak", f"{arm.lifetime:.0f}"),
            ("early rate − late rate", NOT_AVAILABLE if not math.isfinite(arm.early_late)
             else f"{signed(100 * arm.early_late, 2)} %"),
            ("turn in all", f"{arm.drift:.0f}°"),
        )
        told = "".join(f"<dt>{escape(a)}</dt><dd class=num>{escape(b)}</dd>" for a, b in facts)
        all_of = link(f"these {len(arm.strongest)} in Browse", browse)
        cells.append(
            f'<div style="--c:{colour}"><h4>{escape(arm.name)}</h4><dl>{told}</dl>'
            f"{_listed(arm.strongest, href)}<p class=dim>{all_of}</p></div>"
        )
    return wrap(f'<div class="atl-arms">{"".join(cells)}</div>')


def _listed(found: "Sequence[Listed]", href: Callable[[int], str]) -> str:
    rows = "".join(
        f'<span class="num">{link(f"#{f.feature:,}", href(f.feature))}</span>'
        f'<span class="tok" title="{escape(f.label)}">{escape(f.label)}</span>'
        for f in found
    )
    return f'<div class="atl-listed">{rows}</div>'


def listed(found: "Sequence[Listed]", href: Callable[[int], str]) -> str:
    """Features with their tokens in as many columns as fit."""
    cells = "".join(
        f'<div><span class="num">{link(f"#{f.feature:,}", href(f.feature))}</span>'
        f'<span class="tok" title="{escape(f.label)}">{escape(f.label)}</span></div>'
        for f in found
    )
    return wrap(f'<div class="atl-listed wide">{cells}</div>')


@dataclass(frozen=True)
class Told:
    """A sentence of the story as a page shows it."""

    text: str
    null: str
    """What it is held against."""
    words: str
    """Of the link."""
    href: str


def story(found: Sequence[Told]) -> str:
    """Sentences, each with its null beneath and a link to what it rests on."""
    lines = "".join(
        f"<li>{escape(one.text)}<small>{escape(one.null)} {link(one.words, one.href)}</small></li>"
        for one in found
    )
    return wrap(f'<ol class="atl-story">{lines}</ol>')
