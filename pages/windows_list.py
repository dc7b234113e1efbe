"""The features that change most inside the window, beside features that fire about as often."""

import numpy as np
import streamlit as st

from atlas import markup, window_markup
from atlas.markup import step_name
from atlas.window_changes import DRAWS, SORTS, Movers
from pages import answers_windows as answers
from pages import shared

FIRST = "change"


def read_sort() -> str:
    """What the address wants the list sorted by; what is wrong is said."""
    asked = st.query_params.get("most", FIRST)
    if asked in SORTS:
        return asked
    shared.say(f"The list cannot be sorted by “{shared.clip(asked)}”; use {', '.join(SORTS)}.",
               "bad")
    return FIRST


def draw(view: shared.Here, low: float, high: float) -> None:
    """The list with its two nulls."""
    sort = read_sort()
    found = answers.movers(view.store.digest, view.run, low, high, sort)
    between = f"steps {step_name(found.before)} and {step_name(found.after)}"
    shared.caption(
        "What changes most inside the window,",
        f"between {between}, the snapshots that enclose it: norm by its share of the feature’s "
        "largest, and the angle between the two directions. On the right how many of the features "
        "nearest in mean rate it outdoes.",
    )
    st.session_state["window_most"] = sort
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.segmented_control(
            "sorted by", list(SORTS), key="window_most", format_func=SORTS.get, required=True,
            label_visibility="collapsed",
            on_change=shared.writes("most", "window_most", lambda v: None if v == FIRST else v),
        )
        st.html(markup.wrap(markup.link(
            "all features by their change here, in Browse",
            shared.href("browse", view, change=f"{found.before}-{found.after}",
                        sort="norm_change", order="up" if sort == "fall" else "down"),
        )))
    if not found.listed:
        shared.say(f"The list is not available, because {found.reason}.")
        return
    start = shared.href("feature", view, feature="")
    st.html(window_markup.movers_table(found, lambda feature: f"{start}{feature}"))
    st.html(markup.note(about(found)))


def about(found: Movers) -> str:
    """The list's mean beside its nulls, in words."""
    unit, scale, digits = ("°", 1, 0) if found.sort == "turn" else (" %", 100, 0)

    def said(value: float) -> str:
        return f"{markup.number(scale * value, digits)}{unit}"

    text = (f"The {len(found.listed)} listed of {found.n:,} change by {said(found.mean)} on "
            "average. ")
    if len(found.drawn):
        low, high = np.quantile(found.drawn, (0.05, 0.95))
        text += (
            f"{DRAWS} lists in which each is replaced by one of the {found.matched} features "
            f"nearest to it in mean rate change by {said(low)} to {said(high)} "
            f"({markup.probability(found.p)}): what a feature’s rate alone does not explain. The "
            "list was chosen for its change, so this p says nothing of the window. "
        )
    else:
        text += ("A null of features of similar rate is not available, because not all of them "
                 "have rates. ")
    others = found.elsewhere[np.isfinite(found.elsewhere)]
    if len(others):
        higher = int((others >= found.mean).sum())
        text += (
            f"Lists chosen the same way in the {len(others)} windows as wide that share nothing "
            f"with it change by {said(others.min())} to {said(others.max())}; {higher} of them by "
            "as much."
        )
    else:
        text += "No other window as wide fits beside it, so it has no comparison in time."
    return text
