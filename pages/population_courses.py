"""Survival, rates by rank, quantile bands, turns and the mean cosine of the population."""

import math

import pandas as pd

from atlas.chance import pair_cosine
from atlas.markup import share, step_name
from atlas.matrices import WIDTH, cosine_square
from atlas.population import SEED
from atlas.population_figures_courses import (
    bands_figure,
    ranks_figure,
    rotation_figure,
    survival_figure,
)
from pages import answers, answers_population, exporting, shared


def _missing(reason: str) -> None:
    shared.say(f"Not available, because {reason}.")


# --- survival -----------------------------------------------------------------------------------


def draw_survival(view: shared.Here, convention: str) -> None:
    """How long born features stand, by how early they are born."""
    found = answers_population.survival(view.store.digest, view.run, convention)
    shared.caption(
        "Survival:",
        "share of born features still at half their norm some decades after birth (Kaplan-Meier; "
        "who stands at the last snapshot counts until then; pale: 95 % by Greenwood), by birth in "
        "the early, middle or late part of log time (0.35, 0.65). A feature ends at the first "
        "snapshot without it, so the curves run a little high. Dotted, the null: each feature's "
        f"snapshots shuffled (seed {SEED}).",
    )
    if not set(found) - {"shuffled"}:
        _missing("no feature is born by this rule")
        return
    names = {key: f"{key} ({curve.ended:,} of {curve.total:,} end)"
             for key, curve in found.items()} | {"shuffled": "snapshots shuffled"}
    exporting.chart(
        view, survival_figure(found, names, view.palette), "survival",
        f"share of born features of {view.run} still standing, by decades since birth",
        lambda: survival_table(view, convention), f"births: {convention}, seed {SEED}",
    )


def survival_table(view: shared.Here, convention: str) -> pd.DataFrame:
    """The curves, one row per group and time."""
    found = answers_population.survival(view.store.digest, view.run, convention)
    return pd.concat([
        pd.DataFrame({"born": key, "decades": curve.at, "share": curve.share, "low_95": curve.low,
                      "high_95": curve.high, "watched": curve.watched})
        for key, curve in found.items()
    ], ignore_index=True) if found else pd.DataFrame({"born": [], "decades": [], "share": []})


# --- rates by rank ------------------------------------------------------------------------------


def draw_ranks(view: shared.Here) -> None:
    """Rates in order of size at every snapshot."""
    found = answers_population.ranks(view.store.digest, view.run)
    several = len(view.card.steps) > 1
    if found is None:
        shared.caption("Rates by rank.")
        _missing("this store has no rates of the run")
        return
    mean = float(found.mean[view.k])
    shared.caption(
        "Rates by rank",
        f"{'at every snapshot, early ones blue, late ones in ink' if several else view.when}; "
        f"features in order of their rate. Dotted, the null: {share(mean, 2)}, the rate of every "
        f"feature if all fired alike{f' at {view.when}' if several else ''}.",
        f"In vermilion {view.when}." if several else "",
    )
    exporting.chart(
        view, ranks_figure(view.card.steps, found, view.step, view.palette), "rates-by-rank",
        f"rates of the features of {view.run} by rank, log-log", lambda: ranks_table(view),
    )


def ranks_table(view: shared.Here) -> pd.DataFrame:
    """The curves, one row per rank."""
    found = answers_population.ranks(view.store.digest, view.run)
    if found is None:
        return pd.DataFrame({"rank": []})
    return pd.DataFrame({"rank": found.ranks, **{
        step_name(step): found.rates[k] for k, step in enumerate(view.card.steps)}})


# --- quantile bands -----------------------------------------------------------------------------


def draw_bands(view: shared.Here) -> None:
    """Norm and rate of live features through training."""
    found = answers_population.bands(view.store.digest, view.run)
    noise = (" At step 0 rows are noise, so the norms there are the null that later ones are read "
             "against; rates have none, as they follow from norm and threshold."
             if view.card.steps[0] == 0 else
             " They have no null of their own: births above are held against the noise floor.")
    shared.caption(
        "Norm and rate of live features:", f"5 to 95 %, quartiles and median.{noise}")
    if not found:
        _missing("this store has no norms and no rates of the run")
        return
    n_rows = len(view.store.token_texts(view.card.model))
    exporting.chart(
        view, bands_figure(view.card.steps, found, n_rows, view.step, view.palette), "bands",
        f"quantiles of norm and rate of {view.run} by step", lambda: bands_table(view),
    )


def bands_table(view: shared.Here) -> pd.DataFrame:
    """The quantiles, one row per snapshot."""
    found: dict = {"step": view.card.steps}
    for name, band in answers_population.bands(view.store.digest, view.run).items():
        for i, quantile in enumerate(("5", "25", "50", "75", "95")):
            found[f"{name}_{quantile}"] = [row[i] for row in band.rows]
    return pd.DataFrame(found)


# --- turns --------------------------------------------------------------------------------------


def draw_rotation(view: shared.Here) -> None:
    """How far directions turn between neighbouring snapshots."""
    found = answers_population.spectrum(view.store.digest, view.run)
    shared.caption("Rotation spectrum.", "" if found is None else (
        "Features by how far their direction turns from one snapshot to the next, 1 − cos (§7.2), "
        "by logarithm on both axes; a pair lies between its steps. Red, the null: two random "
        f"directions in {view.card.d_model:,} dimensions turn by 1, within "
        f"{pair_cosine(view.card.d_model):.2f} of it in 19 of 20 cases. Gaps between steps are "
        "uneven, so a tall column is not a fast one."
    ))
    if found is None:
        _missing("this store has no rotations of the run")
        return
    exporting.chart(
        view,
        rotation_figure(view.card.steps, found, pair_cosine(view.card.d_model), view.step,
                        view.palette),
        "turns", f"rotations between neighbouring snapshots of {view.run}, counted",
        lambda: rotation_table(view),
    )


def rotation_table(view: shared.Here) -> pd.DataFrame:
    """The counts, one row per bin."""
    found = answers_population.spectrum(view.store.digest, view.run)
    if found is None:
        return pd.DataFrame({"from": []})
    steps = view.card.steps
    return pd.DataFrame({"from": found.edges[:-1].round(6), "to": found.edges[1:].round(6), **{
        f"{steps[k]}-{steps[k + 1]}": found.counts[k] for k in range(len(steps) - 1)}})


# --- mean cosine --------------------------------------------------------------------------------


def draw_cosines(view: shared.Here) -> None:
    """The mean cosine between directions at any two snapshots."""
    found = answers_population.mean_cosines(view.store.digest, view.run)
    if found is None:
        shared.caption("Mean cosine of the directions, snapshot by snapshot.")
        _missing(answers.not_derived(view.run))
        return
    alive = view.card.n_alive
    shared.caption(
        "Mean cosine of the directions, snapshot by snapshot,",
        f"over {alive:,} features that fire. The null is 0: for random directions the mean stays "
        f"within ±{1.96 / math.sqrt(view.card.d_model * max(1, alive)):.1g} in 19 of 20 cases.",
    )
    exporting.chart(
        view, cosine_square(view.card.steps, found, view.step, view.palette), "cosines",
        f"mean cosine of the directions of {view.run} at every two snapshots",
        lambda: cosines_table(view), width=WIDTH,
    )


def cosines_table(view: shared.Here) -> pd.DataFrame:
    """The square of mean cosines, one row per snapshot; empty where the store has none."""
    steps = view.card.steps
    found = answers_population.mean_cosines(view.store.digest, view.run) or []
    return pd.DataFrame({"step": steps[: len(found)], **{
        step_name(step): [row[k] for row in found] for k, step in enumerate(steps)}})
