"""What the Token page reads from the matrices only when the address asks for it."""

import streamlit as st

from pages import shared

DEAR = {"parts": "what each feature supplies of the row", "near": "the nearest rows"}
"""Parameters of the address, and what each asks for; `yes` is the only value."""


def read(name: str) -> bool:
    """Whether the address asks for it."""
    return st.query_params.get(name) == "yes"


def kept() -> dict[str, str]:
    """What the address asks for, for links to other tokens."""
    return {name: "yes" for name in DEAR if read(name)}


def check() -> None:
    """Say which values are not valid."""
    for name, what in DEAR.items():
        asked = st.query_params.get(name)
        if asked not in (None, "yes"):
            shared.say(
                f"“{shared.clip(asked)}” says nothing about {what}; {name}=yes reads them.", "bad"
            )


def toggle(name: str, words: str, meaning: str) -> None:
    """A switch that writes the address."""
    key = f"token_{name}"
    st.session_state[key] = read(name)
    st.toggle(
        words, key=key, help=meaning,
        on_change=shared.writes(name, key, lambda on: "yes" if on else None),
    )
