"""What the model goes on to write, without the edit, with it and with random features."""

from typing import TYPE_CHECKING

import streamlit as st

from atlas.errors import AtlasError
from pages import answers_swap, shared
from pages.seen import Seen

if TYPE_CHECKING:
    from atlas.continuation import Continuation
    from atlas.editing import Edited

LENGTHS = (8, 16, 24)
"""Tokens that may be asked for by a button."""
STRIDE = 4
"""Tokens that are written between two looks: a look at the whole text is several kB."""
TAIL = 4
"""Tokens of the prompt shown before what is written."""


def asked_length() -> int:
    """Tokens that the address asks for, 0 for none; what is wrong is 0."""
    return min(shared.whole(st.query_params.get("more", "0")) or 0, LENGTHS[-1])


def draw(seen: Seen, found: "Edited") -> None:
    """The continuations, where they are asked for."""
    asked = st.query_params.get("more")
    most = asked_length()
    if asked is not None and str(most) != asked:
        shared.say(
            f"“{shared.clip(asked)}” tokens cannot be written; 1 to {LENGTHS[-1]} can.", "bad"
        )
    swapped = "" if found.step == found.hidden_step else (
        f" The model is that of step {found.hidden_step:,}, the readout that of step "
        f"{found.step:,}."
    )
    shared.caption(
        "What is written.",
        "The likeliest token is taken each time, and the edit is applied to what the head reads at "
        "every step. Beside it the first draw of random features, its shift as long at every step. "
        f"In colour is what differs from the unedited text.{swapped}",
    )
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        for length in LENGTHS:
            st.button(
                f"write {length} tokens", key=f"edit_more_{length}", disabled=length == most,
                on_click=shared.address, kwargs={"more": length}, type="tertiary",
            )
        if most:
            st.button("Stop, or leave it out", key="edit_stop", type="tertiary",
                      on_click=shared.address, kwargs={"more": None})
    if most:
        _draw_written(seen, found, most)


def _draw_written(seen: Seen, found: "Edited", most: int) -> None:
    from atlas import edit_figures

    view = seen.view
    tail = "".join(seen.found.texts[: seen.found.position + 1][-TAIL:])
    place, bar = st.empty(), st.empty()

    def progress(now: "Continuation") -> None:
        if now.done % STRIDE == 1:
            place.html(edit_figures.written(now, tail))
        bar.progress(now.done / now.most, text=f"Writing: {now.done} of {now.most} tokens")

    try:
        text = answers_swap.continuation(
            view.store.digest, view.run, seen.prompt, seen.position, found.edit,
            found.draws[0].features if found.draws else (), found.step, found.hidden_step, most,
            progress,
        )
    except AtlasError as error:
        shared.say(f"Not available, because {error}.")
        return
    finally:
        bar.empty()
    place.html(edit_figures.written(text, tail))
