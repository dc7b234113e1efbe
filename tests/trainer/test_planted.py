"""A trained crosscoder finds what was planted: directions, births and turns."""

import pytest
import torch
from torch import Tensor

from atlas.crosscoder import Crosscoder, quality
from tests.trainer.planted import Planted, planted
from trainer.crosscoder import train_crosscoder
from trainer.crosscoder_recipe import CrosscoderRecipe

RECIPE = CrosscoderRecipe(
    model="m", matrix="W_U", d_sae=96, epochs=150, batch=256, learning_rate=2e-3, sparsity=0.1,
    rate_decay=0.3, initial_threshold=0.3, precision="float32",
)


@pytest.fixture(scope="module")
def found() -> tuple[Planted, Crosscoder]:
    rows = planted(snapshots=6, rows=2048, d=32, features=40, active=3.0, noise=0.1)
    return rows, train_crosscoder(rows.x, RECIPE)


def partners(rows: Planted, trained: Crosscoder) -> tuple[Tensor, Tensor]:
    """Of each planted feature: the trained one that is nearest at the end, and its cosine."""
    ends = torch.nn.functional.normalize(trained.W_D[-1], dim=1)
    cosine = rows.directions[-1] @ ends.T
    best = cosine.max(1)
    return best.indices, best.values


def test_rows_are_explained_by_few_features(found):
    rows, trained = found
    measured = quality(trained, rows.x)
    assert measured.explained_variance > 0.9
    assert measured.l0 < 6


def test_directions_are_recovered(found):
    rows, trained = found
    _, cosine = partners(rows, trained)
    assert float(cosine.median()) > 0.97
    assert float((cosine > 0.9).double().mean()) >= 0.8


def test_births_are_recovered(found):
    rows, trained = found
    of, cosine = partners(rows, trained)
    norms = trained.norms[:, of]
    born = (norms >= norms.amax(0) / 2).int().argmax(0)
    late = (cosine > 0.9) & (rows.births > 0)
    assert int(late.sum()) > 15
    apart = (born - rows.births).abs()[late]
    assert float((apart <= 1).double().mean()) > 0.9


def test_turns_are_recovered(found):
    """From a feature's birth to the end its direction turns by the angle that was planted."""
    rows, trained = found
    of, cosine = partners(rows, trained)
    there = (cosine > 0.9) & (rows.births < len(rows.x) - 2)
    assert int(there.sum()) > 15
    each = torch.arange(len(of))
    ours = torch.nn.functional.cosine_similarity(
        trained.W_D[rows.births, of], trained.W_D[-1, of], dim=1)
    known = (rows.directions[rows.births, each] * rows.directions[-1]).sum(1)
    assert float((ours.arccos() - known.arccos()).abs()[there].median()) < 0.1


def test_an_untrained_dictionary_finds_nothing(found):
    """The bars above are not met by chance."""
    rows, trained = found
    random = torch.randn(trained.W_D[-1].shape, generator=torch.Generator().manual_seed(1))
    cosine = rows.directions[-1] @ torch.nn.functional.normalize(random, dim=1).T
    assert float((cosine.max(1).values > 0.9).double().mean()) == 0
