"""How population, matrix and control turn over: arrays for the tables of `atlas.schema_turnover`.

Arrays in, arrays out, as in `precompute.derive`. Shapes: K snapshots, D features, P = K - 1 pairs.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from atlas import lifecycle, reorganisation
from atlas.artifacts import RunFolder
from atlas.crosscoder import DEAD_RATE
from atlas.errors import BrokenArtifact
from atlas.schema import RUN_TABLES, table
from atlas.schema_turnover import PAIR_METRICS
from atlas.tensor_files import TensorFile, read_json
from atlas.turnover import CONTROL, CONTROL_FACTS, CONTROL_TENSORS
from precompute.columns import floats, lists
from precompute.derive import QUANTILES, Arrays, population_counts
from precompute.directions import HUNDRED, UNKNOWN
from precompute.parquet import arrow_schema

TURNOVER_STATISTICS = (
    "concatenated_pca", "concatenated_rank", "control_seed", "control_explained_variance",
    "control_l0", "control_n_alive", "control_shuffle",
)
"""Names of those numbers that are one for a run; the last one is a sentence."""
COUNTS = ("births", "births_floor", "deaths", "alive")
MATRIX = ("mean_share", "mean_cosine", "participation", "pc1_share", "effective_rank", "row_cosine")
HELD_OUT = ("alpha", "explained_variance", "explained_raw", "l0", "nearest", "between", "endpoints")


def pair_arrays(
    norms: np.ndarray, rates: np.ndarray | None, rotation: np.ndarray, to_terminal: np.ndarray,
    prefix: str = "pair_",
) -> Arrays:
    """The eight pair metrics (P,) of a population, by prefix and name (§9.1).

    Args:
        norms, to_terminal: (K, D). rotation: (K - 1, D).
        rates: (K, D); without, activation_turnover is nan.

    Returns:
        Nothing of a single snapshot, nor where norms are not known.
    """
    if len(norms) < 2 or not np.isfinite(norms).all():
        return {}
    found = reorganisation.pair_metrics(
        norms, np.zeros_like(norms) if rates is None else rates, rotation, to_terminal
    )
    arrays = {f"{prefix}{name}": getattr(found, name) for name in PAIR_METRICS}
    if rates is None:
        arrays[f"{prefix}activation_turnover"] = np.full(len(norms) - 1, np.nan)
    return arrays


def mean_similarity(similarity: np.ndarray, alive: np.ndarray, count: int) -> np.ndarray:
    """Mean cosine (K, K) of the live features' directions at any two snapshots.

    Args:
        similarity: (D, K (K - 1) / 2) int8 hundredths, `UNKNOWN` without a direction.
        alive: (D,) bool.
    """
    values = similarity[alive]
    known = values != UNKNOWN
    total = np.where(known, values, 0).sum(axis=0, dtype=np.int64)
    size = known.sum(axis=0)
    found = np.full((count, count), np.nan)
    first, second = np.triu_indices(count, 1)
    found[first, second] = total / np.where(size > 0, HUNDRED * size, np.nan)
    found[second, first] = found[first, second]
    np.fill_diagonal(found, 1.0 if alive.any() else np.nan)
    return found


def read_control(folder: RunFolder) -> Arrays:
    """Counts, norms and pair metrics of the shuffled-row control, `control_…`; {} without one.

    Raises:
        BrokenArtifact: its files do not fit the run.
    """
    files = folder.path / CONTROL, folder.path / CONTROL_FACTS
    if len(folder.steps) < 2 or not all(file.is_file() for file in files):
        return {}
    file, facts = TensorFile(files[0]), read_json(files[1])
    file.require(CONTROL_TENSORS)
    count, size = len(folder.steps), file.shape("floor")
    shapes = dict.fromkeys(CONTROL_TENSORS, (count, *size)) | {
        "rotation": (count - 1, *size), "floor": size
    }
    file.expect(shapes, str(folder.path / "config.json"))
    said = {name: file.read(name, check=name in ("norms", "rates")).numpy()
            for name in CONTROL_TENSORS}
    alive = said["rates"].mean(axis=0) > DEAD_RATE
    norms = said["norms"]
    birth, death = lifecycle.births_and_deaths(norms)
    lives: Arrays = {
        "alive": alive, "birth": birth, "death": death,
        "birth_floor": lifecycle.floor_corrected_births(norms, said["floor"]),
    }
    counts = population_counts(lives, norms)
    quantiles = np.quantile(norms[:, alive], QUANTILES, axis=1).T if alive.any() else np.full(
        (count, len(QUANTILES)), np.nan)
    # a dead feature keeps the direction and norm it began with: its metrics are none of training
    courses = (said[name][:, alive] for name in ("norms", "rates", "rotation", "to_terminal"))
    return {
        **{f"control_{name}": counts[name] for name in COUNTS},
        "control_norm": quantiles,
        **(pair_arrays(*courses, prefix="control_") if alive.any() else {}),
        **_facts(facts, int(alive.sum()), str(files[1])),
    }


def _facts(facts: Any, n_alive: int, name: str) -> Arrays:
    """What the control's file says of it, as 0-d arrays."""
    if not isinstance(facts, dict):
        raise BrokenArtifact(f"{name} is no table of facts; train the control again")
    found: Arrays = {"control_n_alive": np.array(n_alive),
                     "control_shuffle": np.array(str(facts.get("shuffle", ""))[:500])}
    for key in ("seed", "explained_variance", "l0"):
        value = facts.get(key)
        if not isinstance(value, int | float):
            raise BrokenArtifact(f"{name} says no number for {key}; train the control again")
        found[f"control_{key}"] = np.array(value)
    return found


# --- rows of the tables --------------------------------------------------------------------------


def turnover_rows(steps: Sequence[int], arrays: Arrays) -> dict[str, pa.Table]:
    """The rows of the tables of `atlas.schema_turnover`; none of what was not derived."""
    count = len(steps)
    return {
        "pair": _pairs("pair", "pair_", arrays),
        "matrix_pair": _pairs("matrix_pair", "matrix_pair_", arrays),
        "matrix": _matrix(arrays, count),
        "similarity_mean": _similarity(arrays, count),
        "held_out": _held_out(arrays),
        "control": _control(arrays, count),
    }


def _doubles(values: np.ndarray) -> pa.Array:
    values = np.asarray(values, dtype=np.float64)
    return pa.array(values, mask=np.isnan(values))


def _numbers(size: int, first: int = 0) -> np.ndarray:
    return np.arange(first, size, dtype=np.int32)


def _nothing(name: str) -> pa.Table:
    return arrow_schema(table(RUN_TABLES, name)).empty_table()


def _pairs(name: str, prefix: str, arrays: Arrays) -> pa.Table:
    if f"{prefix}{PAIR_METRICS[0]}" not in arrays:
        return _nothing(name)
    columns = {metric: _doubles(arrays[f"{prefix}{metric}"]) for metric in PAIR_METRICS}
    return pa.table({"k": _numbers(len(arrays[f"{prefix}{PAIR_METRICS[0]}"]) + 1, 1), **columns})


def _matrix(arrays: Arrays, count: int) -> pa.Table:
    if "matrix_pca" not in arrays:
        return _nothing("matrix")
    columns = {name: floats(arrays[f"matrix_{name}"]) for name in MATRIX}
    return pa.table({
        "k": _numbers(count),
        "row_norm": lists(arrays["matrix_row_norm"]),
        **{name: columns[name] for name in MATRIX[:-1]},
        "pca": lists(arrays["matrix_pca"]),
        **{name: _doubles(arrays[f"matrix_{name}"]) for name in ("concatenated_pca", "endpoint")},
        "row_cosine": columns["row_cosine"],
    })


def _similarity(arrays: Arrays, count: int) -> pa.Table:
    names = {"features": "feature_similarity", "rows": "row_similarity"}
    if not any(name in arrays for name in names.values()):
        return _nothing("similarity_mean")
    nothing = np.full((count, count), np.nan)
    return pa.table({"k": _numbers(count), **{
        column: lists(arrays.get(name, nothing)) for column, name in names.items()
    }})


def _held_out(arrays: Arrays) -> pa.Table:
    if not len(arrays.get("held_step", ())):
        return _nothing("held_out")
    whole = {name: pa.array(arrays[f"held_{name}"].astype(np.int32))
             for name in ("step", "before", "after", "n_rows")}
    numbers = {name: _doubles(arrays[f"held_{name}"]) for name in HELD_OUT}
    return pa.table({
        **{name: whole[name] for name in ("step", "before", "after")},
        "alpha": numbers.pop("alpha"), "n_rows": whole["n_rows"], **numbers,
        "sha256": pa.array([str(v) for v in arrays["held_sha256"]]),
    })


def _control(arrays: Arrays, count: int) -> pa.Table:
    if "control_births" not in arrays:
        return _nothing("control")
    def padded(metric: str) -> np.ndarray:
        return np.append(np.nan, arrays.get(f"control_{metric}", np.full(count - 1, np.nan)))

    return pa.table({
        "k": _numbers(count),
        **{name: pa.array(arrays[f"control_{name}"].astype(np.int32)) for name in COUNTS},
        "norm": lists(arrays["control_norm"]),
        **{metric: _doubles(padded(metric)) for metric in PAIR_METRICS},
    })
