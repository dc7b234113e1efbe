"""What the dense controls say of a run's window, in sentences that hang on p <= 0.05 alone."""

from collections.abc import Mapping

from atlas.dense_figures import window_words
from atlas.markup import share
from atlas.reorganisation import WIDTH, Reorganisation, log_time
from atlas.turnover import FEW, Born, Control

SURE = 0.05
"""Largest p, the choice among all windows counted, that is told as more than its null."""
SAME = 0.5
"""Share of a window's half-decade that two must have in common to be told as the same place."""
WEAK = 0.5
"""A control that explains less than this share of what the run explains has little to be born."""


def sure(found: Reorganisation) -> bool:
    """Whether a window stands out of its null, counting that it was chosen."""
    return bool(found.p_any[found.best] <= SURE)


def common(one: Reorganisation, other: Reorganisation) -> float:
    """Share of half a decade that the chosen windows of two have in common, 0 to 1."""
    ends = [
        log_time([float(f.windows.from_step[f.best]), float(f.windows.to_step[f.best])])
        for f in (one, other)
    ]
    shared = min(ends[0][1], ends[1][1]) - max(ends[0][0], ends[1][0])
    return float(max(shared, 0.0) / WIDTH)


def answer(matrix: str, scores: Mapping[str, Reorganisation]) -> str:
    """Whether the window is one of the matrix, of the dictionary, of both or of neither."""
    own, rows, five = (scores.get(name) for name in ("dictionary", "rows", "five"))
    if own is None or rows is None:
        return "That cannot be said of this run, because its windows cannot be scored."
    words = f"dictionary: {window_words(own)}; rows: {window_words(rows)}"
    if sure(own) and sure(rows):
        if common(own, rows) >= SAME:
            alike = "" if five is None or sure(five) else (
                " By the metrics that rows have too, the dictionary’s does not even stand out.")
            return (f"The rows of {matrix} reorganise in the same half-decade by themselves "
                    f"({words}): the window is one of the matrix, which the dictionary follows."
                    f"{alike}")
        return (f"Both reorganise, at different times ({words}): the dictionary’s window is not "
                "simply that of the rows.")
    if sure(own):
        return (f"Only the dictionary’s window stands out of its null ({words}): nothing here says "
                "that the matrix has it too.")
    if sure(rows):
        return (f"The rows of {matrix} have a window, the dictionary’s does not stand out of its "
                f"null ({words}): what can be said of it is said by the matrix.")
    return f"Neither window stands out of its null ({words})."


def about_control(
    scores: Mapping[str, Reorganisation], control: Control | None, explained: float
) -> str:
    """What the shuffled-row control adds to that; '' where there is none."""
    own, found = scores.get("dictionary"), scores.get("control")
    if control is None or own is None:
        return ""
    if found is None:
        few = (control.n_alive or 0) < FEW
        return ("A dictionary of rows without a history has too few features that fire, "
                f"{control.n_alive or 0:,}, to have a window.") if few else ""
    if sure(found) and common(own, found) >= SAME:
        said = (f"Even a dictionary of rows without a history has its window there "
                f"({window_words(found)}): rows that grow and spread are enough for it.")
    elif sure(found):
        said = (f"A dictionary of rows without a history has its window elsewhere "
                f"({window_words(found)}).")
    else:
        said = (f"A dictionary of rows without a history has no window that stands out of its null "
                f"({window_words(found)}).")
    return f"{said}{_weak(control, explained)}"


def _weak(control: Control, explained: float) -> str:
    found = control.explained_variance
    if found is None or not found < WEAK * explained:
        return ""
    alive = "" if control.n_alive is None else f" with {control.n_alive:,} features that fire"
    return (f" That dictionary explains {share(found)} of its rows{alive}, the run "
            f"{share(explained)}: a weak comparison.")


def survivors(born: Born, first: int) -> str:
    """How many births outlive the noise floor, in words."""
    if not born.born:
        return "No feature that fires is born by the paper’s rule."
    said = (
        f"{born.born - born.never:,} of {born.born:,} births survive when the norm that noise rows "
        f"alone would give is taken off, {born.kept:,} of them at the same snapshot"
    )
    if not born.first:
        return f"{said}."
    return f"{said}; of {born.first:,} at step {first:,} {born.first_kept:,} stay there."


def control_births(control: Control, explained: float) -> str:
    """How many births the control shows, and what that is worth."""
    plain, above = int(control.births.sum()), int(control.births_floor.sum())
    seed = "" if control.seed is None else f" (seed {control.seed})"
    weak = _weak(control, explained)
    worth = (
        " So few births are no surprise: rows without a history give the method little to find."
        if weak else ""
    )
    return f"The control{seed} has {plain:,} births, {above:,} above its floor.{weak}{worth}"
