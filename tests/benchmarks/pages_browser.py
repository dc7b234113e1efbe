"""A reader's clicks in a real Chromium: seconds to painted, bytes, runs and server time of each."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING
from urllib.parse import quote

from tests.benchmarks.pages_painted import STOPWATCH, Seen, landed, timed
from tests.browser.visits import HEADER, ROW, SLOW, Visit, serve, visit_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REPEATS = 9
"""Times that an act is measured; one more, the first, is thrown away."""
TABLE = '[data-testid="stDataFrame"]'
WORDS = ("ing", " the", "er", "al", "un", "re", "in", "on", "ed", "ly", "es", "st")
"""What is typed into the search, another word each time, so that no answer is cached."""


def summary(seen: list[Seen]) -> dict[str, float]:
    """Median, smallest and largest seconds; medians of bytes and runs; mean server time in ms."""
    seconds = sorted(s.seconds for s in seen)
    return {
        "median": median(seconds), "least": seconds[0], "most": seconds[-1],
        "bytes": median(s.bytes for s in seen), "runs": max(s.runs for s in seen),
        "cpu": 1000 * sum(s.cpu for s in seen) / len(seen), "times": len(seen),
    }


class Reader:
    """Does one kind of act after another in one tab and keeps what each took."""

    def __init__(self, visit: Visit, pid: int, repeats: int) -> None:
        self.visit = visit
        self.page = visit.page
        self.pid = pid
        self.repeats = repeats
        self.found: dict[str, list[Seen]] = {}

    def does(self, name: str, act: Callable[[int], None], until: str = "",
             before: Callable[[int], None] | None = None) -> None:
        """Repeat an act; `before` brings the page to where it can be done, unmeasured."""
        seen = []
        for turn in range(self.repeats + 1):
            if before is not None:
                before(turn)
            seen.append(timed(self.visit, lambda t=turn: act(t), self.pid, until))
        self.found[name] = seen[1:]

    def cell(self, key: str, row: int, x: float = 200) -> None:
        """Click into a row of the table of a key."""
        box = self.page.locator(f".st-key-{key} {TABLE}").bounding_box()
        assert box is not None, f"there is no table {key}"
        self.page.mouse.click(box["x"] + x, box["y"] + HEADER + ROW * row + ROW / 2)

    def show(self, key: str) -> None:
        """Bring a table into the window."""
        self.page.locator(f".st-key-{key} {TABLE}").scroll_into_view_if_needed()

    def link(self, name: str) -> None:
        self.page.locator(".st-key-nav").get_by_text(name, exact=True).click()

    def type(self, key: str, text: str) -> None:
        box = self.page.locator(f".st-key-{key} input").first
        box.fill(text)
        box.press("Enter")

    def choose(self, key: str, place: int) -> None:
        """Open a selection and take the entry at a place; the last press is what counts."""
        self.page.locator(f".st-key-{key} input").first.click()
        entries = self.page.get_by_role("option")
        entries.first.wait_for(timeout=SLOW)
        entries.nth(place).click()


def acts(reader: Reader, address: str, run: str, features: list[int]) -> None:
    """Everything a reader does on Browse, Feature and Token."""
    page, visit = reader.page, reader.visit
    start = f"{address}/?run={quote(run)}"

    def browse(_: int = 0) -> None:
        page.goto(start)
        visit.settle()
        page.locator(TABLE).first.wait_for(timeout=SLOW)

    browse()
    reader.does("filter", lambda t: reader.type("browse_q", WORDS[t % len(WORDS)]))
    browse()
    reader.does("sort", lambda t: reader.choose("browse_sort", 1 + t))
    browse()
    further = page.get_by_test_id("stPaginationNext")
    if further.count():  # a small store has one page
        reader.does("page", lambda t: further.click())
    browse()
    slider = page.locator(".st-key-step").get_by_role("slider").first
    slider.focus()
    reader.does("step of Browse", lambda t: slider.press("ArrowLeft"))
    browse()
    reader.does(
        "row to feature", lambda t: reader.cell("browse_table", t),
        "location.pathname.endsWith('/feature')",
        before=lambda t: back_to_browse(reader) if t else reader.show("browse_table"),
    )
    page.goto(f"{address}/feature?run={quote(run)}&feature={features[0]}")
    visit.settle()
    reader.does("next with n", lambda t: page.keyboard.press("n"))
    near = page.locator(".atl-near a")
    reader.does("neighbour to next feature", lambda t: near.nth(2).click(),
                before=lambda t: near.first.scroll_into_view_if_needed())
    page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 0)")
    slider = page.locator(".st-key-step").get_by_role("slider").first
    slider.focus()
    reader.does("step of Feature", lambda t: slider.press("ArrowLeft"))
    page.goto(f"{address}/token?run={quote(run)}&token=300")
    visit.settle()
    reader.does("token search", lambda t: reader.type("token_search", WORDS[t % len(WORDS)]))


def turns_over(reader: Reader, address: str, run: str) -> None:
    """The population through training and its window."""
    page, visit = reader.page, reader.visit
    page.goto(f"{address}/?run={quote(run)}")
    visit.settle()
    reader.does(
        "population page", lambda t: reader.link("Births & reorganisation"),
        until="location.pathname.endsWith('/reorganisation')"
        " && !!document.querySelector('.js-plotly-plot .main-svg')",
        before=lambda t: back_to_browse(reader) if t else None,
    )
    orders = page.locator(".st-key-population_lives")
    reader.does("order of the lives",
                lambda t: orders.get_by_text("birth" if t % 2 else "peak", exact=True).click())
    page.goto(f"{address}/reorganisation?run={quote(run)}&view=window")
    visit.settle()
    page.locator(".st-key-window_typed input").first.wait_for(timeout=SLOW)
    reader.does("another window", lambda t: reader.type("window_typed", f"100..{400 + 50 * t}"))


def back_to_browse(reader: Reader) -> None:
    reader.link("Browse")
    reader.page.wait_for_function("location.pathname === '/'", timeout=SLOW)
    reader.visit.settle()
    reader.show("browse_table")


def opens_map(reader: Reader, address: str, run: str) -> None:
    """The map of Browse, from its switch to the painted points, and back in between."""
    page, visit = reader.page, reader.visit
    page.goto(f"{address}/?run={quote(run)}")
    visit.settle()
    switch = page.locator(".st-key-browse_view")
    if not switch.count():
        return

    def table(turn: int) -> None:
        if turn:
            switch.get_by_text("table", exact=True).click()
            visit.settle()

    reader.does("map opening", lambda t: switch.get_by_text("map", exact=True).click(),
                before=table, until="!!document.querySelector('.js-plotly-plot, canvas')")


@contextmanager
def watched(chromium: "Browser", address: str, returning: bool = True) -> Iterator[Visit]:
    """A tab of a new visitor with a stopwatch in it."""
    with visit_of(chromium, address, returning=returning) as visit:
        visit.page.context.add_init_script(STOPWATCH)
        yield visit


def landings(
    chromium: "Browser", address: str, pid: int, path: str, repeats: int,
    until: str = f"!!document.querySelector('{TABLE}')", returning: bool = True,
) -> list[Seen]:
    """Cold openings: each in a browser context of its own, with nothing kept, on a warm server."""
    found = []
    for _ in range(repeats + 1):
        with watched(chromium, address, returning) as visit:
            found.append(landed(visit, f"{address}/{path}", pid, until))
    return found[1:]


def empty(chromium: "Browser", folder: Path, repeats: int) -> list[Seen]:
    """Cold openings of a page of Streamlit's with one line of text: what no page can be below."""
    app = folder / "one_line.py"
    app.write_text("import streamlit as st\n\nst.text('one line')\n")
    served = serve(folder, app=app)
    try:
        return landings(chromium, served.address, served.process.pid, "", repeats,
                        until="!!document.querySelector('[data-testid=stText]')")
    finally:
        served.end()


def measure(
    chromium: "Browser", address: str, pid: int, run: str, features: list[int], folder: Path,
    repeats: int = REPEATS,
) -> dict[str, dict[str, float]]:
    """Every figure of the browser; `folder` is for the page to compare with."""
    found: dict[str, list[Seen]] = {}
    with watched(chromium, address) as visit:
        reader = Reader(visit, pid, repeats)
        acts(reader, address, run, features)
        opens_map(reader, address, run)
        turns_over(reader, address, run)
        found |= reader.found
        assert visit.errors == [], visit.errors
    landing = f"?run={quote(run)}"
    deep = f"feature?run={quote(run)}&feature={features[1]}"
    found["cold landing"] = landings(chromium, address, pid, landing, repeats)
    found["cold landing, tour shown"] = landings(
        chromium, address, pid, landing, min(repeats, 3), returning=False
    )
    found["cold deep link"] = landings(
        chromium, address, pid, deep, repeats, until="!!document.querySelector('.js-plotly-plot')"
    )
    found["empty page"] = empty(chromium, folder, repeats)
    return {name: summary(seen) for name, seen in found.items()}
