"""The table of measures: complete, explained, and each expression what it says."""

import numpy as np
import pytest

from atlas.columns import course_of, name_columns, norm_columns, number_columns, only_used
from atlas.measures import (
    CATEGORIES,
    COMMENTS,
    FLAGS,
    MEASURES,
    OF_TIME,
    PROFILES,
    RETURNED,
    measures_of,
    seeds_of,
)
from atlas.recent import Recent
from atlas.schema import RUN_TABLES, table
from atlas.store import Store
from tests.tiny import EMBEDDING, PRISM, RUNS, SEED0, SEED1, STEPS, WIDTH

CHANGE = (1, 16)


@pytest.fixture(scope="module")
def store(tiny_store):
    return Store.open(tiny_store)


@pytest.fixture(scope="module")
def lives(store):
    """{column: (features, …)} of the life table, nan for NULL."""
    rows = store.ask(SEED0, "SELECT * FROM {run}.life ORDER BY feature").to_pylist()
    return {
        name: np.array([[np.nan if v is None else v for v in row[name]] for row in rows],
                       np.float32)
        for name in ("norm", "rate", "rotation", "to_terminal", "contribution")
    }


def column(store, name, k=2, run=SEED0):
    return number_columns(store, run, k, (name,), CHANGE)[name]


def test_every_scalar_column_is_a_measure_a_category_or_a_flag():
    columns = {c.name: c.type for c in table(RUN_TABLES, "feature").columns}
    assert set(columns) == {m.column for m in MEASURES.values() if m.column} | {
        *CATEGORIES, *FLAGS, "label"}
    for name, kind in columns.items():
        assert (kind.split()[0] == "VARCHAR") == (name in CATEGORIES)
        assert (kind.split()[0] == "BOOLEAN") == (name in FLAGS)


def test_every_measure_says_what_it_is():
    for name, measure in MEASURES.items():
        assert measure.name == name
        assert measure.kind in {"number", "share", "step", "count", "cosine"}
        assert len(measure.meaning) > 8
        assert measure.meaning.endswith(".")
        if measure.column:
            assert measure.meaning == COMMENTS[name]
    words = [m.words for m in MEASURES.values()]
    assert len(set(words)) == len(words)


@pytest.mark.parametrize("run", RUNS)
def test_every_measure_of_a_run_can_be_asked_for(store, run):
    card = store.run(run)
    names = tuple(m.name for m in measures_of(card))
    change = (card.steps[0], card.steps[-1])
    for name, values in number_columns(store, run, len(card.steps) - 1, names, change).items():
        assert values.shape == (WIDTH,), name
        assert values.dtype == np.float32


def test_a_run_without_time_has_no_measure_of_time(store):
    offered = {m.name for m in measures_of(store.run(PRISM))}
    assert offered.isdisjoint(OF_TIME)
    assert {"contribution", "kind_p", "n_tokens", "feature"} <= offered
    assert {m.name for m in measures_of(store.run(SEED0))} == set(MEASURES)
    # and what is dropped is not there indeed, or says nothing new
    rows = store.ask(PRISM, "SELECT profile, birth_step, lifetime FROM {run}.feature").to_pylist()
    assert all(v is None for row in rows for v in row.values())


@pytest.mark.parametrize(("name", "source"), [
    ("contribution_at", "contribution"), ("norm_at", "norm"), ("rate_at", "rate"),
    ("to_terminal_at", "to_terminal"),
])
def test_measures_at_the_step_are_those_of_the_snapshot(store, lives, name, source):
    for k in range(len(STEPS)):
        np.testing.assert_array_equal(column(store, name, k), lives[source][:, k])


def test_the_rotation_into_a_step_is_that_from_the_snapshot_before(store, lives):
    assert np.isnan(column(store, "rotation_at", 0)).all()
    for k in range(1, len(STEPS)):
        np.testing.assert_array_equal(column(store, "rotation_at", k), lives["rotation"][:, k - 1])


@pytest.mark.parametrize("name", ["norm", "rate", "contribution"])
def test_a_change_is_the_later_value_minus_the_earlier(store, lives, name):
    a, b = (STEPS.index(step) for step in CHANGE)
    np.testing.assert_array_equal(
        column(store, f"{name}_change"), lives[name][:, b] - lives[name][:, a])
    other = number_columns(store, SEED0, 2, (f"{name}_change",), (0, 64))[f"{name}_change"]
    np.testing.assert_array_equal(other, lives[name][:, -1] - lives[name][:, 0])


def test_columns_are_those_of_the_table(store):
    rows = store.ask(SEED0, "SELECT * FROM {run}.feature ORDER BY feature").to_pandas()
    for measure in MEASURES.values():
        if measure.column:
            said = rows[measure.column]
            if measure.column.startswith("change_"):
                said = said.where(rows["alive"])
            np.testing.assert_array_equal(
                column(store, measure.name), said.to_numpy(np.float32))
    for name, names in name_columns(store, SEED0).items():
        found = np.array([*names.values, None], object)[names.places].tolist()
        assert found == [None if v != v or v is None else v for v in rows[name]]
    assert set(rows["profile"].dropna()) <= set(PROFILES)


def test_norms_are_those_of_the_lives(store, lives):
    np.testing.assert_array_equal(norm_columns(store, SEED0), lives["norm"])
    assert np.isnan(norm_columns(store, PRISM)).all()


def test_other_seeds_are_alike_in_all_else(store):
    assert seeds_of(store, SEED0) == [SEED1]
    assert seeds_of(store, EMBEDDING) == []
    assert seeds_of(store, PRISM) == []


def test_seed_stability_against_a_slow_twin(store):
    rows = store.ask(
        SEED0, "SELECT * FROM catalog.match WHERE run = $name AND way = 'trajectory'", name=SEED0)
    seeds, cosines = np.full(WIDTH, np.nan, np.float32), np.full(WIDTH, np.nan, np.float32)
    for row in rows.to_pylist():
        if row["other"] == SEED1:
            back = row["reciprocal"]
            seeds[row["feature"]] = back and row["percentile"] >= RETURNED
            if back:
                cosines[row["feature"]] = row["score"]
    np.testing.assert_array_equal(column(store, "seeds"), seeds)
    np.testing.assert_allclose(column(store, "match_cosine"), cosines, rtol=1e-6)
    assert np.nansum(seeds) > 0
    assert np.isnan(column(store, "seeds", run=EMBEDDING)).all()


def test_contributions_at_single_snapshots_are_known_to_be_there(store):
    assert course_of(store, SEED0)


def test_a_query_gets_only_the_values_it_names():
    assert only_used("SELECT $k - 1, $v10", {"k": 1, "v1": 2, "v10": 3}) == {"k": 1, "v10": 3}


def test_what_was_asked_last_is_kept_and_the_rest_goes():
    kept = Recent(2)
    made = []

    def make(name):
        return lambda: made.append(name) or name.upper()

    for name in ("a", "b", "a", "c", "a", "b"):
        assert kept.get(name, make(name)) == name.upper()
    assert made == ["a", "b", "c", "b"]
