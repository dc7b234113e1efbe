"""Parts of a stage: done once, by any of several processes, to the same content."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from atlas.errors import InvalidValue, StoreBusy
from atlas.store import POINTER
from atlas.tensor_files import read_json
from precompute import parts as parts_module
from precompute import passes, safety
from precompute.parts import MANIFEST, Parts, done_and_all, every, share_of
from precompute.safety import STAGED
from precompute.stages import STAGES, clean_stages, precompute_run
from tests.tiny import PRISM, SEED0, SEED1, V


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    """A copy of the built tiny store, with the file of `SEED0` to be made anew in many blocks."""
    store = Path(shutil.copytree(tiny_store, tmp_path / "store"))
    for run in (SEED0, PRISM):
        clean_stages(store, run)
        (store / "runs" / run / POINTER).unlink()
    return store


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 64 rows: five of them in the tiny store."""
    monkeypatch.setattr(passes, "block_rows", lambda source, snapshots: 64)


def digest(tiny_store: Path, run: str) -> str:
    return read_json(tiny_store / "runs" / run / POINTER)["digest"]


def work(part: int) -> dict[str, np.ndarray]:
    return {"number": np.full(3, part), "square": np.array(part**2)}


def lines_of(parts: Parts, mine=every) -> list[str]:
    lines: list[str] = []
    parts.do(work, lines.append, mine)
    return [line for line in lines if not line.startswith(f"{parts.stage}: done in")]


def test_parts_are_done_once_and_read_back(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "count", 3, {"input": "a"}, "thing")
    assert done_and_all(tmp_path, "count") == (0, 1)
    assert lines_of(parts) == ["count: started", *(f"count: thing {n} of 3" for n in (1, 2, 3))]
    assert [int(arrays["square"]) for arrays in parts.read_all()] == [0, 1, 4]
    assert done_and_all(tmp_path, "count") == (3, 3)
    assert lines_of(parts) == ["count: kept from an earlier call"]
    manifest = json.loads((parts.path(1) / MANIFEST).read_text())
    assert (manifest["part"], manifest["parts"], manifest["inputs"]) == (1, 3, {"input": "a"})
    assert list(tmp_path.rglob(f"{STAGED}*")) == []


def test_only_what_is_missing_damaged_or_stale_is_done(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "count", 4, {"input": "a"})
    parts.do(work, lambda line: None, every)
    file = parts.path(1) / "number.npy"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    (parts.path(3) / "square.npy").unlink()
    assert parts.missing() == [1, 3]
    kept = parts.path(0).stat().st_ino
    assert lines_of(parts) == ["count: started", "count: part 2 of 4", "count: part 4 of 4"]
    assert parts.missing() == []
    assert parts.path(0).stat().st_ino == kept
    assert Parts(tmp_path, "count", 4, {"input": "b"}).missing() == [0, 1, 2, 3]
    assert Parts(tmp_path, "count", 5, {"input": "a"}).missing() == [0, 1, 2, 3, 4]


def test_shares_are_disjoint_and_make_up_the_whole(tmp_path: Path) -> None:
    for world in (1, 2, 3, 7):
        shares = [[p for p in range(5) if share_of(rank, world)(p)] for rank in range(world)]
        assert sorted(sum(shares, [])) == [0, 1, 2, 3, 4]
    parts = Parts(tmp_path, "count", 5, {})
    parts.do(work, lambda line: None, share_of(1, 2))
    assert parts.missing() == [0, 2, 4]


def test_a_part_that_another_process_put_there_meanwhile_stays(tmp_path: Path) -> None:
    mine, theirs = Parts(tmp_path, "count", 1, {}), Parts(tmp_path, "count", 1, {})
    seen: list[int] = []

    def slow(part: int) -> dict[str, np.ndarray]:
        theirs.do(work, lambda line: None, every)
        seen.append(theirs.path(0).stat().st_ino)
        return work(part)

    assert mine.do(slow, lambda line: None, every)
    assert mine.path(0).stat().st_ino == seen[0]
    assert list(tmp_path.rglob(f"{STAGED}*")) == []


@pytest.mark.parametrize("run", [SEED0, PRISM])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_ranks_together_give_what_one_process_gives(
    store: Path, tiny_store: Path, run: str, order: tuple[int, ...]
) -> None:
    lines: list[str] = []
    for rank in order[:-1]:
        built = precompute_run(store, run, report=lines.append, rank=rank, world_size=3)
        assert built.file is None
        assert built.digest is None
        assert set(built.done) <= {"measure", "encode", "promote"}
    assert any("left to other processes" in line for line in lines)
    last = precompute_run(store, run, rank=order[-1], world_size=3)
    assert last.digest == digest(tiny_store, run)
    again = precompute_run(store, run, rank=0, world_size=3)
    assert (again.done, again.digest) == ((), last.digest)
    assert list(store.rglob(f"{STAGED}*")) == []


def test_ranks_at_the_same_time_one_of_them_killed(store: Path, tiny_store: Path) -> None:
    def start(rank: int) -> int:
        child = os.fork()
        if child == 0:
            file = precompute_run(store, SEED0, rank=rank, world_size=3).file
            os._exit(0 if file is None else 3)
        return child

    ranks = [start(rank) for rank in range(3)]
    measure = store / "runs" / SEED0 / "stages" / "measure" / "parts"
    while not list(measure.glob("0*")):
        time.sleep(0.001)
    os.kill(ranks[2], signal.SIGKILL)
    statuses = [os.waitpid(child, 0)[1] for child in ranks]
    assert statuses == [0, 0, signal.SIGKILL]
    alone = precompute_run(store, SEED0)
    assert alone.digest == digest(tiny_store, SEED0)
    assert list(store.rglob(f"{STAGED}*")) == []


def test_a_crew_and_a_stranger_keep_out_of_each_other_s_way(store: Path) -> None:
    folder = store / "runs" / SEED0
    with safety.writer_lock(folder, "run", crew=3):
        with safety.writer_lock(folder, "run", crew=3):
            pass
        for crew in (1, 2):
            with pytest.raises(StoreBusy, match=f"process {os.getpid()}"), \
                 safety.writer_lock(folder, "run", crew=crew):
                pass
    with safety.writer_lock(folder, "run"), pytest.raises(StoreBusy):
        precompute_run(store, SEED0, rank=0, world_size=3)
    assert (folder / safety.LOCK).read_text() == ""


def test_a_crew_spans_machines_and_a_stranger_on_another_is_honoured(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = store / "runs" / SEED0
    (folder / safety.LOCK).write_text(json.dumps({"pid": 7, "host": "far", "crew": 3}))
    with safety.writer_lock(folder, "run", crew=3):
        pass
    (folder / safety.LOCK).write_text(json.dumps({"pid": 7, "host": "far", "crew": 1}))
    with pytest.raises(StoreBusy, match="far"), safety.writer_lock(folder, "run", crew=3):
        pass


def test_what_a_crew_on_another_machine_is_writing_is_not_swept(tmp_path: Path) -> None:
    theirs = tmp_path / f"{STAGED}999999-00001-elsewhere"
    theirs.mkdir()
    safety.sweep(tmp_path, crew=2)
    assert theirs.is_dir()
    os.utime(theirs, (0, 0))
    safety.sweep(tmp_path, crew=2)
    assert not theirs.exists()


def test_impossible_ranks_are_refused(store: Path) -> None:
    for rank, world in ((3, 3), (-1, 3), (0, 0)):
        with pytest.raises(InvalidValue, match="ranks go from 0"):
            precompute_run(store, SEED0, rank=rank, world_size=world)
    with pytest.raises(InvalidValue, match="--force"):
        precompute_run(store, SEED0, force=True, rank=0, world_size=2)


def test_a_kill_inside_a_stage_loses_one_part(store: Path, tiny_store: Path) -> None:
    child = os.fork()
    if child == 0:
        def tell(line: str) -> None:
            if line == "encode: block 3 of 5":
                os.kill(os.getpid(), signal.SIGKILL)

        precompute_run(store, SEED0, report=tell)
        os._exit(1)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    parts = store / "runs" / SEED0 / "stages" / "encode" / "parts"
    before = {p.name: p.stat().st_ino for p in parts.glob("0*")}
    assert sorted(before) == ["00000", "00001", "00002"]
    lines: list[str] = []
    built = precompute_run(store, SEED0, report=lines.append)
    assert built.done == STAGES[1:]
    assert built.digest == digest(tiny_store, SEED0)
    blocks = [line for line in lines if line.startswith("encode: block")]
    assert blocks == ["encode: block 4 of 5", "encode: block 5 of 5"]
    assert {n: p for n, p in ((q.name, q.stat().st_ino) for q in parts.glob("0*"))
            if n in before} == before


def test_another_size_of_blocks_gives_the_same_file(
    store: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = precompute_run(store, SEED0)
    assert first.digest == digest(tiny_store, SEED0)
    monkeypatch.setattr(passes, "block_rows", lambda source, snapshots: V)
    again = precompute_run(store, SEED0, force=True)
    assert again.digest == first.digest
    assert done_and_all(store / "runs" / SEED0, "encode") == (1, 1)


def test_the_merge_is_left_to_the_process_that_is_at_it(store: Path) -> None:
    run = SEED1
    clean_stages(store, run)
    (store / "runs" / run / POINTER).unlink()
    precompute_run(store, run, rank=0, world_size=2)
    stages = store / "runs" / run / "stages"
    lines: list[str] = []
    with safety.writer_lock(stages, "the file"):
        built = precompute_run(store, run, report=lines.append, rank=1, world_size=2)
    assert built.file is None
    assert "is being written by" in lines[-1]
    assert parts_module.done_and_all(stages.parent, "promote") == (5, 5)
    assert precompute_run(store, run, rank=1, world_size=2).file is not None
