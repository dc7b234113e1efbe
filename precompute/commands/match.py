"""`match`: which features of one run return in another, into the store."""

import dataclasses
from argparse import Namespace
from pathlib import Path

from atlas.device import choose_device
from precompute.commands.output import (
    number,
    print_json,
    progress,
    store_for_run,
    store_to_write,
    table,
)
from precompute.kept import silent
from precompute.match_files import WAYS
from precompute.matching import Matched, fitting_pairs, match_runs
from precompute.publish import publish


def run(args: Namespace) -> int:
    """Match the named runs with each other, or one with all that fit it, and publish."""
    names = [name.strip("/").removesuffix(".safetensors") for name in args.runs]
    store = _store(args, names[0])
    report = silent if args.json else progress
    device = choose_device(args.device)
    ways = [way for way in args.by.split(",") if way] if args.by else WAYS
    tasks = fitting_pairs(store, names, ways, report)
    found = match_runs(store, tasks, device.name, args.force, report)
    publish(store, report)
    progress.close()
    if args.json:
        print_json([dataclasses.asdict(one) for one in found])
    else:
        print(as_text(found))
    return 0


def _store(args: Namespace, run: str) -> Path:
    """The named store, else the one that has the first run."""
    return store_to_write(args) if args.store else store_for_run(args, run)


def as_text(found: list[Matched]) -> str:
    """A line for each run in each other one, and what the columns say."""
    rows = [
        [one.run, one.other, one.way, f"{one.matched} of {one.features}", str(one.reciprocal),
         str(one.beyond), str(one.split), number(one.score), number(one.null)]
        for one in found
    ]
    head = ["run", "other", "by", "matched", "both ways", "beyond null", "split", "score", "null"]
    return (
        f"{table(head, rows, left=[0, 1, 2])}\n\nscore and null are medians of the best partner, "
        "in the other run and in one where only chance is left: turned at random, tokens exchanged "
        "with others as busy, or, of lives, the run itself; beyond null are those matched both "
        "ways whose score 99 % of the null stay below"
    )
