"""Figures whose parts are links: described once, drawn as HTML for a page and as SVG for a file.

A page may hold no SVG, so there a part is a link cut to its shape: crisp, of any width, reached
with the keyboard, and without a script. Places are shares of the figure's plot, from its lower
left corner.
"""

import zlib
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from struct import pack

import numpy as np

from atlas.markup import wrap
from atlas.theme import SANS, Palette

CLASSES = """
.atl-fig{position:relative;margin:2px 0 22px}
.atl-fig .plot{position:absolute;inset:0}
.atl-fig a,.atl-fig b{position:absolute;display:block}
.atl-fig a:hover{outline:1px solid var(--atl-accent);outline-offset:0}
.atl-fig a.cut:hover{outline:0;filter:brightness(1.12) saturate(1.2)}
.atl-fig a:focus-visible{outline:2px solid var(--atl-accent)}
.atl-fig .rows{position:absolute;inset:0;display:flex;flex-direction:column}
.atl-fig .rows>*{position:relative;flex:1 1 0;min-height:0}
.atl-fig u{pointer-events:none}
.atl-fig img{position:absolute;inset:0;width:100%;height:100%;image-rendering:pixelated}
.atl-fig u{position:absolute;border:0 solid var(--atl-grid)}
.atl-fig u.rule{border-color:var(--atl-muted)}
.atl-fig s{position:absolute;text-decoration:none;white-space:nowrap;color:var(--atl-muted);
 font:400 11px/1 var(--atl-sans)}
.atl-fig s.says{font-size:12px}
.atl-fig s.says{text-shadow:0 0 3px var(--atl-paper),0 0 3px var(--atl-paper)}
.atl-fig s.says a{position:static;display:inline}
""" + "".join(f".atl-fig .c{i}{{background:var(--c{i})}}" for i in range(8))
RAMP = 64
"""Shades of a picture."""


@dataclass(frozen=True)
class Part:
    """A box, or a shape with corners."""

    x: tuple[float, float]
    """Left and right."""
    y: tuple[float, float]
    """Lower and upper."""
    colour: int = -1
    """Place among the figure's colours; -1 for a part that is seen only under the pointer."""
    title: str = ""
    """What the pointer, and a screen reader, reads."""
    href: str = ""
    corners: tuple[tuple[float, float], ...] = ()
    """Corners of a shape, which replace the box; () for a box."""


@dataclass(frozen=True)
class Words:
    """A text in the plot."""

    x: float
    y: float
    text: str
    colour: int = -1
    """Place among the figure's colours; -1 for muted."""
    anchor: str = "left"
    """left, middle or right of the text lies at `x`; its middle lies at `y`."""
    href: str = ""


@dataclass(frozen=True, eq=False)
class Picture:
    """Cells of shades behind the parts, over the whole plot."""

    cells: np.ndarray
    """(R, K) in [0, 1], the uppermost row first."""
    edges: Sequence[float]
    """(K + 1,) borders of the columns in [0, 1]."""


@dataclass(frozen=True)
class Drawing:
    """A figure of parts over a plot with ticks."""

    parts: tuple[Part, ...]
    colours: tuple[str, ...]
    height: int
    """Pixels of the plot."""
    left: int = 44
    """Pixels for the names of the vertical ticks."""
    right: int = 0
    x_ticks: tuple[tuple[float, str], ...] = ()
    y_ticks: tuple[tuple[float, str], ...] = ()
    x_title: str = ""
    words: tuple[Words, ...] = ()
    rules: tuple[float, ...] = ()
    """Heights of lines across the plot."""
    upright: float | None = None
    """Where a line stands from foot to top: the chosen step."""
    mark: str = ""
    """Name of the page's variable `--atl-at-…` that says so too, so that the fragment stays the
    same when the line moves; '' for none."""
    picture: Picture | None = None
    lines: tuple[tuple[str, str], ...] = ()
    """Words and address of links that divide the plot evenly from top to foot: the rows of a
    picture."""
    ramp: tuple[str, ...] = ()
    """Colours of the picture from 0 to 1, evenly apart."""


def _n(value: float) -> str:
    return f"{100 * value:.2f}".rstrip("0").rstrip(".")


# --- for a page ---------------------------------------------------------------------------------


def drawn(found: Drawing, alt: str) -> str:
    """The figure as an HTML fragment."""
    colours = "".join(f"--c{i}:{c};" for i, c in enumerate(found.colours))
    line_of = 'left:-5px;width:4px' if found.picture is not None else "left:0;right:0"
    grid = "".join(
        f'<u style="{line_of};bottom:{_n(y)}%;border-top-width:1px"></u>'
        f'<s style="right:calc(100% + 7px);bottom:calc({_n(y)}% - 5px)">{escape(text)}</s>'
        for y, text in found.y_ticks
    )
    feet = "".join(
        f'<s style="left:{_n(x)}%;top:calc(100% + 8px);transform:translateX(-50%)">'
        f'{escape(text)}</s><u class="rule" style="left:{_n(x)}%;top:100%;height:4px;'
        'border-left-width:1px"></u>'
        for x, text in found.x_ticks
    )
    title = (f'<s style="left:50%;top:calc(100% + 24px);transform:translateX(-50%)">'
             f"{escape(found.x_title)}</s>") if found.x_title else ""
    rules = "".join(
        f'<u class="rule" style="left:0;right:0;bottom:{_n(y)}%;border-top-width:1px"></u>'
        for y in found.rules
    )
    at = f"var(--atl-at-{found.mark})" if found.mark else f"{_n(found.upright or 0)}%"
    line = "" if found.upright is None else (
        f'<u class="rule" style="left:{at};top:0;bottom:0;border-left-width:1px"></u>')
    rows = "".join(
        f'<a title="{escape(said)}" href="{escape(href)}"></a>' if href
        else f'<b title="{escape(said)}"></b>' for said, href in found.lines
    )
    if rows:
        rows = f'<div class="rows">{rows}</div>'
    picture = "" if found.picture is None else (
        f'<img alt="{escape(alt)}" src="data:image/png;base64,{_data(found)}">')
    foot = 44 if found.x_title else 28
    return wrap(
        f'<div class="atl-fig" role="group" aria-label="{escape(alt)}" style="{colours}'
        f'height:{found.height}px;margin-left:{found.left}px;margin-right:{found.right}px;'
        f'margin-bottom:{foot}px"><div class="plot">{picture}{grid}{rows}{line}'
        f'{"".join(_part(p) for p in found.parts)}{rules}{feet}{title}'
        f'{"".join(_words(w) for w in found.words)}</div></div>'
    )


def _part(part: Part) -> str:
    (x0, x1), (y0, y1) = part.x, part.y
    style = f"left:{_n(x0)}%;width:{_n(x1 - x0)}%;bottom:{_n(y0)}%;height:{_n(y1 - y0)}%"
    kind = f"c{part.colour}" if part.colour >= 0 else ""
    if part.corners:
        kind += " cut"
        corners = ",".join(f"{_n(x)}% {_n(1 - y)}%" for x, y in part.corners)
        style = f"inset:0;clip-path:polygon({corners})"
    title = f' title="{escape(part.title)}"' if part.title else ""
    if not part.href:
        return f'<b class="{kind}" style="{style}"{title}></b>'
    return f'<a class="{kind}" style="{style}"{title} href="{escape(part.href)}"></a>'


SHIFT = {"left": "0", "middle": "-50%", "right": "-100%"}


def _words(words: Words) -> str:
    colour = f";color:var(--c{words.colour})" if words.colour >= 0 else ""
    text = escape(words.text)
    if words.href:
        text = f'<a href="{escape(words.href)}">{text}</a>'
    return (
        f'<s class="says" style="left:{_n(words.x)}%;bottom:{_n(words.y)}%;'
        f'transform:translate({SHIFT[words.anchor]},50%){colour}">{text}</s>'
    )


# --- the picture --------------------------------------------------------------------------------


def _rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def shades(ramp: Sequence[str]) -> np.ndarray:
    """(RAMP, 3) uint8 colours from the first to the last of some, by way of those between."""
    known = np.array([_rgb(c) for c in ramp], float)
    at = np.linspace(0, len(known) - 1, RAMP)
    return np.stack(
        [np.interp(at, np.arange(len(known)), known[:, i]) for i in range(3)], axis=1
    ).round().astype(np.uint8)


def png(cells: np.ndarray, edges: Sequence[float], ramp: Sequence[str], width: int = 720) -> bytes:
    """Cells (R, K) in [0, 1] as a picture, one line of pixels a row, columns as wide as `edges`."""
    middle = (np.arange(width) + 0.5) / width
    column = np.clip(np.searchsorted(edges, middle, side="right") - 1, 0, cells.shape[1] - 1)
    level = np.clip(np.nan_to_num(cells) * (RAMP - 1) + 0.5, 0, RAMP - 1).astype(np.uint8)
    lines = level[:, column]
    body = np.concatenate([np.zeros((len(lines), 1), np.uint8), lines], axis=1).tobytes()
    return b"".join([
        b"\x89PNG\r\n\x1a\n",
        _chunk(b"IHDR", pack(">IIBBBBB", width, len(lines), 8, 3, 0, 0, 0)),
        _chunk(b"PLTE", shades(ramp).tobytes()),
        _chunk(b"IDAT", zlib.compress(body, 9)),
        _chunk(b"IEND", b""),
    ])


def _chunk(kind: bytes, body: bytes) -> bytes:
    return pack(">I", len(body)) + kind + body + pack(">I", zlib.crc32(kind + body))


def _data(found: Drawing) -> str:
    assert found.picture is not None
    return b64encode(png(found.picture.cells, found.picture.edges, found.ramp)).decode()


# --- for a file ---------------------------------------------------------------------------------


def svg(found: Drawing, caption: str, p: Palette, width: int = 960) -> str:
    """The figure as an SVG document on paper, with a line of what it is made from; no links."""
    plot = width - found.left - max(found.right, 12)
    tall, top = found.height, 12
    whole = tall + top + (70 if found.x_title else 54)

    def at(x: float, y: float) -> tuple[str, str]:
        return f"{found.left + x * plot:.2f}", f"{top + (1 - y) * tall:.2f}"

    def line(x0: float, y0: float, x1: float, y1: float, colour: str) -> str:
        (a, b), (c, d) = at(x0, y0), at(x1, y1)
        return f'<line x1="{a}" y1="{b}" x2="{c}" y2="{d}" stroke="{colour}"/>'

    def text(x: str, y: str, said: str, colour: str, anchor: str, size: int = 11) -> str:
        return (f'<text x="{x}" y="{y}" fill="{colour}" text-anchor="{anchor}" '
                f'font-size="{size}">{escape(said)}</text>')

    body = [f'<rect width="{width}" height="{whole}" fill="{p.paper}"/>']
    if found.picture is not None:
        body.append(f'<image x="{found.left}" y="{top}" width="{plot}" height="{tall}" '
                    'preserveAspectRatio="none" style="image-rendering:pixelated" '
                    f'href="data:image/png;base64,{_data(found)}"/>')
    for y, said in found.y_ticks:
        if found.picture is None:
            body.append(line(0, y, 1, y, p.grid))
        body.append(text(str(found.left - 7), f"{float(at(0, y)[1]) + 4:.2f}", said, p.muted,
                         "end"))
    if found.upright is not None:
        body.append(line(found.upright, 0, found.upright, 1, p.muted))
    for part in found.parts:
        if part.colour < 0:
            continue
        corners = part.corners or tuple((part.x[i], part.y[j]) for i, j in
                                        ((0, 0), (1, 0), (1, 1), (0, 1)))
        points = " ".join(",".join(at(x, y)) for x, y in corners)
        body.append(f'<polygon points="{points}" fill="{found.colours[part.colour]}">'
                    f"<title>{escape(part.title)}</title></polygon>")
    body += [line(0, y, 1, y, p.muted) for y in found.rules]
    for x, said in found.x_ticks:
        body.append(text(at(x, 0)[0], f"{top + tall + 18}", said, p.muted, "middle"))
    if found.x_title:
        body.append(text(at(0.5, 0)[0], f"{top + tall + 36}", found.x_title, p.muted, "middle"))
    ends = {"left": "start", "middle": "middle", "right": "end"}
    for words in found.words:
        x, y = at(words.x, words.y)
        colour = found.colours[words.colour] if words.colour >= 0 else p.muted
        body.append(text(x, f"{float(y) + 4:.2f}", words.text, colour, ends[words.anchor], 12))
    body.append(text(str(found.left), f"{whole - 10}", caption, p.muted, "start", 10))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{whole}" '
        f'viewBox="0 0 {width} {whole}" font-family="{escape(SANS)}">{"".join(body)}</svg>'
    )
