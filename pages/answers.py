"""Cached answers of the store: everything a page asks more than once, keyed by its digest.

Only this file and `pages.shared` cache; every cache is bounded.
"""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from atlas import figures, theme
from atlas.places import store_from_environment
from atlas.records import FeatureCard, Filters, TokenCard
from pages.shared import store

if TYPE_CHECKING:
    from atlas.live import Explanation


@st.cache_data(max_entries=256, show_spinner=False)
def feature_card(digest: str, run: str, feature: int) -> FeatureCard:
    """Everything about one feature."""
    return store().feature(run, feature)


@st.cache_data(max_entries=256, show_spinner=False)
def token_card(digest: str, run: str, token: int) -> TokenCard:
    """Everything about one token in one run."""
    return store().token(run, token)


@st.cache_data(max_entries=64, show_spinner=False)
def births(digest: str, run: str) -> pd.DataFrame:
    """Births, deaths and fidelity per snapshot."""
    return store().births(run)


@st.cache_data(max_entries=256, show_spinner=False)
def browse(
    digest: str, run: str, sort: str, descending: bool, filters: Filters, limit: int, offset: int
) -> tuple[int, pd.DataFrame]:
    """One page of features."""
    return store().browse(run, sort, descending, filters, limit, offset)


@st.cache_data(max_entries=256, show_spinner=False)
def search_tokens(digest: str, model: str, text: str, mode: str, limit: int) -> pd.DataFrame:
    """Tokens whose text matches."""
    return store().search_tokens(model, text, mode, limit)


@st.cache_data(max_entries=4, show_spinner=False)
def comments(digest: str) -> dict[str, dict[str, str]]:
    """What every column means."""
    return store().column_comments()


@st.cache_resource(max_entries=64, show_spinner=False)
def life_skeleton(digest: str, run: str, dark: bool) -> dict:
    """The part of a life figure that all features of a run share."""
    opened = store()
    card = opened.run(run)
    frame = opened.population(run)
    bands = {}
    for key in ("norm", "rate", "rotation", "to_terminal"):
        rows = frame[frame["metric"] == key].set_index("k")
        quantiles = rows[["q05", "q25", "q50", "q75", "q95"]].to_dict("index")
        empty = [None] * 5
        bands[key] = figures.Band(
            [list(quantiles[k].values()) if k in quantiles else empty
             for k in range(len(card.steps))]
        )
    n_rows = len(opened.token_texts(card.model))
    return figures.life_skeleton(card.steps, bands, n_rows, theme.palette(dark))


@st.cache_data(max_entries=256, show_spinner=False)
def order_from(digest: str, run: str, offset: int) -> tuple[int, list[int]]:
    """Number of features of a run, and 500 of them by contribution from a place on."""
    total, frame = store().browse(run, "contribution", True, None, 500, offset)
    return total, frame["feature"].tolist()


def place_in_order(digest: str, run: str, feature: int) -> tuple[int, int, int | None, int | None]:
    """Place of a feature by contribution from 1, their number, the one before, the one after."""
    seen: list[int] = []
    total = 1
    while len(seen) < total and feature not in seen[:-1]:
        total, more = order_from(digest, run, len(seen))
        seen += more
    place = seen.index(feature)
    before = seen[place - 1] if place > 0 else None
    after = seen[place + 1] if place + 1 < len(seen) else None
    return place + 1, total, before, after


@st.cache_data(max_entries=128, show_spinner="Reading the row at every snapshot")
def explained_shares(digest: str, run: str, token: int) -> np.ndarray:
    """Share of a token's row that the dictionary explains, per snapshot; torch is imported here."""
    from atlas.row_share import explained_shares as read

    opened = store()
    features, p = opened.code_of_tokens(run, [token])[token]
    return read(
        store_from_environment(), opened.run(run), token, features, p, opened.standardization(run)
    )


@st.cache_data(
    max_entries=32, show_spinner="Reading the prompt with the language model", show_time=True
)
def explain(
    digest: str,
    run: str,
    prompt: str,
    position: int,
    target: str | int | None,
    versus: str | int | None,
    hidden: str,
) -> "Explanation":
    """A decomposition at every snapshot; torch and transformers are imported here."""
    from atlas.live import decompose_prompt

    return decompose_prompt(
        store(), run, prompt, target=target, versus=versus, step="all", position=position,
        hidden=hidden,
    )
