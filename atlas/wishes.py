"""What Browse is asked for: read from an address, written back to it.

`read_wish` never raises: what is not valid is dropped and said in a sentence. Reading what
`parameters_of` wrote gives the same wish.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from atlas.conditions import (
    LENGTH,
    Where,
    clean,
    clip,
    names_near,
    read_where,
    whole,
    write_where,
)
from atlas.markup import step_name
from atlas.measures import MEASURES, OF_TIME, PROFILES, measures_of
from atlas.records import RunCard
from atlas.shapes import FEWEST, MOST, read_shape

EXACT, PREFIX, SUBSTRING, WORD = "exact", "prefix", "substring", "word"
MATCHES = (EXACT, PREFIX, SUBSTRING, WORD)
"""How a typed text is compared with tokens; `word` ignores case and the space before it."""
EITHER, PROMOTES, FIRES = "either", "promotes", "fires"
RELATIONS = (EITHER, PROMOTES, FIRES)
"""What a feature has to do with a token."""
CORNERS = (3, 40)
"""Fewest and most corners of a lasso."""


@dataclass(frozen=True)
class Wish:
    """Which features Browse lists, and in what order; the default is all of them."""

    text: str = ""
    """As typed: part of a label, kind, script, family or supersense, case ignored; `#17` is one
    index; a leading space, or quotes, mean one exact token."""
    token_text: str = ""
    """Text of tokens that the feature promotes or fires on; a leading space counts."""
    token_match: str = EXACT
    """One of `MATCHES`."""
    ignore_case: bool = False
    """Upper and lower case of the token alike."""
    token_by: str = EITHER
    """One of `RELATIONS`."""
    token_at_step: bool = False
    """Only what it promotes or fires on at the chosen snapshot, not at any."""
    where: Where = ()
    """Conditions on measures and categories."""
    profile: str | None = None
    birth: tuple[int, int] | None = None
    """First and last birth step to keep; None keeps all, those never born included."""
    alive: bool = False
    """Only features that fire."""
    legible: bool = False
    """Only features whose firing tokens belong to one kind."""
    floor_corrected: bool = True
    """`birth` is after the norm that noise alone gives is taken off."""
    like: int | None = None
    """Only the neighbours of this feature at the chosen snapshot."""
    shape: str | None = None
    """Order by how near a life comes to this shape (`atlas.shapes`)."""
    change: tuple[int, int] | None = None
    """The two steps of the change measures; None means those of `change_of`."""
    lasso: tuple[tuple[float, float], ...] = ()
    """Corners of a polygon on the map."""
    sort: str | None = None
    """A name of `MEASURES`; None means the list's own order."""
    descending: bool | None = None
    """None means the natural end of what is sorted by."""


def read_wish(parameters: Mapping[str, str], card: RunCard) -> tuple[Wish, tuple[str, ...]]:
    """The wish of an address, and a calm sentence about each part that is not valid."""
    reader = _Reader(parameters, card)
    where, problems = read_where(parameters.get("where", ""), card)
    reader.problems += problems
    wish = Wish(
        text=reader.text("q"),
        token_text=reader.text("token_text"),
        token_match=reader.choice("match", MATCHES),
        ignore_case=reader.switch("case", "yes", "no"),
        token_by=reader.choice("by", RELATIONS),
        token_at_step=reader.switch("at", "ever", "step"),
        where=where,
        profile=reader.profile(),
        birth=reader.birth(),
        alive=reader.switch("alive", "", "yes"),
        legible=reader.switch("legible", "", "yes"),
        floor_corrected=not reader.switch("floor", "yes", "no"),
        like=reader.like(),
        shape=reader.shape(),
        change=reader.change(),
        lasso=reader.lasso(),
        sort=reader.sort(),
        descending=reader.descending(),
    )
    return wish, tuple(reader.problems)


def parameters_of(wish: Wish, card: RunCard) -> dict[str, str]:
    """The address of a wish: only what differs from the default."""
    found = {
        "q": wish.text,
        "token_text": wish.token_text,
        "match": wish.token_match if wish.token_match != EXACT else "",
        "case": "no" if wish.ignore_case else "",
        "by": wish.token_by if wish.token_by != EITHER else "",
        "at": "step" if wish.token_at_step else "",
        "where": write_where(wish.where),
        "profile": wish.profile or "",
        "birth": f"{wish.birth[0]}-{wish.birth[1]}" if wish.birth else "",
        "alive": "yes" if wish.alive else "",
        "legible": "yes" if wish.legible else "",
        "floor": "" if wish.floor_corrected else "no",
        "like": "" if wish.like is None else str(wish.like),
        "shape": wish.shape or "",
        "change": f"{wish.change[0]}-{wish.change[1]}" if wish.change else "",
        "lasso": ";".join(f"{x:.2f},{y:.2f}" for x, y in wish.lasso),
        "sort": wish.sort or "",
        "order": {None: "", True: "down", False: "up"}[wish.descending],
    }
    return {name: value for name, value in found.items() if value}


def change_of(wish: Wish, card: RunCard) -> tuple[int, int]:
    """The two steps of the change measures: asked for, or the run's window, or first and last."""
    if wish.change is not None:
        return wish.change
    steps = card.steps
    window = card.window
    if window is not None:
        low = max((s for s in steps if s <= window.from_step), default=steps[0])
        high = min((s for s in steps if s >= window.to_step), default=steps[-1])
        if low < high:
            return low, high
    return steps[0], steps[-1]


class _Reader:
    """The parts of an address that can be wrong; each returns its default then, and says why."""

    def __init__(self, parameters: Mapping[str, str], card: RunCard) -> None:
        self.asked = parameters
        self.card = card
        self.several = len(card.steps) > 1
        self.problems: list[str] = []

    def choice(self, name: str, known: tuple[str, ...]) -> str:
        asked = self.asked.get(name, known[0])
        if asked in known:
            return asked
        self.problems.append(f"There is no “{name}={clip(asked)}”; use {', '.join(known)}.")
        return known[0]

    def text(self, name: str) -> str:
        asked = self.asked.get(name, "")
        if len(asked) > LENGTH:
            self.problems.append(f"“{clip(asked, 24)}” is {len(asked):,} characters long; only the "
                                 f"first {LENGTH} of {name} are searched for.")
        return clean(asked)

    def switch(self, name: str, usual: str, other: str) -> bool:
        """Whether the address says `other`; `usual`, or nothing, is the default."""
        asked = self.asked.get(name, "")
        if asked not in ("", usual, other):
            there = (f"use {name}={usual} or {name}={other}" if usual
                     else f"use {name}={other}, or leave it out")
            self.problems.append(f"There is no “{name}={clip(asked)}”; {there}.")
        return asked == other

    def descending(self) -> bool | None:
        asked = self.asked.get("order", "")
        if asked not in ("", "up", "down"):
            self.problems.append(f"There is no “order={clip(asked)}”; use order=up, the smallest "
                                 "first, or order=down, the largest first.")
        return {"up": False, "down": True}.get(asked)

    def profile(self) -> str | None:
        asked = self.asked.get("profile") or None
        if asked is None or (asked in PROFILES and self.several):
            return asked
        self.problems.append(
            f"There is no profile “{clip(asked)}”; there are {', '.join(PROFILES)}."
            if self.several else "Profiles need several snapshots; this run has one."
        )
        return None

    def birth(self) -> tuple[int, int] | None:
        asked = self.asked.get("birth")
        if not asked:
            return None
        found = self._two_steps(asked)
        if found and self.several:
            # the whole range is no condition: it would drop the features that are never born
            return None if found == (self.card.steps[0], self.card.steps[-1]) else found
        self.problems.append(self._about_steps(asked, "range of birth steps"))
        return None

    def change(self) -> tuple[int, int] | None:
        asked = self.asked.get("change")
        if not asked:
            return None
        found = self._two_steps(asked)
        if found and found[0] < found[1]:
            return found
        self.problems.append(self._about_steps(asked, "pair of steps to compare"))
        return None

    def _two_steps(self, text: str) -> tuple[int, int] | None:
        low, _, high = text.partition("-")
        ends = (whole(low), whole(high or low))
        known = ends[0] in self.card.steps and ends[1] in self.card.steps
        return ends if known and ends[0] <= ends[1] else None

    def _about_steps(self, asked: str, what: str) -> str:
        steps = self.card.steps
        if not self.several:
            return f"“{clip(asked)}” is no {what} of this run, which has one snapshot."
        return (f"“{clip(asked)}” is no {what} of this run; write two of its steps, rising: "
                f"{', '.join(step_name(s) for s in steps[:4])} … {step_name(steps[-1])}, such as "
                f"{steps[0]}-{steps[-1]}.")

    def like(self) -> int | None:
        asked = self.asked.get("like")
        if not asked:
            return None
        found = whole(asked)
        if found is not None and 0 <= found < self.card.d_sae:
            return found
        self.problems.append(
            f"“{clip(asked)}” is no feature to find others like; this run has 0 to "
            f"{self.card.d_sae - 1:,}."
        )
        return None

    def shape(self) -> str | None:
        asked = self.asked.get("shape")
        if not asked:
            return None
        if not self.several:
            self.problems.append("A shape needs several snapshots; this run has one.")
            return None
        found = read_shape(asked, self.card.d_sae)
        if found is None:
            self.problems.append(
                f"“{clip(asked)}” is no shape; write {FEWEST} to {MOST} digits, not all 0, such "
                "as 0000123456789, or a feature such as f17."
            )
        return found

    def lasso(self) -> tuple[tuple[float, float], ...]:
        asked = self.asked.get("lasso")
        if not asked:
            return ()
        corners = [re.fullmatch(r"([01](?:\.\d{1,6})?),([01](?:\.\d{1,6})?)", part)
                   for part in asked[:2000].split(";")]
        points = tuple((round(float(c[1]), 2), round(float(c[2]), 2)) for c in corners if c)
        inside = all(x <= 1 and y <= 1 for x, y in points)
        if all(corners) and inside and CORNERS[0] <= len(points) <= CORNERS[1]:
            return points
        self.problems.append(
            f"“{clip(asked)}” is no lasso; write {CORNERS[0]} to {CORNERS[1]} corners on the map "
            "such as 0.2,0.2;0.8,0.2;0.5,0.9."
        )
        return ()

    def sort(self) -> str | None:
        asked = self.asked.get("sort")
        if not asked:
            return None
        known = [m.name for m in measures_of(self.card)]
        if asked in known:
            return asked
        why = (" in a run of one snapshot" if asked in OF_TIME and asked in MEASURES else "")
        self.problems.append(
            f"Features cannot be sorted by “{clip(asked)}”{why}; use {names_near(asked, known)}."
        )
        return None
