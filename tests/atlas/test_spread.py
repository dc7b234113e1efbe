"""Histograms that add up, and a map that leaves no occupied place empty."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from atlas import spread
from atlas.browsing import histograms, map_points, page, read_wish
from atlas.columns import number_columns
from atlas.conditions import Range, write_where
from atlas.errors import InvalidValue
from atlas.measures import CATEGORIES, FLAGS, MEASURES, measures_of
from atlas.spread import GRID, Histogram, thinned
from atlas.store import Store
from tests.tiny import PRISM, SEED0, STEPS, WIDTH


@pytest.fixture(scope="module")
def store(tiny_store):
    return Store.open(tiny_store)


def wish_of(store, run=SEED0, **parameters):
    wish, problems = read_wish(parameters, store.run(run))
    assert problems == ()
    return wish


@pytest.mark.parametrize("parameters", [{}, {"where": "norm_final:0.5.."}, {"legible": "yes"}])
def test_histograms_sum_to_the_features_and_count_what_lies_in_their_bins(store, parameters):
    k = 2
    wish = wish_of(store, **parameters)
    passing = set(page(store, SEED0, k, wish, limit=500).rows["feature"])
    assert passing
    for name, found in histograms(store, SEED0, k, wish, tuple(MEASURES)).items():
        values = number_columns(store, SEED0, k, (name,), (0, 64))[name]
        assert found.total.sum() + found.missing == WIDTH, name
        assert found.passing.sum() + found.missing_passing == len(passing), name
        assert found.missing == np.isnan(values).sum()
        assert (np.diff(found.edges[:-1]) > 0).all(), name
        assert len(found.edges) == len(found.total) + 1 <= 25 or MEASURES[name].kind == "step"
        for i in range(len(found.total)):
            low, high = found.edges[i : i + 2].astype(np.float32)
            last = i == len(found.total) - 1
            inside = [f for f, v in enumerate(values.astype(float))
                      if low <= v and (v <= high if last else v < high)]
            assert found.total[i] == len(inside), (name, i)
            assert found.passing[i] == len(passing & set(inside)), (name, i)


def test_a_bin_of_whole_numbers_is_kept_by_its_own_ends(store):
    found = histograms(store, SEED0, 1, wish_of(store), ("birth_step", "n_duplicates", "n_tokens"))
    for name, histogram in found.items():
        for i, count in enumerate(histogram.total):
            low, high, below = histogram.ends(i)
            assert not below
            kept = page(store, SEED0, 1, wish_of(store, where=f"{name}:{low}..{high}"), limit=500)
            assert kept.total == count, (name, low, high)


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_the_condition_of_a_bin_keeps_as_many_as_the_bin_counts(store, name):
    for bins in (20, 5):
        found = histograms(store, SEED0, 2, wish_of(store), (name,), bins)[name]
        for i, count in enumerate(found.total):
            low, high, below = found.ends(i)
            where = ((Range(name, low, high, below=below),),)
            wish = wish_of(store, where=write_where(where))
            assert wish.where == where
            assert page(store, SEED0, 2, wish, limit=500).total == count, (name, i, low, high)


def test_values_on_the_edges_are_counted_where_a_condition_finds_them():
    values = np.arange(0, 21, dtype=np.float32) / np.float32(20)
    edges, places, counts = spread._binned(SimpleNamespace(steps=(0,)), "kind_share", values, 20)
    for i, edge in enumerate(edges[:-2]):
        low, high = np.float32(edge), np.float32(edges[i + 1])
        assert counts[i] == ((values >= low) & (values < high)).sum()
        assert (places[(values >= low) & (values < high)] == i).all()


def test_steps_have_one_bin_per_snapshot(store):
    found = histograms(store, SEED0, 1, wish_of(store), ("birth_step",))["birth_step"]
    assert found.edges.tolist() == [*STEPS, STEPS[-1]]
    births = store.births(SEED0)
    alive = histograms(store, SEED0, 1, wish_of(store, alive="yes"), ("birth_step",))["birth_step"]
    assert alive.passing.tolist() == births["births"].tolist()


@pytest.mark.parametrize("name", [*CATEGORIES, *FLAGS])
def test_names_are_counted_commonest_first(store, name):
    found = histograms(store, SEED0, 1, wish_of(store, where="norm_final:0.5.."), (name,))[name]
    assert found.total.sum() + found.missing == WIDTH
    assert sorted(found.total, reverse=True) == found.total.tolist()
    passing = page(store, SEED0, 1, wish_of(store, where="norm_final:0.5.."), limit=500).rows
    for value, count in zip(found.names, found.passing, strict=True):
        said = {"yes": True, "no": False}.get(value) if name in FLAGS else value
        assert count == (passing[name] == said).sum()


def test_bins_end_at_round_numbers_and_hold_all():
    generator = np.random.default_rng(1)
    number, heavy, count = MEASURES["norm_final"], MEASURES["rate_final"], MEASURES["n_tokens"]
    for _ in range(60):
        low, high = sorted(10.0 ** generator.uniform(-8, 4, 2) * generator.choice([-1, 1], 2))
        values = generator.uniform(low, high, 50)
        edges = spread._edges(number, values, (0,), 24)
        assert edges[0] <= values.min()
        assert values.max() <= edges[-1]
        assert 2 <= len(edges) <= 25
        assert all(len(f"{e:g}".split("e")[0].strip("-0.").replace(".", "")) <= 7 for e in edges)
        tail = np.append(10.0 ** generator.uniform(-12, 0, 200), 0)
        edges = spread._edges(heavy, tail, (0,), 24)
        assert edges[0] == 0
        assert tail.max() <= edges[-1]
        assert len(edges) <= 25
        whole = generator.integers(0, 10 ** generator.integers(1, 5), 80).astype(float)
        edges = spread._edges(count, whole, (0,), 24)
        assert (edges == np.floor(edges)).all()
        assert edges[0] <= whole.min()
        assert whole.max() <= edges[-1]
    assert spread._edges(number, np.array([2.0, 2.0]), (0,), 24).tolist() == [2, 4]
    assert len(spread._edges(number, np.zeros(0), (0,), 24)) > 1


def test_a_run_without_time_has_histograms_too(store):
    names = tuple(m.name for m in measures_of(store.run(PRISM)))
    found = histograms(store, PRISM, 0, wish_of(store, PRISM), names)
    assert all(h.total.sum() + h.missing == WIDTH for h in found.values())
    with pytest.raises(InvalidValue, match="no measure"):
        histograms(store, SEED0, 0, wish_of(store), ("nothing",))


def test_the_ends_of_a_bin():
    whole = Histogram("n", np.ones(3), np.ones(3), 0, 0, np.array([0.0, 1, 4, 7]), whole=True)
    assert [whole.ends(i) for i in range(3)] == [(0, 0, False), (1, 3, False), (4, 7, False)]
    real = Histogram("n", np.ones(2), np.ones(2), 0, 0, np.array([0.0, 0.5, 1]))
    assert [real.ends(i) for i in range(2)] == [(0, 0.5, True), (0.5, 1, False)]


# --- the map ----------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.0, 0.005, 0.5, 1.0])
def test_thinning_keeps_every_occupied_place_and_says_the_same_twice(share):
    generator = np.random.default_rng(5)
    n, most = 20_000, 500
    x, y = np.clip(generator.normal(0.5, 0.2, (2, n)), 0, 1).astype(np.float32)
    passes = generator.random(n) < share
    features = generator.permutation(n).astype(np.int32)
    chosen = thinned(features, x, y, passes, most)
    assert len(set(chosen.tolist())) == len(chosen) == most
    assert chosen.tolist() == thinned(features, x, y, passes, most).tolist()
    grid = math.isqrt(most // 2)

    def cells(which):
        return {(min(int(a * grid), grid - 1), min(int(b * grid), grid - 1))
                for a, b in zip(x[which], y[which], strict=True)}

    kept = np.zeros(n, bool)
    kept[chosen] = True
    assert cells(kept) == cells(np.ones(n, bool))
    assert cells(kept & passes) == cells(passes)
    # points come best first: the best of a cell is never left out for a worse one
    first = {}
    for i, cell in enumerate(zip(np.minimum((x * grid).astype(int), grid - 1),
                                 np.minimum((y * grid).astype(int), grid - 1), passes,
                                 strict=True)):
        first.setdefault(cell, i)
    assert set(first.values()) <= set(chosen.tolist())
    if share == 0.005:
        assert kept[passes].all()


def test_the_map_shows_what_passes_over_all(store):
    wish = wish_of(store, where="norm_final:0.5..")
    passing = set(page(store, SEED0, 1, wish, limit=500).rows["feature"])
    found = map_points(store, SEED0, 1, wish, "norm_at")
    assert found.features.tolist() == list(range(WIDTH))
    assert (found.n_total, found.n_passing) == (WIDTH, len(passing))
    assert set(found.features[found.passes]) == passing
    assert found.density.shape == (GRID, GRID)
    assert found.density.sum() == WIDTH
    place_of = number_columns(store, SEED0, 1, ("map_x", "map_y", "norm_at"), (0, 64))
    np.testing.assert_array_equal(found.x, place_of["map_x"])
    np.testing.assert_array_equal(found.values, place_of["norm_at"])
    for feature, label in zip(found.features, found.labels, strict=True):
        assert label == store.feature(SEED0, int(feature)).info.label
        row = min(int(place_of["map_y"][feature] * GRID), GRID - 1)
        column = min(int(place_of["map_x"][feature] * GRID), GRID - 1)
        assert found.density[row, column] > 0


def test_the_map_is_coloured_by_names_too(store):
    infos = [store.feature(SEED0, feature).info for feature in range(WIDTH)]
    for name in (*CATEGORIES, *FLAGS):
        found = map_points(store, SEED0, 1, wish_of(store), name)
        for feature, value in zip(found.features, found.values, strict=True):
            said = getattr(infos[feature], name)
            assert value == ({True: "yes", False: "no"}[said] if name in FLAGS else said)


def test_a_map_of_few_points_keeps_what_passes(store):
    wish = wish_of(store, q="#5")
    found = map_points(store, SEED0, 1, wish, "contribution", most=6)
    assert len(found.features) == 6
    assert 5 in found.features[found.passes]
