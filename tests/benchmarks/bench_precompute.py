"""What precompute takes at full shape: seconds and peak memory per stage, beside the plain way.

    python -m tests.benchmarks.bench_precompute [--shape full|small] [--kills N]

Makes the run if it is not there (`full_shape`), builds it in a child process, times the plain way
on a slice in another, publishes the store, and writes the table. With `--kills` it builds again,
killing the build with SIGKILL at N random moments (`kills`), and compares the content digest with
that of the uninterrupted build, which is measured first if it was not or was by other code.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from precompute.kept import CODE
from precompute.plan import cores
from precompute.publish import publish
from tests.benchmarks.full_shape import SIZES, Size, make
from tests.benchmarks.kills import killed, lines_of, unbuild

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


def measured(store: Path, run: str, threads: int) -> dict[str, Any]:
    """Figures of a build from nothing and of the plain way."""
    unbuild(store, run)
    build = run_child("measured_build", store, run, threads)
    plain = run_child("plain_way", store, run, threads)
    return {"build": build, "plain": plain, "threads": threads, "machine": machine(),
            "measured": time.strftime("%Y-%m-%d"), "code": CODE}


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
        "are of the resident set, mapped pages of the inputs included; "
        + ("each stage's is its own, reset before it. " if build["peaks_reset"] else
           "they could not be reset, so each is that of the stages before it too. ")
        + "`inputs` is the hashing of dictionary and snapshots, which a second build remembers. "
        "The inputs were written or read just before: what fits into memory comes from the page "
        "cache, not from the disk.",
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
        "linearly in rows or features; memory is computed from the sizes of the tables, not run. "
        "The sum of `here` is of `encode` and `promote`: it leaves out `inputs` and `measure`, as "
        "the plain way does.",
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
        lines += ["", "## Killed and resumed", "", *lines_of(figures["kills"])]
    return "\n".join(lines) + "\n"


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
    fits = figures is not None and figures["build"]["run"] == run and figures.get("code") == CODE
    if not args.kills or not fits:
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
