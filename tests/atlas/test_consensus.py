"""Groups over seeds: one feature of each, the surer pairs first."""

from atlas.consensus import Pair, groups


def test_pairs_join_into_groups_with_one_feature_of_each_run() -> None:
    found = groups([
        Pair((0, 7), (1, 3), 0.9), Pair((1, 3), (2, 5), 0.8), Pair((0, 7), (2, 5), 0.7),
        Pair((0, 1), (2, 9), 0.6),
    ])
    assert [group.members for group in found] == [((0, 7), (1, 3), (2, 5)), ((0, 1), (2, 9))]
    assert [round(group.score, 3) for group in found] == [0.8, 0.6]
    assert [group.pairs for group in found] == [3, 1]


def test_a_pair_that_would_put_two_features_of_a_run_together_is_passed_over() -> None:
    chain = [Pair((0, 1), (1, 1), 0.9), Pair((1, 1), (2, 1), 0.8), Pair((0, 2), (2, 1), 0.7)]
    found = groups(chain)
    assert [group.members for group in found] == [((0, 1), (1, 1), (2, 1))]
    assert found[0].pairs == 2
    weaker = [chain[0], Pair((1, 1), (2, 1), 0.6), chain[2]]
    assert {group.members for group in groups(weaker)} == {((0, 1), (1, 1)), ((0, 2), (2, 1))}
    assert groups(list(reversed(chain))) == found
    assert groups([]) == []
