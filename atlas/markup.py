"""Numbers and tokens in, HTML fragments out; every text goes through `escape`.

The fragments carry no scripts, no remote addresses and no inline event handlers. Their classes
are defined once per page by `atlas.stylesheet`.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from atlas.theme import ink

NOT_AVAILABLE = "not available"


@dataclass(frozen=True)
class Fact:
    """A small statistic of a header strip."""

    name: str
    value: str
    help: str = ""
    """Shown when the pointer rests on it."""


@dataclass(frozen=True)
class HeatCell:
    """One token of a heat table."""

    text: str
    ink: float
    """0 to 1, how strongly the cell is inked."""
    stays: bool
    """Also among the tokens of the last snapshot: inked in the accent."""
    href: str = ""
    title: str = ""


@dataclass(frozen=True)
class HeatColumn:
    """One snapshot of a heat table."""

    step: int
    cells: tuple[HeatCell, ...]
    chosen: bool = False
    born: bool = False
    faint: bool = False
    """The feature does not fire here: what its direction promotes is noise."""
    foot: str = ""
    """Below the column: what is usual at this snapshot."""


@dataclass(frozen=True)
class Bar:
    """One line of a bar list or a ledger."""

    label: str
    value: float
    role: str = "feature"
    """"feature", "base", "rest", "residual" or "exact": decides ink, never the arithmetic."""
    note: str = ""
    href: str = ""
    title: str = ""
    null: float | None = None
    """What chance reaches, drawn as a tick on the bar."""
    badge: str = ""
    """Markup beside the label, such as `atlas.stability_markup.dots`; '' for none."""


def number(value: float | None, digits: int = 3) -> str:
    """A number for reading, "not available" when there is none."""
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    shown = f"{value:.{digits}f}".replace("-", "−")
    return shown[1:] if not shown.strip("−0.") and shown[0] == "−" else shown


def signed(value: float, digits: int = 2) -> str:
    """A number with its sign; what rounds to nothing has none."""
    if abs(value) < 0.5 * 10.0**-digits:
        return f"{0:.{digits}f}"
    return f"{value:+.{digits}f}".replace("-", "−")


def share(value: float | None, digits: int = 1) -> str:
    """A share as a percentage."""
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    return f"{value:.{digits}%}"


def step_name(step: int | None) -> str:
    """A training step with its thousands set apart."""
    return NOT_AVAILABLE if step is None else f"{step:,}"


def moment(step: int, revision: str | None = None) -> str:
    """A snapshot in words: its step, or the revision of a finished model that has none."""
    return f"step {step:,}" if revision is None else f"revision {revision}"


def probability(value: float | None) -> str:
    """A p-value short enough for a sentence."""
    if value is None or not math.isfinite(value):
        return NOT_AVAILABLE
    if value < 1e-300:
        return "p < 1e-300"
    return f"p = {value:.1e}" if value < 1e-3 else f"p = {value:.3f}"


def link(text: str, href: str, title: str = "") -> str:
    """A link inside the app; plain text when there is nowhere to go."""
    if not href:
        return escape(text)
    hint = f' title="{escape(title)}"' if title else ""
    return f'<a href="{escape(href)}" target="_self"{hint}>{escape(text)}</a>'


def wrap(body: str, classes: str = "") -> str:
    """The frame that gives a fragment its type and ink."""
    return f'<div class="atl {escape(classes)}">{body}</div>'


def caption(lead: str, rest: str = "", hot: str = "", tail: str = "") -> str:
    """A sentence in serif italics that says what is drawn; `hot` is set in the accent."""
    body = f"<b>{escape(lead)}</b> {escape(rest)}"
    if hot:
        body += f' <span class="hot">{escape(hot)}</span>'
    if tail:
        body += f" {escape(tail)}"
    return f'<div class="atl-cap">{body}</div>'


def facts(found: Sequence[Fact]) -> str:
    """Small-caps names over numbers, set in a row."""
    cells = "".join(
        f'<div title="{escape(f.help)}"><small>{escape(f.name)}</small>'
        f'<span class="num">{escape(f.value)}</span></div>'
        for f in found
    )
    return f'<div class="atl-facts">{cells}</div>'


def header(kind: str, name: str, what: str, kind_line: str, found: Sequence[Fact]) -> str:
    """The header strip of a page about one thing: its name, its tokens, its numbers.

    `kind` "token" sets the name in monospace, since it is a token itself.
    """
    shown = f'<span class="tok">{escape(name)}</span>' if kind == "token" else escape(name)
    first = f'<div class="kind">{escape(kind_line)}</div>' if kind_line else ""
    second = f'<div class="tok" title="{escape(what)}">{escape(what)}</div>' if what else ""
    return wrap(
        f'<div class="atl-head"><div class="name"><i>{escape(kind)}</i>{shown}</div>'
        f'<div class="what">{first}{second}</div>{facts(found)}</div>'
    )


def heat_table(columns: Sequence[HeatColumn]) -> str:
    """Tokens by snapshot (columns) and rank (rows), inked by strength."""
    heads = []
    for column in columns:
        classes = " ".join(
            name for name, on in (("chosen", column.chosen), ("born", column.born)) if on
        )
        mark = "born " if column.born else ""
        heads.append(f'<th class="{classes}">{mark}{column.step:,}</th>')
    rows = []
    for rank in range(max((len(c.cells) for c in columns), default=0)):
        cells = []
        for column in columns:
            if rank >= len(column.cells):
                cells.append("<td></td>")
                continue
            cell = column.cells[rank]
            alpha = (0.04 + 0.42 * cell.ink) if cell.stays else (0.03 + 0.13 * cell.ink)
            if column.faint:
                alpha *= 0.45
            # the stylesheet mixes the ground from --a: hundreds of cells, so a short style
            kind = " ".join(["stays"] * cell.stays + ["faint"] * column.faint)
            cells.append(
                f'<td class="{kind}" style="--a:{100 * alpha:.0f}%" '
                f'title="{escape(cell.title)}">{link(cell.text, cell.href)}</td>'
            )
        rows.append(f"<tr>{''.join(cells)}</tr>")
    if any(column.foot for column in columns):
        feet = "".join(f'<td class="foot">{escape(column.foot)}</td>' for column in columns)
        rows.append(f"<tr>{feet}</tr>")
    return wrap(
        f'<table class="atl-heat"><tr>{"".join(heads)}</tr>{"".join(rows)}</table>'
    )


def bars(found: Sequence[Bar], digits: int = 2, against: bool = False) -> str:
    """Labels, bars from the left and values, scaled to the largest absolute value."""
    top = max((abs(v) for b in found for v in (b.value, b.null or 0.0)), default=0.0) or 1.0
    side = " against" if against else ""
    cells = "".join(
        f'<div class="lab" title="{escape(b.title)}">{link(b.label, b.href)}</div>'
        f'<div class="track{side}"><i style="width:{100 * abs(b.value) / top:.1f}%"></i>'
        f"{_tick(b.null, top)}</div>"
        f'<div class="val">{number(b.value, digits)}</div>'
        for b in found
    )
    return wrap(f'<div class="atl-bars">{cells}</div>')


def _tick(null: float | None, top: float) -> str:
    return "" if null is None else f'<u style="left:{100 * abs(null) / top:.1f}%"></u>'


def ledger(lines: Sequence[Bar]) -> str:
    """Signed bars about one zero line: the parts of a score and, last, what they add up to.

    Badges have a column of their own where one line has one.
    """
    badged = any(b.badge for b in lines)
    low = min([0.0, *(b.value for b in lines)])
    high = max([0.0, *(b.value for b in lines)])
    span = (high - low) or 1.0
    zero = -100 * low / span
    rows = []
    for b in lines:
        left = zero + min(0.0, 100 * b.value / span)
        colour = {
            "base": ink("muted"),
            "rest": ink("muted"),
            "residual": "transparent",
            "exact": ink("ink"),
        }.get(b.role, ink("accent" if b.value >= 0 else "counter"))
        box = f"left:{left:.2f}%;width:{100 * abs(b.value) / span:.2f}%;background:{colour}"
        if b.role == "residual":
            box += (
                ";background-image:repeating-linear-gradient(135deg,"
                f"{ink('muted')} 0 1.5px,transparent 1.5px 4.5px)"
            )
        if b.role == "feature":
            names = (
                f'<td class="id">{link(b.note, b.href)}</td>'
                f'<td class="lab" title="{escape(b.title)}">{escape(b.label)}</td>'
                + (f"<td>{b.badge}</td>" if badged else "")
            )
        else:
            names = f'<td class="words" colspan="{2 + badged}">{escape(b.label)}</td>'
        kind = {"base": "line", "rest": "", "residual": "line", "exact": "line sum"}.get(b.role, "")
        rows.append(
            f'<tr class="{kind}">{names}<td class="val">{signed(b.value)}</td>'
            f'<td class="bar"><u style="left:{zero:.2f}%"></u><i style="{box}"></i></td></tr>'
        )
    widths = "".join(
        f'<col style="width:{width}">'
        for width in ("52px", "34%", *["58px"] * badged, "76px", "auto")
    )
    return wrap(
        f'<table class="atl-ledger"><colgroup>{widths}</colgroup>{"".join(rows)}</table>'
    )


def coded(text: str) -> str:
    """Escaped text in which commands between backticks are set in monospace."""
    return re.sub(r"`([^`<>]+)`", r'<span class="mono">\1</span>', escape(text))


def note(text: str, tone: str = "") -> str:
    """A quiet remark with a rule at its side; `tone` "good" or "bad" colours the rule."""
    return wrap(f'<div class="atl-note {escape(tone)}">{coded(text)}</div>')


def definitions(
    found: Sequence[tuple[str, str]], code: bool = False, columns: int = 1
) -> str:
    """Words and what they mean, or column names and theirs; read across when in two columns."""
    kind = "name code" if code else "name"
    rows = "".join(
        f'<div class="{kind}">{escape(a)}</div><div class="means">{coded(b)}</div>'
        for a, b in found
    )
    grid = f' style="grid-template-columns:repeat({columns},max-content 1fr)"'
    return wrap(f'<div class="atl-defs"{grid if columns > 1 else ""}>{rows}</div>')


def prompt(tokens: Sequence[str], position: int) -> str:
    """The tokens of a prompt; the one read at is marked, those after it are faint."""
    cells = "".join(
        f'<span class="{"at" if i == position else "after" if i > position else ""}" '
        f'title="position {i}">{escape(token)}</span>'
        for i, token in enumerate(tokens)
    )
    return wrap(f'<div class="atl-prompt">{cells}</div>')
