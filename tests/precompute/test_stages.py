"""Stages: done once, redone when an input changes, killed without loss, refused when impossible."""

import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.artifacts import snapshot_path
from atlas.errors import BrokenArtifact, InvalidValue, NoSpace, NotFound, StoreBusy
from atlas.schema import RUN_TABLES
from atlas.store import POINTER, Store
from atlas.tensor_files import load_tensors, read_json, save_tensors, write_json
from precompute import kept, publish, safety, stages, writer
from precompute.safety import STAGED
from precompute.stages import STAGES, clean_stages, precompute_run
from precompute.writer import read_meta, verify_digest
from tests.tiny import FULL, LARGE_MODEL, PRISM, RUNS, SEED0, SMALL, STEPS, V


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    """A copy of the built tiny store to change."""
    return Path(shutil.copytree(tiny_store, tmp_path / "a store"))


def unbuild(store: Path, run: str) -> Path:
    """Leave of a run only its inputs; returns its folder."""
    folder = store / "runs" / run
    clean_stages(store, run)
    for path in (folder / POINTER, *folder.glob("*.duckdb")):
        path.unlink(missing_ok=True)
    return folder


def leftovers(store: Path) -> list[Path]:
    """Whatever an unfinished write would leave."""
    return [p for p in store.rglob("*")
            if p.name.startswith(STAGED) or p.suffix in (".wal", ".tmp")]


def test_building_twice_gives_the_same_digest(store: Path, tiny_store: Path) -> None:
    for run in (SEED0, PRISM):
        before = read_json(tiny_store / "runs" / run / POINTER)
        unbuild(store, run)
        built = precompute_run(store, run)
        assert built.done == STAGES
        assert (built.digest, built.file.name) == (before["digest"], before["file"])
        assert verify_digest(built.file, RUN_TABLES) == built.digest
    assert leftovers(store) == []


def test_a_second_call_does_nothing_and_says_so(store: Path) -> None:
    assert precompute_run(store, SEED0).done == ()
    before = {p: p.stat().st_mtime_ns for p in store.rglob("*") if p.name != ".lock"}
    lines: list[str] = []
    assert precompute_run(store, SEED0, report=lines.append).done == ()
    assert lines == [f"{SEED0}: up to date, nothing to do"]
    after = {p: p.stat().st_mtime_ns for p in store.rglob("*") if p.name != ".lock"}
    assert after == before


def test_without_its_stages_a_run_is_still_up_to_date(store: Path) -> None:
    clean_stages(store, SEED0)
    assert not (store / "runs" / SEED0 / "stages").exists()
    assert precompute_run(store, SEED0).done == ()
    inputs = json.loads(read_meta(precompute_run(store, SEED0).file)["inputs"])
    examples = 5  # the text, and what the last step's language model is put together from
    trials = 2 * len(FULL[:-1]) + 1  # bodies and embeddings of other steps, the gallery's list
    assert len(inputs) == 6 + len(STEPS) + examples + trials
    assert "data/banks/gallery.json" in inputs
    assert f"models/{LARGE_MODEL}/tokenizer.json" in inputs


def test_force_does_everything_again_and_changes_nothing(store: Path) -> None:
    before = read_json(store / "runs" / SEED0 / POINTER)
    assert precompute_run(store, SEED0, force=True).done == STAGES
    assert read_json(store / "runs" / SEED0 / POINTER) == before


def test_a_changed_input_redoes_what_depends_on_it(store: Path) -> None:
    folder = store / "runs" / SEED0
    metrics = read_json(folder / "metrics.json")
    write_json(folder / "metrics.json", metrics | {"l0": 3.0})
    assert precompute_run(store, SEED0).done == ("write",)
    counts = store / "models" / LARGE_MODEL / "token_counts.safetensors"
    tensors = load_tensors(counts)
    save_tensors(counts, {name: t + 1 for name, t in tensors.items()})
    assert precompute_run(store, SEED0).done == ("promote", "tokens", "fidelity", "write")
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"seed": 5})
    assert precompute_run(store, SEED0).done == STAGES


def test_a_text_that_is_gone_leaves_its_examples_and_another_gives_others(store: Path) -> None:
    model = store / "models" / LARGE_MODEL
    text = model / "evaluation.txt"
    before = text.read_text("utf8")
    text.unlink()
    assert precompute_run(store, SEED0).done == ()
    text.write_text(before.upper(), "utf8")
    assert precompute_run(store, SEED0).done == ("examples", "fidelity", "write")
    (model / "token_counts.safetensors").unlink()
    assert "tokens" in precompute_run(store, SEED0).done


def test_a_damaged_stage_or_file_is_made_again(store: Path) -> None:
    folder = store / "runs" / SEED0
    pointer = read_json(folder / POINTER)
    file = folder / pointer["file"]
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    p = folder / "stages" / "encode" / "parts" / "00000" / "p.npy"
    p.write_bytes(p.read_bytes()[:-4] + b"\0\0\0\0")
    assert precompute_run(store, SEED0).done == ("encode", "write")
    assert read_json(folder / POINTER)["digest"] == pointer["digest"]
    assert verify_digest(file, RUN_TABLES) == pointer["digest"]


KILLS: dict[str, Callable[[str], bool]] = {
    "before the first stage": lambda line: line == "measure: started",
    "inside measure": lambda line: line.startswith("measure: snapshot 2"),
    "after encode": lambda line: line.startswith("encode: done"),
    "inside promote": lambda line: line.startswith("promote: snapshot 3"),
    "after promote": lambda line: line.startswith("promote: done"),
    "inside neighbours": lambda line: line.startswith("neighbours: snapshot 3"),
    "after summarise": lambda line: line.startswith("summarise: done"),
    "after dense": lambda line: line.startswith("dense: done"),
    "after tokens": lambda line: line.startswith("tokens: done"),
    "after examples": lambda line: line.startswith("examples: done"),
    "inside fidelity": lambda line: line.startswith("fidelity: rows by ridge"),
    "after fidelity": lambda line: line.startswith("fidelity: done"),
    "after gallery": lambda line: line.startswith("gallery: done"),
    "before the file is renamed": lambda line: line == "settle atlas",
    "before the pointer is written": lambda line: line == "point",
    "before the catalog is renamed": lambda line: line == "settle catalog",
    "before the store's pointer moves": lambda line: line == "move",
}
def after(stage: str) -> tuple[str, ...]:
    """The stages that come after one."""
    return STAGES[STAGES.index(stage) + 1 :]


KEPT = {
    "before the first stage": STAGES, "inside measure": STAGES, "after encode": after("encode"),
    "inside promote": after("encode"), "after promote": after("promote"),
    "inside neighbours": after("promote"), "after summarise": after("summarise"),
    "after dense": after("dense"), "after tokens": after("tokens"),
    "after examples": after("examples"), "inside fidelity": after("examples"),
    "after fidelity": after("fidelity"), "after gallery": after("gallery"),
    "before the file is renamed": after("gallery"),
    "before the pointer is written": after("gallery"),
    "before the catalog is renamed": (), "before the store's pointer moves": (),
}


@pytest.mark.parametrize("moment", KILLS)
def test_kill_9_loses_nothing_that_was_finished(store: Path, tiny_store: Path, moment: str) -> None:
    unbuild(store, SEED0)
    child = os.fork()
    if child == 0:
        _build_and_die(store, KILLS[moment])
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert Store.open(store).run(SMALL).problem is None
    built = precompute_run(store, SEED0)
    assert built.done == KEPT[moment]
    assert built.digest == read_json(tiny_store / "runs" / SEED0 / POINTER)["digest"]
    publish.publish(store)
    assert leftovers(store) == []
    reader = Store.open(store)
    assert [c.hash for c in reader.runs()] == [c.hash for c in Store.open(tiny_store).runs()]
    assert reader.verify() == []


def _build_and_die(store: Path, is_moment: Callable[[str], bool]) -> None:
    """In a child process: build and publish, and die by SIGKILL at a moment."""
    def tell(line: str) -> None:
        if is_moment(line):
            os.kill(os.getpid(), signal.SIGKILL)

    def before(module: object, name: str, say: Callable[..., str]) -> None:
        real = getattr(module, name)

        def wrapped(*args: object) -> object:
            tell(say(*args))
            return real(*args)

        setattr(module, name, wrapped)

    before(writer, "settle", lambda staged, path: f"settle {path.name.split('-')[0]}")
    before(stages, "point_to", lambda *args: "point")
    before(publish, "write_json", lambda *args: "move")
    precompute_run(store, SEED0, report=tell)
    publish.publish(store)


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow past `size` bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [4_500, 200_000])
def test_a_full_disk_is_told_and_leaves_no_trace(store: Path, size: int) -> None:
    folder = unbuild(store, SEED0)
    with largest_file(size), pytest.raises(NoSpace, match="run this again") as caught:
        precompute_run(store, SEED0)
    assert caught.value.status == 6
    assert leftovers(store) == []
    assert not (folder / POINTER).exists()
    built = precompute_run(store, SEED0)
    assert built.done == (STAGES[1:] if size == 4_500 else ("write",))


def test_too_little_space_is_refused_before_the_first_byte(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbuild(store, SEED0)
    monkeypatch.setattr(safety.shutil, "disk_usage",
                        lambda path: shutil._ntuple_diskusage(10, 10, 1000))
    with pytest.raises(NoSpace, match=r"needs about .* MB, its volume has 0\.0 MB"):
        precompute_run(store, SEED0)


def test_a_busy_run_names_the_writer(store: Path) -> None:
    folder = store / "runs" / SEED0
    with safety.writer_lock(folder, "run"), pytest.raises(StoreBusy) as caught:
        precompute_run(store, SEED0)
    assert caught.value.status == 5
    assert f"process {os.getpid()} on {os.uname().nodename}" in str(caught.value)
    assert precompute_run(store, SEED0).done == ()


def test_another_run_may_be_built_meanwhile(store: Path) -> None:
    unbuild(store, PRISM)
    with safety.writer_lock(store / "runs" / SEED0, "run"):
        assert precompute_run(store, PRISM).done == STAGES


# --- inputs that are missing, damaged or impossible -------------------------------------------


@pytest.mark.parametrize("run", ["", "..", "a/../b", "/etc", "a//b", ".hidden", "a b", "x" * 300])
def test_an_id_that_is_a_path_is_refused(store: Path, run: str) -> None:
    with pytest.raises(InvalidValue, match="no run id"):
        precompute_run(store, run)


def test_a_run_that_is_not_there(store: Path) -> None:
    with pytest.raises(NotFound, match="readout-atlas runs"):
        precompute_run(store, "demo/large/W_U/none")


@pytest.mark.parametrize("part", ["config.json", "dictionary.safetensors", "metrics.json",
                                  "provenance.json"])
def test_a_run_folder_with_a_missing_file(store: Path, part: str) -> None:
    (store / "runs" / SEED0 / part).unlink()
    with pytest.raises(BrokenArtifact, match=part):
        precompute_run(store, SEED0)


def test_a_missing_snapshot_or_tokenizer_is_named(store: Path) -> None:
    path = snapshot_path(store, "readout-atlas/tiny-large", 16, "W_U")
    path.unlink()
    with pytest.raises(NotFound, match=path.name):
        precompute_run(store, SEED0)
    (store / "models" / LARGE_MODEL / "tokenizer.json").unlink()
    with pytest.raises(NotFound, match="tokenizer.json"):
        precompute_run(store, PRISM)


def test_a_tokenizer_that_is_none(store: Path) -> None:
    write_json(store / "models" / LARGE_MODEL / "tokenizer.json", {"model": {"vocab": 3}})
    with pytest.raises(BrokenArtifact, match="tokenizer.json"):
        precompute_run(store, SEED0)


def test_counts_that_do_not_fit_the_vocabulary(store: Path) -> None:
    save_tensors(store / "models" / LARGE_MODEL / "token_counts.safetensors",
                 {"prose": torch.ones(7, dtype=torch.int32)})
    with pytest.raises(BrokenArtifact, match="token_counts"):
        precompute_run(store, SEED0)


def test_snapshots_of_unequal_shape(store: Path) -> None:
    save_tensors(snapshot_path(store, "readout-atlas/tiny-large", 16, "W_U"),
                 {"W_U": torch.randn(V + 1, 8)})
    with pytest.raises(BrokenArtifact, match=r"step16_wu.*\(321, 8\)"):
        precompute_run(store, SEED0)


def test_a_dictionary_of_another_width(store: Path) -> None:
    for step in STEPS:
        save_tensors(snapshot_path(store, "readout-atlas/tiny-large", step, "W_U"),
                     {"W_U": torch.randn(V, 6)})
    for run in (SEED0, PRISM):
        with pytest.raises(BrokenArtifact, match="width 8"):
            precompute_run(store, run)


def test_weights_that_are_not_finite(store: Path) -> None:
    path = store / "runs" / SEED0 / "dictionary.safetensors"
    tensors = load_tensors(path)
    tensors["W_D"][0, 0, 0] = np.nan
    save_tensors(path, tensors)
    with pytest.raises(BrokenArtifact, match="W_D"):
        precompute_run(store, SEED0)


def test_a_config_that_speaks_of_another_run(store: Path) -> None:
    folder = store / "runs" / SEED0
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"run": "demo/other"})
    with pytest.raises(BrokenArtifact, match="demo/other"):
        precompute_run(store, SEED0)
    write_json(folder / "config.json", config | {"kind": "sae"})
    with pytest.raises(BrokenArtifact, match="one step"):
        precompute_run(store, SEED0)
    write_json(folder / "config.json", config | {"steps": list(range(65))})
    with pytest.raises(InvalidValue, match="at most 64"):
        precompute_run(store, SEED0)


def test_a_single_snapshot_sae_has_no_life(store: Path) -> None:
    """An SAE is a crosscoder of one snapshot: rates and codes, but nothing that needs time."""
    source = store / "runs" / SEED0
    run = "tiny/large/W_U/final/d24/seed0"
    folder = store / "runs" / run
    folder.mkdir(parents=True)
    config = read_json(source / "config.json")
    write_json(folder / "config.json", config | {"run": run, "kind": "sae", "steps": [64]})
    for name in ("metrics.json", "provenance.json"):
        shutil.copyfile(source / name, folder / name)
    tensors = load_tensors(source / "dictionary.safetensors")
    shared = "activation_function.log_jumprelu_threshold"
    save_tensors(folder / "dictionary.safetensors",
                 {name: t if name == shared else t[-1:] for name, t in tensors.items()})
    precompute_run(store, run)
    publish.publish(store)
    reader = Store.open(store)
    card = reader.feature(run, 1)
    assert np.isfinite(card.norm).all()
    assert np.isfinite(card.rate).all()
    assert card.info.profile is None
    assert card.info.birth_step is None
    assert card.info.n_tokens > 0
    assert np.isnan(card.info.max_rotation)
    assert np.isnan(card.to_terminal).all()
    assert sorted(RUNS) != [c.run for c in reader.runs()]


def test_hashes_are_remembered_until_a_file_changes(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    real = kept.sha256
    monkeypatch.setattr(kept, "sha256", lambda path: hashed.append(path.name) or real(path))
    folder = kept.run_folder(store, SEED0)
    first = kept.input_hashes(store, folder)
    hashed.clear()
    assert kept.input_hashes(store, folder) == first
    assert hashed == []
    path = folder.path / "metrics.json"
    path.write_text(path.read_text() + " ")
    os.utime(path, ns=(time.time_ns(), time.time_ns()))
    assert kept.input_hashes(store, folder) != first
    assert hashed == ["metrics.json"]
