"""EV against L0, and the planes of the prisms: a point per figure, each with its number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas import instruments, label_places, multiples
from atlas.axes import bare_template, plain
from atlas.instruments import (
    ARCHITECTURE,
    BY,
    FINAL,
    LAMBDA,
    PER_SNAPSHOT,
    TRAJECTORY,
    Point,
)
from atlas.label_places import Label
from atlas.theme import Palette, axis

TALL, WIDE = 520, 1040
"""Pixels of the plane; a label that would lie over another at this width is left out."""
INKS = {"pythia-160m": 0, "pythia-1b": 1, "pythia-6.9b": 3, "olmo-2-7b": 4}
"""Strands of the released trajectories' models."""
PRISM_INKS = {"qwen3.5": 0, "gemma": 1, "ministral": 3, "r1": 4}
OTHERS = 2
"""Strand of every other model."""
SYMBOLS = {TRAJECTORY: "circle", ARCHITECTURE: "diamond", LAMBDA: "circle",
           PER_SNAPSHOT: "triangle-up", FINAL: "triangle-down"}
DECADES = (1, 2, 5)


def ink(point: Point, p: Palette) -> str:
    """The colour of a point, by its language model; of a prism by the model's family."""
    if point.is_prism:
        return p.strands[PRISM_INKS.get(point.family, OTHERS)]
    return p.strands[INKS.get(point.model, OTHERS)]


def symbol(point: Point) -> str:
    """Its shape: by group and matrix; open for a released figure."""
    shape = "square" if point.matrix == "W_E" else SYMBOLS.get(point.group, "circle")
    return shape if point.here else f"{shape}-open"


def words(point: Point) -> str:
    """What the pointer reads."""
    of = "this store" if point.here else "released"
    what = [f"{plain(point.run)}<br>{of}: "]
    if point.is_prism:
        what.append(f"rowEV {_or(point.ev, '.3f')}, top-1 {_or(point.top1, '.3f')}, KL "
                    f"{_or(point.kl, '.3f')} bits, k {point.k}")
    else:
        what.append(f"EV {_or(point.ev, '.3f')}, L0 {_or(point.l0, ',.0f')}, {point.width:,} "
                    f"features, {point.architecture}")
    if point.alive is not None:
        what.append(f"<br>{point.alive:,} of {point.width:,} features live")
    return "".join(what)


def _or(value: float, form: str) -> str:
    return f"{value:{form}}" if math.isfinite(value) else "not printed"


def _marks(found: Sequence[tuple[int, Point, float, float]], p: Palette, **where: str) -> dict:
    """Points by their number, at x and y."""
    return {
        "type": "scatter", "mode": "markers", "name": "runs",
        "x": [round(x, 4) for _, _, x, _ in found], "y": [round(y, 4) for *_, y in found],
        "customdata": [number for number, *_ in found],
        "text": [words(point) for _, point, *_ in found],
        "marker": {
            "color": [ink(point, p) for _, point, *_ in found],
            "symbol": [symbol(point) for _, point, *_ in found],
            "size": [11 if point.here else 7 if point.group == PER_SNAPSHOT else 9
                     for _, point, *_ in found],
            "line": {"width": 1.5},
        },
        "hovertemplate": "%{text}<extra></extra>", "cliponaxis": False, **where,
    }


def joined(found: Sequence[tuple[float, float]], colour: str, dash: str = "solid",
            width: float = 1.2, **where: str) -> dict:
    return {
        "type": "scatter", "mode": "lines", "x": [round(x, 4) for x, _ in found],
        "y": [round(y, 4) for _, y in found], "hoverinfo": "skip",
        "line": {"color": colour, "width": width, "dash": dash}, **where,
    }


def _both(points: Sequence[Point], place: dict[int, tuple[float, float]], p: Palette,
          **where: str) -> list[dict]:
    """A line from a released figure to ours."""
    number = {(point.run, point.here): i for i, point in enumerate(points)}
    return [
        joined([place[number[a.run, False]], place[number[b.run, True]]], p.ink, "2px,2px", 1.6,
                **where)
        for a, b in instruments.both(points)
        if number[a.run, False] in place and number[b.run, True] in place
    ]


# --- EV and L0 ------------------------------------------------------------------------------------


def plane_figure(points: Sequence[Point], by: str, p: Palette) -> dict:
    """Every trajectory, SAE and other crosscoder at its EV and L0; a point's number is its place
    in `points`."""
    known = [(i, point) for i, point in enumerate(points)
             if not point.is_prism and point.along(by) > 0 and math.isfinite(point.ev)]
    place = {i: (math.log10(point.along(by)), point.ev) for i, point in known}
    data = []
    for _, run in sorted(_lines(known)):
        first = points[run[0]]
        data.append(joined([place[i] for i in run], ink(first, p),
                            "solid" if first.group == LAMBDA else "1px,3px"))
    data += _both(points, place, p)
    data.append(_marks([(i, point, *place[i]) for i, point in known], p))
    low, high = ends_of([x for x, _ in place.values()], 0.085)
    floor, top = ends_of([y for _, y in place.values()], 0.07)
    box = label_places.Box(low, high, floor, top, WIDE, TALL)
    labels = [Label(text, *at, colour) for text, at, colour in _names(known, place, p)]
    ticks = [(math.log10(a * 10.0**e), _short(a * 10.0**e))
             for e in range(math.floor(low), math.ceil(high) + 1) for a in DECADES
             if low <= math.log10(a * 10.0**e) <= high]
    return {
        "data": data,
        "layout": {
            "template": bare_template(p), "height": TALL + 62, "hovermode": "closest",
            "clickmode": "event", "margin": {"l": 46, "r": 12, "t": 12, "b": 50},
            "xaxis": {**axis(p), "range": [low, high], "tickmode": "array",
                      "tickvals": [round(at, 4) for at, _ in ticks],
                      "ticktext": [name for _, name in ticks],
                      "title": {"text": f"{BY[by]} (log)", "standoff": 8,
                                "font": {"size": 11.5, "color": p.muted}}},
            "yaxis": {**axis(p), "range": [floor, min(top, 1.02)], "nticks": 8,
                      "title": {"text": "EV", "standoff": 6,
                                "font": {"size": 11.5, "color": p.muted}}},
            "annotations": label_places.annotations(
                label_places.placed(labels, list(place.values()), box), box),
        },
    }


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:.6f}".rstrip("0")


def ends_of(values: Sequence[float], pad: float) -> tuple[float, float]:
    """Ends that hold all values with room beside them."""
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = pad * ((high - low) or 1.0)
    return round(low - room, 4), round(high + room, 4)


def _lines(known: Sequence[tuple[int, Point]]) -> list[tuple[str, list[int]]]:
    """Points that belong together, in order: the λ sweep, widths, snapshots; numbers of points."""
    groups: dict[str, list[tuple[float, int]]] = {}
    for i, q in known:
        base = f"{q.here} {q.model} {q.matrix} {q.group}"
        if q.group == LAMBDA and q.seed == 0:
            groups.setdefault(base, []).append((q.penalty, i))
        elif q.group == PER_SNAPSHOT and q.step is not None:
            groups.setdefault(f"{base} {q.width}", []).append((q.step, i))
        elif q.group == FINAL or (q.group == TRAJECTORY and not q.matched and q.seed == 0):
            groups.setdefault(f"{base} {q.snapshots}", []).append((q.width, i))
    return [(name, [i for _, i in sorted(found)]) for name, found in groups.items()
            if len(found) > 1]


def _names(
    known: Sequence[tuple[int, Point]], place: dict[int, tuple[float, float]], p: Palette
) -> list[tuple[str, tuple[float, float], str]]:
    """One label for points that differ in their seed alone, ours first."""
    groups: dict[tuple, list[int]] = {}
    for i, q in known:
        key = (not q.here, q.group, q.model, q.matrix, q.snapshots, q.matched, q.architecture,
               0 if q.group == PER_SNAPSHOT else q.width, q.penalty if q.penalty > 0 else 0.0,
               round(8 * place[i][0]) if q.group == TRAJECTORY else 0)
        groups.setdefault(key, []).append(i)
    found = []
    points = dict(known)
    for _, run in sorted(groups.items(), key=lambda item: item[0][:2]):
        first = points[run[0]]
        seeds = f" ×{len(run)} seeds" if len(run) > 1 else ""
        middle = place[run[0]] if first.group == PER_SNAPSHOT else tuple(
            float(np.mean([place[i][axis] for i in run])) for axis in (0, 1))
        if first.group == PER_SNAPSHOT:
            text = f"{len(run)} SAEs of one snapshot" if len(run) > 1 else first.model
        elif first.group == LAMBDA:
            text = f"λ {first.penalty:.2f}{seeds}"
        elif first.group == ARCHITECTURE:
            text = first.architecture
        elif first.group == FINAL:
            text = f"last snapshot, {first.width:,}"
        else:
            text = _trajectory(first) + seeds
        found.append((text, middle, ink(first, p)))
    return found


def _trajectory(point: Point) -> str:
    parts = [point.model, *(["W_E"] if point.matrix == "W_E" else []), f"{point.width:,}",
             *(["sparse"] if point.run.endswith("-sparse") else []),
             *(["matched window"] if point.matched else [])]
    if point.snapshots != 32 and not point.here:
        parts.append(f"of {point.snapshots} snapshots")
    return " ".join(parts)


# --- prisms ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Panel:
    title: str
    key: str
    logarithmic: bool


PANELS = (_Panel("top-1: share of hidden states whose likeliest token stays", "top1", False),
          _Panel("KL to the rebuilt readout, bits (log)", "kl", True))


def prism_figure(points: Sequence[Point], p: Palette) -> dict:
    """Prisms by rowEV against top-1, and against KL; what is not printed lies on a line of its
    own beside the axis."""
    known = [(i, q) for i, q in enumerate(points) if q.is_prism]
    evs = [q.ev for _, q in known if math.isfinite(q.ev)]
    low, high = ends_of(evs, 0.16)
    none = low - 0.09 * (high - low)
    missing = [i for i, q in known if not math.isfinite(q.ev)]
    across = {i: q.ev if math.isfinite(q.ev)
              else none + 0.022 * (high - low) * (missing.index(i) - (len(missing) - 1) / 2)
              for i, q in known}
    begin = none - 0.06 * (high - low) if missing else low
    data: list[dict] = []
    layout: dict = {
        "template": bare_template(p), "height": 400, "hovermode": "closest",
        "clickmode": "event", "margin": {"l": 46, "r": 12, "t": 26, "b": 48},
        "shapes": [], "annotations": [],
    }
    for c, panel in enumerate(PANELS):
        end = multiples.suffix(c)
        where = {"xaxis": f"x{end}", "yaxis": f"y{end}"}
        place, floor, top, bottom = _heights(known, across, panel)
        begin_x = c * 0.53
        layout[f"xaxis{end}"] = {
            **axis(p), "range": [begin, high], "domain": [begin_x, begin_x + 0.47],
            "anchor": f"y{end}", **_evs(evs, none if missing else None),
            "title": {"text": "rowEV", "standoff": 6, "font": {"size": 11.5, "color": p.muted}},
        }
        layout[f"yaxis{end}"] = {**axis(p), "range": [bottom, top], "anchor": f"x{end}",
                                 **_vertical(panel, floor, top, bottom)}
        layout["annotations"].append(multiples.title(
            f"<i>{panel.title}</i>", f"x{end} domain", f"y{end} domain", p))
        for run in _models(known):
            if all(math.isfinite(getattr(points[i], panel.key) + points[i].ev) for i in run):
                data.append(joined([place[i] for i in run], ink(points[run[0]], p), "1px,3px",
                                    **where))
        data += _both(points, place, p, **where)
        data.append(_marks([(i, q, *place[i]) for i, q in known], p, **where))
        box = label_places.Box(begin, high, bottom, top, 0.47 * WIDE, 320)
        labels = [Label(text, *at, colour) for text, at, colour in
                  _prism_names(points, known, place, p)]
        layout["annotations"] += label_places.annotations(
            label_places.placed(labels, list(place.values()), box), box, end)
    return {"data": data, "layout": layout}


def _heights(
    known: Sequence[tuple[int, Point]], across: dict[int, float], panel: _Panel
) -> tuple[dict[int, tuple[float, float]], float, float, float]:
    """Places of the points, the least value, and the ends of the vertical axis."""
    def drawn(value: float) -> float:
        return math.log10(value) if panel.logarithmic and value > 0 else value

    values = {i: drawn(getattr(q, panel.key)) for i, q in known}
    floor, top = ends_of([v for v in values.values() if math.isfinite(v)], 0.12)
    gone = floor - 0.06 * (top - floor)
    missing = any(not math.isfinite(v) for v in values.values())
    place = {i: (across[i], v if math.isfinite(v) else gone) for i, v in values.items()}
    return place, gone if missing else floor, top, gone - 0.05 * (top - floor) if missing else floor


def _evs(evs: Sequence[float], none: float | None) -> dict:
    at = [v / 20 for v in range(21) if evs and min(evs) - 0.03 <= v / 20 <= max(evs) + 0.03]
    names = [f"{v:.2f}" for v in at]
    if none is not None:
        at, names = [none, *at], ["not printed", *names]
    return {"tickmode": "array", "tickvals": [round(v, 4) for v in at], "ticktext": names}


def _vertical(panel: _Panel, gone: float, top: float, bottom: float) -> dict:
    if panel.logarithmic:
        at = [math.log10(a * 10.0**e) for e in range(-3, 3) for a in DECADES]
        names = [f"{10**v:g}" for v in at]
    else:
        at = [v / 20 for v in range(21)]
        names = [f"{v:.2f}" for v in at]
    kept = [(v, name) for v, name in zip(at, names, strict=True) if gone + 0.02 < v < top]
    if bottom < gone:
        kept = [(gone, "none"), *kept]
    return {"tickmode": "array", "tickvals": [round(v, 4) for v, _ in kept],
            "ticktext": [name for _, name in kept]}


def _models(known: Sequence[tuple[int, Point]]) -> list[list[int]]:
    groups: dict[tuple, list[tuple[int, int, int]]] = {}
    for i, q in known:
        groups.setdefault((q.here, q.model), []).append((q.k or 0, q.width, i))
    return [[i for *_, i in sorted(found)] for found in groups.values()]


def _prism_names(
    points: Sequence[Point], known: Sequence[tuple[int, Point]],
    place: dict[int, tuple[float, float]], p: Palette,
) -> list[tuple[str, tuple[float, float], str]]:
    """The model at its point of the largest k; the k's at the others."""
    found = []
    gone = [q for _, q in known if not math.isfinite(q.ev)]
    for run in _models(known):
        last = points[run[-1]]
        if not math.isfinite(last.ev):
            continue
        found.append((f"{last.model} k{last.k}", place[run[-1]], ink(last, p)))
        found += [(f"k{points[i].k}", place[i], ink(last, p)) for i in run[:-1]]
    if gone:
        at = [place[i] for i, q in known if not math.isfinite(q.ev)]
        models = ", ".join(dict.fromkeys(q.model for q in gone))
        middle = (max(x for x, _ in at), float(np.mean([y for _, y in at])))
        found.insert(0, (f"{models}: none printed", middle, ink(gone[0], p)))
    return found
