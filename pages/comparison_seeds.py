"""Which features come back in another seed."""

from pages import answers, shared


def draw(view: shared.Here) -> None:
    """Say what is not there yet, and where the matches of a feature stand."""
    shared.caption(
        "Which features come back in another seed.",
        "A feature's index means nothing in another run; what returns is found by matching.",
    )
    others = answers.matched_runs(view.store.digest, view.run)
    if not others:
        shared.say(
            "Matches are not available, because this run was matched with none. "
            f"`readout-atlas match {view.run} OTHER` matches it with another run of the same "
            "model, matrix and snapshots."
        )
        return
    shared.say(
        f"{view.run} is matched with {len(others)} other run{'' if len(others) == 1 else 's'} "
        f"({', '.join(others)}): the page of a feature has its partners beside their null. How "
        "the whole population returns is not available here yet, because the figures of it are "
        "not drawn."
    )
