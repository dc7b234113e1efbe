"""Rows of the catalog about matches, from the records: pairs, partners, splits, shared by seeds."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from atlas import consensus
from atlas.errors import AtlasError
from atlas.matching import Matches
from atlas.schema import COSINE_DECIMALS
from atlas.splits import BEYOND
from precompute.match_files import WAYS, Evidence, fingerprint, fresh_records, read_pair

PERCENTILE_DECIMALS = 5
"""Decimals kept of a percentile: fewer would round one that a few of the null reach up to 1."""
LIFE_DECIMALS = 3
"""Decimals kept of what lives say."""

OVER_SEEDS = ("seed_group", "stability")
"""Tables whose rows depend on which seeds there are."""

Found = dict[tuple[str, str, str], Evidence]
"""By run, other run and way."""


def match_tables(
    store: Path, metas: Mapping[str, Mapping[str, str]], skipped: list[str]
) -> dict[str, pa.Table]:
    """The catalog's tables match_pair, match, match_split, seed_group and stability, each in the
    order of its key.

    Args:
        metas: by run, what its file says of itself.
        skipped: gets a line for each pair that is stale or damaged.
    """
    prints = {run: fingerprint(json.loads(meta["inputs"])) for run, meta in metas.items()}
    configs = {run: json.loads(meta["config"]) for run, meta in metas.items()}
    widths = {run: config["config"]["d_sae"] for run, config in configs.items()}
    fresh, lines = fresh_records(store, prints)
    skipped += lines
    found: Found = {}
    for (one, other, way), path in fresh.items():
        try:
            evidence = read_pair(path, (widths[one], widths[other]))
        except AtlasError as error:
            skipped.append(f"{error}; run `readout-atlas match {one} {other} --force`")
            continue
        found[one, other, way], found[other, one, way] = evidence
    groups, stability = _seeds(found, configs)
    return {
        "match_pair": _pairs(found),
        "match": pa.concat_tables([
            *(_matches(run, {key[1:]: e for key, e in found.items() if key[0] == run})
              for run in sorted({key[0] for key in found})), _matches("", {})]),
        "match_split": _splits(found),
        "seed_group": groups,
        "stability": stability,
    }


def returned(best: Matches) -> np.ndarray:
    """(D,) bool: each is the other's best, and beyond its null."""
    return best.reciprocal & (np.nan_to_num(best.percentile) >= BEYOND)


def _rows(names: str, rows: list[tuple], kinds: str) -> pa.Table:
    """A table of few rows; a letter for each column says what it holds."""
    types = {"s": pa.string(), "i": pa.int32(), "f": pa.float32(), "F": pa.list_(pa.float32()),
             "I": pa.list_(pa.int32())}
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names.split())
    return pa.table({name: pa.array(list(column), types[kind])
                     for name, column, kind in zip(names.split(), columns, kinds, strict=True)})


def _pairs(found: Found) -> pa.Table:
    rows = []
    for (run, other, way), evidence in sorted(found.items()):
        best = evidence.best
        known = best.partner >= 0
        total = np.nansum(evidence.assigned_score, dtype=np.float64)
        rows.append((
            run, other, way, int(known.sum()), int(best.reciprocal.sum()),
            int(returned(best).sum()), int((evidence.assigned >= 0).sum()), float(total),
            len(evidence.splits), None if np.isnan(best.null).any() else
            best.null.round(COSINE_DECIMALS + 1).tolist(),
        ))
    return _rows("run other way n_features n_reciprocal n_returned n_assigned assigned_total "
                 "n_split null_scores", rows, "sssiiiifiF")


def _matches(run: str, others: Mapping[tuple[str, str], Evidence]) -> pa.Table:
    """Rows of one run, by feature, other run and way."""
    keys = sorted(others)
    ways = [others[key] for key in keys]
    features = [np.flatnonzero(way.best.partner >= 0) for way in ways]
    of = np.repeat(np.arange(len(ways)), [len(f) for f in features])
    feature = np.concatenate([np.zeros(0, np.int64), *features])
    order = np.lexsort((of, feature))

    def column(of_best: bool, name: str, kind: type) -> np.ndarray:
        chosen = [getattr(way.best if of_best else way, name)[f]
                  for way, f in zip(ways, features, strict=True)]
        return np.concatenate([np.zeros(0, kind), *chosen])[order]

    def number(name: str, decimals: int, of_best: bool = False) -> pa.Array:
        values = column(of_best, name, np.float32).round(decimals)
        return pa.array(values, mask=np.isnan(values))

    assigned = column(False, "assigned", np.int32)
    return pa.table({
        "run": pa.repeat(pa.scalar(run), len(order)),
        "feature": feature[order].astype(np.int32),
        **{name: pa.array([key[place] for key in keys], pa.string()).take(pa.array(of[order]))
           for place, name in enumerate(("other", "way"))},
        "partner": column(True, "partner", np.int32),
        "score": number("score", COSINE_DECIMALS, True),
        "margin": number("margin", COSINE_DECIMALS + 1, True),
        "reciprocal": column(True, "reciprocal", bool),
        "percentile": number("percentile", PERCENTILE_DECIMALS, True),
        "assigned": pa.array(assigned, mask=assigned < 0),
        "assigned_score": number("assigned_score", COSINE_DECIMALS),
        "assigned_percentile": number("assigned_percentile", PERCENTILE_DECIMALS),
        "life": number("life", LIFE_DECIMALS),
        "life_percentile": number("life_percentile", LIFE_DECIMALS),
    })


def _splits(found: Found) -> pa.Table:
    rows = [
        (run, split.feature, other, way, list(split.parts),
         [round(score, COSINE_DECIMALS) for score in split.scores],
         round(split.joint, COSINE_DECIMALS), round(split.percentile, PERCENTILE_DECIMALS))
        for (run, other, way), evidence in found.items() for split in evidence.splits
    ]
    return _rows("run feature other way parts scores joint percentile",
                 sorted(rows, key=lambda row: row[:4]), "sissIFff")


# --- what the seeds share ------------------------------------------------------------------------


def nature(config: Mapping[str, Any]) -> tuple:
    """What runs that differ in their seed only have in common."""
    return (config["model"], config["matrix"], config["kind"], config["config"]["d_sae"],
            tuple(config["steps"]), config["run"].rsplit("/", 1)[0])


def _seeds(
    found: Found, configs: Mapping[str, Mapping[str, Any]]
) -> tuple[pa.Table, pa.Table]:
    """Groups over the seeds of every family of runs, and what each feature makes of them."""
    families: dict[tuple, list[str]] = {}
    for run in sorted(configs):
        families.setdefault(nature(configs[run]), []).append(run)
    groups: list[tuple] = []
    stability: list[pa.Table] = [_stability("", "", [], {})]
    for runs in families.values():
        for way in sorted(WAYS):
            pairs = {(a, b): found[a, b, way] for a in runs for b in runs if (a, b, way) in found}
            if not pairs:
                continue
            shared = _groups(runs, pairs)
            number_of: dict[str, dict[int, tuple[int, int]]] = {run: {} for run in runs}
            family = runs[0].rsplit("/", 1)[0]
            for number, group in enumerate(shared):
                for place, feature in group.members:
                    number_of[runs[place]][feature] = (number, len(group.members))
                    groups.append((family, way, number, runs[place], feature, len(group.members),
                                   len(runs), round(group.score, COSINE_DECIMALS), group.pairs))
            for run in runs:
                others = [e for (a, _), e in pairs.items() if a == run]
                if others:
                    stability.append(_stability(run, way, others, number_of[run]))
    names = "family way number run feature size seeds score pairs"
    table = pa.concat_tables(stability)
    return (_rows(names, sorted(groups), "ssisiiifi"),
            table.sort_by([(name, "ascending") for name in ("run", "feature", "way")]))


def _groups(
    runs: list[str], pairs: Mapping[tuple[str, str], Evidence]
) -> list[consensus.Group]:
    joined = []
    for (a, b), evidence in pairs.items():
        if a > b:
            continue
        best, back = evidence.best, returned(pairs[b, a].best)
        here = np.flatnonzero(returned(best))
        here = here[back[best.partner[here]]]
        one, other = runs.index(a), runs.index(b)
        joined += [consensus.Pair((one, int(f)), (other, int(best.partner[f])),
                                  float(best.score[f])) for f in here]
    return consensus.groups(joined)


def _stability(
    run: str, way: str, others: list[Evidence], group: Mapping[int, tuple[int, int]]
) -> pa.Table:
    """Rows of one run and way: every feature that has a partner in any of the other seeds."""
    size = len(others[0].best.partner) if others else 0
    known, back, mean = np.zeros(size, int), np.zeros(size, int), np.zeros(size)
    both = np.zeros(size, int)
    for evidence in others:
        best = evidence.best
        known += best.partner >= 0
        back += returned(best)
        both += best.reciprocal
        mean += np.where(best.reciprocal, np.nan_to_num(best.score), 0)
    feature = np.flatnonzero(known)
    score = np.divide(mean, both, out=np.full(size, np.nan), where=both > 0)
    score = score.round(COSINE_DECIMALS).astype(np.float32)[feature]
    numbers = np.array([group.get(int(f), (-1, 1)) for f in feature], np.int32).reshape(-1, 2)
    return pa.table({
        "run": pa.repeat(pa.scalar(run), len(feature)),
        "feature": feature.astype(np.int32),
        "way": pa.repeat(pa.scalar(way), len(feature)),
        "compared": pa.array(known[feature].astype(np.int32)),
        "returned": pa.array(back[feature].astype(np.int32)),
        "score": pa.array(score, mask=np.isnan(score)),
        "number": pa.array(numbers[:, 0], mask=numbers[:, 0] < 0),
        "size": pa.array(numbers[:, 1]),
    })
