"""How often a dictionary's explanations may be read: the gate over held-out text."""

import json
import lzma
import random
from collections.abc import Sequence
from pathlib import Path

from atlas.live import decompose_prompt
from atlas.store import Store

PROMPTS = 32
RIVALS = 4
"""The winner is set against each of the next tokens: close contrasts, the hard case."""
LENGTH = 150
"""Characters of a prompt, cut back to a word."""


def held_out_prompts(corpus: Path, n: int = PROMPTS, seed: int = 0) -> list[str]:
    """`n` pieces of validation documents, one each, at places drawn with `seed`."""
    rng = random.Random(seed)
    with lzma.open(corpus, "rt", encoding="utf8") as lines:
        documents = [json.loads(line) for line in lines]
    texts = [d["text"] for d in documents if d["split"] == "validation"]
    prompts = []
    for text in rng.sample(texts, min(n, len(texts))):
        start = rng.randrange(max(1, len(text) - LENGTH))
        prompts.append(text[start : start + LENGTH].rsplit(" ", 1)[0])
    return prompts


def gate_rate(store: Store, run: str, prompts: Sequence[str]) -> tuple[float, int]:
    """Share of contrasts that pass the gate at the last snapshot, and their number.

    For each prompt the likeliest next token against each of the `RIVALS` after it; the rule is
    the paper's gate (prism-method section 7.1): right sign and rho below 0.5.
    """
    passed = []
    for prompt in prompts:
        first, *rivals = decompose_prompt(store, run, prompt).top[: RIVALS + 1]
        for rival in rivals:
            told = decompose_prompt(store, run, prompt, target=first.token, versus=rival.token)
            passed.append(bool(told.rows[-1].ledger.gate))
    return sum(passed) / len(passed), len(passed)
