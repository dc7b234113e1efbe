"""How the tokens that a direction promotes come and go: ranks through all snapshots as a figure.

Every token is a strand from the snapshot at which it enters the list to the one at which it
leaves, named where it enters; below it the share of the list that was kept since the snapshot
before, beside what a random direction keeps. Snapshots stand at equal distances, since the list
changes from one to the next, however many steps lie between.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from atlas.axes import bare_template, plain, short_step
from atlas.rankings import RANKS, Null, Ranking, Stay, kept, stays
from atlas.theme import MONO, SANS, SERIF, Palette, axis

FILLED, HOLLOW = 0, 100
"""Plotly's numbers of a dot and of a ring."""
LETTER = 6.6
"""Width of a letter of a name in pixels, a little generous."""
LONGEST = 15
"""Letters of a name that are drawn."""
LEFT, RIGHT = 44, 118
"""Margins in pixels; the names of the last snapshot stand in the right one."""


@dataclass(frozen=True)
class Name:
    """A token's name at a place of the figure."""

    text: str
    x: float
    """In snapshots."""
    rank: int
    stays: bool
    """In the list of the last snapshot."""


def placed_names(found: Sequence[Stay], count: int, pitch: float) -> list[Name]:
    """Names for the places where tokens enter, and where long strands leave, none over another.

    Args:
        found: all stays.
        count: snapshots.
        pitch: pixels from one snapshot to the next.

    Those of tokens that end in the list come first, then those that stay longest; tokens that
    come for one snapshot only are named where they are the best. A name without room is left
    out, since the pointer reads every strand.
    """
    final = {stay.token for stay in found if stay.last == count - 1}
    taken: dict[int, list[tuple[float, float]]] = {}
    names = []

    def place(stay: Stay, k: int) -> None:
        rank = stay.ranks[k - stay.first]
        text = shortened(stay.text)
        width = LETTER * len(text) / pitch
        start = k - 0.1
        if k > 0 and start + width > count - 1 - 0.25:
            return  # it would run into the names of the last snapshot
        row = taken.setdefault(rank, [])
        if all(start + width + 0.15 < low or start > high + 0.15 for low, high in row):
            row.append((start, start + width))
            names.append(Name(text, start, rank, stay.token in final))

    def weight(stay: Stay) -> tuple:
        return (stay.token not in final, -len(stay.ranks), min(stay.ranks))

    for stay in sorted(found, key=weight):
        if len(stay.ranks) > 1 or stay.first == 0 or stay.token in final or min(stay.ranks) == 0:
            place(stay, stay.first)
    for stay in sorted(found, key=weight):
        wide = LETTER * len(shortened(stay.text)) / pitch
        if stay.last < count - 1 and len(stay.ranks) > wide + 4:
            place(stay, stay.last)
    return names


def shortened(text: str, most: int = LONGEST) -> str:
    """A token's text, cut to what a place of the figure holds."""
    return text if len(text) <= most else text[: most - 1] + "…"


def flow_figure(
    steps: Sequence[int],
    rankings: Sequence[Ranking],
    step: int,
    p: Palette,
    null: Null | None = None,
    silent: Sequence[bool] | None = None,
    width: int = 1140,
    height: int = 440,
) -> dict:
    """Ranks of the promoted tokens through all snapshots, and the share of them that is kept.

    Args:
        steps: training step of every snapshot.
        rankings: the promoted tokens of every snapshot.
        step: the chosen step, an upright line.
        p: the palette.
        null: what random directions promote; a token whose cosine 1 in 20 of them reaches at its
            rank is drawn hollow. None: every token is filled, and no line stands beside the
            feature's.
        silent: per snapshot, whether the feature fires on nothing there.
        width: pixels that the figure is likely to have, to keep names apart.
        height: its height in pixels.
    """
    count = len(steps)
    found = stays(rankings)
    final = {stay.token for stay in found if stay.last == count - 1}
    pitch = (width - LEFT - RIGHT) / max(1, count - 1)
    names = placed_names(found, count, pitch)
    beyond = None if null is None else null.beyond
    null_kept = None if null is None else null.kept
    leaving = [stay for stay in found if stay.token not in final]
    staying = [stay for stay in found if stay.token in final]
    data = [
        _strands(leaving, beyond, count, (_faint(p), 1.1, 3.5)),
        _strands(staying, beyond, count, (p.accent, 2.0, 6)),
        _labels([n for n in names if not n.stays], p.muted),
        _labels([n for n in names if n.stays], p.accent),
        _final_names(rankings[-1], count, p),
        *_kept_lines(rankings, null_kept, p),
    ]
    chosen = list(steps).index(step)
    shapes = [_upright(chosen, f"y{suffix}", p) for suffix in ("", "2")]
    shapes += [_silence(k, p) for k, is_silent in enumerate(silent or ()) if is_silent]
    return {
        "data": data,
        "layout": {
            "template": bare_template(p),
            "height": height,
            "margin": {"l": LEFT, "r": RIGHT, "t": 4, "b": 34},
            "hovermode": "closest",
            "hoverdistance": 12,
            "xaxis": {
                **axis(p),
                "anchor": "y2",
                "range": [-0.35, count - 1 + 0.2],
                "tickmode": "array",
                "tickvals": list(range(count)),
                "ticktext": [short_step(s) for s in steps],
                "tickangle": 0,
                "showgrid": False,
                "ticklen": 2,
            },
            "yaxis": {
                **axis(p), "domain": [0.25, 1], "range": [RANKS - 0.5, -0.75], "showgrid": False,
                "tickmode": "array", "tickvals": [0, RANKS - 1], "ticktext": ["1", str(RANKS)],
                "ticks": "",
            },
            "yaxis2": {
                **axis(p), "domain": [0, 0.16], "range": [-0.06, 1.1], "tickmode": "array",
                "tickvals": [0, 1], "ticktext": ["0", "100%"], "ticks": "",
            },
            "shapes": shapes,
            "annotations": _kept_names(rankings, null_kept, p),
        },
    }


def _strands(
    found: Sequence[Stay],
    beyond: Sequence[float] | None,
    count: int,
    look: tuple[str, float, float],
) -> dict:
    """All stays as one broken line with a dot at every snapshot.

    Dots are filled where the cosine exceeds chance and hollow where it does not; `look` is the
    colour, the width of the line and the size of the dots.
    """
    colour, width, size = look
    x, y, text, symbols = [], [], [], []
    for stay in found:
        for i, (rank, cosine) in enumerate(zip(stay.ranks, stay.cosines, strict=True)):
            k = stay.first + i
            chance = math.nan if beyond is None else beyond[k * RANKS + rank]
            x.append(k)
            y.append(rank)
            symbols.append(HOLLOW if cosine <= chance else FILLED)
            moved = " enters" if i == 0 and k > 0 else ""
            moved += " leaves" if k == stay.last and k < count - 1 else ""
            text.append(f"{plain(stay.text)} {cosine:.2f}{moved}")
        for column, gap in ((x, None), (y, None), (symbols, FILLED), (text, "")):
            column.append(gap)
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "rank",
        "x": x,
        "y": y,
        "text": text,
        "line": {"color": colour, "width": width, "shape": "spline", "smoothing": 0.45},
        "marker": {"size": size, "color": colour, "opacity": 1,
                   "symbol": symbols if HOLLOW in symbols else FILLED,
                   "line": {"width": 1, "color": colour}},
        "hovertemplate": "%{text}<extra></extra>",
        "cliponaxis": False,
        "unselected": {"marker": {"opacity": 1}},
    }


def _faint(p: Palette) -> str:
    """Ink of the strands that leave: between the muted ink and the ground."""
    ink, ground = (
        [int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in (p.muted, p.paper)
    )
    mixed = (round(0.62 * a + 0.38 * b) for a, b in zip(ink, ground, strict=True))
    return "#" + "".join(f"{value:02x}" for value in mixed)


def place_of(selected: Any) -> tuple[int, int] | None:
    """Snapshot and rank of a clicked dot, from what Plotly tells of a selection; None if none."""
    try:
        point = selected["selection"]["points"][0]
        k, rank = point["x"], point["y"]
    except (KeyError, IndexError, TypeError):
        return None
    whole = isinstance(k, int) and isinstance(rank, int) and k >= 0 and rank >= 0
    return (k, rank) if whole else None


def _labels(names: Sequence[Name], colour: str) -> dict:
    """Names above the places where their tokens enter or leave."""
    return {
        "type": "scatter",
        "mode": "text",
        "x": [round(name.x, 2) for name in names],
        "y": [name.rank - 0.36 for name in names],
        "text": [plain(name.text) for name in names],
        "textposition": "middle right",
        "textfont": {"family": MONO, "size": 10.5, "color": colour},
        "hoverinfo": "skip",
        "cliponaxis": False,
    }


def _final_names(ranking: Ranking, count: int, p: Palette) -> dict:
    """The list of the last snapshot right of it, outside the panel."""
    texts = [plain(shortened(text)) for text in ranking.texts[:RANKS]]
    return {
        "type": "scatter",
        "mode": "text",
        "name": "last list",
        "x": [count - 1 + 0.18] * len(texts),
        "y": list(range(len(texts))),
        "text": texts,
        "textposition": "middle right",
        "textfont": {"family": MONO, "size": 12, "color": p.accent},
        "hoverinfo": "skip",
        "cliponaxis": False,
    }


def _kept_lines(
    rankings: Sequence[Ranking], null_kept: Sequence[float | None] | None, p: Palette
) -> list[dict]:
    """Share kept since the snapshot before: of the feature and of a random direction."""
    lines = [("feature", kept(rankings), p.accent, 1.8)]
    if null_kept is not None:
        lines.insert(0, ("random direction", list(null_kept), p.muted, 1.4))
    return [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": name,
            "x": list(range(len(rankings))),
            "y": [None if v is None else round(v, 3) for v in values],
            "yaxis": "y2",
            "line": {"color": colour, "width": width},
            "marker": {"size": 3.5, "color": colour},
            "hovertemplate": f"{name} keeps %{{y:.0%}}<extra></extra>",
        }
        for name, values, colour, width in lines
    ]


def _kept_names(
    rankings: Sequence[Ranking], null_kept: Sequence[float | None] | None, p: Palette
) -> list[dict]:
    """What the lower panel is, and the names of its lines at their ends."""
    ends = [("this feature", kept(rankings)[-1], p.accent)]
    if null_kept is not None:
        ends.append(("a random one", list(null_kept)[-1], p.muted))
    names = [
        (name, value, colour) for name, value, colour in ends
        if value is not None and math.isfinite(value)
    ]
    names.sort(key=lambda end: end[1])
    apart = 0.3  # of the panel: two lines of type
    places = [value for _, value, _ in names]
    if len(places) == 2 and places[1] - places[0] < apart:
        middle = min(max(sum(places) / 2, apart / 2), 1 - apart / 2)
        places = [middle - apart / 2, middle + apart / 2]
    found = [
        {
            "x": 1, "xref": "paper", "xanchor": "left", "xshift": 4, "y": at, "yref": "y2",
            "yanchor": "middle", "text": f"{name} {value:.0%}", "showarrow": False,
            "font": {"family": SANS, "size": 11.5, "color": colour},
        }
        for (name, value, colour), at in zip(names, places, strict=True)
    ]
    found.append({
        "x": 0, "xref": "paper", "xanchor": "left", "y": 1, "yref": "y2 domain",
        "yanchor": "bottom", "yshift": 1, "showarrow": False,
        "text": "<i>share of the twelve kept since the snapshot before</i>",
        "font": {"family": SERIF, "size": 13.5, "color": p.muted},
    })
    return found


def _upright(x: float, y: str, p: Palette) -> dict:
    return {
        "type": "line", "xref": "x", "yref": f"{y} domain", "x0": x, "x1": x, "y0": 0, "y1": 1,
        "line": {"color": p.muted, "width": 1}, "layer": "below",
    }


def _silence(k: int, p: Palette) -> dict:
    """A veil over a snapshot at which the feature fires on nothing."""
    return {
        "type": "rect", "xref": "x", "yref": "y domain", "x0": k - 0.5, "x1": k + 0.5, "y0": 0,
        "y1": 1, "fillcolor": p.wide_band, "line": {"width": 0}, "layer": "below",
    }
