"""The benchmarks themselves, at a small shape: what they make, measure and write is sound."""

import dataclasses
import json
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
from tests.benchmarks import bench_precompute, full_shape
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
             "peak": 3_000_000_000, "file_bytes": 10**8}
    kills = {"moments": [1.0, 2.0], "at": ["a", "b"], "same": True, "digest": "d" * 64,
             "leftovers": 0, "seconds": 120.0, "seed": 0}
    page = bench_precompute.written(
        {"build": build, "plain": pieces, "kills": kills, "threads": 2, "machine": "a machine",
         "measured": "2026-01-01"}, TINY)
    assert "| encode | 1.00 | 2.00 | 3.00 |" in page
    assert "**extrapolated**" in page
    assert "SIGKILL at 2 random moments" in page
    assert "| 2.0 | b |" in page
