"""Tokens by text, against a plain loop over the vocabulary."""

from pathlib import Path

import pytest

from atlas.errors import InvalidValue
from atlas.queries import MAX_LIMIT
from atlas.store import Store
from atlas.token_search import MATCHES, find_tokens
from tests.tiny import SEED0, V

TEXTS = [" the", "the", "THE", "th", "e", " ", "␣", "␣␣", "⟨", "⏎", "%", "_", "1", "Z", "zzz"]


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


@pytest.fixture(scope="module")
def tokens(store: Store) -> list[str]:
    return [store.token(SEED0, token).text for token in range(V)]


def plainly(tokens: list[str], text: str, match: str) -> set[int]:
    """The slow way: every token, one rule at a time."""
    wanted, found = text.replace(" ", "␣"), set()
    for token, shown in enumerate(tokens):
        exact, starts = shown == wanted, shown.startswith(wanted)
        word = shown.strip("␣").lower() == wanted.strip("␣").lower() != ""
        holds = wanted.lower() in shown.lower()
        if {"any": exact or word or starts or holds, "exact": exact, "word": exact or word,
                "prefix": starts, "substring": holds}[match]:
            found.add(token)
    return found


@pytest.mark.parametrize("match", MATCHES)
def test_they_are_those_of_a_plain_loop(
    store: Store, tokens: list[str], match: str
) -> None:
    for text in TEXTS:
        found = find_tokens(store, SEED0, text, match, MAX_LIMIT)["token"].tolist()
        assert set(found) == plainly(tokens, text, match), (text, match)
        assert len(found) == len(set(found))


def test_the_closest_come_first(store: Store) -> None:
    found = find_tokens(store, SEED0, " the", limit=MAX_LIMIT)
    assert found["text"].iloc[0] == "␣the"
    texts = found["text"].tolist()
    starts = [t.startswith("␣the") for t in texts]
    assert starts.index(False) <= starts.count(True) + 1
    assert len(find_tokens(store, SEED0, "e", limit=3)) == 3


def test_an_id_and_nothing(store: Store) -> None:
    texts = store.token_texts("tiny-large")
    assert find_tokens(store, SEED0, "#17")[["token", "text"]].values.tolist() == [[17, texts[17]]]
    assert find_tokens(store, SEED0, f"#{V}").empty
    assert find_tokens(store, SEED0, "#" + "9" * 40).empty
    common = find_tokens(store, SEED0, "", limit=10)["n_train"].tolist()
    assert common == sorted(common, reverse=True)
    assert len(common) == 10


def test_an_unknown_way_is_named(store: Store) -> None:
    with pytest.raises(InvalidValue, match="use one of any, exact, word, prefix, substring"):
        find_tokens(store, SEED0, "a", "regex")
