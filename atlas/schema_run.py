"""The tables of a run's own file."""

from atlas.schema_parts import COSINE, COUNT, FINITE, SHARE, Table, label_columns, new_table
from atlas.schema_trust import TRUST_TABLES
from atlas.schema_turnover import TURNOVER_TABLES

RUN_TABLES: tuple[Table, ...] = (
    new_table(
        "meta", "key", "What the file was made from.",
        ("key", "VARCHAR NOT NULL", "Name of the entry."),
        ("value", "VARCHAR NOT NULL", "Its value; JSON where it has parts."),
    ),
    new_table(
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
        ("explained_variance", FINITE.format("explained_variance"),
         "1 - squared error / squared length of the standardised rows at this snapshot (§6.3)."),
        ("l0", FINITE.format("l0"), "Mean number of features that fire on a row here (§6.3)."),
        ("null_overlap", SHARE.format("null_overlap"),
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
    new_table(
        "feature", "feature", "One row per feature: everything that is one number.",
        ("feature", "INTEGER NOT NULL", "Index of the feature; it means nothing outside its run."),
        ("alive", "BOOLEAN NOT NULL", "Fires on more than one in a million (row, snapshot) pairs; "
                                      "a dead feature does not (§6.1)."),
        ("threshold", FINITE.format("threshold"),
         "JumpReLU threshold: the feature fires where pre-activation times norm exceeds it."),
        ("contribution", FINITE.format("contribution"),
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
        ("lifetime", SHARE.format("lifetime"),
         "Share of snapshots at which the rate exceeds a tenth of its maximum (§8.1)."),
        ("first_active_step", "INTEGER", "First of two snapshots in a row at which the rate "
                                         "exceeds a tenth of its maximum (§8.1)."),
        ("stabilized_step", "INTEGER", "Step from which rate and direction stay close to their "
                                       "final values (§8.1)."),
        ("norm_max", FINITE.format("norm_max"), "Largest decoder norm over snapshots."),
        ("norm_final", FINITE.format("norm_final"), "Decoder norm at the last snapshot."),
        ("rate_max", SHARE.format("rate_max"),
         "Largest share of rows on which the feature fires at one snapshot."),
        ("rate_final", SHARE.format("rate_final"),
         "Share of rows on which the feature fires at the last snapshot."),
        ("n_tokens", "INTEGER NOT NULL", "Tokens on which the feature fires at one snapshot or "
                                         "more."),
        ("max_rotation", FINITE.format("max_rotation"),
         "Largest turn between neighbouring snapshots, 1 - cosine, 0 to 2 (§7.2)."),
        ("max_rotation_step", "INTEGER", "Later step of the pair with the largest turn."),
        ("drift", FINITE.format("drift"),
         "Mean turn after the first activity, weighted by the norms (§8.1)."),
        ("cusum_rate", FINITE.format("cusum_rate"),
         "Largest absolute cumulative deviation of the rate from its mean (§7.4)."),
        ("cusum_norm", FINITE.format("cusum_norm"),
         "Largest absolute cumulative deviation of the decoder norm from its mean (§7.4)."),
        ("cusum_rotation", FINITE.format("cusum_rotation"),
         "Largest absolute cumulative deviation of the turn from its mean (§7.4)."),
        ("change_step", "INTEGER",
         "Step of the strongest single split of the decoder norm into two levels; a norm that "
         "changes its level several times has other steps as well. Not available: shuffled "
         "snapshots change as much more often than once in twenty, or there are too few."),
        ("change_low_step", "INTEGER", "Earliest step of the 90 % interval of that split."),
        ("change_high_step", "INTEGER", "Latest step of the 90 % interval of that split."),
        ("change_p", SHARE.format("change_p"),
         "Share of shuffles of the snapshots whose norm changes level at least as much, with the "
         "true order counted among them."),
        ("rows_explained", FINITE.format("rows_explained"),
         "Mean share of a row that the whole dictionary explains at the last snapshot, 1 - squared "
         "error / squared length, over the rows on which the feature fires, weighted by its "
         "activation."),
        ("nearest", COSINE.format("nearest"),
         "Cosine to the feature with the most similar direction at the last snapshot."),
        ("n_duplicates", COUNT.format("n_duplicates"),
         "Live features, of the 20 nearest, whose last direction has a cosine of 0.9 or more with "
         "that of this live feature."),
        ("duplicate_of", COUNT.format("duplicate_of"),
         "The nearest of those features. Not available: there is none."),
        ("map_x", SHARE.format("map_x"),
         "Place on the map of the run, in which only nearness means something: t-SNE of the "
         "nearest directions at the last snapshot."),
        ("map_y", SHARE.format("map_y"), "The same, upwards."),
        ("kind", "VARCHAR", "Token kind that the strongest firing tokens share most clearly."),
        ("kind_share", SHARE.format("kind_share"), "Share of them that belong to that kind."),
        ("kind_enrichment", FINITE.format("kind_enrichment"),
         "That share over the kind's share of the vocabulary."),
        ("kind_p", SHARE.format("kind_p"),
         "Hypergeometric probability of at least that share, corrected for the number of kinds; "
         "1e-37 stands for anything smaller too."),
        ("legible", "BOOLEAN NOT NULL", "The kind passes the test of legibility."),
        *label_columns(
            "script", "Writing system, by the fixed convention of the record (§13.1), that the "
                      "strongest firing tokens share most surely.", "have any script"),
        *label_columns(
            "family", "Token family of the record (§13.2) that they share most surely; families "
                      "overlap.", "belong to any family"),
        *label_columns(
            "supersense", "WordNet supersense (§13.4) that those of them which are whole English "
                          "words share most surely.", "have any supersense"),
        ("label", "INTEGER[]", "The strongest firing tokens among those the dictionary was fitted "
                               "to; among all if there are none."),
    ),
    new_table(
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
    new_table(
        "similarity", "feature", "How a feature's direction turns: every pair of snapshots.",
        ("feature", "INTEGER NOT NULL", "Index of the feature."),
        ("cosines", "TINYINT[]", "Cosine of its directions at two snapshots in hundredths, for "
                                 "the pairs (0, 1), (0, 2) … (1, 2) …; NULL where one has no "
                                 "length."),
    ),
    new_table(
        "promoted", "feature k", "Tokens whose centred row points most along or against a "
                                 "direction, per snapshot.",
        ("feature", "INTEGER NOT NULL", "Index of the feature."),
        ("k", "INTEGER NOT NULL", "Number of the snapshot."),
        ("tokens", "INTEGER[]", "Tokens with the largest cosine, largest first."),
        ("cosines", "FLOAT[]", "Their cosines, to three decimals."),
        ("suppressed", "INTEGER[]", "Tokens with the smallest cosine, smallest first."),
        ("suppressed_cosines", "FLOAT[]", "Their cosines, to three decimals."),
    ),
    new_table(
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
    new_table(
        "code_by_token", "token", "The sparse code, by token: whole, or of very large ones the "
                                  "strongest entries of each token, as the run's statistics say.",
        ("token", "INTEGER NOT NULL", "Vocabulary entry."),
        ("features", "INTEGER[]", "Features that fire on it at one snapshot or more, in order."),
        ("p", "FLOAT[]", "Their pre-activations, shared by all snapshots, to about a thousandth "
                         "of the median; at every snapshot the same features fire as unrounded."),
    ),
    new_table(
        "token_index", "token feature", "Which features promote a token, and when.",
        ("token", "INTEGER NOT NULL", "Vocabulary entry."),
        ("feature", "INTEGER NOT NULL", "Index of the feature."),
        ("snapshots", "UBIGINT NOT NULL", "Bit k is set when the token is promoted at snapshot k."),
        ("best_rank", "UTINYINT NOT NULL", "Best place among the promoted tokens, from 0."),
        ("best_k", "UTINYINT NOT NULL", "Snapshot of that place, the first on ties."),
    ),
    new_table(
        "neighbour", "feature", "Features with the most similar direction at the last snapshot.",
        ("feature", "INTEGER NOT NULL", "Index of the feature."),
        ("ids", "INTEGER[]", "Neighbours, most similar first."),
        ("cosines", "FLOAT[]", "Their cosines, to three decimals."),
    ),
    new_table(
        "neighbour_at", "feature k", "Features with the most similar direction at every snapshot.",
        ("feature", "INTEGER NOT NULL", "Index of the feature."),
        ("k", "INTEGER NOT NULL", "Number of the snapshot."),
        ("ids", "INTEGER[]", "The ten nearest, most similar first."),
        ("cosines", "FLOAT[]", "Their cosines, to three decimals."),
    ),
    new_table(
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
    new_table(
        "sample", "place", "The evaluation text that the examples are cut from.",
        ("place", "INTEGER NOT NULL", "Number of the text, from 0."),
        ("tokens", "INTEGER[]", "Its tokens."),
    ),
    new_table(
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
    new_table(
        "population", "metric k", "How a measure is spread over the features that are alive.",
        ("metric", "VARCHAR NOT NULL", "norm, rate, rotation or to_terminal."),
        ("k", "INTEGER NOT NULL", "Number of the snapshot; of the later one for rotation."),
        ("q", "FLOAT[5]", "The 5, 25, 50, 75 and 95 % quantiles."),
    ),
    *TURNOVER_TABLES,
    *TRUST_TABLES,
)
