"""The population through training: who is born when, what the lives look like, how long they last.

Every count leads to its features in Browse; every figure says what chance would give.
"""

from dataclasses import dataclass
from functools import partial

import pandas as pd
import streamlit as st

from atlas import population_recipe
from atlas.population import CONVENTIONS, DEFAULT
from atlas.population_store import ORDERS
from atlas.wishes import Wish, change_of, read_wish
from pages import (
    answers_population,
    exporting,
    population_births,
    population_courses,
    population_links,
    population_lives,
    population_profiles,
    shared,
)


@dataclass(frozen=True)
class Asked:
    """What the address asks of this view."""

    convention: str
    """How births are read."""
    order: str
    """What the picture of all lives is sorted by."""
    change: tuple[int, int]
    """The two steps of a sort by change."""
    problems: tuple[str, ...] = ()


def read(view: shared.Here) -> Asked:
    """What the address asks for; what is not valid is replaced and said."""
    asked = st.query_params.to_dict()
    problems = []
    convention = asked.get("births") or DEFAULT
    if convention not in CONVENTIONS:
        problems.append(f"Births cannot be read by “{shared.clip(convention)}”; there are "
                        f"{', '.join(CONVENTIONS)}.")
        convention = DEFAULT
    elif len(view.card.steps) > 1 and convention not in known(view):
        problems.append(f"“{CONVENTIONS[convention].words}” is not available, because this store "
                        "has no rates of the run; births are read by the norm.")
        convention = DEFAULT
    order = asked.get("lives") or ORDERS[0]
    if order not in ORDERS:
        problems.append(f"Lives cannot be sorted by “{shared.clip(order)}”; there are "
                        f"{', '.join(ORDERS)}.")
        order = ORDERS[0]
    wish, said = read_wish({"change": asked.get("change", "")}, view.card)
    problems += [*said, exporting.problem()]
    return Asked(convention, order, change_of(wish or Wish(), view.card),
                 tuple(p for p in problems if p))


def known(view: shared.Here) -> list[str]:
    """The conventions that the run has births by."""
    table = answers_population.table(view.store.digest, view.run)
    return [name for name in CONVENTIONS if f"births_{name}" in table]


def draw(view: shared.Here) -> None:
    """Draw the view."""
    asked = read(view)
    for problem in asked.problems:
        shared.say(problem, "bad")
    if len(view.card.steps) < 2:
        shared.say(
            "Births, lives, survival, profiles and turns are not available, because this run has "
            "one snapshot and so no time in which anything could change. What there is of it:"
        )
        population_courses.draw_ranks(view)
        return
    population_links.mark_step(view)
    population_births.draw(view, asked.convention, known(view))
    left, right = st.columns((13, 9), gap="large")
    with left:
        population_lives.draw(view, asked.order, asked.convention, asked.change)
    with right:
        population_profiles.draw(view)
    left, right = st.columns(2, gap="large")
    with left:
        population_courses.draw_survival(view, asked.convention)
    with right:
        population_courses.draw_ranks(view)
    left, right = st.columns(2, gap="large")
    with left:
        population_courses.draw_bands(view)
    with right:
        population_courses.draw_rotation(view)
    population_courses.draw_cosines(view)
    exporting.take_away(
        view,
        population_recipe.python_of(view.run, asked.convention, asked.order, asked.change),
        tables(view, asked), "population",
    )


def tables(view: shared.Here, asked: Asked) -> dict:
    """The numbers behind every figure."""
    digest, run = view.store.digest, view.run
    found: dict = {
        "births": partial(answers_population.table, digest, run),
        "lives": partial(population_lives.table, view, asked.order, asked.convention,
                         asked.change),
        "profiles": partial(population_profiles.table, view),
        "standing": partial(population_profiles.standing_table, view),
        "survival": partial(population_courses.survival_table, view, asked.convention),
        "rates by rank": partial(population_courses.ranks_table, view),
        "bands": partial(population_courses.bands_table, view),
        "turns": partial(population_courses.rotation_table, view),
        "cosines": partial(population_courses.cosines_table, view),
    }
    return {name: partial(_stamped, view, made) for name, made in found.items()}


def _stamped(view: shared.Here, made: partial) -> pd.DataFrame:
    """A table with what it is made from, so that a file on its own still says it."""
    frame = made().copy()
    frame["made_from"] = exporting.made_from(view)
    return frame
