"""Where labels stand beside points so that none lies over another or over a point."""

from collections.abc import Sequence
from dataclasses import dataclass

from atlas.axes import plain, spread
from atlas.theme import SANS

SIZE = 11
"""Pixels of the type."""
LETTER, LINE = 5.4, 13
"""Pixels of a letter, as a rule, and of a line."""
MARK = 6
"""Pixels about a point that no label covers."""
SIDES = ((1, 0), (-1, 0), (0, -1), (0, 1), (1, -1), (1, 1), (-1, -1), (-1, 1))
"""Where a label may stand about its point, the likeliest first; down is positive."""


@dataclass(frozen=True)
class Box:
    """The ends of both axes, and pixels of the plot."""

    low: float
    high: float
    floor: float
    top: float
    wide: float
    tall: float

    def pixels(self, x: float, y: float) -> tuple[float, float]:
        """A place in pixels from the upper left corner."""
        return ((x - self.low) / (self.high - self.low) * self.wide,
                (self.top - y) / (self.top - self.floor) * self.tall)


@dataclass(frozen=True)
class Label:
    """A text at a point."""

    text: str
    x: float
    y: float
    colour: str


@dataclass(frozen=True)
class Placed:
    """A label and on which side of its point it stands."""

    label: Label
    side: tuple[int, int]


def placed(
    labels: Sequence[Label], points: Sequence[tuple[float, float]], box: Box
) -> list[Placed]:
    """The labels that find room, the first ones first; the others are left out."""
    dots = [box.pixels(*point) for point in points]
    taken = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in dots]
    found = []
    for label in labels:
        x, y = box.pixels(label.x, label.y)
        for side in SIDES:
            area = _area(label.text, x, y, side)
            if area[0] < 0 or area[2] > box.wide or area[1] < 0 or area[3] > box.tall:
                continue
            if not any(_over(area, other) for other in taken):
                taken.append(area)
                found.append(Placed(label, side))
                break
    return found


def _area(
    text: str, x: float, y: float, side: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Left, upper, right and lower edge of a label."""
    across, down = side
    wide = LETTER * len(text)
    left = x + (9 if across > 0 else -9 - wide if across < 0 else -wide / 2)
    if across and down:
        left = x + (3 if across > 0 else -3 - wide)
    middle = y + down * 14
    return left, middle - LINE / 2, left + wide, middle + LINE / 2


def _over(one: tuple, other: tuple) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def annotations(found: Sequence[Placed], box: Box, end: str = "") -> list[dict]:
    """The labels as annotations of the axes x… and y…."""
    notes = []
    for one in found:
        across, down = one.side
        apart = (3 if down else 9) * across
        notes.append({
            "x": round(one.label.x, 4), "y": round(one.label.y, 4), "xref": f"x{end}",
            "yref": f"y{end}", "text": plain(one.label.text), "showarrow": False,
            "xanchor": {1: "left", -1: "right", 0: "center"}[across], "xshift": apart,
            "yanchor": "middle", "yshift": -14 * down,
            "font": {"family": SANS, "size": SIZE, "color": one.label.colour},
        })
    return notes


def behind(
    ends: Sequence[tuple[float, str, str]], low: float, top: float, end: str, gap: float = 0.065
) -> list[dict]:
    """Names behind the last points of lines (height, name, colour), none over another."""
    at = spread([height for height, *_ in ends], gap * (top - low), low, top)
    return [
        {"x": 1, "xref": f"x{end} domain", "xanchor": "left", "xshift": 4, "y": y,
         "yref": f"y{end}", "yanchor": "middle", "text": plain(name), "showarrow": False,
         "font": {"family": SANS, "size": SIZE + 0.5, "color": colour}}
        for (_, name, colour), y in zip(ends, at, strict=True)
    ]
