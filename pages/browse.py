"""Browse: which features are there? A table of a hundred at a time, filtered in the store."""

from dataclasses import dataclass

import pandas as pd
import streamlit as st

from atlas import markup, sketches
from atlas.records import Filters, TokenMode
from pages import answers, shared

# Features on one page of the table.
ROWS = 100
ROW_HEIGHT = 27
PROFILES = (
    "persistent", "transitional", "early-decaying", "late-emerging", "mixed", "inactive",
)
# Columns to sort by, with the words for them.
SORTS = {
    "contribution": "contribution",
    "norm_final": "final norm",
    "rate_final": "final rate",
    "max_rotation": "largest rotation",
    "birth_floor_step": "birth, noise floor off",
    "birth_step": "birth, plain rule",
    "kind_share": "share of its kind",
    "kind_p": "p-value of its kind",
    "n_tokens": "number of firing tokens",
    "lifetime": "lifetime",
    "feature": "index",
}
# Columns that a dictionary of one snapshot does not have.
OF_TIME = ("norm_final", "max_rotation", "birth_floor_step", "birth_step", "lifetime", "profile")
# Columns that are read from their small end first.
RISING = ("birth_floor_step", "birth_step", "kind_p", "feature")


@dataclass(frozen=True)
class Wish:
    """What the address asks Browse for."""

    q: str
    profile: str | None
    birth: tuple[int, int]
    alive: bool
    legible: bool
    corrected: bool
    """Births after the norm that noise alone gives is taken off."""
    sort: str
    descending: bool
    page: int
    problems: tuple[str, ...]


def read_wish(view: shared.Here) -> Wish:
    """The filters of the address; what is not valid is dropped and said."""
    asked = st.query_params
    problems = []
    profile = asked.get("profile")
    if profile is not None and profile not in PROFILES:
        problems.append(
            f"There is no profile “{shared.clip(profile)}”; there are {', '.join(PROFILES)}."
        )
        profile = None
    sort = asked.get("sort", "contribution")
    if sort not in SORTS:
        problems.append(
            f"Features cannot be sorted by “{shared.clip(sort)}”; use {', '.join(SORTS)}."
        )
        sort = "contribution"
    steps = view.card.steps
    birth = (steps[0], steps[-1])
    if "birth" in asked:
        low, _, high = asked["birth"].partition("-")
        ends = (shared.whole(low), shared.whole(high or low))
        if ends[0] in steps and ends[1] in steps and ends[0] <= ends[1]:
            birth = ends
        else:
            problems.append(
                f"“{shared.clip(asked['birth'])}” is no range of birth steps of this run; "
                f"write two of its steps, such as {steps[0]}-{steps[-1]}."
            )
    order = asked.get("order", "up" if sort in RISING else "down")
    page = shared.whole(asked.get("page"))
    return Wish(
        q=asked.get("q", "")[:200],
        profile=profile,
        birth=birth,
        alive=asked.get("alive") == "yes",
        legible=asked.get("legible") == "yes",
        corrected=asked.get("floor") != "no",
        sort=sort,
        descending=order != "up",
        page=page if page and page > 0 else 1,
        problems=tuple(problems),
    )


def filters(view: shared.Here, wish: Wish) -> Filters:
    """The wish in the store's words; a leading space or quotes mean one exact token."""
    q = wish.q
    token, text = "", q
    if len(q) > 2 and q[0] == q[-1] == '"':
        token, text = q[1:-1], ""
    elif q[:1] in (" ", "␣") and q.strip(" ␣"):
        token, text = " " + q[1:], ""
    steps = view.card.steps
    return Filters(
        text=text,
        token=token,
        token_mode=TokenMode.EXACT.value,
        profiles=(wish.profile,) if wish.profile else (),
        birth_from=wish.birth[0] if wish.birth[0] != steps[0] else None,
        birth_to=wish.birth[1] if wish.birth[1] != steps[-1] else None,
        alive=wish.alive,
        legible=wish.legible,
        floor_corrected=wish.corrected,
    )


def first_page(name: str, key: str, say=lambda value: value):
    """A callback that writes a filter and goes back to the first page."""
    def changed() -> None:
        shared.address(**{name: say(st.session_state[key]), "page": None})

    return changed


def draw_filters(wish: Wish, meanings: dict[str, str], several: bool) -> None:
    """The row of filters over the table; what needs time only where there are several snapshots."""
    state = st.session_state
    state["browse_q"] = wish.q
    state["browse_profile"] = wish.profile
    state["browse_alive"] = wish.alive
    state["browse_legible"] = wish.legible
    state["browse_sort"] = wish.sort
    state["browse_corrected"] = wish.corrected
    state["browse_rising"] = not wish.descending
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="filters"):
        st.text_input(
            "search a label, a kind or a token",
            key="browse_q",
            on_change=first_page("q", "browse_q"),
            placeholder='noun,  " the",  #17',
            help="Part of a label or a kind. A leading space, or quotes, mean one exact token that "
            "the feature promotes or fires on. A # is an index.",
            width=250,
        )
        if several:
            st.selectbox(
                "profile",
                PROFILES,
                key="browse_profile",
                on_change=first_page("profile", "browse_profile"),
                index=None,
                placeholder="any",
                help=meanings.get("profile"),
                width=150,
            )
        st.selectbox(
            "sort by",
            [name for name in SORTS if several or name not in OF_TIME],
            format_func=SORTS.get,
            key="browse_sort",
            on_change=sort_changed,
            width=190,
        )
        st.toggle(
            "smallest first",
            key="browse_rising",
            on_change=first_page("order", "browse_rising", lambda v: "up" if v else "down"),
        )
        st.toggle(
            "alive",
            key="browse_alive",
            on_change=first_page("alive", "browse_alive", lambda v: "yes" if v else None),
            help=meanings.get("alive"),
        )
        st.toggle(
            "legible",
            key="browse_legible",
            on_change=first_page("legible", "browse_legible", lambda v: "yes" if v else None),
            help=meanings.get("legible"),
        )
        if several:
            st.toggle(
                "noise floor off",
                key="browse_corrected",
                on_change=first_page("floor", "browse_corrected", lambda v: None if v else "no"),
                help=f"{meanings.get('birth_floor_step')} Without it: {meanings.get('birth_step')}",
            )


def sort_changed() -> None:
    """A new sort starts at its natural end."""
    shared.address(sort=st.session_state["browse_sort"], order=None, page=None)


def draw_births(view: shared.Here, wish: Wish) -> None:
    """Births and deaths by step, and the range of birth steps to keep."""
    steps = view.card.steps
    if len(steps) < 2:
        return
    found = answers.births(view.store.digest, view.run)
    low, high = wish.birth
    born = found["births_floor" if wish.corrected else "births"].map(count)
    strip = [
        sketches.StripBar(step, births, deaths, low <= step <= high)
        for step, births, deaths in zip(steps, born, found["deaths"].map(count), strict=True)
    ]
    rest = view.card.d_sae - int(born.sum())
    never = f"{rest:,} never rise above the noise floor." if rest and wish.corrected else ""
    st.html(
        markup.wrap(markup.caption(
            "Births by step,", "deaths below the line. Move the ends to keep the features born "
            f"between them. {never}"
        ))
        + sketches.births_strip(strip)
    )
    st.session_state["browse_birth"] = wish.birth
    st.select_slider(
        "born between",
        steps,
        value=(steps[0], steps[-1]),
        key="browse_birth",
        format_func=markup.step_name,
        on_change=first_page(
            "birth",
            "browse_birth",
            lambda v: None if tuple(v) == (steps[0], steps[-1]) else f"{v[0]}-{v[1]}",
        ),
        label_visibility="collapsed",
    )


def count(value: float | None) -> int:
    """A count of the store, 0 where there is none to draw."""
    return 0 if value is None or pd.isna(value) else int(value)


def table(frame: pd.DataFrame, birth: str) -> pd.DataFrame:
    """The columns that are shown, in the units they are read in; `birth` is one of two columns."""
    no_kind = frame["kind"].isna() | ~frame["legible"]
    return pd.DataFrame(
        {
            "feature": frame["feature"],
            "label": frame["label"].map(shared.left_to_right),
            "kind": frame["kind"].where(~no_kind, "—"),
            "kind_share": (100 * frame["kind_share"]).where(~no_kind),
            "contribution": frame["contribution"],
            birth: frame[birth],
            "profile": frame["profile"],
            "rate_final": 100 * frame["rate_final"],
            "max_rotation": frame["max_rotation"],
            "norm": frame["norm"],
        }
    )


def columns(meanings: dict[str, str], top: float) -> dict:
    """How the table sets each column; tooltips are the store's own words."""
    c = st.column_config
    return {
        "feature": c.NumberColumn("feature", format="%d", width=64, help=meanings.get("feature")),
        "label": c.TextColumn("strongest firing tokens", width=268, help=meanings.get("label")),
        "kind": c.TextColumn(
            "kind", width=196,
            help=f"{meanings.get('kind')} A dash: none passes the test of legibility.",
        ),
        "kind_share": c.NumberColumn(
            "share", format="%.0f%%", width=54, help=meanings.get("kind_share")
        ),
        "contribution": c.ProgressColumn(
            "contribution", format="%.3f" if top >= 0.1 else "%.5f", min_value=0.0,
            max_value=top, width=122, color="primary", help=meanings.get("contribution"),
        ),
        **{
            name: c.NumberColumn("birth", format="localized", width=58, help=meanings.get(name))
            for name in ("birth_step", "birth_floor_step")
        },
        "profile": c.TextColumn("profile", width=104, help=meanings.get("profile")),
        "rate_final": c.NumberColumn(
            "rate", format="%.2f%%", width=62, help=meanings.get("rate_final")
        ),
        "max_rotation": c.NumberColumn(
            "rotation", format="%.2f", width=66, help=meanings.get("max_rotation")
        ),
        "norm": c.LineChartColumn(
            "norm through training", y_min=0.0, width=150, color="primary",
            help="Decoder norm at every snapshot, first to last, from 0.",
        ),
    }


def main() -> None:
    """Draw the page."""
    view = shared.here()
    wish = read_wish(view)
    for problem in wish.problems:
        shared.say(problem, "bad")
    meanings = answers.comments(view.store.digest).get("feature", {})
    several = len(view.card.steps) > 1
    draw_filters(wish, meanings, several)
    draw_births(view, wish)
    kept = filters(view, wish)
    digest = view.store.digest
    offset = (wish.page - 1) * ROWS
    found, frame = answers.browse(
        digest, view.run, wish.sort, wish.descending, kept, ROWS, offset
    )
    page = wish.page
    if found and offset >= found:
        page = 1
        found, frame = answers.browse(digest, view.run, wish.sort, wish.descending, kept, ROWS, 0)
    shared.settle(view, "browse", page=page if page > 1 else None)
    _, strongest = answers.browse(digest, view.run, "contribution", True, Filters(), 1, 0)
    top = float(strongest["contribution"].iloc[0]) if len(strongest) else 1.0
    draw_count(view, found, page)
    if not found:
        shared.say(
            "No feature passes these filters. Take one away, widen the range of births, or clear "
            "the search."
        )
        return
    ids = frame["feature"].tolist()

    def opened() -> None:
        row = shared.picked("browse_table")
        if row is not None:
            shared.go("feature", view, feature=ids[row])

    shown = table(frame, "birth_floor_step" if wish.corrected else "birth_step")
    if not several:
        shown = shown.drop(columns=[*shown.columns.intersection(OF_TIME), "norm"])
    st.dataframe(
        shown,
        key="browse_table",
        hide_index=True,
        height=min(len(shown), 22) * ROW_HEIGHT + 38,
        row_height=ROW_HEIGHT,
        on_select=opened,
        selection_mode="single-cell",
        column_config=columns(meanings, top),
        placeholder="",
        alt=f"{len(shown)} of {found} features of {view.run}",
    )


def draw_count(view: shared.Here, found: int, page: int) -> None:
    """How many pass, and the pages of the table."""
    total = view.card.d_sae
    with st.container(horizontal=True, vertical_alignment="center", key="count"):
        st.html(markup.wrap(markup.caption(
            f"{found:,} of {total:,} features",
            "pass. Click a row to open its feature.",
        )))
        if found > ROWS:
            st.session_state["browse_page"] = page
            st.pagination(
                -(-found // ROWS),
                key="browse_page",
                on_change=shared.writes("page", "browse_page", lambda v: v if v > 1 else None),
            )


main()
