"""The map beside the list: colours, a lasso that narrows the list, a click that opens."""

import streamlit as st
from streamlit.components import v2 as components

from atlas import maps, phrases
from atlas.measures import MEASURES
from pages import answers, shared
from pages.browse_listing import Listing

POINTS = 1200
"""Features that are drawn at most: an interaction stays under a hundred kilobytes."""
HEIGHT = 548
KEY = "browse_map"
CLICKS = components.component(
    "readout_atlas_map_clicks",
    js="""
export default function ({ data, setTriggerValue }) {
  const listen = () => {
    const map = document.querySelector(`.st-key-${data.map} .js-plotly-plot`);
    if (!map || !map.on || map.atlasListens) return;
    map.atlasListens = true;
    map.on("plotly_click", ({ points }) => {
      if (map._fullLayout.clickmode !== "event") return;
      const carried = points[0] && points[0].customdata;
      if (Number.isInteger(carried)) setTriggerValue("opened", carried);
    });
  };
  const timer = setInterval(listen, 400); // the map is drawn some time after this
  listen();
  return () => clearInterval(timer);
}
""",
)
"""Streamlit hears no click on a point while the lasso is the tool; this does, and only then."""


def draw(listing: Listing, meanings: dict[str, str]) -> None:
    """The map with its scale and caption."""
    view = listing.view
    st.session_state["browse_colour"] = listing.colour
    found = answers.map_points(
        view.store.digest, view.run, view.k, listing.wish, listing.colour, POINTS
    )
    if not found.n_total:
        shared.say(
            "This run has no map: none of its features has a place. "
            f"`readout-atlas build {view.run} --force` lays one out."
        )
        return
    measure = MEASURES.get(listing.colour)
    scale = maps.scale_of(phrases.words_of(listing.colour), found.values, bool(
        measure and measure.heavy))
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.selectbox(
            "colour", listing.names, key="browse_colour", format_func=_words, width=206,
            label_visibility="collapsed", on_change=shared.writes("colour", "browse_colour"),
        )
        st.html(maps.scale_html(
            scale, lambda v: phrases.value(measure, v) if measure else str(v), view.palette
        ))
    def selected() -> None:
        _selected(listing)

    def opened() -> None:
        _open(listing, st.session_state["browse_map_clicks"].opened)

    CLICKS(key="browse_map_clicks", data={"map": KEY}, on_opened_change=opened)
    shared.chart(
        maps.map_figure(found, scale, listing.wish.lasso, view.palette, HEIGHT),
        KEY,
        f"Map of {found.n_total:,} features of {view.run}, coloured by {scale.words}",
        table=lambda: maps.map_table(found, scale.words),
        on_select=selected,
        selection_mode=("points", "box", "lasso"),
        tools={"displayModeBar": True, "modeBarButtons": maps.BUTTONS, "displaylogo": False},
    )
    drawn = len(found.features)
    if drawn == found.n_total:
        many = f"All {drawn:,} features are drawn"
    else:
        many = f"{drawn:,} of {found.n_total:,} features are drawn, all counted in the shade"
    shared.caption(
        "The map.",
        f"{many}; grey ones do not pass. {meanings.get('map_x', '')} Distance, direction and "
        "empty space mean nothing. Draw round some to keep them; click one to open it.",
    )


def _words(name: str) -> str:
    return f"colour: {phrases.words_of(name)}"


def _selected(listing: Listing) -> None:
    """A lasso or a box goes into the address; a click on one point opens its feature."""
    selection = st.session_state[KEY]["selection"]
    corners = maps.polygon(selection)
    if corners:
        shared.address(lasso=";".join(f"{x:.2f},{y:.2f}" for x, y in corners), page=None)
    else:
        _open(listing, maps.picked(selection))


def _open(listing: Listing, feature: object) -> None:
    """Open a feature that was clicked; what is none is ignored."""
    if isinstance(feature, int) and 0 <= feature < listing.view.card.d_sae:
        shared.go("feature", listing.view, **{**listing.list_parameters, "feature": feature})
