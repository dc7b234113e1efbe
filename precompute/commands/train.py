"""`train`: one recipe into a run folder, by one process or by those that torchrun started."""

from argparse import Namespace

import torch

from atlas.device import choose_device
from precompute.commands.build import source_of
from precompute.commands.output import progress, quoted, store_to_write
from precompute.kept import silent
from precompute.training import Supply, train_into
from trainer import recipes
from trainer.dictionaries import How
from trainer.heads import join
from trainer.language_model import LanguageModelRecipe
from trainer.loop import Pace


def run(args: Namespace) -> int:
    """Train, say what comes next, and last where the folder is."""
    store = store_to_write(args)
    recipe = recipes.resolve(args.recipe, dict(args.settings))
    device = torch.device(choose_device(args.device).name)
    heads = join(device)
    if heads.world > 1 and device.type == "cuda":
        device = torch.device("cuda", torch.cuda.current_device())
    report = silent if heads.rank else progress
    for dial, reason in recipe.chosen.items():
        report(f"{dial} is not in the references: {reason}")
    pace = Pace(save_seconds=60 * args.save_minutes)
    supply = Supply(lambda: source_of(args), How(device, heads, pace, command=words(args)))
    folder = train_into(recipe, store, report, supply)
    progress.close()
    if heads.rank:
        return 0
    if not isinstance(recipe.dials, LanguageModelRecipe):
        print(f"next: readout-atlas build {recipe.name} --store {quoted(store)}")
    print(folder)
    return 0


def words(args: Namespace) -> tuple[str, ...]:
    """The command line that goes on with this training, without the name of the program."""
    settings = (word for key, value in args.settings for word in ("--set", f"{key}={value}"))
    device = ("--device", args.device) if args.device else ()
    return ("train", args.recipe, *settings, "--store", str(store_to_write(args)), *device)
