"""The tables of a store: one file per run and one catalog over all runs.

Every column carries its meaning as a COMMENT; pages show it as a tooltip and on the Method page,
so a number is explained in one place. Missing values are NULL, never 0. A change here raises
`SCHEMA`; a store is derived data, so an older one is rebuilt, not migrated.
"""

from collections.abc import Iterator
from dataclasses import dataclass

SCHEMA = 3
"""Version of the tables below, written into every file and into the pointer."""
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


def _table(name: str, key: str, comment: str, *columns: tuple[str, str, str]) -> Table:
    return Table(name, comment, tuple(key.split()), tuple(Column(*c) for c in columns))


_SHARE = "FLOAT CHECK ({0} BETWEEN 0 AND 1)"
_FINITE = "FLOAT CHECK (isfinite({0}))"
_COSINE = "FLOAT CHECK ({0} BETWEEN -1 AND 1)"
_COUNT = "INTEGER CHECK ({0} >= 0)"


def _label_columns(scheme: str, meaning: str, covered: str) -> tuple[tuple[str, str, str], ...]:
    """The five columns of a labelling scheme (`atlas.labels`)."""
    return (
        (scheme, "VARCHAR", meaning + " Not available: fewer than five firing tokens, or none of "
                            "them has one."),
        (f"{scheme}_share", _SHARE.format(f"{scheme}_share"),
         f"Share of the 50 strongest firing tokens that have that {scheme}."),
        (f"{scheme}_enrichment", _FINITE.format(f"{scheme}_enrichment"),
         f"That share over the {scheme}'s share of the vocabulary."),
        (f"{scheme}_p", _SHARE.format(f"{scheme}_p"),
         "Hypergeometric probability of at least that share, corrected for the number of labels "
         "tried; 1e-37 stands for anything smaller too."),
        (f"{scheme}_coverage", _SHARE.format(f"{scheme}_coverage"),
         f"Share of the 50 strongest firing tokens that {covered}."),
    )


RUN_TABLES: tuple[Table, ...] = (
    _table(
        "meta", "key", "What the file was made from.",
        ("key", "VARCHAR NOT NULL", "Name of the entry."),
        ("value", "VARCHAR NOT NULL", "Its value; JSON where it has parts."),
    ),
    _table(
        "snapshot", "k", "The pretraining steps of the run.",
        ("k", "INTEGER NOT NULL", "Number of the snapshot, from 0."),
        ("step", "INTEGER NOT NULL", "Pretraining step of the language model."),
        ("tau", "DOUBLE", "Log time in [0, 1]: log(1+step) between first and last snapshot "
                          "(crosscoder-method §8.2)."),
        ("births", "INTEGER", "Features whose decoder norm first reaches half its maximum here."),
        ("births_floor", "INTEGER", "The same after the noise floor is taken off the norm."),
        ("deaths", "INTEGER", "Features whose norm is last at half its maximum here, though the "
                              "run goes on."),
        ("alive", "INTEGER", "Features whose norm is at least half its maximum here."),
        ("explained_variance", _FINITE.format("explained_variance"),
         "1 - squared error / squared length of the standardised rows at this snapshot (§6.3)."),
        ("l0", _FINITE.format("l0"), "Mean number of features that fire on a row here (§6.3)."),
        ("null_overlap", _SHARE.format("null_overlap"),
         "Share of the tokens that a random direction promotes here which it promoted at the "
         "snapshot before too: what the rows keep by themselves."),
        ("null_q05", "FLOAT[]", "Cosine at each rank of the tokens that random directions promote "
                                "here, which 5 % stay below: the null of a promoted token."),
        ("null_q50", "FLOAT[]", "The same of the median random direction."),
        ("null_q95", "FLOAT[]", "The same, which only 5 % exceed."),
        ("scale", "DOUBLE CHECK (isfinite(scale) AND scale > 0)",
         "Length by which the centred rows are divided here, one number (§2)."),
        ("mean", "FLOAT[]", "Mean row that is taken off here, before the scale (§2)."),
    ),
    _table(
        "feature", "feature", "One row per feature: everything that is one number.",
        ("feature", "INTEGER NOT NULL", "Index of the feature; it means nothing outside its run."),
        ("alive", "BOOLEAN NOT NULL", "Fires on more than one in a million (row, snapshot) pairs; "
                                      "a dead feature does not (§6.1)."),
        ("threshold", _FINITE.format("threshold"),
         "JumpReLU threshold: the feature fires where pre-activation times norm exceeds it."),
        ("contribution", _FINITE.format("contribution"),
         "Mean length the feature adds to a row, over all rows and snapshots, in units of "
         "standardised rows."),
        ("profile", "VARCHAR", "Shape of the life: persistent, transitional, early-decaying, "
                               "late-emerging, mixed or inactive, from the decoder norm (§8.2)."),
        ("birth_step", "INTEGER", "First step at which the decoder norm is at least half its "
                                  "maximum (§8.2)."),
        ("birth_floor_step", "INTEGER",
         "Birth after the norm that noise alone would give is taken off. Not available: the norm "
         "never rises above that floor."),
        ("peak_step", "INTEGER", "Step of the largest rate; the later one on ties (§8.1)."),
        ("death_step", "INTEGER", "Last step at which the norm is at least half its maximum. Not "
                                  "available: it still is at the last snapshot."),
        ("lifetime", _SHARE.format("lifetime"),
         "Share of snapshots at which the rate exceeds a tenth of its maximum (§8.1)."),
        ("first_active_step", "INTEGER", "First of two snapshots in a row at which the rate "
                                         "exceeds a tenth of its maximum (§8.1)."),
        ("stabilized_step", "INTEGER", "Step from which rate and direction stay close to their "
                                       "final values (§8.1)."),
        ("norm_max", _FINITE.format("norm_max"), "Largest decoder norm over snapshots."),
        ("norm_final", _FINITE.format("norm_final"), "Decoder norm at the last snapshot."),
        ("rate_max", _SHARE.format("rate_max"),
         "Largest share of rows on which the feature fires at one snapshot."),
        ("rate_final", _SHARE.format("rate_final"),
         "Share of rows on which the feature fires at the last snapshot."),
        ("n_tokens", "INTEGER NOT NULL", "Tokens on which the feature fires at one snapshot or "
                                         "more."),
        ("max_rotation", _FINITE.format("max_rotation"),
         "Largest turn between neighbouring snapshots, 1 - cosine, 0 to 2 (§7.2)."),
        ("max_rotation_step", "INTEGER", "Later step of the pair with the largest turn."),
        ("drift", _FINITE.format("drift"),
         "Mean turn after the first activity, weighted by the norms (§8.1)."),
        ("cusum_rate", _FINITE.format("cusum_rate"),
         "Largest absolute cumulative deviation of the rate from its mean (§7.4)."),
        ("cusum_norm", _FINITE.format("cusum_norm"),
         "Largest absolute cumulative deviation of the decoder norm from its mean (§7.4)."),
        ("cusum_rotation", _FINITE.format("cusum_rotation"),
         "Largest absolute cumulative deviation of the turn from its mean (§7.4)."),
        ("change_step", "INTEGER",
         "Step of the strongest single split of the decoder norm into two levels; a norm that "
         "changes its level several times has other steps as well. Not available: shuffled "
         "snapshots change as much more often than once in twenty, or there are too few."),
        ("change_low_step", "INTEGER", "Earliest step of the 90 % interval of that split."),
        ("change_high_step", "INTEGER", "Latest step of the 90 % interval of that split."),
        ("change_p", _SHARE.format("change_p"),
         "Share of shuffles of the snapshots whose norm changes level at least as much, with the "
         "true order counted among them."),
        ("rows_explained", _FINITE.format("rows_explained"),
         "Mean share of a row that the whole dictionary explains at the last snapshot, 1 - squared "
         "error / squared length, over the rows on which the feature fires, weighted by its "
         "activation."),
        ("nearest", _COSINE.format("nearest"),
         "Cosine to the feature with the most similar direction at the last snapshot."),
        ("n_duplicates", _COUNT.format("n_duplicates"),
         "Live features, of the 20 nearest, whose last direction has a cosine of 0.9 or more with "
         "that of this live feature."),
        ("duplicate_of", _COUNT.format("duplicate_of"),
         "The nearest of those features. Not available: there is none."),
        ("map_x", _SHARE.format("map_x"),
         "Place on the map of the run, in which only nearness means something: t-SNE of the "
         "nearest directions at the last snapshot."),
        ("map_y", _SHARE.format("map_y"), "The same, upwards."),
        ("kind", "VARCHAR", "Token kind that the strongest firing tokens share most clearly."),
        ("kind_share", _SHARE.format("kind_share"), "Share of them that belong to that kind."),
        ("kind_enrichment", _FINITE.format("kind_enrichment"),
         "That share over the kind's share of the vocabulary."),
        ("kind_p", _SHARE.format("kind_p"),
         "Hypergeometric probability of at least that share, corrected for the number of kinds; "
         "1e-37 stands for anything smaller too."),
        ("legible", "BOOLEAN NOT NULL", "The kind passes the test of legibility."),
        *_label_columns(
            "script", "Writing system, by the fixed convention of the record (§13.1), that the "
                      "strongest firing tokens share most surely.", "have any script"),
        *_label_columns(
            "family", "Token family of the record (§13.2) that they share most surely; families "
                      "overlap.", "belong to any family"),
        *_label_columns(
            "supersense", "WordNet supersense (§13.4) that those of them which are whole English "
                          "words share most surely.", "have any supersense"),
        ("label", "INTEGER[]", "The strongest firing tokens among those the dictionary was fitted "
                               "to; among all if there are none."),
    ),
    _table(
        "life", "feature", "One row per feature: its course over the snapshots.",
        ("feature", "INTEGER NOT NULL", "Index of the feature."),
        ("norm", "FLOAT[]", "Decoder norm at every snapshot."),
        ("rate", "FLOAT[]", "Share of rows on which the feature fires, at every snapshot."),
        ("rotation", "FLOAT[]", "1 - cosine between neighbouring snapshots, one value fewer, to "
                                "five decimals."),
        ("to_terminal", "FLOAT[]", "1 - cosine to the direction at the last snapshot, to five "
                                   "decimals."),
        ("contribution", "FLOAT[]", "Mean length the feature adds to a row at every snapshot, over "
                                    "all rows, in units of standardised rows, to four digits."),
    ),
    _table(
        "similarity", "feature", "How a feature's direction turns: every pair of snapshots.",
        ("feature", "INTEGER NOT NULL", "Index of the feature."),
        ("cosines", "TINYINT[]", "Cosine of its directions at two snapshots in hundredths, for "
                                 "the pairs (0, 1), (0, 2) … (1, 2) …; NULL where one has no "
                                 "length."),
    ),
    _table(
        "promoted", "feature k", "Tokens whose centred row points most along or against a "
                                 "direction, per snapshot.",
        ("feature", "INTEGER NOT NULL", "Index of the feature."),
        ("k", "INTEGER NOT NULL", "Number of the snapshot."),
        ("tokens", "INTEGER[]", "Tokens with the largest cosine, largest first."),
        ("cosines", "FLOAT[]", "Their cosines, to three decimals."),
        ("suppressed", "INTEGER[]", "Tokens with the smallest cosine, smallest first."),
        ("suppressed_cosines", "FLOAT[]", "Their cosines, to three decimals."),
    ),
    _table(
        "code_by_feature", "feature", "The sparse code, by feature: its strongest tokens.",
        ("feature", "INTEGER NOT NULL", "Index of the feature."),
        ("tokens", "INTEGER[]", "Tokens on which it fires at one snapshot or more, among those the "
                                "dictionary was fitted to: the 200 strongest, strongest first."),
        ("p", "FLOAT[]", "Their pre-activations, shared by all snapshots; of a prism, row norm "
                         "times code."),
        ("histogram", "INTEGER[]", "Number of all those tokens, not only the 200, by "
                                   "pre-activation, in 24 equal bins from p_low to p_high."),
        ("p_low", "FLOAT", "Smallest of those pre-activations."),
        ("p_high", "FLOAT", "Largest of those pre-activations."),
    ),
    _table(
        "code_by_token", "token", "The sparse code, by token: whole, or of very large ones the "
                                  "strongest entries of each token, as the run's statistics say.",
        ("token", "INTEGER NOT NULL", "Vocabulary entry."),
        ("features", "INTEGER[]", "Features that fire on it at one snapshot or more, in order."),
        ("p", "FLOAT[]", "Their pre-activations, shared by all snapshots, to about a thousandth "
                         "of the median; at every snapshot the same features fire as unrounded."),
    ),
    _table(
        "token_index", "token feature", "Which features promote a token, and when.",
        ("token", "INTEGER NOT NULL", "Vocabulary entry."),
        ("feature", "INTEGER NOT NULL", "Index of the feature."),
        ("snapshots", "UBIGINT NOT NULL", "Bit k is set when the token is promoted at snapshot k."),
        ("best_rank", "UTINYINT NOT NULL", "Best place among the promoted tokens, from 0."),
        ("best_k", "UTINYINT NOT NULL", "Snapshot of that place, the first on ties."),
    ),
    _table(
        "neighbour", "feature", "Features with the most similar direction at the last snapshot.",
        ("feature", "INTEGER NOT NULL", "Index of the feature."),
        ("ids", "INTEGER[]", "Neighbours, most similar first."),
        ("cosines", "FLOAT[]", "Their cosines, to three decimals."),
    ),
    _table(
        "neighbour_at", "feature k", "Features with the most similar direction at every snapshot.",
        ("feature", "INTEGER NOT NULL", "Index of the feature."),
        ("k", "INTEGER NOT NULL", "Number of the snapshot."),
        ("ids", "INTEGER[]", "The ten nearest, most similar first."),
        ("cosines", "FLOAT[]", "Their cosines, to three decimals."),
    ),
    _table(
        "row", "token", "The rows of the matrix themselves: one course per token.",
        ("token", "INTEGER NOT NULL", "Vocabulary entry."),
        ("norm", "FLOAT[]", "Length of the centred row over the scale, at every snapshot; of a "
                            "prism, of the centred row. To about a thousandth of the median."),
        ("to_terminal", "FLOAT[]", "1 - cosine of the centred row to itself at the last snapshot, "
                                   "to two decimals. Not available: there is one snapshot."),
        ("explained", "FLOAT[]", "Share of the row that the whole dictionary explains at every "
                                 "snapshot, 1 - squared error / squared length, to two decimals; "
                                 "below 0 where it is further from the row than nothing is."),
    ),
    _table(
        "sample", "place", "The evaluation text that the examples are cut from.",
        ("place", "INTEGER NOT NULL", "Number of the text, from 0."),
        ("tokens", "INTEGER[]", "Its tokens."),
    ),
    _table(
        "example", "feature rank", "Where in the evaluation text the last hidden state points "
                                   "most along a feature's last direction.",
        ("feature", "INTEGER NOT NULL", "Index of the feature."),
        ("rank", "INTEGER NOT NULL", "Place of the example, strongest first, from 0."),
        ("place", "INTEGER NOT NULL", "Number of the text it is from."),
        ("start", "INTEGER NOT NULL", "First token of the excerpt in that text, from 0."),
        ("z", "FLOAT[]", "For every token of the excerpt but the last, which only comes next: the "
                         "hidden state's product with the direction, in standard deviations from "
                         "its mean over the whole sample, to one decimal."),
    ),
    _table(
        "population", "metric k", "How a measure is spread over the features that are alive.",
        ("metric", "VARCHAR NOT NULL", "norm, rate, rotation or to_terminal."),
        ("k", "INTEGER NOT NULL", "Number of the snapshot; of the later one for rotation."),
        ("q", "FLOAT[5]", "The 5, 25, 50, 75 and 95 % quantiles."),
    ),
)

_LARGE = ("null_q05", "null_q50", "null_q95", "scale", "mean")
"""Columns of a snapshot that only the run's own file holds."""

CATALOG_TABLES: tuple[Table, ...] = (
    _table(
        "meta", "key", "What the catalog was made from.",
        ("key", "VARCHAR NOT NULL", "Name of the entry."),
        ("value", "VARCHAR NOT NULL", "Its value."),
    ),
    _table(
        "run", "run", "One row per dictionary in the store.",
        ("run", "VARCHAR NOT NULL", "Id of the run: its path in the inventory."),
        ("model", "VARCHAR NOT NULL", "Short name of the language model."),
        ("model_name", "VARCHAR NOT NULL", "Full name of the language model."),
        ("matrix", "VARCHAR NOT NULL", "W_U (unembedding) or W_E (embedding)."),
        ("kind", "VARCHAR NOT NULL", "crosscoder, sae (one snapshot) or prism (TopK over unit "
                                     "rows)."),
        ("d_sae", "INTEGER NOT NULL", "Number of features, dead ones included."),
        ("d_model", "INTEGER NOT NULL", "Width of the language model."),
        ("seed", "INTEGER NOT NULL", "Seed of the dictionary's training."),
        ("steps", "INTEGER[] NOT NULL", "Pretraining steps of its snapshots."),
        ("explained_variance", _FINITE.format("explained_variance"),
         "1 - squared error / squared length of the standardised rows, all snapshots (§6.2); for "
         "a prism, of the unit rows."),
        ("l0", _FINITE.format("l0"), "Mean number of features that fire on a row and snapshot."),
        ("dead_rate", _SHARE.format("dead_rate"),
         "Share of features that fire on at most one in a million (row, snapshot) pairs (§6.1)."),
        ("legible_share", _SHARE.format("legible_share"),
         "Share of live features whose firing tokens belong to one kind."),
        ("legible_null", _SHARE.format("legible_null"),
         "The same share when token identities are shuffled."),
        ("n_alive", "INTEGER NOT NULL", "Features that fire on more than one in a million (row, "
                                        "snapshot) pairs."),
        ("statistics", "JSON", "Statistics of the whole run: the change statistic of its rates "
                               "(cusum_observed) with its permutation null (cusum_p, cusum_z, "
                               "cusum_draws; §7.4) and the correlation of rate change and turn "
                               "(rate_rotation_r; §7.3); the window in which the population "
                               "reorganises most (window_from, window_to, window_center in steps, "
                               "window_score), its null (window_z, window_p, and window_p_any for "
                               "the choice among all windows) and its 90 % interval over resampled "
                               "features (window_center_low, window_center_high, window_from_low, "
                               "window_to_high; §9). Of a code too large to keep also how many "
                               "entries it has and how many are kept (code_entries, "
                               "code_entries_kept), their share of the summed p "
                               "(code_activation_kept), and how many a row keeps at most and has "
                               "on average (code_row_limit, code_row_mean)."),
        ("hash", "VARCHAR NOT NULL", "Digest of everything derived from the run."),
        ("file", "VARCHAR NOT NULL", "Its file, relative to the store."),
        ("bytes", "BIGINT NOT NULL", "Size of that file."),
        ("sha256", "VARCHAR NOT NULL", "Hash of that file, for the doctor."),
        ("folder", "VARCHAR NOT NULL", "Its run folder, relative to the store."),
        ("config", "JSON NOT NULL", "Its config.json."),
        ("metrics", "JSON NOT NULL", "Its metrics.json: quality as recorded by the training."),
        ("provenance", "JSON NOT NULL", "Its provenance.json: inputs, code and machine."),
        ("created", "VARCHAR NOT NULL", "When its file was built, UTC."),
    ),
    _table(
        "token", "model token", "The vocabulary of every language model.",
        ("model", "VARCHAR NOT NULL", "Short name of the language model."),
        ("token", "INTEGER NOT NULL", "Vocabulary entry."),
        ("raw", "BLOB", "Its bytes. Not available: a row that the tokenizer never uses."),
        ("text", "VARCHAR NOT NULL", "What is drawn: spaces and control characters made visible."),
        ("plain", "VARCHAR", "The bytes as text. Not available: they are not UTF-8."),
        ("script", "VARCHAR", "Writing system of its letters."),
        ("n_train", "BIGINT", "Occurrences in the text the language model was trained on."),
    ),
    _table(
        "run_snapshot", "run k", "Births, deaths and fidelity of every run at every snapshot.",
        ("run", "VARCHAR NOT NULL", "Id of the run."),
        *((c.name, c.type, c.comment) for c in RUN_TABLES[1].columns if c.name not in _LARGE),
    ),
    _table(
        "match", "run feature other", "Which feature of another run corresponds to a feature.",
        ("run", "VARCHAR NOT NULL", "Id of the run of the feature."),
        ("feature", "INTEGER NOT NULL", "Index of the feature in it."),
        ("other", "VARCHAR NOT NULL", "Id of the other run: same model, matrix and snapshots."),
        ("partner", "INTEGER NOT NULL", "The feature of the other run whose directions over the "
                                        "whole training are most similar."),
        ("cosine", _COSINE.format("cosine"),
         "Cosine of the two directions, all snapshots put end to end after each is scaled by the "
         "largest norm of its feature."),
        ("margin", _FINITE.format("margin"), "That cosine minus the one of the second best."),
        ("reciprocal", "BOOLEAN NOT NULL", "The feature is also the best of its partner."),
        ("percentile", _SHARE.format("percentile"),
         "Share of features of like chances whose best cosine stays below when one dictionary is "
         "turned at random, its norms, its turns and its reach along each axis kept: 1 when none "
         "reaches it."),
    ),
)


def statements(database: str, tables: tuple[Table, ...]) -> Iterator[str]:
    """The statements that create `tables` in an attached database, comments included."""
    for table in tables:
        name = f"{database}.{table.name}"
        columns = ", ".join(f"{c.name} {c.type}" for c in table.columns)
        yield f"CREATE TABLE {name} ({columns})"
        yield f"COMMENT ON TABLE {name} IS '{_quote(table.comment)}'"
        for column in table.columns:
            yield f"COMMENT ON COLUMN {name}.{column.name} IS '{_quote(column.comment)}'"


def _quote(text: str) -> str:
    return text.replace("'", "''")


def table(tables: tuple[Table, ...], name: str) -> Table:
    """The table called `name`."""
    return next(t for t in tables if t.name == name)
