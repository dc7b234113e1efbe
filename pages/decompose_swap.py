"""Decompose, readout swap: the hidden state of one step under the readout of another."""

from typing import TYPE_CHECKING

import streamlit as st

from atlas import markup
from atlas.errors import InvalidValue, NotFound
from pages import answers_swap, decompose_swap_cell, exporting, shared
from pages.browse_map import CLICKS
from pages.seen import Seen

if TYPE_CHECKING:
    from atlas.swap_grid import Grid

CHART = "swap_grid"
WORDS = {
    "nll": "NLL of the target", "delta": "NLL above native", "rank": "rank of the target",
    "p": "probability of the target", "entropy": "entropy", "top1": "top-1 agreement",
    "kl": "KL to native", "r2": "centred logit R²",
}
"""Value of `metric` in the address, and words for it."""
OVER = {"position": "this position", "prompt": "the whole prompt"}
ALIGN = {
    "none": "as they are", "mean": "mean", "scale": "mean and scale", "row_norm": "row lengths",
    "procrustes": "rotation",
}
MEANS = {
    "none": "The rows of the readout are taken as they are.",
    "mean": "The mean row is replaced by that of the state's own step: every logit moves by the "
            "same amount, so without a cap only R² can change.",
    "scale": "Mean row and overall size are brought to those of the state's own step.",
    "row_norm": "Every row is stretched to the length it has at the state's own step.",
    "procrustes": "The centred rows are turned by the rotation that brings them nearest to those "
                  "of the state's own step.",
}


def draw(seen: Seen) -> None:
    """Draw the view."""
    card = seen.view.card
    if len(card.steps) < 2:
        shared.say(
            f"Not available, because {card.run} has one snapshot: there is no other readout to "
            "swap in. A crosscoder of this model over several snapshots has."
        )
        return
    metric = _read("metric", WORDS, "nll")
    over = _read("over", OVER, "position")
    align = _read("align", ALIGN, "none")
    state = _read_state(seen)
    if state is None:
        return
    _draw_controls(seen, metric, over, align, state)
    found = _grid(seen, over, align, state)
    if found is not None:
        _draw_grid(seen, found, metric, state)
    decompose_swap_cell.draw(seen, found, state)


def _read(name: str, known: dict[str, str], usual: str) -> str:
    asked = st.query_params.get(name, usual)
    if asked in known:
        return asked
    shared.say(f"“{shared.clip(asked)}” is no {name}; there are {', '.join(known)}.", "bad")
    return usual


def _states(seen: Seen) -> list[int]:
    """Steps whose hidden state can be read natively."""
    kept = answers_swap.reading(
        seen.view.store.digest, seen.view.run, seen.prompt, seen.position
    ).kept
    return [step for step in kept if step in seen.view.card.steps]


def _read_state(seen: Seen) -> int | None:
    """The hidden step of the address, else the last one."""
    known = _states(seen)
    if not known:
        shared.say(
            f"Not available, because no whole model is kept at a snapshot of {seen.view.run}."
        )
        return None
    asked = st.query_params.get("state")
    if asked is None:
        return known[-1]
    state = shared.whole(asked)
    if state in known:
        return state
    shared.say(
        f"No whole model is kept at step “{shared.clip(asked)}”; there are "
        f"{', '.join(markup.step_name(s) for s in known)}.", "bad",
    )
    return known[-1]


def _draw_controls(seen: Seen, metric: str, over: str, align: str, state: int) -> None:
    known = _states(seen)
    for name, value in (("metric", metric), ("over", over), ("align", align), ("state", state)):
        st.session_state[f"swap_{name}"] = value

    def writes(name: str, usual: object) -> dict:
        key = f"swap_{name}"
        return {"key": key, "on_change": shared.writes(
            name, key, lambda value: None if value == usual else value)}

    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.selectbox("a cell shows", list(WORDS), format_func=WORDS.get, width=210,
                     **writes("metric", "nll"))
        st.segmented_control("over", list(OVER), format_func=OVER.get, required=True,
                             **writes("over", "position"))
        st.segmented_control("readouts aligned by", list(ALIGN), format_func=ALIGN.get,
                             required=True, **writes("align", "none"))
        st.selectbox("hidden state of step", known, format_func=markup.step_name, width=130,
                     **writes("state", known[-1]))


def _grid(seen: Seen, over: str, align: str, state: int) -> "Grid | None":
    """The grid; what takes long says how far it is."""
    place = st.empty()

    def progress(what: str, share: float) -> None:
        place.progress(min(1.0, share), text=f"Swapping readouts: {what}")

    try:
        return answers_swap.grid(
            seen.view.store.digest, seen.view.run, seen.prompt, seen.position,
            seen.found.score.target, over, align, state, progress,
        )
    except (InvalidValue, NotFound) as error:
        shared.say(f"Not available, because {error}.")
        return None
    finally:
        place.empty()


def _draw_grid(seen: Seen, found: "Grid", metric: str, state: int) -> None:
    from atlas import swap_figures, swap_recipe  # torch comes with it

    view = seen.view
    many = found.positions
    what = (
        f"with {seen.found.target_text} as the target" if found.over == "position"
        else f"over {many} prediction{'s' if many > 1 else ''} of the prompt, the next token as "
        "the target"
    )
    shared.caption(
        "Readout swap.",
        f"The hidden state of one step (rows) read with the readout of another (columns): "
        f"{swap_figures.METRICS[metric]}, {what}. Framed in ink is a model's own readout; "
        f"{swap_figures.SCALES[metric]}. {MEANS[found.align]} Click a cell to look at it.",
        tail=_control(found, metric),
    )
    for note in found.notes:
        shared.say(f"{note[0].upper()}{note[1:]}.")

    def opened() -> None:
        chosen = swap_figures.clicked(st.session_state["swap_clicks"].opened, found)
        if chosen is not None:
            last = found.hidden_steps[-1]
            shared.address(step=chosen[1], state=None if chosen[0] == last else chosen[0])
            st.session_state["last_step"] = chosen[1]

    if not shared.as_tables():
        CLICKS(key="swap_clicks", data={"map": CHART}, on_opened_change=opened)
    exporting.chart(
        view,
        swap_figures.grid_figure(found, metric, state, view.step, view.palette),
        CHART,
        f"{swap_figures.METRICS[metric]} of every hidden state under every readout",
        table=lambda: swap_figures.grid_table(found, metric),
        note=f"{found.over}, {found.align}",
    )
    exporting.take_away(
        view,
        swap_recipe.python_of(
            view.run, seen.prompt, seen.position, repr(seen.ask), seen.found.score.target,
            found.over, found.align, state, view.step,
        ),
        {"readout swap": lambda: swap_figures.grid_table(found)},
        "swap",
    )


def _control(found: "Grid", metric: str) -> str:
    """What the same swap gives with the rows dealt out anew, and what knows nothing."""
    from atlas import swap_figures

    low, high = swap_figures.control_range(found, metric)
    said = (
        f"Control: with the rows of the readout dealt out anew among the tokens a cell is "
        f"{low} to {high}, the mean over all ways to deal."
        if low != high else
        f"Control: with the rows of the readout dealt out anew among the tokens a cell is {low}."
    )
    if metric in ("nll", "delta"):
        said += f" Chance is an NLL of log V = {markup.number(swap_figures.even(found), 2)}"
        if found.unigram is not None:
            said += f", the counts of tokens in training give {markup.number(found.unigram, 2)}"
        said += "."
    return said
