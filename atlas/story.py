"""A run's own story in five sentences: what its population does, each beside its null.

The sentences are templates filled with numbers of the store, for any run. Which words they use
hangs on p <= 0.05 alone, and none says more than its null rules out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from atlas import turnover
from atlas.columns import norm_columns
from atlas.lifecycle import ACTIVE_NORM, profiles
from atlas.markup import NOT_AVAILABLE, number, probability, share, step_name
from atlas.measures import seeds_of
from atlas.records import RunCard, Window
from atlas.reorganisation import COMPONENTS, log_time, windows
from atlas.store import Store
from atlas.window_changes import Movers
from atlas.window_choice import Choice, choose, write_window

SURE = 0.05
"""Largest p that is told as more than chance."""
SHUFFLES = 119
"""Populations whose norms are shuffled in time; five profiles are tried, so the smallest corrected
p is 5 in 120."""
SHUFFLED = 800
"""Features that are shuffled at most, drawn at random."""
OF_TIME = ("persistent", "transitional", "early-decaying", "late-emerging", "mixed")
"""Profiles of an active feature."""

@dataclass(frozen=True)
class Sentence:
    """One finding."""

    text: str
    null: str
    """What it is held against, and what that gave; or why nothing can be said."""
    words: str = ""
    """Of the link to what it rests on; '' for none."""
    page: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    """Of that page, beside the run."""
    sure: bool = False
    """It is told as more than chance."""


def tell(
    store: Store, run: str, choice: Choice | None, turning: Movers | None, seed: int
) -> tuple[Sentence, ...]:
    """The five sentences of a run.

    Args:
        choice: its own window, scored; None where it has none.
        turning: the features that turn most inside that window; None where there is none.
        seed: of the nulls.
    """
    card = store.run(run)
    if len(card.steps) < 2:
        none = f"{NOT_AVAILABLE}, because the run has one snapshot"
        return tuple(Sentence(f"{name}: {none}.", "") for name in (
            "Births", "The window", "Profiles", "What turns", "The matrix"))
    return (
        births(store, card),
        window(store, card, choice),
        composition(store, card, seed),
        turns(card, choice, turning),
        matrix(store, card, choice, seed),
    )


# --- births --------------------------------------------------------------------------------------


def births(store: Store, card: RunCard) -> Sentence:
    """How many births survive the noise floor."""
    found = turnover.born_of(store, card.run)
    if not found.born:
        return Sentence(f"Births: {NOT_AVAILABLE}, because no live feature has one.", "")
    first = step_name(card.steps[0])
    return Sentence(
        f"Of {found.born:,} births {found.kept:,} keep their step once the noise floor is taken "
        f"off, {found.born - found.kept - found.never:,} come later and {found.never:,} are never "
        f"more than noise; of {found.first:,} at step {first} {found.first_kept:,} stay.",
        "Null: the norm that a direction fitted to as many rows of noise would have; the plain "
        f"rule counts that as a birth.{_control(store, card)}",
        "features by their birth", "browse", {"sort": "birth_floor_step", "alive": "yes"},
    )


def _control(store: Store, card: RunCard) -> str:
    """Births of the shuffled-row control, where one was trained."""
    control = turnover.control_of(store, card.run)
    if control is None:
        return " A dictionary of shuffled rows is not available: none was trained for this run."
    total, above = np.nansum(control.births), np.nansum(control.births_floor)
    return (f" A dictionary of shuffled rows has {total:,.0f} births by the plain rule and "
            f"{above:,.0f} above its own floor.")


# --- the window ----------------------------------------------------------------------------------


def window(store: Store, card: RunCard, choice: Choice | None) -> Sentence:
    """Whether the window is more than shifted metrics would give, and what other seeds say."""
    if choice is None or choice.reason:
        why = choice.reason if choice else "no feature has a direction long enough"
        return Sentence(f"The window of reorganisation: {NOT_AVAILABLE}, because {why}.", "")
    place = f"between steps {step_name(round(choice.low))} and {choice.high:,.0f}"
    sure = choice.p_any <= SURE
    text = (
        f"The population changes most together {place} (z = {number(choice.z, 1)}), more than its "
        "six metrics do when each is shifted in time on its own"
        if sure else
        f"The six metrics rise most together {place} (z = {number(choice.z, 1)}), which is no more "
        "than shifting each of them in time gives somewhere"
    )
    return Sentence(
        f"{text}{_interval(card.window, choice)}{_other_seeds(store, card, choice)}.",
        f"Null: {len(choice.null)} circular shifts; {probability(choice.p)} for this window, "
        f"{probability(choice.p_any)} counting that it was chosen among {len(choice.scores)}.",
        "the window", "reorganisation",
        {"view": "window", "window": write_window(choice.low, choice.high)}, sure,
    )


def _interval(own: Window | None, choice: Choice) -> str:
    if own is None or not _same(own, choice) or math.isnan(own.center_low):
        return ""
    return (f"; drawn again, features put its middle between {own.center_low:,.0f} and "
            f"{own.center_high:,.0f} in 90 % of the draws")


def _same(own: Window, choice: Choice) -> bool:
    return abs(own.from_step - choice.low) < 0.01 and abs(own.to_step - choice.high) < 0.01


def _other_seeds(store: Store, card: RunCard, choice: Choice) -> str:
    others = [store.run(run) for run in seeds_of(store, card.run)]
    told = [(other.seed, other.window) for other in others if other.window is not None]
    if not told:
        return "; no other seed is here to agree or not"
    agree = sum(w.from_step < choice.high and w.to_step > choice.low for _, w in told)
    places = ", ".join(f"seed {seed}: {w.from_step:,} to {w.to_step:,.0f}" for seed, w in told)
    chance = overlap_by_chance(card.steps, choice)
    seeds = "seed has" if len(told) == 1 else "seeds have" if agree != 1 else "seeds has"
    return (f"; {agree} of {len(told)} other {seeds} a window that overlaps it ({places}), as one "
            f"put anywhere would with probability {chance:.2f}")


def overlap_by_chance(steps: Sequence[int], choice: Choice) -> float:
    """Share of the candidate windows of half a decade that overlap a window."""
    found = windows(steps)
    return float(((found.from_step < choice.high) & (found.to_step > choice.low)).mean())


# --- profiles ------------------------------------------------------------------------------------


def composition(store: Store, card: RunCard, seed: int) -> Sentence:
    """Shares of the profiles beside those of the same norms in random order."""
    norms = norm_columns(store, card.run)
    norms = norms[np.isfinite(norms).all(axis=1)]
    norms = norms[norms.max(axis=1, initial=0) > ACTIVE_NORM]
    if not len(norms):
        return Sentence(f"Profiles: {NOT_AVAILABLE}, because no direction is longer than "
                        f"{ACTIVE_NORM}.", "")
    observed, null = profile_null(norms, card.steps, seed)
    p = np.minimum(1, len(OF_TIME) * ((null >= observed).sum(axis=0) + 1) / (len(null) + 1))
    order = np.argsort(-observed, kind="stable")
    parts = ", ".join(f"{share(observed[i], 0)} {OF_TIME[i]}" for i in order if observed[i] > 0)
    more = [i for i in order if p[i] <= SURE]
    text = f"Of {len(norms):,} active features {parts}"
    text += (
        f"; {_and(OF_TIME[i] for i in more)} more often than the same norms in random order"
        if more else "; none of them is more frequent than the same norms give in random order"
    )
    shown = more or [int(order[0])]
    usual = "; ".join(
        f"{OF_TIME[i]} {share(float(np.quantile(null[:, i], 0.05)), 0)} to "
        f"{share(float(np.quantile(null[:, i], 0.95)), 0)}, {probability(float(p[i]))}"
        for i in shown
    )
    several = min(SHUFFLED, len(norms))
    return Sentence(
        f"{text}.",
        f"Null: each feature's norms shuffled in time, {SHUFFLES} times, {several:,} features, 5 "
        f"to 95 %: {usual}, corrected for {len(OF_TIME)} profiles. It rules out norms "
        "without an order in time, no more.",
        "features by profile", "browse",
        {"where": f"profile:{'+'.join(OF_TIME[i] for i in shown)}"}, bool(more),
    )


def profile_null(
    norms: np.ndarray, steps: Sequence[int], seed: int, shuffles: int = SHUFFLES,
    most: int = SHUFFLED,
) -> tuple[np.ndarray, np.ndarray]:
    """Shares (5,) of `OF_TIME` among norms (n, K), and (shuffles, 5) of their shuffles in time.

    Of more than `most` features some drawn at random are shuffled: the null is then wider.
    """
    generator = np.random.default_rng(seed)
    some = norms[np.sort(generator.permutation(len(norms))[:most])]

    def shares(values: np.ndarray) -> np.ndarray:
        found = np.array(profiles(values.T, steps))
        return np.array([(found == name).mean() for name in OF_TIME])

    return shares(norms), np.array(
        [shares(generator.permuted(some, axis=1)) for _ in range(shuffles)])


def _and(names: Sequence[str] | object) -> str:
    listed = list(names)
    return listed[0] if len(listed) == 1 else f"{', '.join(listed[:-1])} and {listed[-1]}"


# --- what turns ----------------------------------------------------------------------------------


def turns(card: RunCard, choice: Choice | None, turning: Movers | None) -> Sentence:
    """How far directions turn inside the window, and which turns most."""
    if choice is None or turning is None or not turning.listed:
        why = (turning.reason if turning else "") or "the run has no window"
        return Sentence(f"What turns inside the window: {NOT_AVAILABLE}, because {why}.", "")
    index = COMPONENTS.index("weighted_rotation")
    angle, p = math.degrees(choice.values[index]), float(choice.value_p[index])
    sure = p <= SURE
    best = turning.listed[0]
    held = "" if not turning.matched or math.isnan(best.below) else (
        f", more than {best.below * turning.matched:.0f} of {turning.matched} features of similar "
        "rate")
    where = f"steps {step_name(turning.before)} and {step_name(turning.after)}"
    name = f"#{best.feature:,} ({best.label})" if best.label else f"#{best.feature:,}"
    drawn = "" if not len(turning.drawn) else (
        f" The {len(turning.listed)} that turn most turn by {turning.mean:.0f}° on average; lists "
        f"drawn from features of similar rate by {np.quantile(turning.drawn, 0.05):.0f}° to "
        f"{np.quantile(turning.drawn, 0.95):.0f}°, but they were not chosen for it.")
    return Sentence(
        f"Inside the window directions turn by {angle:.0f}° in the mean, "
        f"{'more' if sure else 'no more'} than in other parts of training; {name} turns most, by "
        f"{best.turn:.0f}° between {where}{held}.",
        f"Null: the turns of all pairs of snapshots rolled through training, {probability(p)}."
        f"{drawn}",
        "the features that turn most", "reorganisation",
        {"view": "window", "window": write_window(choice.low, choice.high), "most": "turn"}, sure,
    )


# --- the matrix ----------------------------------------------------------------------------------


def matrix(store: Store, card: RunCard, choice: Choice | None, seed: int) -> Sentence:
    """Whether the rows of the matrix show the window without any dictionary."""
    name = f"Whether {card.matrix} itself shows the window"
    if choice is None or choice.reason:
        return Sentence(f"{name}: {NOT_AVAILABLE}, because the run has no window.", "")
    pairs = turnover.matrix_pairs_of(store, card.run)
    if pairs is None:
        return Sentence(f"{name}: {NOT_AVAILABLE}, because the store holds no metrics of the rows; "
                        f"`readout-atlas build {card.run} --force` derives them.", "")
    known = [i for i, row in enumerate(pairs.components) if np.isfinite(row).all()]
    names = [COMPONENTS[i] for i in known]
    found = choose(pairs.components[known], card.steps, choice.low, choice.high, seed, names=names)
    if found.reason:
        return Sentence(f"{name}: {NOT_AVAILABLE}, because {found.reason}.", "")
    sure = found.p <= SURE
    zs = [found.p_of(i)[0] for i in range(len(found.scores))]
    best = int(np.argmax(zs))
    w = found.windows
    told = "also change most together" if _near(best, found) else "change together"
    text = (
        f"The rows of {card.matrix} themselves {told} in this window, more than by shifts"
        if sure else
        f"The rows of {card.matrix} themselves do not change together in this window more than by "
        "shifts"
    )
    return Sentence(
        f"{text} (z = {number(found.z, 1)}); their own strongest window is steps "
        f"{step_name(int(w.from_step[best]))} to {w.to_step[best]:,.0f}.",
        f"Null: {len(found.null)} circular shifts of the {len(names)} metrics that rows have, "
        f"{probability(found.p)}; the window was chosen by the dictionary, not by the rows.",
        "controls without a dictionary", "reorganisation", {"view": "controls"}, sure,
    )


def _near(best: int, found: Choice) -> bool:
    """Whether the strongest window is the one asked for."""
    return abs(float(log_time(found.windows.from_step[best]) - log_time(found.low))) < 1e-3
