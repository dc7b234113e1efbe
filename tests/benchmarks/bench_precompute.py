"""What precompute takes at full shape: seconds and peak memory per stage, beside the plain way.

    python -m tests.benchmarks.bench_precompute [--shape full|small] [--kills N]

Makes the run if it is not there (`full_shape`), builds it in a child process, times the plain way
on a slice in another, publishes the store, and writes the table. With `--kills` it builds again,
killing the build with SIGKILL at N random moments, and compares the content digest with that of
the uninterrupted build.
"""

import argparse
import json
import os
import platform
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from atlas.places import run_path
from atlas.schema import RUN_TABLES
from atlas.store import POINTER
from precompute.plan import cores
from precompute.publish import publish
from precompute.safety import STAGED
from precompute.writer import verify_digest
from tests.benchmarks.full_shape import SIZES, Size, make

HERE = Path(__file__).parent
FIGURES = "bench.json"
"""Name of the measured figures in the store, from which the table is written."""


def run_child(module: str, store: Path, run: str, threads: int) -> Any:
    """Run a module of this folder on the run in a process of its own; its figures."""
    out = store / f"{module}.json"
    subprocess.run(
        [sys.executable, "-m", f"tests.benchmarks.{module}", str(store), run, "--json", str(out),
         "--threads", str(threads)],
        check=True,
    )
    figures = json.loads(out.read_text())
    out.unlink()
    return figures


def unbuild(store: Path, run: str) -> None:
    """Leave of the run only its inputs and the hashes of them, which a first build adds."""
    folder = run_path(store, run)
    shutil.rmtree(folder / "stages", ignore_errors=True)
    for path in (folder / POINTER, *folder.glob("*.duckdb")):
        path.unlink(missing_ok=True)


def measured(store: Path, run: str, threads: int) -> dict[str, Any]:
    """Figures of a build from nothing and of the plain way."""
    unbuild(store, run)
    build = run_child("measured_build", store, run, threads)
    plain = run_child("plain_way", store, run, threads)
    return {"build": build, "plain": plain, "threads": threads, "machine": machine(),
            "measured": time.strftime("%Y-%m-%d")}


def machine() -> str:
    """Processor, cores, memory and versions."""
    cpu = platform.processor() or platform.machine()
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (f"{cpu}, {cores()} cores, {memory:.0f} GB, Python {platform.python_version()}, "
            f"torch {torch.__version__}")


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.is_file() else []


# --- kills -------------------------------------------------------------------------------------


def killed(
    store: Path, run: str, threads: int, kills: int, whole: dict[str, Any], seed: int = 0
) -> dict[str, Any]:
    """Build from nothing with SIGKILL at random moments; what was lost and what came out.

    The moments are spread over the time of the uninterrupted build, and a build goes on where the
    killed one was.
    """
    unbuild(store, run)
    draw = random.Random(seed)
    moments = sorted(draw.uniform(0, whole["seconds"]) for _ in range(kills))
    log, before = [], 0.0
    began = time.monotonic()
    for moment in moments:
        log.append(_kill_after(store, run, threads, moment - before))
        before = moment
    build = run_child("measured_build", store, run, threads)
    folder = run_path(store, run)
    return {
        "moments": [round(m, 1) for m in moments], "at": log, "digest": build["digest"],
        "same": build["digest"] == whole["digest"]
        and verify_digest(next(folder.glob("atlas-*.duckdb")), RUN_TABLES) == whole["digest"],
        "leftovers": len(list(store.rglob(f"{STAGED}*"))),
        "seconds": round(time.monotonic() - began, 1), "seed": seed,
    }


def _kill_after(store: Path, run: str, threads: int, seconds: float) -> str:
    """Let a build work for so long once it has begun, kill it, and say where it was."""
    child = subprocess.Popen(
        [sys.executable, "-u", "-m", "tests.benchmarks.measured_build", str(store), run,
         "--threads", str(threads)],
        stdout=subprocess.PIPE, text=True,
    )
    assert child.stdout is not None
    first = child.stdout.readline()
    try:
        child.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.kill(child.pid, signal.SIGKILL)
    rest = child.stdout.read().splitlines()
    child.wait()
    last = [first, *rest][-1].split(" s  ", 1)[-1].strip()
    print(f"killed after: {last}", flush=True)
    return last


# --- the table ---------------------------------------------------------------------------------


def written(figures: dict[str, Any], size: Size) -> str:
    """The figures as a page."""
    build, plain = figures["build"], figures["plain"]
    lines = [
        "# Precompute at full shape",
        "",
        f"`make bench-precompute` wrote this on {figures['measured']}; {figures['machine']}; "
        f"{figures['threads']} threads.",
        "",
        f"{size.features:,} features x {len(size.steps)} snapshots x {size.rows:,} rows x "
        f"{size.width}; run `{build['run']}`, made up by `tests/benchmarks/full_shape.py`. Peaks "
        "are of the resident set, mapped pages of the inputs included. `inputs` is the hashing of "
        "dictionary and snapshots, which a second build remembers.",
        "",
        "| stage | minutes | CPU minutes | peak memory, GB |",
        "|---|---|---|---|",
    ]
    for stage in build["stages"]:
        lines.append(f"| {stage['stage']} | {stage['seconds'] / 60:.2f} | "
                     f"{stage['cpu'] / 60:.2f} | {stage['peak'] / 1e9:.2f} |")
    cpu = sum(stage["cpu"] for stage in build["stages"])
    lines += [
        f"| **together** | **{build['seconds'] / 60:.2f}** | {cpu / 60:.2f} | "
        f"**{build['peak'] / 1e9:.2f}** |",
        "",
        f"The run's file has {build['file_bytes'] / 1e6:.0f} MB, content digest "
        f"`{build['digest'][:16]}`. Budgets: 16 minutes, 6 GB.",
        "",
        "## The plain way",
        "",
        "float32, measured on slices (`tests/benchmarks/plain_way.py`) and **extrapolated** "
        "linearly in rows or features; memory is computed from the sizes of the tables, not run.",
        "",
        "| piece | minutes (extrapolated) | memory, GB (computed) | here |",
        "|---|---|---|---|",
    ]
    here = {"product": "encode", "threshold": "encode", "decode": "encode", "promoted": "promote"}
    for piece in plain:
        lines.append(f"| {piece['piece']} | {piece['seconds'] / 60:.1f} | "
                     f"{piece['gigabytes']:.1f} | in `{here[piece['piece']]}` |")
    minutes = sum(piece["seconds"] for piece in plain) / 60
    ours = sum(s["seconds"] for s in build["stages"] if s["stage"] in here.values()) / 60
    most = max(piece["gigabytes"] for piece in plain)
    lines += [
        f"| together | {minutes:.1f} | {most:.1f} | {ours:.1f} minutes, "
        f"{minutes / max(ours, 1e-9):.1f} times faster |",
    ]
    if "kills" in figures:
        lines += ["", "## Killed and resumed", "", *_kill_lines(figures["kills"])]
    return "\n".join(lines) + "\n"


def _kill_lines(kills: dict[str, Any]) -> list[str]:
    verdict = "the same content digest" if kills["same"] else "ANOTHER content digest"
    return [
        f"`make bench-precompute-kills`: SIGKILL at {len(kills['moments'])} random moments (seed "
        f"{kills['seed']}) of one build, each time resumed: {verdict} as the uninterrupted build "
        f"(`{kills['digest'][:16]}`), {kills['leftovers']} unfinished files left, "
        f"{kills['seconds'] / 60:.1f} minutes together.",
        "",
        "| killed at, s of work | last line before |",
        "|---|---|",
        *(f"| {moment} | {line} |" for moment, line in
          zip(kills["moments"], kills["at"], strict=True)),
    ]


def main() -> int:
    """Make, measure, publish, write; 1 if a killed build came out differently."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, default=Path("build/full-shape"))
    parser.add_argument("--shape", choices=SIZES, default="full")
    parser.add_argument("--threads", type=int, default=min(cores(), 2))
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--out", type=Path, default=HERE / "precompute.md")
    args = parser.parse_args()
    size = SIZES[args.shape]
    run = make(args.store, size)
    kept = args.store / FIGURES
    figures = json.loads(kept.read_text()) if kept.is_file() else None
    if not args.kills or figures is None or figures["build"]["run"] != run:
        figures = measured(args.store, run, args.threads)
    if args.kills:
        figures["kills"] = killed(args.store, run, args.threads, args.kills, figures["build"])
    kept.write_text(json.dumps(figures, indent=1))
    publish(args.store, report=print)
    args.out.write_text(written(figures, size))
    print(args.out.read_text())
    return 0 if not args.kills or figures["kills"]["same"] else 1


if __name__ == "__main__":
    sys.exit(main())
