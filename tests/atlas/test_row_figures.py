"""The figure of a row: bands that reach the whole, names inside, nothing unescaped."""

import numpy as np
import plotly.graph_objects as go
import pytest

from atlas.figures import Band
from atlas.row_figures import OTHERS, REMAINDER, Panel, Strand, row_figure, row_table
from atlas.row_parts import Bands, RowParts, bands
from atlas.theme import DARK, LIGHT, Palette

STEPS = (0, 1, 10, 100, 3000)
PALETTES = pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
NAMES = ["7  <b>x</b> %{y}", "8  ␣the"]
BAND = Band([[0.1, 0.2, 0.3, 0.4, 0.5]] * 5)
PANELS = [Panel("length", [1.0, 2.0, float("nan"), 3.0, 4.0], BAND),
          Panel("explained", [0.1, -0.2, 0.3, 0.4, 0.5], share=True)]


def parts(offset: float = 0.05) -> Bands:
    shares = np.array([[0.1, 0.3, -0.05], [0.2, 0.3, 0.0], [0.3, 0.2, 0.1], [0.4, 0.2, 0.1],
                       [0.5, 0.2, 0.1]])
    return bands(RowParts(np.array([8, 7, 9]), shares, np.full(5, offset)), 2)


@PALETTES
def test_it_is_a_figure(palette: Palette) -> None:
    found = row_figure(STEPS, parts(), NAMES, [], PANELS, 10, palette)
    go.Figure(found)
    strands = [Strand(f"{i} <b>", [0.1 * i] * 5) for i in range(6)]
    go.Figure(row_figure(STEPS, None, [], strands, PANELS, 10, palette))
    go.Figure(row_figure(STEPS, parts(np.nan), NAMES, [], [], 10, palette))


def test_bands_stand_on_one_another_up_to_the_whole() -> None:
    found = row_figure(STEPS, parts(), NAMES, [], [], 10, LIGHT)
    first, second, others, rest, line = found["data"]
    np.testing.assert_allclose(first["y"], parts().values[0])
    np.testing.assert_allclose(second["y"], parts().values.sum(axis=0))
    np.testing.assert_allclose(others["y"], parts().explained)
    np.testing.assert_allclose(line["y"], parts().explained)
    assert rest["y"] == [1.0] * 5
    assert [d[1] for d in rest["customdata"]] == pytest.approx(list(1 - parts().explained), 1e-4)
    assert found["layout"]["yaxis"]["range"][1] == 1.0


def test_a_snapshot_without_a_row_is_a_gap() -> None:
    shares = bands(RowParts(np.array([1]), np.array([[0.5], [np.nan]]), np.array([0.1, np.nan])))
    for trace in row_figure((0, 1), shares, ["1"], [], [], 0, LIGHT)["data"]:
        assert [v is None for v in trace["y"]] == [False, True]


def test_names_stay_beside_the_panel_and_are_escaped() -> None:
    found = row_figure(STEPS, parts(), NAMES, [], PANELS, 10, LIGHT)
    low, high = found["layout"]["yaxis"]["range"]
    names = [a for a in found["layout"]["annotations"] if a["yref"] == "y"]
    assert len(names) == 4
    assert all(low <= a["y"] <= high for a in names)
    for text in (str(found["data"]), str(found["layout"]["annotations"])):
        assert "<b>" not in text
        assert "%{y} " not in text


def test_panels_do_not_overlap_and_each_has_the_chosen_step() -> None:
    layout = row_figure(STEPS, parts(), NAMES, [], PANELS, 10, LIGHT)["layout"]
    domains = [layout[f"yaxis{s}"]["domain"] for s in ("", "2", "3")]
    assert all(0 <= low < high <= 1 for low, high in domains)
    assert all(a[0] > b[1] for a, b in zip(domains, domains[1:], strict=False))
    assert {s["yref"] for s in layout["shapes"]} == {"y domain", "y2 domain", "y3 domain"}
    readings = " ".join(a["text"] for a in layout["annotations"])
    assert "none at step 10" in readings
    assert "30.0% at step 10" in readings


def test_the_table_has_every_number_of_the_figure() -> None:
    frame = row_table(STEPS, parts(), NAMES, [], PANELS)
    assert frame.columns.tolist() == ["step", *NAMES, OTHERS, REMAINDER, "length", "explained"]
    whole = frame[[*NAMES, OTHERS, REMAINDER]].sum(axis=1)
    np.testing.assert_allclose(whole, 1)
    lines = row_table(STEPS, None, [], [Strand("a", [1.0] * 5, "feature a")], [])
    assert lines.columns.tolist() == ["step", "feature a"]
