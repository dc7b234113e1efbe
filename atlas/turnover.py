"""How a run's population and its matrix turn over, pair by pair: what the store keeps of it.

Shapes: K snapshots first, P = K - 1 pairs. A run of one snapshot and a prism have none of it.

The shuffled-row control is a dictionary trained like the run's own, on rows of the same lengths
whose tokens were shuffled anew at every snapshot. It lies in the run folder as two files that not
every run has; the second is written last.

`control.safetensors`, float32, in the units of the run's own tables:
    norms       (K, D)      lengths of the decoder directions
    rates       (K, D)      share of the V rows on which a feature fires
    rotation    (K - 1, D)  1 - cosine between neighbouring snapshots, nan without a direction
    to_terminal (K, D)      1 - cosine to the last direction, nan without a direction
    floor       (D,)        length a direction takes on noise: `geometry.noise_floor` of its code,
                            sqrt(d / sum p^2), inf for a feature that never fires
`control.json`: seed, explained_variance, l0, dead_rate, n_alive (numbers, as in `metrics.json`)
    and shuffle, a sentence on what was shuffled.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from atlas import reorganisation
from atlas.dense import PCA_RANKS
from atlas.reorganisation import COMPONENTS, MIN_SNAPSHOTS, WIDTH, PairMetrics, Reorganisation
from atlas.schema_turnover import PAIR_METRICS
from atlas.store import Store

FEW = 30
"""Fewest live features of a control whose windows are scored."""
CONTROL = "control.safetensors"
"""File of a run folder with the shuffled-row control's courses; its tensors are named above."""
CONTROL_FACTS = "control.json"
"""File beside it with the control's quality and seed."""
CONTROL_TENSORS = ("norms", "rates", "rotation", "to_terminal", "floor")
ROW_COMPONENTS = tuple(name for name in COMPONENTS if name != "activation_turnover")
"""The metrics of the score that rows have too: they have no rate."""

_PAIRS = "SELECT * EXCLUDE (k) FROM {run}.{table} ORDER BY k"
_CONTROL_PAIRS = f"SELECT {', '.join(PAIR_METRICS)} FROM {{run}}.control WHERE k > 0 ORDER BY k"
_MATRIX = "SELECT * EXCLUDE (k) FROM {run}.matrix ORDER BY k"
_SIMILARITY = "SELECT {column} FROM {run}.similarity_mean ORDER BY k"
_HELD_OUT = "SELECT * EXCLUDE (sha256) FROM {run}.held_out ORDER BY step"
_BORN = """
    SELECT birth_step AS plain, birth_floor_step AS above, count(*) AS features
    FROM {run}.feature WHERE alive AND birth_step IS NOT NULL GROUP BY ALL"""
_CONTROL = "SELECT births, births_floor, deaths, alive, norm FROM {run}.control ORDER BY k"


@dataclass(frozen=True, eq=False)
class MatrixCourse:
    """What a matrix shows at every snapshot without any dictionary; nan where it does not."""

    row_norm: np.ndarray
    """(K, 5): 5, 25, 50, 75 and 95 % quantiles of the centred rows' length, not scaled."""
    mean_share: np.ndarray
    """(K,): |mean row|^2 / mean |row|^2, 0 to 1."""
    mean_cosine: np.ndarray
    """(K,): cosine of the mean row with that of the snapshot before."""
    participation: np.ndarray
    """(K,): (sum l)^2 / sum l^2 of the covariance spectrum, 1 to d."""
    pc1_share: np.ndarray
    """(K,): share of the first principal axis."""
    effective_rank: np.ndarray
    """(K,): exp of the spectrum's entropy, 1 to d."""
    pca: np.ndarray
    """(K, 7): share explained by the first `atlas.dense.PCA_RANKS` axes of the snapshot alone."""
    concatenated_pca: np.ndarray
    """(K,): share explained by the axes of all snapshots side by side, which are not scaled."""
    endpoint: np.ndarray
    """(K,): share explained on the line between each row's first and last place."""
    row_cosine: np.ndarray
    """(K,): median cosine of a centred row with the snapshot before."""


@dataclass(frozen=True)
class HeldOut:
    """A snapshot the dictionary was not trained on, rebuilt (`atlas.dense`, §12)."""

    step: int
    before: int
    """Step of the run's own snapshot before it."""
    after: int
    """Step of the one after."""
    alpha: float
    """Log time from one to the other, 0 to 1."""
    n_rows: int
    """Rows that were rebuilt."""
    explained_variance: float
    """Through the interpolated head, about the mean row."""
    explained_raw: float
    """The same in the record's form, about one scalar mean."""
    l0: float
    """Features that fire on a row."""
    nearest: float
    """Through the head of the nearer snapshot."""
    between: float
    """Of rows interpolated between the two snapshots."""
    endpoints: float
    """Of rows interpolated between first and last."""


@dataclass(frozen=True)
class Born:
    """What becomes of the births of features that fire when the noise floor is taken off."""

    born: int
    """Features with a birth by the paper's rule."""
    kept: int
    """Those whose birth stays at its snapshot."""
    never: int
    """Those that never stand above the floor."""
    first: int
    """Those born at the first snapshot."""
    first_kept: int
    """Those of them that stay there."""


@dataclass(frozen=True, eq=False)
class Control:
    """The population of the shuffled-row control; arrays (K,) unless said otherwise."""

    births: np.ndarray
    """Features whose norm first reaches half its maximum at a snapshot."""
    births_floor: np.ndarray
    """The same after the noise floor is taken off."""
    deaths: np.ndarray
    """Features whose norm is last at half its maximum there, the end of the run left out."""
    alive: np.ndarray
    """Features at half their maximum or more."""
    norm: np.ndarray
    """(K, 5): 5, 25, 50, 75 and 95 % quantiles of the norms."""
    pairs: PairMetrics
    """Change between neighbouring snapshots."""
    seed: int | None
    """Seed of the shuffle; None if not told, as are the next three."""
    explained_variance: float | None
    l0: float | None
    n_alive: int | None
    shuffle: str
    """What was shuffled, a sentence; '' if not told."""


def pairs_of(store: Store, run: str) -> PairMetrics | None:
    """Change of the population between neighbouring snapshots; None of one snapshot or a prism."""
    return _pairs(store.ask(run, _PAIRS.replace("{table}", "pair")))


def matrix_pairs_of(store: Store, run: str) -> PairMetrics | None:
    """The same of the matrix's own rows, whose activation_turnover is nan: they have no rate."""
    return _pairs(store.ask(run, _PAIRS.replace("{table}", "matrix_pair")))


def matrix_of(store: Store, run: str) -> MatrixCourse | None:
    """What the matrix shows by itself; None of one snapshot or a prism."""
    found = store.ask(run, _MATRIX)
    if not len(found):
        return None
    lists = {"row_norm": 5, "pca": len(PCA_RANKS)}
    return MatrixCourse(**{
        name: _rows(found[name], lists[name]) if name in lists else _numbers(found[name])
        for name in found.column_names
    })


def mean_similarity(store: Store, run: str) -> np.ndarray | None:
    """(K, K) mean cosine over live features of their directions at any two snapshots.

    nan where no feature has a direction at both. None of one snapshot or a prism.
    """
    return _square(store, run, "features")


def row_similarity(store: Store, run: str) -> np.ndarray | None:
    """(K, K) mean cosine over all rows of the centred row at any two snapshots; None as above."""
    return _square(store, run, "rows")


def held_out_of(store: Store, run: str) -> tuple[HeldOut, ...]:
    """Snapshots between the run's own that were rebuilt; empty where the store had none."""
    rows = store.ask(run, _HELD_OUT).to_pylist()
    return tuple(
        HeldOut(**{name: math.nan if v is None else v for name, v in row.items()}) for row in rows
    )


def born_of(store: Store, run: str) -> Born:
    """How many births are more than the norm that noise alone gives (demo §5.4)."""
    rows = store.ask(run, _BORN).to_pylist()
    first = store.run(run).steps[0]

    def counted(those: Callable[[int, int | None], bool]) -> int:
        return sum(r["features"] for r in rows if those(r["plain"], r["above"]))

    return Born(
        born=counted(lambda plain, above: True),
        kept=counted(lambda plain, above: plain == above),
        never=counted(lambda plain, above: above is None),
        first=counted(lambda plain, above: plain == first),
        first_kept=counted(lambda plain, above: plain == above == first),
    )


def control_of(store: Store, run: str) -> Control | None:
    """The shuffled-row control; None where none was trained before the run's file was built."""
    found = store.ask(run, _CONTROL)
    pairs = _pairs(store.ask(run, _CONTROL_PAIRS))
    if not len(found) or pairs is None:
        return None
    said = store.run(run).statistics
    counts = {name: _numbers(found[name]) for name in ("births", "births_floor", "deaths", "alive")}
    return Control(
        **counts,
        norm=_rows(found["norm"], 5),
        pairs=pairs,
        seed=_whole(said.get("control_seed")),
        explained_variance=_number(said.get("control_explained_variance")),
        l0=_number(said.get("control_l0")),
        n_alive=_whole(said.get("control_n_alive")),
        shuffle=str(said.get("control_shuffle") or ""),
    )


# --- windows -------------------------------------------------------------------------------------


def unscored(steps: Sequence[int]) -> str:
    """Why no windows of a schedule can be scored; '' if they can."""
    if len(steps) < MIN_SNAPSHOTS:
        return f"{len(steps)} snapshots are fewer than the {MIN_SNAPSHOTS} that a null needs"
    if math.log10(steps[-1] + 1) - math.log10(steps[0] + 1) <= WIDTH:
        return "the run's steps span no more than the half-decade of one window"
    return ""


def scored(
    pairs: PairMetrics, steps: Sequence[int], run: str, names: Sequence[str] = COMPONENTS
) -> Reorganisation | None:
    """The windows of a run scored by some pair metrics, with the run's own seed (§9.4).

    None where a metric is not known throughout, or the schedule is too short (`unscored`).
    """
    components = np.stack([getattr(pairs, name) for name in names])
    if unscored(steps) or not np.isfinite(components).all():
        return None
    return reorganisation.score_windows(components, steps, reorganisation.seed_of(run))


# --- from the store's answers --------------------------------------------------------------------


def _pairs(found: pa.Table) -> PairMetrics | None:
    if not len(found):
        return None
    return PairMetrics(**{name: _numbers(found[name]) for name in PAIR_METRICS})


def _square(store: Store, run: str, column: str) -> np.ndarray | None:
    found = store.ask(run, _SIMILARITY.replace("{column}", column))
    return _rows(found[column], len(found)) if len(found) else None


def _numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A column as float64, nan for NULL."""
    return np.array([math.nan if v is None else v for v in column.to_pylist()], dtype=np.float64)


def _rows(column: pa.ChunkedArray, width: int) -> np.ndarray:
    """A column of lists as (n, width) float64, nan for NULL."""
    rows = [[None] * width if row is None else list(row) for row in column.to_pylist()]
    return np.array([[math.nan if v is None else v for v in row] for row in rows], dtype=np.float64)


def _number(value: Any) -> float | None:
    """A number that a shared store says, if it is one."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if known and math.isfinite(value) else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
