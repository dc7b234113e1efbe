"""From derived arrays to the rows of a run's file; nan and "never" become NULL here.

Arrays that a run does not have, or that an older stage did not derive, become NULL too. The
largest tables, the code and the promoted tokens, are views of the arrays or one copy of them: a
dictionary of full shape has 25 million entries.
"""

import dataclasses
import json
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from atlas.codes import CSR, SparseCode
from atlas.labels import SCHEMES
from atlas.lifecycle import tau
from atlas.schema import BINS, COSINE_DECIMALS, FIRING, RUN_TABLES, table
from atlas.schema_trust import TRUST_TABLES
from precompute.columns import (
    courses,
    decimal,
    decimals_of,
    floats,
    known_ids,
    lists,
    optional,
    ragged,
    steps_at,
    texts,
    whole,
)
from precompute.derive import (
    METRICS,
    Arrays,
    code_of,
    explained,
    kept_of_code,
    population_counts,
)
from precompute.directions import UNKNOWN
from precompute.parquet import arrow_schema
from precompute.statistics import run_statistics
from precompute.turnover import turnover_rows

TRUST = tuple(table.name for table in TRUST_TABLES)
"""Tables that are filled from what the stages fidelity and gallery found."""
ENTRIES = 65_536
"""Entries of the code whose gates are compared at a time."""
TURN_DECIMALS = 5
"""Decimals kept of a turn, which packs tighter: 0.00001 is a quarter of a degree."""
DIGITS = 3
"""Significant digits kept of enrichments and probabilities."""
LEAST_P = 1e-37
"""Smallest probability written, and smaller ones with it: float32 would make some of them 0."""
ROW_DECIMALS = 2
"""Decimals kept of a share of a row or of its turn."""
CONTRIBUTION_DIGITS = 4
"""Significant digits kept of a contribution at a snapshot."""


def run_rows(
    meta: Mapping[str, str], steps: Sequence[int], encoded: Arrays, lives: Arrays, tokens: Arrays
) -> dict[str, pa.Table]:
    """The rows of every table of a run's file, in the order of its key.

    The meta table gets the statistics of the run as an entry of their own.
    """
    statistics = run_statistics(lives) | kept_of_code(encoded)
    meta = {**meta, "statistics": json.dumps(statistics, sort_keys=True)}
    code = rounded(code_of(encoded), encoded["norms"], encoded["threshold"])
    features = np.arange(code.n_features, dtype=np.int32)
    by_token = code.by_token()
    fitted = of_rows(code.by_feature(), tokens["fitted"])
    by_feature = strongest(fitted, FIRING)
    firing = np.diff(by_token.offsets) > 0
    bounds = np.append(by_token.offsets[:-1][firing], by_token.offsets[-1])
    index = {name.removeprefix("index_"): values for name, values in tokens.items()
             if name.startswith("index_")}
    return {
        "meta": pa.table({"key": list(meta), "value": list(meta.values())}),
        "snapshot": _snapshot(steps, encoded, lives, tokens),
        "feature": _feature(steps, encoded, lives, tokens),
        "life": pa.table({
            "feature": features,
            "norm": lists(encoded["norms"].T),
            "rate": lists(encoded["rates"].T),
            "rotation": lists(decimal(lives["rotation"].T, TURN_DECIMALS)),
            "to_terminal": lists(decimal(lives["to_terminal"].T, TURN_DECIMALS)),
            "contribution": courses(lives, "contribution_at", len(features), CONTRIBUTION_DIGITS),
        }),
        "similarity": _similarity(features, lives),
        "promoted": _promoted(tokens),
        "code_by_feature": pa.table({
            "feature": features,
            "tokens": ragged(by_feature.offsets, by_feature.columns),
            "p": ragged(by_feature.offsets, by_feature.values),
            **_spread(fitted),
        }),
        "code_by_token": pa.table({
            "token": np.flatnonzero(firing).astype(np.int32),
            "features": ragged(bounds, by_token.columns),
            "p": ragged(bounds, by_token.values),
        }),
        "token_index": pa.table(index),
        "neighbour": _neighbour(features, lives),
        "neighbour_at": _neighbour_at(lives),
        "row": _row(encoded),
        **{name: _nothing(name) for name in ("sample", "example", *TRUST)},
        "population": _population(lives),
        **turnover_rows(steps, lives),
    }


def rounded(code: SparseCode, norms: np.ndarray, threshold: np.ndarray) -> SparseCode:
    """The code with p to about a thousandth of its median, which packs into half the space.

    An entry whose rounding would make the feature fire, or not fire, at some snapshot against
    the exact p keeps the exact p: the gates stay those of the dictionary.
    """
    if not len(code.p):
        return code
    short = decimal(code.p, decimals_of(code.p))
    gated = not np.isnan(norms).any()
    by_feature = np.ascontiguousarray(norms.T)
    for start in range(0, len(short), ENTRIES):
        part = slice(start, start + ENTRIES)
        exact, feature = code.p[part], code.feature[part]
        same = short[part] > 0
        if gated:
            length, bar = by_feature[feature], threshold[feature, None]
            fires, would = exact[:, None] * length > bar, short[part, None] * length > bar
            same &= (fires == would).all(axis=1)
        short[part] = np.where(same, short[part], exact)
    return dataclasses.replace(code, p=short)


def of_rows(groups: CSR, kept: np.ndarray) -> CSR:
    """The entries whose column is kept, (V,) bool; rows that were not fitted fire at random."""
    inside = kept[groups.columns]
    before = np.concatenate([[0], np.cumsum(inside)])
    return CSR(before[groups.offsets], groups.columns[inside], groups.values[inside])


def strongest(groups: CSR, n: int) -> CSR:
    """The first n entries of each row."""
    sizes = np.minimum(np.diff(groups.offsets), n)
    place = np.arange(n)
    at = (groups.offsets[:-1, None] + place)[place < sizes[:, None]]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    return CSR(offsets, groups.columns[at], groups.values[at])


def spread(groups: CSR) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smallest and largest value (n,) of each row and their histogram (n, `BINS`) int32 between.

    A bin has its lower end and not its upper; the last has both. Values that are all equal are in
    the last. Ends are nan where a row has no values, which fall in each.
    """
    sizes, size = np.diff(groups.offsets), len(groups.offsets) - 1
    low, high = np.full(size, np.nan), np.full(size, np.nan)
    some = sizes > 0
    high[some] = groups.values[groups.offsets[:-1][some]]
    low[some] = groups.values[groups.offsets[1:][some] - 1]
    edges = np.linspace(low, high, BINS + 1, axis=1)[:, 1:-1]
    counts = np.concatenate([sizes[:, None], _at_least(groups, edges)], axis=1)
    counts[:, :-1] -= counts[:, 1:]
    return low, high, counts.astype(np.int32)


def _at_least(groups: CSR, bars: np.ndarray) -> np.ndarray:
    """How many values of each row reach each of its bars, (n, m): they fall, so it is a search."""
    first = groups.offsets[:-1, None]
    low, high = (np.broadcast_to(ends, bars.shape).copy()
                 for ends in (first, groups.offsets[1:, None]))
    last = max(len(groups.values) - 1, 0)
    values = groups.values if len(groups.values) else np.zeros(1, np.float32)
    while (low < high).any():
        middle = (low + high) // 2
        reaches = (values[np.minimum(middle, last)] >= bars) & (low < high)
        low = np.where(reaches, middle + 1, low)
        high = np.where(reaches, high, np.minimum(middle, high))
    return low - first


def _snapshot(steps: Sequence[int], encoded: Arrays, lives: Arrays, tokens: Arrays) -> pa.Table:
    count = len(steps)
    more = encoded | lives | tokens
    scale = more.get("scale", np.full(count, np.nan))
    null = more.get("promoted_null", np.zeros((count, 0, 3))).round(COSINE_DECIMALS)
    counts = population_counts(lives, encoded["norms"])
    return pa.table({
        "k": np.arange(count),
        "step": np.array(steps),
        "tau": tau(steps),
        **{name: counts.get(name, pa.nulls(count, pa.int32()))
           for name in ("births", "births_floor", "deaths", "alive")},
        "explained_variance": floats(1 - encoded["residual"] / encoded["total"]),
        "l0": floats(encoded["rates"].sum(axis=1)),
        "null_overlap": optional(more, "null_overlap", count),
        **{f"null_{name}": lists(null[:, :, q]) for q, name in enumerate(("q05", "q50", "q95"))},
        "scale": pa.array(scale, pa.float64(), mask=np.isnan(scale)),
        "mean": lists(more["mean"]) if "mean" in more
        else pa.nulls(count, pa.list_(pa.float32())),
    })


def _feature(steps: Sequence[int], encoded: Arrays, lives: Arrays, tokens: Arrays) -> pa.Table:
    def step(name: str) -> pa.Array:
        return steps_at(lives[name], steps)

    def number(name: str) -> pa.Array:
        return floats(lives[name])

    size = len(lives["alive"])
    place = lives.get("map", np.full((size, 2), np.nan))
    death = np.where(lives["death"] == len(steps) - 1, len(steps), lives["death"])
    return pa.table({
        "feature": np.arange(size, dtype=np.int32),
        "alive": lives["alive"],
        "threshold": floats(encoded["threshold"]),
        "contribution": number("contribution"),
        "profile": texts(lives["profile"]),
        "birth_step": step("birth"),
        "birth_floor_step": step("birth_floor"),
        "peak_step": step("peak"),
        "death_step": steps_at(death, steps),
        "lifetime": number("lifetime"),
        "first_active_step": step("first_active"),
        "stabilized_step": step("stabilized"),
        "norm_max": number("norm_max"),
        "norm_final": number("norm_final"),
        "rate_max": number("rate_max"),
        "rate_final": number("rate_final"),
        "n_tokens": lives["n_tokens"].astype(np.int32),
        "max_rotation": number("max_rotation"),
        "max_rotation_step": step("max_rotation_k"),
        "drift": number("drift"),
        "cusum_rate": number("cusum_rate"),
        "cusum_norm": optional(lives, "cusum_norm", size),
        "cusum_rotation": optional(lives, "cusum_rotation", size),
        **{name: whole(lives, name, size)
           for name in ("change_step", "change_low_step", "change_high_step")},
        "change_p": optional(lives, "change_p", size, digits=DIGITS),
        "rows_explained": optional(lives, "rows_explained", size, digits=DIGITS),
        "nearest": optional(lives, "nearest", size, COSINE_DECIMALS),
        "n_duplicates": whole(lives, "n_duplicates", size),
        "duplicate_of": whole(lives, "duplicate_of", size),
        "map_x": floats(place[:, 0]),
        "map_y": floats(place[:, 1]),
        "kind": texts(tokens["kind"]),
        "kind_share": floats(tokens["kind_share"]),
        "kind_enrichment": optional(tokens, "kind_enrichment", size, digits=DIGITS),
        "kind_p": floats(np.maximum(tokens["kind_p"], LEAST_P)),
        "legible": tokens["legible"],
        **{name: column for scheme in SCHEMES
           for name, column in _label(scheme, tokens, size).items()},
        "label": known_ids(tokens["label"]),
    })


def _label(scheme: str, tokens: Arrays, size: int) -> dict[str, pa.Array]:
    """The five columns of a labelling scheme."""
    names, p = tokens.get(scheme, np.full(size, "")), f"{scheme}_p"
    if p in tokens:
        tokens = tokens | {p: np.maximum(tokens[p], LEAST_P)}
    return {
        scheme: texts(names),
        **{f"{scheme}_{part}": optional(tokens, f"{scheme}_{part}", size, digits=DIGITS)
           for part in ("share", "enrichment", "p", "coverage")},
    }


def _promoted(tokens: Arrays) -> pa.Table:
    count, features, places = tokens["promoted"].shape
    known = ~np.isnan(tokens["promoted_cosines"][:, :, 0]).T.ravel()

    def column(name: str) -> pa.Array:
        values = tokens[name].transpose(1, 0, 2).reshape(-1, places)
        return lists(values if values.dtype == np.int32 else decimal(values, COSINE_DECIMALS),
                     known)

    return pa.table({
        "feature": np.repeat(np.arange(features), count),
        "k": np.tile(np.arange(count), features),
        "tokens": column("promoted"),
        "cosines": column("promoted_cosines"),
        "suppressed": column("suppressed"),
        "suppressed_cosines": column("suppressed_cosines"),
    })


def _neighbour(features: np.ndarray, lives: Arrays) -> pa.Table:
    return pa.table({"feature": features, **_near(lives["neighbours"], lives["neighbour_cosines"])})


def _neighbour_at(lives: Arrays) -> pa.Table:
    if "ids_at" not in lives:
        return _nothing("neighbour_at")
    count, size, places = lives["ids_at"].shape
    ids, cosines = (lives[name].transpose(1, 0, 2).reshape(-1, places)
                    for name in ("ids_at", "cosines_at"))
    return pa.table({
        "feature": np.repeat(np.arange(size, dtype=np.int32), count),
        "k": np.tile(np.arange(count, dtype=np.int32), size),
        **_near(ids, cosines),
    })


def _near(ids: np.ndarray, cosines: np.ndarray) -> dict[str, pa.Array]:
    """Ids and cosines as lists without the places that hold -1."""
    known = ids >= 0
    offsets = np.concatenate([[0], np.cumsum(known.sum(axis=1))])
    return {"ids": ragged(offsets, ids[known].astype(np.int32, copy=False)),
            "cosines": ragged(offsets, decimal(cosines[known], COSINE_DECIMALS))}


def _similarity(features: np.ndarray, lives: Arrays) -> pa.Table:
    values = lives.get("similarity", np.empty((0, 0), np.int8))
    if not values.shape[1]:  # one snapshot has no pair
        return _nothing("similarity")
    return pa.table({
        "feature": features,
        "cosines": lists(values, (values != UNKNOWN).any(axis=1), missing=UNKNOWN),
    })


def _row(encoded: Arrays) -> pa.Table:
    if "row_total" not in encoded:
        return _nothing("row")
    length = encoded["row_length"]
    rows = {"residual": encoded["row_residual"], "total": encoded["row_total"]}
    turn = encoded.get("row_turn", np.full(length.shape, np.nan))
    return pa.table({
        "token": np.arange(len(length), dtype=np.int32),
        "norm": lists(decimal(length, decimals_of(length[length > 0]))),
        "to_terminal": lists(decimal(turn, ROW_DECIMALS)),
        "explained": lists(decimal(explained(rows), ROW_DECIMALS)),
    })


def _spread(groups: CSR) -> dict[str, pa.Array]:
    """Ends of each feature's values and how many lie in each of the bins between; NULL of none."""
    low, high, counts = spread(groups)
    known = ~np.isnan(low)
    return {"histogram": lists(counts, known), "p_low": floats(low), "p_high": floats(high)}


def _population(lives: Arrays) -> pa.Table:
    metric, k, quantiles = [], [], []
    for name in sorted(METRICS):
        values = lives[f"q_{name}"]
        first = 1 if name == "rotation" else 0
        metric += [name] * len(values)
        k += range(first, first + len(values))
        quantiles += [[None if np.isnan(v) else float(v) for v in row] for row in values]
    return pa.table({
        "metric": pa.array(metric, pa.string()),
        "k": pa.array(k, pa.int32()),
        "q": pa.array(quantiles, pa.list_(pa.float32())),
    })


def _nothing(name: str) -> pa.Table:
    """A table without rows: what it would hold was not derived."""
    return arrow_schema(table(RUN_TABLES, name)).empty_table()
