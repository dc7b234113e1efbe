"""Cached answers about one prompt under several seeds, keyed by the store's digest.

torch and transformers are imported when the first prompt is read, not before.
"""

from typing import TYPE_CHECKING

import streamlit as st

from atlas import seed_ledger_store, seed_ledgers
from atlas.seed_ledger_store import KeptPrompt, Seeds
from atlas.seed_ledgers import Agreement, Aligned
from pages import answers_decompose, score
from pages.answers import at

if TYPE_CHECKING:
    from atlas.asking import Ask
    from atlas.live import Explanation


@st.cache_data(max_entries=32, show_spinner=False)
def seeds(digest: str, run: str) -> Seeds:
    """The run and the seeds it was matched with."""
    return seed_ledger_store.seeds_of(at(digest), run)


@st.cache_data(max_entries=64, show_spinner=False)
def kept(digest: str, runs: tuple[str, ...], step: int) -> tuple[KeptPrompt, ...]:
    """Prompts that were taken apart with the runs, and whose gates pass."""
    return seed_ledger_store.kept_prompts(at(digest), runs, step)


def explanation(
    digest: str, run: str, prompt: str, position: int, ask: "Ask", step: int, live: bool
) -> "Explanation | None":
    """A score of the prompt by one seed; None if no model is here and its build kept none.

    At every snapshot, as Decompose keeps it; at one where every feature of the dictionary is read.
    """
    if not live:
        return answers_decompose.stored(digest, run, prompt, position, ask, "final")
    if ask.kind == "vocabulary":
        return _at_one_step(digest, run, prompt, position, ask, step)
    return answers_decompose.explanation(digest, run, prompt, position, ask, "final")


@st.cache_resource(
    max_entries=16,  # each holds every feature of the dictionary at a snapshot
    show_spinner="Reading every direction of the dictionary", show_time=True,
)
def _at_one_step(
    digest: str, run: str, prompt: str, position: int, ask: "Ask", step: int
) -> "Explanation":
    from atlas.live import explain

    return explain(at(digest), answers_decompose.reading(digest, run, prompt, position), ask, step)


@st.cache_resource(max_entries=32, show_spinner=False)
def compared(
    digest: str, runs: tuple[str, ...], prompt: str, position: int, ask: "Ask", step: int,
    way: str, live: bool,
) -> tuple[Aligned, tuple[Agreement, ...]]:
    """The ledgers of some seeds with matched features in one line, and how far they agree."""
    ledgers = []
    for run in runs:
        found = explanation(digest, run, prompt, position, ask, step, live)
        assert found is not None, "a seed without an answer is left out before"
        ledgers.append(score.nearest(found, step).ledger)
    groups = seed_ledger_store.groups_of_features(
        at(digest), runs, [ledger.features.tolist() for ledger in ledgers], way)
    found = seed_ledgers.align([(x.features, x.contributions) for x in ledgers], groups)
    return found, seed_ledgers.agreements(found)
