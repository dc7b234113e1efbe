"""The shuffled-row control of a crosscoder: its own recipe on rows that have no history.

At every snapshot but the first the rows are dealt out among the tokens anew. Each snapshot keeps
exactly its rows (lengths, spectrum, density), no token keeps its past. What such a run still shows
of births and turns comes from the method and from the snapshots' sizes, not from features that
live. The layout of the two files is `atlas.turnover`'s.

All figures are of the rows that are fitted. On rows it has never seen a dictionary that learnt
nothing still fires: the demo's control has 7 live features on its own rows, and 191 more, with the
directions they were initialised with and so all born at step 0, that fire on rare tokens alone.
"""

import dataclasses
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from atlas import geometry, lifecycle
from atlas.artifacts import RunFolder, load_snapshots, snapshot_path
from atlas.codes import crosscoder_code
from atlas.crosscoder import DEAD_RATE, Crosscoder, Quality, quality, standardize
from atlas.errors import InvalidValue, NotFound
from atlas.tensor_files import read_json, round_rows, save_tensors, sha256, write_json
from atlas.turnover import CONTROL, CONTROL_FACTS
from trainer.crosscoder import train_crosscoder
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.demo import Report, token_counts

SHUFFLE = (
    "at every snapshot but the first the rows that are fitted are dealt out anew among their "
    "tokens, by a permutation of its own; all figures are of these rows"
)


def shuffled(x: Tensor, fitted: Tensor, seed: int) -> Tensor:
    """Rows x (K, V, d) in another order at every snapshot but the first.

    Rows that are fitted, (V,) bool, stay among the fitted: the dictionary sees the same rows.
    """
    generator = torch.Generator().manual_seed(seed)
    groups = [mask.nonzero()[:, 0] for mask in (fitted, ~fitted)]
    dealt = x.clone()
    for k in range(1, len(x)):
        for tokens in groups:
            dealt[k, tokens] = x[k, tokens[torch.randperm(len(tokens), generator=generator)]]
    return dealt


@dataclass(frozen=True, eq=False)
class Courses:
    """What a dictionary's features do over the snapshots; named as in `atlas.turnover`."""

    norms: np.ndarray
    """(K, D)."""
    rates: np.ndarray
    """(K, D), share of all rows on which a feature fires; rows that are not fitted do not count."""
    rotation: np.ndarray
    """(K - 1, D), nan without a direction."""
    to_terminal: np.ndarray
    """(K, D), nan without a direction."""
    floor: np.ndarray
    """(D,), inf for a feature that never fires."""

    def births(self) -> tuple[np.ndarray, np.ndarray]:
        """Births at each snapshot (K,), naive and after the noise floor is taken off.

        Of features that fire, as the store counts them.
        """
        count = len(self.norms)
        alive = self.rates.mean(axis=0) > DEAD_RATE
        naive = lifecycle.births_and_deaths(self.norms)[0]
        corrected = lifecycle.floor_corrected_births(self.norms, self.floor)
        naive, corrected = (
            np.bincount(at[alive], minlength=count + 1)[:count] for at in (naive, corrected)
        )
        return naive, corrected


def courses(c: Crosscoder, x: Tensor, n_rows: int) -> Courses:
    """Courses of the features of a dictionary over its fitted rows x (K, n, d), of n_rows in all.
    """
    code, rates = crosscoder_code(c, x)
    return Courses(
        c.norms.numpy(), rates * x.shape[1] / n_rows, geometry.rotation(c.W_D).numpy(),
        geometry.direction_to_terminal(c.W_D).numpy(), geometry.noise_floor(code, c.d_model),
    )


def recipe_of(folder: RunFolder) -> CrosscoderRecipe:
    """The recipe a run was trained by here.

    Raises:
        InvalidValue: it is no crosscoder over several snapshots, or was not trained here.
    """
    run = folder.run
    several = "name a crosscoder of several snapshots; `readout-atlas runs` lists them"
    if folder.kind == "prism":
        raise InvalidValue(f"{run} is a prism: it has one snapshot and no history to break; "
                           f"{several}")
    if len(folder.steps) < 2:
        raise InvalidValue(f"{run} has one snapshot and no history to break; {several}")
    known = {f.name for f in dataclasses.fields(CrosscoderRecipe)}
    training = folder.config["training"]
    if "origin" in folder.config or not {"model", "matrix", "d_sae", "learning_rate"} <= (
        set(training) & known
    ) or not set(training) <= known:
        raise InvalidValue(
            f"{run} was not trained here and its recipe is not known whole, so no control can be "
            f"trained alike; train one of your own with `readout-atlas train RECIPE` and control "
            f"that"
        )
    return CrosscoderRecipe(**training)


def fitted_rows(store: Path, recipe: CrosscoderRecipe, n_rows: int) -> Tensor:
    """Rows that a recipe fits a dictionary to, (V,) bool: those of tokens seen often enough."""
    if not recipe.min_count:
        return torch.ones(n_rows, dtype=torch.bool)
    return token_counts(store, recipe.model) >= recipe.min_count


def read_facts(folder: RunFolder) -> dict[str, Any] | None:
    """What is recorded of a control that is there and whole; None without one."""
    facts, tensors = folder.path / CONTROL_FACTS, folder.path / CONTROL
    if not (facts.is_file() and tensors.is_file()):
        return None
    found = read_json(facts)
    return found if found.get("courses") == sha256(tensors) else None


def train_control(
    store: Path, folder: RunFolder, report: Report, seed: int = 0, epochs: int | None = None,
    force: bool = False,
) -> dict[str, Any]:
    """Train the control of a run into its folder; does nothing if this very one is there.

    Args:
        store: folder of the run's snapshots.
        folder: the run.
        report: receives lines of progress.
        seed: of the permutations; initialisation and order of the rows are those of the run.
        epochs: passes over the rows, those of the run when None.
        force: train it anew.

    Returns:
        The facts: those `atlas.turnover` names, and what it was trained from.

    Raises:
        InvalidValue: as `recipe_of`. NotFound: a snapshot is not there. Diverged: as training.
    """
    recipe = recipe_of(folder)
    recipe = dataclasses.replace(recipe, epochs=recipe.epochs if epochs is None else epochs)
    name, matrix = folder.config["model_name"], recipe.matrix
    files = [snapshot_path(store, name, step, matrix) for step in folder.steps]
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise NotFound(
            f"{missing[0]} is not there ({len(missing)} of {len(files)} snapshots missing); "
            f"`readout-atlas build {folder.run}` fetches or trains them"
        )
    wanted = {
        "seed": seed, "training": dataclasses.asdict(recipe),
        "inputs": {file.relative_to(store).as_posix(): sha256(file) for file in files},
    }
    facts = None if force else read_facts(folder)
    if facts is not None and all(facts.get(key) == value for key, value in wanted.items()):
        report("the control is there, nothing to do")
        return facts
    x = standardize(load_snapshots(store, name, folder.steps, matrix))[1]
    fitted = fitted_rows(store, recipe, x.shape[1])
    report(f"training the control on {int(fitted.sum())} of {len(fitted)} rows, shuffled")
    rows = shuffled(x, fitted, seed)[:, fitted]
    began = time.monotonic()
    trained = as_written(train_crosscoder(rows, recipe, report))
    seconds = time.monotonic() - began
    found = courses(trained, rows, len(fitted))
    return write_control(folder, found, quality(trained, rows), wanted | {
        "rows": [int(fitted.sum()), len(fitted)],
        "epochs_of_run": folder.config["training"].get("epochs", recipe.epochs),
        "seconds": round(seconds, 1), "versions": {"torch": version("torch")},
    })


def as_written(c: Crosscoder) -> Crosscoder:
    """A dictionary as it is read again from a folder, its weights rounded (`demo.train`)."""
    def rounded(weights: Tensor) -> Tensor:
        values, scale = round_rows(weights)
        return values.float() * scale.unsqueeze(-1)

    return dataclasses.replace(c, W_E=rounded(c.W_E), W_D=rounded(c.W_D))


def write_control(
    folder: RunFolder, found: Courses, measured: Quality, more: dict[str, Any]
) -> dict[str, Any]:
    """Write both files, the facts last: a control without them is not finished."""
    (folder.path / CONTROL_FACTS).unlink(missing_ok=True)
    save_tensors(folder.path / CONTROL, {
        f.name: torch.from_numpy(np.asarray(getattr(found, f.name), dtype=np.float32))
        for f in dataclasses.fields(found)
    })
    facts = more | {
        "explained_variance": measured.explained_variance, "l0": measured.l0,
        "dead_rate": measured.dead_rate,
        "n_alive": int((found.rates.mean(axis=0) > DEAD_RATE).sum()),
        "shuffle": SHUFFLE + (
            "" if more["training"]["epochs"] == more["epochs_of_run"] else
            f"; trained for {more['training']['epochs']} passes, the run for "
            f"{more['epochs_of_run']}"
        ),
        "courses": sha256(folder.path / CONTROL),
    }
    write_json(folder.path / CONTROL_FACTS, facts)
    return facts
