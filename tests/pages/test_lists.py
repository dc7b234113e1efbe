"""Collections: kept from a page, read, edited, compared, imported; and where none can be kept."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from atlas import collections as c
from atlas import shelf
from atlas.collections import Collection, Entry
from atlas.places import COLLECTIONS_VARIABLE, STORE_VARIABLE
from atlas.store import Store
from pages import list_actions
from tests.pages.test_pages import Open, asked, calm, open_page, text_of
from tests.tiny import PRISM, SEED0, STEPS, WIDTH

__all__ = ["open_page"]  # the fixture, found by its name

HOSTILE = "<img src=x onerror=alert(1)> =1+1 **bold** [a](http://b) \u202e שלום"


def html_of(app: AppTest) -> str:
    return " ".join(e.proto.body for e in app.get("html"))


@pytest.fixture
def mine(tiny_store: Path) -> shelf.Kept:
    """A list of one's own, of several kinds of entries."""
    digest = Store.open(tiny_store).run(SEED0).hash[:12]
    return shelf.create(c.merged(Collection("Mine & <b>more</b>", HOSTILE, HOSTILE), [
        Entry(SEED0, "feature", 2, digest, ("good",), HOSTILE, 16),
        Entry(SEED0, "feature", 5, "0" * 12, ("odd", "<i>"), "second"),
        Entry(SEED0, "token", 270, digest, ("good",)),
        Entry(PRISM, "feature", 3), Entry("gone/run", "feature", 1), Entry(SEED0, "feature", WIDTH),
    ]))


# --- reading ------------------------------------------------------------------------------------


def test_the_gallery_stands_first(open_page: Open) -> None:
    app = calm(open_page("collections"))
    shown = text_of(app)
    first = shelf.gallery()[0]
    assert asked(app, "collection") == first.id
    assert first.collection is not None
    assert first.collection.caveat[:60] in shown
    assert "its run is not in this store" in shown
    assert "None yet." in shown


def test_a_list_is_shown_with_what_the_store_knows(open_page: Open, mine: shelf.Kept) -> None:
    app = calm(open_page("collections", run=SEED0, step=4, collection=mine.id))
    shown, drawn = text_of(app), html_of(app)
    for words in ("its run is not in this store", "changed since it was kept",
                  f"0 to {WIDTH - 1}", "6 entries of 3 runs", mine.path.name):
        assert words in shown
    assert "feature?run=tiny%2Flarge%2FW_U%2Fcross-snapshot-5%2Fd24%2Fseed0&amp;step=16&amp;" \
        "feature=2" in drawn
    assert "step=4&amp;token=270" in drawn
    assert "onerror" in shown
    for element in ("<img", "<b>more", "<i>\""):
        assert element not in drawn
    assert "&lt;img src=x" in drawn
    assert drawn.count('class="atl-spark"') == 3


def test_a_tag_is_a_filter_in_the_address(open_page: Open, mine: shelf.Kept) -> None:
    app = calm(open_page("collections", collection=mine.id))
    app.selectbox(key="list_tag").set_value("odd").run()
    assert asked(calm(app), "tag") == "odd"
    assert html_of(app).count('class="what"') == 1
    assert "No entry here has the tag" in text_of(
        calm(open_page("collections", collection=mine.id, tag="none such")))


@pytest.mark.parametrize(
    "address",
    [{"collection": "../../etc"}, {"collection": "<b>"}, {"collection": "x" * 400},
     {"collection": "gallery.none"}, {"with": "none"}, {"tag": "\x00"}, {"part": "-4"},
     {"part": "many"}],
    ids=str,
)
def test_nonsense_in_the_address_is_calm(open_page: Open, address: dict) -> None:
    shown = text_of(calm(open_page("collections", **address)))
    assert "Gallery." in shown
    assert "Traceback" not in shown


def test_a_broken_file_says_what_is_wrong(open_page: Open, mine: shelf.Kept) -> None:
    (mine.path.parent / "broken.json").write_text('{"format": "<script>"}')
    app = calm(open_page("collections", collection="broken"))
    assert "is no collection" in text_of(app)
    app.button(key="list_delete").click().run()
    assert "off the shelf" in text_of(calm(app))
    assert len(shelf.own()) == 1


@pytest.mark.parametrize("part", ["abc", "-1", "0", "99", "1_0"])
def test_a_part_that_there_is_not_is_said_and_leaves_the_address(
    open_page: Open, mine: shelf.Kept, part: str
) -> None:
    app = calm(open_page("collections", run=SEED0, collection=mine.id, part=part))
    assert f"There is no part “{part}”: these entries have one part" in text_of(app)
    assert "part" not in app.query_params


def test_long_lists_are_drawn_in_parts(open_page: Open) -> None:
    found = shelf.create(c.merged(
        Collection("long"), [Entry("gone", "feature", i) for i in range(130)]))
    app = calm(open_page("collections", collection=found.id))
    assert html_of(app).count('class="what"') == 60
    app.number_input(key="list_part").set_value(3).run()
    assert asked(calm(app), "part") == "3"
    assert html_of(app).count('class="what"') == 10


# --- keeping ------------------------------------------------------------------------------------


def test_a_token_is_kept_from_its_page(open_page: Open) -> None:
    app = calm(open_page("token", run=SEED0, token=270, step=16))
    app.selectbox(key="keep_list_token_270").set_value("kept")
    app.text_area(key="keep_note_token_270").set_value(HOSTILE)
    app.multiselect(key="keep_tags_token_270").set_value([])
    app.button(key="FormSubmitter:keep_form-Keep").click().run()
    calm(app)
    found = shelf.own()
    assert [k.name for k in found] == ["kept"]
    assert found[0].collection is not None
    entry = found[0].collection.entries[0]
    assert (entry.run, entry.kind, entry.number, entry.step) == (SEED0, "token", 270, 16)
    assert entry.note == HOSTILE.strip()
    assert entry.added == c.today()
    assert "It is in “kept”." in text_of(app)
    # a second time it is filled in, and changed in place
    again = calm(open_page("token", run=SEED0, token=270, step=64))
    again.text_area(key="keep_note_token_270").set_value("better")
    again.button(key="FormSubmitter:keep_form-Save").click().run()
    calm(again)
    changed = shelf.own()[0].collection
    assert changed is not None
    assert [(e.note, e.step) for e in changed.entries] == [("better", None)]
    again.button(key="keep_out_kept").click().run()
    calm(again)
    assert shelf.own()[0].collection == Collection("kept")


def test_several_features_are_kept_at_once(
    tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))

    def page() -> None:
        from pages import keeping, shared

        keeping.keep_many(shared.here(), [4, 2, 9])

    app = AppTest.from_function(page, default_timeout=60)
    app.query_params["run"] = SEED0
    calm(app.run()).text_area(key="keep_note_many").set_value("all of these")
    app.button(key="FormSubmitter:keep_many_form-Keep").click().run()
    assert "3 features are in “kept”." in text_of(calm(app))
    found = shelf.own()[0].collection
    assert found is not None
    assert [(e.number, e.note) for e in found.entries] == [
        (n, "all of these") for n in (2, 4, 9)]


def test_where_none_can_be_kept_the_file_is_handed_out(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(COLLECTIONS_VARIABLE, "none")
    app = calm(open_page("token", run=SEED0, token=270))
    assert "Collections cannot be kept here" in text_of(app)
    assert len(app.get("download_button")) >= 2
    lists = calm(open_page("collections"))
    assert "Collections cannot be kept here" in text_of(lists)
    assert "Gallery." in text_of(lists)
    assert not [b for b in lists.button if b.key in ("list_copy", "list_delete")]


# --- changing -----------------------------------------------------------------------------------


def test_a_list_is_begun_renamed_deleted_and_brought_back(open_page: Open) -> None:
    app = calm(open_page("collections"))
    app.text_input(key="list_new_name").set_value("A list")
    app.button(key="FormSubmitter:list_new-Begin").click().run()
    assert asked(calm(app), "collection") == "a-list"
    app.text_input(key="list_name_a-list").set_value("Another")
    app.text_area(key="list_caveat_a-list").set_value("Mind this")
    app.button(key="FormSubmitter:list_rename-Save").click().run()
    calm(app)
    assert "Mind this" in text_of(app)
    assert [k.name for k in shelf.own()] == ["Another"]
    app.button(key="list_delete").click().run()
    calm(app)
    assert shelf.own() == []
    app.button(key="list_restore").click().run()
    assert asked(calm(app), "collection") == "a-list"
    assert [k.name for k in shelf.own()] == ["Another"]


def test_a_bad_name_is_refused_in_words(open_page: Open) -> None:
    app = calm(open_page("collections"))
    app.text_input(key="list_new_name").set_value("   ")
    app.button(key="FormSubmitter:list_new-Begin").click().run()
    assert "name is empty" in text_of(calm(app))
    assert shelf.own() == []


def test_import_and_copy(open_page: Open, mine: shelf.Kept) -> None:
    app = calm(open_page("collections"))
    assert mine.collection is not None
    app.text_area(key="list_paste").set_value(c.to_text(mine.collection))
    app.button(key="FormSubmitter:list_paste_form-Import").click().run()
    assert asked(calm(app), "collection") == f"{mine.id}-2"
    app.text_area(key="list_paste").set_value('{"format": "<b>"}')
    app.button(key="FormSubmitter:list_paste_form-Import").click().run()
    assert "is no collection" in text_of(calm(app))
    shipped = shelf.gallery()[0]
    app = calm(open_page("collections", collection=shipped.id))
    app.button(key="list_copy").click().run()
    calm(app)
    copied = next(k for k in shelf.own() if k.name == shipped.name)
    assert copied.collection == shipped.collection


def test_edits_of_the_table_are_written(mine: shelf.Kept) -> None:
    assert mine.collection is not None
    kept = list(mine.collection.entries)
    first, second = (next(i for i, e in enumerate(kept) if e.number == n) for n in (2, 5))
    list_actions.apply_edits(mine.id, kept, {
        first: {"note": " new ", "tags": "b, a,, a "}, second: {"remove": True}})
    now = shelf.own()[0].collection
    assert now is not None
    assert now.entry(*kept[first].key) == Entry(
        **(vars(kept[first]) | {"note": "new", "tags": ("a", "b")}))
    assert now.entry(*kept[second].key) is None


def test_the_editor_opens_on_own_lists_only(open_page: Open, mine: shelf.Kept) -> None:
    app = calm(open_page("collections", collection=mine.id))
    app.toggle(key="list_edit").set_value(True).run()
    assert "A cell is saved when it is left" in text_of(calm(app))
    app = calm(open_page("collections"))
    assert not app.toggle.values or "list_edit" not in [t.key for t in app.toggle]


def test_two_lists_are_compared(open_page: Open, mine: shelf.Kept) -> None:
    assert mine.collection is not None
    other = c.without(mine.collection, [(SEED0, "feature", 5), ("gone/run", "feature", 1)])
    other = c.with_entry(other, Entry(SEED0, "feature", 2, note="otherwise"))
    other = c.with_entry(other, Entry(SEED0, "feature", 9, note=HOSTILE))
    second = shelf.create(Collection("Other", entries=other.entries))
    app = calm(open_page("collections", collection=mine.id))
    app.selectbox(key="list_with").set_value(second.id).run()
    assert asked(calm(app), "with") == second.id
    shown, drawn = text_of(app), html_of(app)
    assert "1 only in “Other”" in shown
    assert "2 only in “Mine" in shown
    assert "1 in both, with differences" in shown
    assert "otherwise" in shown
    assert "<img" not in drawn
    same = calm(open_page("collections", collection=mine.id, **{"with": mine.id}))
    assert "There is no other collection" in text_of(same)


def test_steps_of_entries_are_those_of_the_run(open_page: Open) -> None:
    found = shelf.create(c.merged(Collection("x"), [
        Entry(SEED0, "feature", 2, step=STEPS[1]), Entry(SEED0, "feature", 3, step=3)]))
    drawn = html_of(calm(open_page("collections", collection=found.id, step=64)))
    assert f"step={STEPS[1]}&amp;feature=2" in drawn
    assert "step=64&amp;feature=3" in drawn
