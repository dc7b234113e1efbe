"""Publishing: idempotent, keeps one old generation, skips what it cannot read, one at a time."""

import json
import os
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

from atlas.errors import StoreBusy
from atlas.schema import SCHEMA
from atlas.store import POINTER, Store
from atlas.tensor_files import read_json, write_json
from precompute.publish import publish
from precompute.safety import LOCK, STAGED, sweep, writer_lock
from precompute.stages import precompute_run
from tests.tiny import RUNS, SEED0, SEED1, SMALL


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_store, tmp_path / "store"))


def change(store: Path, run: str, l0: float) -> None:
    path = store / "runs" / run / "metrics.json"
    write_json(path, read_json(path) | {"l0": l0})
    precompute_run(store, run)


def test_publishing_twice_changes_nothing(store: Path) -> None:
    before = {p: p.stat().st_ino for p in store.glob("catalog-*")}
    pointer = read_json(store / POINTER)
    lines: list[str] = []
    again = publish(store, lines.append)
    assert not again.changed
    assert again.runs == tuple(sorted(RUNS))
    assert again.skipped == ()
    assert lines == [f"publish: {len(RUNS)} runs in {again.catalog.name}"]
    assert {p: p.stat().st_ino for p in store.glob("catalog-*")} == before
    assert read_json(store / POINTER) == pointer


def test_an_empty_store_can_be_published(tmp_path: Path) -> None:
    publish(tmp_path)
    assert Store.open(tmp_path).runs() == []


def test_the_previous_generation_is_kept_and_older_ones_go(store: Path) -> None:
    files = {}
    for turn in range(3):
        change(store, SEED0, 10.0 + turn)
        publish(store)
        files[turn] = Store.open(store).run(SEED0).file
    assert not (store / files[0]).exists()
    assert (store / files[1]).exists()
    assert (store / files[2]).exists()
    assert len(list(store.glob("catalog-*"))) == 2
    assert Store.open(store).verify() == []


def test_the_catalog_lists_measured_figures_and_keeps_the_recorded_ones(store: Path) -> None:
    before = Store.open(store).run(SEED0)
    path = store / "runs" / SEED0 / "metrics.json"
    told = {"explained_variance": 0.125, "l0": 99.0, "dead_rate": 0.5}
    write_json(path, read_json(path) | told)
    precompute_run(store, SEED0)
    publish(store)
    after = Store.open(store).run(SEED0)
    for name, value in told.items():
        assert getattr(after, name) == getattr(before, name) != value
        assert after.metrics[name] == value
        assert before.metrics[name] == pytest.approx(getattr(before, name), abs=1e-5)


def test_going_back_to_earlier_inputs_gives_the_earlier_file(store: Path) -> None:
    original = read_json(store / "runs" / SEED0 / "metrics.json")
    first = Store.open(store)
    change(store, SEED0, 99.0)
    publish(store)
    write_json(store / "runs" / SEED0 / "metrics.json", original)
    precompute_run(store, SEED0)
    publish(store)
    again = Store.open(store)
    assert again.digest == first.digest
    assert again.run(SEED0).l0 == first.run(SEED0).l0
    assert again.verify() == []


def test_what_cannot_be_read_is_skipped_with_its_mending_command(store: Path) -> None:
    cards = {card.run: card for card in Store.open(store).runs()}
    path = store / cards[SEED0].file
    path.write_bytes(b"<html>" * 100)
    pointer = store / "runs" / SEED1 / POINTER
    write_json(pointer, read_json(pointer) | {"schema": SCHEMA + 1})
    lines: list[str] = []
    done = publish(store, lines.append)
    assert set(done.runs) == set(RUNS) - {SEED0, SEED1}
    assert len(done.skipped) == 2
    for run in (SEED0, SEED1):
        assert any(f"readout-atlas build {run} --force" in line for line in lines)
    for run in (SEED0, SEED1):
        precompute_run(store, run)
    assert set(publish(store).runs) == set(RUNS)


def test_a_run_folder_moved_elsewhere_is_not_listed_under_a_wrong_name(store: Path) -> None:
    (store / "runs" / SMALL).rename(store / "runs" / "moved")
    assert SMALL not in publish(store).runs


def test_one_publisher_at_a_time(store: Path) -> None:
    with writer_lock(store, "store"), pytest.raises(StoreBusy, match=f"process {os.getpid()} on"):
        publish(store, wait=0.0)
    assert publish(store).runs == tuple(sorted(RUNS))


def test_a_publisher_waits_a_moment_for_another(store: Path) -> None:
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with writer_lock(store, "store"):
            held.set()
            let_go.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(5)
    threading.Timer(0.2, let_go.set).start()
    assert publish(store, wait=10.0).runs == tuple(sorted(RUNS))
    thread.join()


def test_a_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    lock = {"pid": child, "host": socket.gethostname(), "start": "2026-01-01T00:00:00Z"}
    (tmp_path / LOCK).write_text(json.dumps(lock))
    with writer_lock(tmp_path, "store"):
        assert json.loads((tmp_path / LOCK).read_text())["pid"] == os.getpid()
    assert (tmp_path / LOCK).read_text() == ""


def test_a_lock_of_another_machine_is_honoured(tmp_path: Path) -> None:
    lock = {"pid": 7, "host": "elsewhere", "start": "2026-01-01T00:00:00Z"}
    (tmp_path / LOCK).write_text(json.dumps(lock))
    with pytest.raises(StoreBusy, match="process 7 on elsewhere since 2026.*remove"), \
            writer_lock(tmp_path, "store"):
        pass
    assert json.loads((tmp_path / LOCK).read_text()) == lock


def test_a_lock_file_of_nonsense_does_not_block(tmp_path: Path) -> None:
    for text in ("[]", "\0\1", "x" * 10_000):
        (tmp_path / LOCK).write_text(text)
        with writer_lock(tmp_path, "store"):
            pass


def test_the_sweep_spares_what_a_living_process_is_writing(tmp_path: Path) -> None:
    parent = os.getppid()
    mine, theirs, dead = (tmp_path / f"{STAGED}{pid}-x" for pid in (os.getpid(), parent, 2**22 - 3))
    nonsense = tmp_path / f"{STAGED}x"
    for path in (mine, dead, nonsense):
        path.write_text("unfinished")
    theirs.mkdir()
    (theirs / "part").write_text("unfinished")
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [theirs.name]
    long_ago = time.time() - 7200
    os.utime(theirs, (long_ago, long_ago))
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []
