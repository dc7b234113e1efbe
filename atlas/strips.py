"""One feature's evidence as HTML: labels with their p, counterparts, how activations spread.

No plotting library and no script; the classes are part of the page's stylesheet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from atlas.markup import link, number, probability, wrap
from atlas.schema import DUPLICATE

CLASSES = """
.atl-labels{display:flex;flex-wrap:wrap;gap:2px 26px;align-items:baseline;font-size:13px;
 min-height:20px}
.atl-labels span{white-space:nowrap}
.atl-labels small{font-size:10.5px;letter-spacing:.05em;text-transform:uppercase;
 color:var(--atl-muted);margin-right:7px}
.atl-labels .num{font-size:11.5px;color:var(--atl-muted);margin-left:7px}
.atl-labels .weak{color:var(--atl-muted)}
.atl-labels .weak b{font-style:italic}
.atl-labels b{font-weight:500}
.atl-spread{position:relative;margin:6px 0 2px}
.atl-ends{margin-bottom:10px}
.atl-spread .cols{display:flex;align-items:flex-end;gap:1px;
 border-bottom:1px solid var(--atl-muted)}
.atl-spread .cols i{flex:1 1 0;background:var(--atl-accent);opacity:.72}
.atl-spread .cols i.off{background:var(--atl-muted);opacity:.4}
.atl-spread u{position:absolute;top:0;bottom:0;width:0;
 border-left:1px dashed var(--atl-ink)}
.atl-ends{display:flex;justify-content:space-between;gap:8px;font:400 10.5px/1.5 var(--atl-mono);
 color:var(--atl-muted)}
.atl-match{border-bottom:1px solid var(--atl-grid);padding:5px 0 6px}
.atl-match div{display:flex;gap:12px;align-items:baseline;min-width:0}
.atl-match small{font-size:10.5px;letter-spacing:.05em;text-transform:uppercase;
 color:var(--atl-muted);white-space:nowrap}
.atl-match .tok{overflow:hidden;text-overflow:ellipsis;min-width:0}
.atl-match b{font-weight:500;color:var(--atl-accent)}
.atl-near{display:grid;grid-template-columns:max-content 84px max-content minmax(0,1fr);
 column-gap:11px;row-gap:3px;align-items:center;font-size:12.5px;padding-top:2px}
.atl-near .track{height:11px;position:relative;background:var(--atl-grid)}
.atl-near .track i{position:absolute;left:0;top:0;bottom:0;background:var(--atl-accent);opacity:.8}
.atl-near .val{font:400 11.5px/1.5 var(--atl-mono);color:var(--atl-muted)}
.atl-near .tok{font-family:var(--atl-mono);font-size:12px;white-space:pre;overflow:hidden;
 text-overflow:ellipsis}
.atl-note .mono,.atl-defs .mono{white-space:pre-wrap;overflow-wrap:anywhere}
.atl-bars .track u{position:absolute;top:-1px;bottom:-1px;width:0;
 border-left:1.5px solid var(--atl-ink);opacity:.55}
"""
OFF = ' class="off"'
SURE = 0.05
"""Largest p of a label that is told in full ink."""


@dataclass(frozen=True)
class Label:
    """What a feature's strongest firing tokens have in common, under one scheme."""

    scheme: str
    name: str
    share: float
    """Share of them that have it."""
    enrichment: float
    """That share over its share of the vocabulary."""
    p: float
    """Corrected for the number of labels tried."""


def labels(found: Sequence[Label]) -> str:
    """All labels in a line, those that chance explains as well in muted italics."""
    cells = []
    for label in found:
        sure = label.p <= SURE
        hint = (
            f"{label.enrichment:.1f} times its share of the vocabulary; "
            f"{'no more than' if not sure else 'more than'} chance gives, after correction for "
            "the number of labels tried"
        )
        cells.append(
            f'<span class="{"" if sure else "weak"}" title="{escape(hint)}">'
            f"<small>{escape(label.scheme)}</small><b>{escape(label.name)}</b>"
            f'<span class="num">{label.share:.0%} · {escape(probability(label.p))}</span></span>'
        )
    return f'<div class="atl-labels">{"".join(cells)}</div>'


@dataclass(frozen=True)
class Counterpart:
    """The best partner of a feature in another run, for a list."""

    run: str
    """A short name of that run."""
    partner: int
    label: str
    """The partner's strongest firing tokens."""
    cosine: float
    margin: float
    """Above its second; nan where there is none."""
    percentile: float
    """Share of what chance offers that stays below."""
    reciprocal: bool
    href: str
    title: str = ""
    """The run's full id."""
    score_name: str = "cosine"
    null: str = "turned at random"
    """What was done to a dictionary to know what chance offers."""


def counterparts(found: Sequence[Counterpart], end: str = "") -> str:
    """Partners in other runs, each with its evidence and its null in words; then some markup."""
    return wrap("".join(_counterpart(match) for match in found) + end)


def _counterpart(match: Counterpart) -> str:
    beyond = "none reaches it" if match.percentile >= 1 else (
        f"{100 * match.percentile:.1f} % stay below"
    )
    second = "" if math.isnan(match.margin) else f", {number(match.margin, 2)} above its second"
    both = "each is the other’s best" if match.reciprocal else "the partner’s best is another"
    return (
        f'<div class="atl-match"><div><small title="{escape(match.title)}">{escape(match.run)}'
        f'</small><b class="num">{link(f"#{match.partner:,}", match.href)}</b>'
        f'<span class="tok">{link(match.label, match.href)}</span></div>'
        f'<div class="dim">{escape(match.score_name)} {match.cosine:.2f}{second}; '
        f'{escape(match.null)} {beyond}; {both}'
        "</div></div>"
    )


@dataclass(frozen=True)
class Near:
    """A feature of similar direction, for a list."""

    feature: int
    cosine: float
    label: str
    """Its strongest firing tokens."""
    href: str


def neighbours(found: Sequence[Near]) -> str:
    """Features by cosine, each a link; from `DUPLICATE` on the tip says what that means."""
    cells = []
    for near in found:
        tip = f"cosine {number(near.cosine)}" + (
            f": from {DUPLICATE} on two live features count as duplicates"
            if near.cosine >= DUPLICATE else ""
        )
        wide = 100 * min(1.0, max(0.0, near.cosine))
        cells.append(
            f'<b class="num">{link(f"#{near.feature:,}", near.href)}</b>'
            f'<div class="track" title="{escape(tip)}"><i style="width:{wide:.0f}%"></i></div>'
            f'<div class="val">{number(near.cosine, 2)}</div>'
            f'<div class="tok" title="{escape(near.label)}">{link(near.label, near.href)}</div>'
        )
    return wrap(f'<div class="atl-near">{"".join(cells)}</div>')


def fires_above(threshold: float, norm: float) -> float:
    """Smallest pre-activation that fires at a snapshot: p n > threshold (crosscoder-method §3.2).

    nan where the direction has no length or the norm is unknown: nothing, or everything, fires.
    """
    return threshold / norm if math.isfinite(norm) and norm > 0 else math.nan


def spread_of(
    counts: Sequence[int], edges: Sequence[float], least: float = math.nan, height: int = 58
) -> str:
    """How many rows have which activation: one column per bin, its ends named.

    Args:
        counts: rows per bin.
        edges: borders of the bins, one more than counts.
        least: activations up to this one do not fire at the chosen step; drawn as a dashed line
            where it falls inside, with the columns below it in grey.
        height: pixels of the tallest column.
    """
    top = max([1, *counts])
    low, high = edges[0], edges[-1]
    span = (high - low) or 1.0
    columns = "".join(
        f"<i{OFF if right <= least else ''} "
        f'style="height:{max(2.0, height * n / top) if n else 0:.0f}px" '
        f'title="{n:,}: {left:.2f}–{right:.2f}"></i>'
        for n, left, right in zip(counts, edges, edges[1:], strict=False)
    )
    mark, words = "", ""
    if math.isfinite(least) and low < least < high:
        mark = f'<u style="left:{100 * (least - low) / span:.1f}%"></u>'
        words = f"fires above {number(least, 2)}"
    elif least >= high:
        words = "none fires at this step"
    return wrap(
        f'<div class="atl-spread"><div class="cols" style="height:{height}px">{columns}</div>'
        f'{mark}</div><div class="atl-ends"><span>{number(low, 2)}</span><span>{words}</span>'
        f"<span>{number(high, 2)}</span></div>"
    )
