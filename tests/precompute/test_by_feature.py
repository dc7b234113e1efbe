"""Directions laid out by feature: the same numbers, made once, never another dictionary's."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas import slices
from atlas.live import decompose_prompt
from atlas.places import run_path
from atlas.slices import BY_FEATURE_FILE, open_decoder
from atlas.store import Store
from atlas.tensor_files import TensorFile, load_tensors, save_tensors
from precompute import by_feature
from precompute.kept import run_folder
from precompute.stages import precompute_run
from tests.tiny import PRISM, SEED0, STEPS, WIDTH, D

PROMPT = "In the beginning the light was upon the"
Lines = list[str]


@pytest.fixture
def own(tiny_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of one's own, in which every dictionary counts as large."""
    monkeypatch.setattr(by_feature, "LEAST_BYTES", 0)
    shutil.copytree(tiny_store, tmp_path / "store")
    return tmp_path / "store"


def laid_out(store: Path, run: str = SEED0) -> tuple[bool, Path]:
    folder = run_folder(store, run)
    return by_feature.lay_out(folder, lambda line: None), folder.path / BY_FEATURE_FILE


def test_they_are_the_same_numbers_made_once(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_feature, "BLOCK", 7)  # that does not divide the features
    assert laid_out(own) == (True, run_path(own, SEED0) / BY_FEATURE_FILE)
    assert laid_out(own)[0] is False
    decoder = open_decoder(own, Store.open(own).run(SEED0))
    some = np.array([0, 3, WIDTH - 1])
    courses = decoder.courses(some)
    assert courses is not None
    assert courses.shape == (3, len(STEPS), D)
    for k in range(len(STEPS)):
        np.testing.assert_array_equal(courses[:, k], decoder.directions(k, some))
    assert decoder.courses(np.zeros(0, dtype=np.int64)).shape == (0, len(STEPS), D)


def test_a_decomposition_is_the_same_with_and_without(own: Path) -> None:
    store = Store.open(own)
    before = decompose_prompt(store, SEED0, PROMPT, 7, 9, step="all")
    laid_out(own)
    slices._open_decoder.cache_clear()
    after = decompose_prompt(store, SEED0, PROMPT, 7, 9, step="all")
    for one, other in zip(before.rows, after.rows, strict=True):
        for field in dataclasses.fields(one.ledger):
            a, b = getattr(one.ledger, field.name), getattr(other.ledger, field.name)
            np.testing.assert_array_equal(a, b, err_msg=field.name)


def test_those_of_another_dictionary_are_not_believed_and_made_anew(own: Path) -> None:
    _, path = laid_out(own)
    weights = run_path(own, SEED0) / "dictionary.safetensors"
    changed = load_tensors(weights)
    changed["W_D"][:, 0, 0] += 1
    save_tensors(weights, changed)
    card = Store.open(own).run(SEED0)
    assert open_decoder(own, card).courses(np.array([0])) is None
    assert laid_out(own)[0] is True
    slices._open_decoder.cache_clear()
    found = open_decoder(own, card).courses(np.array([0]))
    np.testing.assert_array_equal(found[0], changed["W_D"][:, 0].numpy())


@pytest.mark.parametrize("rubbish", [b"", b"x" * 100, None])
def test_rubbish_in_its_place_is_passed_over(own: Path, rubbish: bytes | None) -> None:
    path = run_path(own, SEED0) / BY_FEATURE_FILE
    if rubbish is None:
        save_tensors(path, {"directions": torch.zeros(2, 3)})
    else:
        path.write_bytes(rubbish)
    assert open_decoder(own, Store.open(own).run(SEED0)).courses(np.array([0])) is None
    assert laid_out(own)[0] is True


def test_a_build_makes_it_also_of_a_run_that_is_up_to_date(own: Path) -> None:
    path = run_path(own, SEED0) / BY_FEATURE_FILE
    lines: Lines = []
    precompute_run(own, SEED0, report=lines.append)
    assert path.is_file()
    assert "nothing to do" not in " ".join(lines)
    lines.clear()
    precompute_run(own, SEED0, report=lines.append)
    assert "nothing to do" in " ".join(lines)
    path.unlink()
    precompute_run(own, SEED0, force=True)
    assert TensorFile(path).shape("directions") == (WIDTH, len(STEPS) * D)


def test_small_dictionaries_and_prisms_have_none(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert by_feature.bytes_by_feature(1, 10**6, 10**4) == 0
    assert laid_out(own, PRISM)[0] is False
    monkeypatch.setattr(by_feature, "LEAST_BYTES", 64 * 2**20)
    assert laid_out(own)[0] is False


def test_more_than_is_held_at_once_is_read_step_by_step(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laid_out(own)
    slices._open_decoder.cache_clear()
    decoder = open_decoder(own, Store.open(own).run(SEED0))
    monkeypatch.setattr(slices, "MOST_BYTES", 4 * len(STEPS) * D)
    assert decoder.courses(np.array([1])) is not None
    assert decoder.courses(np.array([1, 2])) is None
