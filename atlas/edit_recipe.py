"""The numbers of an edit as lines of Python."""


def python_of(
    run: str, prompt: str, position: int, ask: str, edit: str, step: int, hidden_step: int,
    seed: int, more: int,
) -> str:
    """Lines that give what the view draws, in the project's environment.

    `ask` is how the score is asked for, as Python writes an `atlas.asking.Ask`.
    """
    found = (
        "from atlas.asking import Ask\n"
        "from atlas.continuation import continue_prompt\n"
        "from atlas.editing import edit_prompt\n"
        "from atlas.edits import read_edit\n"
        "from atlas.places import store_from_environment\n"
        "from atlas.reading import read_prompt\n"
        "from atlas.store import Store\n\n"
        "store = Store.open(store_from_environment())  # or the folder of a store\n"
        f"reading = read_prompt(store, {run!r}, {prompt!r}, {position!r})\n"
        f"edit = read_edit({edit!r}, reading.card.d_sae)\n"
        f"found = edit_prompt(store, reading, {ask}, edit, {step!r}, {hidden_step!r}, "
        f"seed={seed!r})\n"
        "print(found.change, found.predicted, found.kl, [d.change for d in found.draws])\n"
    )
    if not more:
        return found
    return found + (
        "random = found.draws[0].features\n"
        f"*_, text = continue_prompt(reading, edit, random, {step!r}, {hidden_step!r}, {more!r})\n"
        "print(*text.texts, sep='\\n')\n"
    )
