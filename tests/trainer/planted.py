"""Rows with a known history: directions that are born, turn and fade, and who carries them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from atlas.crosscoder import standardize


@dataclass(frozen=True, eq=False)
class Planted:
    """Rows of K snapshots and what they were made of."""

    x: Tensor
    """(K, V, d) standardised."""
    directions: Tensor
    """(K, G, d), unit: of each planted feature at each snapshot."""
    strength: Tensor
    """(K, G), 0 to 1: how much of it there is."""
    births: Tensor
    """(G,) first snapshot at which its strength is half its largest."""


def planted(
    snapshots: int = 8, rows: int = 4096, d: int = 128, features: int = 1024, active: float = 12.0,
    turn: float = 0.6, noise: float = 0.15, seed: int = 0,
) -> Planted:
    """Sparse features whose strengths rise at times of their own and whose directions turn.

    Args:
        active: features of a row on average; rates spread over two decades.
        turn: radians that a direction turns over the whole course.
        noise: length of what belongs to a row alone, over a feature's.
    """
    g = torch.Generator().manual_seed(seed)

    def unit(*shape: int) -> Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, generator=g), dim=-1)

    first, second = unit(features, d), unit(features, d)
    second = torch.nn.functional.normalize(
        second - (second * first).sum(1, keepdim=True) * first, dim=1)
    rate = torch.exp(torch.rand(features, generator=g) * math.log(100))
    rate *= active / rate.sum()
    code = (torch.rand(rows, features, generator=g) < rate) \
        * (0.5 + 2 * torch.rand(rows, features, generator=g).square())
    at = torch.linspace(0, 1, snapshots)[:, None]
    rise = 1.1 * torch.rand(features, generator=g) - 0.1
    strength = torch.sigmoid((8 + 16 * torch.rand(features, generator=g)) * (at - rise))
    angle = turn * at[:, :, None]
    directions = first * angle.cos() + second * angle.sin()
    alone = torch.randn(rows, d, generator=g) / math.sqrt(d)
    raw = torch.stack([
        (code * strength[k]) @ directions[k]
        + noise * (2 * (1 - float(at[k])) * alone
                   + 0.7 * torch.randn(rows, d, generator=g) / math.sqrt(d))
        for k in range(snapshots)
    ])
    births = (strength >= strength.amax(0) / 2).int().argmax(0)
    return Planted(standardize(raw)[1], directions, strength, births)
