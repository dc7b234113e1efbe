"""Open the atlas in a browser: the pages run as a process of their own, watched from here."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from atlas.errors import AtlasError, InvalidValue, NotFound
from atlas.places import APP, ROOT, STORE_VARIABLE
from atlas.store import Store

DEFAULT_PORT = 8501
PORTS_TRIED = 100
LOOPBACK = "127.0.0.1"
PATIENCE = 90.0
"""Seconds the pages may take to answer for the first time; a cold disk is slow."""


def is_free(port: int, address: str = LOOPBACK) -> bool:
    """Whether nothing listens on a port."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def choose_port(wanted: int | None, address: str = LOOPBACK) -> int:
    """The named port if it is free; without one, the first free port from 8501 on.

    Raises:
        InvalidValue: the named port is taken; the line names a free one.
    """
    start = wanted if wanted is not None else DEFAULT_PORT
    end = min(start + PORTS_TRIED, 65536)
    free = next((p for p in range(start, end) if is_free(p, address)), None)
    if free is None:
        raise InvalidValue(f"ports {start} to {end - 1} are all in use; name another with --port")
    if wanted is not None and free != wanted:
        raise InvalidValue(f"port {wanted} is in use; port {free} is free: use --port {free}")
    return free


def check_store(store_dir: Path) -> None:
    """Open a store as the pages will, so that its fault is told before they start."""
    Store.open(store_dir)


def serve(
    store_dir: Path,
    port: int | None,
    announce: Callable[[str], None],
    address: str = LOOPBACK,
    browser: bool = False,
) -> None:
    """Run the pages over a store until they end or are interrupted.

    Args:
        store_dir: a published store.
        port: the port, or None for the first free one.
        announce: receives the one line that gives the address, once the pages answer.
        address: network address to listen on.
        browser: open the address in a browser where there is a screen.

    Raises:
        InvalidValue: the port is in use.
        AtlasError: the pages did not come up.
    """
    if not APP.is_file():
        raise NotFound(
            f"{APP} is not there: the pages are not installed; clone the project and run "
            "`pip install -e .` in it"
        )
    check_store(store_dir)
    port = choose_port(port, address)
    with _pages(store_dir, port, address) as pages:
        host = LOOPBACK if address == "0.0.0.0" else address
        _wait_until_open(pages, f"http://{host}:{port}/_stcore/health")
        announce(f"Readout Atlas is open at http://{host}:{port}")
        if browser and _has_screen():
            webbrowser.open(f"http://{host}:{port}")
        status = pages.wait()
    raise AtlasError(f"the pages ended by themselves with status {status}; their reason is above")


@contextmanager
def _pages(store_dir: Path, port: int, address: str) -> Iterator[subprocess.Popen[bytes]]:
    """The pages as a child process that never outlives the block."""
    command = [
        sys.executable, "-m", "streamlit", "run", str(APP),
        "--server.address", address, "--server.port", str(port), "--server.headless", "true",
        "--server.fileWatcherType", "none", "--browser.gatherUsageStats", "false",
    ]
    environment = os.environ | {STORE_VARIABLE: str(store_dir), "PYTHONPATH": _python_path()}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _python_path() -> str:
    inherited = os.environ.get("PYTHONPATH")
    return os.pathsep.join([str(ROOT), inherited]) if inherited else str(ROOT)


def _wait_until_open(pages: subprocess.Popen[bytes], url: str) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if pages.poll() is not None:
            raise AtlasError(
                f"the pages ended with status {pages.returncode} before they opened; "
                "`readout-atlas doctor` looks for the cause"
            )
        try:
            with opener.open(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise AtlasError(f"the pages did not answer at {url} within {PATIENCE:.0f} s")


def _has_screen() -> bool:
    if sys.platform in {"darwin", "win32"}:
        return sys.stdout.isatty()
    has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(has_display) and sys.stdout.isatty()
