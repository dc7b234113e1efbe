"""Nearest rows against all cosines of the centred matrix, whatever the block and the store."""

from pathlib import Path

import numpy as np
import pytest

from atlas.artifacts import load_snapshots
from atlas.errors import NotFound
from atlas.near_rows import SAMPLED, nearest_rows, numbers_to_read, snapshots_to_read
from atlas.store import Store
from atlas.tensor_files import save_tensors
from tests.tiny import PRISM, SEED0, STEPS, D, V


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


def all_cosines(store: Store, run: str) -> np.ndarray:
    """(K, V, V) cosines of the centred rows, the slow way; no row is its own neighbour."""
    card = store.run(run)
    rows = load_snapshots(store.folder, card.model_name, card.steps, card.matrix).numpy()
    rows = rows.astype(np.float64) - rows.mean(axis=1, keepdims=True, dtype=np.float64)
    rows /= np.linalg.norm(rows, axis=-1, keepdims=True)
    found = rows @ rows.transpose(0, 2, 1)
    found[:, np.arange(V), np.arange(V)] = -2
    return found


@pytest.mark.parametrize("run", [SEED0, PRISM])
@pytest.mark.parametrize("block", [None, 1, 97])
def test_they_are_the_largest_of_all_cosines(store: Store, run: str, block: int | None) -> None:
    card, slow = store.run(run), all_cosines(store, run)
    standards = store.standardization(run)
    for k in range(len(card.steps)):
        mean = None if standards is None else standards[0][k]
        for token in (0, 100, V - 1):
            found = nearest_rows(store.folder, card, k, token, mean, block=block)
            order = np.argsort(-slow[k, token], kind="stable")[:8]
            np.testing.assert_allclose(found.cosines, slow[k, token, order], atol=2e-4)
            np.testing.assert_allclose(slow[k, token, found.tokens], found.cosines, atol=2e-4)
            assert token not in found.tokens
            assert found.tokens.tolist() == order.tolist() or len(
                set(np.round(slow[k, token, order], 3))) < 8


def test_usual_is_the_best_of_rows_drawn_at_random(store: Store) -> None:
    card, slow = store.run(SEED0), all_cosines(store, SEED0)
    draw = np.random.default_rng(0).permutation(V)
    sample = draw[draw != 5][:SAMPLED]
    found = nearest_rows(store.folder, card, 2, 5, block=50)
    wanted = np.quantile(slow[2, sample].max(axis=1), (0.05, 0.5, 0.95))
    np.testing.assert_allclose(found.usual, wanted, atol=2e-4)


def test_the_mean_read_from_the_file_is_the_stored_one(store: Store) -> None:
    card, standards = store.run(SEED0), store.standardization(SEED0)
    assert standards is not None
    kept = nearest_rows(store.folder, card, 3, 17, standards[0][3])
    read = nearest_rows(store.folder, card, 3, 17, block=64)
    np.testing.assert_allclose(kept.cosines, read.cosines, atol=1e-4)


def test_a_row_without_length_has_no_neighbours_and_is_none(
    store: Store, tmp_path: Path
) -> None:
    card = store.run(PRISM)
    rows = load_snapshots(store.folder, card.model_name, card.steps, card.matrix)[0]
    mean = rows.mean(dim=0)
    rows[9] = mean
    path = tmp_path / "snapshots" / f"readout-atlas_tiny-large_step{STEPS[-1]}_wu.safetensors"
    save_tensors(path, {"W_U": rows})
    assert not len(nearest_rows(tmp_path, card, 0, 9, mean.numpy()).tokens)
    found = nearest_rows(tmp_path, card, 0, 4, mean.numpy(), nearest=V)
    assert np.isfinite(found.cosines).all()
    assert found.cosines[found.tokens == 9].tolist() == [0]


def test_a_store_without_weights_says_so(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="shared without weights"):
        nearest_rows(tmp_path, store.run(SEED0), 0, 0)


def test_a_page_reads_eight_snapshots_at_most() -> None:
    assert snapshots_to_read(32, 5)[0] == 0
    assert {5, 31} <= set(snapshots_to_read(32, 5))
    assert len(snapshots_to_read(32, 5)) == 8
    assert snapshots_to_read(1, 0) == [0]


def test_numbers_to_read_are_those_of_the_snapshots_shown(store: Store) -> None:
    assert numbers_to_read(store.run(SEED0), V, 2) == len(STEPS) * V * D
    assert numbers_to_read(store.run(PRISM), V, 0) == V * D
