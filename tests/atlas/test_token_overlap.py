"""Matching by firing tokens: a slow twin, itself permuted, unrelated dictionaries, splits planted.
"""

import numpy as np
import pytest

from atlas import token_overlap
from atlas.matching import Matches
from atlas.splits import find_splits
from atlas.token_overlap import Firing, exchange, find, firing, jaccard, joint

V = 800


def strengths(
    seed: int, features: int = 200, density: float = 0.03, busy: bool = True
) -> np.ndarray:
    """Strengths (D, V): tokens differ in how many features fire on them, features in how many
    tokens they have."""
    rng = np.random.default_rng(seed)
    token = np.exp(np.linspace(-1.5, 1.5, V)) if busy else np.ones(V)
    feature = np.exp(rng.normal(0, 0.5, features))
    on = rng.random((features, V)) < np.minimum(density * feature[:, None] * token, 0.6)
    on[np.arange(features), rng.integers(0, V, features)] = True
    return np.where(on, rng.gamma(2.0, 1.0, (features, V)), 0).astype(np.float32)


def dictionary(p: np.ndarray, kept: np.ndarray | None = None, n_tokens: int = V) -> Firing:
    feature, token = np.nonzero(p)
    every = np.ones(len(p), dtype=bool)
    return firing(token, feature, p[feature, token], n_tokens, every if kept is None else kept)


def slow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    a, b = (p / p.max(axis=1, keepdims=True) for p in (first.astype(float), second.astype(float)))
    return np.array([[np.minimum(x, y).sum() / np.maximum(x, y).sum() for y in b] for x in a])


def test_scores_equal_their_slow_twin_whatever_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    p, q = strengths(0, 40), strengths(1, 25)
    expected = slow(p, q)
    np.testing.assert_allclose(
        jaccard(dictionary(p), dictionary(q), 0, 40), expected, atol=1e-6)
    found = []
    for held in (1, 200, 2**24):
        monkeypatch.setattr(token_overlap, "HELD_SCORES", held)
        kept = np.zeros((40, 25))
        ways = find(dictionary(p), dictionary(q), turns=2,
                    keep=lambda start, s, kept=kept: kept.__setitem__(
                        slice(start, start + len(s)), s.numpy())).ways
        np.testing.assert_allclose(kept, expected, atol=1e-6)
        found.append(ways)
        for way, values in zip(ways, (expected, expected.T), strict=True):
            ordered = np.sort(values, axis=1)
            assert way.partner.tolist() == values.argmax(axis=1).tolist()
            np.testing.assert_allclose(way.score, ordered[:, -1], atol=1e-6)
            np.testing.assert_allclose(way.margin, ordered[:, -1] - ordered[:, -2], atol=1e-6)
            back = values.argmax(axis=0)[way.partner]
            assert way.reciprocal.tolist() == (back == np.arange(len(back))).tolist()
    for ways in found[1:]:
        np.testing.assert_array_equal(ways[0].percentile, found[0][0].percentile)


def test_a_permuted_dictionary_is_found_whole() -> None:
    p = strengths(2)
    order = np.random.default_rng(0).permutation(len(p))
    scaled = p[order] * np.linspace(0.1, 9, len(p), dtype=np.float32)[:, None]
    there, back = find(dictionary(p), dictionary(scaled)).ways
    assert (order[there.partner] == np.arange(len(p))).all()
    for way in (there, back):
        assert way.reciprocal.all()
        assert (way.percentile == 1).all()
        np.testing.assert_allclose(way.score, 1, atol=1e-5)


def unrelated() -> list[Matches]:
    """Pairs of dictionaries that share nothing but which tokens are busy."""
    return [way for n in range(4) for way in
            find(dictionary(strengths(10 + n)), dictionary(strengths(20 + n))).ways]


def test_an_unrelated_dictionary_looks_like_the_null() -> None:
    values = np.stack([way.percentile for way in unrelated()])
    counts = np.histogram(values, 10, (0, 1))[0] / values.size
    assert counts.max() < 0.16
    assert counts.min() > 0.05
    assert np.mean(values >= 0.99) < 0.03


def test_a_free_exchange_would_flatter_whatever_shares_the_busy_tokens(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_overlap, "exchange",
                        lambda first, second, rng: rng.permutation(first.n_tokens))
    values = np.stack([way.percentile for way in unrelated()])
    assert np.mean(values >= 0.99) > 0.1


def test_an_exchange_stays_among_tokens_that_are_as_busy() -> None:
    first, second = dictionary(strengths(3)), dictionary(strengths(4))
    place = exchange(first, second, np.random.default_rng(0), size=20)
    assert sorted(place) == list(range(V))
    busy = np.diff(first.by_token.offsets) + np.diff(second.by_token.offsets)
    rank = np.empty(V)
    rank[np.argsort(busy, kind="stable")] = np.arange(V)
    moved = np.abs(rank[place] - rank)
    assert moved.max() < 25
    assert (moved > 0).mean() > 0.9


def test_padding_dead_features_and_nothing_at_all() -> None:
    p = strengths(5, 30)
    kept = np.ones(30, dtype=bool)
    kept[4] = False
    cut = dictionary(p, kept, n_tokens=600)
    assert cut.total[4] == 0
    assert cut.n_tokens == 600
    assert cut.by_feature.columns.max() < 600
    there, back = find(cut, dictionary(p, n_tokens=600), turns=2).ways
    assert (there.partner[4], np.isnan(there.percentile[4])) == (-1, True)
    assert 4 not in back.partner
    with pytest.raises(ValueError, match="600 tokens and 800"):
        find(cut, dictionary(p))
    nothing = dictionary(p, np.zeros(30, dtype=bool))
    for way in find(dictionary(p), nothing, turns=2).ways:
        assert (way.partner == -1).all()
        assert np.isnan(way.null).all()


# --- splits --------------------------------------------------------------------------------------


def split_in_two(p: np.ndarray, features: list[int], seed: int) -> tuple[np.ndarray, list[int]]:
    """The dictionary with some features replaced by two that share their tokens between them."""
    rng, parts, more = np.random.default_rng(seed), p.copy(), []
    for feature in features:
        half = rng.random(V) < 0.5
        more.append(np.where(half, 0, p[feature]))
        parts[feature] = np.where(half, p[feature], 0)
    return np.concatenate([parts, np.stack(more)]), [len(p) + n for n in range(len(features))]


def splits(first: Firing, second: Firing) -> list[tuple[int, set[int]]]:
    found = find(first, second)
    places = [None, *found.places]
    joined = find_splits(
        found.ways[1], found.chance[1],
        lambda feature, parts, turn: joint(first, second, feature, parts, places[turn]),
        found.scatter[0])
    for split in joined:
        assert split.joint > max(split.scores)
        assert split.percentile >= 0.99
    return [(split.feature, set(split.parts)) for split in joined]


def test_planted_splits_are_found_and_copies_are_none() -> None:
    p = strengths(6)
    wide = np.flatnonzero((p > 0).sum(axis=1) >= 24)[:12].tolist()
    other, more = split_in_two(p, wide, 0)
    expected = [(feature, {feature, part}) for feature, part in zip(wide, more, strict=True)]
    found = splits(dictionary(p), dictionary(other))
    whole = dict(found)
    assert all(parts <= whole.get(feature, set()) for feature, parts in expected)
    assert len(found) <= len(expected) + 2
    copies = np.concatenate([p, p[wide]])
    assert splits(dictionary(p), dictionary(copies)) == []
    assert splits(dictionary(strengths(7)), dictionary(strengths(8))) == []


def test_parts_together_against_a_slow_twin() -> None:
    p, q = strengths(9, 5), strengths(10, 6)
    place = np.random.default_rng(1).permutation(V)
    a, b = (x / x.max(axis=1, keepdims=True) for x in (p, q))
    moved = np.zeros(V)
    moved[place] = a[2]
    for whole, where in ((a[2], None), (moved, place)):
        found = joint(dictionary(p), dictionary(q), 2, [4, 1, 0], where)
        for n, value in enumerate(found, start=1):
            union = b[[4, 1, 0][:n]].max(axis=0)
            expected = np.minimum(whole, union).sum() / np.maximum(whole, union).sum()
            assert value == pytest.approx(expected, abs=1e-5)
    one = jaccard(dictionary(p), dictionary(q), 0, 5, place)[2, 4]
    assert joint(dictionary(p), dictionary(q), 2, [4], place)[0] == pytest.approx(one, abs=1e-5)
