"""Figures recomputed from released weights, beside the recorded ones, with a verdict each."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas import crosscoder as cc
from atlas import prism as pr
from atlas.artifacts import load_snapshots, read_crosscoder, read_run, snapshot_path
from atlas.errors import BrokenArtifact, NotFound
from atlas.tensor_files import load_tensors, read_json, save_tensors, write_json
from precompute import verify as module
from precompute.commands.verify import as_json, as_text
from precompute.intake import take_in
from precompute.locate import Located
from precompute.verify import Snapshots, verify
from tests.released import (
    D_SAE,
    NAME,
    PRISM_NAME,
    V,
    drawn_prism,
    prism_checkpoint,
    prism_metrics,
    put_snapshots,
    raw_rows,
    write_release,
)
from tests.tiny import PRISM

STEPS = (0, 1, 4)
CROSS = "pythia-160m/W_U/cross-snapshot-3/d16/seed0"
SWEEP = "pythia-160m/W_U/architecture-comparison/d16"
KINDS = {CROSS: "jumprelu", f"{SWEEP}/batchtopk/seed0": "batchtopk",
         f"{SWEEP}/gated-retuned/seed0": "gated",
         "pythia-160m/W_U/per-snapshot-saes/d16/step4": "jumprelu"}


def taken_in(store: Path, run: str, act_fn: str) -> Located:
    steps = (4,) if "step4" in run else STEPS
    kind = "wu-crosscoder" if "comparison" in run else ""
    weights, sidecar = write_release(store / "hub", run, steps, act_fn, kind)
    put_snapshots(store, NAME, steps)
    take_in(store, run, weights, sidecar, {}, lambda line: None)
    return Located(run, store)


def taken_in_prism(store: Path, architecture: str = "topk", **changes: Any) -> Located:
    """A prism whose path is not looked at: no factor of the release fits so small a shape."""
    run = "qwen3.5-0.8b/k4_3x"
    path = store / "checkpoint.pt"
    torch.save(prism_checkpoint(drawn_prism(architecture), "trainer", **changes), path)
    put_snapshots(store, PRISM_NAME, (0,))
    with pytest.MonkeyPatch.context() as patch:
        import dataclasses

        from precompute import recognise

        known = recognise.read_path
        patch.setattr(recognise, "read_path",
                      lambda run: dataclasses.replace(known(run), factor=None))
        take_in(store, run, path, None, {}, lambda line: None)
    return Located(run, store)


@pytest.mark.parametrize(("run", "act_fn"), KINDS.items())
def test_every_kind_reproduces_its_figures(tmp_path: Path, run: str, act_fn: str) -> None:
    located = taken_in(tmp_path, run, act_fn)
    found = verify(located)
    assert found.within_tolerance
    assert [v.said for v in found.verdicts] == ["reproduced (canonical)"] * 3
    for name, value in found.recorded.items():
        assert found.canonical[name] == pytest.approx(value, abs=1e-5)
    folder = read_run(located.folder)
    x = cc.standardize(load_snapshots(tmp_path, NAME, folder.steps, "W_U"))[1]
    by_trainer = cc.training_quality(read_crosscoder(folder), x, batch=32)
    for name in ("explained_variance", "l0"):
        assert found.training[name] == pytest.approx(getattr(by_trainer, name))
    assert found.training["explained_variance"] != pytest.approx(
        found.canonical["explained_variance"], abs=1e-6)
    assert sum(found.more["l0_by_snapshot"]) / len(folder.steps) == pytest.approx(
        found.canonical["l0"])
    if act_fn == "jumprelu":
        assert found.recorded["dead_rate"] >= 1 / D_SAE


def test_a_batchtopk_budget_follows_the_recorded_batch(tmp_path: Path) -> None:
    run = f"{SWEEP}/batchtopk/seed0"
    located = taken_in(tmp_path, run, "batchtopk")
    config = read_json(located.folder / "config.json")
    assert config["training"]["batch"] == 32
    recorded = verify(located).canonical
    write_json(located.folder / "config.json", config | {"training": {"batch": 7}})
    other = verify(located)
    assert other.canonical["l0"] == pytest.approx(recorded["l0"])  # 3 a row, whatever the batch
    assert abs(other.canonical["explained_variance"] - recorded["explained_variance"]) > 1e-4


def test_statistics_streamed_are_the_whole_ones(tmp_path: Path) -> None:
    located = taken_in(tmp_path, CROSS, "jumprelu")
    folder = read_run(located.folder)
    rows = Snapshots(located, folder, 6)
    whole, x = cc.standardize(load_snapshots(tmp_path, NAME, folder.steps, "W_U"))
    assert torch.allclose(rows.statistics.mean, whole.mean, atol=1e-6)
    assert torch.allclose(rows.statistics.scale, whole.scale, rtol=1e-6)
    parts = list(rows.batches(7))
    assert [p.shape[1] for p in parts] == [7] * 8 + [4]
    assert torch.allclose(torch.cat(parts, dim=1), x, atol=1e-5)


def test_figures_of_either_protocol_are_accepted_of_a_release_only(tmp_path: Path) -> None:
    located = taken_in(tmp_path, CROSS, "jumprelu")
    found = verify(located)
    path = located.folder / "metrics.json"
    metrics = read_json(path) | found.training
    assert abs(found.training["explained_variance"] - found.canonical["explained_variance"]) > 2e-3
    write_json(path, metrics)
    again = verify(located)
    assert again.within_tolerance
    assert again.verdicts[0].met_by == "training"
    write_json(path, {k: v for k, v in metrics.items() if k != "recorded_from"})
    assert "explained_variance" in verify(located).off


def test_a_figure_outside_is_told_and_printed_ones_may_be_rounded(tmp_path: Path) -> None:
    located = taken_in(tmp_path, CROSS, "jumprelu")
    path = located.folder / "metrics.json"
    metrics = read_json(path)
    ev = metrics["explained_variance"]
    write_json(path, metrics | {"explained_variance": ev + 0.0012})
    found = verify(located)
    assert found.off == ("explained_variance",)
    text = as_text(found)
    assert text.count("NOT reproduced") == 2
    assert "reproduced (canonical)" in text
    assert text.splitlines()[-1].startswith("NOT reproduced: explained_variance within 0.00100, l0")
    write_json(path, metrics | {"explained_variance": ev + 0.0012, "recorded_from": "inventory"})
    found = verify(located)
    assert found.within_tolerance
    last = as_text(found).splitlines()[-1]
    assert "explained_variance within 0.00150" in last
    assert f"l0 within {found.verdicts[1].tolerance:.5f}" in last
    write_json(path, {"recorded_from": None})
    found = verify(located)
    assert found.recorded == {}
    assert found.within_tolerance
    assert "no figure is recorded" in as_text(found)
    write_json(path, metrics | {"l0": "many"})
    with pytest.raises(BrokenArtifact, match="l0 is no number"):
        verify(located)


def test_the_json_says_what_the_text_says(tmp_path: Path) -> None:
    located = taken_in(tmp_path, CROSS, "jumprelu")
    told = json.loads(json.dumps(as_json(verify(located))))
    assert told["within_tolerance"] is True
    assert told["verdicts"]["l0"]["met_by"] == "canonical"
    assert told["verdicts"]["l0"]["tolerance"] == pytest.approx(0.005 * told["recorded"]["l0"])
    assert len(told["more"]["explained_variance_by_snapshot"]) == 3


def test_snapshots_must_be_there_and_fit(tmp_path: Path) -> None:
    located = taken_in(tmp_path, CROSS, "jumprelu")
    path = snapshot_path(tmp_path, NAME, 4, "W_U")
    rows = load_tensors(path)["W_U"]
    save_tensors(path, {"W_U": rows[:-1]})
    with pytest.raises(BrokenArtifact, match=r"W_U is \(59, 6\).* says \(60, 6\)"):
        verify(located)
    rows[5, 2] = float("nan")
    save_tensors(path, {"W_U": rows})
    with pytest.raises(BrokenArtifact, match="not finite"):
        verify(located)
    path.unlink()
    with pytest.raises(NotFound, match="step4_wu"):
        verify(located)


def test_what_was_fetched_beside_a_run_is_compared(tmp_path: Path) -> None:
    located = taken_in(tmp_path, CROSS, "jumprelu")
    c = read_crosscoder(read_run(located.folder))
    x = cc.standardize(torch.stack([raw_rows(s) for s in STEPS]))[1]
    rates = cc.measure(c, [x]).rates.float()
    kept = located.folder / "companions" / "aggregates.safetensors"
    save_tensors(kept, {"rates": rates, "decoder_norms": c.norms})
    found = verify(located)
    assert found.within_tolerance
    assert set(found.companions) == {"aggregates/rates", "aggregates/decoder_norms"}
    rates[2, 1] = rates[2, 1] + 0.01
    save_tensors(kept, {"rates": rates})
    found = verify(located)
    assert found.off == ("aggregates/rates",)
    assert "DIFFERS" in as_text(found)
    save_tensors(kept, {"rates": rates[:2]})
    with pytest.raises(BrokenArtifact, match=r"rates is \(2, 16\)"):
        verify(located)


# --- prisms ------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", pr.ARCHITECTURES)
def test_a_prism_reproduces_its_figures(tmp_path: Path, architecture: str) -> None:
    found = verify(taken_in_prism(tmp_path, architecture))
    assert found.within_tolerance
    assert found.recorded["explained_variance"] == pytest.approx(
        found.canonical["explained_variance"], abs=1e-5)
    assert found.readout is None  # the store has no language model of it
    assert found.more["recorded_top1_match"] == 0.9
    assert found.more["rows"] == V


def test_a_prism_is_measured_on_its_first_rows_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    located = taken_in_prism(tmp_path)
    monkeypatch.setattr(module, "PRISM_ROWS", 20)
    monkeypatch.setattr(module, "PRISM_BLOCK", 8)
    found = verify(located)
    prism = drawn_prism()
    x = pr.normalise_rows(raw_rows(0), prism.row_mean)[0]
    assert found.training["explained_variance"] == pytest.approx(
        pr.quality(prism, x[:20]).explained_variance)
    assert found.canonical["explained_variance"] == pytest.approx(
        pr.quality(prism, x).explained_variance)
    assert found.training != found.canonical


@pytest.mark.parametrize("wrong", ["model", "mean"])
def test_a_wrong_mean_or_model_is_seen_by_the_figures(tmp_path: Path, wrong: str) -> None:
    """The identity of a decomposition cannot see it (prism-method section 14, trap 3)."""
    located = taken_in_prism(tmp_path)
    if wrong == "model":
        path = snapshot_path(tmp_path, PRISM_NAME, 0, "W_U")
        save_tensors(path, {"W_U": raw_rows(9)})
    else:
        weights = located.folder / "dictionary.safetensors"
        tensors = load_tensors(weights)
        save_tensors(weights, tensors | {"row_mean": tensors["row_mean"] + 0.2})
    assert "explained_variance" in verify(located).off


def test_a_prism_of_other_rows_is_refused(tmp_path: Path) -> None:
    located = taken_in_prism(tmp_path)
    save_tensors(snapshot_path(tmp_path, PRISM_NAME, 0, "W_U"), {"W_U": raw_rows(0)[:-2]})
    with pytest.raises(BrokenArtifact, match=r"W_U is \(58, 6\)"):
        verify(located)


def test_figures_of_a_prism_are_the_trainers_own_words(tmp_path: Path) -> None:
    located = taken_in_prism(tmp_path)
    metrics = read_json(located.folder / "metrics.json")
    told = prism_metrics(drawn_prism())
    assert metrics["explained_variance"] == told["row_centered_ev"]
    assert metrics["dead_rate"] == told["dead_feature_rate"]
    assert (metrics["top1_match"], metrics["kl_bits"]) == (0.9, 0.1)


def test_the_readout_is_measured_where_the_model_is_here(tiny_store: Path) -> None:
    found = verify(Located(PRISM, tiny_store))
    assert found.readout is not None
    assert 0 <= found.readout.top1_match <= 1
    assert found.readout.kl_bits > 0
    assert found.readout.n_states == module.STATES
    assert found.readout.training_kl_bits == pytest.approx(found.readout.kl_bits)  # 320 rows
    assert "validation documents" in as_text(found)
    assert "of other text" not in as_text(found)


def test_a_model_that_does_not_fit_in_memory_is_left_alone(
    tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_free_memory", lambda: 1000.0)
    found = verify(Located(PRISM, tiny_store))
    assert found.readout is None
    assert found.within_tolerance
    monkeypatch.undo()
    assert module._free_memory() > 1e6
