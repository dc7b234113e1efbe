"""The inside of a model as HTML: the lens as a table of cells, the prompt as a strip of tokens.

Cells and tokens are buttons: `data-atl-inside` says what a click on one asks for.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from atlas.markup import escape, wrap

CLASSES = """
.atl-lens{border-collapse:separate;border-spacing:1px;table-layout:fixed;width:100%;
 font:400 11.5px/1.25 var(--atl-mono)}
.atl-lens th{font-weight:400;color:var(--atl-muted);text-align:left;padding:3px 5px;border:0;
 overflow:hidden;text-overflow:ellipsis;white-space:pre}
.atl-lens th[scope=row]{font:400 11px/1.25 var(--atl-sans);text-align:right;padding-right:9px}
.atl-lens th.side{text-align:right;font-size:11px}
.atl-lens th.at{color:var(--atl-ink);box-shadow:inset 0 -2px var(--atl-accent)}
.atl-lens tr.at th[scope=row]{color:var(--atl-ink);box-shadow:inset -2px 0 var(--atl-accent)}
.atl-lens td{padding:0;border:0;
 background:color-mix(in srgb,var(--atl-ink) var(--a),transparent)}
.atl-lens td.ends{background:color-mix(in srgb,var(--atl-accent) var(--a),transparent)}
.atl-lens td.at{outline:1.5px solid var(--atl-accent);outline-offset:-1px}
.atl-lens td.num{text-align:right;padding:3px 2px;color:var(--atl-muted);background:none}
.atl-lens button,.atl-strip button{font:inherit;color:var(--atl-ink);background:none;border:0;
 margin:0;cursor:pointer}
.atl-lens button{display:block;width:100%;padding:3px 5px;text-align:left;white-space:pre;
 overflow:hidden;text-overflow:ellipsis}
.atl-lens th button{color:inherit;padding:0}
.atl-lens .fails button{color:var(--atl-muted);font-style:italic}
.atl-lens button:hover,.atl-strip button:hover{text-decoration:underline;
 text-decoration-color:var(--atl-accent);text-underline-offset:2px}
.atl-lens button:focus-visible,.atl-strip button:focus-visible{
 outline:2px solid var(--atl-accent);outline-offset:-2px}
.atl-strip{font:400 12.5px/2.05 var(--atl-mono);word-break:break-word}
.atl-strip button{padding:2px 1px 1px;margin-right:1px;white-space:pre-wrap;
 border-bottom:2px solid transparent;line-height:1.3;
 background:color-mix(in srgb,var(--atl-accent) var(--a,0%),transparent)}
.atl-strip .passes{border-bottom-color:var(--atl-counter)}
.atl-strip .fails{border-bottom:2px dotted var(--atl-muted)}
.atl-strip .at{outline:1.5px solid var(--atl-ink)}
@media (max-width:900px){.atl-lens{min-width:820px}}
"""
FAINTEST, DARKEST = 3.0, 46.0
"""Percent of ink of a cell of probability 0 and 1."""


def shade(probability: float) -> str:
    """Percent of ink for a probability."""
    return f"{FAINTEST + (DARKEST - FAINTEST) * min(1.0, max(0.0, probability)):.0f}%"


@dataclass(frozen=True)
class LensCell:
    """The likeliest token of one layer at one position."""

    text: str
    probability: float
    gate: bool
    """Whether features explain its logit."""
    ends: bool
    """Whether it is the token of the last layer too."""
    title: str = ""


@dataclass(frozen=True)
class LensRow:
    """One layer."""

    layer: int
    """0 is the embedding."""
    name: str
    cells: tuple[LensCell, ...]
    nearness: float
    """Mean cosine with what the head reads."""


def lens_table(
    heads: Sequence[str], positions: Sequence[int], rows: Sequence[LensRow],
    chosen: tuple[int, int],
) -> str:
    """The lens: a line per layer, a column per position under the token that is read there.

    Args:
        heads: the prompt's tokens at the positions.
        chosen: layer and position that are looked at.
    """
    layer, position = chosen
    head = "".join(
        f'<th scope="col"{_class("at" if p == position else "")} title="position {p}">'
        f"{escape(text)}</th>"
        for text, p in zip(heads, positions, strict=True)
    )
    lines = [
        '<tr><th style="width:84px" scope="row">reads</th>' + head
        + '<th class="side" style="width:46px" title="mean cosine with what the head reads">'
        "cos</th></tr>"
    ]
    for row in rows:
        cells = []
        for cell, p in zip(row.cells, positions, strict=True):
            here = p == position and row.layer == layer
            kinds = " ".join(("ends",) * cell.ends + ("fails",) * (not cell.gate) + ("at",) * here)
            cells.append(
                f"<td{_class(kinds)} style=--a:{shade(cell.probability)}>"
                f'<button data-atl-inside="{row.layer}:{p}" '
                f'title="{escape(cell.title)}">{escape(cell.text)}</button></td>'
            )
        lines.append(
            f'<tr{_class("at" if row.layer == layer else "")}><th scope="row">{escape(row.name)}'
            f'</th>{"".join(cells)}<td class="num">{row.nearness:.2f}</td></tr>'
        )
    return wrap(f'<table class="atl-lens">{"".join(lines)}</table>')


@dataclass(frozen=True)
class StripToken:
    """One token of the prompt, as the model saw it coming."""

    text: str
    position: int
    probability: float | None
    """None for the first token, which nothing precedes."""
    gate: bool | None
    """Whether features explain its logit; None where it has none."""
    title: str = ""


def strip(tokens: Sequence[StripToken], position: int) -> str:
    """The prompt, each token inked by how likely the model held it; a click asks why."""
    cells = []
    for token in tokens:
        gate = {True: "passes", False: "fails", None: ""}[token.gate]
        kinds = f"{gate} at" if token.position == position else gate
        ink = "" if token.probability is None else f" style=--a:{shade(token.probability)}"
        cells.append(
            f'<button{_class(kinds)}{ink} data-atl-inside="{token.position}" '
            f'title="{escape(token.title)}">{escape(token.text)}</button>'
        )
    return wrap(f'<div class="atl-strip">{"".join(cells)}</div>')


def _class(names: str) -> str:
    return f' class="{names.strip()}"' if names.strip() else ""
