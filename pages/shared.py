"""What all pages share: the opened store, cached answers, the view in the address, the bar.

The address is the truth. A widget shows what the address says and, when changed, writes the
address before the page runs; so every view has a link, Back works, and one change is one run of
the script. `session_state` holds widget values and the last address of each page, nothing else.
What the store answers is cached in `pages.answers`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pandas as pd
import streamlit as st

from atlas import chart_tables, figures, markup, theme
from atlas.conditions import clip as clip
from atlas.conditions import whole as whole
from atlas.errors import AtlasError, NotFound
from atlas.places import store_from_environment
from atlas.pointer import POINTER
from atlas.records import RunCard
from atlas.store import Store
from atlas.stylesheet import stylesheet
from pages.addresses import EVERYWHERE as EVERYWHERE
from pages.addresses import LIST as LIST
from pages.addresses import OF_ONE_RUN
from pages.addresses import OWN as OWN
from pages.addresses import PAGES as PAGES

HASH = 12
"""Characters of a run's content hash in a copied link."""
FAVICON = Path(__file__).parent / "static" / "favicon.png"


# --- the store ------------------------------------------------------------------------------


@dataclass
class _Followed:
    """The store of this process, which follows the pointer of its folder."""

    store: Store
    trouble: str = ""
    """Why the newest generation cannot be read; '' if it is the one that is read."""
    mark: tuple[int, ...] | None = None
    """Of the pointer's file when it was last read; None if it has to be read."""


def _follow(found: _Followed) -> bool:
    """Pick up a new generation; a broken one leaves the old generation in place.

    A page asks some ten times a run, so the pointer is read again only when its file is another.
    """
    mark = _mark(found.store.folder / POINTER)
    if mark is not None and mark == found.mark:
        return True
    try:
        found.store.refresh()
        found.trouble = ""
        found.mark = mark
    except AtlasError as error:
        found.trouble = str(error)
        found.mark = None
    return True


def _mark(path: Path) -> tuple[int, ...] | None:
    """What tells a file from one that took its place; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


@st.cache_resource(show_spinner=False, validate=_follow, max_entries=2)
def _opened(folder: str) -> _Followed:
    return _Followed(Store.open(folder))


def store() -> Store:
    """The store of this process, at its newest generation."""
    return _opened(str(store_from_environment())).store


@dataclass(frozen=True)
class Here:
    """The view of this run of the script."""

    store: Store
    """Held at one generation, whatever is published meanwhile."""
    card: RunCard
    step: int
    """The chosen snapshot's training step."""
    palette: theme.Palette
    problems: tuple[str, ...] = ()
    """What the address asked for and the store does not have."""
    changed: str = ""
    """That the run's data changed since the link was made; '' if not."""

    @property
    def run(self) -> str:
        """Id of the run."""
        return self.card.run

    @property
    def k(self) -> int:
        """Number of the chosen snapshot."""
        return self.card.steps.index(self.step)

    @property
    def when(self) -> str:
        """The chosen snapshot in words."""
        return markup.moment(self.step, self.card.revision)


def here() -> Here:
    """Read run and step from the address; what is not there is replaced and said."""
    followed = _opened(str(store_from_environment()))
    opened = followed.store.pin()
    cards = opened.runs()
    if not cards:
        raise NotFound(
            f"the store {store_from_environment()} holds no run; `readout-atlas build RUN` adds one"
        )
    problems = []
    if followed.trouble:
        problems.append(
            "The store changed, and what it is now cannot be read, so this is what it was before: "
            f"{followed.trouble}."
        )
    asked = st.query_params.get("run")
    names = [card.run for card in cards]
    run = asked or st.session_state.get("last_run")
    if asked and asked not in names:
        problems.append(
            f"There is no run “{clip(asked)}” in this store. It has {len(names)}: "
            f"{', '.join(names[:8])}{' …' if len(names) > 8 else ''}. Another one is shown."
        )
    if run not in names:
        run = default_run(cards)
    card = cards[names.index(run)]
    step, problem = _step(card)
    if problem:
        problems.append(problem)
    changed, problem = _since(card) if card.run == asked else ("", "")
    for found in (problem, _charts()):
        if found:
            problems.append(found)
    return Here(opened, card, step, palette(), tuple(problems), changed)


def default_run(cards: list[RunCard]) -> str:
    """The run that opens first: a readable crosscoder of W_U, of the widest model."""
    def rank(card: RunCard) -> tuple:
        return (
            card.problem is not None,
            card.kind != "crosscoder",
            card.matrix != "W_U",
            -card.d_model,
            card.run,
        )

    return min(cards, key=rank).run


def _step(card: RunCard) -> tuple[int, str]:
    asked = st.query_params.get("step")
    if asked is None:
        last = st.session_state.get("last_step")
        return (last if last in card.steps else card.steps[-1]), ""
    number = whole(asked)
    if number in card.steps:
        return number, ""
    return card.steps[-1], (
        f"There is no snapshot at step “{clip(asked)}”. This run has "
        f"{card.revision or ', '.join(markup.step_name(s) for s in card.steps)}; the last one is "
        "shown."
    )


def _since(card: RunCard) -> tuple[str, str]:
    """Whether a copied link was made from other data: what to say, and what was not valid."""
    asked = st.query_params.get("hash")
    if asked is None:
        return "", ""
    if not re.fullmatch("[0-9a-f]{12}", asked):
        return "", (
            f"“{clip(asked)}” is no hash of a run's data, which is {HASH} of the characters 0 to 9 "
            "and a to f; whether they changed since the link was made is not known."
        )
    if asked == card.hash[:HASH]:
        return "", ""
    return (
        f"The data of this run changed since the link was made: their hash was {asked} then and "
        f"is {card.hash[:HASH]} now. The present data are shown."
    ), ""


def _charts() -> str:
    """What to say of a way to show charts that there is not; '' if all is well."""
    asked = st.query_params.get("charts")
    if asked in (None, "tables"):
        return ""
    return f"Charts cannot be shown as “{clip(asked)}”; charts=tables shows them as tables."


def as_tables() -> bool:
    """Whether the reader asked for tables instead of figures."""
    return st.query_params.get("charts") == "tables"


def palette() -> theme.Palette:
    """The palette of the browser's theme."""
    return theme.palette(st.context.theme.type == "dark")


# --- the address ----------------------------------------------------------------------------


def sentence(error: Exception) -> str:
    """An error's line as a sentence; a name at its beginning is left as it is written."""
    text = str(error)
    first = text.split(" ", 1)[0]
    if not re.search(r"[-_\d]", first) and first not in _names():
        text = f"{text[:1].upper()}{text[1:]}"
    return f"{text}{'' if text.endswith('.') else '.'}"


def _names() -> set[str]:
    """Names of the runs and their models; none where no store can be read."""
    try:
        cards = store().runs()
    except AtlasError:
        return set()
    return {name for card in cards for name in (card.run, card.model, card.model_name)}


def left_to_right(text: str) -> str:
    """A list of tokens for a table cell: one right-to-left token must not turn the others."""
    return f"\u200e{text}"


def address(**changes: object) -> None:
    """Change parameters of the address; None takes one away. Nothing is sent if nothing changes."""
    now = st.query_params.to_dict()
    wanted = dict(now)
    for name, value in changes.items():
        wanted.pop(name, None)
        if value is not None and value != "":
            wanted[name] = str(value)
    if wanted != now:
        st.query_params.from_dict(wanted)


def writes(name: str, key: str, say: Callable = lambda value: value) -> Callable[[], None]:
    """A callback that writes a widget's value into the address."""
    def changed() -> None:
        address(**{name: say(st.session_state[key])})

    return changed


def settle(view: Here, name: str, /, **parameters: object) -> None:
    """Write the view into the address and remember it for the links of the bar."""
    address(run=view.run, step=view.step, **parameters)
    now = st.query_params.to_dict()
    kept = {key: now[key] for key in OWN[name] if key in now}
    st.session_state["last_run"] = view.run
    st.session_state["last_step"] = view.step
    st.session_state[f"last_{name}"] = {"run": view.run, **kept}


def link_to(page: str, view: Here, /, **parameters: object) -> dict[str, str]:
    """Parameters of a link to a page: this run and step, what the page last showed, changes."""
    last = dict(st.session_state.get(f"last_{page}", {}))
    if last.pop("run", view.run) != view.run:
        last = {name: value for name, value in last.items() if name not in OF_ONE_RUN}
    if page == "feature" and "feature" in parameters:  # it is not of the list last gone through
        last = {name: value for name, value in last.items() if name not in (*LIST, "over")}
    found = {"run": view.run, "step": view.step, **_manner(), **last, **parameters}
    return {name: str(value) for name, value in found.items() if value is not None}


def _manner() -> dict[str, str]:
    """How the reader wants to be shown things: every link keeps it."""
    return {"charts": "tables"} if as_tables() else {}


def href(page: str, view: Here, /, **parameters: object) -> str:
    """A relative address for plain links inside fragments, without what the page last showed."""
    path = "./" if page == "browse" else page  # "" would be the page that the link stands on
    found = {"run": view.run, "step": view.step, **_manner(), **parameters}
    return f"{path}?{urlencode(found)}"


def change_run(run: str) -> None:
    """Show another run on the same page; called from callbacks. What is of one run is dropped."""
    st.session_state["last_run"] = run
    gone = dict.fromkeys(OF_ONE_RUN)
    if st.query_params.get("shape", "").startswith("f"):  # the life of a feature of that run
        gone["shape"] = None
    address(run=run, **gone)


def go(page: str, view: Here, /, **parameters: object) -> None:
    """Open another page within the session; called from callbacks, one run of the script."""
    st.switch_page(PAGES[page][1], query_params=link_to(page, view, **parameters))


def full_link() -> str:
    """The address of this view, to copy, with the hash of the run's data."""
    base = (st.context.url or "").split("?")[0]
    now = st.query_params.to_dict()
    now.pop("hash", None)
    card = next((card for card in store().runs() if card.run == now.get("run")), None)
    if card is not None:
        now["hash"] = card.hash[:HASH]
    return f"{base}?{urlencode(now, errors='replace')}" if now else base


def picked(key: str) -> int | None:
    """Row of a click into a table with single-cell selection; the selection is cleared."""
    state = st.session_state.get(key)
    cells = state["selection"]["cells"] if state else []
    if not cells:
        return None
    row, column = cells[0]
    # The browser follows a selection that is set only when its text is not the one set before, and
    # would keep the second click on a cell and never tell of a third. So every other clearing
    # names a cell that there is not: row False.
    turn = f"{key}_turn"
    st.session_state[turn] = not st.session_state.get(turn, False)
    none = [] if st.session_state[turn] else [(False, column)]
    st.session_state[key] = {"selection": {"rows": [], "columns": [], "cells": none}}
    return int(row)


# --- what is drawn on every page --------------------------------------------------------------


def style() -> None:
    """The classes of all fragments, once per page."""
    st.html(stylesheet())


def say(text: str, tone: str = "") -> None:
    """A calm message in place."""
    st.html(markup.note(text, tone))


def caption(lead: str, rest: str = "", hot: str = "", tail: str = "") -> None:
    """A caption over a figure or table."""
    st.html(markup.wrap(markup.caption(lead, rest, hot, tail)))


def chart(
    figure: dict,
    key: str,
    alt: str,
    table: pd.DataFrame | Callable[[], pd.DataFrame] | None = None,
    tools: dict[str, Any] | None = None,
    **options: Any,
) -> None:
    """A Plotly figure with our own template and no mode bar, or a table if the reader asked for it.

    Args:
        figure: the figure as a dict.
        key: the element's key.
        alt: what a screen reader says of it; the caption of the table.
        table: the same as a frame, or what makes it; without one the figure's readings are used.
        tools: more of Plotly's configuration, such as its bar of tools.
        options: for `st.plotly_chart`, such as `on_select`.
    """
    if as_tables():
        frame = table() if callable(table) else table
        st.html(chart_tables.drawn(chart_tables.table_of(figure) if frame is None else frame, alt))
        return
    st.plotly_chart(
        figures.unchecked(figure),
        theme=None,
        key=key,
        alt=alt,
        config={"displayModeBar": False, "responsive": True, "scrollZoom": False, **(tools or {})},
        **options,
    )
