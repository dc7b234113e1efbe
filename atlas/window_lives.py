"""The courses of all features of a run, and what the pair metrics make of them."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from atlas import turnover
from atlas.lifecycle import ACTIVE_NORM
from atlas.reorganisation import PairMetrics, pair_metrics
from atlas.store import Store

_LIVES = "SELECT feature, norm, rate, rotation, to_terminal FROM {run}.life ORDER BY feature"


@dataclass(frozen=True, eq=False)
class Lives:
    """The life table of a run, K snapshots first."""

    norms: np.ndarray
    rates: np.ndarray
    """(K, D) float32; a feature with a missing norm has nan throughout."""
    rotation: np.ndarray
    """(K - 1, D), 1 - cosine between neighbours; nan where a direction has no length."""
    to_terminal: np.ndarray
    """(K, D), 1 - cosine to the last direction."""

    @property
    def has_rates(self) -> bool:
        """Whether any feature has rates."""
        return bool(np.isfinite(self.rates).any())

    @property
    def incomplete(self) -> int:
        """Features left out because a norm, or a rate of a run that has rates, is missing."""
        return int((~self.complete).sum())

    @property
    def complete(self) -> np.ndarray:
        """(D,) bool: features whose norms, and rates where the run has any, are all there."""
        whole = np.isfinite(self.norms).all(axis=0)
        return whole & np.isfinite(self.rates).all(axis=0) if self.has_rates else whole


def lives_of(store: Store, run: str) -> Lives:
    """All courses of a run; NotFound for no run. At full shape 13 MB: not kept."""
    card = store.run(run)
    table = store.ask(run, _LIVES)
    count = len(card.steps)
    place = table["feature"].to_numpy()

    def course(name: str, width: int) -> np.ndarray:
        full = np.full((card.d_sae, width), np.nan, np.float32)
        column = table[name].combine_chunks()
        whole = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        values = column.take(pa.array(whole)).flatten().to_numpy(zero_copy_only=False)
        if width and len(whole):
            full[place[whole]] = values.reshape(len(whole), width)
        return full.T

    return Lives(course("norm", count), course("rate", count), course("rotation", count - 1),
                 course("to_terminal", count))


def pairs_of(store: Store, run: str) -> PairMetrics | None:
    """Pair metrics of a run (§9.1): the store's, else computed from its courses; None without any.

    The store has none where a feature lacks a norm: computed here, such features are left out, and
    so are those without rates; where no feature has rates activation_turnover is nan. A run of one
    snapshot, or without a single active feature, has no pairs.
    """
    if len(store.run(run).steps) < 2:
        return None
    found = turnover.pairs_of(store, run)
    return pairs_from(lives_of(store, run)) if found is None else found


def pairs_from(lives: Lives) -> PairMetrics | None:
    """The metrics of courses at hand; None without an active feature."""
    whole = lives.complete
    norms = lives.norms[:, whole]
    if not norms.size or not (norms.max(axis=0) > ACTIVE_NORM).any():
        return None
    rates = lives.rates[:, whole] if lives.has_rates else np.zeros_like(norms)
    found = pair_metrics(norms, rates, lives.rotation[:, whole], lives.to_terminal[:, whole])
    if lives.has_rates:
        return found
    return replace(found, activation_turnover=np.full(len(norms) - 1, np.nan))
