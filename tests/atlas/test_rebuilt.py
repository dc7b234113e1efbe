"""The dictionary's own logits: those of the ledgers, token by token, and the comparison by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.decomposition import token_logit
from atlas.live import Parts, decompose_prompt
from atlas.reading import read_prompt
from atlas.rebuilt import compare, own_answer, rebuilt_logits
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
    true, own = (torch.tensor(x, dtype=torch.float64).log_softmax(0) for x in (
        (6.5, 2.5, 5.5, 3.5), (6.3, 2.7, 5.4, 3.6)))
    place, kl = compare(own, true)
    assert place == 1
    assert kl == pytest.approx(0.0046548, abs=5e-8)
    assert compare(true, true) == (1, 0)
    assert compare(true[[1, 0, 2, 3]], true)[0] == 4


@pytest.mark.parametrize("run", [SEED0, PRISM])
def test_the_own_answer_is_that_of_the_rebuilt_logits(store: "Store", run: str) -> None:
    reading = read_prompt(store, run, PROMPT)
    step = reading.card.steps[-1]
    found = own_answer(store, reading, step, reading.step)
    assert [t.token for t in found.true] == [c.token for c in reading.top]
    parts = Parts.of(store, reading.root, reading.card, token_logit(0))
    alone = rebuilt_logits(store, parts, step, reading.h)
    assert [t.token for t in found.alone] == np.argsort(-alone, kind="stable")[:10].tolist()
    rank = 1 + int((alone > alone[reading.top[0].token]).sum())
    assert found.place == found.true[0].other_rank == rank
    p, q = (np.exp(x.astype(np.float64)) for x in (reading.logits, alone))
    p, q = p / p.sum(), q / q.sum()
    assert found.kl_bits == pytest.approx(float((p * np.log2(p / q)).sum()), abs=1e-6)


def test_another_step_reads_its_own_state(store: "Store") -> None:
    reading = read_prompt(store, SEED0, PROMPT)
    step = reading.kept[0]
    own = own_answer(store, reading, step, step)
    final = own_answer(store, reading, step, reading.step)
    assert own.true != final.true
