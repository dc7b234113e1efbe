"""Every figure as a table: for those who hear a page, or whose browser draws no figures.

A page may give its own frame; where it gives none, what the pointer would read off the figure is
put into rows. Bands of the population carry no reading and are left out.
"""

import math
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from atlas.markup import NOT_AVAILABLE, escape

ROWS = 200
"""Rows drawn at most; the caption says how many there are."""
COLUMNS = 40
"""Columns drawn at most, the first and the last ones."""


def table_of(figure: dict) -> pd.DataFrame:
    """What can be read off a figure: one column per line, or one row per line of cells.

    Lines over the same places share rows; others follow one another, with the line's name.
    Places are training steps where the figure knows them, else positions on its axis.
    """
    traces = [trace for trace in figure.get("data", ()) if trace.get("hoverinfo") != "skip"]
    cells = [trace for trace in traces if "z" in trace]
    if cells:
        return _of_cells(cells[0], figure.get("layout", {}))
    lines = [_line(trace, number) for number, trace in enumerate(traces, 1)]
    lines = [line for line in lines if len(line)]
    if not lines:
        return pd.DataFrame({"value": []})
    first = lines[0]["at"].tolist()
    if all(line["at"].tolist() == first for line in lines) and len(set(first)) == len(first):
        wide: dict[str, Any] = {"at": first}
        for line in lines:
            name = line["line"].iloc[0]
            wide[name if name not in wide else f"{name}, {len(wide)}"] = line["value"].tolist()
        return pd.DataFrame(wide)
    return pd.concat(lines, ignore_index=True)


def _line(trace: dict, number: int) -> pd.DataFrame:
    values = _listed(trace.get("y"))
    places = _listed(trace.get("customdata"))
    if len(places) != len(values) or any(isinstance(p, Sequence) and not isinstance(p, str)
                                         for p in places):
        places = _listed(trace.get("x"))
    if len(places) != len(values):
        places = list(range(1, len(values) + 1))
    return pd.DataFrame({"line": _name(trace, number), "at": places, "value": values})


def _name(trace: dict, number: int) -> str:
    """A line's name: its own, else the first line of what the pointer reads."""
    if trace.get("name"):
        return plain_words(str(trace["name"]))
    head = plain_words(re.split(r"<br>", str(trace.get("hovertemplate", "")))[0])
    return head if head and "%{" not in head else f"line {number}"


def _of_cells(trace: dict, layout: dict) -> pd.DataFrame:
    rows = [_listed(row) for row in trace["z"]]
    wide = max((len(row) for row in rows), default=0)
    custom = _listed(trace.get("customdata"))
    heads = _listed(custom[0]) if custom and not isinstance(custom[0], str | int | float) else []
    if len(heads) != wide or not all(isinstance(h, str | int | float) for h in heads):
        heads = _listed(trace.get("x"))
    if len(heads) != wide:
        heads = list(range(1, wide + 1))
    names = _listed(layout.get("yaxis", {}).get("ticktext"))
    if len(names) != len(rows):
        names = _listed(trace.get("y"))
    if len(names) != len(rows):
        names = list(range(1, len(rows) + 1))
    found = pd.DataFrame(rows, columns=[str(head) for head in heads])
    found.insert(0, "row", [plain_words(str(name)) for name in names], allow_duplicates=True)
    return found.iloc[::-1].reset_index(drop=True)  # the first row of cells lies lowest


def _listed(values: Any) -> list:
    """A list of what a figure holds, which may be an array, a tuple or nothing."""
    if values is None or isinstance(values, str):
        return []
    return values.tolist() if hasattr(values, "tolist") else list(values)


def plain_words(text: str) -> str:
    """A figure's text without its tags."""
    text = re.sub(r"<[^>]*>", "", text)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def drawn(frame: pd.DataFrame, caption: str) -> str:
    """A frame as a table of HTML, which a screen reader can walk, with its caption.

    Texts are escaped. Of more than `ROWS` rows the first are drawn, of more than `COLUMNS` columns
    the first and the last; the caption says so.
    """
    shown = frame.head(ROWS)
    more = []
    if len(frame) > len(shown):
        more.append(f"the first {len(shown)} of {len(frame):,} rows")
    if frame.shape[1] > COLUMNS:
        half = COLUMNS // 2
        more.append(f"{COLUMNS} of {frame.shape[1]} columns")
        shown = pd.concat([shown.iloc[:, :half], shown.iloc[:, -half:]], axis=1)
    words = f"{caption}; {' and '.join(more)}" if more else caption
    right = [pd.api.types.is_numeric_dtype(kind) for kind in shown.dtypes]
    head = "".join(
        f'<th scope="col"{_side(r)}>{escape(str(name))}</th>'
        for name, r in zip(shown.columns, right, strict=True)
    )
    body = "".join(
        "<tr>" + "".join(
            f"<td{_side(r)}>{escape(_word(value))}</td>"
            for value, r in zip(row, right, strict=True)
        ) + "</tr>"
        for row in shown.itertuples(index=False, name=None)
    )
    return (
        f'<div class="atl atl-instead" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="atl-table"><caption>{escape(words)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _side(right: bool) -> str:
    return ' class="r num"' if right else ""


def _word(value: Any) -> str:
    """A cell: numbers to four digits, "not available" where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return NOT_AVAILABLE
    if isinstance(value, float):
        short = f"{value:,.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
        return short.replace("-", "−")
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    return str(value)
