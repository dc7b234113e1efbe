"""From a wish to the features that pass, in order: one query, and masks from texts and the map.

The query takes care of conditions, neighbours, shapes and the value that is sorted by; what has
to do with texts is found in arrays, which is several times faster than in SQL (`atlas.searches`),
and so is the point-in-polygon test. `atlas.recipes` writes the same as one SQL text; a test
checks that both list the same features.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from atlas import shapes
from atlas.columns import (
    course_of,
    floats,
    name_columns,
    number_columns,
    only_used,
    source,
    values_of,
)
from atlas.conditions import Bound, OneOf, clip, names_near, tables_of, where_sql
from atlas.errors import InvalidValue
from atlas.measures import DISTANCE, LIKENESS, MEASURES, Measure
from atlas.recent import Recent
from atlas.records import RunCard
from atlas.schema import NEIGHBOURS_AT
from atlas.searches import mask
from atlas.store import Store
from atlas.wishes import Wish, change_of

_SELECTIONS = Recent(32)


@dataclass(frozen=True)
class Order:
    """What a list is ordered by."""

    measure: Measure
    descending: bool


@dataclass(frozen=True)
class Selection:
    """The features that pass, in order."""

    features: np.ndarray
    """(n,) int32."""
    values: np.ndarray
    """(n,) float32: what they are ordered by, nan last."""
    order: Order
    notes: tuple[str, ...]
    """What a page should say about the list."""


@dataclass(frozen=True)
class Question:
    """The part of a wish that is SQL."""

    source: str
    """The FROM text, with `{run}` in it."""
    feature: str
    """The index of the feature in it."""
    condition: str
    order: Order
    values: dict[str, Any]
    """Bound values."""
    notes: tuple[str, ...]

    @property
    def is_all(self) -> bool:
        """Whether it holds for every feature."""
        return self.condition == "true" and " AS n " not in self.source


def selection(store: Store, run: str, k: int, wish: Wish) -> Selection:
    """The features that pass, in order; the last few selections are kept at hand.

    Args:
        k: the chosen snapshot, from 0.

    Raises:
        NotFound: no such run. InvalidValue: no such snapshot, or a name that is no measure.
    """
    pinned = store.pin()
    key = (pinned.digest, run, k, wish)
    return _SELECTIONS.get(key, lambda: _selection(pinned, run, k, wish))


def _selection(store: Store, run: str, k: int, wish: Wish) -> Selection:
    card = store.run(run)
    change = change_of(wish, card)
    asked = question(store, run, k, wish)
    measure = asked.order.measure
    kept = measure.name in MEASURES
    # equally near neighbours stay in the order in which the store lists them
    own = "n.place" if measure is LIKENESS else asked.feature
    if kept and asked.is_all:
        features = np.arange(card.d_sae, dtype=np.int32)
    else:
        value = "" if kept else f", {measure.expression} AS measure, {own} AS own"
        sql = (f"SELECT {asked.feature} AS feature{value} FROM {asked.source} "
               f"WHERE {asked.condition}")
        table = store.ask(run, sql, **only_used(sql, asked.values))
        features = table["feature"].to_numpy()
    if kept:
        # a column at hand: another filter, or another order, reads it no second time
        features = np.sort(features)
        values = number_columns(store, run, k, (measure.name,), change)[measure.name][features]
    else:
        by_own = np.argsort(table["own"].to_numpy(), kind="stable")
        features, values = features[by_own], floats(table["measure"])[by_own]
    passes, notes = mask(store, run, k, wish)
    if wish.lasso:
        place = number_columns(store, run, k, ("map_x", "map_y"), change)
        inside = within(wish.lasso, place["map_x"], place["map_y"])
        passes = inside if passes is None else passes & inside
    if passes is not None:
        kept = passes[features]
        features, values = features[kept], values[kept]
    features, values = ranked(features, values, asked.order.descending)
    features.flags.writeable = values.flags.writeable = False
    notes = asked.notes + notes + _unknown(store, run, wish)
    return Selection(features, values, asked.order, notes)


def _unknown(store: Store, run: str, wish: Wish) -> tuple[str, ...]:
    """What to say of names in conditions that no feature of the run has, of the first few."""
    there = name_columns(store, run)
    asked = dict.fromkeys(
        (c.name, value) for group in wish.where for c in group
        if isinstance(c, OneOf) and c.name in there for value in c.values
        if value is not None and value not in there[c.name].values
    )
    found = []
    for name, value in list(asked)[:3]:
        known = there[name].values
        near = f"; there are {names_near(value, known, 5)}" if known else ""
        found.append(f"No feature of this run has the {name} “{clip(value)}”{near}.")
    return tuple(found)


def ranked(
    features: np.ndarray, values: np.ndarray, descending: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Both in order of the values: nan last at both ends, equal values as they come.

    Value and index are packed into one whole number and sorted at once: a third of the time of
    a stable sort.
    """
    bits = (values + np.float32(0)).view(np.int32).astype(np.int64)  # -0 becomes 0
    rank = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
    rank = np.where(np.isnan(values), (1 << 31) - 1, -rank if descending else rank)
    packed = np.sort(rank << 32 | np.arange(len(values)))
    order = (packed & 0xFFFFFFFF).astype(np.int64)
    return features[order], values[order]


def order_of(store: Store, run: str, wish: Wish) -> tuple[Order, tuple[str, ...]]:
    """What the wish's list is ordered by, and what to say of it.

    Unless a measure is asked for: the nearest lives first, or the most alike, or the largest
    contribution, at the chosen snapshot where the store has one.
    """
    card = store.run(run)
    several = len(card.steps) > 1
    notes: tuple[str, ...] = ()
    if wish.sort is not None:
        if wish.sort not in MEASURES:
            known = ", ".join(MEASURES)
            raise InvalidValue(f"cannot sort by {wish.sort!r}; sort by one of {known}")
        measure = MEASURES[wish.sort]
        if measure.name in ("contribution_at", "contribution_change") and not (
            several and course_of(store, run)
        ):
            notes = ("This store has no contributions at single snapshots; the mean over all of "
                     f"them stands in. Run `readout-atlas build {run} --force` to derive them.",)
            measure = MEASURES["contribution"]
    elif wish.shape is not None and several:
        measure = DISTANCE
    elif wish.like is not None:
        measure = LIKENESS
    elif several and course_of(store, run):
        measure = MEASURES["contribution_at"]
    else:
        measure = MEASURES["contribution"]
    falling = not measure.rising if wish.descending is None else wish.descending
    return Order(measure, falling), notes


def question(store: Store, run: str, k: int, wish: Wish, whole: bool = False) -> Question:
    """The query behind a wish, without what has to do with texts and the map.

    `whole` has the feature table in it, and what the list is ordered by, also where neither is
    needed to find the features.
    """
    card = store.run(run)
    if not 0 <= k < len(card.steps):
        raise InvalidValue(f"{run} has no snapshot {k}; it has 0 to {len(card.steps) - 1}")
    order, notes = order_of(store, run, wish)
    tables = tables_of(wish.where)
    if whole or order.measure.name not in MEASURES:
        tables |= order.measure.tables
    bound = Bound(values_of(store, card, tables, k, change_of(wish, card)))
    conditions = [*_quick(wish, bound), *([where_sql(wish.where, bound)] if wish.where else [])]
    if whole or wish.like is not None or any("f." in part for part in conditions):
        tables |= {"f"}
    text = source(tables)
    feature = "l.feature" if tables == {"l"} else "f.feature"
    if wish.like is not None:
        near, at_last = _like(store, card, k, wish.like, bound)
        text += near
        if at_last and k < len(card.steps) - 1:
            notes += (f"Neighbours are those at step {card.steps[-1]:,}: this store keeps none at "
                      "other snapshots.",)
    if order.measure is DISTANCE:
        bound.values |= _shape(store, run, wish.shape or "", len(card.steps))
    return Question(
        text, feature, " AND ".join(conditions) or "true", order, bound.values, notes
    )


def _quick(wish: Wish, bound: Bound) -> list[str]:
    """The filters that have a place of their own on the page."""
    parts = []
    if wish.profile is not None:
        parts.append(f"f.profile = {bound.add(wish.profile)}")
    if wish.birth is not None:
        birth = "f.birth_floor_step" if wish.floor_corrected else "f.birth_step"
        parts.append(f"{birth} BETWEEN {bound.add(wish.birth[0])} AND {bound.add(wish.birth[1])}")
    if wish.alive:
        parts.append("f.alive")
    if wish.legible:
        parts.append("f.legible")
    return parts


def _like(
    store: Store, card: RunCard, k: int, feature: int, bound: Bound
) -> tuple[str, bool]:
    """The join that keeps the neighbours of a feature, and whether they are those at the last
    snapshot, as they are too where the store has none at k."""
    near = f"neighbour WHERE feature = {bound.add(feature)}"
    first = f"[:{NEIGHBOURS_AT}]"  # the last snapshot has more: as many there as at all others
    at_last = k == len(card.steps) - 1 or not store.ask(
        card.run, "SELECT 1 FROM {run}.neighbour_at LIMIT 1").num_rows
    if not at_last:
        near = near.replace("neighbour", "neighbour_at", 1) + f" AND k = {bound.add(k)}"
    return (f" JOIN (SELECT unnest(ids{first}) AS feature, unnest(cosines{first}) AS cosine, "
            f"generate_subscripts(ids{first}, 1) AS place "
            f"FROM {{run}}.{near}) AS n USING (feature)"), at_last


def _shape(store: Store, run: str, shape: str, n_snapshots: int) -> dict[str, Any]:
    """The values of `DISTANCE`: the shape at every snapshot and its squared length."""
    feature = shapes.feature_of(shape)
    if feature is None:
        course = shapes.course(shape, n_snapshots)
    else:
        course = shapes.scaled(store.norms_of_features(run, [feature])[0])
    return {"shape": [float(v) for v in course], "length": float(np.square(course).sum())}


def edges_of(
    corners: tuple[tuple[float, float], ...]
) -> list[tuple[float, float, float, float]]:
    """The edges x1, y1, x2, y2 of a polygon that a line across can cross.

    A corner on the border of the map is moved out a hair: points on the border belong to it, and
    the edges from there run as drawn.
    """
    moved = [tuple(-1e-6 if v <= 0 else 1 + 1e-6 if v >= 1 else v for v in c) for c in corners]
    pairs = zip(moved, moved[1:] + moved[:1], strict=True)
    return [(*one, *other) for one, other in pairs if one[1] != other[1]]


def within(corners: tuple[tuple[float, float], ...], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Which points lie inside a polygon, by the parity of the edges to their right, (n,) bool."""
    x, y = x.astype(float), y.astype(float)
    odd = np.zeros(len(x), bool)
    for x1, y1, x2, y2 in edges_of(corners):
        between = np.flatnonzero((y1 > y) != (y2 > y))
        odd[between] ^= x[between] < (x2 - x1) * (y[between] - y1) / (y2 - y1) + x1
    return odd
