"""Snapshots that lie between those of a run and were not trained on: how well is each rebuilt?

They are what happens to be in the store's folder, taken from other runs of the model: no run needs
them, and none is stale because one came. From crosscoder-method §12.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from atlas import dense, lifecycle
from atlas.artifacts import RunFolder, snapshot_path
from atlas.dense import Head, Place
from atlas.tensor_files import TensorFile
from precompute.derive import Arrays
from precompute.passes import moments
from precompute.sources import Dictionary, Snapshots, Source

MOST = 16
"""Snapshots that are rebuilt; of more, so many evenly spread."""
ROWS = 2048
"""Rows that are rebuilt of each: their pre-activations are as much work as a block of `encode`."""


def held_out_files(store: Path, folder: RunFolder) -> dict[int, Path]:
    """Snapshots of the run's model and matrix between its own, by step, at most `MOST`."""
    if folder.kind != "crosscoder" or len(folder.steps) < 2:
        return {}
    name, matrix = folder.config["model_name"], folder.config["matrix"]
    pattern = snapshot_path(store, name, 0, matrix).name.replace("step0", r"step(\d{1,12})")
    first, last = folder.steps[0], folder.steps[-1]
    found = {}
    for path in (store / "snapshots").glob("*.safetensors"):
        match = re.fullmatch(pattern.replace(".", r"\."), path.name)
        if match and first < int(match[1]) < last and int(match[1]) not in folder.steps:
            found[int(match[1])] = path
    steps = sorted(found)
    places = np.linspace(0, len(steps) - 1, MOST).round().astype(int)
    kept = [steps[i] for i in places] if len(steps) > MOST else steps
    return {step: found[step] for step in kept}


def held_out(
    store: Path, folder: RunFolder, source: Source, snapshots: Snapshots, mean: np.ndarray,
    scale: np.ndarray, hashes: dict[int, str],
) -> Arrays:
    """The columns of the table `held_out`, `held_…`; {} where there is nothing to rebuild.

    Only of jumprelu: a batchtopk budget is shared by the rows of a batch, of which these are few.

    Args:
        mean, scale: (K, d) and (K,) of the run's own snapshots.
        hashes: of the files, by step.
    """
    if not hashes or not isinstance(source, Dictionary) or source.act_fn != "jumprelu":
        return {}
    others = Snapshots(store, replace(folder, config=folder.config | {"steps": list(hashes)}))
    if (others.n_rows, others.width) != (snapshots.n_rows, snapshots.width):
        return {}
    work = _Rebuilding(source, snapshots, folder.steps, mean, scale)
    rows = [work.rebuilt(others, k, step) for k, step in enumerate(hashes)]
    found = {f"held_{name}": np.array([row[name] for row in rows]) for name in rows[0]}
    return found | {"held_sha256": np.array(list(hashes.values()))}


class _Rebuilding:
    """What all held-out snapshots share: the joint pre-activations of some rows."""

    def __init__(
        self, source: Dictionary, snapshots: Snapshots, steps: Sequence[int], mean: np.ndarray,
        scale: np.ndarray,
    ) -> None:
        self.source, self.steps = source, steps
        self.snapshots = snapshots
        count = min(ROWS, snapshots.n_rows)
        self.chosen = np.linspace(0, snapshots.n_rows - 1, count).round().astype(int)
        self.threshold = source.threshold.numpy()
        file = TensorFile(source.path)
        self.biases, self.offsets = file.read("b_E").numpy(), source.b_D.numpy()
        self.joint = np.zeros((count, source.n_features), dtype=np.float32)
        for k in range(len(steps)):
            x = (self._raw(k) - mean[k]) / np.float32(scale[k])
            self.joint += x @ source.encoder(k).numpy()
        self.joint += source.bias.numpy()

    def _raw(self, k: int) -> np.ndarray:
        """The chosen raw rows of one of the run's own snapshots."""
        return self.snapshots.rows(k).numpy()[self.chosen]

    def _head(self, k: int) -> Head:
        return Head(self.source.encoder(k).numpy(), self.biases[k],
                    self.source.directions(k).numpy(), self.offsets[k])

    def rebuilt(self, others: Snapshots, number: int, step: int) -> dict[str, float]:
        """One held-out snapshot: through its own head, the nearest, and without a dictionary."""
        place = dense.held_out_place(step, self.steps)
        whole = others.rows(number)
        mean, scale = moments(whole)
        raw = whole.numpy()[self.chosen]
        x = ((raw - mean) / scale).astype(np.float32)
        before, after = self._head(place.before), self._head(place.after)

        def through(head: Head) -> tuple[np.ndarray, float]:
            found, l0 = dense.rebuild(self.joint, x, head, self.threshold)
            return found * scale + mean, l0

        own, l0 = through(dense.between(before, after, place.alpha))
        nearest, _ = through(before if place.nearest == place.before else after)
        return {
            "step": step, "before": self.steps[place.before], "after": self.steps[place.after],
            "alpha": place.alpha, "n_rows": len(raw), "l0": l0,
            "explained_variance": dense.explained(raw, own, mean),
            "explained_raw": dense.explained_raw(raw, own),
            "nearest": dense.explained(raw, nearest, mean),
            "between": dense.explained(raw, self._mixed(place), mean),
            "endpoints": dense.explained(raw, self._along(step), mean),
        }

    def _mixed(self, place: Place) -> np.ndarray:
        return (1 - place.alpha) * self._raw(place.before) + place.alpha * self._raw(place.after)

    def _along(self, step: int) -> np.ndarray:
        """The rows on their way from first to last, as far as log time has gone."""
        ends = self.steps[0], step, self.steps[-1]
        gone = float(lifecycle.tau(ends)[1])
        return (1 - gone) * self._raw(0) + gone * self._raw(len(self.steps) - 1)
