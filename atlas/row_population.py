"""How the rows of a matrix are spread: the band behind one row's course."""

import numpy as np

from atlas.figures import Band
from atlas.store import Store

_SPREAD = """
    WITH value AS (SELECT unnest({column}) AS v, generate_subscripts({column}, 1) AS k
                   FROM {run}.row WHERE {column} IS NOT NULL)
    SELECT k, quantile_cont(v, [0.05, 0.25, 0.5, 0.75, 0.95]) AS q
    FROM value WHERE isfinite(v) GROUP BY k"""
COLUMNS = ("norm", "to_terminal")


def row_bands(store: Store, run: str) -> dict[str, Band]:
    """Percentiles 5 to 95 of all rows' norm and remaining turn, per snapshot; {} if not derived."""
    count = len(store.run(run).steps)
    bands = {}
    for column in COLUMNS:
        found = store.ask(run, _SPREAD.replace("{column}", column)).to_pylist()
        if not found:
            continue
        rows: list[list[float | None]] = [[None] * 5 for _ in range(count)]
        for row in found:
            rows[row["k"] - 1] = np.asarray(row["q"], dtype=float).tolist()
        bands[column] = Band(rows)
    return bands
