"""Search by text against slow twins over every token, and texts that look like something else."""

from functools import cache

import pytest

from atlas import searches
from atlas.browsing import page, read_wish
from atlas.searches import reading
from atlas.store import Store
from atlas.token_search import drawn, matching_tokens
from tests.tiny import LARGE_MODEL, PRISM, SEED0, STEPS, WIDTH

TEXTS = ["the", " the", "␣the", "THE", " water", "wat", "e", " ", "12", "⟨E2⟩", "\n", "def", "l",
         "zebra", "%", "a.*", "(", "\\", "[a-z]+", "'", "⏎", "Th", " T"]


@pytest.fixture(scope="module")
def store(tiny_store):
    return Store.open(tiny_store)


@pytest.fixture(scope="module")
def tokens(store):
    """Every token with what is drawn, its plain text and its count."""
    return store.ask(
        SEED0, "SELECT token, text, plain, n_train FROM catalog.token WHERE model = $m "
        "ORDER BY token", m=LARGE_MODEL).to_pylist()


def twin(tokens, text, match, fold):
    """Which tokens match, compared as plain text where both have one, else as drawn."""
    def same(a, b):
        if fold or match == "word":
            a, b = a.lower(), b.lower()
        if match == "word":
            a, b = (t[1:] if t[:1] in (" ", "␣") else t for t in (a, b))
            return a == b != ""
        return {"exact": a == b, "prefix": a.startswith(b), "substring": b in a}[match]

    shown = text.replace(" ", "␣").replace("\n", "⏎")
    found = [t for t in tokens if same(t["text"], shown)]
    return [t["token"] for t in sorted(found, key=lambda t: (-(t["n_train"] or 0), t["token"]))]


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("match", ["exact", "prefix", "substring", "word"])
def test_tokens_match_as_the_slow_twin_says(store, tokens, match, fold):
    some = 0
    for text in TEXTS:
        found = matching_tokens(store, SEED0, text, match, fold).tolist()
        assert found == twin(tokens, text, match, fold), text
        some += len(found)
    assert some > 3


def test_plain_text_means_the_token_with_those_bytes(store, tokens):
    for token in tokens:
        if token["plain"]:
            assert token["token"] in matching_tokens(store, SEED0, token["plain"]), token
            assert token["token"] in matching_tokens(store, SEED0, token["text"]), token


def test_the_space_before_counts_but_in_a_whole_word(store):
    def texts(text, match):
        known = store.token_texts(LARGE_MODEL)
        return [known[t] for t in matching_tokens(store, SEED0, text, match)]

    assert texts(" water", "exact") == texts("␣water", "exact") == ["␣water"]
    assert texts("water", "exact") == []
    assert texts("WATER", "word") == texts(" water", "word") == ["␣water"]
    assert texts("", "substring") == []
    assert texts(" ", "word") == []


def test_what_is_drawn_for_a_typed_text():
    assert drawn(" a\n\t") == "␣a⏎⇥"
    assert drawn("␣a b") == "␣a␣b"
    assert drawn("⟨E2⟩") == "⟨E2⟩"
    assert drawn("\u202e") == "⟨U+202E⟩"
    assert drawn("") == ""


def test_how_the_search_box_is_meant():
    assert reading("#17") == ("index", "17")
    assert reading(" the") == ("token", " the")
    assert reading("␣the") == ("token", " the")
    assert reading('"the"') == ("token", "the")
    assert reading("noun") == ("text", "noun")
    assert reading("#x") == ("text", "#x")
    assert reading("  ") == reading("") == ("", "")


@cache
def feature_cards(store, run):
    return [store.feature(run, feature) for feature in range(WIDTH)]


@cache
def firing_on(store, run, token):
    return list(store.token(run, token).features.itertuples())


def features_by_hand(store, run, wanted, by, k):
    """Features that promote or fire on one of some tokens, at snapshot k or ever (None)."""
    found = set()
    for feature, card in enumerate(feature_cards(store, run)):
        snapshots = range(len(card.steps)) if k is None else [k]
        if by != "fires" and any(
            wanted & set(card.promoted[s].tokens.tolist()) for s in snapshots
        ):
            found.add(feature)
    for token in wanted if by != "promotes" else ():
        for row in firing_on(store, run, token):
            if k is None or row.activation[k] > 0:
                found.add(row.feature)
    return sorted(found)


@pytest.mark.parametrize("by", ["either", "promotes", "fires"])
@pytest.mark.parametrize("at", ["ever", "step"])
def test_features_of_tokens_at_any_step_and_at_one(store, tokens, by, at):
    card = store.run(SEED0)
    several = 0
    for text, match in ((" water", "exact"), ("t", "prefix"), ("the", "word")):
        wanted = set(twin(tokens, text, match, False))
        for k in range(len(STEPS)):
            wish, _ = read_wish(
                {"token_text": text, "match": match, "by": by, "at": at}, card)
            found = sorted(page(store, SEED0, k, wish, limit=500).rows["feature"])
            assert found == features_by_hand(store, SEED0, wanted, by, k if at == "step" else None)
            several += 0 < len(found) < WIDTH
    assert several


def test_a_prism_has_no_steps_but_fires(store, tokens):
    wish, problems = read_wish({"token_text": " water", "at": "step", "by": "fires"},
                               store.run(PRISM))
    assert problems == ()
    wanted = set(twin(tokens, " water", "exact", False))
    found = sorted(page(store, PRISM, 0, wish, limit=500).rows["feature"])
    assert found == features_by_hand(store, PRISM, wanted, "fires", None) != []


@pytest.mark.parametrize("text", ["the", "DIGITS", "lat", "e", "ligh", "persist", "zebra"])
def test_free_text_looks_into_labels_and_categories(store, text):
    wish, _ = read_wish({"q": text}, store.run(SEED0))
    found = sorted(page(store, SEED0, 4, wish, limit=500).rows["feature"])
    twins = []
    for feature, card in enumerate(feature_cards(store, SEED0)):
        info = card.info
        names = (info.profile, info.kind, info.script, info.family, info.supersense)
        words = info.label.split(" ") + [n for n in names if n]
        if any(text.lower() in word.lower() for word in words):
            twins.append(feature)
    assert found == twins


def test_more_tokens_than_are_looked_for_is_said(store, monkeypatch):
    monkeypatch.setattr(searches, "TOKENS", 3)
    wish, _ = read_wish({"token_text": "e", "match": "substring"}, store.run(SEED0))
    found = page(store, SEED0, 1, wish, limit=500)
    assert "3 most frequent" in found.notes[0]
    frequent = matching_tokens(store, SEED0, "e", "substring")[:3]
    assert sorted(found.rows["feature"]) == features_by_hand(
        store, SEED0, set(frequent.tolist()), "either", None)
    wish, _ = read_wish({"token_text": "zebra"}, store.run(SEED0))
    empty = page(store, SEED0, 1, wish)
    assert (empty.total, empty.notes) == (0, ("No token matches “zebra”.",))


@pytest.mark.parametrize("text", [
    "'", "%_\\", "\0", "\ud800", "שלום", "🙂" * 50, "x" * 100_000, "(.*)+$", "#" + "9" * 60, "#-1",
    "' OR 1=1 --", "#²", "\u202e", "<b>",
])
def test_odd_texts_find_nothing_and_break_nothing(store, text):
    for name in ("q", "token_text"):
        for match in ("exact", "substring"):
            wish, _ = read_wish({name: text, "match": match}, store.run(SEED0))
            found = page(store, SEED0, 0, wish)
            assert found.total == len(found.rows)
            if text not in ("\0", "'", "%_\\", "\ud800"):
                assert found.total == 0
