"""Rows read without torch are those that torch reads, in every format, from any file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.errors import BrokenArtifact, InvalidValue, NotFound
from atlas.matrix_files import MatrixFile, open_matrix, require
from atlas.tensor_files import TensorFile, save_rounded, save_tensors

KINDS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, "rounded"]


@pytest.fixture(params=KINDS, ids=str)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    tensors = {
        "M": torch.randn(13, 6, generator=torch.Generator().manual_seed(0)),
        "stack": torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(1)),
    }
    file = tmp_path / "m.safetensors"
    if request.param == "rounded":
        save_rounded(file, tensors)
    else:
        save_tensors(file, {name: tensor.to(request.param) for name, tensor in tensors.items()})
    return file


def test_rows_are_those_of_torch(path: Path) -> None:
    wanted, found = TensorFile(path), MatrixFile(path)
    rows = [12, 0, 5, 5]
    np.testing.assert_array_equal(found.rows("M", rows), wanted.gather("M", np.array(rows)).numpy())
    np.testing.assert_array_equal(
        found.rows("stack", [0, 7, 11]), wanted.gather("stack", np.array([0, 7, 11])).numpy()
    )
    assert found.rows("M", []).shape == (0, 6)
    assert found.rows("M", [3]).dtype == np.float32


@pytest.mark.parametrize("size", [None, 1, 5, 13, 40])
def test_blocks_put_together_are_the_matrix(path: Path, size: int | None) -> None:
    seen, firsts = [], []
    for first, rows in MatrixFile(path).blocks("M", size):
        firsts.append(first)
        seen.append(rows.copy())
    np.testing.assert_array_equal(np.concatenate(seen), TensorFile(path).read("M").numpy())
    assert firsts == list(range(0, 13, size or 13))


def test_what_is_not_there_is_named(path: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="no row 13, there are 13"):
        MatrixFile(path).rows("M", [0, 13])
    with pytest.raises(BrokenArtifact, match="holds no tensor W_U; it holds M"):
        open_matrix(path, "W_U")
    with pytest.raises(BrokenArtifact, match=r"stack is \(3, 4, 6\), no matrix"):
        open_matrix(path, "stack")
    with pytest.raises(NotFound, match="shared without weights"):
        require([path, tmp_path / "none"], "nearness")


def test_a_value_that_is_not_finite_stays_inside(tmp_path: Path) -> None:
    bad = torch.zeros(9, 4)
    bad[7, 2] = torch.inf
    save_tensors(tmp_path / "bad.safetensors", {"M": bad})
    file = MatrixFile(tmp_path / "bad.safetensors")
    assert file.rows("M", [6, 8]).sum() == 0
    with pytest.raises(BrokenArtifact, match="not finite"):
        file.rows("M", [7])
    with pytest.raises(BrokenArtifact, match="not finite"):
        list(file.blocks("M", 3))


def test_integers_are_no_matrix_and_a_cut_file_is_said_to_be_cut(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_tensors(path, {"ids": torch.arange(6).reshape(2, 3), "M": torch.ones(4, 3)})
    with pytest.raises(BrokenArtifact, match="I64, no rows of a matrix"):
        MatrixFile(path).rows("ids", [0])
    file = MatrixFile(path)
    with open(path, "r+b") as handle:
        handle.truncate(path.stat().st_size - 20)
    with pytest.raises(BrokenArtifact, match="cut short"):
        file.rows("M", range(4))


def test_no_torch_is_loaded() -> None:
    code = ("import sys, atlas.near_rows, atlas.row_parts, atlas.matrix_files\n"
            "assert 'torch' not in sys.modules, 'torch'")
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
