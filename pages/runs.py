"""Runs: which dictionaries are here, how good are they and how were they made?"""

import json
from typing import Any

import pandas as pd
import streamlit as st

from atlas import markup, sketches
from atlas.places import store_from_environment
from atlas.records import RunCard
from pages import answers, released, shared, trainings

CHARTS = 12
"""Small charts that are drawn at most."""
CARDS = ("CARD.md", "README.md")
"""Files of a store that say what it is: the bundle's, or that of a store others shared."""


def table(cards: list[RunCard]) -> pd.DataFrame:
    """One row per run, shares in per cent."""
    return pd.DataFrame(
        {
            "run": [c.run for c in cards],
            "kind": [c.kind for c in cards],
            "matrix": [c.matrix for c in cards],
            "scale": [c.d_model for c in cards],
            "d_sae": [c.d_sae for c in cards],
            "seed": [c.seed for c in cards],
            "snapshots": [len(c.steps) for c in cards],
            "explained_variance": [c.explained_variance for c in cards],
            "l0": [c.l0 for c in cards],
            "dead_rate": [100 * c.dead_rate for c in cards],
            "legible_share": [100 * c.legible_share for c in cards],
            "legible_null": [100 * c.legible_null for c in cards],
        }
    )


def draw_table(view: shared.Here, cards: list[RunCard]) -> None:
    """All runs; a click makes one the run of the view."""
    meanings = answers.comments(view.store.digest).get("run", {})
    runs = [c.run for c in cards]

    def opened() -> None:
        row = shared.picked("runs_table")
        if row is not None:
            shared.change_run(runs[row])

    c = st.column_config
    st.dataframe(
        table(cards),
        key="runs_table",
        hide_index=True,
        row_height=27,
        height=min(len(cards), 20) * 27 + 38,
        on_select=opened,
        selection_mode="single-cell",
        column_config={
            "run": c.TextColumn("run", width=330, help=meanings.get("run")),
            "kind": c.TextColumn("kind", width=86, help=meanings.get("kind")),
            "matrix": c.TextColumn("matrix", width=60, help=meanings.get("matrix")),
            "scale": c.NumberColumn("d", format="%d", width=46, help=meanings.get("d_model")),
            "d_sae": c.NumberColumn(
                "features", format="localized", width=70, help=meanings.get("d_sae")
            ),
            "seed": c.NumberColumn("seed", format="%d", width=48, help=meanings.get("seed")),
            "snapshots": c.NumberColumn(
                "snapshots", format="%d", width=78, help=meanings.get("steps")
            ),
            "explained_variance": c.ProgressColumn(
                "EV", format="%.3f", min_value=0.0, max_value=1.0, width=120, color="primary",
                help=meanings.get("explained_variance"),
            ),
            "l0": c.NumberColumn("L0", format="%.1f", width=54, help=meanings.get("l0")),
            "dead_rate": c.NumberColumn(
                "dead", format="%.1f%%", width=60, help=meanings.get("dead_rate")
            ),
            "legible_share": c.NumberColumn(
                "legible", format="%.1f%%", width=68, help=meanings.get("legible_share")
            ),
            "legible_null": c.NumberColumn(
                "its null", format="%.1f%%", width=66, help=meanings.get("legible_null")
            ),
        },
        alt="all runs of the store",
    )


def draw_quality(view: shared.Here, cards: list[RunCard], fidelity: pd.DataFrame) -> None:
    """Explained variance by snapshot, one small chart per run that has pretraining steps."""
    found = [c for c in cards if not c.problem and c.revision is None]
    found.sort(key=lambda c: (c.run != view.run, len(c.steps) == 1, c.run))
    if not found:
        return
    more = "" if len(found) <= CHARTS else (
        f" {CHARTS} of {len(found)} are drawn; filter by model or kind for others."
    )
    shared.caption(
        "Explained variance by step,",
        f"each run's own snapshots on one log step axis. A run of one snapshot is a dot.{more}",
    )
    by_run = {str(run): rows for run, rows in fidelity.groupby("run")}
    curves = []
    for card in sorted(found[:CHARTS], key=lambda c: c.run):
        values = [None if pd.isna(v) else float(v)
                  for v in by_run[card.run]["explained_variance"]]
        if len(card.steps) == 1:
            values = [card.explained_variance]
        curves.append(
            sketches.Curve(
                f"{card.model} · {card.matrix} · {card.kind}",
                card.steps,
                values,
                f"{card.d_sae:,} features, seed {card.seed}, L0 {card.l0:.1f}",
                card.run == view.run,
            )
        )
    st.html(sketches.small_multiples(curves))


def flat(found: dict[str, Any], skip: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    """A nested record as pairs of name and short text."""
    pairs = []
    for name, value in found.items():
        if name in skip or isinstance(value, list):
            continue
        if isinstance(value, dict):
            pairs += [(f"{name}.{inner}", text) for inner, text in flat(value)]
        elif isinstance(value, float):
            pairs.append((name, f"{value:.6g}"))
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            is_hash = len(text) == 64 and text.isalnum()
            pairs.append((name, f"{text[:16]}…" if is_hash else shared.clip(text, 120)))
    return pairs


def draw_made(view: shared.Here) -> None:
    """How the current run was made: recipe, recorded quality, provenance."""
    card = view.card
    shared.caption("How it was made:", f"{card.run}.")
    training = card.config.get("training", {})
    recipe = {
        **{k: v for k, v in card.config.items() if not isinstance(v, dict)},
        **card.config.get("config", {}),
        **(training if isinstance(training, dict) else {}),
    }
    left, right = st.columns([1.6, 1], gap="large")
    with left:
        shared.caption("", "Recipe")
        st.html(markup.definitions(flat(recipe, skip=("steps", "run")), code=True, columns=2))
        st.space("small")
        shared.caption("", "Quality, as recorded by the training")
        st.html(markup.definitions(flat(card.metrics), code=True, columns=2))
        if card.cut:
            shared.caption("Sparse code:", f"{card.cut}.")
    with right:
        shared.caption("", "Provenance")
        st.html(markup.definitions(
            [
                ("file", card.file.rsplit("/", 1)[-1]),
                ("bytes", f"{card.bytes:,}"),
                ("built", card.created),
                ("digest", f"{card.hash[:16]}…"),
                *flat(card.provenance, skip=("inputs",)),
            ],
            code=True,
        ))
        inputs = card.provenance.get("inputs", {})
        if inputs:
            with st.expander(f"{len(inputs)} input files and their hashes"):
                st.html(markup.definitions(
                    [(name, f"sha256 {str(value)[:16]}…") for name, value in inputs.items()],
                    code=True,
                ))


def draw_card(view: shared.Here) -> None:
    """The store's card, as plain text: it is a file of the store, not of ours."""
    found = (store_from_environment() / name for name in CARDS)
    path = next((p for p in found if p.is_file()), None)
    if path is None:
        return
    with st.expander("Card of this store"):
        st.code(path.read_text(encoding="utf8", errors="replace"), language=None, wrap_lines=True)


def draw_health(view: shared.Here, cards: list[RunCard]) -> None:
    """What can and cannot be read."""
    broken = [c for c in cards if c.problem]
    size = sum(c.bytes for c in cards) / 1e6
    shared.caption("Health of the store.")
    shared.say(
        f"{len(cards)} runs in {store_from_environment()}, {size:,.1f} MB, generation "
        f"{view.store.digest[:16]}. "
        + ("All files can be read. " if not broken else f"{len(broken)} cannot be read. ")
        + "`readout-atlas doctor` also checks every hash.",
        "bad" if broken else "good",
    )
    for card in broken:
        shared.say(f"{card.run}: {card.problem}", "bad")


def main() -> None:
    """Draw the page."""
    view = shared.here()
    cards = view.store.runs()
    shared.settle(view, "runs")
    logs = trainings.look()
    trainings.draw(view, logs, going=True)
    wish = released.draw_wish(cards)
    listed = [c for c in cards if wish.keeps(c.model, c.kind)]
    fidelity = view.store.fidelity()
    shared.caption(
        "The dictionaries of this store.",
        "EV is read beside L0, the legible share beside its null: the same test with shuffled "
        "tokens. Click a row to look at that run.",
    )
    if listed:
        draw_table(view, listed)
        draw_quality(view, listed, fidelity)
    else:
        shared.say("No run of this store is of this model and kind.")
    st.space("small")
    trainings.draw(view, logs, going=False)
    released.draw(view, wish, fidelity)
    st.space("small")
    draw_made(view)
    draw_card(view)
    draw_health(view, cards)


main()
