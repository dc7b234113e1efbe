"""Births of the run beside those of its shuffled-row control."""

import pandas as pd

from atlas import control_births, control_words, population_where
from atlas.control_births import births_table
from pages import answers, answers_controls, exporting, population_links, shared

BY = {"births": "births_norms", "births_floor": "births_floor"}
"""What a bar of the run counts, as the population's links name it."""


def draw(view: shared.Here) -> None:
    """The figure, or why there is none."""
    digest, run = view.store.digest, view.run
    born = control_words.survivors(answers_controls.born(digest, run), view.card.steps[0])
    control = answers_controls.control(digest, run)
    if control is None:
        shared.caption("Births without a history: the shuffled-row control.", born)
        shared.say(
            "The control is not available, because none was trained for this run: "
            f"`readout-atlas control {run}` trains one, `readout-atlas build {run}` takes it up."
        )
        return
    what = f"It is trained by the run’s own recipe; {control.shuffle}." if control.shuffle else ""
    shared.caption(
        "Births without a history: the shuffled-row control.",
        f"{born} {control_words.control_births(control, view.card.explained_variance)}",
        tail=f"{what} Heights by the square root. A bar of the run opens its features in Browse.",
    )

    def link(kind: str, k: int) -> str:
        wanted = population_where.bar(BY[kind], view.card.steps[k]) if kind in BY else {}
        return population_links.of(view, **wanted) if wanted else ""

    exporting.drawing(
        view, control_births.births_drawing(table(view), link, view.step, view.palette),
        "control_births", f"births of {run} and of its shuffled-row control by step", table(view),
        "" if control.seed is None else f"shuffle seed {control.seed}",
    )


def table(view: shared.Here) -> pd.DataFrame:
    """The births of both, one row per snapshot."""
    control = answers_controls.control(view.store.digest, view.run)
    assert control is not None
    return births_table(
        answers.births(view.store.digest, view.run), control.births, control.births_floor
    )
