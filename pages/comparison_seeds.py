"""Which features come back in other seeds and runs, which kinds do, and how seeds differ."""

from collections.abc import Sequence
from functools import partial

import streamlit as st

from atlas import comparing, markup, seed_figures, seed_strata, seeds, seeds_recipe
from atlas.control_words import SURE
from atlas.markup import number, probability, share
from atlas.matches import NULLS, SCORES, WAYS
from atlas.population import CONVENTIONS
from atlas.seed_strata import STRATA
from atlas.seeds import Distribution, Others
from atlas.stability import BY_CHANCE
from pages import answers_seeds as answers
from pages import comparison_seeds_lists as lists
from pages import comparison_seeds_population as population
from pages import exporting, shared

PANELS = 8
"""Runs whose scores are drawn."""
NAMED = 3
"""Runs up to which the first sentence names each."""


def draw(view: shared.Here) -> None:
    """Draw the view."""
    ways = answers.ways(view.store.digest, view.run)
    if problem := exporting.problem():
        shared.say(problem, "bad")
    if not ways:
        shared.caption("Which features come back?")
        shared.say(
            "Not available, because this run was matched with none. "
            f"`readout-atlas match {view.run} OTHER` matches it with another run over the same "
            "vocabulary."
        )
        population.draw(view, population.read(view))
        lists.draw_not_matched(view, "tokens")
        return
    way, by, convention = _read_way(ways), _read_strata(), population.read(view)
    _draw_choice(ways, way)
    others = answers.others(view.store.digest, view.run, way)
    found = answers.distributions(view.store.digest, view.run, way)
    names = names_of(view, [one.pair.other for one in found], others)
    if not found:
        shared.say("Not available, because no feature of this run has a partner: none of it fires, "
                   "or none of the other run does. Matches are between features that fire.")
    else:
        _draw_lead(view, way, found, others, names)
        _draw_distributions(view, way, found, names)
        _draw_strata(view, way, by, convention)
        lists.draw(view, way, others, names)
    population.draw(view, convention)
    lists.draw_not_matched(view, way)
    _draw_take_away(view, way, by, convention)


def names_of(view: shared.Here, runs: Sequence[str], others: Others) -> dict[str, str]:
    """What the other runs are called: a seed by its number, another run by what is unusual."""
    cards = {card.run: card for card in view.store.runs()}
    same = set(others.runs) if others.are_seeds else set()
    known = [cards[run] for run in runs if run in cards]
    names = comparing.names([card for card in known if card.run not in same])
    return {run: run for run in runs} | names | {
        card.run: f"seed {card.seed}" for card in known if card.run in same}


# --- what the address asks for --------------------------------------------------------------------


def _read_way(ways: tuple[str, ...]) -> str:
    asked = st.query_params.get("way")
    if asked in (None, *ways):
        return asked or ways[0]
    known = "was not used" if asked in WAYS else "is no way"
    shared.say(f"“{shared.clip(asked)}” {known} to match this run; there are {', '.join(ways)}.",
               "bad")
    return ways[0]


def _read_strata() -> str:
    first = next(iter(STRATA))
    asked = st.query_params.get("strata") or first
    if asked in STRATA:
        return asked
    shared.say(f"Features are not divided by “{shared.clip(asked)}”; there are "
               f"{', '.join(STRATA)}.", "bad")
    return first


def _draw_choice(ways: tuple[str, ...], way: str) -> None:
    st.session_state["seeds_way"] = way
    st.segmented_control(
        "matched by", ways, format_func=WAYS.get, key="seeds_way", required=True,
        on_change=shared.writes("way", "seeds_way", lambda v: None if v == ways[0] else v),
    )


# --- what comes back ------------------------------------------------------------------------------


def _draw_lead(
    view: shared.Here, way: str, found: Sequence[Distribution], others: Others,
    names: dict[str, str],
) -> None:
    """The result in a sentence, and what stands beside it."""
    pairs = [one.pair for one in found if one.pair.other in others.runs]
    whole = answers.whole(view.store.digest, view.run, way)
    kind = "other seed" if others.are_seeds else "other run"
    if len(pairs) <= NAMED:
        told = [f"{pair.n_returned:,} {f'of {pair.n_features:,} live features ' * (not i)}"
                f"({share(pair.n_returned / pair.n_features, 0)}) "
                f"{'return ' * (not i)}in {names[pair.other]}" for i, pair in enumerate(pairs)]
        first = markup_and(told)
    else:
        least, most = (f(pairs, key=lambda p: p.n_returned / p.n_features) for f in (min, max))
        ends = dict.fromkeys(share(p.n_returned / p.n_features, 0) for p in (least, most))
        first = (f"{' to '.join(ends)} of {whole.count:,} live features return in each of "
                 f"{len(pairs)} {kind}s")
    more = max(pair.n_returned / pair.n_features for pair in pairs) > BY_CHANCE
    lead = (f"{first} by {WAYS[way]}; chance gives {share(BY_CHANCE, 0)} at most."
            if more else f"{first} by {WAYS[way]}, no more than chance gives.")
    rest = []
    if not others.are_seeds:
        where = f"all {len(pairs)} runs that were" if len(pairs) > 1 else "the one run that was"
        rest.append("No other seed of this run was matched in this way, so it is looked for in "
                    f"{where}.")
    if len(pairs) > 1:
        rest.append(f"{whole.once:,} ({share(whole.once / whole.count, 0)}) return in one of them "
                    f"or more, where chance gives {share(whole.chance, 0)} at most, and "
                    f"{whole.everywhere:,} ({share(whole.everywhere / whole.count, 0)}) in "
                    f"{'both' if len(pairs) == 2 else f'all {len(pairs)}'}, chance "
                    f"{share(BY_CHANCE, 0)} at most.")
    rest.append(f"The median feature’s best {SCORES[way]} is {number(whole.score, 2)}; "
                f"by chance, {NULLS[way]}, {number(whole.null, 2)}.")
    st.html(markup.wrap(
        '<div style="font:400 22px/1.3 var(--atl-serif);max-width:54em;text-wrap:balance;'
        'margin:6px 0 4px">'
        f"{markup.escape(lead)}</div>{markup.caption('', ' '.join(rest))}"))


def markup_and(told: Sequence[str]) -> str:
    """Parts of a sentence with commas, and "and" before the last."""
    return told[0] if len(told) == 1 else f"{', '.join(told[:-1])} and {told[-1]}"


def _draw_distributions(
    view: shared.Here, way: str, found: Sequence[Distribution], names: dict[str, str]
) -> None:
    drawn = found[:PANELS]
    left_out = ("" if len(drawn) == len(found) else
                f" Of {len(found)} runs the first {len(drawn)} are drawn; the table has all.")
    shared.caption(
        "How well features are found again.",
        f"Best match of every feature in each other run by {WAYS[way]}, best first; grey is what "
        f"chance gives, {NULLS[way]}. A feature returns where each is the other’s best and is "
        f"beyond 99 % of its null; dotted, the share that does.{left_out}",
    )
    exporting.chart(
        view,
        seed_figures.distributions_figure(
            drawn, [names[one.pair.other] for one in drawn], way, view.palette),
        "seeds_scores", f"best matches of the features of {view.run} in other runs, and by chance",
        partial(seeds.distributions_frame, drawn),
    )


def _draw_strata(view: shared.Here, way: str, by: str, convention: str) -> None:
    found = answers.strata(view.store.digest, view.run, way, by, convention)
    births = f", read by {CONVENTIONS[convention].short}" if by == "birth" else ""
    shared.caption(
        f"Who returns, by {STRATA[by]}{births}.",
        "Left, the share that returns, with its 95 % interval (Wilson); middle, the best score, "
        "median and quartiles, over that of the null, which is of all features together; right, "
        "how much of the null of features of like chances stays below that score. "
        "Grey and dotted, what chance gives; features are those that fire.",
    )
    st.session_state["seeds_strata"] = by
    st.segmented_control(
        "divided by", list(STRATA), format_func=STRATA.get, key="seeds_strata", required=True,
        label_visibility="collapsed",
        on_change=shared.writes("strata", "seeds_strata",
                                lambda v: None if v == next(iter(STRATA)) else v),
    )
    if not found.rows:
        shared.say(f"Not available, because {found.reason or 'no feature is of any kind'}.")
        return
    exporting.chart(
        view, seed_figures.strata_figure(found, way, view.palette), "seeds_strata_figure",
        f"share of the features of {view.run} that return, their scores and percentiles, by "
        f"{STRATA[by]}, each with chance",
        lambda: seed_strata.strata_frame(found), note=f"{WAYS[way]}{births}",
    )
    st.html(markup.wrap(markup.note(strata_said(found))))


def strata_said(found: seed_strata.Strata) -> str:
    """Which kind returns most and which least, in a sentence."""
    if len(found.rows) < 2:
        return f"All that fire are of one kind, {found.rows[0].name}."
    if not any(one.once for one in found.rows):
        return "Of no kind does any feature return."
    most = max(found.rows, key=lambda one: (one.low, one.share))
    least = min((one for one in found.rows if one is not most),
                key=lambda one: (one.high, one.share))
    apart = [f"{one.name}: {one.once:,} of {one.count:,}, {share(one.share, 0)} (95 % interval "
             f"{share(one.low, 0)} to {share(one.high, 0)})" for one in (most, least)]
    sure = ("kinds return unlike each other" if found.p <= SURE else
            "no kind is known to return more than another")
    outside = (f" {found.outside:,} live features are of no kind and left out."
               if found.outside else "")
    return (f"Surest to return are those of {apart[0]}; least so those of {apart[1]}. With the "
            f"returns dealt out among all kinds they differ as much with {probability(found.p)}: "
            f"{sure}.{outside}")


# --- to take away ---------------------------------------------------------------------------------


def _draw_take_away(view: shared.Here, way: str, by: str, convention: str) -> None:
    digest, run = view.store.digest, view.run
    exporting.take_away(
        view, seeds_recipe.python_of(run, way, by, convention),
        {
            "runs": partial(answers.pairs, digest, run),
            "strata": lambda: seed_strata.strata_frame(
                answers.strata(digest, run, way, by, convention)),
            "groups": partial(lists.groups_table, view, way),
            "splits and merges": partial(lists.splits_table, view, way),
            "seeds": partial(population.table, view, convention),
        }, "seeds",
    )
