"""Both dictionaries step by step, mirrored; and how well one matrix turns into the other."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from atlas import heat, read_write_figures, read_write_store
from atlas.errors import AtlasError
from atlas.markup import number
from atlas.read_write import Alignment
from atlas.read_write_figures import Mirror
from atlas.read_write_store import Side
from pages import answers_read_write as answers
from pages import exporting, shared

if TYPE_CHECKING:
    from pages.read_write import Both

SNAPSHOTS = 10
"""Steps at which the matrices themselves are compared, at most."""


def draw(both: "Both", sides: tuple[Side, Side]) -> None:
    """L0, mean norm and the share of peaks at each step: reading up, writing down."""
    panels = mirrors(both, sides)
    seeds = [len(cards) for cards in both.seeds]
    yardstick = (
        f"Thin lines: other seeds ({seeds[0]} of W_U, {seeds[1]} of W_E), the yardstick for how "
        "much a course means." if any(seeds) else
        "How much a course means is not available, because the store has no other seed of either."
    )
    shared.caption(
        "Through training, W_E upwards and W_U downwards.",
        "The mean rate over live features and its sum, L0, have one shape. Norms of two "
        f"dictionaries do not compare in scale: each is drawn over its own maximum. {yardstick}",
        tail=asymmetry_words(both, sides),
    )
    if not panels:
        shared.say("Not available, because the runs hold neither rates nor norms at these steps.")
        return
    exporting.chart(
        both.view,
        read_write_figures.mirrored(both.steps, panels, both.view.step, both.view.palette),
        "read_write_courses", "rate, norm and peaks of W_E and W_U by step",
        table=lambda: table(both, sides),
    )


def mirrors(both: "Both", sides: tuple[Side, Side]) -> list[Mirror]:
    """The panels whose numbers are there."""
    write, read = sides
    others = [[both.side(card) for card in cards] for cards in both.seeds]

    def of(title: str, name: str, relative: bool = True) -> Mirror | None:
        def values(side: Side) -> list[float]:
            found = np.asarray(getattr(side, name), dtype=float)
            return (found if relative else found / max(found.sum(), 1)).tolist()

        if not (np.isfinite(values(write)).any() and np.isfinite(values(read)).any()):
            return None
        return Mirror(
            title, values(read), values(write), [values(s) for s in others[1]],
            [values(s) for s in others[0]], relative,
        )

    found = (
        of("features that fire on a row (L0), over its maximum", "l0"),
        of("mean norm of the directions, over its maximum", "norm"),
        of(f"share of live features whose largest {both.peak} is here", "everyone", False),
    )
    return [panel for panel in found if panel is not None]


def asymmetry_words(both: "Both", sides: tuple[Side, Side]) -> str:
    """Where the courses are furthest apart, each over its maximum."""
    write, read = (np.asarray(side.norm, dtype=float) for side in sides)
    if not (np.isfinite(write).all() and np.isfinite(read).all() and write.max() > 0
            and read.max() > 0):
        return ""
    gap = read / read.max() - write / write.max()
    k = int(np.abs(gap).argmax())
    return (
        f"The norms are furthest apart at step {both.steps[k]:,}: W_E at "
        f"{read[k] / read.max():.0%}, W_U at {write[k] / write.max():.0%} of their maxima."
    )


def table(both: "Both", sides: tuple[Side, Side]) -> pd.DataFrame:
    """The numbers of the figure, one row per step, in their own units."""
    found: dict[str, object] = {"step": list(both.steps)}
    for name, side in zip(("W_U", "W_E"), sides, strict=True):
        found |= {
            f"L0, {name}": side.l0, f"mean rate, {name}": side.rate,
            f"mean norm, {name}": side.norm, f"peaks, {name}": side.everyone,
        }
    return pd.DataFrame(found)


# --- the matrices themselves ---------------------------------------------------------------------


def draw_matrices(both: "Both") -> None:
    """Whether W_E is W_U turned: the best rotation at some steps, beside shuffled rows."""
    card, lead = both.write, "The matrices themselves."
    n_rows = len(both.view.store.token_texts(card.model))
    chosen = [both.steps[k] for k in heat.chosen_snapshots(len(both.steps), (), SNAPSHOTS)]
    numbers = read_write_store.numbers_to_read(card, n_rows, len(chosen))
    if numbers > read_write_store.MOST_NUMBERS:
        shared.caption(lead)
        shared.say(
            f"Not available, because both at {len(chosen)} steps are {numbers / 1e6:,.0f} million "
            f"numbers, more than the {read_write_store.MOST_NUMBERS / 1e6:.0f} million that are "
            "read while a page waits."
        )
        return
    try:
        found = [answers.aligned(both.view.store.digest, card.run, step) for step in chosen]
    except AtlasError as error:
        shared.caption(lead)
        shared.say(f"Not available, because {error}.")
        return
    shared.caption(lead, alignment_words(chosen, found))
    own, null = (
        [pair[i].cosine for pair in found] for i in (0, 1)
    )
    exporting.chart(
        both.view,
        read_write_figures.alignment(chosen, own, null, both.view.step, both.view.palette),
        "read_write_matrices", "alignment cosine of W_E and W_U by step",
        table=lambda: pd.DataFrame({
            "step": chosen, "alignment cosine": own, "of shuffled rows": null,
            "residual": [pair[0].residual for pair in found],
            "residual, scaled": [pair[0].scaled_residual for pair in found],
        }),
    )


def alignment_words(steps: list[int], found: list[tuple[Alignment, Alignment]]) -> str:
    """What is drawn, and its ends."""
    first, last = found[0], found[-1]
    return (
        "Alignment cosine of the centred W_E with the centred W_U after the rotation that fits "
        "best (Procrustes, crosscoder-method §11). "
        f"From {number(first[0].cosine, 2)} at step {steps[0]:,} to {number(last[0].cosine, 2)} at "
        f"step {steps[-1]:,}; with the rows shuffled, which any two clouds of points give, "
        f"{number(first[1].cosine, 2)} and {number(last[1].cosine, 2)}."
    )
