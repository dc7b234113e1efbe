"""What other seeds say of a feature: the store's tables against a slow twin, groups, the badge."""

import math
from pathlib import Path

import numpy as np
import pytest

from atlas.matches import (
    WAYS,
    match_columns,
    matches_of,
    pairs_of,
    splits_between,
    splits_of,
    unmatched,
)
from atlas.stability import (
    Stability,
    group_of,
    groups_of,
    stability_columns,
    stability_of,
)
from atlas.stability_markup import badge, block, words
from atlas.store import Store
from tests.tiny import DEAD, EMBEDDING, GROUPS, PRISM, SEED0, SEED1, SMALL, WIDTH


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    return Store.open(tiny_store)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_kept_of_a_feature_against_a_slow_twin(way: str, store: Store) -> None:
    columns = stability_columns(store, SEED0, way)
    assert columns is not None
    for feature in range(WIDTH):
        found = {one.way: one for one in stability_of(store, SEED0, feature)}
        matches = [m for m in matches_of(store, SEED0, feature, (way,)) if m.other == SEED1]
        if not matches:
            assert feature == DEAD
            assert (found, columns.compared[feature]) == ({}, 0)
            continue
        (match,) = matches
        back = {m.other: m for m in matches_of(store, SEED1, match.partner, (way,))}[SEED0]
        one = found[way]
        assert (one.compared, one.returned) == (1, int(match.returned))
        assert math.isnan(one.score) == (not match.reciprocal)
        if match.reciprocal:
            assert one.score == pytest.approx(match.score)
        both = match.returned and back.returned
        assert one.size == (2 if both else 1)
        assert (one.number is not None) == both
        assert columns.returned[feature] == one.returned
        assert columns.size[feature] == one.size
        assert columns.number[feature] == (-1 if one.number is None else one.number)


def test_planted_features_return_by_direction_and_by_tokens(store: Store) -> None:
    for feature in range(len(GROUPS)):
        found = {one.way: one.returned for one in stability_of(store, SEED0, feature)}
        assert (found["trajectory"], found["terminal"]) == (1, 1)
    assert sum(
        one.returned for f in range(len(GROUPS)) for one in stability_of(store, SEED0, f)
        if one.way == "tokens") >= 4
    for run in (EMBEDDING, PRISM, SMALL):  # no other seed of these
        assert stability_of(store, run, 0) == ()
        assert stability_columns(store, run, "tokens") is None
        assert groups_of(store, run) == ()


def test_groups_hold_one_feature_of_each_seed(store: Store) -> None:
    groups = groups_of(store, SEED0)
    assert groups == groups_of(store, SEED1)
    assert len(groups) >= len(GROUPS)
    assert [group.number for group in groups] == list(range(len(groups)))
    assert [-group.score for group in groups] == sorted(-group.score for group in groups)
    for group in groups:
        assert [run for run, _ in group.members] == [SEED0, SEED1]
        assert (group.size, group.seeds, group.pairs) == (2, 2, 1)
    own = [group.members[0][1] for group in groups]
    assert len(set(own)) == len(own)
    group = group_of(store, SEED0, own[0])
    assert group == groups[0]
    assert group_of(store, SEED0, DEAD) is None


def test_pairs_tell_their_null_and_columns_their_features(store: Store) -> None:
    for pair in pairs_of(store, SEED0):
        columns = match_columns(store, SEED0, pair.other, pair.way)
        assert columns is not None
        assert (columns.partner >= 0).sum() == pair.n_features
        assert columns.reciprocal.sum() == pair.n_reciprocal
        assert columns.returned.sum() == pair.n_returned
        assert (columns.assigned >= 0).sum() == pair.n_assigned
        assert np.nansum(columns.assigned_score) == pytest.approx(pair.assigned_total, abs=0.05)
        assert len(splits_between(store, SEED0, pair.other, pair.way)) == pair.n_split
        assert len(pair.null_scores) == 101
        assert list(pair.null_scores) == sorted(pair.null_scores)
        single = "life" not in (pair.way,) and pair.other == PRISM
        assert np.isnan(columns.life).all() == single
    ways = {(pair.other, pair.way) for pair in pairs_of(store, SEED0)}
    assert (SMALL, "tokens") in ways
    assert (SMALL, "terminal") not in ways
    assert match_columns(store, SEED0, SMALL, "terminal") is None
    assert len(unmatched(store, SEED0, SMALL, "terminal")) == 0


def test_what_only_one_run_has(store: Store) -> None:
    columns = match_columns(store, SEED0, SEED1, "trajectory")
    alone = unmatched(store, SEED0, SEED1, "trajectory")
    assert not columns.returned[alone].any()
    assert DEAD not in alone
    assert not set(alone) & set(range(len(GROUPS)))
    within = {part for split in splits_between(store, SEED1, SEED0, "trajectory")
              for part in split.parts}
    several = {split.feature for split in splits_between(store, SEED0, SEED1, "trajectory")}
    assert len(alone) + len(set(np.flatnonzero(columns.returned)) | within | several) == WIDTH - 1
    for split in (s for f in several for s in splits_of(store, SEED0, f)):
        assert split in splits_of(store, split.other, split.parts[0])


def test_the_badge_says_how_often_and_what_chance_gives() -> None:
    found = (Stability("trajectory", 2, 1, 0.831, 4, 2), Stability("tokens", 2, 2, 0.4, 1, 3),
             Stability("life", 2, 0, math.nan, None, 1))
    html = badge(found, "feature?run=a&feature=3")
    assert html.count("●") == 3
    assert html.count("○") == 1
    assert "1 of 2" in html
    assert "by tokens" in html
    assert "by life" not in html.split(">", 1)[1]
    assert 'href="feature?run=a&amp;feature=3"' in html
    said = words(found)
    assert "by direction in 1 of 2 (cosine 0.83)" in said
    assert "by life in 0 of 2 other seeds" in said
    assert "by chance in 0.02 at most" in said
    assert badge(()) == block(()) == ""
    assert "No other seed" in words(())
    assert block(found).startswith('<div class="atl')
