"""Train everything the shipped bundle is made of, from the corpus to the dictionaries.

Each stage is skipped when its result is there, so a killed command continues. Independent
trainings run side by side, one thread each: the models are too small for two threads to pay.
"""

import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from atlas.errors import NotFound
from atlas.places import DEMO, model_path, run_path
from atlas.tensor_files import load_tensors, read_json
from trainer import recipes
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.dictionaries import (
    How,
    is_finished,
    train_crosscoder_run,
    train_prism_run,
)
from trainer.export import (
    export_model,
    hidden_states,
    kept_model,
    model_name,
    save_token_counts,
)
from trainer.language_model import LanguageModelRecipe, pretrain
from trainer.loop import Report as Lines
from trainer.prism_recipe import PrismRecipe
from trainer.recipes import Recipe
from trainer.snapshots import Snapshots
from trainer.tokens import source_counts, token_stream, train_tokenizer

CORPUS = DEMO / "corpus.jsonl.xz"
ALLOCATOR = {
    "MALLOC_MMAP_THRESHOLD_": str(2**34),
    "MALLOC_TRIM_THRESHOLD_": str(2**34),
    "MALLOC_TOP_PAD_": str(2**28),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""glibc keeps freed tensors instead of returning them to the system. Every step allocates the same
large tensors, and without this a third of the pretraining's time went into page faults."""
Report = Callable[[str], None]


def train_demo(store: Path, report: Report) -> None:
    """Tokenizer, language models, snapshots and dictionaries of the demo, into `store`."""
    names = [n for n in recipes.names() if n.startswith(("demo/", "models/demo-"))]
    models = [n for n in names if n.startswith("models/")]
    for name, value in ALLOCATOR.items():
        os.environ.setdefault(name, value)  # read by glibc when the workers start
    with ProcessPoolExecutor(
        max_workers=min(2, os.cpu_count() or 1), mp_context=multiprocessing.get_context("spawn")
    ) as pool:
        prepare_text(store, report)
        for name, seconds in pool.map(_train_by_name, models, [store] * len(models)):
            report(f"{name} stands after {seconds:.0f} s")
        runs = [n for n in names if not n.startswith("models/")]
        for name, seconds in pool.map(_train_by_name, runs, [store] * len(runs)):
            report(f"{name} stands after {seconds:.0f} s")


def _train_by_name(name: str, store: Path) -> tuple[str, float]:
    torch.set_num_threads(1)
    began = time.monotonic()
    train(recipes.resolve(name), store, lambda line: print(f"{name}: {line}", flush=True))
    return name, time.monotonic() - began


def prepare_text(store: Path, report: Report) -> None:
    """Corpus, tokenizer and token streams; the streams lie under `work/` and may be deleted.

    A store that has the tokenizer, such as one that took its model from the bundle, keeps it.
    """
    corpus = store / "corpus.jsonl.xz"
    if not corpus.exists():
        if not CORPUS.exists():
            raise NotFound(f"{CORPUS} is not there; restore it with `git checkout data/demo`")
        store.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(CORPUS, corpus)
    work = store / "work"
    if all((work / f"{s}.npy").exists() for s in ("train", "validation")):
        return
    work.mkdir(parents=True, exist_ok=True)
    saved = next(store.glob("models/*/tokenizer.json"), None)
    if saved:
        tokenizer = Tokenizer.from_file(str(saved))
    else:
        tokenizer = _new_tokenizer(store, corpus, report)
    report("encoding the corpus")
    for split in ("train", "validation"):
        staged = work / f"{split}.tmp.npy"
        np.save(staged, token_stream(tokenizer, corpus, split))
        staged.replace(work / f"{split}.npy")


def _new_tokenizer(store: Path, corpus: Path, report: Report) -> Tokenizer:
    """Train the tokenizer that both models share and count its tokens."""
    report("training the tokenizer")
    tokenizer = train_tokenizer(corpus, _language_model("demo-large").vocabulary)
    counts = source_counts(tokenizer, corpus)
    for label in ("demo-large", "demo-small"):
        save_token_counts(model_path(store, label) / "token_counts.safetensors", counts)
        tokenizer.save(str(model_path(store, label) / "tokenizer.json"))
    return tokenizer


def _language_model(label: str) -> LanguageModelRecipe:
    dials = recipes.resolve(f"models/{label}").dials
    assert isinstance(dials, LanguageModelRecipe)
    return dials


def train(recipe: Recipe, store: Path, report: Report, how: How | None = None) -> Path:
    """Train one recipe of the bundle into `store` and return its folder; nothing where it is there.

    Dictionaries are written in 8 bits, a quarter of the size: the bundle travels with the code.
    """
    if isinstance(recipe.dials, LanguageModelRecipe):
        label = recipe.name.removeprefix("models/")
        return _train_language_model(label, recipe.dials, store, report)
    folder = run_path(store, recipe.name)
    if is_finished(folder, recipe.dials):
        report("already trained")
        return folder
    if not model_path(store, recipe.dials.model).joinpath("history.json").exists():
        raise NotFound(
            f"{store} holds no language model {recipe.dials.model}; train it with "
            f"`readout-atlas train models/{recipe.dials.model} --store {store}`"
        )
    how = replace(how or How(), rounded=True)
    if isinstance(recipe.dials, CrosscoderRecipe):
        _train_crosscoder(recipe.name, recipe.dials, store, report, how)
    else:
        _train_prism(recipe.name, recipe.dials, store, report, how)
    return folder


def _train_language_model(
    label: str, dials: LanguageModelRecipe, store: Path, report: Report
) -> Path:
    folder = model_path(store, label)
    if (folder / "history.json").exists():
        report("already trained")
        return folder
    prepare_text(store, report)
    work = store / "work"
    streams = {s: np.load(work / f"{s}.npy") for s in ("train", "validation")}
    pretrain(dials, streams["train"], streams["validation"], work / label, report)
    export_model(work / label, store, label, dials, streams["validation"], report)
    return folder


def _train_crosscoder(
    run: str, dials: CrosscoderRecipe, store: Path, report: Report, how: How
) -> None:
    snapshots = Snapshots(store, dials.model, model_name(dials.model), dials.matrix,
                          tuple(_kept_steps(store, dials.model)))
    fitted = None
    if dials.min_count:
        fitted = token_counts(store, dials.model) >= dials.min_count
        report(f"training on {int(fitted.sum())} of {len(fitted)} rows")
    train_crosscoder_run(run, dials, snapshots, Lines(report), how, fitted)


def _train_prism(run: str, dials: PrismRecipe, store: Path, report: Report, how: How) -> None:
    last = _kept_steps(store, dials.model)[-1]

    def hidden() -> Tensor:
        language_model = _language_model(dials.model)
        prepare_text(store, report)
        stream = np.load(store / "work" / "train.npy")
        model = kept_model(store, dials.model, language_model, last)
        return hidden_states(
            model, stream, language_model.context, dials.hidden_states, dials.seed)

    snapshots = Snapshots(store, dials.model, model_name(dials.model), "W_U", (last,))
    train_prism_run(run, dials, snapshots, hidden, Lines(report), how)


def _kept_steps(store: Path, label: str) -> list[int]:
    return read_json(model_path(store, label) / "history.json")["recipe"]["snapshots"]


def token_counts(store: Path, label: str) -> Tensor:
    """Occurrences of each token in the training text, (V,) int64."""
    counts = load_tensors(model_path(store, label) / "token_counts.safetensors")
    return torch.stack(list(counts.values())).long().sum(0)
