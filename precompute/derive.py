"""What is derived from a dictionary, as named arrays: the work of the stages, without files.

Shapes: K snapshots, V rows, D features, d model width, N entries of the code. A number that a
dictionary cannot have (the norm of a prism's unit direction, the turn of a single snapshot) is
nan, an index that it cannot have is K; the tables turn both into NULL.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy import sparse
from torch import Tensor

from atlas import geometry, lifecycle
from atlas.codes import SparseCode, contributions, crosscoder_code, prism_code
from atlas.crosscoder import DEAD_RATE, Crosscoder, standardize
from atlas.prism import Prism, normalise_rows
from atlas.schema import NEIGHBOURS, PROMOTED

Arrays = dict[str, np.ndarray]
QUANTILES = (0.05, 0.25, 0.50, 0.75, 0.95)
METRICS = ("norm", "rate", "rotation", "to_terminal")
"""Measures whose spread over the population is kept."""


def crosscoder_arrays(c: Crosscoder, rows: Tensor) -> Arrays:
    """Code, rates, norms and fidelity of a crosscoder over raw rows (K, V, d)."""
    _, x = standardize(rows)
    code, rates = crosscoder_code(c, x)
    threshold, norms = c.threshold.numpy(), c.norms.numpy()
    total = np.zeros(len(x))
    residual = np.zeros(len(x))
    for k, standard in enumerate(x):
        on = code.p * norms[k][code.feature] > threshold[code.feature]
        rebuilt = _matrix(code, np.where(on, code.p, 0)) @ c.W_D[k].numpy() + c.b_D[k].numpy()
        total[k] = standard.double().square().sum()
        residual[k] = np.square(standard.double().numpy() - rebuilt).sum()
    return _code_arrays(code) | {
        "rates": rates,
        "norms": norms,
        "threshold": threshold,
        "total": total,
        "residual": residual,
    }


def prism_arrays(prism: Prism, rows: Tensor) -> Arrays:
    """The same of a prism over raw rows (V, d); norms and threshold are nan, p is in raw units."""
    x, _, _ = normalise_rows(rows, prism.row_mean)
    code, rates = prism_code(prism, x)
    unit = code.p / prism.row_norms.numpy()[code.token]
    rebuilt = _matrix(code, unit) @ prism.decoder.numpy()
    return _code_arrays(code) | {
        "rates": rates,
        "norms": np.full((1, prism.n_features), np.nan, dtype=np.float32),
        "threshold": np.full(prism.n_features, np.nan, dtype=np.float32),
        "total": x.double().square().sum().reshape(1).numpy(),
        "residual": np.square(x.double().numpy() - rebuilt).sum().reshape(1),
    }


def _matrix(code: SparseCode, values: np.ndarray) -> sparse.csr_array:
    csr = code.by_token()
    shape = (code.n_tokens, code.n_features)
    return sparse.csr_array((values, csr.columns, csr.offsets), shape=shape)


def _code_arrays(code: SparseCode) -> Arrays:
    size = np.array([code.n_tokens, code.n_features])
    return {"token": code.token, "feature": code.feature, "p": code.p, "size": size}


def code_of(arrays: Arrays) -> SparseCode:
    """The sparse code kept in the arrays of the first stage."""
    n_tokens, n_features = (int(n) for n in arrays["size"])
    return SparseCode(arrays["token"], arrays["feature"], arrays["p"], n_tokens, n_features)


def life_arrays(encoded: Arrays, directions: Tensor, steps: Sequence[int]) -> Arrays:
    """Lives, scalars per feature, neighbours and population from the code and (K, D, d) directions.

    Follows crosscoder-method §7 and §8. Directions of a prism have one snapshot and length 1.
    """
    code, rates, norms = code_of(encoded), encoded["rates"], encoded["norms"]
    count, features = rates.shape
    gated = not np.isnan(norms).any()
    alive = rates.mean(axis=0) > DEAD_RATE
    norm_rule = (norms, encoded["threshold"]) if gated else ()
    arrays: Arrays = {
        "alive": alive,
        "contribution": contributions(code, *norm_rule),
        "n_tokens": np.bincount(code.feature, minlength=features),
        "norm_max": norms.max(axis=0),
        "norm_final": norms[-1],
        "rate_max": rates.max(axis=0),
        "rate_final": rates[-1],
    }
    arrays |= _course(code, rates, norms, directions, steps)
    neighbours, cosines = geometry.cosine_neighbours(directions[-1], NEIGHBOURS)
    arrays |= {"neighbours": neighbours.numpy(), "neighbour_cosines": cosines.numpy()}
    courses = {"norm": norms, "rate": rates, "rotation": arrays["rotation"],
               "to_terminal": arrays["to_terminal"]}
    for metric in METRICS:
        arrays[f"q_{metric}"] = _quantiles(courses[metric][:, alive])
    return arrays


def _quantiles(values: np.ndarray) -> np.ndarray:
    """(K, 5) quantiles of (K, n) values, nan left out; nan where nothing is left."""
    out = np.full((len(values), len(QUANTILES)), np.nan)
    for k, row in enumerate(values):
        known = row[~np.isnan(row)]
        if known.size:
            out[k] = np.quantile(known, QUANTILES)
    return out


def _course(
    code: SparseCode, rates: np.ndarray, norms: np.ndarray, directions: Tensor,
    steps: Sequence[int],
) -> Arrays:
    count, features = rates.shape
    never = np.full(features, count)
    unknown = np.full(features, np.nan)
    if count == 1:
        return {
            "rotation": np.zeros((0, features)),
            "to_terminal": np.full((1, features), np.nan),
            "profile": np.full(features, ""),
            "lifetime": unknown, "drift": unknown, "cusum_rate": unknown,
            "max_rotation": unknown,
            "birth": never, "birth_floor": never, "death": never, "peak": never,
            "first_active": never, "stabilized": never, "max_rotation_k": never,
        }
    rotation = geometry.rotation(directions).numpy()
    to_terminal = geometry.direction_to_terminal(directions).numpy()
    table = lifecycle.lifecycle(rates, to_terminal, rotation, norms)
    birth, death = lifecycle.births_and_deaths(norms)
    floor = geometry.noise_floor(code, directions.shape[-1])
    turned = np.where(np.isnan(rotation), -np.inf, rotation)
    turns = turned.max(axis=0)
    return {
        "rotation": rotation,
        "to_terminal": to_terminal,
        "profile": np.array(lifecycle.profiles(norms, steps)),
        "lifetime": table.lifetime,
        "drift": np.where(table.never_active, np.nan, table.drift),
        "cusum_rate": lifecycle.cusum_max(rates),
        "max_rotation": np.where(np.isinf(turns), np.nan, turns),
        "birth": birth,
        "birth_floor": lifecycle.floor_corrected_births(norms, floor),
        "death": death,
        "peak": table.peak,
        "first_active": table.first_active,
        "stabilized": table.stabilized,
        "max_rotation_k": np.where(np.isinf(turns), count, turned.argmax(axis=0) + 1),
    }


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


def promoted_arrays(
    matrices: Iterator[tuple[Tensor, Tensor]],
    allowed: Tensor | None,
    report: Callable[[int], None],
) -> Arrays:
    """Promoted and suppressed tokens (K, D, n) and their cosines, one snapshot after the other.

    `matrices` yields raw rows (V, d) and directions (D, d) of each snapshot; ranking is by the
    cosine of the centred row with the direction (demo section 5.6).
    """
    columns: dict[str, list[np.ndarray]] = {
        "promoted": [], "promoted_cosines": [], "suppressed": [], "suppressed_cosines": []
    }
    for k, (rows, directions) in enumerate(matrices):
        found = geometry.promoted_tokens(rows, directions, PROMOTED, allowed)
        columns["promoted"].append(found.tokens.numpy().astype(np.int32))
        columns["promoted_cosines"].append(found.cosines.numpy())
        columns["suppressed"].append(found.suppressed.numpy().astype(np.int32))
        columns["suppressed_cosines"].append(found.suppressed_cosines.numpy())
        report(k)
    return {name: np.stack(parts) for name, parts in columns.items()}


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
