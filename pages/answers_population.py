"""Cached answers about the population of a run, keyed by the store's digest."""

import numpy as np
import pandas as pd
import streamlit as st

from atlas import population_store
from atlas.figures import Band
from atlas.population import Correction, RankCurves, Spectrum
from atlas.population_store import Ordered, Profiles
from atlas.survival import Survival
from atlas.turnover import mean_similarity
from pages.answers import at, comments


@st.cache_data(max_entries=32, show_spinner=False)
def table(digest: str, run: str) -> pd.DataFrame:
    """Births by every convention, peaks, deaths and living features per snapshot."""
    return population_store.population_table(at(digest), run)


@st.cache_data(max_entries=32, show_spinner=False)
def correction(digest: str, run: str) -> Correction:
    """What becomes of the births when the noise floor is taken off."""
    return population_store.corrected(at(digest), run)


@st.cache_resource(max_entries=6, show_spinner=False)
def lives(digest: str, run: str, order: str, convention: str, change: tuple[int, int]) -> Ordered:
    """All lives as one picture, sorted."""
    return population_store.ordered_lives(at(digest), run, order, convention, change)


@st.cache_data(max_entries=32, show_spinner=False)
def profiles(digest: str, run: str) -> Profiles:
    """Profiles with intervals and null, and features standing by profile and snapshot."""
    return population_store.profile_table(at(digest), run)


@st.cache_data(max_entries=32, show_spinner=False)
def survival(digest: str, run: str, convention: str) -> dict[str, Survival]:
    """How long born features stand, by how early they are born."""
    return population_store.survival_curves(at(digest), run, convention)


@st.cache_data(max_entries=32, show_spinner=False)
def spectrum(digest: str, run: str) -> Spectrum | None:
    """How far directions turn, pair by pair."""
    return population_store.rotation_spectrum(at(digest), run)


@st.cache_data(max_entries=32, show_spinner=False)
def ranks(digest: str, run: str) -> RankCurves | None:
    """Rates by rank at every snapshot."""
    return population_store.rate_ranks(at(digest), run)


@st.cache_data(max_entries=32, show_spinner=False)
def bands(digest: str, run: str) -> dict[str, Band]:
    """How norm and rate of live features are spread, per snapshot; a measure that the store has
    not is missing."""
    opened = at(digest)
    frame, steps = opened.population(run), opened.run(run).steps
    found = {}
    for name in ("norm", "rate"):
        rows = frame[frame["metric"] == name].set_index("k")
        quantiles = rows[["q05", "q25", "q50", "q75", "q95"]]
        if len(rows):
            found[name] = Band([
                quantiles.loc[k].tolist() if k in quantiles.index else [None] * 5
                for k in range(len(steps))
            ])
    return found


@st.cache_data(max_entries=32, show_spinner=False)
def mean_cosines(digest: str, run: str) -> list[list[float | None]] | None:
    """Mean cosine of live directions at every two snapshots; None where the store has none."""
    if "similarity_mean" not in comments(digest):
        return None
    found = mean_similarity(at(digest), run)
    if found is None:
        return None
    return [[None if np.isnan(v) else v for v in row] for row in found.tolist()]
