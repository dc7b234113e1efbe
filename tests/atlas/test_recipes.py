"""The text to take away, run: SQL and Python list the same features in the same order."""

import re

import duckdb
import numpy as np
import pytest

from atlas import recipes
from atlas.browsing import Wish, page, python_of, read_wish, sql_of
from atlas.places import STORE_VARIABLE
from atlas.recipes import literal
from atlas.store import Store
from tests.tiny import PRISM, SEED0, WIDTH

WISHES = [
    {}, {"sort": "kind_p"}, {"sort": "seeds"}, {"sort": "match_cosine", "order": "up"},
    {"sort": "rate_change", "change": "1-16"}, {"sort": "rotation_at"},
    {"where": "rate_final:0.01..,!profile:late-emerging;kind:none,legible:no;seeds:1"},
    {"where": "kind:it%27s%3B%20DROP+none;norm_at:0.3..;n_tokens:..5e1"},
    {"q": "digits"}, {"q": "LIGHT"}, {"q": "#7"}, {"q": ' water'}, {"q": "' OR 1=1 --"},
    {"q": "e'; DROP TABLE x"}, {"q": "$k {run} $v0"}, {"q": "#" + "9" * 30},
    {"token_text": "the", "match": "word"}, {"token_text": " t", "match": "prefix"},
    {"token_text": "e", "match": "substring", "case": "no", "by": "promotes", "at": "step"},
    {"token_text": "e", "match": "substring", "by": "fires", "at": "step"},
    {"token_text": "nowhere"}, {"like": "4"}, {"like": "4", "sort": "feature"},
    {"shape": "0019"}, {"shape": "f3", "legible": "yes"},
    {"lasso": "0,0;0.55,0.1;0.6,1;0.2,0.7"}, {"lasso": "0,0;1,0;1,1;0,1"},
    {"birth": "1-16", "floor": "no", "alive": "yes"}, {"profile": "late-emerging"},
]


@pytest.fixture(scope="module")
def store(tiny_store):
    return Store.open(tiny_store)


def run_sql(folder, text, monkeypatch):
    monkeypatch.chdir(folder)
    with duckdb.connect(":memory:") as shell:
        return shell.execute(text).fetchall()


@pytest.mark.parametrize("parameters", WISHES, ids=str)
@pytest.mark.parametrize("k", [1, 4])
def test_the_sql_lists_the_same_features(store, tiny_store, monkeypatch, parameters, k):
    wish, problems = read_wish(parameters, store.run(SEED0))
    assert problems == ()
    found = page(store, SEED0, k, wish, limit=500).rows
    rows = run_sql(tiny_store, sql_of(store, SEED0, k, wish), monkeypatch)
    assert [row[1] for row in rows] == found["feature"].tolist()
    values = [np.nan if row[0] is None else row[0] for row in rows]
    np.testing.assert_allclose(np.array(values, float), found["measure"], rtol=1e-6)


def test_the_wishes_tell_features_apart(store):
    totals = [page(store, SEED0, 1, read_wish(w, store.run(SEED0))[0]).total for w in WISHES]
    assert len(set(totals)) > 6
    assert sum(0 < n < WIDTH for n in totals) > 12


@pytest.mark.parametrize("parameters", [
    {}, {"q": "e"}, {"token_text": " water", "at": "step"}, {"like": "3"}, {"sort": "n_tokens"},
])
def test_a_prism_has_its_sql_too(store, tiny_store, monkeypatch, parameters):
    wish, _ = read_wish(parameters, store.run(PRISM))
    rows = run_sql(tiny_store, sql_of(store, PRISM, 0, wish), monkeypatch)
    assert [r[1] for r in rows] == page(store, PRISM, 0, wish, limit=500).rows["feature"].tolist()


@pytest.mark.parametrize("parameters", [
    {}, {"where": "kind:it%27s+none", "sort": "kind_p"}, {"q": '"; import os #'},
    {"q": "LIGHT", "alive": "yes"}, {"shape": "0019"},
])
def test_the_python_lists_the_same_features(store, tiny_store, monkeypatch, parameters):
    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
    wish, _ = read_wish(parameters, store.run(SEED0))
    space: dict = {}
    exec(python_of(store, SEED0, 2, wish), space)
    assert space["problems"] == ()
    assert space["rows"]["feature"].tolist() == page(
        store, SEED0, 2, wish, limit=500).rows["feature"].tolist()


def test_the_text_names_no_place_of_the_machine(store, tiny_store):
    for text in (sql_of(store, SEED0, 1, Wish(sort="seeds")), python_of(store, SEED0, 1, Wish())):
        assert str(tiny_store) not in text
        assert tiny_store.parent.name not in text


def test_no_text_ends_a_literal():
    for value in ("'", "''", "';--", "\\'", "a\nb", "\0'", "$k", "{run}"):
        text = literal(value)
        assert duckdb.execute(f"SELECT {text}").fetchone() == (value.replace("\0", ""),)
    assert literal([1, 2.5, "x'"]) == "[1, 2.5, 'x''']"
    assert literal(1e-20) == "1e-20"
    assert literal(-3.0) == "-3"
    assert recipes._written("$a $ab", {"a": "$ab", "ab": 1}) == "'$ab' 1"


def test_a_run_cannot_break_out_of_the_comment():
    assert recipes._line("a\nDROP TABLE x;\r--") == "a DROP TABLE x; --"
    assert not re.search(r"[\r\n]", recipes._line("a\u2028b\x85c\n"))
