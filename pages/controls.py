"""Dense controls: is the window a property of the matrix or of the dictionary?"""

from collections.abc import Callable
from functools import partial

import pandas as pd
import streamlit as st

from atlas import control_words, dense_figures, markup, matrices
from atlas.chance import pair_cosine
from atlas.dense_figures import Panel, Score
from atlas.life_marks import Span
from atlas.reorganisation import SHIFTS, seed_of
from atlas.turnover import MatrixCourse, unscored
from pages import answers as stored
from pages import answers_controls as answers
from pages import controls_births, controls_explained, exporting, shared

NAMES = {
    "dictionary": "the dictionary, six metrics",
    "five": "the dictionary, the five metrics that rows have",
    "rows": "the rows of the matrix, five metrics",
    "control": "the shuffled-row control, six metrics",
}
"""What is scored, in the order of the panels."""
MEASURES = 5
"""Panels of the matrix by itself."""


def draw(view: shared.Here) -> None:
    """Windows, the matrix by itself, plain codes, cosines and the shuffled-row control."""
    if len(view.card.steps) < 2:
        shared.say(
            f"The controls are not available, because {view.run} has one snapshot: nothing changes "
            "between snapshots. The view needs a trajectory crosscoder."
        )
        return
    if problem := exporting.problem():
        shared.say(problem, "bad")
    course = answers.matrix(view.store.digest, view.run)
    scores = answers.scores(view.store.digest, view.run)
    shared.caption(
        "Is the window a property of the matrix or of the dictionary?",
        hot=control_words.answer(view.card.matrix, scores),
        tail=control_words.about_control(
            scores, answers.control(view.store.digest, view.run), view.card.explained_variance),
    )
    left, right = st.columns(2, gap="large")
    with left:
        _draw_scores(view)
    with right:
        _draw_matrix(view, course)
    controls_explained.draw(view, course)
    _draw_squares(view)
    controls_births.draw(view)
    exporting.take_away(view, _python(view), _tables(view, course), "controls")


# --- windows -------------------------------------------------------------------------------------


def _draw_scores(view: shared.Here) -> None:
    panels = _scores(view)
    shared.caption(
        "Reorganisation windows, scored alike.",
        f"Rows are taken as if each were a feature. In grey what {SHIFTS} circular shifts give, 5 "
        f"to 95 %, median dotted (seed {seed_of(view.run)}); in ochre the window of each, with the "
        "p that counts that it was chosen.",
    )
    if reason := unscored(view.card.steps):
        shared.say(f"No window can be scored, because {reason}.")
        return
    if not panels:
        shared.say(f"Not available, because {stored.not_derived(view.run)}.")
        return
    exporting.chart(
        view,
        dense_figures.scores_figure(view.card.steps, panels, view.step, view.palette, MEASURES),
        "control_scores",
        "scores of the reorganisation windows of " + ", ".join(one.title for one in panels),
        lambda: dense_figures.scores_table(panels),
        note=f"{SHIFTS} shifts, seed {seed_of(view.run)}",
    )


def _scores(view: shared.Here) -> list[Score]:
    found = answers.scores(view.store.digest, view.run)
    return [Score(words, found[name]) for name, words in NAMES.items() if name in found]


def _window(view: shared.Here) -> Span | None:
    """The dictionary's window, drawn behind the courses of the matrix."""
    window = view.card.window
    return None if window is None else Span(window.from_step, window.to_step, "the run’s window")


# --- the matrix by itself ------------------------------------------------------------------------


def _draw_matrix(view: shared.Here, course: MatrixCourse | None) -> None:
    shared.caption(
        f"What {view.card.matrix} shows without a dictionary.",
        "Of its centred rows unless said otherwise. Dotted: as many rows of noise, or 0 for a "
        "cosine, of which one pair of random rows stays within "
        f"±{pair_cosine(view.card.d_model):.2f} in 19 of 20 cases; lengths have no null. "
        f"{'In ochre the run’s window.' if view.card.window else ''} Blue: effective rank, and the "
        "mean row.",
    )
    if course is None:
        shared.say(f"Not available, because {stored.not_derived(view.run)}.")
        return
    exporting.chart(
        view,
        dense_figures.panels_figure(
            view.card.steps, _panels(view, course), view.step, _window(view), view.palette),
        "control_matrix", f"measures of {view.card.matrix} by step, each with its null",
        partial(_matrix_table, view, course),
    )


def _panels(view: shared.Here, course: MatrixCourse) -> list[Panel]:
    rows = len(view.store.token_texts(view.card.model))
    noise = answers.noise(rows, view.card.d_model)
    return [
        Panel("axes that the rows spread over, participation ratio", course.participation,
              course.effective_rank, noise.participation, logarithmic=True,
              other_name="effective rank"),
        Panel("share of the first principal axis", course.pc1_share, null=noise.first_share,
              percent=True),
        Panel("share of the mean row, before it is taken off", course.mean_share, null=1 / rows,
              percent=True),
        Panel("cosine of a row with the snapshot before, median", course.row_cosine,
              course.mean_cosine, 0.0, other_name="mean row"),
        Panel("length of the rows", course.row_norm[:, 2], band=course.row_norm, logarithmic=True),
    ]


def _matrix_table(view: shared.Here, course: MatrixCourse) -> pd.DataFrame:
    table = dense_figures.panels_table(view.card.steps, _panels(view, course))
    return table.assign(**{
        f"length, {q} %": course.row_norm[:, i] for i, q in enumerate((5, 25, 50, 75, 95))
    })


# --- cosines between snapshots -------------------------------------------------------------------


def _draw_squares(view: shared.Here) -> None:
    found = answers.squares(view.store.digest, view.run)
    shared.caption(
        "Snapshots alike: the mean cosine between any two,",
        "of a feature’s directions, over those that fire, and of a centred row, over all. The null "
        "is 0: unrelated directions, or rows dealt out anew, average to nothing.",
    )
    if not found:
        shared.say(f"Not available, because {stored.not_derived(view.run)}.")
        return
    columns = st.columns(3, gap="medium")
    for column, (name, words) in zip(columns[:2], _of(view).items(), strict=True):
        with column:
            if name not in found:
                shared.say(f"{words}: not available, because no feature that fires has a "
                           "direction.")
                continue
            st.html(markup.wrap(markup.caption(f"{words}.")))
            exporting.chart(
                view, matrices.cosine_square(view.card.steps, found[name], view.step, view.palette),
                f"control_cosines_{name}",
                f"mean cosine of {words.lower()} of {view.run} at every two snapshots",
                partial(_square_table, view, name), width=matrices.WIDTH,
            )
    with columns[2]:
        st.html(markup.wrap(markup.definitions(_alike(view, found))))


def _of(view: shared.Here) -> dict[str, str]:
    return {"features": "Features", "rows": f"Rows of {view.card.matrix}"}


def _alike(view: shared.Here, found: dict[str, list[list[float | None]]]) -> list[tuple[str, str]]:
    """A few cells of both squares in words."""
    steps = view.card.steps
    places = [(0, len(steps) - 1)]
    if (window := view.card.window) is not None:
        inside = [k for k, s in enumerate(steps) if window.from_step <= s <= window.to_step]
        if len(inside) > 1:
            places.append((inside[0], inside[-1]))
    if view.k not in (0, len(steps) - 1):
        places += [(0, view.k), (view.k, len(steps) - 1)]
    return [
        (f"step {steps[a]:,} to {steps[b]:,}", "; ".join(
            f"{name} {markup.number(found[name][a][b], 2)}" for name in found))
        for a, b in places
    ]


def _square_table(view: shared.Here, name: str) -> pd.DataFrame:
    steps = view.card.steps
    square = answers.squares(view.store.digest, view.run).get(name, [])
    return pd.DataFrame({"step": steps[: len(square)], **{
        markup.step_name(s): [row[k] for row in square] for k, s in enumerate(steps)}})


# --- to take along -------------------------------------------------------------------------------


def _python(view: shared.Here) -> str:
    """Lines of Python that give the same numbers."""
    return (
        "from atlas import turnover\n"
        "from atlas.store import Store\n\n"
        f"store = Store.open({str(view.store.folder)!r})\n"
        f"run = {view.run!r}\n"
        "steps = store.run(run).steps\n"
        "turnover.matrix_of(store, run)         # the matrix by itself\n"
        "turnover.scored(turnover.pairs_of(store, run), steps, run)\n"
        "turnover.scored(turnover.matrix_pairs_of(store, run), steps, run,\n"
        "                turnover.ROW_COMPONENTS)\n"
        "turnover.mean_similarity(store, run), turnover.row_similarity(store, run)\n"
        "turnover.held_out_of(store, run)       # snapshots it was not trained on\n"
        "turnover.control_of(store, run)        # the shuffled-row control\n"
    )


def _tables(
    view: shared.Here, course: MatrixCourse | None
) -> dict[str, Callable[[], pd.DataFrame]]:
    """The numbers behind every figure that there is, with what they were made from."""
    made: dict[str, Callable[[], pd.DataFrame]] = {}
    if panels := _scores(view):
        made["windows"] = partial(dense_figures.scores_table, panels)
    if course is not None:
        made["matrix"] = partial(_matrix_table, view, course)
        made["explained"] = partial(controls_explained.table, view, course)
    for name in answers.squares(view.store.digest, view.run):
        made[f"cosines of {name}"] = partial(_square_table, view, name)
    if answers.control(view.store.digest, view.run) is not None:
        made["births and control"] = partial(controls_births.table, view)
    return {name: partial(_stamped, view, one) for name, one in made.items()}


def _stamped(view: shared.Here, made: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    return made().assign(made_from=exporting.made_from(view))
