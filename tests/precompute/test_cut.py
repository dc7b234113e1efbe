"""A code too large to keep: the strongest entries of every row stay, what is counted is of all."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest

from atlas.live import decompose_prompt
from atlas.places import APP, STORE_VARIABLE
from atlas.schema import RUN_TABLES
from atlas.store import Store
from precompute import derive, passes, summaries
from precompute.derive import Arrays
from precompute.publish import publish
from precompute.stages import clean_stages, precompute_run
from precompute.writer import read_rows, verify_digest
from tests.precompute.test_passes import (
    CPU,
    WIDTH,
    K,
    V,
    moments,
    on_disk,
    planted_crosscoder,
    planted_rows,
)
from tests.tiny import PRISM, SEED0
from tests.tiny import V as TOKENS

LIMIT = 4
"""Entries of a row that the tests keep."""


def keep(monkeypatch: pytest.MonkeyPatch, limit: int, n_rows: int) -> None:
    monkeypatch.setattr(derive, "MAX_ENTRIES", limit * n_rows + n_rows - 1)


def by_hand(code: Arrays, longest: np.ndarray, limit: int) -> list[tuple[int, int, float]]:
    """The strongest entries of every row, one row after the other."""
    rows: dict[int, list[tuple[float, int, float]]] = {}
    for token, feature, p in zip(code["token"], code["feature"], code["p"], strict=True):
        rows.setdefault(token, []).append((-(p * longest[feature]), feature, p))
    return [(token, feature, p) for token, entries in sorted(rows.items())
            for feature, p in sorted((f, p) for _, f, p in sorted(entries)[:limit])]


def parts_of(work: passes.Encoding, block: int) -> list[Arrays]:
    return [work.block(a, min(a + block, V)) for a in range(0, V, block)]


@pytest.mark.parametrize("act_fn", ["jumprelu", "batchtopk", "gated"])
def test_blocks_keep_the_strongest_of_a_row_and_count_the_whole(
    tmp_path: Path, act_fn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = planted_crosscoder(act_fn)
    source, snapshots = on_disk(tmp_path, planted_rows(), c)
    measured = [passes.measure(source, snapshots, k) for k in range(K)]
    work = passes.Encoding(source, snapshots, moments(source, snapshots), CPU)
    threshold = c.threshold.numpy()

    def merged(block: int) -> tuple[list[Arrays], Arrays]:
        blocks = parts_of(work, block)
        return blocks, summaries.encoded_arrays(measured, blocks, threshold, WIDTH)

    whole_blocks, whole = merged(256)
    assert not any("fired" in block for block in whole_blocks)
    assert not derive.kept_of_code(whole)
    keep(monkeypatch, LIMIT, V)
    blocks, found = merged(256)
    assert max(np.bincount(block["token"]).max() for block in blocks) == LIMIT
    expected = by_hand(whole, whole["norms"].max(axis=0), LIMIT)
    assert list(zip(*(found[n].tolist() for n in ("token", "feature", "p")), strict=True)) \
        == expected
    for name in ("residual", "total", "size", "norms"):
        np.testing.assert_array_equal(found[name], whole[name])
    code = derive.code_of(whole)
    fired, sums = derive.firing(code, whole["norms"], threshold)
    np.testing.assert_array_equal(found["fired"], fired)
    np.testing.assert_allclose(found["sums"], sums, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(found["served"], np.bincount(code.feature, minlength=WIDTH))
    said = derive.kept_of_code(found)
    assert (said["code_entries"], said["code_entries_kept"]) == (len(whole["p"]), len(expected))
    assert said["code_row_limit"] == LIMIT
    assert said["code_activation_kept"] == pytest.approx(
        found["p"].sum() / whole["p"].sum(), abs=1e-6)
    # an uncut block among cut ones is counted too, with the same result
    mixed = [whole_blocks[0], *blocks[1:]]
    again = summaries.encoded_arrays(measured, mixed, threshold, WIDTH)
    for name in summaries.WHOLE:
        np.testing.assert_array_equal(again[name], found[name])


def test_a_device_short_of_memory_cuts_and_counts_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, snapshots = on_disk(tmp_path, planted_rows(), planted_crosscoder("batchtopk"))
    work = passes.Encoding(source, snapshots, moments(source, snapshots), CPU)
    keep(monkeypatch, LIMIT, V)
    expected = work.block(0, V)
    real = passes.Encoding._code

    def short(self: passes.Encoding, span: tuple[int, int]):
        if span[1] - span[0] > 256:
            raise torch.OutOfMemoryError("not enough")
        return real(self, span)

    monkeypatch.setattr(passes.Encoding, "_code", short)
    found = work.block(0, V)
    assert found.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name], err_msg=name)


def test_of_equals_the_first_feature_is_kept_and_a_block_within_the_limit_is_whole() -> None:
    block = {
        "token": np.array([0, 0, 0, 1, 1], np.int32),
        "feature": np.array([1, 3, 4, 0, 1], np.int32),
        "p": np.array([1, 1, 1, 5, 4], np.float32), "residual": np.array([[1.0], [3.0]]),
        "total": np.full((2, 1), 4.0),
    }
    found = derive.cut_rows(block, 2, 5, None)
    assert list(zip(found["token"], found["feature"], strict=True)) \
        == [(0, 1), (0, 3), (1, 0), (1, 1)]
    assert found["served"].tolist() == [1, 2, 0, 1, 1]
    assert found["sums"].tolist() == [[5, 5, 0, 1, 1]]
    assert found["energy"].tolist() == [25, 17, 0, 1, 1]
    assert found["weight"].tolist() == [5, 5, 0, 1, 1]
    assert found["explained"].tolist() == [5 * 0.25, 0.75 + 4 * 0.25, 0, 0.75, 0.75]
    later = block | {"token": block["token"] + 7}
    again = derive.cut_rows(later, 2, 5, None, first=7)
    assert again["explained"].tolist() == found["explained"].tolist()
    assert derive.cut_rows(block, 3, 5, None) is block
    with_an_empty_row = block | {"residual": np.zeros((3, 1))}
    assert derive.cut_rows(with_an_empty_row, 2, 5, None) is with_an_empty_row, "5 of 3 x 2"


TABLES = ("FROM source.snapshot ORDER BY k", "FROM source.feature ORDER BY feature",
          "FROM source.life ORDER BY feature", "FROM source.code_by_token", "FROM source.meta")
OF_TOKENS = re.compile(r"label|legible|(kind|script|family|supersense).*")
"""Columns that rest on the firing tokens that are kept."""


@pytest.mark.parametrize(("run", "limit"), [(SEED0, 2), (PRISM, 1)])
def test_a_run_whose_code_is_cut_keeps_its_figures(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str, limit: int
) -> None:
    store = Path(shutil.copytree(tiny_store, tmp_path / "store"))
    whole = read_rows(precompute_run(store, run).file, *TABLES)
    keep(monkeypatch, limit, TOKENS)
    built = precompute_run(store, run, force=True)
    assert verify_digest(built.file, RUN_TABLES) == built.digest
    found = read_rows(built.file, *TABLES)
    assert found[0] == whole[0]
    assert found[2] == whole[2]
    for row, before in zip(found[1], whole[1], strict=True):
        for name, value in before.items():
            if not OF_TOKENS.fullmatch(name):
                expected = pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
                assert row[name] == expected, name
    sizes = [[len(row["features"]) for row in rows[3]] for rows in (whole, found)]
    assert max(sizes[0]) > limit
    assert sizes[1] == [min(size, limit) for size in sizes[0]]
    meta = {row["key"]: row["value"] for row in found[4]}
    before = {row["key"]: row["value"] for row in whole[4]}
    assert meta["measured"] == before["measured"]
    said = json.loads(meta["statistics"])
    assert (said["code_entries"], said["code_entries_kept"]) == (sum(sizes[0]), sum(sizes[1]))
    assert not any(name.startswith("code_") for name in json.loads(before["statistics"]))
    clean_stages(store, run)
    built.file.unlink()
    for rank in (1, 0):
        shared = precompute_run(store, run, rank=rank, world_size=2)
    assert shared.digest == built.digest


def test_pages_and_decompositions_say_what_is_kept(
    tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Store.open(tiny_store)
    assert whole.run(SEED0).cut is None
    assert decompose_prompt(whole, SEED0, "In the beginning").note is None
    store = Path(shutil.copytree(tiny_store, tmp_path / "store"))
    keep(monkeypatch, 2, TOKENS)
    precompute_run(store, SEED0, force=True)
    publish(store)
    card = Store.open(store).run(SEED0)
    mean = card.statistics["code_row_mean"]
    share = 100 * card.statistics["code_activation_kept"]
    assert mean > 2
    assert card.cut == (
        f"the strongest 2 of {mean:,.0f} features a row are kept, {share:.1f} % of the "
        "activation; the rest is in the residual"
    )
    assert 50 < share < 100
    assert decompose_prompt(Store.open(store), SEED0, "In the beginning").note == card.cut
    for folder, says in ((store, True), (tiny_store, False)):
        monkeypatch.setenv(STORE_VARIABLE, str(folder))
        for page in ("runs.py", "features.py"):
            app = AppTest.from_file(str(APP), default_timeout=60)
            app.run()
            app.switch_page(page)
            app.query_params["run"] = SEED0
            app.run()
            assert not app.exception
            shown = " ".join(e.proto.body for e in app.get("html"))
            assert (card.cut in shown) is says, page
