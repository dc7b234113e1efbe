"""What a feature is like: its neighbours at the chosen step, its counterparts in other runs."""

import pandas as pd
import streamlit as st

from atlas import strips
from atlas.chance import chance_cosine
from atlas.matches import MatchInfo
from atlas.records import FeatureCard, NeighbourList, RunCard
from atlas.schema import DUPLICATE
from pages import answers, shared

ROWS = 10


def draw_neighbours(view: shared.Here, card: FeatureCard) -> str:
    """Features with a similar direction; a click opens one. The reason if it is not the step's."""
    last = view.k == len(card.steps) - 1
    near = card.neighbours
    reason = ""
    if not last:
        now = answers.neighbours_at(view.store.digest, view.run, card.info.feature, view.k)
        if len(now.features):
            near = now
        elif len(card.promoted[view.k].tokens):
            reason = answers.not_derived(view.run)
    when = f"at {view.when}" if not reason else "of the last directions"
    chance = chance_cosine(max(1, view.card.d_sae - 1), view.card.d_model)
    shared.caption(
        "Neighbours",
        f"{when}, by cosine. The nearest of a random direction would be at {chance:.2f}.",
        tail="Those of this step are not available: the store was built without them."
        if reason else "",
    )
    if not len(near.features) or (not last and not len(card.promoted[view.k].tokens)):
        shared.say("Not available, because its direction has no length there, so it has no angle.")
        return reason
    draw_table(near, card.info.feature)
    return reason


def draw_table(near: NeighbourList, feature: int) -> None:
    """The neighbours as a table."""
    frame = pd.DataFrame(
        {
            "feature": near.features[:ROWS],
            "cosine": near.cosines[:ROWS].astype(float),
            "tokens": [shared.left_to_right(text) for text in near.labels[:ROWS]],
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
        height=len(frame) * 27 + 38,
        on_select=opened,
        selection_mode="single-cell",
        column_config={
            "feature": c.NumberColumn("#", format="%d", width=52),
            "cosine": c.ProgressColumn(
                "cosine", format="%.2f", min_value=0.0, max_value=1.0, width=100, color="primary",
                help=f"From {DUPLICATE} on two live features count as duplicates.",
            ),
            "tokens": c.TextColumn("strongest firing tokens", width=240),
        },
        alt=f"neighbours of feature {feature}",
    )


def draw_matches(view: shared.Here, card: FeatureCard) -> str:
    """Its counterparts in other runs; the reason if there are none."""
    shared.caption(
        "In other runs:",
        "the feature whose directions over the whole training are most similar, beside what the "
        "same dictionary turned at random has to offer.",
    )
    found = answers.matches(view.store.digest, view.run, card.info.feature)
    if not found:
        reason = (
            "no other run of this store has been matched with it; `readout-atlas match RUN RUN` "
            "does it" if not answers.matched_runs(view.store.digest, view.run)
            else "this feature is dead or its direction has no length"
        )
        shared.say(f"Not available, because {reason}.")
        return reason
    cards = {run.run: run for run in view.store.runs()}
    st.html(strips.counterparts([_counterpart(view, match, cards) for match in found]))
    return ""


def _counterpart(
    view: shared.Here, match: MatchInfo, cards: dict[str, RunCard]
) -> strips.Counterpart:
    """A match as it is listed, with the way to the partner at the same step."""
    other = cards.get(match.other)
    steps = other.steps if other is not None else (view.step,)
    href = shared.href(
        "feature", view, run=match.other, feature=match.partner,
        step=view.step if view.step in steps else steps[-1],
    )
    return strips.Counterpart(
        f"seed {other.seed}" if other is not None else match.other, match.partner, match.label,
        match.cosine, match.margin, match.percentile, match.reciprocal, href, match.other,
    )
