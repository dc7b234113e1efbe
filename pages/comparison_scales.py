"""Scales side by side: births, profiles, windows, quality, token families, concepts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd
import streamlit as st

from atlas import comparing, comparison_recipe, markup, scales, scales_figures
from atlas.comparing import Chosen
from atlas.control_words import SURE
from atlas.markup import probability
from atlas.multiples import step_of
from atlas.population import CONVENTIONS, DEFAULT, WHY_DEFAULT
from atlas.read_write_store import partners
from atlas.scales_figures import Look, Side
from pages import answers_comparison as answers
from pages import comparison_concept, comparison_runs, exporting, shared


@dataclass(frozen=True)
class Asked:
    """What the address asks of this view."""

    chosen: Chosen
    axis: str
    convention: str
    scheme: str
    known: tuple[str, ...]
    """Conventions that every run has."""

    @property
    def runs(self) -> tuple[str, ...]:
        """Ids of the runs."""
        return tuple(card.run for card in self.chosen.cards)


def draw(view: shared.Here) -> None:
    """Draw the view."""
    asked = read(view)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        with st.container():
            comparison_runs.draw(view, asked.chosen)
        with st.container(width="content"):
            comparison_runs.draw_axis(asked.axis)
    if problem := exporting.problem():
        shared.say(problem, "bad")
    _say_alone(view, asked)
    for caution in comparing.cautions(asked.chosen.cards, asked.axis):
        shared.say(caution)
    sides = read_sides(view, asked)
    look = Look(asked.axis, view.step, view.palette)
    _draw_births(view, asked, sides, look)
    _draw_courses(view, asked, sides, look)
    _draw_profiles(view, asked, sides)
    _draw_shares(view, asked, sides)
    concept = comparison_concept.draw(view, asked.chosen.cards, sides, look, asked.convention)
    _draw_pairs(view, asked)
    exporting.take_away(
        view,
        comparison_recipe.python_of_scales(
            asked.runs, asked.convention, asked.scheme, *comparison_concept.as_typed()),
        tables(view, asked) | concept, "scales",
    )


def read(view: shared.Here) -> Asked:
    """What the address asks for; what is not valid is replaced and said."""
    chosen = comparison_runs.read(view)
    axis = comparison_runs.read_axis()
    runs = tuple(card.run for card in chosen.cards)
    known = answers.conventions(view.store.digest, runs)
    convention = st.query_params.get("births") or DEFAULT
    if convention not in CONVENTIONS:
        shared.say(f"Births cannot be read by “{shared.clip(convention)}”; there are "
                   f"{', '.join(CONVENTIONS)}.", "bad")
        convention = DEFAULT
    elif convention not in known:
        shared.say(f"“{CONVENTIONS[convention].words}” is not available, because a run has no "
                   "rates in this store; births are read by the norm.", "bad")
        convention = DEFAULT
    scheme = st.query_params.get("labels") or scales.SCHEMES[0]
    if scheme not in scales.SCHEMES:
        shared.say(f"Features have no labels by “{shared.clip(scheme)}”; there are "
                   f"{', '.join(scales.SCHEMES)}.", "bad")
        scheme = scales.SCHEMES[0]
    return Asked(chosen, axis, convention, scheme, tuple(known))


def read_sides(view: shared.Here, asked: Asked) -> list[Side]:
    """Every run as its figures need it; runs that are read for the first time are counted up."""
    names = comparing.names(asked.chosen.cards)
    found = []
    with st.spinner(f"Reading {len(names)} runs", show_time=True):
        for run, name in names.items():
            side = answers.side(view.store.digest, run, asked.convention)
            found.append(replace(side, name=name))
    return found


def _say_alone(view: shared.Here, asked: Asked) -> None:
    if len(asked.chosen.cards) > 1:
        return
    card = asked.chosen.cards[0]
    others = [c for c in view.store.runs() if c.run != card.run and c.problem is None]
    if not others:
        shared.say(f"Nothing stands beside {card.run}, because the store holds no other run; "
                   "`readout-atlas build RUN` adds one.")
        return
    family = comparing.family(card.model)
    if asked.chosen.asked:
        shared.say("One run alone is drawn; choose others to see it beside them.")
    else:
        shared.say(f"{card.run} is alone, because the store has no other size of {family}; other "
                   "runs may be chosen above.")


# --- births and windows ---------------------------------------------------------------------------


def _draw_births(view: shared.Here, asked: Asked, sides: Sequence[Side], look: Look) -> None:
    rule = CONVENTIONS[asked.convention]
    null = (f"{scales.NO_FLOOR_NULL}." if asked.convention == "floor" else
            "Dotted, the null: the same features with their snapshots shuffled, each on its own.")
    shared.caption(
        "Births, and when each run reorganises.",
        f"Left, the share of live features born at a snapshot, where {rule.rule}; heights by the "
        f"square root. {null[0].upper()}{null[1:]} Right, scores of half-decade windows at their "
        "middles over 200 circular shifts of the six metrics (grey, 5 to 95 %); shaded, the window "
        "of the largest z. Only a p among all windows at 0.05 or below says more than chance.",
    )
    st.session_state["scales_births"] = asked.convention
    st.segmented_control(
        "births read by", list(asked.known) or [DEFAULT],
        format_func=lambda name: CONVENTIONS[name].short,
        key="scales_births", required=True, help=WHY_DEFAULT,
        on_change=shared.writes(
            "births", "scales_births", lambda name: None if name == DEFAULT else name),
    )
    exporting.chart(
        view, scales_figures.births_figure(sides, look), "scales_births_figure",
        f"Births by step and scores of windows of {_listed(sides)}, each with its null",
        table=lambda: scales.births_table(view.store, list(asked.chosen.cards), asked.convention),
        note=f"{_hashes(sides)} · {rule.words}",
    )
    if shared.as_tables():
        shared.chart({}, "scales_windows", f"Windows of {_listed(sides)} with their null",
                     scales.windows_table(view.store, list(asked.chosen.cards)))
    if lines := _leads(view, asked, sides):
        body = "<br>".join(markup.escape(line) for line in lines)
        st.html(markup.wrap(f'<div class="atl-note">{body}</div>'))


def _leads(view: shared.Here, asked: Asked, sides: Sequence[Side]) -> list[str]:
    """Whether features of the later runs are born later than those of the first, in sentences."""
    named = {side.card.run: side.name for side in sides}
    first = next((side.name for side in sides if side.births is not None), "")
    told, untold = [], []
    for run, lead, p in answers.leads(view.store.digest, asked.runs, asked.convention):
        if lead is None:
            untold.append(named[run])
            continue
        later = -float(lead.difference[0])
        low, high = -float(lead.null_high[0]), -float(lead.null_low[0])
        medians = (f"median births {step_of(float(lead.read[0]))} and "
                   f"{step_of(float(lead.write[0]))}")
        said = (f"born {abs(later):.2f} decades {'later' if later > 0 else 'earlier'}"
                if p <= SURE and later else "born no further apart than chance puts them")
        told.append(f"{named[run]} against {first}: {said} ({medians}; null, features dealt out "
                    f"among the two: {markup.signed(low)} to {markup.signed(high)}; "
                    f"{probability(p)}{', corrected' if len(sides) > 2 else ''}).")
    if untold:
        told.append(f"Whether features of {', '.join(untold)} are born later than those of {first} "
                    "is not said, because their snapshots differ.")
    return told


def _draw_courses(
    view: shared.Here, asked: Asked, sides: Sequence[Side], look: Look
) -> None:
    prisms = [side.name for side in sides if side.card.kind == "prism"]
    more = (f" {', '.join(prisms)}: EV and L0 are not drawn, because a prism explains unit rows "
            "and its L0 is set." if prisms else "")
    shared.caption(
        "The runs over each other.",
        "What is born by then; EV and L0 as measured here at every snapshot (§6.3). EV has no null "
        "to stand above: 0 is the mean row. It is read beside L0, since more features explain "
        f"more.{more}",
    )
    exporting.chart(
        view, scales_figures.courses_figure(sides, look), "scales_courses",
        f"Features born by then, EV and L0 by step of {_listed(sides)}",
        table=lambda: scales.births_table(view.store, list(asked.chosen.cards), asked.convention),
        note=_hashes(sides),
    )


# --- profiles and labels --------------------------------------------------------------------------


def _draw_profiles(view: shared.Here, asked: Asked, sides: Sequence[Side]) -> None:
    if not any(side.profiles for side in sides):
        return
    shared.caption(
        "Profiles.",
        "Share of live features, with the 90 % interval over 400 draws of features; upright ticks, "
        "the null: the same features with their snapshots shuffled. A profile is read over a "
        "run’s own schedule (§8.2). Features share rows, so an interval over them is narrower "
        "than one over seeds.",
    )
    exporting.chart(
        view, scales_figures.profiles_figure(sides, view.palette), "scales_profiles",
        f"Profiles of {_listed(sides)} with intervals and the shuffled null",
        table=lambda: scales.profiles_table(view.store, list(asked.chosen.cards)),
        note=_hashes(sides),
    )


def _draw_shares(view: shared.Here, asked: Asked, sides: Sequence[Side]) -> None:
    shared.caption(
        "What features are of.",
        "Share of live features whose strongest firing tokens share a label with p ≤ 0.05 after "
        "correction, so that chance labels one in twenty at most; upright ticks, the label’s share "
        "of the vocabulary. Families overlap; a feature has the one it shares most surely.",
    )
    reason = answers.other_vocabularies(view.store.digest, asked.runs)
    if reason:
        shared.say(f"Shares per label are not compared, because {reason}.")
        return
    st.session_state["scales_labels"] = asked.scheme
    st.segmented_control(
        "labels by", scales.SCHEMES, key="scales_labels", required=True,
        format_func={"family": "token family (§13.2)", "script": "script (§13.1)"}.get,
        label_visibility="collapsed",
        on_change=shared.writes("labels", "scales_labels",
                                lambda name: None if name == scales.SCHEMES[0] else name),
    )
    found = [
        (side.name, answers.shares(view.store.digest, side.card.run, asked.scheme))
        for side in sides
    ]
    figure = scales_figures.shares_figure(found, view.palette)
    if not figure:
        shared.say("Not available, because no live feature of these runs has such a label.")
        return
    exporting.chart(
        view, figure, "scales_shares",
        f"Share of live features per {asked.scheme} of {_listed(sides)} beside the vocabulary",
        table=lambda: scales.shares_table(view.store, list(asked.chosen.cards), asked.scheme),
        note=_hashes(sides),
    )


# --- around them ----------------------------------------------------------------------------------


def _draw_pairs(view: shared.Here, asked: Asked) -> None:
    """Where reading and writing of the same model are set against each other."""
    links = []
    models = {card.model: card for card in reversed(asked.chosen.cards)}
    for card in reversed(models.values()):
        for other in partners(view.store, card)[:1]:
            pair = ",".join((card.run, other.run))
            links += [
                markup.link(f"{card.model}: {card.matrix} beside {other.matrix} here",
                            shared.href("comparison", view, view="scales", runs=pair)),
                markup.link("its families, reading against writing",
                            shared.href("reorganisation", view, run=card.run, view="words",
                                        step=card.steps[-1], partner=other.run)),
            ]
    if links:
        shared.caption("W_E and W_U.", "The pair of dictionaries of one model’s two matrices.")
        st.html(markup.wrap(" · ".join(links)))


def _listed(sides: Sequence[Side]) -> str:
    return ", ".join(side.name for side in sides)


def _hashes(sides: Sequence[Side]) -> str:
    """The other runs of a figure with the hashes of their data."""
    return " · ".join(f"{s.card.run} {s.card.hash[: shared.HASH]}" for s in sides)


def tables(view: shared.Here, asked: Asked) -> dict:
    """The numbers behind every figure."""
    cards = list(asked.chosen.cards)
    found: dict = {
        "births and quality": partial(scales.births_table, view.store, cards, asked.convention),
        "windows": partial(scales.windows_table, view.store, cards),
        "profiles": partial(scales.profiles_table, view.store, cards),
        "labels": partial(scales.shares_table, view.store, cards, asked.scheme),
    }
    return {name: partial(stamped, view, cards, made) for name, made in found.items()}


def stamped(view: shared.Here, cards: Sequence[comparing.RunCard], made: partial) -> pd.DataFrame:
    """A table with the hash of each run’s data, so that a file on its own still says it."""
    frame = made().copy()
    hashes = {card.run: card.hash[: shared.HASH] for card in cards}
    frame["hash"] = [hashes.get(run, "") for run in frame["run"]] if "run" in frame else ""
    return frame
