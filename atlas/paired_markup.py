"""Two features' cards side by side as HTML: evidence in every way, facts, tokens that both have."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from atlas.markup import coded, escape, link, number, wrap
from atlas.matches import NULLS, SCORES, WAYS, MatchInfo
from atlas.paired import Candidate, Evidence, Pair, Reason
from atlas.theme import ink

SIDES = ("accent", "counter")
"""Inks of the left and of the right feature."""
Href = Callable[[int], str]
"""Where the number of a feature leads."""

_CELL = "min-width:0;overflow:hidden"
_GRID = "display:grid;grid-template-columns:repeat(2,minmax(0,1fr));column-gap:44px;row-gap:8px"
_LIST = ("display:grid;grid-template-columns:minmax(0,1fr) max-content;column-gap:10px;"
         "row-gap:1px;align-content:start;min-width:0")


def chance(percentile: float) -> str:
    """A percentile under a null in words."""
    if math.isnan(percentile):
        return "without a null"
    return "none by chance reaches it" if percentile >= 1 else (
        f"{100 * percentile:.1f} % by chance stay below")


# --- evidence -------------------------------------------------------------------------------------


def evidence_table(
    found: Sequence[Evidence], pair: Pair, names: tuple[str, str], chosen: str,
    hrefs: tuple[Href, Href],
) -> str:
    """A row for each way: the score of the two, and what each is to the other.

    Args:
        names: of the left and the right feature. chosen: the way that is asked for.
        hrefs: for a partner of the left feature, and for one of the right.
    """
    heads = "".join(
        f'<th>seen from <b style="font-weight:500;color:{ink(side)}">{escape(name)}</b></th>'
        for name, side in zip(names, SIDES, strict=True))
    rows = []
    for one in found:
        null = f"null: {NULLS[one.way]}"
        way = (f'<td style="white-space:nowrap">'
               f'{"<b>" if one.way == chosen else ""}{escape(WAYS[one.way])}'
               f'{"</b>" if one.way == chosen else ""}'
               f'<div class="dim">{escape(null)}</div></td>')
        if one.why:
            rows.append(f'<tr>{way}<td colspan="3" class="dim">Not available, because '
                        f"{coded(one.why)}.</td></tr>")
            continue
        cells = "".join(
            f"<td>{_seen(side, there, href)}</td>"
            for side, there, href in ((one.forth, pair.there, hrefs[0]),
                                      (one.back, pair.feature, hrefs[1])))
        rows.append(f"<tr>{way}{_score(one)}{cells}</tr>")
    return wrap(f'<table class="atl-table"><tr><th>matched by</th><th>these two</th>{heads}</tr>'
                f"{''.join(rows)}</table>")


def _score(one: Evidence) -> str:
    if math.isnan(one.score):
        return '<td class="dim">not available</td>'
    said = "" if one.kept else (
        '<div class="dim" title="no null was drawn for these two: beside the best scores by chance '
        f'of all features">{"no best one" if math.isnan(one.below) else _strict(one.below)}</div>')
    return (f'<td style="min-width:132px"><span class="num">{number(one.score, 2)}</span> '
            f'<span class="dim" style="white-space:nowrap">{escape(SCORES[one.way])}</span>{said}'
            "</td>")


def _strict(below: float) -> str:
    """Where a score lies among the best ones by chance."""
    if below >= 1:
        return "above every best by chance"
    if below <= 0:
        return "under 99 % of the best by chance"
    return f"above {below:.0%} of the best by chance"


def _seen(found: MatchInfo | None, there: int, href: Href) -> str:
    """What the other feature is to one, in a cell."""
    if found is None:
        return '<span class="dim">it never fires or has no direction: no partner</span>'
    best = (f"its best is {link(f'#{found.partner:,}', href(found.partner))}, "
            f'<span class="num">{number(found.score, 2)}</span>; {chance(found.percentile)}')
    if found.partner == there:
        second = "" if math.isnan(found.margin) else f", {number(found.margin, 2)} above its second"
        return f"<b>its best</b>{second}; {chance(found.percentile)}"
    if found.assigned == there:
        return (f"<b>its partner one to one</b>; {chance(found.assigned_percentile)}; "
                f'<span class="dim">{best}</span>')
    return best


def evidence_frame(found: Sequence[Evidence], pair: Pair) -> pd.DataFrame:
    """A line per way: the score of the two, whether matching kept it, what each is to the other."""
    rows = []
    for one in found:
        row = {"way": one.way, "run": pair.run, "feature": pair.feature, "other": pair.other,
               "there": pair.there, "score": one.score, "kept by matching": one.kept,
               "best by chance below": one.below}
        for name, side in (("left", one.forth), ("right", one.back)):
            for field in ("partner", "score", "margin", "percentile", "reciprocal", "assigned",
                          "assigned_score", "assigned_percentile"):
                words = field.replace("_", " ")
                row[f"{name} {words}"] = None if side is None else getattr(side, field)
        rows.append(row | {"not available because": one.why})
    return pd.DataFrame(rows)


# --- candidates -----------------------------------------------------------------------------------


def candidates_table(found: Sequence[Candidate], there: int | None, href: Href) -> str:
    """Features of the other run that may stand here, each with its reasons and their nulls."""
    cells = []
    for one in found:
        shown = one.feature == there
        name = link(f"#{one.feature:,}", href(one.feature))
        colour = f";color:{ink(SIDES[1])};font-weight:600" if shown else ""
        lines = "".join(f"<div>{escape(line)}</div>" for line in _reasons(one.reasons))
        cells.append(
            f'<div class="num" style="padding-top:1px{colour}">{name}</div>'
            f'<div style="min-width:0"><div class="tok" style="overflow:hidden;'
            f'text-overflow:ellipsis" title="{escape(one.label)}">{escape(one.label)}</div>'
            f'<div class="dim">{lines}</div></div>')
    return wrap('<div style="display:grid;grid-template-columns:max-content minmax(0,1fr);'
                f'column-gap:14px;row-gap:9px;padding-top:5px">{"".join(cells)}</div>')


def _reasons(found: Sequence[Reason]) -> list[str]:
    """A line for each; the best one that is the assigned one too is told once."""
    assigned = {reason.way for reason in found if reason.kind == "assigned"}
    best = {reason.way for reason in found if reason.kind == "best"}
    return [
        _reason(reason, reason.kind == "best" and reason.way in assigned)
        for reason in found if reason.kind != "assigned" or reason.way not in best
    ]


def _reason(reason: Reason, both: bool) -> str:
    way = WAYS[reason.way]
    said = {
        "best": f"best{', also one to one,' if both else ''} by {way}",
        "assigned": f"one to one by {way}",
        "part": f"one of {reason.parts} parts by {way}",
        "whole": f"this is one of its {reason.parts} parts by {way}",
    }[reason.kind]
    judged = chance(reason.percentile)
    if reason.parts:
        judged = f"of as many parts {judged}"
    return f"{said}, {number(reason.score, 2)}: {judged}"


# --- cards ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Face:
    """What is told of one feature; every text but `labels` and `badge` is escaped here."""

    feature: int
    run: str
    """Short name of its run."""
    href: str
    """Its own page."""
    tokens: str
    """Its strongest firing tokens as they are drawn."""
    kind: str
    facts: Sequence[tuple[str, str]]
    labels: str
    """Markup."""
    badge: str
    """Markup."""


@dataclass(frozen=True)
class Listed:
    """A token of a list."""

    text: str
    value: float
    shared: bool
    href: str


def faces(left: Face, right: Face | None) -> str:
    """Two cards, row by row, so that what is compared lies on one line; or the left one alone."""
    both = [face for face in (left, right) if face is not None]
    alone = '<span class="dim">no other seed was matched with this run</span>'
    rows = [
        [_name(face, side) for face, side in zip(both, SIDES, strict=False)],
        [_facts(face.facts) for face in both], [face.labels for face in both],
        [face.badge or alone for face in both],
    ]
    cells = "".join(f'<div style="{_CELL}">{cell}</div>'
                    for row in rows for cell in [*row, *[""] * (2 - len(row))])
    return wrap(f'<div style="{_GRID}">{cells}</div>')


def _name(face: Face, side: str) -> str:
    return (
        f'<div style="border-top:2px solid {ink(side)};padding-top:6px;display:flex;gap:14px;'
        f'align-items:baseline"><span style="font:400 30px/1.1 var(--atl-serif);'
        f'white-space:nowrap"><i style="font-size:17px;color:{ink("muted")}">feature</i> '
        f'{link(f"{face.feature:,}", face.href, "its own page")}</span>'
        f'<span class="dim" style="white-space:nowrap">{escape(face.run)}</span></div>'
        f'<div style="font:italic 400 14px/1.5 var(--atl-serif);color:{ink("muted")}">'
        f"{escape(face.kind)}</div>"
        f'<div class="tok" style="overflow:hidden;text-overflow:ellipsis" '
        f'title="{escape(face.tokens)}">{escape(face.tokens)}</div>'
    )


def _facts(found: Sequence[tuple[str, str]]) -> str:
    cells = "".join(
        f'<div style="text-align:left"><small>{escape(name)}</small><span class="num">'
        f"{escape(value)}</span></div>" for name, value in found)
    return f'<div class="atl-facts" style="flex-wrap:wrap;gap:4px 20px">{cells}</div>'


def token_lists(left: Sequence[Sequence[Listed]], right: Sequence[Sequence[Listed]],
                heads: Sequence[str]) -> str:
    """The lists of both features, one beside the other, shared tokens in the accent.

    Args:
        left, right: as many lists each as `heads`.
    """
    sides = []
    for lists in (left, right):
        inner = "".join(_one_list(found, head) for found, head in zip(lists, heads, strict=True))
        sides.append(f'<div style="{_GRID};column-gap:26px">{inner}</div>')
    return wrap(f'<div style="{_GRID}">{"".join(sides)}</div>')


def _one_list(found: Sequence[Listed], head: str) -> str:
    cells = "".join(
        f'<div class="tok" style="overflow:hidden;text-overflow:ellipsis'
        f'{f";color:{ink(SIDES[0])};font-weight:600" if one.shared else ""}">'
        f'{link(one.text, one.href)}</div>'
        f'<div class="num dim" style="font-size:11.5px">{number(one.value, 2)}</div>'
        for one in found) or '<div class="dim">none</div><div></div>'
    return (f'<div style="{_LIST}"><small class="dim" style="grid-column:1/3">{escape(head)}'
            f"</small>{cells}</div>")


def shared_words(count: int, sizes: tuple[int, int], rows: int, what: str) -> str:
    """How many tokens two lists share, beside what lists drawn at random from the rows would."""
    of = f"{sizes[0]}" if sizes[0] == sizes[1] else f"{sizes[0]} and {sizes[1]}"
    usual = sizes[0] * sizes[1] / rows
    return (f"{count} of {of} {what} are in both lists (drawn at random, "
            f"{number(usual, 2 if usual >= 0.005 else 4)})")
