"""Which runs are compared, and on which axis: the head that the views of several runs share."""

import streamlit as st

from atlas import comparing
from atlas.comparing import Chosen
from pages import bar, shared

AXES = {"step": "log step", "tau": "τ"}


def read(view: shared.Here) -> Chosen:
    """The runs that the address asks for; what is not valid is said."""
    found = comparing.read_runs(st.query_params.get("runs"), view.store.runs(), view.card)
    for problem in found.problems:
        shared.say(problem, "bad")
    return found


def read_axis() -> str:
    """On which axis training is laid out."""
    asked = st.query_params.get("axis") or comparing.AXES[0]
    if asked in comparing.AXES:
        return asked
    shared.say(f"“{shared.clip(asked)}” is no axis of training; there are "
               f"{', '.join(comparing.AXES)}.", "bad")
    return comparing.AXES[0]


def draw(view: shared.Here, found: Chosen) -> None:
    """The choice of the runs."""
    cards = [card for card in view.store.runs() if card.problem is None]
    names = {card.run: bar.run_name(card) for card in cards}
    st.session_state["comparison_runs"] = [card.run for card in found.cards]

    def changed() -> None:
        wanted = ",".join(st.session_state["comparison_runs"])
        usual = ",".join(c.run for c in comparing.default_runs(cards, view.card))
        shared.address(runs=None if wanted in ("", usual) else wanted)

    st.multiselect(
        "runs side by side", list(names), format_func=names.get, key="comparison_runs",
        max_selections=comparing.MOST, on_change=changed,
        help="One run per size of the model’s family unless others are chosen; none brings those "
        "back.",
    )


def draw_axis(axis: str) -> None:
    """The choice of the axis."""
    st.session_state["comparison_axis"] = axis
    st.segmented_control(
        "axis", list(AXES), format_func=AXES.get, key="comparison_axis", required=True,
        help="log step: log10(step + 1), the same for all. τ: the same from a run’s first snapshot "
        "to its last, 0 to 1.",
        on_change=shared.writes(
            "axis", "comparison_axis", lambda value: None if value == "step" else value),
    )
