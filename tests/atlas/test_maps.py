"""The map's figure, its scale and what a selection on it means."""

import json
import math

import numpy as np
import plotly.graph_objects as go
import pytest

from atlas import maps
from atlas.maps import Scale
from atlas.spread import MapPoints
from atlas.theme import DARK, LIGHT, contrast


def points(n: int = 6, values: np.ndarray | None = None) -> MapPoints:
    passes = np.arange(n) % 2 == 0
    return MapPoints(
        features=np.arange(100, 100 + n, dtype=np.int32),
        x=np.linspace(0, 1, n, dtype=np.float32), y=np.full(n, 0.5, np.float32),
        values=np.linspace(1, 9, n, dtype=np.float32) if values is None else values,
        passes=passes, labels=tuple(f"<b>token {i} and more tokens" for i in range(n)),
        n_total=n, n_passing=int(passes.sum()), density=np.eye(64, dtype=np.int64),
    )


def test_points_carry_their_feature_and_no_markup() -> None:
    found = points()
    figure = maps.map_figure(found, maps.scale_of("x", found.values), (), LIGHT)
    upper = figure["data"][2]
    assert upper["customdata"].tolist() == [100, 102, 104]
    assert upper["x"].tolist() == [0, 400, 800]
    assert all("<" not in text for text in upper["text"])
    assert len(figure["data"][1]["x"]) == 3
    assert "text" not in figure["data"][1]
    go.Figure(figure)


def test_a_full_map_is_small() -> None:
    found = points(1200)
    found = MapPoints(**{**vars(found), "passes": np.ones(1200, bool)})
    figure = maps.map_figure(found, maps.scale_of("x", found.values), (), DARK)
    assert len(go.Figure(figure).to_json()) < 60_000


def test_features_above_sixty_five_thousand_keep_their_index() -> None:
    found = MapPoints(**{**vars(points(2)), "features": np.array([70_000, 70_001], np.int32)})
    figure = maps.map_figure(found, maps.scale_of("x", found.values), (), LIGHT)
    assert figure["data"][2]["customdata"].tolist() == [70_000]


def test_scales_fit_their_values() -> None:
    assert maps.scale_of("x", np.array(["b", "a", "b", None], object)).names == ("b", "a")
    signed = maps.scale_of("x", np.array([-2.0, 0.0, 1.0]))
    assert signed.signed
    assert signed.low == -signed.high
    heavy = maps.scale_of("x", 10.0 ** np.linspace(-5, 0, 50), rising=True)
    assert heavy.log
    assert heavy.low > 0
    assert not maps.scale_of("x", np.linspace(1, 2, 50), rising=True).log
    flat = maps.scale_of("x", np.full(3, 0.5))
    assert flat.high > flat.low
    assert maps.scale_of("x", np.full(3, np.nan)) == Scale("x")


def test_levels_rise_and_leave_zero_to_what_is_missing() -> None:
    scale = Scale("x", low=1, high=100, log=True)
    found = maps.levels(scale, np.array([np.nan, 0.0, 1.0, 10.0, 100.0, 1e6]))
    assert found.tolist() == [0, 1, 1, 128, 255, 255]
    named = maps.levels(Scale("x", ("a", "b")), np.array(["b", None, "z", "a"], object))
    assert named.tolist() == [2, 0, 0, 1]


@pytest.mark.parametrize("p", [LIGHT, DARK])
def test_colours_are_told_apart_by_lightness_alone(p) -> None:
    along = [contrast(colour, p.paper) for colour in maps.ramp(Scale("x"), p)]
    assert along == sorted(along)
    assert along[0] > 1.7
    assert along[-1] / along[0] > 2.5


@pytest.mark.parametrize("p", [LIGHT, DARK])
def test_no_category_has_nearly_the_colour_of_the_rest(p) -> None:
    values = np.array([c for i, c in enumerate("abcdefgh") for _ in range(9 - i)], object)
    scale = maps.scale_of("x", values)
    figure = maps.map_figure(points(len(values), values), scale, (), p)
    rest, *named = dict.fromkeys(
        colour for _, colour in figure["data"][2]["marker"]["colorscale"]
    )
    assert len(named) == len(scale.names) > 1
    for colour in named:
        apart = [int(colour[i : i + 2], 16) - int(rest[i : i + 2], 16) for i in (1, 3, 5)]
        assert np.linalg.norm(apart) > 40, (colour, rest)


def test_a_lasso_becomes_a_few_corners_of_nearly_the_same_area() -> None:
    turn = np.linspace(0, 2 * math.pi, 90)
    drawn = {"x": list(500 + 300 * np.cos(turn)), "y": list(500 + 300 * np.sin(turn))}
    corners = maps.polygon({"lasso": [drawn], "box": [], "points": [{}, {}]})
    assert 3 <= len(corners) <= maps.CORNERS
    x, y = np.array(corners).T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert area == pytest.approx(math.pi * 0.09, rel=0.08)


def test_a_box_and_points_outside_stay_on_the_map() -> None:
    box = {"x": [900.0, -50.0], "y": [200.0, 1020.0]}
    assert maps.polygon({"box": [box]}) == [(0.0, 0.2), (0.9, 0.2), (0.9, 1.0), (0.0, 1.0)]
    assert maps.polygon({"lasso": [], "box": [], "points": []}) == []
    line = {"x": [1.0, 1.2, 0.9], "y": [2.0, 2.1, 2.2]}
    assert maps.polygon({"lasso": [line]}) == []


@pytest.mark.parametrize(
    ("selection", "feature"),
    [
        ({"points": [{"customdata": 7, "point_index": 3}]}, 7),
        ({"points": [{"customdata": [7]}]}, 7),
        ({"points": [{"customdata": 7}, {"customdata": 8}]}, None),
        ({"points": [{"customdata": 7}], "lasso": [{}]}, None),
        ({"points": [{"point_index": 3}]}, None),
        ({"points": [{"customdata": -1}]}, None),
        ({"points": [{"customdata": "7; DROP"}]}, None),
        ({}, None),
    ],
)
def test_a_click_is_read_by_what_the_point_carries(selection: dict, feature: int | None) -> None:
    assert maps.picked(selection) == feature


def test_the_scale_says_its_ends_and_escapes_names() -> None:
    shown = maps.scale_html(Scale("x", low=0.5, high=2.0), lambda v: f"<{v}>", LIGHT)
    assert "&lt;0.5&gt;" in shown
    assert "&lt;2.0&gt;" in shown
    named = maps.scale_html(Scale("x", ("<a>", "b")), str, LIGHT)
    assert "&lt;a&gt;" in named
    assert named.count("atl-scale") == 1


def test_the_table_of_a_map_holds_what_passes() -> None:
    table = maps.map_table(points(), "norm")
    assert table["feature"].tolist() == [100, 102, 104]
    assert json.loads(table.to_json(orient="records"))[0]["norm"] == 1.0
