"""Prompts that were taken apart when the run was built: offered always, and all there is without a
language model."""

from itertools import groupby
from typing import TYPE_CHECKING

import streamlit as st

from atlas import markup
from atlas.errors import NotFound
from atlas.gallery import Entry
from atlas.score_words import WORDS
from pages import answers_decompose, shared

if TYPE_CHECKING:
    from atlas.explanations import Explanation

VIEWS = ("why",)
"""Views that need nothing but what was kept."""


def address(view: shared.Here, entry: Entry) -> str:
    """The link that asks what an entry of the gallery answers."""
    ask = entry.ask

    def side(token: int | str | None) -> str | None:
        return f"#{token}" if isinstance(token, int) else token

    wanted = {
        "prompt": entry.prompt, "position": None if entry.is_last else entry.position,
        "hidden": None if entry.hidden == "final" else entry.hidden, "kind": ask.kind,
        "target": side(ask.target), "versus": side(ask.versus),
        "rank": ask.rank if ask.kind == "rank" else None,
        "rivals": ask.rivals if ask.kind == "topk" else None,
    }
    return shared.href(
        "decompose", view, **{name: v for name, v in wanted.items() if v is not None})


def offer(view: shared.Here) -> None:
    """The gallery, under a word beside the examples."""
    entries = answers_decompose.gallery(view.store.digest, view.run)
    if entries:
        with st.popover("more", type="tertiary"):
            _draw_list(view, entries)


def _draw_list(view: shared.Here, entries: tuple[Entry, ...]) -> None:
    shared.caption("What there is to see", "in prompts that were taken apart with the run.")
    lines = []
    for _, found in groupby(entries, lambda entry: (entry.name, entry.prompt)):
        first, *others = found
        shows = f' <span class="dim">{markup.escape(first.shows)}</span>' if first.shows else ""
        lines.append(f"<li>{markup.link(first.name, address(view, first))}{shows}" + "".join(
            f" · {markup.link(_apart(first, entry), address(view, entry))}" for entry in others
        ) + "</li>")
    st.html(markup.wrap(f'<ul class="atl-asked">{"".join(lines)}</ul>'))


def _apart(first: Entry, entry: Entry) -> str:
    """What tells an entry from the first one of the same prompt."""
    kind = WORDS[entry.score.kind] if entry.ask != first.ask else ""
    states = "own states" if entry.hidden != first.hidden else ""
    return ", ".join(filter(None, (kind, states))) or "again"


def instead(view: shared.Here, error: NotFound, question: tuple) -> "Explanation | None":
    """What was kept of a prompt that no language model can read now; None, said, if nothing was."""
    shared.say(shared.sentence(error), "bad")
    found = answers_decompose.stored(*question)
    if found is not None:
        shared.say("What is shown was taken apart when the run was built.")
        return found
    entries = answers_decompose.gallery(view.store.digest, view.run)
    if entries:
        shared.say("These can be looked at without it:")
        _draw_list(view, entries)
    return None
