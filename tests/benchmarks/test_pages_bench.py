"""The benchmark of the pages at a small shape: stores, the peer's data, clients, tables."""

import json
import re
from pathlib import Path

import pytest

from atlas.store import Store
from tests.benchmarks import bench_pages, pages_crowd, pages_peer, pages_table
from tests.benchmarks.pages_browser import summary
from tests.benchmarks.pages_painted import Seen, cpu_of, memory_of
from tests.benchmarks.pages_store import many_runs
from tests.browser.visits import serve
from tests.tiny import SEED0, STEPS, WIDTH


def test_the_same_file_many_times_is_a_store_of_many_runs(
    tiny_store: Path, tmp_path: Path
) -> None:
    out = many_runs(tiny_store, 4, tmp_path / "four")
    found = Store.open(out)
    cards = found.runs()
    first = next(c for c in Store.open(tiny_store).runs() if c.kind == "crosscoder")
    assert len(cards) == len({c.run for c in cards}) == len({c.file for c in cards}) == 4
    assert [c.problem for c in cards] == [None] * 4
    for card in cards:
        assert (card.hash, card.steps, card.d_sae) == (first.hash, first.steps, first.d_sae)
        file = out / card.file
        assert file.stat().st_ino == (tiny_store / first.file).stat().st_ino
        assert found.feature(card.run, 3).info.feature == 3
        assert len(found.births(card.run)) == len(STEPS)
    before = (out / "CURRENT.json").read_bytes()
    many_runs(tiny_store, 4, out)
    assert (out / "CURRENT.json").read_bytes() == before
    assert len(Store.open(many_runs(tiny_store, 2, out)).runs()) == 2


def test_the_peers_files_hold_what_its_script_reads(tiny_store: Path, tmp_path: Path) -> None:
    peer, out = tmp_path / "peer", tmp_path / "out"
    for name, text in (("index.html", "<p>page</p>"), ("assets/atlas.js", "//"),
                       ("assets/atlas.css", "p{}"),
                       ("data/snippets.json", "version x\noid sha256:0\nsize 90000\n")):
        (peer / name).parent.mkdir(parents=True, exist_ok=True)
        (peer / name).write_text(text)
    size = pages_peer.files_of(peer, out)
    assert size == 90_000
    assert (out / "assets" / "atlas.js").read_text() == "//"
    sizes = pages_peer.make_data(tiny_store, SEED0, out, size)
    assert sizes["snippets"] == pytest.approx(size, rel=0.25)
    index = json.loads((out / "data" / "index.json").read_text())
    assert index["meta"]["d_sae"] == WIDTH
    assert {len(column) for column in index["features"].values()} == {WIDTH}
    assert index["features"]["norm_terminal"] == pytest.approx(
        [float(Store.open(tiny_store).feature(SEED0, f).norm[-1]) for f in range(WIDTH)], rel=1e-4
    )
    (shard,) = (out / "data" / "shards").iterdir()
    assert shard.name == f"feat_000000_{WIDTH:06d}.json"
    feature = json.loads(shard.read_text())["features"]["7"]
    assert len(feature["norm_traj"]) == len(STEPS)
    assert len(feature["top_terminal"]) == pages_peer.TOKENS
    assert len(feature["neighbors"]) == 10
    snippets = json.loads((out / "data" / "snippets.json").read_text())
    assert len(snippets["snippets"]) == WIDTH
    assert {len(s) for s in snippets["snippets"].values()} == {8}


def test_protocol_clients_are_answered_and_weighed(tiny_store: Path) -> None:
    served = serve(tiny_store)
    try:
        found = pages_crowd.crowd(served.address, served.process.pid, "feature", SEED0, WIDTH, 2,
                                  seconds=2, thinking=0.2)
        assert found["runs"] >= 1
        assert 0 < found["p50"] <= found["p95"]
        assert found["cpu"] > 0
        weighed = pages_crowd.weights(served.address, served.process.pid, [SEED0], held=2)
        assert 50 < weighed["started"] <= weighed["visited"]
    finally:
        served.end()
    assert memory_of(served.process.pid) == cpu_of(served.process.pid) == 0


def test_percentiles_and_summaries() -> None:
    assert pages_crowd.percentile([float(i) for i in range(100)], 0.95) == 95
    assert pages_crowd.percentile([3.0], 0.95) == 3
    seen = [Seen(s, b, 1, 0.1) for s, b in ((0.5, 10), (0.1, 30), (0.3, 20))]
    row = summary(seen)
    assert (row["median"], row["least"], row["most"], row["bytes"]) == (0.3, 0.1, 0.5, 20)
    assert row["cpu"] == pytest.approx(100)
    assert summary([*seen, Seen(1.0, 0, 2, 0)])["runs"] == 2


def figures() -> dict:
    row = {"median": 0.25, "least": 0.2, "most": 0.4, "bytes": 50_000, "runs": 1, "cpu": 70.0,
           "times": 9}
    asked = {"next": 10.0, "next_duckdb": 4.0, "next_queries": 3, "cold": 20.0, "cold_queries": 6}
    crowd = {"alone": 0.1, "p50": 0.2, "p95": 1.0, "runs": 300, "cpu": 70.0}
    return {
        "machine": "a machine", "measured": "2026-01-01", "run": "a/run", "shape": "a shape",
        "load": {"browser": [0.1, 0.9]},
        "browser": {name: dict(row) for name in pages_table.WORDS},
        "queries": {"one": {"Feature": asked, "token in every run": {"next": 3.0},
                            "features of a token": {"next": 4.0},
                            "features of a part": {"next": 9.0}},
                    "many": {"Feature": asked | {"next_duckdb": 30.0},
                             "token in every run": {"next": 80.0}}, "runs": 73},
        "crowd": {"browse": crowd, "feature": crowd},
        "memory": {"started": 70.0, "visited": 300.0, "per_session": 0.3, "runs": 10, "held": 40},
        "peer": {"sizes": {"index": 6_000_000, "shard": 4_000_000, "snippets": 112_000_000},
                 "acts": {"filter": dict(row), "row to first feature": dict(row, bytes=116e6)}},
    }


def test_the_table_says_what_is_met_and_what_is_not() -> None:
    found = figures()
    found["browser"]["sort"] |= {"median": 0.6, "bytes": 120_000}
    page = pages_table.written(found)
    assert "| filter Browse by a text | 0.3 | **0.25** | 0.20 to 0.40 | met | 50 | 1 | 70 |" in page
    assert "**2.0 × the target** | 120 **over**" in page
    assert "| Browse | 0.10 | 0.20 | 0.8 | **1.00** | **1.2 × the target** | 300 | 70 |" in page
    assert "| Feature | 0.10 | 0.20 | 2.0 | **1.00** | met |" in page
    assert "what promotes it | 50 | **80.0** | **1.6 × the target** |" in page
    assert "| 25 | **30.0** | **1.2 × the target** | 10.0 |" in page
    assert "| row to first feature | 0.25 | 116.0 | 0.25 | 50 |" in page
    assert "browser 0.1, 0.9" in page
    assert "**300**" in page
    found["peer"] = None
    assert "Left out: no copy of its repository was named" in pages_table.written(found)
    del found["browser"], found["peer"]
    assert "From the click" not in pages_table.written(found)


def test_the_readmes_table_is_replaced_between_its_marks(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{pages_table.BEGIN}\nold\n{pages_table.END}\nafter\n")
    pages_table.into_readme(readme, figures())
    text = readme.read_text()
    assert re.fullmatch(r"before\n.*\nafter\n", text, re.S)
    assert "\nold\n" not in text
    assert "| row of Browse to its feature | 0.7 s | 0.25 s | 0.25 s, 116.0 MB |" in text
    pages_table.into_readme(readme, figures())
    assert readme.read_text() == text
    readme.write_text("no marks\n")
    pages_table.into_readme(readme, figures())
    assert readme.read_text() == "no marks\n"


def test_a_store_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench_pages", "--store", str(tmp_path / "none"),
                                     "--work", str(tmp_path / "work")])
    assert bench_pages.main() == 2
    assert "make bench-precompute" in capsys.readouterr().err
