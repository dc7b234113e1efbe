"""What is derived from a dictionary, as named arrays: the work of the stages, without files.

Shapes: K snapshots, V rows, D features, d model width, N entries of the code. A number that a
dictionary cannot have (the norm of a prism's unit direction, the turn of a single snapshot) is
nan, an index that it cannot have is K; the tables turn both into NULL.
"""

from typing import NamedTuple

import numpy as np

from atlas import lifecycle
from atlas.codes import SparseCode, firing

Arrays = dict[str, np.ndarray]
MAX_ENTRIES = 2**26
"""Entries of the code that are kept of a run, as many of every row: a dictionary with an L0
in the thousands has hundreds of millions, and every one takes some 84 bytes of memory."""
QUANTILES = (0.05, 0.25, 0.50, 0.75, 0.95)
NULL_QUANTILES = (0.05, 0.50, 0.95)
"""Of the cosines that random directions reach at a rank of their promoted tokens."""
METRICS = ("norm", "rate", "rotation", "to_terminal")
"""Measures whose spread over the population is kept."""


class Gate(NamedTuple):
    """What decides where a feature of a crosscoder fires."""

    norms: np.ndarray
    """(K, D)."""
    threshold: np.ndarray
    """(D,)."""


def row_limit(n_rows: int) -> int:
    """Entries of a row that are kept, of so many rows."""
    return max(MAX_ENTRIES // n_rows, 1)


def cut_rows(
    block: Arrays, most: int, n_features: int, gate: Gate | None, first: int = 0
) -> Arrays:
    """A block of the code with the strongest `most` entries of every row.

    Strong is a large p times the longest norm of the feature, of a prism (no gate) a large p; of
    equals the first feature. A block whose rows have no more than `most` on average is returned as
    it is: a few long rows fill no memory. One that loses entries gets what `whole_counts` finds in
    all of them.
    """
    token, p = block["token"], block["p"]
    if len(p) <= most * len(block["residual"]):
        return block
    starts = np.flatnonzero(np.diff(token, prepend=-1))
    sizes = np.diff(starts, append=len(token))
    strength = p if gate is None else p * gate.norms.max(axis=0)[block["feature"]]
    kept = np.ones(len(p), dtype=bool)
    for start, size in zip(starts[sizes > most], sizes[sizes > most], strict=True):
        order = np.argsort(-strength[start : start + size], kind="stable")
        kept[start + order[most:]] = False
    code = {name: block[name][kept] for name in ("token", "feature", "p")}
    return block | code | whole_counts(block, n_features, gate, first)


def whole_counts(
    block: Arrays, n_features: int, gate: Gate | None, first: int = 0
) -> Arrays:
    """What a block's entries count and sum up to, so that they need not be kept.

    Args:
        first: number of the block's first row.

    Returns:
        fired (K, D) int64 rows on which a feature fires and sums (K, D) of p over them; served
        (D,) int64 rows on which it fires at all, mass and energy (D,) of p and p^2 over those;
        weight and explained (D,) of `explained_sums`.
    """
    feature, p = block["feature"], block["p"]
    served = np.bincount(feature, minlength=n_features)
    mass = np.bincount(feature, p, minlength=n_features)
    if gate is None:
        fired, sums = served[None], mass[None]
    else:
        code = SparseCode(block["token"], feature, p, len(block["residual"]), n_features)
        fired, sums = firing(code, *gate)
    energy = np.bincount(feature, np.square(p, dtype=np.float64), minlength=n_features)
    code = block | {"token": block["token"] - first}
    return {"fired": fired, "sums": sums, "served": served, "mass": mass, "energy": energy,
            **explained_sums(code, explained(block)[:, -1], n_features, gate)}


def explained(rows: Arrays) -> np.ndarray:
    """Share (V, K) of every row that the whole code explains, from residual and total (V, K).

    The whole code, also where only the strongest entries of a row are kept. nan of a row of no
    length.
    """
    known = rows["total"] > 0
    return 1 - rows["residual"] / np.where(known, rows["total"], np.nan)


def explained_sums(
    code: Arrays, share: np.ndarray, n_features: int, gate: Gate | None
) -> Arrays:
    """Activation of every feature at the last snapshot, summed over rows: alone and times a share.

    Args:
        code: token, feature and p of the entries.
        share: (V,) of every row, nan where it has none; such a row counts in neither sum.

    Returns:
        weight and explained, (D,) each.
    """
    feature, p, share = code["feature"], code["p"], share[code["token"]]
    on = ~np.isnan(share)
    if gate is not None:
        on &= p * gate.norms[-1][feature] > gate.threshold[feature]
    feature, p, share = feature[on], p[on], share[on]
    return {"weight": np.bincount(feature, p, minlength=n_features),
            "explained": np.bincount(feature, p * share, minlength=n_features)}


def kept_of_code(encoded: Arrays) -> dict[str, float]:
    """What is kept of a code that was cut, for the run's statistics; empty when all of it is."""
    if "fired" not in encoded:
        return {}
    rows, entries = int(encoded["size"][0]), int(encoded["served"].sum())
    share = encoded["p"].sum(dtype=np.float64) / encoded["mass"].sum()
    return {
        "code_entries": entries,
        "code_entries_kept": len(encoded["p"]),
        "code_activation_kept": round(float(share), 6),
        "code_row_limit": row_limit(rows),
        "code_row_mean": round(entries / rows, 1),
    }


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
