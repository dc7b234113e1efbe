"""What the store says of matches: partners with their null, and calm where there are none."""

import math
import shutil
from pathlib import Path

import pytest

from atlas.errors import NotFound
from atlas.matches import MatchInfo, matches_of, other_runs
from atlas.store import Store
from tests.tiny import DEAD, GROUPS, PRISM, SEED0, SEED1, WIDTH


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


def test_planted_features_return_in_the_other_seed(store: Store) -> None:
    partners = set()
    for feature in range(len(GROUPS)):
        (found,) = matches_of(store, SEED0, feature)
        assert isinstance(found, MatchInfo)
        assert found.other == SEED1
        assert found.score == pytest.approx(1, abs=0.01)
        assert (found.percentile, found.reciprocal) == (1, True)
        assert found.margin > 0.1
        assert found.label == store.feature(SEED1, found.partner).info.label != ""
        (back,) = matches_of(store, SEED1, found.partner)
        assert (back.partner, back.score) == (feature, found.score)
        partners.add(found.partner)
    assert partners == set(range(len(GROUPS)))


def test_noise_matches_noise_no_better_than_chance(store: Store) -> None:
    found = [m for f in range(len(GROUPS), WIDTH) for m in matches_of(store, SEED0, f)]
    assert len(found) >= 10
    assert sum(m.percentile for m in found) / len(found) < 0.8
    assert not all(m.reciprocal for m in found)
    assert all(0 <= m.margin < 1 for m in found)


def test_what_has_no_match(store: Store) -> None:
    assert matches_of(store, SEED0, DEAD) == ()
    assert matches_of(store, SEED0, 10**6) == ()
    assert matches_of(store, PRISM, 0) == ()
    assert other_runs(store, PRISM) == []
    assert other_runs(store, SEED0) == [SEED1]
    with pytest.raises(NotFound):
        matches_of(store, "no/such/run", 0)
    with pytest.raises(NotFound):
        other_runs(store, "no/such/run")


def test_a_match_outlives_the_other_runs_file(tiny_store: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny_store, tmp_path / "store"))
    (folder / Store.open(folder).run(SEED1).file).unlink()
    (found,) = matches_of(Store.open(folder), SEED0, 0)
    assert (found.label, found.percentile) == ("", 1)
    assert not math.isnan(found.margin)
