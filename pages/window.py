"""What the browser has to tell: a change of theme, a click on a link of a fragment.

What needs no answer stays in the browser (`window.js`): the keys, the sheet that lists them, the
tour of a first visit.
"""

from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import streamlit as st
from streamlit.components import v2 as components

from atlas import markup
from atlas.theme import Palette
from pages import shared

WINDOW = components.component(
    "readout_atlas_window", js=Path(__file__).with_name("window.js").read_text("utf8")
)
"""What the server cannot see: a change of theme, which figures have to follow, and a click on a
link of a fragment, which opens its page within the session instead of loading everything anew."""
OPENERS = markup.wrap(
    '<button type="button" class="atl-act" data-atl-opens="sheet">Keys <kbd>?</kbd></button>'
    '<button type="button" class="atl-act" data-atl-opens="tour">Tour in three steps</button>'
)
"""Buttons of the sheet of keys and of the tour; the browser answers them without the server."""


def watch(p: Palette) -> None:
    """Place the invisible watcher."""
    WINDOW(
        key="window",
        data={"scheme": p.name},
        on_scheme_change=lambda: None,
        on_go_change=follow_link,
        width="content",
    )


def follow_link() -> None:
    """Open the page that a clicked link of ours names; any other address is ignored."""
    address = urlsplit(str(st.session_state["window"].go))
    page = address.path.removeprefix("./") or "browse"
    if page in shared.PAGES and not address.netloc:
        st.switch_page(shared.PAGES[page][1], query_params=dict(parse_qsl(address.query)))
