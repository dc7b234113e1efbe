"""Decompose: why does this token win here, and at which steps of training?

torch and transformers are imported when the first prompt is read, not before.
"""

from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from atlas import markup
from atlas.errors import AtlasError, InvalidValue
from pages import answers, score, shared

if TYPE_CHECKING:
    from atlas.live import Explanation

# Beginnings in the languages that the bundle's models have read.
EXAMPLES = {
    "Bible": "The LORD is my",
    "Shakespeare": "HAMLET.\nTo be, or not to",
    "Python": "def __init__(self, name):\n        self.name =",
    "SQL": "CREATE TABLE t1(a INTEGER PRIMARY",
    "HTML": "<table>\n<tr><td>Name</td><td>",
    "Russian": "Введите правильное",
}
# Characters of a prompt that still fit an address.
LINK_LIMIT = 2000
CANDIDATES = 8


def prompt_of() -> str:
    """The prompt of the address, or the long one of this session, or the first example."""
    asked = st.query_params.get("prompt")
    if asked is not None:
        return asked
    return st.session_state.get("long_prompt", next(iter(EXAMPLES.values())))


def set_prompt(text: str) -> None:
    """A new prompt: the address forgets what was asked of the old one."""
    long = len(text) > LINK_LIMIT or not text
    if long:
        st.session_state["long_prompt"] = text
    else:
        st.session_state.pop("long_prompt", None)
    shared.address(
        prompt=None if long else text, position=None, target=None, versus=None
    )


def token(text: str | None) -> str | int | None:
    """A token of the address: `#17` is an id, anything else is text."""
    if text and text[0] == "#" and text[1:].isdecimal() and len(text) < 9:
        return int(text[1:])
    return text


def draw_prompt(prompt: str) -> None:
    """The prompt box and the examples."""
    st.session_state["decompose_prompt"] = prompt

    def asked() -> None:
        set_prompt(st.session_state["decompose_prompt"])

    with st.form("decompose_form", border=False):
        st.text_area(
            "prompt: the model continues it by one token",
            key="decompose_prompt",
            height=92,
            placeholder="The LORD is my",
        )
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.form_submit_button("Decompose", key="decompose_go", on_click=asked, type="primary")
            st.html(markup.wrap('<span class="dim">or try</span>'), width="content")
            for name, text in EXAMPLES.items():
                st.form_submit_button(
                    name, key=f"example_{name}", on_click=set_prompt, args=(text,),
                    type="tertiary",
                )


def draw_tokens(found: "Explanation") -> None:
    """The prompt as the model reads it, and the place it is read at."""
    st.html(markup.prompt(found.texts, found.position))
    if found.note:
        shared.say(found.note[0].upper() + found.note[1:] + ".")
    if len(found.tokens) > 1:
        st.session_state["decompose_position"] = found.position
        last = len(found.tokens) - 1
        st.slider(
            "predict what follows token",
            0,
            last,
            key="decompose_position",
            on_change=position_changed,
            args=(last,),
        )


def position_changed(last: int) -> None:
    """Another place in the prompt has other candidates."""
    at = st.session_state["decompose_position"]
    shared.address(position=None if at == last else at, target=None, versus=None)


def draw_candidates(found: "Explanation") -> None:
    """Likeliest next tokens; a click on a mark makes one the target or the other side."""
    shared.caption(
        "Likeliest next tokens", "by the last model. Click a circle to choose the two to compare."
    )
    chosen_score = found.score
    top = found.top[:CANDIDATES]
    frame = pd.DataFrame(
        {
            "token": [c.text for c in top],
            "probability": [100 * c.probability for c in top],
            "logit": [c.logit for c in top],
            "target": ["●" if c.token == chosen_score.target else "○" for c in top],
            "versus": ["●" if c.token == chosen_score.versus else "○" for c in top],
        }
    )
    ids = [c.token for c in top]

    def chosen() -> None:
        cells = st.session_state["decompose_top"]["selection"]["cells"]
        column = str(cells[0][1]) if cells else ""
        row = shared.picked("decompose_top")
        if row is not None:
            choose(found, "versus" if column == "versus" else "target", ids[row])

    c = st.column_config
    st.dataframe(
        frame,
        key="decompose_top",
        hide_index=True,
        row_height=27,
        height=len(frame) * 27 + 38,
        on_select=chosen,
        selection_mode="single-cell",
        column_config={
            "token": c.TextColumn("token", width=110),
            "probability": c.ProgressColumn(
                "probability", format="%.1f%%", min_value=0.0,
                max_value=100 * max(c.probability for c in found.top), width=130,
                color="primary",
            ),
            "logit": c.NumberColumn("logit", format="%.2f", width=60),
            "target": c.TextColumn("target", width=58, alignment="center"),
            "versus": c.TextColumn("versus", width=58, alignment="center"),
        },
        alt="likeliest next tokens",
    )
    draw_other()


def choose(found: "Explanation", side: str, token_id: int) -> None:
    """Put a token on one side; choosing the other side's token swaps the two."""
    target, versus = found.score.target, found.score.versus
    if side == "target":
        target, versus = token_id, target if token_id == versus else versus
    elif token_id == versus:
        versus = None
    elif token_id == target:
        target, versus = (versus, target) if versus is not None else (target, None)
    else:
        versus = token_id
    shared.address(target=f"#{target}", versus=None if versus is None else f"#{versus}")


def draw_other() -> None:
    """Boxes for tokens that are not in the list."""
    def typed(side: str) -> None:
        key = f"decompose_{side}"
        text = st.session_state[key]
        st.session_state[key] = ""
        if text:
            shared.address(**{side: text})

    left, right = st.columns(2)
    with left:
        st.text_input(
            "another target", key="decompose_target", on_change=typed, args=("target",),
            placeholder=" light", max_chars=64,
        )
    with right:
        st.text_input(
            "another versus", key="decompose_versus", on_change=typed, args=("versus",),
            placeholder=" the", max_chars=64,
        )


def read_hidden() -> str:
    """Whose hidden state the address asks for."""
    asked = st.query_params.get("hidden", "final")
    if asked not in ("final", "own"):
        shared.say(
            f"“{shared.clip(asked)}” is no hidden state; there are final and own.", "bad"
        )
        return "final"
    return asked


def draw_hidden(hidden: str) -> None:
    """The choice between one reader for all steps and each step's own."""
    st.session_state["decompose_hidden"] = hidden
    names = {"final": "the last model's", "own": "each snapshot's own model's"}
    st.segmented_control(
        "hidden state read with the readout of every step",
        list(names),
        format_func=names.get,
        key="decompose_hidden",
        required=True,
        on_change=shared.writes(
            "hidden", "decompose_hidden", lambda v: None if v == "final" else v
        ),
    )


def main() -> None:
    """Draw the page."""
    view = shared.here()
    asked = st.query_params.to_dict()
    prompt = prompt_of()
    left, right = st.columns([1.45, 1], gap="large")
    with left:
        draw_prompt(prompt)
    position = shared.whole(asked.get("position")) if "position" in asked else -1
    hidden = read_hidden()
    if position is None:
        shared.say(f"“{shared.clip(asked['position'])}” is no position in a prompt.", "bad")
        position = -1
    target, versus = asked.get("target"), asked.get("versus")
    try:
        found = answers.explain(
            view.store.digest, view.run, prompt, position, token(target), token(versus), hidden
        )
    except InvalidValue as error:
        refuse(shared.sentence(error), bool(target or versus or "position" in asked))
        return
    shared.settle(
        view, "decompose", prompt=prompt if len(prompt) <= LINK_LIMIT else None, hidden=(
            None if hidden == "final" else hidden
        ),
    )
    if len(prompt) > LINK_LIMIT:
        with left:
            shared.say("This prompt is too long for a link; the address does not hold it.")
    with left:
        draw_tokens(found)
        if len(view.card.steps) > 1:
            draw_hidden(hidden)
    with right:
        draw_candidates(found)
    texts = view.store.token_texts(view.card.model)
    drawn = {t: texts[t] for t in found.score.tokens}
    row = score.nearest(found, view.step)
    show = score.draw_score(view, found, row, drawn)
    if len(view.card.steps) < 2:
        score.draw_ledger(view, found, row, show)
        return
    one, two = st.columns([1, 1.05], gap="large")
    with one:
        score.draw_ledger(view, found, row, show)
    with two:
        score.draw_course(view, found, row.step)
    if show:
        score.draw_map(view, found, row.step)


def refuse(reason: str, again: bool) -> None:
    """What cannot be answered, and the way back."""
    shared.say(reason, "bad")
    if again:
        st.button(
            "Start again with the likeliest tokens",
            key="decompose_reset",
            on_click=shared.address,
            kwargs={"target": None, "versus": None, "position": None},
        )


try:
    main()
except AtlasError as error:
    shared.say(shared.sentence(error), "bad")
