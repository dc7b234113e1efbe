"""What matching two dictionaries costs, way by way, and whether the assignment is the optimum.

    python -m tests.benchmarks.bench_match [--shape full|small] [--threads N] [--folder DIR]

Two made-up dictionaries: six features in ten are the same but for noise, in another order; the
others are unrelated. Their directions lie in files, a snapshot each, so that memory is what the
matching itself takes. Every way runs in a process of its own, and there the total of the assignment
is compared with scipy's and with the bound that prices give (`atlas.assignment.shortfall`). Writes
`match.md` beside this file. Reading a run's file and its hashes is not in it (`precompute.md`).
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from atlas import life_match, token_overlap
from atlas.assignment import Assignment, Costs, assign, shortfall
from atlas.matching import Courses
from precompute import match_ways
from precompute.match_files import WAYS
from tests.benchmarks.bench_precompute import machine
from tests.benchmarks.full_shape import PYTHIA
from tests.benchmarks.measured_build import peak_bytes

HERE = Path(__file__).parent
SHARED = 0.6
"""Share of features that both dictionaries have."""
NOISE = 0.7
"""Noise of a shared feature's directions over their length."""
LOST = 0.3
"""Share of a shared feature's tokens that are others in the second dictionary."""
BUDGET = {"seconds": 60.0, "gigabytes": 8.0}
"""Of the assignment, and of everything in memory (DESIGN section 9)."""


@dataclass(frozen=True)
class Shape:
    """How large the two dictionaries are."""

    features: int
    width: int
    snapshots: int
    tokens: int
    firing: int
    """Features that fire on a token at one snapshot or more."""


SHAPES = {"full": Shape(24_576, 768, 32, 50_254, 450), "small": Shape(2_048, 64, 8, 5_000, 60)}


@dataclass(frozen=True, eq=False)
class Made:
    """A made-up run, with what `precompute.match_ways.compare` asks of one."""

    folder: Path
    shape: Shape
    kept: np.ndarray

    def courses(self, terminal: bool = False) -> Courses:
        first = self.shape.snapshots - 1 if terminal else 0
        return Courses(
            lambda k: torch.from_numpy(np.load(self.folder / f"{first + k}.npy", mmap_mode="c")),
            self.shape.snapshots - first, torch.from_numpy(self.kept))

    def firing(self) -> token_overlap.Firing:
        token, feature, p = (np.load(self.folder / f"{name}.npy")
                             for name in ("token", "feature", "p"))
        return token_overlap.firing(token, feature, p, self.shape.tokens, self.kept)

    def lives(self) -> np.ndarray:
        return life_match.lives(np.load(self.folder / "norms.npy"), _steps(self.shape))


def _steps(shape: Shape) -> np.ndarray:
    return np.array(PYTHIA[:: len(PYTHIA) // shape.snapshots][: shape.snapshots])


def made(folder: Path, shape: Shape, seed: int = 0) -> tuple[Made, Made]:
    """The two dictionaries, written once."""
    sides = tuple(Made(folder / name, shape, np.ones(shape.features, dtype=bool))
                  for name in ("one", "other"))
    done = folder / "shape.json"
    if done.is_file() and json.loads(done.read_text()) == asdict(shape):
        return sides
    for side in sides:
        side.folder.mkdir(parents=True, exist_ok=True)
    rng, size = np.random.default_rng(seed), shape.features
    order, shared = rng.permutation(size), rng.random(size) < SHARED
    _write_lives(sides, rng, order, shared)
    _write_directions(sides, seed, order, shared)
    _write_code(sides, rng, order, shared)
    done.write_text(json.dumps(asdict(shape)))
    return sides


def _write_lives(sides: tuple[Made, Made], rng: np.random.Generator, order: np.ndarray,
                 shared: np.ndarray) -> None:
    shape = sides[0].shape
    at = np.linspace(0, 1, shape.snapshots)

    def lives() -> np.ndarray:
        rise, fall, sharp = rng.random((3, shape.features, 1))
        return (1 / (1 + np.exp(-(5 + 20 * sharp) * (at - rise)))
                * (1 - 0.8 / (1 + np.exp(-9 * (at - 0.5 - fall)))))

    one, other = lives(), lives()
    other = np.where(shared[:, None], one * rng.uniform(0.95, 1.05, one.shape), other)
    np.save(sides[0].folder / "norms.npy", one.astype(np.float32))
    np.save(sides[1].folder / "norms.npy", other[order].astype(np.float32))


def _write_directions(sides: tuple[Made, Made], seed: int, order: np.ndarray,
                      shared: np.ndarray) -> None:
    shape = sides[0].shape
    g = torch.Generator().manual_seed(seed)
    reach = torch.arange(1, shape.width + 1) ** -0.3
    bases = [torch.randn(shape.features, shape.width, generator=g) * reach for _ in range(2)]
    bases[1] = torch.where(torch.from_numpy(shared)[:, None], bases[0], bases[1])
    norms = [torch.from_numpy(np.load(side.folder / "norms.npy")) for side in sides]
    for k in range(shape.snapshots):
        turn = torch.randn(shape.features, shape.width, generator=g) * reach / 2
        for place, side in enumerate(sides):
            noise = torch.randn(shape.features, shape.width, generator=g) * reach * NOISE
            rows = bases[place] + turn * torch.from_numpy(
                shared if place else np.ones_like(shared))[:, None] + noise
            rows = rows[torch.from_numpy(order)] if place else rows
            np.save(side.folder / f"{k}.npy", (rows * norms[place][:, k, None]).numpy())


def _write_code(sides: tuple[Made, Made], rng: np.random.Generator, order: np.ndarray,
                shared: np.ndarray) -> None:
    shape = sides[0].shape
    each = max(2, shape.tokens * shape.firing // shape.features)
    weight = np.cumsum(np.exp(np.linspace(-1, 1, shape.tokens)))
    spread = rng.permutation(shape.tokens)

    def tokens() -> np.ndarray:
        drawn = rng.random((shape.features, each)) * weight[-1]
        return spread[np.searchsorted(weight, drawn)].astype(np.int32)

    one = tokens()
    other = np.where(shared[:, None] & (rng.random(one.shape) >= LOST), one, tokens())
    place = np.argsort(order)
    for side, drawn, ids in ((sides[0], one, np.arange(shape.features)), (sides[1], other, place)):
        key = np.unique(drawn.astype(np.int64) * shape.features + ids[:, None])
        np.save(side.folder / "token.npy", (key // shape.features).astype(np.int32))
        np.save(side.folder / "feature.npy", (key % shape.features).astype(np.int32))
        strength = (key * 2_654_435_761 % 1_000 + 200) / 1_200  # the same in both
        np.save(side.folder / "p.npy", strength.astype(np.float32))


# --- one way, in a process of its own ------------------------------------------------------------


def measure(folder: Path, shape: Shape, way: str, check: bool = True) -> dict[str, Any]:
    """Seconds, bytes and what was found of one way."""
    one, other = made(folder, shape)
    figures: dict[str, Any] = {"way": way}
    checking = 0.0

    def assigned(costs: Costs) -> Assignment:
        nonlocal checking
        began = time.monotonic()
        found = assign(costs)
        figures["assign_seconds"] = time.monotonic() - began
        figures["peak"] = peak_bytes()
        figures["total"] = found.score
        if check:
            began = time.monotonic()
            rows, columns = linear_sum_assignment(costs.values)
            figures["scipy_seconds"] = time.monotonic() - began
            figures["scipy_total"] = float((1 - costs.values[rows, columns]).sum())
            figures["shortfall"] = shortfall(costs, found.columns)
            checking = time.monotonic() - began
        return found

    began = time.monotonic()
    before, match_ways.assign = match_ways.assign, assigned
    try:
        here, there = match_ways.compare(way, one, other)
    finally:
        match_ways.assign = before
    figures["seconds"] = time.monotonic() - began - checking
    best = here.best
    figures["returned"] = int((best.reciprocal & (best.percentile >= 0.99)).sum())
    figures["splits"] = len(here.splits) + len(there.splits)
    if not check:
        figures["peak"] = peak_bytes()
    return figures


def written(lines: list[dict[str, Any]], shape: Shape, threads: int) -> str:
    """The figures as a page."""
    out = [
        "# Matching two dictionaries", "",
        f"`make bench-match`, {time.strftime('%Y-%m-%d')}: {shape.features:,} x "
        f"{shape.features:,} features, {shape.snapshots} snapshots of width {shape.width}, "
        f"{shape.tokens:,} tokens with {shape.firing} features each; {SHARED:.0%} of the features "
        f"are in both. {machine()}, {threads} threads.", "",
        "Minutes are of one pair: all scores, the null, splits, the assignment. The total of the "
        "assignment is beside scipy's, and beside how much more any other one could have by the "
        "bound that prices give.", "",
        "| by | minutes | assignment, s | scipy, s | peak, GB | returned | splits | total | "
        "scipy's total | more at most |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        checked = [f"{line['scipy_seconds']:.1f}" if "scipy_seconds" in line else "–"]
        totals = [f"{line['scipy_total']:.4f}", f"{line['shortfall']:.1e}"] \
            if "scipy_total" in line else ["–", "–"]
        out.append("| " + " | ".join([
            line["way"], f"{line['seconds'] / 60:.2f}", f"{line['assign_seconds']:.1f}", *checked,
            f"{line['peak'] / 1e9:.2f}", f"{line['returned']:,}", f"{line['splits']:,}",
            f"{line['total']:.4f}", *totals]) + " |")
    slowest = max(line["assign_seconds"] for line in lines)
    largest = max(line["peak"] for line in lines) / 1e9
    out += ["", f"Budgets: an assignment in {BUDGET['seconds']:.0f} s "
                f"({'met' if slowest <= BUDGET['seconds'] else 'missed'}: {slowest:.1f} s), under "
                f"{BUDGET['gigabytes']:.0f} GB "
                f"({'met' if largest <= BUDGET['gigabytes'] else 'missed'}: {largest:.2f} GB).", ""]
    return "\n".join(out)


def main() -> None:
    """Measure every way and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="full")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--by", default=",".join(WAYS))
    parser.add_argument("--out", type=Path, default=HERE / "match.md")
    parser.add_argument("--way", choices=WAYS, help="one way in this process; prints its figures")
    args = parser.parse_args()
    shape = SHAPES[args.shape]
    folder = args.folder or Path("build") / f"match-{args.shape}"
    torch.set_num_threads(args.threads)
    if args.way:
        print(json.dumps(measure(folder, shape, args.way)))
        return
    made(folder, shape)
    lines = []
    for way in args.by.split(","):
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.bench_match", "--shape", args.shape,
             "--threads", str(args.threads), "--folder", str(folder), "--way", way],
            check=True, stdout=subprocess.PIPE, text=True)
        lines.append(json.loads(done.stdout.splitlines()[-1]))
        print(f"{way}: {lines[-1]['seconds']:.0f} s, {lines[-1]['peak'] / 1e9:.2f} GB", flush=True)
    args.out.write_text(written(lines, shape, args.threads), encoding="utf8")
    print(f"written to {args.out}")


if __name__ == "__main__":
    main()
