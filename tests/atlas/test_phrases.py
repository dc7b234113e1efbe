"""Conditions in words, typed numbers, and the algebra of conditions."""

import itertools

import pytest

from atlas import phrases
from atlas.conditions import OneOf, Range
from atlas.measures import MEASURES

A = Range("rate_final", 0.01)
B = OneOf("profile", ("late-emerging", "mixed"))
C = Range("birth_floor_step", 512, 1024)


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (A, "final rate ≥ 1 %"),
        (Range("rate_final", None, 0.00012), "final rate ≤ 0.012 %"),
        (B, "profile is late-emerging or mixed"),
        (OneOf("profile", ("mixed", None), negated=True), "profile is not mixed or not available"),
        (C, "birth, noise floor off 512 to 1,024"),
        (Range("n_tokens", 5, 5), "number of firing tokens = 5"),
        (Range("norm_change", -0.25, None, negated=True), "not change of the norm ≥ −0.25"),
        (Range("kind_share", 0.05, 0.1, below=True), "share of its kind 5 % to below 10 %"),
        (Range("norm_final", None, 3, below=True), "final norm < 3"),
        (OneOf("legible", ("no",)), "not legible"),
        (OneOf("kind", tuple("abcdef")), "kind is a, b, c or 3 others"),
    ],
)
def test_a_condition_in_words(found: Range | OneOf, words: str) -> None:
    assert phrases.condition(found) == words


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("rate_final", "1 %", 0.01),
        ("rate_final", "0.5%", 0.005),
        ("birth_step", "143k", 143_000),
        ("birth_step", "1,024", 1024),
        ("norm_final", "1e-3", 0.001),
        ("norm_change", "−0.5", -0.5),
        ("norm_final", "2k", None),
        ("norm_final", "", None),
        ("norm_final", "nan", None),
        ("norm_final", "1e999", None),
        ("norm_final", "__import__", None),
    ],
)
def test_numbers_as_people_type_them(name: str, text: str, value: float | None) -> None:
    assert phrases.typed(MEASURES[name], text) == value


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (0.00012, "0.00012"), (1234.5, "1,234"), (4.5e-9, "4.5e−09"), (-0.5, "−0.5"),
     (float("nan"), "none"), (None, "none"), (100, "100"), (0.3350001, "0.335")],
)
def test_three_digits(number: float | None, shown: str) -> None:
    assert phrases.value(MEASURES["norm_final"], number) == shown


def test_a_range_is_widened_to_hold_another() -> None:
    def of(low: float | None, high: float | None, below: bool = False) -> Range:
        return Range("norm_final", low, high, below=below)

    assert phrases.wider(None, of(1, 2, True)) == of(1, 2, True)
    assert phrases.wider(of(1, 2, True), of(2, 3, True)) == of(1, 3, True)
    assert phrases.wider(of(2, 3), of(1, 2, True)) == of(1, 3)
    assert phrases.wider(of(1, 3, True), of(2, 3)) == of(1, 3)
    assert phrases.wider(of(None, 2), of(2, 3, True)) == of(None, 3, True)
    assert phrases.wider(of(1, None), of(0, 1, True)) == of(0, None)


def holds(where: tuple, truth: dict) -> bool:
    """A list of conditions by the truth of each: the slow twin."""
    return not where or any(all(truth[c] for c in group) for group in where)


def worlds() -> list[dict]:
    return [dict(zip((A, B, C), bits, strict=True))
            for bits in itertools.product((False, True), repeat=3)]


@pytest.mark.parametrize("where", [(), ((A,),), ((A, B),), ((A,), (B,)), ((A, B), (A, C))])
def test_what_is_added_holds_always(where: tuple) -> None:
    for truth in worlds():
        assert holds(phrases.added(where, C), truth) == (holds(where, truth) and truth[C])


@pytest.mark.parametrize(
    "where", [((A,),), ((A, B),), ((A, B), (A, C)), ((A, B), (A,)), ((A,), (A, B, C))]
)
def test_shared_and_rest_say_the_same_as_the_whole(where: tuple) -> None:
    shared, rest = phrases.shared_of(where), phrases.rest_of(where)
    assert A in shared
    for truth in worlds():
        assert holds(where, truth) == (all(truth[c] for c in shared) and holds(rest, truth))
        without = phrases.without(where, A)
        others = tuple(c for c in shared if c != A)
        assert holds(without, truth) == (all(truth[c] for c in others) and holds(rest, truth))


def test_a_condition_of_one_group_goes_alone() -> None:
    where = ((A, B), (A, C))
    assert phrases.without(where, B, 0) == ((A,), (A, C))
    assert phrases.without(((A,), (B,)), B, 1) == ((A,),)


def test_only_what_always_holds_is_a_range_of_the_list() -> None:
    assert phrases.range_of(((A, B), (A, C)), "rate_final") == A
    assert phrases.range_of(((A,), (C,)), "rate_final") is None
    assert phrases.range_of(((Range("rate_final", 0.1, negated=True),),), "rate_final") is None
    assert phrases.values_of(((B, C),), "profile") == B
