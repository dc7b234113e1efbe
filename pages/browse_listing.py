"""What the address asks Browse for, and links to the same list with a change."""

from dataclasses import dataclass, replace
from functools import cached_property
from urllib.parse import urlencode

import streamlit as st

from atlas.browsing import Order, Wish, order_of, parameters_of, read_wish
from atlas.conditions import clip, names_near
from atlas.measures import CATEGORIES, FLAGS, MEASURES, OF_TIME, measures_of
from pages import answers, shared

MAP = "map"
BARS = ("birth_floor_step", "contribution_at", "rate_at", "norm_at", "max_rotation",
        "norm_change", "profile")
"""Histograms that are drawn unless others are chosen."""
BARS_OF_ONE = ("contribution", "rate_final", "n_tokens", "nearest", "kind_share", "family",
               "script")
"""The same for a run of one snapshot."""
MOST_BARS = 8


@dataclass(frozen=True)
class Listing:
    """The view of this run of the script: the list, its page, and how it is drawn."""

    view: shared.Here
    wish: Wish
    page: int
    on_map: bool
    colour: str
    """What colours the map."""
    columns: tuple[str, ...]
    """Columns of the table that were chosen; () for the usual ones."""
    strips: tuple[str, ...]
    """Histograms that are drawn."""
    problems: tuple[str, ...]

    @property
    def several(self) -> bool:
        """Whether the run has several snapshots, and so lives."""
        return len(self.view.card.steps) > 1

    @property
    def birth(self) -> str:
        """The column that births are read from."""
        return "birth_floor_step" if self.wish.floor_corrected else "birth_step"

    @cached_property
    def names(self) -> list[str]:
        """Everything a feature of this run can be listed by: measures, then names and flags."""
        kept = [name for name in (*CATEGORIES, *FLAGS) if self.several or name not in OF_TIME]
        return [m.name for m in measures_of(self.view.card)] + kept

    @property
    def measures(self) -> list[str]:
        """Those of the names that are measures: what a list can be ordered by."""
        return [name for name in self.names if name in MEASURES]

    @cached_property
    def order(self) -> Order:
        """What the list is ordered by."""
        return order_of(self.view.store, self.view.run, self.wish)[0]

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The address of this list, without the page."""
        own = {
            "view": MAP if self.on_map else "",
            "colour": self.colour if st.query_params.get("colour") else "",
            "columns": ",".join(self.columns),
            "strips": ",".join(self.strips) if st.query_params.get("strips") else "",
        }
        first = {"run": self.view.run, "step": str(self.view.step)}
        if shared.as_tables():
            first["charts"] = "tables"
        return {**first, **parameters_of(self.wish, self.view.card), **own}

    def href(self, **changes: str | None) -> str:
        """A link to the first page of this list with some parameters changed; None drops one."""
        found = {**self.parameters, **changes}
        kept = {name: value for name, value in found.items() if value}
        return f"?{urlencode(kept, safe='/:,;.!')}"

    def wishing(self, **changes: object) -> str:
        """A link to the first page of this list with another wish."""
        wanted = parameters_of(replace(self.wish, **changes), self.view.card)
        return self.href(**{**dict.fromkeys(shared.LIST), **wanted})

    @property
    def list_parameters(self) -> dict[str, str | None]:
        """The part of the address that Feature keeps, None for what it should forget."""
        return {**dict.fromkeys(shared.LIST), **parameters_of(self.wish, self.view.card)}


def read(view: shared.Here) -> Listing:
    """The listing of the address; what is not valid is dropped and said."""
    asked = st.query_params.to_dict()
    wish, problems = read_wish(asked, view.card)
    found = Listing(view, wish, 1, False, "", (), (), ())
    said = list(problems)
    page = shared.whole(asked.get("page"))
    if asked.get("view") not in (None, "", "table", MAP):
        said.append(f"There is no view “{clip(asked['view'])}”; there are table and map.")
    usual = "contribution_at" if found.several and _course(view) else "contribution"
    colour = asked.get("colour") or usual
    if colour not in found.names:
        said.append(f"There is no “{clip(colour)}” to colour the map by; use "
                    f"{names_near(colour, found.names)}.")
        colour = usual
    bars = BARS if found.several else BARS_OF_ONE
    bars = tuple(usual if name == "contribution_at" else name for name in bars)
    return replace(
        found,
        page=page if page and page > 0 else 1,
        on_map=asked.get("view") == MAP,
        colour=colour,
        columns=_named(asked.get("columns", ""), "column", (*found.names, "norm"), said, 30),
        strips=_named(asked.get("strips", ""), "histogram", found.names, said, MOST_BARS) or bars,
        problems=tuple(said),
    )


def _named(
    text: str, what: str, known: list[str] | tuple[str, ...], said: list[str], most: int
) -> tuple[str, ...]:
    """Known names of a list of the address, each once; the first unknown one is said, and what is
    cut."""
    asked = list(dict.fromkeys(name for name in text.split(",") if name))
    wrong = [name for name in asked if name not in known]
    if wrong:
        near = names_near(wrong[0], known)
        said.append(f"There is no {what} “{clip(wrong[0])}”; there are {near}.")
    named = tuple(name for name in asked if name in known)
    if len(named) > most:
        said.append(f"More than {most} {what}s; the first {most} are shown.")
    return named[:most]


def _course(view: shared.Here) -> bool:
    return answers.has_course(view.store.digest, view.run)


def first_page(name: str, key: str, say=lambda value: value):
    """A callback that writes a widget's value and goes back to the first page."""
    def changed() -> None:
        shared.address(**{name: say(st.session_state[key]), "page": None})

    return changed
