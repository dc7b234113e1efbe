"""The features of a run's average row: what the mean over the vocabulary is made of.

The rows of a crosscoder are mean + scale (b_D + sum_j a_j direction_j) + left-over; so is their
average, with the mean activation of every feature over all rows as a_j (crosscoder-method §3.2,
prism-method §6.2). The store keeps the mean length that a feature adds to a row, in standardised
units, so the mean activation is that length over the norm of its direction.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from atlas.errors import InvalidValue
from atlas.records import RunCard
from atlas.store import Store

LIVES = "SELECT feature, norm, contribution FROM {run}.life ORDER BY feature"


@dataclass(frozen=True, eq=False)
class AverageRow:
    """The mean activations of a run's features over all rows."""

    features: np.ndarray
    """(n,) int64, rising; the features that fire at one snapshot or more."""
    activations: np.ndarray
    """(n, K) float32, those of a prism in raw units; 0 where a feature never fires."""

    def at(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The features that fire at a snapshot, and their mean activations."""
        on = self.activations[:, k] > 0
        return self.features[on], self.activations[on, k]


def average_row(store: Store, card: RunCard) -> AverageRow:
    """The average row of a run; InvalidValue where the store does not keep what it takes."""
    table = store.ask(card.run, LIVES)
    added = _courses(table.column("contribution"), len(card.steps))
    norms = np.ones((len(table), len(card.steps)), dtype=np.float32)
    if card.kind != "prism":  # whose directions have length 1, and whose p is raw
        norms = _courses(table.column("norm"), len(card.steps))
    if added is None or norms is None:
        raise InvalidValue(
            f"the store of {card.run} does not keep the mean activation of its features, so there "
            f"is no score against the average row; `readout-atlas build {card.run} --force` "
            "derives it, and a centred score needs none"
        )
    on = (added > 0) & (norms > 0)
    mean = np.divide(added, norms, out=np.zeros_like(added), where=on)
    fires = on.any(axis=1)
    features = table.column("feature").to_numpy().astype(np.int64)
    return AverageRow(features[fires], mean[fires])


def _courses(column: pa.ChunkedArray, snapshots: int) -> np.ndarray | None:
    """One course per feature, (n, K) float32; None where the store keeps none, or others."""
    whole = column.combine_chunks()
    if whole.null_count or not len(whole):
        return None
    values = np.asarray(whole.flatten(), dtype=np.float32)
    if len(values) != len(whole) * snapshots or not np.isfinite(values).all():
        return None
    return values.reshape(len(whole), snapshots)
