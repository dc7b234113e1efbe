"""Which edit: features from the ledger by a click or by their ids, what is done, how strongly.

The address holds it as `edit=ablate:12,40`, `edit=scale:12@0.5` or `edit=add:12@4`.
"""

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from atlas.errors import InvalidValue
from atlas.feature_labels import feature_labels
from pages import shared
from pages.seen import Seen

if TYPE_CHECKING:
    from atlas.edits import Edit

LISTED = 12
"""Features of the ledger that are offered."""
KINDS = {"ablate": "take out", "scale": "scale", "add": "add"}
"""Kinds of `atlas.edits`, and words for them."""
SLIDERS = {"scale": (-2.0, 4.0, 0.05), "add": (-16.0, 16.0, 0.5)}
"""Least, largest and step of the slider; an address may ask for more."""
MEANS = {
    "ablate": "h′ = h − P h: what h reads along the span of the chosen directions is taken out.",
    "scale": "h′ = h − (1 − x) P h: that part is multiplied by x; 0 takes it out, 1 changes "
             "nothing.",
    "add": "h′ = h + α Σ d̂: unit directions are added; α > 0 promotes what the features write, "
           "α < 0 suppresses it.",
}


def asked(seen: Seen) -> "Edit | None":
    """The edit of the address; without one, the largest feature of the score taken out."""
    from atlas.edits import edit_of, read_edit

    text = st.query_params.get("edit")
    if text is not None:
        try:
            return read_edit(text, seen.view.card.d_sae)
        except InvalidValue as error:
            shared.say(shared.sentence(error), "bad")
    features = seen.row.ledger.features
    if len(features):
        return edit_of("ablate", [int(features[0])])
    shared.say(
        "No feature of this dictionary fires on the tokens of the score at this step; type the id "
        "of one to edit."
    )
    _draw_typed("")
    return None


def draw(seen: Seen, edit: "Edit") -> None:
    """The chooser."""
    shared.caption(
        "Change what the head reads.",
        f"{MEANS[edit.kind]} Directions are decoder rows at step {seen.row.step:,}; a cap of the "
        "model's own comes after the edit.",
    )
    if not seen.row.ledger.gate:
        shared.say(
            "The gate fails here: the features do not explain this score. An edit along them is "
            "still an edit, and the control beside it still counts.", "bad",
        )
    _draw_kind(edit)
    _draw_ledger(seen, edit)
    _draw_typed(str(edit))


def write(kind: str, features: list[int], amount: float | None = None) -> None:
    """Put an edit into the address; one that cannot be is said by the page that reads it."""
    from atlas.edits import edit_of

    try:
        text = str(edit_of(kind, features, amount))
    except InvalidValue:
        text = f"{kind}:{','.join(map(str, features))}"
    shared.address(edit=text, more=None)


def _draw_kind(edit: "Edit") -> None:
    st.session_state["edit_kind"] = edit.kind
    chosen = list(edit.features)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.segmented_control(
            "do what", list(KINDS), format_func=KINDS.get, key="edit_kind", required=True,
            on_change=lambda: write(st.session_state["edit_kind"], chosen),
        )
        if edit.kind in SLIDERS:
            low, high, step = SLIDERS[edit.kind]
            key = f"edit_amount_{edit.kind}"
            st.session_state[key] = min(high, max(low, edit.amount))
            st.slider(
                "x, kept of it" if edit.kind == "scale" else "α, length added", low, high,
                key=key, step=step, width=250,
                on_change=lambda: write(edit.kind, chosen, st.session_state[key]),
            )


def _draw_ledger(seen: Seen, edit: "Edit") -> None:
    """The strongest features of the score; a click on a circle chooses or leaves one."""
    ledger = seen.row.ledger
    ids = [int(f) for f in ledger.features[:LISTED]]
    ids += [f for f in edit.features if f not in ids]
    held = dict(zip(ledger.features.tolist(), ledger.contributions.tolist(), strict=True))
    names = feature_labels(seen.view.store, seen.view.run, ids)
    frame = pd.DataFrame({
        "edited": ["●" if f in edit.features else "○" for f in ids],
        "feature": [f"#{f}" for f in ids],
        "tokens": [shared.left_to_right(names.get(f, "")) for f in ids],
    })
    if seen.show:
        frame["contribution"] = [held.get(f, 0.0) for f in ids]

    def toggled() -> None:
        row = shared.picked("edit_ledger")
        if row is None or row >= len(ids):
            return
        features = set(edit.features) ^ {ids[row]}
        if features:
            write(edit.kind, sorted(features), edit.amount)

    c = st.column_config
    st.dataframe(
        frame, key="edit_ledger", hide_index=True, row_height=25,
        height=25 * len(frame) + 38, on_select=toggled, selection_mode="single-cell",
        column_config={
            "edited": c.TextColumn("edited", width=52, alignment="center"),
            "feature": c.TextColumn("feature", width=60),
            "tokens": c.TextColumn("strongest firing tokens", width=210),
            "contribution": c.NumberColumn("contribution", format="%+.2f", width=84),
        },
        alt="features of the score; a click on one chooses or leaves it",
    )


def _draw_typed(text: str) -> None:
    """The edit as text: any features of the dictionary."""
    st.session_state["edit_typed"] = text

    def typed() -> None:
        wanted = st.session_state["edit_typed"].replace(" ", "")
        if wanted.replace(",", "").isdecimal():
            wanted = f"ablate:{wanted}"
        shared.address(edit=wanted or None, more=None)

    st.text_input(
        "or as text: ablate:12,40 · scale:12@0.5 · add:12@4", key="edit_typed", max_chars=240,
        on_change=typed,
    )
