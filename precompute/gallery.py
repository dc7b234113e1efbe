"""The gallery: prompts taken apart while a run is built, so that its page needs no language model.

Answers are those of `atlas.live`, from what the stages derived: the store that it asks is not there
yet, so `Stand` stands in for it.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from atlas.artifacts import RunFolder
from atlas.errors import AtlasError, NotFound
from atlas.gallery import ask_of, record_of
from atlas.live import explain
from atlas.reading import read_prompt
from atlas.records import RunCard
from precompute.derive import Arrays
from precompute.gallery_list import GALLERY_FILE, gallery_list
from precompute.kept import Report, canonical
from precompute.readouts import Readouts
from precompute.trial import Trial
from precompute.trust import Told, packed


@dataclasses.dataclass(frozen=True, eq=False)
class Stand:
    """What `atlas.live` asks of a store, answered from the arrays of a build."""

    folder: Path
    """The store's folder."""
    card: RunCard
    readouts: Readouts

    def pin(self) -> "Stand":
        """Itself: nothing is published meanwhile."""
        return self

    def run(self, run: str) -> RunCard:
        """The one run."""
        if run != self.card.run:
            raise NotFound(f"no run {run!r}; {self.card.run} is being built")
        return self.card

    def runs(self) -> list[RunCard]:
        """The one run."""
        return [self.card]

    def code_of_tokens(
        self, run: str, tokens: Iterable[int]
    ) -> dict[int, tuple[np.ndarray, np.ndarray]]:
        """As `Store.code_of_tokens`."""
        del run
        code = self.readouts.code
        return {t: (code.columns[part], code.values[part]) for t in tokens
                for part in (slice(code.offsets[t], code.offsets[t + 1]),)}

    def norms_of_features(self, run: str, features: Iterable[int]) -> np.ndarray:
        """As `Store.norms_of_features`."""
        del run
        return self.readouts.norms[:, np.asarray(list(features), dtype=np.int64)].T

    def standardization(self, run: str) -> tuple[np.ndarray, np.ndarray] | None:
        """As `Store.standardization`."""
        del run
        return None if self.readouts.is_prism else (self.readouts.means, self.readouts.scales)


def card_of(store: Path, folder: RunFolder, statistics: dict[str, float]) -> RunCard:
    """The card of a run that is being built; what only its file will tell is nan or empty."""
    config, unknown = folder.config, float("nan")
    return RunCard(
        run=folder.run, model=config["model"], model_name=config["model_name"],
        matrix=config["matrix"], kind=folder.kind, d_sae=config["config"]["d_sae"],
        d_model=config["config"]["d_model"], seed=config["seed"], steps=tuple(folder.steps),
        explained_variance=unknown, l0=unknown, dead_rate=unknown, legible_share=unknown,
        legible_null=unknown, n_alive=0, hash="", file="", bytes=0, sha256="",
        folder=folder.path.relative_to(store).as_posix(), config=config, metrics=folder.metrics,
        provenance=folder.provenance, created="", statistics=statistics,
    )


def gallery(
    trial: Trial, folder: RunFolder, readouts: Readouts, statistics: dict[str, float],
    report: Report,
) -> Arrays:
    """The rows of the table `gallery` as JSON, and what is told.

    Args:
        statistics: of a code that was cut (`precompute.derive.kept_of_code`).
    """
    told: Told = {"reason": trial.reason, "source": GALLERY_FILE.name}
    rows: list[Told] = []
    if trial.reason is None:
        stand = Stand(trial.store, card_of(trial.store, folder, statistics), readouts)
        try:
            rows = _rows(trial, stand, report)
            if not rows:
                told["reason"] = f"no prompt of {GALLERY_FILE.name} can be read by {trial.model}"
        except AtlasError as error:
            report(f"note: no gallery ({error})")
            told["reason"] = f"{trial.told} cannot be read"
    return {"told": np.array(canonical(told)), "gallery": packed(rows)}


def _rows(trial: Trial, stand: Stand, report: Report) -> list[Told]:
    hidden: Sequence[str] = ("final", "own") if trial.own else ("final",)
    rows: list[Told] = []
    prompts = gallery_list(trial.model)
    for entry in prompts:
        reading = read_prompt(stand, stand.card.run, entry.prompt, -1, str(trial.device))  # type: ignore[arg-type]
        for fields in entry.asks:
            for whose in hidden:
                ask = ask_of(fields)
                try:
                    found = explain(stand, reading, ask, "all", whose)  # type: ignore[arg-type]
                except AtlasError as error:
                    report(f"note: gallery: {entry.name} left out ({error})")
                    continue
                rows.append({
                    "number": len(rows), "name": entry.name, "shows": entry.shows,
                    "prompt": entry.prompt, "position": found.position, "hidden": whose,
                    "ask": canonical(dataclasses.asdict(ask)), **record_of(found),
                })
        report(f"gallery: {entry.name}")
    return rows
