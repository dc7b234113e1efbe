"""Decompose, how far to trust a dictionary: its trials on rows, on text and on a query bank."""

import math

import pandas as pd
import streamlit as st

from atlas import markup, trust_figures
from atlas import trust as reader
from atlas.trust import Trust
from atlas.trust_recipe import python_of
from pages import answers, decompose_trust_cases, exporting, shared
from pages import answers_trust as found_in

SHARE = "%.1f %%"
"""Format of a share, which is shown times 100."""
COLUMNS = (
    ("ev", "rowEV", "row_fidelity", "ev", "%.3f"),
    ("kl_bits", "KL, bits", "vocabulary_fidelity", "kl_bits", "%.3f"),
    ("top1", "top-1", "vocabulary_fidelity", "top1", SHARE),
    ("top5", "top-5", "vocabulary_fidelity", "top5", SHARE),
    ("sign", "sign", "contrast_fidelity", "sign", SHARE),
    ("passing", "gate", "contrast_fidelity", "passing", SHARE),
    ("rho", "ρ", "contrast_fidelity", "rho", "%.3f"),
    ("rho_unfloored", "unfloored", "contrast_fidelity", "rho_unfloored", "%.3f"),
    ("passing_unfloored", "gate, unfloored", "contrast_fidelity", "passing_unfloored", SHARE),
    ("n80", "n80", "contrast_fidelity", "n80", "%.0f"),
)
"""Column of `atlas.trust.method_table`, its head, where its meaning stands, its format."""


def draw(view: shared.Here) -> None:
    """Draw the view."""
    found = found_in.trust(view.store.digest, view.run)
    if found.rows.empty and found.contrasts.empty:
        shared.say(f"Not available, because {found.reason}.")
        return
    last = markup.moment(view.card.steps[-1], view.card.revision)
    own = found.whole()
    tone = "" if own is None else "good" if own["passing_low"] > 0.5 else "bad"
    shared.say(reader.verdict(found, last), tone)
    draw_methods(view, found)
    if own is not None:
        left, right = st.columns([1.42, 1], gap="large")
        with left:
            draw_margins(view, found)
        with right:
            draw_kinds(view)
    draw_vocabulary(view, found)
    if len(view.card.steps) > 1 and not found.contrasts.empty:
        draw_course(view, found)
    draw_bands(view, found)
    if own is not None:
        decompose_trust_cases.draw(view)
    draw_missing(found)
    tables = {"methods": lambda: reader.method_table(found),
              "margins": lambda: reader.margin_table(found),
              "through training": lambda: reader.course_table(found)}
    if own is not None:
        tables["contrasts"] = lambda: found_in.cases(view.store.digest, view.run)
    exporting.take_away(view, python_of(view.run), tables, "trust")


def draw_methods(view: shared.Here, found: Trust) -> None:
    """The dictionary beside baselines and nulls."""
    own = found.whole()
    if own is None:
        return
    shared.caption(
        "Beside other ways to rebuild a row, and beside chance:",
        f"{own['n_cases']:,.0f} contrasts of {own['n_base']:,.0f} base cases ({found.bank}). A "
        "ridge over the 128 most similar rows, principal axes, another row’s code, and a row’s own "
        "code on random features; all share mean, lengths and base. Bars hold 95 % of 400 draws of "
        "base cases; a ρ beyond 1.5 lies at the end.",
        tail=_about_ridge(found),
    )
    exporting.chart(
        view, trust_figures.methods_figure(found, view.palette), "trust_methods",
        f"Gate, sign, median rho and components for 80 % of {view.run} beside baselines and nulls",
        table=lambda: reader.method_table(found)[
            ["method", "passing", "passing_low", "passing_high", "sign", "sign_low", "sign_high",
             "rho", "rho_low", "rho_high", "n80"]],
    )


def _about_ridge(found: Trust) -> str:
    if reader.RIDGE not in found.methods:
        return "The ridge is not available, because the rows take more memory than a stage may."
    if found.ridge_spans:
        return (f"Rows are {found.width} wide, so 128 neighbours span all of them: this ridge is "
                "near what no approximation at all would give, not a rival of few parts.")
    return ""


def draw_margins(view: shared.Here, found: Trust) -> None:
    """Sign, gate and rho by the size of the exact score."""
    table = reader.margin_table(found)
    shared.caption(
        "By the size of the exact score.",
        "Close calls are the hard case: their features cancel and the residual is what is left. "
        "With the PCA of most axes and shuffled codes.",
    )
    exporting.chart(
        view, trust_figures.margins_figure(found, table, view.palette), "trust_margins",
        f"Gate, sign and median rho of {view.run} by bins of the exact score",
        table=table,
    )


def draw_kinds(view: shared.Here) -> None:
    """How the kinds of contrasts fare."""
    table = found_in.kinds(view.store.digest, view.run)
    shared.caption("By kind of contrast:", "named by the bank, or proposed by the model itself.")
    _frame(table, "trust_kinds", "How the kinds of contrasts fare", {
        "contrast": st.column_config.TextColumn("contrast", width=150),
        "n": st.column_config.NumberColumn("n", width=45),
        "sign": st.column_config.NumberColumn("sign", format=SHARE, width=60),
        "rho": st.column_config.NumberColumn("ρ", format="%.3f", width=60, help=_means(
            view, "contrast_fidelity", "rho")),
        "passing": st.column_config.NumberColumn("gate", format=SHARE, width=60, help=_means(
            view, "contrast_fidelity", "passing")),
    })


def draw_vocabulary(view: shared.Here, found: Trust) -> None:
    """All figures of all methods, those over the whole vocabulary beside rowEV."""
    table = reader.method_table(found)
    known = [c for c in COLUMNS if table[c[0]].notna().any()]
    rest = ("over " + found.text if found.text else
            f"Over text not available, because {found.text_reason}")
    shared.caption(
        "All figures at the last snapshot.",
        f"rowEV does not certify decisions: KL and likeliest tokens are {rest}, over the whole "
        "vocabulary. ρ has half a logit added under it, the unfloored error has not; the two are "
        "not to be compared." if found.text else f"{rest}.",
    )
    c = st.column_config
    _frame(table[["method", *(column[0] for column in known)]], "trust_table",
           "All figures of the dictionary, baselines and nulls at the last snapshot", {
        "method": c.TextColumn("method", width=150),
        **{name: c.NumberColumn(head, format=form, help=_means(view, place, column), width=82)
           for name, head, place, column, form in known},
    })


def draw_course(view: shared.Here, found: Trust) -> None:
    """Fidelity at every snapshot."""
    table = reader.course_table(found)
    n, middle = found_in.settled(view.store.digest, view.run)
    tail = ""
    if n and math.isfinite(middle):
        step = view.card.steps[int(middle)]
        tail = (f"Of the {n} contrasts that pass without it at the end, half do for good from step "
                f"{markup.step_name(step)} on.")
    shared.caption(
        "Through training.",
        "Each snapshot’s true readout against its rebuilt one, over the same contrasts and text: "
        "with the last model’s hidden states, and dashed with the snapshot’s own where its whole "
        "model is kept. Dotted, shuffled codes. At first all scores are smaller than the half "
        "logit that stands under ρ, so the gate lets nearly anything pass: read it beside the "
        "dotted line, and beside the gate without that floor.",
        tail=tail,
    )
    exporting.chart(
        view, trust_figures.course_figure(table, view.card.steps, view.step, view.palette),
        "trust_course", f"Fidelity of {view.run} at every snapshot", table=table,
    )


def draw_bands(view: shared.Here, found: Trust) -> None:
    """rowEV by length and by count."""
    bands = {split: table for split in ("norm", "count")
             if len(table := reader.band_table(found, split))}
    if not bands:
        return
    shared.caption(
        "Which rows are rebuilt well?",
        "rowEV by the length of the row" + (
            " and by how often its token occurs in the training text." if "count" in bands
            else "; how often tokens occur is not known."),
        tail=("" if view.card.matrix == "W_E" else
              "Long rows matter exponentially in a softmax. ") + "Nulls below the axis lie at its "
             "end.",
    )
    exporting.chart(
        view, trust_figures.bands_figure(found, bands, view.palette), "trust_bands",
        f"rowEV of {view.run} in bands of rows",
        table=lambda: pd.concat([t.assign(split=s) for s, t in bands.items()]),
    )


def draw_missing(found: Trust) -> None:
    """What could not be tried, and why."""
    lines = []
    if found.bank is None or found.contrasts.empty:
        lines.append(f"Contrasts are not available, because {found.bank_reason}.")
    if found.text is None:
        lines.append(f"Fidelity over text is not available, because {found.text_reason}.")
    if found.left_out:
        lines.append(f"Of the bank {found.left_out}.")
    for line in dict.fromkeys(lines):
        shared.say(line)
    if math.isfinite(found.expected_share):
        shared.say(
            f"The model itself favours the side that the bank calls right in "
            f"{markup.share(found.expected_share, 0)} of the named contrasts; fidelity asks only "
            "whether the dictionary says what the model does."
        )


def _means(view: shared.Here, table: str, column: str) -> str:
    """The meaning of a column, as the store states it."""
    return answers.comments(view.store.digest).get(table, {}).get(column, "")


def _frame(table: pd.DataFrame, key: str, alt: str, columns: dict) -> None:
    """A table of numbers, or of HTML for those who asked for it."""
    if shared.as_tables():
        shared.chart({}, key, alt, table)
        return
    shares = [name for name, column in columns.items()
              if column.get("type_config", {}).get("format") == SHARE]
    table = table.assign(**{name: 100 * table[name] for name in shares})
    st.dataframe(table, key=key, hide_index=True, row_height=27, height=27 * len(table) + 38,
                 column_config=columns, alt=alt)
