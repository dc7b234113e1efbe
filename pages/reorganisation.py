"""Births & reorganisation: when does the population change, and is it more than chance?"""

from importlib import import_module

import streamlit as st

from pages import shared

VIEWS = {
    "population": ("population", "pages.population"),
    "window": ("reorganisation window", "pages.windows"),
    "controls": ("controls", "pages.controls"),
    "words": ("reading and writing", "pages.read_write"),
}
"""Value of `view` in the address, words for it, and the file that draws it."""
FIRST = "population"


def read_view() -> str:
    """Which view the address asks for."""
    asked = st.query_params.get("view", FIRST)
    if asked in VIEWS:
        return asked
    shared.say(
        f"“{shared.clip(asked)}” is no view of this page; there are {', '.join(VIEWS)}.", "bad"
    )
    return FIRST


def main() -> None:
    """Draw the page."""
    view = shared.here()
    chosen = read_view()
    shared.settle(view, "reorganisation", view=None if chosen == FIRST else chosen)
    st.session_state["reorganisation_view"] = chosen
    st.segmented_control(
        "view", list(VIEWS), format_func=lambda name: VIEWS[name][0], key="reorganisation_view",
        required=True, label_visibility="collapsed",
        on_change=shared.writes(
            "view", "reorganisation_view", lambda value: None if value == FIRST else value
        ),
    )
    import_module(VIEWS[chosen][1]).draw(view)


main()
