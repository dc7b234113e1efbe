"""How much of one token's row a dictionary explains, at every snapshot.

Read from the matrices themselves, since the store keeps no rows: one row of each snapshot and the
directions of the features that fire on it.
"""

from pathlib import Path

import numpy as np

from atlas.codes import activations_at
from atlas.records import RunCard
from atlas.slices import Decoder, open_decoder, rows_of, standards_of


def explained_shares(
    store: Path,
    card: RunCard,
    token: int,
    features: np.ndarray,
    p: np.ndarray,
    standards: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """1 - |x - x_hat|^2 / |x|^2 of one row at every snapshot, (K,) float64.

    features (n,) and p (n,) are the row's entries in the code, rounded as the store keeps
    them; standards are the means (K, d) and scales (K,) of the snapshots, read from the files
    when None. x is the standardised row of a crosscoder (crosscoder-method §2, §6.3) and the
    centred unit row of a prism. nan where the row has no length; below 0 where the dictionary
    does worse than nothing.
    """
    decoder = open_decoder(store, card)
    share = _prism_share if card.kind == "prism" else _crosscoder_share
    features, p = np.asarray(features, dtype=np.int64), np.asarray(p, dtype=np.float64)
    found = []
    for k, step in enumerate(card.steps):
        row = rows_of(store, card, step, [token])[0].astype(np.float64)
        directions = decoder.directions(k, features).astype(np.float64)
        if card.kind == "prism" or standards is None:
            mean, scale = (0.0, 1.0) if card.kind == "prism" else standards_of(store, card, step)
        else:
            mean, scale = standards[0][k], standards[1][k]
        x, x_hat = share(decoder, k, token, (row - mean) / scale, directions, features, p)
        length = float(x @ x)
        found.append(1 - float((x - x_hat) @ (x - x_hat)) / length if length > 0 else np.nan)
    return np.array(found)


def _crosscoder_share(
    decoder: Decoder, k: int, token: int, x: np.ndarray, directions: np.ndarray,
    features: np.ndarray, p: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The standardised row and its reconstruction."""
    norms = np.linalg.norm(directions, axis=1)
    a = activations_at(p, norms, decoder.threshold[features].astype(np.float64))
    return x, decoder.offset[k] + a @ directions


def _prism_share(
    decoder: Decoder, k: int, token: int, x: np.ndarray, directions: np.ndarray,
    features: np.ndarray, p: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The centred unit row and its reconstruction; p is the row's length times the code."""
    centred = x - decoder.offset[k]
    length = max(float(np.linalg.norm(centred)), 1e-8)
    return centred / length, p / float(decoder.row_norms[token]) @ directions
