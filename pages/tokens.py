"""Token: which features build this token's row, through training?"""

import numpy as np
import pandas as pd
import streamlit as st

from atlas import markup
from atlas.chance import chance_cosine, lists_by_chance
from atlas.errors import NotFound
from atlas.markup import Fact
from atlas.records import TokenCard
from atlas.schema import PROMOTED
from pages import answers, keeping, shared, taking, token_asked, token_finder, token_rows
from pages.token_rows import Row

LISTED = 40


def read_token(view: shared.Here) -> int | None:
    """The token of the address, or of the last visit, or “ the”."""
    asked = st.query_params.get("token")
    if asked is None:
        asked = st.session_state.get("last_token", {}).get("token")
    if asked is None:
        found = answers.find_tokens(view.store.digest, view.run, " the", "exact", 1)
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


def draw_header(view: shared.Here, row: Row) -> None:
    """The token and its numbers."""
    card, k = row.card, view.k
    at = row.built[:, k] if len(row.built) else np.zeros(0)
    explained, course = row.explained, row.course
    found = [
        Fact("in training", "not counted" if card.n_train is None else f"{card.n_train:,}",
             "Occurrences in the text the model was trained on."),
        Fact("features firing", f"{int((at > 0).sum()):,}",
             f"At {view.when}; {len(card.features):,} at one snapshot or more."),
        Fact("length", markup.number(float(course.norm[k]), 2),
             f"Of the row at {view.when}, the mean of all rows taken off.") if course else None,
        Fact("turn to come", markup.number(float(course.to_terminal[k]), 2),
             f"1 − cosine of the row at {view.when} and at the last snapshot.")
        if course and len(card.steps) > 1 else None,
        Fact("explained", markup.share(float(explained[k]), row.digits)
             if explained is not None else markup.NOT_AVAILABLE,
             f"Share of the row at {view.when} that the dictionary explains: 1 − |x − x̂|² / |x|²."),
    ]
    st.html(markup.header(
        "token",
        card.text,
        "",
        f"{card.script or 'no script'}; row {card.token:,} of {view.card.matrix}, "
        f"{view.card.model}",
        [fact for fact in found if fact is not None],
    ))


def draw_moves(view: shared.Here, row: Row) -> None:
    """The tokens before and after by id; what can be kept and taken away."""
    token, last = row.card.token, len(view.store.token_texts(view.card.model)) - 1

    def open_token(other: int) -> None:
        shared.address(token=other)

    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="moves"):
        st.button(
            "previous", key="token_before", on_click=open_token, args=(token - 1,),
            disabled=token <= 0, type="tertiary", shortcut="p",
        )
        st.html(markup.wrap(
            f'<span class="dim num">{token:,} of 0 to {last:,}, by id</span>'
        ), width="content")
        st.button(
            "next", key="token_after", on_click=open_token, args=(token + 1,),
            disabled=token >= last, type="tertiary", shortcut="n",
        )
        st.space("stretch")
        keeping.keep_control(view, token=token)
        taking.take_away(
            view, python_of(view, token), lambda: table_of(row),
            f"token-{token}-of-{view.run.replace('/', '-')}",
        )


def python_of(view: shared.Here, token: int) -> str:
    """A few lines that read what the page shows."""
    return (
        "from atlas.detail import row_course\n"
        "from atlas.store import Store\n\n"
        f"store = Store.open({str(shared.store_from_environment())!r})\n"
        f"card = store.token({view.run!r}, {token})\n"
        "print(card.text, card.features[['feature', 'label', 'contribution']])\n"
        f"print(row_course(store, {view.run!r}, {token}))"
    )


def table_of(row: Row) -> pd.DataFrame:
    """Every feature that fires on the row: the length it adds and the share it supplies."""
    features = row.card.features
    frame = features[["feature", "label", "profile", "kind"]].reset_index(drop=True)
    for k, step in enumerate(row.card.steps):
        frame[f"length at {step}"] = row.built[:, k] if len(row.built) else []
        if row.parts is not None:
            frame[f"share at {step}"] = row.parts.parts[k]
    return frame


def draw_features(view: shared.Here, row: Row) -> None:
    """All features that fire on the token at the chosen step, strongest first."""
    card, built = row.card, row.built
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
            "share": 100 * row.parts.parts[view.k][order] if row.parts is not None else None,
            "tokens": picked["label"].map(shared.left_to_right).to_numpy(),
            "profile": picked["profile"].fillna("—").to_numpy(),
            "course": [built[i].tolist() for i in order],
        }
    )
    ids = frame["feature"].tolist()
    if row.parts is None:
        frame = frame.drop(columns="share")
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
            "share": c.NumberColumn(
                "share", format="%.1f %%", width=62,
                help="Of the row’s squared length; below 0 where the row would be explained "
                "better without it.",
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
    n_rows = len(view.store.token_texts(view.card.model))
    chance = chance_cosine(n_rows, view.card.d_model)
    usual = lists_by_chance(view.card.d_sae, min(PROMOTED, n_rows), n_rows)
    now = sum(view.step in steps for steps in card.promoted_by["steps"])
    shared.caption(
        "Promoted by.",
        "Features that have this token among their top tokens at some snapshot. Any direction "
        f"has such a list; the best cosine of a random one is {chance:.2f}. A token drawn at "
        f"random stands in {markup.number(usual, 2)} of the lists that {view.card.d_sae:,} "
        f"features have at a snapshot, at any rank; this one in {now:,} at {view.when}.",
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
    token_asked.check()
    side, body = st.columns([1, 3.6], gap="large")
    with side:
        token_finder.draw(view)
    with body:
        if token is None:
            return
        try:
            card = answers.token_card(view.store.digest, view.run, token)
        except NotFound as error:
            shared.say(shared.sentence(error), "bad")
            return
        shared.settle(view, "token", token=token)
        row = token_rows.read_row(view, card)
        draw_header(view, row)
        draw_moves(view, row)
        token_rows.draw(view, row)
        draw_features(view, row)
        token_rows.draw_near(view, card)
        draw_promoting(view, card)


main()
