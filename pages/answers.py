"""Cached answers of the store: everything a page asks more than once, keyed by its digest.

Only the files `answers*.py` and `pages.shared` cache; every cache is bounded.
"""

import numpy as np
import pandas as pd
import streamlit as st

from atlas import browsing, changes, detail, feature_export, figures, rankings, theme
from atlas.collections import Entry
from atlas.columns import course_of, number_columns
from atlas.detail import RowCourse
from atlas.examples import Examples
from atlas.examples import examples as examples_of
from atlas.kept import Known, known
from atlas.life_marks import Span
from atlas.matches import MatchInfo, matches_of, other_runs
from atlas.near_rows import NearRows
from atlas.near_rows import nearest_rows as read_near
from atlas.places import store_from_environment
from atlas.records import FeatureCard, NeighbourList, TokenCard
from atlas.row_parts import RowParts
from atlas.row_parts import row_parts as read_parts
from atlas.row_population import row_bands as read_bands
from atlas.spread import Histogram, MapPoints
from atlas.stability import Stability, stability_of
from atlas.store import Store
from atlas.token_search import find_tokens as search
from atlas.wishes import Wish
from pages.shared import store

SHOWN = ("trajectory", "terminal", "tokens")
"""Ways of matching that a feature's counterparts are listed by; lives alone tell none apart."""


def at(digest: str) -> Store:
    """The store at the generation that the page is drawn from.

    If another one was published since the page began, the page begins anew: an answer of one
    generation must not be kept under the name of another.
    """
    found = store()
    if found.digest != digest:
        st.rerun()
    return found


@st.cache_data(max_entries=256, show_spinner=False)
def feature_card(digest: str, run: str, feature: int) -> FeatureCard:
    """Everything about one feature."""
    return at(digest).feature(run, feature)


@st.cache_data(max_entries=256, show_spinner=False)
def token_card(digest: str, run: str, token: int) -> TokenCard:
    """Everything about one token in one run."""
    return at(digest).token(run, token)


@st.cache_data(max_entries=64, show_spinner=False)
def births(digest: str, run: str) -> pd.DataFrame:
    """Births, deaths and fidelity per snapshot."""
    return at(digest).births(run)


@st.cache_data(max_entries=4, show_spinner=False)
def comments(digest: str) -> dict[str, dict[str, str]]:
    """What every column means."""
    return at(digest).column_comments()


@st.cache_resource(max_entries=64, show_spinner=False)
def life_skeleton(digest: str, run: str, dark: bool) -> dict:
    """The part of a life figure that all features of a run share."""
    opened = at(digest)
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
    window = None if card.window is None else Span(
        card.window.from_step, card.window.to_step
    )
    return figures.life_skeleton(card.steps, bands, n_rows, theme.palette(dark), window=window)


# --- one feature beyond its card -------------------------------------------------------------


def not_derived(run: str) -> str:
    """Why the store has nothing to say where a newer build would."""
    return f"this store was built without it; `readout-atlas build {run} --force` derives it"


@st.cache_resource(max_entries=64, show_spinner=False)
def promoted_null(digest: str, run: str) -> rankings.Null | None:
    """What random directions promote in the run's rows."""
    return rankings.null_of(at(digest).null_of(run))


@st.cache_data(max_entries=256, show_spinner=False)
def level_changes(digest: str, run: str, feature: int) -> tuple[changes.Change, ...]:
    """All changes of level of a feature's norm."""
    card = feature_card(digest, run, feature)
    return changes.changes(card.norm, card.steps)


@st.cache_data(max_entries=256, show_spinner=False)
def similarity(digest: str, run: str, feature: int) -> list[list[float | None]] | None:
    """Cosine of a feature's directions at every two snapshots."""
    found = detail.similarity(at(digest), run, feature)
    if found is None:
        return None
    return [[None if np.isnan(v) else v for v in row] for row in found.tolist()]


@st.cache_data(max_entries=256, show_spinner=False)
def neighbours_at(digest: str, run: str, feature: int, k: int) -> NeighbourList:
    """The nearest features at a snapshot; empty if not derived."""
    return detail.neighbours_at(at(digest), run, feature, k)


@st.cache_data(max_entries=256, show_spinner=False)
def norms(digest: str, run: str, features: tuple[int, ...]) -> list[list[float | None]]:
    """Norms of some features through training, in the order asked for."""
    if not features:
        return []
    found = dict(zip(sorted(features), at(digest).norms_of_features(run, features), strict=True))
    return [[None if np.isnan(v) else v for v in found[f].tolist()] for f in features]


@st.cache_data(max_entries=512, show_spinner=False)
def place(
    digest: str, run: str, k: int, wish: browsing.Wish, feature: int
) -> tuple[browsing.Place, browsing.Order]:
    """Where a feature stands in a list, and what the list is ordered by."""
    opened = at(digest)
    order, _ = browsing.order_of(opened, run, wish)
    return browsing.place(opened, run, k, wish, feature), order


@st.cache_data(max_entries=256, show_spinner=False)
def examples(digest: str, run: str, feature: int) -> Examples:
    """Where the evaluation text reads a feature's direction, or why there is nothing to show."""
    return examples_of(at(digest), run, feature)


@st.cache_data(max_entries=256, show_spinner=False)
def matches(digest: str, run: str, feature: int) -> tuple[MatchInfo, ...]:
    """A feature's counterparts in other runs; one question less where there are none."""
    if not matched_runs(digest, run):
        return ()
    return matches_of(at(digest), run, feature, SHOWN)


@st.cache_data(max_entries=256, show_spinner=False)
def stability(digest: str, run: str, feature: int) -> tuple[Stability, ...]:
    """What other seeds say of a feature; empty where none was matched."""
    return stability_of(at(digest), run, feature)


@st.cache_data(max_entries=64, show_spinner=False)
def matched_runs(digest: str, run: str) -> list[str]:
    """Runs that this one has been matched with."""
    return other_runs(at(digest), run, SHOWN)


def life_table(digest: str, run: str, feature: int) -> pd.DataFrame:
    """A feature's measures as a table, one row per snapshot."""
    table = feature_export.life_table(feature_card(digest, run, feature))
    return table.drop(columns=["promoted", "suppressed"])


@st.cache_data(max_entries=128, show_spinner=False)
def known_entries(digest: str, entries: tuple[Entry, ...]) -> list[Known]:
    """What the store knows of the entries of a collection."""
    return known(at(digest), entries)


@st.cache_data(max_entries=128, show_spinner=False)
def row_parts(digest: str, run: str, token: int) -> RowParts:
    """What each feature supplies of a token's row, read from the matrices."""
    opened = at(digest)
    return read_parts(
        store_from_environment(), opened.run(run), token_card(digest, run, token),
        opened.standardization(run),
    )


@st.cache_data(max_entries=512, show_spinner=False)
def nearest_rows(digest: str, run: str, token: int, k: int) -> NearRows:
    """The rows nearest a token's row at one snapshot, read from its file."""
    opened = at(digest)
    standards = opened.standardization(run)
    mean = None if standards is None else standards[0][k]
    return read_near(store_from_environment(), opened.run(run), k, token, mean)


@st.cache_data(max_entries=256, show_spinner=False)
def row_course(digest: str, run: str, token: int) -> RowCourse | None:
    """How a token's row moves and how much of it is explained; None where it is not kept."""
    return detail.row_course(at(digest), run, token)


@st.cache_data(max_entries=64, show_spinner=False)
def row_bands(digest: str, run: str) -> dict[str, figures.Band]:
    """How all rows of a run are spread."""
    return read_bands(at(digest), run)


@st.cache_data(max_entries=256, show_spinner=False)
def find_tokens(digest: str, run: str, text: str, match: str, limit: int) -> pd.DataFrame:
    """Tokens of a run's language model whose text matches."""
    return search(at(digest), run, text, match, limit)


# --- Browse ----------------------------------------------------------------------------------


@st.cache_data(max_entries=256, show_spinner=False)
def page(
    digest: str, run: str, k: int, wish: Wish, limit: int, offset: int, columns: tuple[str, ...]
) -> browsing.Page:
    """One page of the list."""
    return browsing.page(at(digest), run, k, wish, limit, offset, columns)


@st.cache_data(max_entries=256, show_spinner=False)
def histograms(
    digest: str, run: str, k: int, wish: Wish, names: tuple[str, ...]
) -> dict[str, Histogram]:
    """How the list is spread over some measures and categories."""
    return browsing.histograms(at(digest), run, k, wish, names, bins=20)


@st.cache_data(max_entries=16, show_spinner=False)
def map_points(digest: str, run: str, k: int, wish: Wish, colour: str, most: int) -> MapPoints:
    """The list on the map."""
    return browsing.map_points(at(digest), run, k, wish, colour, most)


@st.cache_data(max_entries=64, show_spinner=False)
def categories(digest: str, run: str) -> dict[str, list[tuple[str, int]]]:
    """The values of every category with their number of features."""
    return browsing.categories(at(digest), run)


@st.cache_data(max_entries=64, show_spinner=False)
def has_seeds(digest: str, run: str) -> bool:
    """Whether other seeds of the run were matched."""
    opened = at(digest)
    steps = opened.run(run).steps
    found = number_columns(opened, run, 0, ("seeds",), (steps[0], steps[-1]))
    return bool(np.isfinite(found["seeds"]).any())


@st.cache_data(max_entries=64, show_spinner=False)
def has_course(digest: str, run: str) -> bool:
    """Whether contributions at single snapshots are in the store."""
    return course_of(at(digest), run)
