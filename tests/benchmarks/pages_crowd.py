"""Many sessions at once over Streamlit's real websocket protocol, and what they weigh.

A client connects as a browser does, asks for an address, reads the messages to the end of the run
and keeps the hashes of those that the server may send by reference. It draws nothing and sends no
widget states.
"""

import asyncio
import random
import time
from dataclasses import dataclass, field
from statistics import median
from urllib.parse import urlencode

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from tests.benchmarks.pages_painted import cpu_of, memory_of

SESSIONS = 20
THINKING = 5.0
"""Longest pause of a reader in seconds; pauses are drawn evenly from nothing to this."""
SECONDS = 45.0
HELD = 40
"""Sessions held open to weigh one."""


@dataclass
class Session:
    """One visitor without a screen."""

    link: ClientConnection
    known: set[str] = field(default_factory=set)
    received: int = 0

    @classmethod
    async def open(cls, address: str) -> "Session":
        where = address.replace("http", "ws", 1) + "/_stcore/stream"
        link = await connect(where, subprotocols=["streamlit"], max_size=None, compression=None)
        return cls(link)

    async def ask(self, path: str, /, **parameters: object) -> float:
        """Open an address and read it to its end; seconds."""
        asked = BackMsg()
        rerun = asked.rerun_script
        rerun.query_string = urlencode(parameters)
        rerun.page_name = "" if path == "browse" else path
        rerun.cached_message_hashes.extend(sorted(self.known))
        rerun.context_info.url = "http://127.0.0.1/" + rerun.page_name
        begun = time.perf_counter()
        await self.link.send(asked.SerializeToString())
        while True:
            payload = await asyncio.wait_for(self.link.recv(), 60)
            assert isinstance(payload, bytes)
            self.received += len(payload)
            message = ForwardMsg()
            message.ParseFromString(payload)
            if message.metadata.cacheable and message.hash:
                self.known.add(message.hash)
            kind = message.WhichOneof("type")
            if kind == "delta" and message.delta.new_element.WhichOneof("type") == "exception":
                raise AssertionError(message.delta.new_element.exception.message)
            if kind == "script_finished" and (
                message.script_finished == ForwardMsg.FINISHED_SUCCESSFULLY
            ):
                return time.perf_counter() - begun


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def address_of(page: str, run: str, draw: random.Random, width: int) -> dict[str, object]:
    """What a reader asks next on a page: another list, another feature."""
    if page == "feature":
        return {"run": run, "feature": draw.randrange(width)}
    sort = draw.choice(("contribution", "rate_final", "norm_final", "max_rotation", "feature"))
    return {"run": run, "sort": sort, "page": 1 + draw.randrange(max(1, min(width // 100, 200)))}


async def _crowd(
    address: str, page: str, run: str, width: int, sessions: int, seconds: float, thinking: float
) -> list[float]:
    end = time.perf_counter() + seconds
    found: list[float] = []

    async def read(number: int) -> None:
        draw = random.Random(number)
        session = await Session.open(address)
        await session.ask(page, **address_of(page, run, draw, width))
        while True:
            await asyncio.sleep(draw.uniform(0, thinking))
            if time.perf_counter() > end:
                break
            found.append(await session.ask(page, **address_of(page, run, draw, width)))
        await session.link.close()

    await asyncio.gather(*(read(number) for number in range(sessions)))
    return found


def crowd(
    address: str, pid: int, page: str, run: str, width: int,
    sessions: int = SESSIONS, seconds: float = SECONDS, thinking: float = THINKING,
) -> dict[str, float]:
    """Answer times of a page under a crowd, and alone, in seconds; server time in ms a run."""
    alone = asyncio.run(_crowd(address, page, run, width, 1, min(seconds, 20.0), thinking))
    cpu = cpu_of(pid)
    found = asyncio.run(_crowd(address, page, run, width, sessions, seconds, thinking))
    spent = cpu_of(pid) - cpu
    return {
        "alone": median(alone), "p50": median(found), "p95": percentile(found, 0.95),
        "runs": len(found), "cpu": 1000 * spent / (len(found) + sessions),
    }


def weights(address: str, pid: int, runs: list[str], held: int = HELD) -> dict[str, float]:
    """Megabytes of the server: started, with every run visited, and per session held open."""
    async def weigh() -> dict[str, float]:
        first = await Session.open(address)
        empty = memory_of(pid)
        for run in runs:
            await first.ask("browse", run=run)
            await first.ask("feature", run=run, feature=1)
        for feature in range(2, 12):
            await first.ask("feature", run=runs[0], feature=feature)
        visited = memory_of(pid)
        sessions = []
        for number in range(held):
            session = await Session.open(address)
            await session.ask("browse", run=runs[0])
            await session.ask("feature", run=runs[0], feature=number % 10 + 1)
            sessions.append(session)
        together = memory_of(pid)
        for session in [first, *sessions]:
            await session.link.close()
        return {"started": empty, "visited": visited, "per_session": (together - visited) / held,
                "runs": len(runs), "held": held}

    return asyncio.run(weigh())
