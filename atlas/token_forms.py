"""Single tokens that write one word: with and without a leading space, and in other cases.

` bug` and `bug` are different rows of the matrix (prism-method §14, trap 20), so a word is a
family of tokens more often than one.
"""

from dataclasses import dataclass

from atlas.language_model import Tokenizer, encode, token_raw


@dataclass(frozen=True)
class Form:
    """Another way to write a token's word that is one token too."""

    token: int
    what: str
    """In which it differs: `without its space`, `capitalised`, …"""


def written(tokenizer: Tokenizer, token: int) -> str | None:
    """The text of a token; None where its bytes are no text, or where no token has the row."""
    raw = token_raw(tokenizer, token)
    try:
        return None if raw is None else raw.decode("utf8")
    except UnicodeDecodeError:
        return None


def single(tokenizer: Tokenizer, text: str) -> int | None:
    """The token that a text is, exactly as written; None where it is none or several."""
    ids = encode(tokenizer, text) if text else []
    return ids[0] if len(ids) == 1 else None


def is_special(tokenizer: Tokenizer, token: int) -> bool:
    """Whether it is one of the tokenizer's own marks, such as `<|endoftext|>`, and not text."""
    added = tokenizer.get_added_tokens_decoder().get(token)
    return added is not None and added.special


def is_token(tokenizer: Tokenizer, row: int) -> bool:
    """Whether a row of the matrix belongs to a token; heads are often padded with rows that do not.
    """
    return tokenizer.id_to_token(row) is not None


def forms_of_word(tokenizer: Tokenizer, word: str) -> tuple[Form, ...]:
    """The single tokens that write a word, the word as given first if it is one."""
    bare = word.lstrip(" ")
    if not bare:
        return ()
    spaced = word != bare
    cases = [(bare, "")]
    for other, what in (
        (bare.lower(), "lower case"), (bare.capitalize(), "capitalised"),
        (bare.upper(), "upper case"),
    ):
        if other not in [text for text, _ in cases]:
            cases.append((other, what))
    found: dict[int, Form] = {}
    for text, case in cases:
        for space in (spaced, not spaced):
            token = single(tokenizer, " " * space + text)
            if token is None or token in found:
                continue
            about = "" if space == spaced else "with a space" if space else "without its space"
            found[token] = Form(token, ", ".join(filter(None, (case, about))))
    return tuple(found.values())


def forms_of_token(tokenizer: Tokenizer, token: int) -> tuple[Form, ...]:
    """The single tokens that write a token's word, itself first and always among them."""
    text = written(tokenizer, token)
    others = () if text is None or is_special(tokenizer, token) else forms_of_word(tokenizer, text)
    return (Form(token, ""), *(form for form in others if form.token != token))
