"""The reader of the store: values against direct computation, filters, races, damaged files."""

import dataclasses
import json
import shutil
import threading
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pytest
import torch

from atlas import crosscoder
from atlas import store as store_module
from atlas.artifacts import load_snapshots, read_crosscoder, read_prism, read_run
from atlas.browsing import Wish, page
from atlas.errors import BrokenArtifact, InvalidValue, NotFound, VersionMismatch
from atlas.geometry import promoted_tokens
from atlas.prism import encode, normalise_rows
from atlas.records import FeatureInfo
from atlas.schema import CATALOG, CATALOG_TABLES, DUPLICATE, PROMOTED, RUN_TABLES
from atlas.store import POINTER, Store
from atlas.tensor_files import read_json
from precompute.publish import publish
from precompute.stages import precompute_run
from tests.tiny import (
    DEAD,
    LARGE_MODEL,
    PRISM,
    RUNS,
    SEED0,
    SEED1,
    SILENT_AT_BIRTH,
    SMALL,
    STEPS,
    WIDTH,
    D,
    V,
)


def listed(store: Store, run: str) -> pd.DataFrame:
    """All features of a run in the order of their index."""
    return page(store, run, 0, Wish(sort="feature"), limit=500).rows


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


@pytest.fixture
def damaged(tiny_store: Path, tmp_path: Path) -> Path:
    """A copy of the tiny store to break."""
    return Path(shutil.copytree(tiny_store, tmp_path / "store"))


def dense(folder: Path, run: str) -> tuple[crosscoder.Crosscoder, torch.Tensor, torch.Tensor]:
    """Crosscoder, standardised rows and pre-activations (V, D), straight from the files."""
    parts = read_run(folder / "runs" / run)
    c = read_crosscoder(parts)
    rows = load_snapshots(folder, parts.config["model_name"], STEPS, parts.config["matrix"])
    _, x = crosscoder.standardize(rows)
    return c, x, crosscoder.pre_activations(c, x)


def test_runs_show_measured_figures_near_the_recorded_ones(store: Store, tiny_store: Path) -> None:
    cards = {card.run: card for card in store.runs()}
    assert sorted(cards) == sorted(RUNS)
    for run, card in cards.items():
        metrics = read_json(tiny_store / "runs" / run / "metrics.json")
        assert card.explained_variance == pytest.approx(metrics["explained_variance"], abs=1e-6)
        assert card.l0 == pytest.approx(metrics["l0"], abs=1e-5)
        assert card.dead_rate == pytest.approx(metrics["dead_rate"], abs=1e-6)
        assert card.n_alive == WIDTH - 1
        assert 0 <= card.legible_null < card.legible_share <= 1
        assert card.problem is None
    assert cards[SEED0].steps == tuple(STEPS)
    assert cards[PRISM].steps == (64,)
    assert cards[PRISM].kind == "prism"


def test_measured_figures_repeat_the_trained_ones(tiny_store: Path, store: Store) -> None:
    for run in RUNS:
        births = store.births(run)
        metrics = read_json(tiny_store / "runs" / run / "metrics.json")
        assert births["l0"].mean() == pytest.approx(metrics["l0"], abs=1e-5)
        if run != PRISM:
            np.testing.assert_allclose(births["explained_variance"],
                                       metrics["explained_variance_by_snapshot"], atol=1e-5)
        else:
            assert births["explained_variance"][0] == pytest.approx(
                metrics["explained_variance"], abs=1e-5)
            assert births["births"].isna().all()


def test_every_number_of_a_feature_equals_a_direct_computation(
    store: Store, tiny_store: Path
) -> None:
    c, x, p = dense(tiny_store, SEED0)
    on = crosscoder.fires(p, c.norms, c.threshold)
    rates = on.float().mean(dim=1)
    a = crosscoder.activations(p, c.norms, c.threshold)
    unit = c.W_D / c.W_D.norm(dim=-1, keepdim=True)
    turns = 1 - (unit[:-1] * unit[1:]).sum(dim=-1)
    rows = load_snapshots(tiny_store, "readout-atlas/tiny-large", STEPS, "W_U")
    texts = store.token_texts(LARGE_MODEL)
    for f in range(WIDTH):
        card = store.feature(SEED0, f)
        np.testing.assert_allclose(card.norm, c.norms[:, f], rtol=1e-6)
        np.testing.assert_allclose(card.rate, rates[:, f], atol=1e-7)
        np.testing.assert_allclose(card.rotation, turns[:, f], atol=6e-6)
        info = card.info
        assert info.alive == bool(on[:, :, f].any())
        assert info.n_tokens == int(on[:, :, f].any(dim=0).sum())
        assert info.norm_max == pytest.approx(float(c.norms[:, f].max()))
        assert info.rate_final == pytest.approx(float(rates[-1, f]))
        length = (a[:, :, f] * c.norms[:, f : f + 1]).mean(dim=1)
        assert info.contribution == pytest.approx(float(length.mean()), rel=1e-5, abs=1e-7)
        share = (c.norms[:, f] / c.norms[:, f].max()).half().float().numpy()
        standing = [STEPS[k] for k in np.flatnonzero(share >= 0.5)]
        assert info.birth_step == standing[0]
        assert info.death_step == (None if standing[-1] == STEPS[-1] else standing[-1])
        firing = p[:, f].masked_fill(~on[:, :, f].any(dim=0), -1)
        want = firing.argsort(descending=True)[: min(info.n_tokens, 200)]
        np.testing.assert_allclose(card.firing.values, firing[want], rtol=5e-3)
        assert set(card.firing.tokens.tolist()) == set(want.tolist())
        for k in range(len(STEPS)):
            if c.norms[k, f] == 0:
                assert len(card.promoted[k].tokens) == 0
                continue
            found = promoted_tokens(rows[k], c.W_D[k, f : f + 1], PROMOTED)
            np.testing.assert_allclose(card.promoted[k].values, found.cosines[0], atol=6e-4)
            assert card.promoted[k].tokens.tolist() == found.tokens[0].tolist()
            np.testing.assert_allclose(
                card.suppressed[k].values, found.suppressed_cosines[0], atol=6e-4)
        assert card.promoted[-1].texts == tuple(texts[t] for t in card.promoted[-1].tokens)


def test_the_statistics_of_a_feature_equal_a_direct_computation(
    store: Store, tiny_store: Path
) -> None:
    c, _, _ = dense(tiny_store, SEED0)
    last = c.W_D[-1] / c.W_D[-1].norm(dim=-1, keepdim=True)
    cosine = (last @ last.T).fill_diagonal_(-2)
    cards = [store.feature(SEED0, f).info for f in range(WIDTH)]
    alive = torch.tensor([info.alive for info in cards])
    for f, info in enumerate(cards):
        same = (cosine[f] >= DUPLICATE) & alive & alive[f]
        assert info.nearest == pytest.approx(float(cosine[f].max()), abs=6e-4)
        assert info.n_duplicates == int(same.sum())
        assert info.duplicate_of == (int(cosine[f].argmax()) if same.any() else None)
        norm = c.norms[:, f].double()
        assert info.cusum_norm == pytest.approx(
            float((norm - norm.mean()).cumsum(0).abs().max()), rel=1e-5)
        assert 0 <= info.map_x <= 1
        assert 0 <= info.map_y <= 1
    assert any(info.script == "ASCII" and info.family == "digit-bearing" for info in cards)
    assert (cards[DEAD].script, cards[DEAD].family, cards[DEAD].supersense) == (None,) * 3
    told = store.run(SEED0).statistics
    assert (told["cusum_p"], told["cusum_draws"]) == (None, 0)
    assert -1 <= told["rate_rotation_r"] <= 1
    assert store.run(PRISM).statistics["rate_rotation_r"] is None
    assert store.run(SEED0).revision is None


def test_the_store_knows_how_its_rows_were_standardised(store: Store, tiny_store: Path) -> None:
    rows = load_snapshots(tiny_store, "readout-atlas/tiny-large", STEPS, "W_U")
    want, _ = crosscoder.standardize(rows)
    found = store.standardization(SEED0)
    assert found is not None
    means, scales = found
    assert (means.shape, means.dtype, scales.dtype) == ((len(STEPS), D), np.float32, np.float64)
    np.testing.assert_allclose(means, want.mean.reshape(len(STEPS), D), atol=1e-6)
    np.testing.assert_allclose(scales, want.scale.reshape(-1), rtol=1e-6)
    assert store.standardization(PRISM) is None


def test_promoted_tokens_have_their_null(store: Store) -> None:
    for run, count in ((SEED0, len(STEPS)), (PRISM, 1)):
        null = store.null_of(run)
        assert null is not None
        assert null.quantiles.shape == (count, PROMOTED, 3)
        assert (np.diff(null.quantiles, axis=2) >= 0).all()
        assert (np.diff(null.quantiles[:, :, 1], axis=1) <= 0).all()
        assert null.overlap.shape == (count,)
        assert np.isnan(null.overlap[0])
        assert ((null.overlap[1:] >= 0) & (null.overlap[1:] <= 1)).all()
    with pytest.raises(NotFound):
        store.null_of("nobody/W_U")


def test_what_is_not_available_is_never_zero(store: Store) -> None:
    dead, silent = store.feature(SEED0, DEAD).info, store.feature(SEED0, SILENT_AT_BIRTH)
    assert not dead.alive
    assert dead.label == ""
    assert dead.kind is None
    assert dead.peak_step is None
    assert np.isnan(dead.drift)
    assert np.isnan(silent.rotation[0])
    assert np.isnan(silent.to_terminal[0])
    assert silent.norm[0] == 0
    card = store.feature(PRISM, 0)
    assert np.isnan(card.norm).all()
    assert card.rotation.shape == (0,)
    assert card.rate.shape == (1,)
    assert len(card.promoted) == 1
    assert (card.info.profile, card.info.birth_step, card.info.death_step) == (None, None, None)
    assert np.isnan([card.info.threshold, card.info.norm_max, card.info.lifetime]).all()
    frame = listed(store, PRISM)
    assert frame["birth_step"].isna().all()
    assert frame["norm_final"].isna().all()


def test_the_code_by_token_fires_exactly_as_the_dictionary(store: Store, tiny_store: Path) -> None:
    c, _, p = dense(tiny_store, SEED0)
    on = crosscoder.fires(p, c.norms, c.threshold)
    code = store.code_of_tokens(SEED0, range(V))
    assert list(code) == list(range(V))
    for token, (features, values) in code.items():
        assert features.tolist() == np.flatnonzero(on[:, token].any(dim=0)).tolist()
        np.testing.assert_allclose(values, p[token, features.astype(int)], atol=5e-4, rtol=5e-3)
        stored = torch.from_numpy(values) * c.norms[:, features.astype(int)]
        assert torch.equal(stored > c.threshold[features.astype(int)],
                           on[:, token, features.astype(int)])


def test_the_code_of_a_prism_has_k_features_in_raw_units(store: Store, tiny_store: Path) -> None:
    prism = read_prism(read_run(tiny_store / "runs" / PRISM))
    rows = load_snapshots(tiny_store, "readout-atlas/tiny-large", [64], "W_U")[0]
    x, _, _ = normalise_rows(rows, prism.row_mean)
    indices, values = encode(prism, x)
    features, p = store.code_of_tokens(PRISM, [40])[40]
    want = sorted(zip(indices[40].tolist(), (values[40] * prism.row_norms[40]).tolist(),
                      strict=True))
    kept = [(i, v) for i, v in want if v > 0]
    assert features.tolist() == [i for i, _ in kept]
    np.testing.assert_allclose(p, [v for _, v in kept], atol=1e-3)


def test_a_token_knows_what_builds_it_and_what_promotes_it(store: Store, tiny_store: Path) -> None:
    c, _, p = dense(tiny_store, SEED0)
    a = crosscoder.activations(p, c.norms, c.threshold)
    token = store.token_texts(LARGE_MODEL).index("␣water")
    card = store.token(SEED0, token)
    assert (card.text, card.plain, card.raw) == ("␣water", " water", b" water")
    assert card.n_train == 2 + 1
    for row in card.features.itertuples():
        np.testing.assert_allclose(row.activation, a[:, token, row.feature], rtol=5e-3, atol=5e-4)
        np.testing.assert_allclose(
            row.contribution, a[:, token, row.feature] * c.norms[:, row.feature],
            rtol=5e-3, atol=3e-3)
    last = [row[-1] for row in card.features["contribution"]]
    assert last == sorted(last, reverse=True)
    cards = [store.feature(SEED0, f) for f in range(WIDTH)]
    promoting = {f: [STEPS[k] for k in range(len(STEPS)) if token in cards[f].promoted[k].tokens]
                 for f in range(WIDTH)}
    assert {r.feature: r.steps for r in card.promoted_by.itertuples()} == {
        f: steps for f, steps in promoting.items() if steps}
    for row in card.promoted_by.itertuples():
        k = STEPS.index(row.best_step)
        assert cards[row.feature].promoted[k].tokens[row.best_rank] == token


def test_a_token_that_nothing_fires_on_or_promotes(store: Store) -> None:
    for token in (0, 1, 200, V - 1):
        assert (store.token(PRISM, token).features["p"] > 0).all()
    assert store.token(SEED0, 1).features.empty == (not len(store.code_of_tokens(SEED0, [1])[1][0]))
    assert store.token(SEED0, 0).text == "<|endoftext|>"
    assert store.code_of_tokens(SEED0, []) == {}


def test_populations_count_what_the_features_say(store: Store) -> None:
    frame = listed(store, SEED0)
    alive = frame[frame["alive"]]
    births = store.births(SEED0)
    assert births["step"].tolist() == STEPS
    for row in births.itertuples():
        assert row.births == (alive["birth_step"] == row.step).sum()
        assert row.births_floor == (alive["birth_floor_step"] == row.step).sum()
        assert row.deaths == (alive["death_step"] == row.step).sum()
    lives = np.stack([store.feature(SEED0, f).rate for f in alive["feature"]])
    spread = store.population(SEED0)
    rates = spread[spread["metric"] == "rate"]
    assert rates["step"].tolist() == STEPS
    np.testing.assert_allclose(
        rates[["q05", "q25", "q50", "q75", "q95"]].to_numpy(),
        np.quantile(lives, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0).T, atol=1e-6)
    assert spread[spread["metric"] == "rotation"]["step"].tolist() == STEPS[1:]
    assert set(store.population(PRISM)["metric"]) == {"norm", "rate", "to_terminal"}
    assert store.population(PRISM).query("metric == 'norm'")["q50"].isna().all()


def test_every_column_is_explained(store: Store) -> None:
    comments = store.column_comments()
    for table in (*RUN_TABLES, *CATALOG_TABLES):
        for column in table.columns:
            assert len(comments[table.name][column.name]) > 8
    scalars = {f.name for f in dataclasses.fields(FeatureInfo)}
    assert scalars == set(comments["feature"])


def test_what_is_not_there_names_what_is(store: Store) -> None:
    with pytest.raises(NotFound, match="nearest: .*seed0"):
        store.run(SEED0.replace("seed0", "seed7"))
    with pytest.raises(NotFound, match="runs` lists"):
        store.feature("'; DROP TABLE feature; --", 0)
    for feature in (-1, WIDTH, 10**12):
        with pytest.raises(NotFound, match=f"0 to {WIDTH - 1}"):
            store.feature(SEED0, feature)
    for token in (-1, V, 10**12):
        with pytest.raises(NotFound, match=f"0 to {V - 1}"):
            store.token(SEED0, token)
    with pytest.raises(NotFound, match="tiny-large"):
        store.token_texts("gpt-17")


@pytest.mark.parametrize("statement", [
    "SELECT * FROM read_text('/etc/hostname')", "SELECT * FROM glob('/*')",
    "COPY (SELECT 1) TO '/tmp/out.csv'", "ATTACH '/tmp/other.duckdb' AS other",
    "INSTALL httpfs", "LOAD httpfs", "SET threads = 9", "SET enable_external_access = true",
    "INSERT INTO catalog.run SELECT * FROM catalog.run", "DROP TABLE run0.feature",
    "CREATE TABLE run0.t (a INTEGER)", "EXPORT DATABASE '/tmp/out'", "SELECT * FROM frame",
])
def test_the_connection_refuses(store: Store, statement: str) -> None:
    frame = store.births(SEED0)
    assert len(frame)
    with pytest.raises(duckdb.Error):
        store._view.hub.cursor().execute(statement).fetchall()


def test_a_query_that_runs_too_long_is_stopped(
    tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert store_module._SETTINGS["max_execution_time"] == 5000
    monkeypatch.setitem(store_module._SETTINGS, "max_execution_time", 200)
    store = Store.open(tiny_store)
    with pytest.raises(InvalidValue, match="narrow the filter"):
        store._view.table("SELECT count(*) FROM range(100_000_000_000) AS r WHERE r.range % 7 = 3")
    assert len(listed(store, SEED0)) == WIDTH


def test_eight_threads_get_their_own_rows(store: Store) -> None:
    wrong: list[object] = []

    def read(worker: int) -> None:
        for turn in range(6):
            feature = (worker * 5 + turn) % WIDTH
            card = store.feature(SEED0, feature)
            if card.info.feature != feature or len(card.promoted) != len(STEPS):
                wrong.append((worker, feature))

    threads = [threading.Thread(target=read, args=(w,)) for w in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# --- stores that are missing, damaged or of another version --------------------------------------


def test_no_store_says_how_to_get_one(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotFound, match="readout-atlas build RUN") as caught:
            Store.open(folder)
        assert caught.value.status == 2


@pytest.mark.parametrize("text", ["", "[]", "{}", "<html>", '{"catalog": 1, "schema": 1}', "\0"])
def test_a_pointer_that_is_none(damaged: Path, text: str) -> None:
    (damaged / POINTER).write_text(text)
    with pytest.raises(BrokenArtifact, match="CURRENT.json"):
        Store.open(damaged)


def test_a_pointer_may_not_leave_the_store(damaged: Path) -> None:
    pointer = read_json(damaged / POINTER)
    for catalog in ("../other.duckdb", "/etc/passwd", "catalog.duckdb"):
        (damaged / POINTER).write_text(json.dumps(pointer | {"catalog": catalog}))
        with pytest.raises(BrokenArtifact):
            Store.open(damaged)


def test_another_schema_names_the_rebuild(damaged: Path) -> None:
    pointer = read_json(damaged / POINTER)
    (damaged / POINTER).write_text(json.dumps(pointer | {"schema": CATALOG + 1}))
    with pytest.raises(VersionMismatch, match="readout-atlas build RUN") as caught:
        Store.open(damaged)
    assert caught.value.status == 7


def broken_forms(whole: bytes) -> dict[str, bytes]:
    return {
        "empty": b"", "one byte": whole[:1], "half": whole[: len(whole) // 2],
        "html": b"<!doctype html>" * 900, "zeros": bytes(len(whole)),
        "pointer": b"version https://git-lfs.github.com/spec/v1\n",
        "sqlite": b"SQLite format 3\0" + bytes(8000),
        "flipped": whole[:70_000] + bytes([whole[70_000] ^ 1]) + whole[70_001:],
    }


@pytest.mark.parametrize("form", ["empty", "one byte", "half", "html", "zeros", "pointer", "sqlite",
                                  "flipped"])
def test_a_damaged_catalog_is_told_as_such(damaged: Path, form: str) -> None:
    path = damaged / read_json(damaged / POINTER)["catalog"]
    path.write_bytes(broken_forms(path.read_bytes())[form])
    with pytest.raises(BrokenArtifact, match="catalog-") as caught:
        Store.open(damaged)
    assert caught.value.status == 3


@pytest.mark.parametrize("form", ["empty", "half", "html", "zeros", "sqlite"])
def test_a_damaged_run_leaves_the_others_readable(damaged: Path, form: str) -> None:
    path = damaged / Store.open(damaged).run(SEED0).file
    path.write_bytes(broken_forms(path.read_bytes())[form])
    store = Store.open(damaged)
    assert SEED0 in (store.run(SEED0).problem or "")
    with pytest.raises(BrokenArtifact, match=f"build {SEED0} --force"):
        listed(store, SEED0)
    with pytest.raises(BrokenArtifact):
        store.code_of_tokens(SEED0, [1])
    assert len(listed(store, SEED1)) == WIDTH
    assert len(store.births(SEED0)) == len(STEPS)
    assert any(SEED0 in fault for fault in store.verify())


def test_verify_finds_one_flipped_bit(damaged: Path) -> None:
    store = Store.open(damaged)
    assert store.verify() == []
    path = damaged / store.run(SEED0).file
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 4
    path.write_bytes(whole)
    assert [fault for fault in Store.open(damaged).verify() if SEED0 in fault]


def test_a_missing_run_file_is_named(damaged: Path) -> None:
    card = Store.open(damaged).run(SMALL)
    (damaged / card.file).unlink()
    with pytest.raises(BrokenArtifact, match="is not there"):
        Store.open(damaged).feature(SMALL, 0)


# --- a store that is published into while it is read ------------------------------------------


def test_readers_go_on_during_a_publish_and_see_the_new_build(damaged: Path) -> None:
    store = Store.open(damaged)
    old, pinned = store.digest, store.pin()
    metrics = damaged / "runs" / SEED0 / "metrics.json"
    faults: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                store.refresh()
                assert len(listed(store, SEED0)) == WIDTH
                assert store.feature(SEED0, 3).info.feature == 3
        except BaseException as error:  # handed to the main thread
            faults.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(2):
        metrics.write_text(json.dumps(read_json(metrics) | {"l0": 100.0 + turn}))
        assert precompute_run(damaged, SEED0).done == ("write",)
        publish(damaged)
    stop.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert pinned.digest == old
    assert pinned.run(SEED0).metrics["l0"] < 100
    assert len(listed(pinned, SEED0)) == WIDTH
    store.refresh()
    assert store.digest != old
    assert store.run(SEED0).metrics["l0"] == 101
    assert not store.refresh()


def test_a_broken_new_generation_leaves_the_old_one_open(damaged: Path) -> None:
    store = Store.open(damaged)
    pointer = read_json(damaged / POINTER)
    digest = "0" * 64
    (damaged / POINTER).write_text(json.dumps(
        pointer | {"digest": digest, "catalog": f"catalog-{digest[:16]}.duckdb"}))
    with pytest.raises(BrokenArtifact):
        store.refresh()
    assert len(listed(store, SEED0)) == WIDTH


def test_shapes_of_the_tiny_store(store: Store) -> None:
    card = store.run(SEED0)
    assert (card.d_model, card.d_sae, card.model) == (D, WIDTH, LARGE_MODEL)


def test_a_question_that_needs_too_much_memory_says_so(store: Store) -> None:
    with pytest.raises(InvalidValue, match="needs more than 64MB; narrow the filter"):
        store.ask(SEED0, "SELECT DISTINCT x FROM range(30000000) AS t(x)")
    assert store.ask(SEED0, "SELECT 1 AS one")["one"].to_pylist() == [1]
