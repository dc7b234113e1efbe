"""Seeds & scales: what returns in another seed, what comes earlier at another scale?"""

from importlib import import_module

import streamlit as st

from pages import shared

VIEWS = {
    "seeds": ("seeds", "pages.comparison_seeds"),
    "scales": ("scales", "pages.comparison_scales"),
    "instruments": ("instruments", "pages.comparison_instruments"),
}
"""Value of `view` in the address, words for it, and the file that draws it."""
FIRST = "seeds"


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
    shared.settle(view, "comparison", view=None if chosen == FIRST else chosen)
    st.session_state["comparison_view"] = chosen
    st.segmented_control(
        "view", list(VIEWS), format_func=lambda name: VIEWS[name][0], key="comparison_view",
        required=True, label_visibility="collapsed",
        on_change=shared.writes(
            "view", "comparison_view", lambda value: None if value == FIRST else value
        ),
    )
    import_module(VIEWS[chosen][1]).draw(view)


main()
