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
        "print(trust.method_table(found))  # with baselines and nulls, at the last snapshot\n"
        "print(trust.margin_table(found))  # by |exact score|, 400 draws of base cases\n"
        "print(trust.course_table(found))  # at every snapshot\n"
        "print(trust.band_table(found, 'norm'))\n"
        "print(trust.kinds(store, run))  # by kind of contrast\n"
        "print(trust.cases(store, run))  # every contrast of the bank\n"
    )
