"""Which features change most inside a window, beside features that fire about as often.

A feature's change is read between the two snapshots that enclose the window, as Browse reads it:
norm over its own maximum, or the angle between the two directions. How often a feature fires says
much of how it moves, so each is held against the features nearest to it in log mean rate, and the
list against lists drawn from those.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.columns import label_columns, norm_columns
from atlas.lifecycle import ACTIVE_NORM
from atlas.reorganisation import LEAST, windows
from atlas.store import Store
from atlas.window_choice import enclosing

SORTS = {
    "change": "norm changes most",
    "rise": "norm rises most",
    "fall": "norm falls most",
    "turn": "direction turns most",
}
"""What a list is sorted by, in words."""
LISTED = 20
"""Features of a list."""
MATCHED = 50
"""Features nearest in log mean rate that each is held against."""
DRAWS = 500
"""Lists that are drawn from them."""
HUNDRED = 100
"""Parts of a cosine in which the store keeps similarities."""

_RATES = """
    SELECT f.feature, list_avg(l.rate)::FLOAT AS rate
    FROM {run}.feature AS f JOIN {run}.life AS l USING (feature) WHERE f.alive ORDER BY f.feature"""
_COSINES = """
    SELECT feature, list_transform($pairs::INTEGER[], lambda i: cosines[i]) AS cosines
    FROM {run}.similarity WHERE cosines IS NOT NULL"""


@dataclass(frozen=True)
class Mover:
    """One feature of the list."""

    feature: int
    label: str
    """Its strongest firing tokens."""
    before: float
    after: float
    """Decoder norm at the two snapshots."""
    change: float
    """Norm after minus norm before, over its maximum, -1 to 1."""
    turn: float
    """Angle in degrees between the directions before and after; nan where not available."""
    rate: float
    """Mean rate over the snapshots."""
    below: float
    """Share of the features of similar rate that change less by what the list is sorted by; nan
    where there are none."""


@dataclass(frozen=True, eq=False)
class Movers:
    """The features that change most inside a window, with two nulls."""

    before: int
    after: int
    """Steps of the snapshots that enclose the window."""
    sort: str
    listed: tuple[Mover, ...]
    mean: float
    """Mean of what the list is sorted by."""
    drawn: np.ndarray
    """(DRAWS,) the same of lists of features of similar rates; empty where there are none."""
    p: float
    """(drawn lists whose mean is as high + 1) / (DRAWS + 1); nan without any."""
    elsewhere: np.ndarray
    """Mean of the list in each other window of the width that shares no pair of snapshots."""
    n: int
    """Live features it was chosen from."""
    matched: int
    """Features of similar rate that each was held against."""
    reason: str = ""
    """Why the list is empty; '' if it is not."""


def strength(
    sort: str, before: np.ndarray, after: np.ndarray, most: np.ndarray, cosine: np.ndarray
) -> np.ndarray:
    """What a list is sorted by, (n,), larger first; nan where not available.

    Norms `before`, `after` and at `most`; `cosine` between the two directions, all (n,).
    """
    if sort == "turn":
        return degrees(cosine)
    change = (after - before) / most
    return {"change": np.abs(change), "rise": change, "fall": -change}[sort]


def degrees(cosine: np.ndarray) -> np.ndarray:
    """Angles of cosines."""
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def similar(values: np.ndarray, which: Sequence[int], count: int) -> np.ndarray:
    """Indices (m, count) of the entries of `values` (n,) nearest to each of `which`, itself left
    out; of equally near ones the smaller value, then the earlier entry. `count` is n - 1 at most.
    """
    order = np.argsort(values, kind="stable")
    at = np.empty(len(values), np.int64)
    at[order] = np.arange(len(values))
    count = min(count, len(values) - 1)
    found = np.empty((len(which), count), np.int64)
    for row, entry in enumerate(which):
        place = at[entry]
        near = order[max(0, place - count) : place + count + 1]
        near = near[near != entry]
        apart = np.abs(values[near] - values[entry])
        found[row] = near[np.argsort(apart, kind="stable")[:count]]
    return found


def drawn_means(
    strengths: np.ndarray, matched: np.ndarray, draws: int, seed: int
) -> np.ndarray:
    """Mean strength (draws,) of lists in which each feature is replaced by one of those matched to
    it (m, count), drawn anew every time."""
    rows, count = matched.shape
    pick = np.random.default_rng(seed).integers(0, count, size=(draws, rows))
    return strengths[matched[np.arange(rows), pick]].mean(axis=1)


def movers(
    store: Store, run: str, low: float, high: float, sort: str, seed: int, listed: int = LISTED
) -> Movers:
    """The features that change most between the snapshots that enclose a window.

    Args:
        low, high: steps of the window.
        sort: one of `SORTS`.
        seed: of the drawn lists.
    """
    card = store.run(run)
    a, b = enclosing(low, high, card.steps)
    rates = store.ask(run, _RATES)
    features, rate = rates["feature"].to_numpy(), rates["rate"].to_numpy().astype(np.float64)
    norms = norm_columns(store, run)[features].astype(np.float64)
    most = norms.max(axis=1)
    spans = _spans(card.steps, low, high)
    cosines = _cosines(store, run, card.d_sae, len(card.steps), [(a, b), *spans])[features]

    def of(place: int, span: tuple[int, int]) -> np.ndarray:
        return strength(sort, norms[:, span[0]], norms[:, span[1]], most, cosines[:, place])

    with np.errstate(invalid="ignore", divide="ignore"):
        found = of(0, (a, b))
        usable = (most > ACTIVE_NORM) & np.isfinite(found)
        elsewhere = [of(i, span)[usable] for i, span in enumerate(spans, 1)]
    before, after = card.steps[a], card.steps[b]
    if not usable.any():
        why = ("how directions turn was not derived" if sort == "turn"
               else "no live feature has a norm at all snapshots")
        return Movers(before, after, sort, (), np.nan, np.zeros(0), np.nan, np.zeros(0), 0, 0, why)
    kept = np.flatnonzero(usable)
    best = kept[np.argsort(-found[kept], kind="stable")[:listed]]
    mean = float(found[best].mean())
    firing = np.flatnonzero(usable & np.isfinite(rate) & (rate > 0))
    below, drawn = _against(found, rate, firing, best, seed)
    labels = label_columns(store, run).drawn(features[best], store.token_texts(card.model))
    change, turn = (norms[:, b] - norms[:, a]) / np.maximum(most, LEAST), degrees(cosines[:, 0])
    return Movers(
        before=before, after=after, sort=sort,
        listed=tuple(
            Mover(int(features[i]), label, float(norms[i, a]), float(norms[i, b]),
                  float(change[i]), float(turn[i]), float(rate[i]), float(share))
            for i, label, share in zip(best, labels, below, strict=True)
        ),
        mean=mean, drawn=drawn,
        p=float((drawn >= mean).sum() + 1) / (len(drawn) + 1) if len(drawn) else np.nan,
        elsewhere=np.array([_top(values, listed) for values in elsewhere]),
        n=len(kept), matched=min(MATCHED, max(len(firing) - 1, 0)),
    )


def _against(
    found: np.ndarray, rate: np.ndarray, firing: np.ndarray, best: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Share of matched features below each of the list, and the means of drawn lists."""
    none = np.full(len(best), np.nan), np.zeros(0)
    if len(firing) < 2 or not np.isin(best, firing).all():
        return none
    place = np.searchsorted(firing, best)
    strengths = found[firing]
    matched = similar(np.log(rate[firing]), place, MATCHED)
    below = (strengths[matched] < strengths[place][:, None]).mean(axis=1)
    return below, drawn_means(strengths, matched, DRAWS, seed)


def _top(values: np.ndarray, listed: int) -> float:
    """Mean of the largest."""
    values = values[np.isfinite(values)]
    if not len(values):
        return np.nan
    return float(np.sort(values)[-listed:].mean())


def _spans(steps: Sequence[int], low: float, high: float) -> list[tuple[int, int]]:
    """Enclosing snapshots of the other windows of a width, those that share no pair with it."""
    a, b = enclosing(low, high, steps)
    others = windows(steps, float(np.log10(high + 1) - np.log10(low + 1)))
    found = [enclosing(float(start), float(end) - 1e-9 * end, steps)
             for start, end in zip(others.from_step, others.to_step, strict=True)]
    return [(c, d) for c, d in dict.fromkeys(found) if d <= a or c >= b]


def _cosines(
    store: Store, run: str, d_sae: int, count: int, spans: Sequence[tuple[int, int]]
) -> np.ndarray:
    """Cosines (D, n) of the directions at the two snapshots of each span; nan where none."""
    full = np.full((d_sae, len(spans)), np.nan, np.float32)
    pairs = [1 + a * count - a * (a + 1) // 2 + b - a - 1 for a, b in spans]
    table = store.ask(run, _COSINES, pairs=pairs)
    if len(table):
        column = table["cosines"].combine_chunks()
        values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        full[table["feature"].to_numpy()] = values.reshape(len(table), len(spans)) / HUNDRED
    return full
