"""Which feature of another dictionary lives the same life: norms over their maximum on tau.

Shapes: D features, K snapshots. A life is the decoder norm over its maximum (crosscoder-method
§8.2), read at `POINTS` even places of tau, log time of the run's own schedule from 0 to 1, straight
between snapshots; so runs of other schedules and models compare. Two lives are as similar as 1
minus the root of their mean squared difference, 0 to 1.

The null. Lives are few: thousands rise late and stay. Turning time at random would flatter, for no
real life is jagged; so the null is what the run itself has to offer: how close another feature of
the same dictionary comes. A counterpart that lives no more alike than that says nothing by its
life. Where the other dictionary offers more or fewer lives than its own, the percentile is raised
to the power of their ratio, as for the best of independent draws.
"""

import math
from functools import partial

import numpy as np
import torch

from atlas.lifecycle import tau
from atlas.matching import Best, Found, Keep, Report, joined, largest, matches, merged, percentiles

POINTS = 65
"""Even places of tau."""
HELD = 2**24
"""Similarities that are held at a time, in float64 a few times over: half a gigabyte. Blocks this
large go back to the system when they are freed; smaller ones stayed in its heap, 2 GB in all."""


def lives(norms: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Lives (D, POINTS) float64 from norms (D, K) at K steps; nan for a feature without length."""
    norms = np.asarray(norms, dtype=np.float64)
    most = norms.max(axis=1, keepdims=True)
    scaled = np.divide(norms, most, out=np.full_like(norms, np.nan), where=most > 0)
    at, grid = tau(steps), np.linspace(0, 1, POINTS)
    after = np.clip(np.searchsorted(at, grid), 1, len(at) - 1)
    share = (grid - at[after - 1]) / (at[after] - at[after - 1])
    return scaled[:, after - 1] * (1 - share) + scaled[:, after] * share


def similarity(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """1 - root mean squared difference (D, D') float64 of two sets of lives."""
    square = (first.square().sum(dim=1)[:, None] + second.square().sum(dim=1)
              - 2 * first @ second.T)
    return 1 - square.clamp_(min=0).div_(first.shape[1]).sqrt_()


def find(
    first: np.ndarray,
    second: np.ndarray,
    kept: tuple[np.ndarray, np.ndarray],
    report: Report | None = None,
    keep: Keep | None = None,
) -> Found:
    """Partners of the lives of `first` in `second`, and of those of `second` in `first`.

    Args:
        first, second: of `lives`. kept: (D,) and (D',) bool, features that take part.
        keep: called with the first feature of each block and its scores (B, D'), -inf where a
            feature is left out; they change after the call.
    """
    sides = [_Side(values, on) for values, on in zip((first, second), kept, strict=True)]
    real = _best(*sides, report=report, keep=keep)
    ways, judges, scatters = [], [], []
    for own, side, other in ((0, sides[0], sides[1]), (1, sides[1], sides[0])):
        within = _best(side, side, report=report)[0]
        null = within.value.numpy()[None]
        null = np.where(np.isfinite(null), null, 0.0)
        scatter = within.squares.numpy()
        scatter[~np.isfinite(real[own].value.numpy())] = np.nan
        scatters.append(scatter)
        judges.append(partial(_judge, null=null, scatter=scatter,
                              rivals=other.count / max(1, side.count - 1)))
        ways.append(matches(real[own], real[1 - own], null, judges[-1]))
    return Found((ways[0], ways[1]), ((), ()), (judges[0], judges[1]), (scatters[0], scatters[1]))


def _judge(
    scores: np.ndarray, null: np.ndarray, scatter: np.ndarray, rivals: float
) -> np.ndarray:
    """Percentiles, the null's best of one number of rivals turned into that of `rivals` times it.
    """
    return (percentiles(scores, null, scatter) ** rivals).astype(np.float32)


def of_partners(
    first: np.ndarray, second: np.ndarray, partner: np.ndarray, kept: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How alike the lives of features and their partners are, whatever they were matched by.

    Args:
        first, second: of `lives`. partner: (D,) in the second, -1 without one.
        kept: (D',) bool, features of the second that the share is of.

    Returns:
        Similarity (D,) float32, and the share (D,) of the kept features of the second that live
        less alike: evenly spread where the partner has nothing to do with it. nan without either.
    """
    known = kept & ~np.isnan(second).any(axis=1)
    life, share = (np.full(len(first), np.nan, np.float32) for _ in range(2))
    mine = np.flatnonzero((partner >= 0) & ~np.isnan(first).any(axis=1))
    mine = mine[known[partner[mine]]]
    others = torch.from_numpy(second[known])
    chunk = max(1, HELD // max(1, len(others)))
    for start in range(0, len(mine), chunk):
        part = mine[start : start + chunk]
        scores = similarity(torch.from_numpy(first[part]), others).numpy()
        column = np.cumsum(known)[partner[part]] - 1
        life[part] = scores[np.arange(len(part)), column]
        share[part] = (scores < life[part, None] - 1e-6).mean(axis=1)
    return life, share


class _Side:
    """Lives with those left out at 0."""

    def __init__(self, values: np.ndarray, kept: np.ndarray) -> None:
        on = kept & ~np.isnan(values).any(axis=1)
        self.lives = torch.from_numpy(np.where(on[:, None], values, 0.0))
        self.absent, self.count = torch.from_numpy(~on), int(on.sum())


def _best(first: _Side, second: _Side, report: Report | None = None,
          keep: Keep | None = None) -> tuple[Best, Best]:
    """Best partners both ways; of a side with itself no feature is its own."""
    mine, theirs = [], None
    chunk = max(1, HELD // max(1, len(second.lives)))
    for start in range(0, len(first.lives), chunk):
        stop = min(start + chunk, len(first.lives))
        scores = similarity(first.lives[start:stop], second.lives).float()
        if first is second:
            scores[torch.arange(stop - start), torch.arange(start, stop)] = -math.inf
        scores[:, second.absent] = -math.inf
        scores[first.absent[start:stop]] = -math.inf
        squares = [scores.clamp(min=0).square().sum(dim=dim) for dim in (0, 1)]
        if keep:
            keep(start, scores)
        theirs = merged(theirs, largest(scores, 0, squares[0], start))
        mine.append(largest(scores, 1, squares[1]))
        if report:
            report(f"match: lives of features up to {stop:,} of {len(first.lives):,}")
    return joined(mine), theirs
