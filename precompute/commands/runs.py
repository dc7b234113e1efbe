"""`runs`: what a store holds, and of the released dictionaries which are here."""

from argparse import Namespace
from typing import Any

from atlas.errors import NotFound
from atlas.records import RunCard
from atlas.store import Store
from precompute.commands.output import number, print_json, store_to_read, table
from precompute.inventory import Released, released, state


def run(args: Namespace) -> int:
    """Print the runs of a store, or with `--inventory` every released dictionary."""
    return _inventory(args) if args.inventory else _store(args)


def as_json(card: RunCard) -> dict[str, Any]:
    """The JSON shape of DESIGN §6."""
    return {
        "run": card.run,
        "model": card.model,
        "matrix": card.matrix,
        "kind": card.kind,
        "d_sae": card.d_sae,
        "seed": card.seed,
        "steps": list(card.steps),
        "explained_variance": card.explained_variance,
        "l0": card.l0,
        "dead_rate": card.dead_rate,
        "hash": card.hash,
        "model_name": card.model_name,
        "d_model": card.d_model,
        "n_alive": card.n_alive,
        "legible_share": card.legible_share,
        "legible_null": card.legible_null,
        "problem": card.problem,
    }


def _store(args: Namespace) -> int:
    folder = store_to_read(args)
    cards = Store.open(folder).runs()
    if args.json:
        print_json([as_json(card) for card in cards])
        return 0
    rows = [
        [
            card.run, card.kind, card.matrix, str(card.d_sae), str(len(card.steps)),
            number(card.explained_variance), number(card.l0, 1), number(card.dead_rate),
            number(card.legible_share), number(card.legible_null),
            "unreadable" if card.problem else card.hash[:8],
        ]
        for card in cards
    ]
    header = ["run", "kind", "matrix", "D", "K", "EV", "L0", "dead", "legible", "null", "hash"]
    print(table(header, rows, left=[0, 1, 2, 10]))
    print(f"\n{len(cards)} runs in {folder}")
    return 0


def _inventory(args: Namespace) -> int:
    folder = store_to_read(args)
    try:
        published = {card.run for card in Store.open(folder).runs()}
    except NotFound:
        published = set()
    entries = [(entry, state(entry, folder, published)) for entry in released()]
    if args.json:
        print_json([
            {
                "run": entry.run, "model": entry.model, "matrix": entry.matrix,
                "kind": entry.kind, "d_sae": entry.d_sae, "seed": entry.seed,
                "n_snapshots": entry.n_snapshots, "k": entry.k,
                "explained_variance": entry.explained_variance, "l0": entry.l0,
                "dictionary_bytes": entry.dictionary_bytes, "model_name": entry.model_name,
                "state": here, "get": None if here == "published" else how_to_get(entry),
            }
            for entry, here in entries
        ])
        return 0
    rows = [
        [
            entry.run, entry.kind, str(entry.d_sae), str(entry.n_snapshots),
            number(entry.explained_variance), number(entry.l0, 0),
            f"{entry.dictionary_bytes / 1e9:.2f} GB", here,
        ]
        for entry, here in entries
    ]
    print(table(["run", "kind", "D", "K", "EV", "L0", "size", "state"], rows, left=[0, 1, 7]))
    here = sum(state != "not here" for _, state in entries)
    print(f"\n{len(entries)} released dictionaries, {here} of them in {folder}; "
          "`readout-atlas build RUN` fetches one, `readout-atlas plan RUN` says what that takes")
    return 0


def how_to_get(entry: Released) -> str:
    """The command that makes a released dictionary an atlas."""
    return f"readout-atlas build {entry.run}"
