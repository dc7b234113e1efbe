"""The loop around every training: figures, checkpoints, signals, and what stops it.

A run that is killed goes on from its last checkpoint with the same numbers: a checkpoint holds
weights, moments, the generator and the sums behind the figures, and `metrics.jsonl` is cut back to
it. Checkpoints are written whole or not at all (`trainer.checkpoint`).
"""

import contextlib
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from atlas.errors import Diverged, OutOfMemory, Stopped
from atlas.training_log import METRICS, read_metrics
from trainer.checkpoint import Checkpoint
from trainer.heads import Heads

COLLAPSED = 20
"""Steps in a row at which nothing fires, after which a training has collapsed."""


def silent(_: str) -> None:
    """Report to no one."""


@dataclass(frozen=True, eq=False)
class StepFigures:
    """What a step found before it moves anything."""

    terms: dict[str, Tensor]
    """Scalars: `loss`, `l0`, `unexplained` (share of the rows' squared length), and a kind's own.
    """
    fired: Tensor
    """(D,) how often each feature fired."""
    rows: int
    move: Callable[[], None]
    """Work out the gradients and move the weights."""


class Training(Protocol):
    """What the loop drives."""

    total: int
    """Steps."""
    epoch_steps: int
    """Steps after which a feature that never fired counts as dead."""
    features: int
    batch: int
    micro: int | None
    heads: Heads

    def step(self, done: int) -> StepFigures:
        """The step after `done` others."""

    def state(self) -> dict[str, Tensor]:
        """What resuming needs."""

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take it up."""


@dataclass(frozen=True)
class Pace:
    """How often a training tells and saves."""

    log_steps: int = 0
    """Steps between two lines of figures; a two-hundredth of the run, 50 at most, unless told."""
    save_seconds: float = 300.0
    save_steps: int = 0
    """Steps between checkpoints, besides; 0 leaves it to the clock."""

    def lines(self, total: int) -> int:
        """Steps between two lines of figures."""
        return self.log_steps or max(1, min(50, total // 200))


@dataclass
class Report:
    """Says where a training stands: every line to a bar on a terminal, else about ten times."""

    say: Callable[[str], None] = silent
    every: bool = field(default_factory=lambda: sys.stderr.isatty())
    """Each line of figures is told, not only ten."""

    def told(self, step: int, total: int, line: dict[str, Any], left: float) -> None:
        """One line of figures."""
        tenth = max(1, total // 10)
        before = step - line["steps"]
        if not self.every and step != total and step // tenth == before // tenth:
            return
        self.say(
            f"step {step}/{total}: loss {line['loss']:.4g}, EV {line['explained_variance']:.3f}, "
            f"L0 {line['l0']:.1f}, dead {line['dead']:.1%}, {line['rows_per_second']:,.0f} rows/s, "
            f"{_clock(left)} left"
        )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@dataclass(eq=False)
class _Sums:
    """What has gathered since the last line."""

    terms: dict[str, Tensor] = field(default_factory=dict)
    steps: int = 0
    rows: int = 0

    def add(self, figures: StepFigures) -> None:
        for name, value in figures.terms.items():
            value = value.detach().double()
            self.terms[name] = self.terms[name] + value if name in self.terms else value
        self.steps += 1
        self.rows += figures.rows


class Loop:
    """Runs a training to its end.

    Args:
        training: what moves.
        what: its name in messages.
        report: where lines go.
        folder: where `metrics.jsonl` and checkpoints lie; None keeps neither.
        facts: what the checkpoint must agree in to be taken up: recipe and hashes of the inputs.
        pace: how often.
    """

    def __init__(self, training: Training, what: str, report: Report | None = None,
                 folder: Path | None = None, facts: dict[str, Any] | None = None,
                 pace: Pace | None = None):
        self.training, self.what = training, what
        self.report, self.pace = report or Report(), pace or Pace()
        self.folder = folder
        self.checkpoint = Checkpoint(folder, facts or {}, training.heads) if folder else None
        self.done, self.seconds = 0, 0.0
        self._sums, self._idle = _Sums(), 0
        self._fired = torch.zeros(2, training.features)
        """(2, D) fired in the epoch before and in this one."""
        self._stop = 0
        """The signal that asked to stop; 0 while none did."""

    def run(self) -> float:
        """Train to the end; returns the seconds it took over all attempts.

        Raises:
            Diverged: the loss is not finite, or nothing fires any more.
            Stopped: asked to (SIGTERM, SIGINT), with a checkpoint written.
            InvalidValue: the checkpoint there is of another recipe. NoSpace: a full disk.
            OutOfMemory: one row at a time is too much.
        """
        self._take_up()
        training, every = self.training, self.pace.lines(self.training.total)
        began, saved = time.monotonic() - self.seconds, time.monotonic()
        line_at = (self.done, time.monotonic())
        with self._signals():
            while self.done < training.total:
                self._sums.add(self._step())
                self.done += 1
                self.seconds = time.monotonic() - began
                if self.done % every == 0 or self.done == training.total:
                    self._line(line_at)
                    line_at = (self.done, time.monotonic())
                due = time.monotonic() - saved > self.pace.save_seconds or (
                    self.pace.save_steps and self.done % self.pace.save_steps == 0)
                wish = training.heads.agree(1 + self._stop if self._stop else int(bool(due)))
                if wish and self.checkpoint and self.done < training.total:
                    self._save()
                    saved = time.monotonic()
                if wish > 1 and self.done < training.total:
                    raise Stopped(self._stopped(), wish - 1)
        return self.seconds

    def _stopped(self) -> str:
        kept = "the same command goes on from there" if self.checkpoint else "nothing was kept"
        return f"{self.what} was stopped after step {self.done} of {self.training.total}; {kept}"

    # --- one step --------------------------------------------------------------------------------

    def _step(self) -> StepFigures:
        while True:
            try:
                figures = self.training.step(self.done)
                self._check(figures)
                figures.move()
            except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
                self._smaller(error)
            else:
                self._count(figures)
                return figures

    def _smaller(self, error: BaseException) -> None:
        """Halve the rows worked on at once; another error is raised again."""
        text = str(error).lower()
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not any(
            sign in text for sign in ("out of memory", "can't allocate memory")
        ):
            raise error
        now = self.training.micro or self.training.batch
        if now == 1:
            raise OutOfMemory(
                f"{self.what}: memory ran out with one row at a time; fewer features with --set "
                "d_sae=…, or several processes (`torchrun`)"
            ) from error
        self.training.micro = now // 2
        self.report.say(f"memory ran out; going on with {now // 2} rows at a time instead of {now}")

    def _check(self, figures: StepFigures) -> None:
        if not math.isfinite(float(figures.terms["loss"])):
            where = f"at step {self.done + 1} of {self.training.total}"
            place = self.done % self.training.epoch_steps
            raise Diverged(
                f"{self.what} diverged {where} (batch {place + 1} of "
                f"{self.training.epoch_steps} of its epoch): the loss is "
                f"{float(figures.terms['loss'])}; try half the learning rate with --set "
                "learning_rate=…, or float32 with --set precision=float32"
            )
        self._idle = self._idle + 1 if float(figures.terms["l0"]) == 0 else 0
        if self._idle >= COLLAPSED:
            raise Diverged(
                f"{self.what} collapsed by step {self.done + 1} of {self.training.total}: nothing "
                f"has fired for {COLLAPSED} steps; try a lower penalty with --set sparsity=…, or "
                "a longer warm-up with --set sparsity_warmup=…"
            )

    def _count(self, figures: StepFigures) -> None:
        if self.done % self.training.epoch_steps == 0:
            self._fired = torch.stack([self._fired[1], torch.zeros_like(self._fired[1])])
        self._fired[1] += figures.fired.cpu()

    # --- figures ---------------------------------------------------------------------------------

    def _line(self, since: tuple[int, float]) -> None:
        sums, training = self._sums, self.training
        means = {name: float(value) / sums.steps for name, value in sums.terms.items()}
        whole = self.done % training.epoch_steps == 0 or self.done < training.epoch_steps
        seen = self._fired[1 if whole else 0]
        unexplained = means.pop("unexplained")
        line = {
            "step": self.done, "steps": sums.steps, **means,
            "explained_variance": 1 - unexplained, "dead": float((seen == 0).double().mean()),
        }
        passed = max(time.monotonic() - since[1], 1e-9)
        speed = {"rows_per_second": sums.rows / passed, "seconds": round(self.seconds, 2)}
        if self.folder and training.heads.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            with open(self.folder / METRICS, "a", encoding="utf8") as file:
                file.write(json.dumps(line | speed) + "\n")
        left = self.seconds / self.done * (training.total - self.done)
        if training.heads.rank == 0:
            self.report.told(self.done, training.total, line | speed, left)
        self._sums = _Sums()

    # --- checkpoints -----------------------------------------------------------------------------

    def _save(self) -> None:
        assert self.checkpoint is not None
        sums = self._sums
        self.checkpoint.write(
            self.done,
            {"fired": self._fired}
            | {f"training.{name}": value for name, value in self.training.state().items()},
            {"terms": {name: float(value) for name, value in sums.terms.items()},
             "steps": sums.steps, "rows": sums.rows, "idle": self._idle,
             "micro": self.training.micro, "seconds": self.seconds},
        )

    def _take_up(self) -> None:
        found = self.checkpoint.read() if self.checkpoint else None
        self.done = found[0] if found else 0
        if self.folder and self.training.heads.rank == 0:
            cut_back(self.folder / METRICS, self.done)
        if not found:
            return

        _, state, own = found
        self._fired = state["fired"]
        self.training.restore({name.removeprefix("training."): value
                               for name, value in state.items() if name != "fired"})
        terms = {name: torch.tensor(value, dtype=torch.float64)
                 for name, value in own["terms"].items()}
        self._sums = _Sums(terms, own["steps"], own["rows"])
        self._idle, self.seconds = own["idle"], own["seconds"]
        self.training.micro = own["micro"]
        if self.training.heads.rank == 0:
            self.report.say(f"going on after step {self.done} of {self.training.total}")

    # --- signals ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT end the run after the step in hand; only where something is kept."""
        def asked(number: int, _frame: Any) -> None:
            self._stop = number

        if self.checkpoint is None:
            yield
            return
        before = {}
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError):  # not the main thread: no one can ask
                before[number] = signal.signal(number, asked)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def cut_back(path: Path, step: int) -> None:
    """Drop the lines of figures after a step, and a line that was cut short."""
    if not path.is_file():
        return
    kept = [line for line in read_metrics(path) if line["step"] <= step]
    staged = path.with_name(path.name + ".tmp")
    staged.write_text("".join(json.dumps(line) + "\n" for line in kept), encoding="utf8")
    staged.replace(path)
