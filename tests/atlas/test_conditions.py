"""Conditions: their text, their limits, and the SQL they become."""

import re

import pytest

from atlas.conditions import (
    LENGTH,
    MOST,
    Bound,
    OneOf,
    Range,
    clean,
    clip,
    names_near,
    number,
    number_text,
    read_where,
    tables_of,
    where_sql,
    whole,
    write_where,
)
from atlas.measures import MEASURES
from atlas.store import Store
from tests.tiny import SEED0


@pytest.fixture(scope="module")
def card(tiny_store):
    return Store.open(tiny_store).run(SEED0)


def test_hundreds_of_conditions_are_cut_and_said(card):
    text = ",".join(f"n_tokens:{i}.." for i in range(300))
    where, problems = read_where(text, card)
    assert sum(map(len, where)) == MOST
    assert problems == (f"More than {MOST} conditions; the first {MOST} are kept.",)
    _, problems = read_where(",".join(f"x{i}:1" for i in range(300)), card)
    assert len(problems) <= 5


def test_a_plus_typed_by_hand_arrives_as_a_space(card):
    by_hand = read_where("profile:mixed late-emerging", card)
    assert by_hand == read_where("profile:mixed+late-emerging", card)
    assert by_hand[0] == ((OneOf("profile", ("mixed", "late-emerging")),),)


@pytest.mark.parametrize("text", [
    "rate_final:0.01..,profile:late-emerging+mixed;birth_floor_step:512..1024", "!kind:none",
    "norm_final:0.1..<0.5", "!norm_final:..<0.5",
    "death_step:none", "n_tokens:5", "kind:ends%20in%20-s", "script:%6Eone+none", "norm_final:..",
])
def test_conditions_are_written_as_they_were_read(card, text):
    where, problems = read_where(text, card)
    assert not problems
    assert write_where(where) == text


@pytest.mark.parametrize(("text", "value"), [
    ("0.5", 0.5), ("-1e-05", -1e-05), ("5", 5.0), (" 7 ", 7.0), ("-0", 0.0), ("1e400", None),
    ("1e39", None), ("nan", None), ("inf", None), ("", None), ("x", None), ("9" * 50, None),
    ("0x10", None), ("1_0", None), ("+3", None), ("٣", None), ("１", None), (".5", 0.5),
    ("2.", 2.0), ("1E3", 1000.0), ("infinity", None), (".", None), ("1e", None),
])
def test_a_number_is_finite_and_fits_single_precision(text, value):
    assert number(text) == value
    if value is not None:
        assert float(number_text(value)) == value
        assert str(number(text)) != "-0.0"


def test_texts_are_cut_and_hold_nothing_a_column_cannot():
    assert clean("a\0b\ud800") == "ab?"
    assert len(clean("x" * 10_000)) == LENGTH
    assert clip("x" * 100) == "x" * 59 + "…"


@pytest.mark.parametrize("text", ["norm_final:0.5..<0.5", "norm_final:0.5..<", "norm_final:..<<1",
                                  "norm_final:<1"])
def test_half_a_range_without_its_end_is_no_range(card, text):
    where, problems = read_where(text, card)
    assert where == ()
    assert len(problems) == 1


@pytest.mark.parametrize(("text", "value"), [
    ("5", 5), ("-1", -1), ("0012", 12), ("99999999999", 99_999_999_999), ("999999999999", None),
    ("1_0", None), ("+3", None), ("٣", None), ("１２", None), (" 3", None), ("3\n", None),
    ("", None), (None, None), ("1.0", None), ("--1", None), ("²", None),
])
def test_a_whole_number_has_ascii_digits_and_a_minus_at_most(text, value):
    assert whole(text) == value


def test_many_names_of_one_category_are_cut_and_said(card):
    names = [f"a{i}" for i in range(MOST + 3)]
    where, problems = read_where(f"kind:{'+'.join(names)}", card)
    assert where == ((OneOf("kind", tuple(names[:MOST])),),)
    assert problems == (f"More than {MOST} names of kind; the first {MOST} are kept.",)


def test_every_name_that_is_listed_is_nearer_than_those_that_are_not():
    found = names_near("rate", MEASURES, 5).removesuffix(" …").split(", ")
    assert all("rate" in name for name in found)
    assert "birth_floor_step" in names_near("noise floor", MEASURES)
    assert "n_tokens" in names_near("tokens", MEASURES, 3)


def test_near_names_come_first():
    assert names_near("norm_fnial", MEASURES).startswith("norm_final, ")
    assert names_near("zzz", ["a", "b"]) == "a, b"
    assert names_near("zzz", "abcdefghijkl").endswith("h …")


def test_values_are_bound_and_no_word_of_the_sql_is_typed():
    typed = "x'); DROP TABLE feature; --"
    where = ((OneOf("kind", (typed, None)), Range("rate_final", 0.5, None, True)),
             (OneOf("alive", ("no",)),))
    bound = Bound()
    sql = where_sql(where, bound)
    assert sql == ("(((f.kind IS NULL OR f.kind IN ($v0)) AND NOT coalesce((f.rate_final >= "
                   "$v1::FLOAT), false)) OR ((NOT f.alive)))")
    assert bound.values == {"v0": typed, "v1": 0.5}
    assert where_sql((), Bound()) == "true"
    assert not re.search("DROP", sql)


def test_only_the_tables_that_are_read_are_joined():
    assert tables_of(()) == frozenset()
    assert tables_of(((Range("norm_at", 1),),)) == {"l"}
    assert tables_of(((Range("seeds", 1), OneOf("kind", ("a",))),)) == {"s", "f"}
