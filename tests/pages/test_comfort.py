"""Comfort: figures as tables, links that know their data, tooltips in the store's words."""

import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from atlas.places import STORE_VARIABLE
from atlas.store import Store
from pages import window
from tests.pages.test_pages import FILES, Open, asked, calm, open_page, text_of
from tests.tiny import EMBEDDING, SEED0, SMALL

__all__ = ["open_page"]  # the fixture, found by its name

FIGURES = {"feature": {"feature": 0}, "token": {"token": 270},
           "decompose": {"prompt": "the water and"}}


def html_of(app: AppTest) -> str:
    return " ".join(e.proto.body for e in app.get("html"))


@pytest.mark.parametrize("page", FIGURES)
def test_every_figure_can_be_had_as_a_table(open_page: Open, page: str) -> None:
    drawn = calm(open_page(page, run=SEED0, **FIGURES[page]))
    tables = calm(open_page(page, run=SEED0, charts="tables", **FIGURES[page]))
    assert len(drawn.get("plotly_chart")) >= 1
    assert not tables.get("plotly_chart")
    assert html_of(tables).count("<caption>") >= len(drawn.get("plotly_chart"))
    assert asked(tables, "charts") == "tables"


def test_the_toggle_writes_the_address_and_links_keep_it(open_page: Open) -> None:
    app = calm(open_page("feature", run=SEED0, feature=0))
    app.toggle(key="charts").set_value(True).run()
    assert asked(calm(app), "charts") == "tables"
    links = re.findall(r'href="(token\?[^"]+)"', html_of(app))
    assert links
    assert all("charts=tables" in link for link in links)
    app.toggle(key="charts").set_value(False).run()
    assert "charts" not in calm(app).query_params
    assert "charts=tables" not in html_of(app)


@pytest.mark.parametrize("page", ["browse", *FILES])
def test_no_page_calls_the_parameters_of_all_pages_unread(open_page: Open, page: str) -> None:
    shown = text_of(calm(open_page(page, run=SEED0, charts="tables", hash="0" * 12)))
    assert "This page does not read" not in shown


def link_of(app: AppTest) -> dict[str, list[str]]:
    link = next(block.value for block in app.code if "hash=" in block.value)
    return parse_qs(urlsplit(link).query)


def test_a_copied_link_carries_the_hash_of_its_data(open_page: Open, tiny_store: Path) -> None:
    now = Store.open(tiny_store).run(SEED0).hash[:12]
    app = calm(open_page("feature", run=SEED0, feature=0, step=16))
    assert link_of(app)["hash"] == [now]
    assert link_of(app)["step"] == ["16"]
    assert "hash" not in app.query_params
    same = calm(open_page("feature", run=SEED0, feature=0, hash=now))
    assert "changed since" not in text_of(same)


def test_a_link_made_from_other_data_says_so_and_shows_the_present(open_page: Open) -> None:
    app = calm(open_page("feature", run=SEED0, feature=0, hash="0123456789ab"))
    shown = text_of(app)
    assert "The data of this run changed since the link was made" in shown
    assert "0123456789ab" in shown
    assert "Life of the feature." in shown
    assert link_of(app)["hash"] != ["0123456789ab"]
    app.selectbox(key="run").set_value(SMALL).run()
    assert "hash" not in calm(app).query_params
    assert "changed since" not in text_of(app)


@pytest.mark.parametrize("value", ["", "0", "0123456789AB", "<b>", "g" * 12, "\x00", "1" * 300])
def test_a_hash_that_is_none_is_answered_in_words(open_page: Open, value: str) -> None:
    shown = text_of(calm(open_page("browse", run=EMBEDDING, hash=value)))
    assert "is no hash of a run" in shown
    assert "of 24 features" in shown


def test_an_unknown_way_to_show_charts_is_answered_in_words(open_page: Open) -> None:
    app = calm(open_page("feature", run=SEED0, charts="<i>pies</i>"))
    assert "Charts cannot be shown as" in text_of(app)
    assert "<i>pies" not in html_of(app)
    assert len(app.get("plotly_chart")) >= 1


def test_the_numbers_of_the_bar_are_explained_by_the_store(
    open_page: Open, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(STORE_VARIABLE, str(tiny_store))
    meanings = Store.open(tiny_store).column_comments()["run"]
    html = html_of(calm(open_page("browse", run=SEED0)))
    for column in ("d_model", "seed", "n_alive", "explained_variance"):
        assert f'title="{window.markup.escape(meanings[column])}"' in html


def test_keys_and_tour_are_opened_without_the_server() -> None:
    script = Path(window.__file__).with_name("window.js").read_text("utf8")
    for opened in ("sheet", "tour"):
        assert f'data-atl-opens="{opened}"' in window.OPENERS
        assert f"{opened}:" in script
    assert "http" not in script
    assert set(re.findall(r'setTriggerValue\("(\w+)"', script)) == {"scheme", "go"}
