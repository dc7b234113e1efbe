"""The rows of a run's file: what was not derived is NULL, what was is there."""

import json

import numpy as np
import pytest

from atlas.codes import CSR, SparseCode
from atlas.labels import SCHEMES
from atlas.schema import BINS, RUN_TABLES
from precompute import columns, tables
from precompute.derive import Arrays
from precompute.directions import UNKNOWN
from precompute.writer import read_rows, write_file

K, V, D, PLACES, WIDTH = 3, 20, 6, 4, 5


def arrays() -> tuple[Arrays, Arrays, Arrays]:
    """What the stages derived before there were statistics: encoded, lives, tokens."""
    g = np.random.default_rng(0)
    token, feature = (i.astype(np.int32) for i in np.nonzero(g.random((V, D)) < 0.4))
    rates = g.random((K, D))
    encoded = {
        "token": token, "feature": feature, "p": np.exp(g.normal(size=len(token))).astype("f4"),
        "size": np.array([V, D]), "rates": rates, "norms": g.random((K, D)).astype("f4"),
        "threshold": g.random(D).astype("f4"), "total": np.ones(K), "residual": g.random(K),
    }
    index = np.full(D, K)
    lives = {name: g.random(D) for name in (
        "contribution", "norm_max", "norm_final", "rate_max", "rate_final", "lifetime", "drift",
        "cusum_rate", "max_rotation")}
    lives |= dict.fromkeys((
        "birth", "birth_floor", "death", "peak", "first_active", "stabilized", "max_rotation_k",
    ), index)
    lives |= {
        "alive": np.ones(D, bool), "n_tokens": np.bincount(feature, minlength=D),
        "rotation": g.random((K - 1, D)), "to_terminal": g.random((K, D)),
        "profile": np.full(D, "mixed"), "neighbours": np.tile([[1, 2]], (D, 1)),
        "neighbour_cosines": np.tile([[0.5, 0.25]], (D, 1)),
        **{f"q_{m}": g.random((K - (m == "rotation"), 5))
           for m in ("norm", "rate", "rotation", "to_terminal")},
    }
    tokens: Arrays = {
        "kind": np.full(D, "digits"), "kind_share": g.random(D), "kind_p": g.random(D),
        "kind_enrichment": g.random(D), "legible": np.ones(D, bool),
        "label": g.integers(0, V, (D, 2)).astype(np.int32), "fitted": np.ones(V, bool),
        "index_token": np.arange(2, dtype=np.int32), "index_feature": np.zeros(2, np.int32),
        "index_snapshots": np.ones(2, np.uint64), "index_best_rank": np.zeros(2, np.uint8),
        "index_best_k": np.zeros(2, np.uint8),
    }
    for name in ("promoted", "suppressed"):
        tokens[name] = g.integers(0, V, (K, D, PLACES)).astype(np.int32)
        tokens[f"{name}_cosines"] = g.random((K, D, PLACES)).astype("f4")
    return encoded, lives, tokens


STATISTICS = ("null_overlap", "null_q05", "null_q50", "null_q95", "scale", "mean")
COLUMNS = ("cusum_norm", "cusum_rotation", "nearest", "n_duplicates", "duplicate_of", "map_x",
           "map_y", *(f"{scheme}{part}" for scheme in SCHEMES
                      for part in ("", "_share", "_enrichment", "_p", "_coverage")))


def written(tmp_path, encoded: Arrays, lives: Arrays, tokens: Arrays) -> list[list[dict]]:
    """Rows of meta, snapshot and feature of a file with these arrays."""
    rows = tables.run_rows({"run": "x"}, [0, 1, 2], encoded, lives, tokens)
    path, _ = write_file(tmp_path, "atlas", RUN_TABLES, rows, {})
    return read_rows(path, "FROM source.meta", "FROM source.snapshot ORDER BY k",
                     "FROM source.feature ORDER BY feature")


def test_arrays_without_statistics_give_null(tmp_path):
    meta, snapshots, features = written(tmp_path, *arrays())
    assert {r["key"]: r["value"] for r in meta}["statistics"] == "{}"
    assert {snapshots[k][name] for k in range(K) for name in STATISTICS} == {None}
    assert {row[name] for row in features for name in COLUMNS} == {None}


def test_statistics_stand_in_their_columns(tmp_path):
    encoded, lives, tokens = arrays()
    g = np.random.default_rng(1)
    encoded |= {"mean": g.normal(size=(K, WIDTH)).astype("f4"), "scale": g.random(K) + 1}
    lives |= {"cusum_norm": g.random(D), "cusum_rotation": np.full(D, np.nan),
              "nearest": np.array([0.95, *[0.1234567] * 5]), "n_duplicates": np.arange(D),
              "duplicate_of": np.array([3, *[-1] * 5]), "map": g.random((D, 2)).astype("f4"),
              "cusum_observed": np.array(2.5), "cusum_p": np.array(np.nan),
              "cusum_draws": np.array(0)}
    null = np.sort(g.random((K, PLACES, 3)).astype("f4"))
    tokens |= {"promoted_null": null, "null_overlap": np.array([np.nan, 0.25, 0.5])}
    for scheme in SCHEMES:
        tokens |= {scheme: np.array(["a", *[""] * 5]),
                   f"{scheme}_p": np.array([1.23456e-20, *[1e-60] * 5])}
        tokens |= {f"{scheme}_{part}": np.array([0.34, *[np.nan] * 5])
                   for part in ("share", "enrichment", "coverage")}
    meta, snapshots, features = written(tmp_path, encoded, lives, tokens)
    assert json.loads({r["key"]: r["value"] for r in meta}["statistics"]) == {
        "cusum_observed": 2.5, "cusum_p": None, "cusum_draws": 0}
    np.testing.assert_array_equal([row["mean"] for row in snapshots], encoded["mean"])
    np.testing.assert_array_equal([row["scale"] for row in snapshots], encoded["scale"])
    assert [row["null_overlap"] for row in snapshots] == [None, 0.25, 0.5]
    for q, name in enumerate(("null_q05", "null_q50", "null_q95")):
        np.testing.assert_allclose([row[name] for row in snapshots], null[:, :, q], atol=5.1e-4)
    first, second = features[:2]
    assert first["nearest"] == pytest.approx(0.95)
    assert second["nearest"] == pytest.approx(0.123)
    assert (first["duplicate_of"], second["duplicate_of"]) == (3, None)
    assert [row["n_duplicates"] for row in features] == list(range(D))
    assert {row["cusum_rotation"] for row in features} == {None}
    np.testing.assert_allclose([[row["map_x"], row["map_y"]] for row in features], lives["map"])
    for scheme in SCHEMES:
        assert (first[scheme], second[scheme]) == ("a", None)
        assert first[f"{scheme}_p"] == pytest.approx(1.23e-20, rel=1e-6)
        assert second[f"{scheme}_p"] == pytest.approx(1e-37)
        assert first[f"{scheme}_share"] == pytest.approx(0.34)
        assert second[f"{scheme}_coverage"] is None


def test_significant_digits():
    values = np.array([123456.0, -0.00123456, 0.0, np.nan, 9.996, 1.0, 3.2e-30])
    np.testing.assert_allclose(
        columns.significant(values, 3), [123000, -0.00123, 0, np.nan, 10.0, 1.0, 3.2e-30],
        rtol=1e-12)


def test_the_spread_of_each_feature_s_values_is_that_of_numpy():
    g = np.random.default_rng(3)
    sizes = [0, 1, 500, 3, 0, 40]
    rows = [np.sort(g.gamma(2.0, size=n).round(2).astype("f4"))[::-1] for n in sizes]
    rows[3][:] = 0.7
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    groups = CSR(offsets, np.zeros(sum(sizes), np.int32), np.concatenate(rows))
    low, high, counts = tables.spread(groups)
    for row, a, b, found in zip(rows, low, high, counts, strict=True):
        if not len(row):
            assert np.isnan([a, b]).all()
            assert not found.any()
        elif row.min() == row.max():
            assert (a, b, found.tolist()) == (row[0], row[0], [0] * 23 + [len(row)])
        else:
            assert (a, b) == (row.min(), row.max())
            edges = np.linspace(np.float64(a), np.float64(b), BINS + 1)
            np.testing.assert_array_equal(found, np.histogram(row, edges)[0])
    nothing = CSR(np.zeros(3, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    assert tables.spread(nothing)[2].tolist() == [[0] * BINS] * 2


DETAILS = ("similarity", "neighbour_at", "row")


def test_details_stand_in_their_tables_and_are_empty_where_they_were_not_derived():
    encoded, lives, tokens = arrays()
    before = tables.run_rows({}, [0, 1, 2], encoded, lives, tokens)
    assert [len(before[name]) for name in DETAILS] == [0, 0, 0]
    assert before["life"]["contribution"].null_count == D
    ids = np.array([[[1, 2], [3, -1], [-1, -1]] + [[4, 5]] * 3] * K, np.int32)
    pairs = np.array([[100, -100, 7], [UNKNOWN, 3, UNKNOWN], [UNKNOWN] * 3, *[[0] * 3] * 3], "i1")
    lives |= {"ids_at": ids, "cosines_at": np.where(ids < 0, np.nan, 0.12345).astype("f4"),
              "similarity": pairs, "contribution_at": np.arange(K * D).reshape(K, D) / 8.0}
    total = np.ones((V, K))
    total[5] = 0
    encoded |= {"row_total": total, "row_residual": np.where(total > 0, 0.12345, 0),
                "row_length": np.full((V, K), 1.23456), "row_turn": np.full((V, K), 0.5)}
    encoded["row_turn"][5] = np.nan
    rows = tables.run_rows({}, [0, 1, 2], encoded, lives, tokens)
    near = rows["neighbour_at"].to_pylist()
    assert [(r["feature"], r["k"]) for r in near] == [(f, k) for f in range(D) for k in range(K)]
    assert [r["ids"] for r in near[::K]] == [[1, 2], [3], [], *[[4, 5]] * 3]
    assert near[0]["cosines"] == pytest.approx([0.123, 0.123])
    assert rows["similarity"]["cosines"].to_pylist() == [
        [100, -100, 7], [None, 3, None], None, *[[0, 0, 0]] * 3]
    assert rows["life"]["contribution"].to_pylist()[1] == [1 / 8, 7 / 8, 13 / 8]
    row = rows["row"].to_pylist()
    assert [r["token"] for r in row] == list(range(V))
    assert row[4]["explained"] == pytest.approx([0.88] * K)
    assert row[4]["norm"] == pytest.approx([1.235] * K)
    assert (row[5]["explained"], row[5]["to_terminal"]) == (None, None)


def test_the_code_is_rounded_the_same_in_pieces(monkeypatch: pytest.MonkeyPatch):
    encoded, _, _ = arrays()
    code = SparseCode(encoded["token"], encoded["feature"], encoded["p"], V, D)
    whole = tables.rounded(code, encoded["norms"], encoded["threshold"]).p
    monkeypatch.setattr(tables, "ENTRIES", 7)
    pieces = tables.rounded(code, encoded["norms"], encoded["threshold"]).p
    np.testing.assert_array_equal(pieces, whole)
    assert len(whole) > 7
    np.testing.assert_array_equal(code.p, encoded["p"])


def test_tokens_on_which_nothing_fires_have_no_row():
    encoded, lives, tokens = arrays()
    kept = encoded["token"] != 4
    encoded |= {name: encoded[name][kept] for name in ("token", "feature", "p")}
    rows = tables.run_rows({}, [0, 1, 2], encoded, lives, tokens)["code_by_token"].to_pylist()
    assert 4 not in [row["token"] for row in rows]
    for row in rows:
        on = encoded["token"] == row["token"]
        assert row["features"] == encoded["feature"][on].tolist()
        np.testing.assert_allclose(row["p"], encoded["p"][on], rtol=5e-3)
