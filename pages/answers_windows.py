"""Cached answers about reorganisation windows, keyed by the store's digest."""

import math

import numpy as np
import streamlit as st

from atlas import story as stories
from atlas.reorganisation import PairMetrics, score_windows, seed_of
from atlas.window_changes import Movers
from atlas.window_changes import movers as read_movers
from atlas.window_choice import Choice, choose, why_no_score
from atlas.window_figures import Own
from atlas.window_lives import lives_of, pairs_of
from atlas.window_wishbone import Plane
from atlas.window_wishbone import plane as read_plane
from atlas.wishbone import wishbone
from pages.answers import _at


@st.cache_resource(max_entries=64, show_spinner=False)
def pairs(digest: str, run: str) -> PairMetrics | None:
    """How the population changes between neighbouring snapshots; None where it has no pairs."""
    return pairs_of(_at(digest), run)


@st.cache_resource(max_entries=64, show_spinner=False)
def own(digest: str, run: str) -> Own | None:
    """The run's own window: the store's, else scored now without its interval; None without one."""
    card = _at(digest).run(run)
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
    return choose(found.components, _at(digest).run(run).steps, low, high, seed_of(run))


@st.cache_resource(max_entries=256, show_spinner=False)
def movers(digest: str, run: str, low: float, high: float, sort: str) -> Movers:
    """The features that change most inside a window."""
    return read_movers(_at(digest), run, low, high, sort, seed_of(run))


@st.cache_resource(max_entries=16, show_spinner=False)
def plane(digest: str, run: str) -> Plane | str:
    """The wishbone of a run, or why it has none."""
    store = _at(digest)
    card = store.run(run)
    lives = lives_of(store, run)
    found = wishbone(lives.norms, lives.rates, lives.rotation, card.steps, seed_of(run))
    if isinstance(found, str):
        return found
    rates = lives.rates[:, found.features]
    return read_plane(store, run, found, rates / np.maximum(rates.max(axis=0), 1e-12))


@st.cache_resource(max_entries=64, show_spinner=False)
def story(digest: str, run: str) -> tuple[stories.Sentence, ...]:
    """The run's story in five sentences."""
    at = own(digest, run)
    scored = None if at is None else choice(digest, run, at.low, at.high)
    turning = None if at is None else movers(digest, run, at.low, at.high, "turn")
    return stories.tell(_at(digest), run, scored, turning, seed_of(run))
