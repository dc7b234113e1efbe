"""Figures of trainings while they go on: lines of JSON in a folder beside the dictionary to be.

`trainer.loop` writes them; the Runs page draws them. Fields of a line: `step` (steps done), `steps`
(that its means are over), `loss` and its terms, `explained_variance`, `l0`, `dead` (share of
features that did not fire in the last whole epoch, at first in what there was of it),
`rows_per_second`, `seconds` (so far).
"""

import contextlib
import json
from pathlib import Path
from typing import Any

WORK = "training"
"""Folder of figures and checkpoints within a run folder."""
METRICS = "metrics.jsonl"
"""A line of figures at a time."""
PLAN = "plan.json"
"""What is being trained: run, total steps, recipe, when it began."""


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Lines of figures, oldest first; one that is still being written is left out."""
    lines = []
    for text in path.read_text(encoding="utf8", errors="replace").splitlines():
        with contextlib.suppress(json.JSONDecodeError):
            line = json.loads(text)
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                lines.append(line)
    return lines
