"""Tokens: their bytes, a safe text to show, their script, and the kinds a reader would name.

Scripts and families follow crosscoder-method §13.1 and §13.2. A kind is a named set of tokens;
`kinds` is the library that `atlas.legibility` tests features against.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from atlas.token_bytes import vocabulary_bytes as vocabulary_bytes
from atlas.words import CASED, word_lists

SIGNS = {" ": "␣", "\n": "⏎", "\t": "⇥"}
"""What is shown for the three common white characters."""
UNSEEN = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
"""Characters outside the control classes that draw nothing."""
RESERVED = set(SIGNS.values()) | {"⟨", "⟩", "◌"}
"""Signs of our own: a token that holds one shows its code point instead."""


def _hidden(char: str) -> bool:
    """Whether a character is invisible, steers text, or could be taken for one of our signs."""
    code = ord(char)
    if char in RESERVED or code in UNSEEN or 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF:
        return True
    return unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zs", "Zl", "Zp"}


def show_token(raw: bytes) -> str:
    """The one way from a token's bytes to text: everything visible, nothing that steers a page.

    Spaces are ␣, newlines ⏎, tabs ⇥; bytes that are not UTF-8 are ⟨E2 82⟩; control, bidi,
    zero-width and other unseen characters are ⟨U+200B⟩; a combining mark with nothing to sit on
    gets a ◌; no bytes at all are ⟨empty⟩.
    """
    if not raw:
        return "⟨empty⟩"
    shown: list[str] = []
    broken: list[int] = []
    based = False
    for char in raw.decode("utf-8", errors="surrogateescape"):
        if 0xDC80 <= ord(char) <= 0xDCFF:
            broken.append(ord(char) - 0xDC00)
            continue
        if broken:
            shown.append(f"⟨{' '.join(f'{byte:02X}' for byte in broken)}⟩")
            broken, based = [], False
        if char in SIGNS:
            shown.append(SIGNS[char])
            based = False
        elif _hidden(char):
            shown.append(f"⟨U+{ord(char):04X}⟩")
            based = False
        elif unicodedata.category(char).startswith("M") and not based:
            shown.append("◌" + char)
            based = True
        else:
            shown.append(char)
            based = True
    if broken:
        shown.append(f"⟨{' '.join(f'{byte:02X}' for byte in broken)}⟩")
    return "".join(shown)


def plain_text(raw: bytes) -> str | None:
    """The token as text, None where its bytes are not UTF-8 by themselves."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return None


SCRIPTS = {
    "Cyrillic": [(0x0400, 0x04FF)],
    "Thai": [(0x0E00, 0x0E7F)],
    "Arabic": [(0x0600, 0x06FF)],
    "Devanagari": [(0x0900, 0x097F)],
    "Bengali": [(0x0980, 0x09FF)],
    "CJK": [(0x4E00, 0x9FFF)],
    "Japanese": [(0x3040, 0x30FF)],
    "Korean": [(0xAC00, 0xD7AF)],
}


def _within(char: str, ranges: Sequence[tuple[int, int]]) -> bool:
    return any(low <= ord(char) <= high for low, high in ranges)


def script(text: str) -> str:
    """Script of a token by its first character after leading spaces (§13.1), a fixed convention.

    Greek, Hebrew and accented Latin are `other_unicode`, as in the record.
    """
    if text == "":
        return "empty"
    word = text.lstrip(" ")
    if word == "":
        return "space"
    if ord(word[0]) < 128:
        return "ASCII"
    for name, ranges in SCRIPTS.items():
        if _within(word[0], ranges):
            return name
    return "other_unicode"


FAMILY_RANGES = {
    "Cyrillic": SCRIPTS["Cyrillic"],
    "Greek": [(0x0370, 0x03FF)],
    "CJK": [(0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0x3040, 0x30FF), (0xAC00, 0xD7AF)],
    "Arabic": SCRIPTS["Arabic"],
    "Devanagari": SCRIPTS["Devanagari"],
}


def families(text: str) -> frozenset[str]:
    """The families of §13.2 that a token belongs to; they overlap."""
    word = text.strip()
    found = {
        name for name, ranges in FAMILY_RANGES.items() if any(_within(c, ranges) for c in text)
    }
    if len(word) >= 2 and word.isascii() and word.isalpha():
        found.add("latin alpha")
    if text.startswith(" "):
        found.add("space-prefixed")
    if any(char.isdigit() for char in text):
        found.add("digit-bearing")
    if word and all(unicodedata.category(char)[0] in "PS" for char in word):
        found.add("punctuation")
    return frozenset(found)


def _letters(low: int, high: int) -> Callable[[str], bool]:
    return lambda text: any(low <= ord(char) <= high for char in text)


def _full(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _holds(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.search(text) is not None


SCRIPT_KINDS: dict[str, Callable[[str], bool]] = {
    "Cyrillic letters": _letters(0x0400, 0x052F),
    "Greek letters": _letters(0x0370, 0x03FF),
    "Hebrew letters": _letters(0x0590, 0x05FF),
    "Arabic letters": _letters(0x0600, 0x06FF),
    "Devanagari letters": _letters(0x0900, 0x097F),
    "Thai letters": _letters(0x0E00, 0x0E7F),
    "Chinese characters": _letters(0x4E00, 0x9FFF),
    "Japanese kana": _letters(0x3040, 0x30FF),
    "Korean syllables": _letters(0xAC00, 0xD7AF),
    "East Asian text": _letters(0x3000, 0xD7AF),
    "right-to-left scripts": _letters(0x0590, 0x06FF),
    "accented Latin letters": _holds("[\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u017f]"),
    "box-drawing and arrows": _letters(0x2190, 0x25FF),
    "typographic quotes and dashes": _letters(0x2010, 0x203A),
    "non-breaking spaces": _holds("\u00a0"),
    "text outside ASCII": _holds(r"[^\x00-\x7f]"),
}

SHAPE_KINDS: dict[str, Callable[[str], bool]] = {
    "single lower-case letters": _full(r" ?[a-z]"),
    "single capital letters": _full(r" ?[A-Z]"),
    "single letters": _full(r" ?[A-Za-z]"),
    "words in capitals": _full(r" ?[A-Z]{2,}"),
    "capitalised": _full(r" ?[A-Z][a-z]+"),
    "capitalised, after a space": _full(r" [A-Z][a-z]+"),
    "capitalised, without a space": _full(r"[A-Z][a-z]+"),
    "mixed case inside a word": _holds(r"[a-z][A-Z]|[A-Z]{2,}[a-z]"),
    "lower-case words after a space": _full(r" [a-z]+"),
    "lower-case continuations": _full(r"[a-z]+"),
    "short words after a space (2 letters)": _full(r" [A-Za-z]{2}"),
    "short words after a space (3 letters)": _full(r" [A-Za-z]{3}"),
    "words after a space (4 letters)": _full(r" [A-Za-z]{4}"),
    "words after a space (5 letters)": _full(r" [A-Za-z]{5}"),
    "words after a space (6 or 7 letters)": _full(r" [A-Za-z]{6,7}"),
    "long words after a space (8 letters or more)": _full(r" [A-Za-z]{8,}"),
    "continuations of 2 letters": _full(r"[a-z]{2}"),
    "continuations of 3 letters": _full(r"[a-z]{3}"),
    "continuations of 4 letters": _full(r"[a-z]{4}"),
    "continuations of 5 letters or more": _full(r"[a-z]{5,}"),
    "words that begin with a vowel": _full(r" [AEIOUaeiou][A-Za-z]+"),
    "pieces without a vowel": _full(r" ?[b-df-hj-np-tv-xzB-DF-HJ-NP-TV-XZ]{2,}"),
    "digits": _full(r" ?[0-9]+"),
    "digits after a space": _full(r" [0-9]+"),
    "digits without a space": _full(r"[0-9]+"),
    "single digits": _full(r" ?[0-9]"),
    "numbers of two digits": _full(r" ?[0-9]{2}"),
    "years and centuries": _full(r" ?(1[4-9]|20)([0-9]{2})?"),
    "tokens with a backtick": _holds(r"`"),
    "tokens with an underscore": _holds(r"_"),
    "tokens with a slash": _holds(r"/"),
    "tokens with an equals sign": _holds(r"="),
    "tokens with an angle bracket": _holds(r"[<>]"),
    "tokens with a quotation mark": _holds(r"[\"']"),
    "contractions with an apostrophe": _full("['\u2019][a-z]+"),
    "full stops, question and exclamation marks": _full(r" ?[.!?]+[\"')\]]*"),
    "commas, semicolons and colons": _full(r" ?[,;:]+[\"')\]]*"),
    "tokens that end in a comma, semicolon or colon": _full(r".*[,;:]"),
    "tokens that end in a full stop": _full(r".*\."),
    "opening brackets and quotes": _full(r" ?[^\w\s]*[(\[{<][\"'%_]*"),
    "closing brackets": _full(r"[^\w\s]*[)\]}][^\w\s]*"),
    "brackets": _holds(r"[()\[\]{}]"),
    "quotation marks": _full(r" ?[^\w\s]*[\"'`]+[^\w\s]*"),
    "arithmetic and assignment signs": _full(r" ?[-+*/%=&|^~]{1,2}"),
    "comparison signs": _full(r" ?([<>]=?|[!=]=|<>)"),
    "rules of repeated signs": _full(r" ?[+]?([-=#*^~._<>\"])\1{2,}"),
    "dashes and hyphens": _full(" ?[.,]?[-\u2013\u2014]+"),
    "punctuation": _full(r" ?[^\w\s]+"),
    "punctuation after a space": _full(r" [^\w\s]+"),
    "punctuation of two signs or more": _full(r" ?[^\w\s]{2,}"),
    "markup signs": _full(r"[\"'./=]*[<>/]{1,2}[\"'./=]*"),
    "white space": _full(r"\s+"),
    "runs of spaces": _full(r" {2,}"),
    "line breaks": _full(r"\s*\n\s*"),
    "line breaks with an indent": _full(r"[\r\n]+ +"),
    "blank lines": _full(r"\s*\n\r?\n\s*"),
    "indents of 8 spaces or more": _full(r"\n* {8,}"),
    "names of Python errors": _full(r" ?[A-Za-z]*(Error|Exception|Warning)"),
    "special tokens": _full(r"<\|.*\|>"),
}

SUFFIXES = [
    "ing",
    "ed",
    "ly",
    "tion|sion",
    "ness",
    "ment",
    "able|ible",
    "er",
    "or",
    "est",
    "s",
    "es",
    "ies",
    "al",
    "ally",
    "ic|ical",
    "ive",
    "ous",
    "ful|less",
    "ity|ty",
    "ance|ence",
    "ant|ent",
    "ate|ated|ates",
    "ize|ise|ized|ised",
    "ist|ism",
    "ish",
    "en",
    "th",
    "eth",
    "y",
    "age",
    "ure",
    "ward",
    "ary|ory",
    "ions",
    "le",
    "ght",
    "ck",
]
"""Endings worth naming; `|` joins those that belong together."""
PREFIXES = [
    "un",
    "re",
    "pre",
    "dis",
    "in|im",
    "con|com",
    "ex",
    "de",
    "pro",
    "sub",
    "inter|trans",
    "over|under|out",
    "be",
    "en|em",
]
"""Beginnings worth naming, before two letters or more."""


def _affixes() -> dict[str, Callable[[str], bool]]:
    named = {}
    for ends in SUFFIXES:
        label = " or ".join(f"-{end}" for end in ends.split("|"))
        named[f"ends in {label}"] = _full(rf" ?[A-Za-z]*({ends})")
    for starts in PREFIXES:
        label = " or ".join(f"{start}-" for start in starts.split("|"))
        named[f"begins with {label}"] = _full(rf"(?i:[ ]?({starts})[a-z]{{2,}})")
    return named


MOSTLY = 0.6
"""Share of a token's occurrences from which it is "mostly" in one source."""


def _fragments(texts: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Kinds of tokens that are not UTF-8 by themselves, by their first byte after a space."""
    broken = np.array([plain_text(raw) is None for raw in texts])
    first = np.array([(raw.lstrip(b" ") or b"\0")[0] for raw in texts])
    return {
        "pieces of UTF-8 characters": broken,
        "pieces that begin inside a UTF-8 character": broken & (first >= 0x80) & (first < 0xC0),
        "openings of two-byte UTF-8 characters": broken & (first >= 0xC0) & (first < 0xE0),
        "openings of three-byte UTF-8 characters": broken & (first >= 0xE0),
    }


def kinds(
    texts: Sequence[bytes], source_counts: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """The library of kinds: name to the bool (V,) of the tokens it holds.

    `texts` are raw bytes by token id; `source_counts` (source to (V,) occurrences) adds "mostly
    in X": at least 0.6 of a token's occurrences are there. A word list is compared with the
    token's text without its leading space. Kinds that hold no token are left out.
    """
    plain = [plain_text(raw) for raw in texts]
    words = [None if text is None else text.removeprefix(" ") for text in plain]
    found = _fragments(texts)
    for name, rule in (SCRIPT_KINDS | SHAPE_KINDS | _affixes()).items():
        found[name] = np.array([bool(text) and rule(text) for text in plain])
    for name, members in word_lists().items():
        cased = name in CASED
        found[name] = np.array(
            [word is not None and (word if cased else word.lower()) in members for word in words]
        )
    if source_counts:
        total = np.maximum(sum(source_counts.values()), 1)
        for source, count in source_counts.items():
            found[f"mostly in {source}"] = np.asarray(count) / total >= MOSTLY
    return {name: mask for name, mask in found.items() if mask.any()}
