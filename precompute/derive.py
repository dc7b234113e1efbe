"""What is derived from a dictionary, as named arrays: the work of the stages, without files.

Shapes: K snapshots, V rows, D features, d model width, N entries of the code. A number that a
dictionary cannot have (the norm of a prism's unit direction, the turn of a single snapshot) is
nan, an index that it cannot have is K; the tables turn both into NULL.
"""

import numpy as np

from atlas import lifecycle
from atlas.codes import SparseCode

Arrays = dict[str, np.ndarray]
QUANTILES = (0.05, 0.25, 0.50, 0.75, 0.95)
NULL_QUANTILES = (0.05, 0.50, 0.95)
"""Of the cosines that random directions reach at a rank of their promoted tokens."""
METRICS = ("norm", "rate", "rotation", "to_terminal")
"""Measures whose spread over the population is kept."""


def code_of(arrays: Arrays) -> SparseCode:
    """The sparse code kept in the arrays of the first stage."""
    n_tokens, n_features = (int(n) for n in arrays["size"])
    return SparseCode(arrays["token"], arrays["feature"], arrays["p"], n_tokens, n_features)


def population_counts(lives: Arrays, norms: np.ndarray) -> Arrays:
    """Births, floor-corrected births, deaths and living features per snapshot, (K,) each.

    Over features that fire. A death is the last snapshot at half the largest norm, unless that
    is the end of the run. Empty for a single snapshot, which has no time.
    """
    count = len(norms)
    if count == 1:
        return {}
    fires = lives["alive"]
    standing = (lifecycle.trajectory(norms) >= lifecycle.ALIVE) & (lives["birth"] < count)

    def histogram(index: np.ndarray) -> np.ndarray:
        return np.bincount(index[fires], minlength=count + 1)[:count]

    deaths = histogram(lives["death"])
    deaths[-1] = 0
    return {
        "births": histogram(lives["birth"]),
        "births_floor": histogram(lives["birth_floor"]),
        "deaths": deaths,
        "alive": standing[:, fires].sum(axis=1),
    }


def token_index(promoted: np.ndarray, known: np.ndarray) -> Arrays:
    """The inverse of promoted tokens (K, D, n): one entry per (token, feature), in that order.

    Args:
        promoted: token ids, best first.
        known: (K, D) bool, whether the direction has a length there.

    Returns:
        token, feature, snapshots (bit k set where promoted), best_rank and best_k, (M,) each.
    """
    count, features, places = promoted.shape
    k, feature, rank = np.nonzero(np.broadcast_to(known[:, :, None], promoted.shape))
    token = promoted[k, feature, rank].astype(np.int64)
    pair = token * features + feature
    order = np.lexsort((k, rank, pair))
    pair, k, rank = pair[order], k[order], rank[order]
    first = np.flatnonzero(np.diff(pair, prepend=-1))
    bits = np.left_shift(np.uint64(1), k.astype(np.uint64))
    mask = np.bitwise_or.reduceat(bits, first) if len(first) else np.zeros(0, np.uint64)
    return {
        "token": (pair[first] // features).astype(np.int32),
        "feature": (pair[first] % features).astype(np.int32),
        "snapshots": mask,
        "best_rank": rank[first].astype(np.uint8),
        "best_k": k[first].astype(np.uint8),
    }
