"""The histograms over the list: how it is spread, and bars that narrow it."""

import streamlit as st

from atlas import histograms, phrases
from atlas.axes import short_step
from atlas.conditions import OneOf, Range, Where, write_where
from atlas.histograms import Bin, Chart
from atlas.markup import step_name
from atlas.measures import MEASURES
from atlas.spread import Histogram
from atlas.wishes import change_of
from pages import answers
from pages.browse_listing import Listing

NAMES = 6
"""Names of a category that are drawn, the commonest."""
SHORT = {
    "contribution_at": "contribution", "norm_at": "norm", "rate_at": "rate",
    "rotation_at": "rotation", "max_rotation": "largest rotation",
}


def draw(listing: Listing, meanings: dict[str, str]) -> None:
    """All histograms side by side."""
    view = listing.view
    names = tuple(
        listing.birth if name == "birth_floor_step" and listing.several else name
        for name in listing.strips
    )
    found = answers.histograms(view.store.digest, view.run, view.k, listing.wish, names)
    charts = []
    for name, histogram in found.items():
        if name not in MEASURES:
            charts.append(_names(listing, histogram, meanings.get(name, "")))
        elif len(histogram.total):
            births = name == listing.birth
            charts.append(_births(listing, histogram) if births else _range(listing, histogram))
    st.html(histograms.histograms(charts))


def words(listing: Listing, name: str) -> str:
    """The name of a measure over its histogram or column, with the step or steps it is of."""
    measure = MEASURES[name]
    if measure.of_change:
        low, high = change_of(listing.wish, listing.view.card)
        said = measure.words.removeprefix("change of the ")
        return f"{said}, {short_step(low)} → {short_step(high)}"
    said = SHORT.get(name, measure.words)
    if measure.at_step and listing.view.k < len(listing.view.card.steps) - 1:
        return f"{said} at {short_step(listing.view.step)}"
    return said


def _href(listing: Listing, where: Where) -> str:
    return listing.href(where=write_where(where))


def _range(listing: Listing, found: Histogram) -> Chart:
    """Bars over the bins of a measure; a click keeps a bin, the next one widens the range."""
    measure = MEASURES[found.name]
    where = listing.wish.where
    kept = phrases.range_of(where, found.name)
    base = phrases.without(where, kept) if kept else where
    bins = []
    for i, (total, passing) in enumerate(zip(found.total, found.passing, strict=True)):
        own = Range(found.name, *found.ends(i)[:2], below=found.ends(i)[2])
        chosen = kept is not None and phrases.wider(kept, own) == kept
        wanted = base if chosen else phrases.added(base, phrases.wider(kept, own))
        bins.append(Bin(
            phrases.span(measure, own).removeprefix("= "), int(total), int(passing),
            _href(listing, wanted), chosen,
        ))
    edges = found.edges
    ends = [edges[0], edges[len(edges) // 2], edges[-1]] if len(edges) > 2 else [edges[0]]
    return Chart(
        words(listing, found.name), measure.meaning, tuple(bins),
        tuple(phrases.tick(measure, float(v)) for v in ends),
        kept=phrases.span(measure, kept) if kept else "",
        free=_href(listing, base), missing=found.missing,
    )


def _births(listing: Listing, found: Histogram) -> Chart:
    """Births upwards, deaths downwards, one bar per snapshot; a click sets the range of births."""
    view, wish = listing.view, listing.wish
    steps = view.card.steps
    deaths = answers.births(view.store.digest, view.run)["deaths"].fillna(0).astype(int).tolist()
    bins = []
    for i, step in enumerate(steps):
        chosen = wish.birth is not None and wish.birth[0] <= step <= wish.birth[1]
        low, high = wish.birth or (step, step)
        wanted = None if chosen else f"{min(low, step)}-{max(high, step)}"
        bins.append(Bin(
            f"born at step {step_name(step)} ({deaths[i]:,} die)", int(found.total[i]),
            int(found.passing[i]), listing.href(birth=wanted), chosen,
        ))
    ticks = [round(i * (len(steps) - 1) / 6) for i in range(7)]
    kept = ""
    if wish.birth:
        low, high = wish.birth
        kept = short_step(low) if low == high else f"{short_step(low)} to {short_step(high)}"
    return Chart(
        "births by step, deaths below", MEASURES[found.name].meaning, tuple(bins),
        tuple(short_step(steps[i]) for i in dict.fromkeys(ticks)), kept=kept,
        free=listing.href(birth=None), missing=found.missing, below=tuple(deaths), wide=True,
    )


def _names(listing: Listing, found: Histogram, meaning: str) -> Chart:
    """Names with their bars; a click adds or takes away a name."""
    wish = listing.wish
    kept = phrases.values_of(wish.where, found.name)
    base = phrases.without(wish.where, kept) if kept else wish.where
    chosen = list(kept.values) if kept else []
    if found.name == "profile" and wish.profile:
        chosen.append(wish.profile)
    drop = {"profile": None} if found.name == "profile" else {}
    bins = []
    for i, name in enumerate(found.names[:NAMES]):
        others = [v for v in chosen if v != name]
        wanted = others if name in chosen else [*others, name]
        where = phrases.added(base, OneOf(found.name, tuple(wanted))) if wanted else base
        bins.append(Bin(
            name, int(found.total[i]), int(found.passing[i]),
            listing.href(where=write_where(where), **drop), name in chosen,
        ))
    return Chart(
        found.name, meaning, tuple(bins), kept=f"{len(chosen)} kept" if chosen else "",
        free=listing.href(where=write_where(base), **drop), missing=found.missing,
        categories=True,
    )
