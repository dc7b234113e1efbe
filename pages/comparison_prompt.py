"""The same prompt and score under every seed of a run: do they tell the same of it?

torch and transformers are imported when the first prompt is read, not before.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from atlas import seed_ledger_markup
from atlas.errors import AtlasError, InvalidValue, NotFound
from atlas.matches import WAYS
from atlas.records import RunCard
from atlas.seed_ledger_store import Seeds
from pages import (
    answers_decompose,
    answers_prompt,
    comparison_prompt_ask,
    comparison_prompt_ledgers,
    decompose_ask,
    exporting,
    score,
    shared,
    waiting,
)

if TYPE_CHECKING:
    from atlas.asking import Ask
    from atlas.live import Explanation, Row

BARS = 16
"""Lines that are drawn unless the address says another number."""
MOST_BARS = 64


@dataclass(frozen=True)
class Side:
    """One seed's answer."""

    card: RunCard
    name: str
    found: "Explanation"
    row: "Row"
    """At the chosen step."""
    shown: bool
    """Its gate passes, or the reader asked for its bars anyway."""


@dataclass(frozen=True)
class Compared:
    """What the view is drawn from."""

    view: shared.Here
    sides: tuple[Side, ...]
    """The run's own first."""
    prompt: str
    position: int
    """As asked: -1 is the end of the prompt."""
    ask: "Ask"
    way: str
    bars: int
    live: bool
    """A language model is here to be asked; without one all there is was kept by the builds."""


def draw(view: shared.Here) -> None:
    """Draw the view."""
    st.html(seed_ledger_markup.style())
    shared.caption(
        "Do seeds tell the same of a prompt?",
        "One score of one prompt, taken apart by every seed of this run: the model and its rows "
        "are the same, the dictionaries are not. Features that seeds share stand in one line.",
    )
    if view.card.matrix != "W_U":
        decompose_ask.refuse(view, InvalidValue(
            f"{view.run} is a dictionary of {view.card.matrix}, which gives no logits"), {})
        return
    seeds = answers_prompt.seeds(view.store.digest, view.run)
    if len(seeds.cards) < 2:
        for reason in seeds.left_out:
            shared.say(shared.sentence(InvalidValue(reason)))
        shared.say(
            "Not available, because no other seed of this run was matched with it. "
            f"`readout-atlas match {view.run} OTHER` matches it with a run that differs in nothing "
            "but its seed."
        )
        return
    way = _read_way(seeds.ways)
    found = _answers(view, seeds, way)
    if problem := exporting.problem():
        shared.say(problem, "bad")
    for reason in seeds.left_out:
        shared.say(shared.sentence(InvalidValue(reason)))
    if found is not None:
        comparison_prompt_ledgers.draw(found)


def _answers(view: shared.Here, seeds: Seeds, way: str) -> Compared | None:
    """The prompt, its candidates and every seed's answer; None where there is none."""
    asked = st.query_params.to_dict()
    runs = tuple(card.run for card in seeds.cards)
    kept = answers_prompt.kept(view.store.digest, runs, view.step)
    prompt = comparison_prompt_ask.prompt_of(kept)
    left, right = st.columns([1.45, 1], gap="large")
    with left:
        comparison_prompt_ask.draw_prompt(view, prompt, kept)
    position = shared.whole(asked.get("position")) if "position" in asked else -1
    if position is None:
        shared.say(f"“{shared.clip(asked['position'])}” is no position in a prompt.", "bad")
        position = -1
    ask = decompose_ask.read_ask(asked)
    live, own = True, None
    try:
        if not waiting.wait_for(view, prompt, answers_decompose.device()):
            return None
        own = answers_prompt.explanation(
            view.store.digest, view.run, prompt, position, ask, view.step, live)
    except InvalidValue as error:
        decompose_ask.refuse(view, error, asked)
        return None
    except NotFound as error:
        live = False
        shared.say(shared.sentence(error), "bad")
        own = answers_prompt.explanation(
            view.store.digest, view.run, prompt, position, ask, view.step, live)
    if own is None:
        shared.say("Not available, because the build of this run kept nothing of this prompt; "
                   "those that it kept stand under the prompt.")
        return None
    if not live:
        shared.say("What is shown was taken apart when the runs were built.")
    with left:
        comparison_prompt_ask.keep_long(prompt)
        comparison_prompt_ask.draw_question(view, own, way, seeds.ways)
    with right:
        comparison_prompt_ask.draw_candidates(own)
    anyway = _read_withheld()
    sides = _sides(view, seeds, own, (prompt, position, ask), live, anyway)
    if len(sides) < 2:
        shared.say("Not available, because no other seed answers this prompt.")
        return None
    return Compared(view, sides, prompt, position, ask, way, _read_bars(), live)


def _sides(
    view: shared.Here, seeds: Seeds, own: "Explanation", question: tuple, live: bool, anyway: bool
) -> tuple[Side, ...]:
    """Every seed's answer to the same score; who has none is said with the reason."""
    names = comparison_prompt_ask.names(seeds.cards)
    sides = []
    for card in seeds.cards:
        try:
            found = own if card.run == view.run else answers_prompt.explanation(
                view.store.digest, card.run, *question, view.step, live)
        except AtlasError as error:
            shared.say(f"{card.run} is left out, because {error}.", "bad")
            continue
        if found is None:
            shared.say(f"{card.run} is left out, because its build kept nothing of this prompt.")
            continue
        if found.score.tokens != own.score.tokens:
            shared.say(f"{card.run} is left out, because the same words are another score there.")
            continue
        row = score.nearest(found, view.step)
        sides.append(Side(card, names[card.run], found, row, row.ledger.gate or anyway))
    return tuple(sides)


def _read_way(ways: tuple[str, ...]) -> str:
    asked = st.query_params.get("way")
    if asked in (None, *ways):
        return asked or ways[0]
    known = "was not used" if asked in WAYS else "is no way"
    shared.say(f"“{shared.clip(asked)}” {known} to match these seeds; there are "
               f"{', '.join(ways)}.", "bad")
    return ways[0]


def _read_bars() -> int:
    asked = st.query_params.get("bars")
    number = BARS if asked is None else shared.whole(asked)
    if number is not None and 1 <= number <= MOST_BARS:
        return number
    shared.say(f"“{shared.clip(str(asked))}” is no number of lines from 1 to {MOST_BARS}; {BARS} "
               "are drawn.", "bad")
    return BARS


def _read_withheld() -> bool:
    asked = st.query_params.get("withheld")
    if asked not in (None, "show"):
        shared.say(f"Withheld bars cannot be “{shared.clip(asked)}”; withheld=show shows them.",
                   "bad")
    return asked == "show"
