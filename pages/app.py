"""The router: which pages there are, what stands above each, and nothing else.

Started with `python -m streamlit run pages/app.py`.
"""

import streamlit as st

from atlas.errors import AtlasError
from pages import bar, shared

# A menu with an entry of ours also offers the choice between light and dark.
ABOUT = "Readout Atlas: how a language model's readout is born, feature by feature."
st.set_page_config(
    page_title="Readout Atlas",
    page_icon=str(shared.FAVICON),
    layout="wide",
    initial_sidebar_state="collapsed",
    menu_items={"About": ABOUT},
)
pages = {
    path: st.Page(file, title=title, url_path=path, default=path == "browse")
    for path, (title, file) in shared.PAGES.items()
}
page = st.navigation(list(pages.values()), position="hidden")
name = page.url_path or "browse"
bar.come_back(name)
shared.style()
try:
    view = shared.here()
except AtlasError as error:
    bar.draw(pages, None)
    bar.no_store(error)
    st.stop()
try:
    bar.draw(pages, view)
except AtlasError as error:
    shared.say(shared.sentence(error), "bad")
if odd := bar.unread(name):
    shared.say(odd)
if view.card.problem and name != "runs":
    shared.say(f"This run cannot be read: {view.card.problem}", "bad")
    st.stop()
try:
    page.run()
except AtlasError as error:
    shared.say(shared.sentence(error), "bad")
