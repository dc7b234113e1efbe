"""What every seed has, what only this run has, what splits and merges, what was not matched."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from atlas import markup
from atlas.markup import number, share
from atlas.matches import SCORES, SplitInfo
from atlas.seeds import Alone, Others
from atlas.stability import SeedGroup
from pages import answers_seeds as answers
from pages import shared

MEMBERS = 48
"""Features of groups that are listed, over all groups: a row of many seeds is long."""
FEWEST, PARTS = 8, 5
"""Lines of a list however many seeds there are; splits, and merges, that are listed."""
LINKED = 3
"""Parts of one feature that are links; of more the number is told."""
COMMANDS = 6
"""Runs that a command is written for."""
LETTERS = 44
"""Of a label."""
WIDTHS = ("74px", "19%", "13%", "22%", "", "80px", "72px", "80px")
"""Of the columns of splits and merges."""
Names = dict[str, str]
"""What other runs are called, by id."""
LINE = "white-space:nowrap;overflow:hidden;text-overflow:ellipsis"
"""Style of a cell whose lines end where it does."""


def draw(view: shared.Here, way: str, others: Others, names: Names) -> None:
    """The lists of features, each with links that set two side by side."""
    lines = max(FEWEST, MEMBERS // (len(others.runs) + 1))
    if others.are_seeds:
        left, right = st.columns([1.15, 1], gap="large")
        with left:
            _draw_groups(view, way, lines)
        with right:
            _draw_alone(view, way, others, names, lines)
    else:
        shared.caption("What every seed has.")
        shared.say("Not available, because no other seed of this run was matched in this way, and "
                   "no group holds a feature of every seed.")
        _draw_alone(view, way, others, names, FEWEST)
    _draw_splits(view, way, names)


def beside(view: shared.Here, feature: int, other: str, there: int, way: str) -> str:
    """The address of a feature of this run beside one of another."""
    return shared.href("comparison", view, view="pair", feature=feature, other=other, there=there,
                       way=way)


def _table(heads: Sequence[str], rows: Sequence[str], widths: Sequence[str] = ()) -> str:
    """A table; a head that ends in a bar is of numbers; with widths its columns are held to them.
    """
    head = "".join(f'<th{" class=r" * h.endswith("|")}>{markup.escape(h.rstrip("|"))}</th>'
                   for h in heads)
    held = "".join(f'<col style="width:{width or "auto"}">' for width in widths)
    fixed = ' style="table-layout:fixed"' * bool(widths)
    return markup.wrap(f'<table class="atl-table"{fixed}>{held}<tr>{head}</tr>{"".join(rows)}'
                       "</table>")


# --- what every seed has --------------------------------------------------------------------------


def _draw_groups(view: shared.Here, way: str, lines: int) -> None:
    count, groups = answers.shared_by_all(view.store.digest, view.run, way, lines)
    shown = "" if count <= len(groups) else f"; the surest {len(groups)}"
    shared.caption(
        "What every seed has.",
        f"{count:,} groups with one feature of each seed, where pairs found each other beyond "
        f"their null{shown}. The first number opens this run’s feature, each other one sets the "
        "two side by side. The score is the mean of the pairs; a pair by chance is beyond its "
        "null once in a hundred.",
    )
    if not groups:
        shared.say("Not available, because no group holds a feature of every seed.")
        return
    groups = [group for group in groups if view.run in dict(group.members)]
    cards = {card.run: card for card in view.store.runs()}
    runs = sorted((run for run, _ in groups[0].members),
                  key=lambda run: (run != view.run, cards[run].seed if run in cards else 0))
    own = tuple(dict(group.members)[view.run] for group in groups)
    texts = answers.labels(view.store.digest, view.run, own)
    st.html(_table(
        [f"seed {cards[run].seed}" if run in cards else run for run in runs]
        + ["strongest firing tokens here", f"{SCORES[way]}|"],
        [_group_row(view, group, runs, text, way)
         for group, text in zip(groups, texts, strict=True)],
    ))


def _group_row(
    view: shared.Here, group: SeedGroup, runs: Sequence[str], text: str, way: str
) -> str:
    members = dict(group.members)
    own = members[view.run]
    cells = []
    for run in runs:
        feature = members[run]
        there = (shared.href("feature", view, feature=feature) if run == view.run
                 else beside(view, own, run, feature, way))
        cells.append(f'<td class="num">{markup.link(f"#{feature}", there)}</td>')
    return (f'<tr>{"".join(cells)}<td>{markup.escape(shared.clip(text, LETTERS))}</td>'
            f'<td class="num r">{number(group.score, 2)}</td></tr>')


def groups_table(view: shared.Here, way: str) -> pd.DataFrame:
    """All groups that every seed has, a line a member."""
    _, groups = answers.shared_by_all(view.store.digest, view.run, way, 10**6)
    return pd.DataFrame([
        {"group": group.number, "run": run, "feature": feature, "score": group.score,
         "pairs": group.pairs, "seeds": group.seeds}
        for group in groups for run, feature in group.members
    ])


# --- what only this run has -----------------------------------------------------------------------


def _draw_alone(
    view: shared.Here, way: str, others: Others, names: Names, lines: int
) -> None:
    count, strongest = answers.only_here(view.store.digest, view.run, way, lines)
    here = "Only in this seed." if others.are_seeds else "Only in this run."
    if not count:
        shared.caption(here, "Every feature that fires returns in one other or more.")
        return
    shared.caption(
        here,
        f"{count:,} features that fire return in no other one; the strongest, with what comes "
        "closest there. A percentile is the share of the null that stays below; beyond 99 % it is "
        "more than chance, yet the other’s best is another feature.",
    )
    texts = answers.labels(view.store.digest, view.run, tuple(one.feature for one in strongest))
    st.html(_table(
        ("here", "strongest firing tokens", "closest elsewhere", f"{SCORES[way]}|", "percentile|"),
        [_alone_row(view, one, text, way, names)
         for one, text in zip(strongest, texts, strict=True)],
        ("52px", "", "128px" if others.are_seeds else "240px",
         f"{8 * len(SCORES[way]) + 16}px", "82px"),
    ))


def _alone_row(view: shared.Here, one: Alone, text: str, way: str, names: Names) -> str:
    own = markup.link(f"#{one.feature}", shared.href("feature", view, feature=one.feature))
    there = markup.link(f"#{one.partner} in {_named(names, one.other)}",
                        beside(view, one.feature, one.other, one.partner, way), "side by side")
    return (f'<tr><td class="num">{own}</td><td style="{LINE}">{markup.escape(text)}</td>'
            f'<td style="{LINE}">{there}</td>'
            f'<td class="num r">{number(one.score, 2)}</td>'
            f'<td class="num r">{share(one.percentile, 0)}</td></tr>')


# --- what splits and merges -----------------------------------------------------------------------


def _draw_splits(view: shared.Here, way: str, names: Names) -> None:
    (n_splits, splits), (n_merges, merges) = answers.splits(
        view.store.digest, view.run, way, PARTS)
    shared.caption(
        "What splits and merges.",
        f"A feature that is several in another run, all of them together more like it than the "
        f"best alone: {n_splits:,} split there, {n_merges:,} merge; first those where the others "
        "add most. The percentile is the share of as many parts in the null, for features of like "
        "chances, that reach less. A number sets two side by side.",
    )
    if not n_splits and not n_merges:
        shared.say("Not available, because lives are matched one by one, without joint scores."
                   if way == "life" else "None: no feature of this run is several in another one "
                   "beyond chance, and none of another is several here.")
        return
    _draw_parts(view, way, splits, names, "one here", "several there",
                "None of this run’s features splits.")
    _draw_parts(view, way, merges, names, "one there", "several here",
                "None of this run’s features merge.")


def _draw_parts(
    view: shared.Here, way: str, found: Sequence[SplitInfo], names: Names,
    one: str, several: str, none: str,
) -> None:
    if not found:
        shared.say(none)
        return
    rows = []
    for split in found:
        (text,) = answers.labels(view.store.digest, split.run, (split.feature,))
        parts = answers.labels(view.store.digest, split.other, split.parts[:LINKED])
        here = split.run == view.run
        links = " + ".join(
            markup.link(f"#{part}", beside(view, split.feature, split.other, part, way) if here
                        else beside(view, part, split.run, split.feature, way),
                        f"{score:.2f} alone")
            for part, score in list(zip(split.parts, split.scores, strict=True))[:LINKED])
        if len(split.parts) > LINKED:
            links += f" + {len(split.parts) - LINKED} more"
        where = _named(names, split.other if here else split.run)
        told = " · ".join(shared.clip(label, 22) for label in parts)
        rows.append(
            f'<tr><td class="num">#{split.feature}</td>'
            f'<td style="{LINE}">{markup.escape(text)}</td>'
            f'<td style="{LINE}">{markup.escape(where)}</td>'
            f'<td class="num" style="{LINE}">{links}</td>'
            f'<td style="{LINE}">{markup.escape(told)}</td>'
            f'<td class="num r">{number(max(split.scores), 2)}</td>'
            f'<td class="num r">{number(split.joint, 2)}</td>'
            f'<td class="num r">{share(split.percentile, 1)}</td></tr>')
    st.html(_table((one, "its strongest firing tokens", "other run", several,
                    "their strongest firing tokens", "best alone|", "together|", "percentile|"),
                   rows, WIDTHS))


def _named(names: Names, run: str) -> str:
    return names.get(run, run)

def splits_table(view: shared.Here, way: str) -> pd.DataFrame:
    """All splits and merges, a line each."""
    (_, splits), (_, merges) = answers.splits(view.store.digest, view.run, way, 10**6)
    return pd.DataFrame([
        {"run": s.run, "feature": s.feature, "other": s.other,
         "parts": "+".join(map(str, s.parts)), "best alone": max(s.scores), "together": s.joint,
         "percentile": s.percentile} for s in (*splits, *merges)
    ], columns=["run", "feature", "other", "parts", "best alone", "together", "percentile"])


# --- what was not matched -------------------------------------------------------------------------


def draw_not_matched(view: shared.Here, way: str) -> None:
    """The runs of the store that this one was not matched with: those that could be, with the
    command, and the others with the reason."""
    found = answers.not_matched(view.store.digest, view.run, way)
    could = [one.run for one in found if not one.reason]
    reasons: dict[str, list[str]] = {}
    for one in found:
        if one.reason:
            reasons.setdefault(one.reason, []).append(one.run)
    if could:
        commands = "; ".join(f"`readout-atlas match {view.run} {run}`" for run in could[:COMMANDS])
        more = f"; and {len(could) - COMMANDS} more" if len(could) > COMMANDS else ""
        shared.say(f"{len(could)} run{'s' * (len(could) > 1)} could be matched in this way and "
                   f"{'were' if len(could) > 1 else 'was'} not: {commands}{more}.")
    if reasons:
        told = "; ".join(f"{_some(runs)}: {reason}" for reason, runs in reasons.items())
        shared.say(f"Not compared in this way: {told}.")


def _some(runs: Sequence[str]) -> str:
    named = ", ".join(runs[:3])
    return named if len(runs) <= 3 else f"{named} and {len(runs) - 3} more"
