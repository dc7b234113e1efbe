"""The numbers of two features side by side as lines of Python."""


def python_of(run: str, feature: int, other: str, there: int) -> str:
    """Lines that give what the view of two features draws, in the project's environment."""
    return (
        "from atlas import paired, paired_courses\n"
        "from atlas.places import store_from_environment\n"
        "from atlas.store import Store\n\n"
        "store = Store.open(store_from_environment())  # or the folder of a store\n"
        f"pair = paired.Pair({run!r}, {feature},\n"
        f"                   {other!r}, {there})\n"
        "evidence = paired.evidence(store, pair)       # way by way, each with its percentile\n"
        "left = store.feature(pair.run, pair.feature)\n"
        "right = store.feature(pair.other, pair.there)\n"
        "cosines = paired.cosines(store, pair)         # of the directions, snapshot by snapshot\n"
        "shared = paired_courses.tokens_shared(left, right)\n"
        "courses = paired_courses.courses_frame(left, right, cosines, shared)\n"
        "print(*evidence, courses, sep='\\n')\n"
    )
