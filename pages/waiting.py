"""A prompt's place in the queue, in sight while it waits to be read.

The page asks a thread to have the prompt read and looks at its ticket several times a second, so a
reader who stops it, or goes elsewhere, leaves the queue at once and keeps nobody waiting.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import streamlit as st

from pages import shared

if TYPE_CHECKING:
    from atlas.forward import Ticket
    from atlas.reading import Reading

PATIENCE = 0.4
"""Seconds before anything is said: most prompts have been read by then."""
LOOK = 0.15
"""Seconds between two looks."""
_READERS = ThreadPoolExecutor(max_workers=64, thread_name_prefix="prompt")
"""One thread for each prompt that waits; they sleep until their turn has come."""


class Waiting:
    """A prompt that is being read by a thread of its own."""

    def __init__(self, view: shared.Here, prompt: str, device: str) -> None:
        """Hand the prompt in."""
        from atlas.reading import read_prompt

        self._ticket: Ticket | None = None
        self._left = False
        self._future: Future[Reading] = _READERS.submit(
            read_prompt, view.store, view.run, prompt, device=device, tell=self._told
        )

    def _told(self, ticket: "Ticket") -> None:
        self._ticket = ticket
        if self._left:
            ticket.give_up()

    def done(self, seconds: float) -> bool:
        """Whether it has been read, or cannot be, within so many seconds."""
        try:
            self._future.exception(timeout=seconds)
        except TimeoutError:
            return False
        return True

    def leave(self) -> None:
        """Give the place in the queue up; nothing happens if the prompt has been read."""
        self._left = True
        self._future.cancel()
        if self._ticket is not None:
            self._ticket.give_up()

    def line(self, seconds: float) -> str:
        """What is going on, after so many seconds."""
        if self._ticket is None:
            doing = "The language model is being loaded"
        elif self._ticket.before == 0:
            doing = "The language model is reading the prompt"
        elif self._ticket.before == 1:
            doing = "One other prompt is read before this one"
        else:
            doing = f"{self._ticket.before} other prompts are read before this one"
        return f"{doing} … {seconds:.0f} s"


def wait_for(view: shared.Here, prompt: str, device: str) -> bool:
    """Have a prompt read and show its place in the queue meanwhile; False if it was stopped."""
    this = (view.store.digest, view.run, prompt)
    if st.session_state.get("prompt_read") == this:
        return True
    if st.session_state.get("prompt_stopped") == this:
        shared.say("Stopped: this prompt was not read.")
        st.button("Read it after all", key="prompt_again", on_click=_again)
        return False
    waiting, begun = Waiting(view, prompt, device), time.monotonic()
    try:
        if not waiting.done(PATIENCE):
            _show(waiting, begun, this)
    finally:
        waiting.leave()
    st.session_state["prompt_read"] = this
    return True


def _show(waiting: Waiting, begun: float, this: tuple[str, str, str]) -> None:
    """The line and the way out, until the prompt has been read."""
    place = st.empty()
    with place.container(horizontal=True, vertical_alignment="center", key="prompt_waits"):
        line = st.empty()
        st.button("Stop", key="prompt_stop", on_click=_stop, args=(this,))
    while True:
        with line:
            shared.say(waiting.line(time.monotonic() - begun))
        if waiting.done(LOOK):
            break
    place.empty()


def _stop(this: tuple[str, str, str]) -> None:
    st.session_state["prompt_stopped"] = this


def _again() -> None:
    st.session_state.pop("prompt_stopped", None)
