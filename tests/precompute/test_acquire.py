"""From a release to an atlas with one command: over the hub double, over a mirror, cut off after.

The builds run in a child process with the real clients of huggingface_hub and transformers.
"""

import json
import shutil
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.utils import _detect_agent

from atlas.errors import BrokenArtifact, InvalidValue, NoSpace, NotFound, StoreBusy
from atlas.inventory import HUB, find_released, repositories
from atlas.language_model import LanguageModel, full_steps, load_tokenizer
from atlas.places import model_path, run_path
from atlas.tensor_files import load_tensors, read_json, sha256
from precompute import acquire as module
from precompute import extras, models, safety
from precompute import plan_released as planning
from precompute.acquire import acquire, differences, is_acquired
from precompute.fetching import NotCached, NotInMirror, NotThere
from precompute.hub import Hub, is_answering
from precompute.mirror import Mirror
from precompute.plan_released import plan_released
from precompute.safety import writer_lock
from tests.hub_child import Child
from tests.hub_double import TOKEN, HubDouble
from tests.hub_release import (
    CROSS,
    CROSS_E,
    MODEL,
    PRISM,
    SINGLE,
    STEPS,
    Release,
    into_folder,
)
from tests.tiny import D

RUNS = (CROSS, CROSS_E, SINGLE, PRISM)
PROMPT = "In the beginning the light was upon the"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    made = Release(tmp_path_factory.mktemp("release"))
    made.all(lambda *a, **k: None)
    return made


@pytest.fixture
def mirror(release: Release, tmp_path: Path) -> Path:
    release.all(into_folder(tmp_path / "mirror"))
    return tmp_path / "mirror"


@pytest.fixture
def child(release: Release, tmp_path: Path) -> Iterator[tuple[HubDouble, Child]]:
    with HubDouble(tmp_path / "served") as hub:
        release.all(hub.add)
        process = Child(hub.environment(tmp_path / "home", HF_TOKEN=TOKEN))
        yield hub, process
        process.close()


def test_from_the_hub_to_an_atlas_without_a_network(
    child: tuple[HubDouble, Child], tmp_path: Path
) -> None:
    hub, call = child
    store = tmp_path / "my store"
    status, out, err = call("plan", CROSS, "--store", store, "--json")
    assert (status, err) == (0, ""), err
    (planned,) = json.loads(out)
    assert planned["fetch_bytes"] > 0
    assert not store.exists(), "a plan writes nothing into a store"
    for run in RUNS:
        status, out, err = call("build", run, "--store", store)
        assert (status, err) == (0, ""), out + err
    assert sum("/refs" in r.path for r in hub.log) <= 4
    hub.forget()
    status, out, err = call("build", CROSS, "--store", store)
    assert status == 0, err
    assert "everything it needs is here" in out
    assert "nothing to do" in out, out
    assert hub.log == [], "a second build asks nobody"
    status, out, _ = call("transformers", MODEL, f"step{STEPS[1]}")
    assert (status, out.split()[0]) == (0, "GPTNeoXForCausalLM"), "transformers reads it too"
    hub.stop()
    assert call("build", CROSS, "--store", store)[0] == 0
    status, out, _ = call("runs", "--json", "--store", store)
    listed = {r["run"]: r for r in json.loads(out)}
    assert set(listed) == set(RUNS)
    assert listed[CROSS]["steps"] == list(STEPS)
    for run in (CROSS, PRISM, SINGLE):
        status, out, err = call("decompose", "--run", run, "--prompt", PROMPT, "--json",
                                "--store", store)
        assert status == 0, err
        row = json.loads(out)["rows"][0]
        assert row["exact"] == pytest.approx(
            row["base"] + row["feature_sum"] + row["residual"], abs=1e-6
        )
    status, out, err = call("plan", CROSS, "--store", store)
    assert "up to date" in out
    status, out, err = call("build", CROSS.replace("seed0", "seed1"), "--store", store)
    assert status == 4
    assert "seed1" in err
    assert err.count("\n") == 1
    texts = [p for p in store.rglob("*.json") if TOKEN in p.read_text(encoding="utf8")]
    assert texts == [], "no token in a store"
    everything = [p for p in store.rglob("*") if p.is_symlink()]
    assert everything == [], "a store stands alone"


class TestMirror:
    def get(self, mirror: Path, store: Path, run: str = CROSS, **more: Any) -> list[str]:
        lines: list[str] = []
        acquire(run, store, Mirror(mirror), lines.append, **more)
        return lines

    @pytest.mark.parametrize("run", RUNS)
    def test_everything_a_build_needs(self, mirror: Path, tmp_path: Path, run: str) -> None:
        store = tmp_path / "store"
        assert not is_acquired(store, run)
        self.get(mirror, store, run)
        assert is_acquired(store, run)
        config = read_json(run_path(store, run) / "config.json")
        repository = HUB["prism" if run == PRISM else "trajectory"]
        assert config["origin"]["repository"] == repository
        assert config["origin"]["revision"] is None
        label = run.split("/")[0]
        load_tokenizer(model_path(store, label))
        assert full_steps(model_path(store, label)) == [config["steps"][-1]]
        unused = Namespace()  # a second call does not even open its source
        acquire(run, store, lambda: pytest.fail("opened") or unused)

    def test_links_not_copies(self, mirror: Path, tmp_path: Path) -> None:
        self.get(mirror, tmp_path / "store")
        weights = run_path(tmp_path / "store", CROSS) / "dictionary.safetensors"
        assert weights.samefile(mirror / HUB["trajectory"] / f"{CROSS}.safetensors")
        assert not weights.is_symlink()

    def test_the_model_answers(self, mirror: Path, tmp_path: Path, release: Release) -> None:
        store = tmp_path / "store"
        self.get(mirror, store)
        folder = model_path(store, "pythia-14m")
        model = LanguageModel.load(folder, store, STEPS[-1], "cpu")
        assert model.hidden_of([5, 6, 7]).shape[-1] == D

    def test_without_the_model(self, mirror: Path, tmp_path: Path) -> None:
        store = tmp_path / "store"
        self.get(mirror, store, with_model=False)
        assert is_acquired(store, CROSS, with_model=False)
        assert not is_acquired(store, CROSS)
        assert full_steps(model_path(store, "pythia-14m")) == []
        self.get(mirror, store, with_model=True)
        assert full_steps(model_path(store, "pythia-14m")) == [STEPS[-1]]

    def test_a_large_model_is_left_out(
        self, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(models, "WHOLE_LIMIT", 10)
        store = tmp_path / "store"
        lines = self.get(mirror, store)
        assert any("--model" in line for line in lines)
        assert full_steps(model_path(store, "pythia-14m")) == []
        assert is_acquired(store, CROSS), "it is not asked for again"
        self.get(mirror, store, with_model=True)
        assert full_steps(model_path(store, "pythia-14m")) == [STEPS[-1]]

    def test_a_model_that_is_pickled_only(
        self, mirror: Path, tmp_path: Path, release: Release
    ) -> None:
        from safetensors.torch import load_file

        folder = mirror / MODEL / f"step{STEPS[-1]}"
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        self.get(mirror, tmp_path / "store")
        label = model_path(tmp_path / "store", "pythia-14m")
        LanguageModel.load(label, tmp_path / "store", STEPS[-1], "cpu")

    def test_a_mirror_with_loose_snapshots_and_no_checkpoints(
        self, mirror: Path, tmp_path: Path, release: Release
    ) -> None:
        for step in STEPS:
            release.loose(mirror / "snapshots", "W_U", step, "pt")
            shutil.rmtree(mirror / MODEL / f"step{step}")
        (mirror / MODEL / "model.safetensors").unlink()
        lines = self.get(mirror, tmp_path / "store")
        assert any("no weights" in line for line in lines)
        assert is_acquired(tmp_path / "store", CROSS)

    def test_what_was_done_is_kept(
        self, mirror: Path, tmp_path: Path, release: Release
    ) -> None:
        """A checkpoint that is broken stops a build; the next one goes on from there."""
        broken = mirror / MODEL / f"step{STEPS[2]}" / "model.safetensors"
        whole = broken.read_bytes()
        broken.write_bytes(whole[:-50])
        store = tmp_path / "store"
        with pytest.raises(BrokenArtifact, match="step1000"):
            self.get(mirror, store)
        assert len(list((store / "snapshots").glob("*_wu.safetensors"))) == 2
        digest = sha256(run_path(store, CROSS) / "dictionary.safetensors")
        broken.write_bytes(whole)
        lines = self.get(mirror, store)
        assert any("snapshot 1 of 2" in line for line in lines)
        assert sha256(run_path(store, CROSS) / "dictionary.safetensors") == digest

    def test_a_sidecar_that_disagrees(
        self, mirror: Path, tmp_path: Path, release: Release
    ) -> None:
        release.crosscoder(into_folder(mirror), CROSS, steps=[0, 1, 2])
        with pytest.raises(BrokenArtifact, match="steps"):
            self.get(mirror, tmp_path / "store")
        assert not run_path(tmp_path / "store", CROSS).exists()

    def test_a_missing_sidecar(self, mirror: Path, tmp_path: Path) -> None:
        (mirror / HUB["trajectory"] / f"{CROSS}.config.json").unlink()
        with pytest.raises(BrokenArtifact, match="sidecar"):
            self.get(mirror, tmp_path / "store")

    def test_a_swapped_dictionary(self, mirror: Path, tmp_path: Path) -> None:
        base = mirror / HUB["trajectory"]
        shutil.copyfile(base / f"{SINGLE}.safetensors", base / f"{CROSS}.safetensors")
        with pytest.raises(BrokenArtifact):
            self.get(mirror, tmp_path / "store")

    def test_what_is_not_there(self, mirror: Path, tmp_path: Path) -> None:
        store = tmp_path / "store"
        with pytest.raises(NotFound, match="no run"):
            self.get(mirror, store, CROSS.replace("seed0", "seed7"))
        with pytest.raises(InvalidValue, match="no path of a release"):
            self.get(mirror, store, "pythia-14m/nothing")
        shutil.rmtree(mirror / MODEL)
        with pytest.raises(NotInMirror, match="4 of 4 snapshots"):
            self.get(mirror, store)
        shutil.rmtree(mirror / HUB["trajectory"])
        shutil.rmtree(run_path(store, CROSS))
        with pytest.raises(NotInMirror, match="parameter-trajectory"):
            self.get(mirror, store)

    def test_no_tokenizer(self, mirror: Path, tmp_path: Path) -> None:
        for path in (mirror / MODEL).rglob("tokenizer.json"):
            path.unlink()
        with pytest.raises(NotInMirror, match="tokenizer.json"):
            self.get(mirror, tmp_path / "store")

    def test_space_is_checked_before_the_first_byte(
        self, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Usage:
            free = 10

        monkeypatch.setattr(safety.shutil, "disk_usage", lambda path: Usage)
        with pytest.raises(NoSpace):
            self.get(mirror, tmp_path / "store")
        assert not run_path(tmp_path / "store", CROSS).exists()

    def test_another_process_fills_the_store(self, mirror: Path, tmp_path: Path) -> None:
        store = tmp_path / "store"
        with writer_lock(store / "snapshots", "it"), pytest.raises(StoreBusy):
            self.get(mirror, store)

    def test_one_of_several_processes_waits(
        self, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, other = tmp_path / "store", tmp_path / "other"
        self.get(mirror, other)

        def meanwhile(seconds: float) -> None:
            shutil.copytree(other, store, dirs_exist_ok=True)

        monkeypatch.setattr(module.time, "sleep", meanwhile)
        with writer_lock(store / "snapshots", "it"):
            acquire(CROSS, store, lambda: pytest.fail("opened"), wait=60)
        assert is_acquired(store, CROSS)

    def test_the_index_only_warns(self, mirror: Path, tmp_path: Path) -> None:
        index = mirror / HUB["trajectory"] / "index.json"
        index.write_text("{")
        lines = self.get(mirror, tmp_path / "store")
        assert any("index.json" in line and "is not read" in line for line in lines)


class TestExtras:
    """Companions are taken along where they fit, and never stop a build."""

    PATH = "derived/aggregates/aggregates_pythia-14m_d24_seed0.pt"

    @pytest.fixture(autouse=True)
    def known(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(extras, "companions_of",
                            lambda run: [self.PATH] if run == CROSS else [])

    def put(self, mirror: Path, snapshots: int) -> None:
        path = mirror / HUB["trajectory"] / self.PATH
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"steps": list(STEPS), "rates": torch.rand(snapshots, 24),
                    "decoder_norms": torch.rand(snapshots, 24)}, path)

    def get(self, mirror: Path, store: Path) -> list[str]:
        lines: list[str] = []
        acquire(CROSS, store, Mirror(mirror), lines.append, with_model=False)
        assert is_acquired(store, CROSS, with_model=False)
        return lines

    def test_taken(self, mirror: Path, tmp_path: Path) -> None:
        self.put(mirror, len(STEPS))
        self.get(mirror, tmp_path / "store")
        folder = run_path(tmp_path / "store", CROSS) / "companions"
        assert load_tensors(folder / "aggregates.safetensors")["rates"].shape == (4, 24)
        (folder / extras.TAKEN).unlink()
        assert not is_acquired(tmp_path / "store", CROSS, with_model=False)
        self.get(mirror, tmp_path / "store")

    def test_one_that_does_not_fit(self, mirror: Path, tmp_path: Path) -> None:
        self.put(mirror, len(STEPS) + 1)
        corpus = mirror / HUB["trajectory"] / extras.CORPUS
        corpus.parent.mkdir(parents=True)
        corpus.write_bytes(b"no pickle")
        lines = self.get(mirror, tmp_path / "store")
        for path in (self.PATH, extras.CORPUS):
            assert any(line.startswith("note: ") and path in line for line in lines)
        folder = run_path(tmp_path / "store", CROSS) / "companions"
        assert read_json(folder / extras.TAKEN) == {self.PATH: None, extras.CORPUS: None}

    @pytest.mark.parametrize("fault", ["offline", "listing", "status", "corrupt"])
    def test_what_could_not_be_had_is_asked_for_again(
        self, mirror: Path, release: Release, tmp_path: Path, fault: str
    ) -> None:
        self.get(mirror, tmp_path / "store")
        folder, lines = run_path(tmp_path / "store", CROSS) / "companions", []
        (folder / extras.TAKEN).unlink()
        self.put(mirror, len(STEPS))
        with HubDouble(tmp_path / "served") as served:
            served.add(HUB["trajectory"], {self.PATH: mirror / HUB["trajectory"] / self.PATH,
                                           extras.CORPUS: b"no pickle"})
            if fault == "status":
                served.fail(self.PATH, "status", code=403, times=9)
            if fault == "listing":
                served.forbidden.add(HUB["trajectory"])
            if fault == "corrupt":
                served.fail("/storage/", "corrupt", method="GET", times=2)

            def again(offline: bool) -> None:
                hub = Hub(lines.append, served.url, tmp_path / "client", offline)
                acquire(CROSS, tmp_path / "store", hub, lines.append, with_model=False)

            again(fault == "offline")
            assert not is_acquired(tmp_path / "store", CROSS, with_model=False)
            assert any(line.startswith("note: ") for line in lines)
            served.faults.clear()
            served.forbidden.clear()
            again(False)
        assert (folder / "aggregates.safetensors").is_file()
        assert is_acquired(tmp_path / "store", CROSS, with_model=False)
        assert set(read_json(folder / extras.TAKEN)) == {self.PATH, extras.CORPUS}

    def test_one_bad_shard_leaves_the_others(
        self, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        base = "attribution/pythia-160m/"
        monkeypatch.setattr(extras, "companions_of", lambda run: [base])
        place = mirror / HUB["trajectory"] / base
        place.mkdir(parents=True)
        for name in ("README.md", "x__h0__s0.json", "x__h0__s0.pt"):
            (place / name).write_bytes(b"{")
        (place / "manifest.json").write_bytes(b'{"a": 1}')
        lines = self.get(mirror, tmp_path / "store")
        kept = run_path(tmp_path / "store", CROSS) / "companions" / "attribution"
        assert [p.name for p in kept.iterdir()] == ["manifest.json"]
        assert any("README.md is no attribution file" in line for line in lines)
        assert any("x__h0__s0.json" in line and "left out" in line for line in lines)

    def test_the_index_and_the_card_never_stop_a_build(
        self, release: Release, tmp_path: Path
    ) -> None:
        with HubDouble(tmp_path / "served") as served:
            release.all(served.add)
            for name in ("index.json", f"{CROSS}.md", "tokenizer_config.json"):
                served.fail(name, "status", code=403, times=9)
            lines: list[str] = []
            hub = Hub(lines.append, served.url, tmp_path / "client", False)
            acquire(CROSS, tmp_path / "store", hub, lines.append, with_model=False)
        assert is_acquired(tmp_path / "store", CROSS, with_model=False)
        assert sum(line.startswith("note: ") for line in lines) == 2


@pytest.mark.parametrize("run", [CROSS, PRISM])
def test_a_release_of_the_other_owner(mirror: Path, tmp_path: Path, run: str) -> None:
    first, second = repositories("prism" if run == PRISM else "trajectory")
    (mirror / second).parent.mkdir()
    (mirror / first).rename(mirror / second)
    assert any(second in item.name for item in
               plan_released(run, tmp_path / "store", Mirror(mirror)).items)
    acquire(run, tmp_path / "store", Mirror(mirror), with_model=False)
    config = read_json(run_path(tmp_path / "store", run) / "config.json")
    assert config["origin"]["repository"] == second
    with HubDouble(tmp_path / "served") as served:
        served.add(repositories("trajectory")[1], {"index.json": b"[]"})
        assert is_answering(Hub(None, served.url, tmp_path / "client", False)) is None


def test_a_model_without_a_tokenizer_says_where_to_put_one(
    release: Release, tmp_path: Path
) -> None:
    with HubDouble(tmp_path / "served") as served:
        release.all(served.add)
        for path in served.folder(MODEL).parent.rglob("tokenizer.json"):
            path.unlink()
        hub = Hub(None, served.url, tmp_path / "client", False)
        put = model_path(tmp_path / "store", "pythia-14m") / "tokenizer.json"
        with pytest.raises(NotThere, match="put one of this model at") as missing:
            acquire(CROSS, tmp_path / "store", hub, with_model=False)
        assert str(put) in str(missing.value)
        shutil.copyfile(release.work / "tokenizer.json", put)
        acquire(CROSS, tmp_path / "store", hub, with_model=False)
    assert is_acquired(tmp_path / "store", CROSS, with_model=False)


def test_differences_of_the_index() -> None:
    run = "pythia-160m/W_U/cross-snapshot-32/d24576/seed0"
    assert differences({run: {"d_sae": 24576, "seed": 0}}, run) == []
    assert "d_sae 8192, the inventory 24576" in differences({run: {"d_sae": 8192}}, run)[0]
    assert "not in the release's index.json" in differences({}, run)[0]
    assert "1 dictionaries that the inventory does not" in differences(
        {run: {}, CROSS: {}}, run)[0]


class TestPlans:
    def test_a_mirror(self, mirror: Path, tmp_path: Path) -> None:
        store = tmp_path / "store"
        plan = plan_released(CROSS, store, Mirror(mirror))
        assert plan.fetch_bytes == 0
        assert {item.where for item in plan.items} == {"mirror"}
        assert sum("one shard of each checkpoint" in item.name for item in plan.items) == 1
        assert plan.minutes > 0
        acquire(CROSS, store, Mirror(mirror))
        plan = plan_released(CROSS, store, Mirror(mirror))
        assert {item.where for item in plan.items} == {"store"}

    def test_sizes_by_formula(self, tmp_path: Path) -> None:
        entry = find_released("pythia-1b/W_U/cross-snapshot-32/d24576/seed0")
        assert entry is not None
        plan = plan_released(entry.run, tmp_path, None)
        assert [item.bytes for item in plan.items] == [entry.dictionary_bytes,
                                                       entry.snapshot_bytes]
        assert not any(item.here for item in plan.items)

    def test_an_unlisted_dictionary(self, mirror: Path) -> None:
        """Its width is told from the size of the file, D and K; the steps by the sidecar."""
        known = planning._look(module.read_path(CROSS), Mirror(mirror), [])
        assert (known.d_model, known.steps, known.model_name) == (D, STEPS, MODEL)

    def test_unknown(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="no run"):
            plan_released(CROSS, tmp_path, None)


class TestOffline:
    """A10 for a whole build: no socket is opened, and everything that is missing is named."""

    @pytest.fixture(autouse=True)
    def no_check_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_detect_agent, "_registry", _detect_agent._EMPTY_REGISTRY)

    def test_an_empty_cache(self, tmp_path: Path) -> None:
        hub = Hub(cache=tmp_path / "cache", endpoint="http://127.0.0.1:9", offline=True)
        with pytest.raises(NotCached) as missing:
            acquire(CROSS, tmp_path / "store", hub)
        assert missing.value.status == 4
        assert HUB["trajectory"] in str(missing.value)
        with pytest.raises(NotCached) as missing:
            acquire("pythia-160m/W_U/cross-snapshot-32/d24576/seed0", tmp_path / "store", hub)
        names = " ".join(missing.value.names)
        assert names.count("EleutherAI/pythia-160m at step ") == 32
        assert "EleutherAI/pythia-160m at step 143000" in str(missing.value)

    def test_a_partial_cache(self, release: Release, tmp_path: Path) -> None:
        """Shards are given back once their matrix was taken out: offline they are what lacks."""
        with HubDouble(tmp_path / "served") as double:
            release.all(double.add)
            hub = Hub(cache=tmp_path / "cache", endpoint=double.url)
            acquire(CROSS, tmp_path / "store", hub, with_model=False)
            assert not list((tmp_path / "cache").rglob("model.safetensors"))
            double.forget()
            hub = Hub(cache=tmp_path / "cache", endpoint=double.url, offline=True)
            other = tmp_path / "other"
            with pytest.raises(NotCached) as missing:
                acquire(CROSS, other, hub, with_model=False)
            assert missing.value.names == tuple(
                f"{MODEL}/model.safetensors at step{step}" for step in STEPS
            )
            assert double.log == []
            assert (run_path(other, CROSS) / "provenance.json").is_file(), "what is here is kept"
            weights = run_path(other, CROSS) / "dictionary.safetensors"
            assert weights.samefile(run_path(tmp_path / "store", CROSS) / weights.name)
            shutil.copytree(tmp_path / "store" / "snapshots", other / "snapshots",
                            dirs_exist_ok=True)
            lines: list[str] = []
            acquire(CROSS, other, hub, lines.append)
            (open_still,) = [line for line in lines if line.startswith("note: ")]
            assert f"{extras.CORPUS} is not on this machine" in open_still
            assert double.log == []
