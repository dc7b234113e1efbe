"""The numbers of one prompt under several seeds as lines of Python."""

from collections.abc import Sequence
from dataclasses import fields

from atlas.explanations import Ask


def python_of(
    runs: Sequence[str], prompt: str, position: int, ask: Ask, step: int, way: str
) -> str:
    """Lines that give the aligned ledgers and their agreement, in the project's environment.

    Args:
        runs: seeds whose features are shown. position, ask: as `atlas.live.decompose_prompt`.
    """
    usual = Ask()
    asked = ", ".join(f"{f.name}={getattr(ask, f.name)!r}" for f in fields(Ask)
                      if getattr(ask, f.name) != getattr(usual, f.name))
    at = f", position={position}" if position != -1 else ""
    return (
        "from atlas.asking import Ask\n"
        "from atlas.live import decompose_prompt\n"
        "from atlas.places import store_from_environment\n"
        "from atlas.seed_ledger_store import groups_of_features\n"
        "from atlas.seed_ledgers import agreements, align\n"
        "from atlas.store import Store\n\n"
        "store = Store.open(store_from_environment())  # or the folder of a store\n"
        f"runs = {list(runs)!r}\n"
        f"prompt, ask = {prompt!r}, Ask({asked})\n"
        "ledgers = [\n"
        f"    decompose_prompt(store, run, prompt, ask=ask, step={step}{at}).rows[0].ledger\n"
        "    for run in runs\n"
        "]\n"
        "groups = groups_of_features(\n"
        f"    store, runs, [ledger.features for ledger in ledgers], {way!r})\n"
        "found = align([(ledger.features, ledger.contributions) for ledger in ledgers], groups)\n"
        "agree = agreements(found)\n"
        "print(found.features[:16], found.values[:16], *agree, sep='\\n')\n"
    )
