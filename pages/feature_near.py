"""What a feature is like: its neighbours at the chosen step, its counterparts in other runs."""

from urllib.parse import urlencode

import streamlit as st

from atlas import markup, strips
from atlas.chance import chance_cosine
from atlas.matches import NULLS, SCORES, WAYS, MatchInfo
from atlas.records import FeatureCard, NeighbourList, RunCard
from pages import answers, shared

ROWS = 10


def draw_neighbours(view: shared.Here, card: FeatureCard) -> str:
    """Features with a similar direction; a click opens one. The reason if it is not the step's."""
    last = view.k == len(card.steps) - 1
    near = card.neighbours
    reason = ""
    if not last:
        now = answers.neighbours_at(view.store.digest, view.run, card.info.feature, view.k)
        if len(now.features):
            near = now
        elif len(card.promoted[view.k].tokens):
            reason = answers.not_derived(view.run)
    when = f"at {view.when}" if not reason else "of the last directions"
    chance = chance_cosine(max(1, view.card.d_sae - 1), view.card.d_model)
    shared.caption(
        "Neighbours",
        f"{when}, by cosine. The nearest of a random direction would be at {chance:.2f}.",
        tail="Those of this step are not available: the store was built without them."
        if reason else "",
    )
    if not len(near.features) or (not last and not len(card.promoted[view.k].tokens)):
        shared.say("Not available, because its direction has no length there, so it has no angle.")
        return reason
    draw_list(near)
    return reason


def draw_list(near: NeighbourList) -> None:
    """The neighbours, each a link that leaves all else of the view as it is."""
    now = st.query_params.to_dict()
    rows = zip(near.features[:ROWS].tolist(), near.cosines.tolist(), near.labels, strict=False)
    st.html(strips.neighbours([
        strips.Near(feature, cosine, label,
                    f"feature?{urlencode(now | {'feature': feature}, errors='replace')}")
        for feature, cosine, label in rows
    ]))


def draw_matches(view: shared.Here, card: FeatureCard) -> str:
    """Its counterparts in other runs; the reason if there are none."""
    shared.caption(
        "In other runs:",
        "the feature that is most alike, by its directions where the runs share a space, else by "
        "its firing tokens, beside what chance alone has to offer.",
    )
    found = answers.matches(view.store.digest, view.run, card.info.feature)
    if not found:
        reason = (
            "no other run of this store has been matched with it; `readout-atlas match RUN RUN` "
            "does it" if not answers.matched_runs(view.store.digest, view.run)
            else "this feature is dead or its direction has no length"
        )
        shared.say(f"Not available, because {reason}.")
        return reason
    cards = {run.run: run for run in view.store.runs()}
    first: dict[str, MatchInfo] = {}
    for match in sorted(found, key=lambda match: tuple(WAYS).index(match.way)):
        first.setdefault(match.other, match)
    both = markup.link("Two side by side", shared.href(
        "comparison", view, view="pair", feature=card.info.feature))
    st.html(strips.counterparts([
        _counterpart(view, first[other], cards)
        for other in sorted(first, key=lambda other: (not _seed_of(view, other), other))
    ], both))
    return ""


def _counterpart(
    view: shared.Here, match: MatchInfo, cards: dict[str, RunCard]
) -> strips.Counterpart:
    """A match as it is listed, with the way to the partner at the same step."""
    other = cards.get(match.other)
    steps = other.steps if other is not None else (view.step,)
    href = shared.href(
        "feature", view, run=match.other, feature=match.partner,
        step=view.step if view.step in steps else steps[-1],
    )
    return strips.Counterpart(
        f"seed {other.seed}" if other is not None and _seed_of(view, match.other)
        else match.other, match.partner, match.label,
        match.score, match.margin, match.percentile, match.reciprocal, href, match.other,
        SCORES[match.way], NULLS[match.way],
    )


def _seed_of(view: shared.Here, other: str) -> bool:
    """Whether a run differs in its seed only."""
    return other.rpartition("/")[0] == view.run.rpartition("/")[0]
