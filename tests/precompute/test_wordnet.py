"""The table of supersenses from WordNet's own files: the rule of dominance, by hand."""

from pathlib import Path

import pytest

from atlas.errors import BrokenArtifact, NotFound
from atlas.supersenses import supersenses
from precompute.wordnet import dominant, synsets, write_table

HEAD = "  1 This software and database is being provided to you, the LICENSEE, by  \n"


def dictionary(folder: Path, **lines: list[str]) -> Path:
    for name in ("adj", "adv", "noun", "verb"):
        text = HEAD + "".join(f"{line}\n" for line in lines.get(name, []))
        (folder / f"data.{name}").write_text(text)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """bank: artifact, artifact, possession, of 3; hound: animal and a verb, of 2."""
    return dictionary(
        tmp_path,
        noun=[
            "00000001 06 n 02 bank 0 Bank 1 000 | a building",
            "00000002 06 n 01 bank 0 001 @ 00000001 n 0000 | a container",
            "00000003 21 n 02 Bank 0 bank_account 0 000 | money",
            "00000004 05 n 03 hound 0 dog 0 Canis_familiaris 0 000 | an animal",
            "00000005 15 n 01 St._Louis 0 000 | a city",
        ],
        verb=["00000006 38 v 01 hound 0 000 01 + 08 00 | to chase"],
        adj=["00000007 00 s 0a alive(p) 0 a1 0 a2 0 a3 0 a4 0 a5 0 a6 0 a7 0 a8 0 a9 0 000 | live"],
    )


def test_the_dominant_supersense_holds_six_tenths_of_the_synsets(folder: Path):
    assert dominant(folder) == {"bank": "noun.artifact", "alive": "adj.all"}


def test_a_synset_counts_once_for_a_word(folder: Path):
    names = [(name, sorted(lemmas)) for name, lemmas in synsets(folder)]
    assert names[1] == ("noun.artifact", ["bank"])
    assert len(names) == 7


def test_the_table_is_read_back_and_the_same_each_time(folder: Path, tmp_path: Path):
    out = tmp_path / "table.tsv.xz"
    assert write_table(folder, out) == 2
    first = out.read_bytes()
    assert supersenses(out) == dominant(folder)
    write_table(folder, out)
    assert out.read_bytes() == first


def test_files_that_are_no_wordnet(tmp_path: Path):
    with pytest.raises(NotFound, match="data.adj"):
        dominant(tmp_path)
    for line in ("nonsense", "00000001 99 n 01 thing 0 000 |", "00000001 06 n 02 thing 0"):
        with pytest.raises(BrokenArtifact, match="data.noun"):
            dominant(dictionary(tmp_path, noun=[line]))
