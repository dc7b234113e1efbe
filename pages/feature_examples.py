"""Where the model's own state points along a feature's direction, in the evaluation text."""

import streamlit as st

from atlas import excerpts
from atlas.records import FeatureCard
from pages import answers, shared


def draw(view: shared.Here, card: FeatureCard) -> str:
    """The strongest places of the text beside their nulls; the reason if there is none."""
    found = answers.examples(view.store.digest, view.run, card.info.feature)
    start = shared.href("token", view, token="")
    if found.reason is not None:
        shared.caption("Examples in text.")
        shared.say(f"None, because {found.reason}.")
        return found.reason
    st.html(excerpts.excerpts(found, lambda token: f"{start}{token}"))
    return ""
