"""Bring what a recipe reads into a store, then train it there.

What the bundle's recipes read is taken from the bundle. What a released dictionary read is fetched
like for `build`, the dictionary itself left out: its snapshots, the tokenizer, and for a prism
whose penalty or sampling asks for hidden states also the model, which reads the evaluation text.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from atlas.errors import InvalidValue, NotFound
from atlas.head_rows import text_settings
from atlas.hidden_states import open_model
from atlas.inventory import ROWS, released
from atlas.places import model_path
from atlas.tensor_files import read_json
from precompute.bundle import borrow_model
from precompute.evaluation import read_text, text_files, windows
from precompute.examples import WINDOW, read_states
from precompute.fetching import Source
from precompute.kept import Report
from precompute.models import fetch_whole, fetch_words, is_complete, wanted_whole
from precompute.release import FINISHED
from precompute.safety import writer_lock
from precompute.snapshots import Wanted, fetch_snapshots
from trainer import demo
from trainer.crosscoder_recipe import CrosscoderRecipe
from trainer.dictionaries import How, train_crosscoder_run, train_prism_run
from trainer.language_model import LanguageModelRecipe
from trainer.loop import Report as Lines
from trainer.prism_recipe import PrismRecipe
from trainer.recipes import Recipe
from trainer.snapshots import Snapshots

OURS = "readout-atlas/"
"""Owner of the language models that are trained here."""


@dataclass(frozen=True)
class Supply:
    """Where released files come from, and how a training runs."""

    source: Callable[[], Source] | None = None
    """Opens the hub or a mirror; None leaves it at what the store holds."""
    how: How = field(default_factory=How)


def train_into(recipe: Recipe, store: Path, report: Report, supply: Supply | None = None) -> Path:
    """Train a recipe after bringing what it reads into `store`; returns its folder.

    Raises:
        NotFound, HubError, NoSpace, BrokenArtifact: what it reads cannot be had. Others as
        `trainer.dictionaries`.
    """
    supply = supply or Supply()
    dials = recipe.dials
    if isinstance(dials, LanguageModelRecipe):
        return demo.train(recipe, store, report)
    if (recipe.model_name or OURS).startswith(OURS):
        borrow_model(dials.model, store, report)
        if isinstance(dials, PrismRecipe):  # its penalty reads hidden states over the text
            demo.prepare_text(store, report)
        return demo.train(recipe, store, report, supply.how)
    heads = supply.how.heads
    if heads.rank == 0 and supply.source is not None:
        _fetch(recipe, store, supply.source, report)
    heads.wait()
    wanted = wanted_of(recipe, store)
    snapshots = Snapshots(store, dials.model, wanted.model_name, wanted.matrix,
                          tuple(wanted.steps))
    lines = Lines(report)
    if isinstance(dials, CrosscoderRecipe):
        return train_crosscoder_run(recipe.name, dials, snapshots, lines, supply.how)
    return train_prism_run(
        recipe.name, dials, snapshots,
        lambda: hidden_states(recipe, wanted, store, supply.how.device, report),
        lines, supply.how, {"revision": FINISHED},
    )


def wanted_of(recipe: Recipe, store: Path) -> Wanted:
    """The snapshots that a recipe over a released model reads.

    Raises:
        NotFound: the store has no configuration of a model whose shape is not known otherwise.
    """
    dials, name = recipe.dials, recipe.model_name
    assert name is not None
    assert not isinstance(dials, LanguageModelRecipe)
    if isinstance(dials, PrismRecipe):
        return Wanted(name, dials.model, "W_U", (0,), _width(name, dials.model, store), FINISHED)
    if recipe.schedule is None:
        raise InvalidValue(f"{recipe.name}: which snapshots of {name} are read is not said; give "
                           "its recipe a schedule")
    return Wanted(name, dials.model, dials.matrix, recipe.schedule,
                  _width(name, dials.model, store))


def _width(name: str, label: str, store: Path) -> int:
    if name in ROWS:
        return ROWS[name][1]
    known = next((e.d_model for e in released() if e.model_name == name), None)
    if known is not None:
        return known
    return int(text_settings(read_json(model_path(store, label) / "config.json"))["hidden_size"])


def _fetch(recipe: Recipe, store: Path, open_source: Callable[[], Source], report: Report) -> None:
    dials, name = recipe.dials, recipe.model_name
    assert name is not None
    assert not isinstance(dials, LanguageModelRecipe)
    with_model = isinstance(dials, PrismRecipe) and dials.reads_hidden_states
    step = recipe.schedule[-1] if recipe.schedule else 0
    if is_complete(store, dials.model, step, with_model) and not wanted_of(
            recipe, store).missing(store):
        return
    kept: list[Any] = []
    with writer_lock(store / "snapshots", f"the snapshots of {store}"):
        source = open_source()
        try:
            revision = FINISHED if isinstance(dials, PrismRecipe) else f"step{step}"
            fetch_words(source, store, dials.model, name, revision)
            wanted = wanted_of(recipe, store)
            fetch_snapshots(source, store, wanted, report,
                            wanted.steps[-1:] if with_model else (), kept)
            if with_model:
                whole = wanted_whole(
                    source, store, dials.model, name, step, revision, report, True)
                if whole is not None:
                    fetch_whole(source, store, dials.model, whole, step, report)
        finally:
            for fetched in kept:
                source.release(fetched)


def hidden_states(recipe: Recipe, wanted: Wanted, store: Path, device: torch.device,
                  report: Report) -> Tensor:
    """What the head of a released model reads over its evaluation text, (n, d); empty where a prism
    needs none (prism-method section 3.3).

    Raises:
        NotFound: there is no text.
    """
    dials = recipe.dials
    assert isinstance(dials, PrismRecipe)
    if not dials.reads_hidden_states:
        return torch.zeros(0, wanted.d_model)
    if not text_files(store, wanted.label):
        raise NotFound(
            f"{recipe.name}: its penalty and sampling read hidden states, and {store} has no text "
            f"for {wanted.label}; put one at models/{wanted.label}/evaluation.txt, or leave them "
            "out with --set prism_penalty=0 --set row_sampling=uniform"
        )
    step = wanted.steps[-1]
    model = open_model(store, wanted.label, wanted.model_name, step, str(device))
    length = min(WINDOW, model.context - len(model.opening))
    # four places of a text for each state: neighbours say much the same
    parts = windows(read_text(store, wanted.label), length, 4 * dials.hidden_states)
    states = torch.cat(read_states(model, parts, report))
    generator = torch.Generator().manual_seed(dials.seed + 11)
    picked = torch.randperm(len(states), generator=generator)[: dials.hidden_states]
    return states[picked]
