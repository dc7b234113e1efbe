"""How alike a feature's directions at any two snapshots are: a square of cells as a figure."""

from collections.abc import Sequence

from atlas.axes import bare_template, short_step
from atlas.theme import SANS, Palette, axis

Numbers = Sequence[Sequence[float | None]]

TICKS = 5
"""Steps named along each side, about."""
LEFT, RIGHT, TOP, FOOT = 44, 80, 6, 28
"""Margins in pixels; the colour scale and its words stand in the right one."""
SIDE = 226
"""Pixels of the square."""
WIDTH, HEIGHT = SIDE + LEFT + RIGHT, SIDE + TOP + FOOT
"""Pixels of the figure."""


def named(count: int, most: int = TICKS) -> list[int]:
    """Numbers of the snapshots that get a tick: the first, the last and some evenly between."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def blocks(boundaries: Sequence[int], count: int) -> list[tuple[int, int]]:
    """(first, last) snapshot of every block that the boundaries leave.

    A boundary is the number of the first snapshot of a block; those outside 1 to `count` - 1
    part nothing and are left out.
    """
    starts = [0, *sorted({b for b in boundaries if 0 < b < count})]
    return list(zip(starts, [s - 1 for s in starts[1:]] + [count - 1], strict=True))


def cosine_square(
    steps: Sequence[int],
    cosines: Numbers,
    step: int,
    p: Palette,
    boundaries: Sequence[int] = (),
) -> dict:
    """The matrix of cosines between all snapshots, first snapshot at the lower left.

    Cells hold hundredths, which take half the bytes: there are K².

    Args:
        steps: training step of every snapshot.
        cosines: (K, K) in [-1, 1], None where a direction has no length.
        step: the chosen step, whose row and column are framed.
        p: the palette.
        boundaries: numbers of the snapshots at which a new block begins.
    """
    count = len(steps)
    names = [f"{s:,}" for s in steps]
    at = named(count)
    cells = {
        "type": "heatmap",
        "x": names,
        "y": names,
        "z": [[None if v is None else round(100 * v) for v in row] for row in cosines],
        "zmin": -100,
        "zmax": 100,
        "colorscale": [[0, p.counter], [0.5, p.paper], [1, p.accent]],
        "hoverongaps": False,
        "hovertemplate": "cosine %{z}/100 between step %{x} and step %{y}<extra></extra>",
        "colorbar": {
            "thickness": 7, "outlinewidth": 0, "len": 0.94, "y": 0.5, "x": 1, "xpad": 10, "ypad": 0,
            "tickmode": "array", "tickvals": [-100, 0, 100],
            "ticktext": ["−1 opposite", "0", "1 same"], "ticks": "",
            "tickfont": {"family": SANS, "size": 10.5, "color": p.muted},
        },
    }
    side_axis = {
        **axis(p),
        "type": "category",
        "tickmode": "array",
        "tickvals": [names[k] for k in at],
        "ticktext": [short_step(steps[k]) for k in at],
        "showgrid": False,
        "range": [-0.5, count - 0.5],
    }
    return {
        "data": [cells],
        "layout": {
            "template": bare_template(p),
            "height": HEIGHT,
            "width": WIDTH,
            "margin": {"l": LEFT, "r": RIGHT, "t": TOP, "b": FOOT},
            "hovermode": "closest",
            "xaxis": side_axis,
            "yaxis": dict(side_axis),
            "shapes": [*_frames(list(steps).index(step), count, p),
                       *_outlines(blocks(boundaries, count), p)],
        },
    }


def _box(x0: float, x1: float, y0: float, y1: float, colour: str, width: float) -> dict:
    return {
        "type": "rect", "xref": "x", "yref": "y", "x0": x0, "x1": x1, "y0": y0, "y1": y1,
        "line": {"color": colour, "width": width}, "fillcolor": "rgba(0,0,0,0)", "layer": "above",
    }


def _frames(k: int, count: int, p: Palette) -> list[dict]:
    """The row and the column of one snapshot, framed."""
    whole, cell = (-0.5, count - 0.5), (k - 0.5, k + 0.5)
    return [_box(*whole, *cell, p.muted, 0.8), _box(*cell, *whole, p.muted, 0.8)]


def _outlines(found: Sequence[tuple[int, int]], p: Palette) -> list[dict]:
    """Frames around the blocks on the diagonal; one block alone parts nothing."""
    if len(found) < 2:
        return []
    return [
        _box(low - 0.5, high + 0.5, low - 0.5, high + 0.5, p.ink, 1.6) for low, high in found
    ]
