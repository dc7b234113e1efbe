"""`plan` and `build`: from a release, a run folder, or the corpus, to what the pages read."""

import os
import time
from argparse import Namespace
from pathlib import Path

import torch

from atlas.device import choose_device
from atlas.errors import InvalidValue, NotFound
from atlas.inventory import find_released
from atlas.places import DEMO, run_path
from atlas.tensor_files import read_json
from precompute.acquire import acquire, is_acquired, is_of_release
from precompute.card import add_time, write_card
from precompute.commands.output import (
    print_json,
    progress,
    quoted,
    size,
    store_for_run,
    store_to_write,
    table,
)
from precompute.commands.plan import as_json, as_text
from precompute.fetching import Source
from precompute.kept import silent
from precompute.locate import Located, from_folder, is_run_folder
from precompute.matching import all_pairs, match_runs
from precompute.mirror import Mirror
from precompute.plan import Plan, assumptions, cores, plan_run, total
from precompute.plan_released import plan_released
from precompute.plan_training import plan_training
from precompute.publish import WAIT, publish
from precompute.ranks import from_environment, own_device
from precompute.stages import Precomputed, precompute_run
from precompute.training import train_into
from trainer import demo, recipes

WHOLE = "demo"
"""What the whole shipped bundle is called where a run is expected."""
HUB = "hub"
"""What --from says for the hub, its default."""
PATIENCE = 12 * 3600.0
"""Seconds that one process of several waits for the one that fetches."""
CATALOG_WAIT = 60.0
"""Seconds that one process of several waits for another that publishes."""


def build(args: Namespace) -> int:
    """Fetch or train what is missing, precompute and publish one run, or all of the bundle."""
    device = choose_device(args.device)
    crew = from_environment(args.rank, args.world_size, os.environ)
    began = time.monotonic()
    if args.run == WHOLE:
        store = _whole_store(args)
        if args.from_scratch:
            demo.train_demo(store, progress)
        targets = [Located(run, store) for run in _demo_runs(store)]
    else:
        targets = [_target(args)]
    name = own_device(device.name, crew, os.environ, torch.cuda.device_count())
    if name != "cpu":
        progress(f"{name}: {device.reason}")
    made = []
    for target in targets:
        _supply(target, args, PATIENCE if crew.world_size > 1 else 0.0)
        made.append(precompute_run(
            target.store, target.run, force=args.force, report=progress, device=name,
            rank=crew.rank, world_size=crew.world_size,
        ))
    took = f"{time.monotonic() - began:.0f} s"
    if not _publishes(made):
        progress.close()
        print(f"process {crew.rank} of {crew.world_size}: its part is done in {took}; the last "
              "one publishes")
        return 0
    if args.run == WHOLE and crew.world_size == 1:  # of several, nobody knows when all are done
        pairs = all_pairs(targets[0].store, [target.run for target in targets])
        match_runs(targets[0].store, pairs, name, args.force, progress)
    published = publish(targets[0].store, progress, CATALOG_WAIT if crew.world_size > 1 else WAIT)
    progress.close()
    if args.run == WHOLE:
        if args.from_scratch:
            add_time(targets[0].store, time.monotonic() - began, cores())
        write_card(targets[0].store)
    print(
        f"{len(targets)} of {len(published.runs)} runs built in {took}; "
        f"look at them with `readout-atlas serve --store {quoted(targets[0].store)}`"
    )
    return 0


def _publishes(made: list[Precomputed]) -> bool:
    """Whether this process lists the runs: it wrote or found the file of one.

    Of several runs each may be finished by another process; listing twice does no harm.
    """
    return any(one.file for one in made)


def plan(args: Namespace) -> int:
    """Print what `build` would do."""
    plans = _plans(args)
    if args.json:
        print_json([as_json(p) for p in plans])
        return 0
    if len(plans) == 1:
        print(as_text(plans[0]))
    else:
        rows = [
            [p.run, f"{sum(not s.done for s in p.stages)} of {len(p.stages)}", size(p.disk_bytes),
             size(p.memory_bytes), f"{p.minutes:.1f}"]
            for p in plans
        ]
        print(table(["run", "stages", "disk", "memory", "minutes"], rows, left=[0]))
        disk, memory, minutes = total(plans)
        print(f"\nall: {size(disk)} of disk, {size(memory)} of memory, {minutes:.1f} minutes")
    print(assumptions())
    return 0


# --- what is meant -------------------------------------------------------------------------------


def _whole_store(args: Namespace) -> Path:
    """The store of all demo runs: the bundle, or where it is trained anew."""
    if args.from_scratch:
        return store_to_write(args)
    return Path(args.store).absolute() if args.store else DEMO


def _demo_runs(store: Path) -> list[str]:
    """Run folders of the demo in a store, by name."""
    folders = sorted(p.parent for p in (store / "runs" / WHOLE).rglob("config.json"))
    if not folders:
        raise NotFound(
            f"{store} holds no run folder of the demo; `readout-atlas build demo --from-scratch "
            f"--store {quoted(store)}` trains them"
        )
    return [folder.relative_to(store / "runs").as_posix() for folder in folders]


def _target(args: Namespace) -> Located:
    """The run that is named: a folder, a run that is here, or one that can be trained here."""
    if args.from_scratch:
        raise InvalidValue("--from-scratch goes with `build demo`; to train one run use `train`")
    if is_run_folder(args.run):
        return from_folder(args.run)
    run = _run_id(args.run)
    if _is_released(run):
        return Located(run, store_to_write(args))
    store = store_for_run(args, run)
    if run_path(store, run).is_dir():
        return Located(run, store)
    if run not in recipes.names():
        raise NotFound(
            f"no run {run!r}: not in {store}, not a released dictionary (`readout-atlas runs "
            f"--inventory`), not a recipe"
        )
    return Located(run, store_to_write(args))


def _run_id(name: str) -> str:
    return name.strip("/").removesuffix("/checkpoint.pt").removesuffix(".safetensors")


def _is_released(run: str) -> bool:
    """Whether a run is one that a release has or could have, and not one that is trained here."""
    listed = find_released(run) is not None
    return listed or (is_of_release(run) and run not in recipes.names())


def source_of(args: Namespace) -> Source:
    """Where released files come from: the mirror of --from, else the hub."""
    if args.source not in (None, HUB):
        return Mirror(Path(args.source))
    from precompute.hub import Hub  # the hub's client takes half a second to import

    report = silent if getattr(args, "json", False) else progress
    return Hub(report, offline=True if args.offline else None)


def _supply(target: Located, args: Namespace, wait: float) -> None:
    """Fetch or train what a run lacks.

    Args:
        wait: seconds to wait for another process that does so.
    """
    folder = target.folder
    if _is_trained(folder):
        return
    if _is_released(target.run):
        acquire(target.run, target.store, lambda: source_of(args), progress, args.model, wait)
    elif not folder.is_dir():
        train_into(recipes.resolve(target.run), target.store, progress)


def _is_trained(folder: Path) -> bool:
    """Whether a run folder was made here: only what was fetched says where it came from."""
    path = folder / "config.json"
    if not path.is_file():
        return False
    config = read_json(path)
    return isinstance(config, dict) and "origin" not in config


# --- plans ---------------------------------------------------------------------------------------


def _plans(args: Namespace) -> list[Plan]:
    device = choose_device(args.device)
    if args.train or args.settings:
        recipe = recipes.resolve(args.run, dict(args.settings))
        return [plan_training(recipe, store_to_write(args), device)]
    if args.run == WHOLE and args.from_scratch:
        return [_from_scratch(store_to_write(args))]
    if args.run == WHOLE:
        store = _whole_store(args)
        return [plan_run(Located(run, store)) for run in _demo_runs(store)]
    target = _target(args)
    released = _is_released(target.run) and not _is_trained(target.folder)
    if released and not is_acquired(target.store, target.run, args.model):
        return [plan_released(target.run, target.store, source_of(args), args.model)]
    if target.folder.is_dir():
        return [plan_run(target)]
    return [plan_training(recipes.resolve(target.run), target.store, device)]


def _from_scratch(store: Path) -> Plan:
    """The whole demo; its time is the one that was recorded when the bundle was trained."""
    recorded = sum(
        float(read_json(path).get("seconds", 0.0))
        for path in (DEMO / "runs" / WHOLE).rglob("provenance.json")
    )
    for path in (DEMO / "models").glob("*/history.json"):
        history = read_json(path)["history"]
        recorded += float(history[-1]["seconds"]) if history else 0.0
    names = [n for n in recipes.names() if n.startswith((f"{WHOLE}/", "models/demo-"))]
    said = f"{recorded / 60:.0f} minutes of one core were recorded" if recorded else "no record"
    return Plan(
        WHOLE, store, (), (), disk_bytes=int(2e8), memory_bytes=int(4e9),
        note=f"trains {len(names)} recipes ({', '.join(names)}), then precomputes them; when the "
        f"bundle was trained: {said}",
    )
