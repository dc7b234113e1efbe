"""Conditions and values in words: what a chip, a bar or an axis says."""

import math
from collections.abc import Sequence

from atlas.axes import short_step
from atlas.conditions import Condition, OneOf, Range, number
from atlas.measures import COUNT, FLAGS, MEASURES, SHARE, STEP, Measure


def value(measure: Measure, number: float | None) -> str:
    """A value of a measure, short: 3 digits, shares in per cent, steps with thousands apart."""
    if number is None or not math.isfinite(number):
        return "none"
    if measure.kind in (STEP, COUNT):
        return f"{number:,.0f}".replace("-", "−")
    if measure.kind == SHARE:
        return f"{_digits(100 * number)} %"
    return _digits(number)


def tick(measure: Measure, number: float) -> str:
    """A value under an axis, shorter still: 143k for a step."""
    if measure.kind == STEP:
        return short_step(int(number))
    return value(measure, number).replace(" ", "")


def _digits(number: float) -> str:
    """Three significant digits: 0.00012, 1,230, 4.5e-09."""
    if number == 0:
        return "0"
    if 1e-4 <= abs(number) < 1e6:
        places = max(0, 2 - math.floor(math.log10(abs(number))))
        text = f"{number:,.{places}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        text = f"{number:.2g}"
    return text.replace("-", "−")


def span(measure: Measure, found: Range) -> str:
    """A range in words: "≥ 1 %", "≤ 512", "< 3", "0.1 to 0.5", "0.1 to below 0.5", "= 5"; "known"
    without ends."""
    low, high = found.low, found.high
    if low is not None and high is not None:
        if low == high:
            return f"= {value(measure, low)}"
        return f"{value(measure, low)} to {'below ' * found.below}{value(measure, high)}"
    if low is not None:
        return f"≥ {value(measure, low)}"
    if high is not None:
        return f"{'<' if found.below else '≤'} {value(measure, high)}"
    return "known"


def typed(measure: Measure, text: str) -> float | None:
    """A number as people type it: "0.01", "1 %", "1e-3", "1,024", "143k"; None if it is none."""
    text = text.strip().lower().replace(",", "").replace("−", "-")
    times = 1.0
    if text.endswith("%"):
        text, times = text[:-1].strip(), 0.01
    elif text.endswith("k") and measure.kind in (STEP, COUNT):
        text, times = text[:-1].strip(), 1000.0
    found = number(text)
    return None if found is None else float(f"{found * times:.12g}")


def words_of(name: str) -> str:
    """What a page calls a measure, a category or a flag."""
    return MEASURES[name].words if name in MEASURES else name


def condition(found: Condition) -> str:
    """A condition in words: "final rate ≥ 1 %", "profile is mixed or late-emerging"."""
    if isinstance(found, Range):
        text = f"{words_of(found.name)} {span(MEASURES[found.name], found)}"
        return f"not {text}" if found.negated else text
    if found.name in FLAGS:
        kept = {"yes": found.name, "no": f"not {found.name}"}
        text = any_of([kept[str(v)] for v in found.values])
        return f"not {text}" if found.negated else text
    names = ["not available" if v is None else v for v in found.values]
    return f"{words_of(found.name)} is {'not ' if found.negated else ''}{any_of(names)}"


def any_of(names: Sequence[str]) -> str:
    """A few names joined by "or"; of many the first ones and how many more."""
    if len(names) > 4:
        return f"{', '.join(names[:3])} or {len(names) - 3} others"
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


# --- changing a list of conditions ------------------------------------------------------------


def shared_of(where: Sequence[Sequence[Condition]]) -> tuple[Condition, ...]:
    """The conditions that stand in every group: they hold whatever else does."""
    if not where:
        return ()
    first, *rest = where
    return tuple(c for c in first if all(c in group for group in rest))


def rest_of(where: Sequence[Sequence[Condition]]) -> tuple[tuple[Condition, ...], ...]:
    """The groups without what they share; () where nothing is left to choose between."""
    common = shared_of(where)
    groups = tuple(tuple(c for c in group if c not in common) for group in where)
    return groups if all(groups) else ()


def added(where: Sequence[Sequence[Condition]], new: Condition) -> tuple:
    """The conditions with one more that always holds."""
    return tuple((*group, new) for group in where) if where else ((new,),)


def without(
    where: Sequence[Sequence[Condition]], old: Condition, group: int | None = None
) -> tuple[tuple[Condition, ...], ...]:
    """The conditions without one: in one group, or in all.

    A group of several that loses its last condition is no choice any more and goes; a condition
    of all groups that was all of one leaves nothing to hold.
    """
    kept = tuple(
        tuple(c for c in found if c != old or group not in (None, i))
        for i, found in enumerate(where)
    )
    if group is None and not all(kept):
        return ()
    return tuple(found for found in kept if found)


def wider(kept: Range | None, own: Range) -> Range:
    """A range widened to hold another one; an open end stays open."""
    if kept is None:
        return own
    low = None if kept.low is None or own.low is None else min(kept.low, own.low)
    if kept.high is None or own.high is None:
        return Range(own.name, low)
    # of two equal ends the one that belongs to its range reaches further
    high, closed = max((kept.high, not kept.below), (own.high, not own.below))
    return Range(own.name, low, high, below=not closed)


def range_of(where: Sequence[Sequence[Condition]], name: str) -> Range | None:
    """The range of a measure that always holds; None where there is none."""
    found = (c for c in shared_of(where) if isinstance(c, Range))
    return next((c for c in found if c.name == name and not c.negated), None)


def values_of(where: Sequence[Sequence[Condition]], name: str) -> OneOf | None:
    """The categories of a name of which one always holds; None where there are none."""
    found = (c for c in shared_of(where) if isinstance(c, OneOf))
    return next((c for c in found if c.name == name and not c.negated), None)
