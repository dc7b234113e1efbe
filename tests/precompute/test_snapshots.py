"""Snapshots out of every place they may lie in, into a store; and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from atlas.artifacts import load_snapshot
from atlas.errors import AtlasError, BrokenArtifact
from atlas.tensor_files import TensorFile, load_tensors, read_json, save_tensors
from precompute import snapshots
from precompute.fetching import NotInMirror, NotThere
from precompute.hub import Hub
from precompute.mirror import Mirror
from precompute.models import fetch_matrix, open_checkpoint, revision_of
from precompute.snapshots import EXTRACTED, Wanted, fetch_snapshots
from tests.hub_double import HubDouble
from tests.hub_release import MODEL, STEPS, Release, into_folder
from tests.tiny import D, V

Place = tuple[Release, Path, Callable[..., None]]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    made = Release(tmp_path_factory.mktemp("release"))
    for step in STEPS[:2]:
        made.checkpoint(lambda *a, **k: None, step)
    return made


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    (tmp_path / "mirror").mkdir()
    return tmp_path / "mirror"


def wanted(**other: object) -> Wanted:
    said = {"model_name": MODEL, "label": "pythia-14m", "matrix": "W_U", "steps": STEPS[:2],
            "d_model": D}
    return Wanted(**(said | other))


def fetch(mirror: Path, store: Path, **other: object) -> list[str]:
    lines: list[str] = []
    fetch_snapshots(Mirror(mirror), store, wanted(**other), lines.append)
    return lines


class TestPlaces:
    @pytest.mark.parametrize("matrix", ["W_U", "W_E"])
    @pytest.mark.parametrize("shards", [1, 2])
    def test_checkpoints(
        self, release: Release, mirror: Path, tmp_path: Path, matrix: str, shards: int
    ) -> None:
        for step in STEPS[:2]:
            release.checkpoint(into_folder(mirror), step, shards=shards)
        lines = fetch(mirror, tmp_path / "store", matrix=matrix)
        assert "snapshot 2 of 2" in lines[-1]
        for step in STEPS[:2]:
            found = load_snapshot(tmp_path / "store", MODEL, step, matrix)
            assert torch.equal(found, release.rows[MODEL, matrix, step])
            path = wanted(matrix=matrix).path(tmp_path / "store", step)
            note = read_json(path.with_suffix(".json"))
            assert note["revision"] == f"step{step}"
            assert note["shape"] == [V, D]
            assert "embed" in note["tensor"] or "lm_head" in note["tensor"]

    def test_half_precision_stays(self, release: Release, mirror: Path, tmp_path: Path) -> None:
        rows = release.rows[MODEL, "W_U", 0].to(torch.bfloat16)
        save_tensors(mirror / "snapshots" / f"{MODEL.replace('/', '_')}_step0_wu.safetensors",
                     {"W_U": rows})
        fetch(mirror, tmp_path / "store", steps=(0,))
        file = TensorFile(wanted().path(tmp_path / "store", 0))
        assert torch.equal(file.stored("W_U"), rows)

    @pytest.mark.parametrize("suffix", ["pt", "safetensors"])
    def test_loose_files(
        self, release: Release, mirror: Path, tmp_path: Path, suffix: str
    ) -> None:
        for step in STEPS[:2]:
            release.loose(mirror / "snapshots", "W_U", step, suffix)
        fetch(mirror, tmp_path / "store")
        for step in STEPS[:2]:
            found = load_snapshot(tmp_path / "store", MODEL, step, "W_U")
            assert torch.equal(found, release.rows[MODEL, "W_U", step])
        path = wanted().path(tmp_path / "store", 0)
        assert not path.is_symlink()
        linked = suffix == "safetensors"
        source = mirror / "snapshots" / path.name
        assert (linked and path.samefile(source)) or not source.exists()

    @pytest.mark.parametrize("below", ["", "snapshots", "pythia-14m", "snapshots/pythia-14m"])
    def test_the_data_set(
        self, release: Release, mirror: Path, tmp_path: Path, below: str
    ) -> None:
        for step in STEPS[:2]:
            release.loose(mirror / EXTRACTED / below, "W_U", step, "pt")
        fetch(mirror, tmp_path / "store")
        note = read_json(wanted().path(tmp_path / "store", 0).with_suffix(".json"))
        assert note["repository"] == EXTRACTED

    def test_the_trap_of_the_data_set(
        self, release: Release, mirror: Path, tmp_path: Path
    ) -> None:
        """W_E was once cached under W_U's name in a folder of its own: it is not taken."""
        release.loose(mirror / EXTRACTED / "we_snapshots", "W_U", 0, "pt")
        with pytest.raises(NotInMirror):
            fetch(mirror, tmp_path / "store", steps=(0,))

    @pytest.mark.parametrize("fault", ["listing", "file", "shape"])
    def test_a_data_set_that_fails_is_told_and_passed_over(
        self, release: Release, tmp_path: Path, fault: str
    ) -> None:
        with HubDouble(tmp_path / "served") as served:
            for step in STEPS[:2]:
                release.checkpoint(served.add, step)
                path = release.loose(tmp_path / "loose", "W_U", step)
                if fault == "shape":
                    save_tensors(path, {"W_U": torch.ones(3, D)})
                served.add(EXTRACTED, {path.name: path}, repo_type="dataset")
            if fault == "listing":
                served.forbidden.add(f"datasets/{EXTRACTED}")
            if fault == "file":
                served.fail("_wu.safetensors", "status", code=403, times=2)
            lines: list[str] = []
            hub = Hub(endpoint=served.url, cache=tmp_path / "client", offline=False)
            fetch_snapshots(hub, tmp_path / "store", wanted(rows=V), lines.append)
        for step in STEPS[:2]:
            found = load_snapshot(tmp_path / "store", MODEL, step, "W_U")
            assert torch.equal(found, release.rows[MODEL, "W_U", step])
        notes = [line for line in lines if line.startswith("note: ") and EXTRACTED in line]
        assert len(notes) == (1 if fault == "listing" else 2)

    def test_order(self, release: Release, mirror: Path, tmp_path: Path) -> None:
        """A loose file before the data set, the data set before the checkpoint."""
        release.checkpoint(into_folder(mirror), 0)
        release.loose(mirror / EXTRACTED, "W_U", 0, "pt")
        release.loose(mirror / "snapshots", "W_U", 0, "pt")
        for place in ("file", "data set", "checkpoint"):
            store = tmp_path / place
            fetch(mirror, store, steps=(0,))
            note = read_json(wanted().path(store, 0).with_suffix(".json"))
            found = ("checkpoint" if "revision" in note
                     else "data set" if "repository" in note else "file")
            assert found == place
            gone = mirror / ("snapshots" if place == "file" else EXTRACTED)
            for path in gone.glob("*.pt"):
                path.unlink()

    def test_what_is_there_stays(self, release: Release, mirror: Path, tmp_path: Path) -> None:
        release.loose(mirror / "snapshots", "W_U", 0)
        fetch(mirror, tmp_path / "store", steps=(0,))
        path = wanted().path(tmp_path / "store", 0)
        before = path.stat().st_mtime_ns
        for file in (mirror / "snapshots").iterdir():
            file.unlink()
        assert fetch(mirror, tmp_path / "store", steps=(0,)) == []
        assert path.stat().st_mtime_ns == before

    def test_pickled_checkpoints(self, release: Release, mirror: Path, tmp_path: Path) -> None:
        release.checkpoint(into_folder(mirror), 0)
        folder = mirror / MODEL / "step0"
        tensors = load_tensors(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        torch.save(tensors, folder / "pytorch_model.bin")
        fetch(mirror, tmp_path / "store", steps=(0,))
        found = load_snapshot(tmp_path / "store", MODEL, 0, "W_U")
        assert torch.equal(found, release.rows[MODEL, "W_U", 0])


class TestBranches:
    def test_olmo(self, mirror: Path) -> None:
        base = mirror / "allenai" / "OLMo-2-1124-7B"
        for name in ("stage1-step150-tokens1B", "stage1-step1500-tokens7B", "stage2-step150"):
            (base / name).mkdir(parents=True)
        source = Mirror(mirror)
        assert revision_of(source, "allenai/OLMo-2-1124-7B", 150) == "stage1-step150-tokens1B"
        with pytest.raises(NotThere, match="150, 1500.*never replaced"):
            revision_of(source, "allenai/OLMo-2-1124-7B", 151)
        assert revision_of(source, "x/y", 0, "main") == "main"

    def test_two_branches_of_one_step(self, mirror: Path) -> None:
        for name in ("stage1-step150", "stage1-step150-tokens1B"):
            (mirror / "o" / "m" / name).mkdir(parents=True)
        with pytest.raises(NotThere, match="2 branches"):
            revision_of(Mirror(mirror), "o/m", 150)

    def test_all_missing_steps_are_named(
        self, release: Release, mirror: Path, tmp_path: Path
    ) -> None:
        release.checkpoint(into_folder(mirror), 0)
        with pytest.raises(NotInMirror) as missing:
            fetch(mirror, tmp_path / "store", steps=(0, 5, 7))
        assert missing.value.status == 2
        assert "5, 7" in str(missing.value)
        assert str(mirror) in str(missing.value)
        assert not list((tmp_path / "store" / "snapshots").glob("*.safetensors"))


class TestRefused:
    def refusal(
        self, mirror: Path, tmp_path: Path, kind: type[AtlasError] = BrokenArtifact,
        **other: object,
    ) -> str:
        with pytest.raises(kind) as refused:
            fetch(mirror, tmp_path / "store", **({"steps": (0,)} | other))
        assert not list((tmp_path / "store" / "snapshots").glob("*.safetensors"))
        assert "\n" not in str(refused.value)
        return str(refused.value)

    def put(self, mirror: Path, value: object, suffix: str = "pt") -> None:
        path = mirror / "snapshots" / f"{MODEL.replace('/', '_')}_step0_wu.{suffix}"
        path.parent.mkdir(exist_ok=True)
        if isinstance(value, bytes):
            path.write_bytes(value)
        elif suffix == "pt":
            torch.save(value, path)
        else:
            save_tensors(path, value)

    def test_shape(self, mirror: Path, tmp_path: Path) -> None:
        self.put(mirror, torch.zeros(V, D + 1))
        assert f"expected (any, {D})" in self.refusal(mirror, tmp_path)
        self.put(mirror, torch.zeros(V, D))
        assert f"expected ({V + 1}, {D})" in self.refusal(mirror, tmp_path, rows=V + 1)

    def test_rows_of_a_known_model(
        self, mirror: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(snapshots.ROWS, MODEL, (50304, D))
        self.put(mirror, torch.zeros(V, D))
        assert "(50304, 8)" in self.refusal(mirror, tmp_path)

    @pytest.mark.parametrize("suffix", ["pt", "safetensors"])
    def test_values(self, mirror: Path, tmp_path: Path, suffix: str) -> None:
        rows = torch.zeros(V, D)
        rows[7, 3] = float("nan")
        self.put(mirror, rows if suffix == "pt" else {"W_U": rows}, suffix)
        assert "(7, 3)" in self.refusal(mirror, tmp_path)
        self.put(mirror, rows.int() if suffix == "pt" else {"W_U": rows.int()}, suffix)
        assert "int32" in self.refusal(mirror, tmp_path)

    @pytest.mark.parametrize(
        "value", [{"a": torch.zeros(V, D), "b": torch.zeros(1)}, [1, 2], b"", b"<html>", b"PK\3\4"]
    )
    def test_no_matrix(self, mirror: Path, tmp_path: Path, value: object) -> None:
        self.put(mirror, value)
        assert "step0_wu.pt" in self.refusal(mirror, tmp_path)

    def test_two_tensors(self, mirror: Path, tmp_path: Path) -> None:
        self.put(mirror, {"W_U": torch.zeros(V, D), "b": torch.zeros(V, D)}, "safetensors")
        assert "2 tensors" in self.refusal(mirror, tmp_path)

    def test_a_file_in_the_store_is_another(
        self, release: Release, mirror: Path, tmp_path: Path
    ) -> None:
        path = wanted().path(tmp_path / "store", 0)
        save_tensors(path, {"W_E": torch.zeros(V, D)})
        with pytest.raises(BrokenArtifact, match="no snapshot of W_U"):
            fetch(mirror, tmp_path / "store", steps=(0,))
        save_tensors(path, {"W_U": torch.zeros(V, D + 1)})
        with pytest.raises(BrokenArtifact, match="expected"):
            fetch(mirror, tmp_path / "store", steps=(0,))

    def test_checkpoints(self, release: Release, mirror: Path, tmp_path: Path) -> None:
        release.checkpoint(into_folder(mirror), 0, shards=2)
        folder = mirror / MODEL / "step0"
        index = folder / "model.safetensors.index.json"
        whole = read_json(index)
        names = whole["weight_map"]
        head = next(n for n in names if n.startswith(("embed_out", "lm_head")))
        for weight_map, said in (
            ({n: s for n, s in names.items() if n != head}, "holds no W_U"),
            (names | {head: "../../etc/passwd"}, "may not be fetched"),
            (names | {head: "other.safetensors"}, "which is not there"),
            (names | {head: "model-00001-of-00002.safetensors"}, "holds no tensor"),
            ([], "no weight_map"),
        ):
            index.write_text(json.dumps({"weight_map": weight_map}))
            assert said in self.refusal(mirror, tmp_path)
        index.unlink()
        assert "holds no weights" in self.refusal(mirror, tmp_path)
        (folder / "config.json").write_text("[]")
        assert "config.json" in self.refusal(mirror, tmp_path)


def test_only_the_shard_with_the_matrix_is_read(release: Release, mirror: Path) -> None:
    release.checkpoint(into_folder(mirror), 0, shards=2)
    (mirror / MODEL / "step0" / "model-00001-of-00002.safetensors").write_bytes(b"unread")
    checkpoint = open_checkpoint(Mirror(mirror), MODEL, "step0")
    fetched, name, matrix = fetch_matrix(Mirror(mirror), checkpoint, "W_U")
    assert fetched.path.name == "model-00002-of-00002.safetensors"
    assert torch.equal(matrix, release.rows[MODEL, "W_U", 0])
    assert checkpoint.where is not None
    assert checkpoint.where[name] == fetched.path.name
