"""Reading and writing: W_E beside W_U, where the store has a dictionary of each."""

from dataclasses import dataclass

import streamlit as st

from atlas import read_write_store
from atlas.records import RunCard
from pages import answers_read_write as answers
from pages import exporting, read_write_courses, read_write_families, shared

PEAKS = {"rate": "largest rate", "norm": "largest norm"}
"""Values of `peaks` in the address: what a feature's peak is of; the first is that of the record's
timing comparisons."""
RULES = {"share": "by share, overlapping", "label": "by surest label, one each"}
"""Values of `families` in the address: the record's rule, or the label that Browse lists."""


@dataclass(frozen=True)
class Both:
    """Two dictionaries of one model over the steps that both have."""

    view: shared.Here
    write: RunCard
    """Of W_U."""
    read: RunCard
    """Of W_E."""
    steps: tuple[int, ...]
    """Shared by both, two or more."""
    peak: str
    """One of `PEAKS`."""
    rule: str
    """One of `RULES`."""

    def side(self, card: RunCard) -> read_write_store.Side:
        """What the store says of one of them, or of another seed."""
        return answers.side(self.view.store.digest, card.run, self.steps, self.peak, self.rule)

    @property
    def seeds(self) -> tuple[list[RunCard], list[RunCard]]:
        """Other seeds of write and read; none where they are too large to be read as well."""
        found = [answers.other_seeds(self.view.store, card) for card in (self.write, self.read)]
        if sum(card.d_sae for cards in found for card in cards) > answers.MOST_FEATURES:
            return [], []
        return found[0], found[1]


def draw(view: shared.Here) -> None:
    """Draw the view."""
    card = view.card
    shared.caption(
        "Reading and writing.",
        "W_E turns a token into a state, W_U a state into a token: two matrices with a row for "
        "each token, and a dictionary of each. Which of them takes a family of tokens up first?",
    )
    if card.kind != "crosscoder" or len(card.steps) < 2:
        refuse(view)
        return
    found = read_write_store.partners(view.store, card)
    if not found:
        say_missing(card)
        return
    both = choose(view, found)
    try:
        sides = both.side(both.write), both.side(both.read)
    except ValueError as error:
        shared.say(f"Not available, because {error}.", "bad")
        return
    if problem := exporting.problem():
        shared.say(problem, "bad")
    families = read_write_families.draw(both, sides)
    read_write_courses.draw(both, sides)
    read_write_courses.draw_matrices(both)
    exporting.take_away(view, python_of(both), {
        "families": families, "courses": lambda: read_write_courses.table(both, sides),
    }, "read_write")


def python_of(both: Both) -> str:
    """Lines that give the leads of the families, and the courses behind them."""
    return (
        "from atlas import read_write, read_write_store as both\n"
        "from atlas.places import store_from_environment\n"
        "from atlas.store import Store\n\n"
        "store = Store.open(store_from_environment())  # or the folder of a store\n"
        f"write = store.run({both.write.run!r})\n"
        f"read = store.run({both.read.run!r})\n"
        "steps = both.shared_steps(write, read)\n"
        "families = both.token_families(store, write)\n"
        f"w, r = (both.side(store, run, steps, families, {both.peak!r}, {both.rule!r})\n"
        "        for run in (write, read))\n"
        "u = read_write.log_time(steps)\n"
        "print(read_write.leads(w.families, r.families, w.everyone, r.everyone, u))\n"
        "print(read_write.lead_of_all(w.everyone, r.everyone, u))\n"
    )


def refuse(view: shared.Here) -> None:
    """Say that a run of one snapshot has no course, and lead to those that have a partner."""
    what = "a prism" if view.card.kind == "prism" else "a dictionary"
    links = [
        f"`{other.run}`" for other in view.store.runs()
        if other.model_name == view.card.model_name and other.problem is None
        and read_write_store.partners(view.store, other)
    ]
    instead = (
        f"Choose one of {', '.join(links[:4])} above." if links else
        "`readout-atlas runs --inventory` lists the crosscoders that can be built."
    )
    shared.say(f"Not available, because {what} of one snapshot has no course through training. "
               f"{instead}")


def say_missing(card: RunCard) -> None:
    """Say which run would be needed and how it is made."""
    other = read_write_store.OTHER[card.matrix]
    released = read_write_store.released_partner(card)
    if released is not None:
        how = f"The likest that was released is made by `readout-atlas build {released.run}`."
    elif "origin" not in card.config:
        how = (
            f"One like this run is trained by `readout-atlas train {card.run} --set "
            f"matrix={other}`, which says what to run next."
        )
    else:
        how = "None was released; it would have to be trained."
    shared.say(
        f"Not available, because this store has no crosscoder of {other} of {card.model} with "
        f"steps of this run. {how}"
    )


def choose(view: shared.Here, found: list[RunCard]) -> Both:
    """Partner and conventions from the address, with the widgets that write them."""
    names = [card.run for card in found]
    partner = read("partner", names, "There is no crosscoder of the other matrix called")
    peak = read("peaks", list(PEAKS), "Peaks are not counted by")
    rule = read("families", list(RULES), "Features are not sorted into families by")
    shared.settle(
        view, "reorganisation", partner=None if partner == names[0] else partner,
        peaks=None if peak == "rate" else peak, families=None if rule == "share" else rule,
    )
    with st.container(horizontal=True, vertical_alignment="bottom", key="read_write_choices"):
        if len(names) > 1:
            st.session_state["read_write_partner"] = partner
            st.selectbox(
                f"beside it, of {found[0].matrix}", names, key="read_write_partner", width=440,
                on_change=shared.writes("partner", "read_write_partner",
                                        lambda run: None if run == names[0] else run),
            )
        for name, words, label in (
            ("peaks", PEAKS, "a feature peaks at its"), ("families", RULES, "families"),
        ):
            key, first = f"read_write_{name}", next(iter(words))
            st.session_state[key] = peak if name == "peaks" else rule
            st.segmented_control(
                label, list(words), format_func=words.get, key=key, required=True,
                on_change=shared.writes(
                    name, key, lambda value, first=first: None if value == first else value
                ),
            )
    other = found[names.index(partner)]
    write, reads = (view.card, other) if view.card.matrix == "W_U" else (other, view.card)
    return Both(view, write, reads, read_write_store.shared_steps(write, reads), peak, rule)


def read(name: str, known: list[str], sorry: str) -> str:
    """A value of the address; the first known one, and a word about it, where it is not known."""
    asked = st.query_params.get(name, known[0])
    if asked in known:
        return asked
    shared.say(
        f"{sorry} “{shared.clip(asked)}”; there are {', '.join(known[:4])}. The first is taken.",
        "bad",
    )
    return known[0]


