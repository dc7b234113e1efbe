"""The plain way through the same run, on a slice: what the passes of precompute save.

    python -m tests.benchmarks.plain_way STORE RUN [--json FILE] [--threads N]

One product per snapshot added up over a (rows, D) plane, one threshold pass per snapshot, a dense
decode, and topk over the rows of a (V, features) table of cosines: the formulas of
crosscoder-method section 3.2 and 11 as they are written, in float32. It is timed on a slice of the
rows (or of the features) with the contraction at full length, and scaled up linearly; memory is
what the tables would take at full size, added up, not run.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from atlas.schema import PROMOTED
from precompute.kept import run_folder
from precompute.passes import measure
from precompute.sources import Dictionary, Snapshots, open_dictionary

ROWS = 512
"""Rows, or features, of the slice."""


def timed(work: Callable[[], object]) -> float:
    """Seconds of a call, the inputs read once before."""
    work()
    began = time.monotonic()
    work()
    return time.monotonic() - began


def plain(store: Path, run: str, rows: int = ROWS, snapshots: int = 4) -> list[dict[str, object]]:
    """Seconds of each piece at full size, from slices of `snapshots` of the snapshots."""
    folder = run_folder(store, run)
    files = Snapshots(store, folder)
    source = open_dictionary(folder, files)
    assert isinstance(source, Dictionary)
    count, size, total = source.n_snapshots, source.n_features, files.n_rows
    looked = range(0, count, max(count // snapshots, 1))
    p = torch.zeros(rows, size)
    found = [_snapshot(source, files, k, p) for k in looked]
    scale = count / len(looked)
    table = 4e-9 * total * size
    inputs = 8e-9 * count * source.d_model * size + 4e-9 * count * total * source.d_model
    gigabytes = {"product": 3 * table + inputs, "threshold": 2 * table, "decode": 2 * table,
                 "promoted": 2 * table}
    return [
        {"piece": name, "gigabytes": gigabytes[name],
         "seconds": sum(seconds[name] for seconds in found) * scale
         * (size if name == "promoted" else total) / rows}
        for name in gigabytes
    ]


def _snapshot(source: Dictionary, files: Snapshots, k: int, p: Tensor) -> dict[str, float]:
    """Seconds of the pieces on as many rows, or features, as p (B, D) has rows; adds to p."""
    rows, moments = len(p), measure(source, files, k)
    x = (files.rows(k, 0, rows) - torch.from_numpy(moments["mean"])) / float(moments["scale"])
    encoder, directions = source.encoder(k).clone(), source.directions(k).clone()
    norms, bias = torch.from_numpy(moments["norms"]), source.bias / source.n_snapshots
    seconds = {"product": timed(lambda: p + (x @ encoder + bias))}
    p += x @ encoder + bias
    seconds["threshold"] = timed(lambda: (p * norms > source.threshold).float().mean(dim=0))
    fired = p * (p * norms > source.threshold)
    seconds["decode"] = timed(lambda: x - (fired @ directions + source.b_D[k]))
    table = files.rows(k) - files.rows(k).mean(dim=0)
    table = table / table.norm(dim=1, keepdim=True)
    some = directions[:rows] / directions[:rows].norm(dim=1, keepdim=True)

    def promoted() -> None:
        cosines = table @ some.T
        cosines.topk(PROMOTED, dim=0)
        cosines.topk(PROMOTED, dim=0, largest=False)

    seconds["promoted"] = timed(promoted)
    return seconds


def main() -> None:
    """Time, print, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("run")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    figures = plain(args.store, args.run)
    print(json.dumps(figures, indent=1))
    if args.json:
        args.json.write_text(json.dumps(figures))


if __name__ == "__main__":
    main()
