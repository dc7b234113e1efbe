"""The desk at which prompts wait to be read: one lane per model, those that wait are read together.

A session hands in a prompt and gets a ticket; a thread of the lane takes all that wait, as many as
fit a batch, and reads them in one pass. So a slow model keeps no neighbour of another waiting, two
sessions with the same prompt are one, and a session that goes away leaves its place in the queue.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass

from torch import Tensor

MOST_PROMPTS = 16
"""Prompts of one pass."""
MOST_TOKENS = 4096
"""Tokens of one pass, the padding counted."""
KEPT_BYTES = 128 * 2**20
"""Bytes of the states that are kept for the next question about the same prompt."""

Tokens = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Read:
    """What the head of a model reads of a prompt."""

    states: Tensor
    """(T, d) float32, on the CPU."""
    note: str | None = None
    """Why it was not read where it was asked for, None if it was."""


class _Job:
    """One prompt in a lane, for one or more tickets."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens
        self.wanted = 0
        self.future: Future[Read] = Future()


class Ticket:
    """A place in a queue; `result` waits for its turn."""

    def __init__(self, lane: "Lane", job: _Job) -> None:
        """Of `Lane.ask` only."""
        self._lane, self._job, self._given_up = lane, job, False

    @property
    def before(self) -> int:
        """Prompts of the queue that are read before this one; 0 once it is being read."""
        return self._lane.before(self._job)

    def done(self, seconds: float = 0.0) -> bool:
        """Whether the answer is there, waiting for it for so many seconds at most."""
        try:
            self._job.future.exception(timeout=seconds)
        except TimeoutError:
            return False
        except CancelledError:
            return True
        return True

    def result(self) -> Read:
        """The answer; raises what reading the prompt raised."""
        return self._job.future.result()

    def when_done(self, tell: "Callable[[Future[Read]], None]") -> None:
        """Have something called once the answer is there, or the job was given up."""
        self._job.future.add_done_callback(tell)

    def give_up(self) -> None:
        """Leave the queue; nothing happens if the prompt has been read, or another waits for it."""
        if not self._given_up:
            self._given_up = True
            self._lane.leave(self._job)


class Lane:
    """The queue of one model."""

    def __init__(self, read: Callable[[list[Tokens]], Sequence[Read]]) -> None:
        """`read` answers several prompts in one pass, in their order."""
        self._read = read
        self._lock = threading.Lock()
        self._waiting: OrderedDict[Tokens, _Job] = OrderedDict()
        self._now: dict[Tokens, _Job] = {}
        self._thread: threading.Thread | None = None

    def ask(self, tokens: Tokens) -> Ticket:
        """A ticket for a prompt; the same prompt asked twice is read once."""
        with self._lock:
            job = self._now.get(tokens) or self._waiting.get(tokens)
            if job is None:
                job = self._waiting[tokens] = _Job(tokens)
            job.wanted += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="read", daemon=True)
                self._thread.start()
        return Ticket(self, job)

    @property
    def length(self) -> int:
        """Prompts that are being read or wait."""
        with self._lock:
            return len(self._now) + len(self._waiting)

    def before(self, job: _Job) -> int:
        """Prompts that are being read or wait before a job."""
        with self._lock:
            if job.tokens not in self._waiting:
                return 0
            return len(self._now) + list(self._waiting).index(job.tokens)

    def leave(self, job: _Job) -> None:
        """One ticket less; a job that nobody waits for is not done, unless it has been begun."""
        with self._lock:
            job.wanted -= 1
            if job.wanted == 0 and self._waiting.get(job.tokens) is job:
                del self._waiting[job.tokens]
                job.future.cancel()

    def _work(self) -> None:
        while batch := self._take():
            self._answer(batch)
            with self._lock:
                self._now = {}

    def _take(self) -> list[_Job]:
        """As many of the waiting as fit one pass; without any the thread ends."""
        with self._lock:
            batch: list[_Job] = []
            longest = 0
            for job in self._waiting.values():
                longest = max(longest, len(job.tokens))
                full = len(batch) == MOST_PROMPTS or longest * (len(batch) + 1) > MOST_TOKENS
                if batch and full:
                    break
                batch.append(job)
            for job in batch:
                del self._waiting[job.tokens]
            self._now = {job.tokens: job for job in batch}
            if not batch:
                self._thread = None
            return batch

    def _answer(self, batch: list[_Job]) -> None:
        """Read a batch; what fails together is tried alone, so that a prompt harms only itself."""
        try:
            found = self._read([job.tokens for job in batch])
        except BaseException as error:  # an answer must come, whatever happened
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            for job in batch:
                self._answer([job])
            return
        for job, read in zip(batch, found, strict=True):
            job.future.set_result(read)


class Desk:
    """The lanes of all models, and the last answers."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        """Nothing has been read."""
        self._lock = threading.Lock()
        self._lanes: dict[Hashable, Lane] = {}
        self._kept: OrderedDict[tuple[Hashable, Tokens], Read] = OrderedDict()
        self._room = kept_bytes

    def ask(
        self, model: Hashable, tokens: Tokens,
        read: Callable[[list[Tokens]], Sequence[Read]],
    ) -> Ticket:
        """A ticket for a prompt of a model; at once answered if it was read not long ago.

        Args:
            model: what tells models apart, their version among it.
            tokens: the prompt.
            read: reads prompts of that model, used where its lane is new.
        """
        with self._lock:
            known = self._kept.get((model, tokens))
            if known is not None:
                self._kept.move_to_end((model, tokens))
                return _answered(tokens, known)
            lane = self._lanes.setdefault(model, Lane(read))
        ticket = lane.ask(tokens)
        ticket.when_done(lambda future: self._keep(model, tokens, future))
        return ticket

    def waiting(self) -> int:
        """Prompts that are being read or wait, of all models."""
        with self._lock:
            lanes = list(self._lanes.values())
        return sum(lane.length for lane in lanes)

    def _keep(self, model: Hashable, tokens: Tokens, future: "Future[Read]") -> None:
        if future.cancelled() or future.exception() is not None:
            return
        read = future.result()
        with self._lock:
            if (model, tokens) in self._kept:
                return
            self._kept[model, tokens] = read
            self._room -= read.states.nbytes
            while self._room < 0 and len(self._kept) > 1:
                _, gone = self._kept.popitem(last=False)
                self._room += gone.states.nbytes


def _answered(tokens: Tokens, read: Read) -> Ticket:
    job = _Job(tokens)
    job.future.set_result(read)
    return Ticket(Lane(lambda prompts: ()), job)
