"""Decompose, why this token: the ledger of the score at the chosen step, coverage and course."""

import streamlit as st

from atlas.decompose_markup import Offer, offers
from atlas.score_words import formula
from atlas.stability import BY_CHANCE
from pages import answers_prompt, decompose_alone, decompose_ask, score, shared, taking
from pages.seen import Seen


def draw(seen: Seen) -> None:
    """Draw the view."""
    view, found, row = seen.view, seen.found, seen.row
    one, two = st.columns([1, 1.05], gap="large")
    with one:
        score.draw_ledger(view, row, seen.show)
        _offer_seeds(seen)
        taking.take_away(
            view, python_of(seen, row.step), lambda: score.ledger_table(row, seen.show),
            f"ledger-{view.run.replace('/', '_')}-{row.step}",
        )
    with two:
        if len(found.rows) > 1:
            score.draw_course(view, found, row.step)
        score.draw_coverage(view, row, seen.show)
        if seen.live:
            decompose_alone.draw(seen)


def _offer_seeds(seen: Seen) -> None:
    """The same prompt and score under every seed of the run, where any was matched."""
    view = seen.view
    others = len(answers_prompt.seeds(view.store.digest, view.run).cards) - 1
    if not others or seen.hidden != "final":
        return
    now = st.query_params.to_dict()
    asked = {name: now[name] for name in decompose_ask.SCORE if name in now}
    if "prompt" in now:  # a long one is not in the address, yet in the session
        asked["prompt"] = seen.prompt
    href = shared.href("comparison", view, view="prompt", **asked)
    told = ("Dots, the other seeds in which a feature returns; by chance it does in "
            f"{BY_CHANCE * others:.2f} of them at most." if seen.show else
            "Withheld here, which need not be so elsewhere.")
    words = f"The same ledger in {others} other seed{'s' if others > 1 else ''}"
    st.html(offers(told, [Offer(words, href, plain=True)]))


def python_of(seen: Seen, step: int | None) -> str:
    """Lines of Python that give the numbers of the view."""
    from atlas.decompose_recipe import python_of as lines  # torch comes with it

    name = formula(seen.found.score.kind, seen.found.drawn, seen.found.score.weights,
                   seen.found.rank)
    return lines(seen.view.run, seen.prompt, seen.position, seen.ask, step, seen.hidden, name)
