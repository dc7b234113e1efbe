"""What a list of nearest things would show if there were nothing to find."""

from functools import lru_cache

from scipy.special import betaincinv


@lru_cache(maxsize=256)
def chance_cosine(n: int, d: int) -> float:
    """Median of the largest cosine between one random direction and `n` others in `d` dimensions.

    cos^2 of two random directions follows Beta(1/2, (d - 1)/2), so the chance that none of `n`
    exceeds c is (1 - tail(c) / 2)^n; this is the c at which that chance is one half. A list of
    tokens or neighbours whose best cosine is about this high says nothing.
    `d` of 1 gives 1.0: on a line every direction is the same or the opposite.
    """
    if n < 1 or d < 1:
        raise ValueError(f"needs at least one direction and one dimension, got n={n}, d={d}")
    if d == 1:
        return 1.0
    tail = 2.0 * (1.0 - 0.5 ** (1.0 / n))
    if tail >= 1.0:
        return 0.0
    return float(betaincinv(0.5, (d - 1) / 2, 1.0 - tail) ** 0.5)


@lru_cache(maxsize=256)
def pair_cosine(d: int) -> float:
    """|cosine| that two random directions in `d` dimensions stay below in 19 of 20 cases."""
    if d < 1:
        raise ValueError(f"needs at least one dimension, got d={d}")
    return 1.0 if d == 1 else float(betaincinv(0.5, (d - 1) / 2, 0.95) ** 0.5)


def lists_by_chance(lists: int, listed: int, rows: int) -> float:
    """How many of `lists` lists of `listed` different rows hold a row drawn at random."""
    if lists < 0 or not 0 <= listed <= rows or rows < 1:
        raise ValueError(f"no such lists: {lists} of {listed} among {rows} rows")
    return lists * listed / rows
