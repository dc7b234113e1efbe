"""The bytes that a token stands for, as each kind of tokenizer file spells them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any


def _byte_alphabet() -> dict[str, int]:
    """The printable stand-ins that byte-level BPE writes for the 256 bytes."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    pairs = {chr(byte): byte for byte in plain}
    return pairs | {chr(256 + place): byte for place, byte in enumerate(rest)}


ALPHABET = _byte_alphabet()


MAX_ID = 4_000_000
"""Largest token id that is believed; a table is made of as many entries."""
BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
"""How a tokenizer with byte fallback writes a single byte."""


def token_bytes(token: str) -> bytes:
    """Raw bytes of a token as a byte-level tokenizer file writes it.

    A token that uses anything outside the byte alphabet (added tokens do) stands for itself.
    """
    if all(char in ALPHABET for char in token):
        return bytes(ALPHABET[char] for char in token)
    return token.encode("utf-8")


def piece_bytes(token: str) -> bytes:
    """Raw bytes of a piece as a SentencePiece-style tokenizer file writes it.

    `▁` is a space and `<0x0A>` the byte 0A.
    """
    byte = BYTE_PIECE.fullmatch(token)
    if byte:
        return bytes([int(byte[1], 16)])
    return token.replace("▁", " ").encode("utf-8")


def spells_pieces(*parts: Any) -> bool:
    """Whether normalizer, pre-tokenizer and decoder of a tokenizer spell pieces, not bytes.

    The parts are those of a `tokenizer.json`. SentencePiece-style ones write a space as `▁`
    (Metaspace, or a Replace) and rare text as byte pieces; all others are byte-level BPE, whose
    alphabet stands for the 256 bytes.
    """
    for part in parts:
        if isinstance(part, Mapping):
            if part.get("type") in ("Metaspace", "ByteFallback"):
                return True
            if part.get("type") == "Replace" and "▁" in (
                part.get("content"), *_texts(part.get("pattern"))
            ):
                return True
            if spells_pieces(*part.values()):
                return True
        elif isinstance(part, list) and spells_pieces(*part):
            return True
    return False


def _texts(pattern: Any) -> Iterable[Any]:
    return pattern.values() if isinstance(pattern, Mapping) else ()


def vocabulary_bytes(tokenizer_json: Mapping) -> list[bytes]:
    """Raw bytes of every token of a `tokenizer.json`, by id; an id nobody holds is b"".

    Byte-level BPE (GPT-NeoX, OLMo, Qwen, Llama 3, Ministral) and SentencePiece-style BPE or
    unigram (Gemma) are read.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is neither.
    """
    model = tokenizer_json["model"]
    kind = model.get("type")
    if kind not in (None, "BPE", "Unigram"):
        raise ValueError(f"a {kind} tokenizer is not read, BPE and Unigram are")
    listed = model["vocab"]
    entries: list[tuple[str, int]] = (
        [(piece, index) for index, (piece, *_) in enumerate(listed)]
        if isinstance(listed, list) else list(listed.items())
    )
    added = tokenizer_json.get("added_tokens") or []
    ids = [index for _, index in entries] + [entry["id"] for entry in added]
    wrong = [index for index in ids if type(index) is not int or not 0 <= index <= MAX_ID]
    if wrong:
        raise ValueError(f"a token has the id {wrong[0]!r:.40}, expected 0 to {MAX_ID:,}")
    pieces = spells_pieces(
        *(tokenizer_json.get(part) for part in ("normalizer", "pre_tokenizer", "decoder"))
    )
    table = [b""] * (1 + max(ids, default=-1))
    for token, index in entries:
        table[index] = piece_bytes(token) if pieces else token_bytes(token)
    for entry in added:
        spaced = pieces and not entry.get("special")
        content = entry["content"]
        table[entry["id"]] = piece_bytes(content) if spaced else content.encode("utf-8")
    return table
