"""What the stages put together: code and moments, lives and neighbours, promoted tokens.

Arrays in, arrays out, as in `precompute.derive`, whose shapes and conventions hold here.
"""

from collections.abc import Sequence

import numpy as np

from atlas import geometry, lifecycle
from atlas.codes import SparseCode, firing
from atlas.crosscoder import DEAD_RATE
from precompute.derive import (
    METRICS,
    NULL_QUANTILES,
    QUANTILES,
    Arrays,
    Gate,
    code_of,
    explained,
    explained_sums,
    token_index,
    whole_counts,
)
from precompute.statistics import duplicates, life_statistics, null_overlap, population_map

WHOLE = ("fired", "sums", "served", "mass", "energy", "weight", "explained")
"""What is counted and summed up of the whole code where a block was cut."""


def encoded_arrays(
    measured: list[Arrays], blocks: list[Arrays], threshold: np.ndarray | None, n_features: int
) -> Arrays:
    """What the passes over the inputs found, put together: code, norms, moments, fidelity.

    Args:
        measured: one a snapshot. blocks: one a block of rows, in order.
        threshold: (D,); None for a prism, which has no gate: its norms, threshold, mean and scale
            are nan, and its p is in raw units.

    Where a block was cut, the counts and sums of the whole code are among the arrays. Those of
    the rows themselves, (V, K) each, are row_residual, row_total, row_length and row_turn.
    """
    gone = {name: np.concatenate([block[name] for block in blocks])
            for name in ("token", "feature", "p")}
    rows = {f"row_{name}": np.concatenate([block[name] for block in blocks])
            for name in ("residual", "total", "length", "turn") if name in blocks[0]}
    moments = {name: np.stack([part[name] for part in measured]) for name in ("mean", "scale")}
    count = len(measured)
    gate = None
    if threshold is None:
        norms = np.full((1, n_features), np.nan, dtype=np.float32)
        threshold = np.full(n_features, np.nan, dtype=np.float32)
        moments = {name: np.full_like(values, np.nan) for name, values in moments.items()}
    else:
        norms = np.stack([part["norms"] for part in measured])
        gate = Gate(norms, threshold)
    gone |= _whole(blocks, n_features, gate)
    turns = {name: np.stack([part[name] for part in measured])
             for name in ("rotation", "to_terminal") if name in measured[0]}
    return gone | rows | moments | turns | {
        "residual": rows["row_residual"].sum(axis=0),
        "total": rows["row_total"].sum(axis=0),
        "size": np.array([len(rows["row_total"]), n_features]),
        "norms": norms,
        "threshold": threshold,
    } | ({} if count == 1 else {"rotation": turns["rotation"][:-1]})


def _whole(blocks: list[Arrays], n_features: int, gate: Gate | None) -> Arrays:
    """Counts and sums of the whole code, added up block by block; none if none was cut."""
    if not any("fired" in block for block in blocks):
        return {}
    found: Arrays = {}
    first = 0
    for block in blocks:
        counts = block if "fired" in block else whole_counts(block, n_features, gate, first)
        first += len(block["total"])
        for name in WHOLE:
            found[name] = found[name] + counts[name] if name in found else counts[name]
    return found


def life_arrays(
    encoded: Arrays, near: Arrays, width: int, steps: Sequence[int]
) -> Arrays:
    """Rates, lives, scalars per feature, neighbours, map and population from what was encoded.

    Follows crosscoder-method sections 7 and 8. Of a code that was cut, what counts or sums up
    entries (rates, contributions, rows_explained) is of the whole code.

    Args:
        near: ids and cosines (D, n) of the nearest directions at the last snapshot.
        width: d, numbers of a direction.
    """
    code, norms = code_of(encoded), encoded["norms"]
    features = norms.shape[1]
    gate = None if np.isnan(norms).any() else Gate(norms, encoded["threshold"])
    if "fired" in encoded:
        fired, sums, shares = encoded["fired"], encoded["sums"], encoded
    else:
        if gate is not None:
            fired, sums = firing(code, *gate)
        else:
            fired = np.bincount(code.feature, minlength=features)[None]
            sums = np.bincount(code.feature, code.p, minlength=features)[None]
        last = explained({"residual": encoded["row_residual"][:, -1:],
                          "total": encoded["row_total"][:, -1:]})[:, 0]
        shares = explained_sums(encoded, last, features, gate)
    contribution = sums * (1 if gate is None else norms) / code.n_tokens
    rates = fired / code.n_tokens
    alive = rates.mean(axis=0) > DEAD_RATE
    arrays: Arrays = {
        "rates": rates,
        "alive": alive,
        "contribution": contribution.mean(axis=0),
        "contribution_at": contribution,
        "rows_explained": _ratio(shares["explained"], shares["weight"]),
        "n_tokens": encoded["served"] if "served" in encoded
        else np.bincount(code.feature, minlength=features),
        "norm_max": norms.max(axis=0),
        "norm_final": norms[-1],
        "rate_max": rates.max(axis=0),
        "rate_final": rates[-1],
    }
    arrays |= _course(code, encoded, rates, width, steps)
    arrays |= life_statistics(rates, norms, arrays["rotation"])
    neighbours, cosines = near["ids"], near["cosines"]
    arrays |= {"neighbours": neighbours, "neighbour_cosines": cosines,
               "map": population_map(neighbours, cosines)}
    arrays |= duplicates(neighbours, cosines, alive)
    courses = {"norm": norms, "rate": rates, "rotation": arrays["rotation"],
               "to_terminal": arrays["to_terminal"]}
    for metric in METRICS:
        arrays[f"q_{metric}"] = _quantiles(courses[metric][:, alive])
    return arrays


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole; nan where there is no whole."""
    return part / np.where(whole > 0, whole, np.nan)


def _quantiles(values: np.ndarray) -> np.ndarray:
    """(K, 5) quantiles of (K, n) values, nan left out; nan where nothing is left."""
    out = np.full((len(values), len(QUANTILES)), np.nan)
    for k, row in enumerate(values):
        known = row[~np.isnan(row)]
        if known.size:
            out[k] = np.quantile(known, QUANTILES)
    return out


def _course(
    code: SparseCode, encoded: Arrays, rates: np.ndarray, width: int, steps: Sequence[int]
) -> Arrays:
    count, features = rates.shape
    norms = encoded["norms"]
    never = np.full(features, count)
    unknown = np.full(features, np.nan)
    if count == 1:
        return {
            "rotation": np.zeros((0, features)),
            "to_terminal": np.full((1, features), np.nan),
            "profile": np.full(features, ""),
            "lifetime": unknown, "drift": unknown, "cusum_rate": unknown,
            "max_rotation": unknown,
            "birth": never, "birth_floor": never, "death": never, "peak": never,
            "first_active": never, "stabilized": never, "max_rotation_k": never,
        }
    rotation, to_terminal = encoded["rotation"], encoded["to_terminal"]
    table = lifecycle.lifecycle(rates, to_terminal, rotation, norms)
    birth, death = lifecycle.births_and_deaths(norms)
    floor = geometry.floor_of_energy(encoded["energy"], width) if "energy" in encoded \
        else geometry.noise_floor(code, width)
    turned = np.where(np.isnan(rotation), -np.inf, rotation)
    turns = turned.max(axis=0)
    return {
        "rotation": rotation,
        "to_terminal": to_terminal,
        "profile": np.array(lifecycle.profiles(norms, steps)),
        "lifetime": table.lifetime,
        "drift": np.where(table.never_active, np.nan, table.drift),
        "cusum_rate": lifecycle.cusum_max(rates),
        "max_rotation": np.where(np.isinf(turns), np.nan, turns),
        "birth": birth,
        "birth_floor": lifecycle.floor_corrected_births(norms, floor),
        "death": death,
        "peak": table.peak,
        "first_active": table.first_active,
        "stabilized": table.stabilized,
        "max_rotation_k": np.where(np.isinf(turns), count, turned.argmax(axis=0) + 1),
    }


def promoted_arrays(parts: list[Arrays]) -> Arrays:
    """Promoted and suppressed tokens (K, D, n), their null, and their inverse index."""
    names = ("promoted", "promoted_cosines", "suppressed", "suppressed_cosines")
    arrays = {name: np.stack([part[name] for part in parts]) for name in names}
    quantiles = [np.quantile(part["null_cosines"], NULL_QUANTILES, axis=0).T for part in parts]
    tokens = [None, *(part["null_tokens"] for part in parts)]
    arrays["promoted_null"] = np.stack(quantiles).astype(np.float32)
    arrays["null_overlap"] = np.array([
        null_overlap(now, before) for before, now in zip(tokens[:-1], tokens[1:], strict=True)
    ])
    known = ~np.isnan(arrays["promoted_cosines"][:, :, 0])
    index = token_index(arrays["promoted"], known)
    return arrays | {f"index_{name}": values for name, values in index.items()}
