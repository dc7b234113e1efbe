"""What else could be asked of a prompt: rivals of a token, and better questions."""

from atlas.decomposition import Score
from atlas.language_model import draw_token
from atlas.ranking import ranked
from atlas.reading import Reading
from atlas.token_forms import Form, forms_of_token, is_special, written

LIKELY = ("the likeliest other", "the next likeliest")


def rivals_of(reading: Reading, token: int) -> tuple[Form, ...]:
    """Tokens to compare a token with: the likeliest others, and other forms of its word."""
    best = [t for t in ranked(reading, 1, 3).tokens if t != token][:2]
    found = {t: Form(t, what) for t, what in zip(best, LIKELY, strict=False)}
    for form in forms_of_token(reading.tokenizer, token)[1:]:
        found[form.token] = form
    return tuple(found.values())


def family_of(reading: Reading, token: int) -> str:
    """The family of a token's word, as an address writes it."""
    return " | ".join(f"#{form.token}" for form in forms_of_token(reading.tokenizer, token))


def form_problem(reading: Reading, score: Score) -> str | None:
    """What is the matter with the tokens of a score themselves, None if nothing is."""
    tokenizer = reading.tokenizer
    for token in score.tokens[:2]:
        drawn = draw_token(tokenizer, token)
        if is_special(tokenizer, token):
            return f"{drawn} is a mark of the tokenizer, not text"
        if written(tokenizer, token) is None:
            return f"{drawn} is part of a character, not a word"
    if score.versus is None:
        return None
    one, other = (draw_token(tokenizer, token) for token in score.tokens)
    forms = {form.token for form in forms_of_token(tokenizer, score.target)}
    return f"{one} and {other} write the same word" if score.versus in forms else None
