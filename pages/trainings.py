"""Trainings on the Runs page: how far each is and its curves, redrawn while one goes on."""

import time
from dataclasses import replace
from functools import partial

import streamlit as st

from atlas import training_command, training_figures, trainings
from atlas.places import store_from_environment
from atlas.trainings import GOING, STOPPED, Found, Log, Training
from pages import exporting, shared

REFRESH = 5.0
"""Seconds between two looks at the logs while a training goes on."""
LISTED = 12
"""Trainings in the table at most."""


def look() -> Found:
    """What the logs of this store tell now."""
    return trainings.find(store_from_environment(), time.time())


def draw(view: shared.Here, found: Found, going: bool) -> None:
    """The section, if whether a training goes on is what was said; nothing without a log."""
    if found.going != going or not (found.trainings or found.problems):
        return
    shared.caption(
        "In training." if going else "Trainings of this store.",
        "How far each is, by the log beside its run"
        + (f"; looked at again every {REFRESH:.0f} s." if going else "."),
    )
    run = _draw_choice(found)
    st.fragment(_draw_now, run_every=REFRESH if going else None)(view, run, found.stand)
    chosen = _chosen(found, run)
    if chosen is not None:
        _draw_taking(view, chosen)
    st.space("small")


def _chosen(found: Found, run: str) -> Training | None:
    return next((t for t in found.trainings if t.run == run), None)


def _draw_choice(found: Found) -> str:
    """Which training is drawn: the one asked for, else the first."""
    runs = [t.run for t in found.trainings]
    asked = st.query_params.get("training")
    if asked and asked not in runs:
        shared.say(f"There is no log of a training of “{shared.clip(asked)}” in this store.", "bad")
    if problem := exporting.problem():
        shared.say(problem, "bad")
    run = asked if asked in runs else next(iter(runs), "")
    if len(runs) > 1:
        st.session_state["runs_training"] = run
        st.selectbox(
            "training", runs, key="runs_training", width=460,
            on_change=shared.writes("training", "runs_training"),
        )
    return run


def _draw_now(view: shared.Here, run: str, stand: tuple[tuple[str, str], ...]) -> None:
    """Table and curves as the logs are now; the page runs anew when one begins or ends."""
    found = look()
    if found.stand != stand:
        st.rerun()
    for problem in found.problems:
        shared.say(f"{problem}.", "bad")
    chosen = _chosen(found, run)
    listed = list(found.trainings[:LISTED])
    if chosen is not None and chosen not in listed:
        listed[-1] = chosen
    if listed:
        st.html(training_figures.standings(listed, run))
    if len(found.trainings) > len(listed):
        shared.say(f"{len(listed)} of {len(found.trainings)} trainings are listed; the choice "
                   "above has all.")
    if chosen is not None:
        _draw_one(view, chosen)


def _draw_one(view: shared.Here, training: Training) -> None:
    """The curves of one, and the command that goes on with it."""
    log = trainings.read_log(training)
    plan = training.plan or {}
    where = [f"on {shared.clip(str(plan['device']))}"] if plan.get("device") else []
    if plan.get("processes") not in (None, 1):
        where.append(f"in {shared.clip(str(plan['processes']))} processes")
    if plan.get("began"):
        where.append(f"begun {trainings.moment(plan['began'])}")
    shared.caption(
        f"{training.run}:", f"{', '.join(where) or 'its plan tells no more'}. Each point is the "
        "mean since the line before; the axis reaches to the last step. Penalties are drawn with "
        "their weights, as they enter the loss.")
    if training.state == STOPPED:
        found = training_command.command(training)
        if found is None:
            shared.say("It goes on with the command that began it, its --set and all; the log does "
                       "not tell these.")
        else:
            st.code(found, language="sh", wrap_lines=True)
    if log.skipped:
        shared.say(f"The log is long: its first {log.skipped / 1e6:,.1f} MB are not drawn.")
    for problem in log.problems:
        shared.say(f"Of this log, {problem}.", "bad")
    if not log.steps:
        shared.say("Not available, because its log has no line of figures yet." if
                   training.state == GOING else
                   "Not available, because its log has no line of figures that can be read.")
        return
    exporting.chart(
        _stamped(view, training), training_figures.figure(training, log, view.palette),
        "runs_training_curves", training_figures.alt(training, log),
        table=partial(training_figures.few, log),
    )


def _draw_taking(view: shared.Here, training: Training) -> None:
    def lines() -> Log:
        return trainings.read_log(training)

    exporting.take_away(
        _stamped(view, training), trainings.python_of(training.run),
        {"lines of the log": lambda: trainings.table(lines())}, "runs_training",
    )


def _stamped(view: shared.Here, training: Training) -> shared.Here:
    """The view as figures and files of a training name it: its run, and the step it is at."""
    return replace(view, card=replace(
        view.card, run=training.run, hash=f"step {training.step}"))
