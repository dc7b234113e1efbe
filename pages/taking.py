"""What can be taken away from a view: its link, the same in Python, its table."""

from collections.abc import Callable

import pandas as pd
import streamlit as st

from atlas import markup
from atlas.exports import csv_bytes
from pages import shared


def take_away(
    view: shared.Here,
    python: str,
    frame: pd.DataFrame | Callable[[], pd.DataFrame] | None = None,
    name: str = "readout-atlas",
    sql: str = "",
) -> None:
    """A popover with the link of this view, lines of Python that read it, and its table.

    Args:
        view: the view.
        python: lines that give the same numbers.
        frame: the table to download, or what makes it when it is asked for; None for none.
        name: name of the file without suffix.
        sql: a query that gives the same rows; '' for none.
    """
    with st.popover("Link, code, data", type="tertiary"):
        st.html(markup.wrap(markup.caption("This view as a link")))
        st.code(shared.full_link(), language=None, wrap_lines=True)
        st.html(markup.wrap(markup.caption("The same in Python")))
        st.code(python, language="python")
        if sql:
            st.html(markup.wrap(markup.caption("The same in SQL,", "for the duckdb shell")))
            st.code(sql, language="sql", wrap_lines=True, height=190)
        if frame is None:
            return

        def made() -> bytes:
            return csv_bytes(frame() if callable(frame) else frame)

        st.download_button(
            "Download the table as CSV", made, f"{name}.csv", "text/csv",
            key="take_table", on_click="ignore",
        )
