"""Decompose, change it: features taken out of, scaled in or added to what the head reads."""

from typing import TYPE_CHECKING

import streamlit as st

from atlas import markup
from atlas.errors import InvalidValue, NotFound
from atlas.markup import Fact
from pages import answers_swap, decompose_edit_choice, decompose_edit_text, exporting, shared
from pages.seen import Seen

if TYPE_CHECKING:
    from atlas.editing import Edited

SEEDS = 10_000
"""Seeds that may be asked for."""


def draw(seen: Seen) -> None:
    """Draw the view."""
    edit = decompose_edit_choice.asked(seen)
    if edit is None:
        return
    left, right = st.columns([1, 1.45], gap="large")
    with left:
        decompose_edit_choice.draw(seen, edit)
    view, row = seen.view, seen.row
    try:
        found = answers_swap.edited(
            view.store.digest, view.run, seen.prompt, seen.position, seen.ask, edit, row.step,
            row.hidden_step, _seed(),
        )
    except (InvalidValue, NotFound) as error:
        with right:
            shared.say(f"Not available, because {error}.")
        return
    with right:
        _draw_what_changes(seen, found)
    _draw_checks(seen, found)
    decompose_edit_text.draw(seen, found)
    _draw_take(seen, found)


def _seed() -> int:
    asked = st.query_params.get("seed")
    if asked is None:
        return 0
    number = shared.whole(asked)
    if number is None or not 0 <= number < SEEDS:
        shared.say(f"“{shared.clip(asked)}” is no seed; there are 0 to {SEEDS - 1:,}.", "bad")
        return 0
    return number


def _draw_what_changes(seen: Seen, found: "Edited") -> None:
    from atlas import edit_figures

    shared.caption(
        "What the edit changes.",
        "The next token before and after, by the readout of "
        f"{markup.moment(found.step, seen.view.card.revision)}; in vermilion the tokens of the "
        "score, on the right of each list where a token goes or comes from.",
    )
    facts = [
        Fact("score before", markup.signed(found.ledger.exact)),
        Fact("after", markup.signed(found.after.exact)),
        Fact("change", markup.signed(found.change), "Exact: q · (h′ − h)."),
        Fact("predicted", markup.signed(found.predicted) if seen.show else "withheld",
             "By the ledger, as if the directions of features did not overlap."),
        Fact("KL", f"{markup.number(found.kl, 3)} bits", "KL(before ‖ after) of the next token."),
        Fact("top-50 kept", markup.share(found.overlap, 0),
             "Share of the fifty likeliest tokens that stay among the fifty likeliest."),
        Fact("shift", f"{markup.share(found.share, 0)} of h", "|h′ − h| over |h|."),
    ]
    st.html(markup.wrap(markup.facts(facts), "atl-window"))
    st.html(edit_figures.next_tokens(found, seen.found.score.tokens))


def _draw_checks(seen: Seen, found: "Edited") -> None:
    """Random features beside the edit, and the ledger against what removing features does."""
    from atlas import edit_figures

    one, two = st.columns([1, 1.1], gap="large")
    with one:
        both = edit_figures.strips_of(found)
        count = len(found.edit.features)
        beaten = edit_figures.exceeded(both[0])
        shared.caption(
            "The control: random features.",
            f"{len(found.draws)} draws of {count} other live feature{'s' if count > 1 else ''}, "
            f"the same edit with the shift as long as this one (seed {found.seed}). Grey ticks are "
            "draws, the band holds 5 to 95 % of them, vermilion is the edit. "
            f"{beaten} of {len(found.draws)} draws move the score as far.",
        )
        if shared.as_tables():
            shared.chart({}, "edit_draws", "the edit and its random draws",
                         edit_figures.draws_table(found))
        else:
            st.html(edit_figures.strips(both))
        st.number_input(
            "seed", 0, SEEDS - 1, key=_state("edit_seed", found.seed), width=120,
            on_change=shared.writes("seed", "edit_seed", lambda value: value or None),
        )
        if seen.show:
            shared.caption("Each feature of the edit.", "In logits of the score.")
            st.html(edit_figures.parts_table(found))
    with two:
        shared.caption(
            "Does the ledger foretell what goes?",
            "Each point is a feature taken out of the hidden state alone: what the ledger says it "
            "carries, and what the score loses. Vermilion the ten largest, grey ten random live "
            "ones; dotted is agreement. Overlapping directions make the slope differ from 1. "
            f"{edit_figures.slope_words(found)}",
        )
        if seen.show:
            exporting.chart(
                seen.view, edit_figures.slope_figure(found, seen.view.palette), "edit_slope",
                "realised against predicted change of the score for single features",
                table=lambda: edit_figures.points_table(found), note=f"seed {found.seed}",
            )
        else:
            shared.say(
                "The points are withheld, because the gate fails and the features are not to be "
                "read one by one."
            )


def _state(key: str, value: object) -> str:
    st.session_state[key] = value
    return key


def _draw_take(seen: Seen, found: "Edited") -> None:
    from atlas import edit_figures, edit_recipe

    exporting.take_away(
        seen.view,
        edit_recipe.python_of(
            seen.view.run, seen.prompt, seen.position, repr(seen.ask), str(found.edit), found.step,
            found.hidden_step, found.seed, decompose_edit_text.asked_length(),
        ),
        {
            "edit and random draws": lambda: edit_figures.draws_table(found),
            **({"slope check": lambda: edit_figures.points_table(found)} if seen.show else {}),
        },
        "edit",
    )
