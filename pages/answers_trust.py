"""Cached answers about how far a dictionary may be trusted, keyed by the store's digest."""

import pandas as pd
import streamlit as st

from atlas import trust as reader
from atlas.trust import Trust
from pages.answers import at


@st.cache_resource(max_entries=16, show_spinner=False)
def trust(digest: str, run: str) -> Trust:
    """What a run was tried with, and what came of it."""
    return reader.trust(at(digest), run)


@st.cache_data(max_entries=8, show_spinner=False)
def cases(digest: str, run: str) -> pd.DataFrame:
    """The contrasts of the bank."""
    return reader.cases(at(digest), run)


@st.cache_data(max_entries=32, show_spinner=False)
def kinds(digest: str, run: str) -> pd.DataFrame:
    """How the kinds of contrasts fare."""
    return reader.kinds(at(digest), run)


@st.cache_data(max_entries=32, show_spinner=False)
def settled(digest: str, run: str) -> tuple[int, float]:
    """How many cases pass at the end, and from which snapshot half of them do for good."""
    return reader.settled(at(digest), run)
