"""WordNet supersenses of tokens: what an English word is mostly about (crosscoder-method §13.4).

The table `data/words/supersenses.tsv.xz` was made from WordNet 3.0 by `precompute.wordnet`; its
licence lies beside it. A token has a supersense when it is a whole word by its look: a bare
lower-case piece such as `form` is more often the inside of another word.
"""

import lzma
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from atlas.errors import BrokenArtifact
from atlas.places import DATA
from atlas.vocabulary import plain_text

TABLE = DATA / "words" / "supersenses.tsv.xz"
"""A line per supersense: its name, a tab, its words with spaces between them."""
MIN_LENGTH = 4
"""Fewest letters of a word that has a supersense."""
SUPERSENSES = (
    "adj.all", "adj.pert", "adv.all", "noun.Tops", "noun.act", "noun.animal", "noun.artifact",
    "noun.attribute", "noun.body", "noun.cognition", "noun.communication", "noun.event",
    "noun.feeling", "noun.food", "noun.group", "noun.location", "noun.motive", "noun.object",
    "noun.person", "noun.phenomenon", "noun.plant", "noun.possession", "noun.process",
    "noun.quantity", "noun.relation", "noun.shape", "noun.state", "noun.substance", "noun.time",
    "verb.body", "verb.change", "verb.cognition", "verb.communication", "verb.competition",
    "verb.consumption", "verb.contact", "verb.creation", "verb.emotion", "verb.motion",
    "verb.perception", "verb.possession", "verb.social", "verb.stative", "verb.weather",
    "adj.ppl",
)
"""The 45 lexicographer files of WordNet 3.0, by their number."""


@cache
def supersenses(path: Path = TABLE) -> dict[str, str]:
    """Supersense of every lower-case word that has a dominant one.

    Raises:
        BrokenArtifact: the table is not there or is no such table.
    """
    try:
        lines = lzma.decompress(path.read_bytes()).decode("ascii").splitlines()
        pairs = [line.split("\t") for line in lines]
        found = {word: name for name, words in pairs for word in words.split()}
    except (OSError, lzma.LZMAError, ValueError) as error:
        raise BrokenArtifact(
            f"{path} is no table of supersenses ({error!r}); take it from the repository again"
        ) from error
    unknown = set(found.values()) - set(SUPERSENSES)
    if unknown or not found:
        raise BrokenArtifact(f"{path} names {sorted(unknown)}, which are no supersenses")
    return found


def word_of(text: str) -> str | None:
    """The lower-case word that a token stands for; None when it does not look like a whole word.

    ` word`, `Word`, ` Word` and `WORD` do, of ASCII letters, four or more; `word` does not: most
    bare pieces continue another word (§13.4).
    """
    bare = text.removeprefix(" ")
    if len(bare) < MIN_LENGTH or not (bare.isascii() and bare.isalpha()):
        return None
    spaced = bare != text
    shapes = (bare.islower() and spaced, bare.istitle(), bare.isupper() and not spaced)
    return bare.lower() if any(shapes) else None


def supersense_of(raw: bytes) -> str | None:
    """Supersense of a token's bytes; None when it is no word or no one supersense dominates."""
    text = plain_text(raw)
    word = None if text is None else word_of(text)
    return None if word is None else supersenses().get(word)


def supersense_masks(texts: Sequence[bytes]) -> dict[str, np.ndarray]:
    """Supersense to the bool (V,) of its tokens, of raw bytes by token id; no token is in two."""
    found = np.array([supersense_of(raw) or "" for raw in texts])
    return {name: mask for name in SUPERSENSES if (mask := found == name).any()}
