"""What plainer codes of the matrix explain beside the dictionary, snapshot by snapshot."""

import numpy as np
import pandas as pd
import streamlit as st

from atlas import dense_figures, markup
from atlas.dense import PCA_RANKS
from atlas.dense_figures import Curve
from atlas.turnover import MatrixCourse
from pages import answers, exporting, shared
from pages import answers_controls as controls


def draw(view: shared.Here, course: MatrixCourse | None) -> None:
    """The curves with what is missing of them."""
    shared.caption(
        "What plainer codes explain.",
        "Shares of the centred rows’ squared length at each snapshot, where the dictionary’s and "
        "the static PCA’s mean the same. The PCA of all snapshots side by side is fitted to rows "
        "that are not scaled: it serves the snapshots with long rows first, and its share over all "
        f"of them ({_overall(view)}) is not the dictionary’s "
        f"({markup.share(view.card.explained_variance)}), which weighs all alike. The endpoint "
        "line puts every row between its first and its last place, so it is exact at both ends.",
        tail=_null(view, course),
    )
    if course is None:
        shared.say(f"Not available, because {answers.not_derived(view.run)}.")
        return
    left, right = st.columns((13, 9), gap="large")
    with left:
        exporting.chart(
            view,
            dense_figures.explained_figure(
                view.card.steps, curves(view, course), view.step, view.palette),
            "control_explained", f"share of {view.card.matrix} that six codes explain, by step",
            lambda: table(view, course),
        )
    with right:
        st.html(markup.wrap(markup.definitions(_readings(view, course))))


def table(view: shared.Here, course: MatrixCourse) -> pd.DataFrame:
    """The explained shares, one row per code and step."""
    return dense_figures.explained_table(curves(view, course))


def rank_place(view: shared.Here) -> int:
    """Which of the static PCA's ranks is nearest the dictionary's L0, by their ratio."""
    usual = [i for i, rank in enumerate(PCA_RANKS) if rank < view.card.d_model] or [0]
    l0 = max(view.card.l0, 1.0) if np.isfinite(view.card.l0) else 1.0
    return min(usual, key=lambda i: abs(np.log(PCA_RANKS[i] / l0)))


def curves(view: shared.Here, course: MatrixCourse) -> list[Curve]:
    """The dictionary, the plain codes, and codes of single snapshots where there are any."""
    steps = view.card.steps
    place = rank_place(view)
    rank = PCA_RANKS[place]
    own = answers.births(view.store.digest, view.run)["explained_variance"].to_numpy(float)
    noise = controls.noise(
        len(view.store.token_texts(view.card.model)), view.card.d_model).explained[place]
    found = [
        Curve("dictionary", steps, own, "accent", width=2.6),
        Curve(f"PCA of the snapshot, rank {rank}", steps, course.pca[:, place], "1"),
        Curve(f"PCA of all snapshots, rank {_rank(view)}", steps, course.concatenated_pca, "2",
              dash="6px,3px"),
        Curve("line from first to last", steps, course.endpoint, "3"),
        Curve(f"noise rows, PCA of rank {rank}", steps, np.full(len(steps), noise), "muted",
              dash="1px,3px", width=1.2),
    ]
    if alone := controls.alone(view.store.digest, view.run):
        found.append(Curve(
            "SAE of the snapshot", [one.step for one in alone],
            np.array([one.explained_variance for one in alone]), "4", points=True,
            words=[f"<br>{one.d_sae:,} features, L0 {one.l0:,.0f}" for one in alone]))
    if held := controls.held_out(view.store.digest, view.run):
        found.append(Curve(
            "held-out snapshot", [one.step for one in held],
            np.array([one.explained_variance for one in held]), "accent", points=True,
            words=[f"<br>nearer head {markup.share(one.nearest)}, rows between their neighbours "
                   f"{markup.share(one.between)}" for one in held]))
    return found


def _rank(view: shared.Here) -> str:
    found = view.card.statistics.get("concatenated_rank")
    return f"{found:,}" if isinstance(found, int) else markup.NOT_AVAILABLE


def _overall(view: shared.Here) -> str:
    found = view.card.statistics.get("concatenated_pca")
    return markup.share(found) if isinstance(found, float) else markup.NOT_AVAILABLE


def _null(view: shared.Here, course: MatrixCourse | None) -> str:
    if course is None:
        return ""
    rank = PCA_RANKS[rank_place(view)]
    return f"The null, dotted: what rank {rank} explains of as many rows of noise."


def _readings(view: shared.Here, course: MatrixCourse) -> list[tuple[str, str]]:
    """Each code in words: its numbers per row, what it explains at the step; or why it is not."""
    k = view.k
    found = []
    for curve in curves(view, course):
        if curve.points or curve.dash == "1px,3px":
            continue
        found.append((curve.name, f"{markup.share(float(curve.values[k]))} at {view.when}; "
                                  f"{_ends(curve.values)}"))
    if not controls.alone(view.store.digest, view.run):
        found.append(("SAE of the snapshot", (
            f"not available, because the store holds no dictionary of a single snapshot of "
            f"{view.card.model} {view.card.matrix}; `readout-atlas build RUN` adds one that the "
            "page Runs lists")))
    found.append(("held-out snapshot", _about_held_out(view)))
    return found


def _ends(values: np.ndarray) -> str:
    known = values[np.isfinite(values)]
    if not len(known):
        return "not available at any"
    return f"{markup.share(float(known.min()))} to {markup.share(float(known.max()))} over all"


def _about_held_out(view: shared.Here) -> str:
    held = controls.held_out(view.store.digest, view.run)
    if held:
        best = np.mean([one.explained_variance for one in held])
        rows, between = held[0].n_rows, np.mean([one.between for one in held])
        return (f"{markup.share(float(best))} on average over {len(held)} that the dictionary was "
                f"not trained on, through a head between its neighbours’ that adds to the sum of "
                f"all (§12; {rows:,} rows); rows interpolated between the neighbours’, without a "
                f"dictionary, explain {markup.share(float(between))}")
    kind = view.card.config.get("config", {}).get("act_fn", "jumprelu")
    if kind != "jumprelu":
        return (f"not available, because this dictionary is {kind}: only jumprelu gates a row by "
                "the norms of one snapshot, which a head between two has as well")
    return (
        "not available, because the store had no snapshot of this matrix between those of the run "
        f"when it was built; `readout-atlas build {view.run} --force` takes up later ones"
    )
