"""Trainings as figures: small multiples over the steps of one, and a table of how all stand."""

import math
from collections.abc import Sequence
from dataclasses import replace
from html import escape

import pandas as pd

from atlas import markup, multiples
from atlas.axes import tidy
from atlas.markup import NOT_AVAILABLE
from atlas.multiples import Cell
from atlas.theme import Palette, axis, ink
from atlas.training_command import command
from atlas.trainings import FINISHED, GOING, STOPPED, Log, Training, clock

TALL = 118
"""Pixels of a panel."""
POINTS, LINES = 400, 60
"""Points of a curve and rows of a table at most."""
DECADES = 4
"""Decades under the largest value that a log axis shows at most."""
DEEPEST = -0.25
"""Least EV that is drawn: the first steps are far below."""
NAMES = {"loss": "loss", "explained_variance": "EV", "l0": "L0", "dead": "dead",
         "rows_per_second": "rows/s", "seconds": "seconds"}
"""Fields of a line that are told, and their names."""


def figure(training: Training, log: Log, p: Palette) -> dict:
    """Loss with its parts, EV, L0 and dead share over the steps, two panels a row.

    The axis reaches to the last step there is, so that what is still to come stays empty.
    """
    log = with_weighted(log)
    last = max(training.total or 0, *log.steps, 1)
    across = {
        **axis(p), "range": [-0.012 * last, 1.012 * last], "nticks": 7, "tickformat": ",d",
        "title": {"text": "training step of the dictionary", "standoff": 8,
                  "font": {"size": 11.5, "color": p.muted}},
    }
    rows = [[_loss(log, p), _ev(log, p)], [_l0(log, p), _dead(log, p)]]
    return multiples.in_grid(rows, [across, across], p, tall=TALL, left=50, gap=0.07)


def _loss(log: Log, p: Palette) -> Cell:
    """The loss and what it is made of."""
    parts = [("loss", "loss", p.accent)]
    if any(v for v in log.of("weighted") if v is not None):
        parts += [("reconstruction", "reconstruction", p.strands[1]),
                  ("weighted", _penalties(log), p.strands[2])]
    title = _named("loss", _said(log.last("loss")), p.accent)
    if len(parts) > 1:
        title += " = " + " + ".join(
            _named(name, _said(log.last(field)), colour) for field, name, colour in parts[1:])
    else:
        title += ", all of it reconstruction"
    return _panel(title, log, parts, p, _wide(log.of("loss")))


def _penalties(log: Log) -> str:
    terms = [name for name in ("sparsity", "penalty") if any(log.of(name))]
    return {("sparsity",): "sparsity, weighted", ("penalty",): "prism penalty, weighted"}.get(
        tuple(terms), "penalties, weighted")


def _ev(log: Log, p: Palette) -> Cell:
    values = _known(log.of("explained_variance"))
    least = min(values, default=0.0)
    title = _named("EV", _said(log.last("explained_variance")), p.accent)
    if least < DEEPEST:
        title += f" <i>least {_said(least)}, below the axis</i>"
    low, high = max(DEEPEST, min(0.0, least)), max(1.0, *values, 0.0)
    return _panel(title, log, [("explained_variance", "EV", p.accent)], p, False,
                  {"range": [low - 0.02, min(high, 2.0) + 0.03], "nticks": 5})


def _l0(log: Log, p: Palette) -> Cell:
    title = _named("L0", _said(log.last("l0")), p.accent) + " <i>features a row and snapshot</i>"
    return _panel(title, log, [("l0", "L0", p.accent)], p, _wide(log.of("l0")))


def _dead(log: Log, p: Palette) -> Cell:
    most = max(_known(log.of("dead")), default=0.0)
    title = _named("dead", markup.share(log.last("dead")), p.accent) + (
        " <i>of the features, in the last whole epoch</i>")
    return _panel(title, log, [("dead", "dead", p.accent)], p, False, {
        "range": [-0.02 * max(most, 0.05), 1.1 * max(most, 0.05)], "nticks": 5,
        "tickformat": ".0%"}, ".2%")


# --- a panel -------------------------------------------------------------------------------------


def _panel(
    title: str, log: Log, fields: Sequence[tuple[str, str, str]], p: Palette, decades: bool,
    y: dict | None = None, reading: str = ".4g",
) -> Cell:
    """Curves of some fields, the last value of each as a dot."""
    known = {field: log.of(field) for field, *_ in fields}
    every = [v for values in known.values() for v in _known(values)]
    if not every:
        return Cell(title, words=NOT_AVAILABLE)
    floor = 0.0
    if decades:
        y, floor = _log_axis([v for v in every if v > 0], any(v <= 0 for v in every))
    traces = []
    for field, name, colour in reversed(fields):
        values = known[field]
        kept = thinned(values)
        drawn = [None if v is None else max(v, floor) if decades else v
                 for v in (values[i] for i in kept)]
        traces.append({
            "type": "scatter", "mode": "lines", "name": name, "x": [log.steps[i] for i in kept],
            "y": tidy(drawn), "line": {"color": colour, "width": 1.6},
            "hovertemplate": f"step %{{x:,}}: {name} %{{y:{reading}}}<extra></extra>",
        })
        traces.append({
            "type": "scatter", "mode": "markers", "x": [log.steps[-1]], "y": tidy(drawn[-1:]),
            "marker": {"color": colour, "size": 5}, "hoverinfo": "skip", "cliponaxis": False,
        })
    return Cell(title, traces, y or _linear(every))


def _linear(values: Sequence[float]) -> dict:
    low, top = min(0.0, *values), max(0.0, *values)
    room = (top - low) or 1.0
    return {"range": [low - 0.02 * room, top + 0.06 * room], "nticks": 5}


def _log_axis(positive: Sequence[float], zeros: bool) -> tuple[dict, float]:
    """A log axis, and the line at its foot where 0 and what is below it are drawn."""
    top = math.log10(max(positive))
    low = max(math.log10(min(positive)), top - DECADES)
    floor = low - 0.06 * (top - low) - (0.1 * (top - low) if zeros else 0)
    wanted = [a * 10.0**e for e in range(math.floor(low), math.ceil(top) + 1) for a in (1, 2, 5)]
    ticks = [v for v in wanted if low - 0.01 <= math.log10(v) <= top + 0.05 * (top - low)]
    if len(ticks) > 5:
        ticks = [v for v in ticks if round(math.log10(v), 9).is_integer()] or ticks[::3]
    names = [f"{v:,.0f}" if v >= 1 else f"{v:g}" for v in ticks]
    if zeros:
        ticks, names = [10**floor, *ticks], ["0", *names]
    return {"type": "log", "range": [floor - 0.02 * (top - low), top + 0.06 * (top - low)],
            "tickmode": "array", "tickvals": ticks, "ticktext": names}, 10**floor


def _wide(values: Sequence[float | None]) -> bool:
    """Whether values span more than a decade."""
    positive = [v for v in _known(values) if v > 0]
    return bool(positive) and max(positive) > 10 * min(positive)


def _known(values: Sequence[float | None]) -> list[float]:
    return [v for v in values if v is not None]


def _named(name: str, value: str, colour: str) -> str:
    return f'<span style="color:{colour}"><b>{name}</b> {value}</span>'


def _said(value: float | None) -> str:
    """A figure to three digits."""
    if value is None:
        return NOT_AVAILABLE
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.3g}".replace("-", "−") if size >= 1e6 else markup.number(value, digits)


# --- what is drawn ------------------------------------------------------------------------------


def thinned(values: tuple[float | None, ...], most: int = POINTS) -> list[int]:
    """Which of a curve's values are drawn: its ends, and of each stretch the least and the largest.

    Returns at most `most` rising indices. A stretch without numbers keeps one, so that a gap stays.
    """
    if len(values) <= most:
        return list(range(len(values)))
    inner = range(1, len(values) - 1)
    stretches = most // 2 - 1
    kept = {0, len(values) - 1}
    for i in range(stretches):
        stretch = inner[len(inner) * i // stretches : len(inner) * (i + 1) // stretches]
        known = [(values[j], j) for j in stretch if values[j] is not None]
        kept |= {min(known)[1], max(known)[1]} if known else {stretch[0]}
    return sorted(kept)


def with_weighted(log: Log) -> Log:
    """With `weighted`: what the penalties add to the loss, after their weights.

    `sparsity` and `penalty` are logged before their weights, which ramp up; the loss is what is
    minimised (crosscoder-method section 3.4, prism-method section 3).
    """
    def rest(loss: float | None, reconstruction: float | None) -> float | None:
        if loss is None or reconstruction is None:
            return None
        found = loss - reconstruction
        return found if abs(found) > 1e-6 * abs(loss) else 0.0

    weighted = tuple(map(rest, log.of("loss"), log.of("reconstruction")))
    return replace(log, columns={**(log.columns or {}), "weighted": weighted})


# --- in words ------------------------------------------------------------------------------------


def alt(training: Training, log: Log) -> str:
    """What a screen reader says of the figure."""
    read = ", ".join(f"{NAMES[name]} {_told(name, log.last(name))}"
                     for name in ("loss", "explained_variance", "l0", "dead"))
    at = f"; at step {log.steps[-1]:,}: {read}" if log.steps else ""
    return f"Loss and its parts, EV, L0 and dead share of {training.run} by training step{at}"


def _told(name: str, value: float | None) -> str:
    return markup.share(value) if name == "dead" else _said(value)


def few(log: Log) -> pd.DataFrame:
    """Some of the lines, evenly spaced, the first and the last among them."""
    log = with_weighted(log)
    count = len(log.steps)
    if count > LINES:
        kept = [round(i * (count - 1) / (LINES - 1)) for i in range(LINES)]
    else:
        kept = list(range(count))
    fields = {"loss": "loss", "reconstruction": "reconstruction", "weighted": _penalties(log),
              **NAMES}
    return pd.DataFrame({
        "step": [log.steps[i] for i in kept],
        **{name: pd.Series([log.of(field)[i] for i in kept], dtype="float64")
           for field, name in fields.items()},
    })


def standings(found: Sequence[Training], chosen: str) -> str:
    """A table of trainings: how far each is, how fast, how long still.

    Args:
        chosen: the run that is drawn below, with its command.
    """
    heads = ("run", "state", "step", "done", "rows/s", "so far", "left")
    head = "".join(
        f'<th scope="col"{_right(i)}{_WIDE if name == "done" else ""}>{name}</th>'
        for i, name in enumerate(heads))
    rows = "".join(f"<tr>{_row(t, t.run == chosen)}</tr>" for t in found)
    return markup.wrap(
        f'<table class="atl-table" aria-label="trainings of this store"><thead><tr>{head}</tr>'
        f"</thead><tbody>{rows}</tbody></table>"
    )


_WIDE = ' style="width:17%"'


def _right(column: int) -> str:
    return ' class="r"' if column in (2, 4, 5, 6) else ""


def _row(training: Training, chosen: bool) -> str:
    colour = ink("accent" if chosen else "ink")
    how = ""
    if training.state == STOPPED and not chosen:  # that of the chosen one stands below
        found = command(training)
        how = (f"goes on with `{found}`" if found
               else "goes on with the command that began it, its --set and all")
        how = f'<div class="dim" style="overflow-wrap:anywhere">{_loose(how)}</div>'
    said = "".join(f'<div class="dim">{escape(p)}</div>' for p in training.problems)
    total = "" if training.total is None else f" of {training.total:,}"
    speed = training.rows_per_second
    cells = (
        f'<div style="font-family:var(--atl-mono);font-size:12px;color:{colour};'
        f'overflow-wrap:anywhere;min-width:230px">{escape(training.run)}</div>{how}{said}',
        escape(training.said),
        f"{training.step:,}{total}",
        _bar(training),
        NOT_AVAILABLE if speed is None else f"{speed:,.0f}",
        clock(training.seconds),
        clock(training.left) if training.state != FINISHED else "–",
    )
    return "".join(f'<td{_right(i).replace("r", "r num", 1) if i in (2, 4, 5, 6) else ""}>{cell}'
                   "</td>" for i, cell in enumerate(cells))


def _loose(text: str) -> str:
    """Escaped text with its command in monospace that may break."""
    return markup.coded(text).replace(
        'class="mono"', 'class="mono" style="white-space:pre-wrap"')


def _bar(training: Training) -> str:
    """The share that is done, as a bar and in per cent."""
    share = training.share
    if share is None:
        return NOT_AVAILABLE
    colour = ink("accent" if training.state == GOING else "muted")
    return (
        '<div style="display:flex;align-items:center;gap:8px;min-width:110px">'
        f'<div style="flex:1;height:7px;background:{ink("rule")}" role="progressbar" '
        f'aria-valuemin="0" aria-valuemax="100" aria-valuenow="{100 * share:.0f}" '
        f'aria-label="steps done"><div style="width:{100 * share:.1f}%;height:7px;'
        f'background:{colour}"></div></div><span class="num">{share:.0%}</span></div>'
    )
