"""Search by text: which features have to do with the tokens that a typed text means."""

import numpy as np

from atlas.columns import label_columns, name_columns, number_columns
from atlas.conditions import clip
from atlas.store import Store
from atlas.token_search import SPACE, matching_tokens
from atlas.wishes import EITHER, EXACT, FIRES, PROMOTES, SUBSTRING, Wish

TOKENS = 200
"""Tokens whose features are looked for: the most frequent ones of those that match."""

PROMOTING = "SELECT feature FROM {run}.token_index WHERE {token}"
AT_STEP = " AND (snapshots >> $at) & 1 = 1"
FIRING = "SELECT features FROM {run}.code_by_token WHERE {token}"
FIRING_WITH = "SELECT features, p FROM {run}.code_by_token WHERE {token}"


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
        weighed = at_step and card.kind != "prism"  # a column of millions is read if needed only
        asked = FIRING_WITH if weighed else FIRING
        table = store.ask(run, asked.replace("{token}", token), **values)
        features = table["features"].combine_chunks().flatten().to_numpy()
        if weighed:
            p = table["p"].combine_chunks().flatten().to_numpy()
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
