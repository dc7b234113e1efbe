"""Search by the shape of a life: draw a curve, pick one, or take another feature's."""

from pathlib import Path

import streamlit as st
from streamlit.components import v2 as components

from atlas import histograms, markup, shapes
from atlas.axes import short_step
from atlas.histograms import Chip
from pages import answers, shared
from pages.browse_listing import Listing

PAD_WIDTH = 470
"""Pixels."""
KNOTS = 16
"""Points of a drawn curve; fewer where a run has fewer snapshots."""

PAD = components.component(
    "readout_atlas_pad",
    html='<div class="pad"></div>',
    css="""
.pad{font-family:var(--atl-sans);color:var(--atl-muted);touch-action:none;user-select:none}
svg{display:block;width:100%;height:168px;cursor:crosshair;overflow:visible}
.line{stroke:var(--atl-grid);stroke-width:1}
.base{stroke:var(--atl-muted);stroke-width:1}
.course{fill:none;stroke:var(--atl-accent);stroke-width:2;stroke-linejoin:round}
.under{fill:var(--atl-accent);opacity:.1}
circle{fill:var(--atl-paper);stroke:var(--atl-accent);stroke-width:1.6;cursor:ns-resize;
 outline:none}
circle:focus-visible{fill:var(--atl-accent);stroke-width:5;stroke-opacity:.35}
text{font:10.5px var(--atl-sans);fill:var(--atl-muted)}
.empty .course,.empty .under{opacity:.25}
""",
    js=Path(__file__).with_name("browse_shape.js").read_text("utf8"),
)
"""A pad to draw a curve on: pointer or arrow keys; the digits are sent once, when it is done."""

PRESETS = {
    "rises late": "0000000000124689",
    "rises early": "0369999999999999",
    "peaks, then falls": "0003799841000000",
    "falls away": "9999987654321000",
    "flat": "9999999999999999",
    "dips and returns": "9997310013799999",
}
"""Curves to choose from, as digits."""


def course(listing: Listing) -> tuple[float, ...]:
    """The shape asked for, at every snapshot, in [0, 1]; () if there is none."""
    shape = listing.wish.shape
    if not shape:
        return ()
    view = listing.view
    feature = shapes.feature_of(shape)
    if feature is None:
        return tuple(shapes.course(shape, len(view.card.steps)).tolist())
    norms = answers.norms(view.store.digest, view.run, (feature,))[0]
    return tuple(shapes.scaled([v or 0.0 for v in norms]).tolist())


def draw(listing: Listing) -> None:
    """The pad, curves to choose from, and a feature to be like."""
    wish = listing.wish
    steps = listing.view.card.steps
    st.html(markup.wrap(markup.caption(
        "The shape of a life.",
        "Draw how the decoder norm goes through training; the nearest lives come first."
    )), width=PAD_WIDTH)
    knots = min(KNOTS, len(steps))
    last = len(steps) - 1
    at_knots = [round(i * last / (knots - 1)) for i in range(knots)]
    ticks = [round(i * last / 5) for i in range(6)] if last >= 5 else range(len(steps))
    found = course(listing)
    PAD(
        key="browse_pad",
        data={
            "knots": knots,
            "shape": [round(9 * found[i]) for i in at_knots] if found else [],
            "names": [f"norm at step {steps[i]:,}" for i in at_knots],
            "ticks": [[i / last, short_step(steps[i])] for i in dict.fromkeys(ticks)],
        },
        on_shape_change=_drawn,
        width=PAD_WIDTH,
    )
    st.html(histograms.shapes([
        Chip(name, listing.wishing(shape=digits, sort=None, descending=None),
             tuple(int(d) / 9 for d in digits))
        for name, digits in PRESETS.items()
    ]), width=PAD_WIDTH)
    st.session_state["browse_life"] = shapes.feature_of(wish.shape) if wish.shape else None
    st.number_input(
        "like the life of feature", min_value=0, max_value=listing.view.card.d_sae - 1, value=None,
        step=1, key="browse_life", placeholder="its index", width=210,
        on_change=lambda: _ask(_of_feature(st.session_state["browse_life"])),
    )


def _of_feature(feature: int | None) -> str | None:
    return None if feature is None else f"f{feature}"


def _drawn() -> None:
    """A curve was drawn; anything but digits is ignored."""
    digits = str(st.session_state["browse_pad"].shape or "")
    if 2 <= len(digits) <= shapes.MOST and set(digits) <= set("0123456789"):
        _ask(digits)


def _ask(shape: str | None) -> None:
    """Look for a shape, nearest first."""
    shared.address(shape=shape, sort=None, order=None, page=None)
