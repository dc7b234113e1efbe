"""Figures are dictionaries that Plotly accepts, drawn from numbers without a plotting library."""

import copy
import json
import math
import subprocess
import sys
from dataclasses import replace

import plotly.graph_objects as go
import pytest

from atlas.axes import edges, plain, position, spread, step_ticks, tidy
from atlas.courses import (
    MapRow,
    ScoreCourse,
    feature_map,
    score_course,
)
from atlas.figures import (
    PANELS,
    Band,
    Life,
    life,
    life_skeleton,
    log_rates,
    unchecked,
)
from atlas.life_marks import Level, Other, Span
from atlas.theme import DARK, LIGHT, contrast

STEPS = [0, 1, 4, 16, 64, 143_000]
K = len(STEPS)
PALETTES = pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])


def bands() -> dict[str, Band]:
    rows = [[0.1, 0.2, 0.3, 0.4, 0.5]] * K
    first_missing = [[None] * 5, *rows[1:]]
    return {"norm": Band(rows), "rate": Band(rows), "rotation": Band(first_missing),
            "to_terminal": Band(rows)}


def a_life(birth: int | None = 4) -> Life:
    return Life([0.0, 0.1, 0.9, 1.0, 1.0, 1.2], [0.0, 0.001, 0.01, 0.1, 0.1, 1.0],
                [None, 1.0, 0.5, 0.1, math.nan, 0.0], [1.0, 0.9, 0.5, 0.2, 0.1, 0.0], birth)


@PALETTES
def test_a_life_is_a_figure_with_the_feature_in_every_panel(palette) -> None:
    skeleton = life_skeleton(STEPS, bands(), 4096, palette)
    figure = life(skeleton, STEPS, a_life(), 16, 4096, palette)
    go.Figure(figure)
    lines = {t["name"]: t for t in figure["data"] if "name" in t}
    assert list(lines) == [key for key, *_ in PANELS]
    assert lines["norm"]["y"] == [0.0, 0.1, 0.9, 1.0, 1.0, 1.2]
    assert lines["rotation"]["y"][0] is None
    assert lines["rotation"]["y"][4] is None
    assert "1.00 at step 16" in figure["layout"]["annotations"][0]["text"]
    assert any("born 4" in a["text"] for a in figure["layout"]["annotations"])


def test_the_window_goes_through_every_panel_and_is_named() -> None:
    skeleton = life_skeleton(STEPS, bands(), 4096, LIGHT, window=Span(3, 30.6))
    figure = life(skeleton, STEPS, a_life(None), 16, 4096, LIGHT)
    go.Figure(figure)
    bare = life(life_skeleton(STEPS, bands(), 4096, LIGHT), STEPS, a_life(None), 16, 4096, LIGHT)
    more = [s for s in figure["layout"]["shapes"] if s not in bare["layout"]["shapes"]]
    assert {s["yref"] for s in more} == {f"{y} domain" for y in ("y", "y2", "y3", "y4")}
    assert {(s["x0"], s["x1"]) for s in more} == {
        (round(position(3), 4), round(position(30.6), 4))}
    assert "reorganisation window" in [a["text"] for a in figure["layout"]["annotations"]]


def test_a_change_of_level_is_a_diamond_on_its_interval() -> None:
    skeleton = life_skeleton(STEPS, bands(), 4096, LIGHT)
    found = replace(a_life(), changes=[Level(4, 1, 16, 0.01), Level(64, 64, 64, 0.02)])
    figure = life(skeleton, STEPS, found, 16, 4096, LIGHT)
    go.Figure(figure)
    (trace,) = (t for t in figure["data"] if t.get("name") == "change of level")
    marked = [x for x, symbol in zip(trace["x"], trace["marker"]["symbol"], strict=True)
              if symbol == "diamond"]
    assert marked == [round(position(4), 4), round(position(64), 4)]
    assert min(x for x in trace["x"] if x is not None) == round(position(1), 4)
    assert "90 %: 1 to 16" in trace["text"][0]
    top = figure["layout"]["yaxis"]["range"][1]
    assert all(1.2 < y < top for y in trace["y"] if y is not None)  # over the line, in the panel


def test_brackets_that_touch_lie_in_two_rows() -> None:
    skeleton = life_skeleton(STEPS, bands(), 4096, LIGHT)
    found = replace(a_life(), changes=[Level(1, 0, 4, 0.01), Level(16, 4, 16, 0.01),
                                       Level(64, 64, 64, 0.01)])
    (trace,) = (t for t in life(skeleton, STEPS, found, 16, 4096, LIGHT)["data"]
                if t.get("name") == "change of level")
    rows = [y for y, symbol in zip(trace["y"], trace["marker"]["symbol"], strict=True)
            if symbol == "diamond"]
    assert rows[0] == rows[2] > rows[1] > 1.2


def test_other_lives_are_thin_named_and_inside_the_panel() -> None:
    skeleton = life_skeleton(STEPS, bands(), 4096, LIGHT)
    others = [Other(f"#{i}<", [float(i)] * K) for i in range(6)]
    figure = life(skeleton, STEPS, replace(a_life(), others=others), 16, 4096, LIGHT)
    go.Figure(figure)
    lines = [t for t in figure["data"] if t.get("name", "").startswith("#")]
    assert len(lines) == 4
    colours = {t["line"]["color"] for t in lines}
    assert len(colours) == 4
    assert LIGHT.accent not in colours
    assert figure["layout"]["yaxis"]["range"][1] > 3
    names = [a for a in figure["layout"]["annotations"] if a["text"].startswith("#")]
    assert [a["font"]["color"] for a in names] == [t["line"]["color"] for t in lines]
    assert names[0]["text"] == "#0&lt;"


def test_the_contribution_is_read_with_the_norm() -> None:
    skeleton = life_skeleton(STEPS, bands(), 4096, LIGHT)
    found = replace(a_life(), contribution=[0.5, None, 0.25, 0.1, 0.1, 0.1])
    lines = {t["name"]: t for t in life(skeleton, STEPS, found, 16, 4096, LIGHT)["data"]
             if "name" in t}
    assert lines["norm"]["text"][:2] == ["0.00 at 0, adds 0.500", "0.10 at 1"]
    assert "adds" not in lines["rate"]["text"][0]


def test_plotly_takes_a_figure_as_it_is() -> None:
    import plotly.io
    import plotly.tools

    figure = life(life_skeleton(STEPS, bands(), 4096, LIGHT), STEPS, a_life(), 16, 4096, LIGHT)
    taken = plotly.tools.return_figure_from_figure_or_data(unchecked(figure), True)
    assert taken is figure
    checked = plotly.tools.return_figure_from_figure_or_data(figure, True)
    assert json.loads(plotly.io.to_json(taken)) == json.loads(plotly.io.to_json(checked))


def test_filling_leaves_the_skeleton_as_it_was() -> None:
    skeleton = life_skeleton(STEPS, bands(), 4096, LIGHT)
    before = copy.deepcopy(skeleton)
    life(skeleton, STEPS, a_life(), 16, 4096, LIGHT)
    assert skeleton == before


def test_a_feature_that_was_never_born_has_no_birth_line() -> None:
    skeleton = life_skeleton(STEPS, bands(), 4096, LIGHT)
    born = life(skeleton, STEPS, a_life(4), 16, 4096, LIGHT)
    never = life(skeleton, STEPS, a_life(None), 16, 4096, LIGHT)
    assert len(born["layout"]["shapes"]) == 2 * len(never["layout"]["shapes"])


def test_rate_zero_is_drawn_on_a_line_of_its_own() -> None:
    zero, least, one = log_rates([0.0, 1 / 4096, 1.0], 1 / 4096)
    assert zero < least < one == 0.0
    assert log_rates([None, math.nan], 1 / 4096) == [None, None]


def test_step_zero_is_on_the_axis_and_the_last_tick_stands_free() -> None:
    values, labels = step_ticks(STEPS)
    assert values[0] == 0.0
    assert labels[0] == "0"
    assert labels[-1] == "143k"
    assert "100k" not in labels
    assert values == sorted(values)


def test_cells_meet_between_the_steps() -> None:
    borders = edges(STEPS)
    assert len(borders) == K + 1
    assert all(a < position(s) < b for a, s, b in zip(borders, STEPS, borders[1:], strict=False))
    assert edges([7])[0] < position(7) < edges([7])[1]


def test_labels_are_pushed_apart_in_order_and_stay_inside() -> None:
    placed = spread([1.0, 1.01, 0.99, 5.0], 0.5, 0.0, 5.0)
    assert placed[2] < placed[0] < placed[1] < placed[3] <= 5.0
    gaps = [b - a for a, b in zip(sorted(placed), sorted(placed)[1:], strict=False)]
    assert min(gaps) >= 0.5 - 1e-9


@PALETTES
def test_courses_are_figures(palette) -> None:
    found = ScoreCourse(STEPS, [1.0] * K, [0.0] * K, [0.7] * K, [0.3] * K)
    go.Figure(score_course(found, 16, palette))
    rows = [MapRow("17  ␣the", "feature 17", [None, 0.1, -0.2, 0.0, 0.5, -0.5])]
    figure = feature_map(STEPS, rows, 16, palette)
    go.Figure(figure)
    assert figure["data"][0]["zmin"] == -figure["data"][0]["zmax"] == -0.5


def test_tokens_cannot_speak_html_or_templates_in_a_figure() -> None:
    assert plain("<a href='x'>%{y}</a>") == "&lt;a href='x'&gt;%&#123;y}&lt;/a&gt;"


def test_what_is_not_a_number_is_drawn_as_nothing() -> None:
    assert tidy([1.23456789, math.nan, None, math.inf]) == [1.2346, None, None, None]


@PALETTES
def test_text_reaches_the_contrast_of_wcag_aa(palette) -> None:
    for colour in (palette.ink, palette.muted, palette.accent, palette.counter, *palette.strands):
        assert contrast(colour, palette.paper) >= 4.5
        assert contrast(colour, palette.raised) >= 4.5


def test_drawing_needs_no_plotting_library() -> None:
    code = (
        "import sys, atlas.figures, atlas.courses, atlas.markup, atlas.sketches\n"
        "assert not {'plotly', 'streamlit', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
