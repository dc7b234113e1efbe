"""Cached answers about the dense controls of a run, keyed by the store's digest."""

from dataclasses import dataclass

import numpy as np
import streamlit as st

from atlas import turnover
from atlas.dense import Spectrum, noise_spectrum
from atlas.reorganisation import COMPONENTS, Reorganisation
from atlas.turnover import Born, Control, HeldOut, MatrixCourse
from pages.answers import at


@dataclass(frozen=True)
class Alone:
    """A dictionary of one snapshot: a per-snapshot SAE."""

    run: str
    step: int
    d_sae: int
    explained_variance: float
    l0: float


@st.cache_resource(max_entries=64, show_spinner=False)
def matrix(digest: str, run: str) -> MatrixCourse | None:
    """What the matrix shows by itself."""
    return turnover.matrix_of(at(digest), run)


@st.cache_resource(max_entries=64, show_spinner=False)
def noise(rows: int, width: int) -> Spectrum:
    """The spectrum of as many rows of noise."""
    return noise_spectrum(rows, width)


@st.cache_resource(max_entries=64, show_spinner=False)
def scores(digest: str, run: str) -> dict[str, Reorganisation]:
    """Scored windows of the dictionary by six metrics and by five, of the rows, of the control.

    Under dictionary, five, rows and control; without those that have none.
    """
    store = at(digest)
    steps = store.run(run).steps
    trained = control(digest, run)
    enough = trained is not None and (trained.n_alive or 0) >= turnover.FEW
    own = turnover.pairs_of(store, run)
    wanted = {
        "dictionary": (own, COMPONENTS),
        "five": (own, turnover.ROW_COMPONENTS),
        "rows": (turnover.matrix_pairs_of(store, run), turnover.ROW_COMPONENTS),
        "control": (trained.pairs if trained and enough else None, COMPONENTS),
    }
    found = {
        name: turnover.scored(pairs, steps, run, names)
        for name, (pairs, names) in wanted.items() if pairs is not None
    }
    return {name: scored for name, scored in found.items() if scored is not None}


@st.cache_resource(max_entries=64, show_spinner=False)
def control(digest: str, run: str) -> Control | None:
    """The shuffled-row control."""
    return turnover.control_of(at(digest), run)


@st.cache_resource(max_entries=64, show_spinner=False)
def born(digest: str, run: str) -> Born:
    """How many births the noise floor leaves."""
    return turnover.born_of(at(digest), run)


@st.cache_resource(max_entries=64, show_spinner=False)
def held_out(digest: str, run: str) -> tuple[HeldOut, ...]:
    """Snapshots that the dictionary was not trained on, rebuilt."""
    return turnover.held_out_of(at(digest), run)


@st.cache_resource(max_entries=64, show_spinner=False)
def alone(digest: str, run: str) -> tuple[Alone, ...]:
    """Dictionaries of one snapshot of the same model and matrix, at steps of the run."""
    cards = at(digest).runs()
    own = next(card for card in cards if card.run == run)
    found = [
        Alone(card.run, card.steps[0], card.d_sae, card.explained_variance, card.l0)
        for card in cards
        if card.model_name == own.model_name and card.matrix == own.matrix
        and card.kind != "prism" and len(card.steps) == 1 and card.steps[0] in own.steps
        and np.isfinite(card.explained_variance)
    ]
    return tuple(sorted(found, key=lambda one: (one.step, one.d_sae)))


@st.cache_resource(max_entries=64, show_spinner=False)
def squares(digest: str, run: str) -> dict[str, list[list[float | None]]]:
    """Mean cosine between any two snapshots of the features and of the rows; what is there."""
    store = at(digest)
    found = {"features": turnover.mean_similarity(store, run),
             "rows": turnover.row_similarity(store, run)}
    return {
        name: [[None if np.isnan(v) else float(v) for v in row] for row in square]
        for name, square in found.items() if square is not None and np.isfinite(square).any()
    }
