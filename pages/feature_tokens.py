"""The tokens of a feature: which its direction promotes through training, which it fires on."""

import pandas as pd
import streamlit as st

from atlas import flow, heat, markup, rankings, strips
from atlas.chance import chance_cosine
from atlas.markup import Bar, HeatCell, HeatColumn
from atlas.records import FeatureCard, FeatureInfo, RunCard, TokenList
from pages import answers, shared

# Snapshots of the heat table; more would not fit their tokens at 1280 pixels.
COLUMNS = 15
RANKS = rankings.RANKS
FIRING = 14
WAYS = {"flow": "as strands", "table": "as a table"}
"""How the tokens through training are shown: values of `tokens` in the address."""


# --- through training -----------------------------------------------------------------------


def draw_through_training(view: shared.Here, card: FeatureCard) -> None:
    """The promoted tokens at all snapshots: as strands, or as a table with their cosines."""
    way = read_way()
    if not any(len(found.tokens) for found in card.promoted):
        shared.caption("Top tokens through training.")
        shared.say("Not available, because the direction has no length at any snapshot.")
        return
    caption = flow_caption(view, card) if way == "flow" else table_caption(view)
    with st.container(
        horizontal=True, vertical_alignment="bottom", wrap=False, key="tokens_head"
    ):
        st.html(markup.wrap(caption), width="stretch")
        st.session_state["feature_tokens"] = way
        st.segmented_control(
            "how the tokens through training are shown", list(WAYS), format_func=WAYS.get,
            key="feature_tokens", required=True, label_visibility="collapsed",
            on_change=shared.writes(
                "tokens", "feature_tokens", lambda value: None if value == "flow" else value
            ),
        )
    if way == "flow":
        draw_flow(view, card)
    else:
        st.html(markup.heat_table(heat_columns(view, card)))


def read_way() -> str:
    """How the address wants the tokens through training."""
    asked = st.query_params.get("tokens", "flow")
    if asked in WAYS:
        return asked
    shared.say(
        f"Tokens cannot be shown as “{shared.clip(asked)}”; tokens=table shows them as a table.",
        "bad",
    )
    return "flow"


def flow_caption(view: shared.Here, card: FeatureCard) -> str:
    """What the strands are."""
    null = answers.promoted_null(view.store.digest, view.run)
    beside = "" if null is None else (
        " A hollow dot: 1 in 20 random directions has as high a cosine at that rank."
    )
    silent = " Shaded: it fires on nothing there, so its direction is noise." if any(
        not rate > 0 for rate in card.rate
    ) else ""
    return markup.caption(
        "Top tokens through training:",
        "the twelve rows that point most along the direction, best on top, named where they enter "
        "or leave.",
        "In vermilion those in the last list.",
        f"{beside}{silent}".strip(),
    )


def draw_flow(view: shared.Here, card: FeatureCard) -> None:
    """Strands from snapshot to snapshot, and what is kept beside what chance keeps."""
    null = answers.promoted_null(view.store.digest, view.run)
    lists = [
        rankings.Ranking(f.tokens.tolist(), f.texts, f.values.tolist()) for f in card.promoted
    ]

    def opened() -> None:
        k, rank = flow.place_of(st.session_state.get("feature_flow")) or (-1, 0)
        if 0 <= k < len(card.steps) and rank < len(card.promoted[k].tokens):
            shared.go("token", view, token=int(card.promoted[k].tokens[rank]))

    shared.chart(
        flow.flow_figure(
            card.steps, lists, view.step, view.palette, null,
            [not rate > 0 for rate in card.rate],
        ),
        "feature_flow",
        f"ranks of the tokens that feature {card.info.feature} promotes, by snapshot",
        table=lambda: pd.DataFrame(
            {f"{step:,}": pd.Series(list(found.texts[:RANKS]))
             for step, found in zip(card.steps, card.promoted, strict=True)}
        ),
        on_select=opened,
        selection_mode="points",
    )


def table_caption(view: shared.Here) -> str:
    """What the table is."""
    return markup.caption(
        "Top tokens through training.",
        "Columns are steps, rows are ranks by cosine with the direction; ink begins at "
        f"{row_chance(view):.2f}, the best token of a random direction if rows pointed anywhere. "
        f"{reached_at_random(view)}",
        "Vermilion stays until the last snapshot.",
        "In italics: the feature fires on nothing there, so its direction is noise.",
    )


def chosen_columns(card: FeatureCard, k: int) -> list[int]:
    """Snapshots to show: first, last, birth, peak and the chosen one, the rest between them."""
    marks = (card.info.birth_floor_step, card.info.peak_step)
    marked = [k, *(card.steps.index(step) for step in marks if step in card.steps)]
    return heat.chosen_snapshots(len(card.steps), marked, COLUMNS)


def heat_columns(view: shared.Here, card: FeatureCard) -> list[HeatColumn]:
    """Promoted tokens by snapshot, inked above what chance would give."""
    chance = row_chance(view)
    final = set(card.promoted[-1].tokens[:RANKS].tolist())
    start = shared.href("token", view, token="")
    columns = []
    for i in chosen_columns(card, view.k):
        found = card.promoted[i]
        step = card.steps[i]
        cells = tuple(
            HeatCell(
                text=found.texts[r],
                ink=heat.ink(found.values[r], chance),
                stays=int(found.tokens[r]) in final,
                href=f"{start}{found.tokens[r]}",
                title=f"{r + 1}: cosine {found.values[r]:.2f}",
            )
            for r in range(min(RANKS, len(found.tokens)))
        )
        columns.append(
            HeatColumn(
                step, cells, i == view.k, step == card.info.birth_floor_step, not card.rate[i] > 0
            )
        )
    return columns


def row_chance(view: shared.Here) -> float:
    """Cosine of the best row with a random direction, if rows pointed anywhere."""
    return chance_cosine(len(view.store.token_texts(view.card.model)), view.card.d_model)


def reached_at_random(view: shared.Here) -> str:
    """What random directions reach in these very rows at the chosen step; '' if not computed."""
    null = answers.promoted_null(view.store.digest, view.run)
    if null is None:
        return ""
    low, middle, high = null.best[view.k]
    return (
        f"In the rows as they are it reaches {middle:.2f} at {view.when} (5 to 95 %: {low:.2f} to "
        f"{high:.2f})."
    )


# --- at the chosen step ---------------------------------------------------------------------


def _bars(
    view: shared.Here, found: TokenList, most: int | None = None, against: bool = False,
    null: list[float] | None = None,
) -> str:
    """The first tokens of a list as bars, each a link to its page."""
    start = shared.href("token", view, token="")
    return markup.bars([
        Bar(text, float(value), href=f"{start}{token}", title=text,
            null=null[rank] if null is not None and rank < len(null) else None)
        for rank, (token, value, text) in enumerate(zip(
            found.tokens[:most], found.values[:most], found.texts[:most], strict=True
        ))
    ], against=against)


def draw_promoted(view: shared.Here, card: FeatureCard) -> None:
    """Rows that point along the direction at the chosen step, each beside its null."""
    shared.caption(
        "Promoted tokens",
        f"at {view.when}, by cosine with the direction. {what_chance_reaches(view)}",
    )
    _draw_list(view, card.promoted[view.k])


def draw_suppressed(view: shared.Here, card: FeatureCard) -> None:
    """Rows that point against the direction at the chosen step, each beside its null."""
    shared.caption(
        "Suppressed tokens",
        f"at {view.when}: rows that point against the direction. {what_chance_reaches(view)}",
    )
    _draw_list(view, card.suppressed[view.k], against=True)


def what_chance_reaches(view: shared.Here) -> str:
    """What the ticks are, or the single number there is without them.

    The opposite of a random direction is as random, so both lists have the same ticks.
    """
    if answers.promoted_null(view.store.digest, view.run) is None:
        return (
            f"The best of a random direction would be {row_chance(view):.2f} if rows pointed "
            "anywhere."
        )
    return "A tick: what 1 in 20 random directions reaches at that rank."


def _draw_list(view: shared.Here, found: TokenList, against: bool = False) -> None:
    if not len(found.tokens):
        shared.say("Not available, because the direction has no length at this step.")
        return
    null = answers.promoted_null(view.store.digest, view.run)
    ticks = None if null is None else null.beyond[view.k * RANKS : (view.k + 1) * RANKS]
    st.html(_bars(view, found, RANKS, against, ticks))


def draw_firing(view: shared.Here, card: FeatureCard, most: int = FIRING) -> str:
    """Rows on which it fires most, and how its activations are spread; the reason if none."""
    firing = card.firing
    shared.caption(
        "Firing tokens",
        f"by activation, of {card.info.n_tokens:,} rows on which it fires at some snapshot. Rows "
        "too rare to be trained on are not listed.",
    )
    if not len(firing.tokens):
        shared.say(why_none(view.card, card.info))
        return "" if card.info.n_tokens else "the feature is dead"
    spread = card.activations
    if spread is None:
        st.html(_bars(view, firing, most))
        return f"the spread of its activations: {answers.not_derived(view.run)}"
    least = strips.fires_above(card.info.threshold, float(card.norm[view.k]))
    st.html(
        strips.spread_of(spread.counts.tolist(), spread.edges.tolist(), least)
        + markup.wrap(markup.caption("", counted(spread.total, card.info.n_tokens, view.card)))
        + _bars(view, firing, most)
    )
    return ""


def counted(total: int, n_tokens: int, run: RunCard) -> str:
    """Which rows the columns over the firing tokens count."""
    left = n_tokens - total
    if left <= 0:
        return f"The columns count all {total:,} rows."
    kept = " and whose code was kept" if run.cut else ""
    return (
        f"The columns count {total:,} of these rows: those that the dictionary was fitted to{kept}."
    )


def why_none(run: RunCard, info: FeatureInfo) -> str:
    """Why a feature has no firing tokens to list."""
    if not info.n_tokens:
        return "None: the feature is dead."
    only = "It fires only on rows without a token, or on tokens too rare to have been trained on"
    return f"{only}, or where stronger features fill what is kept of a row." if run.cut \
        else f"{only}."
