"""The builder of conditions: a measure, its range or names, and how it joins what is there."""

import streamlit as st

from atlas import markup, phrases
from atlas.conditions import OneOf, Range, Where, write_where
from atlas.measures import FLAGS, MEASURES, STEP
from atlas.wishes import change_of
from pages import answers, shared
from pages.browse_listing import Listing

AND, LAST, OR = "and", "and, in the last group", "or"
NOT_AVAILABLE = "not available"


def draw(listing: Listing, meanings: dict[str, str]) -> None:
    """The builder; what is typed is kept until it is added."""
    st.html(markup.wrap(markup.caption(
        "Keep the features whose …", "Conditions joined by “and” hold together; “or” begins "
        "another group."
    )))
    name = st.selectbox(
        "measure", listing.names, format_func=phrases.words_of, key="browse_measure", width=330,
    )
    if name in MEASURES:
        measure = MEASURES[name]
        st.html(markup.wrap(f'<div class="dim">{markup.escape(measure.meaning)}</div>'), width=430)
        with st.container(horizontal=True, gap="small"):
            hint = {"share": "0.01 or 1 %", STEP: "512 or 1k"}.get(measure.kind, "")
            st.text_input("from", key="browse_low", on_change="ignore", placeholder=hint, width=130)
            st.text_input("to", key="browse_high", on_change="ignore", placeholder=hint, width=130)
    else:
        st.html(markup.wrap(f'<div class="dim">{markup.escape(meanings.get(name, ""))}</div>'),
                width=430)
        counts = _values(listing, name)
        st.multiselect(
            "is one of", list(counts), format_func=lambda v: f"{v}{counts[v]}",
            key=f"browse_names_{name}", on_change="ignore", width=430,
        )
    where = listing.wish.where
    joins = [AND] if not where else [AND, OR] if len(where) < 2 else [AND, LAST, OR]
    with st.container(horizontal=True, gap="medium", vertical_alignment="center"):
        st.toggle("not", key="browse_not", on_change="ignore")
        if len(joins) > 1:
            st.segmented_control(
                "join", joins, key="browse_join", default=AND, required=True,
                on_change="ignore", label_visibility="collapsed",
            )
        st.button("Add", key="browse_add", type="primary", on_click=_add, args=(where, name))
    if problem := st.session_state.pop("browse_problem", None):
        shared.say(problem, "bad")
    if listing.several:
        _change(listing)


def _values(listing: Listing, name: str) -> dict[str, str]:
    """The names to choose from, each with what stands after it."""
    if name in FLAGS:
        return {"yes": "", "no": ""}
    found = answers.categories(listing.view.store.digest, listing.view.run)[name]
    return {**{value: f" · {count:,}" for value, count in found}, NOT_AVAILABLE: ""}


def _add(where: Where, name: str) -> None:
    """Put what was typed into the address, or say why not."""
    state = st.session_state
    negated = bool(state.get("browse_not"))
    if name in MEASURES:
        typed = [str(state.get(key) or "").strip() for key in ("browse_low", "browse_high")]
        ends = [phrases.typed(MEASURES[name], text) for text in typed]
        wrong = [text for text, end in zip(typed, ends, strict=True) if text and end is None]
        if wrong:
            state["browse_problem"] = f"“{shared.clip(wrong[0], 24)}” is no number."
            return
        if ends == [None, None]:
            state["browse_problem"] = "Type one end of the range at least."
            return
        low, high = ends
        if low is not None and high is not None and low > high:
            low, high = high, low
        new = Range(name, low, high, negated)
        state["browse_low"] = state["browse_high"] = ""
    else:
        chosen = state.get(f"browse_names_{name}") or []
        if not chosen:
            state["browse_problem"] = "Choose one name at least."
            return
        names = tuple(None if v == NOT_AVAILABLE else v for v in chosen)
        new = OneOf(name, names, negated)
        state[f"browse_names_{name}"] = []
    state["browse_not"] = False
    join = state.get("browse_join", AND)
    if not where or join == OR:
        found = (*where, (new,))
    elif join == LAST:
        found = (*where[:-1], (*where[-1], new))
    else:
        found = phrases.added(where, new)
    shared.address(where=write_where(found), page=None)


def _change(listing: Listing) -> None:
    """The two steps that the measures of a change lie between."""
    steps = list(listing.view.card.steps)
    state = st.session_state
    state["browse_from"], state["browse_to"] = change_of(listing.wish, listing.view.card)

    def changed() -> None:
        low, high = sorted((state["browse_from"], state["browse_to"]))
        shared.address(change=f"{low}-{high}" if low < high else None, page=None)

    st.html(markup.wrap(markup.caption(
        "Changes", "of norm, rate and contribution are those from one step to another:"
    )))
    with st.container(horizontal=True, gap="small"):
        for key, label in (("browse_from", "from step"), ("browse_to", "to step")):
            st.selectbox(label, steps, format_func=markup.step_name, key=key, on_change=changed,
                         width=130)
