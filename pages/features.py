"""Feature: what is this feature's life, and how far can it be trusted?"""

import streamlit as st

from atlas.errors import NotFound
from atlas.records import FeatureCard
from atlas.wishes import Wish
from pages import (
    answers,
    feature_examples,
    feature_head,
    feature_life,
    feature_moves,
    feature_near,
    feature_over,
    feature_tokens,
    shared,
    trust,
)


def read_feature(view: shared.Here) -> int | None:
    """The feature of the address, or of the last visit, or the strongest legible one."""
    asked = st.query_params.get("feature")
    if asked is None:
        last = st.session_state.get("last_feature", {})
        if last.get("run") == view.run:
            asked = last.get("feature")
    if asked is None:
        for wish in (Wish(legible=True, sort="contribution"), Wish(sort="contribution")):
            found = answers.page(view.store.digest, view.run, view.k, wish, 1, 0, ())
            if found.total:
                return int(found.rows["feature"].iloc[0])
        return None
    number = shared.whole(asked)
    if number is None:
        shared.say(
            f"“{shared.clip(asked)}” is no feature. {view.run} has the features 0 to "
            f"{view.card.d_sae - 1:,}.",
            "bad",
        )
        offer_strongest(view)
    return number


def offer_strongest(view: shared.Here) -> None:
    """The way on from a feature that there is not."""
    st.button(
        "Open the strongest feature",
        key="feature_reset",
        on_click=lambda: shared.address(feature=None, run=view.run),
    )
    st.session_state.pop("last_feature", None)


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
        offer_strongest(view)
        st.stop()
    shared.settle(view, "feature", feature=feature)
    over = feature_over.read(view, feature)
    feature_head.draw(view, card)
    feature_moves.draw(view, card, over)
    if len(card.steps) > 1:
        missing = draw_through_training(view, card, over)
    else:
        missing = draw_once(view, card)
    st.space("small")
    trust.draw(view, card, missing)


Missing = list[tuple[str, str]]
"""Sections of the page that have nothing to show, with the reason."""


def draw_through_training(
    view: shared.Here, card: FeatureCard, over: tuple[int, ...]
) -> Missing:
    """The page of a feature with a life."""
    missing = []
    left, right = st.columns([1.9, 1], gap="large")
    with left:
        feature_life.draw(view, card, over)
    with right:
        missing.append(("neighbours at the step", feature_near.draw_neighbours(view, card)))
        missing.append(("directions", feature_life.draw_matrix(view, card)))
    feature_tokens.draw_through_training(view, card)
    st.space("small")
    return missing + draw_lists(view, card)


def draw_once(view: shared.Here, card: FeatureCard) -> Missing:
    """The page of a feature of one snapshot: its tokens stand where a life would be drawn."""
    missing = [("life", "one snapshot has no life to draw")]
    one, two, three = st.columns([1, 1, 1.1], gap="large")
    with one:
        firing = feature_tokens.draw_firing(view, card, 2 * feature_tokens.FIRING)
        missing.append(("activations", firing))
    with two:
        feature_tokens.draw_promoted(view, card)
        feature_tokens.draw_suppressed(view, card)
    with three:
        feature_near.draw_neighbours(view, card)
        missing.append(("other runs", feature_near.draw_matches(view, card)))
    st.space("small")
    missing.append(("examples", feature_examples.draw(view, card)))
    return missing


def draw_lists(view: shared.Here, card: FeatureCard) -> Missing:
    """The tokens at the step, then the feature in text and in other runs."""
    missing = []
    one, two, three = st.columns([1, 1, 1.1], gap="large")
    with one:
        missing.append(("activations", feature_tokens.draw_firing(view, card)))
    with two:
        feature_tokens.draw_promoted(view, card)
    with three:
        feature_tokens.draw_suppressed(view, card)
    st.space("small")
    left, right = st.columns([1.5, 1], gap="large")
    with left:
        missing.append(("examples", feature_examples.draw(view, card)))
    with right:
        missing.append(("other runs", feature_near.draw_matches(view, card)))
    return missing


main()
