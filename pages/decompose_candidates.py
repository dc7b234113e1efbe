"""The likeliest next tokens, in a table in which a click chooses what is compared."""

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from pages import shared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atlas.explanations import Candidate, Explanation

CANDIDATES = 8
"""Tokens listed."""


def draw(listed: "Sequence[Candidate]", found: "Explanation | None") -> None:
    """Likeliest next tokens; a click on a mark makes one the target or the other side."""
    shared.caption(
        "Likeliest next tokens", "by the last model. Click a circle to choose the two to compare."
    )
    top = listed[:CANDIDATES]
    one, other = found.score.sides if found else ((), ())
    frame = pd.DataFrame(
        {
            "token": [shared.left_to_right(c.text) for c in top],
            "probability": [100 * c.probability for c in top],
            "logit": [c.logit for c in top],
            "target": ["●" if c.token in one else "○" for c in top],
            "versus": ["●" if c.token in other else "○" for c in top],
        }
    )
    ids = [c.token for c in top]

    def chosen() -> None:
        cells = st.session_state["decompose_top"]["selection"]["cells"]
        column = str(cells[0][1]) if cells else ""
        row = shared.picked("decompose_top")
        if row is not None and row < len(ids):
            side = "versus" if column == "versus" else "target"
            shared.address(**choose(found, side, ids[row], ids))

    c = st.column_config
    st.dataframe(
        frame,
        key="decompose_top",
        hide_index=True,
        row_height=27,
        height=len(frame) * 27 + 38,
        on_select=chosen,
        selection_mode="single-cell",
        column_config={
            "token": c.TextColumn("token", width=110),
            "probability": c.ProgressColumn(
                "probability", format="%.1f%%", min_value=0.0,
                max_value=100 * max(c.probability for c in top), width=130,
                color="primary",
            ),
            "logit": c.NumberColumn("logit", format="%.2f", width=60),
            "target": c.TextColumn("target", width=58, alignment="center"),
            "versus": c.TextColumn("versus", width=58, alignment="center"),
        },
        alt="likeliest next tokens",
    )


def choose(
    found: "Explanation | None", side: str, token: int, listed: list[int]
) -> dict[str, object]:
    """Changes of the address that put a token on one side.

    Choosing the other side's token swaps the two, a family takes the token in or lets it go, and
    what reads the winner alone becomes a contrast of two.
    """
    kind = found.score.kind if found else "contrast"
    if found is not None and kind == "family":
        return _member(found, side, token)
    if side == "target" and kind in ("token", "centred", "vocabulary"):
        return {"target": f"#{token}"}
    one, other = found.score.sides if found else ((), ())
    target = one[0] if one else next((t for t in listed if t != token), token)
    versus = other[0] if len(other) == 1 else None
    if side == "target":
        target, versus = token, target if token == versus else versus
        if kind == "topk" and versus is None:
            versus = next((t for t in listed if t != token), None)
    elif token == versus:
        versus = None
    elif token == target:
        target, versus = (versus, target) if versus is not None else (target, None)
    else:
        versus = token
    return {"kind": None, "target": f"#{target}",
            "versus": None if versus is None else f"#{versus}"}


def _member(found: "Explanation", side: str, token: int) -> dict[str, object]:
    sides = dict(zip(("target", "versus"), map(list, found.score.sides), strict=True))
    own = sides[side]
    if token in own:
        own.remove(token)
    else:
        own.append(token)
        other = sides["versus" if side == "target" else "target"]
        if token in other and len(other) > 1:
            other.remove(token)
    return {
        "kind": "family",
        **{name: " | ".join(f"#{t}" for t in members) or None for name, members in sides.items()},
    }
