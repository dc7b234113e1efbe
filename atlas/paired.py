"""Two features of two runs beside each other: what each is to the other, in every way of matching.

`readout-atlas match` keeps a feature's best partner and its partner in the one-to-one assignment.
For any other two the score is worked out from the two themselves: the cosine from their directions,
the weighted Jaccard from their codes, the likeness from their lives. No null was drawn for such a
pair, so it is set beside the best scores that chance gave in the whole run, which is strict: the
best of many by chance against one that was picked.
"""

import math
from dataclasses import dataclass
from functools import partial

import numpy as np

from atlas import paired_courses as courses
from atlas.comparing import other_vocabularies
from atlas.errors import AtlasError
from atlas.matches import BEYOND, WAYS, MatchInfo, match_columns, pairs_of, splits_of
from atlas.records import RunCard
from atlas.seeds import labels_of
from atlas.store import Store

FEWEST = 3
"""Snapshots without which a run has no life that is compared."""

_BETWEEN = """
    SELECT way, other, partner, score, margin, reciprocal, percentile, assigned, assigned_score,
           assigned_percentile, life, life_percentile
    FROM catalog.match WHERE run = $name AND feature = $feature AND other = $other"""
_STRENGTH = "SELECT contribution FROM {run}.feature ORDER BY feature"
_CODE = """
    SELECT code.token AS token, p[list_position(features, $feature::INTEGER)] AS p
    FROM {run}.code_by_token AS code
    JOIN catalog.token AS t ON t.model = $model AND t.token = code.token
    WHERE list_contains(features, $feature::INTEGER) AND octet_length(raw) > 0
    ORDER BY code.token"""


@dataclass(frozen=True)
class Pair:
    """Two features, the left one first."""

    run: str
    feature: int
    other: str
    there: int
    """Feature of the other run."""

    @property
    def swapped(self) -> "Pair":
        """The same from the other side."""
        return Pair(self.other, self.there, self.run, self.feature)


@dataclass(frozen=True)
class Beside:
    """A run that another may be set beside."""

    run: str
    ways: tuple[str, ...]
    """Ways in which the two were matched, in the order of `WAYS`; empty if in none."""


@dataclass(frozen=True)
class Evidence:
    """What one way of matching says of two features."""

    way: str
    """One of `atlas.matches.WAYS`."""
    score: float
    """How alike they are in it (`atlas.matches.SCORES`); nan where that cannot be said."""
    kept: bool
    """The score is one that matching kept, with a percentile of its own."""
    forth: MatchInfo | None
    """The partners of the left feature in the other run; None where it has none."""
    back: MatchInfo | None
    """The partners of the right feature in the left one's run."""
    below: float
    """Share of the best scores by chance, of any feature of the left run, that stay below the
    score, rounded down to a hundredth; nan without a null."""
    why: str = ""
    """Why the two runs have no match in this way; '' where they have."""


@dataclass(frozen=True)
class Reason:
    """Why a feature of the other run is a candidate."""

    kind: str
    """"best", "assigned", "part" (one of several that a feature is split in) or "whole" (the one
    that several are in the other run)."""
    way: str
    score: float
    percentile: float
    """Under the null of the kind: of a split, of as many parts together."""
    parts: int = 0
    """Features of the split; 0 where it is none."""


@dataclass(frozen=True)
class Candidate:
    """A feature of the other run that may be set beside this one."""

    feature: int
    label: str
    """Its strongest firing tokens as they are drawn."""
    reasons: tuple[Reason, ...]


# --- which runs and which features ----------------------------------------------------------------


def beside(store: Store, run: str) -> tuple[Beside, ...]:
    """The other readable runs: matched ones first, of them those that differ in the seed first.

    Raises:
        NotFound, BrokenArtifact: the run is not there or cannot be read.
    """
    known: dict[str, set[str]] = {}
    for pair in pairs_of(store, run):
        known.setdefault(pair.other, set()).add(pair.way)
    found = [
        Beside(card.run, tuple(way for way in WAYS if way in known.get(card.run, ())))
        for card in store.runs() if card.run != run and card.problem is None
    ]
    family = run.rpartition("/")[0]
    return tuple(sorted(found, key=lambda b: (
        not b.ways, b.run.rpartition("/")[0] != family, b.run)))


def first_feature(store: Store, run: str, other: str, way: str | None) -> int:
    """A feature to begin with: of those that return in another run, where most ways agree on the
    partner, the strongest. Where none returns, the strongest that has a partner; where none has
    one either, the strongest. `way` is None for runs that were not matched.
    """
    strength = np.nan_to_num(store.ask(run, _STRENGTH)["contribution"].to_numpy(), nan=-math.inf)
    columns = None if way is None else match_columns(store, run, other, way)
    if columns is None:
        return int(np.argmax(strength))
    found = {one: match_columns(store, run, other, one) for one in WAYS}
    agreeing = sum(
        (c.returned & (c.partner == columns.partner)).astype(int)
        for c in found.values() if c is not None
    )
    for some, votes in ((columns.returned, agreeing), (columns.partner >= 0, 0 * agreeing)):
        if some.any():
            place = np.flatnonzero(some)
            return int(place[np.lexsort((-strength[some], -votes[some]))[0]])
    return int(np.argmax(strength))


def between(store: Store, run: str, feature: int, other: str) -> dict[str, MatchInfo]:
    """{way: the partners of a feature in one other run}, without their labels."""
    rows = store.ask(run, _BETWEEN, name=run, feature=feature, other=other).to_pylist()
    found = {
        row["way"]: MatchInfo(label="", **{
            name: math.nan if value is None and name != "assigned" else value
            for name, value in row.items()})
        for row in rows
    }
    return {way: found[way] for way in WAYS if way in found}


def candidates(
    store: Store, run: str, feature: int, other: str, way: str
) -> tuple[Candidate, ...]:
    """Features of the other run that may stand beside a feature: the best one by the way first,
    then the assigned one, the parts of a split, the one that it is a part of, and the best by the
    other ways. Empty for a feature without a partner.
    """
    found: dict[int, list[Reason]] = {}
    known = between(store, run, feature, other)
    for one in (known.get(way),):
        if one is None:
            continue
        found.setdefault(one.partner, []).append(
            Reason("best", way, one.score, one.percentile))
        if one.assigned is not None:
            found.setdefault(one.assigned, []).append(
                Reason("assigned", way, one.assigned_score, one.assigned_percentile))
    for split in splits_of(store, run, feature):
        if (split.run, split.other) == (run, other):
            for part, score in zip(split.parts, split.scores, strict=True):
                found.setdefault(part, []).append(
                    Reason("part", split.way, score, split.percentile, len(split.parts)))
        elif (split.run, split.other) == (other, run):
            score = split.scores[split.parts.index(feature)]
            found.setdefault(split.feature, []).append(
                Reason("whole", split.way, score, split.percentile, len(split.parts)))
    for name, one in known.items():
        if name != way:
            found.setdefault(one.partner, []).append(
                Reason("best", name, one.score, one.percentile))
    labels = labels_of(store, other, list(found)) if found else []
    return tuple(Candidate(there, label, tuple(reasons))
                 for (there, reasons), label in zip(found.items(), labels, strict=True))


# --- what they are to each other ------------------------------------------------------------------


def why_not(store: Store, way: str, one: RunCard, other: RunCard) -> str:
    """Why two runs cannot be matched in a way; '' where they can."""
    if way in ("tokens", "life"):
        if reason := other_vocabularies(store, [one, other]):
            return reason
        short = [card.run for card in (one, other) if len(card.steps) < FEWEST]
        if way == "life" and short:
            return (f"{' and '.join(short)} {'have' if short[1:] else 'has'} fewer than {FEWEST} "
                    "snapshots, and so no life")
        return ""
    if reason := courses.other_space(one, other):
        return reason
    if way == "terminal" and one.steps[-1] != other.steps[-1]:
        return (f"their last snapshots are those of steps {one.steps[-1]:,} and "
                f"{other.steps[-1]:,}")
    if way == "trajectory" and one.steps != other.steps:
        return (f"they have different snapshots: {len(one.steps)} up to step {one.steps[-1]:,} "
                f"and {len(other.steps)} up to step {other.steps[-1]:,}")
    prepared = [card.config.get("input_preprocess") for card in (one, other)]
    if way == "trajectory" and None not in prepared and prepared[0] != prepared[1]:
        return f"their rows are standardised differently ({' and '.join(prepared)})"
    return ""


def evidence(store: Store, pair: Pair) -> tuple[Evidence, ...]:
    """What every way says of two features, in the order of `WAYS`; ways that cannot be, with why.

    Raises:
        NotFound, BrokenArtifact: a run is not there or cannot be read.
    """
    one, other = store.run(pair.run), store.run(pair.other)
    forth = between(store, pair.run, pair.feature, pair.other)
    back = between(store, pair.other, pair.there, pair.run)
    nulls = {p.way: p.null_scores for p in pairs_of(store, pair.run) if p.other == pair.other}
    lazily = {
        "trajectory": partial(_cosine, store, pair, -1),
        "terminal": partial(_cosine, store, pair, 1),
        "tokens": partial(jaccard, store, pair), "life": partial(likeness, store, pair),
    }
    found = []
    for way in WAYS:
        if way not in nulls:
            why = why_not(store, way, one, other) or (
                "the two runs were not matched in this way; `readout-atlas match "
                f"{pair.run} {pair.other}` does it")
            found.append(Evidence(way, math.nan, False, None, None, math.nan, why))
            continue
        score = kept_score(forth.get(way), pair.there)
        if math.isnan(score):
            score = kept_score(back.get(way), pair.feature)
        kept = not math.isnan(score)
        if not kept:
            score = lazily[way]()
        found.append(Evidence(way, score, kept, forth.get(way), back.get(way),
                              share_below(nulls[way], score)))
    return tuple(found)


def kept_score(found: MatchInfo | None, there: int) -> float:
    """The score that matching kept of a feature and one of another run; nan if it kept none."""
    if found is not None and found.partner == there:
        return found.score
    if found is not None and found.assigned == there:
        return found.assigned_score
    return math.nan


def share_below(null: tuple[float, ...], score: float) -> float:
    """Share of a null below a score, from its quantiles 0, 1 … 100 %, rounded down; nan without."""
    if not null or math.isnan(score):
        return math.nan
    below = int(np.searchsorted(np.asarray(null), score))
    return 1.0 if below == len(null) else max(0, below - 1) / (len(null) - 1)


def mutual(found: Evidence, pair: Pair) -> bool:
    """Whether each is the other's best in a way."""
    one = found.forth
    return one is not None and one.partner == pair.there and one.reciprocal


def returned(found: Evidence, pair: Pair) -> bool:
    """Whether each is the other's best, beyond the null of the left one."""
    return mutual(found, pair) and found.forth.percentile >= BEYOND


def jaccard(store: Store, pair: Pair) -> float:
    """Weighted Jaccard of the tokens two features fire on, as `atlas.token_overlap` has it, 0 to 1.

    nan where one of them fires on none.
    """
    sides = []
    for run, feature in ((pair.run, pair.feature), (pair.other, pair.there)):
        table = store.ask(run, _CODE, feature=feature, model=store.run(run).model)
        token, p = table["token"].to_numpy(), table["p"].to_numpy().astype(np.float64)
        if not len(token):
            return math.nan
        sides.append((token, p / p.max()))
    (first, a), (second, b) = sides
    _, mine, theirs = np.intersect1d(first, second, assume_unique=True, return_indices=True)
    shared = float(np.minimum(a[mine], b[theirs]).sum())
    return shared / (float(a.sum()) + float(b.sum()) - shared)


def likeness(store: Store, pair: Pair) -> float:
    """How alike two features live, as `atlas.life_match` has it, 0 to 1; nan without a life."""
    return courses.likeness(*(
        (store.norms_of_features(run, [feature])[0], store.run(run).steps)
        for run, feature in ((pair.run, pair.feature), (pair.other, pair.there))))


def cosines(store: Store, pair: Pair) -> courses.Cosines:
    """The cosine of the two directions at every snapshot that both runs have; why there is none."""
    return courses.cosines(store.folder, (store.run(pair.run), pair.feature),
                           (store.run(pair.other), pair.there))


def _cosine(store: Store, pair: Pair, axis: int) -> float:
    try:
        found = cosines(store, pair)
    except AtlasError:  # files that are damaged say so where the course is drawn
        return math.nan
    return found.whole if axis < 0 else found.last
