"""SAEs of one snapshot each against crosscoders over all of them, by step."""

import math
from collections.abc import Sequence

import pandas as pd

from atlas import label_places, multiples
from atlas.axes import bare_template, plain, positions, short_step, step_axis
from atlas.instrument_figures import DECADES, INKS, ends_of, ink, joined, symbol
from atlas.instruments import TRAJECTORY, Point
from atlas.theme import Palette, axis


def snapshots_figure(
    points: Sequence[Point], table: pd.DataFrame, p: Palette
) -> dict | None:
    """EV and L0 of SAEs of one snapshot each, by step, beside what whole trajectories print or
    measure; None where there is nothing of it.

    Args:
        table: of `instruments.snapshot_table`.
    """
    if not len(table):
        return None
    steps = sorted({int(step) for step in table["step"]})
    model = {q.run: q for q in points}
    data: list[dict] = []
    layout: dict = {
        "template": bare_template(p), "height": 300, "hovermode": "closest",
        "margin": {"l": 46, "r": 12, "t": 26, "b": 42}, "annotations": [], "shapes": [],
    }
    single = table[table["of"] == "the release"]
    ours = list(table[table["of"] == "this store"].groupby("run", sort=False))
    means = [q for q in points if not q.here and q.group == TRAJECTORY and len(single)
             and q.model == "pythia-160m" and q.matrix == "W_U" and q.width == 8192
             and q.seed == 0 and q.snapshots == 32]
    for c, key in enumerate(("EV", "L0")):
        end = multiples.suffix(c)
        begin = 0.5 * c + (0.02 if c else 0)
        where = {"xaxis": f"x{end}", "yaxis": f"y{end}"}
        ends: list[tuple[float, str, str]] = []
        if len(single):
            colour = p.strands[INKS["pythia-160m"]]
            values = _drawn(single[key].tolist(), key)
            data.append({
                "type": "scatter", "mode": "lines+markers", "name": "SAEs of one snapshot",
                "x": positions(single["step"].tolist()), "y": values,
                "line": {"color": colour, "width": 1, "dash": "1px,3px"},
                "marker": {"color": colour, "symbol": "triangle-up-open", "size": 7},
                "customdata": single["step"].tolist(),
                "hovertemplate": "SAE of step %{customdata:,}: "
                                 + ("%{y:.3f}" if key == "EV" else "10^%{y:.2f}")
                                 + "<extra></extra>", **where})
            ends.append((values[-1], "SAEs of one snapshot", colour))
        for q in means:
            value = _drawn([q.ev if key == "EV" else q.l0], key)[0]
            x = positions([steps[0], steps[-1]])
            data.append(joined([(x[0], value), (x[-1], value)], ink(q, p), **where))
            ends.append((value, "one crosscoder over 32", ink(q, p)))
        for number, (run, rows) in enumerate(ours):
            q, colour = model[run], p.strands[1 + number % (len(p.strands) - 1)]
            values = _drawn(rows[key].tolist(), key)
            data.append({
                "type": "scatter", "mode": "lines+markers" if len(rows) > 1 else "markers",
                "name": run, "x": positions(rows["step"].astype(int).tolist()), "y": values,
                "line": {"color": colour, "width": 1.6},
                "marker": {"color": colour, "size": 4, "symbol": symbol(q)},
                "customdata": rows["step"].astype(int).tolist(),
                "hovertemplate": f"{plain(run)}<br>step %{{customdata:,}}: "
                                 + ("%{y:.3f}" if key == "EV" else "10^%{y:.2f}")
                                 + "<extra></extra>", **where})
            if values[-1] is not None:
                ends.append((values[-1], f"{q.model} {q.matrix}, seed {q.seed}", colour))
        shown = [v for trace in data if trace["yaxis"] == f"y{end}" for v in trace["y"]
                 if v is not None]
        low, high = ends_of(shown, 0.08)
        layout[f"xaxis{end}"] = {**step_axis(steps, p), "anchor": f"y{end}",
                                 "domain": [begin, begin + 0.36]}
        layout[f"yaxis{end}"] = {**axis(p), "anchor": f"x{end}", "range": [low, high],
                                 **(_decades(low, high) if key == "L0" else {"nticks": 5})}
        layout["annotations"].append(multiples.title(
            f"<i>{'EV' if key == 'EV' else 'L0 (log)'} by step</i>", f"x{end} domain",
            f"y{end} domain", p))
        layout["annotations"] += label_places.behind(ends, low, high, end)
    return {"data": data, "layout": layout}


def _drawn(values: Sequence[float], key: str) -> list[float | None]:
    return [None if not math.isfinite(v) or (key == "L0" and v <= 0)
            else round(math.log10(v) if key == "L0" else v, 4) for v in values]


def _decades(low: float, high: float) -> dict:
    at = [a * 10.0**e for e in range(-1, 5) for a in DECADES
          if low <= math.log10(a * 10.0**e) <= high]
    return {"tickmode": "array", "tickvals": [round(math.log10(v), 4) for v in at],
            "ticktext": [short_step(int(v)) if v >= 1 else f"{v:g}" for v in at]}

