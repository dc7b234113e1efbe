"""Numbers in the tables of a run that is not ours: indices in range, lists as long as they say.

The constraints of `atlas.schema` hold for one value by itself and are checked as a table is
written; these hold for a value beside the run's configuration, or beside another column.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from atlas.dense import PCA_RANKS
from atlas.errors import BrokenArtifact
from atlas.schema import BINS, PROMOTED

HUNDRED = 100
"""Parts of a cosine of 1 in which similarities are kept."""
OPTIONAL = ("similarity", "row")
"""Tables that are whole or empty."""


def check_values(
    folder: Path, rows: dict[str, pa.Table], config: dict[str, Any], n_rows: int
) -> None:
    """Check the tables of a run, named as in `atlas.schema.RUN_TABLES`.

    Args:
        folder: named in what is said. n_rows: rows of the matrix.

    Raises:
        BrokenArtifact: names the table and the column.
    """
    width, count = config["config"]["d_sae"], len(config["steps"])
    texts = len(rows["sample"])
    below = {"feature": width, "features": width, "ids": width, "token": n_rows,
             "tokens": n_rows, "suppressed": n_rows, "label": n_rows, "duplicate_of": width,
             "k": count, "best_k": count, "place": texts, "start": 2**31, "rank": 2**31,
             "histogram": 2**31}
    for name, found in rows.items():
        for column in found.column_names:
            if column in below:
                _check_range(folder, name, column, found[column], 0, below[column])
    _check_range(folder, "similarity", "cosines", rows["similarity"]["cosines"], -HUNDRED,
                 HUNDRED + 1)
    _check_every(folder, rows, "feature", width, (
        "feature", "life", "code_by_feature", "neighbour", "similarity"))
    _check_every(folder, rows, "token", n_rows, ("row",))
    _check_every(folder, rows, "place", texts, ("sample",))
    if rows["snapshot"]["step"].to_pylist() != config["steps"]:
        raise BrokenArtifact(f"{folder}: table snapshot has other steps than config.json")
    _check_lengths(folder, rows, count, config["config"]["d_model"])
    _check_examples(folder, rows["sample"], rows["example"])
    _check_trust(folder, rows, config["steps"], width)


def _check_trust(
    folder: Path, rows: dict[str, pa.Table], steps: list[int], width: int
) -> None:
    """Courses of the bank and rows of the gallery are as long as their steps and in range."""
    cases, shown = rows["bank_case"], rows["gallery"]
    lengths = [pc.list_value_length(cases[name]) for name in ("exact_at", "rebuilt_at")]
    odd = [pc.not_equal(n, len(steps)) for n in lengths]
    first = pc.list_value_length(shown["steps"])
    columns = ("hidden_steps", "exact", "base", "feature_sum", "residual", "n_active", "features",
               "contributions")
    odd += [pc.not_equal(pc.list_value_length(shown[name]), first) for name in columns]
    if any(pc.any(wrong).as_py() for wrong in odd):
        raise BrokenArtifact(f"{folder}: bank_case or gallery has lists of other lengths")
    inner = [pc.list_flatten(shown[name]) for name in ("features", "contributions")]
    sizes = [pc.list_value_length(values) for values in inner]
    if pc.any(pc.not_equal(*sizes)).as_py():
        raise BrokenArtifact(f"{folder}: gallery.features and gallery.contributions differ in "
                             "length")
    _check_range(folder, "gallery", "features", pc.list_flatten(inner[0]), 0, width)
    for name in ("steps", "hidden_steps"):
        _check_range(folder, "gallery", name, shown[name], 0, 2**31)
    found = set(pc.list_flatten(shown["steps"]).to_pylist())
    if not found <= set(steps):
        raise BrokenArtifact(f"{folder}: gallery has steps that config.json has not")


def _check_every(
    folder: Path, rows: dict[str, pa.Table], key: str, size: int, names: tuple[str, ...]
) -> None:
    for name in names:
        numbers = rows[name][key].to_numpy()
        if name in OPTIONAL and not len(numbers):
            continue
        if not np.array_equal(numbers, np.arange(size)):
            raise BrokenArtifact(f"{folder}: table {name} does not list {key}s 0 to {size - 1}")


def _check_lengths(folder: Path, rows: dict[str, pa.Table], count: int, d_model: int) -> None:
    lengths = (
        *(("life", name, count) for name in ("norm", "rate", "to_terminal", "contribution")),
        ("life", "rotation", count - 1), ("snapshot", "mean", d_model),
        *(("snapshot", f"null_{q}", PROMOTED) for q in ("q05", "q50", "q95")),
        ("similarity", "cosines", count * (count - 1) // 2),
        ("code_by_feature", "histogram", BINS),
        *(("row", name, count) for name in ("norm", "to_terminal", "explained")),
        *(("similarity_mean", name, count) for name in ("features", "rows")),
        ("matrix", "pca", len(PCA_RANKS)),
    )
    for name, column, length in lengths:  # a list that is not available has no length
        if pc.any(pc.not_equal(pc.list_value_length(rows[name][column]), length)).as_py():
            raise BrokenArtifact(f"{folder}: lists of {name}.{column} have not {length} values")
    pairs = (("code_by_token", "features", "p"), ("code_by_feature", "tokens", "p"),
             ("promoted", "tokens", "cosines"), ("promoted", "suppressed", "suppressed_cosines"),
             ("neighbour", "ids", "cosines"), ("neighbour_at", "ids", "cosines"))
    for name, one, other in pairs:
        left, right = (pc.list_value_length(rows[name][c]) for c in (one, other))
        if pc.any(pc.not_equal(left, right)).as_py():
            raise BrokenArtifact(f"{folder}: {name}.{one} and {name}.{other} differ in length")


def _check_examples(folder: Path, sample: pa.Table, example: pa.Table) -> None:
    """Every excerpt has a score for each token, and a token after it in the text it is from."""
    scores = example["z"]
    flat = pc.list_flatten(scores)
    ends = pc.add(example["start"], pc.list_value_length(scores))
    size = pc.list_value_length(sample["tokens"]).combine_chunks().take(
        example["place"].combine_chunks())
    inside = pc.and_(pc.less(ends, pc.fill_null(size, 0)),
                     pc.greater(pc.list_value_length(scores), 0))
    if (
        scores.null_count or flat.null_count or sample["tokens"].null_count
        or not pc.all(pc.is_finite(flat), min_count=0).as_py()
        or not pc.all(inside, min_count=0).as_py()
    ):
        raise BrokenArtifact(f"{folder}: table example has excerpts that table sample has not")


def _check_range(
    folder: Path, name: str, column: str, values: pa.ChunkedArray, least: int, below: int
) -> None:
    if pa.types.is_list(values.type):
        values = pc.list_flatten(values)
    if not pa.types.is_integer(values.type):
        return
    ends = pc.min_max(values).as_py()
    if ends["min"] is not None and not least <= ends["min"] <= ends["max"] < below:
        raise BrokenArtifact(
            f"{folder}: {name}.{column} holds {ends['min']} to {ends['max']}, expected {least} to "
            f"{below - 1}"
        )
