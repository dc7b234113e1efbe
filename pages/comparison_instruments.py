"""Instruments: every released figure and every run of the store in the plane of EV and L0."""

from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from atlas import comparison_recipe, instrument_courses, instrument_figures, instruments
from atlas.instruments import Point
from pages import answers_comparison as answers
from pages import exporting, shared
from pages.browse_map import CLICKS

ALL = "all"
SHORT = {"raw": "L0", "width": "per feature", "live": "per live feature"}
APART = (
    "What may not be set against each other: released EV and L0 are as their cards print them, "
    "rounded, and which formula gave each is not told (the training formula, batches unweighted, "
    "and the canonical one differ by 0.03 EV and 180 L0 for the sparse 6.9B, §6.1); ours are "
    "canonical (§6.2). An SAE of one snapshot explains one matrix, a crosscoder the mean of all "
    "its own; W_E, W_U and two models are other rows. A prism’s rowEV weighs unit rows, and its "
    "released top-1 and KL come from the first 20,000 rows and hidden states that were not "
    "published; ours are over the whole vocabulary (prism-method §5)."
)


def draw(view: shared.Here) -> None:
    """Draw the view."""
    found = answers.points(view.store.digest)
    by, family = _read(found)
    _draw_choices(found, by, family)
    if problem := exporting.problem():
        shared.say(problem, "bad")
    kept = instruments.chosen(found, family)
    courses = view.store.fidelity()
    _draw_plane(view, kept, by, family)
    shared.say(APART)
    _draw_prisms(view, kept, family)
    _draw_snapshots(view, kept, courses)
    exporting.take_away(
        view, comparison_recipe.python_of_instruments(by, family or ""),
        {
            "plane": partial(_stamped, view, partial(instruments.plane_table, kept, by)),
            "prisms": partial(_stamped, view, partial(instruments.prism_table, kept)),
            "by step": partial(_stamped, view,
                               partial(instruments.snapshot_table, kept, courses)),
        }, "instruments",
    )


def _read(found: Sequence[Point]) -> tuple[str, str | None]:
    """What L0 is laid out by, and which family is drawn."""
    by = st.query_params.get("by") or "raw"
    if by not in instruments.BY:
        shared.say(f"L0 cannot be laid out by “{shared.clip(by)}”; there are "
                   f"{', '.join(instruments.BY)}.", "bad")
        by = "raw"
    family = st.query_params.get("family")
    if family is not None and family not in instruments.families(found):
        shared.say(f"“{shared.clip(family)}” is no family of models here; all are drawn.", "bad")
        family = None
    return by, family


def _draw_choices(found: Sequence[Point], by: str, family: str | None) -> None:
    st.session_state["instruments_by"] = by
    st.session_state["instruments_family"] = family or ALL
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.segmented_control(
            "L0", list(instruments.BY), format_func=SHORT.get, key="instruments_by",
            required=True, on_change=shared.writes(
                "by", "instruments_by", lambda value: None if value == "raw" else value),
        )
        st.segmented_control(
            "family of models", [ALL, *instruments.families(found)], key="instruments_family",
            required=True, on_change=shared.writes(
                "family", "instruments_family", lambda value: None if value == ALL else value),
        )


def _count(found: Sequence[Point], prisms: bool) -> str:
    kept = [point for point in found if point.is_prism is prisms]
    here = sum(point.here for point in kept)
    return f"{len(kept) - here} released figures and {here} of this store"


# --- EV and L0 ------------------------------------------------------------------------------------


def _draw_plane(view: shared.Here, kept: Sequence[Point], by: str, family: str | None) -> None:
    if not any(not point.is_prism for point in kept):
        shared.say(f"The plane of EV and L0 is empty, because {family} has prisms alone here.")
        return
    live = (" The release does not say how many features live: its figures are over all features, "
            "where they would be at least." if by == "live" else "")
    shared.caption(
        f"EV against {instruments.BY[by]}.",
        f"{_count(kept, False)}: open as released, filled as measured here, joined by dashes where "
        "a run has both. Circles are crosscoders (squares of W_E, diamonds of other "
        "architectures), upward triangles SAEs of one snapshot, downward ones of the last. A solid "
        "line joins the λ sweep, dotted ones widths and snapshots of one recipe. Neither axis is "
        f"good alone: more features that fire explain more.{live} There is no null: these are "
        "measurements, and 0 is the mean row.",
        "A point opens its run.",
    )
    _draw(
        view, instrument_figures.plane_figure(kept, by, view.palette), "instruments_plane", kept,
        f"EV against {instruments.BY[by]}: {_count(kept, False)}",
        partial(instruments.plane_table, kept, by), f"by {by}, {family or 'all families'}",
    )


def _draw_prisms(view: shared.Here, kept: Sequence[Point], family: str | None) -> None:
    if not any(point.is_prism for point in kept):
        shared.say(f"No prism is drawn, because {family} has none.")
        return
    shared.caption(
        "Prisms: rowEV against what the readout decides.",
        f"{_count(kept, True)}; dotted lines join the budgets of one model. What a card does not "
        "print lies on a line of its own. rowEV does not certify decisions: Gemma’s later registry "
        "has rowEV 0.834 with top-1 0.333 (prism-method §4.2).",
        "A point opens its run.",
    )
    _draw(
        view, instrument_figures.prism_figure(kept, view.palette), "instruments_prisms", kept,
        f"rowEV against top-1 and against KL: {_count(kept, True)}",
        partial(instruments.prism_table, kept), family or "all families",
    )


def _draw(
    view: shared.Here, figure: dict, key: str, kept: Sequence[Point], alt: str, table: partial,
    note: str,
) -> None:
    """A figure whose points open their runs."""
    def opened() -> None:
        _open(view, kept, st.session_state[f"{key}_clicks"].opened)

    if not shared.as_tables():
        CLICKS(key=f"{key}_clicks", data={"map": key}, on_opened_change=opened)
    exporting.chart(view, figure, key, alt, table=table, note=f"{note} · {_generation(view)}")


def _open(view: shared.Here, kept: Sequence[Point], number: object) -> None:
    """Open what was clicked: a run's features, or the released entry on Runs."""
    if not isinstance(number, int) or not 0 <= number < len(kept):
        return
    point = kept[number]
    if not point.here:
        shared.go("runs", view, released=point.run, model=None, kind=None)
        return
    step = view.store.run(point.run).steps[-1]
    # the page's number is Browse's own: by it Back knows whose address it passes
    shared.go("browse", view, run=point.run, step=step, page=1)


# --- one snapshot against all ---------------------------------------------------------------------


def _draw_snapshots(view: shared.Here, kept: Sequence[Point], courses: pd.DataFrame) -> None:
    table = instruments.snapshot_table(kept, courses)
    figure = instrument_courses.snapshots_figure(kept, table, view.palette)
    if figure is None:
        return
    shared.caption(
        "One snapshot against the whole trajectory.",
        "EV and L0 by step. Triangles are the released SAEs, each trained on its one snapshot; the "
        "level line is the released crosscoder of as many features over all 32, of which only the "
        "mean is printed. Runs of this store as measured at every snapshot. The SAEs fire five "
        "times as many features a row, so their EV is not read against the line alone.",
    )
    exporting.chart(
        view, figure, "instruments_snapshots", "EV and L0 by step of SAEs of one snapshot and of "
        "crosscoders", table=table, note=_generation(view),
    )


def _generation(view: shared.Here) -> str:
    return f"store {view.store.digest[: shared.HASH]}"


def _stamped(view: shared.Here, made: partial) -> pd.DataFrame:
    """A table with the store's generation, so that a file on its own still says it."""
    frame = made().copy()
    frame["made_from"] = f"{_generation(view)} · released figures of data/inventory"
    return frame
