"""Parts of the page Decompose: a score's header, its verdict, its ledger, its course."""

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from atlas import courses, ledger_figures, markup, stability_markup
from atlas.axes import position
from atlas.coverage import Coverage, coverage, curve
from atlas.decompose_markup import Line, limits
from atlas.feature_labels import feature_labels
from atlas.markup import Bar, Fact
from atlas.score_words import WORDS, formula
from atlas.standing import Limit, margin_bin
from atlas.standing import limits as limits_of
from pages import answers_decompose, decompose_ask, shared

if TYPE_CHECKING:
    from atlas.live import Explanation, Row
    from atlas.reading import Reading

SHOWN = 14
"""Features drawn by name; the rest is one line."""
LABELLED = 400
"""Features of a row whose names are looked up at once; those of an average row are thousands."""
LONG = 18
"""Characters of a score's name that fit the header in its usual size."""


def nearest(found: "Explanation", step: int) -> "Row":
    """The row of the chosen step, or of the nearest one that has an answer."""
    return min(found.rows, key=lambda r: abs(position(r.step) - position(step)))


def score_name(found: "Explanation") -> str:
    """The score as a formula of tokens."""
    return formula(found.score.kind, found.drawn, found.score.weights, found.rank)


def spread_of(row: "Row") -> Coverage:
    """How the contributions of a row are spread."""
    return coverage(row.ledger.features, row.ledger.contributions, row.ledger.reconstructed)


# --- header and verdict --------------------------------------------------------------------------


def verdict(row: "Row", signed: bool, anyway: bool = False) -> tuple[str, str]:
    """What the gate says, in plain words, and its tone; `anyway`: the bars are shown all the same.
    """
    ledger = row.ledger
    rho = f"ρ = {ledger.rho:.3f}"
    if ledger.gate:
        agree = " and its sign is the true one" if signed else ""
        return (
            f"The gate passes: {rho}, below 0.5{agree}. The features account for this score "
            "well enough to be read.",
            "good",
        )
    why = []
    if ledger.rho >= 0.5:
        why.append(f"{rho}: what the dictionary leaves out is more than half of the score")
    if ledger.sign_agrees is False:
        why.append("base and features together point to the other side")
    bars = "are shown only because they were asked for" if anyway else "are withheld"
    return (
        f"The gate fails: {'; '.join(why)}. The features do not explain this score, so their "
        f"bars {bars}.",
        "bad",
    )


def draw_header(view: shared.Here, found: "Explanation", row: "Row") -> None:
    """The score's name and its numbers."""
    ledger, kind = row.ledger, found.score.kind
    own = ", its own model's state" if row.hidden_step != view.card.steps[-1] else ""
    name = score_name(found)
    facts = [
        Fact("exact", markup.signed(ledger.exact), "h · row of the true matrix; |exact| is in the "
             f"bin {margin_bin(ledger.exact)} logit."),
        Fact("base", markup.signed(ledger.base), "What every row shares."),
        Fact("features", markup.signed(ledger.feature_sum), "All active features."),
        Fact("residual", markup.signed(ledger.residual), "What the dictionary left out."),
        Fact("rho", f"{ledger.rho:.2f}", "|residual| / (|exact| + 0.5); below 0.5 passes."),
    ]
    if kind in ("token", "centred"):
        facts.append(Fact(
            "ρ less base", f"{ledger.rho_centred:.2f}",
            "|residual| / (|exact − base| + 0.5): not made small by a base that dominates.",
        ))
    facts += [
        Fact(
            "sign",
            "—" if ledger.sign_agrees is None else "agrees" if ledger.sign_agrees else "differs",
            "Whether base + features favour the same side as the exact score.",
        ),
        Fact("gate", "passes" if ledger.gate else "fails"),
    ]
    head = markup.header(
        "token", name, _members(found),
        f"{WORDS[kind]} at {markup.moment(row.step, view.card.revision)}{own}", facts,
    ).replace("<i>token</i>", "<i>score</i>", 1)
    if len(name) > LONG:
        size = max(13, 30 * LONG // len(name))
        head = head.replace('<span class="tok">', f'<span class="tok" style="font-size:{size}px">',
                            1)
    st.html(head)


def _members(found: "Explanation") -> str:
    """The tokens of a score of many with their weights."""
    score = found.score
    if score.kind == "topk":
        rivals = "  ".join(
            f"{text} {-w:.2f}" for text, w in zip(found.drawn[1:], score.weights[1:], strict=True)
        )
        return f"π, entropy {found.entropy:.2f} nats:  {rivals}"
    if score.kind == "family":
        return "  ".join(
            f"{text} {'+' if w > 0 else '−'}{abs(w):.2f}"
            for text, w in zip(found.drawn, score.weights, strict=True)
        )
    return ""


def draw_score(
    view: shared.Here, reading: "Reading | None", found: "Explanation", row: "Row", anyway: bool
) -> bool:
    """The score's header, its verdict and what limits its reading; whether to show the bars."""
    draw_header(view, found, row)
    words, tone = verdict(row, found.score.signed, anyway)
    shared.say(words, tone)
    _draw_limits(view, reading, found, row)
    if row.step != view.step:
        shared.say(
            f"No whole model is kept at step {view.step:,}; the nearest that is, "
            f"{row.step:,}, is shown."
        )
    if row.ledger.gate:
        return True
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.session_state["decompose_anyway"] = anyway
        st.toggle(
            "Show the bars of a failed explanation anyway", key="decompose_anyway",
            on_change=shared.writes("bars", "decompose_anyway", lambda v: "show" if v else None),
        )
        _offer_prism(view)
    return anyway


def _draw_limits(
    view: shared.Here, reading: "Reading | None", found: "Explanation", row: "Row"
) -> None:
    form = None
    if reading is not None:
        from atlas.proposals import form_problem

        form = form_problem(reading, found.score)
    limiting = limits_of(row.ledger, spread_of(row), found.score.signed, form)
    if limiting:
        st.html(limits([_line(view, reading, found, limit) for limit in limiting]))


def _line(
    view: shared.Here, reading: "Reading | None", found: "Explanation", limit: Limit
) -> Line:
    """A limit with the address of a better question, where there is one."""
    score = found.score
    target = f"#{score.target}"
    if limit.reason == "side" and score.kind == "contrast":
        href = decompose_ask.again(view, kind=None, target=f"#{score.versus}", versus=target)
        return Line(limit.said, limit.reading, href, "the other way round")
    if limit.reason == "base":
        href = decompose_ask.again(view, kind="centred", target=target, versus=None)
        return Line(limit.said, limit.reading, href, "the centred score")
    if limit.reason == "form" and reading is not None:
        from atlas.proposals import family_of

        family = family_of(reading, score.target)
        href = decompose_ask.again(view, kind="family", target=family, versus=None)
        return Line(limit.said, limit.reading, href, "its family against the next word’s")
    return Line(limit.said, limit.reading)


def _offer_prism(view: shared.Here) -> None:
    """The same prompt under the model's prism, which is fitted to the last readout alone."""
    prisms = [
        card.run for card in view.store.runs()
        if card.model == view.card.model and card.kind == "prism" and card.problem is None
        and card.run != view.run
    ]
    if prisms:
        st.button(
            "Ask the prism of this model, which passes more often", key="decompose_prism",
            type="tertiary", on_click=shared.change_run, args=(prisms[0],),
        )


# --- ledger --------------------------------------------------------------------------------------


def labels(view: shared.Here, found: "Explanation") -> dict[int, str]:
    """Strongest firing tokens of the features behind a score, of each row its `LABELLED` largest.
    """
    features = {int(f) for row in found.rows for f in row.ledger.features[:LABELLED]}
    return feature_labels(view.store, view.run, sorted(features))


def draw_ledger(view: shared.Here, row: "Row", show: bool) -> None:
    """Base, features, the rest, the residual and their sum as signed bars, and the check."""
    ledger = row.ledger
    shared.caption(
        "The ledger.",
        "Every part of the score; bars to the right raise it. Hatched is what the dictionary "
        "leaves out.",
    )
    if shared.as_tables():
        shared.chart({}, "decompose_ledger", "parts of the score", ledger_table(row, show))
    else:
        st.html(markup.ledger(_bars(view, row, show)))
    parts = " + ".join((
        f"base {markup.number(ledger.base)}",
        f"features {markup.number(ledger.feature_sum)}",
        f"residual {markup.number(ledger.residual)}",
    ))
    difference = f"{ledger.identity_error:.0e}" if ledger.identity_error else "0"
    exact = f"exact {markup.number(ledger.exact)}"
    st.html(markup.wrap(
        f'<span class="num" style="white-space:normal">{exact} = {parts} '
        f'<span class="dim">(difference {difference})</span></span>'
    ))


def badges(view: shared.Here, features: list[int]) -> dict[int, str]:
    """In how many other seeds features return, as dots; empty where none was matched."""
    told = answers_decompose.stability(view.store.digest, view.run, tuple(features))
    return {feature: stability_markup.dots(one) for feature, one in told.items()}


def _bars(view: shared.Here, row: "Row", show: bool) -> list[Bar]:
    ledger = row.ledger
    lines = [Bar("base: what all rows share", ledger.base, "base")]
    if show:
        named = ledger.features[:SHOWN]
        names = feature_labels(view.store, view.run, named.tolist())
        dots = badges(view, named.tolist())
        lines += [
            Bar(
                names[int(f)], float(value), "feature", note=f"#{int(f)}",
                href=shared.href("feature", view, feature=int(f)), title=names[int(f)],
                badge=dots.get(int(f), ""),
            )
            for f, value in zip(named, ledger.contributions, strict=False)
        ]
        rest = len(ledger.features) - len(named)
        if rest:
            lines.append(Bar(
                f"{rest:,} other feature{'s' if rest > 1 else ''}",
                float(ledger.contributions[len(named):].sum()), "rest",
            ))
    else:
        lines.append(Bar(
            f"{len(ledger.features):,} features, withheld", ledger.feature_sum, "rest"
        ))
    return [
        *lines,
        Bar("residual", ledger.residual, "residual"),
        Bar("exact", ledger.exact, "exact"),
    ]


def ledger_table(row: "Row", show: bool) -> pd.DataFrame:
    """The ledger, whole: every feature where they may be read, their sum where not."""
    ledger = row.ledger
    parts: list[tuple[str, float]] = [("base", ledger.base)]
    if show:
        parts += [
            (f"feature {f}", v) for f, v in
            zip(ledger.features.tolist(), ledger.contributions.tolist(), strict=True)
        ]
    else:
        parts.append((f"{len(ledger.features):,} features, withheld", ledger.feature_sum))
    parts += [("residual", ledger.residual), ("exact", ledger.exact)]
    return pd.DataFrame(parts, columns=["part", "logits"])


# --- how many features, and its course -----------------------------------------------------------


def draw_coverage(view: shared.Here, row: "Row", show: bool) -> None:
    """How many features explain how much."""
    ledger, found = row.ledger, spread_of(row)
    if not found.n80:
        shared.caption("How many features explain how much.")
        shared.say("Not available: no feature of this score fires at this step.")
        return
    shared.caption(
        "How many features explain how much.",
        f"Of Σ|c| = {markup.number(found.size, 2)} logits in {len(ledger.features):,} features the "
        f"5 largest hold {found.top5:.0%} and the 10 largest {found.top10:.0%}; 80 % takes "
        f"{found.n80:,}. Dotted: features of one size.",
    )
    line = curve(ledger.contributions)
    shared.chart(
        ledger_figures.coverage_figure(line, found, view.palette, show), "decompose_coverage",
        "share of the summed contributions in the largest features",
        table=lambda: ledger_figures.coverage_table(line, show),
    )
    if show:
        st.html(markup.wrap(f'<span class="dim">{_signed_words(found)}</span>'))


def _signed_words(found: Coverage) -> str:
    """What the largest features sum to with their signs, and which push most either way."""
    sums = (f"With their signs they give {found.signed5:.0%} and {found.signed10:.0%} of base and "
            "features together")
    ends = [
        f"#{feature} {does} it most" for feature, does in
        ((found.highest, "raises"), (found.lowest, "lowers")) if feature is not None
    ]
    return f"{sums}; {' and '.join(ends)}." if ends else f"{sums}."


def draw_course(view: shared.Here, found: "Explanation", step: int) -> None:
    """The score and its parts with the readout of every snapshot."""
    ledgers = [row.ledger for row in found.rows]
    steps = [row.step for row in found.rows]
    passed = sum(x.gate for x in ledgers)
    shared.caption(
        "Through training.",
        "The same score with the readout of every snapshot; the gate passes at "
        f"{passed}\u00a0of\u00a0{len(ledgers)}.",
    )
    if len(steps) < 2:
        shared.say("Not available: one snapshot alone answers here.")
        return
    shared.chart(
        courses.score_course(
            courses.ScoreCourse(
                steps,
                [x.exact for x in ledgers],
                [x.base for x in ledgers],
                [x.feature_sum for x in ledgers],
                [x.residual for x in ledgers],
            ),
            step,
            view.palette,
            height=262,
        ),
        "decompose_course",
        "exact score, base, features and residual by step",
    )
