"""A running atlas and a visitor's tab: shared by the browser tests, the crawl, the benchmark."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from atlas.places import APP, DEMO, ROOT, STORE_VARIABLE
from atlas.store import Store
from tests.browser.chromium import find

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request, WebSocket

SCREENSHOTS = Path(__file__).parent / "screenshots"
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]
IDLE = '[data-testid="stApp"][data-test-script-state="notRunning"]'
TOUR_SEEN = "localStorage.setItem('readoutAtlasTour', 'seen')"
"""What a browser keeps once the tour of a first visit was shown."""
HEADER, ROW = 36, 27
"""Pixels of a table's head and of a row."""
SLOW = 90_000
"""Milliseconds; two busy cores may take long to start a language model."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Served:
    """An atlas that answers."""

    address: str
    process: subprocess.Popen

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(20)


def serve(store: Path, port: int | None = None, app: Path = APP) -> Served:
    """Start the atlas on a store, the bundle as `make demo` does, and wait until it answers.

    `app` may be another page of Streamlit's, to compare with.
    """
    port = port or free_port()
    if store == DEMO and app == APP:
        command = [sys.executable, "-m", "precompute", "demo", "--port", str(port)]
    else:
        command = [
            sys.executable, "-m", "streamlit", "run", str(app), "--server.port", str(port),
        ]
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | {STORE_VARIABLE: str(store)},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )
    served = Served(f"http://127.0.0.1:{port}", process)
    try:
        wait_until_healthy(served)
    except BaseException:
        served.end()
        raise
    return served


def wait_until_healthy(served: Served) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(300):
        assert served.process.poll() is None, "the atlas ended before it answered"
        try:
            with opener.open(f"{served.address}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the atlas did not answer within a minute")


@contextmanager
def browser() -> Iterator["Browser | None"]:
    """A headless Chromium, None where there is none."""
    path = find()
    if path is None:
        yield None
        return
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=path, args=FLAGS, headless=True)
        yield opened
        opened.close()


@contextmanager
def visit_of(
    chromium: "Browser", address: str, scheme: str = "light", width: int = 1280,
    height: int = 900, returning: bool = True,
) -> Iterator["Visit"]:
    """A tab of a visitor of its own, who has seen the tour unless `returning` is False."""
    with chromium.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme
    ) as context:
        if returning:
            context.add_init_script(TOUR_SEEN)
        tab = Visit(context.new_page(), address)
        tab.page.set_default_timeout(SLOW)
        tab.listen()
        yield tab


@dataclass
class Visit:
    """A tab, and all that passed between it and the server."""

    page: "Page"
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

    def connected(self, socket: "WebSocket") -> None:
        socket.on("framereceived", self.frame)
        socket.on("framesent", self.told)

    def told(self, payload: bytes | str) -> None:
        self.sent += 1

    def requested(self, request: "Request") -> None:
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
        self.page.wait_for_function("window.readoutAtlas", timeout=SLOW)  # keys are heard from here
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
        raise AssertionError("the table took no click")

    def keep(self, name: str) -> Path:
        """A screenshot of the whole page."""
        SCREENSHOTS.mkdir(exist_ok=True)
        size = self.page.viewport_size or {"width": 1280, "height": 900}
        height = self.page.evaluate(
            "document.querySelector('[data-testid=stMain]').scrollHeight"
        )
        self.page.set_viewport_size({**size, "height": min(max(900, height + 8), 4000)})
        self.page.wait_for_timeout(800)
        path = SCREENSHOTS / f"{name}.png"
        self.page.screenshot(path=path)
        self.page.set_viewport_size(size)
        return path


def first_run(store: Store) -> str:
    """The run that opens first."""
    from pages.shared import default_run

    return default_run(store.runs())
