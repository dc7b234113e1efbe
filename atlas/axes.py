"""The step axis and other pieces that all figures share, as parts of Plotly dictionaries.

A training step lies at log10(step + 1) everywhere, so that step 0 stays on the axis.
"""

import math
from collections.abc import Sequence

from atlas.theme import Palette, axis, template


def position(step: float) -> float:
    """Where a training step lies on the axis."""
    return math.log10(step + 1)


def positions(steps: Sequence[int]) -> list[float]:
    """Axis positions of all steps, rounded to what a pixel can show."""
    return [round(position(step), 4) for step in steps]


def short_step(step: int) -> str:
    """A step in at most four characters or so: 512, 1k, 143k."""
    if step >= 1000 and step % 1000 == 0:
        return f"{step // 1000}k"
    return f"{step:,}"


def step_ticks(steps: Sequence[int]) -> tuple[list[float], list[str]]:
    """Ticks at 0, 1, the powers of ten and the last step, none crowding the last."""
    last = max(steps)
    apart = 0.1 * (position(last) - position(min(steps)))
    wanted = [0, 1] + [10**e for e in range(1, 8) if 10**e < last]
    kept = [s for s in wanted if min(steps) <= s and position(last) - position(s) > apart]
    kept = kept + [last]
    return [round(position(s), 4) for s in kept], [short_step(s) for s in kept]


def step_axis(steps: Sequence[int], p: Palette, title: bool = True) -> dict:
    """The shared horizontal axis."""
    values, labels = step_ticks(steps)
    low, high = position(min(steps)), position(max(steps))
    pad = max(0.02 * (high - low), 0.03)
    found = {
        **axis(p),
        "tickmode": "array",
        "tickvals": values,
        "ticktext": labels,
        "range": [low - pad, high + pad],
    }
    if title:
        found["title"] = {
            "text": "training step (log, 0 kept)",
            "font": {"size": 11.5, "color": p.muted},
            "standoff": 8,
        }
    return found


def tidy(values: Sequence[float | None]) -> list[float | None]:
    """Five significant digits, and None for what is not a number."""
    return [None if v is None or not math.isfinite(v) else float(f"{v:.5g}") for v in values]


def upright(x: float, colour: str, dash: str, suffix: str = "") -> dict:
    """A vertical line through one panel."""
    return {
        "type": "line",
        "xref": "x",
        "yref": f"y{suffix} domain",
        "x0": round(x, 4),
        "x1": round(x, 4),
        "y0": 0,
        "y1": 1,
        "line": {"color": colour, "width": 1, "dash": dash},
        "layer": "above",
    }


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move values apart to at least `gap`, keeping their order and staying within the range."""
    order = sorted(range(len(values)), key=lambda i: values[i])
    placed: list[float] = []
    for i in order:
        placed.append(max(values[i], placed[-1] + gap) if placed else max(values[i], low))
    ceiling = high
    for j in range(len(placed) - 1, -1, -1):
        placed[j] = min(placed[j], ceiling)
        ceiling = placed[j] - gap
    found = [0.0] * len(values)
    for i, at in zip(order, placed, strict=True):
        found[i] = at
    return found


def plain(text: str) -> str:
    """Text safe inside a figure: Plotly reads a little HTML and its own %{…} templates."""
    for found, written in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("%{", "%&#123;")):
        text = text.replace(found, written)
    return text


def edges(steps: Sequence[int]) -> list[float]:
    """Borders of cells around the steps on the axis, K + 1 of them."""
    x = positions(steps)
    if len(x) == 1:
        return [x[0] - 0.5, x[0] + 0.5]
    middles = [(a + b) / 2 for a, b in zip(x, x[1:], strict=False)]
    return [2 * x[0] - middles[0], *middles, 2 * x[-1] - middles[-1]]


def bare_template(p: Palette) -> dict:
    """The template without its axes, for figures whose own axes say everything: half its bytes."""
    layout = template(p)["layout"]
    return {"layout": {name: found for name, found in layout.items() if "axis" not in name}}
