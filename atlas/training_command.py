"""The command that takes a training up again, as its plan holds it."""

import shlex

from atlas.trainings import Training, shown

WORDS, WORD = 40, 300
"""Words of a command, characters of one, at most."""


def command(training: Training) -> str | None:
    """The command that takes a training up again; None where its plan does not tell it.

    A plan may come from anywhere: every word is quoted, so that a shell runs nothing but `train`.
    """
    plan = training.plan or {}
    words, processes = plan.get("command"), plan.get("processes", 1)
    known = isinstance(words, list) and 1 < len(words) <= WORDS and words[0] == "train" and all(
        isinstance(word, str) and len(word) <= WORD for word in words)
    if not known:
        return None
    start = ["readout-atlas"]
    if type(processes) is int and 1 < processes < 10_000:
        start = ["torchrun", "--nproc-per-node", str(processes), "-m", "precompute"]
    return shown(shlex.join([*start, *words]))
