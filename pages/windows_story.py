"""The run's own story in five sentences, each with its null and its link."""

import streamlit as st

from atlas import window_markup
from atlas.window_markup import Told
from pages import answers_windows as answers
from pages import shared


def draw(view: shared.Here) -> None:
    """The five sentences."""
    shared.caption(
        "The run in five sentences.",
        "Each is filled with the store’s numbers; whether it is told as more than chance hangs on "
        "p ≤ 0.05 alone.",
    )
    st.html(window_markup.story([
        Told(one.text, one.null, one.words,
             shared.href(one.page, view, **one.parameters) if one.page else "")
        for one in answers.story(view.store.digest, view.run)
    ]))
