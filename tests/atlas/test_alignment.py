"""Aligned readouts: each variant against the matrix that it stands for, and what undoes what."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from atlas.alignment import ALIGNMENTS, Readout, aligned, operations, rotation

V, D = 40, 6


def readout_of(rows: Tensor) -> Readout:
    centred = rows.double() - rows.double().mean(dim=0)
    return Readout(rows.mean(dim=0), float(centred.square().mean().sqrt()))


def rotation_of(rows: Tensor, others: Tensor, size: int = 9) -> Tensor:
    pairs = ((rows[i : i + size], others[i : i + size]) for i in range(0, len(rows), size))
    return rotation(pairs, readout_of(rows), readout_of(others))


def moved(align: str, rows: Tensor, others: Tensor) -> Tensor:
    """Slow twin: the changed matrix itself, (V, d) float64, by the letter of §10.3."""
    rows, others = rows.double(), others.double()
    mean, mean_there = rows.mean(dim=0), others.mean(dim=0)
    here, there = rows - mean, others - mean_there
    if align == "mean":
        return here + mean_there
    if align == "scale":
        return here * (torch.linalg.norm(there) / torch.linalg.norm(here)) + mean_there
    if align == "row_norm":
        return rows * (others.norm(dim=1) / rows.norm(dim=1))[:, None]
    if align == "procrustes":
        u, _, v = torch.linalg.svd(here.T @ there)
        return here @ (u @ v) + mean_there
    return rows


def draws(seed: int, count: int = 3) -> tuple[Tensor, Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(V, D, generator=generator) + 1.5
    others = [2 * torch.randn(V, D, generator=generator) - 0.5 for _ in range(count)]
    return torch.randn(count, 4, D, generator=generator), rows, others


@pytest.mark.parametrize("align", ALIGNMENTS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_a_variant_is_the_matrix_it_stands_for(align: str, seed: int) -> None:
    hidden, rows, others = draws(seed)
    turns = [rotation_of(rows, o) for o in others] if align == "procrustes" else []
    read = aligned(align, hidden, readout_of(rows), [readout_of(o) for o in others], turns)
    found = read.logits(rows, torch.stack([o.norm(dim=1) for o in others]))
    for r, other in enumerate(others):
        plain = hidden[r].double() @ moved(align, rows, other).T
        torch.testing.assert_close(found[r].double(), plain, rtol=1e-4, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), size=st.integers(1, 50))
def test_a_planted_rotation_is_found(seed: int, size: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(D, D, generator=generator))[0]
    rows = torch.randn(V, D, generator=generator)
    others = (rows - rows.mean(dim=0)) @ turn + torch.randn(D, generator=generator)
    torch.testing.assert_close(rotation_of(rows, others, size), turn, rtol=0, atol=1e-4)


def test_a_rotation_keeps_lengths() -> None:
    hidden, rows, others = draws(3)
    found = rotation_of(rows, others[0])
    torch.testing.assert_close(found @ found.T, torch.eye(D), rtol=0, atol=1e-5)


def test_a_scaled_readout_is_scaled_back() -> None:
    hidden, rows, _ = draws(4)
    other = 3 * (rows - rows.mean(dim=0)) + 2
    read = aligned("scale", hidden[:1], readout_of(rows), [readout_of(other)])
    torch.testing.assert_close(read.logits(rows)[0], hidden[0] @ other.T, rtol=1e-4, atol=1e-4)


def test_row_norm_without_the_norms_is_refused() -> None:
    hidden, rows, _ = draws(5)
    with pytest.raises(ValueError, match="lengths"):
        aligned("row_norm", hidden).logits(rows)


def test_operations_grow_with_the_pairs() -> None:
    assert operations(50_304, 768, 32) == 32 * operations(50_304, 768, 1)
    assert 5.9e10 < operations(50_304, 768, 1) < 9e10
