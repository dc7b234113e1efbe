"""Places of more points than a vector of BLAS takes with one thread."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from precompute import layout as layout_module
from precompute.layout import layout


def test_many_points_lie_the_same_whatever_the_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Above 10,000 elements BLAS shares a vector out, and the optimiser takes its other path."""
    monkeypatch.setattr(layout_module, "EARLY", 3)
    monkeypatch.setattr(layout_module, "LATE", 3)
    points, random = 12_000, np.random.default_rng(0)
    ids = (np.arange(points)[:, None] + random.integers(1, points, (points, 4))) % points
    distances = np.sort(random.random((points, 4)), axis=1)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            found.append(layout(ids, distances, seed=0, threads=threads))
    np.testing.assert_array_equal(*found)
