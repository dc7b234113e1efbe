"""Which families of tokens peak first: a dumbbell each, its interval and its null."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from atlas import chart_tables, read_write, read_write_figures
from atlas.conditions import OneOf, Range, write_where
from atlas.markup import probability, signed, step_name
from atlas.read_write import Lead
from atlas.read_write_figures import Pair
from atlas.read_write_store import FAMILIES, Side
from atlas.records import RunCard
from pages import answers_read_write as answers
from pages import shared

if TYPE_CHECKING:
    from pages.read_write import Both


def draw(both: "Both", sides: tuple[Side, Side]) -> Callable[[], pd.DataFrame]:
    """The verdict over whole dictionaries, then a line per family; what makes it as a table."""
    families, everyone = answers.leads(
        both.view.store.digest, both.write.run, both.read.run, both.steps, both.peak, both.rule
    )
    spread = seed_spread(both, sides)
    shared.caption(
        "Which is first?", whole_words(both, everyone, spread),
        tail=f"{swing_words(both, sides)} {family_words(families)}".strip(),
    )
    pairs = family_pairs(both, sides, families, spread)
    if not pairs:
        shared.say(
            f"Families are not available, because none has {read_write.LEAST} features that fire "
            "in both dictionaries."
        )
    whole = whole_pair(both, everyone, spread)
    drawn = [*([whole] if whole is not None else []), *pairs]
    if drawn and shared.as_tables():
        st.html(chart_tables.drawn(frame(drawn), "median peak of each family in W_U and W_E"))
    elif drawn:
        st.html(read_write_figures.dumbbells(both.steps, drawn))
        st.html(read_write_figures.legend(any(q.control for q in pairs)))
    shared.say(how_words(both, families, sides))
    return lambda: frame(drawn)


def whole_words(
    both: "Both", lead: Lead, spread: tuple[np.ndarray, np.ndarray] | None
) -> str:
    """The sentence about whole dictionaries."""
    gap = float(lead.difference[0])
    if not math.isfinite(gap) or not math.isfinite(lead.p[0]):
        return "Not available, because too few features fire at the shared steps."
    first = "neither is first" if gap == 0 else (
        "reading is first" if gap > 0 else "writing is first"
    )
    beyond = "" if lead.p[0] <= 0.05 else ", no more than chance gives"
    seeds = ""
    if spread is not None:
        seeds = f"; over pairs of seeds {signed(spread[0][-1])} to {signed(spread[1][-1])}"
    return (
        f"Over all live features {first}{beyond}: half of those of W_E have their largest "
        f"{both.peak} by step {_step(lead.read[0])}, of W_U by step {_step(lead.write[0])}, "
        f"{signed(gap)} decades of steps (90 % over features {signed(lead.low[0])} to "
        f"{signed(lead.high[0])}{seeds}; {probability(lead.p[0])} when features are dealt out "
        "between the two)."
    )


def swing_words(both: "Both", sides: tuple[Side, Side]) -> str:
    """How much the courses move at all: a peak of a flat one says little."""
    write, read = (side.swing for side in sides)
    if not (math.isfinite(write) and math.isfinite(read)):
        return ""
    flat = " A peak of a course that hardly moves says little." if min(write, read) < 0.5 else ""
    return (
        f"The {both.peak} of the median feature moves by {read:.0%} of its maximum in W_E, by "
        f"{write:.0%} in W_U.{flat}"
    )


def family_words(lead: Lead) -> str:
    """How many families differ from their dictionaries."""
    corrected = read_write.holm(lead.p)
    tried = int(np.isfinite(lead.p).sum())
    if not tried:
        return ""
    sure = [name for name, p in zip(FAMILIES, corrected, strict=True) if p <= 0.05]
    if not sure:
        return (f"No one of the {tried} families departs from that more than shuffled names do "
                "(p above 0.05 after correction for their number).")
    departs = "departs" if len(sure) == 1 else "depart"
    return (
        f"{len(sure)} of {tried} families {departs} from that more than shuffled names do: "
        f"{', '.join(sure)}."
    )


def how_words(both: "Both", lead: Lead, sides: tuple[Side, Side]) -> str:
    """What a family's features are, what the null keeps, what is left out."""
    if both.rule == "share":
        rule = (
            f"A feature is of a family if {read_write.FAMILY_SHARE:.0%} of its 50 strongest firing "
            f"tokens are; where fewer than {read_write.FEWEST} features are, the "
            f"{read_write.FEWEST} with the largest share (crosscoder-method §11, which takes "
            "promoted tokens of the last W_U instead; the store keeps 12 of those). Families "
            "overlap; Browse lists those of which it is the surest label."
        )
    else:
        rule = (
            "A feature is of the family that its 50 strongest firing tokens share most surely, if "
            f"{read_write.FAMILY_SHARE:.0%} of them do; Browse lists exactly these."
        )
    few = [
        f"{name} ({w:,} in W_U, {r:,} in W_E)"
        for name, w, r in zip(FAMILIES, lead.n_write, lead.n_read, strict=True)
        if min(w, r) < read_write.LEAST
    ]
    missing = (
        f" Not available, because fewer than {read_write.LEAST} features in one of the runs: "
        f"{', '.join(few)}." if few else ""
    )
    unknown = sum(side.n_unknown for side in sides)
    left = f" {unknown:,} features without a peak at these steps are left out." if unknown else ""
    return (
        f"{rule} The null keeps both dictionaries and every peak and deals the family’s name out "
        f"among the live features of each, {read_write.DRAWS:,} times; its p, two-sided, is "
        "corrected for the number of families (Holm). Features of a dictionary share tokens and "
        "rows, so the interval over features is narrower than one over training seeds. A peak at "
        f"the first step may be noise of the initial rows.{missing}{left}"
    )


def family_pairs(
    both: "Both", sides: tuple[Side, Side], lead: Lead,
    spread: tuple[np.ndarray, np.ndarray] | None,
) -> list[Pair]:
    """The families of which something can be said, the one that reading leads most on top."""
    corrected = read_write.holm(lead.p)
    u = read_write.log_time(both.steps)
    control = [read_write.medians(side.controls, u) for side in sides]
    found = []
    for f, name in enumerate(FAMILIES):
        if not math.isfinite(lead.p[f]):
            continue
        rings = float(control[0][f]), float(control[1][f])
        found.append(Pair(
            name, float(lead.write[f]), float(lead.read[f]), float(lead.low[f]),
            float(lead.high[f]), float(lead.null_low[f]), float(lead.null_high[f]),
            float(corrected[f]), int(lead.n_write[f]), int(lead.n_read[f]),
            browse(both, both.write, name), browse(both, both.read, name),
            rings if any(math.isfinite(v) for v in rings) else None,
            seeds=_seeds(spread, f),
        ))
    return sorted(found, key=lambda q: (q.read - q.write, q.name))


def whole_pair(
    both: "Both", lead: Lead, spread: tuple[np.ndarray, np.ndarray] | None
) -> Pair | None:
    """The line of whole dictionaries; None where too few features fire."""
    if not math.isfinite(lead.p[0]):
        return None
    numbers = (lead.write, lead.read, lead.low, lead.high, lead.null_low, lead.null_high, lead.p)
    return Pair(
        "all live features", *(float(v[0]) for v in numbers), int(lead.n_write[0]),
        int(lead.n_read[0]), browse(both, both.write), browse(both, both.read), whole=True,
        seeds=_seeds(spread, -1),
    )


def _seeds(spread: tuple[np.ndarray, np.ndarray] | None, f: int) -> tuple[float, float] | None:
    if spread is None or not math.isfinite(spread[0][f]):
        return None
    return float(spread[0][f]), float(spread[1][f])


def browse(both: "Both", card: RunCard, family: str = "") -> str:
    """Address of Browse for the live features of a run, of one family or of all."""
    step = both.view.step if both.view.step in card.steps else card.steps[-1]
    where = {} if not family else {"where": write_where(((
        OneOf("family", (family,)), Range("family_share", read_write.FAMILY_SHARE)),))}
    return shared.href("browse", both.view, run=card.run, step=step, alive="yes", **where)


def seed_spread(
    both: "Both", sides: tuple[Side, Side]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Smallest and largest differences over all pairs of seeds that the store has."""
    writes, reads = (
        [own, *(both.side(card) for card in cards)]
        for own, cards in zip(sides, both.seeds, strict=True)
    )
    return answers.seed_range([(w, r) for w in writes for r in reads], both.steps)


def frame(pairs: list[Pair]) -> pd.DataFrame:
    """The numbers of the figure, one row per family."""
    def step(u: float) -> float:
        return float(read_write.step_of(u)) if math.isfinite(u) else math.nan

    return pd.DataFrame([{
        "family": q.name, "median peak in W_U, step": round(step(q.write), 1),
        "median peak in W_E, step": round(step(q.read), 1),
        "write − read, decades": q.write - q.read, "5 %": q.low, "95 %": q.high,
        "null, 5 %": q.null_low, "null, 95 %": q.null_high, "p": q.p,
        "features in W_U": q.n_write, "features in W_E": q.n_read,
        "controls in W_U, step": step(q.control[0]) if q.control else math.nan,
        "controls in W_E, step": step(q.control[1]) if q.control else math.nan,
        "least over seeds": q.seeds[0] if q.seeds else math.nan,
        "most over seeds": q.seeds[1] if q.seeds else math.nan,
    } for q in pairs])


def _step(u: float) -> str:
    return step_name(round(float(read_write.step_of(u))))
