"""Exports that a spreadsheet reads as data."""

import csv
import io
import json

import numpy as np
import pandas as pd
import pytest

from atlas.browsing import Wish, all_rows
from atlas.exports import csv_bytes
from atlas.store import Store
from tests.tiny import SEED0


def read(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode("utf8"), newline="")))


@pytest.mark.parametrize("cell", [
    "=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=HYPERLINK("http://x")', "－1+1",
])
def test_no_cell_is_a_formula(cell):
    rows = read(csv_bytes(pd.DataFrame({"label": [cell, "plain"], cell: ["a", "b"]})))
    assert rows[0] == ["label", f"'{cell}"]
    assert [row[0] for row in rows[1:]] == [f"'{cell}", "plain"]


@pytest.mark.parametrize("cell", ["-5", "+3.5", "-1e-05", "a=b", " =1", "#7", "'x", ""])
def test_numbers_and_harmless_texts_stay(cell):
    frame = pd.DataFrame({"label": [cell, "x"]})
    assert read(csv_bytes(frame))[1] == [cell]


def test_cells_come_back_as_they_were():
    frame = pd.DataFrame({
        "whole": [1, -2, 3], "real": np.array([0.1, -0.25, np.nan], np.float32),
        "yes": [True, False, True], "text": ['a "quoted", b', "line\nbreak", None],
        "list": [[1, 2.5], np.array([1, 2]), ["=1", "ש"]],
        "odd": pd.Series(["\ud800", "🙂", "\u202eabc"], dtype=object),
    })
    rows = read(csv_bytes(frame))
    assert [row[0] for row in rows[1:]] == ["1", "-2", "3"]
    assert [row[1] for row in rows[1:]] == ["0.1", "-0.25", ""]
    assert [row[2] for row in rows[1:]] == ["true", "false", "true"]
    assert [row[3] for row in rows[1:]] == ['a "quoted", b', "line\nbreak", ""]
    assert json.loads(rows[3][4]) == ["=1", "ש"]
    assert rows[2][4] == "[1, 2]"
    assert rows[1][5] == "?"
    assert rows[2][5] == "🙂"


def test_an_empty_table_keeps_its_head():
    assert read(csv_bytes(pd.DataFrame({"a": [], "b": []}))) == [["a", "b"]]


def test_the_whole_list_goes_out_and_comes_back(tiny_store):
    frame = all_rows(Store.open(tiny_store), SEED0, 2, Wish())
    back = pd.read_csv(io.BytesIO(csv_bytes(frame)), keep_default_na=False, na_values=[""])
    assert back["feature"].tolist() == frame["feature"].tolist()
    for name in ("norm_final", "kind_p", "seeds", "measure"):
        np.testing.assert_array_equal(back[name].to_numpy(np.float32), frame[name])
    safe = [f"'{t}" if t[:1] in "=+-@" and t else t for t in frame["label"]]
    assert back["label"].fillna("").tolist() == safe
