"""The lives of all features as one picture whose rows open their features."""

import numpy as np
import pandas as pd
import streamlit as st

from atlas import population_where
from atlas.axes import short_step
from atlas.markup import step_name
from atlas.population import CONVENTIONS
from atlas.population_figures import lives_drawing, row_words
from atlas.population_store import ORDERS
from pages import answers_population, exporting, population_links, shared
from pages.browse_table import ROWS as PAGE

WORDS = {"birth": "birth", "peak": "peak", "change": "change between two steps"}


def draw(view: shared.Here, order: str, convention: str, change: tuple[int, int]) -> None:
    """The picture, its caption and what it is sorted by."""
    found = answers_population.lives(view.store.digest, view.run, order, convention, change)
    total, rows = len(found.features), len(found.cells)
    each = f"about {total / rows:,.0f} features" if rows and total > rows else "one feature"
    by = {
        "birth": f"birth ({CONVENTIONS[convention].words}), then by peak",
        "peak": "the peak of the rate, then by birth",
        "change": f"how much the norm changes from step {step_name(change[0])} to "
                  f"{step_name(change[1])}, the largest rise on top",
    }[order]
    shared.caption(
        "All lives.",
        f"A row is the mean of {each}: the norm over its own maximum, paper 0, ink 1, sorted by "
        f"{by}. There is no null: sorting alone makes a diagonal of anything, so read the widths "
        "and where rows turn together, not that there is one.",
        "A row opens its features in Browse.",
    )
    _controls(view, order, change)
    if not total:
        shared.say("Not available, because no feature that fires has a norm at every snapshot.")
        return
    links = [
        population_links.of(view, **population_where.row(
            view.card.steps, found, order, convention, change, r, PAGE))
        for r in range(rows)
    ]
    exporting.drawing(
        view,
        lives_drawing(view.card.steps, found, order, links, view.step, view.palette), "lives",
        f"norms of all features of {view.run} over their maximum, sorted by {WORDS[order]}",
        lambda: table(view, order, convention, change), f"sorted by {by}",
    )


def _controls(view: shared.Here, order: str, change: tuple[int, int]) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.session_state["population_lives"] = order
        st.segmented_control(
            "sorted by", ORDERS, format_func=WORDS.get, key="population_lives", required=True,
            on_change=shared.writes(
                "lives", "population_lives", lambda name: None if name == ORDERS[0] else name),
        )
        if order != "change":
            return
        st.session_state["population_change"] = change
        st.select_slider(
            "from and to step", view.card.steps, change, format_func=short_step,
            key="population_change", on_change=_changed, width=300,
        )


def _changed() -> None:
    low, high = st.session_state["population_change"]
    if low < high:
        shared.address(change=f"{low}-{high}")


def table(
    view: shared.Here, order: str, convention: str, change: tuple[int, int]
) -> pd.DataFrame:
    """The cells of the picture, one line per row."""
    steps = view.card.steps
    found = answers_population.lives(view.store.digest, view.run, order, convention, change)
    frame = pd.DataFrame({
        "row": np.arange(1, len(found.cells) + 1),
        "holds": [row_words(steps, found, order, r) for r in range(len(found.cells))],
    })
    cells = pd.DataFrame(found.cells.round(3), columns=[step_name(s) for s in steps])
    return pd.concat([frame, cells], axis=1)
