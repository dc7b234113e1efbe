"""Collections: what was found worth keeping, with notes; the gallery first, then one's own."""

from dataclasses import replace
from urllib.parse import urlencode

import streamlit as st

from atlas import collections, entry_markup, markup, shelf
from atlas.collections import Collection, Entry
from atlas.errors import AtlasError
from atlas.kept import CHANGED, Known
from pages import answers, list_actions, shared
from pages.list_actions import EDIT

PAGE = 60
"""Entries drawn at once."""
FEW = 2
"""Of more entries whose data changed it is said once, above them."""


def main() -> None:
    """Draw the page."""
    view = shared.here()
    shipped, own = shelf.gallery(), shelf.own()
    found = read_collection([*shipped, *own])
    side, body = st.columns([1, 3.4], gap="large")
    with side:
        draw_shelf(view, "Gallery.", "Comes with the atlas, about the bundle’s runs.", shipped,
                   found)
        draw_shelf(view, "Yours.", "Files of their own, to be sent, compared and put under "
                   "version control.", own, found)
        list_actions.draw_new(own)
    with body:
        list_actions.tell_once()
        if found is None:
            shared.settle(view, "collections")
            draw_nothing(bool(shipped))
            return
        shared.settle(view, "collections", collection=found.id)
        if found.collection is None:
            draw_broken(found)
            return
        other = read_other([*shipped, *own], found)
        draw_collection(view, found, found.collection, [*shipped, *own], other)


# --- reading the address ------------------------------------------------------------------------


def read_collection(listed: list[shelf.Kept]) -> shelf.Kept | None:
    """The collection of the address, or of the last visit, or the first of the gallery."""
    asked = st.query_params.get("collection")
    last = st.session_state.get("last_collections", {}).get("collection")
    by_id = {found.id: found for found in listed}
    if asked is not None and asked not in by_id:
        shared.say(f"There is no collection “{shared.clip(asked)}” here.", "bad")
        shared.address(collection=None, tag=None)
        return listed[0] if listed else None
    return by_id.get(asked or last) or (listed[0] if listed else None)


def read_other(listed: list[shelf.Kept], found: shelf.Kept) -> shelf.Kept | None:
    """The second collection of the address, to compare with."""
    asked = st.query_params.get("with")
    if asked is None:
        return None
    other = next((k for k in listed if k.id == asked and k.id != found.id), None)
    if other is None or other.collection is None:
        shared.say(f"There is no other collection “{shared.clip(asked)}” to compare with.", "bad")
        return None
    return other


def read_tag(found: Collection) -> str | None:
    """The tag of the address that entries must carry."""
    asked = st.query_params.get("tag")
    if asked is None or asked in found.tags:
        return asked
    shared.say(f"No entry here has the tag “{shared.clip(asked)}”.", "bad")
    return None


# --- drawing ------------------------------------------------------------------------------------


def draw_shelf(
    view: shared.Here, lead: str, rest: str, listed: list[shelf.Kept], chosen: shelf.Kept | None
) -> None:
    """Names of collections, each a link."""
    shared.caption(lead, rest)
    st.html(entry_markup.shelf([
        (
            found.name,
            _counted(found.collection) if found.collection else "cannot be read",
            shared.href("collections", view, collection=found.id),
            chosen is not None and found.id == chosen.id,
        )
        for found in listed
    ]))
    if not listed and lead == "Yours.":
        shared.say("None yet. “☆ Keep” on the page of a feature or token begins one.")


def _counted(found: Collection) -> str:
    count = len(found.entries)
    return "1 entry" if count == 1 else f"{count:,} entries"


def draw_nothing(has_gallery: bool) -> None:
    """What to do where there is nothing at all."""
    shared.caption("Nothing is kept here yet.")
    shared.say(
        "Open a feature and choose “☆ Keep”, or import a collection that someone sent."
        + ("" if has_gallery else " The gallery of the project is not installed here.")
    )


def draw_broken(found: shelf.Kept) -> None:
    """A file that cannot be read: what is wrong with it, and the file itself."""
    shared.caption(found.name)
    shared.say(shared.sentence(AtlasError(found.problem)), "bad")
    shared.say("The file is left as it is. Mend it in an editor, or take it off the shelf.")
    if not found.shipped:
        list_actions.draw_delete(found)


def draw_collection(
    view: shared.Here, found: shelf.Kept, held: Collection, listed: list[shelf.Kept],
    other: shelf.Kept | None,
) -> None:
    """Head, actions, and either the entries, the editor or a comparison."""
    runs = {entry.run for entry in held.entries}
    of = f" of {next(iter(runs))}" if len(runs) == 1 else f" of {len(runs)} runs" if runs else ""
    words = f"{_counted(held)}{of}"
    where = "shipped, not to be changed" if found.shipped else found.path.name
    st.html(entry_markup.title(held.name, held.about, held.caveat, f"{words}; {where}"))
    tag = read_tag(held)
    list_actions.draw(view, found, held, listed, other, tag)
    if other is not None and other.collection is not None:
        draw_comparison(view, held, other.collection)
        return
    # what has a tag in common stands together
    kept = sorted((e for e in held.entries if tag is None or tag in e.tags),
                  key=lambda e: (e.tags, e.key))
    if not held.entries:
        shared.say("Empty so far. “☆ Keep” on the page of a feature or token adds to it.")
        return
    if st.session_state.get(EDIT) and not found.shipped:
        list_actions.draw_editor(found, kept)
        return
    draw_entries(view, kept)


def draw_entries(view: shared.Here, kept: list[Entry]) -> None:
    """The entries with their lives; a click opens one."""
    parts = max(1, -(-len(kept) // PAGE))
    asked = st.query_params.get("part")
    part = shared.whole(asked) or 1
    if not 1 <= part <= parts or (asked is not None and shared.whole(asked) != part):
        there = f"the parts 1 to {parts:,}" if parts > 1 else "one part"
        shared.say(f"There is no part “{shared.clip(asked or '')}”: these entries have {there}. "
                   "The first one is shown.", "bad")
        shared.settle(view, "collections", part=None)
        part = 1
    if parts > 1:
        st.session_state["list_part"] = part
        st.number_input(
            f"part, of {parts}", 1, parts, key="list_part", width=140,
            on_change=shared.writes("part", "list_part"),
            help=f"{PAGE} entries are drawn at once.",
        )
    some = tuple(kept[(part - 1) * PAGE : part * PAGE])
    found = answers.known_entries(view.store.digest, some)
    changed = [known for known in found if known.odd == CHANGED]
    if len(changed) > FEW:
        shared.say(
            f"The data of the runs of {len(changed):,} of these entries changed since they were "
            "kept; numbers in the notes may be others now."
        )
        found = [replace(known, odd="") if known.odd == CHANGED else known for known in found]
    several = len({entry.run for entry in kept}) > 1
    st.html(entry_markup.entries(found, lambda known: opens(view, known), several))


def opens(view: shared.Here, found: Known) -> str:
    """The address of an entry's page: its run, its step or else the view's."""
    entry = found.entry
    wanted = [step for step in (entry.step, view.step) if step in found.steps]
    step = {"step": wanted[0]} if wanted else {}
    return f"{entry.kind}?{urlencode({'run': entry.run, **step, entry.kind: entry.number})}"


def draw_comparison(view: shared.Here, held: Collection, other: Collection) -> None:
    """What the other collection adds, lacks and says differently."""
    change = collections.difference(held, other)
    some = (*change.added, *change.removed, *(b for _, b, _ in change.changed))
    known = {k.entry.key: k for k in answers.known_entries(view.store.digest, some)}

    def name(entry: Entry) -> str:
        found = known[entry.key]
        where = opens(view, found) if found.opens else ""
        text = f" {found.text[:40]}" if found.text else ""
        return (
            f"{entry.kind} {markup.link(f'{entry.number:,}', where)}"
            f'<span class="tok dim">{markup.escape(text)}</span>'
        )

    if not some:
        shared.say(f"“{held.name}” and “{other.name}” hold the same.", "good")
        return
    st.html(entry_markup.compared(change, held.name, other.name, name))


main()
