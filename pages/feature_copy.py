"""What can be taken from a feature's page: its link, the same as code, its numbers as files."""

import dataclasses

import streamlit as st

from atlas import feature_export, markup
from atlas.exports import csv_bytes
from atlas.records import FeatureCard
from pages import answers, shared


def draw(view: shared.Here, card: FeatureCard) -> None:
    """A popover; files are written when they are asked for."""
    with st.popover("Link, code, data", type="tertiary", key="feature_copy"):
        feature, folder = card.info.feature, view.store.folder
        _heading("This view as a link")
        st.code(shared.full_link(), language=None, wrap_lines=True)
        _heading("The same in Python")
        st.code(feature_export.python_of(folder, view.run, feature, view.k), language="python")
        _heading("The same in SQL, for the duckdb command line")
        st.code(feature_export.sql_of(folder, view.card, feature), language="sql")
        _heading("The numbers of this page")
        _downloads(view, card)


def _heading(text: str) -> None:
    st.html(markup.wrap(markup.caption("", text)))


def _downloads(view: shared.Here, card: FeatureCard) -> None:
    """Files that are written when their button is pressed."""
    feature = card.info.feature
    name = f"{view.run.replace('/', '_')}-feature{feature}"

    def table() -> bytes:
        return csv_bytes(feature_export.life_table(card))

    def everything() -> bytes:
        digest, run = view.store.digest, view.run
        found = answers.examples(digest, run, feature)
        return feature_export.as_json(view.card, card, {
            "changes": [dataclasses.asdict(c) for c in answers.level_changes(digest, run, feature)],
            "similarity": answers.similarity(digest, run, feature),
            "matches": [dataclasses.asdict(m) for m in answers.matches(digest, run, feature)],
            "examples": [
                {"tokens": list(e.tokens), "z": e.z.tolist(), "peak": e.peak} for e in found.found
            ],
            "not_available": found.reason,
        })

    def directions() -> bytes:
        return feature_export.as_npy(
            feature_export.directions(view.store.folder, view.card, feature)
        )

    with st.container(horizontal=True, gap="small"):
        _button("Life, CSV", table, f"{name}.csv", "text/csv", "feature_csv")
        _button("Everything, JSON", everything, f"{name}.json", "application/json", "feature_json")
        if feature_export.has_directions(view.store.folder, view.card):
            _button("Directions, NPY", directions, f"{name}.npy", "application/octet-stream",
                    "feature_npy")
    if not feature_export.has_directions(view.store.folder, view.card):
        shared.say("Its directions are not available, because the run's weights are not in this "
                   "store.")


def _button(label: str, made: object, name: str, mime: str, key: str) -> None:
    st.download_button(label, made, name, mime, key=key, on_click="ignore")
