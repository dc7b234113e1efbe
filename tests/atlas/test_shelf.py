"""The folder of collections: names, two writers, deletion, import, and the shipped gallery."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas import collections as c
from atlas import shelf
from atlas.collections import Collection, Entry
from atlas.errors import BrokenArtifact, InvalidValue, NotFound, StoreBusy
from atlas.kept import known
from atlas.places import COLLECTIONS_VARIABLE, DEMO, collections_folder
from atlas.store import Store
from tests.tiny import PRISM, SEED0, STEPS, WIDTH, V


def entry(number: int = 1, **more: object) -> Entry:
    return Entry(**({"run": "a/b", "kind": "feature", "number": number} | more))  # type: ignore


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shelf"


# --- names --------------------------------------------------------------------------------------


@given(st.text(max_size=200))
def test_file_names_are_safe(name: str) -> None:
    found = shelf.file_name(name)
    assert found
    assert not found.startswith((".", "-", "_"))
    assert not set(found) & set("/\\.:*?\"<>|\0 \n")
    assert len(found.encode("utf8")) <= 150
    assert shelf.file_name(found) == found


@pytest.mark.parametrize(
    ("name", "file"),
    [("../../etc/passwd", "etc-passwd"), (".hidden", "hidden"), ("", "collection"),
     ("Ünïcode, of course", "ünïcode-of-course"), ("שלום", "שלום"), ("a/b\\c", "a-b-c"),
     ("🙂", "collection")],
)
def test_some_names(name: str, file: str) -> None:
    assert shelf.file_name(name) == file


@pytest.mark.parametrize("id", ["../x", ".lock", "a/b", "", "x" * 200, "gallery.families", "a\0"])
def test_no_identifier_leaves_the_folder(folder: Path, id: str) -> None:
    shelf.create(Collection("here"), folder)
    with pytest.raises(NotFound):
        shelf.change(id, lambda found: found, folder)


# --- keeping ------------------------------------------------------------------------------------


def test_a_collection_lives_on_the_shelf(folder: Path) -> None:
    assert shelf.own(folder) == []
    made = shelf.create(Collection("My list"), folder)
    assert made.id == "my-list"
    assert shelf.create(Collection("my LIST"), folder).id == "my-list-2"
    shelf.change(made.id, lambda now: c.merged(now, [entry(3, note="seen")]), folder)
    shelf.rename(made.id, "  Another \n name ", folder)
    found = {kept.id: kept for kept in shelf.own(folder)}
    assert found[made.id].name == "Another name"
    assert found[made.id].path.name == "my-list.json"
    assert found[made.id].collection.entries[0].note == "seen"  # type: ignore
    with pytest.raises(InvalidValue, match="name is empty"):
        shelf.rename(made.id, " ", folder)
    assert not [p for p in folder.iterdir() if p.name.startswith(".new")]


def test_what_is_deleted_can_be_brought_back(folder: Path) -> None:
    made = shelf.create(c.merged(Collection("x"), [entry(5)]), folder)
    gone = shelf.delete(made.id, folder)
    assert shelf.own(folder) == []
    again = shelf.create(Collection("x"), folder)
    assert shelf.restore(gone, folder).id == "x-2"
    assert {k.id: len(k.collection.entries) for k in shelf.own(folder)} == {  # type: ignore
        again.id: 0, "x-2": 1}
    for name in ("../x.json", "x.json", gone):
        with pytest.raises(NotFound):
            shelf.restore(name, folder)


def test_an_import_overwrites_nothing(folder: Path) -> None:
    text = c.to_text(c.merged(Collection("x"), [entry(1)]))
    shelf.create(Collection("x"), folder)
    assert shelf.imported(text, folder).name == "x (2)"
    assert shelf.imported(text.encode("utf8"), folder).name == "x (3)"
    long = c.to_text(Collection("n" * c.MAX_NAME))
    shelf.imported(long, folder)
    assert len(shelf.imported(long, folder).name) == c.MAX_NAME
    with pytest.raises(BrokenArtifact, match="no JSON"):
        shelf.imported("hello", folder)
    assert len(shelf.own(folder)) == 5


def test_a_broken_file_is_listed_with_its_fault(folder: Path) -> None:
    shelf.create(Collection("good"), folder)
    (folder / "bad.json").write_text('{"format": "something else"}')
    (folder / "large.json").write_bytes(b" " * (c.MAX_BYTES + 5))
    (folder / "folder.json").mkdir()
    found = {kept.id: kept for kept in shelf.own(folder)}
    assert sorted(found) == ["bad", "good", "large"]
    assert "is no collection" in found["bad"].problem
    assert "larger than" in found["large"].problem
    with pytest.raises(BrokenArtifact):
        shelf.change("bad", lambda now: replace(now, name="overwritten"), folder)
    assert "something else" in (folder / "bad.json").read_text()


# --- two windows --------------------------------------------------------------------------------


def test_two_writers_lose_nothing(folder: Path) -> None:
    made = shelf.create(Collection("x"), folder)

    def write(first: int) -> None:
        for number in range(first, first + 15):
            shelf.change(made.id, lambda now, n=number: c.merged(now, [entry(n)]), folder)

    threads = [threading.Thread(target=write, args=(100 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shelf.own(folder)[0].collection.entries) == 60  # type: ignore


def test_a_note_of_another_window_is_not_lost(folder: Path) -> None:
    made = shelf.create(c.merged(Collection("x"), [entry(1, note="old")]), folder)
    seen = entry(1, note="old")
    shelf.amend(made.id, seen, replace(seen, note="mine"), folder)
    with pytest.raises(InvalidValue, match="meanwhile, to “mine”"):
        shelf.amend(made.id, seen, replace(seen, note="yours"), folder)
    shelf.amend(made.id, seen, replace(seen, note="mine"), folder)  # the same is no conflict
    shelf.change(made.id, lambda now: c.without(now, [seen.key]), folder)
    with pytest.raises(NotFound, match="not in “x” any more"):
        shelf.amend(made.id, seen, seen, folder)


def test_a_writer_that_does_not_finish_is_waited_for_and_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "PATIENCE", 0.05)
    made = shelf.create(Collection("x"), folder)
    with shelf._lock(folder), pytest.raises(StoreBusy, match="another window"):
        shelf.change(made.id, lambda now: now, folder)
    shelf.change(made.id, lambda now: now, folder)


# --- where --------------------------------------------------------------------------------------


def test_where_collections_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(COLLECTIONS_VARIABLE, str(tmp_path / "mine"))
    assert collections_folder() == tmp_path / "mine"
    monkeypatch.delenv(COLLECTIONS_VARIABLE)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert collections_folder() == tmp_path / "data" / "readout-atlas" / "collections"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert str(collections_folder()).endswith("/.local/share/readout-atlas/collections")
    monkeypatch.setenv(COLLECTIONS_VARIABLE, "none")
    assert collections_folder() is None
    assert "`none`" in shelf.why_not(None)
    with pytest.raises(InvalidValue, match="keeps no collections"):
        shelf.create(Collection("x"))
    assert shelf.own() == []


def test_a_folder_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    reason = shelf.why_not(tmp_path / "file" / "below")
    assert "cannot be written to" in reason
    with pytest.raises(InvalidValue, match="cannot be written to"):
        shelf.create(Collection("x"), tmp_path / "file" / "below")
    assert shelf.why_not(tmp_path / "not" / "yet") == ""
    assert not (tmp_path / "not").exists()


# --- entries and the store ----------------------------------------------------------------------


def test_what_the_store_knows_of_entries(tiny_store: Path) -> None:
    store = Store.open(tiny_store)
    now = store.run(SEED0).hash[:12]
    wanted = [
        Entry(SEED0, "feature", 2, now), Entry(SEED0, "feature", 1, "0" * 12),
        Entry(SEED0, "token", 270, now), Entry(PRISM, "feature", 3), Entry("no/run", "feature", 1),
        Entry(SEED0, "feature", WIDTH), Entry(SEED0, "token", V),
    ]
    found = known(store, wanted)
    assert [k.entry for k in found] == wanted
    assert [bool(k.opens) for k in found] == [True, True, True, True, False, False, False]
    assert found[0].text == store.feature(SEED0, 2).info.label
    assert found[0].odd == ""
    assert len(found[0].course) == len(STEPS) == len(found[2].course)
    assert "changed since" in found[1].odd
    assert found[2].text == store.token_texts("tiny-large")[270]
    assert found[3].course == ()
    assert "not in this store" in found[4].odd
    assert f"0 to {WIDTH - 1}" in found[5].odd
    assert f"0 to {V - 1}" in found[6].odd


def test_hashes_are_refreshed(tiny_store: Path, tmp_path: Path) -> None:
    cards = Store.open(tiny_store).runs()
    old = c.merged(Collection("x"), [Entry(SEED0, "feature", 1, "0" * 12), entry(2, hash="ab")])
    new = shelf.refreshed(old, cards)
    assert {e.run: e.hash for e in new.entries} == {
        SEED0: next(card.hash[:12] for card in cards if card.run == SEED0), "a/b": "ab"}
    (tmp_path / "x.json").write_text(c.to_text(old))
    assert shelf.refresh_gallery(cards, tmp_path) == ["x.json"]
    assert shelf.refresh_gallery(cards, tmp_path) == []
    assert shelf.gallery(tmp_path)[0].collection == new


# --- the gallery --------------------------------------------------------------------------------


def test_the_gallery_is_well_formed_and_says_its_caveats() -> None:
    shipped = shelf.gallery()
    assert len(shipped) >= 3
    for kept in shipped:
        assert kept.collection is not None, kept.problem
        assert kept.shipped
        assert kept.collection.about
        assert kept.collection.caveat
        assert 6 <= len(kept.collection.entries) <= 10
        assert all(e.note and e.tags for e in kept.collection.entries)
        assert kept.path.read_text("utf8") == c.to_text(kept.collection)
        assert json.loads(kept.path.read_text("utf8"))["format"] == c.FORMAT


def test_the_gallery_is_about_the_bundle_as_it_is() -> None:
    store = Store.open(DEMO)
    for kept in shelf.gallery():
        assert kept.collection is not None
        for found in known(store, kept.collection.entries):
            assert found.opens, (kept.id, found)
            assert found.odd == "", (kept.id, found.entry, "see data/gallery/README.md")
            assert found.entry.step is None or found.entry.step in found.steps
