"""The two features themselves: their lives on one axis, their cards, their tokens."""

from functools import partial

import pandas as pd
import streamlit as st

from atlas import (
    heat,
    markup,
    pair_recipe,
    paired_courses,
    paired_figures,
    paired_markup,
    stability_markup,
)
from atlas.chance import chance_cosine
from atlas.errors import AtlasError
from atlas.markup import HeatCell, HeatColumn
from atlas.paired import Evidence, Pair
from atlas.paired_courses import Cosines
from atlas.paired_figures import Course
from atlas.paired_markup import Face, Listed
from atlas.rankings import RANKS
from atlas.records import FeatureCard, RunCard, TokenList
from pages import answers, answers_pair, exporting, feature_head, shared

COLUMNS = 5
"""Snapshots of the tokens through training."""
SHOWN = 6
"""Tokens of each of them."""


def draw(
    view: shared.Here, other: RunCard, feature: int, pair: Pair | None,
    found: tuple[Evidence, ...], axis: str, names: tuple[str, str],
) -> None:
    """Draw both; the left one alone where there is no second."""
    digest = view.store.digest
    left = answers.feature_card(digest, view.run, feature)
    if pair is None:
        st.html(paired_markup.faces(_face(view, view.card, left), None))
        return
    right = answers.feature_card(digest, pair.other, pair.there)
    words = answers_pair.other_words(digest, view.run, other.run)
    shared_tokens = {} if words else paired_courses.tokens_shared(left, right)
    course = _cosines(view, pair)
    _draw_lives(view, (Course(names[0], view.card, left), Course(names[1], other, right)), course,
                shared_tokens, axis)
    shared.caption("The two cards.", "A number opens the feature’s own page.")
    st.html(paired_markup.faces(_face(view, view.card, left), _face(view, other, right)))
    _draw_tokens(view, other, left, right, found, words)
    _draw_through(view, other, left, right, bool(words))
    frame = partial(paired_courses.courses_frame, left, right, course, shared_tokens)
    exporting.take_away(
        view, pair_recipe.python_of(pair.run, pair.feature, pair.other, pair.there),
        {"evidence": partial(paired_markup.evidence_frame, found, pair),
         "courses": frame, "tokens": partial(_tokens_frame, left, right)}, "pair",
    )


def _cosines(view: shared.Here, pair: Pair) -> Cosines:
    try:
        return answers_pair.cosines(view.store.digest, pair)
    except AtlasError as error:
        return Cosines(why=str(error))


# --- lives ----------------------------------------------------------------------------------------


def _draw_lives(
    view: shared.Here, sides: tuple[Course, Course], found: Cosines,
    shared_tokens: dict[int, int | None], axis: str,
) -> None:
    left, right = sides
    figure = paired_figures.lives_figure(
        left, right, found, shared_tokens, axis, view.step, view.palette)
    shared.caption(
        "Their lives, and since when they are alike.",
        f"{paired_courses.told(found)} Dashed, the births. Hollow: one of the two fires on nothing "
        "there, so that its direction is noise. Two random lists of promoted tokens share none."
        .strip() if figure else "",
    )
    flat = [side for side in sides if not side.has_life]
    if flat:
        shared.say(
            f"{' and '.join(side.name for side in flat)} {'have' if flat[1:] else 'has'} no life "
            "to draw, because a run of one snapshot has none."
            if all(len(side.card.steps) < 2 for side in flat) else
            f"{' and '.join(side.name for side in flat)} {'have' if flat[1:] else 'has'} no life "
            "to draw, because the direction has no length.")
    if found.why:
        shared.say(f"The cosine of the two directions is not available, because {found.why}.")
    elif len(found.steps) == 1:
        shared.say(f"The two runs share one snapshot, step {found.steps[0]:,}: the cosine there is "
                   f"{markup.number(float(found.values[0]), 2)}, where two random directions stay "
                   f"within ±{markup.number(found.chance, 2)} in 19 of 20 cases.")
    if not figure:
        return
    exporting.chart(
        view, figure, "pair_lives",
        f"norms of {left.name} and {right.name} by step, the cosine of their directions and the "
        "promoted tokens that both have",
        partial(paired_courses.courses_frame, left.card, right.card, found, shared_tokens),
        note=f"{right.run.run} {right.run.hash[: shared.HASH]} · #{left.card.info.feature} and "
             f"#{right.card.info.feature}",
    )


# --- cards ----------------------------------------------------------------------------------------


def _face(view: shared.Here, run: RunCard, card: FeatureCard) -> Face:
    info = card.info
    kind = (f"{info.kind}, {markup.share(info.kind_share, 0)}, {info.kind_enrichment:.0f}× chance"
            if info.legible and info.kind else
            "no single kind passes the test of legibility" if info.alive else
            "dead: it fires on at most one in a million (row, snapshot) pairs")
    return Face(
        info.feature, run.run, _href(view, run, "feature", feature=info.feature), info.label, kind,
        [(fact.name, fact.value) for fact in feature_head.facts(view, card)],
        feature_head.labels(info),
        stability_markup.badge(answers.stability(view.store.digest, run.run, info.feature)),
    )


def _href(view: shared.Here, run: RunCard, page: str, **parameters: object) -> str:
    """A page of one of the two runs, at the step of the view where it has it."""
    step = view.step if view.step in run.steps else run.steps[-1]
    return shared.href(page, view, run=run.run, step=step, **parameters)


# --- tokens ---------------------------------------------------------------------------------------


def _draw_tokens(
    view: shared.Here, other: RunCard, left: FeatureCard, right: FeatureCard,
    found: tuple[Evidence, ...], words: str,
) -> None:
    """The strongest firing tokens and the promoted ones at the end, what both have in the accent.
    """
    lists = [[_first(card.firing), _first(card.promoted[-1])] for card in (left, right)]
    if words:
        shared.caption("Their tokens.")
        shared.say(f"Tokens are not compared, because {words}.")
    else:
        rows = len(view.store.token_texts(view.card.model))
        told = [
            paired_markup.shared_words(
                len(_both(mine, theirs)), (len(mine.tokens), len(theirs.tokens)), rows, what)
            for mine, theirs, what in zip(*lists, ("strongest firing tokens", "promoted tokens"),
                                          strict=True)
        ]
        tokens = next((one for one in found if one.way == "tokens"), None)
        over = "" if tokens is None or tokens.why else (
            f" Over all tokens they fire on, weighted Jaccard {markup.number(tokens.score, 2)}, "
            "with its null above.")
        shared.caption("Their tokens.", f"{'; '.join(told)}.{over}", "In vermilion what both have.")
    marked = [set() if words else _both(*both) for both in zip(*lists, strict=True)]
    cells = [
        [_listed(view, run, tokens, both) for tokens, both in zip(two, marked, strict=True)]
        for run, two in zip((view.card, other), lists, strict=True)
    ]
    st.html(paired_markup.token_lists(*cells, (
        "firing, by activation", "promoted at the end, by cosine")))


def _first(found: TokenList) -> TokenList:
    return TokenList(found.tokens[:RANKS], found.values[:RANKS], found.texts[:RANKS])


def _both(one: TokenList, other: TokenList) -> set[int]:
    return set(one.tokens.tolist()) & set(other.tokens.tolist())


def _listed(view: shared.Here, run: RunCard, found: TokenList, both: set[int]) -> list[Listed]:
    start = _href(view, run, "token", token="")
    return [
        Listed(text, value, token in both, f"{start}{token}")
        for token, value, text in zip(found.tokens.tolist(), found.values.tolist(), found.texts,
                                      strict=True)
    ]


def _draw_through(
    view: shared.Here, other: RunCard, left: FeatureCard, right: FeatureCard, apart: bool
) -> None:
    """Promoted tokens at a few snapshots, beside each other."""
    shared.caption(
        "Promoted tokens through training.",
        f"The first {SHOWN} at up to {COLUMNS} snapshots.",
        "" if apart else "In vermilion those that the other promotes at the same step, among its "
        f"{RANKS} first; below, how many of the {RANKS} both have.",
        "In italics: it fires on nothing there, so its direction is noise.",
    )
    for column, run, card, beside in zip(
        st.columns(2, gap="large"), (view.card, other), (left, right), (right, left), strict=True
    ):
        with column:
            st.html(markup.heat_table(_columns(view, run, card, None if apart else beside)))


def _columns(
    view: shared.Here, run: RunCard, card: FeatureCard, beside: FeatureCard | None
) -> list[HeatColumn]:
    chance = chance_cosine(len(view.store.token_texts(run.model)), run.d_model)
    start = _href(view, run, "token", token="")
    marked = [card.steps.index(view.step)] if view.step in card.steps else []
    columns = []
    for k in heat.chosen_snapshots(len(card.steps), marked, COLUMNS):
        step, found = card.steps[k], card.promoted[k]
        there: set[int] = set()
        foot = ""
        if beside is not None:
            foot = "not there"
            if step in beside.steps:
                there = set(beside.promoted[beside.steps.index(step)].tokens[:RANKS].tolist())
                foot = f"{len(there & set(found.tokens[:RANKS].tolist()))} of {RANKS}"
        cells = tuple(
            HeatCell(found.texts[r], heat.ink(found.values[r], chance),
                     int(found.tokens[r]) in there, f"{start}{found.tokens[r]}",
                     f"{r + 1}: cosine {found.values[r]:.2f}")
            for r in range(min(SHOWN, len(found.tokens)))
        )
        columns.append(HeatColumn(step, cells, step == view.step,
                                  step == card.info.birth_floor_step, not card.rate[k] > 0, foot))
    return columns


def _tokens_frame(left: FeatureCard, right: FeatureCard) -> pd.DataFrame:
    """side, feature, list, rank, token, text, value, and whether the other's list has it too."""
    rows = []
    for name, pick in (("firing", lambda card: card.firing),
                       ("promoted", lambda card: card.promoted[-1])):
        lists = [_first(pick(card)) for card in (left, right)]
        both = _both(*lists)
        for side, card, found in zip(("left", "right"), (left, right), lists, strict=True):
            rows += [
                (side, card.run, card.info.feature, name, rank + 1, token, text, value,
                 token in both)
                for rank, (token, text, value) in enumerate(zip(
                    found.tokens.tolist(), found.texts, found.values.tolist(), strict=True))
            ]
    return pd.DataFrame(rows, columns=["side", "run", "feature", "list", "rank", "token", "text",
                                       "value", "in both"])
