"""Dense controls: the known answers of the record, and the plain way beside the fast one."""

import numpy as np
import pytest

from atlas import dense
from atlas.dense import Head

PYTHIA = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000,
          9000, 14000, 21000, 27000, 34000, 47000, 61000, 75000, 89000, 102000, 116000, 130000,
          143000]


# --- spectra -------------------------------------------------------------------------------------


def test_a_spectrum_of_equal_axes_and_of_one():
    equal = dense.spectrum(np.full(32, 3.0))
    assert equal.participation == pytest.approx(32)
    assert equal.effective_rank == pytest.approx(32)
    assert equal.first_share == pytest.approx(1 / 32)
    assert equal.explained == pytest.approx([0.5, 1, 1, 1, 1, 1, 1])
    one = dense.spectrum([0.0, 5.0, -1e-9])
    assert (one.participation, one.effective_rank, one.first_share) == (1, 1, 1)
    nothing = dense.spectrum(np.zeros(4))
    assert np.isnan([nothing.participation, nothing.effective_rank, *nothing.explained]).all()


def test_the_spectrum_is_that_of_the_singular_values():
    rows = np.random.default_rng(0).normal(size=(90, 40)) * np.linspace(1, 3, 40)
    rows -= rows.mean(axis=0)
    singular = np.linalg.svd(rows, compute_uv=False)
    found = dense.spectrum(np.linalg.eigvalsh(rows.T @ rows))
    for rank, share in zip(dense.PCA_RANKS, found.explained, strict=True):
        kept = min(rank, 40)
        assert share == pytest.approx((singular[:kept] ** 2).sum() / (singular**2).sum())
    assert found.participation == pytest.approx((singular**2).sum() ** 2 / (singular**4).sum())


@pytest.mark.parametrize(("rows", "width"), [(4000, 100), (300, 200), (100, 300)])
def test_noise_has_the_spectrum_that_the_law_says(rows: int, width: int):
    """Draws stay within some per cent of the null, which has no scatter of its own."""
    draws = np.random.default_rng(1).normal(size=(rows, width))
    draws -= draws.mean(axis=0)
    drawn = dense.spectrum(np.linalg.eigvalsh(draws.T @ draws))
    null = dense.noise_spectrum(rows, width)
    assert null.participation == pytest.approx(drawn.participation, rel=0.02)
    assert null.participation == pytest.approx(width / (1 + width / rows), rel=0.01)
    assert null.effective_rank == pytest.approx(drawn.effective_rank, rel=0.02)
    assert null.first_share == pytest.approx(drawn.first_share, rel=0.06)
    np.testing.assert_allclose(null.explained, drawn.explained, atol=0.01)


def test_the_mean_row_and_its_course():
    rows = np.random.default_rng(2).normal(size=(50, 6)) + 0.7
    mean = rows.mean(axis=0)
    share = dense.mean_share(mean, np.square(rows - mean).sum(), 50)
    assert share == pytest.approx((mean @ mean) / np.square(rows).sum(axis=1).mean())
    assert np.isnan(dense.mean_share(np.zeros(3), 0.0, 4))
    assert dense.cosine([1, 0], [1, 1]) == pytest.approx(np.sqrt(0.5))
    assert np.isnan(dense.cosine([0, 0], [1, 1]))


# --- PCA of all snapshots ------------------------------------------------------------------------


def plain_concatenated(centred: np.ndarray, rank: int) -> np.ndarray:
    """Squared length (K,) of every snapshot within the best axes of all, by a whole SVD."""
    left = np.linalg.svd(np.concatenate(list(centred), axis=1), full_matrices=False)[0][:, :rank]
    return np.array([np.square(left.T @ part).sum() for part in centred])


def test_what_a_basis_captures_is_what_the_svd_does():
    g = np.random.default_rng(3)
    centred = g.normal(size=(3, 60, 8))
    centred -= centred.mean(axis=1, keepdims=True)
    basis = np.linalg.qr(np.concatenate(list(centred), axis=1))[0]  # holds every column
    projected = np.einsum("kvd,vm->kdm", centred, basis)
    for rank in (1, 5, 24):
        np.testing.assert_allclose(
            dense.captured(projected, rank), plain_concatenated(centred, rank)
        )
    assert dense.captured(projected, 24).sum() == pytest.approx(np.square(centred).sum())


def test_the_sketch_fits_the_matrix():
    assert dense.sketch_size(32, 50_304, 768) == (256, 320)
    assert dense.sketch_size(5, 320, 8) == (40, 40)
    assert dense.sketch_size(2, 10, 8) == (10, 10)
    start = dense.sketch(2, 4, 3)
    assert (start.shape, start.dtype) == ((2, 4, 3), np.float32)
    np.testing.assert_array_equal(start, dense.sketch(2, 4, 3))


# --- the line between the ends -------------------------------------------------------------------


def test_known_answer_28_the_endpoint_line():
    alpha, rebuilt = dense.endpoint_line([[[0.0, 0.0]], [[1.0, 1.0]], [[2.0, 0.0]]])
    assert alpha[:, 0].tolist() == [0, 0.5, 1]
    assert (np.array([1.0, 1.0]) - rebuilt[1, 0]).tolist() == [0, 1]


def test_a_row_that_ends_where_it_began_stays_there():
    alpha, rebuilt = dense.endpoint_line([[[1.0, 2.0]], [[3.0, 2.0]], [[1.0, 2.0]]])
    assert alpha.tolist() == [[0], [0], [0]]
    assert rebuilt[1, 0].tolist() == [1, 2]


# --- held-out snapshots --------------------------------------------------------------------------


@pytest.mark.parametrize(("step", "alpha", "nearest"), [
    (10000, 0.2385, 9000), (23000, 0.3620, 21000), (33000, 0.8705, 34000), (43000, 0.7253, 47000),
    (73000, 0.8692, 75000), (93000, 0.3225, 89000), (113000, 0.7963, 116000),
    (123000, 0.5142, 130000),
])
def test_known_answer_26_the_place_of_a_held_out_step(step: int, alpha: float, nearest: int):
    place = dense.held_out_place(step, PYTHIA)
    assert place.alpha == pytest.approx(alpha, abs=5e-5)
    assert PYTHIA[place.nearest] == nearest
    assert PYTHIA[place.before] < step < PYTHIA[place.after]


def test_a_step_that_was_trained_on_or_lies_outside_is_refused():
    with pytest.raises(ValueError, match="own snapshots"):
        dense.held_out_place(9000, PYTHIA)
    for step in (-1, 150_000):
        with pytest.raises(ValueError, match="outside"):
            dense.held_out_place(step, PYTHIA)


def head(g: np.random.Generator, width: int, size: int, kind: type) -> Head:
    draws = (g.normal(size=s).astype(kind) for s in
             ((width, size), (size,), (size, width), (width,)))
    return Head(*draws)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_a_held_out_row_is_rebuilt_as_the_record_says(kind: type):
    """A 33rd head adds to the joint sum and gates with its own norm: row by row, in float64."""
    g = np.random.default_rng(4)
    one, other = head(g, 3, 7, kind), head(g, 3, 7, kind)
    joint, x = g.normal(size=(5, 7)).astype(kind), g.normal(size=(5, 3)).astype(kind)
    threshold, alpha = np.abs(g.normal(size=7)).astype(kind), 0.3
    found, l0 = dense.rebuild(joint, x, dense.between(one, other, alpha), threshold)
    fired = 0
    for v in range(5):
        row = 0.7 * one.offset.astype(float) + 0.3 * other.offset
        for j in range(7):
            encoder = 0.7 * one.encoder[:, j].astype(float) + 0.3 * other.encoder[:, j]
            decoder = 0.7 * one.decoder[j].astype(float) + 0.3 * other.decoder[j]
            p = joint[v, j] + x[v] @ encoder + 0.7 * one.bias[j] + 0.3 * other.bias[j]
            if p * np.linalg.norm(decoder) > threshold[j]:
                row = row + p * decoder
                fired += 1
        np.testing.assert_allclose(found[v], row, rtol=1e-4 if kind is np.float32 else 1e-12)
    assert l0 == fired / 5
    assert found.dtype == kind
    ends = [dense.between(one, other, a).encoder for a in (0.0, 1.0)]
    np.testing.assert_array_equal(ends, [one.encoder, other.encoder])


def test_two_ways_to_say_what_is_explained():
    rows = np.array([[1.0, 5.0], [3.0, 5.0]])
    mean = rows.mean(axis=0)
    assert dense.explained(rows, np.broadcast_to(mean, rows.shape), mean) == 0
    assert dense.explained(rows, rows, mean) == 1
    # the raw form counts how far the columns' means lie apart as explained
    assert dense.explained_raw(rows, np.broadcast_to(mean, rows.shape)) == pytest.approx(
        1 - 0.5 / 2.75)
    assert np.isnan(dense.explained(rows, rows, rows))
