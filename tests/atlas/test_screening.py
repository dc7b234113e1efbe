"""Exact answers out of rough products: equal to the plain way, whatever the screen and the tile."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas import geometry, screening

SCREENS = (torch.bfloat16, torch.float32)


def families(seed: int, rows: int, width: int, groups: int = 6) -> torch.Tensor:
    """Rows about a few directions, so that cosines crowd together as those of tokens do."""
    random = torch.Generator().manual_seed(seed)
    centres = torch.randn(groups, width, generator=random)
    spread = 0.3 * torch.randn(rows, width, generator=random)
    return centres[torch.arange(rows) % groups] + spread


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 20))
@settings(max_examples=20, deadline=None)
def test_entries_are_those_of_the_product(seed: int, rows: int, columns: int):
    random = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rows, 7, generator=random), torch.randn(columns, 7, generator=random)
    mask = torch.rand(rows, columns, generator=random) < 0.4
    row, column = mask.nonzero(as_tuple=True)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), mask.sum(dim=1).cumsum(0)])
    found = screening.entries(a, b, offsets, column)
    assert torch.allclose(found, (a @ b.T)[row, column], atol=1e-5)
    more = screening.entries(a, b, offsets, column, torch.ones(len(column)))
    assert torch.allclose(more, found + 1, atol=1e-5)
    by_column = screening.Entries(row, column, (rows, columns), piece=3)
    by_column.add(a, b)
    assert torch.equal(by_column.values(), found)
    by_column.add(a, b)
    assert torch.allclose(by_column.values(), 2 * found)


def test_an_entry_has_the_same_bits_whatever_is_asked_for_beside_it():
    a, b = torch.randn(64, 768), torch.randn(500, 768)
    column = torch.arange(500).repeat(64)
    whole = screening.entries(a, b, torch.arange(0, 32_001, 500), column)
    one = torch.tensor([499])
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            alone = screening.entries(a[63:], b, torch.tensor([0, 1]), one)
            assert alone[0] == whole[-1]
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("screen", SCREENS)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_best_rows_are_those_of_a_full_sort(screen: torch.dtype, sign: int):
    rows, _ = screening.unit(families(0, 2_000, 24))
    queries, _ = screening.unit(families(1, 150, 24))
    ranking = screening.Ranking(rows, screen)
    plane = ranking.plane(queries)
    assert plane.dtype == screen
    ids, values = ranking.best(queries, plane, 12, sign)
    exact = queries.double() @ rows.double().T
    wanted = exact.topk(12, dim=1, largest=sign > 0)
    torch.testing.assert_close(values.double(), wanted.values, atol=2e-6, rtol=0)
    torch.testing.assert_close(exact.gather(1, ids), wanted.values, atol=2e-6, rtol=0)


def test_equal_cosines_come_by_id_however_many_there_are():
    rows = torch.eye(4).repeat_interleave(200, dim=0)
    ranking = screening.Ranking(rows, torch.bfloat16)
    ids, values = ranking.best(torch.eye(4), ranking.plane(torch.eye(4)), 12)
    assert torch.equal(ids, torch.arange(0, 800, 200)[:, None] + torch.arange(12))
    assert (values == 1).all()


def test_a_screen_whose_first_choice_is_wrong_is_searched_again():
    """A hundred rows closer together than bfloat16 can tell, and the best of them last."""
    angle = torch.linspace(0.3, 0.2999, 100)
    rows = torch.stack([angle.cos(), angle.sin()], dim=1)
    far = torch.tensor([[0.0, 1.0]]).repeat(300, 1)
    ranking = screening.Ranking(torch.cat([rows, far]), torch.bfloat16)
    query = torch.tensor([[1.0, 0.0]])
    ids, _ = ranking.best(query, ranking.plane(query), 5)
    assert ids.tolist() == [[99, 98, 97, 96, 95]]


@given(st.integers(0, 10_000), st.integers(2, 40), st.integers(1, 15))
@settings(max_examples=20, deadline=None)
def test_nearest_directions_equal_the_plain_way(seed: int, features: int, n: int):
    random = torch.Generator().manual_seed(seed)
    directions = torch.randn(features, 5, generator=random)
    directions[torch.rand(features, generator=random) < 0.2] = 0
    slow_ids, slow = geometry.cosine_neighbours(directions, n)
    for screen in SCREENS:
        ids, cosines = geometry.nearest_directions(directions, n, screen, chunk=7)
        assert torch.equal(ids, slow_ids)
        assert torch.allclose(cosines, slow, atol=1e-6, equal_nan=True)


@pytest.mark.parametrize("screen", SCREENS)
def test_extremes_of_pieces_are_the_promoted_tokens(screen: torch.dtype):
    rows, directions = families(2, 900, 16), families(3, 60, 16)
    directions[5] = 0
    allowed = torch.rand(900, generator=torch.Generator().manual_seed(4)) < 0.8
    plain = geometry.promoted_tokens(rows, directions, 9, allowed)
    ids, unit = allowed.nonzero()[:, 0], screening.unit(rows - rows.mean(dim=0))[0]
    found = geometry.Extremes(screening.unit(directions)[0], 9, screen, chunk=13)
    for piece in ids.split(250):
        found.add(unit[piece], piece)
    tokens, cosines, suppressed, against = found.columns()
    live = torch.arange(60) != 5
    assert torch.equal(tokens[live], plain.tokens[live])
    assert torch.equal(suppressed[live], plain.suppressed[live])
    assert torch.allclose(cosines, plain.cosines, atol=1e-6, equal_nan=True)
    assert torch.allclose(against, plain.suppressed_cosines, atol=1e-6, equal_nan=True)
    assert cosines[5].isnan().all()


def rough_case(width: int = 4_096) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Rows and encoder rows with a few heavy entries, and a bar at the upper 2 %."""
    random = torch.Generator().manual_seed(5)
    x, w = (torch.randn(n, width, generator=random) for n in (96, 400))
    x[:, :8] *= 12
    w[:, :8] *= 4
    return x, w, float((x @ w.T).flatten().quantile(0.98))


@pytest.mark.parametrize("screen", SCREENS)
def test_nothing_above_the_bar_is_missed_and_the_margin_is_not_used_up(screen: torch.dtype):
    x, w, bar = rough_case()
    side = screening.side_by_side(x.split(1024, dim=1), *x.shape, screen)
    parts = [screening.RoughEncoder(s, w[s : s + 150].to(screen)) for s in (0, 150, 300)]
    plane, sizes = screening.rough_plane(side, parts, len(w))
    room = screening.slack((screening.four_norm(side), sizes), screen, 1.0)
    row, column = screening.above(plane, torch.full((len(w),), bar), room, screen)
    mask = torch.zeros(plane.shape, dtype=torch.bool).index_put_((row, column), torch.tensor(True))
    exact = (x.double() @ w.double().T).float()
    assert not (~mask & (exact > bar)).any()
    assert mask.sum() < 2.2 * (exact > bar).sum()
    assert screening.strain(
        plane[row, column], exact[row, column], row, column, room, screen
    ) < 0.5
    narrow = screening.slack((screening.four_norm(side), sizes), screen, 1e-3)
    strain = screening.strain(plane[row, column], exact[row, column], row, column, narrow, screen)
    assert strain > 0.5 or screen is torch.float32


def test_a_unit_row_of_no_length_stays_zero():
    rows, alive = screening.unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    assert rows.tolist() == [[pytest.approx(0.6), pytest.approx(0.8)], [0, 0]]
    assert alive.tolist() == [True, False]
    assert not math.isnan(float(rows.sum()))
