"""Keys, the sheet that lists them and the tour, none of which asks the server."""

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from atlas.store import Store
from tests.browser.visits import SLOW, Visit, first_run, visit_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
SHEET = "dialog.atl-sheet"
FOCUS = "document.activeElement.closest('[class*=st-key-]')?.className ?? ''"


def test_a_slash_goes_to_the_search_and_keys_rest_while_typing(visit: Visit, store: Store) -> None:
    visit.open(f"?run={first_run(store)}")
    before = visit.sent
    visit.page.keyboard.press("/")
    assert "st-key-browse_q" in visit.page.evaluate(FOCUS)
    visit.page.keyboard.type("g?/")
    assert visit.page.evaluate("document.activeElement.value") == "g?/"
    assert not visit.page.locator(SHEET).count()
    assert urlsplit(visit.page.url).path == "/"
    assert visit.sent == before


def test_the_sheet_opens_holds_the_focus_and_gives_it_back(visit: Visit, store: Store) -> None:
    visit.open(f"feature?run={first_run(store)}")
    visit.page.locator(".st-key-nav a").first.focus()
    before = visit.sent
    visit.page.keyboard.press("?")
    sheet = visit.page.get_by_role("dialog", name="Keys")
    sheet.wait_for(timeout=SLOW)
    assert sheet.locator("dt").count() >= 10
    for _ in range(6):
        visit.page.keyboard.press("Tab")
        inside = visit.page.evaluate(
            "document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        )
        assert inside, "the focus left the sheet"
    visit.page.keyboard.press("n")  # is not heard behind the sheet
    visit.page.keyboard.press("Escape")
    assert not visit.page.locator(SHEET).count()
    assert "Browse" in visit.page.evaluate("document.activeElement.textContent")
    assert visit.sent == before


def test_g_and_a_letter_open_a_page_in_one_run(visit: Visit, store: Store) -> None:
    visit.open(f"?run={first_run(store)}")
    for letter, path in (("m", "/method"), ("f", "/feature"), ("r", "/runs"), ("b", "/")):
        before = visit.runs
        visit.page.keyboard.press("g")
        visit.page.keyboard.press(letter)
        visit.page.wait_for_function("(p) => location.pathname === p", arg=path, timeout=SLOW)
        visit.settle()
        assert visit.runs - before == 1


def test_n_and_p_turn_the_pages_of_the_list(visit: Visit, store: Store) -> None:
    run = first_run(store)
    visit.open(f"feature?run={run}")
    first = visit.query()["feature"]
    visit.page.keyboard.press("n")
    visit.page.wait_for_function(
        "(f) => new URLSearchParams(location.search).get('feature') !== f", arg=first, timeout=SLOW
    )
    visit.settle()
    visit.page.keyboard.press("p")
    visit.wait_for_query("feature", first)


def test_a_slash_on_a_page_without_search_opens_the_one_of_browse(
    visit: Visit, store: Store
) -> None:
    visit.open(f"method?run={first_run(store)}")
    visit.page.keyboard.press("/")
    visit.page.wait_for_function("location.pathname === '/'", timeout=SLOW)
    visit.page.wait_for_function(
        "document.activeElement.closest('.st-key-browse_q')", timeout=SLOW
    )


def test_a_first_visit_is_shown_around_once(
    chromium: "Browser", address: str, store: Store
) -> None:
    with visit_of(chromium, address, returning=False) as tab:
        tab.open(f"?run={first_run(store)}")
        card = tab.page.locator(".atl-tour")
        card.wait_for(timeout=SLOW)
        before = tab.sent
        for step in range(3):
            assert f"{step + 1} of 3" in card.inner_text()
            ring = tab.page.locator(".atl-ring").bounding_box()
            box = card.bounding_box()
            assert ring is not None
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 1280
            assert box["y"] + box["height"] <= 900
            card.locator(".main").click()
        assert not card.count()
        assert not tab.page.locator(".atl-ring").count()
        assert tab.sent == before
        tab.page.reload()
        tab.settle()
        tab.page.wait_for_timeout(1500)
        assert not card.count()
        tab.page.get_by_test_id("stPopoverButton").filter(has_text="Help").click()
        tab.page.locator("[data-atl-opens=tour]").click()
        card.wait_for(timeout=SLOW)
        tab.page.keyboard.press("Escape")
        assert not card.count()
        assert tab.errors == []


def test_figures_become_tables_and_stay_so_on_the_way(visit: Visit, store: Store) -> None:
    run = first_run(store)
    visit.open(f"feature?run={run}&charts=tables")
    table = visit.page.locator(".atl-instead table").first
    assert table.locator("caption").inner_text()
    assert table.locator("tbody tr").count() == len(store.run(run).steps)
    assert not visit.page.get_by_test_id("stPlotlyChart").count()
    visit.page.locator(".st-key-nav").get_by_text("Token", exact=True).click()
    visit.wait_for_query("charts", "tables")
    assert urlsplit(visit.page.url).path == "/token"
