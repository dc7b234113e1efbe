"""The tables of the catalog about which features return: pairs of runs, partners, splits, seeds."""

from atlas.schema_parts import COSINE, COUNT, FINITE, SHARE, Table, new_table

WAY = ("way", "VARCHAR NOT NULL",
       "How features were compared: trajectory (cosine of the directions at all snapshots put end "
       "to end), terminal (cosine of the last directions), tokens (weighted Jaccard of the firing "
       "tokens, strengths over their largest) or life (1 - root mean squared difference of the "
       "decoder norms over their maximum, on tau).")
_PARTNER = "Index of the feature in the other run that scores highest."

MATCH_TABLES: tuple[Table, ...] = (
    new_table(
        "match_pair", "run other way", "Runs that were matched, in which way, and what chance "
                                       "alone would give.",
        ("run", "VARCHAR NOT NULL", "Id of a run."),
        ("other", "VARCHAR NOT NULL", "Id of the run whose features it was compared with."),
        WAY,
        ("n_features", "INTEGER NOT NULL", "Features of the run that have a partner."),
        ("n_reciprocal", "INTEGER NOT NULL", "Of them, features that are their partner's best "
                                             "too."),
        ("n_returned", "INTEGER NOT NULL", "Of those, features beyond the null: percentile 0.99 or "
                                           "more."),
        ("n_assigned", "INTEGER NOT NULL", "Pairs of the one-to-one assignment."),
        ("assigned_total", FINITE.format("assigned_total"),
         "Their summed score; no other one-to-one assignment has a larger one."),
        ("n_split", "INTEGER NOT NULL", "Features that are several in the other run."),
        ("null_scores", "FLOAT[]", "The quantiles 0, 1 … 100 % of the best partner's score in the "
                                   "null: directions of one run turned at random, tokens exchanged "
                                   "among those on which as many features fire, or, of lives, what "
                                   "the run itself offers. Not available: nothing has a partner."),
    ),
    new_table(
        "match", "run feature other way", "Which feature of another run corresponds to a feature.",
        ("run", "VARCHAR NOT NULL", "Id of the run of the feature."),
        ("feature", "INTEGER NOT NULL", "Index of the feature in it."),
        ("other", "VARCHAR NOT NULL", "Id of the other run: over the same vocabulary."),
        WAY,
        ("partner", "INTEGER NOT NULL", _PARTNER),
        ("score", COSINE.format("score"), "Its score."),
        ("margin", FINITE.format("margin"), "That score minus the one of the second best."),
        ("reciprocal", "BOOLEAN NOT NULL", "The feature is also the best of its partner."),
        ("percentile", SHARE.format("percentile"),
         "Share of features of like chances whose best score stays below in the null: 1 when none "
         "reaches it. The null turns the directions of one run at random, their norms, turns and "
         "reach along each axis kept; exchanges tokens on which about as many features fire; of "
         "lives it is the nearest other life of the same run."),
        ("assigned", "INTEGER", "Its only partner in the one-to-one assignment of largest summed "
                                "score. Not available: the other run has fewer features."),
        ("assigned_score", COSINE.format("assigned_score"), "The score of that pair."),
        ("assigned_percentile", SHARE.format("assigned_percentile"),
         "Its percentile under the null of best partners."),
        ("life", SHARE.format("life"),
         "How alike the feature and its best partner live: 1 - root mean squared difference of "
         "their norms over their maximum, on tau. Not available: one of the runs has no life."),
        ("life_percentile", SHARE.format("life_percentile"),
         "Share of the other run's live features that live less like it than the partner does: "
         "evenly spread if the partner had nothing to do with it."),
    ),
    new_table(
        "match_split", "run feature other way",
        "Features that are several in another run; a merge is a split seen from the other side.",
        ("run", "VARCHAR NOT NULL", "Id of the run of the feature."),
        ("feature", "INTEGER NOT NULL", "Index of the feature that is split."),
        ("other", "VARCHAR NOT NULL", "Id of the run that has the parts."),
        WAY,
        ("parts", "INTEGER[]", "Features of the other run whose best partner it is, each beyond "
                               "its null, best first."),
        ("scores", "FLOAT[]", "Score of each part by itself."),
        ("joint", SHARE.format("joint"),
         "Score of all of them together: cosine to their nearest mixture, or weighted Jaccard with "
         "the tokens that any of them has."),
        ("percentile", SHARE.format("percentile"),
         "Share of as many parts in the null, for features of like chances, that reach less; the "
         "smaller one of joint score and of the share they close of what the best leaves open."),
    ),
    new_table(
        "seed_group", "family way number run", "Features that several seeds share, one of each.",
        ("family", "VARCHAR NOT NULL", "What the ids of the seeds have in common."),
        WAY,
        ("number", "INTEGER NOT NULL", "Number of the group: those of more seeds come first, then "
                                       "those of larger score."),
        ("run", "VARCHAR NOT NULL", "Id of a seed's run."),
        ("feature", "INTEGER NOT NULL", "Its feature in the group."),
        ("size", "INTEGER NOT NULL", "Seeds that have a feature in the group."),
        ("seeds", "INTEGER NOT NULL", "Seeds there are."),
        ("score", COSINE.format("score"), "Mean score of the pairs that found each other in it."),
        ("pairs", "INTEGER NOT NULL", "Number of such pairs; n (n - 1) / 2 at most."),
    ),
    new_table(
        "stability", "run feature way", "What other seeds say of a feature.",
        ("run", "VARCHAR NOT NULL", "Id of the run."),
        ("feature", "INTEGER NOT NULL", "Index of the feature."),
        WAY,
        ("compared", "INTEGER NOT NULL", "Other seeds it was compared with."),
        ("returned", "INTEGER NOT NULL", "Of them, seeds in which it returned: each is the other's "
                                         "best, with a percentile of 0.99 or more."),
        ("score", COSINE.format("score"),
         "Mean score over the seeds where each is the other's best. Not available: in none."),
        ("number", COUNT.format("number"), "Its group. Not available: it has none."),
        ("size", "INTEGER NOT NULL", "Seeds in that group, its own included; 1 without one."),
    ),
)
