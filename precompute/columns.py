"""Arrow columns from derived arrays: nan, "" and "never" become NULL here.

A column that a run does not have, or that an older stage did not derive, is NULL throughout.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from precompute.derive import Arrays


def courses(arrays: Arrays, name: str, size: int, digits: int) -> pa.Array:
    """(K, n) values as n lists, to so many significant digits; NULLs if not derived."""
    if name not in arrays:
        return pa.nulls(size, pa.list_(pa.float32()))
    return lists(significant(arrays[name].T, digits))


def floats(values: np.ndarray) -> pa.Array:
    """float32 with NULL for nan."""
    values = values.astype(np.float32, copy=False)
    missing = np.isnan(values)
    return pa.array(values, mask=missing) if missing.any() else pa.array(values)


def optional(
    arrays: Arrays, name: str, size: int, decimals: int | None = None, digits: int | None = None
) -> pa.Array:
    """float32 with NULL for nan, to some decimals or significant digits; NULLs if not derived."""
    values = arrays.get(name)
    if values is None:
        return pa.nulls(size, pa.float32())
    if decimals is not None:
        values = values.round(decimals)
    return floats(values if digits is None else significant(values, digits))


def decimal(values: np.ndarray, decimals: int) -> np.ndarray:
    """Values to so many decimals, as float32.

    Each is a whole number times the float32 of 10^-decimals, as the file unpacks floats: the
    float32 nearest to a decimal is often another, and then takes a quarter more space.
    """
    whole_numbers = np.rint(values * 10.0**decimals).astype(np.float32)
    return whole_numbers * np.float32(10.0**-decimals)


def decimals_of(values: np.ndarray) -> int:
    """Decimals to which positive values are kept to about a thousandth of their median."""
    return 3 - int(np.floor(np.log10(np.median(values))))


def significant(values: np.ndarray, digits: int) -> np.ndarray:
    """Values to so many significant digits; fewer digits pack into less space."""
    values = np.asarray(values, dtype=np.float64)
    safe = np.where(np.nan_to_num(values) == 0, 1.0, np.abs(values))
    unit = 10.0 ** (np.floor(np.log10(safe)) + 1 - digits)
    return np.round(values / unit) * unit


def whole(arrays: Arrays, name: str, size: int) -> pa.Array:
    """int32 with NULL for -1; NULLs if not derived."""
    values = arrays.get(name)
    if values is None:
        return pa.nulls(size, pa.int32())
    return pa.array(values.astype(np.int32, copy=False), mask=values < 0)


def steps_at(index: np.ndarray, steps: Sequence[int]) -> pa.Array:
    """Steps of snapshot indices, NULL for the index K."""
    padded = np.append(np.array(steps, dtype=np.int32), 0)
    return pa.array(padded[index], mask=index == len(steps))


def texts(values: np.ndarray) -> pa.Array:
    """Strings with NULL for ''."""
    return pa.array([str(v) or None for v in values], pa.string())


def lists(
    values: np.ndarray, known: np.ndarray | None = None, missing: int | None = None
) -> pa.Array:
    """(n, m) values as n lists; nan is a NULL in its list, a list of nothing else is NULL.

    Args:
        known: (n,) bool, lists that are not NULL, where nan does not say it.
        missing: the whole number that stands for NULL in its list.
    """
    rows, places = values.shape
    if np.issubdtype(values.dtype, np.integer):
        flat = np.ascontiguousarray(values).ravel()
        flat = pa.array(flat) if missing is None else pa.array(flat, mask=flat == missing)
    else:
        flat = floats(values.ravel())
        if known is None:
            known = ~np.isnan(values).all(axis=1)
    if places == 0:
        return pa.nulls(rows, pa.list_(flat.type))
    offsets = pa.array(np.arange(0, rows * places + 1, places, dtype=np.int32))
    gone = None if known is None or known.all() else pa.array(~known)
    return pa.ListArray.from_arrays(offsets, flat, mask=gone)


def known_ids(ids: np.ndarray) -> pa.Array:
    """(n, m) ids as n lists without the -1; NULL where there is no other."""
    return pa.array([row[row >= 0] if (row >= 0).any() else None for row in ids],
                    pa.list_(pa.int32()))


def ragged(offsets: np.ndarray, values: np.ndarray) -> pa.Array:
    """Lists between offsets; 64-bit offsets, for a code may have more than 2^31 entries."""
    return pa.LargeListArray.from_arrays(pa.array(offsets.astype(np.int64)), pa.array(values))
