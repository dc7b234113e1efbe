"""What is asked of every seed: the prompt, its kept examples, the tokens of the score."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

import streamlit as st

from atlas import comparing, markup
from atlas.decompose_markup import Offer, offers
from atlas.explanations import Ask
from atlas.matches import WAYS
from atlas.records import RunCard
from atlas.seed_ledger_store import KeptPrompt
from pages import decompose_ask, decompose_candidates, shared

if TYPE_CHECKING:
    from atlas.explanations import Explanation

FIRST = "The LORD is my"
"""A prompt where nothing was kept."""
EXAMPLES = 6
"""Kept prompts that are offered."""
LINK_LIMIT = 4000
"""Characters of an address that a prompt may take; every link of the view holds them."""


def prompt_of(kept: Sequence[KeptPrompt]) -> str:
    """The prompt of the address, a long one of this session, or the kept one that passes in most.
    """
    asked = st.query_params.get("prompt")
    if asked is not None:
        return asked
    if "long_prompt" in st.session_state:
        return st.session_state["long_prompt"]
    plain = [one.entry for one in kept if one.entry.ask == Ask() and one.entry.is_last]
    return plain[0].prompt if plain else FIRST


def too_long(prompt: str) -> bool:
    """Whether a prompt does not fit an address."""
    return len(quote_plus(prompt, errors="replace")) > LINK_LIMIT


def keep_long(prompt: str) -> None:
    """Take a prompt that is too long for a link out of the address; the session holds it."""
    if too_long(prompt):
        st.session_state["long_prompt"] = prompt
        shared.address(prompt=None)
        shared.say("This prompt is too long for a link; the address does not hold it.")


def set_prompt(text: str) -> None:
    """A new prompt: the address forgets what was asked of the old one."""
    long = too_long(text) or not text
    if long:
        st.session_state["long_prompt"] = text
    else:
        st.session_state.pop("long_prompt", None)
    changes = dict.fromkeys(decompose_ask.SCORE)
    shared.address(**changes | {"prompt": None if long else text})


def question(prompt: str) -> dict[str, str]:
    """Parameters of Decompose that ask what this view asks."""
    now = st.query_params.to_dict()
    held = {} if too_long(prompt) else {"prompt": prompt}
    return held | {name: now[name] for name in decompose_ask.SCORE if name in now}


def draw_prompt(view: shared.Here, prompt: str, kept: Sequence[KeptPrompt]) -> None:
    """The prompt box, and prompts that were taken apart with the runs."""
    st.session_state["seeds_prompt"] = prompt

    def asked() -> None:
        set_prompt(st.session_state["seeds_prompt"])

    with st.form("seeds_prompt_form", border=False):
        st.text_area("prompt: the model continues it by one token", key="seeds_prompt", height=92,
                     placeholder=FIRST)
        with st.container(horizontal=True, vertical_alignment="center", gap="small"):
            st.form_submit_button("Take apart", key="seeds_prompt_go", on_click=asked,
                                  type="primary")
            if kept:
                st.html(offers("or try", [_offer(view, one) for one in kept[:EXAMPLES]]))


def _offer(view: shared.Here, one: KeptPrompt) -> Offer:
    entry = one.entry

    def side(token: int | str | None) -> str | None:
        return f"#{token}" if isinstance(token, int) else token

    ask = entry.ask
    wanted = {
        "prompt": entry.prompt, "position": None if entry.is_last else entry.position,
        "kind": ask.kind, "target": side(ask.target), "versus": side(ask.versus),
        "rank": ask.rank if ask.kind == "rank" else None,
        "rivals": ask.rivals if ask.kind == "topk" else None,
        "way": st.query_params.get("way"), "figures": st.query_params.get("figures"),
    }
    href = shared.href("comparison", view, view="prompt",
                       **{name: v for name, v in wanted.items() if v is not None})
    return Offer(entry.name, href, f"passes in {one.passes} of {one.seeds}", plain=True)


def draw_question(
    view: shared.Here, found: "Explanation", way: str, ways: tuple[str, ...]
) -> None:
    """The prompt as the model reads it, the place it is read at, the score's tokens, the way."""
    st.html(markup.prompt(found.texts, found.position))
    if found.note:
        shared.say(found.note[0].upper() + found.note[1:] + ".")
    last = len(found.tokens) - 1
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        if last:
            st.session_state["seeds_position"] = found.position
            st.slider("predict what follows token", 0, last, key="seeds_position", width=220,
                      on_change=_position_changed, args=(last,))
        for side, words in (("target", "another target"), ("versus", "another versus")):
            st.text_input(words, key=f"seeds_{side}", on_change=_typed, args=(side, found),
                          max_chars=64, width=140, help=decompose_ask.SPACES)
        st.session_state["seeds_prompt_way"] = way
        st.segmented_control(
            "features matched by", ways, format_func=WAYS.get, key="seeds_prompt_way",
            required=True, on_change=shared.writes(
                "way", "seeds_prompt_way", lambda v: None if v == ways[0] else v))


def _position_changed(last: int) -> None:
    at = st.session_state["seeds_position"]
    changes = dict.fromkeys(decompose_ask.SCORE)
    shared.address(**changes | {"position": None if at == last else at})


def _typed(side: str, found: "Explanation") -> None:
    text = st.session_state[f"seeds_{side}"]
    st.session_state[f"seeds_{side}"] = ""
    if not text:
        return
    changes = {"kind": None, "rank": None, "rivals": None, side: text}
    if side == "versus":
        changes["target"] = f"#{found.score.target}"
    elif found.score.versus is not None:
        changes["versus"] = f"#{found.score.versus}"
    shared.address(**changes)


def draw_candidates(found: "Explanation") -> None:
    """Likeliest next tokens; a click chooses what is compared."""
    decompose_candidates.draw(found.top, found)


def names(cards: Sequence[RunCard]) -> dict[str, str]:
    """{run: a short name}: `seed 1` where that tells the seeds apart."""
    if len({card.seed for card in cards}) == len(cards):
        return {card.run: f"seed {card.seed}" for card in cards}
    return comparing.names(cards)
