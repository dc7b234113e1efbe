"""The benchmark of matching at a tiny shape: shared features are found, every line is measured."""

from pathlib import Path

import pytest

from precompute import match_ways
from precompute.match_files import WAYS
from tests.benchmarks.bench_match import SHARED, Shape, made, measure, written

TINY = Shape(features=150, width=64, snapshots=4, tokens=600, firing=20)


def test_every_way_is_measured_against_scipy(tmp_path: Path) -> None:
    before = match_ways.assign
    lines = [measure(tmp_path, TINY, way) for way in WAYS]
    assert match_ways.assign is before
    for line in lines:
        assert line["total"] == pytest.approx(line["scipy_total"], abs=1e-6)
        assert 0 <= line["shortfall"] < 1e-6
        assert min(line["seconds"], line["peak"]) > 0
    found = {line["way"]: line["returned"] for line in lines}
    for way in ("trajectory", "terminal", "tokens"):
        assert 0.8 * SHARED * TINY.features < found[way] < 1.2 * SHARED * TINY.features, way
    table = written(lines, TINY, 1)
    assert all(f"\n| {way} | " in table for way in WAYS)
    assert "Budgets: an assignment in 60 s (met: " in table


def test_the_dictionaries_are_made_once(tmp_path: Path) -> None:
    made(tmp_path, TINY)
    before = (tmp_path / "one" / "0.npy").stat().st_mtime_ns
    made(tmp_path, TINY)
    assert (tmp_path / "one" / "0.npy").stat().st_mtime_ns == before
