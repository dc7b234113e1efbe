"""What a dictionary is set against: other ways to rebuild a row, and nulls (prism-method §10).

All share the mean, the lengths and the base of the rows and obey the same identity; only the
rebuilt unit row is another. A method says of every token which components it is made of, with
raw coefficients; a component is a direction. Shapes: V rows, d model width, n components of a
token, m directions. Numbers in float32, sums in float64.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 128
"""Rows that a ridge is fitted to."""
PENALTY = 1e-3
"""What is added to the diagonal of their Gram matrix."""
GOLDEN = 0x9E3779B9
"""By which a seed is multiplied before the token is added: the generator of a random support."""
SOLVED = 256
"""Ridges that are solved at once."""
HELD = 0.8
"""Share of the summed |contributions| that `n80` asks for."""

Coded = tuple[np.ndarray, np.ndarray]
"""Components (n,) of a token and its raw coefficients (n,)."""


# --- principal components ------------------------------------------------------------------------


def covariance(x: np.ndarray) -> np.ndarray:
    """X^T X of unit rows (V, d), (d, d) float64; not centred again."""
    return x.astype(np.float64, copy=False).T @ x


def components(gram: np.ndarray) -> np.ndarray:
    """The right singular vectors (d, d) of the rows of a Gram matrix, strongest first, by row."""
    return np.ascontiguousarray(np.linalg.eigh(gram)[1].T[::-1]).astype(np.float32)


def ranks_beside(k: float, width: int) -> tuple[int, ...]:
    """Ranks of the PCA beside a dictionary with k features a row: k, a quarter, half of d."""
    wanted = {round(k), width // 4, width // 2}
    return tuple(sorted({min(max(rank, 1), width) for rank in wanted}))


# --- nearest rows --------------------------------------------------------------------------------


def nearest(similar: np.ndarray, left_out: Sequence[int], count: int = NEIGHBOURS) -> np.ndarray:
    """The rows (n,) with the largest cosine, largest first, those left out excepted.

    Args:
        similar: (V,) cosines with every row.
    """
    similar = similar.copy()
    similar[list(left_out)] = -np.inf
    count = min(count, len(similar) - len(set(left_out)))
    some = np.argpartition(-similar, count - 1)[:count]
    return some[np.argsort(-similar[some], kind="stable")]


def ridges(x: np.ndarray, wanted: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Coefficients (B, n) that rebuild rows from neighbours: (X X^T + 1e-3 I)^-1 X x.

    Args:
        x: (V, d) unit rows. wanted: (B,) rows. near: (B, n) their neighbours.
    """
    found = np.empty(near.shape, dtype=np.float64)
    eye = PENALTY * np.eye(near.shape[1])
    for start in range(0, len(wanted), SOLVED):
        part = slice(start, start + SOLVED)
        rows = x[near[part]].astype(np.float32, copy=False)
        gram = (rows @ rows.transpose(0, 2, 1)).astype(np.float64) + eye
        right = np.einsum("bnd,bd->bn", rows, x[wanted[part]]).astype(np.float64)
        found[part] = np.linalg.solve(gram, right[:, :, None])[:, :, 0]
    return found


# --- nulls ---------------------------------------------------------------------------------------


def permutation(n_rows: int, seed: int = 0) -> np.ndarray:
    """(V,) whose code each row uses when codes are shuffled; not a derangement."""
    return np.random.default_rng(seed).permutation(n_rows)


def random_support(size: int, among: np.ndarray, token: int, seed: int = 0) -> np.ndarray:
    """`size` different features (size,) of those in `among`, for one token.

    The generator is seeded with (seed * 0x9E3779B9 + token) mod 2^31.
    """
    generator = np.random.default_rng((seed * GOLDEN + token) % 2**31)
    return among[generator.choice(len(among), min(size, len(among)), replace=False)]


def shuffled(codes: Sequence[Coded], lengths: np.ndarray, given: np.ndarray) -> list[Coded]:
    """Every token with the unit code of another: its coefficients, for this row's length.

    Args:
        codes: of the tokens that lend theirs. lengths: (T,) of the tokens' rows.
        given: (T,) of the rows that lend.
    """
    return [(ids, a * (own / other))
            for (ids, a), own, other in zip(codes, lengths, given, strict=True)]


def scattered(
    code: Coded, norms: np.ndarray, among: np.ndarray, token: int, seed: int = 0
) -> Coded:
    """A token's own coefficients, largest first, on random features.

    A coefficient counts as the length that it adds to the row, so that features of other norms
    add the same.

    Args:
        norms: (m,) of the directions. among: features that have one.
    """
    ids, a = code
    added = -np.sort(-a * norms[ids])[: len(among)]
    other = random_support(len(added), among, token, seed)
    return other, added / norms[other]


# --- one score -----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Parts:
    """A score as one method splits it."""

    ids: np.ndarray
    """(n,) components with a coefficient, rising."""
    contributions: np.ndarray
    """(n,) signed, in logits."""

    @property
    def total(self) -> float:
        """Their sum; with the base it is the method's score."""
        return float(self.contributions.sum())


def parts_of(codes: Sequence[Coded], weights: Sequence[float], projections: np.ndarray) -> Parts:
    """Split sum_t weight_t (h . row_t) along components (§6.2).

    Args:
        codes: of the score's tokens. projections: (m,), h . direction of every component.
    """
    ids = np.concatenate([c[0] for c in codes]) if codes else np.zeros(0, np.int64)
    values = [w * np.asarray(c[1], np.float64) for w, c in zip(weights, codes, strict=True)]
    kept, where = np.unique(ids, return_inverse=True)
    coefficients = np.bincount(where, np.concatenate(values) if values else None, len(kept))
    found = coefficients * projections[kept].astype(np.float64)
    moving = coefficients != 0
    return Parts(kept[moving], found[moving])


def n80(contributions: np.ndarray) -> int:
    """Smallest number of components that hold 80 % of the summed |contributions|; 0 of none."""
    sizes = -np.sort(-np.abs(contributions))
    total = sizes.sum()
    if not total > 0:
        return 0
    return int(np.searchsorted(np.cumsum(sizes), HELD * total * (1 - 1e-12)) + 1)


def row_ev(missed: np.ndarray, lengths: np.ndarray) -> float:
    """rowEV (§5): 1 - the mean of |row - rebuilt|^2 over its squared length; nan of no row.

    Args:
        missed: (B,) squared errors of raw rows. lengths: (B,) of the centred rows.
    """
    known = lengths > 0
    if not known.any():
        return float("nan")
    return float(1 - (missed[known].astype(np.float64) / lengths[known] ** 2).mean())
