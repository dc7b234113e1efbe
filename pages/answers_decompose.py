"""Cached answers of the page Decompose, keyed by the store's digest; see `pages.answers`.

torch and transformers are imported when the first prompt is read, not before.
"""

import threading
from typing import TYPE_CHECKING

import streamlit as st

from atlas.gallery import Entry, listed
from atlas.gallery import stored as stored_of
from atlas.seed_ledger_store import stability_of_features
from atlas.stability import Stability
from pages.answers import at

if TYPE_CHECKING:
    from atlas.asking import Ask
    from atlas.carrying import Chance
    from atlas.live import Explanation
    from atlas.odds import Odds
    from atlas.reading import Reading
    from atlas.rebuilt import OwnAnswer


_TURNS = threading.BoundedSemaphore(2)
"""Prompts that are taken apart at once: more threads than cores only hand the interpreter to and
fro, ten of them took twenty times as long as one."""


@st.cache_resource(max_entries=1, show_spinner=False)
def device() -> str:
    """Where prompts are read: the GPU where there is a working one."""
    from atlas.device import choose_device

    return choose_device().name


@st.cache_resource(
    max_entries=64, show_spinner="Reading the prompt with the language model", show_time=True
)
def reading(digest: str, run: str, prompt: str, position: int) -> "Reading":
    """What the last model reads of a prompt."""
    from atlas.reading import read_prompt

    with _TURNS:
        return read_prompt(at(digest), run, prompt, position, device())


@st.cache_resource(max_entries=16, show_spinner=False)
def gallery(digest: str, run: str) -> tuple[Entry, ...]:
    """The prompts that were taken apart when the run was built."""
    return listed(at(digest), run)


@st.cache_resource(max_entries=32, show_spinner=False)
def stored(
    digest: str, run: str, prompt: str, position: int, ask: "Ask", hidden: str
) -> "Explanation | None":
    """What the build of the run kept of a prompt: no language model is asked."""
    return stored_of(at(digest), run, prompt, position, ask, hidden)


@st.cache_data(max_entries=128, show_spinner=False)
def stability(
    digest: str, run: str, features: tuple[int, ...]
) -> dict[int, tuple[Stability, ...]]:
    """What other seeds say of some features, in one question; empty where none was matched."""
    return stability_of_features(at(digest), run, features)


def explanation(
    digest: str, run: str, prompt: str, position: int, ask: "Ask", hidden: str
) -> "Explanation":
    """A score of the prompt at every snapshot."""
    asked = (digest, run, prompt, position, ask, hidden)
    return _against_average(*asked) if ask.kind == "vocabulary" else _explanation(*asked)


@st.cache_resource(max_entries=64, show_spinner="Taking the score apart", show_time=True)
def _explanation(
    digest: str, run: str, prompt: str, position: int, ask: "Ask", hidden: str
) -> "Explanation":
    from atlas.live import explain

    read = reading(digest, run, prompt, position)
    with _TURNS:
        return explain(at(digest), read, ask, "all", hidden)


@st.cache_resource(
    max_entries=4,  # each holds every feature of the dictionary at every snapshot
    show_spinner="Reading every direction of the dictionary at every snapshot", show_time=True,
)
def _against_average(
    digest: str, run: str, prompt: str, position: int, ask: "Ask", hidden: str
) -> "Explanation":
    from atlas.live import explain

    return explain(at(digest), reading(digest, run, prompt, position), ask, "all", hidden)


@st.cache_resource(max_entries=6, show_spinner=False)
def odds(digest: str, run: str, prompt: str, position: int, hidden: str) -> "Odds":
    """What gives probability and rank of any token at a snapshot, once it has been read there.

    It holds a logit per row and snapshot: six prompts at 50,304 rows and 32 snapshots are 39 MB.
    """
    from atlas.odds import Odds

    return Odds(reading(digest, run, prompt, position), hidden)


@st.cache_data(max_entries=128, show_spinner=False)
def chance_of_begins(
    digest: str, run: str, prompt: str, position: int, ask: "Ask", hidden: str,
    features: tuple[int, ...],
) -> "list[Chance | None]":
    """When features would begin to carry a score if the state pointed anywhere."""
    from atlas import live

    return live.chance_of_begins(
        at(digest), reading(digest, run, prompt, position),
        explanation(digest, run, prompt, position, ask, hidden), features,
    )


@st.cache_resource(max_entries=64, show_spinner="Adding up the whole code", show_time=True)
def alone(
    digest: str, run: str, prompt: str, position: int, step: int, hidden_step: int
) -> "OwnAnswer":
    """What the dictionary alone would answer at a snapshot."""
    from atlas.rebuilt import own_answer

    return own_answer(at(digest), reading(digest, run, prompt, position), step, hidden_step)
