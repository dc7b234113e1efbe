"""A feature's life: four measures through training, and how its direction turns."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from atlas import figures, markup, matrices
from atlas.chance import pair_cosine
from atlas.changes import LEAST, Change
from atlas.life_marks import Level, Other
from atlas.records import FeatureCard, FeatureInfo, RunCard, Window
from pages import answers, shared


def numbers(values: Sequence[float]) -> list[float | None]:
    """nan as None."""
    return [None if np.isnan(v) else float(v) for v in np.asarray(values, dtype=float)]


def draw(view: shared.Here, card: FeatureCard, over: tuple[int, ...]) -> None:
    """The four measures through training over the population."""
    changes = level_changes(view, card)
    shared.caption(
        "Life of the feature.",
        "In grey all live features of the run: 5 to 95 %, quartiles, median dotted.",
        tail=f"{about_changes(card, len(changes))} {about_window(view.card)}".strip(),
    )
    p = view.palette
    skeleton = answers.life_skeleton(view.store.digest, view.run, p.is_dark)
    n_rows = len(view.store.token_texts(view.card.model))
    contribution = numbers(card.contribution)
    found = figures.Life(
        numbers(card.norm),
        numbers(card.rate),
        [None, *numbers(card.rotation)],
        numbers(card.to_terminal),
        card.info.birth_floor_step,
        contribution if any(v is not None for v in contribution) else (),
        [Level(c.step, c.low_step, c.high_step, c.p) for c in changes],
        [
            Other(f"#{other}", norm)
            for other, norm in zip(
                over, answers.norms(view.store.digest, view.run, over), strict=True
            )
        ],
    )
    shared.chart(
        figures.life(skeleton, card.steps, found, view.step, n_rows, p),
        "feature_life",
        f"norm, rate, rotation and remaining turn of feature {card.info.feature} by step",
        table=lambda: answers.life_table(view.store.digest, view.run, card.info.feature),
    )


def level_changes(view: shared.Here, card: FeatureCard) -> tuple[Change, ...]:
    """Changes of the norm's level; the direction of a dead feature was never fitted to a row."""
    if not card.info.alive:
        return ()
    return answers.level_changes(view.store.digest, view.run, card.info.feature)


def about_changes(card: FeatureCard, count: int) -> str:
    """What the brackets over the norm say."""
    if not card.info.alive:
        return ""
    if len(card.steps) < LEAST:
        return f"{len(card.steps)} snapshots are too few to look for changes of the norm's level."
    if not count:
        return "Its norm has no change of level that shuffled snapshots would not have."
    what = "the norm changes its level" if count == 1 else f"{count} changes of the norm's level"
    return (
        f"A diamond on a bracket: {what}, with the 90 % interval of the place."
        f"{about_strongest(card.info)}"
    )


def about_strongest(info: FeatureInfo) -> str:
    """The split that Browse lists: it divides the whole course in two, the diamonds go further."""
    if info.change_step is None:
        return " The strongest single split is not available, because the store holds none of it."
    return (
        f" The strongest single split, the one that Browse lists, is at step "
        f"{info.change_step:,} (90 %: {info.change_low_step:,} to {info.change_high_step:,}, "
        f"{markup.probability(info.change_p)})."
    )


def about_window(run: RunCard) -> str:
    """The run's window with its z and p, or nothing."""
    window = run.window
    if window is None:
        return ""
    chosen = "" if math.isnan(window.p_any) else (
        f"; {markup.probability(window.p_any)} counting that it was chosen"
    )
    return (
        f"In ochre the half-decade in which the run reorganises most, steps "
        f"{window.from_step:,} to {window.to_step:,.0f} (z = {markup.number(window.z, 1)}, "
        f"{markup.probability(window.p)}{chosen}){_place(window)}."
    )


def _place(window: Window) -> str:
    """How surely the place of the window is known."""
    if math.isnan(window.center_low) or math.isnan(window.center_high):
        return "; how surely it lies there is not available"
    return (
        f"; its middle, step {window.center:,.0f}, lies between {window.center_low:,.0f} and "
        f"{window.center_high:,.0f} in 90 % of the draws of other features"
    )


def draw_matrix(view: shared.Here, card: FeatureCard) -> str:
    """The cosine between its directions at any two snapshots; the reason if there is none."""
    square = answers.similarity(view.store.digest, view.run, card.info.feature)
    chance = pair_cosine(view.card.d_model)
    if square is None:
        reason = answers.not_derived(view.run)
        shared.caption("Its directions, snapshot by snapshot.")
        shared.say(f"Not available, because {reason}.")
        return reason
    changes = level_changes(view, card)
    steps = list(card.steps)
    shared.caption(
        "Its directions, snapshot by snapshot:",
        f"their cosine. Two random ones stay within ±{chance:.2f} in 19 of 20 cases."
        f"{' Black squares: between changes of the norm.' if changes else ''}",
    )
    shared.chart(
        matrices.cosine_square(
            steps, square, view.step, view.palette, [steps.index(c.step) for c in changes]
        ),
        "feature_turns",
        f"cosine of the directions of feature {card.info.feature} at every two snapshots",
        width=matrices.WIDTH,
        table=lambda: pd.DataFrame(
            {"step": steps, **{f"{s:,}": row for s, row in zip(steps, square, strict=True)}}
        ),
    )
    return ""
