"""Build a run in this process and say what each stage took: seconds, CPU seconds, peak memory.

    python -m tests.benchmarks.measured_build STORE RUN [--json FILE] [--threads N] [--device D]

The peak is that of the resident set, mapped pages of the inputs included; where the kernel lets a
process reset its own, it is a peak per stage, else one that only grows.
"""

import argparse
import json
import resource
import time
from pathlib import Path

import torch

from precompute.stages import STAGES, precompute_run


class Meter:
    """Turns the lines of a build into figures per stage."""

    def __init__(self) -> None:
        self.stages: list[dict[str, float | str]] = []
        self.name = "inputs"
        self.reset = True
        self._begin()
        print(f"{0:8.1f} s  inputs: started", flush=True)

    def _begin(self) -> None:
        self.clock, self.cpu = time.monotonic(), time.process_time()
        try:
            Path("/proc/self/clear_refs").write_text("5")
        except OSError:
            self.reset = False

    def end(self) -> None:
        """Close the stage under way."""
        self.stages.append({
            "stage": self.name, "seconds": round(time.monotonic() - self.clock, 1),
            "cpu": round(time.process_time() - self.cpu, 1), "peak": peak_bytes(),
        })

    def __call__(self, line: str) -> None:
        """A line of the build's report."""
        print(f"{time.monotonic() - self.clock:8.1f} s  {line}", flush=True)
        name, _, rest = line.partition(": ")
        if rest == "started":
            self.end()
            self.name = name
            self._begin()
        elif name == STAGES[-2] and rest.startswith("done in "):
            self.end()
            self.name = "write"
            self._begin()


def peak_bytes() -> int:
    """Largest resident set since it was last reset."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Build, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("run")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    meter = Meter()
    began = time.monotonic()
    built = precompute_run(args.store, args.run, report=meter, device=args.device)
    meter.end()
    figures = {
        "run": built.run, "digest": built.digest, "done": built.done,
        "seconds": round(time.monotonic() - began, 1),
        "stages": [s for s in meter.stages if s["seconds"] or s["stage"] in built.done],
        "peaks_reset": meter.reset,
        "peak": max(int(s["peak"]) for s in meter.stages),
        "file_bytes": built.file.stat().st_size if built.file else 0,
    }
    print(json.dumps(figures, indent=1))
    if args.json:
        args.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
