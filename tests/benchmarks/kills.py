"""A build killed with SIGKILL at random moments of all its stages, each time resumed.

Which stages are hit and how far into them is drawn before; each stage is hit once before any is
hit twice. A stage of many parts is killed when the drawn share of its parts is reported or that
share of its time is over, any other at that share of its time. What counts is where a signal
landed: a child that ended by itself, or was past the stage, has it done again.
"""

import json
import os
import queue
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from atlas.places import run_path
from atlas.schema import RUN_TABLES
from atlas.store import POINTER
from precompute.safety import STAGED
from precompute.stages import STAGES
from precompute.writer import verify_digest

ALL = ("inputs", *STAGES)
"""What a build goes through."""
LATEST = 0.9
"""Share of a stage at which it is killed at the latest."""
TRIES = 4
"""How often a stage is aimed at before another one that was hit instead is let pass."""
PATIENCE = 900.0
"""Seconds after which a child that says nothing is given up."""


class Aim(NamedTuple):
    """Where a build is to be killed."""

    stage: str
    share: float


def unbuild(store: Path, run: str) -> None:
    """Leave of the run only its inputs."""
    shutil.rmtree(run_path(store, run) / "stages", ignore_errors=True)
    unwrite(run_path(store, run))


def unwrite(folder: Path) -> None:
    """Remove the run's file, so that at least the last stage is to be done."""
    for path in (folder / POINTER, *folder.glob("*.duckdb")):
        path.unlink(missing_ok=True)


def aims(seconds: dict[str, float], kills: int, draw: random.Random) -> list[Aim]:
    """So many moments in the order of the build; stages beyond the first round by their time."""
    hit = list(ALL) if kills >= len(ALL) else draw.sample(ALL, kills)
    weights = [max(seconds.get(name, 0.0), 1e-3) for name in ALL]
    hit += draw.choices(ALL, weights, k=kills - len(hit))
    found = [Aim(name, draw.uniform(0, LATEST)) for name in hit]
    return sorted(found, key=lambda aim: (ALL.index(aim.stage), aim.share))


def stage_of(lines: list[str]) -> str:
    """The stage under way after these lines of a build."""
    stage = "inputs"
    for line in lines:
        name, _, rest = line.partition(": ")
        if name in ALL:
            stage = name
        if name == STAGES[-2] and rest.startswith(("done in", "kept")):
            stage = "write"
    return stage


def killed(
    store: Path, run: str, threads: int, kills: int, whole: dict[str, Any], seed: int = 0
) -> dict[str, Any]:
    """Build from nothing with SIGKILL at random moments; where it landed and what came out.

    Args:
        whole: figures of the uninterrupted build: its digest and the seconds of its stages.
    """
    unbuild(store, run)
    folder = run_path(store, run)
    draw = random.Random(seed)
    seconds = {stage["stage"]: stage["seconds"] for stage in whole["stages"]}
    began = time.monotonic()
    landed: list[dict[str, str]] = []
    for aim in aims(seconds, kills, draw):
        for _ in range(TRIES):
            hit = kill_at(store, run, threads, aim, seconds.get(aim.stage, 0.0), draw)
            if hit is not None:
                landed.append(hit)
                print(f"killed in {hit['stage']} after: {hit['line']}", flush=True)
            if hit is not None and hit["stage"] == aim.stage:
                break
            redo(folder, aim.stage)
            aim = aim._replace(share=aim.share / 2)
    if len(landed) < kills:
        raise RuntimeError(f"only {len(landed)} of {kills} kills landed")
    lost = len(list(folder.rglob(f"{STAGED}*")))
    out = store / "resumed.json"
    subprocess.run([*_command(store, run, threads), "--json", str(out)], check=True)
    built = json.loads(out.read_text())
    out.unlink()
    pointer = json.loads((folder / POINTER).read_text())
    return {
        "at": landed, "digest": built["digest"], "whole": whole["digest"],
        "same": built["digest"] == whole["digest"]
        and verify_digest(folder / pointer["file"], RUN_TABLES) == whole["digest"],
        "swept": lost, "leftovers": len(list(store.rglob(f"{STAGED}*"))),
        "seconds": round(time.monotonic() - began, 1), "seed": seed,
    }


def kill_at(
    store: Path, run: str, threads: int, aim: Aim, seconds: float, draw: random.Random
) -> dict[str, str] | None:
    """Start a build, kill it where it is aimed at; where it was, None if it had ended by itself."""
    child = subprocess.Popen(_command(store, run, threads), stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_tell, args=(child.stdout, said))
    reader.start()
    lines: list[str] = []
    moment, begun = time.monotonic() + PATIENCE, False
    while True:
        try:
            line = said.get(timeout=max(moment - time.monotonic(), 0.0))
        except queue.Empty:
            break
        if line is None:
            break
        lines.append(line)
        now = time.monotonic()
        if stage_of(lines) != aim.stage:
            if ALL.index(stage_of(lines)) > ALL.index(aim.stage):
                break
            moment = now + PATIENCE
        elif not begun and _begins(line, aim.stage):
            begun, moment = True, now + aim.share * seconds
        elif begun and _share(line) >= max(aim.share, 1e-9):
            moment = min(moment, now + draw.random() * seconds / int(line.split()[-1]))
    os.kill(child.pid, signal.SIGKILL)
    landed = child.wait() == -signal.SIGKILL
    reader.join()
    if line is not None:
        lines += list(iter(said.get, None))
    if not landed or any(line.startswith("write: ") for line in lines):
        return None
    return {"stage": stage_of(lines), "line": lines[-1] if lines else "nothing"}


def _begins(line: str, stage: str) -> bool:
    return stage == "write" or line == f"{stage}: started"


def _share(line: str) -> float:
    """Share of the parts of a stage that a line reports; 0 if it reports none."""
    words = line.split()
    return int(words[-3]) / int(words[-1]) if words[-2:-1] == ["of"] else 0.0


def _tell(stream: Any, said: "queue.Queue[str | None]") -> None:
    for line in stream:
        _, _, text = line.rstrip().partition(" s  ")
        if text:
            said.put(text)
    said.put(None)


def _command(store: Path, run: str, threads: int) -> list[str]:
    return [sys.executable, "-u", "-m", "tests.benchmarks.measured_build", str(store), run,
            "--threads", str(threads)]


def redo(folder: Path, stage: str) -> None:
    """Have a stage that is through done again: its last part, the inputs' hashes, the file."""
    unwrite(folder)
    for path in folder.glob("stages/hashes*.json") if stage == "inputs" else ():
        path.unlink()
    for path in sorted((folder / "stages" / stage / "parts").glob("[0-9]*"))[-1:]:
        shutil.rmtree(path)


def lines_of(kills: dict[str, Any]) -> list[str]:
    """What the kills came to, as lines of a page."""
    stages = len({hit["stage"] for hit in kills["at"]})
    verdict = "**the same**" if kills["same"] else "**ANOTHER**"
    return [
        f"`make bench-precompute-kills`: SIGKILL at {len(kills['at'])} random moments (seed "
        f"{kills['seed']}) of one build from nothing, each time resumed; only signals that landed "
        f"are listed, in {stages} of the {len(ALL)} stages. Content digest after the last "
        f"resumption `{kills['digest'][:16]}`, of the "
        f"uninterrupted build `{kills['whole'][:16]}`: {verdict}. Unfinished files before the last "
        f"resumption {kills['swept']}, after it {kills['leftovers']}; "
        f"{kills['seconds'] / 60:.1f} minutes together.",
        "",
        "| stage under way | last line before |",
        "|---|---|",
        *(f"| {hit['stage']} | {hit['line']} |" for hit in kills["at"]),
    ]
