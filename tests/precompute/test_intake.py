"""Every kind of released dictionary is taken in; whatever disagrees or attacks is refused."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas.artifacts import THRESHOLD, read_crosscoder, read_prism, read_run
from atlas.errors import AtlasError, BrokenArtifact, InvalidValue, NotFound
from atlas.inventory import find_released, released
from atlas.places import run_path
from atlas.prism import ARCHITECTURES, dense_code
from atlas.schedules import MATCHED_WINDOW, OLMO, PYTHIA, PYTHIA_16
from atlas.tensor_files import TensorFile, load_tensors, read_json, save_tensors
from precompute.checkpoints import open_weights
from precompute.fetching import place
from precompute.intake import recognise, take_in
from precompute.pickles import load_pickle
from precompute.release import read_path, schedule_name
from precompute.sidecars import read_bounded_json, read_card, read_index
from tests.released import (
    D_MODEL,
    D_SAE,
    NAME,
    PRISM_NAME,
    V,
    built,
    drawn,
    drawn_prism,
    prism_checkpoint,
    put_snapshots,
    raw_rows,
    sidecar_of,
    write_release,
)

CROSS = "pythia-160m/W_U/cross-snapshot-32/d16/seed0"
SWEEP = "pythia-160m/W_U/architecture-comparison/d16"
PRISM = "qwen3.5-0.8b/k4_x"
ORIGIN = {"repository": "a/b", "revision": None, "files": {}}
KINDS = [
    (CROSS, PYTHIA, "jumprelu", "crosscoder"),
    ("pythia-160m/W_E/cross-snapshot-32/d16/seed2", PYTHIA, "jumprelu", "crosscoder"),
    ("pythia-160m/W_U/cross-snapshot-16/d16/seed0", PYTHIA_16, "jumprelu", "crosscoder"),
    ("pythia-160m/W_U/cross-snapshot-32-matched-window/d16/seed0", MATCHED_WINDOW, "jumprelu",
     "crosscoder"),
    ("pythia-160m/W_U/lambda-sweep/d16/lam1p35_seed1", PYTHIA, "jumprelu", "crosscoder"),
    (f"{SWEEP}/batchtopk/seed0", PYTHIA, "batchtopk", "crosscoder"),
    (f"{SWEEP}/gated/seed0", PYTHIA, "gated", "crosscoder"),
    (f"{SWEEP}/gated-retuned/seed0", PYTHIA, "gated", "crosscoder"),
    ("pythia-160m/W_U/per-snapshot-saes/d16/step512", (512,), "jumprelu", "sae"),
    ("pythia-160m/W_U/final-snapshot-saes/d16", (143000,), "jumprelu", "sae"),
]


def quiet(line: str) -> None:
    """A report that nobody reads."""


def release(folder: Path, run: str, steps: tuple[int, ...], act_fn: str) -> tuple[Path, Path]:
    named = read_path(run)
    kind = "wu-crosscoder" if "sweep" in run or "comparison" in run else named.family
    return write_release(folder, run, steps, act_fn, kind, named.seed or 0, named.matrix,
                         named.sparsity or 0.3)


def one_line(error: AtlasError) -> str:
    said = str(error)
    assert "\n" not in said
    assert "weights_only" not in said
    return said


# --- what paths say ----------------------------------------------------------------------------


def test_every_path_of_the_inventory_is_read() -> None:
    assert len(released()) == 87
    for entry in released():
        named = read_path(entry.run)
        assert (named.model_name, named.matrix, named.kind) == (
            entry.model_name, entry.matrix, entry.kind)
        assert named.d_sae in (None, entry.d_sae)
        assert named.seed in (None, entry.seed)
        assert named.snapshots in (None, entry.n_snapshots)
        assert (named.k, named.factor and named.factor * entry.d_model) in (
            (None, None), (entry.k, entry.d_sae))
        assert named == read_path(entry.run + ".safetensors") == read_path(
            entry.run + "/checkpoint.pt")


def test_schedules_of_record() -> None:
    for steps in (PYTHIA, OLMO, MATCHED_WINDOW):
        assert len(steps) == 32
        assert list(steps) == sorted(set(steps))
    assert PYTHIA_16 == (0, 2, 8, 32, 128, 512, 2000, 4000, 6000, 8000, 14000, 27000, 47000, 75000,
                         102000, 130000)
    assert 551000 not in OLMO
    assert read_path("olmo-2-7b/W_U/cross-snapshot-32/d8/seed0").schedule == OLMO
    assert read_path(KINDS[3][0]).schedule == MATCHED_WINDOW
    assert schedule_name((1, 2)) is None


@pytest.mark.parametrize(
    "path", ["", "pythia-160m", "../W_U/cross-snapshot-2/d1/seed0",
             "a/W_Q/cross-snapshot-2/d1/seed0", "a/W_U/cross-snapshot-2/d1/seed0/../../x",
             "a/W_U/lambda-sweep/d8/lam1_seed0"]
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(InvalidValue, match="no path of a release"):
        read_path(path)


# --- every kind --------------------------------------------------------------------------------


@pytest.mark.parametrize(("run", "steps", "act_fn", "kind"), KINDS, ids=[k[0] for k in KINDS])
def test_a_kind_is_recognised_and_taken_in(
    tmp_path: Path, run: str, steps: tuple[int, ...], act_fn: str, kind: str
) -> None:
    weights, sidecar = release(tmp_path / "hub", run, steps, act_fn)
    found = recognise(f"{run}.safetensors", weights, sidecar)
    assert (found.run, found.kind, found.act_fn, found.steps) == (run, kind, act_fn, steps)
    assert (found.n_snapshots, found.d_model, found.d_sae) == (len(steps), D_MODEL, D_SAE)
    assert found.model_name == NAME
    assert found.k == (3 if act_fn == "batchtopk" else None)
    assert found.training["batch"] == 32
    assert found.training["learning_rate"] == 5e-5
    assert found.revision is None
    folder = take_in(tmp_path / "store", run, weights, sidecar, ORIGIN, quiet)
    assert folder == run_path(tmp_path / "store", run)
    kept = read_run(folder)
    assert kept.metrics["l0"] == json.loads(sidecar.read_text())["quality"]["mean_l0"]
    assert kept.config["origin"] == ORIGIN
    assert os.path.samefile(kept.weights, weights)
    c = read_crosscoder(kept)
    expected = built(drawn(len(steps), act_fn), act_fn, found.k)
    assert torch.equal(c.W_E, expected.W_E)
    assert torch.equal(c.threshold, expected.threshold)
    assert (c.act_fn, c.k) == (act_fn, found.k)


def test_a_second_intake_does_nothing_and_a_cut_one_starts_again(tmp_path: Path) -> None:
    weights, sidecar = release(tmp_path / "hub", CROSS, PYTHIA, "jumprelu")
    lines: list[str] = []
    folder = take_in(tmp_path, CROSS, weights, sidecar, ORIGIN, lines.append)
    first = (folder / "provenance.json").read_bytes()
    take_in(tmp_path, CROSS, weights, sidecar, ORIGIN, lines.append)
    assert "taken in already" in lines[-1]
    assert (folder / "provenance.json").read_bytes() == first
    (folder / "provenance.json").unlink()  # as if killed before the end
    with pytest.raises(BrokenArtifact, match=r"provenance\.json"):
        read_run(folder)
    take_in(tmp_path, CROSS, weights, sidecar, ORIGIN, lines.append)
    assert read_run(folder).provenance["weights"] == json.loads(first)["weights"]
    assert not list(folder.glob("*.tmp"))


def test_a_folder_that_stands_outlives_a_bad_file(tmp_path: Path) -> None:
    weights, sidecar = release(tmp_path / "hub", CROSS, PYTHIA, "jumprelu")
    folder = take_in(tmp_path, CROSS, weights, sidecar, ORIGIN, quiet)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    tensors = load_tensors(weights)
    tensors["b_D"][0, 0] = float("nan")
    save_tensors(weights, tensors)
    with pytest.raises(BrokenArtifact, match="b_D"):
        take_in(tmp_path, CROSS, weights, sidecar, ORIGIN, quiet)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert read_run(folder).steps == list(PYTHIA)


def test_a_file_is_copied_where_no_link_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "a", tmp_path / "in" / "b"
    source.write_bytes(b"x" * 100)

    def across(*paths: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", across)
    place(source, target)
    assert target.read_bytes() == source.read_bytes()
    assert not target.samefile(source)
    assert not target.is_symlink()


def test_a_single_snapshot_may_leave_out_its_axis(tmp_path: Path) -> None:
    run, steps = KINDS[-1][0], KINDS[-1][1]
    weights, sidecar = release(tmp_path / "hub", run, steps, "jumprelu")
    whole = load_tensors(weights)
    flat = {n: t[0] if n != THRESHOLD else t for n, t in whole.items()}
    save_tensors(weights, flat)
    folder = take_in(tmp_path, run, weights, sidecar, ORIGIN, quiet)
    assert torch.equal(read_crosscoder(read_run(folder)).W_D, whole["W_D"])
    assert load_tensors(folder / "dictionary.safetensors")["W_D"].ndim == 3
    save_tensors(folder / "dictionary.safetensors", flat)  # a reader takes both
    assert torch.equal(read_crosscoder(read_run(folder)).W_E, whole["W_E"])


def test_the_final_step_is_inferred_unless_the_sidecar_says(tmp_path: Path) -> None:
    run = KINDS[-1][0]
    weights, sidecar = release(tmp_path, run, (143000,), "jumprelu")
    told = json.loads(sidecar.read_text())
    sidecar.write_text(json.dumps(told | {"steps": [130000]}))
    assert recognise(run, weights, sidecar).steps == (130000,)
    sidecar.write_text(json.dumps({k: v for k, v in told.items() if k != "steps"}))
    found = recognise(run, weights, sidecar)
    assert found.steps == (143000,)
    assert "inferred" in found.notes[0]


def test_figures_come_from_the_inventory_where_the_sidecar_has_none(tmp_path: Path) -> None:
    run = "pythia-160m/W_U/cross-snapshot-32/d24576/seed0"
    weights, sidecar = release(tmp_path, CROSS, PYTHIA, "jumprelu")
    told = json.loads(sidecar.read_text()) | {"quality": None, "config": {"act_fn": "jumprelu"}}
    sidecar.write_text(json.dumps(told))
    assert recognise(CROSS, weights, sidecar).recorded_from is None
    with pytest.raises(BrokenArtifact, match=r"d_sae: the path .* says 24576, but W_E .* says 16"):
        recognise(run, weights, sidecar)


# --- sides that disagree -----------------------------------------------------------------------


def change(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """An edit of a sidecar."""
    def edit(told: dict[str, Any]) -> None:
        for key in keys[:-1]:
            told = told[key]
        if value is ...:
            told.pop(keys[-1], None)
        else:
            told[keys[-1]] = value
    return edit


@pytest.mark.parametrize(("run", "edit", "said"), [
    (CROSS, change("steps", value=list(PYTHIA[:16])), "steps lists 16, but W_E .* has 32"),
    (CROSS, change("steps", value=[*PYTHIA[:-1], 9000]), "130000 is followed by 9000"),
    (CROSS, change("steps", value=["0"]), "expected a whole number"),
    (CROSS, change("steps", value=[0, None]), "null"),
    (CROSS, change("steps", value=...), "has no steps"),
    (CROSS, change("model_name", value="EleutherAI/pythia-1b"),
     "model: the path .* says EleutherAI/pythia-160m, but .*model_name says EleutherAI/pythia-1b"),
    (CROSS, change("model_name", value=7), "expected a short text"),
    (CROSS, change("model_name", value="pythia-1b"), "model: the path .*pythia-160m.*pythia-1b"),
    (CROSS, change("kind", value="per-snapshot-saes"), "kind: the path .* per-snapshot-saes"),
    (CROSS, change("kind", value="cross-snapshot-16"), "K: the path .* says 32.*says 16"),
    (CROSS, change("matrix", value="W_E"), "matrix: the path .* says W_U, but .* says W_E"),
    (CROSS, change("seed", value=3), "seed: the path .* says 0, but .* says 3"),
    (CROSS, change("config", "d_sae", value=32), "d_sae: the path .* says 16.*says 32"),
    (CROSS, change("config", "d_model", value=768), "d_model: W_E .* says 6, but .* says 768"),
    (CROSS, change("config", "hook_points", value=["a"]), "hook_points says 1"),
    (CROSS, change("config", "act_fn", value="gated"), "activation: the path .*says gated"),
    (CROSS, change("config", value=[1]), "config is a list, expected a table"),
    (CROSS, change("training", "input_preprocess", value="none"), "only center_scale is read"),
    (CROSS, change("training", "input_preprocess", value="whiten"), "only center_scale is read"),
    (CROSS, change("preprocess_mode", value="center"), "preprocessing: .*center_scale.*center"),
    (CROSS, change("training", "batch_size", value=0), "training.batch is 0"),
    (CROSS, change("quality", "explained_variance", value="high"), "expected a number"),
    (CROSS, change("quality", "n_snapshots", value=31), "n_snapshots says 31"),
    (KINDS[4][0], change("training", "l1_coefficient", value=0.3), "lambda: the path .*1.35.*0.3"),
    (KINDS[5][0], change("config", "batchtopk_k", value=...), "no config.batchtopk_k"),
    (KINDS[5][0], change("config", "arch", value="gated"), "activation: .*batchtopk.*gated"),
    (KINDS[8][0], change("steps", value=[256]), "step: the path .* says 512, but .* says 256"),
])
def test_a_disagreement_names_both_sides(
    tmp_path: Path, run: str, edit: Callable[[dict[str, Any]], None], said: str
) -> None:
    _, steps, act_fn, _ = next(kind for kind in KINDS if kind[0] == run)
    weights, sidecar = release(tmp_path, run, steps, act_fn)
    told = json.loads(sidecar.read_text())
    edit(told)
    sidecar.write_text(json.dumps(told))
    with pytest.raises(AtlasError, match=said) as refused:
        take_in(tmp_path / "store", run, weights, sidecar, ORIGIN, quiet)
    assert refused.value.status in (2, 3)
    one_line(refused.value)
    assert not (tmp_path / "store").exists()


def edited(name: str, work: Callable[[torch.Tensor], torch.Tensor | None]):
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        tensor = work(tensors.pop(name).clone())
        if tensor is not None:
            tensors[name] = tensor
    return edit


def poisoned(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def work(tensor: torch.Tensor) -> torch.Tensor:
        tensor[(1,) * tensor.ndim] = value
        return tensor
    return work


@pytest.mark.parametrize(("edit", "said"), [
    (edited("W_D", poisoned(float("nan"))), r"W_D holds 1 values that .*\(1, 1\) of snapshot 1"),
    (edited("b_E", poisoned(float("inf"))), "b_E holds 1 values that are not finite"),
    (edited(THRESHOLD, poisoned(float("nan"))), "log_jumprelu_threshold holds 1"),
    (edited(THRESHOLD, poisoned(80.0)), "is 80 at feature 1, expected a logarithm"),
    (edited("W_D", lambda t: None), "holds no tensor W_D"),
    (edited("W_D", lambda t: t[:, :, :5].contiguous()), r"W_D is \(32, 16, 5\), but W_E"),
    (edited("b_D", lambda t: t[:31]), r"b_D is \(31, 6\), but W_E"),
    (edited("W_E", lambda t: t[:31]), r"b_E is \(32, 16\), but W_E \(31, 6, 16\)"),
    (edited("W_E", lambda t: t.int()), "W_E has numbers of type I32"),
    (lambda tensors: tensors.pop(THRESHOLD), "activation: the path .* says jumprelu.*batchtopk"),
])
def test_broken_tensors_are_refused_and_nothing_is_published(
    tmp_path: Path, edit: Callable[[dict[str, torch.Tensor]], None], said: str
) -> None:
    weights, sidecar = release(tmp_path, CROSS, PYTHIA, "jumprelu")
    tensors = load_tensors(weights)
    edit(tensors)
    save_tensors(weights, tensors)
    with pytest.raises(BrokenArtifact, match=said) as refused:
        take_in(tmp_path / "store", CROSS, weights, sidecar, ORIGIN, quiet)
    one_line(refused.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("size", [0, 7, 300, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, size: int) -> None:
    weights, sidecar = release(tmp_path, CROSS, PYTHIA, "jumprelu")
    content = weights.read_bytes()
    weights.write_bytes(content[:size])
    with pytest.raises(BrokenArtifact):
        recognise(CROSS, weights, sidecar)


def test_a_snapshot_that_is_here_must_fit(tmp_path: Path) -> None:
    weights, sidecar = release(tmp_path / "hub", CROSS, PYTHIA, "jumprelu")
    put_snapshots(tmp_path, NAME, PYTHIA[:2])
    take_in(tmp_path, CROSS, weights, sidecar, ORIGIN, quiet)
    save_tensors(tmp_path / "snapshots" / "EleutherAI_pythia-160m_step1_wu.safetensors",
                 {"W_U": torch.ones(V + 1, D_MODEL)})
    with pytest.raises(BrokenArtifact, match=f"rows: .* says {V}, but .*step1_wu.* says {V + 1}"):
        take_in(tmp_path, CROSS, weights, sidecar, ORIGIN, quiet)


# --- small files from anyone -------------------------------------------------------------------


def test_a_missing_sidecar_is_named(tmp_path: Path) -> None:
    weights, sidecar = release(tmp_path, CROSS, PYTHIA, "jumprelu")
    with pytest.raises(BrokenArtifact, match=r"no sidecar seed0\.config\.json"):
        recognise(CROSS, weights, None)
    with pytest.raises(NotFound, match="is not there"):
        recognise(CROSS, weights, sidecar.with_name("other.json"))


@pytest.mark.parametrize("text", [
    b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'{"steps": NaN}', b'{"a": 1e999999}',
    b'{"a": ' + b"9" * 5000 + b"}", b"<html>moved</html>",
])
def test_a_hostile_sidecar_gives_one_line(tmp_path: Path, text: bytes) -> None:
    weights, sidecar = release(tmp_path, CROSS, PYTHIA, "jumprelu")
    sidecar.write_bytes(text)
    with pytest.raises(BrokenArtifact) as refused:
        recognise(CROSS, weights, sidecar)
    assert len(one_line(refused.value)) < 400


def test_a_huge_sidecar_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    with open(path, "wb") as file:
        file.truncate(200_000_000)
    with pytest.raises(BrokenArtifact, match="200,000,000 bytes, at most 5,000,000"):
        read_bounded_json(path)


def test_the_index_is_read_in_each_of_its_likely_forms(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    entry = {"path": f"{CROSS}.safetensors", "d_sae": 16}
    hostile = {"path": "../../etc/passwd", "d_sae": 1}
    for value in ([entry, hostile, "x", 3], {CROSS: entry, "/etc/passwd": entry},
                  {"version": 1, "artifacts": [entry]}):
        path.write_text(json.dumps(value))
        assert read_index(path) == {CROSS: entry}
    path.write_text(json.dumps({"nothing": []}))
    with pytest.raises(BrokenArtifact, match="lists no dictionaries"):
        read_index(path)


def test_a_card_gives_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "seed0.md"
    path.write_text("---\nlicense: mit\n---\n# Card\n- **Model**: pythia-160m\n| d_sae | 8192 |\n"
                    "| --- | --- |\nEV 0.776 / L0 203\nlicense: other\n[x](javascript:alert(1))\n")
    card = read_card(path)
    assert card == {"license": "mit", "model": "pythia-160m", "d_sae": "8192",
                    "explained_variance": "0.776", "l0": "203"}


# --- pickles -----------------------------------------------------------------------------------


def legacy(wrapper: str) -> dict[str, Any]:
    tensors = drawn(32)
    told = sidecar_of(tensors, PYTHIA, "jumprelu", None, "wu-crosscoder", 0)
    del told["kind"]
    if wrapper == "flat":
        return {"state_dict": tensors, **told, "git_commit": "abc", "preprocess_stats": {
            "mean": torch.zeros(32, 1, D_MODEL), "scale": torch.ones(32, 1, 1),
            "mode": "center_scale"}}
    if wrapper == "nested":
        return {"state_dict": tensors, "config": told}
    if wrapper == "stripped":
        return {"state_dict": tensors, "step_count": 15000}
    return tensors


@pytest.mark.parametrize("wrapper", ["flat", "nested", "stripped", "bare"])
def test_the_four_wrappers_of_a_legacy_checkpoint(tmp_path: Path, wrapper: str) -> None:
    path = tmp_path / "old.pt"
    torch.save(legacy(wrapper), path)
    found = recognise(CROSS, path, None) if wrapper in ("flat", "nested") else None
    if found:
        assert found.quality["l0"] > 0
        assert found.recorded_from == "checkpoint"
    else:  # the model is known by its path, the steps by the schedule of record
        found = recognise(CROSS, path, None)
        assert "schedule of record (Pythia, 32 steps)" in " ".join(found.notes)
    assert (found.wrapper, found.steps, found.model_name) == (wrapper, PYTHIA, NAME)
    folder = take_in(tmp_path, CROSS, path, None, ORIGIN, quiet)
    kept = load_tensors(folder / "dictionary.safetensors")
    assert kept.keys() == drawn(32).keys()
    assert all(torch.equal(kept[name], tensor) for name, tensor in drawn(32).items())
    assert (folder / "companions" / "preprocess.safetensors").is_file() == (wrapper == "flat")


def test_a_stripped_checkpoint_of_another_length_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": drawn(5)}, tmp_path / "old.pt")
    run = CROSS.replace("-32", "-5")
    with pytest.raises(BrokenArtifact, match="has no steps, and they cannot be inferred for 5"):
        recognise(run, tmp_path / "old.pt", None)


def test_model_may_stand_for_model_name(tmp_path: Path) -> None:
    told = legacy("flat")
    told["model"] = told.pop("model_name")
    torch.save(told, tmp_path / "old.pt")
    assert recognise(CROSS, tmp_path / "old.pt", None).model_name == NAME
    torch.save(told | {"model": "EleutherAI/pythia-1b"}, tmp_path / "old.pt")
    with pytest.raises(BrokenArtifact, match="model: the path"):
        recognise(CROSS, tmp_path / "old.pt", None)


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.canary}'",)


class Evaluated(Attack):
    """The same through eval."""

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"open({str(self.canary)!r}, 'w')",)


@pytest.mark.parametrize("attack", [Attack, Evaluated])
@pytest.mark.parametrize("old_format", [False, True])
def test_a_pickle_that_would_run_code_is_not_opened(
    tmp_path: Path, attack: type[Attack], old_format: bool
) -> None:
    canary, path = tmp_path / "canary", tmp_path / "checkpoint.pt"
    bomb = legacy("flat") | {"provenance": attack(canary)}
    torch.save(bomb, path, _use_new_zipfile_serialization=not old_format)
    for run in (CROSS, "qwen3.5-0.8b/k4_3x"):
        with pytest.raises(BrokenArtifact, match="could run code") as refused:
            recognise(run, path, None)
        assert refused.value.status == 3
        assert "weights_only" not in one_line(refused.value)
    assert not canary.exists()
    path.write_bytes(pickle.dumps(attack(canary)))
    with pytest.raises(BrokenArtifact) as refused:
        load_pickle(path)
    one_line(refused.value)
    assert not canary.exists()


def test_pickles_that_are_no_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    whole = tmp_path / "whole.pt"
    torch.save(legacy("flat"), whole)
    content = whole.read_bytes()
    zipped = tmp_path / "zipped.pt"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    cases: list[tuple[bytes, str]] = [
        (b"", "no file of torch.save"), (b"<html>", "no file of torch.save"),
        (b"version https://git-lfs.github.com/spec/v1", "no file of torch.save"),
        (b"\x80\x02", "damaged"), (content[: len(content) // 2], "no file of torch.save|damaged"),
        (zipped.read_bytes(), "none compressed"),
    ]
    for raw, said in cases:
        path.write_bytes(raw)
        with pytest.raises(BrokenArtifact, match=said) as refused:
            recognise(CROSS, path, None)
        one_line(refused.value)
    for value, said in [
        ([1, 2], "holds a list"), ({"state_dict": 3}, "state_dict is a int"),
        ({"state_dict": {}}, "holds no tensor W_E"),
        (legacy("bare") | {"W_E": torch.ones(1).expand(10**6, 10**6)}, "in 4 bytes"),
        (legacy("flat") | {"x": torch.ones(2).to_sparse()}, "unread kind"),
        (legacy("flat") | {"x": {(1, 2): 3}}, "key of"),
        (legacy("flat") | {"x": {1.5}}, "holds a set"),
    ]:
        torch.save(value, path)
        with pytest.raises(BrokenArtifact, match=said) as refused:
            recognise(CROSS, path, None)
        one_line(refused.value)
    deep: list[Any] = []
    for _ in range(20):
        deep = [deep]
    torch.save(legacy("flat") | {"deep": deep}, path)
    with pytest.raises(BrokenArtifact, match="nested deeper"):
        recognise(CROSS, path, None)
    with pytest.raises(InvalidValue, match=r"neither a \.safetensors nor a \.pt"):
        open_weights(tmp_path / "x.exe", None, False)


def test_values_of_a_pickle_are_checked_like_others(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    told = legacy("flat")
    told["state_dict"]["W_D"][2, 3, 4] = float("nan")
    torch.save(told, path)
    with pytest.raises(BrokenArtifact, match=r"W_D holds a value.*\(3, 4\) of snapshot 2"):
        take_in(tmp_path, CROSS, path, None, ORIGIN, quiet)


# --- prisms ------------------------------------------------------------------------------------


def prism_file(folder: Path, schema: str, **changes: Any) -> Path:
    path = folder / "checkpoint.pt"
    torch.save(prism_checkpoint(drawn_prism(), schema, **changes), path)
    return path


@pytest.fixture
def prism_run(monkeypatch: pytest.MonkeyPatch) -> str:
    """A path whose factor fits d = 6 and D = 16 is none of the release's, so none is checked."""
    from precompute import recognise as module

    known = module.read_path

    def without_factor(run: str):
        import dataclasses

        return dataclasses.replace(known(run), factor=None)

    monkeypatch.setattr(module, "read_path", without_factor)
    return "qwen3.5-0.8b/k4_3x"


@pytest.mark.parametrize("schema", ["archive", "trainer", "raw"])
def test_the_schemas_of_a_prism(tmp_path: Path, prism_run: str, schema: str) -> None:
    path = prism_file(tmp_path, schema)
    found = recognise(prism_run, path, None)
    assert (found.kind, found.act_fn, found.k, found.wrapper) == ("prism", "topk", 4, schema)
    assert (found.steps, found.revision, found.matrix) == ((0,), "main", "W_U")
    assert found.model_name == PRISM_NAME
    assert found.recorded_from == ("checkpoint" if schema == "trainer" else None)
    if schema != "trainer":
        with pytest.raises(NotFound, match=r"no row_mean, which is computed.*readout-atlas build"):
            take_in(tmp_path, prism_run, path, None, ORIGIN, quiet)
    put_snapshots(tmp_path, PRISM_NAME, (0,))
    folder = read_run(take_in(tmp_path, prism_run, path, None, ORIGIN, quiet))
    assert folder.config["revision"] == "main"
    kept, made = read_prism(folder), drawn_prism()
    for name in ("encoder", "bias", "decoder"):
        assert torch.equal(getattr(kept, name), getattr(made, name))
    assert torch.allclose(kept.row_mean, made.row_mean, atol=1e-6)
    assert torch.allclose(kept.row_norms, made.row_norms, atol=1e-5)
    inferred = [note for note in folder.provenance["notes"] if "row_mean computed" in note]
    assert len(inferred) == (schema != "trainer")
    assert len(folder.provenance["inputs"]) == (schema != "trainer")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_of_a_prism(tmp_path: Path, prism_run: str, architecture: str) -> None:
    prism = drawn_prism(architecture)
    state = prism_checkpoint(prism, "trainer")
    if architecture == "batch_topk":
        state["model_state_dict"]["threshold_initialized"] = torch.tensor(1)
    torch.save(state, tmp_path / "checkpoint.pt")
    put_snapshots(tmp_path, PRISM_NAME, (0,))
    folder = take_in(tmp_path, prism_run, tmp_path / "checkpoint.pt", None, ORIGIN, quiet)
    kept = read_prism(read_run(folder))
    assert kept.architecture == architecture
    x = torch.nn.functional.normalize(raw_rows(0), dim=1)
    assert torch.equal(dense_code(kept, x), dense_code(prism, x))


def test_k_of_a_prism_is_the_evaluations_and_the_paths(tmp_path: Path, prism_run: str) -> None:
    both = prism_file(tmp_path, "trainer", evaluation={"k": 4},
                      factorizer={"architecture": "topk", "k": 9, "d_features": D_SAE})
    assert recognise(prism_run, both, None).k == 4
    path = prism_file(tmp_path, "trainer", evaluation={"k": 5})
    with pytest.raises(BrokenArtifact, match="k: the path .* says 4, but .* says 5"):
        recognise(prism_run, path, None)
    path = prism_file(tmp_path, "trainer", evaluation={},
                      factorizer={"architecture": "topk", "d_features": D_SAE})
    with pytest.raises(BrokenArtifact, match="k is None, expected 1 to 16"):
        recognise(prism_run, path, None)


@pytest.mark.parametrize(("changes", "said"), [
    ({"factorizer": None}, "neither factorizer nor config.factorizer"),
    ({"factorizer": {"k": 4}}, "architecture is None, expected one of"),
    ({"factorizer": {"architecture": "jumprelu", "k": 4}}, "log_threshold is None, but a jumprelu"),
    ({"factorizer": {"architecture": "topk", "k": 4, "d_features": 8}}, "d_features: .*16.*8"),
    ({"row_mean": torch.zeros(5)}, r"row_mean is \(5,\)"),
    ({"row_mean": torch.full((D_MODEL,), float("nan"))}, "row_mean holds a value"),
    ({"row_norms": torch.ones(V - 1)}, "do not name the rows"),
    ({"row_token_ids": torch.zeros(V, dtype=torch.long)}, "each once"),
    ({"metrics": {"row_centered_ev": "nan"}}, "row_centered_ev is 'nan', expected a number"),
])
def test_a_broken_prism_is_refused(
    tmp_path: Path, prism_run: str, changes: dict[str, Any], said: str
) -> None:
    path = prism_file(tmp_path, "trainer", **changes)
    with pytest.raises(BrokenArtifact, match=said) as refused:
        take_in(tmp_path, prism_run, path, None, ORIGIN, quiet)
    one_line(refused.value)


@pytest.mark.parametrize("ids", [torch.arange(0, V, 2), torch.arange(30)], ids=["some", "first"])
def test_a_prism_fitted_to_some_rows(tmp_path: Path, prism_run: str, ids: torch.Tensor) -> None:
    put_snapshots(tmp_path, PRISM_NAME, (0,))
    rows = raw_rows(0)
    mean = rows[ids].mean(dim=0)
    norms = (rows[ids] - mean).norm(dim=1)
    path = prism_file(tmp_path, "trainer", row_mean=mean, row_norms=norms, row_token_ids=ids)
    folder = read_run(take_in(tmp_path, prism_run, path, None, ORIGIN, quiet))
    assert torch.allclose(read_prism(folder).row_norms, (rows - mean).norm(dim=1), atol=1e-5)
    assert f"fitted to 30 of {V} rows" in " ".join(folder.provenance["notes"])
    wrong = prism_file(tmp_path, "trainer", row_mean=mean, row_norms=norms.flip(0),
                       row_token_ids=ids)
    with pytest.raises(BrokenArtifact, match="the model or revision is another"):
        take_in(tmp_path, prism_run, wrong, None, ORIGIN, quiet)
    outside = prism_file(tmp_path, "trainer", row_mean=mean, row_norms=norms,
                         row_token_ids=ids + V)
    with pytest.raises(BrokenArtifact, match=f"but .* has {V} rows"):
        take_in(tmp_path, prism_run, outside, None, ORIGIN, quiet)


def test_the_width_in_the_path_of_a_prism_is_checked(tmp_path: Path) -> None:
    path = prism_file(tmp_path, "trainer")
    with pytest.raises(BrokenArtifact, match="d_features: decoder .* says 16, but the path .* 18"):
        recognise("qwen3.5-0.8b/k4_3x", path, None)


def test_origin_is_kept(tmp_path: Path) -> None:
    weights, sidecar = release(tmp_path / "hub", CROSS, PYTHIA, "jumprelu")
    files = {f"{CROSS}.safetensors": "b" * 64}
    origin = {"repository": "o/r", "revision": "a" * 40, "files": files}
    folder = take_in(tmp_path, CROSS, weights, sidecar, origin, quiet)
    assert read_json(folder / "config.json")["origin"] == origin
    assert read_json(folder / "provenance.json")["source"] == "b" * 64


def test_printed_figures_of_the_inventory_stand_in(tmp_path: Path, prism_run: str) -> None:
    path = tmp_path / "checkpoint.pt"
    told = prism_checkpoint(drawn_prism(), "archive")
    told["model_state_dict"] = {
        "decoder": torch.ones(200, 3), "encoder.weight": torch.ones(200, 3),
        "encoder.bias": torch.ones(200)}
    told["config"] = {"factorizer": {"architecture": "topk", "k": 128, "d_features": 200}}
    torch.save(told, path)
    found = recognise("qwen3.5-9b/k128_8x", path, None)
    assert found.recorded_from == "inventory"
    assert found.quality == {"explained_variance": 0.621, "top1_match": 0.846, "kl_bits": 0.296}


def test_a_checkpoint_may_name_its_run_as_it_likes(tmp_path: Path, prism_run: str) -> None:
    config = {"run": {"name": "sweep/k4", "seed": 2}, "model": {"model_id": PRISM_NAME}}
    assert recognise(prism_run, prism_file(tmp_path, "trainer", config=config), None).seed == 2
    config["model"]["model_id"] = "Qwen/Qwen3.5-2B"
    path = prism_file(tmp_path, "trainer", config=config)
    with pytest.raises(BrokenArtifact, match=r"model: the path .*0\.8B, but .* Qwen/Qwen3\.5-2B"):
        recognise(prism_run, path, None)
    config["model"] = {"hf_id": "org/other-1b"}
    path = prism_file(tmp_path, "trainer", config=config)
    assert recognise("other-1b/k4_3x", path, None).model_name == "org/other-1b"
    del config["model"]
    path = prism_file(tmp_path, "trainer", config=config)
    with pytest.raises(BrokenArtifact, match="no model of the inventory"):
        recognise("other-1b/k4_3x", path, None)


def test_numbers_that_json_has_not_harm_only_the_field(tmp_path: Path) -> None:
    weights, sidecar = release(tmp_path, CROSS, PYTHIA, "jumprelu")
    told = json.loads(sidecar.read_text())
    told["training"]["final_loss"] = float("nan")
    sidecar.write_text(json.dumps(told))
    assert recognise(CROSS, weights, sidecar).training["final_loss"] == "nan"
    figures = recognise(CROSS, weights, sidecar).quality
    told["quality"] |= {"explained_variance": float("nan"), "dead_rate": None}
    sidecar.write_text(json.dumps(told))
    found = recognise(CROSS, weights, sidecar)
    assert found.quality == {n: v for n, v in figures.items()
                             if n not in ("explained_variance", "dead_rate")}
    for said in ("quality.explained_variance is recorded as nan", "dead_rate is recorded as None"):
        assert any(said in note for note in found.notes)
    told["quality"]["explained_variance"] = "0.9"
    sidecar.write_text(json.dumps(told))
    with pytest.raises(BrokenArtifact, match=r"quality\.explained_variance is '0\.9'"):
        recognise(CROSS, weights, sidecar)


@pytest.mark.parametrize("said", ["Qwen/Qwen3.5-0.8B-it", "../models/qwen", "qwen"])
def test_the_inventory_knows_its_models(
    tmp_path: Path, prism_run: str, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    entry = find_released("qwen3.5-0.8b/k128_16x")
    monkeypatch.setattr("precompute.recognise.find_released", lambda run: entry)
    path = prism_file(tmp_path, "trainer", config={"model_name": said})
    found = recognise(prism_run, path, None)
    assert found.model_name == PRISM_NAME
    assert any(repr(said) in note for note in found.notes)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_a_tensor_that_no_reader_knows_is_left_aside(tmp_path: Path, suffix: str) -> None:
    weights, sidecar = release(tmp_path, CROSS, PYTHIA, "jumprelu")
    tensors = load_tensors(weights) | {"W_Q": torch.full((2,), float("nan"))}
    path = weights.with_suffix(suffix)
    if suffix == ".pt":
        torch.save(tensors, path)
    else:
        save_tensors(path, tensors)
    folder = read_run(take_in(tmp_path / "store", CROSS, path, sidecar, ORIGIN, quiet))
    assert "1 tensors are not read, W_Q first" in folder.provenance["notes"]
    assert torch.equal(read_crosscoder(folder).W_D, tensors["W_D"])


@pytest.mark.parametrize("said", ["an odd per-snapshot thing", "Crosscoder v2", "prisms"])
def test_a_kind_that_is_not_understood_is_a_note(tmp_path: Path, said: str) -> None:
    weights, sidecar = release(tmp_path, CROSS, PYTHIA, "jumprelu")
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"kind": said}))
    assert any("is not understood" in n for n in recognise(CROSS, weights, sidecar).notes)


def test_half_precision_is_scanned_a_snapshot_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dictionary of 34 GB is never copied whole to float32."""
    weights, sidecar = release(tmp_path, CROSS, PYTHIA, "jumprelu")
    save_tensors(weights, {n: t.bfloat16() for n, t in load_tensors(weights).items()})
    known, largest = TensorFile.read, []

    def read(self: TensorFile, *index: Any, **more: Any) -> torch.Tensor:
        found = known(self, *index, **more)
        largest.append(found.numel())
        return found

    monkeypatch.setattr(TensorFile, "read", read)
    take_in(tmp_path / "store", CROSS, weights, sidecar, ORIGIN, quiet)
    assert max(largest) < len(PYTHIA) * D_SAE * D_MODEL
