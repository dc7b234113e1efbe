"""Cached answers about what returns in other runs, keyed by the store's digest."""

import numpy as np
import pandas as pd
import streamlit as st

from atlas import seed_others, seed_population, seed_strata, seeds
from atlas.matches import SplitInfo
from atlas.reorganisation import log_time
from atlas.seed_others import Unmatched
from atlas.seed_population import Apart, BirthsApart
from atlas.seed_strata import Strata, Whole
from atlas.seeds import Alone, Distribution, Others
from atlas.stability import SeedGroup
from pages import answers_comparison
from pages.answers import at

Splits = tuple[int, tuple[SplitInfo, ...]]


@st.cache_data(max_entries=64, show_spinner=False)
def ways(digest: str, run: str) -> tuple[str, ...]:
    """Ways in which a run was matched."""
    return seeds.ways_of(at(digest), run)


@st.cache_data(max_entries=64, show_spinner=False)
def others(digest: str, run: str, way: str) -> Others:
    """The runs that it is looked for in."""
    return seeds.others_of(at(digest), run, way)


@st.cache_data(max_entries=64, show_spinner=False)
def whole(digest: str, run: str, way: str) -> Whole | None:
    """What returns of a run as a whole."""
    return seed_strata.whole_of(at(digest), run, way)


@st.cache_resource(max_entries=32, show_spinner=False)
def distributions(digest: str, run: str, way: str) -> tuple[Distribution, ...]:
    """How well its features are found in other runs."""
    return seeds.distributions(at(digest), run, way)


@st.cache_data(max_entries=64, show_spinner=False)
def strata(digest: str, run: str, way: str, by: str, convention: str) -> Strata:
    """How features of every kind return."""
    return seed_strata.strata_of(at(digest), run, way, by, convention)


@st.cache_data(max_entries=64, show_spinner=False)
def only_here(digest: str, run: str, way: str, most: int) -> tuple[int, tuple[Alone, ...]]:
    """What no other seed has."""
    return seeds.only_here(at(digest), run, way, most)


@st.cache_data(max_entries=32, show_spinner=False)
def shared_by_all(digest: str, run: str, way: str, most: int) -> tuple[int, list[SeedGroup]]:
    """What every seed has."""
    return seeds.shared_by_all(at(digest), run, way, most)


@st.cache_data(max_entries=64, show_spinner=False)
def splits(digest: str, run: str, way: str, most: int) -> tuple[Splits, Splits]:
    """What is several elsewhere, and what is one."""
    return seeds.splits(at(digest), run, way, most)


@st.cache_data(max_entries=64, show_spinner=False)
def not_matched(digest: str, run: str, way: str) -> tuple[Unmatched, ...]:
    """The runs that it was not matched with, and why."""
    return seed_others.not_matched(at(digest), run, way)


@st.cache_data(max_entries=512, show_spinner=False)
def labels(digest: str, run: str, features: tuple[int, ...]) -> list[str]:
    """Labels of some features."""
    return seeds.labels_of(at(digest), run, list(features))


@st.cache_data(max_entries=16, show_spinner=False)
def pairs(digest: str, run: str) -> pd.DataFrame:
    """All runs it was matched with, way by way."""
    return seeds.pairs_frame(at(digest), run)


@st.cache_resource(max_entries=32, show_spinner=False)
def births_apart(digest: str, runs: tuple[str, ...], convention: str) -> BirthsApart | None:
    """How far births of some seeds lie apart, beside chance."""
    sides = [answers_comparison.side(digest, run, convention) for run in runs]
    if not sides or any(side.births is None for side in sides):
        return None
    return seed_population.births_apart(
        np.stack([side.births.counts for side in sides]),
        [side.births.n_alive - side.births.n_born for side in sides],
        log_time(sides[0].card.steps),
    )


@st.cache_data(max_entries=32, show_spinner=False)
def profiles_apart(digest: str, runs: tuple[str, ...], convention: str) -> tuple[Apart, ...]:
    """How far their profiles do."""
    sides = [answers_comparison.side(digest, run, convention) for run in runs]
    if any(side.profiles is None for side in sides):
        return ()
    return seed_population.profiles_apart([side.profiles.found.counts for side in sides])
