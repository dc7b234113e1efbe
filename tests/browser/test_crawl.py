"""A crawl: after a restart every link shows the view it showed before.

A longer one: `python -m tests.browser.crawling --store DIR --views 200`.
"""

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from atlas.store import Store
from pages.shared import PAGES
from tests.browser.crawling import Crawl, View, crawl, kind_of, plain
from tests.browser.visits import first_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

VIEWS = 14


@pytest.mark.browser
def test_every_link_of_a_crawl_restores_its_view_after_a_restart(
    chromium: "Browser", store: Store
) -> None:
    run = first_run(store)
    step = store.run(run).steps[-2]
    starts = [
        f"?{urlencode({'run': run, 'sort': 'rate_final', 'order': 'up', 'step': step})}",
        f"?{urlencode({'run': run, 'where': 'rate_final:0.01..;alive:no'})}",
        f"?{urlencode({'run': run, 'like': 3, 'view': 'map'})}",
        f"feature?{urlencode({'run': run, 'feature': 2, 'step': step, 'charts': 'tables'})}",
        f"token?{urlencode({'run': run, 'token': 270, 'step': step})}",
        f"decompose?{urlencode({'run': run, 'prompt': 'the water and', 'step': step})}",
        *(f"reorganisation?{urlencode({'run': run, 'step': step, **view})}" for view in (
            {"births": "floor", "lives": "peak"},
            {"view": "window", "window": "2..9", "most": "turn"},
            {"view": "controls"},
        )),
        *(f"{page}?{urlencode({'run': run})}"
          for page in ("collections", "comparison", "runs", "method")),
    ]
    found, wrong = crawl(chromium, store.folder, starts, VIEWS)
    assert wrong == []
    assert len(found.views) >= VIEWS
    pages = {address.split("?")[0] or "browse" for address in found.views}
    assert pages == set(PAGES)


def test_the_next_link_is_of_the_kind_that_was_seen_least() -> None:
    crawled = Crawl([])
    for address in ("?run=a", "?run=b", "?run=c", "feature?run=a", "?q=x&run=a", "?run=a"):
        crawled.found(address)
    assert [crawled.next() for _ in range(5)] == [
        "?run=a", "feature?run=a", "?q=x&run=a", "?run=b", "?run=c",
    ]
    assert not crawled.waiting


def test_an_address_is_the_same_whatever_the_order_of_its_parameters() -> None:
    one = plain("http://127.0.0.1:1/feature?run=a%2Fb&step=3&hash=0123456789ab")
    assert one == plain("http://127.0.0.1:2/feature?step=3&run=a/b") == "feature?run=a%2Fb&step=3"
    assert kind_of(one) == ("feature", "run", "step")
    assert View("", (), (), (), ()) != View("", ("x",), (), (), ())
