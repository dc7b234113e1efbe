"""What the figures of the population share: short links into Browse, and where the step stands.

There are some hundred links a figure, so they hold no more than they must: the step is left out,
and a session keeps it. So a figure of links is the same at every step, and is not sent again when
the step moves: its line stands where a variable of the page says.
"""

from urllib.parse import urlencode

import streamlit as st

from atlas.population_figures import step_marks
from pages import shared


def of(view: shared.Here, **parameters: str) -> str:
    """A relative address of Browse for this run."""
    manner = {"charts": "tables"} if shared.as_tables() else {}
    return f"./?{urlencode({'run': view.run, **manner, **parameters}, safe='/:,;.!<')}"


def mark_step(view: shared.Here) -> None:
    """Say where the line of the chosen step stands in every figure of links."""
    marks = step_marks(view.card.steps, view.step)
    said = "".join(f"--atl-at-{name}:{100 * at:.2f}%;" for name, at in marks.items())
    st.html(f"<style>:root{{{said}}}</style>")
