"""Method: the words, questions to start from, the formulas, the columns, the limits."""

import streamlit as st

from atlas import markup
from atlas.measures import DISTANCE, LIKENESS, MEASURES
from atlas.questions import questions_about
from pages import answers, shared

WORDS = (
    ("snapshot", "A matrix (W_U or W_E) at one pretraining step of the model."),
    ("token, row", "A vocabulary entry, and its row of the matrix at a snapshot."),
    ("dictionary", "A trained sparse dictionary: a crosscoder over all snapshots at once, an SAE "
                   "of one snapshot, or a prism over the rows of the finished model."),
    ("run", "One dictionary with its configuration, seed, provenance and all derived from it."),
    ("feature", "One element of a dictionary. Its index means nothing outside its run."),
    ("pre-activation", "One number per token and feature, summed over all snapshots: a token's "
                       "row history against the feature's encoder."),
    ("code", "The sparse token–feature entries that fire at one snapshot or more."),
    ("direction, norm", "A feature's decoder row at a snapshot, and its length: how strongly that "
                        "snapshot uses the feature."),
    ("rate", "The share of rows on which a feature fires at a snapshot."),
    ("rotation", "1 − cosine between the directions of neighbouring snapshots, 0 to 2."),
    ("profile", "The shape of the norm through training: persistent, transitional, "
                "early-decaying, late-emerging or mixed; inactive if it never has one."),
    ("noise floor", "The norm that as many rows of noise would give a feature. A birth counts for "
                    "more where the norm rises above it."),
    ("reorganisation window", "The half-decade of training in which six measures of change rise "
                              "together furthest above what they reach when each is shifted "
                              "through training on its own."),
    ("control", "The same training on rows that are dealt out anew among the tokens at every "
                "snapshot: what a dictionary finds where no token has a history."),
    ("promoted tokens", "The rows that point most along a direction. They are read off the "
                        "direction and exist for a random one too."),
    ("firing tokens", "The rows with the largest activation. They are what the feature is for."),
    ("score", "A linear readout: one token's logit, that less the logit of the mean row, a token "
              "or a family of tokens against another, the winner against those after it."),
    ("contribution", "Of a feature to a score: activation × (hidden state · direction). Of a "
                     "feature to a row: activation × norm, the length it adds. In Browse, the mean "
                     "of that over all rows, at the chosen step or over all snapshots."),
    ("base, residual", "What every row shares, and what the dictionary leaves out of the rows. "
                       "Both are always drawn."),
    ("gate", "Whether an explanation may be read: ρ below 0.5, and for two tokens the right sign."),
    ("readout swap", "The hidden state of one training step read with the matrix of another."),
    ("lens", "What the head would read of the residual stream after each layer, the final norm "
             "applied."),
    ("component", "A part of the residual stream that one layer wrote: the embedding, an attention "
                  "or an MLP; with the final norm's scale held fixed, they add up to the score."),
    ("edit", "A change of the hidden state along a feature's direction, just before the head "
             "reads it; nothing before the head is run again."),
)

FORMULAS = (
    ("standardised row", "x[k] = (row[k] − mean[k]) / scale[k]", "one mean and one scale per "
     "snapshot, so that mean squared length is the width of the model"),
    ("pre-activation", "p = Σ over snapshots k of x[k] · W_E[k] + b_E[k]", "one matrix product "
     "over all snapshots side by side"),
    ("firing", "the feature fires at k  ⇔  p · n[k] > θ", "n[k] is the norm of the direction, θ "
     "the feature's threshold; so at k the threshold on p is θ / n[k]"),
    ("reconstruction", "x̂[k] = b_D[k] + Σ a · W_D[k]", "a = p where it fires, else 0"),
    ("explained variance", "EV = 1 − Σ |x − x̂|² / Σ |x|²", "over all rows and snapshots"),
    ("score", "exact = h · (row of target − row of versus)", "h is the state the head reads"),
    ("ledger", "exact = base + Σ contributions + residual", "an identity; the residual is read off "
     "the rows, not taken as the difference, so the sum on the page can fail"),
    ("ρ", "|residual| / (|exact| + 0.5)", "the gate passes below 0.5"),
    ("edit", "ablate: h − (h · d̂) d̂;  add: h + α d̂", "d̂ is the direction at the chosen step, "
     "of length 1; several features are taken out together, as the space they span"),
    ("birth", "first step at which n is half its largest value", "corrected birth takes off the "
     "norm that noise alone would give, √(d / Σ a²)"),
    ("structural score", "geometric mean of six metrics, each scaled to 0 … 1 over all windows of "
     "half a decade", "beside 200 circular shifts: z, p of the window, and p of any "
     "window being as high"),
    ("chance cosine", "median of the largest of n cosines of random directions in d dimensions",
     "stands beside every list of tokens and neighbours"),
)

LIMITS = (
    ("Causes", "A contribution says what the linear readout adds up. It does not say that the "
               "model would answer otherwise without the feature, nor how the hidden state came "
               "about."),
    ("Lenses", "A dictionary is made for what the head reads. Of earlier layers, of early steps' "
               "states and of other matrices it says less; the gate is asked at each."),
    ("Other dictionaries' births", "The metrics of pairs of snapshots count dead features by their "
                                   "norm in a run, and live ones only in its control."),
    ("Names", "A kind is a test against a library of some 250 token kinds, not an explanation. "
              "A feature without one may still mean something."),
    ("Other seeds", "Weak features rarely return in another seed. Read the strong ones first; "
                    "Browse sorts by contribution for that reason."),
    ("Before birth", "Where a feature fires on nothing its direction is noise, and so are the "
                     "tokens it promotes there."),
    ("Early births", "A crosscoder gives every direction a norm that noise alone explains. The "
                     "corrected birth takes that floor off; some births then disappear."),
    ("Windows", "Some window is always the highest; the p among all windows counts that it was "
                "chosen. That the rows of the matrix have the same window says that the dictionary "
                "shows it, not that it made it."),
    ("One logit", "For a single token the base can make ρ small by itself. Two tokens of the "
                  "same place in a sentence are the fairer question."),
    ("The bundle", "Its models are small and read a narrow mixture of texts. Its features show "
                   "that the instrument works, not how large models learn to read out."),
)

READING = (
    ("Its tokens", "Begin with the firing tokens: what do they share? Compare with the kind that "
                   "the test found, and with how often it finds one in shuffled tokens."),
    ("Its life", "Find the birth, then look whether the norm grows, stays or dies, and whether it "
                 "turns: a late turn means that the feature came to mean something else."),
    ("Its words", "Follow the promoted tokens from the birth on. Vermilion ones stay to the end; "
                  "pale ones are no better than those of a random direction."),
    ("Its place", "A high contribution means that it carries much of the rows. The population in "
                  "grey says what is usual."),
    ("In use", "Type a prompt into Decompose and see whether it moves the next token, and whether "
               "the gate lets you believe it."),
)

TABLES = {
    "feature": "Columns of a feature",
    "snapshot": "Columns of a snapshot",
    "pair": "Of two snapshots",
    "matrix": "Of the matrix",
    "control": "Of the control",
    "run": "Columns of a run",
    "token": "Columns of a token",
}


def formulas() -> str:
    """Name, formula and remark."""
    rows = "".join(
        f'<tr><td>{markup.escape(name)}</td><td class="num">{markup.escape(formula)}</td>'
        f'<td class="dim">{markup.escape(remark)}</td></tr>'
        for name, formula, remark in FORMULAS
    )
    return markup.wrap(f'<table class="atl-table">{rows}</table>')


def draw_questions(view: shared.Here) -> None:
    """Questions about the bundle's runs, each a link to its answer; none for other stores."""
    found = questions_about(card.run for card in view.store.runs() if not card.problem)
    if not found:
        return
    rows = "".join(
        f"<li>{markup.link(q.text, shared.href(q.page, view, **q.parameters))}</li>" for q in found
    )
    shared.caption(
        "Questions to start from.",
        "Each opens the view that answers it; its address says how it was asked.",
    )
    st.html(markup.wrap(f'<ol class="atl-asked">{rows}</ol>'))
    st.space("small")


def main() -> None:
    """Draw the page."""
    view = shared.here()
    shared.settle(view, "method")
    left, right = st.columns([1.1, 1], gap="large")
    with left:
        shared.caption("The words.", "One word for one thing, on every page.")
        st.html(markup.definitions(WORDS))
    with right:
        shared.caption("What this cannot show.")
        st.html(markup.definitions(LIMITS))
        st.space("small")
        shared.caption("How to read a feature.")
        st.html(markup.definitions(READING))
    st.space("small")
    draw_questions(view)
    shared.caption("The formulas.", "Row k is snapshot k; W_E and W_D are the dictionary's.")
    st.html(formulas())
    st.space("small")
    shared.caption("The columns.", "In the words of the store itself.")
    found = answers.comments(view.store.digest)
    shown = [name for name in TABLES if name in found]
    *tabs, last = st.tabs([*(TABLES[name] for name in shown), "Measures of the view"])
    for tab, name in zip(tabs, shown, strict=True):
        with tab:
            st.html(markup.definitions(list(found[name].items()), code=True))
    with last:
        st.html(markup.definitions([
            (m.name, m.meaning) for m in (*MEASURES.values(), LIKENESS, DISTANCE) if not m.column
        ], code=True))


main()
