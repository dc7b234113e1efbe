"""What the tables of a store are made of: columns with their meaning, and how much is kept."""

from dataclasses import dataclass

STORAGE = "v1.5.0"
"""DuckDB storage version of the files (reliability section 5, R6): readable from DuckDB 1.5 on.
1.4 would be kinder still, but does not compress floats in small blocks: half as large again."""
MAX_SNAPSHOTS = 64
"""Snapshots of a run that fit the bit mask of `token_index`."""
PROMOTED = 12
"""Promoted and suppressed tokens kept per feature and snapshot."""
NEIGHBOURS = 20
"""Neighbours kept per feature."""
NEIGHBOURS_AT = 10
"""Neighbours kept per feature and snapshot."""
BINS = 24
"""Bins of the histogram of a feature's activations."""
FIRING = 200
"""Firing tokens kept per feature, strongest first; the code by token has all of them, and those
the dictionary was not fitted to."""
COSINE_DECIMALS = 3
"""Decimals kept of a cosine: rounded numbers pack into half the space."""
DUPLICATE = 0.9
"""Cosine of the last directions from which two features count as duplicates."""
LABEL = 6
"""Strongest firing tokens that stand for a feature in a table."""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    type: str
    """DuckDB type with constraints."""
    comment: str
    """Meaning, unit and source, in a sentence that a page can show."""


@dataclass(frozen=True)
class Table:
    """One table; rows are unique in `key` and stored in its order."""

    name: str
    comment: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]


def new_table(name: str, key: str, comment: str, *columns: tuple[str, str, str]) -> Table:
    return Table(name, comment, tuple(key.split()), tuple(Column(*c) for c in columns))


SHARE = "FLOAT CHECK ({0} BETWEEN 0 AND 1)"
FINITE = "FLOAT CHECK (isfinite({0}))"
COSINE = "FLOAT CHECK ({0} BETWEEN -1 AND 1)"
COUNT = "INTEGER CHECK ({0} >= 0)"


def label_columns(scheme: str, meaning: str, covered: str) -> tuple[tuple[str, str, str], ...]:
    """The five columns of a labelling scheme (`atlas.labels`)."""
    return (
        (scheme, "VARCHAR", meaning + " Not available: fewer than five firing tokens, or none of "
                            "them has one."),
        (f"{scheme}_share", SHARE.format(f"{scheme}_share"),
         f"Share of the 50 strongest firing tokens that have that {scheme}."),
        (f"{scheme}_enrichment", FINITE.format(f"{scheme}_enrichment"),
         f"That share over the {scheme}'s share of the vocabulary."),
        (f"{scheme}_p", SHARE.format(f"{scheme}_p"),
         "Hypergeometric probability of at least that share, corrected for the number of labels "
         "tried; 1e-37 stands for anything smaller too."),
        (f"{scheme}_coverage", SHARE.format(f"{scheme}_coverage"),
         f"Share of the 50 strongest firing tokens that {covered}."),
    )
