"""Births, peaks and deaths by step, and how many births the noise floor leaves."""

import streamlit as st

from atlas import population_where
from atlas.markup import step_name
from atlas.population import CONVENTIONS, DEFAULT, WHY_DEFAULT, Correction
from atlas.population_figures import BESIDE, births_drawing
from pages import answers_population, exporting, population_links, shared


def draw(view: shared.Here, convention: str, known: list[str]) -> None:
    """The figure with its caption and the choice of the rule."""
    table = answers_population.table(view.store.digest, view.run)
    found = answers_population.correction(view.store.digest, view.run)
    rule = CONVENTIONS[convention]
    shared.caption(
        "Births, peaks and deaths by step.",
        f"{survivors(view, found)} In colour births where {rule.rule}; in grey where "
        f"{CONVENTIONS[BESIDE.get(convention, DEFAULT)].rule}. Dashes: peaks of the rate, "
        "the later on ties (§8.1). Below: deaths, last at half the norm (§8.2), whatever births "
        "are read by. Heights by the square root.",
        "A bar opens its features in Browse.",
    )
    st.session_state["population_births"] = convention
    st.segmented_control(
        "births read by", known, format_func=lambda name: CONVENTIONS[name].short,
        key="population_births", required=True,
        help=f"{WHY_DEFAULT} The literature has four first activities, on norms and on rates; with "
             "rates most features are active from the first snapshot on, so that births by them "
             "say little.",
        on_change=shared.writes(
            "births", "population_births", lambda name: None if name == DEFAULT else name),
    )

    def link(kind: str, k: int) -> str:
        return population_links.of(view, **population_where.bar(kind, view.card.steps[k]))

    exporting.drawing(
        view, births_drawing(table, convention, link, view.step, view.palette),
        "births", f"births, {rule.words}, peaks and deaths of {view.run} by step",
        table, rule.words,
    )


def survivors(view: shared.Here, found: Correction) -> str:
    """How many births are more than what noise gives, in words."""
    if not found.born:
        return "No feature that fires is born by the paper’s rule: all are dead or without a norm."
    first = f"step {step_name(view.card.steps[0])}"
    noise = ", where rows are noise" if view.card.steps[0] == 0 else ", before anyone looked"
    said = (
        f"By the paper’s rule {found.born:,} features that fire are born, {found.first:,} of them "
        f"at {first}{noise}. The null is the norm that noise rows alone would give: with it taken "
        f"off {found.surviving:,} births survive, {found.kept:,} at the same step"
    )
    if not found.first:
        return f"{said}."
    return (
        f"{said}; of those at {first} {found.first_kept:,} stay there, {found.first_later:,} come "
        f"later and {found.first_never:,} never stand above the floor."
    )
