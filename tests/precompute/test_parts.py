"""Parts of a stage: done once, by any of several processes, to the same content."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from atlas.errors import BrokenArtifact, InvalidValue, StoreBusy
from atlas.store import POINTER
from atlas.tensor_files import read_json
from precompute import parts as parts_module
from precompute import passes, safety
from precompute.parts import MANIFEST, Parts, done_and_all, every, share_of
from precompute.safety import STAGED
from precompute.stages import SHARED, STAGES, clean_stages, precompute_run
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


def test_a_part_that_appears_just_before_the_rename_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = Parts(tmp_path, "count", 1, {}), Parts(tmp_path, "count", 1, {})
    Parts(tmp_path, "count", 1, {"input": "old"}).do(work, lambda line: None, every)
    seen: list[int] = []

    def slow_disk(path: Path) -> None:
        monkeypatch.undo()
        theirs.do(work, lambda line: None, every)
        seen.append(theirs.path(0).stat().st_ino)

    monkeypatch.setattr(parts_module, "sync_files", slow_disk)
    mine.do(work, lambda line: None, every)
    assert mine.path(0).stat().st_ino == seen[0]
    assert mine.whole(0)
    assert list(tmp_path.rglob(f"{STAGED}*")) == []


def test_reading_waits_for_a_part_that_is_being_put_into_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = Parts(tmp_path, "count", 1, {})
    parts.do(work, lambda line: None, every)
    aside = parts.path(0).rename(tmp_path / "aside")
    monkeypatch.setattr(parts_module.time, "sleep", lambda s: aside.rename(parts.path(0)))
    assert int(parts.read(0)["square"]) == 0


def test_reading_what_is_not_there_or_is_of_others_says_so(tmp_path: Path) -> None:
    parts = Parts(tmp_path, "count", 1, {"device": "cpu"})
    with pytest.raises(BrokenArtifact, match="part of count is not there"):
        parts.read(0)
    Parts(tmp_path, "count", 1, {"device": "cuda"}).do(work, lambda line: None, every)
    assert parts.differs(0)
    with pytest.raises(BrokenArtifact, match="was made from something else") as caught:
        parts.read(0)
    assert "\n" not in str(caught.value)
    parts.do(work, lambda line: None, every)
    assert not parts.differs(0)
    (parts.path(0) / "square.npy").unlink()
    with pytest.raises(BrokenArtifact, match="lost a file"):
        parts.read(0)


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
        assert set(built.done) <= set(SHARED)
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
        for crew, error in ((1, StoreBusy), (2, InvalidValue)):
            with pytest.raises(error, match=f"process {os.getpid()}"), \
                 safety.writer_lock(folder, "run", crew=crew):
                pass
    with safety.writer_lock(folder, "run"), pytest.raises(StoreBusy):
        precompute_run(store, SEED0, rank=0, world_size=3)
    assert (folder / safety.LOCK).read_text() == ""


def said_by(device: str, **other: object) -> dict[str, object]:
    return {"device": device, "world_size": 2, "code": 1, "inputs": {"a": "1", "b": "2"}} | other


@pytest.mark.parametrize(("other", "words"), [
    (said_by("cuda"), ["cpu", "cuda", "--device cpu"]),
    (said_by("cpu", world_size=3), ["2", "3", "--world-size"]),
    (said_by("cpu", code=2), ["code 1", "code 2", "version"]),
    (said_by("cpu", inputs={"a": "1", "b": "x"}), ["b (2)", "b (x)", "same files"]),
])
def test_a_crew_whose_members_disagree_is_refused_in_a_line(
    tmp_path: Path, other: dict[str, object], words: list[str]
) -> None:
    with safety.writer_lock(tmp_path, "run", crew=2):
        safety.join_crew(tmp_path, "run x", said_by("cpu"))
        with safety.writer_lock(tmp_path, "run", crew=2):
            safety.join_crew(tmp_path, "run x", said_by("cpu"))
            with pytest.raises(InvalidValue) as caught:
                safety.join_crew(tmp_path, "run x", other)
            assert caught.value.status == 2
            assert "\n" not in str(caught.value)
            assert all(word in str(caught.value) for word in words), str(caught.value)
        with pytest.raises(InvalidValue):
            safety.join_crew(tmp_path, "run x", other)
    assert not (tmp_path / safety.CREW).exists()
    with safety.writer_lock(tmp_path, "run", crew=2):
        safety.join_crew(tmp_path, "run x", other)


def test_what_a_killed_crew_said_does_not_bind_the_next(tmp_path: Path) -> None:
    child = os.fork()
    if child == 0:
        with safety.writer_lock(tmp_path, "run", crew=2):
            safety.join_crew(tmp_path, "run x", said_by("cuda"))
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (tmp_path / safety.CREW).exists()
    with safety.writer_lock(tmp_path, "run", crew=2):
        safety.join_crew(tmp_path, "run x", said_by("cpu"))


def test_a_process_of_another_device_is_refused_while_the_others_live(store: Path) -> None:
    folder = store / "runs" / SEED0
    with safety.writer_lock(folder, "run", crew=3):
        precompute_run(store, SEED0, rank=0, world_size=3)
        crew = read_json(folder / safety.CREW)
        (folder / safety.CREW).write_text(json.dumps(crew | {"device": "cuda"}))
        with pytest.raises(InvalidValue, match="--device cpu"):
            precompute_run(store, SEED0, rank=1, world_size=3)


def test_parts_of_another_device_are_named_by_who_leaves_the_rest(store: Path) -> None:
    folder = store / "runs" / SEED0
    precompute_run(store, SEED0, rank=0, world_size=2)
    for path in (folder / "stages" / "encode" / "parts").glob(f"0*/{MANIFEST}"):
        path.write_text(json.dumps(read_json(path) | {"key": "that of another device"}))
    lines: list[str] = []
    assert precompute_run(store, SEED0, report=lines.append, rank=1, world_size=2).file is None
    assert "3 of them are there, made on another device than cpu" in lines[-1]


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
    for stage in ("promote", "neighbours"):
        assert parts_module.done_and_all(stages.parent, stage) == (5, 5)
    assert precompute_run(store, run, rank=1, world_size=2).file is not None
