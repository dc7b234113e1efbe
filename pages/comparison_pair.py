"""Two features of two runs side by side: what says that they are the same, and since when."""

from dataclasses import dataclass

import streamlit as st

from atlas import comparing, markup, paired, paired_markup
from atlas.matches import WAYS
from atlas.paired import Beside, Evidence, Pair
from atlas.records import RunCard
from pages import (
    answers_pair,
    bar,
    comparison_pair_cards,
    comparison_runs,
    exporting,
    shared,
)


@dataclass(frozen=True)
class Asked:
    """What the address asks of this view, mended where it is not valid."""

    other: Beside
    card: RunCard
    """The other run."""
    way: str | None
    """One of the ways the two were matched in; None where in none."""
    feature: int
    there: int | None
    """The feature there; None where none was asked for and there is no partner."""
    best: int | None
    """The best partner by the way; None without one."""
    axis: str

    def names(self, view: shared.Here) -> tuple[str, str]:
        """Both features by number and run, short."""
        short = comparing.names([view.card, self.card])
        there = "nothing" if self.there is None else f"#{self.there:,}"
        return (f"#{self.feature:,} {short[view.run]}", f"{there} {short[self.card.run]}")


def draw(view: shared.Here) -> None:
    """Draw the view."""
    asked = read(view)
    if asked is None:
        return
    shared.settle(view, "comparison", view="pair", feature=asked.feature, other=asked.card.run)
    _draw_choices(view, asked)
    if problem := exporting.problem():
        shared.say(problem, "bad")
    pair = None if asked.there is None else Pair(
        view.run, asked.feature, asked.card.run, asked.there)
    left, right = st.columns([1.7, 1], gap="large")
    with left:
        found = _draw_evidence(view, asked, pair)
    with right:
        _draw_candidates(view, asked)
    comparison_pair_cards.draw(view, asked.card, asked.feature, pair, found, asked.axis,
                               asked.names(view))


# --- what is asked for ----------------------------------------------------------------------------


def read(view: shared.Here) -> Asked | None:
    """What the address asks for; None where nothing can be set beside the run, which is said."""
    known = answers_pair.beside(view.store.digest, view.run)
    other = _read_other(view, known)
    if other is None:
        shared.caption("Two features side by side.")
        if not known:
            shared.say("Not available, because this store holds no other run that can be read. "
                       "`readout-atlas build RUN` adds one.")
        else:
            shared.say(
                "Not available, because this run was matched with none. "
                f"`readout-atlas match {view.run} OTHER` matches it with another run over the same "
                "vocabulary; any other may be set beside it without that.")
            _draw_other(view, known, None)
        return None
    way = _read_way(view, other)
    card = view.store.run(other.run)
    feature = _read_number("feature", view.card)
    if feature is None:
        feature = answers_pair.first_feature(view.store.digest, view.run, other.run, way)
    match = answers_pair.between(view.store.digest, view.run, feature, other.run).get(way)
    best = None if match is None else match.partner
    there = _read_number("there", card)
    return Asked(other, card, way, feature, best if there is None else there, best,
                 comparison_runs.read_axis())


def _read_other(view: shared.Here, known: tuple[Beside, ...]) -> Beside | None:
    """The other run: the one asked for, or the first that was matched by the way asked for."""
    asked = st.query_params.get("other")
    way = st.query_params.get("way")
    matched = [one for one in known if one.ways]
    first = next((one for one in matched if way in one.ways), next(iter(matched), None))
    if asked is None:
        return first
    found = next((one for one in known if one.run == asked), None)
    if found is not None:
        return found
    instead = "" if first is None else f" {first.run} is shown."
    broken = next((card for card in view.store.runs() if card.run == asked), None)
    if asked == view.run:
        shared.say(f"A run beside itself shows nothing: its features are their own "
                   f"partners.{instead}", "bad")
    elif broken is not None:
        shared.say(f"{asked} cannot be shown: {broken.problem}.{instead}", "bad")
    else:
        shared.say(f"There is no run “{shared.clip(asked)}” in this store.{instead}", "bad")
    return first


def _read_way(view: shared.Here, other: Beside) -> str | None:
    asked = st.query_params.get("way")
    first = next(iter(other.ways), None)
    if asked is None or asked in other.ways:
        return asked or first
    if asked not in WAYS:
        shared.say(f"“{shared.clip(asked)}” is no way to match runs; there are "
                   f"{', '.join(WAYS)}.", "bad")
    elif first is not None:
        shared.say(f"{other.run} was not matched with this run by {WAYS[asked]}; it was by "
                   f"{', '.join(WAYS[way] for way in other.ways)}.")
    return first


def _read_number(name: str, card: RunCard) -> int | None:
    """A feature of the address; None where there is none or it is not valid, which is said."""
    asked = st.query_params.get(name)
    if asked is None:
        return None
    number = shared.whole(asked)
    if number is not None and 0 <= number < card.d_sae:
        return number
    shared.say(f"“{shared.clip(asked)}” is no feature of {card.run}, which has the features 0 to "
               f"{card.d_sae - 1:,}. Another one is shown.", "bad")
    return None


# --- choices --------------------------------------------------------------------------------------


def _draw_choices(view: shared.Here, asked: Asked) -> None:
    known = answers_pair.beside(view.store.digest, view.run)
    st.session_state["pair_feature"] = asked.feature
    st.session_state["pair_there"] = asked.there
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.number_input(
            "feature of this run", 0, view.card.d_sae - 1, key="pair_feature", step=1, width=150,
            on_change=lambda: shared.address(feature=st.session_state["pair_feature"], there=None),
        )
        _draw_other(view, known, asked.other)
        st.number_input(
            "feature there", 0, asked.card.d_sae - 1, key="pair_there", step=1, width=150,
            placeholder="no partner", on_change=shared.writes("there", "pair_there"),
            help="Its best partner unless another is chosen; emptied, the best partner again.",
        )
        st.button("Swap sides", key="pair_swap", on_click=_swap, args=(view, asked),
                  disabled=asked.there is None,
                  help="The same two, seen from the other run: it becomes the run of the view.")
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        if asked.way is not None:
            st.session_state["pair_way"] = asked.way
            usual = asked.other.ways[0]
            st.segmented_control(
                "partners by", asked.other.ways, format_func=WAYS.get, key="pair_way",
                required=True, on_change=shared.writes(
                    "way", "pair_way", lambda way: None if way == usual else way),
            )
        comparison_runs.draw_axis(asked.axis)


def _draw_other(view: shared.Here, known: tuple[Beside, ...], chosen: Beside | None) -> None:
    names = {
        one.run: bar.run_name(view.store.run(one.run)) + ("" if one.ways else " · not matched")
        for one in known
    }
    st.session_state["pair_other"] = None if chosen is None else chosen.run
    st.selectbox(
        "other run", list(names), format_func=names.get, key="pair_other", width=440,
        placeholder="choose a run", index=None,
        on_change=lambda: shared.address(other=st.session_state["pair_other"], there=None),
    )


def _swap(view: shared.Here, asked: Asked) -> None:
    """Show the same two from the other side."""
    steps = asked.card.steps
    shared.address(
        run=asked.card.run, feature=asked.there, other=view.run, there=asked.feature, hash=None,
        step=view.step if view.step in steps else steps[-1],
    )


# --- evidence -------------------------------------------------------------------------------------


def _draw_evidence(
    view: shared.Here, asked: Asked, pair: Pair | None
) -> tuple[Evidence, ...]:
    """What every way says of the two; nothing where there is no second one."""
    if pair is None:
        shared.caption("Are they the same feature?")
        shared.say(f"Not available, because {_why_no_partner(view, asked)}.")
        return ()
    found = answers_pair.evidence(view.store.digest, pair)
    names = asked.names(view)
    matched = [one for one in found if not one.why]
    both = sum(paired.mutual(one, pair) for one in matched)
    beyond = sum(paired.returned(one, pair) for one in matched)
    shared.caption(
        "Are they the same feature?",
        f"{names[0]} and {names[1]}, way by way, each beside its null. "
        + (f"Each is the other’s best in {both} of {len(matched)} ways, in {beyond} beyond 99 % of "
           "the null." if matched else ""),
    )

    def partner(there: int) -> str:
        return _href(view, asked, there=there)

    def partner_back(feature: int) -> str:
        return _href(view, asked, feature=feature, there=pair.there)

    st.html(paired_markup.evidence_table(
        found, pair, names, asked.way or "", (partner, partner_back)))
    return found


def _why_no_partner(view: shared.Here, asked: Asked) -> str:
    if not asked.other.ways:
        one = view.card
        reason = paired.why_not(view.store, "tokens", one, asked.card)
        return reason or (
            f"the two runs were not matched; `readout-atlas match {view.run} {asked.card.run}` "
            "does it. Any feature there may be chosen by its number")
    return (f"feature {asked.feature:,} never fires or has no direction, so that it has no partner "
            f"by {WAYS[asked.way]}. Any feature there may be chosen by its number")


def _href(view: shared.Here, asked: Asked, **changes: object) -> str:
    """This view with other features, everything else of it kept."""
    now = st.query_params.to_dict()
    kept = {name: now[name] for name in ("way", "axis", "figures") if name in now}
    return shared.href("comparison", view, view="pair", **kept, **{
        "feature": asked.feature, "other": asked.card.run, **changes})


def _draw_candidates(view: shared.Here, asked: Asked) -> None:
    """Whom else to set beside it."""
    if asked.way is None:
        return
    found = answers_pair.candidates(
        view.store.digest, view.run, asked.feature, asked.card.run, asked.way)
    if not found:
        return
    there = comparing.names([view.card, asked.card])[asked.card.run]
    shared.caption("Whom to set beside it.",
                   f"Partners of #{asked.feature:,} in {there}, each beside its null.")
    if asked.best is not None and asked.there != asked.best:
        st.html(markup.wrap(
            f'<div class="atl-note">#{asked.there:,} is not its best partner by '
            f"{markup.escape(WAYS[asked.way])}: that is "
            f"{markup.link(f'#{asked.best:,}', _href(view, asked))}.</div>"))
    st.html(paired_markup.candidates_table(
        found, asked.there, lambda there: _href(
            view, asked, **({} if there == asked.best else {"there": there}))))
