"""Cached answers of the views readout swap and change it; see `pages.answers`.

What takes long is not cached by a decorator, since it shows how far it is: finished answers are
kept here, a bounded number of them, and one is computed at a time, so that many sessions share the
cores instead of fighting for them.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.answers import at
from pages.answers_decompose import reading

if TYPE_CHECKING:
    from atlas.asking import Ask
    from atlas.continuation import Continuation
    from atlas.editing import Edited
    from atlas.edits import Edit
    from atlas.swap_cell import Swapped
    from atlas.swap_grid import Grid

Progress = Callable[[str, float], None]
KEPT = 64
"""Grids and continuations that are kept, of all sessions."""


class Kept:
    """The last finished answers, and whose turn it is to compute another."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[tuple, Any] = OrderedDict()
        self._lock, self._turn = threading.Lock(), threading.Lock()

    def __len__(self) -> int:
        return len(self._found)

    def get(self, key: tuple) -> Any:
        """An answer, None if it is not there."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
            return self._found.get(key)

    def keep(self, key: tuple, found: Any) -> None:
        """Keep an answer; the one longest unused makes room."""
        with self._lock:
            self._found[key] = found
            while len(self._found) > self._most:
                self._found.popitem(last=False)

    @contextmanager
    def turn(self, progress: Progress) -> Iterator[None]:
        """Wait until nobody else computes; `progress` may raise to give up waiting."""
        while not self._turn.acquire(timeout=0.25):
            progress("waiting for another session's answer", 0.0)
        try:
            yield
        finally:
            self._turn.release()


@st.cache_resource(max_entries=1, show_spinner=False)
def kept() -> Kept:
    """The answers of this process."""
    return Kept(KEPT)


def grid(
    digest: str, run: str, prompt: str, position: int, target: int, over: str, align: str,
    state: int | None, progress: Progress,
) -> "Grid":
    """The grid of readout swaps of a prompt; `progress` is told of it if it is not kept."""
    from atlas.swap_grid import swap_grid

    row = state if align == "procrustes" else None
    key = ("grid", digest, run, prompt, position, target if over == "position" else None, over,
           align, row)
    found = kept().get(key)
    if found is None:
        read = reading(digest, run, prompt, position)
        with kept().turn(progress):
            found = swap_grid(read, target, over, align, row, progress)
        kept().keep(key, found)
    return found


@st.cache_resource(max_entries=64, show_spinner="Reading both readouts", show_time=True)
def cell(
    digest: str, run: str, prompt: str, position: int, ask: "Ask", state: int, step: int
) -> "Swapped":
    """One cell of the grid."""
    from atlas.swap_cell import swap_cell

    return swap_cell(at(digest), reading(digest, run, prompt, position), ask, state, step)


@st.cache_resource(
    max_entries=64, show_spinner="Editing the hidden state, and random ones", show_time=True
)
def edited(
    digest: str, run: str, prompt: str, position: int, ask: "Ask", edit: "Edit", step: int,
    hidden_step: int, seed: int,
) -> "Edited":
    """What an edit does, beside random features."""
    from atlas.editing import edit_prompt

    read = reading(digest, run, prompt, position)
    return edit_prompt(at(digest), read, ask, edit, step, hidden_step, seed=seed)


def continuation(
    digest: str, run: str, prompt: str, position: int, edit: "Edit", random: tuple[int, ...],
    step: int, hidden_step: int, most: int, progress: Callable[["Continuation"], None],
) -> "Continuation":
    """What is written with and without an edit; `progress` is shown every token."""
    from atlas.continuation import continue_prompt

    key = ("text", digest, run, prompt, position, edit, random, step, hidden_step, most)
    found = kept().get(key)
    if found is None:
        read = reading(digest, run, prompt, position)
        for found in continue_prompt(read, edit, random, step, hidden_step, most):
            progress(found)
        kept().keep(key, found)
    return found
