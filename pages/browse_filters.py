"""What narrows the list: the row of search and filters, and the conditions as chips."""

import secrets

import streamlit as st

from atlas import histograms, markup, phrases, shapes
from atlas.browsing import all_rows, python_of, random_feature, sql_of
from atlas.conditions import Where
from atlas.histograms import Chip
from atlas.wishes import EITHER, EXACT, FIRES, MATCHES, PREFIX, PROMOTES, RELATIONS, SUBSTRING, WORD
from pages import browse_conditions, browse_shape, shared, taking
from pages.browse_listing import MAP, Listing, first_page

MATCH_WORDS = {EXACT: "exactly", PREFIX: "begins with", SUBSTRING: "contains", WORD: "the word"}
RELATION_WORDS = {EITHER: "promotes or fires on", PROMOTES: "promotes", FIRES: "fires on"}


def draw(listing: Listing, meanings: dict[str, str]) -> None:
    """The row over everything: search, what narrows the list, and how it is shown."""
    st.session_state["browse_q"] = listing.wish.text
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="filters"):
        st.text_input(
            "search a label, a kind or a token",
            key="browse_q",
            on_change=first_page("q", "browse_q"),
            placeholder='search: noun,  " the",  #17',
            label_visibility="collapsed",
            width=286,
        )
        with st.popover("Token", help="Features that promote or fire on a token"):
            _token(listing)
        with st.popover("Conditions", help="Ranges of any measure, joined by and, or, not"):
            browse_conditions.draw(listing, meanings)
        if listing.several:
            with st.popover("Shape", help="Features whose life has a shape"):
                browse_shape.draw(listing)
        with st.popover("More", help="Alive, legible, like another feature"):
            _more(listing, meanings)
        st.button(
            "Random", key="browse_random", shortcut="x", on_click=_random, args=(listing,),
            help="Open one of the features listed",
        )
        st.space("stretch")
        _take(listing)
        _view(listing)


def _token(listing: Listing) -> None:
    wish = listing.wish
    st.session_state["browse_token"] = wish.token_text
    st.session_state["browse_match"] = wish.token_match
    st.session_state["browse_by"] = wish.token_by
    st.session_state["browse_case"] = wish.ignore_case
    st.session_state["browse_at"] = wish.token_at_step
    st.html(markup.wrap(markup.caption(
        "Features of a token.", "A space before the text counts, but for “the word”."
    )))
    st.text_input(
        "token", key="browse_token", placeholder=" the", width=340,
        on_change=first_page("token_text", "browse_token"),
    )
    st.segmented_control(
        "the token", MATCHES, key="browse_match", format_func=MATCH_WORDS.get, required=True,
        on_change=first_page("match", "browse_match", lambda v: None if v == EXACT else v),
    )
    st.segmented_control(
        "what the feature does", RELATIONS, key="browse_by", format_func=RELATION_WORDS.get,
        required=True,
        on_change=first_page("by", "browse_by", lambda v: None if v == EITHER else v),
    )
    with st.container(horizontal=True, gap="medium"):
        st.toggle(
            "upper and lower case alike", key="browse_case",
            on_change=first_page("case", "browse_case", lambda v: "no" if v else None),
        )
        if listing.several:
            st.toggle(
                f"only at step {listing.view.step:,}", key="browse_at",
                on_change=first_page("at", "browse_at", lambda v: "step" if v else None),
                help="Otherwise at any snapshot.",
            )


def _more(listing: Listing, meanings: dict[str, str]) -> None:
    wish = listing.wish
    state = st.session_state
    state["browse_alive"] = wish.alive
    state["browse_legible"] = wish.legible
    state["browse_corrected"] = wish.floor_corrected
    state["browse_like"] = wish.like
    st.toggle(
        "alive", key="browse_alive", help=meanings.get("alive"),
        on_change=first_page("alive", "browse_alive", lambda v: "yes" if v else None),
    )
    st.toggle(
        "legible", key="browse_legible", help=meanings.get("legible"),
        on_change=first_page("legible", "browse_legible", lambda v: "yes" if v else None),
    )
    if listing.several:
        st.toggle(
            "births with the noise floor off", key="browse_corrected",
            on_change=first_page("floor", "browse_corrected", lambda v: None if v else "no"),
            help=f"{meanings.get('birth_floor_step')} Without it: {meanings.get('birth_step')}",
        )
    st.number_input(
        "features like feature", min_value=0, max_value=listing.view.card.d_sae - 1, value=None,
        step=1, key="browse_like", on_change=first_page("like", "browse_like"), width=210,
        placeholder="its index",
        help="Its neighbours at the step of the view, nearest first.",
    )


def _random(listing: Listing) -> None:
    """Open a feature of the list, another one each time."""
    view = listing.view
    found = random_feature(view.store, view.run, view.k, listing.wish, secrets.randbits(32))
    if found is not None:
        shared.go("feature", view, **{**listing.list_parameters, "feature": found})


def _take(listing: Listing) -> None:
    """The list as a link, as code, and whole as a file that is made when it is asked for."""
    view, wish = listing.view, listing.wish
    asked = (view.store, view.run, view.k, wish)
    taking.take_away(
        view, python_of(*asked), lambda: all_rows(*asked), "features", sql_of(*asked)
    )


def _view(listing: Listing) -> None:
    st.session_state["browse_view"] = MAP if listing.on_map else "table"
    st.segmented_control(
        "view", ("table", MAP), key="browse_view", required=True, label_visibility="collapsed",
        on_change=shared.writes("view", "browse_view", lambda v: v if v == MAP else None),
    )


# --- chips ------------------------------------------------------------------------------------


def draw_chips(listing: Listing) -> None:
    """Every condition in words; a click takes it away."""
    found = [*_quick(listing), *(_chip(listing, c) for c in phrases.shared_of(listing.wish.where))]
    groups = [
        [_chip(listing, c, i) for c in group]
        for i, group in enumerate(phrases.rest_of(listing.wish.where))
    ]
    if not found and not groups:
        return
    kept = {"sort": None, "order": None} if listing.wish.sort is None else {}
    clear = listing.href(**{
        **dict.fromkeys(n for n in shared.LIST if n not in ("sort", "order", "change")), **kept,
    })
    st.html(histograms.chips(groups, found, clear))


def _chip(listing: Listing, condition, group: int | None = None) -> Chip:
    where: Where = phrases.without(listing.wish.where, condition, group)
    return Chip(phrases.condition(condition), listing.wishing(where=where))


def _quick(listing: Listing) -> list[Chip]:
    """Chips of what is no condition on a measure."""
    wish = listing.wish
    found = []

    def chip(words: str, curve: tuple[float, ...] = (), **changes: object) -> None:
        found.append(Chip(words, listing.wishing(**changes), curve))

    if wish.text:
        chip(f"search “{shared.clip(wish.text, 40)}”", text="")
    if wish.token_text:
        chip(_token_words(listing), token_text="", token_match=EXACT, token_by=EITHER,
             token_at_step=False, ignore_case=False)
    if wish.profile:
        chip(f"profile is {wish.profile}", profile=None)
    if wish.birth:
        low, high = (markup.step_name(step) for step in wish.birth)
        chip(f"born at {low}" if low == high else f"born {low} to {high}", birth=None)
    if wish.alive:
        chip("alive", alive=False)
    if wish.legible:
        chip("legible", legible=False)
    if wish.like is not None:
        chip(f"like feature {wish.like}", like=None)
    if wish.shape:
        feature = shapes.feature_of(wish.shape)
        words = "life like" if feature is None else f"life like feature {feature}’s"
        chip(words, browse_shape.course(listing), shape=None)
    if wish.lasso:
        chip("inside the lasso", lasso=())
    return found


def _token_words(listing: Listing) -> str:
    wish = listing.wish
    text = shared.clip(wish.token_text, 40).replace(" ", "␣")
    how = "" if wish.token_match == EXACT else f"{MATCH_WORDS[wish.token_match]} "
    at = f" at step {listing.view.step:,}" if wish.token_at_step else ""
    case = ", either case" if wish.ignore_case and wish.token_match in (EXACT, PREFIX) else ""
    return f"{RELATION_WORDS[wish.token_by]} {how}“{text}”{at}{case}"

