"""`train`: one recipe into a run folder."""

from argparse import Namespace

from precompute.bundle import train_into
from precompute.commands.output import progress, quoted, store_to_write
from trainer import recipes
from trainer.language_model import LanguageModelRecipe


def run(args: Namespace) -> int:
    """Train, say what comes next, and last where the folder is."""
    store = store_to_write(args)
    recipe = recipes.resolve(args.recipe, dict(args.settings))
    folder = train_into(recipe, store, progress)
    progress.close()
    if not isinstance(recipe.dials, LanguageModelRecipe):
        print(f"next: readout-atlas build {recipe.name} --store {quoted(store)}")
    print(folder)
    return 0
