"""The window in which a run reorganises: its score beside the null, and a window of one's own."""

import dataclasses
import math
from collections.abc import Callable

import pandas as pd
import streamlit as st

from atlas import markup, window_figures, window_wishbone
from atlas.markup import Fact
from atlas.reorganisation import MIN_SNAPSHOTS, SHIFTS, seed_of
from atlas.window_choice import Choice, read_window, write_window
from atlas.window_figures import Own
from pages import answers_windows as answers
from pages import exporting, shared, windows_list, windows_story, windows_wishbone
from pages.browse_map import CLICKS

CHART = "window_scores"


def draw(view: shared.Here) -> None:
    """The score, the window asked for, what changes in it, the wishbone and the story."""
    if len(view.card.steps) < 2:
        shared.say(
            f"Not available, because {view.run} has one snapshot: nothing changes between "
            "snapshots. The view needs a trajectory crosscoder."
        )
        return
    own, chosen = asked(view)
    scored = answers.choice(view.store.digest, view.run, *chosen)
    if scored is None:
        shared.say(
            "Pair metrics are not available, because no feature of the run has norms at every "
            "snapshot that exceed 0.01 anywhere."
        )
    else:
        _draw_score(view, scored, own)
    windows_list.draw(view, *chosen)
    windows_wishbone.draw(view)
    windows_story.draw(view)


def asked(view: shared.Here) -> tuple[Own | None, tuple[float, float]]:
    """The run's own window, and the one that the address asks for; what is wrong is said.

    Without a window of its own, a run is looked at from its first to its last snapshot.
    """
    steps = view.card.steps
    own = answers.own(view.store.digest, view.run)
    usual = (float(steps[0]), float(steps[-1])) if own is None else (own.low, own.high)
    found, problem = read_window(st.query_params.get("window"), steps)
    if problem:
        back = "The run’s own window" if own is not None else "The whole schedule"
        shared.say(f"{problem} {back} is shown.", "bad")
    if found is None or write_window(*found) == write_window(*usual):
        return own, usual
    return own, found


# --- the score -----------------------------------------------------------------------------------


def _draw_score(view: shared.Here, scored: Choice, own: Own | None) -> None:
    shared.caption(
        "When the population reorganises.",
        f"Each window of {scored.width:.2f} decades at its middle; in grey what {SHIFTS} circular "
        f"shifts of the six metrics give, 5 to 95 %, median dotted (seed {seed_of(view.run)}). "
        "Beneath, the metrics pair by pair, and on the right inside the window with the share of "
        "shifts that have as much. Drag over the figure, or click a point, to choose a window.",
        tail=_about_own(own),
    )
    if scored.reason:
        shared.say(f"The score is not available, because {scored.reason}.")
    _draw_facts(scored)
    components = answers.pairs(view.store.digest, view.run).components
    if not shared.as_tables():
        CLICKS(key="window_score_clicks", data={"map": CHART},
               on_opened_change=lambda: _clicked(view, scored, own))
    exporting.chart(
        view,
        window_figures.score_figure(
            scored, components, view.card.steps, own, view.step, view.palette
        ),
        CHART,
        f"Score of the windows of {view.run} with the null of its shifts, and six metrics by step",
        table=lambda: window_figures.score_table(scored),
        note=note_of(view, scored),
        on_select=lambda: _selected(view, scored, own),
        selection_mode="box",
    )
    if shared.as_tables():
        frame = window_figures.metric_table(scored, components, view.card.steps)
        shared.chart({}, "window_metrics", "The six metrics at every pair of snapshots", frame)
    _draw_chooser(view, scored, own)


def _about_own(own: Own | None) -> str:
    if own is None:
        return (f"The run has no window of its own: that needs {MIN_SNAPSHOTS} snapshots over more "
                "than half a decade.")
    where = (f"In ochre the run’s own, steps {own.low:,.0f} to {own.high:,.0f}: not the highest "
             "score but the one most of the null’s deviations above it (z)")
    if math.isnan(own.center_low) or math.isnan(own.center_high):
        return f"{where}; how surely it lies there is not available, because it was not resampled."
    return (f"{where}; the whisker holds its middle in 90 % of 400 draws of other features "
            f"({own.center_low:,.0f} to {own.center_high:,.0f}).")


def _draw_facts(scored: Choice) -> None:
    """The window's numbers in a row."""
    found = [
        Fact("from step", _step(scored.low)),
        Fact("to step", _step(scored.high)),
        Fact("decades", f"{scored.width:.2f}", "width in log10(step + 1)"),
    ]
    if not scored.reason:
        found += [
            Fact("score", markup.number(scored.score),
                 "geometric mean of the six metrics, each scaled to 0…1 over the windows as wide"),
            Fact("z", markup.number(scored.z, 1), "standard deviations of its null"),
            Fact("p", markup.number(scored.p),
                 f"share of {SHIFTS} shifts whose score here is as high, the true order counted"),
            Fact(f"p, among {len(scored.scores)}", markup.number(scored.p_any),
                 "share of the shifts in which any window as wide stands out as far"),
        ]
    st.html(markup.wrap(markup.facts(found), "atl-window"))


def _step(step: float) -> str:
    return f"{step:,.0f}" if step == round(step) or step >= 100 else f"{step:,.1f}"


def _exact(step: float) -> str:
    """A step with all its decimals: two that differ must not look alike to a widget."""
    return f"{step:,.3f}".rstrip("0").rstrip(".")


# --- another window ------------------------------------------------------------------------------


def _draw_chooser(view: shared.Here, scored: Choice, own: Own | None) -> None:
    """Its two ends among the snapshots, a field for any steps, the way back, what to take along."""
    ends = (float(scored.low), float(scored.high))
    known = sorted({*map(float, view.card.steps), *ends})
    st.session_state["window_from"], st.session_state["window_to"] = ends
    st.session_state["window_typed"] = write_window(*ends)

    def picked() -> None:
        _ask(view, own, st.session_state["window_from"], st.session_state["window_to"])

    def typed() -> None:
        text = st.session_state["window_typed"].replace(" ", "").replace(",", "")
        shared.address(window=text)

    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium",
                      key="window_row"):
        st.selectbox("from step", [step for step in known if step < ends[1]],
                     key="window_from", format_func=_exact, on_change=picked, width=130)
        st.selectbox("to step", [step for step in known if step > ends[0]],
                     key="window_to", format_func=_exact, on_change=picked, width=130)
        st.text_input("or any steps, from..to", key="window_typed", max_chars=40, on_change=typed,
                      width=170)
        if own is not None:
            is_own = write_window(*ends) == write_window(own.low, own.high)
            st.button("The run’s own window", key="window_back", disabled=is_own, type="tertiary",
                      on_click=shared.address, kwargs={"window": None})
        exporting.take_away(view, python_of(view, scored), _tables(view, scored), "window")


def _ask(view: shared.Here, own: Own | None, low: float, high: float) -> None:
    """Write a window into the address; the run's own is what an address without one means."""
    text = write_window(low, high)
    is_own = own is not None and text == write_window(own.low, own.high)
    shared.address(window=None if is_own else text)


def _selected(view: shared.Here, scored: Choice, own: Own | None) -> None:
    """A drag over the figure chooses its steps."""
    selection = st.session_state[CHART]["selection"]
    steps = view.card.steps
    found = window_figures.dragged(selection, steps)
    if found is not None:
        _ask(view, own, *found)


def _clicked(view: shared.Here, scored: Choice, own: Own | None) -> None:
    """A click on a window's point chooses that window."""
    found = window_figures.clicked(st.session_state["window_score_clicks"].opened, scored)
    if found is not None:
        _ask(view, own, *found)


def python_of(view: shared.Here, scored: Choice) -> str:
    """Lines of Python that give the window's numbers."""
    return (
        "from atlas.reorganisation import seed_of\n"
        "from atlas.store import Store\n"
        "from atlas.window_choice import choose\n"
        "from atlas.window_lives import pairs_of\n\n"
        f"store = Store.open({str(view.store.folder)!r})\n"
        f"run = {view.run!r}\n"
        "pairs = pairs_of(store, run)\n"
        f"found = choose(pairs.components, store.run(run).steps, {scored.low!r}, {scored.high!r}, "
        "seed_of(run))\n"
        "print(found.values, found.score, found.z, found.p, found.p_any)"
    )


def note_of(view: shared.Here, scored: Choice) -> str:
    """What the figure's numbers depend on beside the run."""
    return (f"window {write_window(scored.low, scored.high)} · {SHIFTS} shifts, seed "
            f"{seed_of(view.run)}")


def _tables(view: shared.Here, scored: Choice) -> dict[str, Callable[[], pd.DataFrame]]:
    """What the figures of the view draw, with what it was made from in every row."""
    def scores() -> pd.DataFrame:
        return window_figures.score_table(scored).assign(
            run=view.run, hash=view.card.hash[: shared.HASH],
            window=write_window(scored.low, scored.high), seed=seed_of(view.run), shifts=SHIFTS,
        )

    def metrics() -> pd.DataFrame:
        components = answers.pairs(view.store.digest, view.run).components
        return window_figures.metric_table(scored, components, view.card.steps)

    def changes() -> pd.DataFrame:
        found = answers.movers(
            view.store.digest, view.run, scored.low, scored.high, windows_list.read_sort()
        )
        return pd.DataFrame([dataclasses.asdict(mover) for mover in found.listed])

    tables = {"scores": scores, "metrics": metrics, "what changes most": changes}
    if not isinstance(plane := answers.plane(view.store.digest, view.run), str):
        tables["wishbone"] = lambda: window_wishbone.plane_table(plane)
    return tables
