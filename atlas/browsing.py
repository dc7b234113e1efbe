"""Browse: a page of the features that pass, a feature's place among them, all of them.

The way of a question: an address becomes a `Wish` (`atlas.wishes`), a wish a `Selection`, which
is the features that pass in their order (`atlas.selections`), and only the hundred rows that are
shown are fetched whole.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from atlas.cards import label_text
from atlas.columns import name_columns, norm_columns, number_columns
from atlas.errors import InvalidValue
from atlas.measures import CATEGORIES, COMMENTS, FLAGS, MEASURES, measures_of
from atlas.recipes import python_of as python_of
from atlas.recipes import sql_of as sql_of
from atlas.selections import Order as Order
from atlas.selections import order_of as order_of
from atlas.selections import selection
from atlas.spread import histograms as histograms
from atlas.spread import map_points as map_points
from atlas.store import Store
from atlas.wishes import Wish as Wish
from atlas.wishes import change_of
from atlas.wishes import parameters_of as parameters_of
from atlas.wishes import read_wish as read_wish

MOST_ROWS = 500
"""Rows of a page at most."""
AT_STEP = ("contribution_at", "norm_at", "rate_at", "rotation_at")
"""Measures at the chosen snapshot that a page's rows have unless columns are named."""
SCALARS = tuple(name for name in COMMENTS if name not in ("feature", "label"))
"""Columns of the feature table that are one number or name, but for its index."""


@dataclass(frozen=True)
class Page:
    """A part of the list."""

    total: int
    """Features that pass."""
    rows: pd.DataFrame
    """One row per feature, in order: `feature`, `label` as drawn text, the columns asked for,
    and `measure`, the value sorted by."""
    order: Order
    notes: tuple[str, ...]
    """What to say about the list."""


@dataclass(frozen=True)
class Place:
    """Where a feature stands in the list."""

    position: int | None
    """From 1; None if it is not in the list."""
    total: int
    before: int | None
    after: int | None


def page(
    store: Store, run: str, k: int, wish: Wish, limit: int = 100, offset: int = 0,
    columns: tuple[str, ...] | None = None,
) -> Page:
    """One page of the list at snapshot k.

    Args:
        columns: what the rows hold beside `feature`, `label` and `measure`: columns of the
            feature table, names of `MEASURES`, and `norm`, the list of K decoder norms. None
            means all columns, `norm` and the measures of `AT_STEP`. Fewer are faster.

    Raises:
        InvalidValue: a page without rows or of more than 500, or a column that is none.
    """
    if not 1 <= limit <= MOST_ROWS or offset < 0:
        raise InvalidValue(
            f"limit {limit}, offset {offset}: a page has 1 to {MOST_ROWS} rows"
        )
    store = store.pin()
    found = selection(store, run, k, wish)
    part = slice(offset, offset + limit)
    features = found.features[part]
    if columns is None:
        several = len(store.run(run).steps) > 1
        columns = (*SCALARS, "norm", *(AT_STEP if several else ()))
    rows = _rows(store, run, k, wish, features, columns)
    rows["measure"] = found.values[part]
    return Page(len(found.features), rows, found.order, found.notes)


def _rows(
    store: Store, run: str, k: int, wish: Wish, features: np.ndarray, columns: tuple[str, ...]
) -> pd.DataFrame:
    """Columns of some features, in their order."""
    for name in columns:
        if name not in COMMENTS and name not in MEASURES and name != "norm":
            raise InvalidValue(f"{name!r} is no column of a feature")
    stored = [name for name in columns if name in COMMENTS and name not in ("feature", "label")]
    read = [f"{MEASURES[name].expression} AS {name}" if name in MEASURES else name
            for name in stored]
    more = tuple(name for name in columns if name in MEASURES and name not in COMMENTS)
    table = store.ask(
        run,
        f"SELECT {', '.join(['feature', 'label', *read])} FROM {{run}}.feature AS f "
        "WHERE feature IN (SELECT unnest($features::INTEGER[]))",
        features=features.tolist(),
    )
    by_index = np.argsort(table["feature"].to_numpy())
    table = table.take(pa.array(by_index[np.argsort(np.argsort(features))]))
    card = store.run(run)
    texts = store.token_texts(card.model)
    cells: dict[str, Any] = {
        name: table[name].to_pandas().array for name in table.column_names if name != "label"
    }
    cells["label"] = [label_text(label, texts) for label in table["label"].to_pylist()]
    if more:
        found = number_columns(store, run, k, more, change_of(wish, card))
        cells |= {name: found[name][features] for name in more}
    if "norm" in columns:
        norms = norm_columns(store, run)[features]
        cells["norm"] = [None if np.isnan(row).all() else row for row in norms]
    return pd.DataFrame({name: cells[name] for name in ("feature", "label", *columns)})


def place(store: Store, run: str, k: int, wish: Wish, feature: int) -> Place:
    """The place of a feature in the list, with the ones before and after it."""
    features = selection(store, run, k, wish).features
    found = np.flatnonzero(features == feature)
    if not len(found):
        return Place(None, len(features), None, None)
    at = int(found[0])
    return Place(
        at + 1,
        len(features),
        int(features[at - 1]) if at else None,
        int(features[at + 1]) if at + 1 < len(features) else None,
    )


def random_feature(store: Store, run: str, k: int, wish: Wish, seed: int) -> int | None:
    """A feature of the list drawn by a seed; None if the list is empty."""
    features = selection(store, run, k, wish).features
    if not len(features):
        return None
    return int(np.random.default_rng(abs(seed)).choice(features))


def categories(store: Store, run: str) -> dict[str, list[tuple[str, int]]]:
    """{category: its values with their number of features, commonest first}.

    Features without a value are left out; a condition calls them `none`.
    """
    found = {}
    for name, column in name_columns(store, run).items():
        counts = np.bincount(column.places[column.places >= 0], minlength=len(column.values))
        pairs = zip(column.values, counts.tolist(), strict=True)
        found[name] = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    return found


def usual_distance(store: Store, run: str, k: int, shape: str) -> float | None:
    """The distance from a shape that half of all lives stay within; None where none has one."""
    values = selection(store, run, k, Wish(shape=shape)).values
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else None


def all_rows(
    store: Store, run: str, k: int, wish: Wish, most: int = 100_000
) -> pd.DataFrame:
    """The whole list: `feature`, `label` as text, every category and measure of the run.

    One number or text per cell, as for an export; nan and None where not available.
    """
    store = store.pin()
    found = selection(store, run, k, wish)
    card = store.run(run)
    features = found.features[:most]
    several = len(card.steps) > 1
    names = [m.name for m in measures_of(card) if m.name != "feature"]
    rows = _rows(store, run, k, wish, features, (
        *FLAGS, *(c for c in CATEGORIES if several or c != "profile"), *names,
    ))
    rows["measure"] = found.values[:most]
    return rows
