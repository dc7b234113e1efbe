"""The shuffled-row control: what is shuffled, what is kept, what a history and none of it give."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from atlas.artifacts import RunFolder, load_snapshots, read_crosscoder, read_run
from atlas.codes import crosscoder_code_slow
from atlas.crosscoder import standardize
from atlas.errors import InvalidValue, NotFound
from atlas.places import run_path, snapshot_path
from atlas.tensor_files import TensorFile, read_json, write_json
from atlas.turnover import CONTROL, CONTROL_FACTS, CONTROL_TENSORS
from tests.tiny import EMBEDDING, LARGE_MODEL, PRISM, SEED0, STEPS, WIDTH, D, V
from trainer import control
from trainer.control import courses, fitted_rows, recipe_of, shuffled, train_control
from trainer.crosscoder import train_crosscoder
from trainer.crosscoder_recipe import CrosscoderRecipe

DIALS: dict[str, Any] = {
    "model": LARGE_MODEL, "matrix": "W_U", "d_sae": WIDTH, "seed": 0, "epochs": 3, "batch": 64,
    "learning_rate": 1e-3, "sparsity": 0.01, "initial_threshold": 0.3, "decoder_norm": 0.7,
    "transpose_factor": 0.5, "threshold_window": 0.5, "min_count": 1,
}


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    """A store whose first run says how it was trained."""
    own = Path(shutil.copytree(tiny_store, tmp_path / "own store"))
    change(own, training=DIALS)
    return own


def change(store: Path, run: str = SEED0, **config: Any) -> RunFolder:
    path = run_path(store, run) / "config.json"
    write_json(path, read_json(path) | config)
    return read_run(path.parent)


def silent(line: str) -> None:
    pass


def test_rows_change_their_tokens_and_stay_in_their_snapshot_and_group() -> None:
    x = torch.arange(4 * 30 * 2, dtype=torch.float32).reshape(4, 30, 2)
    fitted = torch.arange(30) % 3 > 0
    dealt = shuffled(x, fitted, 5)
    assert torch.equal(dealt[0], x[0])
    for k in range(1, 4):
        for group in (fitted, ~fitted):
            assert torch.equal(dealt[k, group].sort(dim=0).values, x[k, group])
        assert (dealt[k] != x[k]).any(dim=1).float().mean() > 0.7
    orders = [dealt[k, :, 0] - x[k, 0, 0] for k in range(1, 4)]
    assert not torch.equal(orders[0], orders[1])
    assert torch.equal(dealt, shuffled(x, fitted, 5))
    assert not torch.equal(dealt, shuffled(x, fitted, 6))
    assert torch.equal(x, torch.arange(4 * 30 * 2, dtype=torch.float32).reshape(4, 30, 2))


def test_courses_agree_with_the_slow_code(store: Path) -> None:
    folder = read_run(run_path(store, SEED0))
    x = standardize(load_snapshots(store, folder.config["model_name"], STEPS, "W_U"))[1]
    c = read_crosscoder(folder)
    found = courses(c, x[:, :200], V)
    code, rates = crosscoder_code_slow(c, x[:, :200])
    np.testing.assert_allclose(found.rates, rates * 200 / V)
    energy = np.bincount(code.feature, code.p.astype(float) ** 2, minlength=WIDTH)
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(found.floor, np.sqrt(D / energy), rtol=1e-5)
    assert np.isinf(found.floor[energy == 0]).all()
    naive, corrected = found.births()
    assert naive.shape == corrected.shape == (len(STEPS),)
    assert naive.sum() <= (found.rates.sum(axis=0) > 0).sum()
    assert corrected.sum() <= naive.sum()


def test_both_files_are_written_and_a_second_call_does_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = read_run(run_path(store, SEED0))
    facts = train_control(store, folder, silent)
    assert facts == read_json(folder.path / CONTROL_FACTS)
    for name in ("seed", "explained_variance", "l0", "dead_rate", "n_alive"):
        assert isinstance(facts[name], int | float), name
    assert "dealt out anew" in facts["shuffle"]
    assert facts["training"] == dataclasses.asdict(CrosscoderRecipe(**DIALS))
    file = TensorFile(folder.path / CONTROL)
    shapes = {"norms": (5, WIDTH), "rates": (5, WIDTH), "rotation": (4, WIDTH),
              "to_terminal": (5, WIDTH), "floor": (WIDTH,)}
    assert {name: file.shape(name) for name in CONTROL_TENSORS} == shapes
    rates = file.read("rates").numpy()
    assert facts["n_alive"] == int((rates.mean(axis=0) > 1e-6).sum())
    rows, n_rows = facts["rows"]
    assert facts["l0"] == pytest.approx(rates.sum() / 5 * n_rows / rows, rel=1e-4)
    assert 0 < rows < n_rows == V
    written = (folder.path / CONTROL).read_bytes()

    def never(*asked: object) -> None:
        raise AssertionError("it was trained again")

    monkeypatch.setattr(control, "train_crosscoder", never)
    lines: list[str] = []
    assert train_control(store, folder, lines.append) == facts
    assert lines == ["the control is there, nothing to do"]
    monkeypatch.undo()
    train_control(store, folder, silent, force=True)
    assert (folder.path / CONTROL).read_bytes() == written  # the same seed, the same bytes
    other = train_control(store, folder, silent, seed=1)
    assert other["seed"] == 1
    assert (folder.path / CONTROL).read_bytes() != written


def test_it_is_trained_on_the_shuffled_rows_by_the_runs_own_dials(store: Path) -> None:
    folder = read_run(run_path(store, SEED0))
    recipe = recipe_of(folder)
    x = standardize(load_snapshots(store, folder.config["model_name"], STEPS, "W_U"))[1]
    fitted = fitted_rows(store, recipe, V)
    rows = shuffled(x, fitted, 0)[:, fitted]
    twin = control.as_written(train_crosscoder(rows, recipe))
    train_control(store, folder, silent)
    kept = TensorFile(folder.path / CONTROL).read("norms")
    torch.testing.assert_close(kept, twin.W_D.norm(dim=2))


def test_fewer_passes_are_said(store: Path) -> None:
    facts = train_control(store, read_run(run_path(store, SEED0)), silent, epochs=1)
    assert facts["shuffle"].endswith("trained for 1 passes, the run for 3")
    assert facts["training"]["epochs"] == 1


def test_a_damaged_or_half_written_control_is_trained_anew(store: Path) -> None:
    folder = read_run(run_path(store, SEED0))
    train_control(store, folder, silent)
    whole = (folder.path / CONTROL).read_bytes()
    (folder.path / CONTROL).write_bytes(whole[:-1])
    assert control.read_facts(folder) is None
    train_control(store, folder, silent)
    assert (folder.path / CONTROL).read_bytes() == whole
    (folder.path / CONTROL_FACTS).unlink()
    assert control.read_facts(folder) is None


def test_without_a_history_features_find_nothing_to_share() -> None:
    """Groups of rows that stay together for six snapshots, and the same snapshots shuffled."""
    generator = torch.Generator().manual_seed(3)
    group = torch.arange(240) % 8
    directions = torch.nn.functional.normalize(torch.randn(6, 8, 16, generator=generator), dim=2)
    rows = 4 * directions[:, group] + 0.5 * torch.randn(6, 240, 16, generator=generator)
    x = standardize(rows)[1]
    recipe = CrosscoderRecipe(
        model="m", matrix="W_U", d_sae=24, epochs=60, batch=60, learning_rate=3e-3, sparsity=0.05,
        initial_threshold=0.7, decoder_norm=0.7, transpose_factor=0.2, threshold_window=0.5,
    )
    every = torch.ones(240, dtype=torch.bool)
    own, broken = (
        control.quality(train_crosscoder(rows, recipe), rows).explained_variance
        for rows in (x, shuffled(x, every, 0))
    )
    assert own > broken + 0.3, (own, broken)


@pytest.mark.parametrize(("run", "config", "words"), [
    (PRISM, {}, "is a prism"),
    (EMBEDDING, {}, "recipe is not known whole"),
    (SEED0, {"origin": {"repository": "somebody/else"}}, "was not trained here"),
    (SEED0, {"training": DIALS | {"unheard": 1}}, "recipe is not known whole"),
    (SEED0, {"kind": "sae", "steps": [64]}, "one snapshot and no history"),
])
def test_what_has_no_control_is_refused(
    store: Path, run: str, config: dict[str, Any], words: str
) -> None:
    folder = change(store, run, **config)
    with pytest.raises(InvalidValue, match=words) as error:
        train_control(store, folder, silent)
    assert "`readout-atlas" in str(error.value)
    assert not (folder.path / CONTROL).exists()


def test_a_missing_snapshot_is_named(store: Path) -> None:
    folder = read_run(run_path(store, SEED0))
    path = snapshot_path(store, folder.config["model_name"], 16, "W_U")
    path.unlink()
    with pytest.raises(NotFound, match=rf"{path.name} is not there \(1 of 5") as error:
        train_control(store, folder, silent)
    assert f"`readout-atlas build {SEED0}`" in str(error.value)


def test_an_interrupted_training_leaves_nothing(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = read_run(run_path(store, SEED0))

    def killed(*asked: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(control, "train_crosscoder", killed)
    with pytest.raises(KeyboardInterrupt):
        train_control(store, folder, silent)
    assert not (folder.path / CONTROL).exists()
    assert not (folder.path / CONTROL_FACTS).exists()
