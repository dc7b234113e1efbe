"""What an act of a reader may cost whatever the machine: bytes and runs of the script."""

from typing import TYPE_CHECKING

import pytest

from atlas.store import Store
from tests.benchmarks import pages_browser
from tests.benchmarks.pages_painted import STOPWATCH, timed
from tests.benchmarks.pages_table import BYTES, RUNS, WORDS
from tests.browser.visits import Visit, first_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser


def test_each_act_is_one_run_and_few_bytes(
    chromium: "Browser", address: str, store: Store
) -> None:
    with pages_browser.watched(chromium, address) as visit:
        reader = pages_browser.Reader(visit, 0, 1)
        pages_browser.acts(reader, address, first_run(store), [0, 1])
        pages_browser.opens_map(reader, address, first_run(store))
        pages_browser.turns_over(reader, address, first_run(store))
        assert visit.errors == []
    wanted = {"filter", "sort", "row to feature", "next with n", "neighbour to next feature",
              "map opening", "token search", "population page", "another window"}
    assert wanted <= set(reader.found) <= set(WORDS)
    for name, (seen,) in reader.found.items():
        assert seen.runs == RUNS, name
        assert 0 < seen.bytes <= BYTES, (name, seen.bytes)
        assert 0 < seen.seconds < 90, name


def test_the_stopwatch_ends_with_the_last_change_and_not_with_the_wait(
    chromium: "Browser"
) -> None:
    late = (
        "<button onclick=\"setTimeout(() => document.body.append('a'), 200);"
        "setTimeout(() => document.querySelector('canvas').getContext('2d')"
        ".fillRect(0, 0, 5, 5), 270)\">go</button><canvas></canvas>"
    )
    with chromium.new_context() as context:
        context.add_init_script(STOPWATCH)
        visit = Visit(context.new_page(), "")
        visit.page.goto("data:text/html," + late)
        seen = timed(visit, visit.page.locator("button").click, 0,
                     "document.body.textContent.includes('goa')", answered=False, quiet=400)
        started, painted = visit.page.evaluate("[atlasWatch.act, atlasWatch.painted]")
        assert seen.seconds == pytest.approx((painted - started) / 1000)
        now = visit.page.evaluate("performance.now()")
        assert painted + 400 <= now
        assert seen.seconds >= 0.27
        assert seen.runs == seen.bytes == 0
