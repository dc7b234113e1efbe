"""How true a method's scores are over a bank of contrasts, by margin, with intervals.

Two relative errors are kept apart (prism-method §7.1): rho, the paper's, with half a logit added
under it, and the unfloored one. Cases of one base case are one piece of evidence, so intervals
resample base cases (§7.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlas.decomposition import FLOOR_LOGIT, RHO_LIMIT

MARGINS = ((0.0, 0.5, "<0.5"), (0.5, 1.0, "0.5-1"), (1.0, 2.0, "1-2"), (2.0, np.inf, ">=2"))
"""Bins of |exact| (§7.3): from, to (not included), name."""
DRAWS = 400
"""Draws of base cases."""
LEVEL = (0.025, 0.975)
"""Ends of an interval."""
LEAST = 1e-6
"""Smallest |exact| under an unfloored error."""
MEASURES = ("sign", "rho", "passing", "rho_unfloored", "passing_unfloored")
"""What has an interval."""


def rho(exact: np.ndarray, rebuilt: np.ndarray) -> np.ndarray:
    """|residual| / (|exact| + 0.5), the paper's."""
    return np.abs(exact - rebuilt) / (np.abs(exact) + FLOOR_LOGIT)


def unfloored(exact: np.ndarray, rebuilt: np.ndarray) -> np.ndarray:
    """|residual| / |exact|, the harness's."""
    return np.abs(exact - rebuilt) / np.maximum(np.abs(exact), LEAST)


def signs_agree(exact: np.ndarray, rebuilt: np.ndarray) -> np.ndarray:
    """Whether both scores favour the same side."""
    return (exact > 0) == (rebuilt > 0)


def margin_of(exact: np.ndarray) -> np.ndarray:
    """Number of the bin of `MARGINS` of each score."""
    return np.searchsorted([low for low, _, _ in MARGINS], np.abs(exact), side="right") - 1


@dataclass(frozen=True)
class Fidelity:
    """Figures over some cases; each of `MEASURES` with the ends of its 95 % interval."""

    n_cases: int
    n_base: int
    """Base cases among them."""
    values: dict[str, tuple[float, float, float]]
    """{measure: (value, low, high)}: share with the right sign, median rho, share that passes the
    paper's gate, median unfloored error, share that passes with that one."""


def fidelity(
    exact: np.ndarray, rebuilt: np.ndarray, base: Sequence[int], draws: int = DRAWS, seed: int = 0
) -> Fidelity:
    """The figures over cases (n,); nan of none.

    Args:
        base: (n,) number of the base case of each.
    """
    n = len(exact)
    if not n:
        nothing = (float("nan"),) * 3
        return Fidelity(0, 0, dict.fromkeys(MEASURES, nothing))
    names, cluster = np.unique(np.asarray(base), return_inverse=True)
    random = np.random.default_rng(seed)
    drawn = random.integers(0, len(names), (draws, len(names)))
    often = np.stack([np.bincount(row, minlength=len(names)) for row in drawn])[:, cluster]
    often = np.concatenate([np.ones((1, n), dtype=np.int64), often])
    agree = signs_agree(exact, rebuilt)
    floored, bare = rho(exact, rebuilt), unfloored(exact, rebuilt)
    found = {
        "sign": _shares(agree, often),
        "rho": _medians(floored, often),
        "passing": _shares(agree & (floored < RHO_LIMIT), often),
        "rho_unfloored": _medians(bare, often),
        "passing_unfloored": _shares(agree & (bare < RHO_LIMIT), often),
    }
    return Fidelity(n, len(names), {
        name: (float(v[0]), *(float(q) for q in np.quantile(v[1:], LEVEL)))
        for name, v in found.items()
    })


def _shares(values: np.ndarray, often: np.ndarray) -> np.ndarray:
    """Share of True in every draw (draws,)."""
    return (often @ values) / often.sum(axis=1)


def _medians(values: np.ndarray, often: np.ndarray) -> np.ndarray:
    """Median of every draw (draws,), each value counted as often as it was drawn."""
    order = np.argsort(values, kind="stable")
    ranked, upto = values[order], np.cumsum(often[:, order], axis=1)
    total = upto[:, -1:]
    low, high = ((upto > at).argmax(axis=1) for at in ((total - 1) // 2, total // 2))
    return (ranked[low] + ranked[high]) / 2
