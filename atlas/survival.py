"""How long born features stand: the share still there some time after birth (Kaplan-Meier).

Time is in decades of training, the difference of log10(step + 1). A feature whose end is not seen
counts as long as it was watched and is then left out: right censoring.
"""

from dataclasses import dataclass

import numpy as np

SURE = 1.96
"""Standard errors to either side that hold 95 %."""


@dataclass(frozen=True, eq=False)
class Survival:
    """A share that falls in steps."""

    at: np.ndarray
    """(n,) times, rising from 0."""
    share: np.ndarray
    """(n,) share still there just after each time; 1 at 0 unless something ends at once."""
    low: np.ndarray
    """(n,) lower end of the 95 % band by Greenwood's formula, not below 0."""
    high: np.ndarray
    """(n,) upper end, not above 1."""
    watched: np.ndarray
    """(n,) how many were watched just before each time."""
    total: int
    ended: int
    """How many of them were seen to end."""


def survival(duration: np.ndarray, ended: np.ndarray) -> Survival:
    """Kaplan and Meier's share still there, with Greenwood's standard error.

    Args:
        duration: (D,) time from birth to the end, or to the last look.
        ended: (D,) bool, whether the end was seen.

    Returns:
        The curve at 0, at every time something ends, and at the longest time watched. Empty for
        no feature. Where nobody is left the band closes on 0.
    """
    duration = np.asarray(duration, dtype=np.float64)
    ended = np.asarray(ended, dtype=bool)
    total = len(duration)
    if not total:
        nothing = np.zeros(0)
        return Survival(nothing, nothing, nothing, nothing, np.zeros(0, int), 0, 0)
    at, gone = np.unique(duration[ended], return_counts=True)
    watched = total - np.searchsorted(np.sort(duration), at, side="left")
    share = np.cumprod(1 - gone / watched)
    left = watched - gone
    terms = np.divide(gone, watched * left, out=np.zeros(len(at)), where=left > 0)
    error = share * np.sqrt(np.cumsum(terms))
    longest = float(duration.max())
    if not len(at) or at[0] > 0:
        at, share, error = (np.concatenate([[v], a]) for v, a in ((0, at), (1, share), (0, error)))
        watched = np.concatenate([[total], watched])
    if at[-1] < longest:
        at = np.append(at, longest)
        share, error = np.append(share, share[-1]), np.append(error, error[-1])
        watched = np.append(watched, int((duration >= longest).sum()))
    return Survival(
        at, share, np.clip(share - SURE * error, 0, 1), np.clip(share + SURE * error, 0, 1),
        watched.astype(int), total, int(ended.sum()),
    )


def spans(
    birth: np.ndarray, death: np.ndarray, decades: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Time from birth to the first snapshot without the feature, and whether that was seen.

    Args:
        birth: (D,) snapshot of the birth. death: (D,) last snapshot at which it stands; the last
            one, or more, where it stands at the end.
        decades: (K,) log10(step + 1) of every snapshot.

    A feature that dies before the snapshot it is born at, as two conventions may have it, ends at
    once.
    """
    last = len(decades) - 1
    ended = death < last
    gone = np.where(ended, np.minimum(death + 1, last), last)
    return np.maximum(decades[gone] - decades[birth], 0.0), ended
