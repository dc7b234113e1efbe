"""The demo's tokenizer and token streams: byte-level BPE over the shipped corpus."""

import json
import lzma
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

END_OF_TEXT = "<|endoftext|>"
PADDING = "<|padding|>"


def documents(corpus: Path, split: str) -> Iterator[tuple[str, str]]:
    """(source, text) of each document of `split` ("train" or "validation"), in file order."""
    with lzma.open(corpus, "rt", encoding="utf8") as lines:
        for line in lines:
            document = json.loads(line)
            if document["split"] == split:
                yield document["source"], document["text"]


def train_tokenizer(corpus: Path, vocabulary: int) -> Tokenizer:
    """NFC byte-level BPE with `vocabulary` ids; id 0 ends a text, id 1 pads.

    `max_token_length` keeps runs of dashes and spaces from eating the vocabulary.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        max_token_length=24,
        show_progress=False,
    )
    tokenizer.train_from_iterator((text for _, text in documents(corpus, "train")), trainer)
    return tokenizer


def token_stream(tokenizer: Tokenizer, corpus: Path, split: str) -> np.ndarray:
    """All documents of a split as one uint16 stream, each preceded by the end-of-text id."""
    texts = [text for _, text in documents(corpus, split)]
    pieces: list[int] = []
    for encoding in tokenizer.encode_batch_fast(texts):
        pieces.append(tokenizer.token_to_id(END_OF_TEXT))
        pieces.extend(encoding.ids)
    return np.array(pieces, dtype=np.uint16)


def source_counts(tokenizer: Tokenizer, corpus: Path) -> dict[str, np.ndarray]:
    """How often each token occurs in the training text of each source, (V,) int64 per source."""
    vocabulary = tokenizer.get_vocab_size()
    counts: dict[str, np.ndarray] = {}
    for source, text in documents(corpus, "train"):
        ids = np.array(tokenizer.encode(text).ids, dtype=np.int64)
        counts.setdefault(source, np.zeros(vocabulary, dtype=np.int64))
        counts[source] += np.bincount(ids, minlength=vocabulary)
    return counts
