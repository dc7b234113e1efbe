"""Run folders of every kind: what is written is what is read, and shapes are checked."""

from pathlib import Path

import pytest
import torch

from atlas.artifacts import (
    GATE,
    THRESHOLD,
    read_crosscoder,
    read_prism,
    read_run,
    write_crosscoder,
    write_prism,
)
from atlas.crosscoder import ACTIVATIONS, Crosscoder
from atlas.errors import BrokenArtifact, NotFound
from atlas.prism import ARCHITECTURES, Prism, dense_code
from atlas.tensor_files import load_tensors, save_tensors, write_json
from tests.released import D_MODEL, D_SAE, built, drawn, drawn_prism, raw_rows

STEPS = [0, 1, 4]


def folder_of(path: Path, kind: str, act_fn: str, k: int | None, steps: list[int]) -> Path:
    write_json(path / "config.json", {
        "run": "a/W_U/b", "model": "a", "model_name": "o/a", "matrix": "W_U", "kind": kind,
        "steps": steps, "seed": 0, "training": {},
        "config": {"act_fn": act_fn, "d_sae": D_SAE, "d_model": D_MODEL, "k": k},
    })
    for name in ("metrics", "provenance"):
        write_json(path / f"{name}.json", {})
    return path


def crosscoder_folder(path: Path, act_fn: str, steps: list[int] | None = None) -> Crosscoder:
    steps = steps or STEPS
    k = 3 if act_fn == "batchtopk" else None
    c = built(drawn(len(steps), act_fn), act_fn, k)
    folder_of(path, "crosscoder" if len(steps) > 1 else "sae", act_fn, k, steps)
    write_crosscoder(path / "dictionary.safetensors", c)
    return c


def prism_folder(path: Path, architecture: str) -> Prism:
    prism = drawn_prism(architecture)
    folder_of(path, "prism", architecture, prism.k, [0])
    write_prism(path / "dictionary.safetensors", prism)
    return prism


@pytest.mark.parametrize("act_fn", ACTIVATIONS)
def test_a_crosscoder_comes_back(tmp_path: Path, act_fn: str) -> None:
    written = crosscoder_folder(tmp_path, act_fn)
    found = read_crosscoder(read_run(tmp_path))
    for name in ("W_E", "b_E", "W_D", "b_D"):
        assert torch.equal(getattr(found, name), getattr(written, name))
    assert torch.allclose(found.threshold, written.threshold)
    assert (found.act_fn, found.k) == (written.act_fn, written.k)
    assert (found.gate is None) == (act_fn != "gated")
    if found.gate is not None and written.gate is not None:
        assert torch.equal(found.gate.log_gain, written.gate.log_gain)
    names = load_tensors(tmp_path / "dictionary.safetensors").keys()
    own = {"jumprelu": {THRESHOLD}, "batchtopk": set(), "gated": set(GATE)}[act_fn]
    assert names == {"W_E", "b_E", "W_D", "b_D"} | own


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_prism_comes_back(tmp_path: Path, architecture: str) -> None:
    written = prism_folder(tmp_path, architecture)
    found = read_prism(read_run(tmp_path))
    x = torch.nn.functional.normalize(raw_rows(0), dim=1)
    assert torch.equal(dense_code(found, x), dense_code(written, x))
    assert found.architecture == architecture


def test_weights_are_views_of_the_file(tmp_path: Path) -> None:
    """4.8 GB of weights must not be copied to be read."""
    crosscoder_folder(tmp_path, "jumprelu")
    found = read_crosscoder(read_run(tmp_path))
    starts = sorted(t.untyped_storage().data_ptr() for t in (found.W_E, found.W_D, found.b_E))
    assert starts[-1] - starts[0] < (tmp_path / "dictionary.safetensors").stat().st_size


def test_rounded_weights_stay_close(tmp_path: Path) -> None:
    written = crosscoder_folder(tmp_path, "gated")
    write_crosscoder(tmp_path / "dictionary.safetensors", written, rounded=True)
    found = read_crosscoder(read_run(tmp_path))
    assert torch.allclose(found.W_D, written.W_D, atol=0.02)
    assert not torch.equal(found.W_D, written.W_D)


def test_a_single_snapshot_without_its_axis(tmp_path: Path) -> None:
    written = crosscoder_folder(tmp_path, "jumprelu", [7])
    path = tmp_path / "dictionary.safetensors"
    tensors = load_tensors(path)
    save_tensors(path, {n: t if n == THRESHOLD else t[0] for n, t in tensors.items()})
    assert torch.equal(read_crosscoder(read_run(tmp_path)).W_D, written.W_D)
    save_tensors(path, tensors | {"W_D": tensors["W_D"][0]})  # all of them or none
    with pytest.raises(BrokenArtifact, match=r"W_E is \(1, 6, 16\)"):
        read_crosscoder(read_run(tmp_path))


def test_three_snapshots_cannot_leave_it_out(tmp_path: Path) -> None:
    crosscoder_folder(tmp_path, "jumprelu")
    path = tmp_path / "dictionary.safetensors"
    tensors = load_tensors(path)
    save_tensors(path, tensors | {"W_D": tensors["W_D"][0]})
    with pytest.raises(BrokenArtifact, match=r"W_D is \(16, 6\), but .* says \(3, 16, 6\)"):
        read_crosscoder(read_run(tmp_path))


@pytest.mark.parametrize(("act_fn", "k", "said"), [
    ("relu", None, "act_fn is 'relu'"), ("batchtopk", None, "k is None, expected a whole number"),
    ("batchtopk", 17, "k is 17"), ("batchtopk", True, "k is True"),
    ("gated", None, "holds no tensor activation_function.b_gate"),
])
def test_a_config_that_does_not_fit(
    tmp_path: Path, act_fn: str, k: int | None, said: str
) -> None:
    crosscoder_folder(tmp_path, "jumprelu")
    folder_of(tmp_path, "crosscoder", act_fn, k, STEPS)
    with pytest.raises(BrokenArtifact, match=said):
        read_crosscoder(read_run(tmp_path))


def test_thresholds_out_of_all_bounds(tmp_path: Path) -> None:
    crosscoder_folder(tmp_path, "jumprelu")
    path = tmp_path / "dictionary.safetensors"
    tensors = load_tensors(path)
    for value, said in ((-70.0, "-70 at feature 5"), (float("inf"), "not finite")):
        threshold = tensors[THRESHOLD].clone()
        threshold[5] = value
        save_tensors(path, tensors | {THRESHOLD: threshold})
        with pytest.raises(BrokenArtifact, match=said):
            read_crosscoder(read_run(tmp_path))
    prism_folder(tmp_path / "prism", "jumprelu")
    path = tmp_path / "prism" / "dictionary.safetensors"
    tensors = load_tensors(path)
    save_tensors(path, tensors | {"log_threshold": torch.full((D_SAE,), 90.0)})
    with pytest.raises(BrokenArtifact, match="log_threshold is 90 at feature 0"):
        read_prism(read_run(tmp_path / "prism"))


def test_a_prism_needs_k_only_where_it_counts(tmp_path: Path) -> None:
    prism_folder(tmp_path, "gated")
    folder_of(tmp_path, "prism", "gated", None, [0])
    assert read_prism(read_run(tmp_path)).k == D_SAE
    prism_folder(tmp_path, "topk")
    folder_of(tmp_path, "prism", "topk", None, [0])
    with pytest.raises(BrokenArtifact, match="not guessed"):
        read_prism(read_run(tmp_path))


def test_folders_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_run(tmp_path / "nothing")
    crosscoder_folder(tmp_path, "jumprelu")
    folder_of(tmp_path, "crosscoder", "jumprelu", None, [4, 1])
    with pytest.raises(BrokenArtifact, match="no rising list|not a rising list"):
        read_run(tmp_path)
    folder_of(tmp_path, "lens", "jumprelu", None, STEPS)
    with pytest.raises(BrokenArtifact, match="'lens'"):
        read_run(tmp_path)
