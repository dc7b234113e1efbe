"""The command line: every verb, every JSON shape, every failure as one line and a status."""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from atlas.errors import Diverged, HubError
from atlas.places import ROOT, STORE_VARIABLE, model_path, run_path
from atlas.tensor_files import load_tensors, read_json, save_tensors, sha256, write_json
from precompute import bundle, cli, serve
from precompute.commands import build, output
from precompute.inventory import find_released, released, state
from precompute.safety import writer_lock
from precompute.stages import STAGES, precompute_run
from tests.tiny import EMBEDDING, LARGE_MODEL, PRISM, RUNS, SEED0, SEED1, SMALL, STEPS
from tests.tiny import tiny_store as make
from trainer import demo, recipes

PROMPT = "In the beginning the light was upon the"
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command line here; its status, stdout and stderr."""
    monkeypatch.delenv(STORE_VARIABLE, raising=False)

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def refused(call: Call) -> Callable[..., str]:
    """Run a command line that must fail with a status and one line; the line."""

    def run(status: int, *arguments: object) -> str:
        found, _, err = call(*arguments)
        assert found == status, err
        assert err.startswith(f"readout-atlas: error[{status}]: "), err
        assert err.count("\n") == 1, err
        assert "Traceback" not in err
        return err

    return run


@pytest.fixture
def own_store(tiny_store: Path, tmp_path: Path) -> Path:
    """A copy of the store that a test may change, at a path with a space."""
    return Path(shutil.copytree(tiny_store, tmp_path / "own store"))


def answer(result: tuple[int, str, str]) -> Any:
    status, out, err = result
    assert status == 0, err
    return json.loads(out)


class TestLooking:
    def test_runs(self, call: Call, tiny_store: Path) -> None:
        status, out, err = call("runs", "--store", tiny_store)
        assert (status, err) == (0, "")
        assert all(run in out for run in RUNS)
        assert "5 runs" in out

    def test_runs_json(self, call: Call, tiny_store: Path) -> None:
        found = answer(call("runs", "--store", tiny_store, "--json"))
        assert {r["run"] for r in found} == set(RUNS)
        one = next(r for r in found if r["run"] == SEED0)
        recorded = read_json(run_path(tiny_store, SEED0) / "metrics.json")
        assert (one["model"], one["matrix"]) == (LARGE_MODEL, "W_U")
        assert (one["kind"], one["d_sae"], one["seed"]) == ("crosscoder", 24, 0)
        assert one["steps"] == STEPS
        for name in ("explained_variance", "l0", "dead_rate"):
            assert one[name] == pytest.approx(recorded[name], abs=1e-4)
        assert len(one["hash"]) >= 16

    def test_the_environment_names_the_store(
        self, call: Call, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
        assert len(answer(call("runs", "--json"))) == len(RUNS)

    def test_inventory(self, call: Call, own_store: Path, tmp_path: Path) -> None:
        entry = find_released("pythia-160m/W_U/final-snapshot-saes/d6144")
        assert entry is not None
        folder = run_path(own_store, entry.run)
        folder.mkdir(parents=True)
        (folder / "provenance.json").write_text("{}")
        found = answer(call("runs", "--inventory", "--json", "--store", own_store))
        assert len(found) == 87
        by_run = {r["run"]: r for r in found}
        assert by_run[entry.run]["get"] == f"readout-atlas build {entry.run}"
        states = {run: r["state"] for run, r in by_run.items()}
        assert states.pop(entry.run) == "fetched"
        assert set(states.values()) == {"not here"}
        shutil.copytree(run_path(own_store, SEED0), folder, dirs_exist_ok=True)
        assert state(entry, own_store, set()) == "built"
        assert state(entry, own_store, {entry.run}) == "published"
        status, out, _ = call("runs", "--inventory", "--store", tmp_path / "no store")
        assert status == 0
        assert "87 released dictionaries, 0 of them" in out

    def test_verify(self, call: Call, tiny_store: Path) -> None:
        for run in RUNS:
            found = answer(call("verify", run, "--json", "--store", tiny_store))
            assert found["run"] == run
            assert found["within_tolerance"] is True
            for part in ("canonical", "training", "recorded"):
                assert set(found[part]) == {"explained_variance", "l0", "dead_rate"}
        status, out, _ = call("verify", run_path(tiny_store, PRISM))
        assert status == 0
        assert "reproduced: explained_variance within 0.001" in out

    def test_verify_tells_a_wrong_figure(self, call: Call, own_store: Path) -> None:
        metrics = run_path(own_store, SEED0) / "metrics.json"
        recorded = read_json(metrics)
        write_json(metrics, recorded | {"l0": recorded["l0"] * 1.01})
        status, out, err = call("verify", SEED0, "--json", "--store", own_store)
        assert status == 1
        assert json.loads(out)["within_tolerance"] is False
        assert "l0 not reproduced" in err
        assert err.count("\n") == 1

    def test_verify_tells_a_changed_file(self, call: Call, own_store: Path) -> None:
        weights = run_path(own_store, SEED0) / "dictionary.safetensors"
        tensors = load_tensors(weights)
        save_tensors(weights, tensors | {"W_D": tensors["W_D"] * 1.00001})
        status, out, err = call("verify", SEED0, "--json", "--store", own_store)
        assert status == 3
        assert json.loads(out)["changed"] == [str(weights)]
        assert "is not the file" in err

    def test_doctor(self, call: Call, tiny_store: Path) -> None:
        found = answer(call("doctor", "--json", "--store", tiny_store))
        assert found["ok"] is True
        assert all({"name", "ok", "detail", "fix"} <= set(c) for c in found["checks"])
        names = {c["name"] for c in found["checks"]}
        assert {"python", "torch", "duckdb", "streamlit", "device", "disk", "store", "chromium",
                f"language model {LARGE_MODEL}"} <= names
        status, out, _ = call("doctor", "--store", tiny_store)
        assert status == 0
        assert "cpu:" in out or "cuda:" in out

    def test_doctor_on_the_network(
        self, call: Call, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        monkeypatch.setattr("precompute.hub.is_answering", lambda hub: asked.append("it") or "no")
        found = answer(call("doctor", "--json", "--store", tiny_store))
        assert asked == [], "nobody is asked without --network"
        found = answer(call("doctor", "--json", "--network", "--store", tiny_store))
        by_name = {c["name"]: c for c in found["checks"]}
        assert "cached in" in by_name["hub"]["detail"]
        assert (by_name["hub answers"]["ok"], by_name["hub answers"]["detail"]) == (False, "no")
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        found = answer(call("doctor", "--json", "--network", "--store", tiny_store))
        by_name = {c["name"]: c for c in found["checks"]}
        assert "HF_HUB_OFFLINE" in by_name["hub answers"]["detail"]
        assert asked == ["it"]

    def test_doctor_finds_what_is_wrong(
        self, call: Call, own_store: Path, refused: Callable[..., str], tmp_path: Path
    ) -> None:
        refused(1, "doctor", "--store", tmp_path / "nowhere")
        run_file = next(run_path(own_store, SEED0).glob("atlas-*.duckdb"))
        content = bytearray(run_file.read_bytes())
        content[len(content) // 2] ^= 1
        run_file.write_bytes(content)
        (own_store / "snapshots").joinpath("readout-atlas_tiny-small_step4_wu.safetensors").unlink()
        for kept in model_path(own_store, "tiny-small").glob("step*"):
            kept.unlink()
        status, out, _ = call("doctor", "--json", "--store", own_store)
        found = json.loads(out)
        wrong = {c["name"]: c for c in found["checks"] if not c["ok"]}
        assert (status, found["ok"]) == (1, False)
        assert SEED0 in wrong["store"]["fix"]
        assert "step4" in wrong["run folders"]["detail"]
        assert "train models/tiny-small" in wrong["language model tiny-small"]["fix"]


class TestDecompose:
    def test_json(self, call: Call, tiny_store: Path) -> None:
        found = answer(call(
            "decompose", "--run", SEED0, "--prompt", PROMPT, "--target", " water", "--versus",
            "earth", "--step", "all", "--json", "--store", tiny_store,
        ))
        assert (found["run"], found["prompt"]) == (SEED0, PROMPT)
        assert found["position"] == len(found["tokens"]) - 1
        score = found["score"]
        assert (score["kind"], score["target"], score["versus"]) == ("contrast", " water", " earth")
        assert [row["step"] for row in found["rows"]] == STEPS
        for row in found["rows"]:
            assert {"exact", "base", "feature_sum", "residual", "rho", "sign_agrees", "gate",
                    "contributions"} <= set(row)
            parts = row["base"] + row["feature_sum"] + row["residual"]
            assert row["exact"] == pytest.approx(parts, abs=1e-9)
            listed = sum(c["value"] for c in row["contributions"])
            assert row["feature_sum"] == pytest.approx(listed, abs=1e-9)
            assert len(row["contributions"]) == row["n_active"]

    def test_top_cuts_the_list_and_not_the_sum(self, call: Call, tiny_store: Path) -> None:
        asked = ("decompose", "--run", SEED0, "--prompt", PROMPT, "--json", "--store", tiny_store)
        whole = answer(call(*asked))["rows"][0]
        cut = answer(call(*asked, "--top", "1"))["rows"][0]
        assert cut["contributions"] == whole["contributions"][:1]
        assert cut["feature_sum"] == whole["feature_sum"]

    def test_single_token_and_token_by_id(self, call: Call, tiny_store: Path) -> None:
        asked = ("decompose", "--run", PRISM, "--prompt", PROMPT, "--json", "--store", tiny_store)
        by_text = answer(call(*asked, "--target", "water"))
        token = by_text["score"]["target_token"]
        assert by_text["score"]["kind"] == "token"
        assert by_text["score"]["versus"] is None
        assert by_text["rows"][0]["sign_agrees"] is None
        assert answer(call(*asked, "--target", f"#{token}"))["rows"] == by_text["rows"]

    def test_text(self, call: Call, tiny_store: Path) -> None:
        asked = ("decompose", "--run", SEED0, "--prompt", PROMPT, "--store", tiny_store)
        for step in STEPS:
            status, out, _ = call(*asked, "--step", step, "--top", "2")
            assert status == 0
            assert "exact h . row" in out
            assert ("gate: passed" in out) != ("gate: FAILED" in out)
            assert ("withheld" in out) == ("gate: FAILED" in out)
        status, out, _ = call(*asked, "--step", "all", "--hidden", "own")
        assert status == 0
        assert "at every snapshot" in out

    @pytest.mark.parametrize(
        "more",
        [("--kind", "token"), ("--kind", "centred"), ("--kind", "vocabulary"), ("--kind", "topk",
         "--rivals", "3"), ("--kind", "rank", "--rank", "4"),
         ("--kind", "family", "--target", " water | xyzzy", "--versus", "earth, light")],
        ids=lambda more: more[1],
    )
    @pytest.mark.parametrize("run", [SEED0, PRISM])
    def test_every_kind(
        self, call: Call, tiny_store: Path, run: str, more: tuple[str, ...]
    ) -> None:
        asked = ("decompose", "--run", run, "--prompt", PROMPT, "--store", tiny_store, *more)
        found = answer(call(*asked, "--json"))
        score = found["score"]
        assert score["kind"] == more[1]
        assert score["weights"] == [t["weight"] for t in score["tokens"]]
        assert score["target_token"] == score["tokens"][0]["token"]
        assert (score["entropy"] is not None) == (more[1] == "topk")
        assert score["rank"] == (4 if more[1] == "rank" else None)
        for row in found["rows"]:
            parts = row["base"] + row["feature_sum"] + row["residual"]
            assert row["exact"] == pytest.approx(parts, abs=1e-9)
            assert row["margin_bin"] in ("<0.5", "0.5-1", "1-2", ">=2")
            sizes = [abs(c["value"]) for c in row["contributions"]]
            assert row["coverage"]["size"] == pytest.approx(sum(sizes))
            n80 = row["coverage"]["n80"]
            assert sum(sizes[:n80]) >= 0.8 * sum(sizes) - 1e-9
            assert n80 == 0 or sum(sizes[: n80 - 1]) < 0.8 * sum(sizes)
        if more[1] == "topk":
            assert len(score["tokens"]) == 4
            assert sum(score["weights"]) == pytest.approx(0)
        if more[1] == "family":
            assert "'xyzzy'" in found["note"]
        status, out, _ = call(*asked)
        assert status == 0
        assert "mass: 5 features hold" in out or "80 %" not in out

    @pytest.mark.parametrize("prompt", ["🌊 waves", "مرحبا \u202e", "\x1b[2J\x07\x00", "a\nb\tc"])
    def test_strange_prompts_reach_no_terminal(
        self, call: Call, tiny_store: Path, prompt: str
    ) -> None:
        asked = ("decompose", "--run", SEED0, "--prompt", prompt, "--store", tiny_store)
        status, out, err = call(*asked)
        assert (status, err) == (0, "")
        assert all(c.isprintable() or c == "\n" for c in out)
        assert answer(call(*asked, "--json"))["prompt"] == prompt

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--prompt", ""], "empty"),
            (["--prompt", " \n "], "white space"),
            (["--prompt", "a" * 100_000], "100,000 characters"),
            (["--prompt", "x\udcff"], "surrogate"),
            (["--prompt", "x", "--target", "the the"], "tokens"),
            (["--prompt", "x", "--target", "#320"], "0 to 319"),
            (["--prompt", "x", "--step", "3"], "0, 1, 4, 16, 64"),
            (["--prompt", "x", "--step", "now"], "'now'"),
            (["--prompt", "x", "--position", "7"], "outside"),
            (["--prompt", "x", "--position", "q"], "--position"),
            (["--prompt", "x", "--hidden", "other"], "--hidden"),
            (["--prompt", "x", "--top", "-3"], "--top"),
            (["--prompt", "x", "--device", "tpu"], "'tpu'"),
            (["--prompt", "x", "--device", "cuda:99"], "cuda:99"),
            (["--prompt", "x", "--kind", "sum"], "token, centred, vocabulary"),
            (["--prompt", "x", "--kind", "rank", "--rank", "1"], "the winner itself"),
            (["--prompt", "x", "--kind", "rank", "--rank", "321"], "no rank 321"),
            (["--prompt", "x", "--rank", "3"], "--kind rank"),
            (["--prompt", "x", "--kind", "topk", "--rivals", "0"], "1 to 100"),
            (["--prompt", "x", "--kind", "topk", "--target", "a"], "takes no target"),
            (["--prompt", "x", "--kind", "family", "--target", "xyzzy"], "no word of the target"),
            ([], "--prompt"),
        ],
    )
    def test_bad_values(
        self, refused: Callable[..., str], tiny_store: Path, arguments: list[str], said: str
    ) -> None:
        line = refused(2, "decompose", "--run", SEED0, *arguments, "--store", tiny_store)
        assert said in line
        assert len(line) < 700

    def test_bad_runs(self, refused: Callable[..., str], tiny_store: Path) -> None:
        asked = ("--prompt", "x", "--store", tiny_store)
        assert "nearest" in refused(2, "decompose", "--run", SEED0 + "9", *asked)
        assert SEED0 in refused(2, "decompose", "--run", EMBEDDING, *asked)
        for run in ("", "../../etc", "a\x00b", "x" * 400):
            refused(2, "decompose", "--run", run, *asked)


class TestStores:
    """A store that is missing, empty, truncated or of another schema."""

    @pytest.mark.parametrize("verb", [("runs",), ("decompose", "--run", SEED0, "--prompt", "x"),
                                      ("serve",)])
    @pytest.mark.parametrize(
        ("damage", "status"),
        [("missing", 2), ("file", 2), ("empty", 2), ("pointer", 3), ("gone", 3), ("truncated", 3),
         ("zeros", 3), ("schema", 7)],
    )
    def test_faults(
        self, refused: Callable[..., str], own_store: Path, verb: tuple[str, ...], damage: str,
        status: int,
    ) -> None:
        pointer = own_store / "CURRENT.json"
        catalog = own_store / read_json(pointer)["catalog"]
        if damage in ("missing", "file", "empty"):
            shutil.rmtree(own_store)
        if damage == "file":
            own_store.write_text("not a folder")
        if damage == "empty":
            own_store.mkdir()
        if damage == "pointer":
            pointer.write_text("")
        if damage == "gone":
            catalog.unlink()
        if damage == "truncated":
            catalog.write_bytes(catalog.read_bytes()[:5000])
        if damage == "zeros":
            catalog.write_bytes(bytes(catalog.stat().st_size))
        if damage == "schema":
            write_json(pointer, read_json(pointer) | {"schema": 999})
        line = refused(status, *verb, "--store", own_store)
        assert str(own_store) in line
        assert "`" in line

    def test_a_truncated_run_file_leaves_the_others(
        self, call: Call, refused: Callable[..., str], own_store: Path
    ) -> None:
        run_file = next(run_path(own_store, SEED0).glob("atlas-*.duckdb"))
        run_file.write_bytes(run_file.read_bytes()[:1000])
        asked = ("--prompt", PROMPT, "--store", own_store)
        line = refused(3, "decompose", "--run", SEED0, *asked)
        assert f"`readout-atlas build {SEED0}" in line
        assert call("decompose", "--run", SMALL, *asked)[0] == 0
        assert "unreadable" in call("runs", "--store", own_store)[1]


class TestBuild:
    def test_twice_and_forced(self, call: Call, own_store: Path) -> None:
        status, out, err = call("build", SEED0, "--store", own_store)
        assert (status, err) == (0, "")
        assert "nothing to do" in out
        assert "serve --store" in out
        before = answer(call("runs", "--json", "--store", own_store))
        status, out, _ = call("build", run_path(own_store, SEED0), "--force")
        assert status == 0
        assert "encode: done" in out
        assert answer(call("runs", "--json", "--store", own_store)) == before

    def test_whole_bundle_from_scratch(
        self, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stub(store: Path, report: Callable[[str], None]) -> None:
            make(store, runs=[SEED0, PRISM], built=False)

        monkeypatch.setattr(build, "WHOLE", "tiny")
        monkeypatch.setattr(build, "write_card", lambda store: store / "CARD.md")
        monkeypatch.setattr(demo, "train_demo", stub)
        store = tmp_path / "new store"
        assert call("build", "tiny", "--from-scratch", "--store", store)[0] == 0
        listed = answer(call("runs", "--json", "--store", store))
        assert {r["run"] for r in listed} == {SEED0, PRISM}
        assert len(read_json(store / "build.json")["calls"]) == 1
        assert call("build", "tiny", "--store", store)[0] == 0
        plans = answer(call("plan", "tiny", "--json", "--store", store))
        assert {p["run"] for p in plans} == {SEED0, PRISM}
        status, out, _ = call("plan", "tiny", "--store", store)
        assert status == 0
        assert "all: " in out

    def test_plan(self, call: Call, tmp_path: Path) -> None:
        store = make(tmp_path / "unbuilt", runs=[SEED0], built=False)
        kept = sorted(p for p in store.rglob("*"))
        (found,) = answer(call("plan", SEED0, "--json", "--store", store))
        assert [s["name"] for s in found["stages"]] == list(STAGES)
        assert not any(s["done"] for s in found["stages"])
        assert found["minutes"] > 0
        assert found["memory_bytes"] > 0
        assert sorted(p for p in store.rglob("*")) == kept, "a plan writes nothing"
        assert call("build", SEED0, "--store", store)[0] == 0
        (found,) = answer(call("plan", SEED0, "--json", "--store", store))
        assert all(s["done"] for s in found["stages"])
        assert found["minutes"] == 0
        assert "up to date" in call("plan", SEED0, "--store", store)[1]

    def test_released(self, call: Call, refused: Callable[..., str], tmp_path: Path) -> None:
        run = "pythia-160m/W_U/cross-snapshot-32/d24576/seed0"
        (found,) = answer(call("plan", run, "--json", "--offline", "--store", tmp_path))
        dictionary, snapshots = found["fetch"]
        assert dictionary["bytes"] == 4 * 1_208_795_136  # crosscoder-method §3.1
        assert snapshots["bytes"] == 4 * 32 * 50304 * 768
        assert (dictionary["here"], snapshots["here"]) == (False, False)
        assert "by formula" in found["note"]
        status, out, _ = call("plan", "qwen3.5-2b/k256_32x", "--offline", "--store", tmp_path)
        assert status == 0
        assert "size not known" in out
        line = refused(4, "build", run + ".safetensors", "--offline", "--store", tmp_path)
        assert "parameter-trajectory-crosscoders" in line
        assert "--from DIR" in line
        line = refused(2, "build", run, "--from", tmp_path / "no mirror", "--store", tmp_path)
        assert "no folder" in line

    def test_released_runs_never_go_into_the_bundle(
        self, call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(output, "USERS_STORE", tmp_path / "mine")
        run = "pythia-160m/W_U/cross-snapshot-32/d24576/seed0"
        (found,) = answer(call("plan", run, "--json", "--offline"))
        assert found["store"] == str(tmp_path / "mine")

    def test_numbers_of_processes(self, refused: Callable[..., str], own_store: Path) -> None:
        for numbers in (("--rank", 0), ("--rank", 2, "--world-size", 2), ("--rank", "x")):
            refused(2, "build", SEED0, *numbers, "--store", own_store)

    def test_two_processes(self, call: Call, tmp_path: Path) -> None:
        store = make(tmp_path / "unbuilt", runs=[SEED0], built=False)
        said = []
        for rank in (0, 1):
            status, out, err = call("build", SEED0, "--rank", rank, "--world-size", 2, "--store",
                                    store)
            assert status == 0, err
            said.append(out)
        assert "its part is done" in said[0]
        assert "serve --store" in said[1]
        assert [r["run"] for r in answer(call("runs", "--json", "--store", store))] == [SEED0]

    def test_a_process_that_wrote_one_run_of_two_publishes_it(
        self, call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = make(tmp_path / "unbuilt", runs=[SEED0, SEED1], built=False)
        precompute_run(store, SEED0, rank=1, world_size=2)
        monkeypatch.setattr(build, "_demo_runs", lambda store: [SEED0, SEED1])
        monkeypatch.setattr(build, "write_card", lambda store: None)
        status, _, err = call("build", "demo", "--rank", 0, "--world-size", 2, "--store", store)
        assert status == 0, err
        assert [r["run"] for r in answer(call("runs", "--json", "--store", store))] == [SEED0]

    def test_unknown(self, refused: Callable[..., str], tiny_store: Path) -> None:
        for verb in ("build", "plan"):
            assert "no run" in refused(2, verb, "pythia-160m/nothing", "--store", tiny_store)
            refused(2, verb, "/nowhere/at/all", "--store", tiny_store)
            refused(2, verb, "../x", "--store", tiny_store)
            assert "goes with" in refused(2, verb, SEED0, "--from-scratch", "--store", tiny_store)
        assert "--from-scratch" in refused(2, "build", "demo", "--store", tiny_store)
        refused(2, "build", SEED0, "--device", "cuda:99", "--store", tiny_store)

    def test_a_folder_outside_a_store(
        self, refused: Callable[..., str], tiny_store: Path, tmp_path: Path
    ) -> None:
        loose = shutil.copytree(run_path(tiny_store, SEED0), tmp_path / "loose")
        assert "does not lie at" in refused(2, "build", loose)

    @pytest.mark.parametrize("damage", ["missing", "shapes", "nan", "json", "snapshot"])
    def test_damaged_inputs(
        self, refused: Callable[..., str], call: Call, own_store: Path, damage: str
    ) -> None:
        folder = run_path(own_store, SEED0)
        weights = folder / "dictionary.safetensors"
        tensors = load_tensors(weights)
        status = 3
        if damage == "missing":
            (folder / "metrics.json").unlink()
        if damage == "shapes":
            save_tensors(weights, tensors | {"W_D": tensors["W_D"][:, :-1]})
        if damage == "nan":
            tensors["W_D"][0, 0, 0] = float("nan")
            save_tensors(weights, tensors)
        if damage == "json":
            (folder / "config.json").write_text("{")
        if damage == "snapshot":
            (own_store / "snapshots/readout-atlas_tiny-large_step4_wu.safetensors").unlink()
            status = 2
        line = refused(status, "build", SEED0, "--store", own_store)
        assert str(own_store) in line
        listed = answer(call("runs", "--json", "--store", own_store))
        assert len(listed) == len(RUNS), "nothing is lost"

    def test_another_writer(self, refused: Callable[..., str], own_store: Path) -> None:
        with writer_lock(run_path(own_store, SEED0), "the run"):
            line = refused(5, "build", SEED0, "--force", "--store", own_store)
        assert f"process {os.getpid()}" in line

    def test_full_disk(self, call: Call, own_store: Path) -> None:
        """A file-size limit stands in for a full disk; what was published stays whole."""
        before = answer(call("runs", "--json", "--store", own_store))
        command = (
            f"ulimit -f 4; exec '{sys.executable}' -m precompute build {SEED0} --force "
            f"--store '{own_store}'"
        )
        full = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
        assert full.returncode == 6, full.stderr
        assert full.stderr.startswith("readout-atlas: error[6]: ")
        assert full.stderr.count("\n") == 1
        assert answer(call("runs", "--json", "--store", own_store)) == before
        assert call("build", SEED0, "--store", own_store)[0] == 0
        assert answer(call("runs", "--json", "--store", own_store)) == before
        assert not list(own_store.rglob(".stage-*"))


class TestTrain:
    RUN = "tiny/large/W_U/cross-snapshot-5/d16/seed3"

    @pytest.fixture
    def recipe(self, tmp_path: Path) -> Path:
        path = tmp_path / "recipe.json"
        dials = {"model": LARGE_MODEL, "matrix": "W_U", "d_sae": 16, "epochs": 2, "batch": 64}
        write_json(path, {"kind": "crosscoder", "runs": [self.RUN], "dials": dials})
        return path

    def test_train_then_build(self, call: Call, own_store: Path, recipe: Path) -> None:
        status, out, err = call("train", recipe, "--store", own_store, "--set", "epochs=3")
        assert status == 0, err
        *_, following, last = out.splitlines()
        folder = Path(last)
        run = folder.relative_to(own_store / "runs").as_posix()
        assert run.startswith(self.RUN)
        assert read_json(folder / "config.json")["training"]["epochs"] == 3
        assert following == f"next: readout-atlas build {run} --store '{own_store}'"
        before = sha256(folder / "dictionary.safetensors")
        assert call("train", recipe, "--store", own_store, "--set", "epochs=3")[0] == 0
        assert sha256(folder / "dictionary.safetensors") == before
        assert call("build", run, "--store", own_store)[0] == 0
        assert answer(call("verify", run, "--json", "--store", own_store))["within_tolerance"]
        asked = ("decompose", "--run", run, "--prompt", PROMPT, "--json", "--store", own_store)
        row = answer(call(*asked))["rows"][0]
        parts = row["base"] + row["feature_sum"] + row["residual"]
        assert row["exact"] == pytest.approx(parts, abs=1e-9)

    def test_refusals(
        self, refused: Callable[..., str], own_store: Path, recipe: Path, tmp_path: Path
    ) -> None:
        known = refused(2, "train", recipe, "--set", "epoch=3", "--store", own_store)
        assert "'epoch'" in known
        assert "epochs" in known
        assert "d_sae" in known
        assert "'many'" in refused(2, "train", recipe, "--set", "epochs=many", "--store", own_store)
        assert "key=value" in refused(2, "train", recipe, "--set", "epochs", "--store", own_store)
        assert "no recipe is called" in refused(2, "train", "no/such/recipe", "--store", own_store)
        refused(2, "train", recipe, "--store", tmp_path / "empty")


class TestFailures:
    """Whatever goes wrong inside a verb leaves as one line and the right status."""

    @pytest.mark.parametrize(
        ("failure", "status"),
        [
            (HubError("the hub said 503"), 4),
            (OSError(28, "No space left on device"), 6),
            (RuntimeError("fwrite: No space left on device"), 6),
            (MemoryError(), 8),
            (torch.OutOfMemoryError("CUDA out of memory"), 8),
            (Diverged("the loss is nan"), 9),
            (PermissionError(13, "Permission denied", "/x"), 2),
            (ZeroDivisionError("two\nlines"), 1),
        ],
    )
    def test_statuses(
        self, call: Call, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch,
        failure: Exception, status: int, tmp_path: Path,
    ) -> None:
        def fail(args: argparse.Namespace) -> int:
            raise failure

        monkeypatch.setattr(build, "plan", fail)
        refused(status, "plan", "demo")
        _, _, err = call("plan", "demo", "--debug")
        assert "Traceback" in err

    @pytest.mark.parametrize(("failure", "status"), [(KeyboardInterrupt, 130),
                                                     (cli.Terminated, 143)])
    def test_interrupted(
        self, call: Call, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException], status: int
    ) -> None:
        def fail(args: argparse.Namespace) -> int:
            raise failure

        monkeypatch.setattr(build, "plan", fail)
        found, _, err = call("plan", "demo")
        assert found == status
        assert err.count("\n") == 1

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "VERB"),
            (("look",), "verbs are"),
            (("decomposee",), "did you mean decompose?"),
            (("runs", "--jsn"), "--jsn"),
            (("verify",), "RUN"),
            (("serve", "--port", "70000"), "'70000' is not a port"),
            (("serve", "--port", "x"), "'x' is not a port"),
        ],
    )
    def test_command_lines(
        self, refused: Callable[..., str], arguments: tuple[str, ...], said: str
    ) -> None:
        assert said in refused(2, *arguments)

    @pytest.mark.parametrize("verb", cli.VERBS)
    def test_help_has_an_example(self, capsys: pytest.CaptureFixture[str], verb: str) -> None:
        with pytest.raises(SystemExit) as left:
            cli.main([verb, "--help"])
        assert left.value.code == 0
        assert f"example:\n  readout-atlas {verb}" in capsys.readouterr().out

    def test_examples_name_runs_that_exist(self) -> None:
        assert {cli.EXAMPLE_RUN, cli.EXAMPLE_PRISM} <= set(recipes.names())

    def test_reader_that_goes_away(self, tiny_store: Path) -> None:
        command = (
            f"'{sys.executable}' -m precompute runs --inventory --store '{tiny_store}' | head -n 1"
        )
        done = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True)
        assert done.stderr == ""


def test_progress_is_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    tell = output.Progress()
    tell("tokens: snapshot 1 of 3")
    tell("done")
    assert capsys.readouterr() == ("tokens: snapshot 1 of 3\ndone\n", "")


def test_progress_is_a_bar_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    tell = output.Progress()
    tell("tokens: snapshot 1 of 3")
    tell("tokens: snapshot 3 of 3")
    tell("done")
    out, err = capsys.readouterr()
    assert "3/3" in err
    assert out == "done\n"


def test_inventory_agrees_with_the_record() -> None:
    """Sizes of crosscoder-method §3.1, counts of the design."""
    entries = released()
    assert len(entries) == 87
    assert len({e.run for e in entries}) == 87
    by_run = {e.run: e for e in entries}
    one_b = by_run["pythia-1b/W_U/cross-snapshot-32/d24576/seed0"]
    assert one_b.dictionary_bytes == 4 * 3_222_102_016
    per_snapshot = [e for e in entries if "/per-snapshot-saes/" in e.run]
    assert len(per_snapshot) == 32
    assert sum(e.dictionary_bytes for e in per_snapshot) == 4 * 403_202_048
    assert by_run["qwen3.5-9b/k256_32x"].d_model == 4096


class TestServe:
    @pytest.fixture
    def taken(self) -> Iterator[int]:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            yield listener.getsockname()[1]

    def test_port_in_use(
        self, refused: Callable[..., str], tiny_store: Path, taken: int
    ) -> None:
        line = refused(2, "serve", "--port", taken, "--store", tiny_store)
        assert f"port {taken} is in use" in line
        free = int(line.rsplit("--port ", 1)[1])
        assert serve.is_free(free)

    def test_default_port_falls_forward(self, taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(serve, "DEFAULT_PORT", taken)
        assert serve.choose_port(None) > taken

    @pytest.mark.parametrize(("sent", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
    def test_opens_and_ends(
        self, own_store: Path, tmp_path: Path, sent: signal.Signals, status: int
    ) -> None:
        """From another folder, over a store at a path with a space, ended by a signal."""
        process = subprocess.Popen(
            [sys.executable, "-m", "precompute", "serve", "--store", str(own_store)],
            cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
            # a test run in the background inherits an ignored SIGINT; a terminal does not
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            line = process.stdout.readline()
            assert line.startswith("Readout Atlas is open at http://127.0.0.1:")
            address = line.split(" at ")[1].strip()
            with urllib.request.urlopen(address + "/_stcore/health", timeout=10) as health:
                assert health.status == 200
            process.send_signal(sent)
            assert process.wait(15) == status
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
            process.wait()
        port = int(address.rsplit(":", 1)[1])
        deadline = time.monotonic() + 5
        while not serve.is_free(port) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert serve.is_free(port), "no server is left behind"


def test_a_bundled_model_is_taken_along(
    call: Call, tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training a bundled model's dictionary needs no bundle in the store it goes to."""
    monkeypatch.setattr(bundle, "DEMO", tiny_store)
    path = tmp_path / "recipe.json"
    dials = {"model": LARGE_MODEL, "matrix": "W_U", "d_sae": 16, "epochs": 1, "batch": 64}
    write_json(path, {"kind": "crosscoder", "runs": [TestTrain.RUN], "dials": dials})
    store = tmp_path / "my store"
    assert call("train", path, "--store", store)[0] == 0
    assert call("build", TestTrain.RUN, "--store", store)[0] == 0
    assert [r["run"] for r in answer(call("runs", "--json", "--store", store))] == [TestTrain.RUN]
    asked = ("decompose", "--run", TestTrain.RUN, "--prompt", PROMPT, "--store", store)
    assert call(*asked)[0] == 0
