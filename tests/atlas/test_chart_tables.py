"""Figures as tables: the readings, the names, the caption, and nothing unescaped."""

import re

import pandas as pd
import pytest

from atlas import chart_tables, courses, figures, theme
from atlas.row_figures import Strand, row_figure

STEPS = (0, 1, 10, 1000)


def strands(*curves: Strand) -> pd.DataFrame:
    return chart_tables.table_of(row_figure(STEPS, None, [], curves, [], 10, theme.LIGHT))


def test_lines_over_the_same_steps_share_rows() -> None:
    frame = strands(Strand("a <b>", [1.0, 2.0, 3.0, 4.0], "one & <two>"),
                    Strand("b", [0.5, None, 0.25, 0.125], "b"))
    assert frame.columns.tolist() == ["at", "one & <two>", "b"]
    assert frame["at"].tolist() == list(STEPS)
    assert frame["b"].tolist()[2:] == [0.25, 0.125]


def test_lines_of_one_name_keep_their_columns() -> None:
    frame = strands(*(Strand("x", [float(i)] * 4, "x") for i in range(3)))
    assert frame.shape == (4, 4)
    assert len(set(frame.columns)) == 4


def test_the_population_has_no_reading_and_the_feature_has() -> None:
    bands = {key: figures.Band([[0.1, 0.2, 0.3, 0.4, 0.5]] * 4) for key in ("norm", "rate")}
    skeleton = figures.life_skeleton(STEPS, bands, 50, theme.LIGHT)
    life = figures.Life([1.0, 2.0, 3.0, 4.0], [0.1] * 4, [None, 0.3, 0.2, 0.1], [0.5] * 4, 10)
    frame = chart_tables.table_of(figures.life(skeleton, STEPS, life, 10, 50, theme.LIGHT))
    assert frame.columns.tolist() == ["at", "norm", "rate", "rotation", "to_terminal"]
    assert frame["norm"].tolist() == [1.0, 2.0, 3.0, 4.0]
    assert frame["at"].tolist() == list(STEPS)


def test_cells_are_rows_named_by_the_axis_from_the_top() -> None:
    rows = [courses.MapRow("first <i>", "first", [1.0, None, 2.0, 3.0]),
            courses.MapRow("second", "second", [0.0, 0.5, 0.0, -1.0])]
    frame = chart_tables.table_of(courses.feature_map(STEPS, rows, 10, theme.LIGHT))
    assert frame["row"].tolist() == ["first <i>", "second"]
    assert frame.columns.tolist() == ["row", *(str(step) for step in STEPS)]
    assert frame["1000"].tolist() == [3.0, -1.0]


def test_lines_over_other_places_follow_one_another() -> None:
    figure = {"data": [{"name": "a", "x": [1, 2], "y": [3, 4]}, {"x": [5], "y": [6]}]}
    frame = chart_tables.table_of(figure)
    assert frame["line"].tolist() == ["a", "a", "line 2"]
    assert frame["value"].tolist() == [3, 4, 6]


@pytest.mark.parametrize("figure", [{}, {"data": []}, {"data": [{"y": None}]},
                                    {"data": [{"x": [1], "y": [1], "hoverinfo": "skip"}]}])
def test_an_empty_figure_is_an_empty_table(figure: dict) -> None:
    assert len(chart_tables.table_of(figure)) == 0
    assert "<caption>nothing</caption>" in chart_tables.drawn(chart_tables.table_of(figure),
                                                             "nothing")


def test_what_is_drawn_is_escaped_and_says_what_is_left_out() -> None:
    frame = pd.DataFrame({"<img src=x>": ["<script>", "a\u202eb"], "n": [1.5, float("nan")]})
    html = chart_tables.drawn(frame, "a <b> & c")
    assert not re.search("<(script|img|b)[ >]", html)
    assert "not available" in html
    assert "1.5" in html
    long = pd.DataFrame({f"c{i}": range(300) for i in range(50)})
    html = chart_tables.drawn(long, "long")
    assert "the first 200 of 300 rows and 40 of 50 columns" in html
    assert html.count("<tr>") == 201
    assert html.count("<th ") == 40


def test_numbers_are_short_and_signed_with_a_minus() -> None:
    frame = pd.DataFrame({"x": [123456.0, -0.000123456, 2.0], "n": [1_000_000, -5, 0]})
    html = chart_tables.drawn(frame, "x")
    for word in ("123,456", "−0.0001235", ">2<", "1,000,000", "−5"):
        assert word in html
