"""Sharing: what is exported opens again as it was; what is not what it claims to be does not."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from atlas.errors import (
    AtlasError,
    BrokenArtifact,
    InvalidValue,
    NoSpace,
    NotFound,
    VersionMismatch,
)
from atlas.schema import BINS, CATALOG_TABLES, RUN_TABLES, table
from atlas.store import Store
from atlas.tensor_files import read_json, sha256, write_json
from precompute import parquet, safety
from precompute.dataset_card import (
    DICTIONARY_LICENCES,
    TRAJECTORIES,
    Origin,
    model_licence,
    splits,
    text_of,
    write_card,
)
from precompute.doctor import examine
from precompute.manifest import MANIFEST, read_manifest
from precompute.receive import receive_folder
from precompute.share import TABLE_NAMES, cell, export_tables, share
from precompute.stages import precompute_run
from precompute.writer import read_meta
from tests.tiny import LARGE_MODEL, PRISM, RUNS, SEED0, SEED1, SMALL, WIDTH, tiny_store

FEATURE = f"runs/{PRISM}/tables/feature.parquet"
EMPTY = ("held_out", "control", "contrast_fidelity", "bank_case")
"""Tables of which the shared run has no rows."""


@pytest.fixture(scope="module")
def shared(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs of the tiny store, without weights."""
    folder = tmp_path_factory.mktemp("a share") / "shared"
    share(tiny_store, folder)
    return folder


@pytest.fixture(scope="module")
def whole(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A share of one prism."""
    folder = tmp_path_factory.mktemp("a prism") / "shared"
    share(tiny_store, folder, [PRISM])
    return folder


@pytest.fixture
def small(whole: Path, tmp_path: Path) -> Path:
    """A copy of it, to break."""
    return Path(shutil.copytree(whole, tmp_path / "small"))


# --- there and back ----------------------------------------------------------------------------


def test_a_share_opens_as_the_store_it_was_made_from(
    tiny_store: Path, shared: Path, tmp_path: Path
) -> None:
    lines: list[str] = []
    done = receive_folder(shared, tmp_path / "store", lines.append)
    assert done.changed
    assert set(done.runs) == set(RUNS)
    there, back = Store.open(tiny_store), Store.open(tmp_path / "store")
    assert back.verify() == []
    for run in RUNS:
        one, other = there.run(run), back.run(run)
        kept = ("hash", "config", "metrics", "steps", "explained_variance", "created", "n_alive")
        assert [getattr(one, k) for k in kept] == [getattr(other, k) for k in kept]
        everything = "SELECT * FROM {run}.feature ORDER BY feature"
        assert there.ask(run, everything).equals(back.ask(run, everything))
        assert there.births(run).equals(back.births(run))
        card, again = there.feature(run, 3), back.feature(run, 3)
        assert card.firing.texts == again.firing.texts
        assert np.array_equal(card.firing.values, again.firing.values)
        assert card.promoted[0].texts == again.promoted[0].texts
        assert there.token(run, 40).features.equals(back.token(run, 40).features)
    assert there.token_texts(LARGE_MODEL) == back.token_texts(LARGE_MODEL)
    assert any("run 5 of 5" in line for line in lines)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").rglob("*") if p.is_file()}
    assert not receive_folder(shared, tmp_path / "store").changed
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "store").rglob("*")
                      if p.is_file()}
    assert [p.name for p in tmp_path.iterdir()] == ["store"]


def test_the_same_store_gives_the_same_bytes(
    tiny_store: Path, whole: Path, tmp_path: Path
) -> None:
    again = share(tiny_store, tmp_path / "again", [PRISM])
    assert (tmp_path / "again" / MANIFEST).read_bytes() == (whole / MANIFEST).read_bytes()
    assert again == read_manifest(whole / MANIFEST)


def test_an_earlier_share_is_replaced_whole(tiny_store: Path, small: Path) -> None:
    share(tiny_store, small, [SMALL])
    assert set(read_manifest(small / MANIFEST).runs) == {SMALL}
    assert not (small / "runs" / PRISM).exists()
    assert [p.name for p in small.parent.iterdir()] == ["small"]


def test_tables_are_parquet_with_the_meaning_of_every_column(shared: Path) -> None:
    manifest = read_manifest(shared / MANIFEST)
    for found in RUN_TABLES:
        path = shared / "runs" / SEED0 / "tables" / f"{found.name}.parquet"
        file = pq.ParquetFile(path)
        assert file.schema_arrow.names == [c.name for c in found.columns]
        for column in found.columns:
            said = file.schema_arrow.field(column.name).metadata[b"comment"].decode()
            assert said == column.comment
        assert file.schema_arrow.metadata[b"run"].decode() == SEED0
        if found.name in EMPTY:  # this run has none of them
            assert file.metadata.num_rows == 0
        else:
            group = file.metadata.row_group(0)
            assert {group.column(i).compression for i in range(group.num_columns)} == {"ZSTD"}
        assert sha256(path) == manifest.files[path.relative_to(shared).as_posix()].sha256
    assert not list(shared.rglob("*.duckdb"))
    assert not list(shared.rglob("dictionary.safetensors"))


def test_row_groups_are_small_enough_to_fetch_one_feature(tmp_path: Path) -> None:
    found = table(RUN_TABLES, "life")
    rng = np.random.default_rng(0)
    n, k = 20_000, 24
    values = pa.FixedSizeListArray.from_arrays(
        pa.array(rng.normal(size=n * k).astype(np.float32)), k
    ).cast(pa.list_(pa.float32()))
    rows = pa.table([pa.array(np.arange(n, dtype=np.int32)), *[values] * 5],
                    schema=parquet.arrow_schema(found))
    whole, parts = tmp_path / "whole.parquet", tmp_path / "parts.parquet"
    parquet.write_table(whole, found, rows.to_batches(), {})
    assert parquet.write_table(parts, found, rows.to_batches(max_chunksize=777), {}) == n
    assert whole.read_bytes() == parts.read_bytes()
    file = pq.ParquetFile(whole)
    assert file.num_row_groups > 1
    assert file.metadata.row_group(0).total_byte_size < 2 * parquet.GROUP_BYTES
    ends = file.metadata.row_group(1).column(0).statistics
    assert 0 < ends.min < ends.max
    assert parquet.read_table(whole, found).equals(rows)


def test_with_weights_nothing_is_left_to_compute(tiny_store: Path, tmp_path: Path) -> None:
    made = share(tiny_store, tmp_path / "shared", [PRISM], weights=True)
    assert made.weights
    receive_folder(tmp_path / "shared", tmp_path / "store")
    assert precompute_run(tmp_path / "store", PRISM).done == ()
    assert not (tmp_path / "store" / "runs" / SEED0).exists()


def test_a_run_joins_a_store_that_has_others(
    tiny_store: Path, whole: Path, tmp_path: Path
) -> None:
    share(tiny_store, tmp_path / "two", [SMALL, PRISM])
    receive_folder(whole, tmp_path / "store")
    receive_folder(tmp_path / "two", tmp_path / "store")
    store = Store.open(tmp_path / "store")
    assert [card.run for card in store.runs()] == sorted([PRISM, SMALL])
    assert store.verify() == []
    checks = {check.name: check for check in examine(tmp_path / "store")}
    assert checks["weights"].optional
    assert checks["run folders"].ok


def test_a_run_with_other_content_is_not_replaced(
    tiny_store: Path, small: Path, tmp_path: Path
) -> None:
    theirs = tmp_path / "store"
    shutil.copytree(tiny_store, theirs)
    metrics = theirs / "runs" / PRISM / "metrics.json"
    write_json(metrics, read_json(metrics) | {"l0": 1.0})
    precompute_run(theirs, PRISM)
    before = metrics.read_bytes()
    with pytest.raises(InvalidValue, match="digest"):
        receive_folder(small, theirs)
    assert metrics.read_bytes() == before


# --- the card ----------------------------------------------------------------------------------


def test_the_card_is_read_by_the_hub_and_says_where_things_come_from(
    tiny_store: Path, shared: Path
) -> None:
    text = (shared / "README.md").read_text("utf8")
    _, front, body = text.split("---\n", 2)
    said = yaml.safe_load(front)
    assert said["license"] == "other"
    names = [c["config_name"] for c in said["configs"]]
    assert names[:2] == ["feature", "promoted"]
    for config in said["configs"]:
        assert len({f["split"] for f in config["data_files"]}) == len(RUNS)
        for file in config["data_files"]:
            assert (shared / file["path"]).is_file()
    for card in Store.open(tiny_store).runs():
        assert f"{card.explained_variance:.3f}" in body
        assert f"{card.legible_null:.3f}" in body
    for word in ("readout-atlas serve --store", "pd.read_parquet", "DuckDB", "licence", "null"):
        assert word in body


def test_licences_are_those_that_a_release_states() -> None:
    for owner in ("matteohe", "hematteo"):
        for name in ("parameter-trajectory-crosscoders", "sparse-readout-prism"):
            assert DICTIONARY_LICENCES[f"{owner}/{name}"] == "mit"
    assert model_licence("EleutherAI/pythia-1b") == model_licence("allenai/OLMo-2-1124-7B") == (
        "apache-2.0")
    assert model_licence("Qwen/Qwen3.5-2B").startswith("not recorded here")


def test_the_card_tells_the_licence_of_the_text_corpus(tiny_store: Path, tmp_path: Path) -> None:
    cards = [
        replace(card, config=card.config | {"origin": {"repository": TRAJECTORIES[1]}})
        for card in Store.open(tiny_store).runs()
    ]
    metas = {card.run: read_meta(tiny_store / card.file) for card in cards}
    write_card(tmp_path / "README.md", cards, metas, False, Origin())
    text = (tmp_path / "README.md").read_text("utf8")
    assert f"- dictionaries of `{TRAJECTORIES[1]}`: mit" in text
    assert "cc-by-sa-4.0" in text


def test_names_of_other_people_stay_text() -> None:
    assert "|" not in text_of("a | b `c` <script>").strip("`")
    assert text_of("") == "–"
    named = splits(["a/b-c", "a/b_c", "q.5/x"])
    assert len(set(named.values())) == 3
    assert all(all(part for part in name.split(".")) for name in named.values())


# --- plain tables ------------------------------------------------------------------------------


def test_json_is_exact_and_csv_is_safe(tiny_store: Path, tmp_path: Path) -> None:
    export_tables(tiny_store, tmp_path / "json", [SEED0], ["feature", "life", "token"], "json")
    rows = json.loads((tmp_path / "json" / SEED0 / "feature.json").read_text("utf8"))
    page = Store.open(tiny_store).ask(
        SEED0, "SELECT contribution FROM {run}.feature ORDER BY feature").to_pandas()
    assert [row["feature"] for row in rows] == list(range(WIDTH))
    assert [np.float32(row["contribution"]) for row in rows] == page["contribution"].tolist()
    tokens = json.loads((tmp_path / "json" / "token.json").read_text("utf8"))
    assert bytes.fromhex(tokens[40]["raw"]).decode() == tokens[40]["plain"]
    said = read_json(tmp_path / "json" / "columns.json")
    assert set(said) == {"feature", "life", "token"}
    export_tables(tiny_store, tmp_path / "csv", [SEED0], ["token", "life"])
    with open(tmp_path / "csv" / "token.csv", newline="", encoding="utf8") as file:
        found = list(csv.DictReader(file))
    plus = next(row for row, exact in zip(found, tokens, strict=True) if exact["plain"] == "+")
    assert plus["plain"] == "'+"
    assert not any(row[name].startswith(("=", "+", "-", "@", "\t", "\r"))
                   for row in found for name in ("plain", "text"))
    with open(tmp_path / "csv" / SEED0 / "life.csv", newline="", encoding="utf8") as file:
        assert len(json.loads(next(csv.DictReader(file))["norm"])) == 5


@pytest.mark.parametrize(("value", "shown"), [
    ("=1+1", "'=1+1"), ("@x", "'@x"), ("\tx", "'\tx"), ("\rx", "'\rx"), ("-", "'-"), ("+", "'+"),
    (" =", " ="), (-0.5, -0.5), (None, None), ([1, None, float("nan")], "[1, null, null]"),
    (b"\xc3", "c3"),
])
def test_a_cell_is_never_a_formula(value: Any, shown: Any) -> None:
    assert cell(value) == shown


def test_what_cannot_be_exported_is_refused(tiny_store: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    for target in (mine, mine / "thesis.txt", tiny_store):
        with pytest.raises(InvalidValue, match="--to"):
            share(tiny_store, target)
    assert (mine / "thesis.txt").read_text() == "years of work"
    with pytest.raises(NotFound, match="no run"):
        share(tiny_store, tmp_path / "new", ["tiny/nothing"])
    with pytest.raises(InvalidValue, match="tables are"):
        export_tables(tiny_store, tmp_path / "new", names=["features"])
    assert not (tmp_path / "new").exists()


def test_a_run_that_changed_after_it_was_built_is_not_shared(tmp_path: Path) -> None:
    store = tiny_store(tmp_path / "store", [PRISM])
    path = store / "runs" / PRISM / "metrics.json"
    write_json(path, read_json(path) | {"l0": 99.0})
    with pytest.raises(InvalidValue, match="changed after the run was built"):
        share(store, tmp_path / "shared")
    (store / "runs" / PRISM / "dictionary.safetensors").unlink()
    with pytest.raises(BrokenArtifact, match="leave --weights out"):
        share(store, tmp_path / "shared", weights=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["store"]


def test_a_full_disk_is_told_before_the_first_byte(
    tiny_store: Path, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(safety.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(NoSpace, match="needs about"):
        share(tiny_store, tmp_path / "more")
    with pytest.raises(NoSpace, match="needs about"):
        receive_folder(small, tmp_path / "store")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small"]


# --- hostile shares ----------------------------------------------------------------------------


def relist(folder: Path, **changes: Any) -> None:
    """Make the manifest agree with the files again, as whoever changed them would."""
    said = read_json(folder / MANIFEST)
    for name in list(said["files"]):
        if (folder / name).is_file():
            said["files"][name] = {"bytes": (folder / name).stat().st_size,
                                   "sha256": sha256(folder / name)}
    write_json(folder / MANIFEST, said | changes)


def rewrite(folder: Path, name: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change the rows of a table, hashes and all."""
    path = folder / "runs" / PRISM / "tables" / f"{name}.parquet"
    pq.write_table(change(pq.read_table(path)), path)
    relist(folder)


def texts(*start: int, z: tuple[float | None, ...] = (1.0, 2.0)) -> Callable[[Path], None]:
    """A share with a text of four tokens and an example of feature 0 at each of these places."""
    def change(folder: Path) -> None:
        for name, columns in {
            "sample": {"place": [0], "tokens": [[1, 2, 3, 4]]},
            "example": {"feature": [0] * len(start), "rank": list(range(len(start))),
                        "place": [0] * len(start), "start": list(start), "z": [z] * len(start)},
        }.items():
            schema = parquet.arrow_schema(table(RUN_TABLES, name))
            rewrite(folder, name, lambda _, c=columns, s=schema: pa.table(c, schema=s))

    return change


def put(name: str, row: int, value: Any) -> Callable[[pa.Table], pa.Table]:
    """A change of one value."""
    def change(rows: pa.Table) -> pa.Table:
        values = rows[name].to_pylist()
        values[row] = value
        place = rows.column_names.index(name)
        return rows.set_column(place, rows.schema.field(name), pa.array(values, rows[name].type))

    return change


def listed(name: str) -> Callable[[Path], None]:
    """A manifest that names one more file."""
    def change(folder: Path) -> None:
        said = read_json(folder / MANIFEST)
        said["files"][name] = {"bytes": 3, "sha256": "0" * 64}
        write_json(folder / MANIFEST, said)

    return change


def table_of(name: str, change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    return lambda folder: rewrite(folder, name, change)


def configured(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "runs" / PRISM / "config.json"
        write_json(path, read_json(path) | changes)
        relist(folder)

    return change


def unmeasured(table: pa.Table) -> pa.Table:
    rows = table.to_pylist()
    for row in rows:
        if row["key"] == "measured":
            row["value"] = json.dumps({**json.loads(row["value"]), "l0": None})
    return pa.Table.from_pylist(rows, table.schema)


def told_of_examples(table: pa.Table) -> pa.Table:
    rows = [row for row in table.to_pylist() if row["key"] != "examples"]
    rows.append({"key": "examples", "value": json.dumps({"reason": None, "n_tokens": "many"})})
    return pa.Table.from_pylist(rows, table.schema)


def linked(folder: Path) -> None:
    path = folder / "models" / LARGE_MODEL / "tokenizer.json"
    shutil.copyfile(path, folder.parent / "elsewhere.json")
    path.unlink()
    path.symlink_to(folder.parent / "elsewhere.json")


def footer(folder: Path) -> None:
    path = folder / FEATURE
    body = path.read_bytes()
    path.write_bytes(body[:-8] + (2**31).to_bytes(4, "little") + b"PAR1")
    relist(folder)


def flipped(folder: Path) -> None:
    path = folder / FEATURE
    body = bytearray(path.read_bytes())
    body[len(body) // 3] ^= 255
    path.write_bytes(body)


HOSTILE: dict[str, tuple[Callable[[Path], Any], type[AtlasError], str]] = {
    "a file is missing": (lambda f: (f / FEATURE).unlink(), NotFound, "feature.parquet is not"),
    "a byte is flipped": (flipped, BrokenArtifact, "has sha256"),
    "a file is longer": (lambda f: (f / FEATURE).open("ab").write(b"x"), BrokenArtifact, "bytes"),
    "a way up": (listed("runs/../../../etc/passwd"), BrokenArtifact, "no shared store holds"),
    "an absolute path": (listed("/etc/passwd"), BrokenArtifact, "no shared store holds"),
    "something hidden": (listed(".ssh/authorized_keys"), BrokenArtifact, "no shared store holds"),
    "a program": (listed(f"models/{LARGE_MODEL}/run.py"), BrokenArtifact, "no shared store"),
    "a database": (listed(f"runs/{PRISM}/atlas.duckdb"), BrokenArtifact, "no shared store holds"),
    "a link": (linked, BrokenArtifact, "is a link"),
    "another run's config": (configured(run=SEED1), BrokenArtifact, "run is"),
    "a model elsewhere": (configured(model="../../x"), BrokenArtifact, "model is"),
    "a model name elsewhere": (configured(model_name="../../x"), BrokenArtifact, "model_name is"),
    "too many features": (configured(config={"d_sae": 10**9, "d_model": 8}), BrokenArtifact,
                          "d_sae is 1000000000"),
    "steps that fall": (configured(steps=[4, 1]), BrokenArtifact, "steps is"),
    "another config": (configured(seed=7), BrokenArtifact, "entry 'config'"),
    "one more column": (
        table_of("feature", lambda t: t.append_column("extra", pa.array([0] * len(t)))),
        BrokenArtifact, "has not: extra"),
    "one column less": (table_of("feature", lambda t: t.drop_columns(["kind"])),
                        BrokenArtifact, "lacks kind"),
    "another type": (
        table_of("feature", lambda t: t.set_column(
            t.column_names.index("rate_max"), "rate_max", t["rate_max"].cast(pa.string()))),
        BrokenArtifact, "rate_max is string, expected float"),
    "a rate above one": (table_of("feature", put("rate_max", 3, 1.5)), BrokenArtifact,
                         "feature refused a row"),
    "an infinite norm": (table_of("feature", put("norm_final", 3, float("inf"))), BrokenArtifact,
                         "feature refused a row"),
    "a figure that was not measured": (table_of("meta", unmeasured), BrokenArtifact, "'measured'"),
    "a changed value": (table_of("feature", put("threshold", 3, 0.123)), BrokenArtifact,
                "tables have digest"),
    "a missing feature": (table_of("feature", lambda t: t.slice(1)), BrokenArtifact,
                          "does not list features 0 to"),
    "a feature twice": (table_of("promoted", lambda t: pa.concat_tables([t, t])), BrokenArtifact,
                        "share their key"),
    "a token beyond the vocabulary": (
        table_of("promoted", put("tokens", 0, [10**6])), BrokenArtifact, "promoted.tokens holds"),
    "a feature beyond the dictionary": (
        table_of("neighbour", put("ids", 0, [WIDTH])), BrokenArtifact, "neighbour.ids holds"),
    "a life too short": (table_of("life", put("norm", 0, [])), BrokenArtifact, "life.norm"),
    "lists that differ": (table_of("neighbour", put("cosines", 0, [0.5])), BrokenArtifact,
                          "differ in length"),
    "a neighbour beyond the dictionary": (
        table_of("neighbour_at", put("ids", 0, [WIDTH])), BrokenArtifact, "neighbour_at.ids holds"),
    "neighbours without cosines": (table_of("neighbour_at", put("cosines", 0, [0.5])),
                                   BrokenArtifact, "differ in length"),
    "a missing row": (table_of("row", lambda t: t.slice(1)), BrokenArtifact,
                      "does not list tokens 0 to"),
    "a row too long": (table_of("row", put("explained", 0, [0.5, 0.5])), BrokenArtifact,
                       "row.explained"),
    "a histogram of one bin": (table_of("code_by_feature", put("histogram", 0, [4])),
                               BrokenArtifact, "code_by_feature.histogram"),
    "a negative number of tokens": (
        table_of("code_by_feature", put("histogram", 0, [-1] * BINS)), BrokenArtifact,
        "code_by_feature.histogram holds -1"),
    "contributions of another run": (table_of("life", put("contribution", 0, [0.5] * 3)),
                                     BrokenArtifact, "life.contribution"),
    "examples that fit, of other content": (texts(0, 1), BrokenArtifact, "tables have digest"),
    "an example past its text": (texts(0, 2), BrokenArtifact, "excerpts that table sample"),
    "an example without a score": (texts(0, z=(1.0, None)), BrokenArtifact, "excerpts that"),
    "an example of nothing": (texts(0, z=()), BrokenArtifact, "excerpts that table sample"),
    "what is no number of places": (table_of("meta", told_of_examples), BrokenArtifact,
                                    "'examples'"),
    "a gallery of features beyond the dictionary": (
        table_of("gallery", put("features", 0, [[WIDTH]])), BrokenArtifact, "differ in length"),
    "a gallery beyond the run's steps": (table_of("gallery", put("steps", 0, [9])),
                                         BrokenArtifact, "gallery has steps"),
    "a gallery without sums": (table_of("gallery", put("exact", 0, [])), BrokenArtifact,
                               "lists of other lengths"),
    "a footer of gigabytes": (footer, BrokenArtifact, "footer claims"),
    "not Parquet": (lambda f: ((f / FEATURE).write_bytes(b"<html>" * 20), relist(f)),
                    BrokenArtifact, "no Parquet file"),
    "a manifest of brackets": (lambda f: (f / MANIFEST).write_text("[" * 200_000),
                               BrokenArtifact, "is not JSON"),
    "another manifest": (lambda f: (f / MANIFEST).write_text("{}"), BrokenArtifact, "manifest"),
    "another schema": (lambda f: relist(f, schema={"version": 99, "digest": "0"}),
                       VersionMismatch, "schema 99"),
    "another store digest": (lambda f: relist(f, store="0" * 64), BrokenArtifact, "store digest"),
    "runs that are no table": (lambda f: relist(f, runs=["x"]), BrokenArtifact, "is damaged"),
    "no runs": (lambda f: relist(f, runs={}), BrokenArtifact, "0 runs"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_share_leaves_nothing_behind(small: Path, fault: str) -> None:
    change, kind, words = HOSTILE[fault]
    change(small)
    target = small.parent / "store"
    with pytest.raises(kind) as told:
        receive_folder(small, target)
    assert words in str(told.value)
    assert "\n" not in str(told.value)
    assert not target.exists()
    assert not list(small.parent.glob(".stage-*"))


def test_a_file_that_unfolds_is_stopped(tmp_path: Path) -> None:
    found = table(RUN_TABLES, "meta")
    path = tmp_path / "meta.parquet"
    long = pa.table({"key": ["x" * 1000] * 20_000, "value": ["y" * 1000] * 20_000},
                    schema=parquet.arrow_schema(found))
    pq.write_table(long, path, compression="zstd")
    assert path.stat().st_size < 1_000_000
    with pytest.raises(BrokenArtifact, match="unfolds into more than"):
        parquet.read_table(path, found, most=5_000_000)


def test_every_column_of_the_schema_has_an_arrow_type() -> None:
    for found in (*RUN_TABLES, *CATALOG_TABLES):
        assert len(parquet.arrow_schema(found)) == len(found.columns)
    assert parquet.arrow_type("FLOAT[5]") == pa.list_(pa.float32(), 5)
    assert parquet.arrow_type("INTEGER[] NOT NULL") == pa.list_(pa.int32())
    assert set(TABLE_NAMES) >= {"feature", "life", "promoted", "token", "run"}
