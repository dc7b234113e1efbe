"""The split of a row adds up to what the dictionary explains, and is the fair share of each."""

from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from atlas.artifacts import load_snapshots, read_crosscoder, read_prism, read_run
from atlas.crosscoder import activations, decode, pre_activations, standardize
from atlas.detail import row_course
from atlas.errors import NotFound
from atlas.prism import decode as prism_decode
from atlas.prism import encode, normalise_rows
from atlas.row_parts import RowParts, bands, row_parts, split
from atlas.store import Store
from tests.tiny import PRISM, SEED0, V

TOKENS = [3, 40, 200]


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


def parts_of(store: Store, run: str, token: int, kept: bool = True) -> RowParts:
    standards = store.standardization(run) if kept else None
    return row_parts(store.folder, store.run(run), store.token(run, token), standards)


def test_a_split_is_the_fair_share_over_all_orders() -> None:
    generator = np.random.default_rng(1)
    x, parts = generator.normal(size=5), generator.normal(size=(4, 5))

    def explained(some: tuple[int, ...]) -> float:
        rest = x - parts[list(some)].sum(axis=0)
        return 1 - float(rest @ rest) / float(x @ x)

    wanted = np.zeros(4)
    orders = list(permutations(range(4)))
    for order in orders:
        for place, part in enumerate(order):
            gain = explained(order[: place + 1]) - explained(order[:place])
            wanted[part] += gain / len(orders)
    shares, last = split(x, parts[:3], parts[3])
    np.testing.assert_allclose([*shares, last], wanted, atol=1e-12)


def test_a_row_without_length_has_no_shares() -> None:
    shares, offset = split(np.zeros(3), np.ones((2, 3)), np.ones(3))
    assert np.isnan([*shares, offset]).all()


@pytest.mark.parametrize("kept", [True, False])
def test_a_crosscoder_row(store: Store, tiny_store: Path, kept: bool) -> None:
    card = store.run(SEED0)
    crosscoder = read_crosscoder(read_run(tiny_store / card.folder))
    rows = load_snapshots(tiny_store, card.model_name, card.steps, card.matrix)
    x = standardize(rows)[1][:, TOKENS]
    p = pre_activations(crosscoder, x)
    x_hat = decode(crosscoder, activations(p, crosscoder.norms, crosscoder.threshold))
    wanted = 1 - (x - x_hat).square().sum(-1) / x.square().sum(-1)
    for i, token in enumerate(TOKENS):
        found = parts_of(store, SEED0, token, kept)
        np.testing.assert_allclose(found.explained, wanted[:, i].numpy(), atol=1e-3)
        np.testing.assert_allclose(found.explained + found.remainder, 1)


def test_a_prism_row(store: Store, tiny_store: Path) -> None:
    card = store.run(PRISM)
    prism = read_prism(read_run(tiny_store / card.folder))
    rows = load_snapshots(tiny_store, card.model_name, card.steps, card.matrix)[0]
    x = normalise_rows(rows, prism.row_mean)[0][TOKENS]
    x_hat = prism_decode(prism, *encode(prism, x))
    wanted = 1 - (x - x_hat).square().sum(-1) / x.square().sum(-1)
    for i, token in enumerate(TOKENS):
        found = parts_of(store, PRISM, token).explained
        np.testing.assert_allclose(found, wanted[i : i + 1].numpy(), atol=1e-3)


@pytest.mark.parametrize("run", [SEED0, PRISM])
def test_it_agrees_with_what_the_store_keeps(store: Store, run: str) -> None:
    for token in TOKENS:
        course = row_course(store, run, token)
        assert course is not None
        np.testing.assert_allclose(
            parts_of(store, run, token).explained, course.explained, atol=6e-3)


def test_features_that_do_not_fire_supply_nothing(store: Store) -> None:
    seen = 0
    for token in range(0, V, 7):
        card = store.token(SEED0, token)
        if card.features.empty:
            continue
        silent = np.stack(card.features["activation"].to_list()).T == 0
        seen += silent.sum()
        assert (parts_of(store, SEED0, token).parts[silent] == 0).all()
    assert seen


def test_bands_are_the_largest_and_add_up() -> None:
    parts = np.array([[0.5, 0.1, -0.2, 0.0], [0.1, 0.6, -0.1, 0.0]])
    found = bands(RowParts(np.array([7, 8, 9, 4]), parts, np.array([0.05, 0.05])), 2)
    assert found.features.tolist() == [8, 7]
    np.testing.assert_allclose(found.values, [[0.1, 0.6], [0.5, 0.1]])
    np.testing.assert_allclose(found.others, [-0.15, -0.05])
    np.testing.assert_allclose(found.values.sum(axis=0) + found.others, found.explained)


def test_a_row_on_which_nothing_fires_has_only_its_offset() -> None:
    found = bands(RowParts(np.zeros(0, int), np.zeros((2, 0)), np.array([0.1, np.nan])))
    assert not len(found.features)
    np.testing.assert_allclose(found.others, [0.1, np.nan])


def test_a_store_without_weights_says_so(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="shared without weights"):
        row_parts(tmp_path, store.run(SEED0), store.token(SEED0, 3), None)
