"""Tokens as bytes, as safe text, as scripts, families and kinds."""

import json
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import token_bytes as tb
from atlas import vocabulary as vo
from atlas.language_model import token_raw
from atlas.words import CASED, word_lists
from tests.families import spaced_tokenizer
from tests.tiny import make_tokenizer


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
    assert tb.token_bytes(token) == raw


def test_the_byte_alphabet_covers_every_byte_once():
    assert sorted(tb.ALPHABET.values()) == list(range(256))
    for char, byte in tb.ALPHABET.items():
        assert tb.token_bytes(char) == bytes([byte])


def test_vocabulary_bytes_keeps_ids_and_added_tokens():
    tokenizer = {
        "model": {"vocab": {"Ġa": 2, "b": 0}},
        "added_tokens": [{"id": 4, "content": "   "}, {"id": 0, "content": "b"}],
    }
    assert vo.vocabulary_bytes(tokenizer) == [b"b", b"", b" a", b"", b"   "]


@pytest.mark.parametrize(
    ("piece", "raw"),
    [("▁the", b" the"), ("▁▁", b"  "), ("the", b"the"), ("<0x0A>", b"\n"), ("<0xe2>", b"\xe2"),
     ("<0xZZ>", b"<0xZZ>"), ("Ġ", "Ġ".encode()), ("é▁", "é ".encode())],
)
def test_piece_bytes(piece: str, raw: bytes):
    assert tb.piece_bytes(piece) == raw


PIECES = {"normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}}
BYTES = {"decoder": {"type": "ByteLevel"}, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "x"}}, {"type": "ByteLevel"}]}}


@pytest.mark.parametrize(
    ("parts", "pieces"),
    [
        (PIECES, True),
        ({"decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"}]}}, True),
        ({"pre_tokenizer": {"type": "Metaspace", "replacement": "▁"}}, True),
        (BYTES, False),
        (BYTES | {"normalizer": {"type": "NFC"}}, False),
        ({"normalizer": {"type": "Replace", "pattern": {"Regex": "a"}, "content": "b"}}, False),
        ({"normalizer": None}, False),
    ],
)
def test_which_tokenizers_spell_pieces(parts: dict, pieces: bool):
    assert tb.spells_pieces(*parts.values()) is pieces


def test_vocabulary_bytes_of_pieces_and_of_a_unigram_list():
    added = [{"id": 6, "content": "▁▁", "special": False},
             {"id": 7, "content": "<a▁b>", "special": True}]
    listed = [["<unk>", 0.0], ["▁the", -1.0], ["<0x0A>", -2.0]]
    unigram = PIECES | {"model": {"type": "Unigram", "vocab": listed}, "added_tokens": added}
    wanted = [b"<unk>", b" the", b"\n", b"", b"", b"", b"  ", "<a▁b>".encode()]
    assert vo.vocabulary_bytes(unigram) == wanted
    table = {piece: index for index, (piece, _) in enumerate(listed)}
    bpe = PIECES | {"model": {"type": "BPE", "vocab": table}, "added_tokens": added}
    assert vo.vocabulary_bytes(bpe) == wanted


@pytest.mark.parametrize("wrong", [-1, 10**12, 1.5, "7", None, True])
def test_an_id_that_is_none(wrong: object):
    with pytest.raises(ValueError, match="expected 0 to"):
        vo.vocabulary_bytes({"model": {"vocab": {"a": 0, "b": wrong}}})


def test_a_tokenizer_of_another_kind():
    with pytest.raises(ValueError, match="WordPiece"):
        vo.vocabulary_bytes({"model": {"type": "WordPiece", "vocab": {"a": 0}}})


@pytest.mark.parametrize("make", [make_tokenizer, spaced_tokenizer])
def test_the_bytes_of_a_text_s_tokens_are_its_bytes(make):
    """Both readers of a token's bytes agree, and encoding loses nothing."""
    tokenizer = make()
    raw = vo.vocabulary_bytes(json.loads(tokenizer.to_str()))
    assert [token_raw(tokenizer, i) for i in range(len(raw))] == raw
    assert token_raw(tokenizer, len(raw)) is None
    for text in ("the water of life", "  two\nlines\t", "é 水 🌊", "a<0x0A>b", "Ġ"):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert b"".join(raw[i] for i in ids) == text.encode()


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
