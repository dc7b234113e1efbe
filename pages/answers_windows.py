"""Cached answers about reorganisation windows, keyed by the store's digest."""

import math

import numpy as np
import streamlit as st

from atlas import story as stories
from atlas import theme
from atlas.reorganisation import PairMetrics, score_windows, seed_of
from atlas.spread import MapPoints
from atlas.window_changes import Movers
from atlas.window_changes import movers as read_movers
from atlas.window_choice import Choice, choose, why_no_score
from atlas.window_figures import Own
from atlas.window_lives import lives_of, pairs_of
from atlas.window_wishbone import Plane, plane_figure
from atlas.window_wishbone import plane as read_plane
from atlas.wishbone import wishbone
from pages.answers import at


@st.cache_resource(max_entries=64, show_spinner=False)
def pairs(digest: str, run: str) -> PairMetrics | None:
    """How the population changes between neighbouring snapshots; None where it has no pairs."""
    return pairs_of(at(digest), run)


@st.cache_resource(max_entries=64, show_spinner=False)
def own(digest: str, run: str) -> Own | None:
    """The run's own window: the store's, else scored now without its interval; None without one."""
    card = at(digest).run(run)
    window = card.window
    if window is not None:
        return Own(window.from_step, window.to_step, window.center, window.center_low,
                   window.center_high)
    found = pairs(digest, run)
    if found is None or why_no_score(found.components, card.steps, math.inf):
        return None
    try:
        scored = score_windows(found.components, card.steps, seed_of(run))
    except ValueError:
        return None
    w, best = scored.windows, scored.best
    return Own(float(w.from_step[best]), float(w.to_step[best]), float(w.center[best]),
               math.nan, math.nan)


@st.cache_resource(max_entries=256, show_spinner=False)
def choice(digest: str, run: str, low: float, high: float) -> Choice | None:
    """A window scored; None where the run has no pairs of snapshots."""
    found = pairs(digest, run)
    if found is None:
        return None
    return choose(found.components, at(digest).run(run).steps, low, high, seed_of(run))


@st.cache_resource(max_entries=256, show_spinner=False)
def movers(digest: str, run: str, low: float, high: float, sort: str) -> Movers:
    """The features that change most inside a window."""
    return read_movers(at(digest), run, low, high, sort, seed_of(run))


@st.cache_resource(max_entries=16, show_spinner=False)
def plane(digest: str, run: str) -> Plane | str:
    """The wishbone of a run, or why it has none."""
    store = at(digest)
    card = store.run(run)
    lives = lives_of(store, run)
    found = wishbone(lives.norms, lives.rates, lives.rotation, card.steps, seed_of(run))
    if isinstance(found, str):
        return found
    rates = lives.rates[:, found.features]
    return read_plane(store, run, found, rates / np.maximum(rates.max(axis=0), 1e-12))


@st.cache_resource(max_entries=16, show_spinner=False)
def drawn_plane(
    digest: str, run: str, corners: tuple[tuple[float, float], ...], dark: bool
) -> tuple[dict, MapPoints]:
    """The figure of the wishbone and what it draws; another window leaves both as they are."""
    found = plane(digest, run)
    assert not isinstance(found, str)
    return plane_figure(at(digest), run, found, corners, theme.palette(dark))


@st.cache_resource(max_entries=64, show_spinner=False)
def story(digest: str, run: str) -> tuple[stories.Sentence, ...]:
    """The run's story in five sentences."""
    window = own(digest, run)
    scored = None if window is None else choice(digest, run, window.low, window.high)
    turning = None if window is None else movers(digest, run, window.low, window.high, "turn")
    return stories.tell(at(digest), run, scored, turning, seed_of(run))
