"""Edits of a hidden state along directions of a dictionary, at the head's input (prism-method §9).

With unit directions d̂ of the chosen features F, at one snapshot, in the space of the raw rows:

    ablate      h' = h - P h                  P projects onto the span of d̂, f in F
    scale @ x   h' = h - (1 - x) P h          x = 0 ablates, x = 1 changes nothing
    add @ α     h' = h + α Σ d̂               α > 0 promotes what they write, α < 0 suppresses it

For one feature P h = (h . d̂) d̂. The logits then are h' . row, and a cap of the model's own comes
after. prism-method §9 writes the suppressing sign, v = -α Σ d̂: its α is ours with the sign turned.
An edit is written `ablate:12,40`, `scale:12,40@0.5` or `add:12,40@4`.
"""

import re
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from atlas.errors import InvalidValue

EditKind = Literal["ablate", "scale", "add"]
KINDS: tuple[EditKind, ...] = get_args(EditKind)
MOST = 32
"""Features of one edit."""
LIMITS = {"scale": (-2.0, 4.0), "add": (-64.0, 64.0)}
"""Least and largest amount of a kind."""
USUAL = {"ablate": 0.0, "scale": 0.5, "add": 4.0}
"""Amount where none is written."""
WRITTEN = re.compile(
    r"(ablate|scale|add):([0-9]{1,9}(?:,[0-9]{1,9})*)"
    r"(?:@([+-]?[0-9]{1,4}(?:\.[0-9]{1,4})?))?"
)


@dataclass(frozen=True)
class Edit:
    """What is done to the hidden state."""

    kind: EditKind
    features: tuple[int, ...]
    """Each once, rising."""
    amount: float = 0.0
    """The factor of `scale`, the α of `add`; unused by `ablate`."""

    def __str__(self) -> str:
        at = "" if self.kind == "ablate" else f"@{self.amount:g}"
        return f"{self.kind}:{','.join(map(str, self.features))}{at}"


def edit_of(kind: str, features: ArrayLike, amount: float | None = None) -> Edit:
    """An edit with its parts checked.

    Raises:
        InvalidValue: kind, number of features or amount cannot be used.
    """
    if kind not in KINDS:
        raise InvalidValue(f"edit {kind[:40]!r} is none of {', '.join(KINDS)}")
    chosen = tuple(sorted({int(f) for f in np.atleast_1d(np.asarray(features))}))
    if not chosen:
        raise InvalidValue("the edit names no feature")
    if len(chosen) > MOST:
        raise InvalidValue(f"the edit names {len(chosen)} features; at most {MOST} are taken")
    if kind == "ablate":
        return Edit("ablate", chosen)
    value = USUAL[kind] if amount is None else float(amount)
    low, high = LIMITS[kind]
    if not low <= value <= high:
        raise InvalidValue(f"{kind} by {value:g} is outside {low:g} to {high:g}")
    return Edit(kind, chosen, value)  # type: ignore[arg-type]


def read_edit(text: str, n_features: int) -> Edit:
    """The edit that a text writes, such as `scale:12,40@0.5`.

    Raises:
        InvalidValue: it is none, or names a feature that there is not.
    """
    found = WRITTEN.fullmatch(text.strip().replace(" ", ""))
    if found is None:
        raise InvalidValue(
            f"{text[:60]!r} is no edit; write ablate:12,40 or scale:12@0.5 or add:12@4"
        )
    kind, ids, amount = found.groups()
    if kind == "ablate" and amount is not None:
        raise InvalidValue("ablate takes no amount; write scale:12@0.5 or add:12@4 for one")
    edit = edit_of(kind, [int(i) for i in ids.split(",")], amount and float(amount))
    if edit.features[-1] >= n_features:
        raise InvalidValue(
            f"there is no feature {edit.features[-1]}; ids go from 0 to {n_features - 1}"
        )
    return edit


def units(directions: ArrayLike) -> np.ndarray:
    """Directions (m, d) at length 1, float64.

    Raises:
        InvalidValue: one has no length; its place is named.
    """
    found = np.asarray(directions, dtype=np.float64)
    lengths = np.linalg.norm(found, axis=1)
    if (lengths <= 1e-12).any():
        raise InvalidValue(f"direction {int(np.argmin(lengths))} has no length")
    return found / lengths[:, None]


def span_of(unit: ArrayLike) -> np.ndarray:
    """An orthonormal basis (r, d) of the span of directions (m, d); r < m where some depend."""
    _, sizes, basis = np.linalg.svd(np.asarray(unit, dtype=np.float64), full_matrices=False)
    return basis[sizes > 1e-9 * max(1.0, float(sizes.max(initial=0.0)))]


def shift(h: ArrayLike, unit: ArrayLike, edit: Edit) -> np.ndarray:
    """h' - h for hidden states (..., d), float64; `unit` (m, d) are the features' directions."""
    h, unit = np.asarray(h, dtype=np.float64), np.asarray(unit, dtype=np.float64)
    if edit.kind == "add":
        return np.broadcast_to(edit.amount * unit.sum(axis=0), h.shape)
    basis = span_of(unit)
    kept = edit.amount if edit.kind == "scale" else 0.0
    return -(1 - kept) * (h @ basis.T) @ basis


def rescaled(shifts: ArrayLike, length: float) -> np.ndarray:
    """Shifts (n, d) brought to one length, float64; a shift of no length stays one."""
    shifts = np.asarray(shifts, dtype=np.float64)
    lengths = np.linalg.norm(shifts, axis=-1, keepdims=True)
    return shifts * np.divide(length, lengths, out=np.zeros_like(lengths), where=lengths > 1e-12)


@dataclass(frozen=True, eq=False)
class Slope:
    """Realised against predicted for some features (prism-method §7.5)."""

    slope: float | None
    """Through the origin; None where nothing was predicted."""
    r2: float | None
    """Squared correlation; None where either does not vary."""


def slope_of(predicted: ArrayLike, realised: ArrayLike) -> Slope:
    """Slope of realised on predicted through the origin, and their squared correlation."""
    x, y = (np.asarray(v, dtype=np.float64) for v in (predicted, realised))
    size = float(x @ x)
    varies = len(x) > 1 and x.std() > 1e-12 and y.std() > 1e-12
    return Slope(
        float(x @ y) / size if size > 1e-24 else None,
        float(np.corrcoef(x, y)[0, 1] ** 2) if varies else None,
    )


def kl_bits(before: ArrayLike, after: ArrayLike) -> np.ndarray:
    """KL(before ‖ after) of logits (V,) against (n, V), in bits, (n,) float64."""
    p = _log_softmax(np.asarray(before, dtype=np.float64)[None])
    q = _log_softmax(np.atleast_2d(np.asarray(after, dtype=np.float64)))
    return np.maximum(0.0, (np.exp(p) * (p - q)).sum(axis=1)) / np.log(2)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits - logits.max(axis=1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def overlap(before: ArrayLike, after: ArrayLike, top: int = 50) -> float:
    """Share of the `top` largest of logits (V,) that are still among those afterwards."""
    sets = [set(np.argsort(-np.asarray(v), kind="stable")[:top].tolist()) for v in (before, after)]
    return len(sets[0] & sets[1]) / max(1, len(sets[0]))
