"""The numbers of the trust view as lines of Python."""


def python_of(run: str) -> str:
    """Lines that give what the view draws, in the project's environment."""
    return (
        "from atlas import trust\n"
        "from atlas.places import store_from_environment\n"
        "from atlas.store import Store\n\n"
        "store = Store.open(store_from_environment())  # or the folder of a store\n"
        f"run = {run!r}\n"
        "found = trust.trust(store, run)\n"
        "trust.method_table(found)   # the dictionary, baselines and nulls at the last snapshot\n"
        "trust.margin_table(found)   # by |exact score|; intervals: 400 draws of base cases\n"
        "trust.course_table(found)   # at every snapshot\n"
        "trust.band_table(found, 'norm')\n"
        "trust.kinds(store, run)     # by kind of contrast\n"
        "trust.cases(store, run)     # every contrast of the bank\n"
    )
