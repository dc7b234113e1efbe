"""Small pictures without a plotting library: plain HTML boxes from numbers.

They cost a kilobyte each and no script, so that the landing page and the list of runs stay light.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from atlas.axes import position, short_step
from atlas.markup import wrap
from atlas.theme import ink


@dataclass(frozen=True)
class StripBar:
    """Births and deaths at one snapshot."""

    step: int
    births: int
    deaths: int
    within: bool
    """Inside the range of birth steps that is chosen."""


def births_strip(found: Sequence[StripBar], height: int = 54) -> str:
    """Births upwards and deaths downwards, one column per snapshot, equally spaced.

    The columns stand where a slider over the same snapshots has its stops.
    """
    if not found:
        return ""
    most = max([1, *(b.births for b in found)])
    most_deaths = max([1, *(b.deaths for b in found)])
    down = max(6, round(height * 0.3))
    stops = max(1, len(found) - 1)
    width = min(2.2, 60 / len(found))
    columns = []
    for i, b in enumerate(found):
        up_px = height * b.births / most
        down_px = down * b.deaths / most_deaths
        fade = "" if b.within else ";opacity:.28"
        hint = f"step {b.step:,}: {b.births:,} births, {b.deaths:,} deaths"
        count = f'<b style="bottom:{up_px + 1:.1f}px">{b.births:,}</b>' if b.births else ""
        columns.append(
            f'<div class="col" style="left:{100 * i / stops:.3f}%;width:{width:.2f}%{fade}" '
            f'title="{escape(hint)}">'
            f'<div class="up" style="height:{height}px">{count}'
            f'<i style="height:{up_px:.1f}px"></i></div>'
            f'<div class="down" style="height:{down}px">'
            f'<i style="height:{down_px:.1f}px"></i></div>'
            f"<s>{escape(short_step(b.step))}</s></div>"
        )
    return wrap(
        f'<div class="atl-strip" style="height:{height + down + 32}px;margin:4px {width / 2:.2f}%">'
        f'<div class="line" style="top:{height + 14}px"></div>{"".join(columns)}</div>'
    )


@dataclass(frozen=True)
class Curve:
    """A measure through training for a small multiple."""

    name: str
    steps: Sequence[int]
    values: Sequence[float | None]
    """Each in [0, 1], None where not available."""
    note: str = ""
    current: bool = False


def small_multiples(found: Sequence[Curve], columns: int = 4) -> str:
    """One small chart per curve, all on the same axes: 0 to 1 over the log step axis."""
    last = max((max(c.steps) for c in found), default=1)
    cells = "".join(f"<div>{_multiple(c, last)}</div>" for c in found)
    return wrap(
        f'<div style="display:grid;grid-template-columns:repeat({columns},1fr);'
        f'gap:14px 26px">{cells}</div>'
    )


def _multiple(curve: Curve, last: int, height: int = 64) -> str:
    """One chart: a filled curve cut out of a coloured box, its scale and ticks as text."""
    def x(step: int) -> float:
        return 100 * position(step) / (position(last) or 1)

    points = [
        (x(s), 100 * (1 - min(1.0, max(0.0, v))))
        for s, v in zip(curve.steps, curve.values, strict=True) if v is not None
    ]
    colour = ink("accent" if curve.current else "muted")
    if len(points) > 1:
        edge = ",".join(f"{a:.2f}% {b:.2f}%" for a, b in points)
        under = f"{points[-1][0]:.2f}% 100%,{points[0][0]:.2f}% 100%"
        back = ",".join(f"{a:.2f}% calc({b:.2f}% + 2px)" for a, b in reversed(points))
        drawn = (
            f'<i style="background:{colour};opacity:.16;clip-path:polygon({edge},{under})"></i>'
            f'<i style="background:{colour};clip-path:polygon({edge},{back})"></i>'
        )
    elif points:
        a, b = points[0]
        drawn = (
            f'<i style="left:calc({a:.2f}% - 4px);top:calc({b:.2f}% - 4px);right:auto;bottom:auto;'
            f'width:7px;height:7px;border-radius:50%;background:{colour}"></i>'
        )
    else:
        drawn = '<s style="left:38%;top:40%">not available</s>'
    ticks = "".join(
        f'<s style="left:{x(s):.2f}%;top:{height + 2}px;transform:translateX({shift})">'
        f"{short_step(s)}</s>"
        for s, shift in ((0, "0"), (10, "-50%"), (100, "-50%"), (last, "-100%"))
        if s < last or shift == "-100%"
    )
    scale = "".join(
        f'<s style="right:calc(100% + 5px);top:calc({100 * (1 - v):.0f}% - 7px)">{name}</s>'
        f'<u style="top:{100 * (1 - v):.0f}%"></u>'
        for v, name in ((0, "0"), (0.5, ".5"), (1, "1"))
    )
    return (
        f'<div class="mono" style="overflow:hidden;text-overflow:ellipsis;color:'
        f'{ink("accent" if curve.current else "ink")}" title="{escape(curve.name)}">'
        f"{escape(curve.name)}</div>"
        f'<div class="dim" style="font-size:12px">{escape(curve.note)}</div>'
        f'<div class="atl-multi" style="height:{height}px">{scale}{drawn}{ticks}</div>'
    )
