"""Figures of an edit: random features beside it, predicted against realised, what is written."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
import pandas as pd

from atlas.axes import bare_template
from atlas.continuation import Continuation
from atlas.editing import Edited, Moved, Point
from atlas.markup import NOT_AVAILABLE, number, signed, wrap
from atlas.swap_figures import Line, change_of_rank, lists
from atlas.theme import SANS, Palette, axis, ink

MANY = 3
"""Random features with a prediction from which their r² is told."""
HEIGHT = 300
"""Pixels of the slope check."""


# --- random features beside the edit --------------------------------------------------------------


@dataclass(frozen=True)
class Strip:
    """One measure of an edit among the same measure of random features."""

    words: str
    value: float
    drawn: tuple[float, ...]
    unit: str
    signed: bool
    """Whether it goes both ways from 0."""


def strips_of(found: Edited) -> tuple[Strip, Strip]:
    """The change of the score and the KL of an edit among its draws."""
    return (
        Strip("change of the score", found.change, tuple(d.change for d in found.draws), "logits",
              True),
        Strip("KL before ‖ after", found.kl, tuple(d.kl for d in found.draws), "bits", False),
    )


def quantiles(drawn: Sequence[float]) -> tuple[float, float, float]:
    """5 %, middle and 95 % of the draws; nan where there are none."""
    if not len(drawn):
        return math.nan, math.nan, math.nan
    low, middle, high = np.quantile(np.asarray(drawn), (0.05, 0.5, 0.95))
    return float(low), float(middle), float(high)


def exceeded(strip: Strip) -> int:
    """Draws whose measure is at least as large in size as the edit's."""
    return sum(abs(v) >= abs(strip.value) for v in strip.drawn)


def strips(found: Sequence[Strip]) -> str:
    """Each measure on a line of its own: the edit in the accent, draws grey, 5 to 95 % a band."""
    return wrap("".join(_strip(s) for s in found))


def _strip(s: Strip) -> str:
    values = [0.0, s.value, *s.drawn]
    low, high = min(values), max(values)
    pad = 0.04 * ((high - low) or 1.0)
    low, high = (low - pad if s.signed else low), high + pad

    def at(value: float) -> float:
        return 100 * (value - low) / (high - low)

    first, middle, last = quantiles(s.drawn)
    show = (lambda v: signed(v, 3)) if s.signed else (lambda v: number(v, 3))
    band = "" if math.isnan(first) else (
        f'<i style="position:absolute;top:5px;bottom:5px;left:{at(first):.2f}%;'
        f'width:{at(last) - at(first):.2f}%;min-width:1px;background:{ink("ink", 0.1)}"></i>'
    )
    ticks = "".join(
        f'<i style="position:absolute;top:7px;bottom:7px;left:{at(v):.2f}%;width:1px;'
        f'background:{ink("ink", 0.45)}" title="{escape(show(v))}"></i>' for v in s.drawn
    )
    zero = (
        f'<i style="position:absolute;top:0;bottom:0;left:{at(0):.2f}%;width:1px;'
        f'background:{ink("rule")}"></i>'
    )
    mark = (
        f'<i style="position:absolute;top:1px;bottom:1px;left:calc({at(s.value):.2f}% - 1.5px);'
        f'width:3px;background:{ink("accent")}" title="{escape(show(s.value))}"></i>'
    )
    beside = NOT_AVAILABLE if math.isnan(middle) else (
        f"random {show(middle)} ({show(first)} to {show(last)})"
    )
    said = (
        f'<div style="display:flex;justify-content:space-between;gap:14px;font-size:12px">'
        f'<span>{escape(s.words)} <b class="num" style="color:{ink("accent")}">{show(s.value)}</b> '
        f'{escape(s.unit)}</span><span class="num dim" style="font-size:11px">{escape(beside)}'
        "</span></div>"
    )
    label = f"{s.words}: {show(s.value)} {s.unit}; {beside}"
    return (
        f'<div style="margin:0 0 10px">{said}<div role="img" aria-label="{escape(label)}" '
        f'style="position:relative;height:26px;border-bottom:1px solid {ink("grid")}">'
        f"{band}{zero}{ticks}{mark}</div></div>"
    )


# --- next tokens ----------------------------------------------------------------------------------


def next_tokens(found: Edited, score: Sequence[int]) -> str:
    """The likeliest next tokens before and after; those of the score in the accent."""
    hot = set(score)

    def lines(tokens: Sequence[Moved], after: bool) -> list[Line]:
        out = []
        for t in tokens:
            here, there = (t.rank_after, t.rank_before) if after else (t.rank_before, t.rank_after)
            note, rises = change_of_rank(here, there, not after)
            chance = t.after if after else t.before
            out.append(Line(t.text, chance, note, t.token in hot, rises))
        return out

    return lists(
        ("before", lines(found.likely_before, False)), ("after the edit", lines(found.likely, True))
    )


# --- predicted and realised -----------------------------------------------------------------------


def slope_figure(found: Edited, p: Palette) -> dict:
    """What removing a feature takes from the score against what the ledger says it carries.

    The largest contributions in the accent with their slope through the origin, random live
    features grey; the dotted line is where both agree.
    """
    both = [*found.largest, *found.random]
    seen = [v for q in both for v in (q.predicted, q.realised)] or [0.0]
    low, high = min(0.0, *seen), max(0.0, *seen)
    pad = 0.08 * ((high - low) or 1.0)
    limits = [round(low - pad, 4), round(high + pad, 4)]
    slope = found.slope.slope
    data = [
        _line(limits, limits, p.muted, "1px,3px", 1),
        _points("random", found.random, p.muted, 7, "circle-open"),
        _points("largest", found.largest, p.accent, 8, "circle"),
    ]
    notes = [_note(limits[1], limits[1], "as predicted", p.muted, "right", "bottom")]
    if slope is not None:
        ends = [q.predicted for q in found.largest]
        xs = [min(0.0, *ends), max(0.0, *ends)]
        data.insert(1, _line(xs, [slope * x for x in xs], p.accent, "solid", 1.4))
    flat = {**axis(p), "range": limits, "zeroline": True, "zerolinecolor": p.rule,
            "zerolinewidth": 1, "nticks": 6}
    return {
        "data": data,
        "layout": {
            "template": bare_template(p),
            "height": HEIGHT,
            "margin": {"l": 58, "r": 12, "t": 8, "b": 44},
            "hovermode": "closest",
            "xaxis": {**flat, "title": _title("predicted by the ledger, c", p)},
            "yaxis": {**flat, "title": _title("realised, (h · d̂)(q · d̂)", p)},
            "annotations": notes,
        },
    }


def _title(text: str, p: Palette) -> dict:
    return {"text": text, "font": {"size": 11.5, "color": p.muted}, "standoff": 8}


def _line(x: Sequence[float], y: Sequence[float], colour: str, dash: str, width: float) -> dict:
    return {
        "type": "scatter", "mode": "lines", "x": [round(v, 4) for v in x],
        "y": [round(v, 4) for v in y], "line": {"color": colour, "width": width, "dash": dash},
        "hoverinfo": "skip",
    }


def _points(name: str, points: Sequence[Point], colour: str, size: float, symbol: str) -> dict:
    return {
        "type": "scatter", "mode": "markers", "name": name,
        "x": [round(q.predicted, 5) for q in points], "y": [round(q.realised, 5) for q in points],
        "marker": {"color": colour, "size": size, "symbol": symbol},
        "text": [f"#{q.feature}" for q in points],
        "hovertemplate": "%{text}<br>predicted %{x:.3f}<br>realised %{y:.3f}<extra></extra>",
        "cliponaxis": False,
    }


def _note(x: float, y: float, text: str, colour: str, xanchor: str, yanchor: str) -> dict:
    return {
        "x": x, "y": y, "xref": "x", "yref": "y", "xanchor": xanchor, "yanchor": yanchor,
        "xshift": -4, "yshift": -20, "text": text, "showarrow": False,
        "font": {"family": SANS, "size": 11, "color": colour},
    }


def slope_words(found: Edited) -> str:
    """The slope and both correlations in a sentence."""
    slope, r2 = found.slope.slope, found.slope.r2
    one = "not available" if slope is None else (
        f"slope through the origin {number(slope, 2)}, squared correlation r² {number(r2, 2)}"
    )
    foretold = sum(q.predicted != 0 for q in found.random)
    other = found.random_slope.r2
    control = (
        f"of the random ones r² is not available, because the ledger predicts anything of "
        f"{foretold} of {len(found.random)}"
        if other is None or foretold < MANY else
        f"of the random ones, {foretold} of which the ledger knows, r² is {number(other, 2)}"
    )
    return f"Of the largest {one}; {control}."


def points_table(found: Edited) -> pd.DataFrame:
    """Both sets of the slope check."""
    return pd.DataFrame([
        {"features": name, "feature": q.feature, "predicted": q.predicted, "realised": q.realised}
        for name, points in (("largest", found.largest), ("random", found.random)) for q in points
    ])


def draws_table(found: Edited) -> pd.DataFrame:
    """The edit and its draws."""
    rows = [("edit", found.edit.features, found.change, found.kl)]
    rows += [(f"random {i}", d.features, d.change, d.kl) for i, d in enumerate(found.draws, 1)]
    return pd.DataFrame(
        [(n, ",".join(map(str, f)), c, k) for n, f, c, k in rows],
        columns=["edit", "features", "change_of_score", "kl_bits"],
    )


def parts_table(found: Edited) -> str:
    """The features of an edit: what the ledger predicts of each, and what each does alone."""
    rows = "".join(
        f'<tr><td class="num">#{q.feature}</td><td class="num r">{signed(q.contribution, 3)}</td>'
        f'<td class="num r">{signed(q.predicted, 3)}</td>'
        f'<td class="num r">{signed(q.realised, 3)}</td></tr>'
        for q in found.parts
    )
    heads = "".join(
        f'<th class="{"r" if i else ""}" title="{escape(why)}">{name}</th>'
        for i, (name, why) in enumerate((
            ("feature", ""), ("contribution", "What the ledger says it carries of the score."),
            ("predicted", "Change of the score if directions did not overlap."),
            ("alone", "Change of the score if this feature alone is edited, exact."),
        ))
    )
    total = (
        f'<tr><td>together</td><td></td><td class="num r">{signed(found.predicted, 3)}</td>'
        f'<td class="num r">{signed(found.change, 3)}</td></tr>'
    )
    return wrap(f'<table class="atl-table"><tr>{heads}</tr>{rows}{total}</table>')


# --- what is written ------------------------------------------------------------------------------


def written(found: Continuation, tail: str) -> str:
    """The prompt's end and what follows it: unedited, edited, with random features.

    Tokens from the first that differs from the unedited text on are set in colour.
    """
    plain = found.before
    rows = []
    names = ("unedited", "edited", "random features")
    for name, tokens, texts in zip(
        names, (found.before, found.after, found.random), found.texts, strict=True
    ):
        same = 0
        while same < min(len(tokens), len(plain)) and tokens[same] == plain[same]:
            same += 1
        if name == "random features" and not found.random_features:
            continue
        colour = ink("accent" if name == "edited" else "counter")
        spans = "".join(
            f'<span style="{"" if i < same else f"color:{colour};"}border-bottom:1px solid '
            f'{ink("rule")};margin-right:1px;white-space:pre-wrap" title="token {i + 1}">'
            f"{escape(text)}</span>" for i, text in enumerate(texts)
        )
        rows.append(
            f'<div class="dim" style="font-size:12px">{name}</div><div class="tok" '
            f'style="white-space:normal;line-height:1.9;word-break:break-word">'
            f'<span class="dim">{escape(tail)}</span>{spans}</div>'
        )
    return wrap(
        '<div style="display:grid;grid-template-columns:max-content 1fr;gap:2px 18px;'
        f'align-items:baseline">{"".join(rows)}</div>'
    )
