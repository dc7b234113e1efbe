"""`train` from recipe to run folder: every kind of the inventory at a small shape, then `verify`.

The recipes are those of the release with a tiny model in place of theirs, its checkpoints in a
mirror. What is refused is refused before anything is trained.
"""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from atlas import tensor_files
from atlas.artifacts import read_run
from atlas.errors import AtlasError, BrokenArtifact, InvalidValue, NoSpace, NotFound
from atlas.places import ROOT, run_path, snapshot_path
from atlas.tensor_files import load_tensors, read_json, save_tensors, write_json
from atlas.training_log import METRICS, WORK, read_metrics
from precompute import cli
from precompute.locate import Located
from precompute.mirror import Mirror
from precompute.training import Supply, train_into
from precompute.verify import verify
from tests.hub_release import FINISHED, MODEL, STEPS, Release, into_folder
from trainer import recipes
from trainer.checkpoint import RECORD
from trainer.recipe_files import read_recipe_file, recipe_files

KINDS = {
    "cross-snapshot W_U": "pythia-160m/W_U/cross-snapshot-32/d24576/seed0",
    "cross-snapshot W_E": "pythia-160m/W_E/cross-snapshot-32/d8192/seed3",
    "16 snapshots": "pythia-160m/W_U/cross-snapshot-16/d8192/seed0",
    "matched window": "pythia-1b/W_U/cross-snapshot-32-matched-window/d24576/seed0",
    "sparse": "pythia-6.9b/W_U/cross-snapshot-32/d32768/seed0-sparse",
    "SparseAdam": "olmo-2-7b/W_U/cross-snapshot-32/d32768/seed0",
    "lambda sweep": "pythia-160m/W_U/lambda-sweep/d8192/lam1p35_seed2",
    "batchtopk": "pythia-160m/W_U/architecture-comparison/d8192/batchtopk/seed0",
    "gated": "pythia-160m/W_U/architecture-comparison/d8192/gated/seed0",
    "gated-retuned": "pythia-160m/W_U/architecture-comparison/d8192/gated-retuned/seed0",
    "per-snapshot SAE": "pythia-160m/W_U/per-snapshot-saes/d8192/step1000",
    "final-snapshot SAE": "pythia-160m/W_U/final-snapshot-saes/d6144",
    "prism, Qwen and Gemma": "qwen3.5-0.8b/k128_16x",
    "prism, Ministral and R1": "ministral-3-8b/k128_16x",
}
"""One path of every kind that was released."""
TEXT = "In the beginning the light was upon the face of the waters, and the word was there. " * 60


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mirror")
    Release(tmp_path_factory.mktemp("release")).all(into_folder(folder))
    return folder


def small(released: str, folder: Path, **dials: object) -> Path:
    """The recipe of a released path over the tiny model, in a file of its own."""
    made = recipes.resolve(released)
    settings = {f.name: getattr(made.dials, f.name) for f in dataclasses.fields(made.dials)}
    settings |= {"d_sae": 24, "batch": 64, "seed": 0}
    settings |= {"steps": 60, "k": 4, "hidden_states": 64} if made.kind == "prism" else {
        "epochs": 8, "learning_rate": 2e-3, "k": 6 if settings["k"] else None}
    single = made.kind == "crosscoder" and len(made.schedule or ()) == 1
    settings["model"] = "tiny-7b" if made.kind == "prism" else "pythia-14m"
    content = {
        "kind": made.kind, "runs": [f"trial/{released.replace('/', '-')}"],
        "id": f"trial/{released.replace('/', '-')}",
        "model_name": FINISHED if made.kind == "prism" else MODEL,
        "dials": {k: list(v) if isinstance(v, tuple) else v
                  for k, v in (settings | dials).items()},
    }
    if made.kind == "crosscoder":
        content["schedule"] = [1000] if single else list(STEPS)
    path = folder / "recipe.json"
    write_json(path, content)
    return path


def command(*words: object) -> int:
    return cli.main([str(word) for word in words])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_the_inventory_trains_and_verifies(
    kind: str, mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    recipe = small(KINDS[kind], tmp_path)
    if "prism" in kind:
        (store / "models" / "tiny-7b").mkdir(parents=True)
        (store / "models" / "tiny-7b" / "evaluation.txt").write_text(TEXT, encoding="utf8")
    assert command("train", recipe, "--store", store, "--from", mirror) == 0
    run = read_recipe_file(recipe).runs[0]
    folder = read_run(run_path(store, run))
    assert folder.config["training"]["d_sae"] == 24
    found = verify(Located(run, store))
    assert found.within_tolerance
    assert not found.changed
    lines = read_metrics(folder.path / WORK / METRICS)
    assert lines[-1]["step"] == read_json(folder.path / WORK / "plan.json")["steps"]
    assert not list((folder.path / WORK).glob("checkpoint*"))
    capsys.readouterr()
    assert command("train", recipe, "--store", store, "--offline") == 0
    assert "already trained" in capsys.readouterr().out


def test_the_kinds_are_all_that_was_released() -> None:
    """Every recipe file of the release has the kind of one that is trained above."""
    def shape(run: str) -> tuple:
        dials = recipes.resolve(run).dials
        return (type(dials), getattr(dials, "activation", ""), getattr(dials, "matrix", ""),
                getattr(dials, "architecture", ""), getattr(dials, "optimizer", ""))

    trained = {shape(run) for run in KINDS.values()}
    for file in recipe_files():
        if not file.runs[0].startswith(("demo/", "models/")):
            assert shape(file.runs[0]) in trained, file.path


def test_a_trained_run_is_built_like_any_other(mirror: Path, tmp_path: Path) -> None:
    store, recipe = tmp_path / "store", small(KINDS["cross-snapshot W_U"], tmp_path)
    assert command("train", recipe, "--store", store, "--from", mirror) == 0
    run = read_recipe_file(recipe).runs[0]
    assert command("build", run, "--store", store, "--offline") == 0


def fetched(mirror: Path, store: Path, recipe: Path) -> None:
    """A store with everything, whose run is then taken away."""
    made = recipes.resolve(str(recipe))
    train_into(made, store, lambda line: None, Supply(lambda: Mirror(mirror)))
    shutil.rmtree(run_path(store, made.name))


@pytest.fixture
def ready(mirror: Path, tmp_path: Path) -> tuple[Path, Path]:
    store, recipe = tmp_path / "store", small(KINDS["cross-snapshot W_U"], tmp_path)
    fetched(mirror, store, recipe)
    return store, recipe


def refused(store: Path, recipe: Path, error: type[AtlasError], match: str, **over: str) -> None:
    made = recipes.resolve(str(recipe), over)
    with pytest.raises(error, match=match):
        train_into(made, store, lambda line: None, Supply())
    assert not list(store.glob("runs/**/dictionary.safetensors"))
    assert not list(store.glob("runs/**/metrics.jsonl"))


def test_a_missing_snapshot_is_named(ready: tuple[Path, Path]) -> None:
    store, recipe = ready
    snapshot_path(store, MODEL, 1000, "W_U").unlink()
    refused(store, recipe, NotFound, "1 of 4 snapshots .*step1000_wu.safetensors")


def test_a_snapshot_of_another_shape_is_named(ready: tuple[Path, Path]) -> None:
    store, recipe = ready
    save_tensors(snapshot_path(store, MODEL, 1000, "W_U"), {"W_U": torch.randn(9, 4)})
    refused(store, recipe, BrokenArtifact, "differ in shape.*step1000_wu")


def test_a_row_that_is_not_finite_is_named(ready: tuple[Path, Path]) -> None:
    store, recipe = ready
    path = snapshot_path(store, MODEL, 1, "W_U")
    rows = load_tensors(path)["W_U"]
    rows[3, 2] = float("nan")
    save_tensors(path, {"W_U": rows})
    refused(store, recipe, BrokenArtifact, "step1_wu.*finite")


def test_the_other_matrix_under_this_ones_name_is_refused(ready: tuple[Path, Path]) -> None:
    store, recipe = ready
    rows = load_tensors(snapshot_path(store, MODEL, 1000, "W_U"))["W_U"]
    save_tensors(snapshot_path(store, MODEL, 1000, "W_E"), {"W_E": rows})
    refused(store, recipe, InvalidValue, "hold the same matrix")
    save_tensors(snapshot_path(store, MODEL, 1000, "W_U"), {"W_E": rows})
    refused(store, recipe, BrokenArtifact, "step1000_wu.*W_U")


def test_impossible_dials_are_refused_by_name(ready: tuple[Path, Path]) -> None:
    _, recipe = ready
    for key, value, said in (("batch", "0", "batch is 0"), ("sparsity", "-1", "sparsity"),
                             ("optimizer", "sgd", "optimizer is 'sgd'"), ("lamda", "1", "lamda")):
        with pytest.raises(InvalidValue, match=said):
            recipes.resolve(str(recipe), {key: value})


def test_a_full_disk_is_named_and_nothing_is_half_written(
    ready: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, recipe = ready

    def full(tensors: object, path: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(NoSpace):
        train_into(recipes.resolve(str(recipe)), store, lambda line: None, Supply())
    assert not list(store.glob("runs/**/provenance.json"))
    assert not list(store.glob("runs/**/*.tmp"))


def test_a_run_that_was_released_is_not_overwritten(
    ready: tuple[Path, Path], mirror: Path
) -> None:
    store, recipe = ready
    made = recipes.resolve(str(recipe))
    train_into(made, store, lambda line: None, Supply())
    path = run_path(store, made.name) / "config.json"
    config = json.loads(path.read_text())
    write_json(path, config | {"training": {"l1_coefficient": 0.3, "input_preprocess": "center"}})
    with pytest.raises(InvalidValue, match="not trained here"):
        train_into(made, store, lambda line: None, Supply())


def test_a_prism_without_a_text_says_where_one_goes(mirror: Path, tmp_path: Path) -> None:
    recipe = small(KINDS["prism, Qwen and Gemma"], tmp_path)
    with pytest.raises(NotFound, match=r"models/tiny-7b/evaluation.txt.*prism_penalty=0"):
        train_into(recipes.resolve(str(recipe)), tmp_path / "store", lambda line: None,
                   Supply(lambda: Mirror(mirror)))


# --- killed, stopped, several ---------------------------------------------------------------------


def child(store: Path, recipe: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "precompute", "train", str(recipe), "--store", str(store),
            "--offline", "--save-minutes", "0.0005", *more]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def record(store: Path, run: str) -> int:
    path = run_path(store, run) / WORK / RECORD
    return json.loads(path.read_text())["step"] if path.is_file() else 0


def wait_for(process: subprocess.Popen, store: Path, run: str, step: int) -> None:
    while process.poll() is None and record(store, run) < step:
        time.sleep(0.01)


def test_killed_and_stopped_on_the_command_line(mirror: Path, tmp_path: Path) -> None:
    recipe = small(KINDS["cross-snapshot W_U"], tmp_path, epochs=400)
    run, store = read_recipe_file(recipe).runs[0], tmp_path / "store"
    fetched(mirror, store, small(KINDS["cross-snapshot W_U"], tmp_path))
    recipe = small(KINDS["cross-snapshot W_U"], tmp_path, epochs=400)
    with subprocess.Popen(child(store, recipe), env=environment()) as process:
        wait_for(process, store, run, 30)
        assert process.poll() is None
        process.kill()
    first = record(store, run)
    with subprocess.Popen(child(store, recipe), env=environment(), stderr=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as process:
        wait_for(process, store, run, first + 30)
        process.send_signal(signal.SIGTERM)
        out, error = process.communicate()
    assert process.returncode == 143
    assert error.count("\n") == 1
    assert "was stopped after step" in error
    assert f"going on after step {first} of" in out
    assert record(store, run) > first
    done = subprocess.run(child(store, recipe), env=environment(), capture_output=True, check=False)
    assert done.returncode == 0
    whole = tmp_path / "whole"
    shutil.copytree(store, whole, ignore=shutil.ignore_patterns("runs"))
    subprocess.run(child(whole, recipe), env=environment(), capture_output=True, check=True)

    def curve(of: Path) -> list[tuple]:
        return [(line["step"], line["loss"], line["l0"])
                for line in read_metrics(run_path(of, run) / WORK / METRICS)]

    assert curve(store) == curve(whole)
    weights = [(run_path(of, run) / "dictionary.safetensors").read_bytes() for of in (store, whole)]
    assert weights[0] == weights[1]


def test_two_processes_write_one_run(mirror: Path, tmp_path: Path) -> None:
    recipe = small(KINDS["cross-snapshot W_U"], tmp_path)
    run = read_recipe_file(recipe).runs[0]
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    fetched(mirror, alone, recipe)
    shutil.copytree(alone, shared)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    for store, start in ((alone, ["-m"]), (shared, words)):
        subprocess.run([sys.executable, *start, *child(store, recipe)[2:]], env=environment(),
                       check=True, capture_output=True, timeout=120)
    one, two = (read_run(run_path(store, run)) for store in (alone, shared))
    assert two.metrics["explained_variance"] == pytest.approx(
        one.metrics["explained_variance"], abs=1e-3)
    assert verify(Located(run, shared)).within_tolerance
    assert not list((two.path / WORK).glob("part-*"))
    three = ["3" if word == "2" else word for word in words]
    shutil.rmtree(two.path)
    failed = subprocess.run([sys.executable, *three, *child(shared, recipe)[2:]],
                            env=environment(), check=False, capture_output=True, text=True)
    assert failed.returncode != 0
    assert "cannot be dealt out evenly among 3 processes" in failed.stderr
