"""The search box of the Token page, and what it finds."""

import streamlit as st

from atlas.token_search import ANY, MATCHES
from pages import answers, shared

WORDS = {
    ANY: "any way, closest first",
    "exact": "exactly this",
    "word": "the whole word, any case",
    "prefix": "begins with this",
    "substring": "holds this, any case",
}
LISTED = 30


def read_match() -> str:
    """The way to match of the address."""
    asked = st.query_params.get("match", ANY)
    if asked in MATCHES:
        return asked
    shared.say(
        f"“{shared.clip(asked)}” is no way to match a token; there are {', '.join(MATCHES)}.", "bad"
    )
    return ANY


def draw(view: shared.Here) -> None:
    """A box, how to match, and the tokens found, each a click away."""
    text = st.query_params.get("find", "")[:64]
    match = read_match()
    st.session_state["token_search"] = text.replace("\0", "")
    st.session_state["token_match"] = match
    st.text_input(
        "search a token; a leading space counts",
        key="token_search",
        placeholder=" the",
        max_chars=64,
        on_change=shared.writes("find", "token_search"),
        help="A space may be typed as ␣. #17 is the token with the id 17.",
    )
    st.selectbox(
        "how", list(MATCHES), key="token_match", format_func=WORDS.get,
        label_visibility="collapsed",
        on_change=shared.writes("match", "token_match", lambda v: None if v == ANY else v),
    )
    found = answers.find_tokens(view.store.digest, view.run, text, match, LISTED)
    if found.empty:
        count = len(view.store.token_texts(view.card.model))
        shared.say(
            f"No token of {view.card.model} holds “{shared.clip(text)}”"
            + ("." if match == ANY else f" in this way: {WORDS[match]}.")
            + f" The vocabulary has {count:,} pieces; longer words are built of several."
        )
        return
    if not text:
        shared.caption(
            "", "Most words carry the space before them: “ the” and “the” are two tokens. "
            "A space is drawn ␣. The most frequent ones:"
        )
    ids = found["token"].tolist()

    def opened() -> None:
        row = shared.picked("token_found")
        if row is not None:
            shared.address(token=int(ids[row]))

    c = st.column_config
    st.dataframe(
        found[["text", "token", "n_train"]].assign(text=found["text"].map(shared.left_to_right)),
        key="token_found",
        hide_index=True,
        row_height=27,
        height=min(len(found), 24) * 27 + 38,
        on_select=opened,
        selection_mode="single-cell",
        column_config={
            "text": c.TextColumn("token", width=92),
            "token": c.NumberColumn("id", format="%d", width=50),
            "n_train": c.NumberColumn(
                "seen", format="localized", width=66, help="Occurrences in the training text."
            ),
        },
        alt="tokens that match the search",
    )
