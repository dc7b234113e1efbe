"""The square of cosines: its cells, its ticks, its blocks."""

import plotly.graph_objects as go
import pytest

from atlas.matrices import blocks, cosine_square, named
from atlas.theme import DARK, LIGHT

STEPS = [0, 1, 4, 16, 64, 143_000]
K = len(STEPS)
CELLS = [[1.0 if i == j else 0.123456 for j in range(K)] for i in range(K)]


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_the_square_is_a_figure_with_its_scale_named(palette) -> None:
    figure = cosine_square(STEPS, CELLS, 16, palette, [2])
    go.Figure(figure)
    (cells,) = figure["data"]
    assert cells["z"][0][:2] == [100, 12]
    assert (cells["zmin"], cells["zmax"]) == (-100, 100)
    assert cells["x"] == cells["y"] == ["0", "1", "4", "16", "64", "143,000"]
    assert "1 same" in cells["colorbar"]["ticktext"]
    ticks = figure["layout"]["xaxis"]
    assert ticks["ticktext"][-1] == "143k"
    assert set(ticks["tickvals"]) <= set(cells["x"])


def test_the_chosen_step_and_the_blocks_are_framed() -> None:
    shapes = cosine_square(STEPS, CELLS, 16, LIGHT, [2])["layout"]["shapes"]
    boxes = {(s["x0"], s["x1"], s["y0"], s["y1"]) for s in shapes}
    assert boxes == {
        (-0.5, 5.5, 2.5, 3.5), (2.5, 3.5, -0.5, 5.5),  # the row and the column of step 16
        (-0.5, 1.5, -0.5, 1.5), (1.5, 5.5, 1.5, 5.5),  # the blocks
    }
    assert len(cosine_square(STEPS, CELLS, 16, LIGHT)["layout"]["shapes"]) == 2


def test_what_has_no_length_is_an_empty_cell() -> None:
    cells = [[None] * K] + CELLS[1:]
    figure = cosine_square(STEPS, cells, 0, LIGHT)
    go.Figure(figure)
    assert figure["data"][0]["z"][0] == [None] * K
    assert figure["data"][0]["hoverongaps"] is False


@pytest.mark.parametrize(
    ("boundaries", "found"),
    [((), [(0, 5)]), ((2,), [(0, 1), (2, 5)]), ((4, 2, 2), [(0, 1), (2, 3), (4, 5)]),
     ((0, 6, -1), [(0, 5)])],
)
def test_boundaries_part_the_snapshots_into_blocks(boundaries, found) -> None:
    assert blocks(boundaries, K) == found


@pytest.mark.parametrize("count", [1, 2, 5, 6, 24, 32, 64])
def test_ticks_are_few_and_hold_both_ends(count: int) -> None:
    at = named(count)
    assert at[0] == 0
    assert at[-1] == count - 1
    assert len(at) == min(count, 5)
