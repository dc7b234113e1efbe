"""Decompose in a real browser: a prompt, its rivals, steps, cells and edits; its link elsewhere.

Every act of a reader is one run of the script and at most 100 kB, on whatever machine.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from atlas.store import Store
from tests.browser.visits import SLOW, Visit, first_run, visit_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.browser
PROMPT = "In the beginning the"
MOST = 100_000
"""Bytes over the websocket for one act."""
HEAD = ("exact", "base", "features", "residual", "rho", "sign", "gate")
"""Numbers of the score's header."""
EDIT = ("score before", "after", "change", "predicted", "KL", "top-50 kept", "shift")
"""Numbers of an edit."""
CELL = ("score before", "after", "change", "KL", "NLL, position", "rank, position", "R², position")
"""Numbers of a cell of the readout swap."""


@contextmanager
def one_act(visit: Visit, name: str) -> Iterator[None]:
    """What happens inside is one act: it says so of its runs and bytes."""
    before, received = visit.runs, visit.received
    yield
    spent = visit.received - received
    print(f"{name}: {spent:,} bytes")
    assert visit.runs - before == 1, name
    assert 0 < spent <= MOST, (name, spent)


def facts(visit: Visit, within: str) -> dict[str, str]:
    """Names and values of a row of facts."""
    found = visit.page.locator(f"{within} .atl-facts").first
    found.wait_for(timeout=SLOW)
    names = found.locator("small").all_text_contents()
    return dict(zip(names, found.locator(".num").all_text_contents(), strict=True))


def header(visit: Visit) -> dict[str, str]:
    """The score's header, of which the four parts add up."""
    found = facts(visit, ".atl-head")
    assert set(HEAD) <= set(found)
    exact, base, features, residual = (
        float(found[name].replace("−", "-").replace("+", "")) for name in HEAD[:4]
    )
    assert exact == pytest.approx(base + features + residual, abs=0.02)
    return found


def turn_to(visit: Visit, words: str) -> None:
    """Choose a view by its name."""
    visit.page.locator(".st-key-decompose_view").get_by_text(words, exact=True).click()


def changes(visit: Visit, name: str, act: Callable[[], None]) -> str:
    """Do something, wait until a parameter of the address is another, and return it."""
    before = visit.query().get(name)
    act()
    visit.page.wait_for_function(
        "([n, v]) => new URLSearchParams(location.search).get(n) !== v",
        arg=[name, before], timeout=SLOW,
    )
    visit.settle()
    return visit.query().get(name, "")


def mark_in(visit: Visit, row: int, from_right: float) -> None:
    """Click a circle of the candidates' table."""
    grid = visit.page.locator(".st-key-decompose_top [data-testid=stDataFrame]").bounding_box()
    assert grid is not None
    visit.click_cell(0, row, x=grid["width"] - from_right)


def listening(visit: Visit, key: str) -> None:
    """Wait until a figure is drawn and hears clicks."""
    visit.page.wait_for_function(
        "k => document.querySelector(`.st-key-${k} .js-plotly-plot`)?.atlasListens", arg=key,
        timeout=SLOW,
    )
    visit.page.locator(f".st-key-{key}").scroll_into_view_if_needed()


def click_at(visit: Visit, x: float, y: float) -> None:
    """Click a mark of a figure, which is hovered before."""
    visit.page.mouse.move(x - 1, y - 1)
    visit.page.mouse.move(x, y)
    visit.page.wait_for_timeout(400)
    visit.page.mouse.click(x, y)


def in_grid(visit: Visit, across: float, down: float) -> None:
    """Click the grid of the readout swap; shares of its width and height."""
    box = visit.page.locator(".st-key-swap_grid .nsewdrag").first.bounding_box()
    assert box is not None
    click_at(visit, box["x"] + across * box["width"], box["y"] + down * box["height"])


def test_one_link_holds_what_a_reader_did_to_a_prompt(
    visit: Visit, chromium: "Browser", store: Store
) -> None:
    run = first_run(store)
    steps = store.run(run).steps
    visit.open(f"decompose?run={run}")

    # a prompt, and what its winner is compared with: by a click, then typed
    box = visit.page.get_by_role("textbox", name="prompt: the model continues it by one token")
    box.fill(PROMPT)
    with one_act(visit, "a prompt"):
        visit.page.get_by_role("button", name="Decompose").click()
        visit.wait_for_query("prompt", PROMPT)
    first = header(visit)
    with one_act(visit, "a rival by a click"):
        clicked = changes(visit, "versus", lambda: mark_in(visit, 2, 20))
    assert re.fullmatch(r"#\d+", clicked)
    assert header(visit)["exact"] != first["exact"]
    rival = visit.page.locator(".st-key-decompose_versus input")
    rival.fill("light")
    with one_act(visit, "a rival typed"):
        rival.press("Enter")
        visit.wait_for_query("versus", "light")
    against = header(visit)
    assert "light" in visit.page.locator(".atl-head .name").inner_text()

    # the snapshots
    slider = visit.page.get_by_role("slider").first
    slider.focus()
    with one_act(visit, "a step"):
        slider.press("ArrowLeft")
        visit.wait_for_query("step", str(steps[-2]))
    before = header(visit)
    assert before["exact"] != against["exact"]

    # another kind of score and back, which keeps the step
    with one_act(visit, "a kind of score"):
        visit.page.locator(".st-key-decompose_kind").get_by_role("combobox").click()
        visit.page.get_by_role("option", name="one token against the mean row", exact=True).click()
        visit.wait_for_query("kind", "centred")
    assert "ρ less base" in header(visit)
    visit.page.go_back()
    visit.wait_for_query("versus", "light")
    assert header(visit) == before

    # another feature of an edit, from the ledger's table
    with one_act(visit, "to the edits"):
        turn_to(visit, "change it")
        visit.wait_for_query("view", "edit")
    with one_act(visit, "a feature of an edit"):
        edit = changes(visit, "edit", lambda: visit.click_cell(1, 1))
    assert re.fullmatch(r"ablate:\d+,\d+", edit)
    shown = header(visit)
    assert shown == before
    done = facts(visit, ".atl-window")
    assert set(EDIT) <= set(done)
    assert done["score before"] == shown["exact"]

    # the link of the view, in a browser that knows nothing
    visit.page.get_by_test_id("stPopoverButton").filter(has_text="Link, code").click()
    link = visit.page.get_by_test_id("stPopoverBody").locator("code").first.inner_text()
    with visit_of(chromium, link.split("/decompose")[0]) as other:
        other.open(f"decompose{link.split('/decompose')[1]}")
        assert header(other) == shown
        assert facts(other, ".atl-window") == done
        assert other.errors == []
        assert other.foreign == []


def test_a_cell_of_the_swap_is_one_run_and_its_link_gives_the_same(
    visit: Visit, chromium: "Browser", store: Store
) -> None:
    run = first_run(store)
    visit.open(f"decompose?run={run}&prompt={PROMPT}")
    with one_act(visit, "to the readout swap"):
        turn_to(visit, "readout swap")
        visit.wait_for_query("view", "swap")
    whole = header(visit)
    listening(visit, "swap_grid")
    with one_act(visit, "a cell of the swap"):
        step = changes(visit, "step", lambda: in_grid(visit, 0.5, 0.1))
    assert int(step) in store.run(run).steps[1:-1]
    with one_act(visit, "another hidden state"):
        state = changes(visit, "state", lambda: in_grid(visit, 0.97, 0.97))
    assert int(state) == store.run(run).steps[0]
    assert visit.query()["step"] == str(store.run(run).steps[-1])
    assert header(visit) == whole
    found = facts(visit, ".atl-window")
    assert set(CELL) <= set(found)
    with visit_of(chromium, visit.address) as other:
        other.open("decompose?" + visit.page.url.split("?")[1])
        assert facts(other, ".atl-window") == found
        assert header(other) == whole


def test_cells_of_the_lens_and_marks_of_its_layers_are_one_run(
    visit: Visit, store: Store
) -> None:
    visit.open(f"decompose?run={first_run(store)}&prompt={PROMPT}")
    with one_act(visit, "to the inside of the model"):
        turn_to(visit, "inside the model")
        visit.wait_for_query("view", "inside")
    last = visit.page.locator("[data-atl-inside*=':']").last.get_attribute("data-atl-inside")
    place = str(last).split(":")[1]
    with one_act(visit, "a layer of the lens"):
        layer = changes(visit, "layer", lambda: visit.page.locator(
            f"[data-atl-inside='1:{place}']").click())
    assert layer == "0"
    whole = header(visit)
    with one_act(visit, "a position of the lens"):
        position = changes(visit, "position", lambda: visit.page.locator(
            "[data-atl-inside='1:1']").click())
    assert position == "1"
    assert header(visit) != whole
    listening(visit, "inside_layers")
    marks = visit.page.locator(".st-key-inside_layers .scatterlayer .point")
    with one_act(visit, "a mark of a layer"):
        box = marks.first.bounding_box()
        assert box is not None
        layer = changes(visit, "layer", lambda: click_at(
            visit, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))
    assert layer == "embedding"


def test_a_step_is_chosen_in_the_course_and_kept_by_every_view(
    visit: Visit, store: Store
) -> None:
    run = first_run(store)
    visit.open(f"decompose?run={run}&prompt={PROMPT}")
    with one_act(visit, "to the course of training"):
        turn_to(visit, "through training")
        visit.wait_for_query("view", "training")
    listening(visit, "decompose_odds")
    points = visit.page.locator(".st-key-decompose_odds .scatterlayer .point")
    with one_act(visit, "a step of the course"):
        box = points.nth(1).bounding_box()
        assert box is not None
        step = changes(visit, "step", lambda: click_at(
            visit, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2))
    assert int(step) == store.run(run).steps[1]
    assert f"at step {int(step):,}" in visit.page.locator(".atl-head").inner_text()
    with one_act(visit, "to the trials of the dictionary"):
        turn_to(visit, "how far to trust it")
        visit.wait_for_query("view", "trust")
    with one_act(visit, "back to the ledger"):
        turn_to(visit, "why this token")
        visit.page.locator(".atl-head").wait_for(timeout=SLOW)
        visit.settle()
    assert visit.query()["prompt"] == PROMPT
    assert visit.query()["step"] == step
