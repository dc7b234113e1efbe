"""Decompose, why this token: the ledger of the score at the chosen step, coverage and course."""

import streamlit as st

from atlas.score_words import formula
from pages import decompose_alone, score, taking
from pages.seen import Seen


def draw(seen: Seen) -> None:
    """Draw the view."""
    view, found, row = seen.view, seen.found, seen.row
    one, two = st.columns([1, 1.05], gap="large")
    with one:
        score.draw_ledger(view, row, seen.show)
        taking.take_away(
            view, python_of(seen, row.step), lambda: score.ledger_table(row, seen.show),
            f"ledger-{view.run.replace('/', '_')}-{row.step}",
        )
    with two:
        if len(found.rows) > 1:
            score.draw_course(view, found, row.step)
        score.draw_coverage(view, row, seen.show)
        if seen.live:
            decompose_alone.draw(seen)


def python_of(seen: Seen, step: int | None) -> str:
    """Lines of Python that give the numbers of the view."""
    from atlas.decompose_recipe import python_of as lines  # torch comes with it

    name = formula(seen.found.score.kind, seen.found.drawn, seen.found.score.weights,
                   seen.found.rank)
    return lines(seen.view.run, seen.prompt, seen.position, seen.ask, step, seen.hidden, name)
