"""Shared stores over a hub: sent once, fetched once, opened without one afterwards."""

import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest

from atlas.errors import AtlasError, BrokenArtifact, HubError, InvalidValue, NotFound
from atlas.store import Store
from precompute import cli
from precompute.hub import Hub
from precompute.manifest import MANIFEST
from precompute.mirror import Mirror
from precompute.receive import receive_folder
from precompute.remote import Address, address, into, opened, send
from precompute.share import share
from tests.hub_double import TOKEN, HubDouble
from tests.tiny import PRISM, SMALL

TO = Address("someone/an-atlas")


@pytest.fixture
def double(tmp_path: Path) -> Iterator[HubDouble]:
    with HubDouble(tmp_path / "hub") as found:
        yield found


@pytest.fixture
def hub(double: HubDouble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The real client on the double, a token in the environment, caches of its own."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    return another(double, tmp_path)


def another(double: HubDouble, tmp_path: Path) -> Hub:
    """A client of a later process: it remembers nothing, its cache does."""
    return Hub(endpoint=double.url, cache=tmp_path / "client", offline=False, sleep=lambda s: None)


def test_sent_fetched_and_opened_again_without_a_hub(
    tiny_store: Path, tmp_path: Path, double: HubDouble, hub: Hub
) -> None:
    lines: list[str] = []
    page = send(tiny_store, TO, [PRISM], private=True, report=lines.append, hub=hub)
    assert page == f"{double.url}/datasets/{TO.repository}"
    assert any("publish: 0 of" in line for line in lines)
    text = str(TO)
    store = opened(text, source=another(double, tmp_path))
    assert [c.run for c in Store.open(store).runs()] == [PRISM]
    assert Store.open(store).run(PRISM).hash == Store.open(tiny_store).run(PRISM).hash
    double.forget()
    assert opened(text, source=another(double, tmp_path)) == store
    assert not double.asked("/resolve/")
    commit = double.commit(f"datasets/{TO.repository}", "main")
    double.forget()
    assert opened(f"{text}@{commit}", source=another(double, tmp_path)) == store
    assert double.asked() == []
    assert into(text, tmp_path / "mine", source=another(double, tmp_path)) == 1
    assert Store.open(tmp_path / "mine").run(PRISM).hash == Store.open(store).run(PRISM).hash
    double.forget()
    assert into(text, tmp_path / "mine", source=another(double, tmp_path)) == 1
    assert not double.asked(".parquet")
    double.stop()
    said: list[str] = []
    assert opened(text, said.append, another(double, tmp_path)) == store


def test_what_is_there_is_not_sent_again(
    tiny_store: Path, tmp_path: Path, double: HubDouble, hub: Hub
) -> None:
    send(tiny_store, TO, [PRISM], hub=hub)
    assert double.asked("/commit/")
    double.forget()
    lines: list[str] = []
    send(tiny_store, TO, [PRISM], report=lines.append, hub=another(double, tmp_path))
    count = next(line for line in lines if "are there already" in line).split()
    assert count[1] == count[3]
    assert not double.asked("/commit/")
    lines.clear()
    send(tiny_store, TO, [PRISM, SMALL], report=lines.append, hub=another(double, tmp_path))
    kept = next(line for line in lines if "are there already" in line).split()
    assert 10 < int(kept[1]) < int(kept[3])
    store = opened(str(TO), source=another(double, tmp_path))
    assert {c.run for c in Store.open(store).runs()} == {PRISM, SMALL}
    assert not (tmp_path / "cache" / "readout-atlas" / "outgoing" / TO.slug).exists()


def test_what_is_shared_no_more_is_removed(
    tiny_store: Path, tmp_path: Path, double: HubDouble, hub: Hub
) -> None:
    def held() -> set[str]:
        tree = double.tree(f"datasets/{TO.repository}", "main")
        assert tree is not None
        return set(tree[1])

    send(tiny_store, TO, [PRISM, SMALL], weights=True, hub=hub)
    double.add(TO.repository, {"notes/mine.txt": b"kept"}, repo_type="dataset")
    before = held()
    double.forget()
    lines: list[str] = []
    send(tiny_store, TO, [PRISM], report=lines.append, hub=another(double, tmp_path))
    assert len(double.asked("/commit/")) == 1
    gone = before - held()
    assert any(name.startswith("snapshots/") for name in gone)
    assert f"publish: {len(gone)} files of an earlier share are removed" in "\n".join(lines)
    manifest = json.loads(opened_manifest(double))
    assert held() == {*manifest["files"], MANIFEST, "notes/mine.txt"}


def test_a_public_data_set_gets_nothing_that_is_private(
    tiny_store: Path, tmp_path: Path, double: HubDouble, hub: Hub
) -> None:
    double.add(TO.repository, {"README.md": b"# Poems"}, repo_type="dataset")
    with pytest.raises(InvalidValue, match="is there and public") as refused:
        send(tiny_store, TO, [PRISM], private=True, hub=hub)
    assert refused.value.status == 2
    assert not double.asked("/preupload/") + double.asked("/commit/") + double.asked("/upload/")
    send(tiny_store, TO, [PRISM], hub=another(double, tmp_path))


def test_a_wrong_body_is_refused_and_the_next_call_mends_it(
    tiny_store: Path, tmp_path: Path, double: HubDouble, hub: Hub
) -> None:
    send(tiny_store, TO, [PRISM], hub=hub)
    name = "tables/life.parquet"
    sha = next(f["sha256"] for n, f in json.loads(
        opened_manifest(double).decode())["files"].items() if n.endswith(name))
    double.fail(sha, "corrupt", method="GET")
    with pytest.raises(BrokenArtifact, match="sha256"):
        opened(str(TO), source=another(double, tmp_path))
    assert not list((tmp_path / "cache").rglob("CURRENT.json"))
    assert Store.open(opened(str(TO), source=another(double, tmp_path))).runs()


def opened_manifest(double: HubDouble) -> bytes:
    tree = double.tree(f"datasets/{TO.repository}", "main")
    assert tree is not None
    return double.body(tree[1][MANIFEST])


def test_a_data_set_of_another_kind_is_no_store(double: HubDouble, hub: Hub) -> None:
    double.add("someone/poems", {"README.md": b"# Poems"}, repo_type="dataset")
    with pytest.raises(NotFound, match="no shared store"):
        opened("hf://datasets/someone/poems", source=hub)
    with pytest.raises(HubError):
        opened("hf://datasets/someone/nothing", source=hub)


def test_a_mirror_stands_for_the_hub(tiny_store: Path, tmp_path: Path) -> None:
    share(tiny_store, tmp_path / "mirror" / "someone" / "an-atlas", [PRISM])
    mirror = Mirror(tmp_path / "mirror")
    store = opened(str(TO), source=mirror, kept=tmp_path)
    assert [card.run for card in Store.open(store).runs()] == [PRISM]
    assert opened(str(TO), source=mirror, kept=tmp_path) == store
    share(tiny_store, tmp_path / "mirror" / "someone" / "an-atlas", [SMALL])
    assert opened(str(TO), source=mirror, kept=tmp_path) != store


def test_without_a_token_nothing_is_even_exported(
    tiny_store: Path, tmp_path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(HubError, match="HF_TOKEN"):
        send(tiny_store, TO, hub=hub)
    with pytest.raises(InvalidValue, match="main branch"):
        send(tiny_store, Address("a/b", "v1"), hub=hub)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("text", [
    "hf://datasets/", "hf://datasets/owner", "hf://models/a/b", "hf://datasets/a/b/c",
    "hf://datasets/../x", "hf://datasets/a/b@", "hf://a/b",
])
def test_only_an_address_is_taken_for_one(text: str, hub: Hub) -> None:
    with pytest.raises(AtlasError) as told:
        opened(text, source=hub)
    assert told.value.status in (2, 4)


def test_addresses_have_a_revision() -> None:
    assert address("hf://datasets/a/b") == Address("a/b", "main")
    assert address("hf://datasets/a/b.c@v1.0/x") == Address("a/b.c", "v1.0/x")
    assert str(address("hf://datasets/a/b@v1")) == "hf://datasets/a/b"


def test_an_exported_folder_is_opened_where_a_store_is(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = str(tmp_path / "shared")
    assert cli.main(["export", "--store", str(tiny_store), "--to", folder, "--run", PRISM]) == 0
    assert "run 1 of 1" in capsys.readouterr().out
    assert cli.main(["runs", "--store", folder, "--json"]) == 0
    assert [entry["run"] for entry in json.loads(capsys.readouterr().out)] == [PRISM]
    (kept,) = (p.parent for p in (tmp_path / "cache").rglob("CURRENT.json") if "runs" not in
               p.relative_to(tmp_path).parts)
    before = {p: p.stat().st_mtime_ns for p in kept.rglob("*")}
    assert cli.main(["runs", "--store", folder]) == 0
    assert before == {p: p.stat().st_mtime_ns for p in kept.rglob("*")}
    mine = str(tmp_path / "mine")
    assert cli.main(["import", folder, "--store", mine]) == 0
    assert [card.run for card in Store.open(mine).runs()] == [PRISM]
    capsys.readouterr()


@pytest.mark.parametrize(("words", "status", "said"), [
    (["export", "--to", "{new}", "--run", "tiny/none"], 2, "no run"),
    (["export", "--to", "{new}", "--table", "features"], 2, "tables are"),
    (["export", "--to", "{new}", "--format", "csv", "--weights"], 2, "whole export"),
    (["publish", "--to", "hf://models/a/b"], 2, "no address"),
    (["import", "{store}", "--store", "{new}"], 2, "no shared store"),
    (["import", "{new}", "--store", "hf://datasets/a/b"], 2, "not written"),
])
def test_a_refusal_is_one_line_with_its_status(
    tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    words: list[str], status: int, said: str,
) -> None:
    new = tmp_path / "new"
    line = [word.format(new=new, store=tiny_store) for word in words]
    if "--store" not in line:
        line += ["--store", str(tiny_store)]
    assert cli.main(line) == status
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not new.exists()


def test_a_share_with_a_broken_file_is_status_3_on_the_command_line(
    tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    share(tiny_store, tmp_path / "shared", [PRISM])
    (tmp_path / "shared" / "runs" / PRISM / "tables" / "life.parquet").write_bytes(b"x")
    assert cli.main(["serve", "--store", str(tmp_path / "shared"), "--no-browser"]) == 3
    assert "life.parquet has 1 bytes" in capsys.readouterr().err
    with pytest.raises(BrokenArtifact):
        receive_folder(tmp_path / "shared", tmp_path / "store")
    assert not (tmp_path / "store").exists()
