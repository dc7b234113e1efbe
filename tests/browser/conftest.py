"""Fixtures of the browser tests: a store, an atlas on it, a Chromium, a visitor's tab."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from atlas.places import DEMO
from atlas.store import Store
from tests.browser.visits import Visit, browser, serve, visit_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def store(tiny_store: Path) -> Store:
    """The bundle when it is built, else the tiny store."""
    return Store.open(DEMO if (DEMO / "CURRENT.json").is_file() else tiny_store)


@pytest.fixture(scope="session")
def address(store: Store) -> Iterator[str]:
    """A running atlas, ended with the tests."""
    served = serve(store.folder)
    yield served.address
    served.end()


@pytest.fixture(scope="session")
def chromium() -> Iterator["Browser"]:
    """One browser for all tests."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with browser() as opened:
        if opened is None:
            pytest.skip("no Chromium is here; `apt-get install chromium` provides one")
        yield opened


@pytest.fixture
def visit(chromium: "Browser", address: str) -> Iterator[Visit]:
    """A visitor with a light screen, who leaves without an error or a word to anyone outside."""
    with visit_of(chromium, address) as tab:
        yield tab
    assert tab.foreign == []
    assert tab.errors == []
