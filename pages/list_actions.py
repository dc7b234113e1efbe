"""What can be done with a collection: begin, import, rename, edit, delete, take along, compare."""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import streamlit as st

from atlas import collections, shelf
from atlas.collections import Collection, Entry
from atlas.errors import AtlasError
from atlas.places import collections_folder
from pages import shared

EDIT = "list_edit"
"""Key of the toggle between reading and editing."""
SAID, GONE = "lists_said", "lists_gone"


def tell_once() -> None:
    """What the last action came to, and the way back from a deletion."""
    said = st.session_state.pop(SAID, None)
    if said:
        shared.say(*said)
    gone = st.session_state.pop(GONE, None)
    if gone:
        st.button("Bring it back", key="list_restore", on_click=_restore, args=(gone,))


def _try(action: Callable[[], str]) -> None:
    """Do something to the shelf and keep in words what came of it."""
    try:
        done = action()
    except AtlasError as error:
        st.session_state[SAID] = (shared.sentence(error), "bad")
        return
    if done:
        st.session_state[SAID] = (done, "good")


def _open(id: str | None) -> None:
    shared.address(collection=id, tag=None, **{"with": None})


def _restore(name: str) -> None:
    def action() -> str:
        found = shelf.restore(name)
        _open(found.id)
        return f"“{found.name}” is back."

    _try(action)


# --- beginning and importing --------------------------------------------------------------------


def draw_new(own: list[shelf.Kept]) -> None:
    """Begin a list or import one; where none can be kept, why."""
    reason = shelf.why_not(collections_folder())
    if reason:
        shared.say(f"Collections cannot be kept here: {reason}. Every one can be downloaded.")
        return
    with st.container(horizontal=True, gap="small"):
        with st.popover("New", type="tertiary"), st.form("list_new", border=False):
            st.text_input("name", key="list_new_name", max_chars=collections.MAX_NAME)
            st.text_area("what it gathers", key="list_new_about", height=80,
                         max_chars=collections.MAX_TEXT)
            st.form_submit_button("Begin", on_click=_begin, args=([k.name for k in own],))
        with st.popover("Import", type="tertiary"):
            st.file_uploader("a collection’s file", ["json"], key="list_file", max_upload_size=1,
                             on_change=_import_file)
            with st.form("list_paste_form", border=False, clear_on_submit=True):
                st.text_area("or its text", key="list_paste", height=120,
                             placeholder='{"format": "readout-atlas collection", …')
                st.form_submit_button("Import", on_click=_import_text)


def _begin(taken: list[str]) -> None:
    name = " ".join(st.session_state["list_new_name"].split())

    def action() -> str:
        if name in taken:
            return f"“{name}” is there already."
        _open(shelf.create(Collection(name, st.session_state["list_new_about"].strip())).id)
        return ""

    _try(action)


def _import_file() -> None:
    file = st.session_state["list_file"]
    if file is not None:
        _import(file.getvalue())


def _import_text() -> None:
    _import(st.session_state["list_paste"])


def _import(text: str | bytes) -> None:
    def action() -> str:
        found = shelf.imported(text)
        _open(found.id)
        return f"Imported as “{found.name}”."

    _try(action)


# --- one collection -----------------------------------------------------------------------------


def draw(
    view: shared.Here, found: shelf.Kept, held: Collection, listed: list[shelf.Kept],
    other: shelf.Kept | None, tag: str | None,
) -> None:
    """The row of actions above the entries."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="list_row"):
        if held.tags:
            st.session_state["list_tag"] = tag
            st.selectbox("only with the tag", held.tags, index=None, key="list_tag", width=180,
                         placeholder="any", on_change=shared.writes("tag", "list_tag"))
        others = {k.id: k.name for k in listed if k.id != found.id and k.collection is not None}
        if others:
            st.session_state["list_with"] = other.id if other else None
            st.selectbox("compare with", list(others), index=None, key="list_with", width=220,
                         format_func=others.get, placeholder="no other",
                         on_change=shared.writes("with", "list_with"))
        st.space("stretch")
        st.download_button(
            "Download", collections.to_text(held).encode("utf8"),
            f"{shelf.file_name(held.name)}.json", "application/json", key="list_download",
            type="tertiary", on_click="ignore",
        )
        if shelf.why_not(collections_folder()):
            return
        if found.shipped:
            st.button("Copy to yours", key="list_copy", type="tertiary", on_click=_copy,
                      args=(held,), help="A copy can be edited.")
            return
        with st.popover("Rename", type="tertiary"), st.form("list_rename", border=False):
            _draw_head_form(found, held)
        draw_delete(found)
        if held.entries and other is None:
            st.toggle("edit", key=EDIT, help="Tags and notes in a table; tick to remove.")


def _copy(held: Collection) -> None:
    _import(collections.to_text(held))


def _draw_head_form(found: shelf.Kept, held: Collection) -> None:
    keys = {name: f"list_{name}_{found.id}" for name in ("name", "about", "caveat")}
    st.text_input("name", held.name, key=keys["name"], max_chars=collections.MAX_NAME)
    st.text_area("what it gathers", held.about, key=keys["about"], height=80,
                 max_chars=collections.MAX_TEXT)
    st.text_area("what it does not show", held.caveat, key=keys["caveat"], height=80,
                 max_chars=collections.MAX_TEXT)

    def save() -> None:
        new = {name: st.session_state[key].strip() for name, key in keys.items()}
        _try(lambda: shelf.change(found.id, lambda now: replace(now, **new)) and "Saved.")

    st.form_submit_button("Save", on_click=save)


def draw_delete(found: shelf.Kept) -> None:
    """Take a collection off the shelf; its file is renamed and can be brought back."""
    with st.popover("Delete", type="tertiary"):
        shared.say("The file is renamed, not lost: it can be brought back.")
        st.button("Take it off the shelf", key="list_delete", on_click=_delete, args=(found,))


def _delete(found: shelf.Kept) -> None:
    def action() -> str:
        st.session_state[GONE] = shelf.delete(found.id)
        st.session_state.pop("last_collections", None)
        _open(None)
        return f"“{found.name}” is off the shelf."

    _try(action)


# --- editing ------------------------------------------------------------------------------------


def draw_editor(found: shelf.Kept, kept: list[Entry]) -> None:
    """Tags and notes as a table; every cell is saved when it is left."""
    frame = pd.DataFrame({
        "what": [f"{e.kind} {e.number}" for e in kept],
        "run": [e.run for e in kept],
        "tags": [", ".join(e.tags) for e in kept],
        "note": [e.note for e in kept],
        "remove": [False] * len(kept),
    })
    # another table once the file changed, so that no edit is applied twice
    key = f"list_editor_{found.id}_{hash(tuple(kept))}"

    def changed() -> None:
        apply_edits(found.id, kept, st.session_state[key]["edited_rows"])

    c = st.column_config
    shared.caption("", "Tags are parted by commas. A cell is saved when it is left.")
    st.data_editor(
        frame, key=key, on_change=changed, hide_index=True, num_rows="fixed", row_height=30,
        height=min(len(kept), 18) * 30 + 40, disabled=["what", "run"],
        column_config={
            "what": c.TextColumn("entry", width=110),
            "run": c.TextColumn("run", width=170),
            "tags": c.TextColumn("tags", width=160),
            "note": c.TextColumn("note", width=390, max_chars=collections.MAX_TEXT),
            "remove": c.CheckboxColumn("remove", width=60),
        },
        alt="tags and notes of the entries",
    )


def apply_edits(id: str, kept: list[Entry], edits: dict[int, dict]) -> None:
    """Write what was changed in some rows of the table."""
    def action() -> str:
        for row, new in edits.items():
            entry = kept[int(row)]
            if new.get("remove"):
                shelf.change(id, lambda now, e=entry: collections.without(now, [e.key]))
                continue
            wanted = replace(
                entry,
                tags=collections.tidy_tags((new["tags"] or "").split(","))
                if "tags" in new else entry.tags,
                note=(new["note"] or "").strip() if "note" in new else entry.note,
            )
            shelf.amend(id, entry, wanted)
        return ""

    _try(action)
