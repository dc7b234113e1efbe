"""The way from a feature to the next one of the list it was opened from."""

import streamlit as st

from atlas import browsing, markup
from atlas.records import FeatureCard
from pages import answers, feature_copy, feature_over, keeping, shared


def draw(view: shared.Here, card: FeatureCard, over: tuple[int, ...]) -> None:
    """The one before and after in the list, where this one stands, and what can be taken away."""
    asked = {n: v for n, v in st.query_params.to_dict().items() if n in shared.LIST}
    wish, wrong = browsing.read_wish(asked, view.card)
    for said in wrong:
        shared.say(said, "bad")
    found, order = answers.place(view.store.digest, view.run, view.k, wish, card.info.feature)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="moves"):
        _step_button("previous", "feature_before", found.before, "p")
        st.html(markup.wrap(
            f'<span class="dim">{markup.escape(where(view, order, found, bool(asked)))}</span>'
        ), width="content")
        _step_button("next", "feature_after", found.after, "n")
        if asked:
            st.button(
                "Back to the list", key="feature_list", type="tertiary", on_click=shared.go,
                args=("browse", view), kwargs={**dict.fromkeys(shared.LIST), **asked},
            )
            st.button(
                "Leave it", key="feature_leave", type="tertiary", on_click=shared.address,
                kwargs=dict.fromkeys(shared.LIST),
                help="Previous and next go through all features again.",
            )
        st.space("stretch")
        if len(card.steps) > 1:
            feature_over.draw(card, over)
        keeping.keep_control(view, feature=card.info.feature)
        feature_copy.draw(view, card)


def _step_button(label: str, key: str, feature: int | None, shortcut: str) -> None:
    st.button(
        label, key=key, on_click=shared.address, kwargs={"feature": feature},
        disabled=feature is None, type="tertiary", shortcut=shortcut,
    )


def where(
    view: shared.Here, order: browsing.Order, found: browsing.Place, listed: bool
) -> str:
    """Where the feature stands, in words."""
    if found.position is None:
        return f"not among the {found.total:,} {'of this list' if listed else 'features'}"
    by = order.measure.words.replace("at the step", f"at {view.when}")
    return f"{found.position:,} of {found.total:,}{' in this list' if listed else ''}, by {by}"
