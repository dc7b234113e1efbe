"""Other ways to write a word that are one token too."""

import pytest
from tokenizers import Tokenizer

from atlas.token_forms import (
    forms_of_token,
    forms_of_word,
    is_special,
    is_token,
    single,
    written,
)
from tests.tiny import V, make_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return make_tokenizer()


def forms_slow(tokenizer: Tokenizer, word: str) -> set[int]:
    """Every token of the vocabulary whose text is the word but for space and case."""
    bare = word.strip(" ")
    wanted = {space + form for space in ("", " ")
              for form in (bare, bare.lower(), bare.upper(), bare.capitalize())}
    return {t for t in range(V) if written(tokenizer, t) in wanted}


@pytest.mark.parametrize("word", [" the", "the", "The", " water", "Class", "a", "A", "1", "+"])
def test_against_the_whole_vocabulary(tokenizer: Tokenizer, word: str) -> None:
    found = forms_of_word(tokenizer, word)
    assert {form.token for form in found} == forms_slow(tokenizer, word)
    assert len({form.token for form in found}) == len(found)
    if single(tokenizer, word) is not None:
        assert (found[0].token, found[0].what) == (single(tokenizer, word), "")


def test_a_form_says_in_which_it_differs(tokenizer: Tokenizer) -> None:
    said = {written(tokenizer, f.token): f.what for f in forms_of_word(tokenizer, "a")}
    assert said["a"] == ""
    assert said["A"] == "upper case" or said["A"] == "capitalised"
    spaced = {written(tokenizer, f.token): f.what for f in forms_of_word(tokenizer, " the")}
    assert spaced.get("the", "without its space") == "without its space"


def test_marks_pieces_and_rows_without_a_token(tokenizer: Tokenizer) -> None:
    end = tokenizer.token_to_id("<|endoftext|>")
    assert is_special(tokenizer, end)
    assert [f.token for f in forms_of_token(tokenizer, end)] == [end]
    piece = next(t for t in range(V) if written(tokenizer, t) is None)
    assert [f.token for f in forms_of_token(tokenizer, piece)] == [piece]
    assert is_token(tokenizer, V - 1)
    assert not is_token(tokenizer, V)
    assert forms_of_word(tokenizer, "  ") == ()
