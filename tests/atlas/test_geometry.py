"""Directions: turns, neighbours, promoted tokens and the noise floor."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import geometry
from atlas.codes import SparseCode


def at_angles(*degrees: float) -> torch.Tensor:
    """Unit vectors in the plane."""
    radians = torch.tensor(degrees, dtype=torch.float64).deg2rad()
    return torch.stack([radians.cos(), radians.sin()], dim=-1)


def test_directions_known_answer_11():
    W_D = at_angles(60, 40, 20, 0)[:, None]
    to_terminal = geometry.direction_to_terminal(W_D)[:, 0]
    assert to_terminal.tolist() == pytest.approx([0.5, 0.2339556, 0.0603074, 0], abs=1e-6)
    assert geometry.rotation(W_D)[:, 0].tolist() == pytest.approx([0.0603074] * 3, abs=1e-6)


def test_rotation_ignores_length_and_spans_zero_to_two():
    W_D = torch.stack([at_angles(10, 10), 5 * at_angles(190, 10)])
    assert geometry.rotation(W_D)[0].tolist() == pytest.approx([2, 0])
    assert geometry.norms(W_D).tolist() == [[pytest.approx(1)] * 2, [pytest.approx(5)] * 2]


def test_a_zero_direction_has_no_angle():
    W_D = torch.ones(3, 2, 4)
    W_D[1, 0] = 0
    turn = geometry.rotation(W_D)
    assert turn[:, 0].isnan().all()
    assert not turn[:, 1].isnan().any()
    assert geometry.direction_to_terminal(W_D)[:, 0].isnan().tolist() == [False, True, False]


def test_one_snapshot_has_no_rotation():
    assert geometry.rotation(torch.ones(1, 5, 3)).shape == (0, 5)
    assert geometry.direction_to_terminal(torch.ones(1, 5, 3)).abs().max() < 1e-6


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 15), st.integers(1, 5))
def test_neighbours_equal_the_slow_twin(seed: int, features: int, n: int, chunk: int):
    random = torch.Generator().manual_seed(seed)
    directions = torch.randn(features, 3, generator=random, dtype=torch.float64)
    directions[torch.rand(features, generator=random) < 0.2] = 0
    ids, cosines = geometry.cosine_neighbours(directions, n, chunk=chunk)
    slow_ids, slow_cosines = geometry.cosine_neighbours_slow(directions, n)
    assert torch.equal(ids, slow_ids)
    assert torch.allclose(cosines, slow_cosines, equal_nan=True)


def test_neighbours_leave_out_the_feature_itself_and_zero_directions():
    directions = torch.cat([at_angles(0, 5, 90), torch.zeros(1, 2, dtype=torch.float64)])
    ids, cosines = geometry.cosine_neighbours(directions, 3)
    assert ids.tolist() == [[1, 2, -1], [0, 2, -1], [1, 0, -1], [-1, -1, -1]]
    assert float(cosines[0, 0]) == pytest.approx(math.cos(math.radians(5)))
    assert cosines[3].isnan().all()


def promoted_case() -> tuple[torch.Tensor, torch.Tensor]:
    """Rows about a mean of (10, 10); row 1 is long and askew, row 0 short and straight."""
    centred = torch.tensor([[1.0, 0], [6, 6], [0, -1], [-4, -1], [-3, -4]])
    return centred - centred.mean(dim=0) + 10, torch.tensor([[2.0, 0], [0, 0]])


def test_cosine_and_dot_product_rank_differently():
    rows, directions = promoted_case()
    by_cosine = geometry.promoted_tokens(rows, directions, 2)
    by_dot = geometry.promoted_tokens(rows, directions, 2, by="dot")
    assert by_cosine.tokens[0].tolist() == [0, 1]
    assert by_dot.tokens[0].tolist() == [1, 0]
    assert by_cosine.cosines[0].tolist() == pytest.approx([1, math.sqrt(0.5)])
    assert by_cosine.dots[0].tolist() == pytest.approx([2, 12])
    assert by_cosine.suppressed[0].tolist() == [3, 4]
    assert by_cosine.suppressed_cosines[0].tolist() == pytest.approx([-4 / math.sqrt(17), -0.6])
    assert by_cosine.suppressed_dots[0].tolist() == pytest.approx([-8, -6])
    assert by_cosine.cosines[1].isnan().all()


def test_tokens_that_are_not_allowed_are_not_listed_but_keep_their_part_in_the_mean():
    rows, directions = promoted_case()
    allowed = torch.tensor([False, True, True, True, True])
    found = geometry.promoted_tokens(rows, directions, 9, allowed=allowed)
    assert found.tokens.shape == (2, 4)
    assert 0 not in found.tokens
    assert found.cosines[0, 0] == pytest.approx(math.sqrt(0.5))


def test_chunks_change_nothing_and_a_wrong_measure_is_refused():
    rows, directions = torch.randn(40, 6), torch.randn(9, 6)
    whole = geometry.promoted_tokens(rows, directions, 5)
    parts = geometry.promoted_tokens(rows, directions, 5, chunk=2)
    assert torch.equal(whole.tokens, parts.tokens)
    assert torch.allclose(whole.suppressed_dots, parts.suppressed_dots)
    with pytest.raises(ValueError, match="euclid"):
        geometry.promoted_tokens(rows, directions, 5, by="euclid")


def test_noise_floor_is_the_norm_that_least_squares_finds_in_noise():
    random = np.random.default_rng(0)
    width, active = 400, np.array([0.5, 1.0, 2.0], dtype=np.float32)
    code = SparseCode(
        np.arange(3, dtype=np.int32), np.zeros(3, dtype=np.int32), active, n_tokens=3, n_features=2
    )
    floor = geometry.noise_floor(code, width)
    assert floor[0] == pytest.approx(math.sqrt(width / 5.25))
    assert np.isinf(floor[1])
    lengths = [
        np.linalg.norm(active @ random.standard_normal((3, width)) / (active @ active))
        for _ in range(200)
    ]
    assert np.mean(lengths) == pytest.approx(floor[0], rel=0.02)
