"""Matching: a slow twin, a dictionary against itself and against an unrelated one, dead features.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from atlas import matching
from atlas.matching import (
    LIKE,
    Courses,
    Matches,
    match,
    percentiles,
    random_rotation,
    random_turn,
)


def dictionary(seed: int, count: int = 5, features: int = 300, width: int = 16) -> Tensor:
    """Directions (K, D, d): the first features hardly turn, the last ones do at every snapshot."""
    g = torch.Generator().manual_seed(seed)
    base = torch.randn(features, width, generator=g)
    turning = torch.linspace(0, 3, features)[:, None]
    W_D = base + turning * torch.randn(count, features, width, generator=g)
    return W_D * torch.rand(count, features, 1, generator=g)


def courses(W_D: Tensor, kept: Tensor | None = None) -> Courses:
    every = torch.ones(W_D.shape[1], dtype=torch.bool)
    return Courses(lambda k: W_D[k], len(W_D), every if kept is None else kept)


def both(first: Tensor, second: Tensor, **options: object) -> tuple[Matches, Matches]:
    return match(courses(first), courses(second), **options)


def slow_cosines(first: Tensor, second: Tensor) -> np.ndarray:
    """Cosines (D, D') of whole courses, each scaled by its largest norm and put end to end."""
    ends = []
    for W_D in (first.double(), second.double()):
        scaled = W_D / W_D.norm(dim=-1).amax(dim=0)[:, None]
        flat = scaled.transpose(0, 1).reshape(W_D.shape[1], -1).numpy()
        ends.append(flat / np.linalg.norm(flat, axis=1)[:, None])
    return ends[0] @ ends[1].T


def test_partners_equal_their_slow_twin_whatever_the_chunk() -> None:
    first, second = dictionary(0), dictionary(1, features=120)
    cosines = slow_cosines(first, second)
    for chunk in (1, 70, None):
        found = both(first, second, turns=1, chunk=chunk)
        for way, values in zip(found, (cosines, cosines.T), strict=True):
            ordered = np.sort(values, axis=1)
            assert way.partner.tolist() == values.argmax(axis=1).tolist()
            np.testing.assert_allclose(way.score, ordered[:, -1], atol=1e-5)
            np.testing.assert_allclose(way.margin, ordered[:, -1] - ordered[:, -2], atol=1e-5)
            back = values.argmax(axis=0)[way.partner]
            assert way.reciprocal.tolist() == (back == np.arange(len(back))).tolist()
        assert 0 < found[0].reciprocal.mean() < 1


def test_the_null_is_that_of_turned_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    planes: list[Tensor] = []

    def turn(axes: Tensor, generator: torch.Generator) -> Tensor:
        planes.append(random_turn(axes, generator))
        return planes[-1]

    monkeypatch.setattr(matching, "random_turn", turn)
    first, second = dictionary(2, features=40), dictionary(3, features=40)
    found = both(first, second, turns=2)
    null = [slow_cosines(first @ plane, second) for plane in planes]
    assert len(null) == 2
    for way, axis in zip(found, (1, 0), strict=True):
        best = np.stack([values.max(axis=axis) for values in null])
        np.testing.assert_allclose(
            way.null[[5, 50, 95]], np.quantile(best, (0.05, 0.5, 0.95)), atol=1e-5)
        expected = [(best < value).mean() for value in way.score]  # forty features: one group
        np.testing.assert_allclose(way.percentile, expected, atol=1e-6)


def test_a_rotation_keeps_lengths_and_leans_nowhere() -> None:
    generators = (torch.Generator().manual_seed(seed) for seed in range(2000))
    many = torch.stack([random_rotation(3, generator) for generator in generators]).float()
    torch.testing.assert_close(many @ many.mT, torch.eye(3).expand(2000, 3, 3))
    assert many.mean(dim=0).abs().max() < 0.06


def test_a_turn_keeps_how_far_directions_reach() -> None:
    axes = random_rotation(9, torch.Generator().manual_seed(0))
    plane = random_turn(axes, torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(plane @ plane.T, torch.eye(9).double(), atol=1e-6, rtol=0)
    reach = axes @ torch.diag(torch.tensor([1, 1, 2, 2, 3, 3, 4, 4, 9.0]).double()) @ axes.T
    torch.testing.assert_close(plane.T @ reach @ plane, reach, atol=1e-5, rtol=0)
    moved = axes.T @ plane @ axes
    assert moved[:2, 2:].abs().max() < 1e-6 < moved[0, 1].abs()


def test_a_permuted_dictionary_is_found_whole() -> None:
    first = dictionary(4)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(1))
    there, back = both(first, first[:, order] * torch.linspace(0.1, 9, 300)[:, None])
    assert (order.numpy()[there.partner] == np.arange(300)).all()
    for way in (there, back):
        assert way.reciprocal.all()
        assert (way.percentile == 1).all()
        np.testing.assert_allclose(way.score, 1, atol=1e-5)
        assert way.margin.min() > 0.1


FALLING = torch.arange(1, 65) ** -0.4
"""How far directions reach along each of 64 axes."""


def unrelated(features: int = 300) -> list[Matches]:
    """Pairs of dictionaries that share nothing but how far they reach along each axis."""
    return [way for n in range(6)
            for way in both(*(dictionary(seed + n, features=features, width=64) * FALLING
                              for seed in (10, 20)))]


def test_an_unrelated_dictionary_looks_like_the_null() -> None:
    found = unrelated()
    values = np.stack([way.percentile for way in found])
    counts = np.histogram(values, 10, (0, 1))[0] / values.size
    assert counts.max() < 0.15
    assert counts.min() > 0.06
    assert 0.003 < np.mean(values >= 0.99) < 0.03
    assert np.median([way.score for way in found]) == pytest.approx(
        np.median([way.null[50] for way in found]), abs=0.02)
    # those that hardly turn find closer partners by chance, and the null knows
    cosines, still, turning = np.stack([w.score for w in found]), slice(0, 100), slice(200, 300)
    assert np.median(cosines[:, still]) > np.median(cosines[:, turning]) + 0.05
    assert values[:, still].mean() == pytest.approx(values[:, turning].mean(), abs=0.15)


def test_a_free_rotation_would_flatter_whatever_shares_the_axes(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "random_turn", lambda axes, g: random_rotation(64, g).float())
    values = np.stack([way.percentile for way in unrelated()])
    assert np.mean(values >= 0.99) > 0.1


def test_dead_features_and_those_without_direction_have_no_partner_and_are_none() -> None:
    first = dictionary(7, features=20)
    second = first.clone()
    second[:, 3] = 0
    kept = torch.ones(20, dtype=torch.bool)
    kept[5] = False
    there, back = match(courses(first), courses(second, kept), turns=1)
    assert np.flatnonzero(back.partner < 0).tolist() == [3, 5]
    assert np.flatnonzero(np.isnan(back.score)).tolist() == [3, 5]
    assert np.flatnonzero(np.isnan(back.percentile)).tolist() == [3, 5]
    assert not back.reciprocal[[3, 5]].any()
    assert not set(there.partner.tolist()) & {3, 5}
    assert (there.partner[[3, 5]] >= 0).all()
    assert not there.reciprocal[[3, 5]].any()
    alone = torch.zeros(20, dtype=torch.bool)
    alone[2] = True
    there, back = match(courses(first), courses(first, alone), turns=1)
    assert set(there.partner.tolist()) == {2}
    assert np.isnan(there.margin).all()
    assert (back.partner[2], there.reciprocal.sum()) == (2, 1)
    nothing = match(courses(first), courses(torch.zeros_like(first)), turns=1)
    for way in nothing:
        assert (way.partner == -1).all()
        assert np.isnan(way.percentile).all()
        assert np.isnan(way.null).all()


def test_dictionaries_of_other_shapes_are_refused() -> None:
    first = dictionary(8, features=6)
    with pytest.raises(ValueError, match="5 snapshots of width 16 and 4 of width 16"):
        both(first, first[:4])
    with pytest.raises(ValueError, match="width 8"):
        both(first, first[:, :, :8])


def test_percentiles_compare_features_of_like_scatter() -> None:
    scatter = np.concatenate([np.full(LIKE, 1.0), np.full(LIKE, 4.0), [np.nan]])
    null = np.concatenate([np.linspace(0.5, 0.9, LIKE), np.linspace(0.1, 0.2, LIKE), [0]])[None]
    best = np.full(2 * LIKE + 1, 0.4)
    best[0], best[1] = 0.7, 0.95
    found = percentiles(best, null, scatter)
    assert found[0] == pytest.approx(0.5, abs=0.01)
    assert found[1] == 1
    assert (found[2:LIKE] == 0).all()
    assert (found[LIKE:-1] == 1).all()
    assert np.isnan(found[-1])


def test_progress_is_told_block_by_block() -> None:
    lines: list[str] = []
    both(dictionary(0, features=10), dictionary(1, features=10), turns=2, chunk=4,
         report=lines.append)
    assert lines == [f"match: block {n} of 3" for n in (1, 2, 3)]
