"""Directions beside each other: equal to the plain way, whatever the block."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.geometry import cosine_neighbours_slow
from atlas.prism import Prism
from precompute import directions
from tests.precompute.test_passes import (
    CPU,
    WIDTH,
    D,
    K,
    on_disk,
    planted_crosscoder,
    planted_rows,
)


def similarities_slow(W_D: torch.Tensor) -> list[list[int | None]]:
    """Hundredths of every feature's cosines, pair after pair; None without a length."""
    out = []
    for feature in range(W_D.shape[1]):
        row: list[int | None] = []
        for a in range(len(W_D)):
            for b in range(a + 1, len(W_D)):
                one, other = W_D[a, feature].double(), W_D[b, feature].double()
                scale = float(one.norm() * other.norm())
                row.append(round(100 * float(one @ other) / scale) if scale else None)
        out.append(row)
    return out


def test_similarities_equal_the_plain_way_whatever_the_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = planted_crosscoder("jumprelu")
    source, _ = on_disk(tmp_path, planted_rows(), c)
    found = directions.similarities(source, CPU)
    assert (found.shape, found.dtype) == ((WIDTH, K * (K - 1) // 2), np.int8)
    expected = [[directions.UNKNOWN if v is None else v for v in row]
                for row in similarities_slow(c.W_D)]
    np.testing.assert_array_equal(found, expected)
    assert (found[4] == directions.UNKNOWN).all()
    assert (found[3] == directions.UNKNOWN).tolist() == [True, False, False, True, True, False]
    assert found.min() < 0 < found[found != directions.UNKNOWN].max()
    for numbers in (1, 5 * 8 * K * D):
        monkeypatch.setattr(directions, "BLOCK_BYTES", numbers)
        np.testing.assert_array_equal(directions.similarities(source, CPU), found)


@pytest.mark.parametrize("screen", [torch.bfloat16, torch.float32])
def test_the_nearest_at_a_snapshot_equal_the_plain_way(
    tmp_path: Path, screen: torch.dtype
) -> None:
    c = planted_crosscoder("jumprelu")
    source, _ = on_disk(tmp_path, planted_rows(), c)
    parts = [directions.nearest(source, k, CPU, screen) for k in range(K)]
    assert [part["ids"].shape[1] for part in parts] == [10, 10, 10, 20]
    for k, part in enumerate(parts):
        ids, cosines = cosine_neighbours_slow(c.W_D[k], 20)
        n = part["ids"].shape[1]
        np.testing.assert_array_equal(part["ids"], ids[:, :n])
        np.testing.assert_allclose(part["cosines"], cosines[:, :n], atol=1e-6)
    together = directions.nearest_at(parts)
    assert together["ids_at"].shape == together["cosines_at"].shape == (K, WIDTH, 10)
    np.testing.assert_array_equal(together["ids_at"][-1], parts[-1]["ids"][:, :10])
    assert (together["ids_at"][1, 3] == -1).all()
    assert all(math.isnan(value) for value in together["cosines_at"][1, 3])


def test_a_single_snapshot_has_no_pair(tmp_path: Path) -> None:
    decoder = torch.nn.functional.normalize(torch.randn(WIDTH, D))
    rows = planted_rows()[-1:]
    prism = Prism(decoder.clone(), torch.zeros(WIDTH), decoder, 3, rows[0].mean(dim=0),
                  torch.ones(rows.shape[1]))
    source, _ = on_disk(tmp_path, rows, prism)
    assert directions.similarities(source, CPU).shape == (WIDTH, 0)
    assert directions.nearest(source, 0, CPU)["ids"].shape == (WIDTH, 20)
