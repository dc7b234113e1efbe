"""The writer and the rows it is given: constraints, digests, NULLs, packing, the index."""

from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.codes import SparseCode, rates_of_code
from atlas.errors import BrokenArtifact, InvalidValue
from atlas.schema import CATALOG_TABLES, RUN_TABLES, STORAGE, Column, Table, table
from precompute import columns, tables
from precompute.derive import token_index
from precompute.writer import read_meta, read_rows, verify_digest, write_file

META_TABLE = table(RUN_TABLES, "meta")
SMALL = Table("thing", "Things.", ("a",), (
    Column("a", "INTEGER NOT NULL", "Key."),
    Column("b", "FLOAT CHECK (b BETWEEN 0 AND 1)", "It's a share; \"quoted\"."),
))


def rows(a: list[int], b: list[float | None]) -> dict[str, pa.Table]:
    return {"meta": pa.table({"key": ["run"], "value": ["x"]}),
            "thing": pa.table({"a": pa.array(a, pa.int32()), "b": pa.array(b, pa.float32())})}


def write(folder: Path, a: list[int], b: list[float | None]) -> tuple[Path, str]:
    return write_file(folder, "small", (META_TABLE, SMALL), rows(a, b), {"created": "now"})


def test_the_name_holds_the_digest_and_the_digest_the_content(tmp_path: Path) -> None:
    path, digest = write(tmp_path, [1, 2, 3], [0.5, None, 1.0])
    assert path.name == f"small-{digest[:16]}.duckdb"
    assert verify_digest(path, (META_TABLE, SMALL)) == digest
    assert read_meta(path) == {"run": "x", "created": "now", "digest": digest}
    (tmp_path / "b").mkdir()
    shuffled = rows([3, 1, 2], [1.0, 0.5, None])
    _, same = write_file(tmp_path / "b", "small", (META_TABLE, SMALL), shuffled, {"created": "x"})
    assert same == digest
    for other in ([1, 2, 3], [0.5, 0.0, 1.0]), ([1, 2, 4], [0.5, None, 1.0]), ([1, 2], [0.5, None]):
        assert write(tmp_path, *other)[1] != digest
    assert [p.suffix for p in tmp_path.iterdir() if p.is_file()] == [".duckdb"] * 4


def test_a_comment_is_no_part_of_the_digest(tmp_path: Path) -> None:
    _, digest = write(tmp_path, [1], [0.5])
    columns = tuple(replace(c, comment="Said anew.") for c in SMALL.columns)
    said_anew = (META_TABLE, replace(SMALL, comment="Said anew.", columns=columns))
    (tmp_path / "b").mkdir()
    assert write_file(tmp_path / "b", "small", said_anew, rows([1], [0.5]), {})[1] == digest


def test_the_words_of_the_store_are_those_of_its_rules() -> None:
    """Tokens listed of a feature are fitted ones, and a dead feature may fire once in a million."""
    assert "fitted to" in table(RUN_TABLES, "code_by_feature").columns[1].comment
    said = {c.name: c.comment for c in table(CATALOG_TABLES, "run").columns}
    for name in ("dead_rate", "n_alive"):
        assert "one in a million (row, snapshot) pairs" in said[name]


def test_comments_survive_quotes(tmp_path: Path) -> None:
    path, _ = write(tmp_path, [1], [0.5])
    (found,) = read_rows(path, "SELECT comment FROM duckdb_columns() "
                               "WHERE database_name = 'source' AND column_name = 'b'")
    assert found == [{"comment": "It's a share; \"quoted\"."}]


@pytest.mark.parametrize(("a", "b"), [
    ([1, 1], [0.5, 0.5]), ([1], [1.5]), ([1], [-0.1]), ([1], [float("inf")]), ([1], [float("nan")]),
])
def test_impossible_values_are_refused_and_leave_nothing(
    tmp_path: Path, a: list[int], b: list[float | None]
) -> None:
    with pytest.raises(BrokenArtifact, match="table thing"):
        write(tmp_path, a, b)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("not a folder")
    with pytest.raises((InvalidValue, NotADirectoryError)):
        write(target, [1], [0.5])


def test_the_storage_version_is_the_promised_one(tmp_path: Path) -> None:
    path, _ = write(tmp_path, [1], [0.5])
    (tags,) = read_rows(path, "SELECT tags FROM duckdb_databases() WHERE database_name = 'source'")
    assert STORAGE in str(tags)


def test_a_file_that_was_changed_has_another_digest(tmp_path: Path) -> None:
    path, _ = write(tmp_path, [1, 2], [0.5, 0.25])
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE thing SET b = 0.75 WHERE a = 2").fetchall()
    with pytest.raises(BrokenArtifact, match="digest"):
        verify_digest(path, (META_TABLE, SMALL))


def test_lists_keep_holes_and_missing_rows() -> None:
    values = np.array([[1, np.nan], [np.nan, np.nan], [0, 2]], dtype=np.float32)
    assert columns.lists(values).to_pylist() == [[1, None], None, [0, 2]]
    assert columns.lists(np.zeros((2, 0))).to_pylist() == [None, None]
    assert columns.steps_at(np.array([0, 2, 1]), [7, 9]).to_pylist() == [7, None, 9]
    assert columns.texts(np.array(["", "x"])).to_pylist() == [None, "x"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
def test_rounding_the_code_moves_no_gate(seed: int, scale: float) -> None:
    g = np.random.default_rng(seed)
    n_tokens, n_features, count = 40, 6, 5
    mask = g.random((n_tokens, n_features)) < 0.4
    token, feature = (i.astype(np.int32) for i in np.nonzero(mask))
    p = (scale * np.exp(g.normal(size=len(token)))).astype(np.float32)
    norms = np.exp(g.normal(size=(count, n_features))).astype(np.float32)
    threshold = (scale * np.exp(g.normal(size=n_features))).astype(np.float32)
    code = SparseCode(token, feature, p, n_tokens, n_features)
    short = tables.rounded(code, norms, threshold)
    np.testing.assert_array_equal(rates_of_code(short, norms, threshold),
                                  rates_of_code(code, norms, threshold))
    if len(p):
        assert np.abs(short.p - p).max() <= 5.1e-3 * np.median(p)
        assert (short.p > 0).all()
    free = tables.rounded(code, np.full((1, n_features), np.nan), threshold)
    assert (free.p > 0).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 64), st.integers(1, 5), st.integers(1, 4))
def test_the_token_index_is_the_inverse_of_the_promoted_lists(
    seed: int, count: int, features: int, places: int
) -> None:
    g = np.random.default_rng(seed)
    promoted = np.stack([[g.permutation(7)[:places] for _ in range(features)]
                         for _ in range(count)]).astype(np.int32)
    known = g.random((count, features)) < 0.8
    index = token_index(promoted, known)
    found = {}
    for token, feature, mask, rank, k in zip(*index.values(), strict=True):
        found[int(token), int(feature)] = (int(mask), int(rank), int(k))
    want: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for k, feature, rank in np.ndindex(promoted.shape):
        if known[k, feature]:
            want.setdefault((int(promoted[k, feature, rank]), feature), []).append((rank, k))
    assert found == {pair: (sum(1 << k for _, k in places), *min(places))
                     for pair, places in want.items()}
    assert list(found) == sorted(found)


def test_strongest_keeps_the_first_of_each_row() -> None:
    code = SparseCode(np.array([0, 0, 1, 3], np.int32), np.array([0, 1, 0, 0], np.int32),
                      np.array([1, 5, 3, 2], np.float32), 4, 3)
    kept = tables.strongest(code.by_feature(), 2)
    assert kept.offsets.tolist() == [0, 2, 3, 3]
    assert kept.columns.tolist() == [1, 3, 0]
    assert kept.values.tolist() == [3, 2, 5]
