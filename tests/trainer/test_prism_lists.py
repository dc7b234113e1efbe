"""Lists of pairs against full matrices: values, gradients, rows and features that keep nothing."""

import pytest
import torch

from trainer.prism_lists import Decoded, Pairs, Rectified

B, D_SAE, D_MODEL, K = 11, 30, 7, 4


def problem(dtype=torch.float64, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator).to(dtype)

    return draw(B, D_MODEL), draw(D_SAE, D_MODEL), draw(D_SAE), draw(D_SAE, D_MODEL)


def listed(which: str, pre: torch.Tensor) -> Pairs:
    if which == "per row":
        return Pairs.per_row(pre.topk(K, dim=1).indices, D_SAE)
    on = pre > 4  # some rows and features keep nothing
    assert not on.any(1).all()
    assert not on.any(0).all()
    return Pairs.where(on)


@pytest.mark.parametrize("which", ["per row", "where"])
@pytest.mark.parametrize(("dtype", "bar"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
def test_gradients_are_those_of_full_matrices(which, dtype, bar):
    x, encoder, bias, decoder = problem(dtype)
    pre = x @ encoder.T + bias
    pairs = listed(which, pre)
    row = torch.arange(B).repeat_interleave(pairs.start.diff())
    mask = torch.zeros_like(pre)
    mask[row, pairs.column] = 1

    def gradients(way: str) -> list[torch.Tensor]:
        parts = [t.clone().requires_grad_() for t in (encoder, bias, decoder)]
        if way == "full":
            rebuilt = ((x @ parts[0].T + parts[1]).relu() * mask) @ parts[2]
        else:
            values = Rectified.apply(pre[row, pairs.column], parts[0], parts[1], x, pairs)
            rebuilt = Decoded.apply(values, parts[2], pairs)
        rebuilt.sin().sum().backward()
        return [rebuilt.detach(), *(part.grad for part in parts)]

    for one, other in zip(gradients("full"), gradients("lists"), strict=True):
        assert (one - other).norm() <= bar * one.norm()


def test_pairs_know_their_rows():
    on = torch.tensor([[0, 1, 1], [0, 0, 0], [1, 0, 0]], dtype=torch.bool)
    pairs = Pairs.where(on)
    assert pairs.column.tolist() == [1, 2, 0]
    assert pairs.start.tolist() == [0, 2, 2, 3]
    values = torch.tensor([1.0, 2.0, 3.0])
    directions = torch.tensor([[1.0, 0], [0, 1], [10, 10]])
    assert pairs.decode(values, directions).tolist() == [[20, 21], [0, 0], [3, 0]]
    rows = torch.tensor([[1.0, 2], [3, 4], [5, 6]])
    assert pairs.transposed(values, rows).tolist() == [[15, 18], [1, 2], [2, 4]]
    assert pairs.products(rows, directions).tolist() == [2, 30, 5]
