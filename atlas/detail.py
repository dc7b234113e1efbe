"""What the store keeps beside a feature's or a token's card: asked for where it is shown.

How a direction turns between any two snapshots, which features it is near at each, and the course
of a row of the matrix itself. A number that is
not available is nan; a run that cannot have one of them answers None, or with an empty list.
"""

from dataclasses import dataclass

import numpy as np

from atlas import cards, queries
from atlas.errors import InvalidValue, NotFound
from atlas.records import NeighbourList, RunCard
from atlas.store import Store

HUNDRED = 100
"""Parts of a cosine of 1 in which similarities are kept."""

_SIMILARITY = "SELECT cosines FROM {run}.similarity WHERE feature = $feature"
_NEIGHBOURS = "SELECT ids, cosines FROM {run}.neighbour_at WHERE feature = $feature AND k = $k"
_ROW = "SELECT norm, to_terminal, explained FROM {run}.row WHERE token = $token"


@dataclass(frozen=True)
class RowCourse:
    """A row of the matrix through training, in the run's own terms."""

    token: int
    steps: tuple[int, ...]
    norm: np.ndarray
    """(K,) float32 length of the centred row over the scale; of a prism, of the centred row."""
    to_terminal: np.ndarray
    """(K,) float32 1 - cosine with itself at the last snapshot, 0 to 2; all nan with one
    snapshot."""
    explained: np.ndarray
    """(K,) float32 share of the row that the whole dictionary explains, 1 at most; below 0 where
    it is further from the row than nothing is. nan of a row of no length."""


def similarity(store: Store, run: str, feature: int) -> np.ndarray | None:
    """Cosines (K, K) float32 of a feature's directions at every two snapshots, to two decimals.

    1 on the diagonal; nan at a snapshot where the direction has no length. None for a run of one
    snapshot, and for a direction without a length at any pair.

    Raises:
        NotFound: no such run or feature. BrokenArtifact: the run cannot be read.
    """
    card = _card_with(store, run, feature)
    found = store.ask(run, _SIMILARITY, feature=feature)
    if not len(found) or found["cosines"][0].as_py() is None:
        return None
    count = len(card.steps)
    first, second = np.triu_indices(count, 1)
    matrix = np.full((count, count), np.nan, dtype=np.float32)
    pairs = cards.floats(found["cosines"], len(first)) / HUNDRED
    matrix[first, second] = matrix[second, first] = pairs
    some = ~np.isnan(matrix).all(axis=1)  # a direction with a length has a cosine with some other
    matrix[some, some] = 1
    return matrix


def neighbours_at(store: Store, run: str, feature: int, k: int) -> NeighbourList:
    """The ten features whose directions are most similar at snapshot k; empty if not derived.

    Raises:
        NotFound: no such run or feature. InvalidValue: no such snapshot.
    """
    card = _card_with(store, run, feature)
    if not 0 <= k < len(card.steps):
        raise InvalidValue(f"run {run} has no snapshot {k}; it has 0 to {len(card.steps) - 1}")
    near = cards.pairs(store.ask(run, _NEIGHBOURS, feature=feature, k=k))
    names = store.ask(run, queries.NAMES, features=[neighbour for neighbour, _ in near])
    return cards.neighbour_list(near, names, store.token_texts(card.model))


def row_course(store: Store, run: str, token: int) -> RowCourse | None:
    """The course of a token's row; None where the matrix has no such row or it is not derived."""
    card = store.run(run)
    found = store.ask(run, _ROW, token=token)
    if not len(found):
        return None
    courses = (cards.floats(found[name], len(card.steps))
               for name in ("norm", "to_terminal", "explained"))
    return RowCourse(token, card.steps, *courses)


def _card_with(store: Store, run: str, feature: int) -> RunCard:
    card = store.run(run)
    if not 0 <= feature < card.d_sae:
        raise NotFound(f"run {run} has no feature {feature}; it has 0 to {card.d_sae - 1}")
    return card
