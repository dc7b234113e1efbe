"""Search by text: which tokens a typed text means, and which features have to do with them.

A typed text is compared with what is drawn for a token, in which a leading space is ␣. It is
never a pattern: every character means itself.
"""

import numpy as np

from atlas.columns import label_columns, name_columns, number_columns
from atlas.conditions import clip
from atlas.recent import Recent
from atlas.store import Store
from atlas.vocabulary import RESERVED, SIGNS, show_token
from atlas.wishes import EITHER, EXACT, FIRES, PREFIX, PROMOTES, SUBSTRING, WORD, Wish

TOKENS = 200
"""Tokens whose features are looked for: the most frequent ones of those that match."""
SPACE = SIGNS[" "]

FREQUENCY = """
    SELECT coalesce(n_train, -1) AS n_train FROM catalog.token WHERE model = $model
    ORDER BY token"""
PROMOTING = "SELECT DISTINCT feature FROM {run}.token_index WHERE {token}"
AT_STEP = " AND (snapshots >> $at) & 1 = 1"
FIRING = """
    SELECT unnest(features) AS feature, unnest(p) AS p FROM {run}.code_by_token WHERE {token}"""

_SPELLINGS = Recent(8)


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
        needle = needle.removeprefix("◌")
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
    return _SPELLINGS.get((store.digest, model, "folded"),
                          lambda: [text.lower() for text in store.token_texts(model)])


def _frequency(store: Store, run: str) -> np.ndarray:
    """Occurrences of every token in the training text, -1 where not counted."""
    model = store.run(run).model

    def make() -> np.ndarray:
        table = store.ask(run, FREQUENCY, model=model)
        return table["n_train"].to_numpy()

    return _SPELLINGS.get((store.digest, model), make)


def features_of_tokens(
    store: Store, run: str, k: int, tokens: np.ndarray, by: str, at_step: bool
) -> np.ndarray:
    """Which features promote some tokens or fire on them, (d_sae,) bool.

    Args:
        k: the chosen snapshot, from 0. by: either, promotes or fires.
        at_step: only at that snapshot, not at any. A prism's code has no snapshots.
    """
    card = store.run(run)
    found = np.zeros(card.d_sae, bool)
    if not len(tokens):
        return found
    # a single token is found by the zone maps of the file, a list of them by a join
    one = len(tokens) == 1
    token = "token = $tokens" if one else "token IN (SELECT unnest($tokens::INTEGER[]))"
    values = {"tokens": int(tokens[0]) if one else [int(t) for t in tokens]}
    if by != FIRES:
        sql = PROMOTING.replace("{token}", token)
        at = {"at": k} if at_step else {}
        table = store.ask(run, sql + (AT_STEP if at_step else ""), **values, **at)
        found[table["feature"].to_numpy()] = True
    if by != PROMOTES:
        table = store.ask(run, FIRING.replace("{token}", token), **values)
        features, p = table["feature"].to_numpy(), table["p"].to_numpy()
        if at_step and card.kind != "prism":
            own = number_columns(store, run, k, ("norm_at", "threshold"), card.steps[:1] * 2)
            features = features[p * own["norm_at"][features] > own["threshold"][features]]
        found[features] = True
    return found


def features_with_text(store: Store, run: str, text: str) -> np.ndarray:
    """Which features have a text in a label token or in a category, case ignored, (d_sae,) bool."""
    labels = label_columns(store, run)
    wanted = np.zeros(len(store.token_texts(store.run(run).model)) + 1, bool)
    wanted[matching_tokens(store, run, text, SUBSTRING, ignore_case=True)] = True
    # a row past the vocabulary has no text: it falls on the last entry, which is never wanted
    hits = wanted[np.minimum(labels.tokens, len(wanted) - 1)]
    before = np.concatenate([[0], np.cumsum(hits)])
    found = before[labels.offsets[1:]] > before[labels.offsets[:-1]]
    part = text.lower()
    for column in name_columns(store, run).values():
        names = np.array([part in value.lower() for value in column.values] + [False])
        found |= names[column.places]
    return found


def reading(text: str) -> tuple[str, str]:
    """How the text of the search box is meant: ("index" | "token" | "text" | "", what is sought).

    `#17` is an index; a leading space or quotes mean one exact token.
    """
    bare = text.strip()
    if bare.startswith("#") and bare[1:].isascii() and bare[1:].isdecimal():
        return "index", bare[1:]
    if len(text) > 2 and text[0] == text[-1] == '"':
        return "token", text[1:-1]
    if text[:1] in (" ", SPACE) and text.strip(f" {SPACE}"):
        return "token", " " + text[1:]
    return ("text", bare) if bare else ("", "")


def mask(store: Store, run: str, k: int, wish: Wish) -> tuple[np.ndarray | None, tuple[str, ...]]:
    """Which features the texts of a wish leave, (d_sae,) bool or None for all, and what to say."""
    found: list[np.ndarray] = []
    notes: list[str] = []
    way, sought = reading(wish.text)
    if way == "index":
        d_sae = store.run(run).d_sae
        found.append(np.arange(d_sae) == (int(sought) if len(sought) < 12 else -1))
    elif way == "text":
        found.append(features_with_text(store, run, sought))
    for text, match, fold, by, at_step in (
        (sought if way == "token" else "", EXACT, False, EITHER, False),
        (wish.token_text, wish.token_match, wish.ignore_case, wish.token_by, wish.token_at_step),
    ):
        if text:
            tokens = matching_tokens(store, run, text, match, fold)
            if len(tokens) > TOKENS:
                notes.append(f"{len(tokens):,} tokens match “{clip(text)}”; listed are the "
                             f"features of the {TOKENS} most frequent ones.")
            elif not len(tokens):
                notes.append(f"No token matches “{clip(text)}”.")
            found.append(features_of_tokens(store, run, k, tokens[:TOKENS], by, at_step))
    return (np.logical_and.reduce(found) if found else None), tuple(notes)
