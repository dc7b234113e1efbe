"""The numbers of the view inside the model as lines of Python."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from atlas.decomposition import Score


def python_of(
    run: str, prompt: str, position: int, score: "Score", hidden_step: int, step: int,
    split: int | None = None,
) -> str:
    """Lines that give what the view draws, in the project's environment.

    Args:
        position: number of the token after which the next one is predicted.
        hidden_step: step of the model that reads.
        step: snapshot of readout and directions.
        split: block whose attention is taken apart by head.
    """
    return (
        "from atlas import inside_views as inside\n"
        "from atlas.decomposition import Score\n"
        "from atlas.places import store_from_environment\n"
        "from atlas.reading import read_prompt\n"
        "from atlas.store import Store\n\n"
        "store = Store.open(store_from_environment())  # or the folder of a store\n"
        f"reading = read_prompt(store, {run!r}, {prompt!r}, {position})\n"
        f"score = {score!r}\n"
        f"model, step, at = {hidden_step}, {step}, reading.position\n"
        "positions = inside.window_of(len(reading.tokens), at)\n"
        "passage = inside.passage_of(reading, model, positions)\n\n"
        "# one line per component, per layer, per cell of the lens, per token of the prompt\n"
        "components = inside.components_frame(inside.components_of(\n"
        f"    store, reading, passage, score, model, step, at, split={split}))\n"
        "layers = inside.layers_frame(\n"
        "    inside.layers_of(store, reading, passage, score, step, at))\n"
        "lens = inside.grid_frame(inside.grid_of(store, reading, passage, step))\n"
        "prompt = inside.strip_frame(inside.strip_of(store, reading, model, step))\n"
        "print(components, layers, sep='\\n')\n"
    )
