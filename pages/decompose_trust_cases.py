"""Decompose, how far to trust a dictionary: the contrasts of the query bank, to open."""

import pandas as pd
import streamlit as st

from atlas.trust import CASES
from pages import answers, shared
from pages import answers_trust as found_in

FAILING = "failing"
"""Value of `cases` for those that do not pass."""
SHOWN = 40
"""Characters of a prompt, its end."""
MOST = 40
"""Contrasts that are listed."""


def read_cases(known: tuple[str, ...]) -> str:
    """Which contrasts the address asks for; what is wrong is said."""
    asked = st.query_params.get("cases", CASES[0])
    if asked in known:
        return asked
    shared.say(f"“{shared.clip(asked)}” is no kind of contrast; there are {', '.join(known)}.",
               "bad")
    return CASES[0]


def draw(view: shared.Here) -> None:
    """The contrasts, worst first; a click opens one."""
    table = found_in.cases(view.store.digest, view.run)
    there = set(table["contrast"])
    known = (CASES[0], FAILING, *(kind for kind in CASES[1:] if kind in there))
    chosen = read_cases(known)
    kept = _kept(table, chosen)
    shared.caption(
        "The contrasts of the bank,",
        "worst ρ first. Click a row to take it apart.",
        tail=f"{min(len(kept), MOST):,} of {len(kept):,} are listed." if len(kept) > MOST else "",
    )
    st.session_state["trust_cases_kind"] = chosen
    st.segmented_control(
        "which contrasts", list(known), key="trust_cases_kind", required=True,
        label_visibility="collapsed",
        on_change=shared.writes(
            "cases", "trust_cases_kind", lambda value: None if value == CASES[0] else value),
    )
    if kept.empty:
        shared.say("None of the contrasts is of this kind.")
        return
    _draw_list(view, kept.head(MOST))


def _kept(table: pd.DataFrame, chosen: str) -> pd.DataFrame:
    if chosen == FAILING:
        table = table[~table["gate"]]
    elif chosen != CASES[0]:
        table = table[table["contrast"] == chosen]
    return table.sort_values("rho", ascending=False, kind="stable")


def _draw_list(view: shared.Here, kept: pd.DataFrame) -> None:
    texts = view.store.token_texts(view.card.model)
    frame = pd.DataFrame({
        "prompt": [_end(prompt) for prompt in kept["prompt"]],
        "score": [shared.left_to_right(score_text(row.tokens, row.weights, row.contrast, texts))
                  for row in kept.itertuples()],
        "kind": kept["contrast"].tolist(),
        "exact": kept["exact"].tolist(),
        "rebuilt": kept["rebuilt"].tolist(),
        "rho": kept["rho"].tolist(),
        "gate": ["passes" if gate else "fails" for gate in kept["gate"]],
        "n80": kept["n80"].tolist(),
    })
    if shared.as_tables():
        shared.chart({}, "trust_cases", "The contrasts of the query bank", frame)
        return

    def opened() -> None:
        row = shared.picked("trust_cases")
        if row is not None:
            shared.address(view=None, step=view.card.steps[-1], **address_of(kept.iloc[row]))

    said = answers.comments(view.store.digest).get("bank_case", {})
    c = st.column_config
    st.dataframe(
        frame, key="trust_cases", hide_index=True, row_height=27,
        height=min(27 * len(frame) + 38, 500), on_select=opened, selection_mode="single-cell",
        alt="contrasts of the query bank",
        column_config={
            "prompt": c.TextColumn("prompt, its end", width=310),
            "score": c.TextColumn("score", width=190),
            "kind": c.TextColumn("contrast", width=140, help=said.get("contrast")),
            **{name: c.NumberColumn(name.replace("rho", "ρ"), format="%.2f", width=70,
                                    help=said.get(name))
               for name in ("exact", "rebuilt", "rho")},
            "gate": c.TextColumn("gate", width=70, help=said.get("gate")),
            "n80": c.NumberColumn("n80", width=55, help=said.get("n80")),
        },
    )


def _end(prompt: str) -> str:
    """The end of a prompt on one line, line breaks drawn."""
    text = prompt.replace("\n", "⏎")
    return shared.left_to_right(text if len(text) <= SHOWN else f"…{text[-SHOWN:]}")


def score_text(tokens: list[int], weights: list[float], contrast: str, texts: list[str]) -> str:
    """A score as a formula of tokens."""
    def drawn(token: int) -> str:
        return texts[token] if 0 <= token < len(texts) else f"⟨row {token}⟩"

    sides = [[drawn(t) for t, w in zip(tokens, weights, strict=True) if (w > 0) == up]
             for up in (True, False)]
    one, other = (" | ".join(side) for side in sides)
    return f"{one} − {other}" if other else f"{one} − the mean row"


def address_of(case: pd.Series) -> dict[str, object]:
    """Parameters that open a contrast in the view of a prompt."""
    tokens, weights = list(case["tokens"]), list(case["weights"])
    sides = [[int(t) for t, w in zip(tokens, weights, strict=True) if (w > 0) == up]
             for up in (True, False)]
    target, versus = (" | ".join(f"#{t}" for t in side) or None for side in sides)
    kind = None if len(tokens) == 2 else "centred" if versus is None else "family"
    position = None if case["position"] < 0 else int(case["position"])
    return {"prompt": case["prompt"], "target": target, "versus": versus, "kind": kind,
            "position": position, "hidden": None, "rank": None, "rivals": None}


