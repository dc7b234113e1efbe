"""What every view of the page Decompose is drawn from."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pages import shared

if TYPE_CHECKING:
    from atlas.asking import Ask
    from atlas.live import Explanation, Row


@dataclass(frozen=True)
class Seen:
    """A prompt, a score of it at every snapshot, and the snapshot that is looked at."""

    view: shared.Here
    found: "Explanation"
    row: "Row"
    """The score at the chosen step, or at the nearest one that has an answer."""
    show: bool
    """Whether the features may be read: the gate passes, or the reader asked for them anyway."""
    prompt: str
    position: int
    """As asked: -1 is the end of the prompt."""
    ask: "Ask"
    hidden: str
    """`final` or `own`."""
    anyway: bool = False
    """The reader asked for the features of explanations that fail the gate."""
    live: bool = True
    """A language model is here to be asked; without one all there is was kept by the build."""
