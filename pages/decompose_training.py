"""Decompose, through training: probability, rank, the gate and every feature at each snapshot."""

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from atlas import markup, odds_figures
from atlas.decompose_markup import Carried, Null, carry_map
from atlas.feature_labels import feature_labels
from pages import answers_decompose, decompose_why, shared, taking
from pages.browse_map import CLICKS
from pages.seen import Seen

if TYPE_CHECKING:
    from atlas.carrying import Chance
    from atlas.live import Explanation

MAPPED = 14
"""Features of the map."""
KEY = "decompose_odds"
RULE = (
    "A feature begins to carry at the first step from which its contribution keeps its final sign "
    "and at least half of its final size."
)


def draw(seen: Seen) -> None:
    """Draw the view."""
    found = seen.found
    if len(found.rows) < 2:
        shared.caption("Through training.")
        shared.say(
            "Not available, because this dictionary is fitted to one snapshot alone; a crosscoder "
            "of the same model has many." if len(seen.view.card.steps) < 2 else
            "Not available, because one snapshot alone answers here."
        )
        return
    course = read_course(seen)
    if course is None:
        return
    _draw_course(seen, course)
    frame = _draw_map(seen)
    taking.take_away(
        seen.view, decompose_why.python_of(seen, None), frame,
        f"through-training-{seen.view.run.replace('/', '_')}",
    )


# --- the vocabulary at every snapshot ------------------------------------------------------------


def read_course(seen: Seen) -> odds_figures.Course | None:
    """Probability and rank at every step; what has been read before is not read again."""
    view, found = seen.view, seen.found
    odds = answers_decompose.odds(
        view.store.digest, view.run, seen.prompt, seen.position, seen.hidden
    )
    steps = [row.step for row in found.rows]
    missing = odds.missing(steps)
    if missing:
        place = st.empty()
        for done, step in enumerate(missing):
            place.progress(
                done / len(missing),
                f"Reading the whole vocabulary at step {step:,}, {done + 1} of {len(missing)}",
            )
            odds.read(step)
        place.empty()
    sides = [side for side in found.score.sides if side]
    chances = [[odds.of(step, side) for step in steps] for side in sides]
    return odds_figures.Course(
        steps,
        [
            odds_figures.Side(
                _side_name(found, side), [c.probability for c in chance], [c.rank for c in chance]
            )
            for side, chance in zip(sides, chances, strict=True)
        ],
        [row.ledger.rho for row in found.rows],
        [row.ledger.gate for row in found.rows],
        odds.rows,
    )


def _side_name(found: "Explanation", side: tuple[int, ...]) -> str:
    """A side's tokens in little room."""
    drawn = dict(zip(found.score.tokens, found.drawn, strict=True))
    first = shared.clip(drawn[side[0]], 12)
    return first if len(side) == 1 else f"{first} +{len(side) - 1}"


def _draw_course(seen: Seen, course: odds_figures.Course) -> None:
    view, found = seen.view, seen.found
    passed = sum(course.gate)
    together = "" if all(len(side) < 2 for side in found.score.sides) else (
        " Of several tokens the probabilities are added and the best rank is drawn."
    )
    whose = ("the last model’s state" if seen.hidden == "final"
             else "the state of each step’s own model")
    shared.caption(
        "Through training.",
        f"Probability and rank among all {course.vocabulary:,} rows, with the readout of each "
        f"snapshot and {whose}; beneath, ρ up to 1, in vermilion where the gate fails, by ρ or by "
        f"the sign: it passes at {passed} of {len(course.steps)} steps. Click a point for its step."
        f"{together}",
    )
    if not shared.as_tables():
        CLICKS(key=f"{KEY}_clicks", data={"map": KEY}, on_opened_change=lambda: _clicked(course))
    shared.chart(
        odds_figures.course_figure(course, seen.row.step, view.palette), KEY,
        "probability and rank of the tokens of the score, and rho, by step",
        table=lambda: odds_figures.course_table(course),
    )


def _clicked(course: odds_figures.Course) -> None:
    step = st.session_state[f"{KEY}_clicks"].opened
    if step in course.steps:
        shared.address(step=step)


# --- the map -------------------------------------------------------------------------------------


def _draw_map(seen: Seen) -> pd.DataFrame:
    """The contributions of the strongest features at every step; the frame of what is drawn."""
    from atlas.live import strongest

    found = seen.found
    steps = [row.step for row in found.rows]
    shown = [row.ledger.gate or seen.anyway for row in found.rows]
    how = (
        "not available where the gate fails or the feature does not fire; with the score and its "
        "residual." if shared.as_tables() else
        "vermilion raises the score, blue lowers it, hatched where the gate fails; in ink, on a "
        "scale of their own, the score and its residual."
    )
    shared.caption(
        "Which features, and from when.", f"Contributions by step: {how}",
        tail=f"{RULE} Grey beneath: 90 % of 200 random states, and their median.",
    )
    if not any(shown):
        shared.say("The features are withheld, because the gate fails at every step: they explain "
                   "this score nowhere. “Show the bars” above shows them all the same.")
    features = strongest(found, [k for k, on in enumerate(shown) if on], MAPPED)
    if any(shown) and not features:
        shared.say("No feature of this score fires at a step whose gate passes.")
    rows = _rows(seen, features, shown)
    frame = pd.DataFrame({
        "line": [f"{row.name} {row.label}".strip() for row in rows],
        "begins": [row.begin for row in rows],
        **{f"{step:,}": [row.values[k] if row.whole or shown[k] else None for row in rows]
           for k, step in enumerate(steps)},
    })
    alt = "contributions of the strongest features by step"
    if shared.as_tables():
        shared.chart({}, "decompose_map", alt, frame)
    else:
        st.html(carry_map(rows, steps, shown, seen.row.step, alt))
    return frame


def _rows(seen: Seen, features: list[int], shown: list[bool]) -> list[Carried]:
    """The score, its features in the order of their begins, and the residual."""
    from atlas.carrying import begins_of
    from atlas.live import contributions_of

    view, found = seen.view, seen.found
    steps = [row.step for row in found.rows]
    values = contributions_of(found, features)
    places = begins_of(values) if features else []
    names = feature_labels(view.store, view.run, features)
    chances = [] if not features else answers_decompose.chance_of_begins(
        view.store.digest, view.run, seen.prompt, seen.position, seen.ask, seen.hidden,
        tuple(features),
    )
    last = shown[-1]
    made = []
    for i, feature in enumerate(features):
        place = places[i] if last else None
        begin = None if place is None else steps[place]
        made.append((place, Carried(
            f"#{feature}", names.get(feature, ""),
            [float(v) if v else None for v in values[i]],
            shared.href("feature", view, feature=feature),
            begin, _says(begin, place, last), begin is not None and not shown[place or 0],
            _null(chances[i], steps) if last else None,
        )))
    made.sort(key=lambda m: len(steps) if m[0] is None else m[0])
    exact = [row.ledger.exact for row in found.rows]
    whole = begins_of([exact])[0]
    begin = None if whole is None else steps[whole]
    score_line = Carried("the exact score", "", exact, "", begin, _says(begin, whole, True),
                         whole=True)
    residual = Carried("the residual", "", [row.ledger.residual for row in found.rows], whole=True)
    return [score_line, *(row for _, row in made), residual]


def _says(begin: int | None, place: int | None, last: bool) -> str:
    if not last:
        return "the gate fails at the end"
    if begin is None:
        return "nothing at the end"
    return "from the first" if place == 0 else f"from {markup.step_name(begin)}"


def _null(chance: "Chance | None", steps: list[int]) -> Null | None:
    if chance is None:
        return None
    return Null(steps[chance.low], steps[chance.middle], steps[chance.high])
