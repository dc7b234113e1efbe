"""Which features come back in other seeds and runs, and which every seed has."""

import pandas as pd
import streamlit as st

from atlas import comparing, markup, seed_figures, seeds_recipe
from atlas.matches import NULLS, WAYS
from atlas.stability import SeedGroup
from pages import answers_seeds as answers
from pages import exporting, shared

GROUPS = 24
"""Groups that are listed."""
ALONE = 12
"""Features of this run alone that are listed."""


def draw(view: shared.Here) -> None:
    """Draw the view."""
    ways = answers.ways(view.store.digest, view.run)
    if not ways:
        shared.caption("Which features come back?")
        shared.say(
            "Not available, because this run was matched with none. "
            f"`readout-atlas match {view.run} OTHER` matches it with another run over the same "
            "vocabulary."
        )
        return
    way = _read_way(ways)
    _draw_choice(ways, way)
    if problem := exporting.problem():
        shared.say(problem, "bad")
    _draw_distributions(view, way)
    left, right = st.columns([1, 1.25], gap="large")
    with left:
        _draw_profiles(view, way)
        _draw_alone(view, way)
    with right:
        _draw_groups(view, way)
    exporting.take_away(
        view, seeds_recipe.python_of(view.run, way),
        {"runs": lambda: answers.pairs(view.store.digest, view.run),
         "groups": lambda: _groups_table(view, way)}, "seeds",
    )


def _read_way(ways: tuple[str, ...]) -> str:
    asked = st.query_params.get("way")
    if asked in (None, *ways):
        return asked or ways[0]
    known = "was not used" if asked in WAYS else "is no way"
    shared.say(f"“{shared.clip(asked)}” {known} to match this run; there are {', '.join(ways)}.",
               "bad")
    return ways[0]


def _draw_choice(ways: tuple[str, ...], way: str) -> None:
    st.session_state["seeds_way"] = way
    st.segmented_control(
        "matched by", ways, format_func=WAYS.get, key="seeds_way", required=True,
        on_change=shared.writes("way", "seeds_way", lambda v: None if v == ways[0] else v),
    )


def _draw_distributions(view: shared.Here, way: str) -> None:
    found = answers.distributions(view.store.digest, view.run, way)
    shared.caption(
        "How well features are found again.",
        f"Best match of every feature in each other run by {WAYS[way]}, best first; grey is what "
        f"chance gives, {NULLS[way]}. A feature returns where each is the other’s best and is "
        "beyond 99 % of its null; dotted, the share that does.",
    )
    if not found:
        shared.say("Not available, because no feature has a partner.")
        return
    cards = {card.run: card for card in view.store.runs()}
    known = [cards[one.pair.other] for one in found if one.pair.other in cards]
    names = comparing.names(known)
    exporting.chart(
        view,
        seed_figures.distributions_figure(
            found, [names.get(one.pair.other, one.pair.other) for one in found], way,
            view.palette),
        "seeds_scores", f"best matches of the features of {view.run} in other runs, and by chance",
    )


def _draw_profiles(view: shared.Here, way: str) -> None:
    found = answers.by_profile(view.store.digest, view.run, way)
    shared.caption(
        "Who returns, by profile.",
        "Share that returns in one other seed or more; the tick is what chance gives at most.",
    )
    if not found:
        shared.say("Not available, because no other seed of this run was matched in this way.")
        return
    exporting.chart(
        view, seed_figures.profiles_figure(found, view.palette), "seeds_profiles",
        f"share of the features of {view.run} that return in another seed, by profile",
        lambda: pd.DataFrame([
            {"profile": one.profile, "features": one.count, "in one or more": one.once,
             "in all": one.everywhere, "by chance": one.chance} for one in found]),
    )


def _draw_alone(view: shared.Here, way: str) -> None:
    count, strongest = answers.only_here(view.store.digest, view.run, way, ALONE)
    if not count:
        return
    shared.caption("Only in this seed.",
                   f"{count:,} features return in no other one; the strongest:")
    texts = answers.labels(view.store.digest, view.run, strongest)
    st.html(markup.wrap("<p>" + " &ensp; ".join(
        markup.link(f"#{feature} {shared.clip(text, 26)}",
                    shared.href("feature", view, feature=feature))
        for feature, text in zip(strongest, texts, strict=True)) + "</p>"))


def _draw_groups(view: shared.Here, way: str) -> None:
    count, groups = answers.shared_by_all(view.store.digest, view.run, way, GROUPS)
    shared.caption(
        "What every seed has.",
        f"{count:,} groups with one feature of each seed, where pairs found each other beyond "
        f"their null{'; the surest' if count > len(groups) else ''}. A number opens its feature.",
    )
    if not groups:
        shared.say("Not available, because no group holds a feature of every seed.")
        return
    rows = "".join(_group_row(view, group) for group in groups)
    st.html(markup.wrap(
        '<table class="atl-table"><tr><th>features</th><th>strongest firing tokens here</th>'
        f'<th class="num">score</th></tr>{rows}</table>'))


def _group_row(view: shared.Here, group: SeedGroup) -> str:
    links = " · ".join(
        markup.link(f"#{feature}", shared.href("feature", view, run=run, feature=feature), run)
        for run, feature in group.members
    )
    own = next((f for run, f in group.members if run == view.run), group.members[0][1])
    run = view.run if (view.run, own) in group.members else group.members[0][0]
    (text,) = answers.labels(view.store.digest, run, (own,))
    return (f'<tr><td class="num">{links}</td><td>{markup.coded(shared.clip(text, 46))}</td>'
            f'<td class="num">{markup.number(group.score, 2)}</td></tr>')


def _groups_table(view: shared.Here, way: str) -> pd.DataFrame:
    _, groups = answers.shared_by_all(view.store.digest, view.run, way, 10**6)
    return pd.DataFrame([
        {"group": group.number, "run": run, "feature": feature, "score": group.score,
         "pairs": group.pairs, "seeds": group.seeds}
        for group in groups for run, feature in group.members
    ])
