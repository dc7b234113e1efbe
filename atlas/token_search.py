"""Tokens of a language model by what is typed: exact, whole word, beginning or any part.

A typed text is compared with what is drawn for a token, in which a space is ␣. It is never a
pattern: every character means itself. All tokens are gone through in memory, 2 ms of 50,000, where
the store's own functions on text take 15.
"""

import numpy as np
import pandas as pd

from atlas.errors import InvalidValue
from atlas.queries import MAX_LIMIT
from atlas.recent import Recent
from atlas.store import Store
from atlas.vocabulary import RESERVED, SIGNS, show_token
from atlas.wishes import EXACT, PREFIX, SUBSTRING, WORD

ANY = "any"
MATCHES = (ANY, EXACT, WORD, PREFIX, SUBSTRING)
"""Ways to match. A whole word ignores case and the space before it, a part ignores case; a leading
space counts in all others. `any` takes all of them, the closest first."""
SPACE = SIGNS[" "]
MARK = "◌"
"""Drawn before a sign that combines with the one before it."""

_FREQUENCY = """
    SELECT coalesce(n_train, -1) AS n_train FROM catalog.token WHERE model = $model
    ORDER BY token"""
_KEPT = Recent(8)


def matching_tokens(
    store: Store, run: str, text: str, match: str = EXACT, ignore_case: bool = False
) -> np.ndarray:
    """Ids of the tokens that a typed text means, (n,) int64, most frequent first.

    Args:
        match: exact, prefix, substring, or word, which ignores case and a space before.
        ignore_case: take upper and lower case as alike.
    """
    fold = ignore_case or match == WORD
    needle = drawn(text)
    needle = needle.lower() if fold else needle
    if match == WORD:
        needle = needle.removeprefix(SPACE)
    if match == SUBSTRING:
        needle = needle.removeprefix(MARK)
    if not needle:
        return np.zeros(0, np.int64)
    texts = _spelling(store, run, fold)
    if match == SUBSTRING:
        found = [i for i, text in enumerate(texts) if needle in text]
    elif match == PREFIX:
        found = [i for i, text in enumerate(texts) if text.startswith(needle)]
    else:
        found = _all_places(texts, needle)
        if match == WORD:
            found += _all_places(texts, SPACE + needle)
    tokens = np.array(found, np.int64)
    order = np.argsort(-_frequency(store, run)[tokens], kind="stable")
    return tokens[order]


def _all_places(texts: list[str], wanted: str) -> list[int]:
    """Every place of a text in a list: several rows may draw alike."""
    found, start = [], 0
    for _ in range(texts.count(wanted)):
        found.append(texts.index(wanted, start))
        start = found[-1] + 1
    return found


def drawn(text: str) -> str:
    """A typed text as it would be drawn; text that holds our own signs is taken as drawn."""
    if any(sign in text for sign in RESERVED):
        for char, sign in SIGNS.items():
            text = text.replace(char, sign)
        return text
    return show_token(text.encode("utf8", "replace")) if text else ""


def _spelling(store: Store, run: str, fold: bool) -> list[str]:
    """The drawn text of every token, in lower case if `fold`."""
    model = store.run(run).model
    if not fold:
        return store.token_texts(model)
    return _KEPT.get((store.digest, model, "folded"),
                          lambda: [text.lower() for text in store.token_texts(model)])


def _frequency(store: Store, run: str) -> np.ndarray:
    """Occurrences of every token in the training text, -1 where not counted."""
    model = store.run(run).model

    def make() -> np.ndarray:
        table = store.ask(run, _FREQUENCY, model=model)
        return table["n_train"].to_numpy()

    return _KEPT.get((store.digest, model), make)


def find_tokens(
    store: Store, run: str, text: str, match: str = ANY, limit: int = 30
) -> pd.DataFrame:
    """token, text, n_train of the tokens that match, the closest first, then the most frequent.

    A typed ␣ is a space; the empty text gives the most frequent tokens. `#17` is the token 17.

    Raises:
        InvalidValue: no such way to match.
    """
    if match not in MATCHES:
        raise InvalidValue(f"{match!r} is no way to match; use one of {', '.join(MATCHES)}")
    texts, seen = store.token_texts(store.run(run).model), _frequency(store, run)
    if not text:
        found = np.arange(len(texts))
        rank = np.zeros(len(texts))
    elif text[0] == "#" and text[1:].isascii() and text[1:].isdecimal():
        token = int(text[1:13])
        found = np.array([token] if token < len(texts) else [], dtype=np.int64)
        rank = np.zeros(len(found))
    else:
        found, rank = _ranked(texts, _spelling(store, run, True), drawn(text), match)
    order = np.lexsort((found, -seen[found], rank))[: min(limit, MAX_LIMIT)]
    counts = [int(n) if n >= 0 else None for n in seen[found[order]]]
    return pd.DataFrame({
        "token": found[order], "text": [texts[t] for t in found[order]],
        "n_train": pd.array(counts, dtype="Int64"),
    })


def _ranked(
    texts: list[str], folded: list[str], needle: str, match: str
) -> tuple[np.ndarray, np.ndarray]:
    """Tokens that match (n,) and how closely (n,): 0 the very token, 1 the word, 2, 3 a part."""
    low = needle.lower()
    bare, part = low.strip(SPACE), low.removeprefix(MARK) or low
    least = bare.removeprefix(MARK) or part  # every way to match holds at least this much
    found, ranks = [], []
    for i in [i for i, text in enumerate(folded) if least in text]:
        same, starts = texts[i] == needle, texts[i].startswith(needle)
        word, holds = bare and folded[i].strip(SPACE) == bare, part in folded[i]
        taken = {ANY: same or word or starts or holds, EXACT: same, WORD: same or word,
                 PREFIX: starts, SUBSTRING: holds}[match]
        if taken:
            found.append(i)
            ranks.append(0 if same else 1 if word else 2 if starts else 3)
    return np.array(found, dtype=np.int64), np.array(ranks, dtype=np.int64)
