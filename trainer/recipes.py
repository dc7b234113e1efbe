"""Recipes by name: files under `data/recipes/`, one per family of runs.

A recipe file is `{"kind": ..., "runs": [...], "dials": {...}}`. Runs of one file differ only in
what their id says (the seed). Changing a dial on the command line gives a run id of its own, so
that a trial never overwrites a run of record.
"""

import dataclasses
import hashlib
import json
import re
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.errors import InvalidValue, NotFound
from atlas.places import RECIPES
from atlas.tensor_files import read_json
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.language_model import LanguageModelRecipe
from trainer.prism import PrismRecipe

Dials = LanguageModelRecipe | CrosscoderRecipe | PrismRecipe
KINDS: dict[str, type] = {
    "language-model": LanguageModelRecipe,
    "crosscoder": CrosscoderRecipe,
    "prism": PrismRecipe,
}


@dataclass(frozen=True)
class Recipe:
    """One thing to train."""

    name: str
    """Run id of a dictionary, or `models/<label>` of a language model."""
    kind: str
    dials: Dials


def names() -> list[str]:
    """Every name that `resolve` knows, in the order of the files."""
    return [run for path in sorted(RECIPES.rglob("*.json")) for run in read_json(path)["runs"]]


def resolve(name: str, overrides: dict[str, str] | None = None) -> Recipe:
    """The recipe of a run id, or of a recipe file given by its path.

    Args:
        name: run id, `models/<label>`, or a path to a recipe file (its first run).
        overrides: dial -> text, as typed after `--set`.

    Raises:
        NotFound: no recipe has that name.
        InvalidValue: an unknown dial, or a value that its type does not take.
    """
    path, run = _find(name)
    content = read_json(path)
    cls = KINDS[content["kind"]]
    dials = {k: tuple(v) if isinstance(v, list) else v for k, v in content["dials"].items()}
    seed = re.search(r"seed(\d+)$", run)
    if seed:
        dials["seed"] = int(seed.group(1))
    changed = {k: _parse(cls, k, v) for k, v in (overrides or {}).items()}
    changed = {k: v for k, v in changed.items() if dials.get(k, _default(cls, k)) != v}
    try:
        recipe = cls(**(dials | changed))
    except TypeError as error:
        raise InvalidValue(f"{path}: {error}") from error
    return Recipe(_renamed(run, changed), content["kind"], recipe)


def _find(name: str) -> tuple[Path, str]:
    for path in sorted(RECIPES.rglob("*.json")):
        if name in read_json(path)["runs"]:
            return path, name
    as_file = Path(name)
    if as_file.suffix == ".json" and as_file.is_file():
        return as_file, read_json(as_file)["runs"][0]
    known = ", ".join(names())
    raise NotFound(f"no recipe is called {name!r}; known are {known}")


def _default(cls: type, key: str) -> Any:
    return {f.name: f.default for f in dataclasses.fields(cls)}[key]


def _parse(cls: type, key: str, text: str) -> Any:
    kinds = typing.get_type_hints(cls)
    if key not in kinds:
        raise InvalidValue(f"no dial is called {key!r}; known are {', '.join(sorted(kinds))}")
    kind = kinds[key]
    try:
        if isinstance(kind, types.GenericAlias):
            return tuple(int(part) for part in text.split(","))
        return kind(text)
    except ValueError as error:
        raise InvalidValue(f"{key} takes {kind.__name__}, not {text!r}") from error


def _renamed(run: str, changed: dict[str, Any]) -> str:
    """Seed and width are part of a run id; any other change is told by a short digest."""
    changed = dict(changed)
    if "seed" in changed:
        run = re.sub(r"seed\d+$", f"seed{changed.pop('seed')}", run)
    if "d_sae" in changed and "/d" in run:
        run = re.sub(r"/d\d+/", f"/d{changed.pop('d_sae')}/", run)
    if not changed:
        return run
    digest = hashlib.sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:6]
    return f"{run}-{digest}"
