"""What is asked of a prompt: the kind of score, its tokens, other questions, what cannot be."""

from typing import TYPE_CHECKING

import streamlit as st

from atlas import markup
from atlas.decompose_markup import Offer, offers
from atlas.errors import InvalidValue
from atlas.score_words import MEANINGS, NAMES
from pages import shared

if TYPE_CHECKING:
    from atlas.asking import Ask, SeveralTokens
    from atlas.live import Explanation
    from atlas.reading import Reading

SCORE = ("kind", "target", "versus", "rank", "rivals", "position")
"""Parameters of the address that say what is asked of a prompt."""
LINKS = 9_000
"""Characters that links to other questions may take: each carries the prompt."""
SPACES = (
    "A word is tried with a leading space first: “light” is read as “␣light”, which is another row "
    "than “light”. #17 is token 17."
)
FIRST = "A word is tried with a leading space first."
KINDS_HELP = "\n\n".join(f"{NAMES[kind]}: {meaning}" for kind, meaning in MEANINGS.items())
FAMILY_HELP = (
    "Words between “ | ” or commas; each is tried with a leading space first. #17 is token 17. "
    "Words that are several tokens are left out and named."
)


# --- the address ---------------------------------------------------------------------------------


def token(text: str | None) -> str | int | None:
    """A token of the address: `#17` is an id, anything else is text."""
    if text and text[0] == "#" and text[1:].isascii() and text[1:].isdecimal() and len(text) < 9:
        return int(text[1:])
    return text


def read_ask(asked: dict[str, str]) -> "Ask":
    """What the address asks of the prompt; what it cannot ask is said and left out."""
    from atlas.asking import KINDS, RANK, RIVALS, WITH_TARGET, WITH_VERSUS, Ask  # brings torch

    kind = next((name for name in KINDS if name == asked.get("kind")), None)
    if kind is None and "kind" in asked:
        shared.say(
            f"“{shared.clip(asked['kind'])}” is no kind of score; there are {', '.join(KINDS)}.",
            "bad",
        )
    target, versus = token(asked.get("target")), token(asked.get("versus"))
    unread = [
        name for name, there, kinds in
        (("target", target, WITH_TARGET), ("versus", versus, WITH_VERSUS))
        if kind is not None and there is not None and kind not in kinds
    ]
    if unread and kind is not None:
        shared.say(f"A score of {NAMES[kind]} reads no {' and no '.join(unread)}: what the address "
                   "gives is not used.")
    return Ask(
        kind,
        None if "target" in unread else target,
        None if "versus" in unread else versus,
        _whole(asked, "rank", RANK),
        _whole(asked, "rivals", RIVALS),
    )


def _whole(asked: dict[str, str], name: str, usual: int) -> int:
    found = shared.whole(asked.get(name, str(usual)))
    if found is None:
        shared.say(f"{name} “{shared.clip(asked[name])}” is no number; {usual} is used.", "bad")
        return usual
    return found


def again(view: shared.Here, **changes: object) -> str:
    """The address of this page with another question."""
    now = st.query_params.to_dict()
    kept = {name: now[name] for name in shared.OWN["decompose"] if name in now}
    wanted = {k: v for k, v in {**kept, **changes}.items() if v not in (None, "")}
    return shared.href("decompose", view, **wanted)


# --- the chooser ---------------------------------------------------------------------------------


def draw_chooser(
    view: shared.Here, reading: "Reading", ask: "Ask", found: "Explanation | None"
) -> None:
    """Kind of score, tokens by typing, rank or number of rivals, and proposals."""
    kind = (found.score.kind if found else ask.kind) or "contrast"
    st.session_state["decompose_kind"] = kind
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.selectbox(
            "score", list(NAMES), format_func=NAMES.get, key="decompose_kind", width=270,
            on_change=_kind_changed, args=(reading, found), help=KINDS_HELP,
        )
        if kind == "rank":
            _number("rank", "of rank", 2, len(reading.logits), ask.rank)
        if kind == "topk":
            from atlas.asking import MOST_RIVALS

            _number("rivals", "after it", 1, MOST_RIVALS, ask.rivals)
        _draw_boxes(kind, found)
        st.html(markup.wrap(f'<div class="dim">{FIRST}</div>'), width="stretch")
    proposed = _proposals(view, reading, kind, found)
    if proposed:
        st.html(offers("or ask", proposed))


def _number(name: str, words: str, low: int, high: int, value: int) -> None:
    key = f"decompose_{name}"
    st.session_state[key] = min(max(value, low), high)
    st.number_input(words, low, high, key=key, width=130, on_change=shared.writes(name, key))


def _draw_boxes(kind: str, found: "Explanation | None") -> None:
    """Boxes for tokens that are not in the list."""
    def typed(side: str) -> None:
        key = f"decompose_{side}"
        text = st.session_state[key]
        st.session_state[key] = ""
        if text:
            shared.address(**_typed(kind, side, text, found))

    family = kind == "family"
    words = {
        "target": "words of the target’s family" if family else "another target",
        "versus": "words to compare with" if family else "another versus",
    }
    places = {"target": " Lord |  God" if family else " light",
              "versus": " king, man" if family else " the"}
    for side in ("target", "versus"):
        st.text_input(
            words[side], key=f"decompose_{side}", on_change=typed, args=(side,),
            placeholder=places[side], max_chars=600 if family else 64, width=210,
            help=FAMILY_HELP if family else SPACES,
        )


def _typed(kind: str, side: str, text: str, found: "Explanation | None") -> dict[str, object]:
    """Changes of the address that a typed token or family asks for."""
    if kind == "family" or (side == "target" and kind not in ("topk", "rank")):
        return {side: text}
    if kind == "contrast" and side == "versus":
        return {"kind": None, "versus": text}
    target = f"#{found.score.target}" if found else st.query_params.get("target")
    if side == "target":
        return {"kind": None, "target": text, "versus": target}
    return {"kind": None, "target": target, "versus": text}


def _kind_changed(reading: "Reading", found: "Explanation | None") -> None:
    """Another kind of score keeps of the tokens what it can read."""
    from atlas.proposals import family_of

    kind = st.session_state["decompose_kind"]
    changes: dict[str, object] = {"kind": kind, "target": None, "versus": None}
    score = found.score if found else None
    if score is not None and kind not in ("topk", "rank"):
        one, other = score.sides
        changes["target"] = f"#{one[0]}"
        if other and kind == "contrast":
            changes |= {"kind": None, "versus": f"#{other[0]}"}
        elif kind == "family":
            changes["target"] = family_of(reading, one[0])
            if other and f"#{other[0]}" not in changes["target"].split(" | "):
                changes["versus"] = family_of(reading, other[0])
    shared.address(**changes)


def _proposals(
    view: shared.Here, reading: "Reading", kind: str, found: "Explanation | None"
) -> list[Offer]:
    """A few sensible rivals of the target, and the family of its word."""
    if found is None or kind not in ("contrast", "token", "centred", "vocabulary"):
        return []
    from atlas.asking import Ask, score_of
    from atlas.language_model import draw_token
    from atlas.proposals import family_of, rivals_of

    target = found.score.target
    drawn = found.target_text
    made = [
        Offer(
            f"{drawn} − {draw_token(reading.tokenizer, form.token)}",
            again(view, kind=None, target=f"#{target}", versus=f"#{form.token}"), form.what,
        )
        for form in rivals_of(reading, target) if form.token != found.score.versus
    ]
    family = family_of(reading, target)
    if " | " in family:
        try:
            asked = score_of(reading, Ask("family", target=family))
        except InvalidValue:
            asked = None
        if asked is not None:
            members = " ".join(draw_token(reading.tokenizer, t) for t in asked.score.sides[0])
            made.append(Offer(members, again(view, kind="family", target=family, versus=None),
                              "as one family"))
    kept, room = [], LINKS
    for offer in made:
        room -= len(offer.href)
        if room > 0:
            kept.append(offer)
    return kept[:5]


# --- what cannot be answered ---------------------------------------------------------------------


def refuse(
    view: shared.Here, error: InvalidValue, asked: dict[str, str],
    reading: "Reading | None" = None,
) -> None:
    """What cannot be answered, better questions, and the way back."""
    shared.say(shared.sentence(error), "bad")
    if reading is not None:
        from atlas.asking import SeveralTokens

        if isinstance(error, SeveralTokens):
            _draw_instead(view, error, reading)
    if view.card.matrix != "W_U":
        _offer_readout(view)
        return
    if any(name in asked for name in SCORE):
        st.button(
            "Start again with the likeliest tokens",
            key="decompose_reset",
            on_click=shared.address,
            kwargs=dict.fromkeys(SCORE),
        )


def _offer_readout(view: shared.Here) -> None:
    """The same prompt under a dictionary of the readout of the same model."""
    runs = [card.run for card in view.store.runs() if card.model == view.card.model
            and card.matrix == "W_U" and card.problem is None]
    if runs:
        st.button("Ask a dictionary of the readout", key="decompose_readout",
                  on_click=shared.change_run, args=(runs[0],))


def _draw_instead(view: shared.Here, error: "SeveralTokens", reading: "Reading") -> None:
    """What can be asked instead of a word that is several tokens."""
    from atlas.language_model import draw_token

    def drawn(tokens: tuple[int, ...]) -> str:
        return " ".join(draw_token(reading.tokenizer, t) for t in tokens)

    first = error.pieces[:1]
    found = [Offer(drawn(first), again(view, **{error.side: f"#{first[0]}"}),
                   "its first piece, which is what comes next")]
    if error.forms:
        family = " | ".join(f"#{t}" for t in error.forms)
        one = len(error.forms) == 1
        found.append(Offer(
            drawn(error.forms),
            again(view, **({error.side: family} if one else
                           {"kind": "family", error.side: family})),
            "the same word as one token" if one else "the family of its other forms",
        ))
    st.html(offers("ask instead", found))
