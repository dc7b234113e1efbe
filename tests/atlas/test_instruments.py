"""Every released figure and every run is a point, where its numbers say."""

import csv
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from atlas import instrument_courses, instrument_figures, instruments, label_places
from atlas.inventory import find_released
from atlas.label_places import Box, Label
from atlas.places import INVENTORY
from atlas.store import Store
from atlas.theme import DARK, LIGHT
from tests.tiny import PRISM, RUNS, SEED0


@pytest.fixture
def points(tiny_store: Path) -> tuple[instruments.Point, ...]:
    return instruments.points(Store.open(tiny_store))


def rows(name: str) -> list[dict[str, str]]:
    with open(INVENTORY / name, newline="", encoding="utf8") as file:
        return list(csv.DictReader(file))


def drawn(figure: dict, panel: str = "y") -> list[int]:
    """Numbers of the points that a figure draws in one panel."""
    return [n for trace in figure["data"] if trace["name" if "name" in trace else "type"] == "runs"
            and trace.get("yaxis", "y") == panel for n in trace["customdata"]]


def test_all_released_figures_and_all_runs_are_drawn(points: tuple) -> None:
    crosscoders = rows("inventory-crosscoders.csv")
    prisms = rows("inventory-prism.csv")
    assert len(crosscoders) + len(prisms) == 87
    plane = instrument_figures.plane_figure(points, "raw", LIGHT)
    both = drawn(plane) + drawn(instrument_figures.prism_figure(points, LIGHT))
    assert sorted(both) == list(range(87 + len(RUNS)))
    shown = {points[n].run for n in both if not points[n].here}
    assert shown == ({row["path"].removesuffix(".safetensors") for row in crosscoders}
                     | {row["path"] for row in prisms})
    assert {points[n].run for n in both if points[n].here} == set(RUNS)
    assert len(drawn(instrument_figures.prism_figure(points, LIGHT), "y2")) == 18


def test_points_lie_where_the_csv_says(points: tuple) -> None:
    found = {point.run: point for point in points if not point.here}
    figure = instrument_figures.plane_figure(points, "raw", LIGHT)
    marks = next(t for t in figure["data"] if t.get("name") == "runs")
    at = {points[n].run: (x, y) for n, x, y in
          zip(marks["customdata"], marks["x"], marks["y"], strict=True) if not points[n].here}
    for row in rows("inventory-crosscoders.csv"):
        x, y = at[row["path"].removesuffix(".safetensors")]
        assert 10**x == pytest.approx(float(row["l0"]), rel=1e-3)
        assert y == pytest.approx(float(row["explained_variance"]), abs=1e-4)
    for row in rows("inventory-prism.csv"):
        point = found[row["path"]]
        for value, name in ((point.ev, "row_ev"), (point.top1, "top1"), (point.kl, "kl_bits")):
            assert (value == pytest.approx(float(row[name]))) if row[name] else math.isnan(value)
    counts = Counter(point.group for point in found.values())
    assert counts == {
        instruments.PER_SNAPSHOT: 32, instruments.TRAJECTORY: 23, instruments.PRISM: 17,
        instruments.LAMBDA: 7, instruments.FINAL: 5, instruments.ARCHITECTURE: 3}
    sweep = sorted({p.penalty for p in found.values() if p.group == instruments.LAMBDA})
    assert sweep == [0.4, 1.0, 1.2, 1.35, 1.8]


def test_l0_per_feature_and_per_live_feature(points: tuple) -> None:
    ours = next(point for point in points if point.run == SEED0)
    assert ours.along("width") == ours.l0 / ours.width
    assert ours.along("live") == ours.l0 / ours.alive > ours.along("width")
    released = next(point for point in points if not point.here)
    assert released.along("live") == released.along("width")
    for by in instruments.BY:
        assert len(drawn(instrument_figures.plane_figure(points, by, DARK))) == 74
        assert len(instruments.plane_table(points, by)) == 74


def test_released_and_ours_are_joined(points: tuple) -> None:
    wanted = find_released("pythia-160m/W_U/cross-snapshot-32/d8192/seed0").run
    twin = replace(next(p for p in points if p.run == SEED0), run=wanted, model="pythia-160m")
    pairs = instruments.both((*points, twin))
    assert [(a.here, b.here) for a, b in pairs] == [(False, True)]
    before = instrument_figures.plane_figure(points, "raw", LIGHT)
    after = instrument_figures.plane_figure((*points, twin), "raw", LIGHT)

    def joins(figure: dict) -> list[dict]:
        return [t for t in figure["data"] if t.get("line", {}).get("dash") == "2px,2px"]

    assert not joins(before)
    (join,) = joins(after)
    assert 10 ** join["x"][0] == pytest.approx(203, rel=1e-3)
    assert join["y"] == pytest.approx([0.776, twin.ev], abs=1e-3)


def test_the_sweep_is_joined_in_the_order_of_its_penalty(points: tuple) -> None:
    figure = instrument_figures.plane_figure(points, "raw", LIGHT)
    (sweep,) = [t for t in figure["data"] if t["mode"] == "lines"
                and t["line"]["dash"] == "solid"]
    assert [round(10**x) for x in sweep["x"]] == [160, 58, 45, 38, 23]


def test_families_are_filtered(points: tuple) -> None:
    assert instruments.families(points) == [
        "gemma", "ministral", "olmo", "pythia", "qwen3.5", "r1", "tiny"]
    kept = instruments.chosen(points, "tiny")
    assert {p.run for p in kept} == set(RUNS)
    assert instruments.chosen(points, None) == points
    only = instrument_figures.plane_figure(kept, "raw", LIGHT)
    assert len(drawn(only)) == 4
    prisms = instruments.prism_table(points)
    assert len(prisms) == 18
    assert prisms[prisms["run"] == PRISM]["of"].tolist() == ["this store"]


def test_one_snapshot_is_set_against_all(tiny_store: Path, points: tuple) -> None:
    table = instruments.snapshot_table(points, Store.open(tiny_store).fidelity())
    assert (table["of"] == "the release").sum() == 32
    assert table[table["of"] == "the release"]["step"].is_monotonic_increasing
    assert PRISM not in set(table["run"])
    assert instrument_courses.snapshots_figure(points, table, LIGHT)["data"]
    assert instrument_courses.snapshots_figure(points, table[:0], LIGHT) is None


def test_labels_lie_over_nothing() -> None:
    box = Box(0, 1, 0, 1, 300, 120)
    places = [(0.1 * i, 0.5) for i in range(1, 10)] + [(0.5, 0.5)]
    labels = [Label(f"a name {i}", x, y, "#000000") for i, (x, y) in enumerate(places)]
    found = label_places.placed(labels, places, box)
    assert 4 <= len(found) < len(labels)
    areas = [label_places._area(one.label.text, *box.pixels(one.label.x, one.label.y), one.side)
             for one in found]
    for i, one in enumerate(areas):
        assert not any(label_places._over(one, other) for other in areas[:i])
