"""Statistics of a run that rest on its finished arrays: arrays in, named arrays out.

Shapes: K snapshots, V rows, D features, d model width. What a run cannot have is nan, '' or -1;
the tables turn it into NULL.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas import changepoint, changes, geometry, lifecycle, reorganisation
from atlas.codes import SparseCode
from atlas.enrichment import strongest_tokens
from atlas.labels import N_TOP, best_labels, scheme_masks
from atlas.schema import DUPLICATE, PROMOTED
from precompute.derive import NULL_QUANTILES, Arrays
from precompute.layout import MIN_POINTS, layout
from precompute.turnover import TURNOVER_STATISTICS
from precompute.words import Words

RUN_STATISTICS = ("cusum_observed", "cusum_p", "cusum_z", "cusum_draws", "rate_rotation_r")
"""Names of the statistics that are one number for a run."""
WINDOW_STATISTICS = (
    "window_from", "window_to", "window_center", "window_score", "window_z", "window_p",
    "window_p_any", "window_center_low", "window_center_high", "window_from_low", "window_to_high",
)
"""The same of the window in which the population reorganises most (`atlas.reorganisation`)."""
MAP_DECIMALS = 4
"""Decimals kept of a place on the map: finer than any screen."""


def life_statistics(
    rates: np.ndarray,
    norms: np.ndarray,
    rotation: np.ndarray,
    seed: int = 0,
    draws: int = changepoint.DRAWS,
) -> Arrays:
    """CUSUM of norm and rotation (D,) and the change statistics of the run (§7.3, §7.4).

    Args:
        rates, norms: (K, D); the norms of a prism are nan.
        rotation: (K - 1, D), nan where a direction has no length.
        seed: of the shuffles.
        draws: how many shuffles; 1,000 take 22 s of one core at 32 snapshots of 24,576 features.

    Returns:
        cusum_norm, cusum_rotation (D,) and the 0-d `RUN_STATISTICS`. A statistic is nan where
        the run has too few snapshots for it, cusum_draws then 0.
    """
    count, features = rates.shape
    missing = np.full(features, np.nan)
    found: Arrays = {
        "cusum_norm": lifecycle.cusum_max(norms) if count > 1 else missing,
        "cusum_rotation": lifecycle.cusum_max(rotation) if len(rotation) > 1 else missing,
        "rate_rotation_r": np.array(lifecycle.rate_rotation_r(rates, rotation)),
    }
    values = (np.nan, np.nan, np.nan, 0)
    if count >= changepoint.MIN_SNAPSHOTS:
        generator = np.random.default_rng(seed)
        test = changepoint.permutation_test(rates, draws, generator, torch.get_num_threads())
        values = (test.observed, test.p_value, test.z, test.draws)
    names = RUN_STATISTICS[:4]
    return found | {name: np.array(value) for name, value in zip(names, values, strict=True)}


def run_statistics(lives: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The statistics of a run by name, None for one that it is too short for."""
    found = {}
    for name in (*RUN_STATISTICS, *WINDOW_STATISTICS, *TURNOVER_STATISTICS):
        if name in lives:
            value = lives[name].item()
            found[name] = None if value != value else value
    return found


def change_columns(norms: np.ndarray, steps: Sequence[int]) -> Arrays:
    """Step and 90 % interval of each norm's strongest change of level, (D,) int32, and its p.

    -1 where p exceeds 0.05; p is nan where there are too few snapshots or the norm is constant.
    """
    found = changes.strongest(norms)
    told = np.nan_to_num(found.p, nan=1.0) <= changes.LEVEL
    at = {"change_step": found.at, "change_low_step": found.low, "change_high_step": found.high}
    by_index = np.array(steps, dtype=np.int32)
    return {"change_p": found.p} | {
        name: np.where(told, by_index[index], -1).astype(np.int32) for name, index in at.items()
    }


def window_statistics(
    run: str, steps: Sequence[int], norms: np.ndarray, lives: Mapping[str, np.ndarray]
) -> Arrays:
    """The window in which a run reorganises most, 0-d `WINDOW_STATISTICS` (§9); in steps.

    Args:
        norms: (K, D).
        lives: rates and to_terminal (K, D), rotation (K - 1, D).

    Returns:
        Nothing of a run that has none: a single snapshot, too few, or a schedule too short.
    """
    if not reorganisation.enough(norms, steps):
        return {}
    courses = (norms, lives["rates"], lives["rotation"], lives["to_terminal"])
    seed = reorganisation.seed_of(run)
    found = reorganisation.score_windows(
        reorganisation.pair_metrics(*courses).components, steps, seed
    )
    around, best = reorganisation.bootstrap(*courses, steps, seed), found.best
    values = (
        found.windows.from_step[best], found.windows.to_step[best], found.windows.center[best],
        found.score[best], found.z[best], found.p[best], found.p_any[best],
        around.center_low, around.center_high, around.from_low, around.to_high,
    )
    named = zip(WINDOW_STATISTICS, values, strict=True)
    return {name: np.array(float(value)) for name, value in named}


def promoted_null(rows: Tensor, allowed: Tensor | None, directions: Tensor) -> Arrays:
    """What random directions promote at one snapshot: the null of a list of promoted tokens.

    The plain way: a build ranks them in the same pass as the features (`precompute.passes`).

    Args:
        rows: (V, d) raw rows.
        allowed: (V,) bool, the tokens that may be listed.
        directions: (R, d), random and the same at every snapshot.

    Returns:
        null: (n, 3) float32, the 5, 50 and 95 % quantiles over the directions of the cosine at
        each rank. ids: (R, n) int32, the tokens, for `null_overlap` with the next snapshot.
    """
    found = geometry.promoted_tokens(rows, directions, PROMOTED, allowed)
    quantiles = np.quantile(found.cosines.cpu().numpy(), NULL_QUANTILES, axis=0)
    return {
        "null": np.ascontiguousarray(quantiles.T, dtype=np.float32),
        "ids": found.tokens.cpu().numpy().astype(np.int32),
    }


def null_overlap(ids: np.ndarray, before: np.ndarray | None) -> float:
    """Mean share of each direction's tokens (R, n) that it promoted at the snapshot before too.

    nan at the first snapshot. A feature that keeps no more than this has not kept a meaning: the
    rows themselves keep their places.
    """
    if before is None:
        return float("nan")
    return float((ids[:, :, None] == before[:, None, :]).any(axis=2).mean())


def population_map(neighbours: np.ndarray, cosines: np.ndarray, seed: int = 0) -> np.ndarray:
    """Places (D, 2) float32 in [0, 1] that keep neighbours near; the scale of both axes is equal.

    Args:
        neighbours: (D, n) ids of the nearest features, nearest first, -1 where there is none.
        cosines: (D, n) their cosines.
        seed: the same map for the same seed.

    Returns:
        nan for a feature without neighbours, and for all where fewer than five have any. Only
        nearness means something on it: neither the axes nor the distance between far groups.
    """
    places = np.full((len(neighbours), 2), np.nan, dtype=np.float32)
    known = (neighbours >= 0).sum(axis=1)
    placed = np.flatnonzero(known > 0)
    if len(placed) < MIN_POINTS:
        return places
    width = int(known[placed].min())
    number = np.full(len(neighbours), -1, dtype=np.int64)
    number[placed] = np.arange(len(placed))
    near = number[neighbours[placed, :width]]
    distances = np.maximum(1 - cosines[placed, :width].astype(np.float64), 0)
    found = layout(near, distances, seed, torch.get_num_threads())
    middle, extent = (found.max(axis=0) + found.min(axis=0)) / 2, np.ptp(found, axis=0).max()
    found = (found - middle) / (extent or 1.0) + 0.5
    places[placed] = found.round(MAP_DECIMALS).clip(0, 1)
    return places


def duplicates(neighbours: np.ndarray, cosines: np.ndarray, alive: np.ndarray) -> Arrays:
    """Which live features point the same way as another at the last snapshot.

    Args:
        neighbours, cosines: (D, n) as in `population_map`; a feature has no more duplicates than
            neighbours were kept.
        alive: (D,) bool; a dead feature neither has duplicates nor is one.

    Returns:
        nearest: (D,) float32 cosine of the nearest feature, nan without one. n_duplicates: (D,)
        int32 live features at a cosine of 0.9 or more. duplicate_of: (D,) int32 the nearest of
        them, -1 without one.
    """
    known = neighbours >= 0
    same = known & (np.nan_to_num(cosines, nan=-1.0) >= DUPLICATE)
    same &= alive[np.where(known, neighbours, 0)] & alive[:, None]
    some = same.any(axis=1)
    size = len(neighbours)
    nearest, of = np.full(size, np.nan), np.full(size, -1)
    if neighbours.shape[1]:
        nearest = np.where(known[:, 0], cosines[:, 0], np.nan)
        of = np.where(some, neighbours[np.arange(size), same.argmax(axis=1)], -1)
    return {
        "nearest": nearest.astype(np.float32),
        "n_duplicates": same.sum(axis=1).astype(np.int32),
        "duplicate_of": of.astype(np.int32),
    }


def feature_labels(code: SparseCode, words: Words, min_count: int) -> Arrays:
    """Script, family and supersense of every feature, by its 50 strongest firing tokens (§13).

    Tokens are drawn from those the dictionary was fitted to, as for the kinds; padding rows are
    not among them.

    Returns:
        For each scheme: its name (D,) str, '' without a label, and with _share, _enrichment, _p
        and _coverage (D,) floats, nan where there is none.
    """
    allowed = words.allowed(code.n_tokens, min_count)
    top = strongest_tokens(code, N_TOP, allowed)
    found: Arrays = {}
    for scheme, masks in scheme_masks(words.padded(code.n_tokens)).items():
        best = best_labels(top, masks, allowed)
        found |= {
            scheme: best.name,
            f"{scheme}_share": best.share,
            f"{scheme}_enrichment": best.enrichment,
            f"{scheme}_p": best.p_value,
            f"{scheme}_coverage": best.coverage,
        }
    return found
