"""Cached answers about several runs side by side, keyed by the store's digest."""

import streamlit as st

from atlas import comparing, crystallise_store, instruments, scales
from atlas.crystallise_store import Concept, Crystal
from atlas.instruments import Point
from atlas.read_write import Lead
from atlas.scales import Shares
from atlas.scales_figures import Side
from pages.answers import at


@st.cache_resource(max_entries=64, show_spinner=False)
def side(digest: str, run: str, convention: str) -> Side:
    """One run's births, profiles, windows and quality; its name is set where it is drawn."""
    store = at(digest)
    card = store.run(run)
    why = scales.no_time(card)
    ev, l0 = scales.fidelity_of(store, card)
    return Side(
        card, run, None if why else scales.births_of(store, run, convention),
        None if why else scales.profiles_of(store, run), scales.windows_of(store, run), why,
        scales.why_no_windows(store, card), ev, l0,
    )


@st.cache_data(max_entries=64, show_spinner=False)
def leads(
    digest: str, runs: tuple[str, ...], convention: str
) -> list[tuple[str, Lead | None, float]]:
    """How much later features of the other runs are born than those of the first, with p."""
    store = at(digest)
    found = scales.leads(store, [store.run(run) for run in runs], convention)
    return [(card.run, lead, p) for card, lead, p in found]


@st.cache_data(max_entries=64, show_spinner=False)
def shares(digest: str, run: str, scheme: str) -> Shares:
    """Live features by label, beside the vocabulary."""
    store = at(digest)
    return scales.shares_of(store, store.run(run), scheme)


@st.cache_data(max_entries=32, show_spinner=False)
def other_vocabularies(digest: str, runs: tuple[str, ...]) -> str:
    """Why tokens of the runs cannot be compared; ''."""
    store = at(digest)
    return comparing.other_vocabularies(store, [store.run(run) for run in runs])


@st.cache_data(max_entries=32, show_spinner=False)
def conventions(digest: str, runs: tuple[str, ...]) -> list[str]:
    """The conventions that every run has births by."""
    store = at(digest)
    return scales.conventions_of(store, [store.run(run) for run in runs])


@st.cache_data(max_entries=32, show_spinner=False)
def common_tokens(
    digest: str, runs: tuple[str, ...], concept: Concept
) -> tuple[dict[str, object], int]:
    """The tokens of a concept in every run's vocabulary, and how many are not in all of them."""
    store = at(digest)
    return crystallise_store.common_tokens(store, [store.run(run) for run in runs], concept)


@st.cache_resource(max_entries=64, show_spinner=False)
def crystal(digest: str, run: str, tokens: tuple[int, ...], convention: str) -> Crystal:
    """Which features of a run hold some tokens beyond chance."""
    store = at(digest)
    return crystallise_store.crystal(
        store, store.run(run), crystallise_store.ids(tokens), convention)


@st.cache_data(max_entries=32, show_spinner=False)
def set_names(digest: str, run: str, kind: str) -> list[str]:
    """The named sets of tokens of a kind."""
    store = at(digest)
    return crystallise_store.set_names(store, store.run(run), kind)


@st.cache_data(max_entries=4, show_spinner=False)
def points(digest: str) -> tuple[Point, ...]:
    """Every released figure and every run of the store."""
    return instruments.points(at(digest))
