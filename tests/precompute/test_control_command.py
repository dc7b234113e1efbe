"""The verb `control`, what it prints and refuses; the control's files in a share."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.errors import Diverged
from atlas.places import run_path
from atlas.tensor_files import read_json, sha256, write_json
from atlas.turnover import CONTROL, CONTROL_FACTS
from precompute.publish import publish
from precompute.receive import receive_folder
from precompute.safety import writer_lock
from precompute.share import share
from precompute.stages import precompute_run
from tests.precompute.test_cli import Call, answer, call, refused
from tests.tiny import EMBEDDING, PRISM, SEED0, STEPS
from tests.trainer.test_control import DIALS
from trainer import control

__all__ = ["call", "refused"]  # the fixtures, found by their names
Refused = Callable[..., str]


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    """A store whose first run says how it was trained, at a path with a space."""
    own = Path(shutil.copytree(tiny_store, tmp_path / "own store"))
    path = run_path(own, SEED0) / "config.json"
    write_json(path, read_json(path) | {"training": DIALS})
    return own


def test_it_trains_and_prints_births_of_both(call: Call, store: Path) -> None:
    status, out, err = call("control", SEED0, "--store", store)
    assert (status, err) == (0, "")
    for words in ("training the control on", "step 1/", "births at step", "above noise",
                  "dealt out anew", f"next: readout-atlas build {SEED0} --store '{store}'"):
        assert words in out, words
    folder = run_path(store, SEED0)
    assert (folder / CONTROL).is_file()
    assert not list(folder.glob("*.tmp"))
    again = call("control", folder)[1]
    assert "nothing to do" in again


def test_json_has_a_line_for_every_step(call: Call, store: Path) -> None:
    found = answer(call("control", SEED0, "--store", store, "--json", "--seed", 4, "--epochs", 1))
    assert (found["run"], found["seed"]) == (SEED0, 4)
    assert [line["step"] for line in found["births"]] == STEPS
    assert set(found["births"][0]) == {"step", "run", "run_floor", "control", "control_floor"}
    assert set(found["quality"]) == {"explained_variance", "l0", "dead_rate"}
    assert "trained for 1 passes, the run for 3" in found["shuffle"]
    facts = read_json(run_path(store, SEED0) / CONTROL_FACTS)
    assert found["quality"]["l0"]["control"] == facts["l0"]


def test_what_it_cannot_do_is_one_line(refused: Refused, store: Path) -> None:
    assert "is a prism" in refused(2, "control", PRISM, "--store", store)
    assert "recipe is not known whole" in refused(2, "control", EMBEDDING, "--store", store)
    assert "no run" in refused(2, "control", "tiny/none", "--store", store)
    assert "--epochs is 0" in refused(2, "control", SEED0, "--store", store, "--epochs", 0)
    with writer_lock(run_path(store, SEED0), "the run"):
        assert "is being written" in refused(5, "control", SEED0, "--store", store)


def test_a_training_that_diverges_leaves_nothing(
    refused: Refused, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(*asked: object) -> None:
        raise Diverged("it diverged at step 3")

    monkeypatch.setattr(control, "train_crosscoder", diverge)
    assert "diverged" in refused(9, "control", SEED0, "--store", store)
    assert not (run_path(store, SEED0) / CONTROL).exists()


def test_a_share_with_weights_brings_the_control_along(
    call: Call, store: Path, tmp_path: Path
) -> None:
    assert call("control", SEED0, "--store", store)[0] == 0
    precompute_run(store, SEED0)
    publish(store)
    own = run_path(store, SEED0)
    for weights in (True, False):
        shared, theirs = tmp_path / f"shared {weights}", tmp_path / f"theirs {weights}"
        share(store, shared, [SEED0], weights=weights)
        receive_folder(shared, theirs)
        for name in (CONTROL, CONTROL_FACTS):
            path = run_path(theirs, SEED0) / name
            assert path.is_file() == weights
            assert not weights or sha256(path) == sha256(own / name)
    assert precompute_run(tmp_path / "theirs True", SEED0).done == ()


def test_a_run_imported_without_weights_says_what_is_missing(
    refused: Refused, store: Path, tmp_path: Path
) -> None:
    precompute_run(store, SEED0)
    publish(store)
    share(store, tmp_path / "shared", [SEED0])
    receive_folder(tmp_path / "shared", tmp_path / "theirs")
    said = refused(2, "control", SEED0, "--store", tmp_path / "theirs")
    assert "without its weights" in said
    assert f"readout-atlas build {SEED0}" in said
