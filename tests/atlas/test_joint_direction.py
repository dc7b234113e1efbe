"""Splits by direction: the span of parts against least squares, planted splits and merges found."""

import numpy as np
import torch
from torch import Tensor

from atlas.joint_direction import JointDirection
from atlas.matching import Courses, find
from atlas.splits import Split, find_splits

K, D, WIDTH = 4, 240, 32


def dictionary(seed: int, features: int = D) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    base = torch.randn(features, WIDTH, generator=g)
    return base + 0.6 * torch.randn(K, features, WIDTH, generator=g)


def courses(W_D: Tensor) -> Courses:
    return Courses(lambda k: W_D[k], K, torch.ones(W_D.shape[1], dtype=torch.bool))


def splits(first: Tensor, second: Tensor) -> tuple[list[Split], list[Split]]:
    """Of the first in the second, and of the second in the first."""
    sides = courses(first), courses(second)
    found = find(*sides)
    return tuple(
        find_splits(found.ways[1 - own], found.chance[1 - own],
                    JointDirection(sides[1 - own], found.ways[1 - own], found.chance[1 - own]),
                    found.scatter[own], squared=True)
        for own in (0, 1))


def torn(W_D: Tensor, features: list[int], seed: int) -> Tensor:
    """The dictionary with some features replaced by two that add up to them."""
    g = torch.Generator().manual_seed(seed)
    apart = 0.5 * torch.randn(K, len(features), WIDTH, generator=g)
    whole, out = W_D[:, features], W_D.clone()
    out[:, features] = whole / 2 + apart
    return torch.cat([out, whole / 2 - apart], dim=1)


def test_planted_splits_are_found_and_merges_from_the_other_side() -> None:
    first = dictionary(0)
    features = list(range(10, 22))
    second = torn(first, features, 1)
    expected = {(f, frozenset({f, D + n})) for n, f in enumerate(features)}
    there, back = splits(first, second)
    assert expected <= {(s.feature, frozenset(s.parts)) for s in there}
    assert len(there) <= len(expected) + 2
    for split in there:
        assert split.joint > max(split.scores)
        assert split.percentile >= 0.99
    assert len(back) <= 2
    merged = splits(second, first)[1]
    assert {(s.feature, s.parts) for s in merged} == {(s.feature, s.parts) for s in there}


def test_copies_and_unrelated_dictionaries_split_nothing() -> None:
    first = dictionary(2)
    assert splits(first, torch.cat([first, first[:, :20]], dim=1)) == ([], [])
    assert sum(len(side) for side in splits(dictionary(3), dictionary(4))) <= 2


def test_the_span_of_parts_is_that_of_least_squares() -> None:
    first, second = dictionary(5, 20), dictionary(6, 30)
    found = find(courses(first), courses(second), turns=2)
    flat = [W_D.transpose(0, 1).reshape(W_D.shape[1], -1).double().numpy()
            for W_D in (first, second)]
    joint = JointDirection(courses(second), found.ways[1], found.chance[1])
    back = found.ways[1]
    feature, members = max(
        ((f, np.flatnonzero(back.partner == f)) for f in range(20)), key=lambda g: len(g[1]))
    parts = members[back.percentile[members] >= 0.99].tolist() or members[:1].tolist()
    reached = joint(feature, parts, 0)
    for n in range(1, len(parts) + 1):
        basis, whole = flat[1][parts[:n]].T, flat[0][feature]
        nearest = basis @ np.linalg.lstsq(basis, whole, rcond=None)[0]
        expected = (nearest @ nearest) / (whole @ whole)
        np.testing.assert_allclose(reached[n - 1], expected, atol=1e-4)
