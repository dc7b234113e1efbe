"""The palettes through the eyes of colour-blind readers, and the simulation itself."""

import tomllib
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atlas.places import ROOT
from atlas.theme import DARK, LIGHT, Palette
from tests.browser.colour_blind import MATRICES, apart, colour, lab, over, seen, simulate

NEIGHBOURS = 10.0
"""CIEDE2000 that a line keeps to the next of a figure, whoever looks; 1 is just seen side by side.
Every line is also named at its end."""
LINES = 5.0
"""The same for any two lines of a figure."""
POLES = 25.0
"""The same for the two poles: accent and counter, and the accent over the band."""
BANDS = 2.0
"""The same for two grounds that touch: paper and wide band, wide and narrow band."""
KINDS = (None, *MATRICES)


def through(rgb: np.ndarray, kind: str | None) -> np.ndarray:
    return lab(seen(rgb, kind) if kind else rgb)


def blended(p: Palette, band: str, ground: np.ndarray) -> np.ndarray:
    numbers = [float(x) for x in band.removeprefix("rgba(").rstrip(")").split(",")]
    return over(ground, np.array(numbers[:3]) / 255, numbers[3])


@pytest.mark.parametrize("p", [LIGHT, DARK], ids=lambda p: p.name)
@pytest.mark.parametrize("kind", KINDS)
def test_lines_poles_and_bands_stay_apart(p: Palette, kind: str | None) -> None:
    for a, b in combinations(p.strands, 2):
        bar = NEIGHBOURS if p.strands.index(b) == p.strands.index(a) + 1 else LINES
        assert apart(through(colour(a), kind), through(colour(b), kind)) >= bar, (a, b)
    accent, counter = (through(colour(c), kind) for c in (p.accent, p.counter))
    wide = blended(p, p.wide_band, colour(p.paper))
    narrow = blended(p, p.narrow_band, wide)
    grounds = [through(c, kind) for c in (colour(p.paper), wide, narrow)]
    assert apart(accent, counter) >= POLES
    for ground in grounds:
        assert apart(accent, ground) >= POLES
        assert apart(counter, ground) >= POLES
    assert apart(grounds[0], grounds[1]) >= BANDS
    assert apart(grounds[1], grounds[2]) >= BANDS


def test_streamlit_draws_its_own_charts_with_the_same_colours() -> None:
    theme = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf8"))["theme"]
    for p in (LIGHT, DARK):
        assert theme[p.name]["chartCategoricalColors"] == list(p.strands)


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, -1.0, 2.0), (50.0, 0.0, 0.0), 2.3669),
        ((50.0, 2.49, -0.001), (50.0, -2.49, 0.0009), 7.1792),
        ((50.0, 2.5, 0.0), (73.0, 25.0, -18.0), 27.1492),
        ((60.2574, -34.0099, 36.2677), (60.4626, -34.1751, 39.4387), 1.2644),
        ((2.0776, 0.0795, -1.135), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_the_distance_is_that_of_the_published_pairs(
    a: tuple[float, ...], b: tuple[float, ...], distance: float
) -> None:
    assert apart(np.array(a), np.array(b)) == pytest.approx(distance, abs=1e-4)
    assert apart(np.array(b), np.array(a)) == pytest.approx(distance, abs=1e-4)


@pytest.mark.parametrize("kind", MATRICES)
def test_greys_stay_and_the_missing_cone_merges_its_colours(kind: str) -> None:
    greys = np.repeat(np.linspace(0, 1, 9)[:, None], 3, axis=1)
    assert seen(greys, kind) == pytest.approx(greys, abs=2e-3)
    merged = {"protanopia": ("#a04000", "#556000"), "deuteranopia": ("#a06000", "#6b7a00"),
              "tritanopia": ("#2f8f8f", "#2f8fae")}[kind]
    there, here = (apart(*(through(colour(c), k) for c in merged)) for k in (None, kind))
    assert here < 0.6 * there


def test_white_is_white_in_lab() -> None:
    assert lab(np.ones(3)) == pytest.approx([100, 0, 0], abs=0.02)
    assert lab(colour("#ff0000")) == pytest.approx([53.24, 80.09, 67.20], abs=0.05)


def test_a_screenshot_is_written_three_times(tmp_path: Path) -> None:
    picture = tmp_path / "page.png"
    Image.new("RGB", (4, 3), LIGHT.accent).save(picture)
    written = simulate(picture, tmp_path / "seen")
    assert [path.name for path in written] == [f"page-{kind}.png" for kind in MATRICES]
    for path, kind in zip(written, MATRICES, strict=True):
        with Image.open(path) as opened:
            found = np.asarray(opened.convert("RGB"))
        assert found.shape == (3, 4, 3)
        assert found[0, 0] / 255 == pytest.approx(seen(colour(LIGHT.accent), kind), abs=0.003)
