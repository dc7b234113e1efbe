"""The release's evaluation corpus: token ids with the script and language of each (section 5.9)."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from atlas.errors import BrokenArtifact
from atlas.tensor_files import load_tensors, save_tensors, sha256, write_json
from precompute.pickles import load_pickle
from precompute.sidecars import read_bounded_json, table_of

CORPUS = "evaluation/eval-corpus/eval_tokens.pt"
"""Its path in the release."""
WINDOW = 512
"""Tokens of a sequence; the remainder is dropped."""
LARGEST = 64_000_000
"""Bytes of the JSON that is kept beside the ids."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Tokens of the nine languages, in the order that fixes the windows."""

    ids: Tensor
    """(N,) int64."""
    scripts: tuple[str, ...]
    """N, by the first code point of the decoded token (section 13.1)."""
    languages: tuple[str, ...]
    """N, code of the Wikipedia that the token is from."""

    @property
    def windows(self) -> Tensor:
        """Whole sequences (n, 512) int64."""
        whole = len(self.ids) // WINDOW * WINDOW
        return self.ids[:whole].reshape(-1, WINDOW)


def read_corpus(path: Path) -> Corpus:
    """Read `eval_tokens.pt`, weights-only.

    Raises:
        NotFound, BrokenArtifact: it is missing, damaged, or its parts do not fit each other.
    """
    told = table_of(load_pickle(path), str(path))
    ids = told.get("ids")
    ids = torch.tensor(ids) if isinstance(ids, list) else ids
    if not isinstance(ids, Tensor) or ids.ndim != 1 or ids.is_floating_point() or not len(ids):
        raise BrokenArtifact(f"{path}: ids is no list of token ids ({type(ids).__name__})")
    if int(ids.min()) < 0:
        raise BrokenArtifact(f"{path}: ids holds {int(ids.min())}")
    columns = {}
    for name in ("scripts", "languages"):
        values = told.get(name)
        if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
            raise BrokenArtifact(f"{path}: {name} is no list of names")
        if len(values) != len(ids):
            raise BrokenArtifact(f"{path}: {name} has {len(values)} entries, ids has {len(ids)}")
        columns[name] = tuple(values)
    for name, column in (("per_lang_counts", "languages"), ("script_counts", "scripts")):
        for key, count in table_of(told.get(name), str(path), name).items():
            found = columns[column].count(key)
            if count != found:
                raise BrokenArtifact(f"{path}: {name} says {count} of {key!r:.40}, but {column} "
                                     f"has {found}")
    return Corpus(ids.long(), columns["scripts"], columns["languages"])


def take_in_corpus(store: Path, path: Path) -> Path:
    """Keep the evaluation corpus under `corpora/evaluation`: ids as safetensors, names as JSON."""
    corpus, folder = read_corpus(path), store / "corpora" / "evaluation"
    save_tensors(folder / "tokens.safetensors", {"ids": corpus.ids})
    write_json(folder / "corpus.json", {
        "source": CORPUS, "sha256": sha256(path), "n_tokens": len(corpus.ids),
        "scripts": list(corpus.scripts), "languages": list(corpus.languages),
    })
    return folder


def kept_corpus(store: Path) -> Corpus:
    """The corpus that a store keeps; NotFound where there is none."""
    folder = store / "corpora" / "evaluation"
    told = table_of(read_bounded_json(folder / "corpus.json", LARGEST), str(folder / "corpus.json"))
    ids = load_tensors(folder / "tokens.safetensors")["ids"]
    columns = [tuple(told.get(name) or ()) for name in ("scripts", "languages")]
    if any(len(column) != len(ids) for column in columns):
        raise BrokenArtifact(f"{folder}: corpus.json does not fit {len(ids)} tokens")
    return Corpus(ids, *columns)
