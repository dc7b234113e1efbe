"""The plan of a training: what it reads, holds and multiplies, and how long it would take.

The counts are `trainer.cost`'s. Minutes on a CPU come of the speeds of `precompute.plan`; those of
an accelerator are paper arithmetic (performance.md section 4).
"""

import shlex
from dataclasses import dataclass
from pathlib import Path

from atlas.device import Device
from atlas.errors import NotFound
from atlas.inventory import ROWS, released
from atlas.places import DEMO, model_path, run_path, snapshot_path
from atlas.tensor_files import TensorFile
from precompute.plan import (
    CPU_SPEED,
    ROUGH_SPEED,
    Item,
    Plan,
    Shape,
    Stage,
    cores,
    multiplies_roughly,
)
from precompute.plan_released import ASSUMED_ROWS
from precompute.stages import STAGES
from trainer.cost import H200, NUMBER, Cost, Speed, crosscoder_cost, prism_cost
from trainer.crosscoder_recipe import PRECISIONS, CrosscoderRecipe
from trainer.demo import token_counts
from trainer.language_model import LanguageModelRecipe
from trainer.prism_recipe import PrismRecipe
from trainer.recipes import Recipe

CPU_BYTES = 10e9
"""Bytes a second of one core that reads and writes large arrays, assumed (a quiet core copied 23e9,
performance.md section 0)."""
LISTED_SHARE = 0.5
"""Of a step's products, what a CPU takes that works on lists of what fires (measured: 0.4 at
K = 8, d = 128, D = 2,048, 0.7 at the demo's shape, 0.45 for a prism of d = 512, D = 8,192)."""
FIRING = 40.0
"""Features that fire per row, assumed of a crosscoder that is not trained yet."""


@dataclass(frozen=True)
class TrainingPlan(Plan):
    """What training a recipe takes, and building what it gives."""

    recipe: Recipe | None = None
    cost: Cost | None = None
    """None of a language model."""
    device: str = "cpu"

    @property
    def here(self) -> Speed:
        """The device that the minutes are for."""
        return speed_here(self.recipe, self.device)


@dataclass(frozen=True)
class _Read:
    """What a training reads."""

    snapshots: int
    rows: int
    """V."""
    fitted: int
    """Of them, those that are trained on."""
    d_model: int
    items: tuple[Item, ...]
    notes: tuple[str, ...] = ()


def plan_training(recipe: Recipe, store: Path, device: Device | None = None) -> Plan:
    """The plan of training a recipe into a store.

    Raises:
        NotFound: neither the store nor the bundle has a language model that was to be made here.
    """
    dials = recipe.dials
    if isinstance(dials, LanguageModelRecipe):
        return TrainingPlan(
            recipe.name, store, (), (Stage("pretrain", False, _pretrain_flops(dials)),),
            disk_bytes=0, memory_bytes=int(1e9), recipe=recipe)
    name = device.name if device else "cpu"
    read = _released(recipe, store) or _trained_here(recipe, store)
    if isinstance(dials, CrosscoderRecipe):
        cost = crosscoder_cost(dials, read.snapshots, read.fitted, read.d_model)
        l0 = FIRING
    else:
        cost = prism_cost(dials, read.rows, read.d_model)
        l0 = float(dials.k)
    entry = next((e for e in released() if e.run == recipe.name), None)
    shape = Shape(read.snapshots, read.rows, read.d_model, dials.d_sae,
                  (entry.l0 if entry else None) or l0)
    seconds = cost.seconds(speed_here(recipe, name), precision_of(recipe))
    stages = (Stage("train", False, cost.total_flops, told=seconds),
              *(shape.stage(stage) for stage in STAGES))
    notes = [_how(recipe, store, entry is not None), *read.notes, recipe.note]
    return TrainingPlan(
        recipe.name, store, read.items, stages,
        shape.disk_bytes + cost.weight_bytes + cost.checkpoint_bytes,
        max(shape.memory_bytes, cost.memory(lists=name == "cpu")),
        " ".join(filter(None, notes)) or None, recipe, cost, name,
    )


def _how(recipe: Recipe, store: Path, is_released: bool) -> str:
    """How it comes to be trained."""
    if run_path(store, recipe.name).is_dir():
        return ""
    if is_released:
        return f"Not here: `readout-atlas train {recipe.name}` trains it, build fetches it."
    return "Not here: build trains it first."


def precision_of(recipe: Recipe) -> str:
    """What the large products of a recipe are rounded to."""
    return recipe.dials.precision if isinstance(recipe.dials, CrosscoderRecipe) else "float32"


def speed_here(recipe: Recipe, device: str) -> Speed:
    """The speeds of this CPU, or of the accelerator that performance.md reckons with."""
    if device != "cpu":
        return H200
    n, rough = cores(), ROUGH_SPEED if multiplies_roughly() else CPU_SPEED
    dials = recipe.dials
    lists = dials.activation == "jumprelu" if isinstance(dials, CrosscoderRecipe) else True
    speeds = {"float32": CPU_SPEED, "tf32": CPU_SPEED, "bfloat16": rough}
    return Speed(f"{n} CPU cores", {name: n * speeds[name] for name in PRECISIONS}, n * CPU_BYTES,
                 share=LISTED_SHARE if lists else 1.0)


# --- what it reads -------------------------------------------------------------------------------


def _released(recipe: Recipe, store: Path) -> _Read | None:
    """Of a model of the inventory; None of others."""
    dials, notes = recipe.dials, []
    entry = next((e for e in released() if e.model_name == recipe.model_name), None)
    if entry is None:
        return None
    rows, d_model = ROWS.get(recipe.model_name, (ASSUMED_ROWS, entry.d_model))
    if recipe.model_name not in ROWS:
        notes.append(f"The vocabulary is not known beforehand; {rows:,} rows assumed.")
    if isinstance(dials, PrismRecipe):
        item = Item(f"W_U of {recipe.model_name} and the model, for its hidden states", None, False)
        return _Read(1, rows, rows, d_model, (item,), tuple(notes))
    what = f"of {dials.matrix} of {recipe.model_name}"
    size = NUMBER * rows * d_model
    here = sum(snapshot_path(store, recipe.model_name, step, dials.matrix).is_file()
               for step in recipe.schedule)
    counts = ((here, True, "store"), (len(recipe.schedule) - here, False, ""))
    items = tuple(Item(f"{n} snapshot{'s' * (n > 1)} {what}", n * size, is_here, place)
                  for n, is_here, place in counts if n)
    return _Read(len(recipe.schedule), rows, rows, d_model, items, tuple(notes))


def _trained_here(recipe: Recipe, store: Path) -> _Read:
    """Of a model of the store, else of the bundle."""
    dials = recipe.dials
    home = store if model_path(store, dials.model).is_dir() else DEMO
    slug = recipe.model_name.replace("/", "_")
    paths = sorted((home / "snapshots").glob(f"{slug}_step*_wu.safetensors"))
    if not paths or not model_path(home, dials.model).is_dir():
        raise NotFound(
            f"{home} holds no language model {dials.model}; train it with "
            f"`readout-atlas train models/{dials.model} --store {shlex.quote(str(home))}`"
        )
    rows, d_model = TensorFile(paths[0]).shape("W_U")
    if isinstance(dials, PrismRecipe):
        return _Read(1, rows, rows, d_model, ())
    fitted = rows
    if dials.min_count:
        fitted = int((token_counts(home, dials.model) >= dials.min_count).sum())
    n = len(recipe.schedule) if recipe.schedule else len(paths)
    return _Read(n, rows, fitted, d_model, ())


def _pretrain_flops(dials: LanguageModelRecipe) -> float:
    """6 operations per weight and token, of body and head."""
    weights = 12 * dials.layers * dials.hidden_size**2 + dials.vocabulary * dials.hidden_size
    return 6.0 * weights * dials.steps * dials.batch * dials.context
