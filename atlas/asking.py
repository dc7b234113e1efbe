"""From what a person asks of a prompt to a score: which tokens, with which weights.

Kinds of scores and their weights follow prism-method §6.2. A word is tried with a leading space
first, then as written (the space-first audit of §6.3); `#17` in a list, or a number, is a token
id. Ranks and the weights of rivals come from h . row of the last readout, in float64, and are
fixed before anything is taken apart.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from atlas.decomposition import Kind, Score, contrast, token_logit
from atlas.errors import InvalidValue
from atlas.explanations import RANK as RANK
from atlas.explanations import RIVALS as RIVALS
from atlas.explanations import Ask as Ask
from atlas.language_model import Tokenizer, draw_token, encode, resolve_token
from atlas.ranking import Ranked, exact_logits, ranked
from atlas.reading import Reading
from atlas.token_forms import forms_of_token, forms_of_word, is_special, is_token

MOST_RIVALS = 100
"""Tokens after the winner that a score may read."""
MOST_MEMBERS = 64
"""Words of a family."""
WITH_TARGET: tuple[Kind, ...] = ("token", "centred", "vocabulary", "contrast", "family")
"""Kinds that read a target; the others read the winner."""
WITH_VERSUS: tuple[Kind, ...] = ("contrast", "family")
"""Kinds that read a token or family to compare with."""
KINDS: tuple[Kind, ...] = (*WITH_TARGET, "topk", "rank")


@dataclass(frozen=True)
class Asked:
    """A score, and what was done to get at it."""

    score: Score
    note: str | None = None
    """Which members of a family were left out and why, and the like; None if there is nothing."""
    entropy: float | None = None
    """Of the weights of a winner's rivals, in nats."""
    rank: int | None = None
    """Rank of the token that the winner is compared with, where one was asked for."""


class SeveralTokens(InvalidValue):
    """A text that is to be one token and is several; says what can be asked instead."""

    def __init__(self, reason: str, side: str, pieces: list[int], forms: tuple[int, ...]) -> None:
        super().__init__(reason)
        self.side = side
        """`target` or `versus`."""
        self.pieces = tuple(pieces)
        """What it is made of, with a leading space; the first is what the model predicts next."""
        self.forms = forms
        """Other ways to write it that are one token."""


def score_of(reading: Reading, ask: Ask) -> Asked:
    """The score that is asked for.

    Raises:
        InvalidValue: a token does not exist or is several, the two sides are the same, or a part
            of what is asked does not fit the kind of score.
    """
    kind = ask.kind or _kind_of(ask)
    if kind not in KINDS:
        raise InvalidValue(f"kind {str(kind)[:40]!r} is no score; there are {', '.join(KINDS)}")
    if ask.target is not None and kind not in WITH_TARGET:
        raise InvalidValue(f"a {kind} score reads the winner and takes no target")
    if ask.versus is not None and kind not in WITH_VERSUS:
        raise InvalidValue(f"a {kind} score takes no versus; contrast and family do")
    return MAKERS[kind](reading, ask)


def _kind_of(ask: Ask) -> Kind:
    return "token" if ask.versus is None and ask.target is not None else "contrast"


# --- one token, two tokens -----------------------------------------------------------------------


def _of_one(reading: Reading, ask: Ask) -> Asked:
    token, note = _target(reading, ask)
    kind = ask.kind or "token"
    score = token_logit(token) if kind == "token" else Score(kind, (token,), (1.0,))
    return Asked(score, note)


def _of_two(reading: Reading, ask: Ask) -> Asked:
    wanted, note = _target(reading, ask)
    if ask.versus is None:
        best = ranked(reading, 1, 2)
        other = next(t for t in best.tokens if t != wanted)
        return Asked(contrast(wanted, other), _together(note, best.note))
    other, also = _token(reading, ask.versus, "versus")
    if other == wanted:
        raise InvalidValue(
            f"target and versus are the same token, {_drawn(reading, wanted)!r}; name two"
        )
    return Asked(contrast(wanted, other), _together(note, also))


def _target(reading: Reading, ask: Ask) -> tuple[int, str | None]:
    if ask.target is not None:
        return _token(reading, ask.target, "target")
    best = ranked(reading, 1, 1)
    return best.tokens[0], best.note


def _token(reading: Reading, named: str | int, side: str) -> tuple[int, str | None]:
    """A token and what is to be said of it."""
    tokenizer, rows = reading.tokenizer, len(reading.logits)
    if isinstance(named, str):
        token = _of_text(tokenizer, named, side)
    elif not 0 <= named < rows:
        raise InvalidValue(f"there is no token {named}; ids go from 0 to {rows - 1}")
    else:
        token = int(named)
    if not is_token(tokenizer, token):
        raise InvalidValue(
            f"row {token} belongs to no token: the head is padded to {rows:,} rows and the "
            f"tokenizer has {tokenizer.get_vocab_size():,} tokens; name one of those"
        )
    if is_special(tokenizer, token):
        return token, f"{_drawn(reading, token)} is a special token of the tokenizer, not text"
    return token, None


def _of_text(tokenizer: Tokenizer, text: str, side: str) -> int:
    try:
        return resolve_token(tokenizer, text)
    except InvalidValue as error:
        reason = str(error).replace("target", side, 1)
        ids = encode(tokenizer, text if text.startswith(" ") else f" {text}") if text else []
        if not ids:
            raise InvalidValue(reason) from error
        forms = tuple(form.token for form in forms_of_word(tokenizer, text))
        raise SeveralTokens(reason, side, ids, forms) from error


def _drawn(reading: Reading, token: int) -> str:
    return draw_token(reading.tokenizer, token)


def _together(*notes: str | None) -> str | None:
    return "; ".join(dict.fromkeys(filter(None, notes))) or None


# --- families ------------------------------------------------------------------------------------


def family_words(text: str) -> tuple[str | int, ...]:
    """The members of a family as they are typed.

    Words stand between ` | ` or `|`, where a leading space is part of the word, so that ` a |  b`
    is ` a` and ` b`; or else between commas, of which one blank behind each is none of the word's.
    `#17` is token 17.
    """
    between = next((mark for mark in (" | ", "|") if mark in text), ",")
    parts = text.split(between)
    if between == ",":
        parts = [parts[0].rstrip(), *(part.removeprefix(" ").rstrip() for part in parts[1:])]
    words = [part for part in parts if part.strip()] or [text]
    return tuple(
        int(word.strip()[1:]) if re.fullmatch(r"\s*#[0-9]{1,7}\s*", word) else word
        for word in words
    )


def _of_families(reading: Reading, ask: Ask) -> Asked:
    best = ranked(reading, 1, 2).tokens
    target = best[0] if ask.target is None else ask.target
    one, said = _family(reading, target, "target", ask.target is None)
    if ask.versus is None:
        rival = next((t for t in ranked(reading, 1, 12).tokens if t not in one), best[1])
        two, also = _family(reading, rival, "versus", True)
    else:
        two, also = _family(reading, ask.versus, "versus", False)
    weights: dict[int, float] = {}
    for sign, members in ((1.0, one), (-1.0, two)):
        for token in members:
            weights[token] = weights.get(token, 0.0) + sign / len(members)
    out = [t for t in weights if t in one and t in two]
    kept = {t: w for t, w in weights.items() if abs(w) > 1e-12}
    if not kept:
        raise InvalidValue("the two families are the same, so nothing is left to compare")
    order = sorted(kept, key=lambda t: kept[t] < 0)  # the target's side first, as typed
    shared = f"in both families, so it counts by the difference: {_list(reading, out)}"
    note = _together(said, also, shared if out else None)
    return Asked(Score("family", tuple(order), tuple(kept[t] for t in order)), note)


def _family(
    reading: Reading, named: str | int, side: str, proposed: bool
) -> tuple[list[int], str | None]:
    """The members of a family, and which were left out."""
    tokenizer = reading.tokenizer
    if isinstance(named, int):
        token, note = _token(reading, named, side)
        forms = forms_of_token(tokenizer, token) if proposed else ()
        return [form.token for form in forms] or [token], note
    words = family_words(named)
    if len(words) > MOST_MEMBERS:
        raise InvalidValue(f"the {side} family has {len(words)} words, at most {MOST_MEMBERS}")
    members: list[int] = []
    reasons: list[str] = []
    for word in words:
        try:
            token, note = _token(reading, word, side)
        except SeveralTokens as error:
            reasons.append(f"{str(word)[:40]!r} ({len(error.pieces)} tokens)")
            continue
        except InvalidValue:
            reasons.append(f"{str(word)[:40]!r} (no token)")
            continue
        if token in members:
            reasons.append(f"{str(word)[:40]!r} ({_drawn(reading, token)} again)")
            continue
        members.append(token)
        if note:
            reasons.append(note)
    left_out = f"left out of the {side} family: {', '.join(reasons)}" if reasons else None
    if not members:
        raise InvalidValue(f"no word of the {side} family is a token: {', '.join(reasons)}")
    return members, left_out


def _list(reading: Reading, tokens: Sequence[int]) -> str:
    return ", ".join(_drawn(reading, token) for token in tokens)


# --- the winner ----------------------------------------------------------------------------------


def _of_rivals(reading: Reading, ask: Ask) -> Asked:
    if not 1 <= ask.rivals <= MOST_RIVALS:
        raise InvalidValue(f"rivals is {ask.rivals}; ask for 1 to {MOST_RIVALS} of them")
    found = _ranked(reading, 1, ask.rivals + 1)
    logits = exact_logits(reading, found.tokens[1:])
    share = np.exp(logits - logits.max())
    share /= share.sum()
    entropy = float(-(share * np.log(np.maximum(share, 1e-300))).sum())
    weights = (1.0, *(-share).tolist())
    return Asked(Score("topk", found.tokens, weights), found.note, entropy)


def _of_rank(reading: Reading, ask: Ask) -> Asked:
    if ask.rank < 2:
        raise InvalidValue(f"rank {ask.rank} is the winner itself or none; ask for 2 or more")
    winner = _ranked(reading, 1, 1)
    other = _ranked(reading, ask.rank, ask.rank)
    score = Score("rank", (winner.tokens[0], other.tokens[0]), (1.0, -1.0))
    return Asked(score, other.note, rank=ask.rank)


def _ranked(reading: Reading, first: int, last: int) -> Ranked:
    found = ranked(reading, first, last)
    if len(found.tokens) < last - first + 1:
        raise InvalidValue(f"there is no rank {last}: the vocabulary has {found.count:,} tokens")
    return found


MAKERS: dict[Kind, Callable[[Reading, Ask], Asked]] = {
    "token": _of_one, "centred": _of_one, "vocabulary": _of_one, "contrast": _of_two,
    "family": _of_families, "topk": _of_rivals, "rank": _of_rank,
}
