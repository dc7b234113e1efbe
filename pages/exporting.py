"""Figures to take away: as SVG or PNG with a line of what they are made from, and as data.

`figures=svg` in the address draws that line into every figure and puts a camera beside it; a
figure of links, which is no picture on a page, gets a button for its file instead.
"""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import pandas as pd
import streamlit as st

from atlas import chart_tables, linked, markup
from atlas.axes import plain
from atlas.exports import csv_bytes
from atlas.linked import Drawing
from atlas.theme import MONO
from pages import shared

FORMATS = {"svg": "SVG", "png": "PNG"}
"""Value of `figures` in the address, and words for it."""
ROOM = 22
"""Pixels under a figure for the line."""
LINE, CAMERA = 13, 30
"""Pixels of a further line, and over a figure for the camera."""
WIDE = 560
"""Pixels of width from which the line fits on one."""

Table = pd.DataFrame | Callable[[], pd.DataFrame]


def asked_format() -> str | None:
    """The kind of file the reader wants figures as; None for figures to look at only."""
    found = st.query_params.get("figures")
    return found if found in FORMATS else None


def problem() -> str:
    """What to say of a kind of file that there is not; '' if all is well."""
    found = st.query_params.get("figures")
    if found in (None, "", *FORMATS):
        return ""
    return (f"Figures cannot be taken as “{shared.clip(found)}”; figures=svg and figures=png put "
            "a camera beside each.")


def made_from(view: shared.Here, note: str = "") -> str:
    """Run, hash of its data and version of the program, with what else a figure depends on."""
    try:
        number = version("readout-atlas")
    except PackageNotFoundError:  # read from a folder that was never installed
        number = "of unknown version"
    more = f" · {note}" if note else ""
    return f"{view.run} · {view.card.hash[: shared.HASH]} · Readout Atlas {number}{more}"


def file_name(view: shared.Here, key: str) -> str:
    """Name of a file of a figure, without suffix."""
    return f"{view.run.replace('/', '_')}-{key}"


def chart(
    view: shared.Here, figure: dict, key: str, alt: str, table: Table | None = None,
    note: str = "", **options: Any,
) -> None:
    """A Plotly figure, with its camera and its line where figures are taken away.

    Args:
        note: what else it depends on, such as a seed or a window.
        options: as `shared.chart` takes them.
    """
    kind = asked_format()
    if kind is None or shared.as_tables():
        shared.chart(figure, key, alt, table, **options)
        return
    layout = dict(figure["layout"])
    margin = layout.get("margin", {})
    foot, head = margin.get("b", 36), margin.get("t", 8)
    parts = plain(made_from(view, note)).split(" · ")
    narrow = layout.get("width", WIDE) < WIDE
    room = ROOM + (LINE * (len(parts) - 1) if narrow else 0)
    layout["margin"] = {**margin, "b": foot + room, "t": max(head, CAMERA)}
    layout["height"] = layout.get("height", 450) + room + max(head, CAMERA) - head
    layout["paper_bgcolor"] = view.palette.paper
    layout["annotations"] = [*layout.get("annotations", ()), {
        "x": 0, "xref": "paper", "xanchor": "left", "y": 0, "yref": "paper", "yanchor": "bottom",
        "yshift": -(foot + room - 4), "text": ("<br>" if narrow else " · ").join(parts),
        "align": "left", "showarrow": False,
        "font": {"family": MONO, "size": 9.5, "color": view.palette.muted},
    }]
    tools = {
        "displayModeBar": True, "displaylogo": False, "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": {"format": kind, "filename": file_name(view, key), "scale": 2},
    }
    shared.chart({**figure, "layout": layout}, key, alt, table, tools=tools, **options)


def drawing(
    view: shared.Here, found: Drawing, key: str, alt: str, table: Table, note: str = "",
) -> None:
    """A figure of links; where figures are taken away, with a button for its SVG."""
    if shared.as_tables():
        st.html(chart_tables.drawn(table() if callable(table) else table, alt))
        return
    st.html(linked.drawn(found, alt))
    kind = asked_format()
    if kind is None:
        return
    st.download_button(
        "This figure as SVG",
        lambda: linked.svg(found, made_from(view, note), view.palette).encode(),
        f"{file_name(view, key)}.svg", "image/svg+xml", key=f"{key}_svg", on_click="ignore",
    )
    if kind == "png":
        shared.say("This figure is made of links and not of pixels: there is an SVG of it, no PNG.")


def take_away(
    view: shared.Here, python: str, tables: dict[str, Callable[[], pd.DataFrame]], key: str
) -> None:
    """A popover with the link of the view, lines of Python, figures as files, and their data.

    Args:
        python: lines that give the same numbers.
        tables: what each figure draws, by what a button calls it.
        key: of the elements, and in the names of the files.
    """
    with st.popover("Link, code, figures, data", type="tertiary", key=f"{key}_take"):
        _heading("This view as a link")
        st.code(shared.full_link(), language=None, wrap_lines=True)
        _heading("The same in Python")
        st.code(python, language="python")
        _heading(
            "Figures as files:",
            "a camera beside each, and a line in it of run, data and version.",
        )
        st.session_state[f"{key}_figures"] = asked_format()
        st.segmented_control(
            "figures as files", list(FORMATS), format_func=FORMATS.get, key=f"{key}_figures",
            label_visibility="collapsed", on_change=shared.writes("figures", f"{key}_figures"),
        )
        _heading("The numbers behind them, as CSV")
        with st.container(horizontal=True, gap="small"):
            for name, made in tables.items():
                slug = name.replace(" ", "-")
                st.download_button(
                    name, lambda made=made: csv_bytes(made()),
                    f"{file_name(view, slug)}.csv", "text/csv", key=f"{key}_{slug}_csv",
                    on_click="ignore",
                )


def _heading(text: str, rest: str = "") -> None:
    st.html(markup.wrap(markup.caption(text, rest)))
