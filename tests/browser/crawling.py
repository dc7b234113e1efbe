"""A crawl through the atlas: every link it finds must restore its view after a restart.

    python -m tests.browser.crawling --store DIR [--views N]

Links are those of the bar, of the fragments, and those that clicks into tables lead to. Of all
that are waiting the next one taken is of the kind (its page and the names of its parameters) that
was seen least, so that a few views cover many kinds.
"""

import argparse
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.browser.visits import TOUR_SEEN, Served, Visit, browser, free_port, serve

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext

TABS = 3
"""Tabs that open at once."""
PARTS = ("address", "words", "rows", "figures", "fields")
LINKS = "[...document.querySelectorAll('.st-key-nav a[href], .atl a[href]')].map(a => a.href)"
TABLES = '[data-testid="stDataFrame"]'
DRAWN = """
() => {
  const all = (what) => [...document.querySelectorAll(what)];
  return !all('[data-testid=stSkeleton], [data-testid=stSpinner]').length
    && all('[data-testid=stDataFrame]').every((t) => t.querySelector('canvas table tr td'))
    && all('[data-testid=stPlotlyChart]').every((f) => f.querySelector('.main-svg'));
}
"""
SHOWN = """
() => {
  const main = document.querySelector('[data-testid=stMain]');
  const tables = [...main.querySelectorAll('[data-testid=stDataFrame] canvas table')];
  const fields = [...main.querySelectorAll('input:not([type=hidden]), textarea')];
  return {
    words: [...main.querySelectorAll('.atl')].map((a) => a.innerText.trim()).filter(Boolean),
    rows: tables.map((t) => [...t.querySelectorAll('tr')].slice(0, 2).map((r) => r.textContent)),
    figures: [...main.querySelectorAll('[role=figure]')].map((f) => f.ariaLabel),
    fields: fields.map((f) => [f.ariaLabel, f.type === 'checkbox' ? f.checked : f.value]),
  };
}
"""


@dataclass(frozen=True)
class View:
    """What a reader sees at an address."""

    address: str
    """The one that the page itself settled on, without a hash of data."""
    words: tuple[str, ...]
    """Text of every fragment: headlines, counts, captions, lists."""
    rows: tuple[tuple[str, ...], ...]
    """Head and first row of every table."""
    figures: tuple[str, ...]
    """What a screen reader hears of every figure."""
    fields: tuple[tuple[str, object], ...]
    """Label and value of every field."""


@dataclass
class Crawl:
    """A crawl under way."""

    waiting: list[str]
    views: dict[str, View] = field(default_factory=dict)
    kinds: Counter = field(default_factory=Counter)
    met: set[str] = field(default_factory=set)

    def found(self, address: str) -> None:
        if address not in self.met:
            self.met.add(address)
            self.waiting.append(address)

    def next(self) -> str:
        """One of the kind that was seen least; the first found of them."""
        best = min(self.waiting, key=lambda address: self.kinds[kind_of(address)])
        self.waiting.remove(best)
        self.kinds[kind_of(best)] += 1
        return best


def plain(address: str) -> str:
    """Path and parameters of an address, in order, without a hash of data."""
    parts = urlsplit(address)
    asked = sorted((k, v) for k, v in parse_qsl(parts.query) if k != "hash")
    return f"{parts.path.strip('/')}?{urlencode(asked)}"


def kind_of(address: str) -> tuple[str, ...]:
    """The page and the names of its parameters."""
    parts = urlsplit(address)
    return (parts.path.strip("/"), *sorted({k for k, _ in parse_qsl(parts.query)}))


def seen(visit: Visit) -> View:
    """What a settled page shows, read again until it stays the same for three readings."""
    same, last = 0, None
    for _ in range(100):
        visit.page.wait_for_function(DRAWN, timeout=90_000)
        shown = visit.page.evaluate(SHOWN)
        same = same + 1 if shown == last else 0
        if same == 2:
            break
        last = shown
        visit.page.wait_for_timeout(250)
    return View(
        plain(visit.page.url), tuple(shown["words"]),
        tuple(tuple(rows) for rows in shown["rows"]), tuple(shown["figures"]),
        tuple((name, value) for name, value in shown["fields"]),
    )


def begin(context: "BrowserContext", served: Served, address: str) -> Visit:
    """Start to open an address in a fresh tab."""
    visit = Visit(context.new_page(), served.address)
    visit.page.set_default_timeout(90_000)
    visit.listen()
    visit.page.goto(f"{served.address}/{address}", wait_until="commit")
    return visit


def look(visit: Visit, address: str) -> View:
    """What a tab shows once it is drawn."""
    visit.page.wait_for_selector(".st-key-context")
    visit.settle()
    found = seen(visit)
    assert visit.errors == [], (address, visit.errors)
    assert "Traceback" not in " ".join(found.words), address
    return found


def explore(chromium: "Browser", served: Served, starts: list[str], most: int) -> Crawl:
    """Follow links until `most` different views were seen."""
    crawl = Crawl([])
    for start in starts:
        crawl.found(start)
    draw = random.Random(0)
    clicks: set[str] = set()
    with chromium.new_context(viewport={"width": 1280, "height": 900}) as context:
        context.add_init_script(TOUR_SEEN)
        while crawl.waiting and len(crawl.views) < most:
            asked = crawl.next()
            visit = begin(context, served, asked)
            view = look(visit, asked)
            crawl.met.add(view.address)
            crawl.views.setdefault(view.address, view)
            links = [plain(link) for link in visit.page.evaluate(LINKS)
                     if link.startswith(served.address)]
            for link in draw.sample(links, min(len(links), 60)):
                crawl.found(link)
            page = asked.split("?")[0]
            if page not in clicks and visit.page.locator(TABLES).count():
                clicks.add(page)
                crawl.found(clicked(visit))
            visit.page.close()
    return crawl


def clicked(visit: Visit) -> str:
    """The address that a click into the second row of the first table leads to."""
    before = visit.runs
    try:
        visit.click_cell(0, 1)
    except AssertionError:
        return plain(visit.page.url)  # a table that is only read
    for _ in range(100):
        if visit.runs > before:
            break
        visit.page.wait_for_timeout(50)
    visit.settle()
    return plain(visit.page.url)


def differences(chromium: "Browser", served: Served, views: dict[str, View]) -> list[str]:
    """Open every view in a fresh tab; a line for each that is not the one seen before."""
    wrong = []
    with chromium.new_context(viewport={"width": 1280, "height": 900}) as context:
        context.add_init_script(TOUR_SEEN)
        addresses = list(views)
        for low in range(0, len(addresses), TABS):
            some = addresses[low : low + TABS]
            for address, visit in [(a, begin(context, served, a)) for a in some]:
                before, now = views[address], look(visit, address)
                visit.page.close()
                for part in PARTS:
                    then, here = getattr(before, part), getattr(now, part)
                    if then != here:
                        wrong.append(f"{address}: {part} {_first(then, here)}")
    return wrong


def _first(before: object, now: object) -> str:
    """The first place at which two things differ."""
    if isinstance(before, tuple) and isinstance(now, tuple) and len(before) == len(now):
        before, now = next((a, b) for a, b in zip(before, now, strict=True) if a != b)
    return f"was {str(before)[:200]!r}, is {str(now)[:200]!r}"


def crawl(
    chromium: "Browser", store: Path, starts: list[str], most: int
) -> tuple[Crawl, list[str]]:
    """Explore, restart the atlas at the same port, open every view again."""
    port = free_port()
    served = serve(store, port)
    try:
        found = explore(chromium, served, starts, most)
    finally:
        served.end()
    served = serve(store, port)
    try:
        return found, differences(chromium, served, found.views)
    finally:
        served.end()


def main() -> int:
    """Crawl a store and say what was not restored."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--views", type=int, default=100)
    args = parser.parse_args()
    begun = time.monotonic()
    with browser() as chromium:
        assert chromium is not None, "no Chromium is here; `make browser` gets one"
        found, wrong = crawl(chromium, args.store.resolve(), ["?"], args.views)
    pages = Counter(address.split("?")[0] or "browse" for address in found.views)
    print(f"{len(found.views)} views ({', '.join(f'{n} {p}' for p, n in pages.items())}), "
          f"{len(found.kinds)} kinds, {time.monotonic() - begun:.0f} s")
    print("\n".join(wrong) or "each is restored after the restart")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
