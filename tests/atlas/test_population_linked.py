"""Figures of links: what a page gets, what a file gets, and the picture's pixels."""

import json
import struct
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pandas as pd
import pytest

from atlas import linked
from atlas.linked import Drawing, Part, Picture, Words
from atlas.population import Composition, Spectrum
from atlas.population_figures import (
    births_drawing,
    lives_drawing,
    profiles_drawing,
    standing_drawing,
    step_marks,
)
from atlas.population_figures_courses import (
    bands_figure,
    ranks_figure,
    rotation_figure,
    survival_figure,
)
from atlas.population_store import STANDING, Ordered, Profiles
from atlas.survival import survival
from atlas.theme import DARK, LIGHT

STEPS = (0, 1, 4, 16, 64)


def pixels(body: bytes) -> np.ndarray:
    """(height, width) colours of a PNG of ours, decoded by the letter of the format."""
    assert body[:8] == b"\x89PNG\r\n\x1a\n"
    at, found = 8, {}
    while at < len(body):
        size = struct.unpack(">I", body[at : at + 4])[0]
        kind, data = body[at + 4 : at + 8], body[at + 8 : at + 8 + size]
        check = struct.unpack(">I", body[at + 8 + size : at + 12 + size])[0]
        assert zlib.crc32(kind + data) == check
        found[kind], at = data, at + 12 + size
    width, height, depth, colours = struct.unpack(">IIBB", found[b"IHDR"][:10])
    assert (depth, colours) == (8, 3)
    lines = np.frombuffer(zlib.decompress(found[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return np.frombuffer(found[b"PLTE"], np.uint8).reshape(-1, 3)[lines[:, 1:]]


def test_the_picture_is_what_the_cells_are() -> None:
    cells = np.array([[0, 1], [0.5, np.nan]])
    found = pixels(linked.png(cells, (0, 0.25, 1), ("#ffffff", "#000000"), width=8))
    assert found.shape == (2, 8, 3)
    assert found[0, :2].tolist() == [[255] * 3] * 2
    assert found[0, 2:].tolist() == [[0] * 3] * 6
    assert abs(int(found[1, 0, 0]) - 127) <= 4
    assert found[1, 7].tolist() == [255] * 3


def drawing() -> Drawing:
    return Drawing(
        (Part((0, 0.5), (0, 1), 0, 'a "b" <c>', "?where=x&sort=y"),
         Part((0, 1), (0, 1), 1, "shape", "", ((0, 0), (1, 0), (0.5, 1)))),
        ("#102030", "#405060"), 100, x_ticks=((0.5, "<tick>"),), y_ticks=((0.2, "5"),),
        x_title="step", words=(Words(0.1, 0.9, "here & there", 1, "right", "?a=b"),),
        rules=(0.1,), upright=0.3, mark="births", picture=Picture(np.eye(2), (0, 0.5, 1)),
        lines=(("first", "?r=1"), ("second", "")), ramp=("#ffffff", "#000000"),
    )


def test_a_fragment_escapes_and_links() -> None:
    html = linked.drawn(drawing(), 'all "lives"')
    assert 'title="a &quot;b&quot; &lt;c&gt;"' in html
    assert 'href="?where=x&amp;sort=y"' in html
    assert "polygon(0% 100%,100% 100%,50% 0%)" in html
    assert "&lt;tick&gt;" in html
    assert "here &amp; there" in html
    assert 'aria-label="all &quot;lives&quot;"' in html
    assert "var(--atl-at-births)" in html
    assert '<a title="first" href="?r=1">' in html
    assert '<b title="second">' in html
    assert "<svg" not in html
    assert "<script" not in html


def test_a_file_is_a_whole_svg_with_its_line_and_no_links() -> None:
    text = linked.svg(drawing(), "run <x> · abc · 0.1", LIGHT)
    root = ET.fromstring(text)
    said = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "run <x> · abc · 0.1" in said
    assert "<tick>" in said
    assert "here & there" in said
    assert len(list(root.iter("{http://www.w3.org/2000/svg}polygon"))) == 2
    assert not list(root.iter("{http://www.w3.org/2000/svg}a"))
    assert LIGHT.paper in text


def table() -> pd.DataFrame:
    return pd.DataFrame({
        "step": STEPS, "births_norms": [9, 0, 4, 1, 0], "births_floor": [1, 4, 4, 1, 0],
        "peaks": [0, 0, 1, 4, 9], "deaths": [0, 4, 0, 0, 0],
    })


def test_births_stand_up_and_deaths_hang_down_by_the_square_root() -> None:
    found = births_drawing(table(), "norms", lambda kind, k: f"?{kind}={STEPS[k]}", 4, LIGHT)
    zero = found.rules[0]
    births = {p.href: p for p in found.parts if "births_norms" in p.href}
    assert set(births) == {"?births_norms=0", "?births_norms=4", "?births_norms=16"}
    tall = {name: p.y[1] - zero for name, p in births.items()}
    assert tall["?births_norms=0"] == pytest.approx(3 * tall["?births_norms=16"])
    assert tall["?births_norms=4"] == pytest.approx(2 * tall["?births_norms=16"])
    death = next(p for p in found.parts if "deaths" in p.href)
    assert death.y[1] == zero
    assert zero - death.y[0] == pytest.approx(tall["?births_norms=4"])
    assert all(0 <= v <= 1 for p in found.parts for v in (*p.x, *p.y))
    assert "half the largest norm, step 0: 9" in {p.title for p in found.parts}
    assert found.upright == step_marks(STEPS, 4)["births"]


def test_rows_of_lives_say_what_they_hold() -> None:
    found = Ordered(
        np.zeros((2, 5), np.float32), np.array([0, 2, 3]), np.array([4, 7, 1]),
        np.array([0, 0, 5]), np.array([1, 3, 4]), np.array([0.5, 0.1, -0.2]),
    )
    drawn = lives_drawing(STEPS, found, "birth", ["?a", ""], 4, DARK)
    assert [said for said, _ in drawn.lines] == [
        "2 features, born 0, peak 1 to 16", "1 feature, born never, peak 64"]
    assert [name for _, name in drawn.y_ticks] == ["0", "never"]
    drawn = lives_drawing(STEPS, found, "change", ["?a", ""], 4, DARK)
    assert drawn.lines[0][0] == "2 features, norm changes by +0.10 to +0.50"


def test_profiles_have_a_bar_a_whisker_and_a_null() -> None:
    counts = np.array([6, 0, 2, 1, 1])
    share = counts / 10
    found = Profiles(Composition(counts, share, share * 0.8, share * 1.2), share[::-1],
                     np.tile(counts[:, None], 5), 10)
    links = {name: f"?profile={name}" for name in STANDING}
    drawn = profiles_drawing(found, links, LIGHT)
    assert len(drawn.parts) == 15
    assert drawn.words[0].text == "60.0%  (6)"
    assert "with snapshots shuffled 10.0%" in drawn.parts[0].title
    stream = standing_drawing(STEPS, found.standing, links, 16, LIGHT)
    assert [p.href for p in stream.parts] == [
        f"?profile={n}" for n, c in zip(STANDING, counts, strict=True) if c]
    tops = [max(y for _, y in p.corners) for p in stream.parts]
    assert tops == sorted(tops)
    assert tops[0] == pytest.approx(6 / 10 / 1.04)


@pytest.mark.parametrize("p", [LIGHT, DARK])
def test_courses_are_figures_that_plotly_takes(p) -> None:
    from plotly.graph_objects import Figure

    from atlas.figures import Band
    from atlas.population import rank_curves, spectrum

    rng = np.random.default_rng(0)
    curves = {name: survival(rng.integers(0, 4, 30).astype(float), rng.random(30) < 0.5)
              for name in ("early", "late", "shuffled")}
    figures = [
        survival_figure(curves, {name: name for name in curves}, p),
        bands_figure(STEPS, {"norm": Band(rng.random((5, 5)).tolist()),
                             "rate": Band([[0.0, 0.1, 0.2, 0.3, None]] * 5)}, 100, 4, p),
        rotation_figure(STEPS, spectrum(rng.random((9, 4))), 0.2, 4, p),
        rotation_figure(STEPS, Spectrum(np.geomspace(1e-4, 2, 4), np.zeros((4, 3), int),
                                        np.zeros(4, int)), 1.0, 4, p),
        ranks_figure(STEPS, rank_curves(rng.random((9, 5))), 4, p),
        ranks_figure((7,), rank_curves(np.zeros((3, 1))), 7, p),
    ]
    for figure in figures:
        Figure(figure)  # checks every property
        json.dumps(figure, allow_nan=False)  # as a browser reads it
