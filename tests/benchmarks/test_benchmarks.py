"""The benchmarks themselves, at a small shape: what they make, measure and write is sound."""

import dataclasses
import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from atlas.artifacts import load_snapshots, read_run
from atlas.places import model_path, run_path
from atlas.store import Store
from atlas.vocabulary import vocabulary_bytes
from precompute.publish import publish
from precompute.stages import STAGES, precompute_run
from tests.benchmarks import bench_precompute, full_shape, kills
from tests.benchmarks.plain_way import plain

TINY = full_shape.Size(4_300, 4_250, 32, 256, full_shape.PYTHIA[::8], 6, 12.0, 512)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = tmp_path_factory.mktemp("full") / "store"
    full_shape.make(store, TINY, report=lambda line: None)
    return store


def test_the_made_up_run_is_whole_and_has_the_density_that_was_asked_for(store: Path) -> None:
    built = precompute_run(store, TINY.run)
    publish(store)
    card = Store.open(store).runs()[0]
    assert built.done == STAGES
    assert card.run == TINY.run
    assert 0.4 * TINY.union < card.l0 < TINY.union
    assert card.explained_variance > 0.2
    assert card.dead_rate < 0.05
    recorded = read_run(run_path(store, TINY.run)).metrics["l0"]
    assert card.l0 == pytest.approx(recorded, rel=0.1)
    summary = run_path(store, TINY.run) / "stages" / "summarise" / "parts" / "00000"
    profiles = np.load(summary / "profile.npy")
    shares = {name: float((profiles == name).mean()) for name in np.unique(profiles)}
    assert shares["persistent"] > 0.3
    assert len([share for share in shares.values() if share > 0.02]) >= 3


def test_the_tokenizer_is_a_byte_level_bpe_of_distinct_tokens(store: Path) -> None:
    path = model_path(store, full_shape.MODEL) / "tokenizer.json"
    raw = vocabulary_bytes(json.loads(path.read_text()))
    assert len(raw) == len(set(raw)) == TINY.tokens
    assert Tokenizer.from_file(str(path)).get_vocab_size() == TINY.tokens


def test_the_same_seed_gives_the_same_files(store: Path, tmp_path: Path) -> None:
    full_shape.make(tmp_path, TINY, report=lambda line: None)
    for again in sorted(p for p in tmp_path.rglob("*") if p.is_file()):
        assert again.read_bytes() == (store / again.relative_to(tmp_path)).read_bytes(), again


def test_early_rows_hardly_differ_and_late_ones_do(store: Path) -> None:
    size = dataclasses.replace(TINY, steps=full_shape.PYTHIA)
    lives = full_shape.Planted(size, 0).lives
    early, late = lives[:3], lives[[10, 20, 31]]
    assert float((early[1:] - early[:-1]).abs().mean()) < 0.05
    assert float((late[1:] - late[:-1]).abs().mean()) > 0.1
    rows = load_snapshots(store, full_shape.NAME, TINY.steps, "W_U")
    assert torch.isfinite(rows).all()
    assert full_shape.FULL.run == "full-shape/W_U/cross-snapshot-32/d24576/seed0"


def test_the_table_is_written_from_what_was_measured(store: Path) -> None:
    pieces = plain(store, TINY.run, rows=64, snapshots=2)
    assert all(piece["seconds"] > 0 for piece in pieces)
    stage = {"stage": "encode", "seconds": 60.0, "cpu": 120.0, "peak": 3_000_000_000}
    build = {"run": TINY.run, "digest": "d" * 64, "seconds": 90.0, "stages": [stage],
             "peak": 3_000_000_000, "peaks_reset": False, "file_bytes": 10**8}
    at = [{"stage": "measure", "line": "a"}, {"stage": "write", "line": "b"}]
    hit = {"at": at, "same": True, "digest": "d" * 64, "whole": "d" * 64, "swept": 1,
           "leftovers": 0, "seconds": 120.0, "seed": 0}
    page = bench_precompute.written(
        {"build": build, "plain": pieces, "kills": hit, "threads": 2, "machine": "a machine",
         "measured": "2026-01-01"}, TINY)
    assert "| encode | 1.00 | 2.00 | 3.00 |" in page
    assert "**extrapolated**" in page
    assert "SIGKILL at 2 random moments" in page
    assert "| write | b |" in page
    assert "could not be reset" in page
    assert "page cache" in page
    assert "leaves out `inputs` and `measure`" in page
    assert "**ANOTHER**" in "".join(kills.lines_of(hit | {"same": False}))


def test_moments_of_kills_are_drawn_over_all_stages() -> None:
    seconds = dict.fromkeys(kills.ALL, 1.0) | {"encode": 1e6}
    count = len(kills.ALL) + 3
    found = kills.aims(seconds, count, random.Random(0))
    assert found == kills.aims(seconds, count, random.Random(0))
    stages = [aim.stage for aim in found]
    assert set(stages) == set(kills.ALL)
    assert stages == sorted(stages, key=kills.ALL.index)
    assert stages.count("encode") == 4
    shares = [aim.share for aim in found if aim.stage == "encode"]
    assert shares == sorted(shares)
    assert len(kills.aims(seconds, 3, random.Random(0))) == 3


def test_the_stage_under_way_is_read_from_the_lines() -> None:
    lines = ["inputs: started", "measure: started", "measure: snapshot 1 of 2",
             "measure: done in 0.1 s", "encode: kept from an earlier call", "promote: started",
             "summarise: started", "tokens: started", "tokens: kinds", "tokens: done in 1.0 s",
             "examples: kept from an earlier call", "fidelity: started", "fidelity: done in 2 s",
             "gallery: kept from an earlier call"]
    found = [kills.stage_of(lines[:n]) for n in range(len(lines) + 1)]
    assert found == ["inputs"] * 2 + ["measure"] * 3 + [
        "encode", "promote", "summarise", "tokens", "tokens", "tokens", "examples", "fidelity",
        "fidelity", "write"]


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have the child of a kill be a few lines of a script instead of a build."""
    def run(code: str) -> None:
        text = "import time\nsay = lambda line: print('     0.0 s  ' + line, flush=True)\n" + code
        monkeypatch.setattr(kills, "_command", lambda *_: [sys.executable, "-c", text])
    return run


def kill(stage: str, share: float, seconds: float) -> dict[str, str] | None:
    aim = kills.Aim(stage, share)
    return kills.kill_at(Path(), "run", 1, aim, seconds, random.Random(0))


def test_a_child_that_ended_by_itself_was_not_killed(scripted: Callable[[str], None]) -> None:
    scripted("say('inputs: started')")
    assert kill("inputs", 0.9, 60.0) is None
    scripted("say('examples: kept'); say('write: the file, 1 MB'); time.sleep(60)")
    assert kill("write", 0.01, 60.0) is None


def test_a_kill_lands_in_its_stage_at_a_part_or_a_time(scripted: Callable[[str], None]) -> None:
    scripted("say('inputs: started'); time.sleep(60)")
    assert kill("inputs", 0.0, 1.0) == {"stage": "inputs", "line": "inputs: started"}
    scripted("say('encode: started')\n"
             "for n in range(1, 100): say(f'encode: block {n} of 100'); time.sleep(0.01)")
    hit = kill("encode", 0.5, 20.0)
    assert hit is not None
    assert hit["stage"] == "encode"
    assert 50 <= int(hit["line"].split()[2]) < 100
    scripted("say('encode: kept from an earlier call'); say('promote: started'); time.sleep(60)")
    hit = kill("encode", 0.5, 60.0)
    assert hit is not None
    assert hit["stage"] == "promote"
