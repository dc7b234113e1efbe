"""Trainings of a store as their logs tell them, while they go on and after.

1. `find` walks `runs/` for folders with `training/metrics.jsonl` or `training/plan.json`, reads the
   end of every log and says how each training stands.
2. `read_log` reads the lines of one, the last few megabytes of them.

Nothing here raises over what lies in the store: a file that is damaged, foreign or a link to
elsewhere is said in `problems`. What was read is kept by path, time of change and size.
"""

import itertools
import json
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from atlas.training_log import METRICS, PLAN, WORK

GOING, STOPPED, FINISHED = "going on", "stopped", "finished"
FRESH = 180.0
"""Seconds without a line after which a training counts as stopped, unless its lines are rarer."""
RARER, LONGEST = 3.0, 3600.0
"""Distances between its last lines after which it does, and seconds after which any does."""
AHEAD = 60.0
"""Seconds that a clock may be behind the one that dated the log."""
TAIL, MOST = 1 << 16, 4 << 20
"""Bytes read of the end of a log, to say how it stands and to draw it."""
PLAN_BYTES = 1 << 18
FOLDERS, DEEP, FOUND = 20_000, 12, 200
"""Folders looked into, folders within one another, trainings found, at most."""
LARGEST, FARTHEST = 1e30, 1 << 53
"""A value or a step beyond these is no figure of a training."""
LINES, FIELDS = 20_000, 40
"""Lines of a log and fields of a line that are kept at most."""


@dataclass(frozen=True)
class Log:
    """Lines of figures, by rising step."""

    steps: tuple[int, ...] = ()
    columns: dict[str, tuple[float | None, ...]] | None = None
    """Field -> a value per line; None where a line has none."""
    skipped: int = 0
    """Bytes before those that were read."""
    cut: bool = False
    """The last line ends in its middle: it is being written, or the writer was killed."""
    problems: tuple[str, ...] = ()

    def of(self, name: str) -> tuple[float | None, ...]:
        """A field's values; all None where no line has it."""
        return (self.columns or {}).get(name, (None,) * len(self.steps))

    def last(self, name: str) -> float | None:
        """A field of the last line."""
        return self.of(name)[-1] if self.steps else None


@dataclass(frozen=True)
class Training:
    """How one training stands."""

    run: str
    """Run id: its folder's place under `runs/`."""
    store: Path
    """The store's folder, all links resolved."""
    state: str
    """`GOING`, `STOPPED` or `FINISHED`."""
    said: str
    """The state in words."""
    changed: float
    """Seconds since the epoch: when its log or plan last changed."""
    step: int = 0
    """Steps done, as far as lines tell."""
    total: int | None = None
    """Steps there are; None where no plan tells."""
    rows_per_second: float | None = None
    seconds: float | None = None
    """Trained so far, over all attempts."""
    plan: dict[str, Any] | None = None
    problems: tuple[str, ...] = ()
    work: Path = Path()
    """Where its log lies."""

    @property
    def share(self) -> float | None:
        """Share of the steps that is done, 0 to 1; None where it is not known."""
        return None if self.total is None else min(1.0, self.step / self.total)

    @property
    def left(self) -> float | None:
        """Seconds to go at the pace so far; None where it is not known."""
        if self.total is None or self.seconds is None or not self.step:
            return None
        return self.seconds / self.step * max(0, self.total - self.step)


@dataclass(frozen=True)
class Found:
    """What a store has of trainings: those going on by name, then the others, the newest first."""

    trainings: tuple[Training, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def going(self) -> bool:
        """Whether one goes on."""
        return any(t.state == GOING for t in self.trainings)

    @property
    def stand(self) -> tuple[tuple[str, str], ...]:
        """Which there are and in what state: all that moves a page around."""
        return tuple((t.run, t.state) for t in self.trainings)


def find(store: Path, now: float) -> Found:
    """The trainings of a store folder.

    Args:
        now: seconds since the epoch.
    """
    root = Path(os.path.realpath(store))
    problems: list[str] = []
    found = []
    for folder in _folders(root, problems):
        found.append(_stand(root, folder, now))
        if len(found) == FOUND:
            problems.append(f"more than {FOUND} trainings left logs; the others are not looked at")
            break
    order = (GOING, STOPPED, FINISHED)
    found.sort(key=lambda t: (order.index(t.state), t.state != GOING and -t.changed, t.run))
    return Found(tuple(found), tuple(problems))


def read_log(training: Training, most: int = MOST) -> Log:
    """The lines of a training, the last `most` bytes of them."""
    path = training.work / METRICS
    mark = _mark(training.store, path)
    if isinstance(mark, str):
        return Log(problems=(mark,))
    return Log() if mark is None else _long(str(path), mark, most)


def table(log: Log) -> pd.DataFrame:
    """The lines as a frame; what a line lacks is empty."""
    columns = {name: pd.array(list(values), dtype="Float64")
               for name, values in (log.columns or {}).items()}
    return pd.DataFrame({"step": list(log.steps), **columns})


def python_of(run: str) -> str:
    """Lines that give what the Runs page draws of a training."""
    return (
        "import time\n"
        "from atlas import trainings\n"
        "from atlas.places import store_from_environment\n\n"
        "store = store_from_environment()  # or the folder of a store\n"
        "found = trainings.find(store, time.time()).trainings\n"
        f"training = next(t for t in found if t.run == {run!r})\n"
        "lines = trainings.table(trainings.read_log(training))\n"
    )


# --- where they are ------------------------------------------------------------------------------


def _folders(root: Path, problems: list[str]) -> Iterator[Path]:
    """Run folders with something of a training; links are told and not followed."""
    top = str(root / "runs")
    for looked, (here, names, _) in enumerate(os.walk(top)):
        if looked == FOLDERS:
            problems.append(f"runs/ holds more than {FOLDERS:,} folders; the others are not "
                            "looked at")
            return
        folder = Path(here)
        work = folder / WORK
        if WORK in names and any(os.path.lexists(work / name) for name in (METRICS, PLAN)):
            names.remove(WORK)
            yield folder
        for name in [n for n in names if os.path.islink(folder / n)]:
            if os.path.lexists(folder / name / WORK):
                problems.append(f"{shown(os.path.relpath(folder / name, root))} is a link and "
                                "not followed")
        if here.count(os.sep) - top.count(os.sep) >= DEEP:
            names.clear()
        names.sort()


Mark = tuple[int, int, int, int]
"""Inode, time of change in nanoseconds, size, time of change of its rights: what tells a file from
what it was."""


def _mark(root: Path, path: Path) -> Mark | str | None:
    """Of a file within the store; None where there is none, a sentence where it may not be read."""
    name = shown(os.path.relpath(path, root))
    try:
        real = Path(os.path.realpath(path))
        if not real.is_relative_to(root):
            return f"{name} is a link out of the store and not followed"
        if not os.path.lexists(path):
            return None
        found = real.stat()
    except (OSError, ValueError) as error:
        return f"{name} cannot be read: {_reason(error)}"
    if not stat.S_ISREG(found.st_mode):
        return f"{name} is no file"
    return found.st_ino, found.st_mtime_ns, found.st_size, found.st_ctime_ns


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()


def shown(text: str) -> str:
    """A name that came from a folder, with nothing in it that moves or breaks a line."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


# --- how one stands ------------------------------------------------------------------------------


def _stand(root: Path, folder: Path, now: float) -> Training:
    run, work = shown(folder.relative_to(root / "runs").as_posix()), folder / WORK
    marks = {name: _mark(root, work / name) for name in (METRICS, PLAN)}
    problems = [mark for mark in marks.values() if isinstance(mark, str)]
    known = {name: mark for name, mark in marks.items() if isinstance(mark, tuple)}
    log = _short(str(work / METRICS), known[METRICS], TAIL) if METRICS in known else Log()
    plan, total = {}, None
    if PLAN in known:
        plan, problem = _plan(str(work / PLAN), known[PLAN])
        total = plan["steps"] if _is_count(plan.get("steps")) else None
        told = plan.get("run")
        if total is None:
            problem = problem or f"{PLAN} does not say how many steps there are"
        elif told != run:
            problem = f"{PLAN} is of another run, {shown(str(told))[:120]}"
        problems.append(problem)
    step = log.steps[-1] if log.steps else 0
    changed = max((mark[1] / 1e9 for mark in known.values()), default=0.0)
    state, said = STOPPED, "not known: nothing of it can be read"
    if os.path.isfile(folder / "provenance.json"):
        state, said = FINISHED, "finished"
    elif known:
        state, said = _state(now - changed, _patience(log), step, total)
    if log.problems:
        problems.append("not everything of its log can be read")
    if log.cut and state != GOING:
        problems.append("its last line was cut short")
    return Training(
        run, root, state, said, changed, step, total, log.last("rows_per_second"),
        log.last("seconds"), plan, tuple(p for p in problems if p), work)


def _patience(log: Log) -> float:
    """Seconds without a line before a training counts as stopped."""
    seconds = [s for s in log.of("seconds")[-3:] if s is not None]
    longest = max((b - a for a, b in itertools.pairwise(seconds)), default=0.0)
    return min(LONGEST, max(FRESH, RARER * longest))


def _state(age: float, patience: float, step: int, total: int | None) -> tuple[str, str]:
    through = total is not None and step >= total
    if age < -AHEAD:
        return STOPPED, "not known: its log is dated in the future"
    if age < patience:
        what = ("all steps are done, what was written is being measured" if through
                else f"last line {clock(age)} ago" if step else "no figures yet")
        return GOING, f"{GOING}: {what}"
    what = " after the last step, before what was written was measured" if through else ""
    return STOPPED, f"{STOPPED}{what}: nothing for {clock(age)}"


def clock(seconds: float | None) -> str:
    """A time in two units at most."""
    if seconds is None or not math.isfinite(seconds):
        return "not known"
    whole = max(0, round(seconds))
    for size, name, within, small in (
        (86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // within
            return f"{whole // size} {name}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


def moment(written: Any) -> str:
    """A time as a plan writes it, to the minute; what is no time, as it stands."""
    try:
        found = datetime.fromisoformat(written)
        return found.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")
    except (TypeError, ValueError, OverflowError):
        return shown(str(written))[:40]


# --- files ---------------------------------------------------------------------------------------


def _tail(path: str, size: int, most: int) -> tuple[bytes, int]:
    """The last `most` bytes of a file, from the beginning of a line on, and how many precede."""
    with open(path, "rb") as file:
        skipped = max(0, size - most)
        file.seek(skipped)
        data = file.read(most)
    if skipped:
        begin = data.find(b"\n") + 1
        return data[begin:], skipped + begin
    return data, 0


def _read(path: str, mark: Mark, most: int) -> Log:
    try:
        data, skipped = _tail(path, mark[2], most)
    except OSError as error:
        return Log(problems=(f"{METRICS} cannot be read: {_reason(error)}",))
    *texts, rest = data.split(b"\n")
    if len(texts) > LINES:
        skipped += sum(len(text) + 1 for text in texts[:-LINES])
        texts = texts[-LINES:]
    lines: dict[int, dict[str, float | None]] = {}
    unread = odd = 0
    for text in (*texts, rest):
        step, values, wrong = _line(text)
        odd += wrong
        if step is not None:
            lines[step] = values
        elif text is not rest:
            unread += bool(text.strip())
    cut = bool(rest.strip()) and _line(rest)[0] is None
    problems = []
    if unread:
        problems.append(f"{unread:,} of its lines cannot be read and are left out")
    if odd:
        problems.append(f"{odd:,} of its values are no numbers and are left out")
    steps = sorted(lines)
    names = list(dict.fromkeys(name for line in lines.values() for name in line))[:FIELDS]
    columns = {name: tuple(lines[step].get(name) for step in steps) for name in names}
    return Log(tuple(steps), columns, skipped, cut, tuple(problems))


_short = lru_cache(maxsize=2 * FOUND)(_read)
_long = lru_cache(maxsize=8)(_read)


def _line(text: bytes) -> tuple[int | None, dict[str, float | None], int]:
    """Step and figures of a line, and how many of its values are none; no step if it is no line."""
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None, {}, 0
    if not isinstance(line, dict) or not _is_count(line.get("step")):
        return None, {}, 0
    values: dict[str, float | None] = {}
    odd = 0
    for name, value in itertools.islice(line.items(), FIELDS):
        if name == "step":
            continue
        is_figure = type(value) in (int, float) and abs(value) <= LARGEST
        odd += not is_figure and value is not None
        values[shown(name)[:40]] = float(value) if is_figure else None
    return line["step"], values, odd


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < FARTHEST


@lru_cache(maxsize=2 * FOUND)
def _plan(path: str, mark: Mark) -> tuple[dict[str, Any], str]:
    """The plan, and what is wrong with it."""
    if mark[2] > PLAN_BYTES:
        return {}, f"{PLAN} is too large to be one and not read"
    try:
        with open(path, "rb") as file:
            found = json.loads(file.read(PLAN_BYTES))
    except OSError as error:
        return {}, f"{PLAN} cannot be read: {_reason(error)}"
    except (ValueError, RecursionError):
        return {}, f"{PLAN} is damaged"
    return (found, "") if isinstance(found, dict) else ({}, f"{PLAN} is damaged")
