"""Tables to take away: CSV that a spreadsheet cannot mistake for a formula."""

import json
from io import BytesIO
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""How a cell begins that a spreadsheet may run, full-width signs included."""


def csv_bytes(frame: pd.DataFrame) -> bytes:
    """The frame as CSV in UTF-8, without its index.

    A text that a spreadsheet may take for a formula gets a ' before it; numbers stay numbers, a
    list is written as JSON, what is not available is an empty cell.
    """
    columns = {}
    for name in frame.columns:
        column = frame[name]
        if not pd.api.types.is_numeric_dtype(column.dtype):
            column = pa.array([_text(value) for value in column], pa.string())
        columns[_text(str(name))] = column
    options = csv.WriteOptions(quoting_style="needed")
    out = BytesIO()
    csv.write_csv(pa.table({n: pa.array(c, from_pandas=True) for n, c in columns.items()}), out,
                  options)
    return out.getvalue()


def _text(value: Any) -> str | None:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple | dict):
        value = json.dumps(value, ensure_ascii=False)
    if value is None or value != value:
        return None
    text = str(value).encode("utf8", "replace").decode("utf8")
    return f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
