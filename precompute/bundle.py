"""Take a language model of the shipped bundle along into a store of one's own."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from atlas.artifacts import snapshot_path
from atlas.places import DEMO, model_path
from precompute.evaluation import TRAINED
from precompute.safety import space_watch, staged_name

HISTORY = "history.json"
"""Copied last: a model folder that has it is whole."""


def borrow_model(label: str, store: Path, report: Callable[[str], None]) -> None:
    """Copy folder, snapshots and text of a bundled model into `store` if it is there and not here.

    Of the text, the part that is held out is what examples of features are cut from.
    """
    source, target = model_path(DEMO, label), model_path(store, label)
    if store == DEMO or (target / HISTORY).is_file() or not (source / HISTORY).is_file():
        return
    report(f"taking {label} and its snapshots from the shipped bundle")
    slug = snapshot_path(DEMO, f"readout-atlas/{label}", 0, "W_U").name.split("_step")[0]
    text = [p for p in (DEMO / TRAINED,) if p.is_file() and not (store / TRAINED).exists()]
    files = [*text, *(DEMO / "snapshots").glob(f"{slug}_step*"), *source.iterdir()]
    for file in sorted(files, key=lambda path: path.name == HISTORY):
        copy = store / file.relative_to(DEMO)
        with space_watch(copy):
            copy.parent.mkdir(parents=True, exist_ok=True)
            staged = staged_name(copy)
            shutil.copyfile(file, staged)
            os.replace(staged, copy)
