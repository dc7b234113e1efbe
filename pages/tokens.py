"""Token: which features build this token's row, through training?"""

import numpy as np
import pandas as pd
import streamlit as st

from atlas import courses, markup
from atlas.chance import chance_cosine
from atlas.errors import AtlasError, NotFound
from atlas.markup import Fact
from atlas.records import TokenCard, TokenMode
from pages import answers, shared

STRANDS = 6
SUGGESTIONS = 30
LISTED = 40
# Entries of all snapshots together beyond which the share of a row is not computed for a page.
MOST_NUMBERS = 60_000_000


def read_token(view: shared.Here) -> int | None:
    """The token of the address, or of the last visit, or “ the”."""
    asked = st.query_params.get("token")
    if asked is None:
        asked = st.session_state.get("last_token", {}).get("token")
    if asked is None:
        found = answers.search_tokens(
            view.store.digest, view.card.model, " the", TokenMode.EXACT.value, 1
        )
        return int(found["token"].iloc[0]) if len(found) else 0
    number = shared.whole(asked)
    if number is None:
        last = len(view.store.token_texts(view.card.model)) - 1
        shared.say(
            f"“{shared.clip(asked)}” is no token id. {view.card.model} has the tokens 0 to "
            f"{last:,}; search one by its text below.",
            "bad",
        )
    return number


def find(view: shared.Here, text: str) -> pd.DataFrame:
    """Tokens whose text matches: the exact one first, then beginnings, then parts."""
    wanted = text.replace("␣", " ")
    frames = [
        answers.search_tokens(view.store.digest, view.card.model, wanted, mode.value, SUGGESTIONS)
        for mode in (TokenMode.EXACT, TokenMode.PREFIX, TokenMode.SUBSTRING)
    ]
    found = pd.concat(frames, ignore_index=True).drop_duplicates("token")
    return found.head(SUGGESTIONS)


def draw_search(view: shared.Here) -> None:
    """A box and what it finds; a leading space counts."""
    text = st.text_input(
        "search a token; a leading space counts",
        key="token_search",
        placeholder=" the",
        max_chars=64,
        persist_state="session",
    )
    found = find(view, text) if text else answers.search_tokens(
        view.store.digest, view.card.model, " ", TokenMode.PREFIX.value, SUGGESTIONS
    )
    if found.empty and text:
        shared.say(
            f"No token of {view.card.model} holds “{shared.clip(text)}”. The vocabulary has "
            f"{len(view.store.token_texts(view.card.model)):,} pieces; longer words are built of "
            "several."
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
        found[["text", "token", "n_train"]],
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


def draw_header(view: shared.Here, card: TokenCard, at: np.ndarray) -> None:
    """The token and its numbers."""
    firing = int((at > 0).sum())
    share = (
        "not counted" if card.n_train is None else f"{card.n_train:,}"
    )
    script = card.script or "no script"
    st.html(
        markup.header(
            "token",
            card.text,
            "",
            f"{script}; row {card.token:,} of {view.card.matrix}, {view.card.model}",
            [
                Fact("in training", share, "Occurrences in the text the model was trained on."),
                Fact("features firing", f"{firing:,}", f"At {view.when}."),
                Fact("ever firing", f"{len(card.features):,}", "At one snapshot or more."),
                Fact(
                    "length added",
                    markup.number(float(at.sum()), 2) if len(at) else "0.00",
                    f"Sum of activation times norm at {view.when}, standardised rows.",
                ),
            ],
        )
    )


def contributions(card: TokenCard) -> np.ndarray:
    """(n, K) contribution of every firing feature at every snapshot."""
    if card.features.empty:
        return np.zeros((0, len(card.steps)))
    return np.array([list(row) for row in card.features["contribution"]], dtype=float)


def draw_strands(view: shared.Here, card: TokenCard, built: np.ndarray) -> None:
    """The strongest features' contributions through training."""
    shared.caption(
        "What builds this row.",
        "Contribution of the strongest features at every snapshot, activation times norm: the "
        "length each adds to the standardised row.",
    )
    if not len(built):
        shared.say("No feature fires on this token at any snapshot.")
        return
    order = np.argsort(-built.max(axis=1), kind="stable")[:STRANDS]
    strands = [
        courses.Strand(
            label=shared.clip(f"{card.features['feature'].iloc[i]}  "
                              f"{card.features['label'].iloc[i]}", 28),
            values=built[i].tolist(),
            name=f"feature {card.features['feature'].iloc[i]}",
        )
        for i in order
    ]
    shared.chart(
        courses.strands_figure(card.steps, strands, view.step, view.palette),
        "token_strands",
        f"contributions of the strongest features to token {card.token} by step",
    )


def draw_share(view: shared.Here, card: TokenCard) -> None:
    """How much of the row is explained, on demand: it reads the matrices themselves."""
    with st.container(horizontal=True, vertical_alignment="center", key="token_share_row"):
        wanted = st.toggle(
            "Share of this row that is explained",
            key="token_share",
            persist_state="session",
            help="1 − |x − x̂|² / |x|² of this row. It is read from the matrices, so it is "
            "computed when asked for.",
        )
    if not wanted:
        return
    n_tokens = len(view.store.token_texts(view.card.model))
    if view.card.d_model * n_tokens * len(view.card.steps) > MOST_NUMBERS:
        shared.say(
            "Not available here, because the snapshots of this run are too large to read for one "
            "row of a page."
        )
        return
    try:
        found = answers.explained_shares(view.store.digest, view.run, card.token)
    except AtlasError as error:
        shared.say(f"Not available, because {shared.sentence(error)}", "bad")
        return
    if len(found) == 1:
        shared.say(f"{markup.share(float(found[0]))} of this row is explained.")
        return
    strand = courses.Strand(
        f"{markup.share(float(found[view.k]), 0)} at {view.step:,}", found.tolist(), "explained"
    )
    shared.chart(
        courses.strands_figure(card.steps, [strand], view.step, view.palette, height=190),
        "token_share_chart",
        f"share of the row of token {card.token} that is explained, by step",
    )


def draw_features(view: shared.Here, card: TokenCard, built: np.ndarray) -> None:
    """All features that fire on the token at the chosen step, strongest first."""
    at = built[:, view.k] if len(built) else np.zeros(0)
    shared.caption(
        f"Features on this row at {view.when}.",
        f"{int((at > 0).sum())} fire now, {len(at)} at some snapshot. Click one to open it.",
    )
    if not len(at):
        return
    order = np.argsort(-at, kind="stable")[:LISTED]
    picked = card.features.iloc[order]
    frame = pd.DataFrame(
        {
            "feature": picked["feature"].to_numpy(),
            "contribution": at[order],
            "tokens": picked["label"].map(shared.left_to_right).to_numpy(),
            "profile": picked["profile"].fillna("—").to_numpy(),
            "course": [built[i].tolist() for i in order],
        }
    )
    ids = frame["feature"].tolist()
    if len(card.steps) < 2:
        frame = frame.drop(columns=["profile", "course"])

    def opened() -> None:
        row = shared.picked("token_features")
        if row is not None:
            shared.go("feature", view, feature=int(ids[row]))

    c = st.column_config
    top = max(float(at.max()), 1e-6)
    st.dataframe(
        frame,
        key="token_features",
        hide_index=True,
        row_height=27,
        height=min(len(frame), 14) * 27 + 38,
        on_select=opened,
        selection_mode="single-cell",
        column_config={
            "feature": c.NumberColumn("#", format="%d", width=56),
            "contribution": c.ProgressColumn(
                "contribution", format="%.2f", min_value=0.0, max_value=top, width=120,
                color="primary",
            ),
            "tokens": c.TextColumn(
                "strongest firing tokens", width=250 if len(card.steps) > 1 else 560
            ),
            "profile": c.TextColumn("profile", width=104),
            "course": c.LineChartColumn(
                "through training", y_min=0.0, width=150, color="primary"
            ),
        },
        alt=f"features that fire on token {card.token}",
    )


def draw_promoting(view: shared.Here, card: TokenCard) -> None:
    """Features whose direction points at this row."""
    chance = chance_cosine(
        len(view.store.token_texts(view.card.model)), view.card.d_model
    )
    shared.caption(
        "Promoted by.",
        "Features that have this token among their top tokens at some snapshot. Any direction "
        f"has such a list; the best cosine of a random one is {chance:.2f}.",
    )
    found = card.promoted_by.head(LISTED)
    if found.empty:
        shared.say("No feature has it among its top tokens at any snapshot.")
        return
    frame = pd.DataFrame(
        {
            "feature": found["feature"].to_numpy(),
            "rank": found["best_rank"].to_numpy() + 1,
            "step": found["best_step"].to_numpy(),
            "snapshots": [len(s) for s in found["steps"]],
            "tokens": found["label"].map(shared.left_to_right).to_numpy(),
        }
    )
    ids = frame["feature"].tolist()

    def opened() -> None:
        row = shared.picked("token_promoting")
        if row is not None:
            shared.go("feature", view, feature=int(ids[row]))

    c = st.column_config
    st.dataframe(
        frame,
        key="token_promoting",
        hide_index=True,
        row_height=27,
        height=min(len(frame), 14) * 27 + 38,
        on_select=opened,
        selection_mode="single-cell",
        column_config={
            "feature": c.NumberColumn("#", format="%d", width=56),
            "rank": c.NumberColumn("best rank", format="%d", width=74),
            "step": c.NumberColumn("at step", format="localized", width=66),
            "snapshots": c.NumberColumn(
                "snapshots", format="%d", width=78, help="At how many it is a top token."
            ),
            "tokens": c.TextColumn("strongest firing tokens", width=520),
        },
        alt=f"features that promote token {card.token}",
    )


def main() -> None:
    """Draw the page."""
    view = shared.here()
    token = read_token(view)
    side, body = st.columns([1, 3.6], gap="large")
    with side:
        draw_search(view)
    with body:
        if token is None:
            st.stop()
        try:
            card = answers.token_card(view.store.digest, view.run, token)
        except NotFound as error:
            shared.say(shared.sentence(error), "bad")
            st.stop()
        shared.settle(view, "token", token=token)
        built = contributions(card)
        draw_header(view, card, built[:, view.k] if len(built) else np.zeros(0))
        if len(card.steps) > 1:
            draw_strands(view, card, built)
        draw_share(view, card)
        draw_features(view, card, built)
        draw_promoting(view, card)


main()
