"""A real headless Chromium on a running atlas: filter, open, follow, step, decompose, look.

The atlas is started as `make demo` starts it when the bundle is there, over the tiny store
otherwise. Screenshots stay in `screenshots/` beside this file, light and dark.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from atlas.places import APP, DEMO, ROOT, STORE_VARIABLE
from atlas.store import Store
from tests.browser.chromium import find

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = pytest.mark.browser
SCREENSHOTS = Path(__file__).parent / "screenshots"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]
IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
HEADER, ROW = 36, 27
"""Pixels of a table's head and of a row."""
SLOW = 90_000
"""Milliseconds; two busy cores may take long to start a language model."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def store(tiny_store: Path) -> Store:
    """The bundle when it is built, else the tiny store."""
    return Store.open(DEMO if (DEMO / "CURRENT.json").is_file() else tiny_store)


@pytest.fixture(scope="module")
def address(store: Store) -> Iterator[str]:
    """A running atlas, ended with the tests."""
    port = free_port()
    if store.folder == DEMO:
        command = [sys.executable, "-m", "precompute", "demo", "--port", str(port)]
    else:
        command = [
            sys.executable, "-m", "streamlit", "run", str(APP), "--server.port", str(port),
        ]
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {STORE_VARIABLE: str(store.folder)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )
    found = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(found, process)
        yield found
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(20)


def wait_until_healthy(address: str, process: subprocess.Popen) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(300):
        assert process.poll() is None, "the atlas ended before it answered"
        try:
            with opener.open(f"{address}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    pytest.fail("the atlas did not answer within a minute")


@pytest.fixture(scope="module")
def chromium() -> Iterator["playwright.Browser"]:
    """One browser for all tests of this file."""
    path = find()
    if path is None:
        pytest.skip("no Chromium is here; `apt-get install chromium` provides one")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS, headless=True)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A tab, and all that passed between it and the server."""

    page: "playwright.Page"
    address: str
    runs: int = 0
    """Finished runs of the script so far; a run that only hands over to another page is none."""
    received: int = 0
    """Bytes over the websocket so far."""
    sent: int = 0
    """Messages to the server so far."""
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on("request", self.requested)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("websocket", self.connected)

    def connected(self, socket: "playwright.WebSocket") -> None:
        socket.on("framereceived", self.frame)
        socket.on("framesent", self.told)

    def told(self, payload: bytes | str) -> None:
        self.sent += 1

    def requested(self, request: "playwright.Request") -> None:
        parts = urlsplit(request.url)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.hostname != "127.0.0.1":
            self.foreign.append(request.url)

    def frame(self, payload: bytes | str) -> None:
        if isinstance(payload, str):
            return
        self.received += len(payload)
        message = ForwardMsg()
        message.ParseFromString(payload)
        if message.WhichOneof("type") == "script_finished":
            self.runs += message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY

    def open(self, path: str) -> None:
        self.page.goto(f"{self.address}/{path}")
        self.settle()

    def settle(self) -> None:
        """Wait until the script has run and the page is drawn."""
        self.page.wait_for_timeout(150)
        self.page.wait_for_selector(IDLE, timeout=SLOW)
        self.page.wait_for_timeout(350)
        assert not self.page.locator('[data-testid="stException"]').count()

    def query(self) -> dict[str, str]:
        return {k: v[-1] for k, v in parse_qs(urlsplit(self.page.url).query).items()}

    def wait_for_query(self, name: str, value: str) -> None:
        self.page.wait_for_function(
            "([n, v]) => new URLSearchParams(location.search).get(n) === v",
            arg=[name, value], timeout=SLOW,
        )
        self.settle()

    def click_cell(self, table: int, row: int, x: float = 30) -> None:
        """Click into a canvas table; `x` in pixels from its left edge.

        A table that is still being drawn swallows a click; then it is clicked again.
        """
        grid = self.page.locator('[data-testid="stDataFrame"]').nth(table)
        grid.scroll_into_view_if_needed()
        before = self.sent
        for _ in range(5):
            box = grid.bounding_box()
            assert box is not None
            self.page.mouse.click(box["x"] + x, box["y"] + HEADER + ROW * row + ROW / 2)
            for _ in range(20):
                if self.sent > before:
                    return
                self.page.wait_for_timeout(100)
        pytest.fail("the table took no click")

    def keep(self, name: str) -> Path:
        """A screenshot of the whole page."""
        SCREENSHOTS.mkdir(exist_ok=True)
        height = self.page.evaluate(
            "document.querySelector('[data-testid=stMain]').scrollHeight"
        )
        self.page.set_viewport_size({"width": 1280, "height": min(max(900, height + 8), 4000)})
        self.page.wait_for_timeout(800)
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=path)
        self.page.set_viewport_size({"width": 1280, "height": 900})
        return path


@pytest.fixture
def visit(chromium: "playwright.Browser", address: str) -> Iterator[Visit]:
    """A new visitor with a light screen."""
    with chromium.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme="light"
    ) as context:
        tab = Visit(context.new_page(), address)
        tab.page.set_default_timeout(SLOW)
        tab.listen()
        yield tab
    assert tab.foreign == []
    assert tab.errors == []


def first_run(store: Store) -> str:
    """The run that opens first."""
    from pages.shared import default_run

    return default_run(store.runs())


def test_browse_filters_and_opens_a_feature_in_one_run_each(visit: Visit, store: Store) -> None:
    run = first_run(store)
    card = store.run(run)
    visit.open("")
    assert visit.query()["run"] == run
    assert f"{card.d_sae:,} of {card.d_sae:,} features" in visit.page.inner_text("body")
    wanted = int(store.browse(run)[1]["feature"].iloc[2])

    before, bytes_before = visit.runs, visit.received
    box = visit.page.get_by_role("textbox", name="search a label, a kind or a token")
    box.fill(f"#{wanted}")
    box.press("Enter")
    visit.wait_for_query("q", f"#{wanted}")
    assert f"1 of {card.d_sae:,} features" in visit.page.inner_text("body")
    assert visit.runs - before == 1
    assert visit.received - bytes_before < 100_000

    before, bytes_before = visit.runs, visit.received
    visit.click_cell(0, 0)
    visit.wait_for_query("feature", str(wanted))
    assert urlsplit(visit.page.url).path == "/feature"
    assert visit.runs - before == 1
    assert visit.received - bytes_before < 100_000
    assert "Life of the feature." in visit.page.inner_text("body")

    visit.page.go_back()
    visit.wait_for_query("q", f"#{wanted}")
    assert "Births by step" in visit.page.inner_text("body")


def test_the_third_row_of_the_second_page_is_the_feature_that_opens(
    visit: Visit, store: Store
) -> None:
    run = first_run(store)
    total, frame = store.browse(run, "feature", False, limit=100, offset=0)
    visit.open(f"?run={run}&sort=feature")
    row = min(5, total - 1)
    visit.click_cell(0, row, x=200)
    visit.wait_for_query("feature", str(int(frame["feature"].iloc[row])))


def test_a_neighbour_opens_and_back_returns(visit: Visit, store: Store) -> None:
    run = first_run(store)
    feature = int(store.browse(run)[1]["feature"].iloc[0])
    near = store.feature(run, feature).neighbours.features
    visit.open(f"feature?run={run}&feature={feature}")
    before = visit.runs
    visit.click_cell(0, 1)
    visit.wait_for_query("feature", str(int(near[1])))
    assert visit.runs - before == 1
    visit.page.go_back()
    visit.wait_for_query("feature", str(feature))


def test_a_token_in_a_fragment_opens_within_the_session(visit: Visit, store: Store) -> None:
    run = first_run(store)
    visit.open(f"feature?run={run}")
    before = visit.runs
    link = visit.page.locator(".atl-heat td a").last
    wanted = parse_qs(urlsplit(link.get_attribute("href") or "").query)["token"][0]
    link.click()
    visit.wait_for_query("token", wanted)
    assert urlsplit(visit.page.url).path == "/token"
    assert visit.runs - before == 1
    assert "What builds this row." in visit.page.inner_text("body")


def test_figures_follow_the_theme_without_a_reload(visit: Visit, store: Store) -> None:
    visit.open(f"feature?run={first_run(store)}")
    line = visit.page.locator(".js-plotly-plot .js-line").last
    before = line.get_attribute("style")
    visit.page.emulate_media(color_scheme="dark")
    visit.page.wait_for_function(
        "([old]) => ([...document.querySelectorAll('.js-plotly-plot .js-line')].at(-1)"
        "?.getAttribute('style') ?? old) !== old",  # none while the figure is drawn anew
        arg=[before], timeout=SLOW,
    )
    visit.settle()


def test_the_step_moves_every_view(visit: Visit, store: Store) -> None:
    run = first_run(store)
    steps = store.run(run).steps
    visit.open(f"feature?run={run}")
    slider = visit.page.get_by_role("slider").first
    slider.focus()
    slider.press("ArrowLeft")
    visit.wait_for_query("step", str(steps[-2]))
    assert f"at step {steps[-2]:,}" in visit.page.inner_text("body")
    visit.page.get_by_test_id("stPageLink").get_by_text("Token").click()
    visit.page.wait_for_url(re.compile("/token"))
    visit.settle()
    assert visit.query()["step"] == str(steps[-2])
    assert f"at step {steps[-2]:,}" in visit.page.inner_text("body")


def test_a_typed_prompt_is_decomposed(visit: Visit, store: Store) -> None:
    run = first_run(store)
    visit.open(f"decompose?run={run}")
    box = visit.page.get_by_role("textbox", name="prompt: the model continues it by one token")
    box.fill("In the beginning the")
    visit.page.get_by_role("button", name="Decompose").click()
    visit.wait_for_query("prompt", "In the beginning the")
    body = visit.page.inner_text("body")
    found = re.search(r"exact (\S+) = base (\S+) \+ features (\S+) \+ residual (\S+)", body)
    assert found is not None
    exact, base, features, residual = (float(x.replace("−", "-")) for x in found.groups())
    assert exact == pytest.approx(base + features + residual, abs=2e-3)
    assert "The gate" in body
    grid = visit.page.locator('[data-testid="stDataFrame"]').first.bounding_box()
    assert grid is not None
    visit.click_cell(0, 2, x=grid["width"] - 20)
    visit.page.wait_for_function("location.search.includes('versus=')", timeout=SLOW)
    visit.settle()
    assert visit.query()["versus"].startswith("#")
    visit.page.get_by_text("each snapshot's own model's").click()
    visit.wait_for_query("hidden", "own")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_seen_in_light_and_dark(
    chromium: "playwright.Browser", address: str, store: Store, scheme: str
) -> None:
    run = first_run(store)
    ground = {"light": "rgb(251, 249, 244)", "dark": "rgb(19, 23, 27)"}[scheme]
    with chromium.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme=scheme
    ) as context:
        tab = Visit(context.new_page(), address)
        tab.page.set_default_timeout(SLOW)
        tab.listen()
        for name in ("", "feature", "token", "decompose", "runs", "method"):
            tab.open(f"{name}?run={run}")
            kept = tab.keep(f"{name or 'browse'}-{scheme}")
            assert kept.stat().st_size > 20_000
            painted = tab.page.evaluate(
                "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"
            )
            assert painted == ground
            wide = tab.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 1280
    assert tab.foreign == []
    assert tab.errors == []
