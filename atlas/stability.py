"""In how many seeds a feature returns, how well, and which features all seeds share.

Counted when the store lists its runs, from `readout-atlas match`: a feature has returned in a seed
if each is the other's best and hardly any feature (1 in 100) of like chances does as well in the
null. Groups join such pairs over all seeds, one feature of each at most (`atlas.consensus`).
"""

import math
from dataclasses import dataclass

import numpy as np

from atlas.matches import WAYS
from atlas.store import Store

BY_CHANCE = 0.01
"""Share of seeds in which a feature returns at most if the seeds have nothing in common."""

_OF = """
    SELECT way, compared, returned, score, number, size FROM catalog.stability
    WHERE run = $name AND feature = $feature"""
_COLUMNS = """
    SELECT feature, compared, returned, score, number, size FROM catalog.stability
    WHERE run = $name AND way = $way ORDER BY feature"""
_GROUPS = """
    SELECT number, run, feature, size, seeds, score, pairs FROM catalog.seed_group
    WHERE way = $way AND family IN (
        SELECT family FROM catalog.seed_group WHERE run = $name LIMIT 1)
    ORDER BY number, run"""


@dataclass(frozen=True)
class Stability:
    """What other seeds say of a feature, in one way of comparing."""

    way: str
    """One of `atlas.matches.WAYS`."""
    compared: int
    """Other seeds it was compared with."""
    returned: int
    """Of them, seeds in which it returned."""
    score: float
    """Mean score over the seeds where each is the other's best; nan if in none."""
    number: int | None
    """Its group over all seeds; None without one."""
    size: int
    """Seeds in that group, its own included; 1 without one."""


@dataclass(frozen=True, eq=False)
class StabilityColumns:
    """What other seeds say of every feature of a run; every array (D,)."""

    compared: np.ndarray
    """int32; 0 for a feature that never fires."""
    returned: np.ndarray
    """int32."""
    score: np.ndarray
    """float32, nan without a seed where each is the other's best."""
    number: np.ndarray
    """int32 group, -1 without one."""
    size: np.ndarray
    """int32 seeds in it, 1 without one."""


@dataclass(frozen=True)
class SeedGroup:
    """A feature that several seeds share."""

    number: int
    members: tuple[tuple[str, int], ...]
    """(run, feature), one of each seed at most, by run."""
    seeds: int
    """Seeds there are."""
    score: float
    """Mean score of the pairs that found each other in it."""
    pairs: int
    """Number of such pairs; n (n - 1) / 2 when every two did."""

    @property
    def size(self) -> int:
        """Seeds that have it."""
        return len(self.members)


def stability_of(store: Store, run: str, feature: int) -> tuple[Stability, ...]:
    """What other seeds say of a feature, in the order of `WAYS`; empty without other seeds.

    Raises:
        NotFound, BrokenArtifact: the run is not there or cannot be read.
    """
    rows = store.ask(run, _OF, name=run, feature=feature).to_pylist()
    found = {row["way"]: Stability(**row | {"score": _score(row["score"])}) for row in rows}
    return tuple(found[way] for way in WAYS if way in found)


def _score(value: float | None) -> float:
    return math.nan if value is None else value


def stability_columns(store: Store, run: str, way: str) -> StabilityColumns | None:
    """What other seeds say of every feature; None if no other seed was matched in that way."""
    table = store.ask(run, _COLUMNS, name=run, way=way)
    if not len(table):
        return None
    size, place = store.run(run).d_sae, table["feature"].to_numpy()

    def column(name: str, kind: type, without: float) -> np.ndarray:
        full = np.full(size, without, kind)
        values = table[name].to_numpy().astype(np.float64)
        full[place] = np.where(np.isnan(values), without, values)
        full.flags.writeable = False
        return full

    return StabilityColumns(
        column("compared", np.int32, 0), column("returned", np.int32, 0),
        column("score", np.float32, math.nan), column("number", np.int32, -1),
        column("size", np.int32, 1),
    )


def groups_of(store: Store, run: str, way: str = "trajectory") -> tuple[SeedGroup, ...]:
    """The features that the seeds of a run share, those of most seeds first."""
    found: dict[int, list[dict]] = {}
    for row in store.ask(run, _GROUPS, name=run, way=way).to_pylist():
        found.setdefault(row["number"], []).append(row)
    return tuple(
        SeedGroup(number, tuple((row["run"], row["feature"]) for row in rows), rows[0]["seeds"],
                  rows[0]["score"], rows[0]["pairs"])
        for number, rows in found.items()
    )


def group_of(
    store: Store, run: str, feature: int, way: str = "trajectory"
) -> SeedGroup | None:
    """The group that a feature is in; None without one."""
    return next((group for group in groups_of(store, run, way) if (run, feature) in group.members),
                None)
