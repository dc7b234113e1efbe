"""Seeds & scales, two features side by side: choices, the swap, evidence, and what is not there."""

import re
import shutil
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from atlas import paired
from atlas.matches import match_columns
from atlas.places import STORE_VARIABLE
from atlas.store import Store
from precompute.publish import publish
from tests.pages.test_pages import Open, asked, calm, open_page, text_of
from tests.tiny import DEAD, EMBEDDING, PRISM, SEED0, SEED1, SMALL, STEPS, WIDTH

__all__ = ["open_page"]


def html_of(app: AppTest) -> str:
    return " ".join(e.proto.body for e in app.get("html"))


def best(store: Path, feature: int, way: str = "trajectory", other: str = SEED1) -> int:
    return int(match_columns(Store.open(store), SEED0, other, way).partner[feature])


def not_best(store: Path, feature: int) -> int:
    found = Store.open(store)
    taken = {int(match_columns(found, SEED0, SEED1, way).partner[feature])
             for way in ("trajectory", "terminal", "tokens", "life")}
    return next(f for f in range(DEAD) if f not in taken)


def test_it_opens_on_the_strongest_that_returns_and_its_partner(
    open_page: Open, tiny_store: Path
) -> None:
    app = calm(open_page("comparison", view="pair", run=SEED0))
    first = paired.first_feature(Store.open(tiny_store), SEED0, SEED1, "trajectory")
    assert asked(app, "feature") == str(first)
    assert asked(app, "other") == SEED1
    assert app.number_input(key="pair_there").value == best(tiny_store, first)
    shown = text_of(app)
    for words in ("Are they the same feature?", "Whom to set beside it.", "Their lives",
                  "The two cards.", "Their tokens.", "Promoted tokens through training.",
                  "by chance", "null: turned at random", "in both lists (drawn at random"):
        assert words in shown
    assert app.get("plotly_chart")
    links = re.findall(r'href="feature\?run=([^&"]+)&[^"]*feature=(\d+)"', html_of(app))
    assert {int(feature) for _, feature in links} >= {first, best(tiny_store, first)}


def test_another_than_the_best_is_drawn_and_the_best_named(
    open_page: Open, tiny_store: Path
) -> None:
    there = not_best(tiny_store, 0)
    app = calm(open_page("comparison", view="pair", run=SEED0, feature=0, other=SEED1, there=there))
    shown = " ".join(text_of(app).split())
    mine = best(tiny_store, 0)
    assert f"#{there} is not its best partner by directions over the whole training: that is " \
           f"#{mine} ." in shown
    assert f"feature {there} " in shown
    back = calm(open_page("comparison", view="pair", run=SEED0, feature=0, other=SEED1))
    assert "is not its best partner" not in text_of(back)


def test_the_swap_shows_the_same_two_from_the_other_side(open_page: Open, tiny_store: Path) -> None:
    app = calm(open_page("comparison", view="pair", run=SEED0, feature=3, other=SEED1, there=5,
                         way="tokens", step=STEPS[2]))
    calm(app.button(key="pair_swap").click().run())
    found = {name: asked(app, name) for name in ("run", "feature", "other", "there", "way", "step")}
    assert found == {"run": SEED1, "feature": "5", "other": SEED0, "there": "3", "way": "tokens",
                     "step": str(STEPS[2])}
    assert app.number_input(key="pair_feature").value == 5
    calm(app.button(key="pair_swap").click().run())
    assert (asked(app, "run"), asked(app, "feature"), asked(app, "there")) == (SEED0, "3", "5")


def test_a_swap_with_a_run_of_one_snapshot_takes_its_step(open_page: Open) -> None:
    app = calm(open_page("comparison", view="pair", run=SEED0, feature=0, other=PRISM, there=2,
                         step=STEPS[1]))
    calm(app.button(key="pair_swap").click().run())
    assert asked(app, "step") == str(STEPS[-1])
    assert "There is no snapshot" not in text_of(app)
    assert app.get("plotly_chart")  # of the crosscoder alone


def test_choices_write_the_address(open_page: Open, tiny_store: Path) -> None:
    app = calm(open_page("comparison", view="pair", run=SEED0, feature=0, other=SEED1, there=4))
    calm(app.number_input(key="pair_feature").set_value(2).run())
    assert asked(app, "feature") == "2"
    assert "there" not in app.query_params
    calm(app.number_input(key="pair_there").set_value(7).run())
    assert asked(app, "there") == "7"
    calm(app.selectbox(key="pair_other").set_value(SMALL).run())
    assert asked(app, "other") == SMALL
    assert "there" not in app.query_params
    shown = text_of(app)
    assert "whose directions do not compare" in shown
    assert app.number_input(key="pair_there").value == best(tiny_store, 2, "tokens", SMALL)


@pytest.mark.parametrize(("changes", "said"), [
    ({"other": SEED0}, "A run beside itself shows nothing"),
    ({"other": "no/such/run"}, "There is no run “no/such/run” in this store"),
    ({"feature": 99}, f"“99” is no feature of {SEED0}, which has the features 0 to {WIDTH - 1}"),
    ({"feature": "<b>"}, "is no feature of"),
    ({"there": -1}, f"“-1” is no feature of {SEED1}"),
    ({"way": "magic"}, "“magic” is no way to match runs"),
    ({"way": "trajectory", "other": EMBEDDING}, "was not matched with this run by directions"),
    ({"axis": "sideways"}, "is no axis of training"),
    ({"figures": "gif"}, "Figures cannot be taken as “gif”"),
])
def test_what_is_not_there_is_said_and_the_view_stands(
    open_page: Open, changes: dict, said: str
) -> None:
    app = calm(open_page("comparison", view="pair", run=SEED0, **changes))
    shown = text_of(app)
    assert said in shown
    assert "<b>" not in asked(app, "feature")
    assert "The two cards." in shown


def test_a_dead_feature_has_no_partner_and_stands_alone(open_page: Open) -> None:
    app = calm(open_page("comparison", view="pair", run=SEED0, feature=DEAD, other=SEED1))
    shown = text_of(app)
    assert f"feature {DEAD} never fires or has no direction" in shown
    assert "dead: it fires on at most one in a million" in shown
    assert app.button(key="pair_swap").disabled
    chosen = calm(app.number_input(key="pair_there").set_value(1).run())
    assert "it never fires or has no direction: no partner" in text_of(chosen)
    assert "The two cards." in text_of(chosen)


@pytest.mark.parametrize("run", [PRISM, EMBEDDING, SMALL, SEED1])
def test_every_run_has_a_pair(open_page: Open, run: str) -> None:
    shown = text_of(calm(open_page("comparison", view="pair", run=run)))
    assert "Are they the same feature?" in shown
    assert "The two cards." in shown


def test_two_runs_of_one_snapshot_have_no_life(open_page: Open) -> None:
    shown = text_of(calm(open_page("comparison", view="pair", run=PRISM, other=SEED0)))
    assert "no life to draw, because a run of one snapshot has none" in shown
    assert f"The two runs share one snapshot, step {STEPS[-1]}" in shown


def test_figures_as_tables(open_page: Open) -> None:
    app = calm(open_page("comparison", view="pair", run=SEED0, charts="tables"))
    assert not app.get("plotly_chart")
    assert "promoted tokens shared" in html_of(app)


def test_unmatched_runs_name_the_command_and_may_still_be_chosen(
    open_page: Open, tmp_path: Path, tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    shutil.copytree(tiny_store, store)
    shutil.rmtree(store / "matches")
    publish(store)
    monkeypatch.setenv(STORE_VARIABLE, str(store))
    app = calm(open_page("comparison", view="pair", run=SEED0))
    assert f"readout-atlas match {SEED0} OTHER" in text_of(app)
    app = calm(app.selectbox(key="pair_other").set_value(SEED1).run())
    assert f"readout-atlas match {SEED0} {SEED1}" in text_of(app)
    app = calm(app.number_input(key="pair_there").set_value(4).run())
    assert "The two cards." in text_of(app)
    assert text_of(app).count("were not matched in this way") == 4


def test_the_page_of_a_feature_leads_here(open_page: Open) -> None:
    shown = html_of(calm(open_page("feature", run=SEED0, feature=3)))
    address = r'href="comparison\?[^"]*view=pair&amp;feature=3"'
    assert re.search(address + "[^>]*>Two side by side", shown)


def test_one_click_sends_little(open_page: Open) -> None:
    app = calm(open_page("comparison", view="pair", run=SEED0))
    sent = len(html_of(app)) + sum(len(e.proto.spec) for e in app.get("plotly_chart"))
    assert 20_000 < sent < 100_000
