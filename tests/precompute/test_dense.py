"""The stage `dense` beside the plain way, its tables, and what is missing of them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas import dense as mathematics
from atlas import geometry, lifecycle, reorganisation, turnover
from atlas.artifacts import load_snapshot, load_snapshots, read_crosscoder, read_run, snapshot_path
from atlas.crosscoder import pre_activations, standardize
from atlas.errors import BrokenArtifact
from atlas.schema_turnover import PAIR_METRICS
from atlas.store import Store
from atlas.tensor_files import save_tensors, write_json
from precompute import dense, held_out, stages
from precompute.directions import UNKNOWN
from precompute.publish import publish
from precompute.sources import Snapshots
from precompute.stages import precompute_run
from precompute.turnover import mean_similarity, pair_arrays
from tests.tiny import EMBEDDING, PRISM, SEED0, SMALL, STEPS, D, V


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    """A copy of the built tiny store to change."""
    return Path(shutil.copytree(tiny_store, tmp_path / "a store"))


class Held(Snapshots):
    """Rows that are in memory."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.held = rows
        self.n_rows, self.width = rows.shape[1:]

    def rows(self, k: int, start: int = 0, stop: int | None = None) -> torch.Tensor:
        return self.held[k, start:stop]


def stage(rows: np.ndarray, monkeypatch: pytest.MonkeyPatch, block: int = 64) -> dict:
    """The stage over rows (K, V, d), in blocks that do not divide them evenly."""
    monkeypatch.setattr(dense, "BLOCK_BYTES", 4 * rows.shape[0] * rows.shape[2] * block)
    mean = rows.mean(axis=1)
    scale = np.sqrt(np.square(rows - mean[:, None]).mean(axis=(1, 2)).clip(1e-8))
    held = Held(torch.from_numpy(rows.astype(np.float32)))
    return dense.dense(held, list(range(len(rows))), mean.astype(np.float32), scale,
                       torch.device("cpu"))


def course(count: int, size: int, width: int) -> np.ndarray:
    """Rows (K, V, d) that drift, with a mean that moves and a spectrum that is not flat."""
    g = np.random.default_rng(count)
    drift = np.cumsum(g.normal(size=(count, size, width)), axis=0)
    rows = (g.normal(size=(size, width)) + 0.3 * drift) * np.linspace(3, 0.1, width)
    return rows + np.linspace(0, 2, count)[:, None, None]


def test_the_stage_is_the_plain_way(monkeypatch: pytest.MonkeyPatch):
    rows = course(6, 333, 12)
    found = stage(rows, monkeypatch)
    centred = rows - rows.mean(axis=1, keepdims=True)
    square = np.square(centred).sum(axis=(1, 2))
    length = np.linalg.norm(centred, axis=2)
    unit = centred / length[:, :, None]
    cosines = np.einsum("kvd,lvd->klv", unit, unit)
    turn = 1 - np.stack([cosines[k, k + 1] for k in range(5)])
    np.testing.assert_allclose(
        found["matrix_row_norm"], np.quantile(length, (0.05, 0.25, 0.5, 0.75, 0.95), axis=1).T,
        rtol=1e-5)
    np.testing.assert_allclose(found["row_similarity"], cosines.mean(axis=2), atol=1e-5)
    np.testing.assert_allclose(found["matrix_row_cosine"][1:], 1 - np.median(turn, axis=1),
                               atol=1e-5)
    for k in range(6):
        spectrum = mathematics.spectrum(np.linalg.eigvalsh(centred[k].T @ centred[k]))
        assert found["matrix_participation"][k] == pytest.approx(spectrum.participation, rel=1e-4)
        assert found["matrix_effective_rank"][k] == pytest.approx(spectrum.effective_rank, rel=1e-4)
        assert found["matrix_pc1_share"][k] == pytest.approx(spectrum.first_share, rel=1e-4)
        np.testing.assert_allclose(found["matrix_pca"][k], spectrum.explained, rtol=1e-5)
        mean = rows[k].mean(axis=0)
        assert found["matrix_mean_share"][k] == pytest.approx(
            mean @ mean / np.square(rows[k]).sum(axis=1).mean(), rel=1e-4)
    _, rebuilt = mathematics.endpoint_line(rows)
    np.testing.assert_allclose(
        found["matrix_endpoint"], 1 - np.square(rows - rebuilt).sum(axis=(1, 2)) / square,
        atol=1e-5)
    pairs = reorganisation.pair_metrics(
        length / np.sqrt(square / centred[0].size)[:, None], np.zeros_like(length), turn,
        1 - cosines[:, -1])
    for name in PAIR_METRICS:
        if name != "activation_turnover":
            np.testing.assert_allclose(found[f"matrix_pair_{name}"], getattr(pairs, name),
                                       atol=1e-4)
    assert np.isnan(found["matrix_pair_activation_turnover"]).all()


def test_the_streamed_pca_of_all_snapshots_is_near_the_whole_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mathematics, "RANK", 10)
    monkeypatch.setattr(mathematics, "OVERSAMPLE", 12)
    rows = course(5, 400, 16)
    found = stage(rows, monkeypatch)
    centred = rows - rows.mean(axis=1, keepdims=True)
    square = np.square(centred).sum(axis=(1, 2))
    left = np.linalg.svd(np.concatenate(list(centred), axis=1), full_matrices=False)[0][:, :10]
    whole = np.array([np.square(left.T @ part).sum() for part in centred])
    assert found["concatenated_rank"] == 10
    assert found["concatenated_pca"] <= whole.sum() / square.sum() + 1e-6
    assert found["concatenated_pca"] == pytest.approx(whole.sum() / square.sum(), abs=2e-3)
    np.testing.assert_allclose(found["matrix_concatenated_pca"], whole / square, atol=0.02)


def test_blocks_change_nothing_but_the_last_bits(monkeypatch: pytest.MonkeyPatch):
    rows = course(4, 200, 9)
    small, large = stage(rows, monkeypatch, 64), stage(rows, monkeypatch, 10_000)
    for name, values in large.items():
        np.testing.assert_allclose(small[name], values, rtol=2e-4, atol=1e-5, err_msg=name)


def test_a_matrix_that_does_not_change_or_is_nothing(monkeypatch: pytest.MonkeyPatch):
    still = np.repeat(course(1, 80, 5), 3, axis=0)
    found = stage(still, monkeypatch)
    np.testing.assert_allclose(found["matrix_endpoint"], 1, atol=1e-6)
    np.testing.assert_allclose(found["matrix_row_cosine"][1:], 1, atol=1e-6)
    assert found["matrix_pair_lifecycle_turnover"].tolist() == [0, 0]
    empty = stage(np.zeros((3, 80, 5)), monkeypatch)
    for name in ("participation", "row_cosine", "endpoint", "mean_share", "concatenated_pca"):
        assert np.isnan(empty[f"matrix_{name}"]).all(), name
    assert stage(still[:1], monkeypatch) == {}


def test_the_mean_similarity_leaves_out_what_is_dead_or_has_no_direction():
    similarity = np.array([[50, 20, UNKNOWN], [70, UNKNOWN, UNKNOWN], [-99, -99, -99]], np.int8)
    found = mean_similarity(similarity, np.array([True, True, False]), 3)
    np.testing.assert_allclose(found[0], [1, 0.6, 0.2])
    assert np.isnan(found[1, 2])
    assert np.isnan(mean_similarity(similarity, np.zeros(3, bool), 3)).all()


def test_pairs_of_one_snapshot_or_unknown_norms_are_none():
    one = np.ones((1, 4))
    assert pair_arrays(one, one, one[:0], one) == {}
    two = np.full((2, 4), np.nan)
    assert pair_arrays(two, two, two[:1], two) == {}


# --- the store -----------------------------------------------------------------------------------


def test_the_store_answers_with_the_metrics_of_its_own_courses(tiny_store: Path):
    reader = Store.open(tiny_store)
    cards = [reader.feature(SEED0, f) for f in range(24)]
    courses = [np.stack([getattr(c, name) for c in cards], axis=1)
               for name in ("norm", "rate", "rotation", "to_terminal")]
    expected, found = reorganisation.pair_metrics(*courses), turnover.pairs_of(reader, SEED0)
    for name in PAIR_METRICS:
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-3)
    square = turnover.mean_similarity(reader, SEED0)
    assert square.shape == (5, 5)
    np.testing.assert_allclose(square, square.T)
    rows = load_snapshots(tiny_store, "readout-atlas/tiny-large", STEPS, "W_U").double()
    unit = torch.nn.functional.normalize(rows - rows.mean(dim=1, keepdim=True), dim=2)
    np.testing.assert_allclose(
        turnover.row_similarity(reader, SEED0),
        torch.einsum("kvd,lvd->kl", unit, unit).numpy() / V, atol=1e-4)
    course = turnover.matrix_of(reader, SEED0)
    assert course.row_norm.shape == (5, 5)
    assert course.pca.shape == (5, 7)
    assert np.isnan(course.row_cosine).tolist() == [True, *[False] * 4]
    for name, values in vars(course).items():
        assert np.isfinite(values[1:]).all(), name


@pytest.mark.parametrize("run", [PRISM, SMALL, EMBEDDING])
def test_what_a_run_does_not_have_is_none(tiny_store: Path, run: str):
    reader = Store.open(tiny_store)
    several = run != PRISM
    for answer in (turnover.pairs_of, turnover.matrix_pairs_of, turnover.matrix_of,
                   turnover.mean_similarity, turnover.row_similarity):
        assert (answer(reader, run) is not None) == several
    assert turnover.control_of(reader, run) is None
    assert turnover.held_out_of(reader, run) == ()


# --- held-out snapshots --------------------------------------------------------------------------


def shorter(store: Path, name: str, steps: list[int]) -> str:
    """A run over some of the steps: the first dictionary without the heads of the others."""
    source, run = store / "runs" / SEED0, f"tiny/large/W_U/{name}/d24/seed0"
    target = Path(shutil.copytree(source, store / "runs" / run, ignore=shutil.ignore_patterns(
        "stages", "*.duckdb", "CURRENT.json", "control.*")))
    config = json.loads((source / "config.json").read_text())
    write_json(target / "config.json", config | {"run": run, "steps": steps})
    c = read_crosscoder(read_run(source))
    kept = [STEPS.index(s) for s in steps]
    save_tensors(target / "dictionary.safetensors", {
        "W_E": c.W_E[kept], "b_E": c.b_E[kept], "W_D": c.W_D[kept], "b_D": c.b_D[kept],
        "activation_function.log_jumprelu_threshold": c.threshold.log(),
    })
    return run


def test_snapshots_between_those_of_a_run_are_rebuilt(store: Path):
    run = shorter(store, "cross-snapshot-3", [0, 4, 64])
    precompute_run(store, run)
    publish(store)
    found = turnover.held_out_of(Store.open(store), run)
    assert [(h.step, h.before, h.after, h.n_rows) for h in found] == [
        (1, 0, 4, V), (16, 4, 64, V)]
    c = read_crosscoder(read_run(store / "runs" / run))
    raw = load_snapshots(store, "readout-atlas/tiny-large", [0, 4, 64], "W_U")
    joint = pre_activations(c, standardize(raw)[1]).double()
    rows = load_snapshot(store, "readout-atlas/tiny-large", 16, "W_U").double()
    alpha = (np.log(17) - np.log(5)) / (np.log(65) - np.log(5))
    mean = rows.mean(dim=0)
    scale = (rows - mean).square().mean().sqrt()
    mixed = [(1 - alpha) * part[1].double() + alpha * part[2].double()
             for part in (c.W_E, c.W_D, c.b_E, c.b_D)]
    p = joint + ((rows - mean) / scale) @ mixed[0] + mixed[2]
    fires = p * mixed[1].norm(dim=1) > c.threshold
    rebuilt = ((p * fires) @ mixed[1] + mixed[3]) * scale + mean
    error, whole = (rows - rebuilt).square().sum(), (rows - mean).square().sum()
    assert found[1].explained_variance == pytest.approx(float(1 - error / whole), abs=1e-5)
    assert found[1].explained_raw == pytest.approx(
        float(1 - (rows - rebuilt).var() / rows.var()), abs=1e-5)
    assert found[1].l0 == pytest.approx(float(fires.sum() / V), abs=1e-6)
    assert found[1].alpha == pytest.approx(alpha)


def test_a_snapshot_that_comes_later_makes_no_run_stale(store: Path):
    run = shorter(store, "cross-snapshot-3", [0, 4, 64])
    precompute_run(store, run)
    name = "readout-atlas/tiny-large"
    shutil.copyfile(snapshot_path(store, name, 16, "W_U"), snapshot_path(store, name, 20, "W_U"))
    assert precompute_run(store, run).done == ()
    write_json(store / "runs" / run / "metrics.json", {"l0": 3.0})
    assert precompute_run(store, run).done == ("dense", "write")


def test_of_many_held_out_snapshots_some_are_taken(store: Path):
    for step in range(20, 60):
        snapshot_path(store, "readout-atlas/tiny-large", step, "W_U").touch()
    found = list(held_out.held_out_files(store, read_run(store / "runs" / SEED0)))
    assert len(found) == held_out.MOST
    assert (found[0], found[-1]) == (20, 59)
    assert held_out.held_out_files(store, read_run(store / "runs" / PRISM)) == {}


# --- the shuffled-row control --------------------------------------------------------------------


def control(folder: Path, **changes: np.ndarray) -> dict[str, np.ndarray]:
    """Write a made-up control beside a run; returns its courses."""
    g = np.random.default_rng(8)
    said = {
        "norms": g.random((5, 24)), "rates": g.random((5, 24)), "rotation": g.random((4, 24)),
        "to_terminal": g.random((5, 24)), "floor": g.random(24) / 2,
    }
    said["rotation"][0, 3] = np.nan
    said["floor"][5], said["rates"][:, 5] = np.inf, 0
    said |= changes
    save_tensors(folder / turnover.CONTROL, {
        name: torch.from_numpy(values.astype(np.float32)) for name, values in said.items()})
    write_json(folder / turnover.CONTROL_FACTS, {
        "seed": 3, "explained_variance": 0.4, "l0": 7.5, "n_alive": 23, "shuffle": "all of it"})
    return said


def test_a_control_comes_into_the_store_and_redoes_nothing_else(store: Path):
    said = control(store / "runs" / SEED0)
    assert precompute_run(store, SEED0).done == ("write",)
    publish(store)
    found = turnover.control_of(Store.open(store), SEED0)
    alive = said["rates"].mean(axis=0) > 0
    birth, death = lifecycle.births_and_deaths(said["norms"])
    corrected = lifecycle.floor_corrected_births(said["norms"], said["floor"])
    assert found.births.tolist() == np.bincount(birth[alive], minlength=5)[:5].tolist()
    assert found.births_floor.tolist() == np.bincount(corrected[alive], minlength=6)[:5].tolist()
    deaths = np.bincount(death[alive], minlength=5)
    assert found.deaths.tolist() == [*deaths[:4], 0]
    assert (found.seed, found.n_alive, found.shuffle) == (3, 23, "all of it")
    assert (found.explained_variance, found.l0) == (0.4, 7.5)
    assert found.norm.shape == (5, 5)
    pairs = reorganisation.pair_metrics(
        *(said[n][:, alive].astype(np.float32) for n in turnover.CONTROL_TENSORS[:4]))
    np.testing.assert_allclose(found.pairs.components, pairs.components)
    assert turnover.control_of(Store.open(store), SMALL) is None


def test_a_control_that_does_not_fit_is_refused(store: Path):
    folder = store / "runs" / SEED0
    control(folder, norms=np.ones((4, 24)))
    with pytest.raises(BrokenArtifact, match="norms"):
        precompute_run(store, SEED0)
    control(folder)
    write_json(folder / turnover.CONTROL_FACTS, {"seed": 3})
    with pytest.raises(BrokenArtifact, match="explained_variance"):
        precompute_run(store, SEED0)
    (folder / turnover.CONTROL_FACTS).unlink()  # one that is not finished is none
    assert precompute_run(store, SEED0).done == ()


def test_the_floor_of_a_control_is_that_of_the_geometry():
    """What `atlas.turnover` asks of the training is what births are corrected by here."""
    assert geometry.floor_of_energy(np.array([0.0, 2.0]), D).tolist() == [np.inf, 2.0]
    assert stages.STAGES.index("dense") < stages.STAGES.index("write")
