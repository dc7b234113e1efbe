"""The instruments themselves: every released figure and every run of the store as one point each.

A figure of the release is what its card prints (crosscoder-method §6.4, prism-method §4.2); a run
of the store has what was measured here: the canonical EV and L0 (§6.2), for a prism the rowEV of
its unit rows, and top-1 and KL over the whole vocabulary where they were measured.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from atlas.comparing import family as family_of
from atlas.comparing import is_matched
from atlas.inventory import Released, released
from atlas.records import RunCard
from atlas.store import Store

BY = {"raw": "L0", "width": "L0 over width", "live": "L0 over live features"}
"""What the plane lays L0 out by, and words for it."""
TRAJECTORY, ARCHITECTURE, LAMBDA = "trajectory", "architecture", "lambda sweep"
PER_SNAPSHOT, FINAL, PRISM = "per-snapshot SAE", "final-snapshot SAE", "prism"
GROUPS = (TRAJECTORY, ARCHITECTURE, LAMBDA, PER_SNAPSHOT, FINAL, PRISM)

_TRUST = """
    SELECT kl_bits, top1 FROM {run}.vocabulary_fidelity
    WHERE method = 'dictionary' AND hidden = 'final' ORDER BY k DESC LIMIT 1"""


@dataclass(frozen=True)
class Point:
    """One figure: of the release, or of a run of the store."""

    run: str
    model: str
    matrix: str
    group: str
    """One of `GROUPS`."""
    architecture: str
    """`jumprelu`, `batchtopk`, `gated`, `gated-retuned`, `topk` …"""
    here: bool
    """Of a run of the store; else of the release."""
    width: int
    """Features."""
    snapshots: int
    seed: int
    ev: float
    """Explained variance; of a prism its rowEV. nan where none is printed."""
    l0: float
    """Features that fire on a row and snapshot; of a prism its k."""
    alive: int | None
    """Live features; None for a released figure, whose card does not say."""
    top1: float
    """Prisms only; nan where not printed or not measured."""
    kl: float
    """Likewise, in bits."""
    penalty: float
    """λ of the sweep; nan outside it."""
    step: int | None
    """Of an SAE of one snapshot."""
    matched: bool
    """Trained on a later part of the schedule."""
    k: int | None
    """A prism's budget."""

    @property
    def family(self) -> str:
        """Of its language model."""
        return family_of(self.model)

    @property
    def is_prism(self) -> bool:
        """Whether it belongs with rowEV, top-1 and KL instead of EV and L0."""
        return self.group == PRISM

    def along(self, by: str) -> float:
        """Where it lies in the plane: L0, L0 over width, or L0 over live features.

        A released card does not say how many features live: over width, which is no more.
        """
        if by == "raw":
            return self.l0
        return self.l0 / (self.alive if by == "live" and self.alive else self.width)


def points(store: Store | None = None) -> tuple[Point, ...]:
    """All 87 released figures and every run of the store that can be read."""
    found = [_released(entry) for entry in released()]
    if store is not None:
        found += [_here(store, card) for card in store.runs() if card.problem is None]
    return tuple(found)


def chosen(found: Sequence[Point], family: str | None) -> tuple[Point, ...]:
    """Those of a family of language models; None keeps all."""
    return tuple(point for point in found if family in (None, point.family))


def families(found: Sequence[Point]) -> list[str]:
    """The families of the points, in order."""
    return sorted({point.family for point in found})


def both(found: Sequence[Point]) -> list[tuple[Point, Point]]:
    """Released figure and ours of every run that has both."""
    ours = {point.run: point for point in found if point.here}
    return [(p, ours[p.run]) for p in found if not p.here and p.run in ours]


def _released(entry: Released) -> Point:
    group, architecture, penalty, step = _place(entry.run, entry.kind, entry.n_snapshots)
    return Point(
        entry.run, entry.model, entry.matrix, group, architecture, False, entry.d_sae,
        entry.n_snapshots, entry.seed, _number(entry.explained_variance), _number(entry.l0), None,
        _number(entry.top1_match), _number(entry.kl_bits), penalty, step,
        "matched-window" in entry.run, entry.k,
    )


def _here(store: Store, card: RunCard) -> Point:
    group, architecture, penalty, step = _place(card.run, card.kind, len(card.steps))
    config = card.config.get("config") or {}
    named = config.get("act_fn") or config.get("arch")
    if named and architecture in ("jumprelu", "topk"):
        architecture = str(named)
    if group == TRAJECTORY and architecture != "jumprelu":
        group = ARCHITECTURE
    top1 = kl = math.nan
    if card.kind == "prism":
        rows = store.ask(card.run, _TRUST).to_pylist()
        if rows:
            top1, kl = _number(rows[0]["top1"]), _number(rows[0]["kl_bits"])
    return Point(
        card.run, card.model, card.matrix, group, architecture, True, card.d_sae,
        len(card.steps), card.seed, card.explained_variance, card.l0, card.n_alive, top1, kl,
        penalty, card.steps[0] if step is None and group in (PER_SNAPSHOT, FINAL) else step,
        is_matched(card), config.get("k"),
    )


def _place(run: str, kind: str, snapshots: int) -> tuple[str, str, float, int | None]:
    """Group, architecture, λ and step, as the path of a run says them (§5.1)."""
    if kind == "prism":
        return PRISM, "topk", math.nan, None
    if found := re.search(r"/lambda-sweep/.*?lam(\d+)p(\d+)", run):
        return LAMBDA, "jumprelu", float(f"{found[1]}.{found[2]}"), None
    if found := re.search(r"/architecture-comparison/[^/]+/([^/]+)", run):
        return ARCHITECTURE, found[1], math.nan, None
    if found := re.search(r"/per-snapshot-saes/.*?step(\d+)", run):
        return PER_SNAPSHOT, "jumprelu", math.nan, int(found[1])
    if "/final-snapshot-saes/" in run:
        return FINAL, "jumprelu", math.nan, None
    return (PER_SNAPSHOT if kind == "sae" or snapshots < 2 else TRAJECTORY), "jumprelu", (
        math.nan), None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


# --- as tables ------------------------------------------------------------------------------------


def plane_table(found: Sequence[Point], by: str = "raw") -> pd.DataFrame:
    """One row per trajectory, SAE or other crosscoder."""
    return pd.DataFrame([
        {"run": p.run, "of": "this store" if p.here else "the release", "group": p.group,
         "model": p.model, "matrix": p.matrix, "architecture": p.architecture,
         "features": p.width, "snapshots": p.snapshots, "seed": p.seed, "lambda": p.penalty,
         "step": p.step, "EV": p.ev, "L0": p.l0, "live features": p.alive,
         **({BY[by]: p.along(by)} if by != "raw" else {})}
        for p in found if not p.is_prism
    ])


def prism_table(found: Sequence[Point]) -> pd.DataFrame:
    """One row per prism."""
    return pd.DataFrame([
        {"run": p.run, "of": "this store" if p.here else "the release", "model": p.model,
         "features": p.width, "k": p.k, "rowEV": p.ev, "top-1": p.top1, "KL, bits": p.kl}
        for p in found if p.is_prism
    ])


def snapshot_table(found: Sequence[Point], courses: pd.DataFrame) -> pd.DataFrame:
    """EV and L0 by step: SAEs of one snapshot each, and runs of the store at every snapshot.

    Args:
        courses: of `Store.fidelity`.
    """
    single = [
        {"run": p.run, "of": "this store" if p.here else "the release", "step": p.step,
         "EV": p.ev, "L0": p.l0}
        for p in sorted(found, key=lambda p: p.step or 0) if p.group == PER_SNAPSHOT and not p.here
    ]
    ours = {p.run for p in found if p.here and not p.is_prism}
    whole = [
        {"run": row.run, "of": "this store", "step": row.step, "EV": row.explained_variance,
         "L0": row.l0}
        for row in courses.itertuples() if row.run in ours
    ]
    return pd.DataFrame([*single, *whole], columns=["run", "of", "step", "EV", "L0"])
