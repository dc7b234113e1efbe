"""Recompute the quality of a run from its weights and its snapshots, beside what is recorded.

The canonical figures are crosscoder-method §6.2 (rowEV over all rows for a prism), the training
figures §6.1, whose value depends on the batch (a prism's trainer looks at its first 20,000 rows).
"""

from dataclasses import dataclass
from typing import Any

from atlas.artifacts import load_snapshot, load_snapshots, read_crosscoder, read_prism, read_run
from atlas.crosscoder import quality, standardize, training_quality
from atlas.errors import BrokenArtifact
from atlas.prism import normalise_rows
from atlas.prism import quality as prism_quality
from atlas.tensor_files import sha256
from precompute.locate import Located

TOLERANCE = 1e-3
"""Absolute for explained variance and dead share, relative for L0."""
FIGURES = ("explained_variance", "l0", "dead_rate")
PRISM_ROWS = 20_000
"""Rows that the released prism trainer measures on (prism-method §14, trap 12)."""


@dataclass(frozen=True)
class Verification:
    """Figures of one run, recomputed and recorded."""

    run: str
    canonical: dict[str, float]
    training: dict[str, float]
    recorded: dict[str, float]
    """From `metrics.json`, canonical."""
    changed: tuple[str, ...]
    """Files whose hash is not the one that provenance recorded."""

    @property
    def off(self) -> tuple[str, ...]:
        """Names of the canonical figures that are out of tolerance."""
        return tuple(name for name in FIGURES if not self._agrees(name))

    def _agrees(self, name: str) -> bool:
        unit = max(1.0, abs(self.recorded[name])) if name == "l0" else 1.0
        return abs(self.canonical[name] - self.recorded[name]) <= TOLERANCE * unit

    @property
    def within_tolerance(self) -> bool:
        """Whether every canonical figure is reproduced."""
        return not self.off


def verify(located: Located) -> Verification:
    """Recompute the figures of a run.

    Raises:
        NotFound: the run folder or a snapshot is not there.
        BrokenArtifact: a part of it is damaged or lacks a recorded figure.
    """
    folder = read_run(located.folder)
    name, matrix, settings = (folder.config[k] for k in ("model_name", "matrix", "training"))
    missing = [figure for figure in FIGURES if figure not in folder.metrics]
    if missing:
        raise BrokenArtifact(f"{folder.path / 'metrics.json'} has no figure {', '.join(missing)}")
    if folder.kind == "prism":
        prism = read_prism(folder)
        raw = load_snapshot(located.store, name, folder.steps[-1], matrix)
        x, _, _ = normalise_rows(raw, prism.row_mean)
        canonical, training = prism_quality(prism, x), prism_quality(prism, x[:PRISM_ROWS])
    else:
        crosscoder = read_crosscoder(folder)
        _, x = standardize(load_snapshots(located.store, name, folder.steps, matrix))
        canonical = quality(crosscoder, x)
        training = training_quality(crosscoder, x, batch=settings.get("batch", 1024))
    return Verification(
        run=located.run,
        canonical=_figures(canonical),
        training=_figures(training),
        recorded={figure: float(folder.metrics[figure]) for figure in FIGURES},
        changed=_changed(located, folder.provenance),
    )


def _figures(measured: Any) -> dict[str, float]:
    return {figure: float(getattr(measured, figure)) for figure in FIGURES}


def _changed(located: Located, provenance: dict[str, Any]) -> tuple[str, ...]:
    recorded = {located.store / path: want for path, want in provenance.get("inputs", {}).items()}
    if "weights" in provenance:
        recorded[located.folder / "dictionary.safetensors"] = provenance["weights"]
    return tuple(
        str(path) for path, want in recorded.items() if not path.is_file() or sha256(path) != want
    )
