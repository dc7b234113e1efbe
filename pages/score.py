"""Parts of the page Decompose: a score's header, its verdict, its ledger, its course."""

from typing import TYPE_CHECKING

import streamlit as st

from atlas import courses, markup
from atlas.axes import position
from atlas.markup import Bar, Fact
from pages import answers, shared

if TYPE_CHECKING:
    from atlas.live import Explanation, Row

SHOWN = 14
"""Features drawn by name; the rest is one line."""
MAPPED = 12
"""Features of the map through training."""


def nearest(found: "Explanation", step: int) -> "Row":
    """The row of the chosen step, or of the nearest one that has an answer."""
    return min(found.rows, key=lambda r: abs(position(r.step) - position(step)))


def score_name(found: "Explanation", drawn: dict[int, str]) -> str:
    """The score as a formula of tokens."""
    name = drawn[found.score.target]
    return name if found.score.versus is None else f"{name} − {drawn[found.score.versus]}"


def verdict(row: "Row", contrast: bool) -> tuple[str, str]:
    """What the gate says, in plain words, and its tone."""
    ledger = row.ledger
    rho = f"ρ = {ledger.rho:.3f}"
    if ledger.gate:
        agree = " and its sign is the true one" if contrast else ""
        return (
            f"The gate passes: {rho}, below 0.5{agree}. The features account for this score "
            "well enough to be read.",
            "good",
        )
    why = []
    if ledger.rho >= 0.5:
        why.append(f"{rho}: what the dictionary leaves out is as large as half of the score")
    if ledger.sign_agrees is False:
        why.append("base and features together point to the other token")
    return (
        f"The gate fails: {'; '.join(why)}. The features do not explain this score, so their "
        "bars are withheld.",
        "bad",
    )


def draw_score(view: shared.Here, found: "Explanation", row: "Row", drawn: dict) -> bool:
    """The score's header and verdict; whether the bars may be shown."""
    ledger = row.ledger
    contrast = found.score.kind == "contrast"
    kind = "logit contrast" if contrast else "logit"
    own = ", its own model's state" if row.hidden_step != view.card.steps[-1] else ""
    st.html(
        markup.header(
            "token",
            score_name(found, drawn),
            "",
            f"{kind} at {markup.moment(row.step, view.card.revision)}{own}",
            [
                Fact("exact", markup.signed(ledger.exact), "h · row of the true matrix."),
                Fact("base", markup.signed(ledger.base), "What every row shares."),
                Fact("features", markup.signed(ledger.feature_sum), "All active features."),
                Fact("residual", markup.signed(ledger.residual), "What the dictionary left out."),
                Fact("rho", f"{ledger.rho:.2f}", "|residual| / (|exact| + 0.5); below 0.5 passes."),
                Fact(
                    "sign",
                    "—" if ledger.sign_agrees is None
                    else "agrees" if ledger.sign_agrees else "differs",
                    "Whether base + features favour the same token as the exact score.",
                ),
                Fact("gate", "passes" if ledger.gate else "fails"),
            ],
        ).replace("<i>token</i>", "<i>score</i>", 1)
    )
    words, tone = verdict(row, contrast)
    shared.say(words, tone)
    if row.step != view.step:
        shared.say(
            f"No whole model is kept at step {view.step:,}; the nearest that is, "
            f"{row.step:,}, is shown."
        )
    if ledger.gate:
        return True
    _offer_prism(view)
    return st.toggle(
        "Show the bars of a failed explanation anyway", key="decompose_anyway",
        persist_state="session",
    )


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


def labels(view: shared.Here, found: "Explanation") -> dict[int, str]:
    """Strongest firing tokens of the features behind a score: those that fire on its tokens."""
    names: dict[int, str] = {}
    for token in found.score.tokens:
        features = answers.token_card(view.store.digest, view.run, token).features
        names.update(zip(features["feature"].tolist(), features["label"].tolist(), strict=True))
    return names


def draw_ledger(
    view: shared.Here, found: "Explanation", row: "Row", show: bool
) -> None:
    """Base, features, the rest, the residual and their sum as signed bars, and the check."""
    ledger = row.ledger
    shared.caption(
        "The ledger.",
        "Every part of the score; bars to the right raise it. Hatched is what the dictionary "
        "leaves out.",
    )
    lines = [Bar("base: what all rows share", ledger.base, "base")]
    if show:
        named = ledger.features[:SHOWN]
        names = labels(view, found)
        lines += [
            Bar(
                names[int(f)], float(value), "feature", note=f"#{int(f)}",
                href=shared.href("feature", view, feature=int(f)), title=names[int(f)],
            )
            for f, value in zip(named, ledger.contributions, strict=False)
        ]
        rest = len(ledger.features) - len(named)
        if rest:
            lines.append(Bar(
                f"{rest} other feature{'s' if rest > 1 else ''}",
                float(ledger.contributions[len(named):].sum()), "rest",
            ))
    else:
        lines.append(Bar(
            f"{len(ledger.features)} features, withheld", ledger.feature_sum, "rest"
        ))
    lines += [
        Bar("residual", ledger.residual, "residual"),
        Bar("exact", ledger.exact, "exact"),
    ]
    st.html(markup.ledger(lines))
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
        ),
        "decompose_course",
        "exact score, base, features and residual by step",
    )


def draw_map(view: shared.Here, found: "Explanation", step: int) -> None:
    """The contributions of the strongest features at every snapshot."""
    steps = [row.step for row in found.rows]
    if len(steps) < 2:
        return
    by_step = [
        dict(zip(row.ledger.features.tolist(), row.ledger.contributions.tolist(), strict=True))
        for row in found.rows
    ]
    peak: dict[int, float] = {}
    for values in by_step:
        for feature, value in values.items():
            peak[feature] = max(peak.get(feature, 0.0), abs(value))
    strongest = sorted(peak, key=lambda f: -peak[f])[:MAPPED]
    if not strongest:
        return
    names = labels(view, found)
    rows = [
        courses.MapRow(
            shared.clip(f"{f}  {names[f]}", 38), f"feature {f}",
            [values.get(f) for values in by_step],
        )
        for f in strongest
    ]
    shared.caption(
        "Which features, when.",
        "Contribution of the strongest features to this score at every step: vermilion raises it, "
        "blue lowers it, empty where a feature does not fire.",
    )
    shared.chart(
        courses.feature_map(steps, rows, step, view.palette),
        "decompose_map",
        "contributions of the strongest features by step",
    )
