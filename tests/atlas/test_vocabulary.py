"""Tokens as bytes, as safe text, as scripts, families and kinds."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import vocabulary as vo
from atlas.words import CASED, word_lists


@pytest.mark.parametrize(
    ("token", "raw"),
    [
        ("Ġthe", b" the"),
        ("ĊĠĠ", b"\n  "),
        ("Ã©", "é".encode()),
        ("âĢ", b"\xe2\x80"),
        ("<|endoftext|>", b"<|endoftext|>"),
        ("  ", b"  "),
        ("naïve…", "naïve…".encode()),
    ],
)
def test_token_bytes(token: str, raw: bytes):
    assert vo.token_bytes(token) == raw


def test_the_byte_alphabet_covers_every_byte_once():
    assert sorted(vo.ALPHABET.values()) == list(range(256))
    for char, byte in vo.ALPHABET.items():
        assert vo.token_bytes(char) == bytes([byte])


def test_vocabulary_bytes_keeps_ids_and_added_tokens():
    tokenizer = {
        "model": {"vocab": {"Ġa": 2, "b": 0}},
        "added_tokens": [{"id": 4, "content": "   "}, {"id": 0, "content": "b"}],
    }
    assert vo.vocabulary_bytes(tokenizer) == [b"b", b"", b" a", b"", b"   "]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b" the", "␣the"),
        (b"the", "the"),
        (b"\n  ", "⏎␣␣"),
        (b"\t\r", "⇥⟨U+000D⟩"),
        (b"", "⟨empty⟩"),
        (b"\xe2\x82", "⟨E2 82⟩"),
        (b" \xd0", "␣⟨D0⟩"),
        (b"a\xffb\xfe", "a⟨FF⟩b⟨FE⟩"),
        ("\u200b".encode(), "⟨U+200B⟩"),
        ("\u202eabc".encode(), "⟨U+202E⟩abc"),
        ("\u00a0".encode(), "⟨U+00A0⟩"),
        ("\u0301".encode(), "◌\u0301"),
        ("e\u0301".encode(), "e\u0301"),
        ("␣".encode(), "⟨U+2423⟩"),
        ("⟨E2⟩".encode(), "⟨U+27E8⟩E2⟨U+27E9⟩"),
        ("\u3164".encode(), "⟨U+3164⟩"),
        ("a\ufe0f".encode(), "a⟨U+FE0F⟩"),
        ("\U000e0101".encode(), "⟨U+E0101⟩"),
        (b"<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("Привет".encode(), "Привет"),
    ],
)
def test_show_token(raw: bytes, shown: str):
    assert vo.show_token(raw) == shown


raw_tokens = st.one_of(st.binary(max_size=8), st.text(max_size=6).map(lambda t: t.encode("utf-8")))


@settings(max_examples=300, deadline=None)
@given(raw_tokens)
def test_nothing_shown_is_invisible_or_steers(raw: bytes):
    shown = vo.show_token(raw)
    assert shown
    inside = False
    for char in shown:
        inside = char == "⟨" or (inside and char != "⟩")
        assert unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}
        assert char != " " or inside
    assert shown.encode("utf-8").decode("utf-8") == shown


@settings(max_examples=300, deadline=None)
@given(raw_tokens, raw_tokens)
def test_different_tokens_look_different(first: bytes, second: bytes):
    assert (vo.show_token(first) == vo.show_token(second)) == (first == second)


def test_plain_text_is_none_for_a_part_of_a_character():
    assert vo.plain_text(" é".encode()) == " é"
    assert vo.plain_text(b"\xc3") is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (" Привет", "Cyrillic"),
        ("한", "Korean"),
        ("あ", "Japanese"),
        ("漢", "CJK"),
        ("é", "other_unicode"),
        ("  ", "space"),
        ("", "empty"),
        ("\n", "ASCII"),
        ("α", "other_unicode"),
        ("�", "other_unicode"),
        (" ب", "Arabic"),
        ("ก", "Thai"),
        ("क", "Devanagari"),
        ("ক", "Bengali"),
    ],
)
def test_script_known_answer_29(text: str, name: str):
    assert vo.script(text) == name


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (" the", {"latin alpha", "space-prefixed"}),
        ("a", set()),
        (" x1", {"space-prefixed", "digit-bearing"}),
        ("+=", {"punctuation"}),
        (" ,", {"punctuation", "space-prefixed"}),
        ("\n", set()),
        ("αβ", {"Greek"}),
        ("漢a", {"CJK"}),
        ("б٣", {"Cyrillic", "Arabic", "digit-bearing"}),
        ("_a", set()),
    ],
)
def test_families(text: str, wanted: set[str]):
    assert vo.families(text) == wanted


TEXTS = [
    b" thou", b" The", b"ing", b" SELECT", b" select", b"\n    ", b"19", b" 1850", b"\xd0", b"\x80",
    "и".encode(), b" ValueError", b"():", b" ==", b"Enter", b" brother", b" king", b"'ll", b" x",
    b"----", b" self", b"<|endoftext|>", b" hath", b"", b" understand", b" function",
    b"versionadded",
]  # fmt: skip


def holds(name: str) -> set[bytes]:
    mask = vo.kinds(TEXTS).get(name, np.zeros(len(TEXTS), dtype=bool))
    return {raw for raw, on in zip(TEXTS, mask, strict=True) if on}


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("archaic pronouns", {b" thou"}),
        ("archaic verb forms", {b" hath"}),
        ("ends in -ing", {b"ing", b" king"}),
        ("SQL keywords in capitals", {b" SELECT"}),
        ("SQL words", {b" SELECT", b" select"}),
        ("line breaks with an indent", {b"\n    "}),
        ("digits", {b"19", b" 1850"}),
        ("years and centuries", {b"19", b" 1850"}),
        ("pieces of UTF-8 characters", {b"\xd0", b"\x80"}),
        ("pieces that begin inside a UTF-8 character", {b"\x80"}),
        ("openings of two-byte UTF-8 characters", {b"\xd0"}),
        ("Cyrillic letters", {"и".encode()}),
        ("names of Python errors", {b" ValueError"}),
        ("comparison signs", {b" =="}),
        ("drama headings", {b"Enter"}),
        ("kinship", {b" brother"}),
        ("ends in -er", {b" brother", b"Enter"}),
        ("contractions with an apostrophe", {b"'ll"}),
        ("single letters", {b" x"}),
        ("rules of repeated signs", {b"----"}),
        ("Python constants and self", {b" self"}),
        ("special tokens", {b"<|endoftext|>"}),
        ("begins with over- or under- or out-", {b" understand"}),
        ("function words of programs", {b" function"}),
        ("reStructuredText directives", {b" function", b"versionadded"}),
        ("words in capitals", {b" SELECT"}),
        ("capitalised", {b" The", b"Enter"}),
        ("mixed case inside a word", {b" ValueError"}),
        ("white space", {b"\n    "}),
    ],
)
def test_kinds_hold_what_their_names_say(name: str, members: set[bytes]):
    assert holds(name) == members


def test_kinds_are_masks_over_the_vocabulary_and_none_is_empty():
    library = vo.kinds(TEXTS)
    for mask in library.values():
        assert mask.dtype == bool
        assert mask.shape == (len(TEXTS),)
        assert mask.any()
    assert not any(mask[TEXTS.index(b"")] for mask in library.values())


def test_mostly_in_a_source_needs_six_tenths_of_the_occurrences():
    counts = {"milton": np.array([6, 5, 0]), "manuals": np.array([4, 5, 0])}
    library = vo.kinds([b"a", b"b", b"c"], counts)
    assert library["mostly in milton"].tolist() == [True, False, False]
    assert "mostly in manuals" not in library


def test_the_library_is_rich_and_its_lists_are_well_formed():
    lists = word_lists()
    assert set(lists) >= CASED
    assert len(lists) + len(vo.SHAPE_KINDS) + len(vo.SCRIPT_KINDS) >= 150
    for name, words in lists.items():
        assert len(words) >= 5, name
        assert name in CASED or all(word == word.lower() for word in words), name
