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
from atlas.schema import COSINE_DECIMALS, FIRING, RUN_TABLES, table
from precompute.derive import METRICS, Arrays, code_of, kept_of_code, population_counts
from precompute.statistics import run_statistics

ENTRIES = 65_536
"""Entries of the code whose gates are compared at a time."""
TURN_DECIMALS = 5
"""Decimals kept of a turn, which packs tighter: 0.00001 is a quarter of a degree."""
DIGITS = 3
"""Significant digits kept of enrichments and probabilities."""
LEAST_P = 1e-37
"""Smallest probability written, and smaller ones with it: float32 would make some of them 0."""


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
    by_feature = strongest(of_rows(code.by_feature(), tokens["fitted"]), FIRING)
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
            "norm": _lists(encoded["norms"].T),
            "rate": _lists(encoded["rates"].T),
            "rotation": _lists(lives["rotation"].T.round(TURN_DECIMALS)),
            "to_terminal": _lists(lives["to_terminal"].T.round(TURN_DECIMALS)),
            "contribution": _courses(lives, "contribution_at", len(features)),
        }),
        "similarity": _nothing("similarity"),
        "promoted": _promoted(tokens),
        "code_by_feature": pa.table({
            "feature": features,
            "tokens": _ragged(by_feature.offsets, by_feature.columns),
            "p": _ragged(by_feature.offsets, by_feature.values),
            "histogram": pa.nulls(len(features), pa.list_(pa.int32())),
            "p_low": pa.nulls(len(features), pa.float32()),
            "p_high": pa.nulls(len(features), pa.float32()),
        }),
        "code_by_token": pa.table({
            "token": np.flatnonzero(firing).astype(np.int32),
            "features": _ragged(bounds, by_token.columns),
            "p": _ragged(bounds, by_token.values),
        }),
        "token_index": pa.table(index),
        "neighbour": _neighbour(features, lives),
        **{name: _nothing(name) for name in ("neighbour_at", "row", "sample", "example")},
        "population": _population(lives),
    }


def rounded(code: SparseCode, norms: np.ndarray, threshold: np.ndarray) -> SparseCode:
    """The code with p to about a thousandth of its median, which packs into half the space.

    An entry whose rounding would make the feature fire, or not fire, at some snapshot against
    the exact p keeps the exact p: the gates stay those of the dictionary.
    """
    if not len(code.p):
        return code
    decimals = 3 - int(np.floor(np.log10(np.median(code.p))))
    short = code.p.round(decimals).astype(np.float32, copy=False)
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
        "explained_variance": _floats(1 - encoded["residual"] / encoded["total"]),
        "l0": _floats(encoded["rates"].sum(axis=1)),
        "null_overlap": _optional(more, "null_overlap", count),
        **{f"null_{name}": _lists(null[:, :, q]) for q, name in enumerate(("q05", "q50", "q95"))},
        "scale": pa.array(scale, pa.float64(), mask=np.isnan(scale)),
        "mean": _lists(more["mean"]) if "mean" in more
        else pa.nulls(count, pa.list_(pa.float32())),
    })


def _feature(steps: Sequence[int], encoded: Arrays, lives: Arrays, tokens: Arrays) -> pa.Table:
    def step(name: str) -> pa.Array:
        return _steps(lives[name], steps)

    def number(name: str) -> pa.Array:
        return _floats(lives[name])

    size = len(lives["alive"])
    place = lives.get("map", np.full((size, 2), np.nan))
    death = np.where(lives["death"] == len(steps) - 1, len(steps), lives["death"])
    return pa.table({
        "feature": np.arange(size, dtype=np.int32),
        "alive": lives["alive"],
        "threshold": _floats(encoded["threshold"]),
        "contribution": number("contribution"),
        "profile": _names(lives["profile"]),
        "birth_step": step("birth"),
        "birth_floor_step": step("birth_floor"),
        "peak_step": step("peak"),
        "death_step": _steps(death, steps),
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
        "cusum_norm": _optional(lives, "cusum_norm", size),
        "cusum_rotation": _optional(lives, "cusum_rotation", size),
        **{name: _counts(lives, name, size)
           for name in ("change_step", "change_low_step", "change_high_step")},
        "change_p": _optional(lives, "change_p", size, digits=DIGITS),
        "rows_explained": _optional(lives, "rows_explained", size, digits=DIGITS),
        "nearest": _optional(lives, "nearest", size, COSINE_DECIMALS),
        "n_duplicates": _counts(lives, "n_duplicates", size),
        "duplicate_of": _counts(lives, "duplicate_of", size),
        "map_x": _floats(place[:, 0]),
        "map_y": _floats(place[:, 1]),
        "kind": _names(tokens["kind"]),
        "kind_share": _floats(tokens["kind_share"]),
        "kind_enrichment": _optional(tokens, "kind_enrichment", size, digits=DIGITS),
        "kind_p": _floats(np.maximum(tokens["kind_p"], LEAST_P)),
        "legible": tokens["legible"],
        **{name: column for scheme in SCHEMES
           for name, column in _label(scheme, tokens, size).items()},
        "label": _known(tokens["label"]),
    })


def _label(scheme: str, tokens: Arrays, size: int) -> dict[str, pa.Array]:
    """The five columns of a labelling scheme."""
    names, p = tokens.get(scheme, np.full(size, "")), f"{scheme}_p"
    if p in tokens:
        tokens = tokens | {p: np.maximum(tokens[p], LEAST_P)}
    return {
        scheme: _names(names),
        **{f"{scheme}_{part}": _optional(tokens, f"{scheme}_{part}", size, digits=DIGITS)
           for part in ("share", "enrichment", "p", "coverage")},
    }


def _promoted(tokens: Arrays) -> pa.Table:
    count, features, places = tokens["promoted"].shape
    known = ~np.isnan(tokens["promoted_cosines"][:, :, 0]).T.ravel()

    def column(name: str) -> pa.Array:
        values = tokens[name].transpose(1, 0, 2).reshape(-1, places)
        return _lists(values if values.dtype == np.int32 else values.round(COSINE_DECIMALS), known)

    return pa.table({
        "feature": np.repeat(np.arange(features), count),
        "k": np.tile(np.arange(count), features),
        "tokens": column("promoted"),
        "cosines": column("promoted_cosines"),
        "suppressed": column("suppressed"),
        "suppressed_cosines": column("suppressed_cosines"),
    })


def _neighbour(features: np.ndarray, lives: Arrays) -> pa.Table:
    ids, cosines = lives["neighbours"], lives["neighbour_cosines"]
    known = ids >= 0
    offsets = np.concatenate([[0], np.cumsum(known.sum(axis=1))])
    return pa.table({
        "feature": features,
        "ids": _ragged(offsets, ids[known].astype(np.int32)),
        "cosines": _ragged(offsets, cosines[known].round(COSINE_DECIMALS)),
    })


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


_ARROW = {
    "INTEGER": pa.int32(), "INTEGER[]": pa.list_(pa.int32()), "FLOAT[]": pa.list_(pa.float32()),
    "TINYINT[]": pa.list_(pa.int8()),
}


def _nothing(name: str) -> pa.Table:
    """A table without rows: what it would hold was not derived."""
    columns = table(RUN_TABLES, name).columns
    return pa.table({c.name: pa.array([], _ARROW[c.type.split()[0]]) for c in columns})


def _courses(arrays: Arrays, name: str, size: int) -> pa.Array:
    """(K, n) values as n lists; NULLs if not derived."""
    return _lists(arrays[name].T) if name in arrays else pa.nulls(size, pa.list_(pa.float32()))


def _floats(values: np.ndarray) -> pa.Array:
    """float32 with NULL for nan."""
    values = values.astype(np.float32, copy=False)
    missing = np.isnan(values)
    return pa.array(values, mask=missing) if missing.any() else pa.array(values)


def _optional(
    arrays: Arrays, name: str, size: int, decimals: int | None = None, digits: int | None = None
) -> pa.Array:
    """float32 with NULL for nan, to some decimals or significant digits; NULLs if not derived."""
    values = arrays.get(name)
    if values is None:
        return pa.nulls(size, pa.float32())
    if decimals is not None:
        values = values.round(decimals)
    return _floats(values if digits is None else _significant(values, digits))


def _significant(values: np.ndarray, digits: int) -> np.ndarray:
    """Values to so many significant digits; fewer digits pack into less space."""
    values = np.asarray(values, dtype=np.float64)
    safe = np.where(np.nan_to_num(values) == 0, 1.0, np.abs(values))
    unit = 10.0 ** (np.floor(np.log10(safe)) + 1 - digits)
    return np.round(values / unit) * unit


def _counts(arrays: Arrays, name: str, size: int) -> pa.Array:
    """int32 with NULL for -1; NULLs if not derived."""
    values = arrays.get(name)
    if values is None:
        return pa.nulls(size, pa.int32())
    return pa.array(values.astype(np.int32, copy=False), mask=values < 0)


def _steps(index: np.ndarray, steps: Sequence[int]) -> pa.Array:
    """Steps of snapshot indices, NULL for the index K."""
    padded = np.append(np.array(steps, dtype=np.int32), 0)
    return pa.array(padded[index], mask=index == len(steps))


def _names(values: np.ndarray) -> pa.Array:
    """Strings with NULL for ''."""
    return pa.array([str(v) or None for v in values], pa.string())


def _lists(values: np.ndarray, known: np.ndarray | None = None) -> pa.Array:
    """(n, m) values as n lists; nan is a NULL in its list, a list of nothing else is NULL."""
    rows, places = values.shape
    if values.dtype == np.int32:
        flat = pa.array(np.ascontiguousarray(values).ravel())
    else:
        flat = _floats(values.ravel())
        if known is None:
            known = ~np.isnan(values).all(axis=1)
    if places == 0:
        return pa.nulls(rows, pa.list_(flat.type))
    offsets = pa.array(np.arange(0, rows * places + 1, places, dtype=np.int32))
    missing = None if known is None or known.all() else pa.array(~known)
    return pa.ListArray.from_arrays(offsets, flat, mask=missing)


def _known(ids: np.ndarray) -> pa.Array:
    """(n, m) ids as n lists without the -1; NULL where there is no other."""
    return pa.array([row[row >= 0] if (row >= 0).any() else None for row in ids],
                    pa.list_(pa.int32()))


def _ragged(offsets: np.ndarray, values: np.ndarray) -> pa.Array:
    """Lists between offsets; 64-bit offsets, for a code may have more than 2^31 entries."""
    return pa.LargeListArray.from_arrays(pa.array(offsets.astype(np.int64)), pa.array(values))
