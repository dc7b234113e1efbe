"""The shape of a life: digits in an address, a course over the snapshots, nearest lives.

A shape is a curve through knots that stand evenly over the snapshots, scaled so that its largest
value is 1; a life is its decoder norm scaled the same way. Both are compared at every snapshot.
"""

import re
from collections.abc import Sequence

import numpy as np

FEWEST, MOST = 2, 64
"""Knots of a drawn shape."""


def read_shape(text: str, d_sae: int) -> str | None:
    """The shape of an address, digits or `f` and the index of a feature; None if it is neither."""
    if re.fullmatch(r"f[0-9]{1,9}", text) and int(text[1:]) < d_sae:
        return f"f{int(text[1:])}"
    drawn = re.fullmatch(rf"[0-9]{{{FEWEST},{MOST}}}", text)
    return text if drawn and set(text) != {"0"} else None


def feature_of(shape: str) -> int | None:
    """The feature whose life is the shape; None for a drawn one."""
    return int(shape[1:]) if shape.startswith("f") else None


def course(shape: str, n_snapshots: int) -> np.ndarray:
    """A drawn shape at every snapshot, (K,) float32 with the largest value 1."""
    knots = np.array([int(digit) for digit in shape], float)
    places = np.linspace(0, len(knots) - 1, n_snapshots)
    return scaled(np.interp(places, np.arange(len(knots)), knots))


def scaled(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """A course over its largest value, float32; all 0 where that is 0 or not a number."""
    values = np.asarray(values, np.float32)
    most = values.max(initial=0)
    return values / most if most > 0 else np.zeros_like(values)


def digits(values: Sequence[float] | np.ndarray, knots: int = MOST) -> str:
    """A course as the digits of a shape: at its own places, or at `knots` if it has more."""
    values = scaled(values)
    if len(values) > knots:
        places = np.linspace(0, len(values) - 1, knots)
        values = np.interp(places, np.arange(len(values)), values)
    return "".join(str(int(round(9 * float(v)))) for v in values)
