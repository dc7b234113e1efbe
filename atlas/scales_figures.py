"""Runs beside each other through training, as small multiples over one shared axis."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas import label_places, multiples
from atlas.axes import bare_template, plain, upright
from atlas.comparing import places
from atlas.crystallise import Timing
from atlas.crystallise_store import Crystal
from atlas.figures import ribbon
from atlas.markup import number, probability, share, step_name
from atlas.multiples import Cell, colour, dash, faded, named, root, root_axis, said, step_of
from atlas.population_store import STANDING, Profiles
from atlas.records import RunCard
from atlas.reorganisation import Reorganisation
from atlas.scales import Births, Shares
from atlas.theme import SANS, Palette, axis, template


@dataclass(frozen=True, eq=False)
class Side:
    """One run of the comparison, as far as its figures need it."""

    card: RunCard
    name: str
    births: Births | None
    profiles: Profiles | None
    windows: Reorganisation | None
    why: str
    """Why it has no births and profiles; ''."""
    why_windows: str
    ev: np.ndarray
    l0: np.ndarray


@dataclass(frozen=True)
class Look:
    """How the figures are drawn."""

    axis: str
    step: int
    palette: Palette

    def across(self, cards: Sequence[RunCard]) -> dict:
        """The shared axis over the schedules of all runs."""
        steps = sorted({step for card in cards for step in card.steps})
        return multiples.time_axis(steps, self.axis, self.palette)

    @property
    def at(self) -> float | None:
        """Where the line of the chosen step stands."""
        return multiples.position_of_step(self.step, self.axis)


# --- births and windows ---------------------------------------------------------------------------


def births_figure(sides: Sequence[Side], look: Look) -> dict:
    """A row a run: births on the left with their shuffled null, scores of windows on the right."""
    across = look.across([side.card for side in sides])
    most = max((float(side.births.share.max(initial=0)) for side in sides if side.births),
               default=0.1)
    high = max((float(max(s.windows.score.max(), np.quantile(s.windows.null, 0.95)))
                for s in sides if s.windows), default=1.0)
    rows = [
        [_births_cell(side, i, most, look, across), _windows_cell(side, i, high, look)]
        for i, side in enumerate(sides)
    ]
    return multiples.in_grid(rows, (across, across), look.palette, look.at)


def _births_cell(side: Side, place: int, most: float, look: Look, across: dict) -> Cell:
    p, found = look.palette, side.births
    ink = colour(place, p)
    if found is None:
        return Cell(named(side.name, ink), words=f"not available, because {plain(side.why)}")
    x = places(side.card.steps, side.card, look.axis)
    width = multiples.bar_width(x, *across["range"])
    words = f"step %{{customdata[0]:,}}: %{{customdata[1]:,}} of {found.n_alive:,} live features"
    traces = [multiples.stems(x, found.share.tolist(), width, ink, side.card.steps,
                              found.counts.tolist(), words)]
    if found.null is not None:
        traces.append(_null_line(x, found.null, "snapshots shuffled", p))
    first = found.share[0] if len(found.share) else 0.0
    rest = (f"{found.n_alive:,} live features, {said(float(first))} born at step "
            f"{step_name(side.card.steps[0])}, median {step_of(found.median)}")
    return Cell(named(side.name, ink, rest), traces, root_axis(most))


def _null_line(x: Sequence[float], shares: np.ndarray, name: str, p: Palette) -> dict:
    return {
        "type": "scatter", "mode": "lines", "x": list(x), "y": root(shares), "name": name,
        "line": {"color": p.ink, "width": 1.2, "dash": "1px,3px"}, "hoverinfo": "skip",
    }


def _short_numbers(values: np.ndarray) -> list[float | None]:
    """Three significant digits, None for what is not a number: a line is read by its height."""
    return [float(f"{v:.3g}") if math.isfinite(v) else None for v in values.tolist()]


def _windows_cell(side: Side, place: int, high: float, look: Look) -> Cell:
    p, found = look.palette, side.windows
    ink = colour(place, p)
    if found is None:
        if side.why_windows == side.why:
            return Cell("", words="nor a window")
        return Cell("", words=f"no window, because {plain(side.why_windows)}")
    w, best = found.windows, found.best
    x = places(w.center, side.card, look.axis)
    low, middle, top = np.quantile(found.null, (0.05, 0.5, 0.95), axis=0)
    ends = places([w.from_step[best], w.to_step[best]], side.card, look.axis)
    numbers = [
        [round(float(a)), round(float(b)), round(float(z), 1), round(float(q), 3)]
        for a, b, z, q in zip(w.from_step, w.to_step, found.z, found.p, strict=True)
    ]
    band = ribbon(x, _short_numbers(low), _short_numbers(top), p.narrow_band, "y")
    traces = [
        {name: value for name, value in band.items() if name != "yaxis"},
        {"type": "scatter", "mode": "lines", "x": x, "y": _short_numbers(middle),
         "line": {"color": p.muted, "width": 1, "dash": "1px,3px"}, "hoverinfo": "skip"},
        {"type": "scatter", "mode": "lines+markers", "x": x, "y": _short_numbers(found.score),
         "name": side.name, "line": {"color": ink, "width": 1.6}, "customdata": numbers,
         "marker": {"color": ink, "size": [8 if i == best else 3.5 for i in range(len(x))]},
         "hovertemplate": "%{customdata[0]:,} to %{customdata[1]:,}: score %{y:.2f}, z "
                          "%{customdata[2]}, p %{customdata[3]}<extra></extra>"},
    ]
    shade = {"type": "rect", "x0": ends[0], "x1": ends[1], "y0": 0, "y1": 1, "layer": "below",
             "fillcolor": faded(ink, 0.13), "line": {"width": 0}}
    rest = (f"<i>steps {w.from_step[best]:,.0f} to {w.to_step[best]:,.0f}: z "
            f"{number(float(found.z[best]), 1)}, {probability(float(found.p[best]))}, among all "
            f"windows {probability(float(found.p_any[best]))}</i>")
    return Cell(rest, traces, {"range": [0, 1.08 * high], "nticks": 3}, [shade])


# --- lines over each other ------------------------------------------------------------------------


def courses_figure(sides: Sequence[Side], look: Look) -> dict:
    """What is born by then, EV and L0, all runs over each other, each named at its end."""
    p = look.palette
    across = look.across([side.card for side in sides])
    panels = (
        ("share of live features born by then", "by_then", {"tickformat": ".0%"}),
        ("EV, explained share of the rows", "ev", {}),
        ("L0, features that fire on a row", "l0", {}),
    )
    data: list[dict] = []
    layout: dict = {
        "template": bare_template(p), "height": 300, "hovermode": "closest",
        "margin": {"l": 46, "r": 122, "t": 26, "b": multiples.FOOT}, "shapes": [],
        "annotations": [],
    }
    wide, gap = 0.226, 0.161
    for c, (words, key, vertical) in enumerate(panels):
        end = multiples.suffix(c)
        begin = c * (wide + gap)
        layout[f"xaxis{end}"] = {**across, "domain": [round(begin, 4), round(begin + wide, 4)],
                                 "anchor": f"y{end}"}
        lines = [_line(side, i, key, look) for i, side in enumerate(sides)]
        seen = [v for line in lines if line for v in line["y"] if v is not None]
        top = 1.03 if key == "by_then" else 1.1 * max(seen, default=1.0)
        low = min([0.0, *seen])
        if key == "by_then" and seen:  # lines, not bars: most are born early, and 0 is far below
            low = max(0.0, math.floor(10 * min(seen)) / 10 - 0.05)
        layout[f"yaxis{end}"] = {**axis(p), "anchor": f"x{end}", "nticks": 5, **vertical,
                                 "range": [low, top]}
        layout["annotations"].append(
            multiples.title(f"<i>{words}</i>", f"x{end} domain", f"y{end} domain", p))
        data += [{**line, "xaxis": f"x{end}", "yaxis": f"y{end}"} for line in lines if line]
        layout["annotations"] += _ends(sides, lines, end, low, top, p)
        if look.at is not None:
            layout["shapes"].append({**upright(look.at, p.muted, "solid", end),
                                     "xref": f"x{end}", "layer": "below"})
    return {"data": data, "layout": layout}


def _line(side: Side, place: int, key: str, look: Look) -> dict | None:
    """One run's course; a run of one snapshot is a point, one of other rows is left out."""
    if key == "by_then":
        values = None if side.births is None else side.births.by_then
    else:
        values = None if side.card.kind == "prism" else getattr(side, key)
    if values is None or not np.isfinite(values).any():
        return None
    ink = colour(place, look.palette)
    one = len(values) < 2
    form = ".1%" if key == "by_then" else ".3f" if key == "ev" else ",.1f"
    return {
        "type": "scatter", "mode": "markers" if one else "lines+markers", "name": side.name,
        "x": places(side.card.steps, side.card, look.axis), "y": _short_numbers(values),
        "line": {"color": ink, "width": 1.8, "dash": dash(place)},
        "marker": {"color": ink, "size": 8 if one else 3.5}, "customdata": list(side.card.steps),
        "hovertemplate": f"{plain(side.name)}<br>step %{{customdata:,}}: %{{y:{form}}}"
                         "<extra></extra>",
    }


def _ends(
    sides: Sequence[Side], lines: Sequence[dict | None], end: str, low: float, top: float,
    p: Palette,
) -> list[dict]:
    """Each line's name behind its last point, none over another."""
    named_lines = [(i, line) for i, line in enumerate(lines) if line]
    last = [next(v for v in reversed(line["y"]) if v is not None) for _, line in named_lines]
    return label_places.behind(
        [(at, _short(sides[i].name), colour(i, p)) for (i, _), at in
         zip(named_lines, last, strict=True)], low, top, end)


def _short(name: str, most: int = 21) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


# --- profiles -------------------------------------------------------------------------------------


def profiles_figure(sides: Sequence[Side], p: Palette) -> dict:
    """A panel a profile, a line a run: share with its interval, the shuffled null as a tick."""
    known = [(i, side) for i, side in enumerate(sides) if side.profiles is not None]
    most = max((float(np.nan_to_num(side.profiles.found.high).max()) for _, side in known),
               default=0.1)
    most = max(most, max((float(side.profiles.null.max()) for _, side in known), default=0.0))
    columns = [(name, [
        _Dot(i, side.name, side.profiles.found.share[n], side.profiles.found.low[n],
             side.profiles.found.high[n], side.profiles.null[n],
             int(side.profiles.found.counts[n]), "snapshots shuffled")
        for i, side in known]) for n, name in enumerate(STANDING)]
    return _dots(columns, most, p)


@dataclass(frozen=True)
class _Dot:
    place: int
    name: str
    share: float
    low: float
    high: float
    null: float
    count: int
    null_name: str


def _dots(columns: Sequence[tuple[str, list[_Dot]]], most: float, p: Palette) -> dict:
    rows = max((len(dots) for _, dots in columns), default=1)
    wide = 1 / len(columns)
    ticks = multiples.FEW_TICKS if len(columns) > 5 else multiples.ROOT_TICKS[:1] + (
        multiples.ROOT_TICKS[2:])
    data: list[dict] = []
    layout: dict = {
        "template": template(p), "height": 24 * rows + 78, "hovermode": "closest",
        "margin": {"l": 168, "r": 10, "t": 24, "b": 36}, "annotations": [], "shapes": [],
        "yaxis": {"range": [rows - 0.4, -0.6], "showticklabels": False, "ticks": "",
                  "showgrid": False},
    }
    for c, (head, dots) in enumerate(columns):
        x = multiples.suffix(c)
        layout[f"xaxis{x}"] = {
            **root_axis(most, ticks), "anchor": "y",
            "domain": [round(c * wide, 4), round((c + 1) * wide - 0.025, 4)],
        }
        layout["annotations"].append(
            multiples.title(f"<i>{plain(head)}</i>", f"x{x} domain", "y domain", p))
        data += _column(head, dots, f"x{x}", p)
    for row, dot in enumerate(columns[0][1] if columns else []):
        layout["annotations"].append({
            "x": 0, "xref": "paper", "xanchor": "right", "xshift": -12, "y": row, "yref": "y",
            "text": plain(_short(dot.name, 27)), "showarrow": False,
            "font": {"family": SANS, "size": 12, "color": colour(dot.place, p)},
        })
    return {"data": data, "layout": layout}


def _column(head: str, dots: Sequence[_Dot], x: str, p: Palette) -> list[dict]:
    """Intervals, shares and nulls of one column."""
    known = [(row, dot) for row, dot in enumerate(dots) if math.isfinite(dot.share)]
    if not known:
        return []
    words = [
        f"{plain(dot.name)}<br>{plain(head)}: {share(dot.share)}, {dot.count:,} features<br>90 % "
        f"interval {share(dot.low)} to {share(dot.high)}<br>{dot.null_name} {share(dot.null)}"
        for _, dot in known
    ]
    at = {"xaxis": x, "yaxis": "y"}
    rows = [row for row, _ in known]
    spans = [root([dot.low, dot.high]) for _, dot in known]
    return [
        {"type": "scatter", "mode": "lines", "name": f"{head}, interval", "hoverinfo": "skip",
         "x": [v for low, high in spans for v in (low, high, None)],
         "y": [v for row in rows for v in (row, row, None)],
         "line": {"color": p.ink, "width": 1.6}, **at},
        {"type": "scatter", "mode": "markers", "name": f"{head}, null", "hoverinfo": "skip",
         "x": root([dot.null for _, dot in known]), "y": rows,
         "marker": {"symbol": "line-ns-open", "size": 13, "color": p.muted,
                    "line": {"width": 1.6, "color": p.muted}}, **at},
        {"type": "scatter", "mode": "markers", "name": head,
         "x": root([dot.share for _, dot in known]), "y": rows, "text": words,
         "marker": {"color": [colour(dot.place, p) for _, dot in known], "size": 9, "opacity": 1},
         "hovertemplate": "%{text}<extra></extra>", "cliponaxis": False, **at},
    ]


# --- labels ---------------------------------------------------------------------------------------


def shares_figure(found: Sequence[tuple[str, Shares]], p: Palette) -> dict:
    """A panel a label, a line a run: share of live features, the vocabulary's share as a tick."""
    names = [n for n in found[0][1].names if any(
        s.counts[s.names.index(n)] for _, s in found if n in s.names)] if found else []
    most = max((float(s.high.max(initial=0)) for _, s in found), default=0.1)
    most = max(most, max((float(s.vocabulary.max(initial=0)) for _, s in found), default=0.0))
    columns = []
    for name in names:
        dots = []
        for i, (run, s) in enumerate(found):
            n = s.names.index(name)
            dots.append(_Dot(i, run, float(s.share[n]), float(s.low[n]), float(s.high[n]),
                             float(s.vocabulary[n]), int(s.counts[n]), "of the vocabulary"))
        columns.append((name, dots))
    return _dots(columns, most, p) if columns else {}


# --- concepts -------------------------------------------------------------------------------------


def crystal_figure(
    found: Sequence[tuple[str, RunCard, Crystal]], look: Look
) -> dict:
    """A row a run: births of the features that hold a concept on the left, peaks on the right."""
    across = look.across([card for _, card, _ in found])
    most = 0.05
    for _, _, one in found:
        for counts in (one.births, one.peaks, one.everyone, one.peaks_of_all):
            most = max(most, float(counts.max(initial=0)) / max(1, int(counts.sum())))
    rows = []
    for i, (name, card, one) in enumerate(found):
        ink = colour(i, look.palette)
        n = len(one.found.features)
        low, high = np.percentile(one.null, (5, 95))
        head = named(name, ink, f"{n:,} feature{' holds' if n == 1 else 's hold'} it; random sets "
                     f"{low:,.0f} to {high:,.0f}, {probability(one.p)}")
        if one.timing is None:
            rows.append([Cell(head, words="births are not available, because the run has one "
                              "snapshot"), Cell("", words=" ")])
            continue
        rows.append([
            _crystal_cell(head, "born", one.births, one.everyone, one.timing, card, ink, most,
                          look, across),
            _crystal_cell(_when(one.peak_timing, "peak"), "peak", one.peaks, one.peaks_of_all,
                          one.peak_timing, card, ink, most, look, across),
        ])
    return multiples.in_grid(rows, (across, across), look.palette, look.at)


def _when(found: Timing, word: str) -> str:
    if not math.isfinite(found.median):
        return f"<i>their {word}s; too few for a median</i>"
    return (f"<i>median {word} {step_of(found.median)}; as many live features at random "
            f"{step_of(found.null_low)} to {step_of(found.null_high)}, "
            f"{probability(found.p)}</i>")


def _crystal_cell(
    head: str, word: str, counts: np.ndarray, everyone: np.ndarray, when: Timing, card: RunCard,
    ink: str, most: float, look: Look, across: dict,
) -> Cell:
    p = look.palette
    x = places(card.steps, card, look.axis)
    width = multiples.bar_width(x, *across["range"])
    own, whole = (c / max(1, int(c.sum())) for c in (counts, everyone))
    words = f"step %{{customdata[0]:,}}: %{{customdata[1]:,}} of {int(counts.sum()):,} {word}"
    traces = [multiples.stems(x, own.tolist(), width, ink, card.steps, counts.tolist(), words),
              _null_line(x, whole, "all live features", p)]
    vertical = root_axis(most)
    if math.isfinite(when.median):
        top = vertical["range"][1]
        steps = [10**u - 1 for u in (when.null_low, when.null_high, when.median)]
        low, high, middle = places(steps, card, look.axis)
        traces += [
            {"type": "scatter", "mode": "lines", "x": [low, high], "y": [0.93 * top] * 2,
             "line": {"color": p.muted, "width": 5}, "opacity": 0.5, "hoverinfo": "skip"},
            {"type": "scatter", "mode": "markers", "x": [middle], "y": [0.93 * top],
             "marker": {"symbol": "diamond", "color": ink, "size": 9,
                        "line": {"color": p.paper, "width": 1}},
             "hovertemplate": f"median {word} {step_of(when.median)}, {probability(when.p)}"
                              "<extra></extra>"},
        ]
    return Cell(head, traces, vertical)
