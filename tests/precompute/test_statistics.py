"""Statistics of a run: hand cases, what cannot be had, and a map that keeps neighbours near."""

import numpy as np
import pytest
import torch

from atlas import geometry, lifecycle, reorganisation
from atlas.changepoint import permutation_test
from atlas.codes import SparseCode
from precompute.statistics import (
    RUN_STATISTICS,
    WINDOW_STATISTICS,
    change_columns,
    duplicates,
    feature_labels,
    life_statistics,
    null_overlap,
    population_map,
    promoted_null,
    run_statistics,
    window_statistics,
)
from precompute.words import Words


def lives(count: int, features: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    g = np.random.default_rng(count)
    rotation = g.random((count - 1, features))
    if count > 2:
        rotation[0, 2] = np.nan
    return g.random((count, features)), g.random((count, features)), rotation


def test_life_statistics_are_those_of_the_mathematics():
    rates, norms, rotation = lives(12)
    found = life_statistics(rates, norms, rotation, seed=3, draws=20)
    np.testing.assert_array_equal(found["cusum_norm"], lifecycle.cusum_max(norms))
    np.testing.assert_array_equal(found["cusum_rotation"], lifecycle.cusum_max(rotation))
    assert np.isnan(found["cusum_rotation"]).tolist() == [False, False, True, False, False]
    test = permutation_test(rates, 20, np.random.default_rng(3))
    assert run_statistics(found) == {
        "cusum_observed": test.observed, "cusum_p": test.p_value, "cusum_z": test.z,
        "cusum_draws": 20, "rate_rotation_r": lifecycle.rate_rotation_r(rates, rotation)}


@pytest.mark.parametrize("count", [1, 2, 8])
def test_a_run_that_is_too_short_has_no_change_statistic(count: int):
    rates, norms, rotation = lives(count)
    found = life_statistics(rates, norms if count > 1 else np.full((1, 5), np.nan), rotation)
    told = run_statistics(found)
    assert [told[name] for name in RUN_STATISTICS[:4]] == [None, None, None, 0]
    assert (told["rate_rotation_r"] is None) == (count == 1)
    assert np.isnan(found["cusum_norm"]).all() == (count == 1)
    assert np.isnan(found["cusum_rotation"]).all() == (count < 3)
    assert run_statistics({}) == {}


def test_the_promoted_null_is_the_spread_of_each_direction_alone():
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(90, 6, generator=g) + 1
    directions = torch.nn.functional.normalize(torch.randn(40, 6, generator=g), dim=1)
    allowed = torch.arange(90) % 3 > 0
    found = promoted_null(rows, allowed, directions)
    cosines = []
    for direction, ids in zip(directions, found["ids"], strict=True):
        centred = rows - rows.mean(dim=0)
        cosine = (centred @ direction) / centred.norm(dim=1)
        best = cosine.masked_fill(~allowed, -2).argsort(descending=True)[:12]
        assert ids.tolist() == best.tolist()
        cosines.append(cosine[best].numpy())
    np.testing.assert_allclose(
        found["null"], np.quantile(cosines, [0.05, 0.5, 0.95], axis=0).T, atol=1e-6)
    assert promoted_null(rows, torch.arange(90) < 5, directions)["null"].shape == (5, 3)


def test_null_overlap_by_hand():
    before = np.array([[1, 2, 3], [4, 5, 6]])
    assert np.isnan(null_overlap(before, None))
    assert null_overlap(before, before) == 1
    assert null_overlap(np.array([[3, 9, 1], [1, 2, 3]]), before) == pytest.approx(2 / 6)


def near(points: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    found = geometry.cosine_neighbours(torch.from_numpy(points), n)
    return found[0].numpy(), found[1].numpy()


def test_duplicates_by_hand():
    neighbours = np.array([[1, 2, 3], [0, 2, 4], [0, 1, 3], [2, 4, 0], [-1, -1, -1]])
    cosines = np.array([[0.95, 0.92, 0.1], [0.95, 0.89, 0.0], [0.92, 0.9, 0.2],
                        [0.2, 0.1, 0.1], [np.nan] * 3], dtype=np.float64)
    found = duplicates(neighbours, cosines, np.array([True, False, True, True, True]))
    assert found["n_duplicates"].tolist() == [1, 0, 1, 0, 0]
    assert found["duplicate_of"].tolist() == [2, -1, 0, -1, -1]
    np.testing.assert_allclose(found["nearest"], [0.95, 0.95, 0.92, 0.2, np.nan], atol=1e-6)
    nobody = duplicates(np.zeros((1, 0), int), np.zeros((1, 0)), np.array([True]))
    assert (nobody["n_duplicates"][0], nobody["duplicate_of"][0]) == (0, -1)
    assert np.isnan(nobody["nearest"][0])


def test_the_map_is_the_same_with_more_threads_and_keeps_groups_together():
    g = np.random.default_rng(0)
    centres = np.linalg.qr(g.normal(size=(12, 12)))[0][:6]
    points = np.repeat(centres, 20, axis=0) + 0.05 * g.normal(size=(120, 12))
    points[7] = 0
    ids, cosines = near(points, 10)
    places = population_map(ids, cosines, seed=1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if before > 1 else 2)
        np.testing.assert_array_equal(places, population_map(ids, cosines, seed=1))
    finally:
        torch.set_num_threads(before)
    assert places.dtype == np.float32
    known = np.arange(120) != 7
    assert np.isnan(places[7]).all()
    assert places[known].min() >= 0
    assert places[known].max() <= 1
    assert np.ptp(places[known], axis=0).max() == pytest.approx(1, abs=1e-3)
    group = np.repeat(np.arange(6), 20)[known]
    distance = np.linalg.norm(places[known, None] - places[None, known], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert (group[distance.argmin(axis=1)] == group).mean() > 0.95


@pytest.mark.parametrize("size", [1, 4, 5, 6, 24])
def test_a_map_of_a_few_features(size: int):
    g = np.random.default_rng(size)
    places = population_map(*near(g.normal(size=(size, 3)), 20))
    assert np.isnan(places).all() == (size < 5)
    assert places.shape == (size, 2)


def test_features_that_all_point_the_same_way_have_a_map():
    places = population_map(*near(np.ones((30, 4)), 20))
    assert np.isfinite(places).all()


def test_feature_labels_of_planted_features():
    cyrillic = [f" мир{chr(0x430 + i)}".encode() for i in range(12)]
    animals = [b" zebra", b" cattle", b" walrus", b" Zebra", b"Cattle", b"WALRUS", b" Walrus"]
    raw = [*cyrillic, *animals, *(f"a{i}!".encode() for i in range(101)), b"", b""]
    lists = [list(range(10)), list(range(12, 19)), [0, 1], [*range(12, 19), 120, 121]]
    token = np.concatenate(lists).astype(np.int32)
    feature = np.repeat(np.arange(4), [len(x) for x in lists]).astype(np.int32)
    order = np.lexsort((feature, token))
    p = np.linspace(2, 1, len(token)).astype(np.float32)
    code = SparseCode(token[order], feature[order], p[order], 125, 4)
    found = feature_labels(code, Words(tuple(raw), {}), 0)
    assert found["script"].tolist() == ["Cyrillic", "ASCII", "", "ASCII"]
    assert found["supersense"].tolist() == ["", "noun.animal", "", "noun.animal"]
    assert found["family"].tolist() == ["Cyrillic", "latin alpha", "", "latin alpha"]
    assert found["script_share"][0] == 1
    assert found["script_enrichment"][0] == pytest.approx(120 / 12)
    assert found["supersense_coverage"][[0, 1, 3]].tolist() == [0, 1, 1]
    assert found["supersense_p"][1] < 1e-8
    assert np.isnan(found["script_p"][2])


def test_change_columns_are_steps_where_the_change_is_more_than_chance():
    steps = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    g = np.random.default_rng(0)
    norms = 1 + 0.05 * g.normal(size=(12, 4))
    norms[6:, 0] += 3
    norms[:, 2], norms[3, 3] = 0.5, np.nan
    found = change_columns(norms, steps)
    assert [found[f"change_{name}step"][0] for name in ("", "low_", "high_")] == [32, 32, 32]
    assert found["change_p"][0] < 0.02
    assert found["change_p"][1] > 0.05
    assert np.isnan(found["change_p"][2:]).all()
    for name in ("change_step", "change_low_step", "change_high_step"):
        assert found[name].dtype == np.int32
        assert found[name][1:].tolist() == [-1, -1, -1]
    short = change_columns(np.full((1, 3), np.nan), [64])
    assert short["change_step"].tolist() == [-1, -1, -1]


def test_window_statistics_are_those_of_the_mathematics():
    steps = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
    rates, norms, rotation = lives(12)
    arrays = {"rates": rates, "rotation": rotation, "to_terminal": 1 - norms}
    found = window_statistics("a/run", steps, norms, arrays)
    metrics = reorganisation.pair_metrics(norms, rates, rotation, 1 - norms)
    seed = reorganisation.seed_of("a/run")
    whole = reorganisation.score_windows(metrics.components, steps, seed)
    around = reorganisation.bootstrap(norms, rates, rotation, 1 - norms, steps, seed)
    told = run_statistics(found)
    assert list(told) == list(WINDOW_STATISTICS)
    best = whole.best
    assert told["window_from"] == whole.windows.from_step[best]
    assert (told["window_z"], told["window_p"]) == (whole.z[best], whole.p[best])
    assert told["window_p_any"] == whole.p_any[best]
    assert told["window_to_high"] == around.to_high
    assert window_statistics("a/run", steps[:8], norms[:8], arrays) == {}
