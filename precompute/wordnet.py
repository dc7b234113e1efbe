"""The table of supersenses, made from the files of WordNet 3.0: `python -m precompute.wordnet`.

Run once; `data/words/supersenses.tsv.xz` is what it wrote and what the atlas ships. See
`data/words/README.md`.
"""

import lzma
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from atlas.errors import BrokenArtifact, NotFound
from atlas.supersenses import MIN_LENGTH, SUPERSENSES, TABLE

DOMINANCE = 0.6
"""Least share of a word's synsets that its supersense must hold (crosscoder-method §13.4)."""
FILES = ("data.adj", "data.adv", "data.noun", "data.verb")
"""The files of WordNet's `dict` folder that hold the synsets."""


def synsets(folder: Path) -> Iterator[tuple[str, set[str]]]:
    """Supersense and lower-cased lemmas of every synset of a WordNet `dict` folder.

    Raises:
        NotFound: a file is not there. BrokenArtifact: a line is no synset of WordNet 3.0.
    """
    for name in FILES:
        path = folder / name
        if not path.is_file():
            raise NotFound(f"{path} is not there; name the folder of WordNet's {', '.join(FILES)}")
        for line in path.read_text(encoding="ascii").splitlines():
            # The licence stands at the head of each file, indented.
            if line.startswith("  "):
                continue
            parts = line.split(" ")
            try:
                supersense, count = SUPERSENSES[int(parts[1])], int(parts[3], 16)
                # An adjective may carry its position in brackets: "alive(p)".
                lemmas = {parts[4 + 2 * i].partition("(")[0].lower() for i in range(count)}
            except (IndexError, ValueError) as error:
                raise BrokenArtifact(f"{path}: {line[:40]!r} is no synset ({error!r})") from error
            yield supersense, lemmas


def dominant(folder: Path) -> dict[str, str]:
    """Supersense of every word that has a dominant one, by the rule of crosscoder-method §13.4.

    Of single alphabetic lower-cased lemmas of four letters or more: the supersense that holds
    the most of the word's synsets, if it holds 0.6 of them.
    """
    memberships: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for supersense, lemmas in synsets(folder):
        for lemma in lemmas:
            if lemma.isascii() and lemma.isalpha() and len(lemma) >= MIN_LENGTH:
                memberships[lemma][supersense] += 1
    found = {}
    for word, counts in memberships.items():
        ((supersense, most),) = counts.most_common(1)
        if most / counts.total() >= DOMINANCE:
            found[word] = supersense
    return found


def write_table(folder: Path, out: Path) -> int:
    """Write the table: a line per supersense, its name, a tab and its words; returns the words."""
    found = dominant(folder)
    words: dict[str, list[str]] = {name: [] for name in SUPERSENSES}
    for word in sorted(found):
        words[found[word]].append(word)
    text = "".join(f"{name}\t{' '.join(members)}\n" for name, members in words.items())
    out.write_bytes(lzma.compress(text.encode("ascii"), preset=9 | lzma.PRESET_EXTREME))
    return len(found)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("name the folder of WordNet's data files: python -m precompute.wordnet FOLDER")
    write_table(Path(sys.argv[1]), TABLE)
