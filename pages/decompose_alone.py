"""What the dictionary alone would answer: the whole next-token distribution without residuals."""

import math
from typing import TYPE_CHECKING

import streamlit as st

from pages import answers_decompose, answers_trust, shared
from pages.seen import Seen

if TYPE_CHECKING:
    from atlas.rebuilt import OwnAnswer
    from atlas.swap_cell import Listed

ENTRIES = 2e6
"""Entries of the code that are read without being asked to: a tenth of a second."""
SHOWN = 6
"""Tokens of each list."""


def draw(seen: Seen) -> None:
    """The two lists, at once for a small dictionary, else when asked for."""
    view, row = seen.view, seen.row
    entries = (view.card.l0 or 0) * len(view.store.token_texts(view.card.model))
    asked = st.query_params.get("alone")
    if asked not in (None, "show"):
        shared.say(f"“{shared.clip(asked)}” is no choice; alone=show shows what the dictionary "
                   "alone would answer.", "bad")
    if entries > ENTRIES and asked != "show":
        st.button(
            "What would the dictionary alone answer?", key="decompose_alone", type="tertiary",
            help=f"Adds up about {entries / 1e6:,.0f} million entries of the code, a second or so.",
            on_click=shared.address, kwargs={"alone": "show"},
        )
        return
    found = answers_decompose.alone(
        view.store.digest, view.run, seen.prompt, seen.position, row.step, row.hidden_step)
    kept = found.place == 1
    shared.caption(
        "The dictionary’s own answer.",
        f"All rows rebuilt from base and features alone, residuals left out: {found.kl_bits:.2f} "
        "bits from the true readout; the likeliest token "
        + ("stays the likeliest." if kept else f"falls to place {found.place:,}.") + _null(view),
    )
    _draw_lists(seen, found)


def _null(view: shared.Here) -> str:
    """What codes that belong to other tokens give, over held-out text."""
    trust = answers_trust.trust(view.store.digest, view.run)
    usual, chance = trust.kl_bits(), trust.kl_bits("shuffled")
    if math.isnan(usual) or math.isnan(chance):
        return ""
    return (f" Over held-out text it is {usual:.2f} bits at the last step, with another row’s "
            f"codes {chance:.1f}.")


def _draw_lists(seen: Seen, found: "OwnAnswer") -> None:
    from atlas import swap_figures

    hot = set(seen.found.score.tokens)

    def lines(tokens: "tuple[Listed, ...]", true: bool) -> list:
        out = []
        for place, t in enumerate(tokens[:SHOWN], 1):
            note, rises = swap_figures.change_of_rank(place, t.other_rank, true)
            out.append(swap_figures.Line(t.text, t.probability, note, t.token in hot, rises))
        return out

    st.html(swap_figures.lists(
        ("the true readout", lines(found.true, True)),
        ("the dictionary alone", lines(found.alone, False)),
    ))
