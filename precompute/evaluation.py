"""The evaluation text of a language model: what a store has of it, cut into windows of tokens.

Where it is looked for, the first that is there: `models/<model>/evaluation.safetensors` (`ids`, one
run of token ids), `.jsonl` (an object with `text` and perhaps `source` on each line) or `.txt`;
the release's evaluation corpus (crosscoder-method section 5.9), of a Pythia model; the documents
that the corpus of a model trained here holds out.
"""

import itertools
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path

import numpy as np

from atlas.errors import BrokenArtifact
from atlas.language_model import encode, load_tokenizer
from atlas.places import model_path
from atlas.tensor_files import load_tensors
from precompute.corpus import kept_corpus
from trainer.tokens import documents

OWN = tuple(f"evaluation.{ending}" for ending in ("safetensors", "jsonl", "txt"))
"""Files in a model's folder that somebody put there."""
RELEASED = Path("corpora/evaluation/tokens.safetensors")
"""The release's corpus in a store, `corpus.json` beside it."""
RELEASED_MODELS = re.compile(r"pythia-[\w.-]+")
"""Models whose tokens that corpus is made of."""
TRAINED = Path("corpus.jsonl.xz")
"""The corpus of the models that were trained in a store."""
LARGEST = 64_000_000
"""Bytes of a text file that is read."""
SHORTEST = 16
"""Tokens that the rest of a document must have to be read."""


@dataclass(frozen=True, eq=False)
class Text:
    """Token ids of documents, and what a reader should know of them."""

    source: str
    """Where it is from, in words that go on after "from"."""
    documents: tuple[tuple[str, np.ndarray], ...]
    """(kind, ids (n,) int64) of each; the kinds are to be represented alike."""


def text_files(store: Path, model: str) -> list[Path]:
    """The files of a model's evaluation text in a store, the text first; empty if it has none."""
    folder = model_path(store, model)
    for path in (folder / name for name in OWN):
        if path.is_file():
            return [path]
    released = store / RELEASED
    if RELEASED_MODELS.fullmatch(model) and released.is_file():
        return [released, released.with_name("corpus.json")]
    corpus = store / TRAINED
    return [corpus] if corpus.is_file() and (folder / "history.json").is_file() else []


def read_text(store: Path, model: str) -> Text:
    """The evaluation text of a model that has one (`text_files`).

    Raises:
        BrokenArtifact: it is too large, no text, or not of the form it should have.
    """
    path = text_files(store, model)[0]
    if path == store / RELEASED:
        return _of_release(store)
    folder = model_path(store, model)
    if path == store / TRAINED:
        found = ((source, ids_of(folder, text)) for source, text in _held_out(path))
        return Text("documents held out of the corpus, which training has not seen", tuple(found))
    if path.suffix == ".safetensors":
        ids = load_tensors(path, ["ids"])["ids"]
        if ids.ndim != 1 or ids.is_floating_point():
            raise BrokenArtifact(f"{path}: ids is {tuple(ids.shape)}, one row of ids expected")
        return Text(path.name, (("", ids.numpy().astype(np.int64)),))
    plain = _plain(path)
    parts = _lines(path, plain) if path.suffix == ".jsonl" else [("", plain)]
    return Text(path.name, tuple((kind, ids_of(folder, text)) for kind, text in parts))


def ids_of(model: Path, text: str) -> np.ndarray:
    """Token ids (n,) int64 of a text by the tokenizer of a model's folder, nothing added."""
    return np.array(encode(load_tokenizer(model), text), dtype=np.int64)


def _of_release(store: Path) -> Text:
    """One document for each language of the corpus, in its order."""
    corpus = kept_corpus(store)
    ids, parts, start = corpus.ids.numpy().astype(np.int64), [], 0
    for language, run in itertools.groupby(corpus.languages):
        stop = start + len(list(run))
        parts.append((language, ids[start:stop]))
        start = stop
    return Text(f"the release's evaluation corpus, Wikipedia in {len(parts)} languages",
                tuple(parts))


def _held_out(path: Path) -> Iterable[tuple[str, str]]:
    try:
        yield from documents(path, "validation")
    except (OSError, EOFError, LZMAError, ValueError, KeyError, TypeError) as error:
        raise BrokenArtifact(f"{path} is not a corpus of ours ({_short(error)})") from error


def _plain(path: Path) -> str:
    size = path.stat().st_size
    if size > LARGEST:
        raise BrokenArtifact(f"{path} has {size:,} bytes, at most {LARGEST:,} are read")
    try:
        return path.read_text(encoding="utf8")
    except (OSError, ValueError) as error:
        raise BrokenArtifact(f"{path} is no text in UTF-8 ({_short(error)})") from error


def _lines(path: Path, text: str) -> list[tuple[str, str]]:
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BrokenArtifact(f"{path}: line {number} is not JSON ({_short(error)})") from error
        if not isinstance(told, Mapping) or not isinstance(told.get("text"), str):
            raise BrokenArtifact(f"{path}: line {number} has no text")
        found.append((str(told.get("source") or "")[:60], told["text"]))
    return found


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:100]


# --- windows -------------------------------------------------------------------------------------


def windows(text: Text, length: int, most: int) -> list[np.ndarray]:
    """Stretches of the documents, about `most` tokens in all, every kind alike as far as it goes.

    Each holds `length` tokens that are read and one more, which is only seen to come next; the
    last of a document may be shorter. Of a kind with more than its share, those are taken that
    are spread evenly over it.
    """
    kinds: dict[str, list[np.ndarray]] = {}
    for kind, ids in text.documents:
        cut = (ids[start : start + length + 1] for start in range(0, len(ids) - 1, length))
        kinds.setdefault(kind, []).extend(part for part in cut if len(part) > SHORTEST)
    chosen: dict[str, Sequence[np.ndarray]] = {}
    left = max(most // length, 1)
    for place, kind in enumerate(sorted(kinds, key=lambda k: (len(kinds[k]), k))):
        share = min(len(kinds[kind]), -(-left // (len(kinds) - place)))
        at = np.linspace(0, len(kinds[kind]) - 1, share).round().astype(int)
        chosen[kind] = [kinds[kind][i] for i in at]
        left -= share
    return [part for kind in kinds for part in chosen[kind]]
