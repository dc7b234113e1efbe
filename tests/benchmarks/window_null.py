"""Is the p of a reorganisation window uniform where there is nothing to find? A slow proof.

`python -m tests.benchmarks.window_null` (or `make bench-window`) makes populations without a
window, scores each as a run is scored, prints a table and writes `window_null.md` beside this
file. Two kinds of nothing:

metrics     six metrics drawn independently at every pair of snapshots: what the shifts assume.
population  features that live without any common time: norms and directions walk at random, rates
            follow the norms. Here the metrics share the features they are made from.

Of each it tells three p: of a window fixed beforehand, of the run's own window by itself, which was
chosen for standing out, and of the run's own window counting that it was chosen.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from atlas.reorganisation import pair_metrics, score_windows
from atlas.window_choice import choose

STEPS = [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 8000,
         9000, 14000, 21000, 27000, 34000, 47000, 61000, 75000, 89000, 102000, 116000, 130000,
         143000]
"""The schedule of the record (§1.3)."""
FIXED = (300.0, 2000.0)
"""A window that was never chosen by looking."""
FEATURES, WIDTH = 400, 24
SEEDS = 200
RESULT = Path(__file__).with_suffix(".md")
Population = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
P = dict[str, float]


def walking(seed: int, features: int = FEATURES) -> Population:
    """Norms, rates (K, D), rotation (K - 1, D), to_terminal (K, D) of lives without a common time.

    Every feature's log norm and direction take independent steps of one size at every pair.
    """
    g = np.random.default_rng(seed)
    count = len(STEPS)
    norms = np.exp(np.cumsum(0.25 * g.normal(size=(count, features)), axis=0))
    directions = np.cumsum(g.normal(size=(count, features, WIDTH)) * 0.3, axis=0)
    directions += g.normal(size=(features, WIDTH))
    directions /= np.linalg.norm(directions, axis=2, keepdims=True)
    rates = np.clip(0.05 * norms * np.exp(0.1 * g.normal(size=norms.shape)), 0, 1)
    rotation = 1 - (directions[:-1] * directions[1:]).sum(axis=2)
    to_terminal = 1 - (directions * directions[-1]).sum(axis=2)
    return norms, rates, rotation, to_terminal


def independent(seed: int) -> np.ndarray:
    """Six metrics (6, P) that have nothing to do with each other."""
    return np.random.default_rng(seed).random((6, len(STEPS) - 1))


def of_walk(seed: int) -> np.ndarray:
    """The metrics (6, P) of a population without a common time."""
    return pair_metrics(*walking(seed)).components


KINDS: dict[str, Callable[[int], np.ndarray]] = {"metrics": independent, "population": of_walk}


def ps(components: np.ndarray, seed: int) -> P:
    """The three p of one run."""
    own = score_windows(components, STEPS, seed)
    fixed = choose(components, STEPS, *FIXED, seed)
    return {
        "fixed window": fixed.p,
        "own window, by itself": float(own.p[own.best]),
        "own window, chosen": float(own.p_any[own.best]),
    }


def distance(values: np.ndarray) -> float:
    """Kolmogorov's distance of values in (0, 1] from the uniform distribution."""
    ordered, n = np.sort(values), len(values)
    above = np.arange(1, n + 1) / n - ordered
    return float(max(above.max(), (ordered - np.arange(n) / n).max()))


def allowed(n: int) -> float:
    """Distance that n uniform values stay within in 99 of 100 cases, and half a step of the p."""
    return 1.63 / np.sqrt(n) + 1 / 402


def table(seeds: int) -> list[tuple[str, str, float, float, float]]:
    """Rows: kind, which p, its mean, share up to 0.05, distance from uniform."""
    rows = []
    for kind, make in KINDS.items():
        found = [ps(make(seed), 10_000 + seed) for seed in range(seeds)]
        for name in found[0]:
            values = np.array([one[name] for one in found])
            rows.append((kind, name, float(values.mean()), float((values <= 0.05).mean()),
                         distance(values)))
    return rows


def written(rows: list[tuple[str, str, float, float, float]], seeds: int, seconds: float) -> str:
    """The table as Markdown."""
    lines = [
        "# p of a reorganisation window where there is nothing to find", "",
        f"`make bench-window`, {seeds} seeds, {seconds:.0f} s. Uniform: mean 0.5, 5 % up to 0.05, "
        f"distance at most {allowed(seeds):.3f} in 99 of 100 cases.", "",
        "| nothing | p of | mean | up to 0.05 | distance from uniform |", "|---|---|---|---|---|",
    ]
    lines += [f"| {kind} | {name} | {mean:.3f} | {100 * share:.1f} % | {apart:.3f} |"
              for kind, name, mean, share, apart in rows]
    return "\n".join([*lines, ""])


def main() -> None:
    """Run the proof and write its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    seeds = parser.parse_args().seeds
    began = time.perf_counter()
    text = written(table(seeds), seeds, time.perf_counter() - began)
    print(text)
    RESULT.write_text(text, encoding="utf8")


if __name__ == "__main__":
    main()
