"""The seeds of a dictionary as populations: births, profiles and windows, each with intervals."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import streamlit as st

from atlas import markup, scales, seed_population, seed_population_figures
from atlas.comparing import MOST
from atlas.markup import number, probability, share, step_name
from atlas.multiples import step_of
from atlas.population import CONVENTIONS, DEFAULT
from atlas.population_store import STANDING
from atlas.scales_figures import Side
from atlas.seed_strata import wilson
from atlas.seeds import seeds_of
from pages import answers_comparison, exporting, shared
from pages import answers_seeds as answers


def read(view: shared.Here) -> str:
    """By which rule births are read; one that there is not is said."""
    asked = st.query_params.get("births") or DEFAULT
    if asked not in CONVENTIONS:
        shared.say(f"Births cannot be read by “{shared.clip(asked)}”; there are "
                   f"{', '.join(CONVENTIONS)}.", "bad")
        return DEFAULT
    if asked != DEFAULT and asked not in _known(view):
        shared.say(f"“{CONVENTIONS[asked].words}” is not available, because a seed has no rates in "
                   "this store; births are read by the norm.", "bad")
        return DEFAULT
    return asked


def _runs(view: shared.Here) -> tuple[str, ...]:
    return tuple(card.run for card in seeds_of(view.store.runs(), view.card))[:MOST]


def _known(view: shared.Here) -> list[str]:
    return answers_comparison.conventions(view.store.digest, _runs(view)) or [DEFAULT]


def _sides(view: shared.Here, convention: str) -> list[Side]:
    """Every seed as its figures need it, named by its number."""
    found = []
    runs = _runs(view)
    with st.spinner(f"Reading {len(runs)} seeds", show_time=True):
        for run in runs:
            side = answers_comparison.side(view.store.digest, run, convention)
            found.append(replace(side, name=f"seed {side.card.seed}"))
    return found


def draw(view: shared.Here, convention: str) -> None:
    """Draw the part of the view."""
    runs = _runs(view)
    if why := scales.no_time(view.card):
        shared.caption("The seeds as populations.")
        shared.say(f"Births, profiles and windows are not available, because {why}.")
        return
    if len(runs) < 2:
        shared.caption("The seeds as populations.")
        shared.say("Not available, because the store holds no other seed of this run; "
                   "`readout-atlas build RUN` adds one. The view of scales sets its births, "
                   "profiles and windows beside those of other runs.")
        st.html(markup.wrap(markup.link(
            "this run among the scales →", shared.href("comparison", view, view="scales"))))
        return
    sides = _sides(view, convention)
    _draw_table(view, sides, convention)
    left, right = st.columns([1, 1], gap="large")
    with left:
        _draw_births(view, sides, runs, convention)
    with right:
        _draw_windows(view, sides)
    _draw_profiles(view, sides, runs, convention)


def _draw_table(view: shared.Here, sides: Sequence[Side], convention: str) -> None:
    shared.caption(
        "The seeds as populations.",
        "Do dictionaries that differ in the seed alone live alike, whatever becomes of single "
        "features? In brackets, intervals over the features of one seed.",
    )
    st.session_state["seeds_births"] = convention
    st.selectbox(
        "births read by", _known(view), format_func=lambda name: CONVENTIONS[name].short,
        key="seeds_births", width=260,
        on_change=shared.writes(
            "births", "seeds_births", lambda name: None if name == DEFAULT else name),
    )
    first = step_name(view.card.steps[0])
    heads = ("seed", "live features|", "EV|", "L0|", f"born at step {first} (95 %)|",
             "median birth, step (90 %)|", "window, steps|", "its middle (90 %)|",
             "p, any window|")
    rows = [
        f'<tr><td>{_link(view, side)}</td><td class="num r">{side.card.n_alive:,} of '
        f'{side.card.d_sae:,}</td><td class="num r">{number(side.card.explained_variance, 3)}</td>'
        f'<td class="num r">{number(side.card.l0, 1)}</td><td class="num r">{_first(side)}</td>'
        f'<td class="num r">{_median(side)}</td><td class="num r">{_window(side)}</td>'
        f'<td class="num r">{_middle(side)}</td><td class="num r">{_p(side)}</td></tr>'
        for side in sides]
    rows.append(
        f'<tr><td class="dim">over the seeds</td>{_over([s.card.n_alive for s in sides], 0)}'
        f'{_over([s.card.explained_variance for s in sides], 3)}'
        f'{_over([s.card.l0 for s in sides], 1)}'
        f'{_over([100 * s.births.share[0] for s in sides if s.births], 1, "%")}'
        f'{_over([10**s.births.median - 1 for s in sides if s.births], 0)}<td></td>'
        f'{_over([s.card.window.center for s in sides if s.card.window], 0)}<td></td></tr>')
    head = "".join(f'<th{" class=r" * h.endswith("|")}>{markup.escape(h.rstrip("|"))}</th>'
                   for h in heads)
    st.html(markup.wrap(f'<table class="atl-table"><tr>{head}</tr>{"".join(rows)}</table>'))


def _link(view: shared.Here, side: Side) -> str:
    if side.card.run == view.run:
        return f"<b>{markup.escape(side.name)}</b>"
    return markup.link(side.name, shared.href("comparison", view, run=side.card.run))


def _first(side: Side) -> str:
    births = side.births
    if births is None or not births.n_alive:
        return markup.NOT_AVAILABLE
    low, high = wilson(int(births.counts[0]), births.n_alive)
    return (f"{share(float(births.share[0]))} ({100 * low:.0f} to {100 * high:.0f})")


def _over(values: Sequence[float], digits: int, unit: str = "") -> str:
    """A cell with the least and the largest of some numbers."""
    known = [v for v in values if math.isfinite(v)]
    ends = dict.fromkeys(f"{v:,.{digits}f}" for v in (min(known), max(known))) if known else ()
    told = f"{' to '.join(ends)}{unit}" if known else markup.NOT_AVAILABLE
    return f'<td class="num r dim">{told}</td>'


def _median(side: Side) -> str:
    births = side.births
    if births is None or births.median != births.median:
        return markup.NOT_AVAILABLE
    return f"{step_of(births.median)} ({step_of(births.low)} to {step_of(births.high)})"


def _window(side: Side) -> str:
    window = side.card.window
    if window is None:
        return markup.NOT_AVAILABLE
    return f"{window.from_step:,} to {window.to_step:,.0f}"


def _middle(side: Side) -> str:
    window = side.card.window
    if window is None or not math.isfinite(window.center):
        return markup.NOT_AVAILABLE
    if not math.isfinite(window.center_low + window.center_high):
        return f"{window.center:,.0f} (not resampled)"
    return f"{window.center:,.0f} ({window.center_low:,.0f} to {window.center_high:,.0f})"


def _p(side: Side) -> str:
    return markup.NOT_AVAILABLE if side.card.window is None else probability(
        side.card.window.p_any).removeprefix("p = ")


# --- births, windows, profiles --------------------------------------------------------------------


def _draw_births(
    view: shared.Here, sides: Sequence[Side], runs: tuple[str, ...], convention: str
) -> None:
    found = answers.births_apart(view.store.digest, runs, convention)
    rule = CONVENTIONS[convention]
    shared.caption(
        "Births, seed by seed.",
        f"Share of live features born by a step, where {rule.rule}; grey, 5 to 95 % of what a seed "
        "has when all features are dealt out among the seeds anew.",
    )
    exporting.chart(
        view, seed_population_figures.births_figure(sides, found, view.palette),
        "seeds_births_figure", f"share of live features born by a step, of {len(sides)} seeds",
        lambda: scales.births_table(
            view.store, [side.card for side in sides], convention), note=rule.words,
    )
    shared.say(
        "Whether births differ between the seeds is not available, because in one of them none is "
        "born." if found is None else
        seed_population.births_said(found, view.card.steps, len(sides)))


def _draw_windows(view: shared.Here, sides: Sequence[Side]) -> None:
    shared.caption(
        "When each seed reorganises.",
        "Shaded, the half-decade window of the largest z; dot, its middle; line, where the middle "
        "lies in 90 % of 400 draws of features. z and p are over circular shifts of the six "
        "metrics, p among all windows.",
    )
    exporting.chart(
        view, seed_population_figures.windows_figure(sides, view.palette), "seeds_windows",
        f"windows of reorganisation of {len(sides)} seeds with intervals",
        lambda: table_of(sides)[["run", "window from", "window to", "middle", "middle, 5 %",
                                 "middle, 95 %", "z", "p, any window"]],
    )
    windows = [side.card.window for side in sides if side.card.window is not None]
    found = seed_population.windows_apart(windows)
    shared.say("How far windows lie apart is not available, because fewer than two seeds have one."
               if found is None else seed_population.windows_said(found))


def _draw_profiles(
    view: shared.Here, sides: Sequence[Side], runs: tuple[str, ...], convention: str
) -> None:
    found = answers.profiles_apart(view.store.digest, runs, convention)
    shared.caption(
        "Profiles, seed by seed.",
        "Share of live features, with the 90 % interval over 400 draws of features; upright ticks, "
        "the null: the same features with their snapshots shuffled. Every panel has its own scale.",
    )
    exporting.chart(
        view, seed_population_figures.profiles_figure(sides, view.palette), "seeds_profiles",
        f"profiles of {len(sides)} seeds with intervals and the shuffled null",
        lambda: scales.profiles_table(view.store, [side.card for side in sides]),
    )
    if found:
        shared.say(seed_population.profiles_said(found, STANDING))


def table(view: shared.Here, convention: str) -> pd.DataFrame:
    """The figures of every seed; empty for a run without time."""
    return table_of([] if scales.no_time(view.card) else _sides(view, convention))


def table_of(sides: Sequence[Side]) -> pd.DataFrame:
    """One row a seed."""
    rows = []
    for side in sides:
        window, births = side.card.window, side.births
        rows.append({
            "run": side.card.run, "live features": side.card.n_alive,
            "EV": side.card.explained_variance, "L0": side.card.l0,
            "median birth": None if births is None else 10**births.median - 1,
            "median birth, 5 %": None if births is None else 10**births.low - 1,
            "median birth, 95 %": None if births is None else 10**births.high - 1,
            "window from": window and window.from_step, "window to": window and window.to_step,
            "middle": window and window.center, "middle, 5 %": window and window.center_low,
            "middle, 95 %": window and window.center_high, "z": window and window.z,
            "p, any window": window and window.p_any,
        })
    return pd.DataFrame(rows)
