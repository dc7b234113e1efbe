"""What the browser has to tell: a change of theme, a click on a link of a fragment."""

from urllib.parse import parse_qsl, urlsplit

import streamlit as st
from streamlit.components import v2 as components

from atlas.theme import Palette
from pages import shared

WINDOW = components.component(
    "readout_atlas_window",
    js="""
export default function ({ data, setTriggerValue }) {
  const app = document.querySelector('[data-testid="stApp"]');
  if (!app) return;
  const shown = () => (getComputedStyle(app).colorScheme.includes("dark") ? "dark" : "light");
  const tell = () => {
    const scheme = shown();
    if (scheme === data.scheme || scheme === window.readoutAtlasScheme) return;
    window.readoutAtlasScheme = scheme;
    setTriggerValue("scheme", scheme);
  };
  if (shown() === data.scheme) window.readoutAtlasScheme = data.scheme;
  tell();
  const watch = new MutationObserver(tell);
  watch.observe(app, { attributes: true, attributeFilter: ["class"] });
  const follow = (event) => {
    const link = event.target.closest && event.target.closest(".atl a[href]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    setTriggerValue("go", link.getAttribute("href"));
  };
  document.addEventListener("click", follow, true);
  return () => {
    watch.disconnect();
    document.removeEventListener("click", follow, true);
  };
}
""",
)
"""What the server cannot see: a change of theme, which figures have to follow, and a click on a
link of a fragment, which opens its page within the session instead of loading everything anew."""


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
    page = address.path or "browse"
    if page in shared.PAGES and not address.netloc:
        st.switch_page(shared.PAGES[page][1], query_params=dict(parse_qsl(address.query)))
