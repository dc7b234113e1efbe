"""A star on a feature or token: put it into a collection, with tags and a note."""

from collections.abc import Sequence

import streamlit as st

from atlas import collections, kept, markup, shelf
from atlas.collections import Collection, Entry
from atlas.errors import AtlasError
from atlas.places import collections_folder
from pages import shared

FIRST = "kept"
"""Name of the list that is offered when there is none."""
SAID = "keeping_said"


def keep_control(view: shared.Here, feature: int | None = None, token: int | None = None) -> None:
    """A popover that keeps the feature or token of the page in a collection.

    It says in which lists the thing already is, and where lists cannot be kept it says why and
    hands out the file instead. Saving is one run of the script.
    """
    kind, number = ("token", token) if feature is None else ("feature", feature)
    if number is None:
        return
    own = shelf.own()
    key = (view.run, kind, number)
    holding = [k for k in own if k.collection is not None and k.collection.entry(*key) is not None]
    label = "☆ Keep" if not holding else f"★ In {_lists(len(holding))}"
    with st.popover(label, type="tertiary", key="keep"):
        _tell_once()
        reason = shelf.why_not(collections_folder())
        if reason:
            _hand_out(view, [kept.entry_of(view.card, kind, number, view.step)], reason)
            return
        for found in holding:
            _draw_held(found, found.collection.entry(*key), kind)
        _form(view, own, holding, [number], kind)


def keep_many(view: shared.Here, features: Sequence[int]) -> None:
    """A popover that keeps several features at once."""
    label = f"☆ Keep {'this' if len(features) == 1 else f'these {len(features):,}'}"
    with st.popover(label, type="tertiary", key="keep_many", disabled=not features):
        _tell_once()
        reason = shelf.why_not(collections_folder())
        if reason:
            _hand_out(view, [kept.entry_of(view.card, "feature", f) for f in features], reason)
        else:
            _form(view, shelf.own(), [], list(features), "feature")


def _lists(count: int) -> str:
    return "1 list" if count == 1 else f"{count} lists"


def _tell_once() -> None:
    """What the last action came to."""
    said = st.session_state.pop(SAID, None)
    if said:
        shared.say(*said)


def _draw_held(found: shelf.Kept, entry: Entry | None, kind: str) -> None:
    """One list that holds it, with what is said there and a way out."""
    if entry is None:
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        said = ", ".join(entry.tags) or entry.note
        st.html(markup.wrap(
            f'<div class="atl-held"><b>{markup.escape(found.name)}</b> '
            f'<span class="dim">{markup.escape(shared.clip(said, 60))}</span></div>'
        ))
        st.button(
            "Take out", key=f"keep_out_{found.id}", type="tertiary",
            on_click=_remove, args=(found.id, entry),
        )


def _remove(id: str, entry: Entry) -> None:
    try:
        shelf.change(id, lambda now: collections.without(now, [entry.key]))
    except AtlasError as error:
        st.session_state[SAID] = (shared.sentence(error), "bad")


def _form(
    view: shared.Here, own: list[shelf.Kept], holding: list[shelf.Kept], numbers: list[int],
    kind: str,
) -> None:
    """Which list, which tags, which note; nothing runs before it is saved."""
    readable = [found for found in own if found.collection is not None]
    names = [found.name for found in readable] or [FIRST]
    before = holding[0] if len(holding) == 1 and len(numbers) == 1 else None
    entry = before.collection.entry(view.run, kind, numbers[0]) if before else None
    mark = "many" if len(numbers) > 1 else f"{kind}_{numbers[0]}"
    keys = {name: f"keep_{name}_{mark}" for name in ("list", "tags", "note")}
    last = st.session_state.get("last_kept")
    chosen = before.name if before else last if last in names else names[0]
    used = sorted({tag for found in readable for tag in found.collection.tags})

    def save() -> None:
        given = {name: st.session_state.get(key) for name, key in keys.items()}
        name = " ".join(str(given["list"] or "").split())
        written = [
            kept.entry_of(view.card, kind, number, _step(view), given["tags"] or (),
                          given["note"] or "", collections.today())
            for number in numbers
        ]
        st.session_state["last_kept"] = name
        try:
            _save(readable, name, written, before, entry)
        except AtlasError as error:
            st.session_state[SAID] = (shared.sentence(error), "bad")
            return
        what = f"{len(written):,} features are" if len(written) > 1 else "It is"
        st.session_state[SAID] = (f"{what} in “{name}”.", "good")

    with st.form("keep_form" if len(numbers) == 1 else "keep_many_form", border=False):
        st.selectbox(
            "list; type a name to begin one", names, index=names.index(chosen), key=keys["list"],
            accept_new_options=True,
        )
        st.multiselect(
            "tags", sorted({*used, *(entry.tags if entry else ())}),
            default=list(entry.tags) if entry else [], key=keys["tags"], accept_new_options=True,
            max_selections=collections.MAX_TAGS, placeholder="choose or type",
        )
        st.text_area(
            "note", value=entry.note if entry else "", key=keys["note"], height=90,
            max_chars=collections.MAX_TEXT,
            placeholder="what is seen, and what it does not show",
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            st.form_submit_button("Save" if entry else "Keep", on_click=save, type="primary")
            st.html(markup.wrap(markup.link("All collections", shared.href("collections", view))))


def _step(view: shared.Here) -> int | None:
    """The step to open it at: none for the last snapshot, which is what opens anyway."""
    return None if view.step == view.card.steps[-1] else view.step


def _save(
    readable: list[shelf.Kept], name: str, written: list[Entry], before: shelf.Kept | None,
    seen: Entry | None,
) -> None:
    """Into the list of that name, which begins to exist if it did not."""
    found = next((k for k in readable if k.name == name), None)
    if found is None:
        shelf.create(collections.merged(Collection(name), written))
    elif before is not None and found.id == before.id and seen is not None:
        # what was filled in beforehand is what the user saw: it is set, not added to
        shelf.amend(found.id, seen, written[0])
    else:
        shelf.change(found.id, lambda now: collections.merged(now, written))


def _hand_out(view: shared.Here, entries: list[Entry], reason: str) -> None:
    """The file to download where nothing can be kept."""
    shared.say(f"Collections cannot be kept here: {reason}. The file can be taken along instead.")
    name = f"{view.card.model} {entries[0].kind} {entries[0].number}" if len(entries) == 1 else (
        f"{view.card.model}, {len(entries):,} features"
    )

    def made() -> bytes:
        return collections.to_text(collections.merged(Collection(name), entries)).encode("utf8")

    st.download_button(
        "Download as a collection", made, f"{shelf.file_name(name)}.json", "application/json",
        key="keep_download", on_click="ignore",
    )
