"""The tables of the catalog, one over all runs."""

from atlas.schema_matches import MATCH_TABLES
from atlas.schema_parts import FINITE, SHARE, Table, new_table
from atlas.schema_run import RUN_TABLES

_LARGE = ("null_q05", "null_q50", "null_q95", "scale", "mean")
"""Columns of a snapshot that only the run's own file holds."""

CATALOG_TABLES: tuple[Table, ...] = (
    new_table(
        "meta", "key", "What the catalog was made from.",
        ("key", "VARCHAR NOT NULL", "Name of the entry."),
        ("value", "VARCHAR NOT NULL", "Its value."),
    ),
    new_table(
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
        ("explained_variance", FINITE.format("explained_variance"),
         "1 - squared error / squared length of the standardised rows, all snapshots (§6.2); for "
         "a prism, of the unit rows."),
        ("l0", FINITE.format("l0"), "Mean number of features that fire on a row and snapshot."),
        ("dead_rate", SHARE.format("dead_rate"),
         "Share of features that fire on at most one in a million (row, snapshot) pairs (§6.1)."),
        ("legible_share", SHARE.format("legible_share"),
         "Share of live features whose firing tokens belong to one kind."),
        ("legible_null", SHARE.format("legible_null"),
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
                               "on average (code_row_limit, code_row_mean). The share that a PCA "
                               "of all snapshots side by side explains over all of them, not "
                               "scaled (concatenated_pca), and its rank (concatenated_rank; §12). "
                               "Of the shuffled-row control, where there is one, its seed, quality "
                               "and live features (control_seed, control_explained_variance, "
                               "control_l0, control_n_alive) and what was shuffled "
                               "(control_shuffle)."),
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
    new_table(
        "token", "model token", "The vocabulary of every language model.",
        ("model", "VARCHAR NOT NULL", "Short name of the language model."),
        ("token", "INTEGER NOT NULL", "Vocabulary entry."),
        ("raw", "BLOB", "Its bytes. Not available: a row that the tokenizer never uses."),
        ("text", "VARCHAR NOT NULL", "What is drawn: spaces and control characters made visible."),
        ("plain", "VARCHAR", "The bytes as text. Not available: they are not UTF-8."),
        ("script", "VARCHAR", "Writing system of its letters."),
        ("n_train", "BIGINT", "Occurrences in the text the language model was trained on."),
    ),
    new_table(
        "run_snapshot", "run k", "Births, deaths and fidelity of every run at every snapshot.",
        ("run", "VARCHAR NOT NULL", "Id of the run."),
        *((c.name, c.type, c.comment) for c in RUN_TABLES[1].columns if c.name not in _LARGE),
    ),
    *MATCH_TABLES,
)
