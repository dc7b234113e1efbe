"""The numbers of the population view as lines of Python."""


def python_of(run: str, convention: str, order: str, change: tuple[int, int]) -> str:
    """Lines that give what the view draws, in the project's environment."""
    return (
        "from atlas import population_store as population\n"
        "from atlas.places import store_from_environment\n"
        "from atlas.store import Store\n\n"
        "store = Store.open(store_from_environment())  # or the folder of a store\n"
        f"run = {run!r}\n"
        "population.population_table(store, run)   # births by every rule, peaks, deaths\n"
        "population.corrected(store, run)          # births that outlive the noise floor\n"
        f"population.ordered_lives(store, run, {order!r}, {convention!r}, {change!r})\n"
        "population.profile_table(store, run)      # 400 resamples of features, seed 0\n"
        f"population.survival_curves(store, run, {convention!r})\n"
        "population.rotation_spectrum(store, run)\n"
        "population.rate_ranks(store, run)\n"
    )
