"""The table of Browse: a hundred features at a time, and what stands over it."""

import pandas as pd
import streamlit as st

from atlas import markup
from atlas.browsing import Page, usual_distance
from atlas.chance import chance_cosine
from atlas.measures import CATEGORIES, COUNT, DISTANCE, FLAGS, LIKENESS, MEASURES, SHARE, STEP
from atlas.wishes import Wish
from pages import answers, shared
from pages.browse_listing import BARS, BARS_OF_ONE, MOST_BARS, Listing, first_page
from pages.browse_strips import words

ROWS = 100
"""Features on one page of the table."""
ROW_HEIGHT = 27
TALL, BESIDE_MAP = 24, 19
"""Rows in view before the table scrolls."""
LABEL, WIDE = (190, 268), 1128
"""Least and most pixels of the label, and of a row that fits a small screen."""
WIDTHS = {
    "kind": 186, "profile": 102, "contribution": 118, "contribution_at": 118, "alive": 48,
    "legible": 58, "seeds": 54,
}
HEADS = {
    "birth_floor_step": "birth", "birth_step": "birth", "rate_final": "rate",
    "norm_final": "norm", "max_rotation": "rotation", "seeds": "seeds", "n_tokens": "tokens",
    "nearest": "nearest", "kind_share": "share", LIKENESS.name: "cosine",
    DISTANCE.name: "distance",
}
"""Column heads shorter than the words of the measure; the tooltip says the rest."""


def usual(listing: Listing) -> tuple[str, ...]:
    """The columns that are shown unless others are chosen."""
    view = listing.view
    if not listing.several:
        return ("kind", "kind_share", "contribution", "rate_final", "n_tokens", "nearest")
    course = answers.has_course(view.store.digest, view.run)
    seeds = ("seeds",) if answers.has_seeds(view.store.digest, view.run) else ()
    first = ("kind", "contribution_at" if course else "contribution", listing.birth, "profile")
    moved = view.k < len(view.card.steps) - 1
    rest = ("rate_at", "norm_at") if moved else ("rate_final", "max_rotation")
    return (*first, *rest, *seeds, "norm")


def chosen(listing: Listing, order: str) -> tuple[str, ...]:
    """The columns of this listing; what it is sorted by is always among them."""
    if listing.on_map:
        columns = listing.columns[:3] or (order,)
    else:
        columns = listing.columns or usual(listing)
    if order in columns or order in (LIKENESS.name, DISTANCE.name, "feature"):
        return columns
    return (order, *columns)


def draw_over(listing: Listing, page: Page, number: int) -> None:
    """How many pass, what they are ordered by, which columns, which page."""
    state = st.session_state
    order = page.order
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="count"):
        st.html(_counted(listing, page))
        options = listing.measures
        if order.measure.name not in options:
            options.insert(0, order.measure.name)
        state["browse_sort"] = order.measure.name
        st.selectbox(
            "sort by", options, key="browse_sort", on_change=_sorted, width=196,
            format_func=_sort_words, label_visibility="collapsed",
        )
        state["browse_rising"] = not order.descending
        st.toggle(
            "smallest first", key="browse_rising",
            on_change=first_page("order", "browse_rising", lambda v: "up" if v else "down"),
        )
        with st.popover("Columns", type="tertiary", help="Columns of the table, and histograms"):
            _columns(listing)
        if not listing.on_map:
            draw_pages(page, number)


def draw_pages(page: Page, number: int) -> None:
    """The pages of the table, where there are several."""
    if page.total <= ROWS:
        return
    st.session_state["browse_page"] = number
    pages = -(-page.total // ROWS)
    st.pagination(
        pages, key="browse_page",
        width="content" if pages > 4 else 228,  # a narrower one leaves out the middle
        on_change=shared.writes("page", "browse_page", lambda v: v if v > 1 else None),
    )


def _sort_words(name: str) -> str:
    known = {LIKENESS.name: LIKENESS, DISTANCE.name: DISTANCE}
    return f"by {(known.get(name) or MEASURES[name]).words}"


def _sorted() -> None:
    """A new sort starts at its natural end; the list's own order needs no name."""
    name = st.session_state["browse_sort"]
    own = name in (LIKENESS.name, DISTANCE.name)
    shared.address(sort=None if own else name, order=None, page=None)


def _columns(listing: Listing) -> None:
    state = st.session_state
    state["browse_columns"] = list(listing.columns or usual(listing))
    state["browse_strips"] = list(listing.strips)

    def written(key: str, plain: tuple[str, ...]):
        return lambda v: None if tuple(v) == plain or not v else ",".join(v)

    st.multiselect(
        "columns of the table, in this order", [*listing.names, "norm"], key="browse_columns",
        format_func=_column_words, width=430,
        on_change=shared.writes("columns", "browse_columns",
                                written("browse_columns", usual(listing))),
    )
    st.multiselect(
        f"histograms, {MOST_BARS} at most", listing.names, key="browse_strips",
        format_func=_column_words, max_selections=MOST_BARS, width=430,
        on_change=shared.writes("strips", "browse_strips", written(
            "browse_strips", BARS if listing.several else BARS_OF_ONE)),
    )


def _column_words(name: str) -> str:
    if name == "norm":
        return "norm through training"
    return MEASURES[name].words if name in MEASURES else name


def _counted(listing: Listing, page: Page) -> str:
    view, wish = listing.view, listing.wish
    rest = "pass. Click one to open it." if page.total else "pass."
    if wish.text.strip().startswith("#") and page.total == 1:
        rest = "passes. Click it to open it."
    if wish.like is not None:
        are = "is" if page.total == 1 else "are"
        rest = f"{are} nearest to feature {wish.like}. {_chance(listing, 'Its null')}"
    if page.order.measure.name == DISTANCE.name:
        half = usual_distance(view.store, view.run, view.k, wish.shape or "")
        if half is not None:
            rest += (f" By distance from the shape: half of all {view.card.d_sae:,} features are "
                     f"within {half:.3f}.")
    return markup.wrap(markup.caption(f"{page.total:,} of {view.card.d_sae:,} features", rest))


def _chance(listing: Listing, lead: str) -> str:
    """How high the best cosine gets where there is nothing to find."""
    n, d = listing.view.card.d_sae - 1, listing.view.card.d_model
    return f"{lead}: the best of {n:,} random directions has a cosine of {chance_cosine(n, d):.2f}."


# --- the table --------------------------------------------------------------------------------


def draw(listing: Listing, page: Page, columns: tuple[str, ...], meanings: dict[str, str]) -> None:
    """The rows; a click opens a feature, which keeps the list for its next and previous."""
    ids = page.rows["feature"].tolist()

    def opened() -> None:
        row = shared.picked("browse_table")
        if row is not None and row < len(ids):
            shared.go("feature", listing.view, **{**listing.list_parameters, "feature": ids[row]})

    frame = table(page, columns)
    most = BESIDE_MAP if listing.on_map else TALL
    st.dataframe(
        frame,
        key="browse_table",
        hide_index=True,
        height=min(len(frame), most) * ROW_HEIGHT + 38,
        row_height=ROW_HEIGHT,
        on_select=opened,
        selection_mode="single-cell",
        column_config=configured(listing, tuple(frame), columns, meanings),
        placeholder="",
        alt=f"{len(frame)} of {page.total} features of {listing.view.run}, by "
            f"{page.order.measure.words}",
    )


def table(page: Page, columns: tuple[str, ...]) -> pd.DataFrame:
    """The columns that are shown, in the units they are read in."""
    rows = page.rows
    found = {"feature": rows["feature"], "label": rows["label"].map(shared.left_to_right)}
    if page.order.measure.name in (LIKENESS.name, DISTANCE.name):
        found[page.order.measure.name] = rows["measure"]
    for name in columns:
        values = rows[name]
        if name == "kind" and "legible" in rows:
            values = values.where(rows["legible"] & values.notna(), "—")
        elif name in CATEGORIES:
            values = values.where(values.notna(), "—")
        elif name in MEASURES and MEASURES[name].kind == SHARE:
            values = 100 * values
        if name == "kind_share" and "legible" in rows:
            values = values.where(rows["legible"])
        found[name] = values
    return pd.DataFrame(found)


def asked_of_store(columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns to read: those that are shown, and what decides whether a kind is shown."""
    more = ("legible",) if {"kind", "kind_share"} & set(columns) else ()
    return tuple(dict.fromkeys((*(c for c in columns if c != "feature"), *more)))


def configured(
    listing: Listing, shown: tuple[str, ...], columns: tuple[str, ...], meanings: dict[str, str]
) -> dict:
    """How each column is set; tooltips are the store's own words."""
    c = st.column_config
    found = {
        "feature": c.NumberColumn("feature", format="%d", width=62, help=meanings.get("feature")),
        "label": c.TextColumn("strongest firing tokens", help=meanings.get("label")),
        LIKENESS.name: c.NumberColumn(
            "cosine", format="%.3f", width=64,
            help=f"{LIKENESS.meaning} {_chance(listing, 'By chance')}"),
        DISTANCE.name: c.NumberColumn(
            "distance", format="%.3f", width=70, help=DISTANCE.meaning),
        "norm": c.LineChartColumn(
            "norm through training", y_min=0.0, width=150, color="primary",
            help="Decoder norm at every snapshot, first to last, from 0.",
        ),
    }
    for name in columns:
        if name not in found:
            found[name] = _set(listing, name, meanings)
    taken = sum(found[name]["width"] for name in shown if name != "label")
    found["label"]["width"] = max(LABEL[0], min(LABEL[1], WIDE - taken))
    over = taken + LABEL[0] - WIDE
    for name, least in (("kind", 120), ("norm", 110)):
        if name in shown and over > 0:
            spared = min(over, found[name]["width"] - least)
            found[name]["width"] -= spared
            over -= spared
    return found


def _set(listing: Listing, name: str, meanings: dict[str, str]) -> object:
    c = st.column_config
    width = WIDTHS.get(name, 74)
    if name in FLAGS:
        return c.CheckboxColumn(name, width=width, help=meanings.get(name))
    if name in CATEGORIES:
        dash = " A dash: none passes the test of legibility." if name == "kind" else ""
        return c.TextColumn(name, width=WIDTHS.get(name, 150),
                            help=f"{meanings.get(name, '')}{dash}")
    measure = MEASURES[name]
    head = HEADS.get(name) or words(listing, name)
    if name in ("contribution", "contribution_at"):
        top = strongest(listing, name)
        return c.ProgressColumn(
            head, format="%.3f" if top >= 0.1 else "%.5f", min_value=0.0, max_value=top,
            width=width, color="primary", help=measure.meaning,
        )
    form = {STEP: "localized", COUNT: "localized", SHARE: "%.2f%%"}.get(measure.kind, "%.3f")
    if name.endswith("_p"):
        form = "scientific"
    if name == "kind_share":
        form = "%.0f%%"
    chance = ""
    if name == "nearest":
        chance = f" {_chance(listing, 'By chance')}"
    elif name == "match_cosine":
        card = listing.view.card
        best = chance_cosine(card.d_sae, card.d_model)
        chance = (f" By chance: the best of {card.d_sae:,} random directions that never turn has "
                  f"a cosine of {best:.2f}; what lies along the rows' common axes reaches more.")
    long = len(head) > 10
    return c.NumberColumn(
        head, format=form, width=max(width, 60 + 6 * (len(head) - 6)) if long else width,
        help=f"{measure.meaning}{chance}",
    )


def strongest(listing: Listing, name: str) -> float:
    """The largest contribution of the run at the step: what a full bar stands for."""
    view = listing.view
    first = answers.page(
        view.store.digest, view.run, view.k, Wish(sort=name), 1, 0, ()
    ).rows["measure"]
    top = float(first.iloc[0]) if len(first) else 1.0
    return top if top > 0 else 1.0
