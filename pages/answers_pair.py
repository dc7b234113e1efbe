"""Cached answers about two features side by side, keyed by the store's digest."""

import streamlit as st

from atlas import paired
from atlas.comparing import other_vocabularies
from atlas.matches import MatchInfo
from atlas.paired import Beside, Candidate, Evidence, Pair
from atlas.paired_courses import Cosines
from pages.answers import at


@st.cache_data(max_entries=64, show_spinner=False)
def beside(digest: str, run: str) -> tuple[Beside, ...]:
    """The runs that a run may be set beside."""
    return paired.beside(at(digest), run)


@st.cache_data(max_entries=64, show_spinner=False)
def first_feature(digest: str, run: str, other: str, way: str | None) -> int:
    """The feature that is shown unless one is asked for."""
    return paired.first_feature(at(digest), run, other, way)


@st.cache_data(max_entries=256, show_spinner=False)
def between(digest: str, run: str, feature: int, other: str) -> dict[str, MatchInfo]:
    """The partners of a feature in one other run, way by way."""
    return paired.between(at(digest), run, feature, other)


@st.cache_data(max_entries=256, show_spinner=False)
def candidates(
    digest: str, run: str, feature: int, other: str, way: str
) -> tuple[Candidate, ...]:
    """Features of the other run that may stand beside it."""
    return paired.candidates(at(digest), run, feature, other, way)


@st.cache_data(max_entries=256, show_spinner=False)
def evidence(digest: str, pair: Pair) -> tuple[Evidence, ...]:
    """What every way says of two features."""
    return paired.evidence(at(digest), pair)


@st.cache_data(max_entries=256, show_spinner=False)
def cosines(digest: str, pair: Pair) -> Cosines:
    """The cosine of two directions at every snapshot of both runs."""
    return paired.cosines(at(digest), pair)


@st.cache_data(max_entries=64, show_spinner=False)
def other_words(digest: str, run: str, other: str) -> str:
    """Why the tokens of two runs cannot be compared; '' where they can."""
    store = at(digest)
    return other_vocabularies(store, [store.run(run), store.run(other)])
