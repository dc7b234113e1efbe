"""What the store keeps beside the cards: values against direct computation from the weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from atlas import crosscoder, detail
from atlas.artifacts import load_snapshot, load_snapshots, read_crosscoder, read_prism, read_run
from atlas.codes import crosscoder_code, prism_code
from atlas.errors import InvalidValue, NotFound
from atlas.prism import decode, dense_code, encode, normalise_rows
from atlas.schema import BINS, NEIGHBOURS_AT
from atlas.store import Store
from tests.tiny import DEAD, PRISM, SEED0, SILENT_AT_BIRTH, STEPS, WIDTH, V

K = len(STEPS)


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


@pytest.fixture(scope="module")
def weights(tiny_store: Path) -> tuple[crosscoder.Crosscoder, torch.Tensor]:
    """The dictionary of `SEED0` and its standardised rows (K, V, d)."""
    parts = read_run(tiny_store / "runs" / SEED0)
    rows = load_snapshots(tiny_store, parts.config["model_name"], STEPS, "W_U")
    return read_crosscoder(parts), crosscoder.standardize(rows)[1]


def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
    """nan where either has no length."""
    return float(a.double() @ b.double() / a.double().norm() / b.double().norm())


def test_similarities_of_every_two_snapshots(store: Store, weights: tuple) -> None:
    directions = weights[0].W_D
    for feature in (0, 7, SILENT_AT_BIRTH):
        found = detail.similarity(store, SEED0, feature)
        expected = [[cosine(directions[a, feature], directions[b, feature]) for b in range(K)]
                    for a in range(K)]
        np.testing.assert_allclose(found, expected, atol=0.00501)
        np.testing.assert_array_equal(found, found.T)
        assert found.dtype == np.float32
    born = ~np.isnan(found).all(axis=1)
    assert born.tolist() == [False, True, True, True, True]
    assert np.diag(found)[1:].tolist() == [1] * (K - 1)
    assert detail.similarity(store, PRISM, 0) is None


def test_neighbours_at_every_snapshot(store: Store, weights: tuple) -> None:
    directions = weights[0].W_D
    labels = [store.feature(SEED0, f).info.label for f in range(WIDTH)]
    for k, feature in ((0, 3), (2, 3), (K - 1, 11)):
        found = detail.neighbours_at(store, SEED0, feature, k)
        everyone = {f: cosine(directions[k, feature], directions[k, f]) for f in range(WIDTH)
                    if f != feature and (k > 0 or f != SILENT_AT_BIRTH)}
        expected = sorted(everyone, key=everyone.__getitem__, reverse=True)[:NEIGHBOURS_AT]
        assert found.features.tolist() == expected
        np.testing.assert_allclose(found.cosines, [everyone[f] for f in expected], atol=6e-4)
        assert list(found.labels) == [labels[f] for f in expected]
    last = store.feature(SEED0, 11).neighbours
    np.testing.assert_array_equal(found.features, last.features[:NEIGHBOURS_AT])
    np.testing.assert_array_equal(found.cosines, last.cosines[:NEIGHBOURS_AT])
    assert found.profiles == last.profiles[:NEIGHBOURS_AT]
    assert not len(detail.neighbours_at(store, SEED0, SILENT_AT_BIRTH, 0).features)
    only = detail.neighbours_at(store, PRISM, 4, 0)
    np.testing.assert_array_equal(only.features,
                                  store.feature(PRISM, 4).neighbours.features[:NEIGHBOURS_AT])


@pytest.mark.parametrize("run", [SEED0, PRISM])
def test_how_activations_are_spread(
    store: Store, tiny_store: Path, weights: tuple, run: str
) -> None:
    if run == PRISM:
        prism = read_prism(read_run(tiny_store / "runs" / PRISM))
        rows = load_snapshot(tiny_store, "readout-atlas/tiny-large", STEPS[-1], "W_U")
        code, _ = prism_code(prism, normalise_rows(rows, prism.row_mean)[0])
    else:
        code, _ = crosscoder_code(*weights)
    for feature in range(WIDTH):
        p = code.p[code.feature == feature]
        found = store.feature(run, feature).activations
        if not len(p):
            assert found is None
            continue
        assert found.total == len(p) == store.feature(run, feature).info.n_tokens
        assert len(found.counts) == BINS
        np.testing.assert_allclose(found.edges[[0, -1]], [p.min(), p.max()], atol=6e-4)
        sure = np.abs(p[:, None] - found.edges).min(axis=1) > 1e-3 * p.max()
        place = np.searchsorted(found.edges, p[sure], side="right") - 1
        least = np.bincount(place.clip(0, BINS - 1), minlength=BINS)
        assert (found.counts >= least).all(), "values near an edge may lie on either side"
        assert sure.mean() > 0.3
    assert store.feature(run, DEAD).activations is None


def dense(c: crosscoder.Crosscoder, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Activations (K, V, D) and what is left over of every row, (K, V)."""
    a = crosscoder.row_activations(c, crosscoder.row_codes(c, crosscoder.pre_activations(c, x)))
    return a, (crosscoder.decode(c, a) - x).square().sum(dim=2)


def test_what_a_feature_adds_to_rows_and_how_well_they_are_explained(
    store: Store, tiny_store: Path, weights: tuple
) -> None:
    c, x = weights
    activations, left = dense(c, x)
    added = (activations.mean(dim=1) * c.norms).T
    share = 1 - left[-1] / x[-1].square().sum(dim=1)
    explained = (activations[-1] * share[:, None]).sum(dim=0) / activations[-1].sum(dim=0)
    for feature in range(WIDTH):
        card = store.feature(SEED0, feature)
        np.testing.assert_allclose(card.contribution, added[feature], rtol=6e-4, atol=1e-7)
        assert card.info.contribution == pytest.approx(float(added[feature].mean()), rel=1e-4)
        assert card.info.rows_explained == pytest.approx(
            float(explained[feature]), rel=6e-3, nan_ok=True)
    assert np.isnan(store.feature(SEED0, DEAD).info.rows_explained)
    prism = read_prism(read_run(tiny_store / "runs" / PRISM))
    rows = load_snapshot(tiny_store, "readout-atlas/tiny-large", STEPS[-1], "W_U")
    unit, _, lengths = normalise_rows(rows, prism.row_mean)
    code = dense_code(prism, unit) * lengths[:, None]
    share = 1 - (decode(prism, *encode(prism, unit)) - unit).square().sum(dim=1)
    for feature in (0, 5):
        card, p = store.feature(PRISM, feature), code[:, feature]
        assert card.contribution.tolist() == pytest.approx([float(p.mean())], rel=6e-4)
        assert card.info.rows_explained == pytest.approx(float(p @ share / p.sum()), rel=6e-3)


def test_the_course_of_a_row(store: Store, weights: tuple) -> None:
    x = weights[1]
    left = dense(*weights)[1]
    for token in (0, 17, V - 1):
        found = detail.row_course(store, SEED0, token)
        rows = x[:, token]
        assert (found.token, found.steps) == (token, tuple(STEPS))
        np.testing.assert_allclose(found.norm, rows.norm(dim=1), rtol=1e-3)
        np.testing.assert_allclose(
            found.to_terminal, [1 - cosine(row, rows[-1]) for row in rows], atol=5.1e-3)
        np.testing.assert_allclose(
            found.explained, 1 - left[:, token] / rows.square().sum(dim=1), atol=5.1e-3)
    assert found.to_terminal[-1] == 0
    assert detail.row_course(store, SEED0, V) is None


def test_the_row_of_a_prism(store: Store, tiny_store: Path) -> None:
    prism = read_prism(read_run(tiny_store / "runs" / PRISM))
    rows = load_snapshot(tiny_store, "readout-atlas/tiny-large", STEPS[-1], "W_U")
    x, _, lengths = normalise_rows(rows, prism.row_mean)
    left = (decode(prism, *encode(prism, x)) - x).square().sum(dim=1)
    for token in (0, 17):
        found = detail.row_course(store, PRISM, token)
        assert found.norm[0] == pytest.approx(float(lengths[token]), rel=1e-3)
        assert found.explained[0] == pytest.approx(1 - float(left[token]), abs=5.1e-3)
        assert np.isnan(found.to_terminal).all()


def test_what_is_not_there(store: Store) -> None:
    for ask in (detail.similarity, lambda *asked: detail.neighbours_at(*asked, 0)):
        with pytest.raises(NotFound, match=f"it has 0 to {WIDTH - 1}"):
            ask(store, SEED0, WIDTH)
        with pytest.raises(NotFound, match="no run"):
            ask(store, "nothing/such", 0)
    with pytest.raises(NotFound, match="no feature -1"):
        detail.neighbours_at(store, SEED0, -1, 0)
    with pytest.raises(InvalidValue, match="it has 0 to 4"):
        detail.neighbours_at(store, SEED0, 0, K)
    with pytest.raises(NotFound, match="no run"):
        detail.row_course(store, "nothing/such", 0)
