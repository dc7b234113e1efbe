"""Supersenses of tokens: which look like whole words, and the shipped table."""

from pathlib import Path

import numpy as np
import pytest

from atlas.errors import BrokenArtifact
from atlas.supersenses import (
    SUPERSENSES,
    TABLE,
    supersense_masks,
    supersense_of,
    supersenses,
    word_of,
)


@pytest.mark.parametrize(("text", "word"), [
    (" horse", "horse"), ("Horse", "horse"), (" Horse", "horse"), ("HORSE", "horse"),
    ("horse", None), (" HORSE", None), ("hOrse", None), (" McDonald", None), (" dog", None),
    ("  horse", None), (" horse ", None), (" horse's", None), (" naïveté", None), ("", None),
    (" 1234", None),
])
def test_only_whole_words_have_a_supersense(text: str, word: str | None):
    """The clean variants of §13.4: the bare lower-case piece is left out."""
    assert word_of(text) == word


def test_the_shipped_table_is_that_of_the_rule():
    found = supersenses()
    assert len(found) == 63_766
    assert len(SUPERSENSES) == 45
    assert set(found.values()) == set(SUPERSENSES)
    assert all(word.isalpha() and word.islower() and len(word) >= 4 for word in found)
    known = {"zebra": "noun.animal", "monday": "noun.time", "violin": "noun.artifact",
             "quickly": "adv.all", "alive": "adj.all", "water": None, "paris": None, "cat": None}
    assert {word: found.get(word) for word in known} == known
    assert TABLE.stat().st_size < 400_000
    assert "Princeton University" in (TABLE.parent / "WORDNET-LICENSE.txt").read_text()


def test_masks_share_the_tokens_out():
    raw = [b" zebra", b"Monday", b"zebra", b" MONDAY", b" violin", b"\xff", b"", b" zzzz"]
    masks = supersense_masks(raw)
    assert {name: np.flatnonzero(mask).tolist() for name, mask in masks.items()} == {
        "noun.animal": [0], "noun.time": [1], "noun.artifact": [4]}
    assert supersense_of(b"\xff\xfe") is None


@pytest.mark.parametrize("content", [b"", b"not xz", None])
def test_a_damaged_table_is_told(tmp_path: Path, content: bytes | None):
    path = tmp_path / "supersenses.tsv.xz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BrokenArtifact, match="supersenses.tsv.xz"):
        supersenses(path)
