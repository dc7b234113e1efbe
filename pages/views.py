"""The views of a page: which one the address asks for, and the choice between them."""

import streamlit as st

from pages import shared

Views = dict[str, tuple[str, str]]
"""Value of `view` in the address, words for it, and the file that draws it; the first is meant by
an address without one."""


def read(views: Views) -> str:
    """Which view the address asks for; one that there is not is said."""
    first = next(iter(views))
    asked = st.query_params.get("view", first)
    if asked in views:
        return asked
    shared.say(
        f"“{shared.clip(asked)}” is no view of this page; there are {', '.join(views)}.", "bad"
    )
    return first


def written(views: Views, chosen: str) -> str | None:
    """The view as an address writes it: None for the first."""
    return None if chosen == next(iter(views)) else chosen


def draw(views: Views, chosen: str, page: str) -> None:
    """The choice; its key is that of the page."""
    key = f"{page}_view"
    st.session_state[key] = chosen
    st.segmented_control(
        "view", list(views), format_func=lambda name: views[name][0], key=key, required=True,
        label_visibility="collapsed",
        on_change=shared.writes("view", key, lambda value: written(views, value)),
    )
