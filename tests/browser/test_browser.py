"""A real headless Chromium on a running atlas: filter, open, follow, step, decompose, look.

The atlas is started as `make demo` starts it when the bundle is there, over the tiny store
otherwise. Screenshots stay in `screenshots/` beside this file, light and dark.
"""

import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from atlas.browsing import Wish, page
from atlas.store import Store
from pages.shared import PAGES
from tests.browser.visits import SLOW, Visit, first_run, visit_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
GROUNDS = {"light": "rgb(251, 249, 244)", "dark": "rgb(19, 23, 27)"}
GROUND = "getComputedStyle(document.querySelector('[data-testid=stApp]')).backgroundColor"


def listed(store: Store, run: str, sort: str | None = None) -> list[int]:
    """The features of Browse's first page at the last step."""
    k = len(store.run(run).steps) - 1
    return page(store, run, k, Wish(sort=sort)).rows["feature"].tolist()


def test_browse_filters_and_opens_a_feature_in_one_run_each(visit: Visit, store: Store) -> None:
    run = first_run(store)
    card = store.run(run)
    visit.open("")
    assert visit.query()["run"] == run
    assert f"{card.d_sae:,} of {card.d_sae:,} features" in visit.page.inner_text("body")
    wanted = listed(store, run)[2]

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
    assert "births by step" in visit.page.inner_text("body")


def test_the_third_row_of_the_second_page_is_the_feature_that_opens(
    visit: Visit, store: Store
) -> None:
    run = first_run(store)
    found = listed(store, run, sort="feature")
    visit.open(f"?run={run}&sort=feature")
    row = min(5, len(found) - 1)
    visit.click_cell(0, row, x=200)
    visit.wait_for_query("feature", str(found[row]))


def test_a_neighbour_opens_and_back_returns(visit: Visit, store: Store) -> None:
    run = first_run(store)
    feature = listed(store, run)[0]
    near = store.feature(run, feature).neighbours.features
    visit.open(f"feature?run={run}&feature={feature}")
    before = visit.runs
    visit.page.locator(".atl-near a").nth(2).click()
    visit.wait_for_query("feature", str(int(near[1])))
    assert visit.runs - before == 1
    visit.page.go_back()
    visit.wait_for_query("feature", str(feature))


def test_one_row_can_be_clicked_again_and_again(visit: Visit, store: Store) -> None:
    """The second of a list of neighbours, of each feature that opens in turn."""
    run = first_run(store)
    feature = listed(store, run)[0]
    visit.open(f"feature?run={run}&feature={feature}")
    for _ in range(4):
        feature = int(store.feature(run, feature).neighbours.features[1])
        visit.page.locator(".atl-near a").nth(2).click()
        visit.wait_for_query("feature", str(feature))


def test_a_token_in_a_fragment_opens_within_the_session(visit: Visit, store: Store) -> None:
    run = first_run(store)
    visit.open(f"feature?run={run}&tokens=table")
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


@pytest.mark.parametrize("scheme", GROUNDS)
@pytest.mark.parametrize("width", [1280, 1920])
def test_every_page_is_seen_in_light_and_dark(
    chromium: "Browser", address: str, store: Store, scheme: str, width: int
) -> None:
    run = first_run(store)
    with visit_of(chromium, address, scheme, width) as tab:
        for name in PAGES:
            tab.open(f"{'' if name == 'browse' else name}?run={run}")
            kept = tab.keep(f"{name}-{width}-{scheme}")
            assert kept.stat().st_size > 20_000
            assert tab.page.evaluate(GROUND) == GROUNDS[scheme]
            assert overflow(tab) == 0
    assert tab.foreign == []
    assert tab.errors == []


def test_every_page_fits_a_telephone(chromium: "Browser", address: str, store: Store) -> None:
    run = first_run(store)
    with visit_of(chromium, address, width=390, height=844) as tab:
        for name in PAGES:
            tab.open(f"{'' if name == 'browse' else name}?run={run}")
            assert overflow(tab) == 0, name
            links = tab.page.locator(".st-key-nav a")
            for place in range(links.count()):
                box = links.nth(place).bounding_box()
                assert box is not None
                assert box["x"] >= 0
                assert box["x"] + box["width"] <= 390


def overflow(tab: Visit) -> int:
    """Pixels by which the page is wider than the window."""
    return tab.page.evaluate(
        "Math.max(document.documentElement.scrollWidth,"
        " document.querySelector('[data-testid=stMain]').scrollWidth) - innerWidth"
    )
