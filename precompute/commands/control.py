"""`control`: train a run's shuffled-row control and show its births beside those of the run."""

import dataclasses
from argparse import Namespace
from typing import Any

from atlas.artifacts import load_snapshots, read_crosscoder, read_run
from atlas.crosscoder import quality, standardize
from atlas.errors import InvalidValue
from atlas.tensor_files import TensorFile
from atlas.turnover import CONTROL, CONTROL_TENSORS
from precompute.commands.output import (
    located,
    number,
    print_json,
    progress,
    quoted,
    store_for_run,
    table,
)
from precompute.kept import silent
from precompute.locate import Located
from precompute.manifest import is_bare
from precompute.safety import space_watch, writer_lock
from trainer.control import Courses, courses, fitted_rows, recipe_of, train_control


def run(args: Namespace) -> int:
    """Train the control of a run, unless it is there, and print what it shows."""
    if args.epochs == 0:
        raise InvalidValue("--epochs is 0; a control of no training says nothing")
    found = _found(args)
    if is_bare(found.folder):
        raise InvalidValue(
            f"{found.run} was imported without its weights and snapshots; `readout-atlas build "
            f"{found.run} --store {quoted(found.store)}` fetches or trains them"
        )
    folder = read_run(found.folder)
    recipe = recipe_of(folder)
    report = silent if args.json else progress
    with writer_lock(folder.path, f"run {folder.run}"), space_watch(folder.path / CONTROL):
        facts = train_control(found.store, folder, report, args.seed, args.epochs, args.force)
    progress.close()
    file = TensorFile(folder.path / CONTROL)
    control = Courses(**{name: file.read(name, check=False).numpy() for name in CONTROL_TENSORS})
    config = folder.config
    x = standardize(
        load_snapshots(found.store, config["model_name"], folder.steps, config["matrix"])
    )[1]
    fitted = fitted_rows(found.store, recipe, x.shape[1])
    x, weights = x[:, fitted], read_crosscoder(folder)
    measured = dataclasses.asdict(quality(weights, x))
    own = courses(weights, x, len(fitted))
    shown = as_json(folder.run, folder.steps, measured, facts, own, control)
    if args.json:
        print_json(shown)
    else:
        print(as_text(shown))
        print(f"next: readout-atlas build {folder.run} --store {quoted(found.store)}")
    return 0


def _found(args: Namespace) -> Located:
    """The run: a folder, or an id in the store that is written."""
    if args.store is None:
        args.store = str(store_for_run(args, args.run.strip("/").removesuffix(".safetensors")))
    return located(args)


def as_json(
    run: str, steps: list[int], measured: dict[str, Any], facts: dict[str, Any], own: Courses,
    control: Courses,
) -> dict[str, Any]:
    """Births of run and control at each step, naive and floor-corrected, and both qualities, of the
    rows that are fitted.
    """
    naive, floor = own.births()
    control_naive, control_floor = control.births()
    return {
        "run": run,
        "seed": facts["seed"],
        "shuffle": facts["shuffle"],
        "quality": {name: {"run": measured[name], "control": facts[name]}
                    for name in ("explained_variance", "l0", "dead_rate")},
        "births": [
            {"step": step, "run": int(a), "run_floor": int(b), "control": int(c),
             "control_floor": int(d)}
            for step, a, b, c, d in zip(steps, naive, floor, control_naive, control_floor,
                                        strict=True)
        ],
    }


def as_text(shown: dict[str, Any]) -> str:
    """The same as a table for people."""
    names = ("run", "run_floor", "control", "control_floor")
    rows = [[f"{line['step']:,}", *(str(line[name]) for name in names)]
            for line in shown["births"]]
    rows.append(["all", *(str(sum(line[n] for line in shown["births"])) for n in names)])
    head = ["births at step", "run", "above noise", "control", "above noise"]
    quality = [[name.replace("_", " "), number(pair["run"], 4), number(pair["control"], 4)]
               for name, pair in shown["quality"].items()]
    return "\n\n".join([
        shown["run"], f"control: {shown['shuffle']}; seed {shown['seed']}",
        table(["quality", "run", "control"], quality, left=[0]), table(head, rows, left=[]),
    ])
