"""The numbers of the readout swap as lines of Python."""


def python_of(
    run: str, prompt: str, position: int, ask: str, target: int, over: str, align: str,
    state: int, step: int,
) -> str:
    """Lines that give what the view draws, in the project's environment.

    `ask` is how the score is asked for, as Python writes an `atlas.asking.Ask`.
    """
    return (
        "from atlas.asking import Ask\n"
        "from atlas.places import store_from_environment\n"
        "from atlas.reading import read_prompt\n"
        "from atlas.store import Store\n"
        "from atlas.swap_cell import swap_cell\n"
        "from atlas.swap_grid import swap_grid\n\n"
        "store = Store.open(store_from_environment())  # or the folder of a store\n"
        f"reading = read_prompt(store, {run!r}, {prompt!r}, {position!r})\n"
        f"grid = swap_grid(reading, {target!r}, over={over!r}, align={align!r}, state={state!r})\n"
        "grid.values['kl']    # (hidden states, readouts), nats; nll, rank, p, … beside it\n"
        "grid.chance['nll']   # the same with the rows of the readout dealt out anew\n"
        f"cell = swap_cell(store, reading, {ask}, {state!r}, {step!r})\n"
        "print(cell.before.exact, cell.after.exact, cell.kl)\n"
    )
