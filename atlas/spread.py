"""How a list is spread: histograms of its measures, and its points on the map.

Counted over whole columns that are kept at hand, so that another filter costs no other scan.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from atlas.columns import label_columns, name_columns, number_columns
from atlas.errors import InvalidValue
from atlas.measures import CATEGORIES, COUNT, FLAGS, MEASURES, STEP, Measure
from atlas.recent import Recent
from atlas.records import RunCard
from atlas.selections import selection
from atlas.store import Store
from atlas.wishes import Wish, change_of

GRID = 64
"""Cells of the map's density along a side."""
TAIL = 1e-9
"""Smallest bin of a measure drawn by ratio, as a share of its largest value."""

_BINS = Recent(128)
_MAPS = Recent(16)
_FLAGS = Recent(16)


@dataclass(frozen=True)
class Histogram:
    """How many features have which values of a measure, or which name of a category."""

    name: str
    total: np.ndarray
    """(n,) features per bin, of all."""
    passing: np.ndarray
    """(n,) features per bin, of those that pass."""
    missing: int
    """Features without a value."""
    missing_passing: int
    """Those of them that pass."""
    edges: np.ndarray = field(default_factory=lambda: np.zeros(0))
    """(n + 1,) float64 ends of the bins, each with its left end, the last with both; of steps the
    snapshots' steps and the last of them once more. Empty for a category."""
    names: tuple[str, ...] = ()
    """n names of a category, commonest first; () for a measure."""
    whole: bool = False
    """The values are whole numbers."""

    def ends(self, i: int) -> tuple[float, float, bool]:
        """The range of a condition that keeps bin i and nothing else: its ends, and whether the
        high one is left out, as it is but for the last bin and whole numbers."""
        low, high = float(self.edges[i]), float(self.edges[i + 1])
        last = i + 1 == len(self.total)
        if self.whole and not last:
            high = max(low, math.ceil(high) - 1)
        return low, high, not (last or self.whole)


def histograms(
    store: Store, run: str, k: int, wish: Wish, measures: tuple[str, ...], bins: int = 24
) -> dict[str, Histogram]:
    """Counts of measures and categories, of all features and of those that pass.

    Args:
        measures: names of `MEASURES`, categories or `alive` and `legible`.
        bins: at most, but for steps, which have one bin per snapshot.
    """
    store = store.pin()
    card = store.run(run)
    kept = selection(store, run, k, wish).features
    change = change_of(wish, card)
    numbers = tuple(name for name in measures if name in MEASURES)
    columns = number_columns(store, run, k, numbers, change)
    found = {}
    for name in measures:
        if name in MEASURES:
            measure = MEASURES[name]
            key = (store.digest, run, name, k if measure.at_step else -1,
                   change if measure.of_change else None, bins)
            found[name] = _numbers(
                measure, kept, *_BINS.get(key, lambda n=name: _binned(card, n, columns[n], bins))
            )
        else:
            found[name] = _named(store, run, name, kept)
    return found


def _numbers(
    measure: Measure, kept: np.ndarray, edges: np.ndarray, places: np.ndarray, counts: np.ndarray
) -> Histogram:
    passing = np.bincount(places[kept], minlength=len(counts))
    return Histogram(
        measure.name, counts[:-1], passing[:-1], int(counts[-1]), int(passing[-1]), edges,
        whole=measure.kind in (COUNT, STEP),
    )


def _binned(
    card: RunCard, name: str, values: np.ndarray, bins: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Edges (n + 1,), the bin of every feature (n for no value), counts (n + 1,)."""
    known = np.isfinite(values)
    edges = _edges(MEASURES[name], values[known].astype(float), card.steps, bins)
    n = len(edges) - 1
    # in single precision, as a condition compares: an edge of 0.7 is the float32 next to it
    places = np.searchsorted(edges.astype(np.float32), values, side="right") - 1
    places = np.where(known, np.clip(places, 0, n - 1), n).astype(np.int16)
    return edges, places, np.bincount(places, minlength=n + 1)


def _edges(
    measure: Measure, values: np.ndarray, steps: tuple[int, ...], bins: int
) -> np.ndarray:
    """Ends of the bins: round numbers, by ratio for a heavy tail, one bin per snapshot's step."""
    if measure.kind == STEP:
        return np.array([*steps, steps[-1]], float)
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    if measure.kind == COUNT and high - low < bins:
        return np.append(np.arange(low, high + 1), high)
    if measure.heavy and low >= 0:
        positive = values[values > 0]
        least = max(float(positive.min()), TAIL * high) if len(positive) else 0.0
        if least and high > 8 * least:
            first = [0.0] if low < least else []
            inner = np.geomspace(least, high, bins + 1 - len(first))
            rounded = [float(f"{v:.1e}") for v in inner]
            rounded[0], rounded[-1] = _down(least), _up(high)
            edges = np.unique([*first, *rounded])
            return np.unique(np.floor(edges)) if measure.kind == COUNT else edges
    return _even(low, high, bins)


def _even(low: float, high: float, bins: int) -> np.ndarray:
    """Even edges at round numbers that hold both ends, at most `bins` bins."""
    if high <= low:
        return np.array([low, low + (abs(low) or 1.0)])
    unit = 10.0 ** math.floor(math.log10((high - low) / bins))
    for step in (unit, 2 * unit, 2.5 * unit, 5 * unit, 10 * unit, 20 * unit):
        first, last = math.floor(low / step), math.ceil(high / step)
        if last - first <= bins:
            break
    return np.array([float(f"{i * step:.12g}") for i in range(first, last + 1)])


def _down(value: float) -> float:
    """Two digits of a positive number, rounded down."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.floor(value / unit + 1e-9) * unit:.3g}")


def _up(value: float) -> float:
    """Two digits of a positive number, rounded up."""
    unit = 10.0 ** (math.floor(math.log10(value)) - 1)
    return float(f"{math.ceil(value / unit - 1e-9) * unit:.3g}")


def _named(store: Store, run: str, name: str, kept: np.ndarray) -> Histogram:
    names, places = _places(store, run, name)
    total = np.bincount(np.where(places < 0, len(names), places), minlength=len(names) + 1)
    chosen = places[kept]
    passing = np.bincount(np.where(chosen < 0, len(names), chosen), minlength=len(names) + 1)
    order = np.argsort(-total[:-1], kind="stable")
    return Histogram(
        name, total[order], passing[order], int(total[-1]), int(passing[-1]),
        names=tuple(names[i] for i in order),
    )


def _places(store: Store, run: str, name: str) -> tuple[tuple[str, ...], np.ndarray]:
    """The names of a category, or yes and no, and each feature's place among them, -1 for none."""
    if name in CATEGORIES:
        column = name_columns(store, run)[name]
        return column.values, column.places
    if name in FLAGS:
        return _FLAGS.get((store.digest, run, name), lambda: _flag(store, run, name))
    raise InvalidValue(f"{name!r} is no measure or category")


def _flag(store: Store, run: str, name: str) -> tuple[tuple[str, ...], np.ndarray]:
    table = store.ask(run, f"SELECT {name} AS said FROM {{run}}.feature ORDER BY feature")
    return ("yes", "no"), 1 - table["said"].to_numpy().astype(np.int16)


@dataclass(frozen=True)
class MapPoints:
    """Features on the map, thinned, over a count of all of them."""

    features: np.ndarray
    """(n,) int32, rising."""
    x: np.ndarray
    """(n,) float32 in [0, 1]."""
    y: np.ndarray
    """(n,) float32 in [0, 1], upwards."""
    values: np.ndarray
    """(n,) float32 of the measure that colours them, or object with names; nan or None: none."""
    passes: np.ndarray
    """(n,) bool."""
    labels: tuple[str, ...]
    """n labels as drawn text."""
    n_total: int
    """Features that have a place on the map."""
    n_passing: int
    """Those of them that pass."""
    density: np.ndarray
    """(GRID, GRID) counts of all features, the row of the smallest y first."""


def map_points(
    store: Store, run: str, k: int, wish: Wish, colour: str, most: int = 2500
) -> MapPoints:
    """At most `most` features on the map: of every occupied cell of a grid at least one.

    Of each cell the feature with the largest contribution, of those that pass and of those that
    do not; then whatever else passes, then the rest. The same question gives the same points.

    Args:
        colour: a measure, a category, or `alive` or `legible`.
    """
    store = store.pin()
    card = store.run(run)
    change = change_of(wish, card)
    kept = selection(store, run, k, wish).features
    placed = _MAPS.get((store.digest, run), lambda: _placed(store, run, change))
    passes = np.zeros(card.d_sae, bool)
    passes[kept] = True
    chosen = thinned(placed.features, placed.x, placed.y, passes[placed.features], most)
    chosen = chosen[np.argsort(placed.features[chosen])]
    features = placed.features[chosen]
    if colour in MEASURES:
        values = number_columns(store, run, k, (colour,), change)[colour][features]
    else:
        names, places = _places(store, run, colour)
        values = np.array([*names, None], object)[places[features]]
    texts, labels = store.token_texts(card.model), label_columns(store, run)
    return MapPoints(
        features, placed.x[chosen], placed.y[chosen], values, passes[features],
        tuple(labels.drawn(features, texts)),
        len(placed.features), int(passes[placed.features].sum()), placed.density,
    )


@dataclass(frozen=True)
class _Placed:
    """The features that have a place on the map, largest contribution first."""

    features: np.ndarray
    x: np.ndarray
    y: np.ndarray
    density: np.ndarray


def _placed(store: Store, run: str, change: tuple[int, int]) -> _Placed:
    columns = number_columns(store, run, 0, ("map_x", "map_y", "contribution"), change)
    x, y = columns["map_x"], columns["map_y"]
    order = np.argsort(-columns["contribution"], kind="stable").astype(np.int32)
    features = order[np.isfinite(x[order]) & np.isfinite(y[order])]
    x, y = x[features], y[features]
    cells = _cells(x, y, GRID)
    density = np.bincount(cells, minlength=GRID * GRID).reshape(GRID, GRID)
    return _Placed(features, x, y, density)


def _cells(x: np.ndarray, y: np.ndarray, grid: int) -> np.ndarray:
    """The cell of every point in a square grid over [0, 1], counted along x first."""
    column = np.minimum((x * grid).astype(np.int32), grid - 1)
    row = np.minimum((y * grid).astype(np.int32), grid - 1)
    return row * grid + column


def thinned(
    features: np.ndarray, x: np.ndarray, y: np.ndarray, passes: np.ndarray, most: int
) -> np.ndarray:
    """Places of the points that are kept, at most `most`, in no order.

    Points come best first. Each occupied cell keeps its best passing and its best other point:
    the grid is as fine as that allows.
    """
    if len(features) <= most:
        return np.arange(len(features))
    grid = max(1, math.isqrt(most // 2))
    group = 2 * _cells(x, y, grid) + ~passes
    order = np.argsort(group, kind="stable")
    sorted_group = group[order]
    starts = np.flatnonzero(np.diff(sorted_group, prepend=-1))
    rank = np.empty(len(order), np.int64)
    sizes = np.diff(np.append(starts, len(order)))
    rank[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    turn = np.where(rank == 0, 0, np.where(passes, 1, 2)) * len(order) + rank
    return np.argsort(turn, kind="stable")[:most]
