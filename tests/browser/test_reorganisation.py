"""Births & reorganisation in a real browser: its parts are links into Browse and Feature."""

from urllib.parse import parse_qs, urlsplit

import pytest

from atlas.store import Store
from tests.browser.visits import SLOW, Visit, first_run

pytestmark = pytest.mark.browser
PAGE = "reorganisation"


def test_a_bar_of_births_opens_as_many_features_as_the_store_counts(
    visit: Visit, store: Store
) -> None:
    run = first_run(store)
    visit.open(f"{PAGE}?run={run}")
    bar = visit.page.locator(".atl-fig a[href*='birth_step']").first
    where = parse_qs(urlsplit(bar.get_attribute("href") or "").query)["where"][0]
    before = visit.runs
    bar.click()
    visit.wait_for_query("where", where)
    assert urlsplit(visit.page.url).path == "/"
    assert visit.runs - before == 1
    step = where.split(":")[1].split("..")[0]
    (count,) = store.ask(
        run, "SELECT count(*) AS n FROM {run}.feature WHERE alive AND birth_step = $step",
        step=int(step),
    )["n"].to_pylist()
    assert f"{count:,} of " in visit.page.inner_text("body")


def test_another_window_is_one_run_and_stands_in_the_address(visit: Visit, store: Store) -> None:
    visit.open(f"{PAGE}?run={first_run(store)}&view=window")
    before, received = visit.runs, visit.received
    box = visit.page.locator(".st-key-window_typed input").first
    box.fill("100..500")
    box.press("Enter")
    visit.wait_for_query("window", "100..500")
    assert visit.runs - before == 1
    assert visit.received - received < 100_000
    shown = visit.page.inner_text("body")
    visit.page.reload()
    visit.page.wait_for_function("window.readoutAtlas", timeout=SLOW)
    visit.settle()
    visit.page.locator(".st-key-window_typed input").first.wait_for(timeout=SLOW)
    assert "What changes most inside the window, between steps 96 and 512" in shown
    assert "What changes most inside the window, between steps 96 and 512" in (
        visit.page.inner_text("body"))


def test_a_window_is_chosen_by_a_drag_or_by_its_point(visit: Visit, store: Store) -> None:
    visit.open(f"{PAGE}?run={first_run(store)}&view=window")
    chart = visit.page.locator(".st-key-window_scores .js-plotly-plot")
    chart.locator(".main-svg").first.wait_for(timeout=SLOW)
    visit.page.wait_for_function(
        "document.querySelector('.st-key-window_scores .js-plotly-plot').atlasListens",
        timeout=SLOW,
    )
    visit.settle()
    for act in (_drag, _click):
        before, shown = visit.runs, visit.query().get("window")
        act(visit)
        visit.page.wait_for_function(
            "(w) => new URLSearchParams(location.search).get('window') !== w", arg=shown,
            timeout=SLOW,
        )
        visit.settle()
        assert visit.runs - before == 1


def _drag(visit: Visit) -> None:
    box = visit.page.locator(".st-key-window_scores .nsewdrag").first.bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2
    visit.page.mouse.move(box["x"] + 0.55 * box["width"], y)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 0.75 * box["width"], y + 5, steps=8)
    visit.page.mouse.up()


def _click(visit: Visit) -> None:
    box = visit.page.locator(".st-key-window_scores .scatterlayer .point").nth(3).bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    visit.page.mouse.move(x, y)
    visit.page.wait_for_timeout(400)  # a point is hovered before it is clicked
    visit.page.mouse.click(x, y)
