"""The vocabulary of a language model as a build reads it: bytes, counts, kinds."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from atlas.codes import SparseCode
from atlas.enrichment import strongest_tokens
from atlas.errors import BrokenArtifact
from atlas.legibility import legibility
from atlas.places import model_path
from atlas.schema import LABEL, PROMOTED
from atlas.tensor_files import load_tensors, read_json
from atlas.vocabulary import kinds, plain_text, script, show_token, vocabulary_bytes
from precompute.derive import Arrays


@dataclass(frozen=True)
class Words:
    """The tokens of a language model."""

    raw: tuple[bytes, ...]
    """Bytes of each token by id; b"" for an id that nobody holds."""
    sources: dict[str, np.ndarray]
    """(size,) int64 occurrences in each source of the training text; empty when not counted."""

    @property
    def size(self) -> int:
        """Tokens of the tokenizer; a matrix may have more rows, for padding."""
        return len(self.raw)

    @property
    def counts(self) -> np.ndarray | None:
        """(size,) occurrences in the training text; None when not counted."""
        return sum(self.sources.values(), np.zeros(self.size, np.int64)) if self.sources else None

    def allowed(self, n_rows: int, min_count: int) -> np.ndarray:
        """(n_rows,) bool: tokens worth listing, those the dictionary was fitted to.

        They have bytes and, where occurrences are known, at least `min_count` of them. All with
        bytes when that leaves too few to fill a list.
        """
        named = np.zeros(n_rows, dtype=bool)
        named[: self.size] = [bool(raw) for raw in self.raw]
        if self.counts is None:
            return named
        frequent = named.copy()
        frequent[: self.size] &= self.counts >= min_count
        return frequent if frequent.sum() >= 2 * PROMOTED else named

    def padded(self, n_rows: int) -> list[bytes]:
        """Bytes of every row; b"" for padding."""
        return [*self.raw, *[b""] * (n_rows - self.size)]

    def table(self, model: str, n_rows: int) -> pa.Table:
        """Rows of the catalog's token table."""
        raw = self.padded(n_rows)
        plain = [plain_text(r) if r else None for r in raw]
        counts = self.counts
        n_train = pa.nulls(n_rows, pa.int64()) if counts is None else pa.array(
            np.concatenate([counts, np.zeros(n_rows - self.size, np.int64)])
        )
        return pa.table({
            "model": pa.array([model] * n_rows, pa.string()),
            "token": np.arange(n_rows, dtype=np.int32),
            "raw": pa.array([r or None for r in raw], pa.binary()),
            "text": [show_token(r) if r else f"⟨row {i}⟩" for i, r in enumerate(raw)],
            "plain": pa.array(plain, pa.string()),
            "script": pa.array([script(r.decode("utf8", "replace")) if r else None for r in raw],
                               pa.string()),
            "n_train": n_train,
        })


def read_words(store: Path, model: str) -> Words:
    """The tokenizer and token counts of a language model in a store."""
    folder = model_path(store, model)
    path = folder / "tokenizer.json"
    try:
        raw = tuple(vocabulary_bytes(read_json(path)))
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise BrokenArtifact(f"{path} is not a BPE or unigram tokenizer ({error!r})") from error
    counts = folder / "token_counts.safetensors"
    if not counts.is_file():
        return Words(raw, {})
    sources: dict[str, np.ndarray] = {}
    for name, tensor in load_tensors(counts).items():
        if tensor.ndim != 1 or len(tensor) < len(raw):
            raise BrokenArtifact(
                f"{counts}: {name} is {tuple(tensor.shape)} for {len(raw)} tokens"
            )
        sources[name] = tensor[: len(raw)].to(torch.int64).numpy()
    return Words(raw, sources)


def allowed_tensor(words: Words, n_rows: int, min_count: int) -> Tensor:
    """`Words.allowed` for the ranking of rows."""
    return torch.from_numpy(words.allowed(n_rows, min_count))


def kinds_of_features(code: SparseCode, words: Words, min_count: int) -> Arrays:
    """Kind, legibility and label of every feature, and the figure of the whole dictionary."""
    n_rows = code.n_tokens
    allowed = words.allowed(n_rows, min_count)
    sources = {
        name: np.concatenate([counts, np.zeros(n_rows - words.size, counts.dtype)])
        for name, counts in words.sources.items()
    }
    groups = code.by_feature()
    library = kinds(words.padded(n_rows), sources)
    found = legibility(code, library, allowed=allowed, groups=groups)
    names = np.array([*found.names, ""])
    label = strongest_tokens(code, LABEL, allowed, groups)
    everything = strongest_tokens(code, LABEL, np.ones(n_rows, dtype=bool), groups)
    return {
        "kind": names[found.kind],
        "kind_share": found.share,
        "kind_enrichment": found.enrichment,
        "kind_p": found.p_value,
        "legible": found.legible,
        "label": np.where(label[:, :1] < 0, everything, label).astype(np.int32),
        "legible_share": np.array(found.share_of_live),
        "legible_null": np.array(found.null_share),
    }
