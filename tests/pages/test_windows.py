"""The view of the reorganisation window: what it draws, what it says where it cannot, its links."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from atlas.places import APP, DEMO, STORE_VARIABLE
from atlas.reorganisation import score_windows, seed_of
from atlas.store import Store
from atlas.window_choice import choose
from atlas.window_lives import pairs_of
from pages import answers_windows
from tests.pages.test_pages import asked, calm, text_of
from tests.tiny import PRISM, SEED0, SMALL, STEPS

DEMO_RUN = "demo/large/W_U/cross-snapshot-24/d512/seed0"


@pytest.fixture
def open_view(tiny_store: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Open the view at an address, on the tiny store or on the bundle."""
    def opened(demo: bool = False, **address: object) -> AppTest:
        if demo and not (DEMO / "CURRENT.json").is_file():
            pytest.skip("the bundle is not built")
        monkeypatch.setenv(STORE_VARIABLE, str(DEMO if demo else tiny_store))
        app = AppTest.from_file(str(APP), default_timeout=60).run()
        app.switch_page("reorganisation.py")
        for name in list(app.query_params):
            del app.query_params[name]
        for name, value in ({"view": "window"} | address).items():
            app.query_params[name] = str(value)
        return app.run()

    return opened


def links(app: AppTest) -> str:
    return " ".join(e.proto.body for e in app.get("html")).replace("&amp;", "&")


# --- what it draws -------------------------------------------------------------------------------


def test_the_run_of_record_opens_at_its_own_window(open_view: Any) -> None:
    app = calm(open_view(demo=True, run=DEMO_RUN))
    shown = text_of(app)
    window = Store.open(DEMO).run(DEMO_RUN).window
    for part in ("When the population reorganises.", "What changes most inside the window",
                 "The wishbone.", "The run in five sentences.", f"{window.z:.1f}",
                 f"{window.p_any:.3f}", "200 circular shifts", "Signs are arbitrary",
                 "features nearest to it in mean rate", "Null: "):
        assert part in shown, part
    assert len(app.get("plotly_chart")) == 3
    assert "window" not in app.query_params
    assert app.button(key="window_back").disabled


def test_another_window_stands_in_the_address_and_there_is_a_way_back(open_view: Any) -> None:
    app = calm(open_view(demo=True, run=DEMO_RUN, window="100..1000"))
    assert "1.00" in text_of(app)
    app.selectbox(key="window_from").set_value(32.0).run()
    assert asked(calm(app), "window") == "32..1000"
    app.text_input(key="window_typed").set_value("37..411.5").run()
    assert asked(calm(app), "window") == "37..411.5"
    assert app.selectbox(key="window_to").value == 411.5
    app.button(key="window_back").click().run()
    assert "window" not in calm(app).query_params


def test_the_numbers_are_those_of_the_code_it_shows(
    open_view: Any, capsys: pytest.CaptureFixture
) -> None:
    app = calm(open_view(demo=True, run=DEMO_RUN, window="100..1000"))
    code = next(block.value for block in app.code if "choose(" in block.value)
    exec(code, {})
    printed = capsys.readouterr().out
    store = Store.open(DEMO)
    found = choose(pairs_of(store, DEMO_RUN).components, store.run(DEMO_RUN).steps, 100, 1000,
                   seed_of(DEMO_RUN))
    assert str(found.z) in printed
    assert f"{found.score:.3f}" in text_of(app)
    assert f"{found.p:.3f}" in text_of(app)


def test_the_list_follows_the_window_and_its_sort(open_view: Any) -> None:
    app = calm(open_view(demo=True, run=DEMO_RUN, window="100..1000"))
    assert "change=96-1024" in links(app)
    first = re.search(r'atl-movers.*?>#([\d,]+)</a>', links(app)).group(1)
    app.segmented_control(key="window_most").set_value("turn").run()
    assert asked(calm(app), "most") == "turn"
    other = re.search(r'atl-movers.*?>#([\d,]+)</a>', links(app)).group(1)
    assert first != other
    assert "feature?run=" in links(app)


def test_a_part_drawn_round_lists_its_features(open_view: Any) -> None:
    app = calm(open_view(demo=True, run=DEMO_RUN, brush="0,0;1,0;1,1;0,1"))
    assert "features drawn round" in text_of(app)
    assert "where=feature%3A" in links(app)
    app.button(key="window_brush_none").click().run()
    assert "brush" not in calm(app).query_params


def test_tables_instead_of_figures(open_view: Any) -> None:
    app = calm(open_view(demo=True, run=DEMO_RUN, charts="tables"))
    assert not app.get("plotly_chart")
    shown = text_of(app)
    for part in ("shifts, 95 %", "change of the norms", "exchange among the longest", "arm"):
        assert part in shown, part


def test_figures_to_take_away_name_window_and_seed(open_view: Any) -> None:
    app = calm(open_view(demo=True, run=DEMO_RUN, figures="svg", window="100..1000"))
    body = app.get("plotly_chart")[0].proto.spec
    assert "window 100..1000" in body
    assert f"seed {seed_of(DEMO_RUN)}" in body


# --- what it says where it cannot ----------------------------------------------------------------


@pytest.mark.parametrize("run", [SEED0, SMALL])
def test_too_few_snapshots_leave_the_metrics(open_view: Any, run: str) -> None:
    shown = text_of(calm(open_view(run=run)))
    assert f"the run has {len(STEPS)} snapshots and the null needs 9" in shown
    assert "The run has no window of its own" in shown
    assert "What changes most inside the window" in shown
    assert "What turns inside the window: not available" in shown


@pytest.mark.parametrize("window", ["0..1", "0..64", "16..64", "3..3.5"])
def test_any_window_of_a_small_run_is_drawn(open_view: Any, window: str) -> None:
    app = calm(open_view(run=SEED0, window=window))
    assert "is no window" not in text_of(app)


def test_a_run_of_one_snapshot_says_so(open_view: Any) -> None:
    shown = text_of(calm(open_view(run=PRISM)))
    assert "has one snapshot: nothing changes between snapshots" in shown


@pytest.mark.parametrize(("name", "value", "said"), [
    ("window", "64..0", "is no window of this run"),
    ("window", "0..65", "is no window of this run"),
    ("window", "<b>x</b>", "is no window of this run"),
    ("most", "best", "cannot be sorted by"),
    ("brush", "0,0;9,9", "is no part of the wishbone"),
])
def test_a_bad_address_is_said_calmly(open_view: Any, name: str, value: str, said: str) -> None:
    app = calm(open_view(run=SEED0, **{name: value}))
    assert said in text_of(app)
    assert "The wishbone." in text_of(app)


def test_a_run_without_pairs_says_why(
    open_view: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers_windows, "pairs", lambda *asked: None)
    monkeypatch.setattr(answers_windows, "own", lambda *asked: None)
    monkeypatch.setattr(answers_windows, "choice", lambda *asked: None)
    shown = text_of(calm(open_view(run=SEED0)))
    assert "Pair metrics are not available, because no feature" in shown
    assert "The wishbone." in shown


def test_a_missing_metric_is_named(open_view: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    g = np.random.default_rng(0)
    from atlas.reorganisation import pair_metrics

    whole = pair_metrics(*(g.random((n, 40)) for n in (5, 5, 4, 5)))
    without = replace(whole, activation_turnover=np.full(4, np.nan))
    monkeypatch.setattr(answers_windows, "pairs", lambda *asked: without)
    monkeypatch.setattr(answers_windows, "choice", lambda digest, run, low, high: choose(
        without.components, STEPS, low, high, 1))
    monkeypatch.setattr("atlas.window_choice.MIN_SNAPSHOTS", 3)
    shown = text_of(calm(open_view(run=SEED0, window="1..4")))
    assert "activation turnover is not available" in shown


def test_the_own_window_is_scored_where_the_store_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not (DEMO / "CURRENT.json").is_file():
        pytest.skip("the bundle is not built")
    store = Store.open(DEMO)
    card = store.run(DEMO_RUN)
    bare = replace(card, statistics={})
    monkeypatch.setattr(Store, "run", lambda self, run: bare)
    monkeypatch.setattr(answers_windows, "at", lambda digest: store)
    found = answers_windows.own.__wrapped__(f"{store.digest} bare", DEMO_RUN)
    pairs = pairs_of(store, DEMO_RUN)
    scored = score_windows(pairs.components, card.steps, seed_of(DEMO_RUN))
    assert found.low == scored.windows.from_step[scored.best]
    assert np.isnan(found.center_low)
