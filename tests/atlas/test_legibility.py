"""The legibility figure: planted kinds are found, chance is not, and the tail is scipy's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from atlas import enrichment
from atlas import legibility as lg
from atlas.codes import SparseCode

V = 1000


def library(seed: int = 0, count: int = 60) -> dict[str, np.ndarray]:
    """Random kinds of 8 to 80 tokens."""
    random = np.random.default_rng(seed)
    masks = {}
    for number in range(count):
        mask = np.zeros(V, dtype=bool)
        mask[random.choice(V, size=random.integers(8, 80), replace=False)] = True
        masks[f"kind {number}"] = mask
    return masks


def code_of(lists: list[list[int]], n_tokens: int = V) -> SparseCode:
    """Feature j fires on lists[j], the first of them hardest."""
    token = np.concatenate([np.array(ids, dtype=np.int32) for ids in lists])
    feature = np.repeat(np.arange(len(lists)), [len(ids) for ids in lists]).astype(np.int32)
    p = np.concatenate([1.0 / (1 + np.arange(len(ids))) for ids in lists]).astype(np.float32)
    order = np.lexsort((feature, token))
    return SparseCode(token[order], feature[order], p[order], n_tokens, len(lists))


def random_lists(seed: int, count: int, most: int = 80) -> list[list[int]]:
    random = np.random.default_rng(seed)
    sizes = random.integers(1, most, size=count)
    return [random.choice(V, size=size, replace=False).tolist() for size in sizes]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.data())
def test_tail_is_the_hypergeometric_survival_function(population: int, data: st.DataObject):
    size = data.draw(st.integers(0, population))
    drawn = data.draw(st.integers(1, min(50, population)))
    found = enrichment.tail_table(population, np.array([size]), drawn)[0]
    wanted = hypergeom.sf(np.arange(drawn + 1) - 1, population, size, drawn)
    np.testing.assert_allclose(found, wanted, rtol=1e-7, atol=1e-300)


def test_tail_of_a_hand_case():
    """3 of 10, 2 drawn: none 21/45, one 21/45, both 3/45."""
    found = enrichment.tail_table(10, np.array([3]), 2)[0]
    assert found.tolist() == pytest.approx([1, 24 / 45, 3 / 45])


def test_a_planted_kind_is_found_with_its_effect_sizes():
    kinds = library()
    size = int(kinds["kind 3"].sum())
    inside = np.flatnonzero(kinds["kind 3"])[:6].tolist()
    outside = np.flatnonzero(~kinds["kind 3"])[:2].tolist()
    found = lg.best_kind(inside + outside, kinds)
    assert found.name == "kind 3"
    assert found.share == 0.75
    assert found.enrichment == pytest.approx(0.75 * V / size)
    assert found.p_value == pytest.approx(len(kinds) * hypergeom.sf(5, V, size, 8))


def test_the_smallest_tail_wins_among_kinds_that_are_strong():
    broad, narrow, weak = (np.zeros(V, dtype=bool) for _ in range(3))
    broad[:90], narrow[:30], weak[:8] = True, True, True
    kinds = {"broad": broad, "narrow": narrow, "weak": weak}
    found = lg.best_kind(list(range(20)), kinds)
    assert (found.name, found.depth) == ("narrow", 20)
    assert lg.best_kind(list(range(10, 20)), {"broad": broad, "weak": weak}).name == "broad"


def test_a_kind_that_half_the_tokens_share_is_preferred_to_a_rarer_one_that_fewer_do():
    rare, common = np.zeros(V, dtype=bool), np.zeros(V, dtype=bool)
    rare[[*range(4), *range(100, 105)]] = True
    common[[*range(4, 9), *range(105, 110), *range(200, 290)]] = True
    firing = [*range(10), *range(100, 110)]
    found = lg.best_kind(firing, {"rare": rare, "common": common})
    assert (found.name, found.share) == ("common", 0.5)
    assert lg.best_kind(firing, {"rare": rare, "common": common}, min_share=0.4).name == "rare"


def test_a_kind_of_few_strong_members_is_seen_at_the_depth_where_it_stands():
    kinds = {"twelve": np.arange(V) < 12}
    found = lg.best_kind([*range(9), *range(500, 541)], kinds)
    assert (found.depth, found.share) == (10, 0.9)
    assert found.p_value == pytest.approx(3 * hypergeom.sf(8, V, 12, 10))
    assert lg.best_kind([*range(500, 541), *range(9)], kinds).share < 0.5


def test_a_kind_too_broad_to_name_anything_is_not_tried():
    kinds = {"broad": np.arange(V) < 101, "tenth": np.arange(V) < 100}
    found = lg.legibility(code_of([list(range(50))]), kinds)
    assert found.names == ("tenth",)
    assert found.legible[0]


def test_significance_without_effect_is_not_legible():
    """24 of 50 tokens are of a kind of 90: far beyond chance, and less than half."""
    kinds = {"ninety": np.arange(V) < 90}
    mixed = [token for pair in zip(range(500, 524), range(24), strict=True) for token in pair]
    found = lg.legibility(code_of([[600, *mixed, 601]]), kinds)
    assert found.p_value[0] < 1e-9
    assert found.share[0] < 0.5
    assert not found.legible[0]


def test_only_the_strongest_tokens_count_and_only_allowed_ones():
    kinds = {"first": np.arange(V) < 20}
    lists = [[*range(500, 540), *range(10), *range(540, 600)]]
    assert lg.legibility(code_of(lists), kinds, n_top=40).share[0] == 0
    assert lg.legibility(code_of(lists), kinds, n_top=50).share[0] == pytest.approx(0.2)
    allowed = np.arange(V) < 505
    found = lg.legibility(code_of(lists), kinds, n_top=50, allowed=allowed)
    assert (found.n_firing[0], found.depth[0]) == (15, 15)
    assert found.share[0] == pytest.approx(10 / 15)
    assert found.enrichment[0] == pytest.approx(10 / 15 * 505 / 20)


def test_the_part_of_a_kind_that_is_not_allowed_does_not_count():
    kinds = {"first": np.arange(V) < 40}
    allowed = np.arange(V) >= 20
    found = lg.best_kind([0, 20, 21, 22, 500], kinds, allowed)
    assert found.share == 0.75
    assert found.enrichment == pytest.approx(0.75 * 980 / 20)
    assert found.p_value == pytest.approx(hypergeom.sf(2, 980, 20, 4))


def test_strongest_tokens_come_by_p_and_run_out_with_minus_one():
    top = lg.strongest_tokens(code_of([[9, 4, 7], [], [2]]), 2, np.arange(V) != 4)
    assert top.tolist() == [[9, 7], [-1, -1], [2, -1]]


def planted(seed: int, legible: int, rest: int) -> tuple[SparseCode, dict[str, np.ndarray]]:
    kinds = library(seed)
    random = np.random.default_rng(seed + 1)
    lists = []
    for number in range(legible):
        members = np.flatnonzero(kinds[f"kind {number}"])
        lists.append(random.permutation(members)[:20].tolist() + random.choice(V, 3).tolist())
    lists = [list(dict.fromkeys(ids)) for ids in lists]
    return code_of(lists + random_lists(seed + 2, rest)), kinds


def test_the_figure_counts_planted_features_and_its_null_is_near_zero():
    code, kinds = planted(0, legible=15, rest=45)
    found = lg.legibility(code, kinds, null_draws=20)
    assert found.n_live == 60
    assert found.legible[:15].all()
    assert found.legible[15:].sum() <= 1
    assert found.share_of_live == pytest.approx(found.legible.sum() / 60)
    assert [found.names[j] for j in found.kind[:15]] == [f"kind {number}" for number in range(15)]
    assert len(found.null_shares) == 20
    assert found.null_share == pytest.approx(np.mean(found.null_shares))
    assert found.null_share < 0.01


def test_random_features_are_as_legible_as_the_null_says():
    found = lg.legibility(code_of(random_lists(3, 400)), library(), null_draws=5)
    assert found.share_of_live <= 0.01
    assert found.null_share <= 0.01


def test_arrays_agree_with_best_kind_feature_by_feature():
    code, kinds = planted(5, legible=6, rest=30)
    found = lg.legibility(code, kinds, n_top=30, null_draws=0)
    top = lg.strongest_tokens(code, 30, np.ones(V, dtype=bool))
    for j, ids in enumerate(top):
        one = lg.best_kind(ids[ids >= 0], kinds)
        assert one.name == found.names[found.kind[j]]
        assert one.share == found.share[j]
        assert one.depth == found.depth[j]
        assert one.enrichment == found.enrichment[j]
        assert one.p_value == found.p_value[j]
        strong = one.share >= 0.5 and one.enrichment >= 2 and one.p_value < 0.01
        assert found.legible[j] == (strong and found.n_firing[j] >= lg.MIN_FIRING)


def test_few_tokens_and_silent_features_are_not_legible():
    kinds = {"first": np.arange(V) < 10}
    found = lg.legibility(code_of([[0, 1, 2, 3], [], [0, 1, 2, 3, 4]]), kinds)
    assert found.legible.tolist() == [False, False, True]
    assert found.n_live == 2
    assert found.share_of_live == 0.5
    assert found.kind[1] == -1
    assert np.isnan(found.p_value[1])


def test_small_kinds_are_not_tested_and_without_kinds_there_is_no_name():
    tiny = {"tiny": np.arange(V) < 4}
    found = lg.legibility(code_of([[0, 1, 2, 3, 4]]), tiny)
    assert found.names == ()
    assert found.share_of_live == 0
    assert lg.best_kind([0, 1], tiny).name is None


def test_permuting_features_permutes_the_verdicts_and_the_seed_fixes_the_null():
    code, kinds = planted(7, legible=10, rest=20)
    order = np.random.default_rng(0).permutation(30)
    places = np.lexsort((order[code.feature], code.token))
    turned = SparseCode(
        code.token[places],
        order[code.feature][places].astype(np.int32),
        code.p[places],
        V,
        30,
    )
    first, second = lg.legibility(code, kinds), lg.legibility(turned, kinds)
    assert np.array_equal(second.legible[order], first.legible)
    assert first.null_shares == lg.legibility(code, kinds).null_shares
    other = lg.legibility(code, kinds, generator=np.random.default_rng(9), null_draws=3)
    assert len(other.null_shares) == 3


def test_strata_keep_what_frequency_alone_explains():
    """Kind and code follow a stratum: the plain null misses it, the stratified one does not."""
    stratum = (np.arange(V) < 40).astype(int)
    kinds = {"frequent": stratum.astype(bool)}
    lists = [np.random.default_rng(j).choice(40, 10, replace=False).tolist() for j in range(12)]
    found = lg.legibility(code_of(lists), kinds, strata=stratum)
    assert found.share_of_live == 1
    assert found.null_share == 1
    assert lg.legibility(code_of(lists), kinds).null_share == 0
