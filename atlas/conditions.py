"""Conditions on features: read from an address, written back, put into SQL with bound values.

A list of conditions is in disjunctive form: groups of which one must hold, each of conditions
that all must. `rate_final:0.01..,profile:late-emerging+mixed;birth_step:512..1024` is "rate from
0.01 on and one of two profiles, or born between 512 and 1024"; `!` before a condition negates it,
and `<` before the high end of a range leaves that end out.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from atlas.measures import CATEGORIES, COUNT, FLAGS, MEASURES, OF_TIME, PROFILES, STEP
from atlas.records import RunCard

MOST = 24
"""Conditions that are kept."""
LENGTH = 200
"""Characters of a typed text that are kept."""
NUMBER = re.compile(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
NONE = "none"
"""What the address calls a missing value."""


@dataclass(frozen=True)
class Range:
    """A measure lies between two ends, which belong to it."""

    name: str
    """One of `MEASURES`."""
    low: float | None = None
    high: float | None = None
    negated: bool = False
    below: bool = False
    """The high end does not belong to it: 0.1 to below 0.5, as a bar of a histogram holds."""


@dataclass(frozen=True)
class OneOf:
    """A category, or yes and no, has one of some values."""

    name: str
    """One of `CATEGORIES`, `FLAGS`, or a measure whose only value here is None."""
    values: tuple[str | None, ...]
    """Names; None is "not available"."""
    negated: bool = False


Condition = Range | OneOf
Where = tuple[tuple[Condition, ...], ...]
"""Groups of conditions: all of a group, any of the groups; () holds for every feature."""


@dataclass
class Bound:
    """Values on their way into a query, each under a name of its own."""

    values: dict[str, Any] = field(default_factory=dict)

    def add(self, value: Any) -> str:
        """Keep a value; the text that stands for it in SQL."""
        name = f"v{len(self.values)}"
        self.values[name] = value
        return f"${name}"


# --- from and to the address ------------------------------------------------------------------


def clean(text: str) -> str:
    """A typed text as a column can hold it: no lone surrogates, no NUL, not endless."""
    return text[:LENGTH].encode("utf8", "replace").decode("utf8").replace("\0", "")


def clip(text: str, most: int = 60) -> str:
    """A text from the address, short enough for a message."""
    text = clean(text)
    return text if len(text) <= most else text[: most - 1] + "…"


def whole(text: str | None) -> int | None:
    """A whole number of an address, None for anything else: 1 to 11 of the digits 0 to 9, after a
    minus or not."""
    return int(text) if text is not None and re.fullmatch(r"-?[0-9]{1,11}", text) else None


def names_near(name: str, known: Iterable[str], most: int = 8) -> str:
    """The known names nearest to one, the nearest first, as the end of a sentence that says what
    there is. A measure is also known by the words that a page calls it."""
    known = list(known)
    asked = name[:60].lower()

    def likeness(other: str) -> float:
        found = 0.0
        for text in {other.lower(), MEASURES[other].words if other in MEASURES else other.lower()}:
            part = len(asked) > 2 and (asked in text or text in asked)
            found = max(found, part + difflib.SequenceMatcher(None, asked, text).ratio())
        return found

    listed = sorted(known, key=likeness, reverse=True)
    return ", ".join(listed[:most]) + (" …" if len(listed) > most else "")


def read_where(text: str, card: RunCard) -> tuple[Where, tuple[str, ...]]:
    """The conditions of an address, and a sentence about each that is not valid."""
    groups: list[tuple[Condition, ...]] = []
    problems: list[str] = []
    kept = dropped = 0
    for part in text.split(";"):
        group: list[Condition] = []
        for entry in part.split(","):
            if not entry.strip():
                continue
            if kept == MOST:
                dropped += 1
                continue
            found = _read(entry.strip(), card)
            if isinstance(found, OneOf) and len(found.values) > MOST:
                problems.append(f"More than {MOST} names of {found.name}; the first {MOST} are "
                                "kept.")
                found = replace(found, values=found.values[:MOST])
            if isinstance(found, str):
                if len(problems) < 4:
                    problems.append(found)
            elif found not in group:
                group.append(found)
                kept += 1
        if group and tuple(group) not in groups:
            groups.append(tuple(group))
    if dropped:
        problems.append(f"More than {MOST} conditions; the first {MOST} are kept.")
    return tuple(groups), tuple(problems)


def write_where(where: Where) -> str:
    """The conditions as `read_where` reads them."""
    return ";".join(",".join(_write(c) for c in group) for group in where)


def _read(entry: str, card: RunCard) -> Condition | str:
    negated = entry.startswith("!")
    name, colon, rest = entry.removeprefix("!").partition(":")
    several = len(card.steps) > 1
    known = [n for n in (*CATEGORIES, *FLAGS, *MEASURES) if several or n not in OF_TIME]
    if name not in known:
        why = "this run has one snapshot and no time" if name in OF_TIME else "no measure"
        return f"“{clip(entry)}” is left out: {why}; there are {names_near(name, known)}."
    if not colon or not rest:
        return f"“{clip(entry)}” says nothing; write a range such as {name}:0.1..0.5."
    if name in MEASURES and rest != NONE:
        return _read_range(entry, name, rest, negated)
    # a `+` typed by hand into an address arrives as a space
    typed = [None if v == NONE else clean(unquote(v)) for v in re.split(r"[+ ]", rest)]
    values = tuple(v for v in dict.fromkeys(typed) if v != "")
    allowed = ("yes", "no") if name in FLAGS else (*PROFILES, None) if name == "profile" else None
    wrong = [v for v in values if allowed is not None and v not in allowed]
    if wrong or not values:
        there = ", ".join(v or NONE for v in allowed or ())
        return f"“{clip(entry)}” is left out: {name} is one of {there or 'the values listed'}."
    return OneOf(name, values, negated)


def _read_range(entry: str, name: str, rest: str, negated: bool) -> Condition | str:
    low_text, dots, high_text = rest.partition("..")
    below = high_text.startswith("<") and high_text != "<"
    high_text = high_text[below:]
    low, high = number(low_text), number(high_text if dots else low_text)
    for text, value in ((low_text, low), (high_text, high)):
        if text.strip() and value is None:
            return (f"“{clip(entry)}” is left out: “{clip(text, 24)}” is no number; write a range "
                    f"such as {name}:0.1..0.5.")
    if low is not None and high is not None and low > high:
        return f"“{clip(entry)}” is left out: its range runs backwards."
    if below and low == high:
        return f"“{clip(entry)}” is left out: its range holds nothing."
    if not dots and low is None:
        return f"“{clip(entry)}” says nothing; write a range such as {name}:0.1..0.5."
    return Range(name, low, high, negated, below)


def number(text: str) -> float | None:
    """A finite number of the digits 0 to 9 that single precision can hold, else None."""
    text = text.strip()
    if len(text) > 40 or not NUMBER.fullmatch(text):
        return None
    value = float(text)
    return value + 0.0 if abs(value) <= float(np.finfo(np.float32).max) else None


def number_text(value: float) -> str:
    """The shortest text that reads back as the same number."""
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _write(condition: Condition) -> str:
    sign = "!" if condition.negated else ""
    if isinstance(condition, OneOf):
        values = "+".join(NONE if v is None else _quoted(v) for v in condition.values)
        return f"{sign}{condition.name}:{values}"
    low, high = ("" if v is None else number_text(v) for v in (condition.low, condition.high))
    if condition.below:
        return f"{sign}{condition.name}:{low}..<{high}"
    return f"{sign}{condition.name}:{low if low == high and low else f'{low}..{high}'}"


def _quoted(value: str) -> str:
    """Percent-quoted; a value that is called "none" is told from the missing one."""
    return "%6Eone" if value == NONE else quote(value, safe="")


# --- into SQL ---------------------------------------------------------------------------------


def where_sql(where: Where, bound: Bound) -> str:
    """The condition over `f`, `l` and `s`; values are bound, names come from our own tables.

    A negated condition holds for every feature that the plain one does not hold for, those
    without a value included.
    """
    if not where:
        return "true"
    groups = (" AND ".join(_condition(c, bound) for c in group) for group in where)
    return "(" + " OR ".join(f"({group})" for group in groups) + ")"


def tables_of(where: Where) -> frozenset[str]:
    """Which of `f`, `l` and `s` the conditions read."""
    used: set[str] = set()
    for group in where:
        for condition in group:
            measure = MEASURES.get(condition.name)
            used |= measure.tables if measure else {"f"}
    return frozenset(used)


def _condition(condition: Condition, bound: Bound) -> str:
    if isinstance(condition, OneOf):
        text = _one_of(condition, bound)
    else:
        text = _range(condition, bound)
    return f"NOT coalesce({text}, false)" if condition.negated else text


def _range(condition: Range, bound: Bound) -> str:
    measure = MEASURES[condition.name]
    # single precision, as the columns: 0.01 is typed, and shown, for the nearest float32 to it
    cast = "" if measure.kind in (STEP, COUNT) else "::FLOAT"
    ends = []
    if condition.low is not None:
        ends.append(f"{measure.expression} >= {bound.add(condition.low)}{cast}")
    if condition.high is not None:
        sign = "<" if condition.below else "<="
        ends.append(f"{measure.expression} {sign} {bound.add(condition.high)}{cast}")
    return f"({' AND '.join(ends) or f'{measure.expression} IS NOT NULL'})"


def _one_of(condition: OneOf, bound: Bound) -> str:
    if condition.name in FLAGS:
        sides = [f"f.{condition.name}" if v == "yes" else f"NOT f.{condition.name}"
                 for v in condition.values]
        return f"({' OR '.join(sides)})"
    expression = MEASURES[condition.name].expression if condition.name in MEASURES else (
        f"f.{condition.name}")
    sides = [f"{expression} IS NULL"] if None in condition.values else []
    names = [v for v in condition.values if v is not None]
    if names:
        sides.append(f"{expression} IN ({', '.join(bound.add(v) for v in names)})")
    return f"({' OR '.join(sides)})"
