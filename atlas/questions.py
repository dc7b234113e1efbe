"""Questions to start from: each with the address whose page answers it.

They are about the bundle's runs and stand in one file, which the Method page lists and a test
opens, one by one, to compare what is shown with the stored tables.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from atlas.places import QUESTIONS


@dataclass(frozen=True)
class Question:
    """What someone may want to know, and where it is answered."""

    id: str
    """A short name, for tests."""
    text: str
    page: str
    """Address of the page: browse, feature, token or collections."""
    parameters: dict[str, str]
    """Of that address; `run` and `step` are always among them."""


def questions(path: Path = QUESTIONS) -> tuple[Question, ...]:
    """All questions in the order of the file; none where there is no such file."""
    if not path.is_file():
        return ()
    return tuple(Question(**entry) for entry in json.loads(path.read_text(encoding="utf8")))


def questions_about(runs: Iterable[str]) -> tuple[Question, ...]:
    """Those whose run is among some."""
    there = set(runs)
    return tuple(q for q in questions() if q.parameters["run"] in there)
