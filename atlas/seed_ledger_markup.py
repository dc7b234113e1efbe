"""Ledgers of several seeds as one table: a line is a feature that they share, bars about zero."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from atlas.markup import NOT_AVAILABLE, escape, link, number, signed, wrap
from atlas.seed_ledgers import Agreement, Measured
from atlas.theme import ink

CLASSES = """
.atl-sl{width:100%;border-collapse:collapse;table-layout:fixed;font-size:12.5px}
.atl-sl td,.atl-sl th{border:0;padding:0 14px 0 0;color:var(--atl-ink);text-align:left;
 vertical-align:middle}
.atl-sl td{height:24px;overflow:hidden;white-space:nowrap;text-overflow:ellipsis}
.atl-sl th{font-weight:400;vertical-align:top;padding-bottom:8px;line-height:1.45}
.atl-sl th b{font:500 19px/1.25 var(--atl-serif);margin-right:8px}
.atl-sl th small{display:block;font-size:11.5px;color:var(--atl-muted)}
.atl-sl th small.bad,.atl-sl .why{color:var(--atl-accent)}
.atl-sl th a{color:var(--atl-accent)}
.atl-sl .lab{font-family:var(--atl-mono);font-size:12px;white-space:pre}
.atl-sl .lone .lab{color:var(--atl-muted)}
.atl-sl .c{display:flex;align-items:center;gap:6px;height:24px}
.atl-sl .c a,.atl-sl .c s{flex:0 0 46px;text-decoration:none;color:var(--atl-muted);
 font:11.5px var(--atl-mono)}
.atl-sl .c a:hover{text-decoration:underline}
.atl-sl .c span{flex:1 1 0;position:relative;height:100%;min-width:24px}
.atl-sl .c i{position:absolute;top:6px;bottom:6px;min-width:1px}
.atl-sl .c u{position:absolute;top:0;bottom:0;width:1px;background:var(--atl-rule)}
.atl-sl .c b{flex:0 0 44px;text-align:right;font:400 12px var(--atl-mono)}
.atl-sl .none{color:var(--atl-muted);opacity:.75}
.atl-sl tr.line td{border-top:1px solid var(--atl-rule)}
.atl-sl tr.sum b,.atl-sl tr.sum td:first-child{font-weight:600}
.atl-sl.many .c b{display:none}
.atl-sl.many .c{gap:2px}
.atl-sl.many th b{font-size:16px;display:block;margin:0}
.atl-sl.many td,.atl-sl.many th{padding-right:8px}
.atl-agree{width:100%;border-collapse:collapse;table-layout:fixed;font-size:12.5px}
.atl-agree th{font-weight:400;color:var(--atl-muted);font-size:11.5px;text-align:left;
 padding:2px 14px 4px 0;border:0;border-bottom:1px solid var(--atl-rule);white-space:nowrap}
.atl-agree td{border:0;padding:0 14px 0 0;height:25px;white-space:nowrap;color:var(--atl-ink)}
.atl-agree .m{display:flex;align-items:center;gap:10px}
.atl-agree .m b{flex:0 0 40px;text-align:right;font:500 12.5px var(--atl-mono)}
.atl-agree .m small{flex:0 0 64px;color:var(--atl-muted);font-size:11.5px}
.atl-agree .m span{flex:1 1 0;position:relative;height:14px;min-width:40px;
 border-bottom:1px solid var(--atl-grid)}
.atl-agree .m i{position:absolute;top:3px;bottom:3px;
 background:color-mix(in srgb,var(--atl-ink) 16%,transparent)}
.atl-agree .m u{position:absolute;top:1px;bottom:1px;width:1px;background:var(--atl-muted)}
.atl-agree .m s{position:absolute;top:2px;width:9px;height:9px;margin-left:-5px;border-radius:50%;
 background:var(--atl-accent)}
@media (max-width:900px){.atl-sl{min-width:760px}.atl-agree{min-width:720px}}
"""
MANY = 5
"""Seeds from which the numbers beside the bars are left to the titles."""
NAMES_WIDE = 21
"""Per cent of the width for the names of features."""


def style() -> str:
    """The style element of the view; no other page needs its classes."""
    return f"<style>{CLASSES}</style>"


@dataclass(frozen=True)
class Head:
    """What stands over a seed's column."""

    name: str
    run: str
    href: str
    """The same prompt and score in Decompose."""
    verdict: str
    passes: bool
    """Of the gate."""
    spread: str
    """How many features explain how much; '' where they are withheld."""


@dataclass(frozen=True)
class Cell:
    """One seed's feature in a line."""

    feature: int
    value: float
    """Contribution in logits; 0 where it does not fire on the score's tokens."""
    fires: bool
    href: str
    title: str
    """Its own strongest firing tokens."""


@dataclass(frozen=True)
class Line:
    """One feature: a group's, or one seed's alone."""

    label: str
    cells: tuple[Cell | None, ...]
    """One per seed; None where the seed has no such feature, or its bars are withheld."""
    matched: bool


@dataclass(frozen=True)
class Sum:
    """A line of the foot: numbers of the whole, of every seed."""

    label: str
    values: tuple[float, ...]
    role: str
    """"rest", "base", "residual" or "exact"."""
    notes: tuple[str, ...] = ()
    """Beside each number; none unless given."""


def ledgers(
    heads: Sequence[Head], lines: Sequence[Line], sums: Sequence[Sum], shown: Sequence[bool],
    alt: str,
) -> str:
    """The table. Features have one scale in all columns, the sums below them another.

    Args:
        shown: whether the features of each seed may be read.
    """
    many = len(heads) > MANY
    top = "".join(_head(head, many) for head in heads)
    low, high = _scale(c.value for line in lines for c in line.cells if c is not None)
    body = "".join(_line(line, shown, low, high) for line in lines)
    least, most = _scale(v for one in sums for v in one.values)
    foot = "".join(_sum(one, least, most) for one in sums)
    wide = (100 - NAMES_WIDE) / max(1, len(heads))
    widths = f'<col style="width:{NAMES_WIDE}%">' + f'<col style="width:{wide:.2f}%">' * len(heads)
    kind = "atl-sl many" if many else "atl-sl"
    return wrap(
        f'<table class="{kind}" aria-label="{escape(alt)}"><colgroup>{widths}</colgroup>'
        f"<tr><th></th>{top}</tr>{body}{foot}</table>"
    )


def _scale(values) -> tuple[float, float]:
    known = [0.0, *values]
    low, high = min(known), max(known)
    return (low, high) if high > low else (low, low + 1.0)


def _head(head: Head, many: bool) -> str:
    tone = "" if head.passes else ' class="bad"'
    spread = f"<small>{escape(head.spread)}</small>" if head.spread else ""
    there = link("Decompose" if many else "open in Decompose", head.href)
    return (
        f'<th title="{escape(head.run)}"><b>{escape(head.name)}</b>{there}'
        f"<small{tone}>{escape(head.verdict)}</small>{spread}</th>"
    )


def _line(line: Line, shown: Sequence[bool], low: float, high: float) -> str:
    cells = "".join(
        "<td></td>" if not allowed else
        '<td class="none" title="this seed has no such feature">–</td>' if cell is None else
        _cell(cell, low, high)
        for cell, allowed in zip(line.cells, shown, strict=True)
    )
    lone = "" if line.matched else ' class="lone"'
    return (f'<tr{lone}><td class="lab" title="{escape(line.label)}">{escape(line.label)}</td>'
            f"{cells}</tr>")


def _cell(cell: Cell, low: float, high: float) -> str:
    said = f"{signed(cell.value)} · {cell.title}" if cell.fires else f"does not fire · {cell.title}"
    colour = ink("accent" if cell.value >= 0 else "counter")
    bar = _bar(cell.value, low, high, f"background:{colour}") if cell.fires else ""
    value = signed(cell.value) if cell.fires else "0"
    return (f'<td title="{escape(said)}"><div class="c">{link(f"#{cell.feature}", cell.href)}'
            f'<span>{_zero(low, high)}{bar}</span><b>{value}</b></div></td>')


def _sum(one: Sum, low: float, high: float) -> str:
    style = {
        "base": f"background:{ink('muted')}", "rest": f"background:{ink('muted')}",
        "residual": "background:repeating-linear-gradient(135deg,"
                    f"{ink('muted')} 0 1.5px,transparent 1.5px 4.5px)",
        "exact": f"background:{ink('ink')}",
    }[one.role]
    notes = one.notes or ("",) * len(one.values)
    cells = "".join(
        f'<td title="{escape(f"{one.label} {signed(value)} {note}".rstrip())}"><div class="c">'
        f"<s>{escape(note)}</s><span>{_zero(low, high)}{_bar(value, low, high, style)}</span>"
        f"<b>{signed(value)}</b></div></td>"
        for value, note in zip(one.values, notes, strict=True)
    )
    kind = {"rest": "line", "exact": "line sum"}.get(one.role, "")
    return f'<tr class="{kind}"><td>{escape(one.label)}</td>{cells}</tr>'


def _zero(low: float, high: float) -> str:
    return f'<u style="left:{-100 * low / (high - low):.1f}%"></u>'


def _bar(value: float, low: float, high: float, style: str) -> str:
    left = 100 * (min(0.0, value) - low) / (high - low)
    wide = 100 * abs(value) / (high - low)
    return f'<i style="left:{left:.1f}%;width:{wide:.1f}%;{style}"></i>'


# --- agreement ------------------------------------------------------------------------------------


def agreement(found: Sequence[Agreement], names: Sequence[str]) -> str:
    """A line for each set of seeds: what they share beside what chance gives, as dots on grey."""
    rows = "".join(
        f"<tr><td>{escape(between(one, names))}</td><td>{one.groups:,}</td>"
        f"<td>{_measured(one.share, 0.0, True)}</td><td>{_measured(one.pearson, -1.0)}</td>"
        f"<td>{_measured(one.rank, -1.0)}</td></tr>"
        for one in found
    )
    widths = "".join(f'<col style="width:{w}%">' for w in (15, 7, 28, 25, 25))
    heads = "".join(f"<th>{text}</th>" for text in (
        "seeds", "features", "share of Σ|c| in features they share", "their contributions, r",
        "the ranks of these, r"))
    return wrap(f'<table class="atl-agree"><colgroup>{widths}</colgroup><tr>{heads}</tr>{rows}'
                "</table>")


def between(one: Agreement, names: Sequence[str]) -> str:
    """The seeds of a line in words."""
    if len(one.places) == len(names) > 2:
        return f"all {len(names)}"
    first, *others = (names[place] for place in one.places)
    word, _, _ = first.rpartition(" ")
    return " and ".join((first, *(name.removeprefix(f"{word} ") if word else name
                                  for name in others)))


def _measured(one: Measured, least: float, as_share: bool = False) -> str:
    if math.isnan(one.value):
        return f'<span class="dim">{NOT_AVAILABLE}</span>'

    def at(value: float) -> str:
        return f"{100 * (min(max(value, least), 1.0) - least) / (1.0 - least):.1f}%"

    def told(value: float) -> str:
        return f"{value:.0%}" if as_share else number(value, 2)

    null, p = "", ""
    if not math.isnan(one.p):
        wide = 100 * (one.high - one.low) / (1.0 - least)
        null = (f'<i style="left:{at(one.low)};width:{wide:.1f}%"></i>'
                f'<u style="left:{at(one.middle)}"></u>')
        p = f"p = {one.p:.3f}"
    said = f"{told(one.value)}, by chance {told(one.low)} to {told(one.high)}"
    return (f'<div class="m" title="{escape(said)}"><b>{told(one.value)}</b>'
            f'<span>{null}<s style="left:{at(one.value)}"></s></span><small>{p}</small></div>')
