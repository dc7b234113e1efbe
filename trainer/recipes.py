"""Recipes by name: from a run id to everything that its training needs.

The files lie under `data/recipes/`, one per family of runs (`trainer.recipe_files`). Runs of one
file differ only in what their id says. Changing a dial on the command line gives a run id of its
own, so that a trial never overwrites a run of record.
"""

import difflib
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atlas.errors import AtlasError, InvalidValue, NotFound
from atlas.inventory import ROWS as MODELS
from atlas.inventory import released
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.language_model import LanguageModelRecipe
from trainer.prism_recipe import PrismRecipe
from trainer.recipe_files import (
    PREPROCESSING,
    RecipeFile,
    dial_types,
    from_json,
    from_text,
    nearest,
    parts_of,
    read_recipe_file,
    recipe_files,
    width_of,
    written,
)

Dials = LanguageModelRecipe | CrosscoderRecipe | PrismRecipe


@dataclass(frozen=True)
class Recipe:
    """One thing to train."""

    name: str
    """Run id of a dictionary, or `models/<label>` of a language model."""
    kind: str
    dials: Dials
    model_name: str | None = None
    """Id of the language model on the hub, or `readout-atlas/<label>` of one that is trained here;
    None of a language model."""
    schedule: tuple[int, ...] | None = None
    """Steps of the snapshots; None for all that the model's folder tells of, and of a prism for the
    finished model."""
    preprocessing: str | None = None
    """`center_scale` of crosscoders and SAEs, `center_normalise` of prisms."""
    chosen: dict[str, str] = field(default_factory=dict)
    """Dial or aspect whose value the references do not tell -> why this one was taken."""
    note: str = ""
    file: Path | None = None


def names() -> list[str]:
    """Every name that `resolve` knows, in the order of the files."""
    return [run for file in recipe_files() for run in file.runs]


def resolve(name: str, overrides: dict[str, str] | None = None) -> Recipe:
    """The recipe of a run id, or of a recipe file given by its path.

    Args:
        name: run id, released path, `models/<label>`, or a path to a recipe file (its first run).
        overrides: dial -> text, as typed after `--set`.

    Raises:
        NotFound: no recipe has that name; the nearest are told.
        InvalidValue: an unknown dial, a value that its type does not take, one that cannot be, a
            schedule or matrix that is not the id's.
    """
    file, run = _find(name)
    changed = _changed(file, run, overrides or {})
    told, rest = written(file, run, changed)
    dials = _made(file, told, changed)
    if told != run and not rest and _is_another(told, dials):
        rest = changed
    schedule, model_name = _schedule(file, told), _model_name(file, dials)
    _check_id(file, told, dials, schedule)
    if isinstance(dials, CrosscoderRecipe) and schedule is None and model_name in MODELS:
        raise InvalidValue(f"{file.where}: {model_name} keeps more steps than any run reads; say "
                           "which with a schedule")
    return Recipe(
        told + (f"-{_digest(rest)}" if rest else ""), file.kind, dials,
        model_name, schedule, PREPROCESSING.get(file.kind),
        {k: reason for k, reason in file.chosen.items() if k not in changed}, file.note, file.path,
    )


def _find(name: str) -> tuple[RecipeFile, str]:
    as_file = Path(name)
    if as_file.suffix == ".json" and as_file.is_file():
        file = read_recipe_file(as_file)
        return file, file.runs[0]
    run = name.strip("/").removesuffix("/checkpoint.pt").removesuffix(".safetensors")
    files = recipe_files()
    for file in files:
        if run in file.runs:
            return file, run
    known = [known for file in files for known in file.runs]
    near = difflib.get_close_matches(run, known, n=3, cutoff=0.4)
    hint = f"nearest: {', '.join(near)}" if near else (
        "`readout-atlas runs --inventory` lists the released ones, data/recipes holds all")
    raise NotFound(f"no recipe is called {name[:120]!r}; {hint}")


def _changed(file: RecipeFile, run: str, overrides: dict[str, str]) -> dict[str, Any]:
    """Dials that the overrides move away from what the file and the id say."""
    known = dial_types(file.made)
    for key in overrides:
        if key not in known:
            raise InvalidValue(f"no dial is called {key!r}; {nearest(key, known)}")
    values = {key: from_text(known[key], key, text) for key, text in overrides.items()}
    before = _made(file, run, {}) if values else None
    return {key: value for key, value in values.items() if getattr(before, key) != value}


def _made(file: RecipeFile, run: str, changed: dict[str, Any]) -> Dials:
    """The dials of a run: of the file, then of the id, then what was changed."""
    known, where = dial_types(file.made), file.where
    for key in file.dials:
        if key not in known:
            raise InvalidValue(f"{where}: no dial is called {key!r}; {nearest(key, known)}")
    dials = {k: from_json(known[k], k, v, where) for k, v in file.dials.items()}
    parts = parts_of(file, run)
    own = {k: v for k, v in parts.items() if k in known}
    if "factor" in parts:
        label = (dials | own | changed).get("model", "")
        own["d_sae"] = parts["factor"] * width_of(label, where)
    twice = [k for k, v in own.items() if k in dials and k not in changed and dials[k] != v]
    if twice and run in file.runs:
        key = twice[0]
        raise InvalidValue(
            f"{where}: {key} is {dials[key]} among the dials and {own[key]} in {run}")
    try:
        return file.made(**(dials | own | changed))
    except TypeError as error:
        raise InvalidValue(f"{where}: {str(error).split('__init__() ')[-1]}") from error
    except AtlasError as error:
        raise type(error)(f"{'--set' if changed else where}: {error}") from error


def _is_another(run: str, dials: Dials) -> bool:
    """Whether a run of record has this id and other dials."""
    for file in recipe_files():
        if run in file.runs:
            return _made(file, run, {}) != dials
    return False


def _schedule(file: RecipeFile, run: str) -> tuple[int, ...] | None:
    step = parts_of(file, run).get("step")
    return file.schedule if step is None else (step,)


def _check_id(
    file: RecipeFile, run: str, dials: Dials, schedule: tuple[int, ...] | None
) -> None:
    """Refuse a recipe that trains something else than its id says."""
    matrix = re.search(r"/(W_U|W_E)/", run)
    if matrix and getattr(dials, "matrix", matrix[1]) != matrix[1]:
        raise InvalidValue(f"{file.where}: {run} is over {matrix[1]}, but matrix is {dials.matrix}")
    heads = re.search(r"/cross-snapshot-(\d+)", run)
    wanted = int(heads[1]) if heads else 1 if re.search(r"-saes/", run) else None
    if schedule is not None and wanted not in (None, len(schedule)):
        raise InvalidValue(f"{file.where}: {run} is over {wanted} snapshots, but its schedule has "
                           f"{len(schedule)}")


def _model_name(file: RecipeFile, dials: Dials) -> str | None:
    if isinstance(dials, LanguageModelRecipe):
        return None
    if file.model_name is not None:
        return file.model_name
    known = {entry.model: entry.model_name for entry in released()}
    return known.get(dials.model, f"readout-atlas/{dials.model}")


def _digest(changed: dict[str, Any]) -> str:
    """A few letters that tell one set of changed dials from another."""
    return hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:6]
