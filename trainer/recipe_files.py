"""Recipe files: what one may say, and how a run id sets dials.

A file is a JSON object:

    kind           language-model, crosscoder or prism
    runs           the ids it trains, one by one
    dials          settings that all of them share, by the name of the kind's recipe class
    id             (optional) form of the ids: `{name}` stands for the part that sets a dial, as in
                   `pythia-160m/W_U/lambda-sweep/d{d_sae}/lam{sparsity}_seed{seed}`; a decimal point
                   is written p there. `{step}` makes that step the schedule, `{factor}` makes D so
                   many times the model's width. Without a form, `/d<N>/` and `seed<N>` are read.
    schedule       (optional) the snapshots: a name of `atlas.schedules` or a list of steps;
                   without it, those the model's own folder tells of, or the finished model
    model_name     (optional) id of the model on the hub; without it, that of the inventory
    preprocessing  (optional) of the rows; there is one way for each kind
    chosen         (optional) dial, or dials with commas between -> why that value was chosen where
                   the references say that it is not known
    note           (optional) what else should be known
"""

import difflib
import functools
import re
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atlas.errors import BrokenArtifact, InvalidValue
from atlas.inventory import released
from atlas.places import RECIPES, ROOT
from atlas.schedules import SCHEDULES
from atlas.tensor_files import read_json
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.language_model import LanguageModelRecipe
from trainer.prism_recipe import PrismRecipe

KINDS: dict[str, type] = {
    "language-model": LanguageModelRecipe,
    "crosscoder": CrosscoderRecipe,
    "prism": PrismRecipe,
}
PREPROCESSING = {"crosscoder": "center_scale", "prism": "center_normalise"}
"""What is done to the rows of a kind's matrix (crosscoder-method 2, prism-method 1)."""
FIELDS = ("kind", "runs", "dials", "id", "schedule", "model_name", "preprocessing", "chosen",
          "note")
ASPECTS = ("schedule", "preprocessing", "auxiliary loss", "revision")
"""What besides a dial may have had to be chosen."""
BESIDES = ("step", "factor")
"""What a form may name besides dials."""
PART = re.compile(r"\{([a-z]\w*)\}")
"""A part of a form that sets something."""


@dataclass(frozen=True)
class RecipeFile:
    """One file, read and checked as far as that goes without a run."""

    path: Path
    kind: str
    runs: tuple[str, ...]
    dials: dict[str, Any]
    form: str | None = None
    schedule: tuple[int, ...] | None = None
    model_name: str | None = None
    chosen: dict[str, str] = field(default_factory=dict)
    """Dial or aspect -> reason."""
    note: str = ""

    @property
    def where(self) -> str:
        """Its path as messages say it."""
        return said_path(self.path)

    @property
    def made(self) -> type:
        """The class of its dials."""
        return KINDS[self.kind]


def said_path(path: Path) -> str:
    """A path as messages say it: below the checkout where it lies there."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def recipe_files() -> list[RecipeFile]:
    """Every file of `data/recipes/`, by path.

    Raises:
        InvalidValue: a file says what no recipe may, or two files have the same run.
    """
    files = [read_recipe_file(path) for path in sorted(RECIPES.rglob("*.json"))]
    owner: dict[str, RecipeFile] = {}
    for file in files:
        for run in file.runs:
            if run in owner:
                raise InvalidValue(
                    f"{run} has two recipes, in {owner[run].where} and in {file.where}; take it "
                    "out of one"
                )
            owner[run] = file
    return files


def read_recipe_file(path: Path) -> RecipeFile:
    """Read one file.

    Raises:
        NotFound: it is not there. BrokenArtifact: it is not JSON, or not of this form.
        InvalidValue: it has a field that is not known, or ids that do not fit their form.
    """
    content, where = read_json(path), said_path(path)
    if not isinstance(content, dict):
        raise BrokenArtifact(f"{where} is no recipe: a JSON object was expected")
    unknown = sorted(content.keys() - set(FIELDS))
    if unknown:
        raise InvalidValue(f"{where} has the unknown field {unknown[0]!r}; "
                           f"{nearest(unknown[0], FIELDS)}")
    missing = [name for name in ("kind", "runs", "dials") if name not in content]
    if missing:
        raise InvalidValue(f"{where} lacks the field {missing[0]!r}")
    kind, dials = content["kind"], content["dials"]
    if kind not in KINDS:
        raise InvalidValue(f"{where}: kind is {kind!r}; known are {', '.join(KINDS)}")
    if not isinstance(dials, dict):
        raise BrokenArtifact(f"{where}: dials is no object")
    runs = content["runs"]
    if not (isinstance(runs, list) and runs and all(isinstance(run, str) for run in runs)):
        raise BrokenArtifact(f"{where}: runs is no list of ids")
    for name in ("id", "model_name", "note"):
        if not isinstance(content.get(name, ""), str):
            raise BrokenArtifact(f"{where}: {name} is no text")
    preprocessing = content.get("preprocessing", PREPROCESSING.get(kind))
    if preprocessing != PREPROCESSING.get(kind):
        raise InvalidValue(f"{where}: preprocessing is {preprocessing!r}; rows of a {kind} are "
                           f"prepared by {PREPROCESSING.get(kind)}")
    file = RecipeFile(
        path, kind, tuple(runs), dials, content.get("id"), _schedule(content, where),
        content.get("model_name"), _chosen(content.get("chosen", {}), kind, where),
        content.get("note", ""),
    )
    for run in runs:
        parts_of(file, run)
    return file


def _schedule(content: dict[str, Any], where: str) -> tuple[int, ...] | None:
    said = content.get("schedule")
    if said is None:
        return None
    if "{step}" in content.get("id", ""):
        raise InvalidValue(f"{where} has both a schedule and {{step}} in its id; leave one out")
    if isinstance(said, str):
        if said not in SCHEDULES:
            raise InvalidValue(f"{where}: no schedule is called {said!r}; "
                               f"{nearest(said, SCHEDULES)}")
        return SCHEDULES[said]
    steps = tuple(said) if isinstance(said, list) else ()
    whole = all(isinstance(step, int) and not isinstance(step, bool) for step in steps)
    if not steps or not whole or list(steps) != sorted({s for s in steps if s >= 0}):
        raise InvalidValue(f"{where}: a schedule is a name or a list of rising steps from 0 on, "
                           f"not {str(said)[:60]}")
    return steps


def _chosen(said: Any, kind: str, where: str) -> dict[str, str]:
    if not isinstance(said, dict):
        raise BrokenArtifact(f"{where}: chosen is no object of dials and reasons")
    known = (*dial_types(KINDS[kind]), *ASPECTS)
    found: dict[str, str] = {}
    for names, reason in said.items():
        for name in names.split(", "):
            if name not in known or name in found:
                problem = "twice" if name in found else f"no dial; {nearest(name, known)}"
                raise InvalidValue(f"{where}: chosen names {name!r}, {problem}")
            found[name] = str(reason)
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """The known names, the most alike first and told as such."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    start = f"did you mean {near[0]}? " if near else ""
    return f"{start}known are {', '.join(known)}"


# --- what a run id says --------------------------------------------------------------------------


def form_of(file: RecipeFile, run: str) -> str:
    """The form of an id: the file's, else the id itself with width and seed taken out."""
    if file.form is not None:
        return file.form
    named = dial_types(file.made)
    if "d_sae" in named:
        run = re.sub(r"/d\d+/", "/d{d_sae}/", run)
    return re.sub(r"seed\d+$", "seed{seed}", run) if "seed" in named else run


def parts_of(file: RecipeFile, run: str) -> dict[str, Any]:
    """What an id says: dials, and of `BESIDES` what its form has.

    Raises:
        InvalidValue: it does not fit the form, or the form names no dial.
    """
    form, types_of = form_of(file, run), dial_types(file.made)
    try:
        pattern = _pattern(form)
    except re.error as error:
        raise InvalidValue(f"{file.where}: {form} is no form of an id ({error})") from error
    unknown = sorted(set(pattern.groupindex) - {*types_of, *BESIDES})
    if unknown:
        raise InvalidValue(f"{file.where}: its id names {unknown[0]!r}, no dial; "
                           f"{nearest(unknown[0], (*types_of, *BESIDES))}")
    match = pattern.fullmatch(run)
    if match is None:
        raise InvalidValue(f"{file.where}: {run} does not fit the form {form}")
    return {
        name: from_text(int if name in BESIDES else types_of[name], name, _spoken(text), file.where)
        for name, text in match.groupdict().items()
    }


def _spoken(part: str) -> str:
    """A part of an id with its decimal point."""
    return part.replace("p", ".") if re.fullmatch(r"\d+p\d+", part) else part


@functools.cache
def _pattern(form: str) -> re.Pattern[str]:
    pieces = PART.split(form)
    return re.compile("".join(
        f"(?P<{piece}>[^/_]+)" if i % 2 else re.escape(piece) for i, piece in enumerate(pieces)))


def written(file: RecipeFile, run: str, changed: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The id of a run with changed dials, as far as ids tell of them, and the dials left over."""
    form = form_of(file, run)
    parts = parts_of(file, run)
    told = {k: v for k, v in changed.items() if k in parts}
    if not told:
        return run, changed
    name = PART.sub(lambda part: _as_part((parts | told)[part[1]]), form)
    try:
        exact = parts_of(file, name) == parts | told
    except InvalidValue:
        exact = False
    if not exact:
        return run, changed
    return name, {k: v for k, v in changed.items() if k not in told}


def _as_part(value: Any) -> str:
    return f"{value:.2f}".replace(".", "p") if isinstance(value, float) else str(value)


def width_of(label: str, where: str) -> int:
    """d of a model of the inventory."""
    for entry in released():
        if entry.model == label:
            return entry.d_model
    raise InvalidValue(f"{where}: the width of {label!r} is not known, so no multiple of it is; "
                       "say d_sae among the dials")


# --- values --------------------------------------------------------------------------------------


@functools.cache
def dial_types(made: type) -> dict[str, Any]:
    """The dials of a kind and what each takes."""
    return typing.get_type_hints(made)


def from_text(kind: Any, key: str, text: str, where: str = "--set") -> Any:
    """A value as typed; InvalidValue where it is not of its type."""
    try:
        return _value(kind, text)
    except (ValueError, KeyError) as error:
        raise InvalidValue(f"{where}: {key} takes {_named(kind)}, not {text!r}") from error


def from_json(kind: Any, key: str, value: Any, where: str) -> Any:
    """A value out of a file; InvalidValue where it is not of its type."""
    try:
        return _plain_value(kind, value)
    except ValueError as error:
        raise InvalidValue(f"{where}: {key} takes {_named(kind)}, not {value!r}") from error


def _choices(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)


def _value(kind: Any, text: str) -> Any:
    choices = _choices(kind)
    if type(None) in choices and text.lower() == "none":
        return None
    kind = next(choice for choice in choices if choice is not type(None))
    if isinstance(kind, types.GenericAlias):
        return tuple(_value(kind.__args__[0], part) for part in text.split(","))
    if kind is bool:
        return {"true": True, "false": False}[text.lower()]
    return kind(text)


def _plain_value(kind: Any, value: Any) -> Any:
    for choice in _choices(kind):
        if isinstance(choice, types.GenericAlias) and isinstance(value, list | tuple):
            return tuple(_plain_value(choice.__args__[0], part) for part in value)
        if choice is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if isinstance(choice, type) and type(value) is choice:
            return value
    raise ValueError(value)


def _named(kind: Any) -> str:
    names = []
    for choice in _choices(kind):
        if isinstance(choice, types.GenericAlias):
            names.append(f"{choice.__args__[0].__name__}s with commas between")
        else:
            names.append("none" if choice is type(None) else choice.__name__)
    return " or ".join(names)
