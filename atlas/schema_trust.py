"""The tables of a run's file that say how far its explanations may be trusted, and the gallery."""

from atlas.schema_parts import COUNT, FINITE, SHARE, Table, new_table

KEPT = 64
"""Contributions kept of a gallery's score at a snapshot."""

_METHOD = ("method", "VARCHAR NOT NULL",
           "dictionary: the run's own. ridge: the 128 most similar rows, fitted with a ridge. "
           "pca-R: the first R principal axes of the unit rows. shuffled: every row with another "
           "row's code. random: a row's own code on random features. All share mean, row lengths "
           "and base (prism-method §10).")
_HIDDEN = ("hidden", "VARCHAR NOT NULL",
           "Whose hidden states are read: final, the last model's, or own, those of the "
           "snapshot's own model.")
_K = ("k", "INTEGER NOT NULL", "Number of the snapshot whose readout and directions are used.")


def _with_interval(name: str, meaning: str, share: bool = True) -> tuple[tuple[str, str, str], ...]:
    kind = SHARE if share else FINITE
    return (
        (name, kind.format(name), meaning),
        (f"{name}_low", kind.format(f"{name}_low"),
         f"Lower end of the 95 % interval of {name}: 400 draws of base cases."),
        (f"{name}_high", kind.format(f"{name}_high"), "Its upper end."),
    )


TRUST_TABLES: tuple[Table, ...] = (
    new_table(
        "row_fidelity", "method split band k",
        "How well unit rows are rebuilt, by the dictionary and by what it is set against.",
        _METHOD,
        ("split", "VARCHAR NOT NULL", "all rows, or bands of them by norm (tenths of the length of "
                                      "the centred row) or count (occurrences of the token in the "
                                      "training text)."),
        ("band", "INTEGER NOT NULL", "Number of the band, from 0, rising."),
        ("k", "INTEGER NOT NULL", "Number of the snapshot; only the dictionary has others than the "
                                  "last."),
        ("low", FINITE.format("low"), "Smallest length or count in the band."),
        ("high", FINITE.format("high"), "Largest one."),
        ("n_rows", "INTEGER NOT NULL", "Rows that were rebuilt; of a large vocabulary a sample, "
                                       "evenly spread."),
        ("ev", FINITE.format("ev"),
         "rowEV: 1 - squared error / squared length of the centred unit rows; every token weighs "
         "the same (prism-method §5)."),
    ),
    new_table(
        "vocabulary_fidelity", "method hidden k",
        "What the rebuilt matrix would predict over held-out text, over the whole vocabulary.",
        _METHOD, _HIDDEN, _K,
        ("n_states", "INTEGER NOT NULL", "Hidden states that were read."),
        ("kl_bits", FINITE.format("kl_bits"),
         "Mean KL(softmax of the true logits || softmax of the rebuilt ones) in bits, over all "
         "rows; a model's own cap bends both (prism-method §5, §8.4)."),
        ("top1", SHARE.format("top1"), "Share of states whose likeliest token stays the same."),
        ("top5", SHARE.format("top5"),
         "Mean share of the five likeliest tokens that are among the five of the rebuilt matrix."),
    ),
    new_table(
        "contrast_fidelity", "method hidden k bank margin",
        "How true scores are over the contrasts of the query bank (prism-method §7).",
        _METHOD, _HIDDEN, _K,
        ("bank", "VARCHAR NOT NULL", "all, or one part of the bank; only of the last snapshot."),
        ("margin", "VARCHAR NOT NULL", "Bin of |exact score| in logits: all, <0.5, 0.5-1, 1-2, "
                                       ">=2 (§7.3); only of the last snapshot."),
        ("n_cases", "INTEGER NOT NULL", "Contrasts."),
        ("n_base", "INTEGER NOT NULL", "Base cases they belong to, which the intervals resample."),
        *_with_interval("sign", "Share whose rebuilt score favours the same side as the exact "
                                "one."),
        *_with_interval("rho", "Median of rho = |residual| / (|exact| + 0.5), the paper's, floored "
                               "error (§7.1).", False),
        *_with_interval("passing", "Share that passes the gate: the right sign and rho < 0.5 "
                                   "(§7.1)."),
        *_with_interval("rho_unfloored", "Median of |residual| / |exact|, the harness's, unfloored "
                                         "error; not to be compared with rho (§7.1).", False),
        *_with_interval("passing_unfloored", "Share with the right sign and an unfloored error "
                                             "below 0.5."),
        ("n80", FINITE.format("n80"),
         "Median number of components that hold 80 % of the summed |contributions| of a contrast: "
         "features, neighbours or axes (§6.2)."),
    ),
    new_table(
        "bank_case", "number",
        "The contrasts of the query bank, with what the dictionary makes of each.",
        ("number", "INTEGER NOT NULL", "Place in the bank; a prompt for the model's own contrasts "
                                       "gives five."),
        ("case_id", "VARCHAR NOT NULL", "Its id in the bank."),
        ("base_case", "VARCHAR NOT NULL", "Cluster of cases that are one piece of evidence."),
        ("bank", "VARCHAR NOT NULL", "Part of the bank."),
        ("family", "VARCHAR NOT NULL", "Kind of text that the prompt is from."),
        ("contrast", "VARCHAR NOT NULL", "named: by the bank; else which of the model's own tokens "
                                         "are compared (§6.2)."),
        ("prompt", "VARCHAR NOT NULL", "The prompt."),
        ("position", "INTEGER NOT NULL", "Token after which the next is scored; -1: the last."),
        ("tokens", "INTEGER[]", "Tokens that the score reads, the target's side first."),
        ("weights", "FLOAT[]", "Their weights; against the mean row there is one token alone."),
        ("expected", "VARCHAR", "Side that a task would count as right, A or B. Not available: the "
                                "bank names none."),
        ("exact", FINITE.format("exact"), "Score of the true matrix at the last snapshot, logits."),
        ("rebuilt", FINITE.format("rebuilt"), "Base and features together, logits."),
        ("rho", FINITE.format("rho"), "|residual| / (|exact| + 0.5)."),
        ("gate", "BOOLEAN NOT NULL", "Passes: the right sign and rho < 0.5."),
        ("n80", COUNT.format("n80"), "Features that hold 80 % of the summed |contributions|."),
        ("exact_at", "FLOAT[]", "Score of the true matrix of every snapshot, read by the last "
                                "model's hidden state."),
        ("rebuilt_at", "FLOAT[]", "Base and features together at every snapshot, the same."),
    ),
    new_table(
        "gallery", "number",
        "Prompts taken apart when the run was built, so that no language model is needed.",
        ("number", "INTEGER NOT NULL", "Place in the list."),
        ("name", "VARCHAR NOT NULL", "What it is called."),
        ("shows", "VARCHAR", "What there is to see."),
        ("prompt", "VARCHAR NOT NULL", "The prompt."),
        ("position", "INTEGER NOT NULL", "Token after which the next is predicted, from 0."),
        ("hidden", "VARCHAR NOT NULL", "Whose hidden state is read: final or own."),
        ("ask", "JSON NOT NULL", "What was asked of it."),
        ("told", "JSON NOT NULL", "Tokens, candidates, score and notes."),
        ("steps", "INTEGER[]", "Snapshots of the rows."),
        ("hidden_steps", "INTEGER[]", "Step of the model whose hidden state each row reads."),
        ("exact", "DOUBLE[]", "Score of the true matrix, per row, logits."),
        ("base", "DOUBLE[]", "What every row of the matrix shares."),
        ("feature_sum", "DOUBLE[]", "Sum over all active features, kept or not."),
        ("residual", "DOUBLE[]", "What the dictionary leaves out."),
        ("n_active", "INTEGER[]", "Features with a contribution."),
        ("features", "INTEGER[][]", f"The {KEPT} features with the largest |contribution|, largest "
                                    "first."),
        ("contributions", "FLOAT[][]", "Their signed contributions, logits."),
    ),
)
