"""Feature: what is this feature's life, and how far can it be trusted?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import streamlit as st

from atlas import figures, markup
from atlas.chance import chance_cosine
from atlas.errors import NotFound
from atlas.markup import Bar, Fact, HeatCell, HeatColumn
from atlas.records import FeatureCard, FeatureInfo, Filters, RunCard, TokenList
from pages import answers, shared, trust

# Snapshots of the heat table; more would not fit their tokens at 1280 pixels.
COLUMNS = 15
RANKS = 12
FIRING = 14
SUPPRESSED = 14


def read_feature(view: shared.Here) -> int | None:
    """The feature of the address, or of the last visit, or the strongest legible one."""
    asked = st.query_params.get("feature")
    if asked is None:
        last = st.session_state.get("last_feature", {})
        if last.get("run") == view.run:
            asked = last.get("feature")
    if asked is None:
        for kept in (Filters(legible=True), Filters()):
            _, frame = answers.browse(
                view.store.digest, view.run, "contribution", True, kept, 1, 0
            )
            if len(frame):
                return int(frame["feature"].iloc[0])
        return None
    number = shared.whole(asked)
    if number is None:
        shared.say(
            f"“{shared.clip(asked)}” is no feature. {view.run} has the features 0 to "
            f"{view.card.d_sae - 1:,}.",
            "bad",
        )
        st.session_state.pop("last_feature", None)
    return number


def numbers(values: Sequence[float]) -> list[float | None]:
    """nan as None."""
    return [None if np.isnan(v) else float(v) for v in np.asarray(values, dtype=float)]


def draw_header(view: shared.Here, card: FeatureCard) -> None:
    """Name, kind and strongest tokens; the numbers at the right."""
    info = card.info
    if info.legible and info.kind:
        kind = (
            f"{info.kind}, {markup.share(info.kind_share, 0)}, {info.kind_enrichment:.0f}× chance"
        )
    elif info.alive:
        kind = "no single kind passes the test of legibility"
    else:
        kind = "dead: it fires on at most one in a million (row, snapshot) pairs"
    meanings = answers.comments(view.store.digest).get("feature", {})

    def fact(name: str, value: str, column: str) -> Fact:
        return Fact(name, value, meanings.get(column, ""))

    several = len(card.steps) > 1
    born = "never" if info.birth_floor_step is None else markup.step_name(info.birth_floor_step)
    found = [
        fact("born", born, "birth_floor_step") if several else None,
        fact("peak", markup.step_name(info.peak_step), "peak_step") if several else None,
        fact("final norm", markup.number(info.norm_final, 2), "norm_final") if several else None,
        fact("final rate", markup.share(info.rate_final, 2), "rate_final"),
        fact("turn", markup.number(info.max_rotation, 2), "max_rotation") if several else None,
        fact("contribution", markup.number(info.contribution, 3), "contribution"),
        fact("profile", info.profile or "not available", "profile") if several else None,
    ]
    st.html(
        markup.header(
            "feature", f"{info.feature:,}", info.label, kind, [f for f in found if f is not None]
        )
    )


def draw_moves(view: shared.Here, card: FeatureCard) -> None:
    """The one before and after by contribution, and what can be taken away."""
    feature = card.info.feature
    place, total, before, after = answers.place_in_order(view.store.digest, view.run, feature)

    def open_feature(other: int | None) -> None:
        if other is not None:
            shared.address(feature=other)

    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="moves"):
        st.button(
            "stronger", key="feature_before", on_click=open_feature, args=(before,),
            disabled=before is None, type="tertiary", shortcut="p",
        )
        st.html(markup.wrap(
            f'<span class="dim num">{place:,} of {total:,} by contribution</span>'
        ), width="content")
        st.button(
            "weaker", key="feature_after", on_click=open_feature, args=(after,),
            disabled=after is None, type="tertiary", shortcut="n",
        )
        st.space("stretch")
        with st.popover("Link and code", type="tertiary"):
            st.html(markup.wrap(markup.caption("This view as a link")))
            st.code(shared.full_link(), language=None, wrap_lines=True)
            st.html(markup.wrap(markup.caption("The same in Python")))
            st.code(python_of(view, feature), language="python")


def python_of(view: shared.Here, feature: int) -> str:
    """A few lines that read what the page shows."""
    return (
        "from atlas.store import Store\n\n"
        f"store = Store.open({str(shared.store_from_environment())!r})\n"
        f"card = store.feature({view.run!r}, {feature})\n"
        "print(card.info.label, card.info.birth_step)\n"
        f"print(dict(zip(card.promoted[{view.k}].texts, card.promoted[{view.k}].values)))"
    )


def draw_life(view: shared.Here, card: FeatureCard) -> None:
    """The four measures through training over the population."""
    shared.caption(
        "Life of the feature.",
        "In grey all live features of the run: 5 to 95 %, quartiles, median dotted.",
    )
    p = view.palette
    skeleton = answers.life_skeleton(view.store.digest, view.run, p.is_dark)
    n_rows = len(view.store.token_texts(view.card.model))
    found = figures.Life(
        numbers(card.norm),
        numbers(card.rate),
        [None, *numbers(card.rotation)],
        numbers(card.to_terminal),
        card.info.birth_floor_step,
    )
    shared.chart(
        figures.life(skeleton, card.steps, found, view.step, n_rows, p),
        "feature_life",
        f"norm, rate, rotation and remaining turn of feature {card.info.feature} by step",
    )


def draw_neighbours(view: shared.Here, card: FeatureCard, rows: int = 19) -> None:
    """Features with a similar last direction; a click opens one."""
    near = card.neighbours
    chance = chance_cosine(max(1, view.card.d_sae - 1), view.card.d_model)
    shared.caption(
        "Neighbours",
        f"by cosine of the last directions. A random direction's nearest would be at "
        f"{chance:.2f}.",
    )
    if not len(near.features):
        shared.say("Not available: its last direction has no length, so it has no angle.")
        return
    frame = pd.DataFrame(
        {
            "feature": near.features,
            "cosine": near.cosines.astype(float),
            "tokens": [shared.left_to_right(text) for text in near.labels],
        }
    )
    ids = near.features.tolist()

    def opened() -> None:
        row = shared.picked("feature_neighbours")
        if row is not None:
            shared.address(feature=ids[row])

    c = st.column_config
    st.dataframe(
        frame,
        key="feature_neighbours",
        hide_index=True,
        row_height=27,
        height=min(len(frame), rows) * 27 + 38,
        on_select=opened,
        selection_mode="single-cell",
        column_config={
            "feature": c.NumberColumn("#", format="%d", width=52),
            "cosine": c.ProgressColumn(
                "cosine", format="%.2f", min_value=0.0, max_value=1.0, width=100, color="primary"
            ),
            "tokens": c.TextColumn("strongest firing tokens", width=240),
        },
        alt=f"neighbours of feature {card.info.feature}",
    )


def chosen_columns(card: FeatureCard, k: int, most: int = COLUMNS) -> list[int]:
    """Snapshots to show: first, last, birth, peak and the chosen one, the rest evenly between."""
    steps = list(card.steps)
    last = len(steps) - 1
    if len(steps) <= most:
        return list(range(len(steps)))
    marks = [card.info.birth_floor_step, card.info.peak_step]
    must = {0, last, k, *(steps.index(s) for s in marks if s in steps)}
    for i in np.linspace(0, last, most):
        if len(must) >= most:
            break
        free = [j for j in range(last + 1) if j not in must]
        must.add(min(free, key=lambda j, at=i: abs(j - at)))
    return sorted(must)


def reached_at_random(view: shared.Here) -> str:
    """What random directions reach in these very rows at the chosen step; '' if not computed."""
    null = view.store.null_of(view.run)
    if null is None or not null.quantiles.shape[1]:
        return ""
    low, middle, high = null.quantiles[view.k, 0]
    return (
        f"In the rows as they are it reaches {middle:.2f} at {view.when} (5 to 95 %: {low:.2f} to "
        f"{high:.2f})."
    )


def draw_promoted(view: shared.Here, card: FeatureCard) -> None:
    """Promoted tokens by snapshot, inked above what chance would give."""
    texts = view.store.token_texts(view.card.model)
    chance = chance_cosine(len(texts), view.card.d_model)
    shared.caption(
        "Top tokens through training.",
        "Columns are steps, rows are ranks by cosine with the direction; ink begins at "
        f"{chance:.2f}, the best token of a random direction if rows pointed anywhere. "
        f"{reached_at_random(view)}",
        "Vermilion stays until the last snapshot.",
        "In italics: the feature fires on nothing there, so its direction is noise.",
    )
    final = set(card.promoted[-1].tokens[:RANKS].tolist())
    columns = []
    for i in chosen_columns(card, view.k):
        found = card.promoted[i]
        step = card.steps[i]
        cells = tuple(
            HeatCell(
                text=found.texts[r],
                ink=float(np.clip((found.values[r] - chance) / (1 - chance), 0, 1)),
                stays=int(found.tokens[r]) in final,
                href=shared.href("token", view, token=int(found.tokens[r])),
                title=f"{r + 1}: cosine {found.values[r]:.2f}",
            )
            for r in range(min(RANKS, len(found.tokens)))
        )
        columns.append(
            HeatColumn(
                step, cells, i == view.k, step == card.info.birth_floor_step, not card.rate[i] > 0
            )
        )
    if not any(c.cells for c in columns):
        shared.say("Not available: the direction has no length at any snapshot.")
        return
    st.html(markup.heat_table(columns))


def _draw_tokens(
    view: shared.Here, found: TokenList, most: int | None = None, against: bool = False
) -> None:
    """The first tokens of a list as bars, each a link to its page."""
    st.html(markup.bars([
        Bar(text, float(value), href=shared.href("token", view, token=int(token)),
            title=f"token {token}")
        for token, value, text in zip(
            found.tokens[:most], found.values[:most], found.texts[:most], strict=True
        )
    ], against=against))


def draw_firing(view: shared.Here, card: FeatureCard, most: int = FIRING) -> None:
    """Rows on which it fires most."""
    firing = card.firing
    shared.caption(
        "Firing tokens",
        f"by activation, of {card.info.n_tokens:,} rows on which it fires. Rows too rare to be "
        "trained on are not listed.",
    )
    if not len(firing.tokens):
        shared.say(why_none(view.card, card.info))
        return
    _draw_tokens(view, firing, most)


def why_none(run: RunCard, info: FeatureInfo) -> str:
    """Why a feature has no firing tokens to list."""
    if not info.n_tokens:
        return "None: the feature is dead."
    only = "It fires only on rows without a token, or on tokens too rare to have been trained on"
    return f"{only}, or where stronger features fill what is kept of a row." if run.cut \
        else f"{only}."


def draw_promoted_once(view: shared.Here, card: FeatureCard) -> None:
    """Promoted tokens of a dictionary with one snapshot."""
    found = card.promoted[0]
    chance = chance_cosine(len(view.store.token_texts(view.card.model)), view.card.d_model)
    shared.caption(
        "Promoted tokens",
        f"by cosine with the direction. The best of a random direction would be {chance:.2f} if "
        f"rows pointed anywhere. {reached_at_random(view)}",
    )
    _draw_tokens(view, found)


def draw_suppressed(view: shared.Here, card: FeatureCard) -> None:
    """Rows that point against the direction at the chosen step."""
    found = card.suppressed[view.k]
    texts = view.store.token_texts(view.card.model)
    chance = chance_cosine(len(texts), view.card.d_model)
    shared.caption(
        "Suppressed tokens",
        f"at {view.when}: rows that point against the direction. Chance reaches "
        f"−{chance:.2f}.",
    )
    if not len(found.tokens):
        shared.say("Not available: the direction has no length at this step.")
        return
    _draw_tokens(view, found, SUPPRESSED, against=True)


def main() -> None:
    """Draw the page."""
    view = shared.here()
    feature = read_feature(view)
    if feature is None:
        st.stop()
    try:
        card = answers.feature_card(view.store.digest, view.run, feature)
    except NotFound as error:
        shared.say(shared.sentence(error), "bad")
        st.button(
            "Open the strongest feature",
            key="feature_reset",
            on_click=lambda: shared.address(feature=None, run=view.run),
        )
        st.session_state.pop("last_feature", None)
        st.stop()
    shared.settle(view, "feature", feature=feature)
    draw_header(view, card)
    draw_moves(view, card)
    if len(card.steps) > 1:
        draw_through_training(view, card)
    else:
        draw_once(view, card)


def draw_through_training(view: shared.Here, card: FeatureCard) -> None:
    """The page of a feature with a life."""
    left, right = st.columns([1.9, 1], gap="large")
    with left:
        draw_life(view, card)
    with right:
        draw_neighbours(view, card)
    draw_promoted(view, card)
    st.space("small")
    one, two, three = st.columns([1, 1, 1.25], gap="large")
    with one:
        draw_firing(view, card)
    with two:
        draw_suppressed(view, card)
    with three:
        trust.draw(view, card)


def draw_once(view: shared.Here, card: FeatureCard) -> None:
    """The page of a feature of one snapshot: its tokens stand where a life would be drawn."""
    one, two, three = st.columns([1, 1, 1.1], gap="large")
    with one:
        draw_firing(view, card, len(card.promoted[0].tokens))
    with two:
        draw_promoted_once(view, card)
    with three:
        draw_neighbours(view, card, 15)
    st.space("small")
    one, two = st.columns([1, 2.2], gap="large")
    with one:
        draw_suppressed(view, card)
    with two:
        trust.draw(view, card)


main()
