"""Cached answers about what returns in other runs, keyed by the store's digest."""

import pandas as pd
import streamlit as st

from atlas import seeds
from atlas.seeds import Distribution, Returned
from atlas.stability import SeedGroup
from pages.answers import at


@st.cache_data(max_entries=64, show_spinner=False)
def ways(digest: str, run: str) -> tuple[str, ...]:
    """Ways in which a run was matched."""
    return seeds.ways_of(at(digest), run)


@st.cache_resource(max_entries=32, show_spinner=False)
def distributions(digest: str, run: str, way: str) -> tuple[Distribution, ...]:
    """How well its features are found in other runs."""
    return seeds.distributions(at(digest), run, way)


@st.cache_data(max_entries=64, show_spinner=False)
def by_profile(digest: str, run: str, way: str) -> tuple[Returned, ...]:
    """How its profiles return in other seeds."""
    return seeds.returned_by_profile(at(digest), run, way)


@st.cache_data(max_entries=64, show_spinner=False)
def only_here(digest: str, run: str, way: str, most: int) -> tuple[int, tuple[int, ...]]:
    """What no other seed has."""
    return seeds.only_here(at(digest), run, way, most)


@st.cache_data(max_entries=32, show_spinner=False)
def shared_by_all(digest: str, run: str, way: str, most: int) -> tuple[int, list[SeedGroup]]:
    """What every seed has."""
    return seeds.shared_by_all(at(digest), run, way, most)


@st.cache_data(max_entries=512, show_spinner=False)
def labels(digest: str, run: str, features: tuple[int, ...]) -> list[str]:
    """Labels of some features."""
    return seeds.labels_of(at(digest), run, list(features))


@st.cache_data(max_entries=16, show_spinner=False)
def pairs(digest: str, run: str) -> pd.DataFrame:
    """All runs it was matched with, way by way."""
    return seeds.pairs_frame(at(digest), run)
