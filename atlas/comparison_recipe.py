"""The numbers of the comparison of scales and of instruments as lines of Python."""

from collections.abc import Sequence

_HEAD = (
    "from atlas.places import store_from_environment\n"
    "from atlas.store import Store\n"
)
_OPEN = "store = Store.open(store_from_environment())  # or the folder of a store\n"


def python_of_scales(
    runs: Sequence[str], convention: str, scheme: str, words: str = "", concept: str = ""
) -> str:
    """Lines that give what the Scales view draws, in the project's environment."""
    lines = (
        f"from atlas import comparing, scales\n{_HEAD}"
        + ("from atlas import crystallise_store\n" if words or concept else "")
        + f"\n{_OPEN}"
        f"cards = [store.run(run) for run in {list(runs)!r}]\n"
        f"births = scales.births_table(store, cards, {convention!r})  # with EV and L0\n"
        "profiles = scales.profiles_table(store, cards)    # 400 resamples of features, seed 0\n"
        "windows = scales.windows_table(store, cards)      # 200 circular shifts a run\n"
        f"shares = scales.shares_table(store, cards, {scheme!r})\n"
        "print(comparing.cautions(cards, 'step'))          # what may not be compared\n"
    )
    if words or concept:
        lines += (
            f"wanted = crystallise_store.read_concept({words or None!r}, {concept or None!r})\n"
            "tokens, left_out = crystallise_store.common_tokens(store, cards, wanted)\n"
            f"found = [crystallise_store.crystal(store, card, tokens[card.run], {convention!r})\n"
            "         for card in cards]\n"
            "holding = crystallise_store.crystals_table(found)  # 199 random sets a run\n"
        )
    return lines


def python_of_instruments(by: str, family: str) -> str:
    """Lines that give what the Instruments view draws."""
    return (
        f"from atlas import instruments\n{_HEAD}\n{_OPEN}"
        f"points = instruments.chosen(instruments.points(store), {family or None!r})\n"
        f"plane = instruments.plane_table(points, {by!r})     # EV, L0, width, K, lambda\n"
        "prisms = instruments.prism_table(points)            # rowEV, top-1, KL in bits\n"
    )
