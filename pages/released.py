"""The released dictionaries on the Runs page: how good, which are here, how to get the others."""

import re
from dataclasses import dataclass

import pandas as pd
import streamlit as st

from atlas import markup
from atlas.inventory import Released, find_released, released
from atlas.records import RunCard
from pages import shared

KINDS = ("crosscoder", "sae", "prism")
ALL = "all"
ROWS = 18
"""Rows of the table that are seen at once."""
DASH = "–"


@dataclass(frozen=True)
class Wish:
    """Which dictionaries are listed; None lists all."""

    model: str | None
    kind: str | None

    def keeps(self, model: str, kind: str) -> bool:
        """Whether a dictionary of this model and kind is listed."""
        return self.model in (None, model) and self.kind in (None, kind)


def draw_wish(cards: list[RunCard]) -> Wish:
    """The two filters, over what is here and what is released."""
    models = sorted({c.model for c in cards} | {e.model for e in released()})
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        return Wish(_choice("model", models), _choice("kind", list(KINDS)))


def _choice(name: str, options: list[str]) -> str | None:
    asked = st.query_params.get(name)
    if asked is not None and asked not in options:
        shared.say(f"“{shared.clip(asked)}” is no {name} here; all are listed.", "bad")
        asked = None
    key = f"runs_{name}"
    st.session_state[key] = asked or ALL
    st.selectbox(
        name, [ALL, *options], key=key, width=220,
        on_change=shared.writes(name, key, lambda value: None if value == ALL else value),
    )
    return asked


def natural(run: str) -> list[tuple[int, str]]:
    """A key that puts step9 before step10."""
    return [(int(part), "") if part.isdecimal() else (-1, part)
            for part in re.split(r"(\d+)", run) if part]


def table(entries: list[Released], here: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """One row per released dictionary; `here` has EV and L0 of those in this store."""
    found = [here.get(e.run) for e in entries]
    return pd.DataFrame(
        {
            "run": [e.run for e in entries],
            "kind": [e.kind for e in entries],
            "d_sae": [e.d_sae for e in entries],
            "snapshots": [e.n_snapshots for e in entries],
            "explained_variance": [_text(e.explained_variance, 3) for e in entries],
            "explained_variance_here": [_text(f[0], 3) if f else DASH for f in found],
            "l0": [_text(e.l0, 0) for e in entries],
            "l0_here": [_text(f[1], 0) if f else DASH for f in found],
            "size": [e.dictionary_bytes / 1e9 for e in entries],
            "state": ["published here" if f else "not here" for f in found],
        }
    )


def _text(value: float | None, digits: int) -> str:
    return DASH if value is None or value != value else f"{value:,.{digits}f}"


def measured(fidelity: pd.DataFrame) -> dict[str, tuple[float, float]]:
    """EV and L0 of every run of the store over its snapshots.

    Standardised rows have the same squared length at every snapshot, so the mean of the
    snapshots is the figure over all of them.
    """
    means = fidelity.groupby("run")[["explained_variance", "l0"]].mean()
    return {str(row.Index): (row.explained_variance, row.l0) for row in means.itertuples()}


def draw(view: shared.Here, wish: Wish, fidelity: pd.DataFrame) -> None:
    """The table, and the command that builds the dictionary that was clicked."""
    entries = sorted(
        (e for e in released() if wish.keeps(e.model, e.kind)),
        key=lambda e: (e.model, e.matrix, natural(e.run)),
    )
    names = {card.run for card in view.store.runs()}
    here = {run: found for run, found in measured(fidelity).items() if run in names}
    count = sum(e.run in here for e in entries)
    shared.caption(
        "Released dictionaries.",
        f"{len(entries)} of {len(released())} are listed, {count} of them in this store. EV and L0 "
        "as released stand beside those measured here; a dash is one that is not known or not "
        "here. Click a row for the command that builds it.",
    )
    if not entries:
        shared.say("No released dictionary is of this model and kind.")
        return
    _draw_table(entries, here)
    asked = st.query_params.get("released")
    entry = find_released(asked) if asked else None
    if asked and entry is None:
        shared.say(f"“{shared.clip(asked)}” is no released dictionary.", "bad")
    if entry is not None:
        _draw_command(view, entry, entry.run in here)


def _draw_command(view: shared.Here, entry: Released, here: bool) -> None:
    sizes = f"{entry.dictionary_bytes / 1e9:,.1f} GB of dictionary"
    if entry.snapshot_bytes:
        sizes += f" and {entry.snapshot_bytes / 1e9:,.1f} GB of snapshots"
    shared.caption(
        f"{entry.run}:",
        "it is in this store; the command checks that it is up to date." if here
        else f"not here. The command fetches {sizes}, computes what the pages need and lists it; "
        "with plan in the place of build it says how long that takes.",
    )
    st.code(f"readout-atlas build {entry.run}", language="sh", wrap_lines=True)
    if here:
        href = shared.href("browse", view, run=entry.run)
        st.html(markup.wrap(markup.link("Open its features", href)))


def _draw_table(entries: list[Released], here: dict[str, tuple[float, float]]) -> None:
    runs = [entry.run for entry in entries]

    def opened() -> None:
        row = shared.picked("released_table")
        if row is not None:
            shared.address(released=runs[row])

    c = st.column_config
    st.dataframe(
        table(entries, here),
        key="released_table",
        hide_index=True,
        row_height=27,
        height=min(len(entries), ROWS) * 27 + 38,
        on_select=opened,
        selection_mode="single-cell",
        column_config={
            "run": c.TextColumn("released dictionary", width=390),
            "kind": c.TextColumn("kind", width=86),
            "d_sae": c.NumberColumn("features", format="localized", width=76),
            "snapshots": c.NumberColumn("snapshots", format="%d", width=78),
            "explained_variance": c.TextColumn(
                "EV", width=64, alignment="right",
                help="As printed on the release card; of a prism, rowEV.",
            ),
            "explained_variance_here": c.TextColumn(
                "EV here", width=72, alignment="right", help="As measured by the build here."
            ),
            "l0": c.TextColumn(
                "L0", width=64, alignment="right", help="As released; of a prism, its k."
            ),
            "l0_here": c.TextColumn(
                "L0 here", width=72, alignment="right", help="As measured by the build here."
            ),
            "size": c.NumberColumn(
                "GB", format="%.1f", width=52, help="Size of the float32 dictionary."
            ),
            "state": c.TextColumn("state", width=120),
        },
        alt="released dictionaries and their state here",
    )
