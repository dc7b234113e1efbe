"""The dictionary's own logits: those of the ledgers, token by token, and the comparison by hand."""

from pathlib import Path

import numpy as np
import pytest

from atlas.decomposition import token_logit
from atlas.live import Parts, decompose_prompt
from atlas.reading import read_prompt
from atlas.rebuilt import compare, rebuilt_logits
from atlas.store import Store
from tests.tiny import PRISM, SEED0, V

PROMPT = "In the beginning the light was upon the"


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> "Store":
    return Store.open(tiny_store)


@pytest.mark.parametrize("run", [SEED0, PRISM])
def test_every_token_as_its_ledger_says(store: "Store", run: str) -> None:
    reading = read_prompt(store, run, PROMPT)
    parts = Parts.of(store, reading.root, reading.card, token_logit(0))
    for step in reading.card.steps[::2]:
        shares: list[float] = []
        found = rebuilt_logits(store, parts, step, reading.h, shares.append)
        assert shares[-1] == 1
        assert found.shape == (V,)
        for token in range(0, V, 23):
            told = decompose_prompt(store, run, PROMPT, target=token, step=step)
            assert found[token] == pytest.approx(told.rows[0].ledger.reconstructed, abs=1e-5)


def test_the_hand_case() -> None:
    """prism-method §13.1 with g = 0.9: KL 0.0046548 bits, the winner stays."""
    true, own = np.array([6.5, 2.5, 5.5, 3.5]), np.array([6.3, 2.7, 5.4, 3.6])
    found = compare(own, true, None)
    assert found.kl_bits == pytest.approx(0.0046548, abs=5e-8)
    assert (found.top, found.place) == ((0, 2, 3, 1), 1)


def test_a_winner_that_loses_and_a_cap() -> None:
    true, own = np.array([60.0, 0.0, 50.0]), np.array([10.0, 40.0, 20.0])
    found = compare(own, true, 30.0)
    assert (found.top, found.place) == ((1, 2, 0), 3)
    p, q = (np.exp(30 * np.tanh(x / 30)) for x in (true, own))
    p, q = p / p.sum(), q / q.sum()
    assert found.kl_bits == pytest.approx(float((p * np.log2(p / q)).sum()))
    assert compare(true, true, 30.0).kl_bits == 0
