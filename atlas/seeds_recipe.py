"""The numbers of the view of seeds as lines of Python."""


def python_of(run: str, way: str) -> str:
    """Lines that give what the view draws, in the project's environment."""
    return (
        "from atlas import seeds\n"
        "from atlas.places import store_from_environment\n"
        "from atlas.store import Store\n\n"
        "store = Store.open(store_from_environment())  # or the folder of a store\n"
        f"run, way = {run!r}, {way!r}\n"
        "pairs = seeds.pairs_frame(store, run)\n"
        "profiles = seeds.returned_by_profile(store, run, way)\n"
        "count, groups = seeds.shared_by_all(store, run, way, 24)\n"
        "alone, strongest = seeds.only_here(store, run, way, 12)\n"
        "print(pairs, *profiles, count, alone, sep='\\n')\n"
    )
