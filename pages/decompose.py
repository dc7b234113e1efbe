"""Decompose: why does this token win here, and at which steps of training?

torch and transformers are imported when the first prompt is read, not before.
"""

from importlib import import_module
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import streamlit as st

from atlas import markup
from atlas.errors import AtlasError, InvalidValue, NotFound
from pages import (
    answers_decompose,
    decompose_ask,
    decompose_candidates,
    decompose_kept,
    score,
    shared,
    views,
    waiting,
)
from pages.seen import Seen

if TYPE_CHECKING:
    from atlas.live import Explanation
    from atlas.reading import Reading

# Beginnings in the languages that the bundle's models have read.
EXAMPLES = {
    "Bible": "The LORD is my",
    "Shakespeare": "HAMLET.\nTo be, or not to",
    "Python": "def __init__(self, name):\n        self.name =",
    "SQL": "CREATE TABLE t1(a INTEGER PRIMARY",
    "HTML": "<table>\n<tr><td>Name</td><td>",
    "Russian": "Введите правильное",
}
VIEWS = {
    "why": ("why this token", "pages.decompose_why"),
    "training": ("through training", "pages.decompose_training"),
    "inside": ("inside the model", "pages.decompose_inside"),
    "swap": ("readout swap", "pages.decompose_swap"),
    "edit": ("change it", "pages.decompose_edit"),
    "trust": ("how far to trust it", "pages.decompose_trust"),
}
"""Value of `view` in the address, words for it, and the file that draws it."""
WITHOUT_PROMPT = ("trust",)
"""Views of the dictionary, not of a prompt."""
LINK_LIMIT = 4000
"""Characters of an address that a prompt may take; every link of the page holds them."""


def prompt_of() -> str:
    """The prompt of the address, or the long one of this session, or the first example."""
    asked = st.query_params.get("prompt")
    if asked is not None:
        return asked
    return st.session_state.get("long_prompt", next(iter(EXAMPLES.values())))


def too_long(prompt: str) -> bool:
    """Whether a prompt does not fit an address, where a Cyrillic letter takes six characters."""
    return len(quote_plus(prompt, errors="replace")) > LINK_LIMIT


def set_prompt(text: str) -> None:
    """A new prompt: the address forgets what was asked of the old one."""
    long = too_long(text) or not text
    if long:
        st.session_state["long_prompt"] = text
    else:
        st.session_state.pop("long_prompt", None)
    shared.address(
        prompt=None if long else text, position=None, target=None, versus=None
    )


def draw_prompt(view: shared.Here, prompt: str) -> None:
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
            decompose_kept.offer(view)


def draw_tokens(found: "Explanation | Reading") -> None:
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
    chosen = views.read(VIEWS)
    if chosen in WITHOUT_PROMPT:
        shared.settle(view, "decompose", view=chosen)
        views.draw(VIEWS, chosen, "decompose")
        import_module(VIEWS[chosen][1]).draw(view)
        return
    seen = draw_reading(view, chosen)
    views.draw(VIEWS, chosen, "decompose")
    if seen is not None and not seen.live and chosen not in decompose_kept.VIEWS:
        shared.say("This view is not available, because it needs the language model.")
    elif seen is not None:
        import_module(VIEWS[chosen][1]).draw(seen)


def draw_reading(view: shared.Here, chosen: str) -> Seen | None:
    """Prompt, candidates and the score's header; None where nothing can be answered."""
    asked = st.query_params.to_dict()
    prompt = prompt_of()
    left, right = st.columns([1.45, 1], gap="large")
    with left:
        draw_prompt(view, prompt)
    position = shared.whole(asked.get("position")) if "position" in asked else -1
    hidden, anyway = read_hidden(), read_bars(asked.get("bars"))
    if position is None:
        shared.say(f"“{shared.clip(asked['position'])}” is no position in a prompt.", "bad")
        position = -1
    ask = decompose_ask.read_ask(asked)
    question = (view.store.digest, view.run, prompt, position, ask, hidden)
    reading, found, problem = None, None, None
    try:
        if not waiting.wait_for(view, prompt, answers_decompose.device()):
            return None
        reading = answers_decompose.reading(*question[:4])
    except InvalidValue as error:
        decompose_ask.refuse(view, error, asked)
        return None
    except NotFound as error:
        found = decompose_kept.instead(view, error, question)
        if found is None:
            return None
    if reading is not None:
        try:
            found = answers_decompose.explanation(*question)
        except InvalidValue as error:
            problem = error
    long = too_long(prompt)
    if long:  # it may have come by an address, which will not hold it
        st.session_state["long_prompt"] = prompt
    if found is not None:
        shared.settle(
            view, "decompose", prompt=None if long else prompt, hidden=(
                None if hidden == "final" else hidden
            ), view=views.written(VIEWS, chosen), bars="show" if anyway else None,
        )
    with left:
        if long:
            shared.say("This prompt is too long for a link; the address does not hold it.")
        draw_tokens(found or reading)
        if len(view.card.steps) > 1:
            draw_hidden(hidden)
    with right:
        decompose_candidates.draw((reading or found).top, found)
    if reading is not None:
        decompose_ask.draw_chooser(view, reading, ask, found)
    if problem is not None:
        decompose_ask.refuse(view, problem, asked, reading)
    if found is None:
        return None
    row = score.nearest(found, view.step)
    show = score.draw_score(view, reading, found, row, anyway)
    return Seen(view, found, row, show, prompt, position, ask, hidden, anyway, reading is not None)


def read_bars(asked: str | None) -> bool:
    """Whether the address asks for the features of explanations that fail the gate."""
    if asked not in (None, "", "show"):
        shared.say(f"Bars cannot be “{shared.clip(asked)}”; bars=show shows those of explanations "
                   "that fail the gate.", "bad")
    return asked == "show"


try:
    main()
except AtlasError as error:
    shared.say(shared.sentence(error), "bad")
