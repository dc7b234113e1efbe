"""Decompose: in how many other seeds a feature of the ledger returns, at every line."""

import re
from html import unescape
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from streamlit.testing.v1 import AppTest

from atlas import markup, stability_markup
from atlas.markup import Bar
from atlas.stability import Stability, stability_of
from atlas.store import Store
from pages import score
from tests.pages.test_pages import Open, asked, calm, open_page, text_of
from tests.tiny import PRISM, SEED0, SEED1, SMALL

__all__ = ["open_page"]
PROMPT = "the water and"


def told(way: str, returned: int, compared: int) -> Stability:
    return Stability(way, compared, returned, 0.5, None, 1)


def ledger_rows(app: AppTest) -> list[tuple[int, str]]:
    """(feature, badge) of the rows of the ledger."""
    shown = " ".join(e.proto.body for e in app.get("html"))
    (table,) = re.findall(r'<table class="atl-ledger">.*?</table>', shown, flags=re.S)
    rows = re.findall(r'<tr class="">(.*?)</tr>', table, flags=re.S)
    return [(int(m[1]), (re.search(r'<span class="atl-dots".*?</span>', row) or [""])[0])
            for row in rows if (m := re.search(r">#(\d+)<", row))]


def test_dots_say_in_how_many_seeds_it_returns() -> None:
    assert stability_markup.dots(()) == ""
    assert stability_markup.dots((told("life", 2, 2),)) == ""
    drawn = stability_markup.dots((told("trajectory", 2, 3), told("tokens", 1, 3)))
    assert "●●○<" in drawn
    assert "2 of 3 other seeds by direction" in drawn
    assert "1 of 3 other seeds by tokens" in drawn
    many = stability_markup.dots((told("trajectory", 5, 7),))
    assert "5/7<" in many
    assert len(drawn) < 160


def test_badges_have_a_column_of_their_own_only_where_there_are_any() -> None:
    lines = [Bar("base", 0.0, "base"), Bar("of", 1.0, note="#3"), Bar("exact", 1.0, "exact")]
    plain = markup.ledger(lines)
    assert 'colspan="2"' in plain
    assert plain.count("<col ") == 4
    lines[1] = Bar("of", 1.0, note="#3", badge=stability_markup.dots((told("tokens", 1, 1),)))
    badged = markup.ledger(lines)
    assert 'colspan="3"' in badged
    assert badged.count("<col ") == 5
    assert "atl-dots" in badged


def test_every_feature_of_the_ledger_has_its_badge(open_page: Open, tiny_store: Path) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT, bars="show"))
    store = Store.open(tiny_store)
    rows = ledger_rows(app)
    assert rows
    for feature, badge in rows:
        wanted = stability_markup.dots(stability_of(store, SEED0, feature))
        assert badge == wanted
    assert any(badge for _, badge in rows)


def test_one_question_for_all_of_them(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_for: list[tuple[int, ...]] = []
    real = score.answers_decompose.stability

    def counted(digest: str, run: str, features: tuple[int, ...]):
        asked_for.append(features)
        return real(digest, run, features)

    monkeypatch.setattr(score.answers_decompose, "stability", counted)
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT, bars="show"))
    assert [list(one) for one in asked_for] == [[f for f, _ in ledger_rows(app)]]


@pytest.mark.parametrize("run", [PRISM, SMALL])
def test_nothing_where_no_seed_was_matched(open_page: Open, run: str) -> None:
    app = calm(open_page("decompose", run=run, prompt=PROMPT, bars="show"))
    assert ledger_rows(app)
    assert not any(badge for _, badge in ledger_rows(app))
    assert "other seed" not in text_of(app)


def test_the_ledger_leads_to_the_other_seeds(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED0, prompt=PROMPT, target="#40", versus="#50"))
    shown = " ".join(e.proto.body for e in app.get("html"))
    (found,) = re.findall(r'href="comparison\?([^"]+)"[^>]*>The same ledger in 1 other seed<',
                          shown)
    link = {name: values[0] for name, values in parse_qs(unescape(found)).items()}
    assert (link["view"], link["prompt"], link["target"], link["versus"]) == (
        "prompt", PROMPT, "#40", "#50")
    there = calm(open_page("comparison", **link))
    assert asked(there, "view") == "prompt"
    assert "seed 1" in text_of(there)


def test_layers_of_the_view_inside_have_badges_too(open_page: Open) -> None:
    app = calm(open_page("decompose", run=SEED1, prompt=PROMPT, view="inside", bars="show"))
    assert "atl-dots" in re.sub(
        r"<style>.*?</style>", "", " ".join(e.proto.body for e in app.get("html")), flags=re.S)
