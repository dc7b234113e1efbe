"""What profiles the lives have, and how many features stand through training."""

import pandas as pd

from atlas.population import RESAMPLES, SEED
from atlas.population_figures import profiles_drawing, standing_drawing
from atlas.population_store import STANDING
from atlas.population_where import LIVE
from pages import answers_population, exporting, population_links, shared


def draw(view: shared.Here) -> None:
    """Both figures with their captions."""
    found = answers_population.profiles(view.store.digest, view.run)
    total = int(found.found.counts.sum())
    if not total:
        shared.caption("Profiles.")
        shared.say("Not available, because no feature that fires has a profile.")
        return
    links = {name: population_links.of(view, profile=name, **LIVE) for name in STANDING}
    shared.caption(
        "Profiles",
        f"of the {total:,} features that fire (§8.2). Whiskers: 90 % of {RESAMPLES} draws of as "
        f"many features, with replacement (seed {SEED}). Grey ticks, the null: the same rules with "
        f"each feature's snapshots shuffled ({found.shuffled:,} features): shares that need no "
        "order in time.",
    )
    note = f"{RESAMPLES} resamples of features, seed {SEED}"
    exporting.drawing(
        view, profiles_drawing(found, links, view.palette), "profiles",
        f"shares of the profiles of {view.run} with their intervals", lambda: table(view), note,
    )
    shared.caption(
        "Standing",
        "at half their largest norm or more, by profile. There is no null for the height: it "
        "follows from the profiles above and the births.",
        "A band or a name opens its features in Browse.",
    )
    exporting.drawing(
        view,
        standing_drawing(view.card.steps, found.standing, links, view.step, view.palette),
        "standing", f"features of {view.run} at half their norm or more, by profile and step",
        lambda: standing_table(view),
    )


def table(view: shared.Here) -> pd.DataFrame:
    """The profiles with interval and null."""
    found = answers_population.profiles(view.store.digest, view.run)
    return pd.DataFrame({
        "profile": STANDING, "features": found.found.counts, "share": found.found.share,
        "low_5": found.found.low, "high_95": found.found.high, "snapshots_shuffled": found.null,
    })


def standing_table(view: shared.Here) -> pd.DataFrame:
    """Features at half their norm or more, one row per snapshot."""
    found = answers_population.profiles(view.store.digest, view.run)
    return pd.DataFrame(
        {"step": view.card.steps, **dict(zip(STANDING, found.standing.tolist(), strict=True))}
    )
