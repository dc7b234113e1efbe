"""The tables of a run's file that say how its population, its matrix and a control turn over."""

from atlas.schema_parts import COSINE, FINITE, SHARE, Table, new_table

_PAIR = (
    ("lifecycle_turnover", "Mean |change of {size} over its largest value|, weighed by the longer "
                           "{size} of the pair (§9.1)."),
    ("activation_turnover", "Mean |change of the rate over its maximum|, weighed by the longer "
                            "{size} (§9.1).{no_rate}"),
    ("weighted_rotation", "Mean angle in radians between the two snapshots, weighed by the "
                          "geometric mean of the two {size}s (§9.1)."),
    ("direction_velocity", "Mean |change of the cosine to the last direction|, weighed the same "
                           "(§9.1)."),
    ("rank_instability", "1 - Jaccard overlap of the tenth of the {things} with the largest "
                         "{size}, at least 256 of them; 0 where these are all (§9.1)."),
    ("peak_density", "Largest {size} of the {things} that have it at this snapshot, over the "
                     "largest {size}s of all (§9.1)."),
    ("unweighted_rotation", "Mean angle in radians over all {things} that take part; not part of "
                            "the score."),
    ("mass_change", "Change of the summed {size} in units of its largest value; not part of the "
                    "score."),
)
"""The pair metrics in the order of `atlas.reorganisation.PairMetrics`."""
PAIR_METRICS = tuple(name for name, _ in _PAIR)


def _pairs(things: str, size: str, no_rate: str = "") -> tuple[tuple[str, str, str], ...]:
    """The eight columns for a kind of things."""
    return tuple(
        (name, "DOUBLE", comment.format(things=things, size=size, no_rate=no_rate))
        for name, comment in _PAIR
    )


TURNOVER_TABLES: tuple[Table, ...] = (
    new_table(
        "pair", "k", "How the population changes between neighbouring snapshots.",
        ("k", "INTEGER NOT NULL", "Number of the later snapshot of the pair."),
        *_pairs("features", "decoder norm"),
    ),
    new_table(
        "matrix_pair", "k", "The same of the rows of the matrix itself, as if each were a feature.",
        ("k", "INTEGER NOT NULL", "Number of the later snapshot of the pair."),
        *_pairs("rows", "length", " Not available: rows have no rate."),
    ),
    new_table(
        "matrix", "k", "What the matrix shows at every snapshot without any dictionary.",
        ("k", "INTEGER NOT NULL", "Number of the snapshot."),
        ("row_norm", "FLOAT[5]", "The 5, 25, 50, 75 and 95 % quantiles of the length of the "
                                 "centred rows, not scaled."),
        ("mean_share", SHARE.format("mean_share"),
         "Squared length of the mean row over the mean squared length of the rows."),
        ("mean_cosine", COSINE.format("mean_cosine"),
         "Cosine of the mean row with that of the snapshot before."),
        ("participation", FINITE.format("participation"),
         "Participation ratio of the centred rows' covariance spectrum, (sum l)^2 / sum l^2: as "
         "many equal axes would spread as much."),
        ("pc1_share", SHARE.format("pc1_share"),
         "Share of the centred rows' squared length along their first principal axis."),
        ("effective_rank", FINITE.format("effective_rank"),
         "Exponential of the entropy of that spectrum, taken as shares."),
        ("pca", "FLOAT[]", "Share of the centred rows' squared length that the first 16, 32, 64, "
                           "128, 256, 512 and 1,024 principal axes of this snapshot alone explain; "
                           "1 from the width of the model on (§12)."),
        ("concatenated_pca", "DOUBLE CHECK (concatenated_pca BETWEEN 0 AND 1)",
         "Share of the centred rows' squared length here that a PCA of all snapshots side by side "
         "explains; not scaled, so it serves the snapshots with long rows first (§12, §15.27)."),
        ("endpoint", "DOUBLE CHECK (isfinite(endpoint))",
         "1 - squared error / squared length of the centred rows when every row is put where it "
         "comes nearest on the line between its first and its last (§12)."),
        ("row_cosine", COSINE.format("row_cosine"),
         "Median cosine of a centred row with itself at the snapshot before."),
    ),
    new_table(
        "similarity_mean", "k", "How alike two snapshots are: the mean over features, over rows.",
        ("k", "INTEGER NOT NULL", "Number of the snapshot."),
        ("features", "FLOAT[]", "Mean cosine of a live feature's directions here and at every "
                                "snapshot; NULL where none has a length."),
        ("rows", "FLOAT[]", "Mean cosine of a centred row here and at every snapshot."),
    ),
    new_table(
        "held_out", "step", "Snapshots the dictionary was not trained on, rebuilt from heads "
                            "between its own; a sample of rows (§12).",
        ("step", "INTEGER NOT NULL", "Pretraining step of the snapshot."),
        ("before", "INTEGER NOT NULL", "Step of the run's own snapshot before it."),
        ("after", "INTEGER NOT NULL", "Step of the run's own snapshot after it."),
        ("alpha", "DOUBLE NOT NULL", "Where it lies between them in log time, 0 to 1."),
        ("n_rows", "INTEGER NOT NULL", "Rows that were rebuilt, evenly spread over the matrix."),
        ("explained_variance", "DOUBLE CHECK (isfinite(explained_variance))",
         "1 - squared error / squared length of the rows about their mean, rebuilt through a head "
         "interpolated between the two (§12)."),
        ("explained_raw", "DOUBLE CHECK (isfinite(explained_raw))",
         "The record's form of it: 1 - variance of the error / variance of the rows, each about "
         "one scalar mean (§12)."),
        ("l0", "DOUBLE CHECK (isfinite(l0))", "Mean number of features that fire on a row there."),
        ("nearest", "DOUBLE CHECK (isfinite(nearest))",
         "As explained_variance, through the head of the nearer snapshot."),
        ("between", "DOUBLE CHECK (isfinite(between))",
         "The same of the rows interpolated between the two snapshots, without a dictionary."),
        ("endpoints", "DOUBLE CHECK (isfinite(endpoints))",
         "The same of the rows interpolated in log time between the first and the last snapshot."),
        ("sha256", "VARCHAR NOT NULL", "Hash of the snapshot's file."),
    ),
    new_table(
        "control", "k", "The shuffled-row control: a dictionary of the same recipe on rows that "
                        "have no history.",
        ("k", "INTEGER NOT NULL", "Number of the snapshot."),
        ("births", "INTEGER", "Features of the control whose decoder norm first reaches half its "
                              "maximum here."),
        ("births_floor", "INTEGER", "The same after the noise floor is taken off the norm."),
        ("deaths", "INTEGER", "Features of the control whose norm is last at half its maximum "
                              "here, though the run goes on."),
        ("alive", "INTEGER", "Features of the control whose norm is at least half its maximum "
                             "here."),
        ("norm", "FLOAT[5]", "The 5, 25, 50, 75 and 95 % quantiles of its decoder norms."),
        *_pairs("features of the control", "decoder norm"),
    ),
)
