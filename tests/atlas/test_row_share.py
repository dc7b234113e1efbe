"""The explained share of one row agrees with the dictionary's own arithmetic."""

from pathlib import Path

import numpy as np
import pytest

from atlas.artifacts import load_snapshots, read_crosscoder, read_prism, read_run
from atlas.crosscoder import activations, decode, pre_activations, standardize
from atlas.prism import decode as prism_decode
from atlas.prism import encode, normalise_rows
from atlas.row_share import explained_shares
from atlas.store import Store
from tests.tiny import PRISM, SEED0

TOKENS = [3, 40, 200]


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


def test_a_crosscoder_row(store: Store, tiny_store: Path) -> None:
    card = store.run(SEED0)
    crosscoder = read_crosscoder(read_run(tiny_store / card.folder))
    rows = load_snapshots(tiny_store, card.model_name, card.steps, card.matrix)
    x = standardize(rows)[1][:, TOKENS]
    p = pre_activations(crosscoder, x)
    x_hat = decode(crosscoder, activations(p, crosscoder.norms, crosscoder.threshold))
    wanted = 1 - (x - x_hat).square().sum(-1) / x.square().sum(-1)
    for i, token in enumerate(TOKENS):
        features, code = store.code_of_tokens(SEED0, [token])[token]
        found = explained_shares(tiny_store, card, token, features, code)
        np.testing.assert_allclose(found, wanted[:, i].numpy(), atol=1e-3)


def test_a_prism_row(store: Store, tiny_store: Path) -> None:
    card = store.run(PRISM)
    prism = read_prism(read_run(tiny_store / card.folder))
    rows = load_snapshots(tiny_store, card.model_name, card.steps, card.matrix)[0]
    x = normalise_rows(rows, prism.row_mean)[0][TOKENS]
    x_hat = prism_decode(prism, *encode(prism, x))
    wanted = 1 - (x - x_hat).square().sum(-1) / x.square().sum(-1)
    for i, token in enumerate(TOKENS):
        features, code = store.code_of_tokens(PRISM, [token])[token]
        found = explained_shares(tiny_store, card, token, features, code)
        np.testing.assert_allclose(found, wanted[i : i + 1].numpy(), atol=1e-3)
