"""The wishbone: features in the plane of their rates' first two components, in three arms."""

import streamlit as st

from atlas import maps, markup, theme, window_markup, window_wishbone
from atlas.window_wishbone import Plane
from pages import answers_windows as answers
from pages import exporting, shared
from pages.browse_map import CLICKS

KEY = "window_wishbone"
MOST = 60
"""Features that are listed of a part drawn round."""
IN_BROWSE = 24
"""Features that one address of Browse can name."""


def draw(view: shared.Here) -> None:
    """The plane, the arms' courses, the arms, and the part drawn round."""
    found = answers.plane(view.store.digest, view.run)
    if isinstance(found, str):
        shared.caption("The wishbone.")
        shared.say(f"Not available, because {found}.")
        return
    corners, problem = window_wishbone.read_brush(st.query_params.get("brush"))
    if problem:
        shared.say(f"{problem} Nothing is drawn round.", "bad")
    (low1, high1), (low2, high2) = found.null
    shared.caption(
        "The wishbone.",
        f"Each of {len(found.features):,} features by its rate over its largest rate through "
        f"training: PC1 holds {found.explained[0]:.1%} of the variance and PC2 "
        f"{found.explained[1]:.1%}; of rates shuffled in time, feature by feature "
        f"({found.shuffles} times), they hold {low1:.1%} to {high1:.1%} "
        f"({markup.probability(found.p[0])}) and {low2:.1%} to {high2:.1%} "
        f"({markup.probability(found.p[1])}). Left is below the median of PC1, the others are "
        "divided by the median of their PC2, so the sizes say nothing. Signs are arbitrary: left "
        "and right could change places. Draw round some to list them; click one to open it.",
        tail=_tail(found),
    )
    plot, beside = st.columns([1.25, 1], gap="medium")
    with plot:
        _draw_plane(view, found, corners)
    with beside:
        exporting.chart(
            view, window_wishbone.courses_figure(found, view.card.steps, view.palette),
            "window_courses", "mean rate over its maximum of the features of each arm, by step",
        )
        _draw_brushed(view, found, corners)
    start = shared.href("feature", view, feature="")
    st.html(window_markup.arms(
        found.arms, view.palette.strands, lambda feature: f"{start}{feature}",
        [in_browse(view, [f.feature for f in arm.strongest]) for arm in found.arms],
    ))


def _tail(found: Plane) -> str:
    """How far 2-means agrees, and what has no place."""
    text = f"2-means puts {found.agreement:.0%} of the features on the same side."
    if found.left_out:
        text += f" {found.left_out:,} features with a direction never fire and have no place."
    return text


def _draw_plane(
    view: shared.Here, found: Plane, corners: tuple[tuple[float, float], ...]
) -> None:
    figure, points = answers.drawn_plane(
        view.store.digest, view.run, corners, view.palette is theme.DARK
    )

    def selected() -> None:
        selection = st.session_state[KEY]["selection"]
        drawn = maps.polygon(selection)
        if drawn:
            shared.address(brush=window_wishbone.write_brush(drawn))
        else:
            _open(view, maps.picked(selection))

    def opened() -> None:
        _open(view, st.session_state["window_wishbone_clicks"].opened)

    alt = f"{points.n_total:,} features of {view.run} by the first two components of their rates"
    if exporting.asked_format():
        exporting.chart(view, figure, KEY, alt, lambda: maps.map_table(points, "arm"))
        return
    CLICKS(key="window_wishbone_clicks", data={"map": KEY}, on_opened_change=opened)
    shared.chart(
        figure, KEY, alt, table=lambda: maps.map_table(points, "arm"),
        on_select=selected, selection_mode=("points", "box", "lasso"),
        tools={"displayModeBar": True, "modeBarButtons": maps.BUTTONS, "displaylogo": False},
    )


def _open(view: shared.Here, feature: object) -> None:
    if isinstance(feature, int) and 0 <= feature < view.card.d_sae:
        shared.go("feature", view, feature=feature)


def _draw_brushed(
    view: shared.Here, found: Plane, corners: tuple[tuple[float, float], ...]
) -> None:
    """The features of the part drawn round, as links."""
    if not corners:
        return
    inside = window_wishbone.inside(found, corners)
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        many = f"{len(inside):,} feature{'' if len(inside) == 1 else 's'} drawn round"
        shown = f", the {MOST} strongest:" if len(inside) > MOST else ", strongest first:"
        shared.caption(many, shown if len(inside) else ".")
        st.button("None", key="window_brush_none", type="tertiary", on_click=shared.address,
                  kwargs={"brush": None})
    if not len(inside):
        return
    start = shared.href("feature", view, feature="")
    some = window_wishbone.listed(view.store, view.run, inside[:MOST])
    with st.container(height=170, border=False):
        st.html(window_markup.listed(some, lambda feature: f"{start}{feature}"))
    first = [f.feature for f in some[:IN_BROWSE]]
    st.html(markup.wrap(markup.link(
        f"{'these' if len(first) == len(inside) else 'the strongest'} {len(first)} in Browse",
        in_browse(view, first),
    )))


def in_browse(view: shared.Here, features: list[int]) -> str:
    """The address of Browse with some features and no others; '' for none."""
    where = ";".join(f"feature:{f}..{f}" for f in features[:IN_BROWSE])
    return shared.href("browse", view, where=where) if where else ""
