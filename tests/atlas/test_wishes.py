"""Addresses: what is written reads back, and whatever is typed is read without complaint."""

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atlas.browsing import page
from atlas.conditions import MOST, OneOf, Range
from atlas.measures import CATEGORIES, FLAGS, MEASURES, OF_TIME, PROFILES
from atlas.records import Window
from atlas.store import Store
from atlas.wishes import MATCHES, RELATIONS, Wish, change_of, parameters_of, read_wish
from tests.tiny import PRISM, SEED0, STEPS, WIDTH

NAMES = ("q", "token_text", "match", "case", "by", "at", "where", "profile", "birth", "alive",
         "legible", "floor", "like", "shape", "change", "lasso", "sort", "order")
FAST = settings(max_examples=100, deadline=None,
                suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def store(tiny_store):
    return Store.open(tiny_store)


@pytest.fixture(scope="module")
def card(store):
    return store.run(SEED0)


# --- strategies -----------------------------------------------------------------------------

numbers = st.floats(-1e30, 1e30).map(lambda v: v + 0.0)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
ranges = st.builds(
    lambda name, ends, negated, below: Range(
        name, *ends, negated, below and ends[1] is not None and ends[0] != ends[1]),
    st.sampled_from(sorted(MEASURES)),
    st.one_of(
        st.tuples(st.none() | numbers, st.none()), st.tuples(st.none(), numbers),
        st.tuples(numbers, numbers).map(lambda pair: tuple(sorted(pair))),
    ),
    st.booleans(), st.booleans(),
)
choices = st.one_of(
    st.builds(
        lambda name, values, negated: OneOf(name, tuple(dict.fromkeys(values)), negated),
        st.sampled_from([c for c in CATEGORIES if c != "profile"]),
        st.lists(st.none() | texts.filter(bool), min_size=1, max_size=3), st.booleans(),
    ),
    st.builds(
        lambda values, negated: OneOf("profile", tuple(dict.fromkeys(values)), negated),
        st.lists(st.none() | st.sampled_from(PROFILES), min_size=1, max_size=3), st.booleans(),
    ),
    st.builds(
        lambda name, value: OneOf(name, (value,)), st.sampled_from(FLAGS),
        st.sampled_from(["yes", "no"]),
    ),
    st.builds(lambda name: OneOf(name, (None,)), st.sampled_from(sorted(MEASURES))),
)
wheres = st.lists(
    st.lists(ranges | choices, min_size=1, max_size=4, unique=True).map(tuple),
    max_size=5, unique=True,
).map(tuple)
pairs = st.tuples(st.sampled_from(STEPS), st.sampled_from(STEPS)).map(
    lambda pair: tuple(sorted(pair)))
hundredths = st.integers(0, 100).map(lambda n: round(n / 100, 2))
wishes = st.builds(
    Wish, text=texts, token_text=texts, token_match=st.sampled_from(MATCHES),
    ignore_case=st.booleans(), token_by=st.sampled_from(RELATIONS), token_at_step=st.booleans(),
    where=wheres, profile=st.none() | st.sampled_from(PROFILES),
    birth=st.none() | pairs.filter(lambda p: p != (STEPS[0], STEPS[-1])),
    alive=st.booleans(), legible=st.booleans(), floor_corrected=st.booleans(),
    like=st.none() | st.integers(0, WIDTH - 1),
    shape=st.none() | st.from_regex("[0-9]{1,63}[1-9]", fullmatch=True)
    | st.integers(0, WIDTH - 1).map(lambda f: f"f{f}"),
    change=st.none() | pairs.filter(lambda p: p[0] < p[1]),
    lasso=st.just(()) | st.lists(st.tuples(hundredths, hundredths), min_size=3, max_size=40).map(
        tuple),
    sort=st.none() | st.sampled_from(sorted(MEASURES)), descending=st.none() | st.booleans(),
)
anything = st.text(max_size=40) | st.sampled_from([
    "1e400", "nan", "-inf", "\0", "\ud800", "x" * 10_000, "'; DROP TABLE feature; --", "(.*)+$",
    "0-99999999999", "f99999", "0.1,0.1;0.2,nan;1,1", "rate_final:1e999..nan", "!:;,..!",
    "profile:<b>", "kind:%00%ff", "::::", "9" * 80, "𝟘-𝟙", "٣",
    ",".join(["norm_final:0..1"] * 500), ";".join(f"n_tokens:{i}" for i in range(300)),
])


@FAST
@given(wishes)
def test_what_is_written_reads_back(card, wish):
    assert read_wish(parameters_of(wish, card), card) == (wish, ())


@FAST
@given(st.dictionaries(st.sampled_from(NAMES), anything))
def test_whatever_is_typed_is_read_and_settles(card, parameters):
    wish, problems = read_wish(parameters, card)
    hash(wish)
    for problem in problems:
        assert problem.endswith(".")
        assert len(problem) < 400
        assert "\0" not in problem
        problem.encode("utf8")
    again = read_wish(parameters_of(wish, card), card)
    assert again == (wish, ())
    assert sum(len(group) for group in wish.where) <= MOST


@settings(max_examples=40, deadline=None)
@given(parameters=st.dictionaries(st.sampled_from(NAMES), anything),
       run=st.sampled_from([SEED0, PRISM]))
def test_every_address_lists_something_or_nothing(store, parameters, run):
    card = store.run(run)
    wish, _ = read_wish(parameters, card)
    found = page(store, run, len(card.steps) - 1, wish, limit=5)
    assert 0 <= len(found.rows) <= found.total <= WIDTH


@settings(max_examples=40, deadline=None)
@given(wish=wishes)
def test_every_wish_lists_something_or_nothing(store, wish):
    found = page(store, SEED0, 2, wish, limit=500)
    assert len(found.rows) == found.total <= WIDTH


def test_the_empty_address_is_the_default(card):
    assert read_wish({}, card) == (Wish(), ())
    assert parameters_of(Wish(), card) == {}


@pytest.mark.parametrize(("parameters", "says"), [
    ({"profile": "late"}, "persistent, transitional"),
    ({"sort": "norm_fnial"}, "norm_final, "),
    ({"birth": "2-4"}, "0, 1, 4, 16 … 64"),
    ({"birth": "16-4"}, "rising"),
    ({"change": "4-4"}, "pair of steps"),
    ({"like": "24"}, "0 to 23"),
    ({"shape": "12a"}, "2 to 64 digits"),
    ({"shape": "0000"}, "not all 0"),
    ({"shape": "f24"}, "f17"),
    ({"lasso": "0.1,0.1;2,2;0.3,0.3"}, "3 to 40 corners"),
    ({"match": "fuzzy"}, "exact, prefix, substring, word"),
    ({"by": "likes"}, "either, promotes, fires"),
    ({"case": "off"}, "case=yes or case=no"),
    ({"at": "16"}, "at=ever or at=step"),
    ({"alive": "1"}, "use alive=yes, or leave it out"),
    ({"legible": "no"}, "use legible=yes, or leave it out"),
    ({"floor": "false"}, "floor=yes or floor=no"),
    ({"order": "sideways"}, "order=up, the smallest first"),
    ({"like": "1_0"}, "0 to 23"),
    ({"like": "٣"}, "0 to 23"),
    ({"where": "rate_final:0.1..<0.1"}, "holds nothing"),
    ({"where": "rate_fnal:0..1"}, "rate_final"),
    ({"where": "rate_final"}, "rate_final:0.1..0.5"),
    ({"where": "rate_final:a..1"}, "“a” is no number"),
    ({"where": "rate_final:1e400.."}, "“1e400” is no number"),
    ({"where": "rate_final:nan"}, "is no number"),
    ({"where": "rate_final:3..1"}, "runs backwards"),
    ({"where": "profile:late"}, "persistent, transitional"),
    ({"where": "legible:maybe"}, "yes, no"),
])
def test_what_is_not_valid_is_dropped_and_the_sentence_says_what_there_is(card, parameters, says):
    wish, problems = read_wish(parameters, card)
    assert wish == Wish()
    assert len(problems) == 1
    assert says in problems[0]


def test_the_default_may_be_written_out(card):
    asked = {"case": "yes", "at": "ever", "floor": "yes", "match": "exact", "by": "either"}
    assert read_wish(asked, card) == (Wish(), ())


@pytest.mark.parametrize("name", ["q", "token_text"])
def test_a_long_text_is_cut_and_said(card, name):
    wish, problems = read_wish({name: "x" * 201}, card)
    assert "x" * 200 in (wish.text, wish.token_text)
    assert len(problems) == 1
    assert f"only the first 200 of {name}" in problems[0]
    assert read_wish({name: "x" * 200}, card)[1] == ()


def test_one_bad_part_takes_no_other_with_it(card):
    wish, problems = read_wish(
        {"where": "rate_final:0.5..,nonsense:1;legible:yes", "sort": "nothing", "alive": "yes"},
        card)
    assert wish == Wish(alive=True, where=((Range("rate_final", 0.5),),
                                           (OneOf("legible", ("yes",)),)))
    assert len(problems) == 2


def test_a_run_without_time_drops_what_is_of_time(store):
    card = store.run(PRISM)
    for name in sorted(OF_TIME):
        asked = {"where": f"{name}:{'mixed' if name == 'profile' else '1..2'}"}
        if name != "profile":
            asked["sort"] = name
        wish, problems = read_wish(asked, card)
        assert wish == Wish()
        assert len(problems) == len(asked)
        assert all("one snapshot" in p for p in problems)
    wish, problems = read_wish(
        {"shape": "0123", "birth": "0-4", "change": "0-4", "profile": "mixed"}, card)
    assert wish == Wish()
    assert len(problems) == 4
    assert all("snapshot" in p for p in problems)


def test_the_whole_range_of_births_is_no_condition(card):
    assert read_wish({"birth": "0-64"}, card) == (Wish(), ())
    assert read_wish({"birth": "4"}, card)[0].birth == (4, 4)


def test_a_change_is_asked_for_or_the_window_or_the_whole(card, monkeypatch):
    assert change_of(Wish(change=(1, 4)), card) == (1, 4)
    assert change_of(Wish(), card) == (0, 64)
    for window, steps in ((Window(2, 30, 1.0, 3.0, 0.01), (1, 64)),
                          (Window(4, 16, 1.0, 3.0, 0.01), (4, 16))):
        monkeypatch.setattr(type(card), "window", property(lambda _, w=window: w))
        assert change_of(Wish(), card) == steps


def test_a_wish_is_a_key():
    assert len({Wish(), Wish(), dataclasses.replace(Wish(), alive=True)}) == 2
