"""Whether seeds differ: planted differences are found, and shuffled ones are not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atlas import population, scales, seed_population, seed_population_figures
from atlas.multiples import colour
from atlas.records import Window
from atlas.scales_figures import Side
from atlas.seed_population import births_apart, births_said, dealt, profiles_apart, windows_apart
from atlas.store import Store
from atlas.theme import LIGHT
from tests.tiny import SEED0, SEED1

STEPS = (0, 1, 10, 100)
U = np.log10(np.array(STEPS) + 1)


def window(start: int, end: float, low: float, high: float, p: float = 0.01) -> Window:
    centre = ((start + 1) * (end + 1)) ** 0.5 - 1
    return Window(start, end, 0.3, 3.0, p, p, centre, low, high)


def test_dealing_keeps_every_seed_and_every_column() -> None:
    counts = np.array([[30, 5, 0], [10, 20, 3], [7, 7, 7]])
    found = dealt(counts, 200)
    assert (found.sum(axis=2) == counts.sum(axis=1)).all()
    assert (found.sum(axis=1) == counts.sum(axis=0)).all()
    expected = counts.sum(axis=1)[:, None] * counts.sum(axis=0) / counts.sum()
    np.testing.assert_allclose(found.mean(axis=0), expected, atol=0.8)
    assert (found >= 0).all()
    assert (dealt(counts, 5) == dealt(counts, 5)).all()


def test_seeds_that_are_alike_do_not_differ_and_others_do() -> None:
    alike = np.array([[200, 100, 60, 40], [195, 104, 58, 43], [204, 99, 61, 37]])
    found = births_apart(alike, (0, 0, 0), U)
    assert found.gap.p > 0.2
    assert found.medians.range <= found.medians.most + 1e-12
    later = np.array([[200, 100, 60, 40], [204, 98, 58, 41], [60, 60, 140, 140]])
    apart = births_apart(later, (0, 0, 0), U)
    assert apart.gap.p < 0.01
    assert apart.medians.p < 0.01
    assert apart.at == 1
    assert (apart.gap.low, apart.gap.high) == pytest.approx((120 / 400, 302 / 401))
    assert (apart.band[0] <= apart.band[1]).all()
    assert "no more than sampling" in births_said(found, STEPS, 3)
    assert "by more than sampling" in births_said(apart, STEPS, 3)


def test_the_gap_is_where_the_lines_lie_furthest_apart() -> None:
    found = births_apart(np.array([[50, 0, 50, 0], [0, 60, 40, 0]]), (0, 0), U)
    assert found.at == 0
    assert (found.gap.low, found.gap.high) == (0.0, 0.5)


def test_what_is_never_born_counts_as_live_but_has_no_median() -> None:
    found = births_apart(np.array([[50, 50, 0, 0], [50, 50, 0, 0]]), (0, 100), U)
    assert found.medians.range == 0
    assert (found.gap.low, found.gap.high) == (0.5, 1.0)
    assert found.gap.p < 0.01
    assert births_apart(np.array([[0, 0, 0, 0], [5, 5, 5, 5]]), (9, 0), U) is None
    assert births_apart(np.array([[5, 5, 5, 5]]), (0,), U) is None


def test_profiles_that_differ_are_found_after_correction() -> None:
    found = profiles_apart(np.array([[100, 50, 50], [100, 52, 48], [30, 120, 50]]))
    assert len(found) == 3
    assert found[0].p < 0.01 > found[1].p
    assert found[2].p > 0.05
    assert "by more than" in seed_population.profiles_said(found, ("a", "b", "c"))
    assert profiles_apart(np.array([[1, 2, 3]])) == ()
    assert profiles_apart(np.array([[1, 2, 3], [0, 0, 0]])) == ()


def test_windows_within_each_other_and_apart() -> None:
    same = windows_apart([window(10, 33, 10, 40), window(20, 65, 10, 40)])
    assert same.shared == (20, 33)
    assert (same.within, same.pairs, same.sure) == (2, 2, 2)
    assert "no more than that" in seed_population.windows_said(same)
    far = windows_apart([window(1, 4, 1, 4), window(1000, 3000, 1000, 3000, 0.5)])
    assert far.shared is None
    assert (far.within, far.sure) == (0, 1)
    assert far.decades == pytest.approx(
        np.log10(far.high + 1) - np.log10(far.low + 1))
    assert "more than that" in seed_population.windows_said(far)
    assert "no more" not in seed_population.windows_said(far)
    nothing = float("nan")
    bare = windows_apart([window(1, 4, nothing, nothing)] * 2)
    assert bare.pairs == 0
    assert "none was resampled" in seed_population.windows_said(bare)
    assert windows_apart([window(1, 4, 1, 4)]) is None


@pytest.fixture
def sides(tiny_store: Path) -> list[Side]:
    store = Store.open(tiny_store)
    return [
        Side(card, f"seed {card.seed}", scales.births_of(store, card.run),
             scales.profiles_of(store, card.run), None, "", scales.why_no_windows(store, card),
             *scales.fidelity_of(store, card))
        for card in (store.run(SEED0), store.run(SEED1))]


def test_a_dead_seed_is_drawn_without_numbers(sides: list[Side]) -> None:
    store_births = sides[1].births
    nothing = np.zeros_like(store_births.share)
    nan = float("nan")
    dead = replace(
        sides[1],
        births=replace(store_births, share=nothing, counts=nothing.astype(int), n_alive=0,
                       median=nan, low=nan, high=nan),
        profiles=replace(sides[1].profiles, null=np.zeros(5),
                         found=population.composition(np.zeros(0, int), 5)),
    )
    figure = seed_population_figures.profiles_figure([sides[0], dead], LIGHT)
    assert {row for t in figure["data"] for row in t["y"]} == {0, None}
    assert births_apart([sides[0].births.counts, dead.births.counts], (0, 0),
                        np.log10(np.array(dead.card.steps) + 1)) is None
    drawn = seed_population_figures.births_figure([sides[0], dead], None, LIGHT)["data"]
    assert drawn[1]["y"] == nothing.tolist()


def test_figures_hold_the_numbers_of_every_seed(sides: list[Side]) -> None:
    found = births_apart([s.births.counts for s in sides],
                         [s.births.n_alive - s.births.n_born for s in sides],
                         np.log10(np.array(sides[0].card.steps) + 1))
    figure = seed_population_figures.births_figure(sides, found, LIGHT)
    lines = [t for t in figure["data"] if t.get("mode") == "lines+markers"]
    assert [line["y"] for line in lines] == [s.births.by_then.round(4).tolist() for s in sides]
    profiles = seed_population_figures.profiles_figure(sides, LIGHT)
    dots = [t for t in profiles["data"] if t.get("name")]
    assert [d["x"] for d in dots] == [
        [round(float(s.profiles.found.share[n]), 4) for s in sides] for n in range(5)]
    assert all(d["marker"]["color"] == [colour(i, LIGHT) for i in range(2)] for d in dots)
    windows = seed_population_figures.windows_figure(sides, LIGHT)
    texts = " ".join(a["text"] for a in windows["layout"]["annotations"])
    assert "not available, because" in texts  # five snapshots are too few
