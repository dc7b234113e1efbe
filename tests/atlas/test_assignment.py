"""One-to-one assignment: scipy's optimum, sizes that differ, features left out, the certificate."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from atlas.assignment import Costs, assign, shortfall


def costs_of(scores: np.ndarray, first: np.ndarray, second: np.ndarray, block: int) -> Costs:
    costs = Costs(first, second)
    for start in range(0, len(scores), block):
        costs.keep(start, torch.from_numpy(scores[start : start + block].copy()))
    return costs


@pytest.mark.parametrize(("rows", "columns"), [(60, 60), (60, 35), (35, 60), (1, 9)])
def test_the_total_is_that_of_scipy(rows: int, columns: int) -> None:
    scores = np.random.default_rng(rows).uniform(-1, 1, (rows, columns)).astype(np.float32)
    costs = costs_of(scores, np.ones(rows, bool), np.ones(columns, bool), 17)
    found = assign(costs)
    i, j = linear_sum_assignment(scores, maximize=True)
    assert found.score == pytest.approx(float(scores[i, j].sum()), abs=1e-4)
    pairs = np.flatnonzero(found.first >= 0)
    assert len(pairs) == min(rows, columns)
    assert (found.second[found.first[pairs]] == pairs).all()
    assert (found.second >= 0).sum() == len(pairs)
    assert scores[pairs, found.first[pairs]].sum() == pytest.approx(found.score, abs=1e-4)
    assert shortfall(costs, found.columns) < 1e-6


def test_features_left_out_have_nobody() -> None:
    scores = np.random.default_rng(0).uniform(0, 1, (30, 30)).astype(np.float32)
    first, second = np.ones(30, bool), np.ones(30, bool)
    first[[3, 8]] = second[5] = False
    scores[~first], scores[:, ~second] = -np.inf, -np.inf
    found = assign(costs_of(scores, first, second, 7))
    assert np.flatnonzero(found.first < 0).tolist() == [3, 8]
    assert set(np.flatnonzero(found.second < 0)) >= {5}
    i, j = linear_sum_assignment(scores[np.ix_(first, second)], maximize=True)
    best = scores[np.ix_(first, second)][i, j].sum()
    assert found.score == pytest.approx(float(best), abs=1e-4)
    nobody = assign(costs_of(scores, np.zeros(30, bool), second, 7))
    assert (nobody.first == -1).all()
    assert nobody.score == 0.0


def test_the_certificate_sees_what_is_not_the_optimum() -> None:
    scores = np.random.default_rng(1).uniform(0, 1, (40, 40)).astype(np.float32)
    costs = costs_of(scores, np.ones(40, bool), np.ones(40, bool), 40)
    best = assign(costs)
    swapped = best.columns.copy()
    swapped[[0, 1]] = swapped[[1, 0]]
    lost = best.score - float((1 - costs.values[np.arange(40), swapped]).sum())
    assert lost > 1e-3
    assert shortfall(costs, swapped) >= lost - 1e-9
    assert shortfall(costs, best.columns, passes=1) >= 0
