"""Which feature of another dictionary is the same one: best partners over the whole training.

Shapes: K snapshots, D features, d model width. A feature's course is its K directions put end to
end, K d numbers; two courses are compared by their cosine, sign kept, so that each snapshot
counts by the norms it has there. Both dictionaries read the same snapshots, standardised alike;
the scale of a whole feature drops out. The K = 1 case is the cosine of terminal directions
(crosscoder-method §11).

The null. Some partner is always the best one, and the best of 24,576 is not small. So one
dictionary is turned at random, all its directions by the same rotation of d-space: norms, turns
and the likeness of its features to each other stay, only their relation to the other dictionary
goes. Two easier nulls would flatter. Directions drawn anew for every snapshot turn all the time,
which no real feature does. And a free rotation forgets that the rows reach further along some axes
than along others, which any two dictionaries of them share: of unrelated directions that reach as
far along each axis as the demo's do, 56 % would pass its 99th percentile. So the axes are ordered
by how far both dictionaries reach and turned in pairs of neighbours, which 1.2 % pass; of the
demo's own features 45 % do, where a free rotation would let 95 % pass. A feature that lies along
one or two axes stays close to itself in this null: that it returns is no news.

How high the best of turned partners gets differs from feature to feature: one that never turns,
or lies along the common axes, finds closer ones by chance. Each is compared with features whose
cosines with the whole turned dictionary scatter as widely.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

NULL_VALUES = 4096
"""Best cosines of the null that are wanted at least; a small dictionary is turned several times."""
MAX_TURNS = 64
"""Most random rotations."""
AXES = 2
"""Neighbouring axes that are turned together: they reach about as far as each other."""
LIKE = 512
"""Best cosines of the null of features of like scatter that are wanted at least."""
MAX_GROUPS = 16
"""Most groups of like scatter."""
HELD = 2**27
"""Cosines that are held at a time: half a gigabyte."""
NULL_QUANTILES = tuple(n / 100 for n in range(101))

Report = Callable[[str], None]
Keep = Callable[[int, Tensor], object]
Judge = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Courses:
    """One dictionary, read a snapshot at a time."""

    directions: Callable[[int], Tensor]
    """(D, d) float32 directions of snapshot k; not written to."""
    count: int
    """K."""
    kept: Tensor
    """(D,) bool: features that may have a partner and be one; those without length never do."""


@dataclass(frozen=True, eq=False)
class Matches:
    """The best partner of each feature of one dictionary in another; every array (D,)."""

    partner: np.ndarray
    """int32, -1 where the feature is not kept or the other dictionary has nothing."""
    score: np.ndarray
    """float32: of directions the cosine of the two courses; nan without a partner."""
    margin: np.ndarray
    """float32: that score minus the one of the second best; nan where there is none."""
    reciprocal: np.ndarray
    """bool: the feature is also the best of its partner."""
    percentile: np.ndarray
    """float32: share of features of like scatter whose best score stays below in the null, which
    is one of the dictionaries turned; 0 to 1; nan without a partner."""
    null: np.ndarray
    """(101,) float32: the quantiles 0, 1 … 100 % of all best scores in the null; nan without
    any."""


@dataclass(frozen=True, eq=False)
class Best:
    """Largest score of each feature, whose it is, the second largest, and the sum of squares of
    all of them; every tensor (D,)."""

    value: Tensor
    partner: Tensor
    second: Tensor
    squares: Tensor


@dataclass(frozen=True, eq=False)
class Choice:
    """Whom each feature of one side chose in one dictionary of the null; both (D,)."""

    partner: np.ndarray
    """int32, -1 where there is none."""
    score: np.ndarray
    """float32."""


@dataclass(frozen=True, eq=False)
class Found:
    """What comparing all pairs of two dictionaries says of both."""

    ways: tuple[Matches, Matches]
    """Partners of the features of the first in the second, and of the second in the first."""
    chance: tuple[tuple[Choice, ...], tuple[Choice, ...]]
    """The choices in every dictionary of the null, likewise; empty where the null has no pairs."""
    judges: tuple[Judge, Judge]
    """(D,) scores of the features of one side -> their percentiles under its null."""
    scatter: tuple[np.ndarray, np.ndarray]
    """(D,) how widely the scores of each feature of one side scatter in the null; nan if left out.
    """
    places: tuple[np.ndarray, ...] = ()
    """Of tokens: which token of the second lay at each token in every dictionary of the null."""


def match(first: Courses, second: Courses, **options: object) -> tuple[Matches, Matches]:
    """Partners both ways; arguments and errors are those of `find`."""
    return find(first, second, **options).ways


def find(
    first: Courses,
    second: Courses,
    seed: int = 0,
    device: torch.device | str = "cpu",
    turns: int | None = None,
    chunk: int | None = None,
    report: Report | None = None,
    keep: Keep | None = None,
) -> Found:
    """Partners of the features of `first` in `second`, and of those of `second` in `first`.

    The cosines of all pairs give both. They and those of every random rotation take 2 K d D^2
    operations each, 3e13 at 24,576 features of 32 times 768 numbers.

    Args:
        seed: of the rotations.
        turns: rotations of the null; as many as give it `NULL_VALUES` unless told.
        chunk: features of `first` at a time; changes nothing but the memory.
        report: called with a line per block.
        keep: called with the first feature of each block and its cosines (B, D'), -inf where a
            feature is left out; they change after the call.

    Raises:
        ValueError: different numbers of snapshots, or directions of different width.
    """
    width = first.directions(0).shape[1]
    if first.count != second.count or width != second.directions(0).shape[1]:
        raise ValueError(
            f"{first.count} snapshots of width {width} and {second.count} of width "
            f"{second.directions(0).shape[1]}"
        )
    sides = [_Side(part, torch.device(device)) for part in (first, second)]
    least = max(1, min(int(side.kept.sum()) for side in sides))
    turns = turns or min(MAX_TURNS, math.ceil(NULL_VALUES / least))
    generator = torch.Generator().manual_seed(seed)
    axes = common_axes(sides)
    planes = [None, *(random_turn(axes, generator) for _ in range(turns))]
    chunk = chunk or max(1, HELD // (len(planes) * len(sides[1].kept)))
    return found_in(_best(*sides, planes, chunk, report, keep))


def found_in(passes: Sequence[tuple[Best, Best]]) -> Found:
    """What the best of both sides say: of the true pair first, then of each of the null."""
    found, judges, scatters = [], [], []
    for own, other in ((0, 1), (1, 0)):
        null = [part[own] for part in passes[1:]]
        scatter = torch.stack([part.squares for part in null]).mean(dim=0).cpu().numpy()
        values = torch.stack([part.value for part in null]).cpu().numpy()
        scatter[~np.isfinite(passes[0][own].value.cpu().numpy())] = np.nan
        judges.append(partial(percentiles, null=values, scatter=scatter))
        scatters.append(scatter)
        found.append(matches(passes[0][own], passes[0][other], values, judges[-1]))
    return Found((found[0], found[1]), tuple(
        tuple(_choice(part[side]) for part in passes[1:]) for side in (0, 1)), tuple(judges),
        tuple(scatters))


def _choice(best: Best) -> Choice:
    score, partner = best.value.cpu().numpy(), best.partner.cpu().numpy()
    return Choice(np.where(np.isfinite(score), partner, -1).astype(np.int32),
                  score.astype(np.float32))


def common_axes(sides: Sequence["_Side"]) -> Tensor:
    """Axes (d, d), in columns, ordered by how far the courses of both dictionaries reach.

    Eigenvectors of the mean product of directions; every course counts alike.
    """
    moment = torch.zeros(())
    for side in sides:
        for k in range(side.courses.count):
            rows = side.rows(k) * side.scale[:, None]
            moment = moment + (rows.T @ rows).cpu()
    return torch.linalg.eigh(moment.double())[1]


def random_turn(axes: Tensor, generator: torch.Generator, size: int = AXES) -> Tensor:
    """A rotation (d, d) float32 that turns neighbouring axes among each other, `size` at a time."""
    blocks = (random_rotation(part.shape[1], generator) for part in axes.split(size, dim=1))
    return (axes @ torch.block_diag(*blocks) @ axes.T).float()


def random_rotation(width: int, generator: torch.Generator) -> Tensor:
    """A rotation (d, d) float64 drawn evenly from all of them, reflections included."""
    q, r = torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))
    return q * r.diagonal().sign()


class _Side:
    """One dictionary with what all passes need of it."""

    def __init__(self, courses: Courses, device: torch.device) -> None:
        self.courses, self.device = courses, device
        square = torch.zeros(len(courses.kept))
        for k in range(courses.count):
            square += courses.directions(k).square().sum(dim=1)
        self.kept = courses.kept & (square > 0)
        scale = torch.where(self.kept, torch.where(self.kept, square, 1.0).rsqrt(), 0.0)
        self.scale = scale.to(device)
        self.absent = (~self.kept).to(device)

    def rows(self, k: int, start: int = 0, stop: int | None = None) -> Tensor:
        return self.courses.directions(k)[start:stop].to(self.device)


def _best(
    first: _Side, second: _Side, planes: list[Tensor | None], chunk: int, report: Report | None,
    keep: Keep | None,
) -> list[tuple[Best, Best]]:
    """Best partners both ways for each plane that the first dictionary is turned by.

    Only the relation of the two counts, so either may be turned. The product over K d numbers is
    the sum over snapshots of products over d.
    """
    planes = [None if plane is None else plane.to(first.device) for plane in planes]
    mine: list[list[Best]] = [[] for _ in planes]
    theirs: list[Best | None] = [None for _ in planes]
    starts = range(0, len(first.kept), chunk)
    for number, start in enumerate(starts, start=1):
        stop = min(start + chunk, len(first.kept))
        sums = torch.zeros(len(planes), stop - start, len(second.kept), device=first.device)
        for k in range(first.courses.count):
            rows, others = first.rows(k, start, stop), second.rows(k).T
            for place, plane in enumerate(planes):
                sums[place].addmm_(rows if plane is None else rows @ plane, others)
        for place, cosines in enumerate(sums):
            cosines *= first.scale[start:stop, None]
            cosines *= second.scale
            cosines.clamp_(-1, 1)
            squares = [torch.linalg.vector_norm(cosines, dim=dim).square() for dim in (0, 1)]
            cosines[:, second.absent] = -math.inf
            cosines[first.absent[start:stop]] = -math.inf
            if keep and not place:
                keep(start, cosines)
            theirs[place] = merged(theirs[place], largest(cosines, 0, squares[0], start))
            mine[place].append(largest(cosines, 1, squares[1]))
        if report:
            report(f"match: block {number} of {len(starts)}")
    return list(zip([joined(parts) for parts in mine], theirs, strict=True))


def joined(parts: Sequence[Best]) -> Best:
    """Findings about features that follow each other."""
    return Best(*(torch.cat([getattr(part, field.name) for part in parts])
                  for field in dataclasses.fields(Best)))


def largest(cosines: Tensor, dim: int, squares: Tensor, offset: int = 0) -> Best:
    """The two largest along a dimension; the cosines stay as they were."""
    best = cosines.max(dim=dim)
    place = best.indices.unsqueeze(dim)
    cosines.scatter_(dim, place, -math.inf)
    second = cosines.amax(dim=dim)
    cosines.scatter_(dim, place, best.values.unsqueeze(dim))
    return Best(best.values, best.indices + offset, second, squares)


def merged(before: Best | None, now: Best) -> Best:
    """Of two findings about the same features the better one; of equals the earlier."""
    if before is None:
        return now
    later = now.value > before.value
    second = torch.maximum(torch.minimum(before.value, now.value),
                           torch.maximum(before.second, now.second))
    return Best(torch.where(later, now.value, before.value),
                 torch.where(later, now.partner, before.partner), second,
                 before.squares + now.squares)


def matches(real: Best, back: Best, null: np.ndarray, judge: Judge) -> Matches:
    """What was found of one side, beside what was found of the other and what chance finds.

    Args:
        back: of the other side. null: (R, D) best scores in each dictionary of the null.
        judge: from scores to percentiles.
    """
    value, partner, second = (
        part.cpu().numpy() for part in (real.value, real.partner, real.second)
    )
    known, rivalled = np.isfinite(value), np.isfinite(second)
    ids = np.where(known, partner, -1).astype(np.int32)
    returned = back.partner.cpu().numpy()[np.maximum(ids, 0)]
    return Matches(
        partner=ids,
        score=np.where(known, value, np.nan).astype(np.float32),
        margin=np.subtract(value, second, out=np.full_like(value, np.nan), where=rivalled),
        reciprocal=known & (returned == np.arange(len(ids))),
        percentile=judge(value),
        null=np.quantile(null[:, known], NULL_QUANTILES).astype(np.float32) if known.any()
        else np.full(len(NULL_QUANTILES), np.nan, dtype=np.float32),
    )


def percentiles(best: np.ndarray, null: np.ndarray, scatter: np.ndarray) -> np.ndarray:
    """Share of null values of features of like scatter that stay below each best cosine.

    Args:
        best: (D,).
        null: (R, D) best cosines under R rotations.
        scatter: (D,) how widely the cosines of each scatter in the null, nan for features left out.

    Returns:
        (D,) float32, nan for those. Groups have equal numbers of features and `LIKE` null values
        or more, so a percentile is known to a five-hundredth or finer.
    """
    out = np.full(len(best), np.nan, dtype=np.float32)
    known = np.flatnonzero(~np.isnan(scatter))
    if not len(known):
        return out
    groups = int(np.clip(len(known) * len(null) // LIKE, 1, min(MAX_GROUPS, len(known))))
    order = known[np.argsort(scatter[known], kind="stable")]
    for group in np.array_split(order, groups):
        values = np.sort(null[:, group], axis=None)
        out[group] = np.searchsorted(values, best[group], side="left") / len(values)
    return out
